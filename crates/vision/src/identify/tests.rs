use domain::{BoxKind, Detection, Finding, Point, Pts, Rect, Sighting, Size, TimeBase, TrackBox};
use proptest::prelude::*;

use super::*;
use crate::track::{Settings, follow};

const ANNA: PersonIx = PersonIx(0);
const BEN: PersonIx = PersonIx(1);
/// A stranger: a clear mismatch.
const NOBODY: f32 = 0.1;
const UNCLEAR: f32 = 0.4;

/// Frames at 25 a second, all looked at.
fn video(length: usize) -> Vec<Observation> {
    let base = TimeBase::new(1, 25).unwrap();
    let frame = |k| Observation {
        pts: Pts::new(k as i64, base),
        cut: false,
        finding: Some(Finding::default()),
    };
    (0..length).map(frame).collect()
}

/// A face detected in all `frames`, with its centre at `x` of the frame.
fn track(id: u32, frames: std::ops::Range<usize>, x: impl Fn(usize) -> f32) -> Track {
    let base = TimeBase::new(1, 25).unwrap();
    let rect = |k| Rect::centred(Point { x: x(k), y: 300.0 }, 100.0, 120.0);
    let found = |k| TrackBox { frame: k, rect: rect(k), kind: BoxKind::Detected, score: 0.9 };
    Track {
        id: TrackId(id),
        first: (frames.start, Pts::new(frames.start as i64, base)),
        last: (frames.end - 1, Pts::new(frames.end as i64 - 1, base)),
        boxes: frames.map(found).collect(),
        sightings: Vec::new(),
        best_score: 0.9,
    }
}

/// A face that does not move for 250 frames (10 s), with sightings (frame, person, similarity).
fn still(sightings: &[(usize, PersonIx, f32)]) -> Track {
    Track { sightings: sightings.to_vec(), ..track(1, 0..250, |_| 600.0) }
}

fn ranges(tracks: &[Track]) -> Vec<(u32, usize, usize)> {
    let shown = shown(tracks, &video(250), &Rules::default());
    shown.iter().map(|s| (s.track.0, s.first, s.last)).collect()
}

/// Marks the detections of `frames` as interpolated.
fn lose(track: &mut Track, frames: std::ops::Range<usize>) {
    let lost = track.boxes.iter_mut().filter(|b| frames.contains(&b.frame));
    lost.for_each(|b| b.kind = BoxKind::Interpolated);
}

/// Sightings of Anna every quarter of a second in `frames`.
fn anna(frames: std::ops::Range<usize>, similarity: f32) -> Vec<(usize, PersonIx, f32)> {
    frames.step_by(6).map(|k| (k, ANNA, similarity)).collect()
}

#[test]
fn without_sightings_nobody_is_shown() {
    assert_eq!(ranges(&[still(&[])]), []);
}

#[test]
fn one_match_shows_nobody() {
    assert_eq!(ranges(&[still(&[(100, ANNA, 0.9)])]), []);
    assert_eq!(ranges(&[still(&[(94, ANNA, 0.45), (100, ANNA, 0.9), (106, ANNA, 0.49)])]), []);
}

#[test]
fn two_matches_of_three_show_three_seconds_before_and_after() {
    let track = still(&[(94, ANNA, 0.6), (100, ANNA, UNCLEAR), (106, ANNA, 0.6)]);
    assert_eq!(ranges(&[track]), [(1, 94 - 75, 106 + 75)]);
}

#[test]
fn two_matches_too_far_apart_in_votes_confirm_nobody() {
    let sightings = [(94, ANNA, 0.6), (100, ANNA, UNCLEAR), (106, ANNA, UNCLEAR), (112, ANNA, 0.6)];
    assert_eq!(ranges(&[still(&sightings)]), []);
}

#[test]
fn votes_for_two_people_do_not_add_up() {
    assert_eq!(ranges(&[still(&[(94, ANNA, 0.6), (100, BEN, 0.6)])]), []);
}

#[test]
fn a_narrow_face_is_no_match() {
    let mut track = still(&[(94, ANNA, 0.9), (100, ANNA, 0.9)]);
    assert_eq!(ranges(std::slice::from_ref(&track)).len(), 1);
    track.boxes.iter_mut().for_each(|b| b.rect.x1 = b.rect.x0 + 39.0);
    assert_eq!(ranges(&[track]), []);
}

