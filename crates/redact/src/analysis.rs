//! The witness that a whole video was looked at.

use std::collections::HashMap;

use domain::{Gop, PersonIx, Pts, Rect, Size, TimeBase, Track, TrackId};
use serde::{Deserialize, Serialize};

use crate::plan::{Entry, Face};
use crate::{Policy, Reason, RedactionPlan, cleared};

/// How a frame was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// Detectors looked at it.
    Detected,
    /// Nothing looked at it.
    Skipped,
    /// It did not decode cleanly. What the detectors said, if they looked, means nothing.
    Damaged,
}

/// A track is confirmed to be a kept person from frame `first` to frame `last`, both included: its
/// own boxes are not covered there. Boxes of other tracks are, also where they overlap it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownSpan {
    /// The track.
    pub track: TrackId,
    /// Who it is.
    pub person: PersonIx,
    /// First frame (`seq`).
    pub first: usize,
    /// Last frame (`seq`), included; before `first`: the span is empty.
    pub last: usize,
}

/// Collects how every frame was looked at. Without it there is no plan, so a frame that was never
/// reported here is covered whole.
#[derive(Debug)]
pub struct Analysis {
    size: Size,
    /// `seq` of the first frame.
    first: u64,
    base: Option<TimeBase>,
    frames: Vec<Looked>,
    gops: Vec<Gop>,
}

#[derive(Debug)]
struct Looked {
    pts: Pts,
    seen: Seen,
    cut: bool,
}

impl Analysis {
    /// Frames between two detected ones count as analysed when these are at most this far apart.
    pub const MAX_GAP_SECONDS: f64 = 0.1;

    /// Edges farther out than this (in pixels) come from a broken tracker, not from a face.
    const MAX_EDGE: f32 = 1e6;

    /// Of a video whose pictures are coded in `size`.
    pub fn new(size: Size) -> Self {
        Self::piece(0, size)
    }

    /// Of a piece of a video that goes on and on, beginning with the frame `first` (its `seq`). Boxes
    /// and spans still count the frames from the first of the piece.
    pub fn piece(first: u64, size: Size) -> Self {
        Self { size, first, base: None, frames: Vec::new(), gops: Vec::new() }
    }

    /// The next frame, in decoding output order: its `seq` is that of the one before, plus one.
    /// `cut`: a new shot starts with it.
    pub fn frame(&mut self, pts: Pts, seen: Seen, cut: bool) {
        self.base.get_or_insert(pts.base);
        self.frames.push(Looked { pts, seen, cut });
    }

    /// The groups of pictures of the whole video, in order, where its packets may be copied.
    pub fn gops(&mut self, gops: Vec<Gop>) {
        self.gops = gops;
    }

    /// Makes the plan: every box of every track is covered, but for those of a track inside its
    /// spans in `shown`; frames that were not analysed are covered whole. Boxes at frames that were
    /// not reported have no effect (such frames are covered whole).
    pub fn finish(self, tracks: &[Track], shown: &[ShownSpan], policy: &Policy) -> RedactionPlan {
        let mut frames = self.entries();
        let boxes = place_boxes(&mut frames, tracks, shown);
        let gops = cleared::place(&frames, self.base, &self.gops);
        RedactionPlan {
            size: self.size,
            first: self.first,
            policy: *policy,
            base: self.base,
            frames,
            boxes,
            gops,
            shown: shown.to_vec(),
        }
    }

