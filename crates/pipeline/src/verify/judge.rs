//! From what was seen in every frame to leaks, suspects and kept people.
//!
//! Faces are chained through time by their boxes alone: trackers are what is being verified. A chain
//! holds no more than a few seconds, so memory does not grow with the video.

use std::collections::VecDeque;

use domain::{PersonIx, Rect};

use super::faces::By;
use super::look::{Look, Seen};
use super::report::{FaceCounts, FoundBy, Spot, Why};

/// A face that does not show, but that the recogniser finds this alike, is still recognisable. The
/// usual threshold for two photos of one person (.363) does not do: here the light, the pose and the
/// frame are the same. Measured: Garim's mosaic .49 at most (.29 on real clips), a blur of a twelfth
/// of the face's width up to .57, of a twentieth .61 in the median.
const RECOGNISABLE: f32 = 0.52;
/// From this similarity on it may be.
const DOUBTFUL: f32 = 0.42;
/// Faces narrower than this, in pixels, are suspects at most: detectors guess, and so does everybody.
const MIN_FACE: f32 = 16.0;
/// One detector finds a face when it finds it in this many consecutive frames, or deep looks.
const CONSECUTIVE: u32 = 3;
/// Longest time between two looks of one chain, in seconds.
const GAP: f64 = 0.25;
/// A chain goes on in a box that overlaps this much ...
const LINK_IOU: f32 = 0.2;
/// ... or whose centre is closer than this share of the width, at most twice as large or small.
const LINK_DISTANCE: f32 = 0.6;
/// How long a match is believed while a face cannot be recognised, in seconds. The analysis believes
/// it for 3 s, and compares at other moments than this.
const HOLD: f64 = 3.3;
/// Matches needed within [`HOLD`].
const MATCHES: usize = 2;
/// Below this similarity a face is not the person.
const MISMATCH: f32 = 0.2;
/// A single mismatch between two matches at most this far apart is a bad moment, in seconds.
const MOMENT: f64 = 1.0;
/// Leaks and suspects listed, each.
pub(super) const MAX_SPOTS: usize = 500;

/// Gathers what was seen, in order of time.
pub(super) struct Judge {
    threshold: f32,
    keeping: bool,
    chains: Vec<Chain>,
    /// What is known so far.
    pub verdict: Verdict,
}

/// What was found out.
#[derive(Default)]
pub(super) struct Verdict {
    pub counts: FaceCounts,
    pub leaks: Vec<Spot>,
    pub suspects: Vec<Spot>,
    /// Spots that were too many to be listed: leaks and suspects.
    pub unlisted: (u64, u64),
    /// Frames that had to be the same and are not: how many, and the first one's time.
    pub changed: (u64, f64),
    /// Frames whose GOP was copied.
    pub copied: u64,
    /// Frames that are the same in every pixel.
    pub exact: u64,
    /// Frames compared.
    pub compared: u64,
}

impl Judge {
    /// `threshold`: how alike a kept person must be; `None` when nobody is to be kept.
    pub(super) fn new(threshold: Option<f32>) -> Self {
        Self {
            threshold: threshold.unwrap_or(1.0),
            keeping: threshold.is_some(),
            chains: Vec::new(),
            verdict: Verdict::default(),
        }
    }

    /// Takes what was seen of the next pair.
    pub(super) fn take(&mut self, seen: Seen) {
        let verdict = &mut self.verdict;
        verdict.compared += 1;
        verdict.exact += u64::from(seen.exact);
        verdict.copied += u64::from(seen.copied);
        if seen.copied && !seen.exact {
            if verdict.changed.0 == 0 {
                verdict.changed.1 = seen.time;
            }
            verdict.changed.0 += 1;
        }
        verdict.counts.overlooked += seen.overlooked as u64;
        let mut free: Vec<usize> = (0..self.chains.len()).collect();
        for look in &seen.looks {
            let closest = free
                .iter()
                .enumerate()
                .filter_map(|(at, &i)| Some((at, self.chains[i].fits(look.face.rect)?)))
                .max_by(|a, b| a.1.total_cmp(&b.1));
            let index = match closest {
                Some((at, _)) => free.swap_remove(at),
                None => {
                    self.chains.push(Chain::new());
                    self.chains.len() - 1
                }
            };
            let now = (seen.index, seen.time);
            let glimpse = Glimpse::of(look, now, &seen);
            self.chains[index].add(glimpse, look, now, self.threshold, &mut self.verdict);
        }
        self.settle((seen.index, seen.time));
    }

    fn settle(&mut self, now: Moment) {
        let hold = if self.keeping { HOLD } else { 0.0 };
        for chain in &mut self.chains {
            chain.settle(now.1 - hold, &mut self.verdict);
        }
        let verdict = &mut self.verdict;
        self.chains.retain_mut(|chain| {
            let over = are_apart(chain.last, now);
            if over {
                chain.close(verdict);
            }
            !over
        });
    }