#[test]
fn a_similarity_that_is_not_a_number_is_a_mismatch() {
    let track = still(&[(94, ANNA, 0.6), (97, ANNA, f32::NAN), (100, ANNA, 0.6)]);
    assert_eq!(ranges(&[track]), []);
}

#[test]
fn a_confirmed_person_is_held_through_unclear_poses() {
    let mut sightings = anna(0..31, 0.6);
    sightings.extend(anna(36..100, UNCLEAR));
    sightings.push((102, ANNA, 0.6));
    assert_eq!(ranges(&[still(&sightings)]), [(1, 0, 102 + 75)]);
}

#[test]
fn unclear_poses_end_it_after_three_seconds() {
    let mut sightings = anna(0..31, 0.6);
    sightings.extend(anna(36..250, UNCLEAR));
    assert_eq!(ranges(&[still(&sightings)]), [(1, 0, 30 + 75)]);
}

#[test]
fn a_clear_mismatch_ends_it_at_the_match_before() {
    let mut sightings = anna(0..31, 0.6);
    sightings.extend([(36, ANNA, UNCLEAR), (42, ANNA, NOBODY)]);
    assert_eq!(ranges(&[still(&sightings)]), [(1, 0, 30)]);
}

#[test]
fn a_clear_mismatch_before_the_first_match_stops_the_way_back() {
    let mut sightings = vec![(60, ANNA, NOBODY)];
    sightings.extend(anna(100..131, 0.6));
    assert_eq!(ranges(&[still(&sightings)]), [(1, 100, 130 + 75)]);
}

#[test]
fn nothing_is_shown_between_the_matches_around_a_mismatch() {
    let mut sightings = anna(0..31, 0.6);
    sightings.push((36, ANNA, NOBODY));
    sightings.extend(anna(42..70, 0.6));
    assert_eq!(ranges(&[still(&sightings)]), [(1, 0, 30), (1, 42, 66 + 75)]);
}

#[test]
fn another_person_within_three_seconds_hides_both() {
    let mut sightings = anna(0..31, 0.6);
    sightings.extend([(60, BEN, 0.6), (66, BEN, 0.6)]);
    assert_eq!(ranges(&[still(&sightings)]), [(1, 30 + 76, 66 + 75)]);
}

#[test]
fn a_cut_needs_new_votes() {
    let mut frames = video(250);
    frames[110].cut = true;
    let track = still(&[(94, ANNA, 0.6), (100, ANNA, 0.6), (112, ANNA, 0.6)]);
    let shown = shown(&[track], &frames, &Rules::default());
    assert_eq!((shown.len(), shown[0].first, shown[0].last), (1, 94 - 75, 109));
}

#[test]
fn a_gap_needs_new_votes() {
    let mut track = still(&[(94, ANNA, 0.6), (100, ANNA, 0.6), (120, ANNA, 0.6)]);
    lose(&mut track, 110..115);
    assert_eq!(ranges(std::slice::from_ref(&track)), [(1, 19, 120 + 75)], "6 frames are 0.24 s");
    lose(&mut track, 110..116);
    assert_eq!(ranges(&[track]), [(1, 19, 109)]);
}

#[test]
fn frames_that_were_not_looked_at_need_new_votes() {
    let track = still(&[(94, ANNA, 0.6), (100, ANNA, 0.6), (120, ANNA, 0.6)]);
    let last = |unlooked: std::ops::Range<usize>| {
        let (mut frames, mut track) = (video(250), track.clone());
        lose(&mut track, unlooked.clone());
        frames[unlooked].iter_mut().for_each(|frame| frame.finding = None);
        shown(&[track], &frames, &Rules::default())[0].last
    };
    assert_eq!(last(110..111), 195, "80 ms");
    assert_eq!(last(110..112), 109, "120 ms");
}

#[test]
fn a_jump_needs_new_votes() {
    let mut jumping = track(1, 0..250, |k| if k < 110 { 600.0 } else { 690.0 });
    jumping.sightings = vec![(94, ANNA, 0.6), (100, ANNA, 0.6), (120, ANNA, 0.6)];
    assert_eq!(ranges(&[jumping]), [(1, 19, 109)]);
}

