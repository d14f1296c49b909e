//! From a checked document, edits included, to a plan.

use std::collections::HashMap;

use domain::{BoxKind, Gop, PersonIx, Pts, Rect, TimeBase, Track, TrackBox, TrackId};

use super::{Edit, Key, Manual, Model, PlanDocument, PlanError, TrackForm};
use crate::analysis::place_boxes;
use crate::plan::Entry;
use crate::{RedactionPlan, ShownSpan, cleared};

impl PlanDocument {
    /// The plan, for the input whose bytes have this SHA-256 (lower-case hex).
    ///
    /// # Errors
    /// It was made of another input, or of one that has no hash.
    pub fn for_input(&self, sha256: &str) -> Result<RedactionPlan, PlanError> {
        self.check_input(sha256)?;
        let base = self.0.time_base.and_then(super::Base::time_base);
        self.plan(base, self.0.frames.clone(), &self.gops(base))
    }

    /// # Errors
    /// As [`PlanDocument::for_input`].
    pub(super) fn check_input(&self, sha256: &str) -> Result<(), PlanError> {
        let input = &self.0.input;
        if input.sha256.is_empty() || input.sha256 != sha256 {
            return Err(PlanError::OtherInput { name: input.name.clone() });
        }
        Ok(())
    }

    /// The plan with these times of its frames, one for each, and these groups.
    pub(super) fn plan(
        &self,
        base: Option<TimeBase>,
        ticks: Vec<i64>,
        gops: &[Gop],
    ) -> Result<RedactionPlan, PlanError> {
        let document = &self.0;
        let policy = document
            .policy
            .policy()
            .map_err(|e| PlanError::Invalid { place: "policy".to_owned(), why: e.to_string() })?;
        let frames = ticks.into_iter().zip(document.whole());
        let mut frames: Vec<Entry> =
            frames.map(|(ticks, all)| Entry { ticks, first: 0, all }).collect();
        let mut tracks = self.tracks();
        tracks.extend(self.manual_tracks());
        let shown = self.shown();
        let boxes = place_boxes(&mut frames, &tracks, &shown);
        let gops = cleared::place(&frames, base, gops);
        Ok(RedactionPlan {
            size: document.size(),
            first: 0,
            policy,
            base,
            frames,
            boxes,
            gops,
            shown,
        })
    }

    /// The faces that were followed and still have boxes, without areas drawn by hand. Of their comparisons only the
    /// best is known, and of their boxes no scores.
    pub fn tracks(&self) -> Vec<Track> {
        let people = self.by_name();
        self.0.tracks.iter().filter_map(|track| self.track(track, &people)).collect()
    }

    fn track(&self, track: &TrackForm, people: &HashMap<&str, usize>) -> Option<Track> {
        let boxes = track.boxes.iter().filter_map(|row| {
            let frame = self.0.frames.binary_search(&row.0).ok()?;
            Some(TrackBox { frame, rect: row.rect(), kind: row.5, score: 0.0 })
        });
        let boxes: Vec<TrackBox> = boxes.collect();
        let (first, last) = (boxes.first()?.frame, boxes.last()?.frame);
        let like = track.most_like.as_ref();
        Some(Track {
            id: track.id,
            sightings: like
                .map(|l| (first, person(people, Some(&l.person)), l.similarity))
                .into_iter()
                .collect(),
            best_score: track.best_score,
            first: (first, self.pts(first)?),
            last: (last, self.pts(last)?),
            boxes,
        })
    }

