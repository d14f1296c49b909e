use domain::{
    BoxKind, Detection, Faint, Finding, PersonIx, Point, Pts, Rect, SecondOpinion, Sighting, Size,
    TimeBase, Track, TrackBox,
};
use proptest::prelude::*;

use super::*;

const PICTURE: Size = Size { width: 1280, height: 720 };

/// A square box around (`x`, `y`).
fn square(x: f32, y: f32, side: f32) -> Rect {
    Rect::centred(Point { x, y }, side, side)
}

/// A video at 25 frames a second in which `faces` says what is detected in every frame.
fn video(length: usize, faces: impl Fn(usize) -> Vec<(Rect, f32)>) -> Vec<Observation> {
    let base = TimeBase::new(1, 25).unwrap();
    let detection = |(rect, score)| Detection::new(rect, score, [Point::default(); 5]);
    let frame = |k: usize| Observation {
        pts: Pts::new(k as i64, base),
        cut: false,
        finding: Some(Finding {
            faces: faces(k).into_iter().map(detection).collect(),
            ..Finding::default()
        }),
    };
    (0..length).map(frame).collect()
}

/// One face, the same in every frame for which `score` is not 0.
fn still(length: usize, score: impl Fn(usize) -> f32) -> Vec<Observation> {
    video(length, |k| {
        if score(k) > 0.0 { vec![(square(600.0, 300.0, 100.0), score(k))] } else { vec![] }
    })
}

fn run(frames: &[Observation]) -> Followed {
    follow(frames, PICTURE, &Settings::default())
}

fn only(followed: &Followed) -> &Track {
    assert_eq!(followed.tracks.len(), 1, "one track");
    &followed.tracks[0]
}

fn kinds(track: &Track, kind: BoxKind) -> Vec<usize> {
    track.boxes.iter().filter(|b| b.kind == kind).map(|b| b.frame).collect()
}

fn at(track: &Track, frame: usize) -> &TrackBox {
    track.boxes.iter().find(|b| b.frame == frame).unwrap()
}

/// Lets the second detector look at what was found in `frame`.
fn second_looks(frames: &mut [Observation], frame: usize, says: SecondOpinion) {
    let finding = frames[frame].finding.get_or_insert_default();
    finding.faces.iter_mut().for_each(|face| face.second = says);
}

/// Lets the second detector look three times and find nothing.
fn second_looks_in_vain(frames: &mut [Observation]) {
    for frame in [0, 15, 30] {
        second_looks(frames, frame, SecondOpinion::Doubts);
    }
}

#[test]
fn a_steady_face_is_one_track() {
    let followed = run(&still(50, |_| 0.8));
    let track = only(&followed);
    assert_eq!(kinds(track, BoxKind::Detected), (0..50).collect::<Vec<_>>());
    assert_eq!((track.first.0, track.last.0, track.best_score), (0, 49, 0.8));
}

