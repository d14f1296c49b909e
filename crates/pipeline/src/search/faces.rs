//! The faces in one frame after the other, out of the tracks of an analysis.

use std::collections::{HashMap, HashSet};

use domain::{BoxKind, Orientation, PersonIx, Pts, Size, Track, TrackBox, TrackId};
use redact::ShownSpan;
use vision::likeness;

use super::{FaceLine, MOST_MATCHES, Match, RatioBox, rounded};
use crate::analyse::Analysed;

/// A face is compared four times a second. The best comparison this long before and after, in seconds,
/// stands for the frames between: eyes shut, a turn of the head.
const NEAR: f64 = 1.0;

/// Who a face is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Person(PersonIx),
    Track(TrackId),
}

/// Gives the faces of frames, asked for in rising order.
pub(super) struct Faces<'a> {
    names: &'a [&'a str],
    threshold: f32,
    size: Size,
    orientation: Orientation,
    times: &'a [Pts],
    shown: HashMap<TrackId, Vec<ShownSpan>>,
    /// Those that have not begun, the next one last.
    to_come: Vec<&'a Track>,
    now: Vec<Follower<'a>>,
    numbers: HashMap<Who, u32>,
}

impl<'a> Faces<'a> {
    /// `names` by [`PersonIx`]; `size` and `orientation` are those of the coded picture.
    pub(super) fn new(
        analysed: &'a Analysed,
        names: &'a [&'a str],
        threshold: f32,
        size: Size,
        orientation: Orientation,
    ) -> Self {
        let mut shown: HashMap<TrackId, Vec<ShownSpan>> = HashMap::new();
        for span in &analysed.shown {
            shown.entry(span.track).or_default().push(*span);
        }
        let mut to_come: Vec<&Track> = analysed.followed.tracks.iter().collect();
        to_come.retain(|track| !track.boxes.is_empty());
        to_come.sort_by_key(|track| std::cmp::Reverse((track.boxes[0].frame, track.id)));
        let (times, now, numbers) = (&analysed.times[..], Vec::new(), HashMap::new());
        Self { names, threshold, size, orientation, times, shown, to_come, now, numbers }
    }

    /// Different people that were given out.
    pub(super) fn people(&self) -> u32 {
        self.numbers.len() as u32
    }

    /// The faces of a frame, after those of all frames that were asked for before.
    pub(super) fn at(&mut self, frame: usize) -> Vec<FaceLine> {
        while let Some(track) = self.to_come.pop_if(|track| track.boxes[0].frame <= frame) {
            self.now.push(Follower { track, next: 0, score: None });
        }
        self.now.retain(|f| f.track.boxes.last().is_some_and(|last| last.frame >= frame));
        let mut seen: Vec<(&Track, RatioBox, f32)> = Vec::new();
        let upright = self.orientation.upright_size(self.size);
        let upright = (upright.width as f32, upright.height as f32);
        for follower in &mut self.now {
            let Some((found, score)) = follower.at(frame) else { continue };
            let rect = self.orientation.rect_to_upright(found.rect, self.size);
            if let Some(place) = RatioBox::of(rect, upright) {
                seen.push((follower.track, place, score));
            }
        }
        let who = self.who(frame, &seen);
        let timestamp_ms =
            self.times.get(frame).map_or(0, |pts| (pts.seconds() * 1000.0).round() as i64);
        let mut lines = Vec::with_capacity(seen.len());
        for ((track, place, score), who) in seen.into_iter().zip(who) {
            let next = self.numbers.len() as u32;
            let index = *self.numbers.entry(who).or_insert(next);
            let confidence = rounded(score * 100.0, 100.0);
            let matches = self.matches(track, frame);
            lines.push(FaceLine { timestamp_ms, index, place, confidence, matches });
        }
        lines
    }

    /// Who each face of a frame is. A track that was confirmed once keeps its person for the rest of its
    /// time, unless another face of the frame has a better claim.
    fn who(&self, frame: usize, seen: &[(&Track, RatioBox, f32)]) -> Vec<Who> {
        let spans = |track: &Track| self.shown.get(&track.id).map_or(&[][..], Vec::as_slice);
        let confirmed = |track: &Track| {
            let mut here = spans(track).iter().filter(|s| (s.first..=s.last).contains(&frame));
            here.next().map(|span| span.person)
        };
        let mut taken: HashSet<PersonIx> =
            seen.iter().filter_map(|(track, ..)| confirmed(track)).collect();
        let mut given = HashSet::new();
        let mut who = |(track, ..): &(&Track, RatioBox, f32)| {
            if let Some(person) = confirmed(track).filter(|person| given.insert(*person)) {
                return Who::Person(person);
            }
            let person = spans(track).first().map(|span| span.person);
            let one = person.filter(|p| spans(track).iter().all(|span| span.person == *p));
            match one.filter(|person| taken.insert(*person)) {
                Some(person) => Who::Person(person),
                None => Who::Track(track.id),
            }
        };
        seen.iter().map(&mut who).collect()
    }

    /// Whom the face is like around this frame.
    fn matches(&self, track: &Track, frame: usize) -> Vec<Match> {
        let Some(now) = self.times.get(frame) else { return Vec::new() };
        let near =
            |at: usize| self.times.get(at).is_some_and(|pts| pts.seconds_since(*now).abs() <= NEAR);
        let before = track.sightings.partition_point(|s| s.0 < frame);
        let back = track.sightings[..before].iter().rev().take_while(|s| near(s.0));
        let on = track.sightings[before..].iter().take_while(|s| near(s.0));
        let mut best: HashMap<PersonIx, f32> = HashMap::new();
        for (_, person, similarity) in back.chain(on) {
            let most = best.entry(*person).or_insert(f32::MIN);
            *most = most.max(*similarity);
        }
        let mut matches: Vec<Match> = best
            .into_iter()
            .filter_map(|(person, similarity)| {
                let similarity = rounded(likeness::percent(similarity), 100.0);
                let person = (*self.names.get(person.0)?).to_owned();
                (similarity >= self.threshold).then_some(Match { person, similarity })
            })
            .collect();
        matches.sort_by(|a, b| {
            b.similarity.total_cmp(&a.similarity).then_with(|| a.person.cmp(&b.person))
        });
        matches.truncate(MOST_MATCHES);
        matches
    }
}

