//! What the passes over a frame found becomes one list of faces, with what the second detector says of
//! each.

use domain::{Detection, Faint, Finding, Rect, SecondOpinion, Size};

use super::merge::{self, Candidate};
use super::{DetectorModel, closeup};

/// CenterFace is more modest than YuNet: its score is multiplied by this, up to 1.
pub(super) const CENTERFACE_GAIN: f32 = 1.5;
/// IoU from which both detectors mean the same face.
pub(super) const AGREE: f32 = 0.3;
/// Faces kept per frame, best first.
const MAX_FACES: usize = 1000;
/// Faint finds kept per frame, best first. It takes a picture made to be full of faces to have more.
const MAX_FAINT: usize = 500;

/// What the passes over one frame found so far, in coded pixels.
#[derive(Default)]
pub(super) struct Found {
    pub candidates: Vec<Candidate>,
    /// What YuNet found with scores too low for a candidate.
    pub faint: Vec<Detection>,
    /// Every box of the second detector that counts as an agreement.
    agreed: Vec<Rect>,
    /// Width in pixels from which on a face was judged by the second detector, if it looked at the
    /// whole picture.
    pub judged_from: Option<f32>,
    /// Faces that it was asked about in close-ups.
    pub asked: Vec<Rect>,
    /// Side in pixels from which on YuNet notices a face, if only faintly.
    pub noticed_from: Option<f32>,
}

impl Found {
    /// The second detector sees this face. It agrees if the score is at least `agrees`, and makes a
    /// candidate by itself if it is at least `believed` (both after the gain), or if the first
    /// detector has it too.
    pub fn second(&mut self, mut face: Detection, agrees: f32, believed: f32) {
        face.score = (face.score * CENTERFACE_GAIN).min(1.0);
        if face.score >= agrees {
            self.agreed.push(face.rect);
        }
        let model = DetectorModel::CenterFace;
        let known = |c: &Candidate| {
            c.face.score >= closeup::DOUBTFUL.start && c.face.rect.iou(face.rect) > AGREE
        };
        let support = face.score >= closeup::DOUBTFUL.start && self.candidates.iter().any(known);
        if face.score >= believed || support {
            self.candidates.push(Candidate { face, model });
        }
    }

    pub fn finding(mut self, size: Size) -> Finding {
        let faint = self.noticed_from.map(|from| {
            self.faint.sort_by(|a, b| b.score.total_cmp(&a.score));
            let rects = self.faint.iter().map(|face| face.rect);
            // Smaller ones cannot be the sign of a face that must be noticed.
            let large = rects.filter(|r| r.area() >= from * from / 2.0);
            Faint { rects: large.take(MAX_FAINT).collect(), from }
        });
        Finding { faces: self.faces(size), sightings: Vec::new(), faint }
    }

    /// One list, best first.
    fn faces(&self, size: Size) -> Vec<Detection> {
        let mut faces = merge::merge(&self.candidates);
        faces.truncate(MAX_FACES);
        for face in &mut faces {
            let judged = self.judged_from.is_some_and(|least| face.rect.width() >= least);
            let closely = || self.asked.iter().any(|rect| rect.iou(face.rect) > AGREE);
            if judged || (!closeup::is_rest(face.rect, size) && closely()) {
                face.second = SecondOpinion::Doubts;
            }
        }
        for rect in &self.agreed {
            // Of a face and a shadow of it beside it, it means the face.
            let near = faces.iter_mut().map(|face| (face.rect.iou(*rect), face));
            let nearest = near.max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((iou, face)) = nearest
                && iou > AGREE
            {
                face.second = SecondOpinion::Agrees;
            }
        }
        faces
    }
}
