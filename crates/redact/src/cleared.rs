//! Which packets may be copied as they are.

use domain::{Gop, Pts, TimeBase};

use crate::RedactionPlan;
use crate::plan::Entry;

/// Leave to copy the packets with this hash: every picture in them decoded cleanly in the analysis
/// and needs no cover. Made by [`RedactionPlan::clear`] only.
#[derive(Debug)]
pub struct Cleared {
    sha256: [u8; 32],
}

impl Cleared {
    /// SHA-256 of the packets it is good for, as in [`Gop::sha256`].
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }
}

/// A group of pictures and its frames in the plan.
#[derive(Clone, Debug)]
pub(crate) struct PlacedGop {
    pub(crate) gop: Gop,
    /// `seq` of its first frame; the next one's is the end.
    first: usize,
}

/// Finds the frames of each group. None are found for groups that are out of order, start before
/// the frames they are to hold, or count in another time base: nothing is copied then.
pub(crate) fn place(frames: &[Entry], base: Option<TimeBase>, gops: &[Gop]) -> Vec<PlacedGop> {
    let rising = gops.windows(2).all(|pair| pair[0].start.ticks < pair[1].start.ticks);
    let starts = frames.first().map(|f| f.ticks) == gops.first().map(|g| g.start.ticks);
    if !rising || !starts || gops.iter().any(|g| Some(g.start.base) != base) {
        return Vec::new();
    }
    let first = |gop: &Gop| frames.partition_point(|f| f.ticks < gop.start.ticks);
    gops.iter().map(|gop| PlacedGop { gop: *gop, first: first(gop) }).collect()
}

impl RedactionPlan {
    /// Start and first frame (`seq`) of every group of pictures, in order; empty where packets
    /// cannot be copied.
    pub fn gops(&self) -> impl ExactSizeIterator<Item = (Pts, u64)> + '_ {
        self.gops.iter().map(|placed| (placed.gop.start, placed.first as u64))
    }

    /// Most pictures decoded before and shown after one and the same picture, in any group.
    pub fn reorder(&self) -> usize {
        self.gops.iter().map(|placed| usize::from(placed.gop.reorder)).max().unwrap_or(0)
    }

    /// Number of frames in group `at`.
    pub fn gop_frames(&self, at: usize) -> u64 {
        self.frames_of(at).map_or(0, |frames| frames.len() as u64)
    }

    /// Whether nothing in group `at` needs a cover, and all of it was seen: it holds a frame for
    /// each of its packets.
    pub fn is_clear(&self, at: usize) -> bool {
        let (Some(frames), Some(placed)) = (self.frames_of(at), self.gops.get(at)) else {
            return false;
        };
        let bare = |seq: usize| {
            let looked = self.frames.get(seq).is_some_and(|entry| entry.all.is_none());
            looked && self.faces(seq).iter().all(|face| face.shown)
        };
        let complete = frames.len() == placed.gop.packets as usize && !frames.is_empty();
        placed.gop.plain && complete && frames.into_iter().all(bare)
    }

    /// Leave to copy group `at`, if [`RedactionPlan::is_clear`] and its packets have the hash
    /// that the analysis saw.
    pub fn clear(&self, at: usize, sha256: [u8; 32]) -> Option<Cleared> {
        let seen = self.gops.get(at)?.gop.sha256;
        (seen == sha256 && self.is_clear(at)).then_some(Cleared { sha256 })
    }

    fn frames_of(&self, at: usize) -> Option<std::ops::Range<usize>> {
        let first = self.gops.get(at)?.first;
        let end = self.gops.get(at + 1).map_or(self.frames.len(), |next| next.first);
        Some(first..end)
    }
}