#[test]
fn a_crossing_needs_new_votes() {
    // The stranger comes from the right, meets the other at frame 110 and stays right of them.
    let stranger = track(2, 0..250, |k| 660.0 + 10.0 * (k as f32 - 110.0).abs());
    let known = still(&[(94, ANNA, 0.6), (100, ANNA, 0.6), (120, ANNA, 0.6)]);
    let shown = ranges(&[known, stranger]);
    assert_eq!(shown.len(), 1);
    assert!(shown[0].2 < 110 && shown[0].2 > 100, "{shown:?}");
}

#[test]
fn two_faces_that_cross_do_not_swap_who_is_shown() {
    // Both walk through one another; the tracker swapped them where they met at frame 125, so that
    // track 1 is Anna before and a stranger after.
    let mut first = track(1, 0..250, |k| 125.0 + (k as f32 - 125.0).abs() * 4.0);
    let mut second = track(2, 0..250, |k| 125.0 - (k as f32 - 125.0).abs() * 4.0);
    first.sightings = anna(0..100, 0.6);
    second.sightings = anna(150..250, 0.6);
    let shown = ranges(&[first, second]);
    assert_eq!(shown.len(), 2);
    let ((a, _, a_last), (b, b_first, _)) = (shown[0], shown[1]);
    assert!((a, b) == (1, 2) && a_last < 120 && b_first > 130, "{shown:?}");
}

#[test]
fn two_faces_that_walk_past_one_another_are_followed_and_only_anna_is_shown() {
    let (anna, stranger) = (|k: usize| 100.0 + 4.0 * k as f32, |k: usize| 1100.0 - 4.0 * k as f32);
    let hidden = |k: usize| (anna(k) - stranger(k)).abs() < 50.0;
    let face = |x| {
        let rect = Rect::centred(Point { x, y: 300.0 }, 100.0, 120.0);
        Detection::new(rect, 0.9, [Point::default(); 5])
    };
    let mut frames = video(250);
    for (k, frame) in frames.iter_mut().enumerate() {
        // The stranger is in front. What is compared every quarter of a second says who is who.
        let mut finding = Finding { faces: vec![face(stranger(k))], ..Finding::default() };
        if !hidden(k) {
            finding.faces.push(face(anna(k)));
        }
        if k % 6 == 0 {
            let both = [NOBODY, 0.6].into_iter().enumerate().take(finding.faces.len());
            let sighting = |(face, similarity)| Sighting { face, person: ANNA, similarity };
            finding.sightings = both.map(sighting).collect();
        }
        frame.finding = Some(finding);
    }
    let picture = Size { width: 1280, height: 720 };
    let tracks = follow(&frames, picture, &Settings::default()).tracks;
    let shown = shown(&tracks, &frames, &Rules::default());
    let mut before_and_after = (0, 0);
    for s in &shown {
        let track = tracks.iter().find(|track| track.id == s.track).unwrap();
        for b in track.boxes.iter().filter(|b| (s.first..=s.last).contains(&b.frame)) {
            assert!((b.rect.center().x - anna(b.frame)).abs() < 10.0, "frame {}", b.frame);
            *(if b.frame < 125 { &mut before_and_after.0 } else { &mut before_and_after.1 }) += 1;
        }
    }
    assert!(before_and_after.0 > 90 && before_and_after.1 > 90, "{before_and_after:?}");
}

#[test]
fn the_extension_of_a_lost_track_is_a_crossing_too() {
    let known = still(&[(94, ANNA, 0.6), (100, ANNA, 0.6)]);
    let mut lost = track(2, 110..115, |_| 640.0);
    lost.boxes.iter_mut().for_each(|b| b.kind = BoxKind::Extended);
    assert_eq!(ranges(&[known, lost]), [(1, 19, 109)]);
}

#[test]
fn a_small_face_inside_a_large_one_is_a_crossing() {
    let known = still(&[(94, ANNA, 0.6), (100, ANNA, 0.6)]);
    let mut small = track(2, 110..115, |_| 640.0);
    small.boxes.iter_mut().for_each(|b| b.rect = Rect::new(560.0, 245.0, 570.0, 257.0));
    assert_eq!(ranges(&[known, small]), [(1, 19, 109)]);
}

#[test]
fn of_two_tracks_that_are_one_person_the_more_similar_is_shown() {
    let one = Track { sightings: anna(0..250, 0.6), ..track(1, 0..250, |_| 200.0) };
    let two = Track { sightings: anna(100..150, 0.8), ..track(2, 100..150, |_| 900.0) };
    assert_eq!(ranges(&[one, two]), [(1, 0, 99), (1, 150, 249), (2, 100, 149)]);
}

