//! Finds the faces of a frame with other settings than the analysis has (`schedule`): both detectors
//! on every frame, at other sizes, each on its own, so that it is known who found what.

use domain::{Detection, Frame, Orientation, Point, Rect, Size};
use vision::{Detector, DetectorModel, Pass};

use crate::JobError;

/// Long sides of the passes of YuNet and CenterFace, in pixels, for pictures up to a long side.
const SIDES: [(u32, u32, u32); 3] = [(1280, 960, 800), (2048, 1152, 800), (u32::MAX, 1920, 1280)];
/// Faces looked at in one frame, largest first; more than that many are counted as one failure.
pub(super) const MAX_FACES: usize = 200;
/// Boxes of the two detectors that overlap more are the same face.
const SAME_IOU: f32 = 0.35;
/// What counts as a find of one detector: below these scores both take textures for faces.
const ALONE: Scores = Scores { yunet: 0.9, centerface: 0.75 };
/// What counts when the other one agrees.
const AGREED: Scores = Scores { yunet: 0.5, centerface: 0.35 };
/// A box found by one detector that lies by this share in a face twice as wide is a part of it: in a
/// close-up, eyes and mouths look like faces.
const PART: f32 = 0.7;

/// Scores as [`Detector`] gives them, 0..=1.
struct Scores {
    yunet: f32,
    centerface: f32,
}

/// Who found a face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// YuNet and CenterFace.
    Both,
    /// YuNet only.
    YuNet,
    /// CenterFace only.
    CenterFace,
}

/// A face of the original.
#[derive(Clone, Debug)]
pub(super) struct Face {
    /// Extent in coded pixels.
    pub rect: Rect,
    /// Who found it.
    pub by: By,
    /// The better score.
    pub score: f32,
    /// YuNet's points, where it found the face: CenterFace marks them only roughly.
    pub landmarks: Option<[Point; 5]>,
}

impl Face {
    /// The shorter side, in pixels: the width, whichever way the picture is turned.
    pub(super) fn width(&self) -> f32 {
        self.rect.width().min(self.rect.height())
    }
}

/// All faces of a frame, largest first.
pub(super) fn find(
    detector: &mut dyn Detector,
    frame: &Frame,
    orientation: Orientation,
) -> Result<Vec<Face>, JobError> {
    let (first, second) = sides(frame.size);
    let mut look = |model, side| detector.find(frame, orientation, &[Pass::new(model, side)]);
    let yunet = look(DetectorModel::YuNet, first)?.faces;
    let centerface = look(DetectorModel::CenterFace, second)?.faces;
    Ok(join(yunet, centerface))
}

fn sides(size: Size) -> (u32, u32) {
    let long = size.width.max(size.height);
    let row = SIDES.iter().find(|row| long <= row.0).unwrap_or(&SIDES[SIDES.len() - 1]);
    (row.1, row.2)
}

fn join(yunet: Vec<Detection>, mut centerface: Vec<Detection>) -> Vec<Face> {
    let mut faces = Vec::new();
    for face in yunet.into_iter().filter(|face| face.score >= AGREED.yunet) {
        let agrees = |other: &Detection| {
            other.score >= AGREED.centerface && other.rect.iou(face.rect) > SAME_IOU
        };
        let other = centerface.iter().position(agrees).map(|at| centerface.swap_remove(at));
        let by = if other.is_some() { By::Both } else { By::YuNet };
        if by == By::Both || face.score >= ALONE.yunet {
            let score = other.map_or(face.score, |other| other.score.max(face.score));
            faces.push(Face { rect: face.rect, by, score, landmarks: Some(face.landmarks) });
        }
    }
    let alone = centerface.into_iter().filter(|face| face.score >= ALONE.centerface);
    faces.extend(alone.map(|face| Face {
        rect: face.rect,
        by: By::CenterFace,
        score: face.score,
        landmarks: None,
    }));
    faces.sort_by(|a, b| b.rect.area().total_cmp(&a.rect.area()));
    without_parts(faces)
}

fn without_parts(faces: Vec<Face>) -> Vec<Face> {
    let mut kept: Vec<Face> = Vec::new();
    for face in faces {
        let is_part = |whole: &Face| {
            let inside = whole.rect.intersection(face.rect).area();
            whole.by == By::Both
                && whole.width() >= 2.0 * face.width()
                && inside > PART * face.rect.area()
        };
        if face.by == By::Both || !kept.iter().any(is_part) {
            kept.push(face);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, width: f32, score: f32) -> Detection {
        let rect = Rect::new(x, 0.0, x + width, width * 1.25);
        Detection { rect, score, landmarks: [Point { x, y: 0.0 }; 5] }
    }

    #[test]
    fn what_both_find_needs_less_than_what_one_finds() {
        let found = join(vec![face(0.0, 50.0, 0.6), face(200.0, 50.0, 0.6)], vec![face(2.0, 50.0, 0.4)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].by, By::Both);
        let found = join(vec![face(0.0, 50.0, 0.95)], vec![face(200.0, 50.0, 0.8)]);
        let by: Vec<By> = found.iter().map(|f| f.by).collect();
        assert!(by.contains(&By::YuNet) && by.contains(&By::CenterFace));
    }

    #[test]
    fn an_eye_is_a_part_of_its_face_but_a_face_in_front_of_another_is_one() {
        let large = face(0.0, 200.0, 0.95);
        let small = face(50.0, 40.0, 0.95);
        assert_eq!(join(vec![large.clone(), small.clone()], vec![large.clone()]).len(), 1);
        let both = join(vec![large.clone(), small.clone()], vec![large, small]);
        assert_eq!(both.len(), 2);
    }

    #[test]
    fn sizes_differ_from_the_analysis() {
        let size = |width, height| Size { width, height };
        assert_eq!(sides(size(1280, 720)), (960, 800));
        assert_eq!(sides(size(3840, 2160)), (1920, 1280));
    }
}
