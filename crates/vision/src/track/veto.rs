//! Which tracks are taken for no face at all.

use super::associate::{Path, Seen};
use super::{Observation, Settings};

/// One detection this good makes a face, whatever the second detector says.
const CERTAIN: f32 = 0.9;
/// Looks in vain after which the second detector is believed.
const LOOKS: usize = 2;
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
    let alone = !votes().any(|agrees| agrees);
    let best = path.best_score();
    let seen_well = path.seen.iter().filter(|seen| seen.score >= ENOUGH.0).count();
    let refuted = settings.veto && looks >= LOOKS && alone && best < CERTAIN;
    let rare = best < WEAK && seen_well < ENOUGH.1;
    let unsupported = settings.strict_start && best < WEAK && looks >= 1 && alone;
    refuted || rare || unsupported
}

/// Whether the second detector agrees; `None`: it did not look, or the face is too small for it.
fn vote(seen: &Seen, frames: &[Observation], scale: f32, settings: &Settings) -> Option<bool> {
    let finding = frames.get(seen.frame)?.finding.as_ref()?;
    let second = finding.second_opinion.as_ref()?;
    let visible = seen.rect.width() * scale >= settings.second_min_width;
    visible.then(|| second.iter().any(|rect| rect.iou(seen.rect) > AGREE))
}