#[test]
fn boxes_before_the_first_and_after_the_last_detection_stay_covered() {
    let mut track = Track { sightings: anna(100..150, 0.6), ..track(1, 100..150, |_| 600.0) };
    let extended = |k| TrackBox { frame: k, kind: BoxKind::Extended, ..track.boxes[0].clone() };
    track.boxes = (90..100).chain(150..160).map(extended).chain(track.boxes.clone()).collect();
    track.boxes.sort_by_key(|b| b.frame);
    assert_eq!(ranges(&[track]), [(1, 100, 149)]);
}

#[test]
fn the_closest_person_is_known_even_if_not_shown() {
    let track = still(&[(94, ANNA, 0.3), (100, BEN, 0.45), (120, ANNA, 0.2)]);
    assert_eq!(closest(&track), Some((BEN, 0.45)));
    assert_eq!(closest(&still(&[])), None);
}

prop_compose! {
    fn a_track(id: u32)(
        start in 0usize..100, length in 1usize..150, x in 0f32..600.0, speed in -6f32..6.0,
        lost in proptest::collection::vec((0usize..250, 1usize..9), 0..4),
        votes in proptest::collection::vec((0usize..250, 0usize..2, 0f32..1.0), 0..30),
    ) -> Track {
        let mut track = track(id, start..start + length, |k| x + speed * k as f32);
        let last = start + length - 1;
        for (from, frames) in lost { lose(&mut track, from.max(start + 1)..(from + frames).min(last)); }
        let seen = |k: usize| track.boxes.iter().any(|b| b.frame == k && b.kind == BoxKind::Detected);
        let mut votes: Vec<_> = votes.into_iter().filter(|v| seen(v.0)).collect();
        votes.sort_by_key(|v| v.0);
        votes.dedup_by_key(|v| v.0);
        track.sightings = votes.into_iter().map(|(k, p, s)| (k, PersonIx(p), s)).collect();
        track
    }
}

fn frames_of(shown: &[Shown], track: u32) -> Vec<usize> {
    let mine = shown.iter().filter(|s| s.track.0 == track);
    mine.flat_map(|s| s.first..=s.last).collect()
}

proptest! {
    #[test]
    fn a_keep_never_widens(one in a_track(1), two in a_track(2)) {
        let tracks = [one, two];
        let shown = shown(&tracks, &video(250), &Rules::default());
        for s in &shown {
            let track = &tracks[s.track.0 as usize - 1];
            prop_assert!(track.first.0 <= s.first && s.first <= s.last && s.last <= track.last.0);
        }
        // One person per frame and track, one track per frame and person.
        for (i, a) in shown.iter().enumerate() {
            for b in &shown[i + 1..] {
                let apart = a.last < b.first || b.last < a.first;
                prop_assert!(apart || (a.track != b.track && a.person != b.person));
            }
        }
    }

    #[test]
    fn a_clear_mismatch_never_shows_more(
        one in a_track(1), two in a_track(2), place in 0usize..250, similarity in -1f32..0.25,
    ) {
        let before = shown(&[one.clone(), two.clone()], &video(250), &Rules::default());
        let detected = one.boxes.iter().filter(|b| b.kind == BoxKind::Detected);
        let free: Vec<usize> = detected.map(|b| b.frame).collect();
        let mut worse = one;
        worse.sightings.push((free[place % free.len()], ANNA, similarity));
        worse.sightings.sort_by_key(|s| s.0);
        let after = shown(&[worse, two], &video(250), &Rules::default());
        let before = frames_of(&before, 1);
        prop_assert!(frames_of(&after, 1).iter().all(|k| before.contains(k)));
    }

    #[test]
    fn another_track_never_shows_more_of_the_first(one in a_track(1), two in a_track(2)) {
        // Without mismatches: one that a crossing cuts off says nothing about what follows.
        let mut one = one;
        one.sightings.retain_mut(|s| { s.1 = ANNA; s.2 >= 0.25 });
        let alone = shown(std::slice::from_ref(&one), &video(250), &Rules::default());
        let both = shown(&[one, two], &video(250), &Rules::default());
        let alone = frames_of(&alone, 1);
        prop_assert!(frames_of(&both, 1).iter().all(|k| alone.contains(k)));
    }
}
