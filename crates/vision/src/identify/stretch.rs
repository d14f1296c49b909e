//! The parts of a track in which it can only be one face.

use std::collections::BTreeSet;

use domain::{BoxKind, PersonIx, Rect, Track, TrackBox};

use super::Rules;
use crate::track::Observation;

/// A part of a track without a cut, gap, jump or crossing.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    /// Frames with a detection, in order.
    pub detected: Vec<usize>,
    /// Comparisons with the gallery in these frames, in order.
    pub sightings: Vec<Sighting>,
}

/// A comparison with the gallery.
#[derive(Debug)]
pub(super) struct Sighting {
    pub frame: usize,
    pub person: PersonIx,
    pub similarity: f32,
    /// Of the face, in pixels.
    pub width: f32,
}

impl Stretch {
    /// Everybody that the sightings are most like.
    pub fn people(&self) -> BTreeSet<PersonIx> {
        self.sightings.iter().map(|sighting| sighting.person).collect()
    }
}

/// The stretches of track number `i`.
pub(super) fn stretches(
    tracks: &[Track],
    i: usize,
    frames: &[Observation],
    at: &[f64],
    rules: &Rules,
) -> Vec<Stretch> {
    let Some(track) = tracks.get(i) else { return Vec::new() };
    let crossed = crossed(tracks, i, rules);
    let detected = track.boxes.iter().filter(|b| b.kind == BoxKind::Detected);
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut sightings = track.sightings.iter().peekable();
    let mut previous: Option<&TrackBox> = None;
    for b in detected.filter(|b| b.frame < frames.len()) {
        while sightings.next_if(|sighting| sighting.0 < b.frame).is_some() {}
        if crossed.contains(&b.frame) {
            previous = None;
            continue;
        }
        let unbroken = previous.is_some_and(|a| {
            crossed.range(a.frame..b.frame).next().is_none() && !is_broken(a, b, frames, at, rules)
        });
        if !unbroken {
            stretches.push(Stretch::default());
        }
        previous = Some(b);
        let Some(stretch) = stretches.last_mut() else { continue };
        stretch.detected.push(b.frame);
        while let Some((frame, person, similarity)) = sightings.next_if(|s| s.0 == b.frame) {
            let (frame, person, similarity) = (*frame, *person, *similarity);
            stretch.sightings.push(Sighting { frame, person, similarity, width: b.rect.width() });
        }
    }
    stretches
}

/// Whether the face may have been exchanged between two detections that follow one another.
fn is_broken(
    a: &TrackBox,
    b: &TrackBox,
    frames: &[Observation],
    at: &[f64],
    rules: &Rules,
) -> bool {
    let mut looked = a.frame;
    let mut unlooked = false;
    for k in a.frame + 1..=b.frame {
        if frames[k].finding.is_some() {
            unlooked |= k > looked + 1 && at[k] - at[looked] > rules.unlooked_gap;
            looked = k;
        }
    }
    unlooked
        || looked != b.frame
        || frames[a.frame + 1..=b.frame].iter().any(|frame| frame.cut)
        || at[b.frame] - at[a.frame] > rules.unbroken_gap
        || a.rect.iou(b.rect) < rules.jump_iou
}

/// Frames in which any box of any other track, however it is known, is near track number `i`.
fn crossed(tracks: &[Track], i: usize, rules: &Rules) -> BTreeSet<usize> {
    let mut crossed = BTreeSet::new();
    let Some(track) = tracks.get(i) else { return crossed };
    let (first, last) = (track.first.0, track.last.0);
    let mut own: Vec<Option<Rect>> = vec![None; (last + 1).saturating_sub(first)];
    for b in &track.boxes {
        if let Some(place) = b.frame.checked_sub(first).and_then(|k| own.get_mut(k)) {
            *place = Some(place.map_or(b.rect, |rect| rect.union(b.rect)));
        }
    }
    let others = tracks.iter().enumerate().filter(|(j, _)| *j != i);
    for (_, other) in others {
        let from = other.boxes.partition_point(|b| b.frame < first);
        for b in other.boxes[from..].iter().take_while(|b| b.frame <= last) {
            let own = own.get(b.frame - first).copied().flatten();
            if own.is_some_and(|own| is_near(own, b.rect, rules)) {
                crossed.insert(b.frame);
            }
        }
    }
    crossed
}

fn is_near(a: Rect, b: Rect, rules: &Rules) -> bool {
    let shared = a.intersection(b).area() / a.area().min(b.area());
    let (p, q) = (a.center(), b.center());
    let distance = (p.x - q.x).hypot(p.y - q.y) / a.width().max(b.width());
    // Written so that boxes that cannot be measured are near.
    !(shared <= rules.crossing_overlap && distance >= rules.crossing_distance)
}
