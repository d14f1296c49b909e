//! Finds the faces of a frame with other settings than the analysis has (`schedule`): both detectors
//! on every frame, at other sizes, each on its own, so that it is known who found what.

use domain::{Detection, Frame, Orientation, Point, Rect, Size};
use vision::{Detector, DetectorModel, Pass};

use crate::JobError;

/// Long sides of the passes for pictures up to a long side, in pixels.
const SIDES: [(u32, Sides); 3] = [
    (1280, Sides { yunet: [960, 1920], centerface: [800, 1280] }),
    (2048, Sides { yunet: [1152, 2560], centerface: [800, 1920] }),
    (u32::MAX, Sides { yunet: [1920, 5120], centerface: [1280, 3840] }),
];
/// Faces looked at in one frame, largest first; more than that many are counted as one failure.
pub(super) const MAX_FACES: usize = 200;
/// Boxes of the two detectors that overlap more are the same face.
const SAME_IOU: f32 = 0.35;
/// Long sides of the passes of a usual look, and of those that a deep one has in addition: for faces
/// down to 16 px, also tilted ones, in pictures up to 4K.
struct Sides {
    yunet: [u32; 2],
    centerface: [u32; 2],
}

/// A deep look counts for faces that would be narrower than this in a usual one, in pixels. In larger things
/// the usual one sees better what they are: a headlamp looks like a face when it is seen closely.
const SMALL: f32 = 32.0;
/// Scores of YuNet and CenterFace, as [`Detector`] gives them, 0..=1. Real faces in plain view have .9
/// and 1; a headlamp in our footage is taken for a face by both with .86 and .42, where it is blurred with
/// .59 and .56, and by CenterFace alone with .88.
struct Scores {
    yunet: f32,
    centerface: f32,
}

/// From these scores on a face was found, if both detectors have it ...
const AGREED: Scores = Scores { yunet: 0.6, centerface: 0.5 };
/// ... and if one has it alone.
const ALONE: Scores = Scores { yunet: 0.9, centerface: 0.9 };
/// The same for what may be a face.
const AGREED_DOUBT: Scores = Scores { yunet: 0.5, centerface: 0.3 };
const ALONE_DOUBT: Scores = Scores { yunet: 0.8, centerface: 0.7 };
/// A box found by one detector that lies by this share in a face twice as wide is a part of it: in a
/// close-up, eyes and mouths look like faces.
const PART: f32 = 0.7;

/// Who found a face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// YuNet and CenterFace.
    Both,
    /// YuNet only.
    YuNet,
    /// CenterFace only.
    CenterFace,
    /// Both or one of them, but not clearly.
    Doubt,
}

impl By {
    /// By the scores of both, 0 for nothing; `None`: not even in doubt.
    fn of(yunet: f32, centerface: f32) -> Option<Self> {
        let agree = |s: Scores| yunet >= s.yunet && centerface >= s.centerface;
        if agree(AGREED) {
            Some(Self::Both)
        } else if yunet >= ALONE.yunet {
            Some(Self::YuNet)
        } else if centerface >= ALONE.centerface {
            Some(Self::CenterFace)
        } else {
            let alone = yunet >= ALONE_DOUBT.yunet || centerface >= ALONE_DOUBT.centerface;
            (alone || agree(AGREED_DOUBT)).then_some(Self::Doubt)
        }
    }
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
    /// In pixels.
    pub(super) fn width(&self) -> f32 {
        width(self.rect)
    }
}

/// All faces of a frame, largest first.
pub(super) fn find(
    detector: &mut dyn Detector,
    frame: &Frame,
    orientation: Orientation,
    deep: bool,
) -> Result<Vec<Face>, JobError> {
    let sides = sides(frame.size);
    let mut look = |model, [usual, more]: [u32; 2]| {
        let mut find = |side| detector.find(frame, orientation, &[Pass::new(model, side)]);
        let mut faces = find(usual)?.faces;
        if deep {
            let usual = usual as f32 / frame.size.width.max(frame.size.height) as f32;
            let small = |face: &Detection| width(face.rect) * usual < SMALL;
            add(&mut faces, find(more)?.faces.into_iter().filter(small));
        }
        Ok::<_, JobError>(faces)
    };
    let yunet = look(DetectorModel::YuNet, sides.yunet)?;
    let centerface = look(DetectorModel::CenterFace, sides.centerface)?;
    Ok(join(yunet, centerface))
}

