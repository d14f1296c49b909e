//! What is covered in each frame.

use std::fmt;

use domain::{BoxKind, Pts, Rect, Size, TimeBase, TrackId};
use serde::{Deserialize, Serialize};

use crate::cleared::PlacedGop;
use crate::{Effect, Policy, Shape, ShownSpan};

/// Why a whole frame is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Reason {
    /// No detector looked at it, nor at frames close enough on both sides.
    NotAnalysed,
    /// It did not decode cleanly, so what a detector saw means nothing.
    Damaged,
    /// The plan ends before it.
    NotInPlan,
    /// Its time or size is not what the plan says of this frame.
    Mismatch,
    /// A face is followed here, but its box is not a usable rectangle.
    BadBox,
    /// A person who edited the plan wants it.
    Manual,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnalysed => "not analysed",
            Self::Damaged => "damaged in the input",
            Self::NotInPlan => "not in the plan",
            Self::Mismatch => "time or size differ from the analysed frame",
            Self::BadBox => "the box of a face is unusable",
            Self::Manual => "by hand",
        })
    }
}

/// What is covered in every frame of one video: made by [`crate::Analysis::finish`], or by
/// [`crate::PlanDocument::for_input`] or [`crate::PlanDocument::for_published`] of what that was
/// written as, and by nothing else.
#[derive(Debug)]
pub struct RedactionPlan {
    pub(crate) size: Size,
    /// `seq` of the first frame; 0 but for pieces of a live video.
    pub(crate) first: u64,
    pub(crate) policy: Policy,
    /// The stream's own; a frame in another one is a mismatch.
    pub(crate) base: Option<TimeBase>,
    /// By `seq`.
    pub(crate) frames: Vec<Entry>,
    /// Grouped by frame, in order of frames. Flat, because an hour has a million of them.
    pub(crate) boxes: Vec<Face>,
    /// All of them, or none where packets cannot be copied.
    pub(crate) gops: Vec<PlacedGop>,
    pub(crate) shown: Vec<ShownSpan>,
}

/// One frame of the plan.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) ticks: i64,
    /// Index of its first box; the next entry's is the end.
    pub(crate) first: usize,
    /// Set: the whole frame is covered, whatever its boxes.
    pub(crate) all: Option<Reason>,
}

/// One face in one frame, 28 bytes.
#[derive(Clone, Debug)]
pub(crate) struct Face {
    pub(crate) track: TrackId,
    /// Without padding, coded pixels.
    pub(crate) rect: Rect,
    pub(crate) kind: BoxKind,
    /// Confirmed here to be a kept person, so not covered.
    pub(crate) shown: bool,
}

impl RedactionPlan {
    /// What to cover in the frame with place `seq`, time `pts` and coded `size`: everything, unless
    /// the plan holds exactly that frame and it was analysed.
    pub fn for_frame(&self, seq: u64, pts: Pts, size: Size) -> FramePlan {
        let cover = self.cover(seq, pts, size).unwrap_or_else(Cover::All);
        FramePlan { seq, pts, size, cover }
    }

    fn cover(&self, seq: u64, pts: Pts, size: Size) -> Result<Cover, Reason> {
        let place = seq.checked_sub(self.first).ok_or(Reason::NotInPlan)?;
        let at = usize::try_from(place).map_err(|_| Reason::NotInPlan)?;
        let entry = self.frames.get(at).ok_or(Reason::NotInPlan)?;
        if size != self.size || pts.ticks != entry.ticks || Some(pts.base) != self.base {
            return Err(Reason::Mismatch);
        }
        if let Some(reason) = entry.all {
            return Err(reason);
        }
        let regions = self.faces(at).iter().filter(|face| !face.shown).map(|face| Region {
            track: face.track,
            rect: face.rect.grown(self.policy.pad()),
            shape: self.policy.shape(),
            effect: self.policy.effect(),
        });
        Ok(Cover::Regions(regions.collect()))
    }

