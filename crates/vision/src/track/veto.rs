//! Which tracks are taken for no face at all.

use domain::SecondOpinion;

use super::associate::{Path, Seen};
use super::{FAST, Settings};

/// One detection this good makes a face, whatever the second detector says.
const CERTAIN: f32 = 0.9;
/// Looks that tell a chance agreement from a real one.
const MANY_LOOKS: usize = 3;
/// A track that never gets this good has to be seen often.
const WEAK: f32 = 0.5;
/// How good the detections of a weak track must be to count, and how many it needs.
const ENOUGH: (f32, usize) = (0.25, 5);

/// Whether to drop the track.
pub(super) fn is_doubtful(path: &Path, at: &[f64], settings: &Settings) -> bool {
    let votes = || votes(path, at).flatten();
    let looks = votes().count();
    let agreed = votes().filter(|agrees| *agrees).count();
    let alone = agreed == 0;
    let best = path.best_score();
    let seen_well = path.seen.iter().filter(|seen| seen.score >= ENOUGH.0).count();
    let rarely = looks >= MANY_LOOKS && (agreed as f32) < looks as f32 * settings.least_agreement;
    let refuted =
        settings.veto && (looks >= settings.vain_looks && alone || rarely) && best < CERTAIN;
    let rare = best < WEAK && seen_well < ENOUGH.1;
    let unsupported = settings.strict_start && best < WEAK && 2 * agreed < looks;
    refuted || rare || unsupported
}

/// Looks in vain, one after the other, after which a track is taken to have left its face.
const LOST_LOOKS: usize = 4;

/// The path without the stretches in which it wandered off its face: no certain detection, and the
/// second detector looked several times and never agreed. The parts before and after are paths of
/// their own, so each goes on by the usual extension.
pub(super) fn faithful(path: Path, at: &[f64], settings: &Settings) -> Vec<Path> {
    let votes: Vec<Option<bool>> = votes(&path, at).collect();
    let anchor = |i: &usize| {
        let seen = &path.seen[*i];
        seen.score >= CERTAIN || (votes[*i] == Some(true) && seen.score >= settings.strong_score)
    };
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

/// Whether the second detector agrees, for each detection; `None`: it did not look, or could not have
/// seen anything. What YuNet calls likely a face and moves fast is blurred, and CenterFace is the first to
/// lose it.
fn votes<'a>(path: &'a Path, at: &'a [f64]) -> impl Iterator<Item = Option<bool>> + 'a {
    let seen = &path.seen;
    seen.iter().enumerate().map(move |(i, s)| match s.second {
        SecondOpinion::NotAsked => None,
        SecondOpinion::Agrees => Some(true),
        SecondOpinion::Doubts => {
            let around = &seen[i.saturating_sub(1)..(i + 2).min(seen.len())];
            let blurred = s.score >= WEAK && speed(around, at) > FAST;
            (!blurred).then_some(false)
        }
    })
}

/// How fast the centre moves over a few detections, in sizes of the box a second.
fn speed(seen: &[Seen], at: &[f64]) -> f32 {
    let (Some(a), Some(b)) = (seen.first(), seen.last()) else { return 0.0 };
    let (from, to) = (a.rect.center(), b.rect.center());
    let time = (at[b.frame] - at[a.frame]) as f32;
    let size = b.rect.area().sqrt();
    if time > 0.0 { (to.x - from.x).hypot(to.y - from.y) / size / time } else { 0.0 }
}
