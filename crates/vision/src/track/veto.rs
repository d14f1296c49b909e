//! Which tracks are taken for no face at all.

use super::associate::{Path, Seen};
use super::{Observation, Settings};

/// One detection this good makes a face, whatever the second detector says.
const CERTAIN: f32 = 0.9;
/// Looks in vain after which the second detector is believed.
const LOOKS: usize = 2;
/// Looks that tell a chance agreement from a real one.
const MANY_LOOKS: usize = 4;
/// IoU from which both detectors mean the same face.
const AGREE: f32 = 0.3;
/// A track that never gets this good has to be seen often.
const WEAK: f32 = 0.5;
/// How good the detections of a weak track must be to count, and how many it needs.
const ENOUGH: (f32, usize) = (0.25, 5);

/// Whether to drop the track. `scale` is the size of the second detector's input over the
/// picture's.
pub(super) fn is_doubtful(
    path: &Path,
    frames: &[Observation],
    scale: f32,
    settings: &Settings,
) -> bool {
    let votes = || path.seen.iter().filter_map(|seen| vote(seen, frames, scale, settings));
    let looks = votes().count();
    let agreed = votes().filter(|agrees| *agrees).count();
    let alone = agreed == 0;
    let best = path.best_score();
    let seen_well = path.seen.iter().filter(|seen| seen.score >= ENOUGH.0).count();
    let rarely = looks >= MANY_LOOKS && (agreed as f32) < looks as f32 * settings.least_agreement;
    let refuted = settings.veto && (looks >= LOOKS && alone || rarely) && best < CERTAIN;
    let rare = best < WEAK && seen_well < ENOUGH.1;
    let unsupported = settings.strict_start && best < WEAK && looks >= 1 && alone;
    refuted || rare || unsupported
}

/// Looks in vain, one after the other, after which a track is taken to have left its face.
const LOST_LOOKS: usize = 6;

/// The path without the stretches in which it wandered off its face: no certain detection, and the
/// second detector looked several times and never agreed. The parts before and after are paths of
/// their own, so each goes on by the usual extension.
pub(super) fn faithful(
    path: Path,
    frames: &[Observation],
    scale: f32,
    settings: &Settings,
) -> Vec<Path> {
    let votes: Vec<Option<bool>> =
        path.seen.iter().map(|seen| vote(seen, frames, scale, settings)).collect();
    let anchor = |i: &usize| path.seen[*i].score >= CERTAIN || votes[*i] == Some(true);
    let anchors: Vec<usize> = (0..path.seen.len()).filter(anchor).collect();
    if !settings.veto || anchors.is_empty() {
        return vec![path];
    }
    let lost = |from: usize, to: usize| {
        votes[from..to].iter().filter(|vote| **vote == Some(false)).count() >= LOST_LOOKS
    };
    let (first, last) = (anchors[0], anchors[anchors.len() - 1]);
    let end = path.seen.len();
    let mut parts = Vec::new();
    let mut start = if lost(0, first) { first } else { 0 };
    for pair in anchors.windows(2) {
        if lost(pair[0] + 1, pair[1]) {
            parts.push(start..pair[0] + 1);
            start = pair[1];
        }
    }
    parts.push(start..if lost(last + 1, end) { last + 1 } else { end });
    parts.into_iter().map(|part| Path { seen: path.seen[part].to_vec() }).collect()
}

/// Whether the second detector agrees; `None`: it did not look, or the face is too small for it.
fn vote(seen: &Seen, frames: &[Observation], scale: f32, settings: &Settings) -> Option<bool> {
    let finding = frames.get(seen.frame)?.finding.as_ref()?;
    let second = finding.second_opinion.as_ref()?;
    let visible = seen.rect.width() * scale >= settings.second_min_width;
    visible.then(|| second.iter().any(|rect| rect.iou(seen.rect) > AGREE))
}