/// Adds what a deep look of the same detector found; of two boxes for a face the better stays.
fn add(faces: &mut Vec<Detection>, more: impl Iterator<Item = Detection>) {
    for face in more {
        match faces.iter_mut().find(|other| other.rect.iou(face.rect) > SAME_IOU) {
            Some(other) if other.score < face.score => *other = face,
            Some(_) => {}
            None => faces.push(face),
        }
    }
    faces.sort_by(|a, b| b.score.total_cmp(&a.score));
}

/// The shorter side, in pixels: the width, whichever way the picture is turned.
fn width(rect: Rect) -> f32 {
    rect.width().min(rect.height())
}

fn sides(size: Size) -> &'static Sides {
    let long = size.width.max(size.height);
    let row = SIDES.iter().find(|row| long <= row.0).unwrap_or(&SIDES[SIDES.len() - 1]);
    &row.1
}

fn join(yunet: Vec<Detection>, mut centerface: Vec<Detection>) -> Vec<Face> {
    let mut faces = Vec::new();
    for face in yunet {
        // Best first, so the best agreement is found first.
        let same = centerface.iter().position(|other| other.rect.iou(face.rect) > SAME_IOU);
        let other = same.map_or(0.0, |at| centerface[at].score);
        let Some(by) = By::of(face.score, other) else { continue };
        if let Some(at) = same {
            centerface.remove(at);
        }
        let (rect, landmarks) = (face.rect, Some(face.landmarks));
        faces.push(Face { rect, by, score: face.score.max(other), landmarks });
    }
    faces.extend(centerface.into_iter().filter_map(|face| {
        let by = By::of(0.0, face.score)?;
        Some(Face { rect: face.rect, by, score: face.score, landmarks: None })
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
        Detection::new(rect, score, [Point { x, y: 0.0 }; 5])
    }

    #[test]
    fn what_both_find_needs_less_than_what_one_finds() {
        let found =
            join(vec![face(0.0, 50.0, 0.65), face(200.0, 50.0, 0.65)], vec![face(2.0, 50.0, 0.55)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].by, By::Both);
        let found = join(vec![face(0.0, 50.0, 0.95)], vec![face(200.0, 50.0, 0.95)]);
        let by: Vec<By> = found.iter().map(|f| f.by).collect();
        assert!(by.contains(&By::YuNet) && by.contains(&By::CenterFace));
    }

    #[test]
    fn unclear_finds_are_in_doubt_and_weak_ones_nothing() {
        assert_eq!(By::of(0.86, 0.42), Some(By::Doubt)); // the headlamp
        assert_eq!(By::of(0.59, 0.56), Some(By::Doubt)); // and blurred
        assert_eq!(By::of(0.0, 0.88), Some(By::Doubt));
        assert_eq!(By::of(0.85, 0.0), Some(By::Doubt));
        assert_eq!(By::of(0.7, 0.2), None);
        assert_eq!(By::of(0.2, 0.6), None);
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
    fn a_deep_look_adds_faces_and_betters_scores() {
        let mut faces = vec![face(0.0, 30.0, 0.6), face(200.0, 30.0, 0.5)];
        let more = [face(201.0, 30.0, 0.8), face(2.0, 30.0, 0.4), face(400.0, 20.0, 0.7)];
        add(&mut faces, more.into_iter());
        let found: Vec<(f32, f32)> = faces.iter().map(|f| (f.rect.x0, f.score)).collect();
        assert_eq!(found, [(201.0, 0.8), (400.0, 0.7), (0.0, 0.6)]);
    }

    #[test]
    fn sides_differ_from_the_analysis_and_reach_the_size_of_the_picture() {
        for (width, height) in [(1280, 720), (1920, 1080), (3840, 2160)] {
            let Sides { yunet, centerface } = *sides(Size { width, height });
            assert!(![640, 1280, 3840].iter().any(|side| yunet.contains(side)));
            assert!(yunet[1] > width && centerface[1] >= width);
        }
    }
}