    /// Areas drawn by hand, as tracks named after all others.
    fn manual_tracks(&self) -> impl Iterator<Item = Track> + '_ {
        let after = self.0.tracks.last().map_or(0, |track| track.id.0);
        (after.saturating_add(1)..).zip(&self.0.manual).filter_map(|(id, manual)| {
            let frames = self.0.between(manual.from, manual.to);
            let (first, last) = (frames.start, frames.end.saturating_sub(1));
            let boxes = frames.filter_map(|frame| {
                let rect = rect_at(manual, *self.0.frames.get(frame)?)?;
                Some(TrackBox { frame, rect, kind: BoxKind::Manual, score: 0.0 })
            });
            Some(Track {
                id: TrackId(id),
                boxes: boxes.collect(),
                sightings: Vec::new(),
                best_score: 0.0,
                first: (first, self.pts(first)?),
                last: (last, self.pts(last)?),
            })
        })
    }

    /// Where tracks are shown, by what was confirmed and by what was edited.
    fn shown(&self) -> Vec<ShownSpan> {
        let people = self.by_name();
        let mut spans = Vec::new();
        for track in &self.0.tracks {
            let name = |name: &Option<String>| person(&people, name.as_ref());
            let mut show = |from, to, person| {
                let frames = self.0.between(from, to);
                if !frames.is_empty() {
                    let (first, last) = (frames.start, frames.end - 1);
                    spans.push(ShownSpan { track: track.id, person, first, last });
                }
            };
            match track.edit {
                Some(Edit::Cover) => {}
                Some(Edit::Keep) => {
                    let known = track.shown.first().map_or(&None, |shown| &shown.person);
                    let (first, last) = (track.boxes.first(), track.boxes.last());
                    if let (Some(first), Some(last)) = (first, last) {
                        show(first.0, last.0, name(known));
                    }
                }
                None => track.shown.iter().for_each(|s| show(s.from, s.to, name(&s.person))),
            }
        }
        spans
    }

    pub(super) fn gops(&self, base: Option<TimeBase>) -> Vec<Gop> {
        let gop = |gop: &super::GopForm| {
            let &super::GopForm { packets, reorder, plain, .. } = gop;
            let (start, sha256) = (Pts::new(gop.from, base?), from_hex(&gop.sha256)?);
            Some(Gop { start, packets, reorder, sha256, plain })
        };
        // All or none: a missing one would leave its frames to the one before.
        self.0.gops.iter().map(gop).collect::<Option<_>>().unwrap_or_default()
    }

    /// Names of the kept people, by [`PersonIx`].
    pub fn people(&self) -> Vec<String> {
        let by_name = self.by_name();
        let mut people = vec![String::new(); by_name.len()];
        for (name, at) in by_name {
            if let Some(person) = people.get_mut(at) {
                *person = name.to_owned();
            }
        }
        people
    }

    fn by_name(&self) -> HashMap<&str, usize> {
        let mut people = HashMap::new();
        for track in &self.0.tracks {
            let shown = track.shown.iter().filter_map(|shown| shown.person.as_deref());
            let like = track.most_like.as_ref().map(|like| like.person.as_str());
            for name in shown.chain(like) {
                let next = people.len();
                people.entry(name).or_insert(next);
            }
        }
        people
    }

    /// Time of every frame.
    pub fn times(&self) -> Vec<Pts> {
        (0..self.0.frames.len()).filter_map(|frame| self.pts(frame)).collect()
    }

    fn pts(&self, frame: usize) -> Option<Pts> {
        let base = self.0.time_base.and_then(super::Base::time_base)?;
        Some(Pts::new(*self.0.frames.get(frame)?, base))
    }

    /// What a person says of each track, where one does.
    pub fn edits(&self) -> impl Iterator<Item = (TrackId, Edit)> + '_ {
        self.0.tracks.iter().filter_map(|track| Some((track.id, track.edit?)))
    }

    /// Number of areas drawn by hand.
    pub fn manual_areas(&self) -> usize {
        self.0.manual.len()
    }

    /// The models that looked.
    pub fn models(&self) -> &[Model] {
        &self.0.models
    }
}

fn person(people: &HashMap<&str, usize>, name: Option<&String>) -> PersonIx {
    let at = name.and_then(|name| people.get(name.as_str()));
    PersonIx(at.copied().unwrap_or(usize::MAX))
}

/// The box at `ticks`: between two keys on the straight line between them.
fn rect_at(manual: &Manual, ticks: i64) -> Option<Rect> {
    let keys = &manual.keys;
    let next = keys.partition_point(|key| key.0 <= ticks);
    let after = keys.get(next);
    let Some(before) = next.checked_sub(1).and_then(|at| keys.get(at)) else {
        return after.map(Key::rect);
    };
    let Some(after) = after else { return Some(before.rect()) };
    let since = (i128::from(ticks) - i128::from(before.0)) as f64;
    let all = (i128::from(after.0) - i128::from(before.0)) as f64;
    Some(before.rect().lerp(after.rect(), (since / all) as f32))
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(bytes)
}
