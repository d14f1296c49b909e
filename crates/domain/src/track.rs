//! Faces found in frames, and faces followed over time.

use serde::{Deserialize, Serialize};

use crate::{Point, Pts, Rect};

/// A face found in one frame, in coded pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Extent of the face, forehead to chin.
    pub rect: Rect,
    /// The detector's confidence, 0..=1.
    pub score: f32,
    /// Eye, eye, nose, mouth corner, mouth corner (image-left ones first, as seen upright).
    pub landmarks: [Point; 5],
    /// What the second detector says.
    pub second: SecondOpinion,
}

impl Detection {
    /// A face of which the second detector says nothing.
    pub fn new(rect: Rect, score: f32, landmarks: [Point; 5]) -> Self {
        Self { rect, score, landmarks, second: SecondOpinion::NotAsked }
    }
}

/// Whether a detector that fails on other things than the first one sees a face there too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecondOpinion {
    /// It did not look, or the face is too small for it.
    #[default]
    NotAsked,
    /// It sees a face there.
    Agrees,
    /// It looked and sees none.
    Doubts,
}

/// Index of an enrolled person in the gallery of this job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PersonIx(pub usize);

/// A face was compared with the gallery. The embedding itself is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Index into [`Finding::faces`].
    pub face: usize,
    /// The enrolled person most like it.
    pub person: PersonIx,
    /// Cosine similarity to that person, -1..=1.
    pub similarity: f32,
}

/// What was found in one frame that was looked at. "No faces" is an empty `Finding`; "not looked
/// at" is the absence of one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Finding {
    /// Faces, all detectors merged, best score first.
    pub faces: Vec<Detection>,
    /// Faces compared with the gallery.
    pub sightings: Vec<Sighting>,
    /// What was hardly noticed, if anybody cared; `None`: nobody did.
    pub faint: Option<Faint>,
}

/// What the first detector noticed too weakly for a face. Where there is not even that, there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Faint {
    /// Extents in coded pixels.
    pub rects: Vec<Rect>,
    /// Side in coded pixels (square root of the area) from which on a face would have been noticed.
    pub from: f32,
}

/// Names a track within one analysis; counts from 1 in order of first appearance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TrackId(pub u32);

/// How a track knows where the face is in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxKind {
    /// A detector found it there.
    Detected,
    /// Between two detections.
    Interpolated,
    /// Before the first or after the last detection, by velocity.
    Extended,
    /// Drawn by a person who edited the plan.
    Manual,
}

/// Where a tracked face is in one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackBox {
    /// Index of the frame in the analysis (its `seq`).
    pub frame: usize,
    /// Extent in coded pixels, without padding.
    pub rect: Rect,
    /// How it is known.
    pub kind: BoxKind,
    /// Score of the detection, 0 when there is none.
    pub score: f32,
}

/// One face followed over time.
#[derive(Clone, Debug)]
pub struct Track {
    /// Its name.
    pub id: TrackId,
    /// In order of time. A frame may occur twice (an interpolation drawn over a doubtful
    /// detection): both are covered.
    pub boxes: Vec<TrackBox>,
    /// Comparisons with the gallery: frame, person, similarity; in order of time.
    pub sightings: Vec<(usize, PersonIx, f32)>,
    /// Best detection score, 0..=1.
    pub best_score: f32,
    /// Frame of the first detection and its time.
    pub first: (usize, Pts),
    /// Frame of the last detection and its time.
    pub last: (usize, Pts),
}