/// A track on its way through the frames.
struct Follower<'a> {
    track: &'a Track,
    /// Its first box that is not before the last frame asked for.
    next: usize,
    /// Score of the last detection before that.
    score: Option<f32>,
}

impl<'a> Follower<'a> {
    /// The face's box in this frame and how sure it is. Boxes before the first and after the last
    /// detection are guesses that only covering needs.
    fn at(&mut self, frame: usize) -> Option<(&'a TrackBox, f32)> {
        let boxes = &self.track.boxes;
        while let Some(passed) = boxes.get(self.next).filter(|b| b.frame < frame) {
            if passed.kind == BoxKind::Detected {
                self.score = Some(passed.score);
            }
            self.next += 1;
        }
        let here = boxes[self.next..].iter().take_while(|b| b.frame == frame);
        let rank = |b: &&TrackBox| match b.kind {
            BoxKind::Detected => 0,
            BoxKind::Interpolated => 1,
            BoxKind::Extended | BoxKind::Manual => 2,
        };
        let found = here.min_by_key(rank)?;
        match found.kind {
            BoxKind::Detected => Some((found, found.score)),
            BoxKind::Interpolated => {
                let mut later = boxes[self.next..].iter().filter(|b| b.kind == BoxKind::Detected);
                let after = later.next().map_or(0.0, |b| b.score);
                Some((found, self.score.map_or(after, |before| before.min(after))))
            }
            BoxKind::Extended | BoxKind::Manual => None,
        }
    }
}
