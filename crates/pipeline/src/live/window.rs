//! What was seen of late, and what is to be covered because of it: the analysis of files, over the last seconds
//! of a stream that goes on.
//!
//! A frame is planned when the frames of [`LOOK_AHEAD`] behind it were seen too, so that a face that is found
//! now is covered in the frames just before. Nothing is planned without that: a frame behind which nothing comes
//! is never shown.

use std::collections::VecDeque;

use domain::{Finding, PersonIx, Pts, Rect, Size, Track, TrackId};
use redact::{Analysis, FramePlan, Policy, RedactionPlan, Seen, ShownSpan};
use vision::track::Observation;
use vision::{cuts, identify, track};

use crate::analyse::{renumber, spans};

/// How far ahead of a frame is looked before it is shown, in seconds.
pub(crate) const LOOK_AHEAD: f64 = 0.5;
/// How far back is looked: longer than a kept person is believed without being recognised.
const HISTORY: f64 = 4.0;
/// Frames that are remembered, at most.
const MOST: usize = 512;
/// A box of the frame that was planned last is of the same face as another box of that frame, from this IoU on.
const SAME: f32 = 0.3;

/// Frames that were seen. Their `seq` rises by one.
pub(crate) struct Window {
    size: Size,
    policy: Policy,
    rules: identify::Rules,
    settings: track::Settings,
    /// `seq` of the first frame that is remembered.
    first: u64,
    frames: VecDeque<Observation>,
    looks: VecDeque<Looked>,
    /// `seq` of the next frame to be planned.
    next: u64,
    /// Plans that were not taken yet, up to `next`.
    plans: VecDeque<FramePlan>,
    /// Boxes in the frame that was planned last, and the names under which their colours are held.
    named: Vec<(Rect, TrackId)>,
    names: u32,
}

/// How a frame was looked at.
struct Looked {
    seen: Seen,
    difference: f32,
    /// A detector is looking.
    pending: bool,
}

impl Window {
    pub(crate) fn new(size: Size, policy: Policy) -> Self {
        Self {
            size,
            policy,
            rules: identify::Rules::default(),
            settings: settings(),
            first: 0,
            frames: VecDeque::new(),
            looks: VecDeque::new(),
            next: 0,
            plans: VecDeque::new(),
            named: Vec::new(),
            names: 0,
        }
    }

    /// The frame after the last one; one that is not begins anew. `seen`: whether a detector is asked
    /// ([`Window::found`] says what it found).
    pub(crate) fn frame(&mut self, seq: u64, pts: Pts, seen: Seen, difference: f32) {
        if seq != self.first + self.frames.len() as u64 {
            self.clear();
            (self.first, self.next) = (seq, seq);
        }
        if self.frames.len() == MOST {
            self.forget(1);
        }
        self.frames.push_back(Observation { pts, cut: false, finding: None });
        self.looks.push_back(Looked { seen, difference, pending: seen == Seen::Detected });
    }

    /// What a detector found; `None`: it failed, so the frame was not looked at. A skipped frame that was looked
    /// at after all counts as such.
    pub(crate) fn found(&mut self, seq: u64, finding: Option<Finding>) {
        let Some(at) = seq.checked_sub(self.first).and_then(|at| usize::try_from(at).ok()) else {
            return;
        };
        let (Some(frame), Some(look)) = (self.frames.get_mut(at), self.looks.get_mut(at)) else {
            return;
        };
        look.pending = false;
        if look.seen != Seen::Damaged {
            look.seen = if finding.is_some() { Seen::Detected } else { Seen::Skipped };
            frame.finding = finding;
        }
    }

    /// The frames before the latest one, so many, may have been predicted from a damaged one.
    pub(crate) fn doubt(&mut self, count: usize) {
        for (look, frame) in self.looks.iter_mut().zip(&mut self.frames).rev().take(count) {
            look.seen = Seen::Damaged;
            frame.finding = None;
        }
    }

    /// Has the people under other numbers; whom `number` does not know was never recognised. All that was
    /// planned and not taken is planned anew.
    pub(crate) fn renumber(&mut self, number: impl Fn(PersonIx) -> Option<PersonIx>) {
        for finding in self.frames.iter_mut().filter_map(|frame| frame.finding.as_mut()) {
            renumber(finding, &number);
        }
        self.next = self.next.saturating_sub(self.plans.len() as u64).max(self.first);
        self.plans.clear();
    }

    /// Nothing that comes has to do with what was. What was not planned never is.
    pub(crate) fn clear(&mut self) {
        self.forget(self.frames.len());
        self.next = self.first;
        self.plans.clear();
        self.named.clear();
    }

    /// The publisher is gone: what could be planned by now can be taken, what could not never is. Gives the `seq` of the
    /// first frame that never is.
    pub(crate) fn close(&mut self) -> u64 {
        self.plan();
        let end = self.next;
        self.forget(self.frames.len());
        self.next = self.first;
        self.named.clear();
        end
    }