    /// All that was found out, when nothing more comes.
    pub(super) fn finish(mut self) -> Verdict {
        for chain in &mut self.chains {
            chain.close(&mut self.verdict);
        }
        self.verdict
    }
}

/// A pair of frames: its place in their order, and its time in seconds.
type Moment = (u64, f64);

/// Whether a face seen at both may have been gone in between. Neighbouring frames never part: in
/// slow videos they are far apart.
fn are_apart(before: Moment, after: Moment) -> bool {
    after.0.abs_diff(before.0) > 1 && (after.1 - before.1).abs() > GAP
}

/// A look at a face that shows.
#[derive(Clone, Debug)]
struct Glimpse {
    at: Moment,
    frames: (u64, u64),
    deep: Option<u64>,
    rect: Rect,
    by: By,
    left: f32,
    /// How alike original and output are, where only the recogniser sees the face.
    same: Option<f32>,
    small: bool,
}

impl Glimpse {
    fn of(look: &Look, at: Moment, seen: &Seen) -> Option<Self> {
        let recognisable = look.same.filter(|same| *same >= DOUBTFUL);
        let doubtful = !look.detail.shows() && recognisable.is_some_and(|s| s < RECOGNISABLE);
        (look.detail.shows() || recognisable.is_some()).then(|| Self {
            at,
            frames: seen.frames,
            deep: seen.deep,
            rect: look.face.rect,
            by: if doubtful { By::Doubt } else { look.face.by },
            left: look.detail.left,
            same: recognisable.filter(|_| !look.detail.shows()),
            small: look.face.width() < MIN_FACE,
        })
    }
}

/// What a comparison with the kept people said.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Vote {
    Match(PersonIx),
    Mismatch,
}

/// One face through time.
struct Chain {
    rect: Rect,
    last: Moment,
    /// Looks that wait until it is known whether they show a kept person.
    waiting: VecDeque<Glimpse>,
    votes: VecDeque<(f64, Vote)>,
    /// Best similarity to a kept person.
    similarity: Option<f32>,
    /// Glimpses in a row that are not of a kept person.
    open: Option<Open>,
}

/// A leak or suspect that may still go on.
struct Open {
    spot: Spot,
    leak: bool,
    /// Consecutive frames in which each detector found it: YuNet, CenterFace.
    runs: [u32; 2],
    /// The same for deep looks.
    deep_runs: [u32; 2],
    last: Moment,
    last_deep: Option<u64>,
}

impl Chain {
    fn new() -> Self {
        Self {
            rect: Rect::default(),
            last: (0, 0.0),
            waiting: VecDeque::new(),
            votes: VecDeque::new(),
            similarity: None,
            open: None,
        }
    }

    /// How well a box goes on with this chain; `None`: not at all.
    fn fits(&self, rect: Rect) -> Option<f32> {
        let iou = self.rect.iou(rect);
        let (p, q) = (self.rect.center(), rect.center());
        let distance = (p.x - q.x).hypot(p.y - q.y) / self.rect.width().max(rect.width()).max(1.0);
        let ratio = rect.area() / self.rect.area().max(1.0);
        let near = distance < LINK_DISTANCE && (0.25..4.0).contains(&ratio);
        (iou > LINK_IOU || near).then_some(iou - distance)
    }

    fn add(
        &mut self,
        glimpse: Option<Glimpse>,
        look: &Look,
        now: Moment,
        threshold: f32,
        verdict: &mut Verdict,
    ) {
        verdict.counts.looked_at += 1;
        (self.rect, self.last) = (look.face.rect, now);
        if let Some((person, similarity)) = look.person {
            self.similarity = Some(self.similarity.map_or(similarity, |s| s.max(similarity)));
            let vote = if similarity >= threshold {
                Some(Vote::Match(person))
            } else {
                let unclear = similarity >= MISMATCH; // What is not a number is a mismatch.
                (!unclear).then_some(Vote::Mismatch)
            };
            self.votes.extend(vote.map(|vote| (now.1, vote)));
        }
        match glimpse {
            // What only the recogniser sees is covered, and nobody decided that.
            Some(glimpse) if look.by_hand && glimpse.same.is_none() => {
                verdict.counts.by_hand += 1;
            }
            Some(glimpse) => self.waiting.push_back(glimpse),
            None => verdict.counts.covered += 1,
        }
    }

    /// Decides about what was seen up to `until`.
    fn settle(&mut self, until: f64, verdict: &mut Verdict) {
        while let Some(glimpse) = self.waiting.pop_front_if(|g| g.at.1 <= until) {
            // What only the recogniser sees is never meant to be seen.
            if glimpse.same.is_none() && self.is_kept(glimpse.at.1) {
                verdict.counts.kept += 1;
                self.end(verdict);
            } else {
                verdict.counts.visible += 1;
                self.show(&glimpse, verdict);
            }
        }
        let oldest = self.waiting.front().map_or(until, |g| g.at.1);
        while self.votes.pop_front_if(|(time, _)| *time < oldest - HOLD - MOMENT).is_some() {}
    }