    /// The faces followed in the frame `at`, shown ones too.
    pub(crate) fn faces(&self, at: usize) -> &[Face] {
        let first = |i: usize| self.frames.get(i).map_or(self.boxes.len(), |e| e.first);
        self.boxes.get(first(at)..first(at + 1)).unwrap_or(&[])
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether it holds no frame at all.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Coded size of the pictures.
    pub fn size(&self) -> Size {
        self.size
    }

    /// How regions are covered.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Where which kept person is shown: as given to the analysis, or as its document says after
    /// edits.
    pub fn shown(&self) -> &[ShownSpan] {
        &self.shown
    }

    /// What is covered in each frame, in order of `seq`.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = FrameSummary> + '_ {
        self.frames.iter().enumerate().map(|(at, entry)| {
            let faces = self.faces(at);
            let shown = faces.iter().filter(|f| f.shown).count();
            let covered = match entry.all {
                Some(reason) => Covered::All(reason),
                None => Covered::Regions(faces.len() - shown),
            };
            FrameSummary { ticks: entry.ticks, covered }
        })
    }

    /// Totals over all frames.
    pub fn summary(&self) -> Summary {
        let mut sum = Summary { frames: self.len(), ..Summary::default() };
        for frame in self.iter() {
            match frame.covered {
                Covered::All(_) => sum.whole += 1,
                Covered::Regions(0) => sum.untouched += 1,
                Covered::Regions(n) => {
                    sum.with_regions += 1;
                    sum.regions += n;
                }
            }
        }
        sum
    }
}

/// What is covered in one frame, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covered {
    /// So many regions; 0: it was analysed and nothing is covered.
    Regions(usize),
    /// Everything.
    All(Reason),
}

/// One frame of [`RedactionPlan::iter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSummary {
    /// Its time, in ticks of the stream's time base.
    pub ticks: i64,
    /// What is covered.
    pub covered: Covered,
}

/// Totals of a plan; `frames == untouched + with_regions + whole`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All frames.
    pub frames: usize,
    /// Frames in which nothing is covered.
    pub untouched: usize,
    /// Frames in which regions are covered.
    pub with_regions: usize,
    /// Regions in them.
    pub regions: usize,
    /// Frames that are covered whole.
    pub whole: usize,
}

/// One area to cover.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Whose face it is; its colours are held under this name.
    pub track: TrackId,
    /// Padded, coded pixels; may reach outside the picture.
    pub rect: Rect,
    /// Outline within `rect`.
    pub shape: Shape,
    /// What covers it.
    pub effect: Effect,
}

/// What is covered in a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Cover {
    /// These areas; none: the frame was analysed and needs no cover.
    Regions(Vec<Region>),
    /// Everything.
    All(Reason),
}

/// What to cover in one frame, good for the frame with this time and size only.
/// Made by [`RedactionPlan::for_frame`], or by [`FramePlan::whole`], which shows nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct FramePlan {
    pub(crate) seq: u64,
    pub(crate) pts: Pts,
    pub(crate) size: Size,
    pub(crate) cover: Cover,
}

impl FramePlan {
    /// The whole frame is covered, whatever is in it.
    pub fn whole(seq: u64, pts: Pts, size: Size, reason: Reason) -> Self {
        Self { seq, pts, size, cover: Cover::All(reason) }
    }

    /// Place of the frame in decoding output order.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Time of the frame.
    pub fn pts(&self) -> Pts {
        self.pts
    }

    /// Coded size of the frame.
    pub fn size(&self) -> Size {
        self.size
    }

    /// What to cover.
    pub fn cover(&self) -> &Cover {
        &self.cover
    }

    /// Whether nothing is to be covered: the frame was analysed and every face in it is shown.
    pub fn is_clear(&self) -> bool {
        matches!(&self.cover, Cover::Regions(regions) if regions.is_empty())
    }
}
