//! When a track is shown, because it is known to be an enrolled person. Everything fails closed:
//! whatever is not shown by [`shown`] stays covered.
//!
//! A track only says that a face moved without a jump; it may pass from one face to another. So an
//! identity holds in a *stretch* of a track: no cut, no gap, no jump, nobody else's box near. In a
//! stretch the sightings vote, and how long votes are believed is limited in time.

mod stretch;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use domain::{PersonIx, Track, TrackId};

use crate::track::{Observation, ROUNDING, clock};
use stretch::{Stretch, stretches};

/// When an identity is believed. Times are in seconds, similarities are cosines, -1..=1.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// From this similarity on a sighting is a match: above every stranger measured (.42).
    pub threshold: f32,
    /// Below this similarity a sighting is a clear mismatch; between the two it is unclear.
    pub mismatch: f32,
    /// Sightings of narrower faces, in pixels, are no match: strangers look alike when small.
    pub min_width: f32,
    /// How many matches, among how many sightings in a row, confirm a person.
    pub votes: (usize, usize),
    /// How long a match is believed while sightings are unclear or missing, both ways in time.
    pub hold: f64,
    /// Longest time between two detections of one stretch. Videos with fewer frames than this
    /// asks for are never shown: a face may be exchanged between any two of their frames.
    pub unbroken_gap: f64,
    /// Longest time between two frames that were looked at, with others between them.
    pub unlooked_gap: f64,
    /// Tracks cross when boxes share this much of the smaller one (IoU 0.05 for equal sizes), ...
    pub crossing_overlap: f32,
    /// ... or when their centres are closer than this share of the larger width.
    pub crossing_distance: f32,
    /// Least IoU of neighbouring detections; below, the track may have jumped to another face.
    pub jump_iou: f32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            mismatch: 0.25,
            min_width: 40.0,
            votes: (2, 3),
            hold: 3.0,
            unbroken_gap: 0.25,
            unlooked_gap: 0.1,
            crossing_overlap: 0.09,
            crossing_distance: 0.6,
            jump_iou: 0.1,
        }
    }
}

/// A track is this person from frame `first` to frame `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The track.
    pub track: TrackId,
    /// Who it is.
    pub person: PersonIx,
    /// Index of the first frame.
    pub first: usize,
    /// Index of the last frame.
    pub last: usize,
}

/// Which tracks are whom and when, in order of track and time.
///
/// `tracks` are all tracks that are covered, as [`crate::track::follow`] made them of `frames`.
/// Ranges begin and end inside the detections of their track. Where two tracks are the same person
/// at the same time, only the one with the more similar sighting is shown.
pub fn shown(tracks: &[Track], frames: &[Observation], rules: &Rules) -> Vec<Shown> {
    let at = clock(frames);
    let rules = &Rules {
        hold: rules.hold + ROUNDING,
        unbroken_gap: rules.unbroken_gap + ROUNDING,
        unlooked_gap: rules.unlooked_gap + ROUNDING,
        ..rules.clone()
    };
    let mut claims: Vec<Claim> = Vec::new();
    for (i, track) in tracks.iter().enumerate() {
        let matches = track.sightings.iter().filter(|s| s.2 >= rules.threshold).count();
        if matches < rules.votes.0 {
            continue;
        }
        for stretch in stretches(tracks, i, frames, &at, rules) {
            for person in stretch.people() {
                claims.extend(claim(&stretch, person, &at, rules).into_iter().map(
                    |(first, last, similarity)| {
                        let shown = Shown { track: track.id, person, first, last };
                        Claim { shown, similarity }
                    },
                ));
            }
        }
    }
    let mut shown = settle(claims);
    shown.sort_by_key(|shown| (shown.track, shown.first));
    shown
}

/// The enrolled person that a track looked most like, and how much, whether shown or not.
pub fn closest(track: &Track) -> Option<(PersonIx, f32)> {
    let best = track.sightings.iter().max_by(|a, b| a.2.total_cmp(&b.2));
    best.map(|(_, person, similarity)| (*person, *similarity))
}

/// A range with its most similar sighting.
struct Claim {
    shown: Shown,
    similarity: f32,
}

/// What one sighting says about the person in question.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Vote {
    Yes(f32),
    Unclear,
    No,
}