    /// Whether the face is a kept person's at `time`: of the clear votes around it the nearest is a
    /// match, and not the only one for that person.
    fn is_kept(&self, time: f64) -> bool {
        let near = |t: f64| (t - time).abs() <= HOLD;
        let votes: Vec<(f64, Vote)> = self.votes.iter().filter(|v| near(v.0)).copied().collect();
        let is_moment = |i: usize| {
            let around = i.checked_sub(1).and_then(|b| votes.get(b)).zip(votes.get(i + 1));
            around.is_some_and(|(a, b)| a.1 == b.1 && a.1 != Vote::Mismatch && b.0 - a.0 <= MOMENT)
        };
        let clear = (0..votes.len()).filter(|&i| votes[i].1 != Vote::Mismatch || !is_moment(i));
        let distance = |i: &usize| (votes[*i].0 - time).abs();
        // Of two equally near ones, the mismatch counts.
        let nearest = clear.min_by(|a, b| {
            let rank = |i: &usize| votes[*i].1 != Vote::Mismatch;
            distance(a).total_cmp(&distance(b)).then(rank(a).cmp(&rank(b)))
        });
        nearest.map(|i| votes[i].1).is_some_and(|vote| {
            vote != Vote::Mismatch && votes.iter().filter(|v| v.1 == vote).count() >= MATCHES
        })
    }

    /// Notes a glimpse that should not be there.
    fn show(&mut self, glimpse: &Glimpse, verdict: &mut Verdict) {
        if self.open.as_ref().is_some_and(|open| are_apart(open.last, glimpse.at)) {
            self.end(verdict);
        }
        let why = match glimpse.same {
            Some(_) => Why::Recognised,
            None if self.similarity.is_some() => Why::NotKept,
            None => Why::Detail,
        };
        let open = self.open.get_or_insert_with(|| Open {
            spot: Spot::new(glimpse.at.1, why),
            leak: false,
            runs: [0; 2],
            deep_runs: [0; 2],
            last: glimpse.at,
            last_deep: None,
        });
        let found = [By::YuNet, By::CenterFace].map(|one| [By::Both, one].contains(&glimpse.by));
        count(&mut open.runs, found, glimpse.at.0 == open.last.0 + 1);
        if let Some(deep) = glimpse.deep {
            let next = open.last_deep.replace(deep).is_some_and(|last| deep == last + 1);
            count(&mut open.deep_runs, found, next);
        }
        let runs = open.runs.iter().chain(&open.deep_runs);
        let sure = glimpse.by == By::Both || runs.copied().any(|run| run >= CONSECUTIVE);
        open.leak |= sure && !glimpse.small;
        open.last = glimpse.at;
        let spot = &mut open.spot;
        spot.to = glimpse.at.1;
        spot.frames += 1;
        match glimpse.by {
            By::Both => spot.found.both += 1,
            By::YuNet => spot.found.yunet += 1,
            By::CenterFace => spot.found.centerface += 1,
            By::Doubt => spot.found.doubtful += 1,
        }
        spot.kept_similarity = self.similarity;
        if spot.frames == 1 || worth(glimpse) > spot.worth() {
            spot.at = glimpse.at.1;
            spot.rect = [glimpse.rect.x0, glimpse.rect.y0, glimpse.rect.x1, glimpse.rect.y1];
            spot.frame = glimpse.frames;
            spot.detail_left = glimpse.left;
            spot.similarity = glimpse.same;
            spot.why = why;
        }
    }

    fn end(&mut self, verdict: &mut Verdict) {
        let Some(Open { spot, leak, .. }) = self.open.take() else { return };
        let list = if leak { &mut verdict.leaks } else { &mut verdict.suspects };
        if list.len() < MAX_SPOTS {
            list.push(spot);
        } else if leak {
            verdict.unlisted.0 += 1;
        } else {
            verdict.unlisted.1 += 1;
        }
    }

    fn close(&mut self, verdict: &mut Verdict) {
        self.settle(f64::INFINITY, verdict);
        self.end(verdict);
    }
}

/// Counts in how many looks one after the other each detector found a face. `next`: the last one of
/// the run was just before.
fn count(runs: &mut [u32; 2], found: [bool; 2], next: bool) {
    for (run, found) in runs.iter_mut().zip(found) {
        *run = if found { 1 + if next { *run } else { 0 } } else { 0 };
    }
}

/// How much of a spot's worst look shows: by detail first.
fn worth(glimpse: &Glimpse) -> f32 {
    if glimpse.same.is_some() { 0.0 } else { glimpse.left }
}

impl Spot {
    fn new(time: f64, why: Why) -> Self {
        Self {
            from: time,
            to: time,
            at: time,
            frames: 0,
            frame: (0, 0),
            rect: [0.0; 4],
            detail_left: 0.0,
            similarity: None,
            kept_similarity: None,
            found: FoundBy::default(),
            why,
        }
    }

    fn worth(&self) -> f32 {
        if self.similarity.is_some() { 0.0 } else { self.detail_left }
    }
}

#[cfg(test)]
mod tests;