#[test]
fn two_faces_are_two_tracks() {
    let frames =
        video(20, |_| vec![(square(200.0, 300.0, 90.0), 0.9), (square(800.0, 300.0, 90.0), 0.8)]);
    let followed = run(&frames);
    assert_eq!(followed.tracks.iter().map(|t| t.id.0).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_gap_of_half_a_second_is_bridged_and_a_longer_one_is_not() {
    let bridged = run(&still(60, |k| if (20..31).contains(&k) { 0.0 } else { 0.8 }));
    assert_eq!(kinds(only(&bridged), BoxKind::Interpolated), (20..31).collect::<Vec<_>>());
    let lost = run(&still(60, |k| if (20..32).contains(&k) { 0.0 } else { 0.8 }));
    assert_eq!(lost.tracks.len(), 2);
}

#[test]
fn a_face_that_no_longer_overlaps_its_last_box_is_still_the_same() {
    let frames = video(12, |k| vec![(square(60.0 + 110.0 * k as f32, 300.0, 100.0), 0.8)]);
    assert_eq!(kinds(only(&run(&frames)), BoxKind::Detected).len(), 12);
}

#[test]
fn a_box_of_another_size_is_another_face() {
    let frames =
        video(30, |k| vec![(square(600.0, 300.0, if k < 15 { 50.0 } else { 150.0 }), 0.8)]);
    assert_eq!(run(&frames).tracks.len(), 2);
}

#[test]
fn doubtful_detections_carry_a_track_on_but_start_none() {
    let carried = run(&still(40, |k| if k < 10 { 0.8 } else { 0.15 }));
    // Ten confident frames, then one second of doubtful ones; after that it may be a texture.
    assert_eq!(kinds(only(&carried), BoxKind::Detected).len(), 10 + 25);
    let none = run(&still(40, |_| 0.29));
    assert_eq!(none.tracks.len() + none.dropped.len(), 0);
}

#[test]
fn doubtful_detections_before_the_start_are_followed_back() {
    let followed = run(&still(60, |k| {
        if k < 20 {
            0.0
        } else if k < 40 {
            0.15
        } else {
            0.8
        }
    }));
    let track = only(&followed);
    assert_eq!(track.first.0, 20);
    assert_eq!(kinds(track, BoxKind::Detected).len(), 40);
}

#[test]
fn a_flash_of_three_frames_is_covered_half_a_second_before_and_after() {
    let followed = run(&still(80, |k| if (40..43).contains(&k) { 0.6 } else { 0.0 }));
    let track = only(&followed);
    assert_eq!(kinds(track, BoxKind::Detected), [40, 41, 42]);
    let around: Vec<usize> = (28..40).chain(43..55).collect();
    assert_eq!(kinds(track, BoxKind::Extended), around);
}

#[test]
fn a_face_that_pops_in_is_covered_before_it_was_found() {
    let followed = run(&still(60, |k| if k < 30 { 0.0 } else { 0.9 }));
    assert_eq!(kinds(only(&followed), BoxKind::Extended), (18..30).collect::<Vec<_>>());
}

#[test]
fn a_cut_ends_tracks_and_their_extensions() {
    let mut frames = still(60, |k| if (28..32).contains(&k) { 0.0 } else { 0.8 });
    frames[30].cut = true;
    let followed = run(&frames);
    assert_eq!(followed.tracks.len(), 2);
    assert_eq!(followed.tracks[0].boxes.last().unwrap().frame, 29);
    assert_eq!(followed.tracks[1].boxes.first().unwrap().frame, 30);
}

#[test]
fn frames_that_were_not_looked_at_are_bridged() {
    let mut frames = still(40, |_| 0.8);
    frames[20..24].iter_mut().for_each(|frame| frame.finding = None);
    assert_eq!(kinds(only(&run(&frames)), BoxKind::Interpolated), [20, 21, 22, 23]);
}

#[test]
fn one_box_far_too_large_does_not_blow_up_the_track() {
    let size = |k| if k == 10 { 190.0 } else { 100.0 };
    let frames = video(20, |k| vec![(square(600.0, 300.0, size(k)), 0.8)]);
    let followed = run(&frames);
    let largest = only(&followed).boxes.iter().map(|b| b.rect.width()).fold(0.0, f32::max);
    assert!(largest <= 1.4 * 100.0 + 0.1, "{largest}");
}

#[test]
fn a_growing_face_is_not_taken_for_an_outlier() {
    // Three times the size within a second, as when somebody walks up to the camera.
    let size = |k| 60.0 * 3f32.powf(k as f32 / 25.0);
    let frames = video(26, |k| vec![(square(600.0, 300.0, size(k)), 0.8)]);
    let followed = run(&frames);
    for b in only(&followed).boxes.iter().filter(|b| b.kind == BoxKind::Detected) {
        assert!(b.rect.width() >= size(b.frame) * 0.86, "frame {}: {:?}", b.frame, b.rect);
    }
}

/// The second detector looks at every third frame and agrees where `agrees` says so.
fn asked(frames: &mut [Observation], agrees: impl Fn(usize) -> bool) {
    for k in (0..frames.len()).step_by(3) {
        let says = if agrees(k) { SecondOpinion::Agrees } else { SecondOpinion::Doubts };
        second_looks(frames, k, says);
    }
}

#[test]
fn a_chance_agreement_does_not_make_a_face() {
    let mut frames = still(60, |_| 0.8);
    asked(&mut frames, |k| k == 30);
    assert_eq!(run(&frames).tracks.len(), 0);
    asked(&mut frames, |k| k % 6 == 0);
    assert_eq!(run(&frames).tracks.len(), 1);
}

#[test]
fn a_track_that_left_its_face_for_a_texture_is_cut_there() {
    // A face for 30 frames, then a texture beside it for 60, the face again.
    let face = |k: usize| !(30..90).contains(&k);
    let mut frames = video(120, |k| {
        let x = if face(k) { 600.0 } else { 640.0 };
        vec![(square(x, 300.0, 100.0), if face(k) { 0.95 } else { 0.5 })]
    });
    asked(&mut frames, face);
    let followed = run(&frames);
    assert_eq!(followed.tracks.len(), 2);
    let covered = |k| followed.tracks.iter().any(|t| t.boxes.iter().any(|b| b.frame == k));
    assert!((0..30).chain(90..120).all(covered), "the face is covered");
    assert!(!covered(60), "the texture is not");
    let thorough = Settings { veto: false, strict_start: false, ..Settings::default() };
    assert_eq!(follow(&frames, PICTURE, &thorough).tracks.len(), 1);
}

#[test]
fn the_second_detector_drops_what_it_never_agrees_with() {
    let mut frames = still(40, |_| 0.8);
    for frame in [0, 15] {
        second_looks(&mut frames, frame, SecondOpinion::Doubts);
        assert_eq!(run(&frames).tracks.len(), 1, "two looks are not enough");
    }
    second_looks(&mut frames, 30, SecondOpinion::Doubts);
    let followed = run(&frames);
    assert_eq!((followed.tracks.len(), followed.dropped.len()), (0, 1));
    second_looks(&mut frames, 15, SecondOpinion::Agrees);
    second_looks(&mut frames, 20, SecondOpinion::Agrees);
    assert_eq!(run(&frames).tracks.len(), 1, "agreement in half of the looks is enough");
}

#[test]
fn the_silence_of_the_second_detector_about_a_blurred_face_means_nothing() {
    // 40 pixels a frame, which is .4 of its size: likely a face, and too fast for CenterFace.
    let track = |step: f32, score: f32| {
        let frames = video(20, |k| vec![(square(200.0 + step * k as f32, 300.0, 100.0), score)]);
        let mut frames = frames;
        (0..20).for_each(|k| second_looks(&mut frames, k, SecondOpinion::Doubts));
        run(&frames).tracks.len()
    };
    assert_eq!(track(40.0, 0.7), 1);
    assert_eq!(track(4.0, 0.7), 0, "slow");
    assert_eq!(track(40.0, 0.45), 0, "not even likely");
}

#[test]
fn a_certain_detection_is_not_dropped() {
    let mut frames = still(40, |k| if k == 7 { 0.9 } else { 0.6 });
    second_looks_in_vain(&mut frames);
    assert_eq!(run(&frames).tracks.len(), 1);
}

#[test]
fn thorough_covers_what_the_second_detector_denies() {
    let thorough = Settings { veto: false, strict_start: false, ..Settings::default() };
    for score in [0.45, 0.8] {
        let mut frames = still(40, |_| score);
        second_looks_in_vain(&mut frames);
        assert_eq!(run(&frames).dropped.len(), 1);
        assert_eq!(follow(&frames, PICTURE, &thorough).tracks.len(), 1);
    }
}

#[test]
fn a_weak_track_needs_five_detections() {
    let weak = |n| run(&still(40, |k| if k < n { 0.45 } else { 0.0 })).tracks.len();
    assert_eq!((weak(4), weak(5)), (0, 1));
}

#[test]
fn a_weak_track_needs_the_second_detector_where_it_looked() {
    let mut frames = still(40, |_| 0.45);
    second_looks(&mut frames, 15, SecondOpinion::Doubts);
    assert_eq!(run(&frames).dropped.len(), 1);
    second_looks(&mut frames, 25, SecondOpinion::Agrees);
    assert_eq!(run(&frames).tracks.len(), 1, "half of the looks");
    second_looks(&mut frames, 30, SecondOpinion::Doubts);
    assert_eq!(run(&frames).dropped.len(), 1, "a third of them");
}

#[test]
fn doubtful_boxes_are_also_covered_by_the_line_between_good_ones() {
    let place = |k: usize| if (10..15).contains(&k) { (640.0, 0.2) } else { (600.0, 0.8) };
    let followed = run(&video(30, |k| vec![(square(place(k).0, 300.0, 100.0), place(k).1)]));
    let track = only(&followed);
    let both: Vec<&TrackBox> = track.boxes.iter().filter(|b| b.frame == 12).collect();
    assert_eq!(both.len(), 2);
    assert_eq!(both[0].rect.center().x, 640.0);
    assert_eq!(both[1].rect.center().x, 600.0);
    assert_eq!(kinds(track, BoxKind::Interpolated), [10, 11, 12, 13, 14]);
}

#[test]
fn a_face_that_jumps_aside_for_one_frame_is_also_covered_where_it_would_have_been() {
    let boxes = |aside: f32| {
        let y = |k: usize| if k == 12 { 300.0 + aside } else { 300.0 };
        let frames = video(20, |k| vec![(square(200.0 + 30.0 * k as f32, y(k), 100.0), 0.8)]);
        let followed = run(&frames);
        let track = only(&followed);
        track.boxes.iter().filter(|b| b.frame == 12).map(|b| b.rect.center()).collect::<Vec<_>>()
    };
    assert_eq!(boxes(90.0), [Point { x: 560.0, y: 390.0 }, Point { x: 560.0, y: 300.0 }]);
    assert_eq!(boxes(60.0).len(), 1);
}

#[test]
fn a_box_that_shrinks_for_a_moment_is_raised_to_its_size_around() {
    let followed =
        run(&video(40, |k| vec![(square(600.0, 300.0, if k == 20 { 70.0 } else { 100.0 }), 0.8)]));
    assert!((at(only(&followed), 20).rect.width() - 100.0).abs() < 1e-3);
}

#[test]
fn an_extension_moves_on_for_three_tenths_of_a_second() {
    let frames = video(60, |k| {
        if k < 20 { vec![(square(300.0 + 10.0 * k as f32, 300.0, 100.0), 0.8)] } else { vec![] }
    });
    let followed = run(&frames);
    let x = |frame| at(only(&followed), frame).rect.center().x;
    assert!((x(22) - 520.0).abs() < 0.1);
    assert!((x(27) - 565.0).abs() < 0.1, "7.5 frames at 25 a second");
    assert_eq!(x(27), x(30));
}

/// `frames` as a detector saw them that notices every face of 30 pixels.
fn attentive(mut frames: Vec<Observation>, faint: impl Fn(usize) -> Vec<Rect>) -> Vec<Observation> {
    for (k, frame) in frames.iter_mut().enumerate() {
        let finding = frame.finding.get_or_insert_default();
        finding.faint = Some(Faint { rects: faint(k), from: 30.0 });
    }
    frames
}

#[test]
fn an_extension_ends_where_nothing_is_noticed_that_would_be() {
    let extended = |side: f32, faint: &dyn Fn(usize) -> Vec<Rect>| {
        let frames = video(60, |k| {
            if (20..40).contains(&k) { vec![(square(600.0, 300.0, side), 0.8)] } else { vec![] }
        });
        let followed = run(&attentive(frames, faint));
        let track = only(&followed);
        (track.boxes[0].frame, track.boxes[track.boxes.len() - 1].frame)
    };
    let nothing = |_| vec![];
    assert_eq!(extended(100.0, &nothing), (15, 44), "a fifth of a second");
    assert_eq!(extended(25.0, &nothing), (8, 51), "it would not be noticed");
    let there = |k| if k <= 45 { vec![square(605.0, 305.0, 90.0)] } else { vec![] };
    assert_eq!(extended(100.0, &there), (8, 50), "a fifth of a second after the last sign");
    let other = |_| vec![square(600.0, 300.0, 50.0), square(900.0, 300.0, 100.0)];
    assert_eq!(extended(100.0, &other), (15, 44), "something smaller, and something elsewhere");
    let thorough = Settings { needs_sign: false, ..Settings::default() };
    let frames = attentive(still(60, |k| if k < 20 { 0.8 } else { 0.0 }), nothing);
    let followed = follow(&frames, PICTURE, &thorough);
    assert_eq!(only(&followed).boxes.last().unwrap().frame, 31);
}

#[test]
fn frames_nobody_looked_at_are_no_reason_to_end_an_extension() {
    let mut frames = attentive(still(60, |k| if k < 20 { 0.8 } else { 0.0 }), |_| vec![]);
    frames[20..].iter_mut().for_each(|frame| frame.finding = None);
    assert_eq!(only(&run(&frames)).boxes.last().unwrap().frame, 31);
}

#[test]
fn a_face_that_leaps_by_more_than_its_size_is_one_track() {
    let walk = |step: f32, score: f32| {
        let frames = video(8, |k| vec![(square(100.0 + step * k as f32, 300.0, 100.0), score)]);
        run(&frames).tracks.len()
    };
    assert_eq!(walk(210.0, 0.8), 1);
    assert_eq!(walk(210.0, 0.4), 0, "not clear");
    assert_eq!(walk(320.0, 0.8), 8, "too far");
}

#[test]
fn a_fast_face_that_turns_round_is_covered_where_it_goes() {
    // As on a swing: it stands still at frame 10, then comes back faster and faster.
    let x = |k: usize| 200.0 + 8.0 * (k as f32 - 10.0).powi(2);
    let frames =
        video(20, |k| if k <= 13 { vec![(square(x(k), 300.0, 60.0), 0.8)] } else { vec![] });
    let followed = run(&attentive(frames, |_| vec![]));
    let face = square(x(14), 300.0, 60.0);
    let boxes = || followed.tracks.iter().flat_map(|t| &t.boxes).filter(|b| b.frame == 14);
    let most = boxes().map(|b| b.rect.intersection(face).area() / face.area()).fold(0.0, f32::max);
    assert!(most > 0.9, "{most}");
}

#[test]
fn what_was_taken_for_nothing_near_a_lost_fast_face_is_covered() {
    let covered = |step: f32| {
        // After frame 9 something doubtful is where nobody expects the face.
        let frames = video(20, |k| match k {
            0..10 => vec![(square(200.0 + step * k as f32, 300.0, 80.0), 0.8)],
            12 => vec![(square(220.0 + step * 9.0, 480.0, 80.0), 0.2)],
            _ => vec![],
        });
        let followed = run(&attentive(frames, |_| vec![]));
        let stray = square(220.0 + step * 9.0, 480.0, 80.0);
        let mut boxes = followed.tracks.iter().flat_map(|track| &track.boxes);
        boxes.any(|b| b.frame == 12 && b.rect.iou(stray) > 0.9)
    };
    assert!(covered(60.0));
    assert!(!covered(4.0), "a slow face is where it was");
}

#[test]
fn a_chain_of_doubtful_boxes_does_not_grow_away_from_the_last_good_one() {
    let side = |k: usize| if k < 10 { 60.0 } else { 60.0 * 1.3f32.powi(k as i32 - 9) };
    let frames = video(30, |k| {
        vec![(square(600.0, 300.0, side(k).min(600.0)), if k < 10 { 0.8 } else { 0.2 })]
    });
    let widest = only(&run(&frames)).boxes.iter().map(|b| b.rect.width()).fold(0.0, f32::max);
    assert!(widest < 60.0 * 2.2 * 1.5, "{widest}");
}

#[test]
fn boxes_grow_with_the_time_since_a_detection_up_to_a_limit() {
    let calm = run(&still(60, |k| if k < 20 { 0.8 } else { 0.0 }));
    let width = |followed: &Followed, frame| {
        let boxes = only(followed).boxes.iter().filter(|b| b.frame == frame);
        boxes.map(|b| b.rect.width()).fold(0.0, f32::max)
    };
    assert_eq!(width(&calm, 20), 100.0, "not at once");
    assert!(width(&calm, 31) > 103.0 && width(&calm, 31) < 110.0);
    let fast = run(&video(60, |k| {
        if k < 6 { vec![(square(200.0 + 80.0 * k as f32, 300.0, 100.0), 0.8)] } else { vec![] }
    }));
    assert!(width(&fast, 7) > 110.0);
    assert!((width(&fast, 17) - 150.0).abs() < 0.1, "a quarter on both sides");
}

#[test]
fn dilation_can_be_turned_off() {
    let settings = Settings { dilation: 0.0, ..Settings::default() };
    let frames = still(60, |k| if k < 20 { 0.8 } else { 0.0 });
    let followed = follow(&frames, PICTURE, &settings);
    assert_eq!(at(only(&followed), 31).rect.width(), 100.0);
}

#[test]
fn a_face_that_leaves_stays_covered_at_the_edge() {
    // Towards the left, 20 pixels a frame, last seen with its left side at 10.
    let frames = |mirrored: bool| {
        video(40, move |k| {
            let x = 60.0 + 20.0 * (9.0 - k as f32);
            let x = if mirrored { 1280.0 - x } else { x };
            if k < 10 { vec![(square(x, 300.0, 100.0), 0.8)] } else { vec![] }
        })
    };
    let left = run(&frames(false));
    let right = run(&frames(true));
    for frame in 10..22 {
        let (l, r) = (at(only(&left), frame).rect, at(only(&right), frame).rect);
        assert!(l.x0 <= 0.0 && l.x1 >= 99.0, "{l:?}");
        assert!(r.x1 >= 1280.0 && r.x0 <= 1181.0, "{r:?}");
    }
}

#[test]
fn a_face_that_enters_was_covered_at_the_edge_before() {
    let frames = video(40, |k| {
        let x = 60.0 + 20.0 * (k as f32 - 20.0);
        if k < 20 { vec![] } else { vec![(square(x, 300.0, 100.0), 0.8)] }
    });
    let followed = run(&frames);
    let before = at(only(&followed), 9).rect;
    assert!(before.x0 <= 0.0 && before.x1 >= 99.0, "{before:?}");
}

#[test]
fn sightings_go_with_the_detection_they_were_made_of() {
    let mut frames =
        video(20, |_| vec![(square(200.0, 300.0, 90.0), 0.9), (square(800.0, 300.0, 90.0), 0.8)]);
    let sighting = Sighting { face: 1, person: PersonIx(3), similarity: 0.7 };
    frames[5].finding.as_mut().unwrap().sightings = vec![sighting];
    let followed = run(&frames);
    assert_eq!(followed.tracks[0].sightings, []);
    assert_eq!(followed.tracks[1].sightings, [(5, PersonIx(3), 0.7)]);
}

#[test]
fn dropped_tracks_are_numbered_after_those_that_are_covered() {
    let frames = video(30, |k| match k {
        0..3 => vec![(square(200.0, 300.0, 90.0), 0.4)],
        _ => vec![(square(800.0, 300.0, 90.0), 0.9)],
    });
    let followed = run(&frames);
    assert_eq!((followed.tracks[0].id.0, followed.dropped[0].id.0), (1, 2));
}

#[test]
fn time_that_stands_still_does_not_make_tracks_endless() {
    let mut frames = still(4000, |k| if k < 3 { 0.8 } else { 0.0 });
    let zero = frames[0].pts;
    frames.iter_mut().for_each(|frame| frame.pts = zero);
    assert_eq!(only(&run(&frames)).boxes.len(), 503);
}

#[test]
fn a_crowd_of_a_thousand_is_a_thousand_tracks() {
    let crowd = |k: usize| {
        (0..1000).map(move |i| {
            let (x, y) = ((i % 40) as f32 * 30.0 + 20.0, (i / 40) as f32 * 28.0 + 20.0);
            (square(x + k as f32 * 0.5, y, 18.0), 0.8)
        })
    };
    let followed = run(&video(10, |k| crowd(k).collect()));
    assert_eq!(followed.tracks.len(), 1000);
    assert!(followed.tracks.iter().all(|t| kinds(t, BoxKind::Detected).len() == 10));
}

prop_compose! {
    fn a_face()(x in -50f32..1330.0, y in -50f32..770.0, w in 4f32..300.0, h in 4f32..300.0, score in 0f32..1.0)
        -> (Rect, f32) { (Rect::centred(Point { x, y }, w, h), score) }
}

prop_compose! {
    fn a_video()(frames in proptest::collection::vec(
        (proptest::collection::vec(a_face(), 0..6), 0i64..9, proptest::bool::weighted(0.05), proptest::bool::weighted(0.1)),
        1..60,
    )) -> Vec<Observation> {
        let base = TimeBase::new(1, 25).unwrap();
        let mut ticks = 0;
        frames.into_iter().map(|(faces, step, cut, unlooked)| {
            ticks += step;
            let mut frame = video(1, |_| faces.clone()).remove(0);
            frame.pts = Pts::new(ticks, base);
            frame.cut = cut;
            if unlooked { frame.finding = None; }
            frame
        }).collect()
    }
}

proptest! {
    #[test]
    fn every_good_detection_is_on_exactly_one_track_and_inside_its_box(frames in a_video()) {
        // Sizes as detected: outliers are cut down otherwise, which has a test of its own.
        let settings = Settings { outlier_growth: f32::INFINITY, ..Settings::default() };
        let followed = follow(&frames, PICTURE, &settings);
        let all = || followed.tracks.iter().chain(&followed.dropped);
        for (k, frame) in frames.iter().enumerate() {
            let faces = frame.finding.iter().flat_map(|f| &f.faces);
            for face in faces.filter(|face| face.score >= 0.3) {
                let holds = |b: &TrackBox| b.kind == BoxKind::Detected
                    && b.frame == k && b.score == face.score && b.rect.union(face.rect) == b.rect;
                prop_assert_eq!(all().filter(|t| t.boxes.iter().any(holds)).count(), 1);
            }
        }
    }

    #[test]
    fn ids_are_unique_and_boxes_finite_sorted_and_in_one_scene(frames in a_video()) {
        let followed = run(&frames);
        let scene = scenes(&frames);
        let mut ids: Vec<u32> = Vec::new();
        for track in followed.tracks.iter().chain(&followed.dropped) {
            ids.push(track.id.0);
            prop_assert!(track.boxes.iter().all(|b| b.rect.is_sane() && b.rect.area() > 0.0));
            prop_assert!(track.boxes.is_sorted_by_key(|b| b.frame));
            prop_assert!(track.boxes.iter().all(|b| scene[b.frame] == scene[track.first.0]));
            // No frame between the first and the last box is left out.
            let (from, to) = (track.boxes[0].frame, track.boxes[track.boxes.len() - 1].frame);
            prop_assert!((from..=to).all(|k| track.boxes.iter().any(|b| b.frame == k)));
        }
        prop_assert_eq!(ids, (1..=(followed.tracks.len() + followed.dropped.len()) as u32).collect::<Vec<_>>());
    }

    #[test]
    fn dilation_and_edges_only_ever_cover_more_inside_the_picture(frames in a_video()) {
        let plain = Settings { dilation: 0.0, stick_to_edges: false, ..Settings::default() };
        let plain = follow(&frames, PICTURE, &plain);
        let picture = Rect::new(0.0, 0.0, 1280.0, 720.0);
        for (more, less) in run(&frames).tracks.iter().zip(&plain.tracks) {
            for (more, less) in more.boxes.iter().zip(&less.boxes) {
                let (more, less) = (more.rect.intersection(picture), less.rect.intersection(picture));
                prop_assert!(less.area() <= 0.0 || more.union(less).area() <= more.area() * 1.001 + 0.01);
            }
        }
    }
}