/// Frames of the stretch in which it is believed to be `person`: (first, last, best similarity).
fn claim(
    stretch: &Stretch,
    person: PersonIx,
    at: &[f64],
    rules: &Rules,
) -> Vec<(usize, usize, f32)> {
    let votes = votes(stretch, person, rules);
    let refusals: Vec<f64> =
        votes.iter().filter(|(_, vote)| *vote == Vote::No).map(|(frame, _)| at[*frame]).collect();
    // Best similarity of the believed matches around every detection; negative: not shown.
    let mut shown: Vec<Option<f32>> = vec![None; stretch.detected.len()];
    for chain in chains(&votes, at, rules) {
        let (first, last) = (at[chain.first], at[chain.last]);
        let back = !refusals.iter().any(|t| *t < first && first - t <= rules.hold);
        let on = !refusals.iter().any(|t| *t > last && t - last <= rules.hold);
        let from = if back { first - rules.hold } else { first };
        let to = if on { last + rules.hold } else { last };
        let from = stretch.detected.partition_point(|frame| at[*frame] < from);
        let to = stretch.detected.partition_point(|frame| at[*frame] <= to);
        for place in &mut shown[from..to] {
            *place = Some(place.map_or(chain.similarity, |s: f32| s.max(chain.similarity)));
        }
    }
    let others: Vec<f64> = stretch
        .sightings
        .iter()
        .filter(|s| s.person != person && s.similarity >= rules.threshold)
        .map(|s| at[s.frame])
        .collect();
    for (place, frame) in shown.iter_mut().zip(&stretch.detected) {
        let next = others.partition_point(|t| *t < at[*frame] - rules.hold);
        if others.get(next).is_some_and(|t| *t <= at[*frame] + rules.hold) {
            *place = None;
        }
    }
    runs(&shown, &stretch.detected)
}

/// Runs of detections that are shown, as frames.
fn runs(shown: &[Option<f32>], detected: &[usize]) -> Vec<(usize, usize, f32)> {
    let mut runs: Vec<(usize, usize, f32)> = Vec::new();
    let mut going = false;
    for (similarity, frame) in shown.iter().zip(detected) {
        match (similarity, runs.last_mut()) {
            (Some(s), Some(run)) if going => *run = (run.0, *frame, run.2.max(*s)),
            (Some(s), _) => runs.push((*frame, *frame, *s)),
            (None, _) => {}
        }
        going = similarity.is_some();
    }
    runs
}

/// The sightings of a stretch as votes on `person`, in order of time: (frame, vote).
fn votes(stretch: &Stretch, person: PersonIx, rules: &Rules) -> Vec<(usize, Vote)> {
    let vote = |s: &stretch::Sighting| {
        // Written so that a similarity that is not a number is a mismatch.
        let vote = if s.similarity >= rules.threshold && s.person != person {
            Vote::No
        } else if s.similarity >= rules.threshold && s.width >= rules.min_width {
            Vote::Yes(s.similarity)
        } else if s.similarity >= rules.mismatch {
            Vote::Unclear
        } else {
            Vote::No
        };
        (s.frame, vote)
    };
    stretch.sightings.iter().map(vote).collect()
}

/// Matches with no mismatch and no more than the hold time between one and the next.
struct Chain {
    first: usize,
    last: usize,
    similarity: f32,
}

/// All chains that are confirmed by enough matches close together.
fn chains(votes: &[(usize, Vote)], at: &[f64], rules: &Rules) -> Vec<Chain> {
    let mut chains = Vec::new();
    let mut matches: Vec<(usize, usize, f32)> = Vec::new();
    let mut close = |matches: &mut Vec<(usize, usize, f32)>| {
        let (needed, among) = rules.votes;
        let mut windows = matches.windows(needed.max(1));
        let confirmed =
            windows.any(|w| matches!(w, [a, .., b] if b.0 - a.0 < among) || w.len() == 1);
        if let ([first, ..], [.., last], true) = (&matches[..], &matches[..], confirmed) {
            let similarity = matches.iter().map(|m| m.2).fold(f32::NEG_INFINITY, f32::max);
            chains.push(Chain { first: first.1, last: last.1, similarity });
        }
        matches.clear();
    };
    for (i, (frame, vote)) in votes.iter().enumerate() {
        let stale = matches.last().is_some_and(|last| at[*frame] - at[last.1] > rules.hold);
        if stale || *vote == Vote::No {
            close(&mut matches);
        }
        if let Vote::Yes(similarity) = vote {
            matches.push((i, *frame, *similarity));
        }
    }
    close(&mut matches);
    chains
}

/// Gives every frame of every person to the most similar of the tracks that claim it.
fn settle(mut claims: Vec<Claim>) -> Vec<Shown> {
    claims.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    let mut taken: BTreeMap<PersonIx, BTreeMap<usize, usize>> = BTreeMap::new();
    let mut shown = Vec::new();
    for Claim { shown: claim, .. } in claims {
        let taken = taken.entry(claim.person).or_default();
        let mut others: Vec<(usize, usize)> = taken
            .range(..=claim.last)
            .rev()
            .map(|(first, last)| (*first, *last))
            .take_while(|(_, last)| *last >= claim.first)
            .collect();
        others.reverse();
        others.push((claim.last + 1, claim.last + 1));
        let mut first = claim.first;
        for other in others {
            if other.0 > first {
                taken.insert(first, other.0 - 1);
                shown.push(Shown { first, last: other.0 - 1, ..claim });
            }
            first = first.max(other.1 + 1);
        }
    }
    shown
}
