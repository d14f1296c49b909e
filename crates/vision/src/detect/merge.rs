//! One list of faces out of many boxes.

use std::cmp::Ordering;

use domain::{Detection, Point, Rect};

use super::DetectorModel;

/// Boxes of one pass that overlap more are the same face.
pub(super) const SAME_SOURCE_IOU: f32 = 0.3;
/// Boxes of different passes that overlap more are the same face.
const ACROSS_IOU: f32 = 0.45;
/// The same where one is YuNet's and one CenterFace's: they draw blurred faces differently.
const ACROSS_MODELS_IOU: f32 = 0.3;
/// A suppressed box still counts for the extent with this score, or with half the winner's.
const EXTENT_SCORE: f32 = 0.3;
/// Boxes looked at, best first. Bounds the time a picture made to be full of faces can take.
const MAX_BOXES: usize = 4000;

/// A face and who found it.
#[derive(Clone)]
pub(super) struct Candidate {
    pub face: Detection,
    pub model: DetectorModel,
}

fn best_first(a: f32, b: f32) -> Ordering {
    b.total_cmp(&a)
}

/// Greedy non-maximum suppression: of boxes that overlap by more than `iou` the best stays. Best
/// first.
pub(super) fn suppress(mut faces: Vec<Detection>, iou: f32) -> Vec<Detection> {
    faces.sort_by(|a, b| best_first(a.score, b.score));
    faces.truncate(MAX_BOXES);
    let mut kept: Vec<Detection> = Vec::new();
    for face in faces {
        if kept.iter().all(|k| k.rect.iou(face.rect) <= iou) {
            kept.push(face);
        }
    }
    kept
}

/// Merges the boxes of several passes, best first. A face's box is the union of all boxes for it
/// that are not clearly weaker than the best: no source's box may shrink another's. Its landmarks
/// are the winner's, or YuNet's if it is among them: CenterFace only marks them roughly.
pub(super) fn merge(candidates: &[Candidate]) -> Vec<Detection> {
    let mut candidates: Vec<&Candidate> = candidates.iter().collect();
    candidates.sort_by(|a, b| best_first(a.face.score, b.face.score));
    candidates.truncate(MAX_BOXES);
    let mut taken = vec![false; candidates.len()];
    let mut faces = Vec::new();
    for (i, winner) in candidates.iter().enumerate() {
        if taken[i] {
            continue;
        }
        let mut rect: Rect = winner.face.rect;
        let mut yunets = (winner.model == DetectorModel::YuNet).then_some(winner.face.landmarks);
        let counts = (winner.face.score * 0.5).min(EXTENT_SCORE);
        for (other, taken) in candidates.iter().zip(&mut taken).skip(i + 1) {
            let least = if winner.model == other.model { ACROSS_IOU } else { ACROSS_MODELS_IOU };
            if *taken || winner.face.rect.iou(other.face.rect) <= least {
                continue;
            }
            *taken = true;
            if other.face.score >= counts {
                rect = rect.union(other.face.rect);
                if other.model == DetectorModel::YuNet {
                    yunets = yunets.or(Some(other.face.landmarks));
                }
            }
        }
        let landmarks: [Point; 5] = yunets.unwrap_or(winner.face.landmarks);
        faces.push(Detection { rect, landmarks, ..winner.face });
    }
    faces
}