    /// One entry per frame, boxes still missing.
    fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.frames.iter().map(|f| self.entry(f)).collect();
        let mut last_detected: Option<usize> = None;
        for (at, frame) in self.frames.iter().enumerate() {
            if frame.seen != Seen::Detected {
                continue;
            }
            if let Some(before) = last_detected {
                self.bridge(&mut entries, before, at);
            }
            last_detected = Some(at);
        }
        entries
    }

    fn entry(&self, frame: &Looked) -> Entry {
        let all = match frame.seen {
            _ if Some(frame.pts.base) != self.base => Some(Reason::Mismatch),
            Seen::Detected => None,
            Seen::Skipped => Some(Reason::NotAnalysed),
            Seen::Damaged => Some(Reason::Damaged),
        };
        Entry { ticks: frame.pts.ticks, first: 0, all }
    }

    /// Frames skipped between the detected frames `before` and `after` count as analysed when these
    /// are close, belong to one shot and enclose them in time.
    fn bridge(&self, entries: &mut [Entry], before: usize, after: usize) {
        let (a, b) = (&self.frames[before], &self.frames[after]);
        let gap = b.pts.seconds_since(a.pts);
        let cut = self.frames[before + 1..=after].iter().any(|f| f.cut);
        if cut || !(0.0..=Self::MAX_GAP_SECONDS).contains(&gap) {
            return;
        }
        let between = self.frames.iter().zip(entries).take(after).skip(before + 1);
        for (frame, entry) in between {
            let inside = (0.0..=gap).contains(&frame.pts.seconds_since(a.pts));
            if inside && entry.all == Some(Reason::NotAnalysed) {
                entry.all = None;
            }
        }
    }
}

/// Groups the boxes of all tracks by frame (a counting sort), and points the entries at them. In a
/// frame they are in order of their tracks' names.
pub(crate) fn place_boxes(
    frames: &mut [Entry],
    tracks: &[Track],
    shown: &[ShownSpan],
) -> Vec<Face> {
    let spans = by_track(shown);
    let mut tracks: Vec<&Track> = tracks.iter().collect();
    tracks.sort_by_key(|track| track.id);
    for track in &tracks {
        for b in &track.boxes {
            if let Some(entry) = frames.get_mut(b.frame) {
                entry.first += 1;
            }
        }
    }
    let mut total = 0;
    for entry in frames.iter_mut() {
        total += std::mem::replace(&mut entry.first, total);
    }
    let mut next: Vec<usize> = frames.iter().map(|entry| entry.first).collect();
    let nothing = Face {
        track: TrackId(0),
        rect: Rect::default(),
        kind: domain::BoxKind::Detected,
        shown: false,
    };
    let mut boxes = vec![nothing; total];
    for track in tracks {
        let spans = spans.get(&track.id).map_or(&[][..], Vec::as_slice);
        for b in &track.boxes {
            let Some(at) = next.get_mut(b.frame) else { continue };
            let span = spans.get(spans.partition_point(|(_, last)| *last < b.frame));
            let shown = span.is_some_and(|(first, _)| *first <= b.frame);
            if !usable(b.rect) && frames[b.frame].all.is_none() {
                frames[b.frame].all = Some(Reason::BadBox);
            }
            boxes[*at] = Face { track: track.id, rect: b.rect, kind: b.kind, shown };
            *at += 1;
        }
    }
    boxes
}

/// First and last frame of the spans of each track, in order and apart from each other.
fn by_track(shown: &[ShownSpan]) -> HashMap<TrackId, Vec<(usize, usize)>> {
    let mut ordered: Vec<&ShownSpan> = shown.iter().filter(|s| s.first <= s.last).collect();
    ordered.sort_by_key(|span| span.first);
    let mut spans: HashMap<TrackId, Vec<(usize, usize)>> = HashMap::new();
    for span in ordered {
        let spans = spans.entry(span.track).or_default();
        match spans.last_mut() {
            Some((_, last)) if span.first <= *last => *last = span.last.max(*last),
            _ => spans.push((span.first, span.last)),
        }
    }
    spans
}

/// Whether a box can be painted: edges in order, and not out of this world.
pub(crate) fn usable(rect: Rect) -> bool {
    let edges = [rect.x0, rect.y0, rect.x1, rect.y1];
    rect.is_sane() && edges.iter().all(|v| v.abs() <= Analysis::MAX_EDGE)
}