    /// The plan for frame `seq`, if it can be made. Plans are taken in order; those of frames before are gone.
    pub(crate) fn take(&mut self, seq: u64) -> Option<FramePlan> {
        if seq >= self.next {
            self.plan();
        }
        while self.plans.front().is_some_and(|plan| plan.seq() < seq) {
            self.plans.pop_front();
        }
        self.plans.front().is_some_and(|plan| plan.seq() == seq).then(|| self.plans.pop_front())?
    }

    /// Whether a detector is still looking at a frame that is due at `at`, in ticks, or was before: nothing behind it
    /// can be planned.
    pub(crate) fn is_late(&self, at: i64) -> bool {
        let looked = self.looks.iter().zip(&self.frames);
        looked.into_iter().any(|(look, frame)| look.pending && frame.pts.ticks <= at)
    }

    /// Plans all frames behind which enough was seen.
    fn plan(&mut self) {
        let known = self.looks.iter().position(|look| look.pending).unwrap_or(self.looks.len());
        let frames = &self.frames.make_contiguous()[..known];
        let Some(last) = frames.last() else { return };
        let ready = |frame: &Observation| last.pts.seconds_since(frame.pts) >= LOOK_AHEAD;
        let from = usize::try_from(self.next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let until = known - frames.iter().rev().take_while(|frame| !ready(frame)).count();
        if from >= until {
            return;
        }
        let plan = self.analyse(known);
        for at in from..until {
            let (seq, pts) = (self.first + at as u64, self.frames[at].pts);
            self.plans.push_back(plan.for_frame(seq, pts, self.size));
        }
        self.next = self.first + until as u64;
        let now = self.frames[until - 1].pts;
        let old = self.frames.iter().take_while(|f| now.seconds_since(f.pts) > HISTORY).count();
        self.forget(old);
    }

    /// The plan of the first `known` frames, by the steps that files go through.
    fn analyse(&mut self, known: usize) -> RedactionPlan {
        let differences: Vec<f32> = self.looks.iter().take(known).map(|l| l.difference).collect();
        let mut analysis = Analysis::piece(self.first, self.size);
        let cut = cuts::find(&differences);
        for ((frame, look), cut) in self.frames.iter_mut().zip(&self.looks).zip(cut) {
            frame.cut = cut;
            analysis.frame(frame.pts, look.seen, cut);
        }
        let frames = &self.frames.make_contiguous()[..known];
        let mut followed = track::follow(frames, self.size, &self.settings);
        let shown = identify::shown(&followed.tracks, frames, &self.rules);
        let mut shown = spans(shown);
        self.name(&mut followed.tracks, &mut shown, known);
        analysis.finish(&followed.tracks, &shown, &self.policy)
    }

    /// Gives tracks the names that they had when the last plan was made, so that the colours of their covers are
    /// held.
    fn name(&mut self, tracks: &mut [Track], shown: &mut [ShownSpan], known: usize) {
        let box_at =
            |track: &Track, at: usize| track.boxes.iter().find(|b| b.frame == at).map(|b| b.rect);
        // The frame that was planned last; none is, in the first plan.
        let before = usize::try_from(self.next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let before = before.wrapping_sub(1);
        let mut pairs: Vec<(f32, usize, TrackId)> = Vec::new();
        for (i, track) in tracks.iter().enumerate() {
            let Some(rect) = box_at(track, before) else { continue };
            pairs.extend(self.named.iter().map(|(named, id)| (rect.iou(*named), i, *id)));
        }
        pairs.retain(|pair| pair.0 >= SAME);
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut given: Vec<Option<TrackId>> = vec![None; tracks.len()];
        for (_, track, id) in pairs {
            if given[track].is_none() && !given.contains(&Some(id)) {
                given[track] = Some(id);
            }
        }
        let mut names = self.names;
        let mut fresh = || {
            names = names.wrapping_add(1);
            TrackId(names)
        };
        let given: Vec<TrackId> =
            given.into_iter().map(|id| id.unwrap_or_else(&mut fresh)).collect();
        self.names = names;
        // Tracks are numbered from 1 in their order.
        let named = |id: TrackId| given.get((id.0 as usize).wrapping_sub(1)).copied();
        shown.iter_mut().for_each(|span| span.track = named(span.track).unwrap_or(span.track));
        for (track, id) in tracks.iter_mut().zip(&given) {
            track.id = *id;
        }
        // The frame that this plan is good for last: as far as anything is known less the look-ahead.
        let frames = &self.frames;
        let last = frames.get(known - 1).map(|frame| frame.pts);
        let is_planned =
            |f: &&Observation| last.is_some_and(|l| l.seconds_since(f.pts) >= LOOK_AHEAD);
        let until = frames.iter().take(known).take_while(is_planned).count();
        if let Some(at) = until.checked_sub(1) {
            let boxes = tracks.iter().filter_map(|track| Some((box_at(track, at)?, track.id)));
            self.named = boxes.collect();
        }
    }

    /// Drops the first `count` frames.
    fn forget(&mut self, count: usize) {
        self.frames.drain(..count);
        self.looks.drain(..count);
        self.first += count as u64;
        self.next = self.next.max(self.first);
    }
}

/// As for files, but a face that was lost is covered for longer: nobody can look ahead to where it comes back.
fn settings() -> track::Settings {
    track::Settings { extension: 1.0, vain_looks: 2, ..track::Settings::default() }
}
