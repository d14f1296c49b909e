use super::super::detail::Detail;
use super::super::faces::Face;
use super::*;

const FPS: f64 = 25.0;
const HE: PersonIx = PersonIx(0);

/// A face 50 px wide whose left edge is at `x`.
fn look(x: f32, by: By, left: f32) -> Look {
    let rect = Rect::new(x, 40.0, x + 50.0, 105.0);
    let face = Face { rect, by, score: 0.9, landmarks: None };
    Look { face, detail: Detail { left, flat: false }, same: None, person: None, by_hand: false }
}

fn like(person: f32, look: Look) -> Look {
    Look { person: Some((HE, person)), ..look }
}

fn seen(index: u64, looks: Vec<Look>) -> Seen {
    Seen {
        index,
        frames: (index, index),
        time: index as f64 / FPS,
        deep: index.is_multiple_of(5).then_some(index / 5),
        exact: false,
        copied: false,
        looks,
        overlooked: 0,
    }
}

/// What is said of `frames` frames, in which `looks(index)` is seen.
fn judged(keep: Option<f32>, frames: u64, looks: impl Fn(u64) -> Vec<Look>) -> Verdict {
    let mut judge = Judge::new(keep);
    for index in 0..frames {
        judge.take(seen(index, looks(index)));
    }
    judge.finish()
}

fn spots(verdict: &Verdict) -> (usize, usize) {
    (verdict.leaks.len(), verdict.suspects.len())
}

#[test]
fn covered_faces_are_counted_and_nothing_else() {
    let verdict = judged(None, 50, |i| vec![look(i as f32, By::Both, 0.05)]);
    assert_eq!(spots(&verdict), (0, 0));
    assert_eq!((verdict.counts.looked_at, verdict.counts.covered), (50, 50));
}

#[test]
fn one_frame_found_by_both_is_a_leak_and_by_one_a_suspect() {
    let at = |by| judged(None, 50, move |i| vec![look(0.0, by, if i == 20 { 0.9 } else { 0.0 })]);
    let leak = at(By::Both);
    assert_eq!(spots(&leak), (1, 0));
    let spot = &leak.leaks[0];
    assert_eq!((spot.from, spot.to, spot.frames), (0.8, 0.8, 1));
    assert_eq!((spot.rect[0], spot.why), (0.0, Why::Detail));
    assert_eq!(spots(&at(By::YuNet)), (0, 1));
    assert_eq!(spots(&at(By::CenterFace)), (0, 1));
    assert_eq!(spots(&judged(None, 50, |_| vec![look(0.0, By::Doubt, 0.9)])), (0, 1));
}

#[test]
fn found_by_one_in_three_consecutive_frames_is_a_leak_in_two_or_by_turns_a_suspect() {
    let first =
        |n| judged(None, 50, move |i| vec![look(0.0, By::YuNet, if i < n { 0.9 } else { 0.0 })]);
    assert_eq!(spots(&first(2)), (0, 1));
    assert_eq!(spots(&first(3)), (1, 0));
    let turns = judged(None, 50, |i| {
        vec![look(0.0, if i.is_multiple_of(2) { By::YuNet } else { By::CenterFace }, 0.9)]
    });
    assert_eq!(spots(&turns), (0, 1));
    let every_second = judged(None, 50, |i| {
        vec![look(0.0, By::YuNet, if i.is_multiple_of(2) { 0.9 } else { 0.0 })]
    });
    assert_eq!(spots(&every_second), (0, 1));
}

#[test]
fn consecutive_leaks_of_one_place_are_one_and_of_two_places_two() {
    let verdict =
        judged(None, 50, |i| vec![look(2.0 * i as f32, By::Both, 0.5), look(400.0, By::Both, 0.8)]);
    assert_eq!(spots(&verdict), (2, 0));
    assert!(verdict.leaks.iter().all(|spot| spot.frames == 50));
    let far_apart =
        judged(None, 100, |i| vec![look(0.0, By::Both, if i % 60 < 5 { 0.9 } else { 0.0 })]);
    assert_eq!(spots(&far_apart), (2, 0));
}

#[test]
fn what_is_recognised_is_a_leak_though_it_does_not_show() {
    let alike = |most: f32| {
        judged(None, 50, move |i| {
            let same = i.is_multiple_of(12).then_some(if i == 24 { most } else { 0.1 });
            vec![Look { same, ..look(0.0, By::Both, 0.1) }]
        })
    };
    assert_eq!(spots(&alike(0.45)), (0, 1));
    let verdict = alike(0.6);
    assert_eq!(spots(&verdict), (1, 0));
    assert_eq!((verdict.leaks[0].why, verdict.leaks[0].similarity), (Why::Recognised, Some(0.6)));
}

#[test]
fn a_face_that_one_detector_sees_in_deep_looks_only_is_a_leak_after_three_of_them() {
    let deep = |n: u64| {
        let looks = move |i: u64| {
            let seen = i.is_multiple_of(5) && i / 5 < n;
            if seen { vec![look(0.0, By::CenterFace, 0.9)] } else { vec![] }
        };
        spots(&judged(None, 40, looks))
    };
    assert_eq!((deep(2), deep(3)), ((0, 1), (1, 0)));
    let every_other = |i: u64| {
        if i.is_multiple_of(10) { vec![look(0.0, By::CenterFace, 0.9)] } else { vec![] }
    };
    assert_eq!(judged(None, 40, every_other).leaks.len(), 0);
}

#[test]
fn what_a_person_decided_to_show_is_counted_and_no_leak() {
    let shown = |i: u64| {
        let hers = Look { by_hand: true, ..look(0.0, By::Both, 0.9) };
        vec![hers, look(400.0, By::Both, if i < 5 { 0.9 } else { 0.0 })]
    };
    let verdict = judged(None, 50, shown);
    assert_eq!(spots(&verdict), (1, 0));
    assert_eq!((verdict.counts.by_hand, verdict.counts.visible), (50, 5));
    let alike = |_| vec![Look { by_hand: true, same: Some(0.6), ..look(0.0, By::Both, 0.1) }];
    assert_eq!(spots(&judged(None, 50, alike)), (1, 0), "a weak cover is one all the same");
}

#[test]
fn a_kept_person_may_be_seen_also_while_he_cannot_be_recognised() {
    let him = |i: u64| {
        let similarity = if (50..100).contains(&i) { 0.35 } else { 0.8 };
        let face = look(0.0, By::Both, 0.9);
        vec![if i.is_multiple_of(3) { like(similarity, face) } else { face }]
    };
    let verdict = judged(Some(0.5), 200, him);
    assert_eq!(spots(&verdict), (0, 0));
    assert_eq!(verdict.counts.kept, 200);
}

#[test]
fn he_is_not_believed_for_longer_than_the_hold_time() {
    let verdict = judged(Some(0.5), 500, |i| {
        let face = look(0.0, By::Both, 0.9);
        vec![if i < 50 { like(0.8, face) } else { face }]
    });
    assert_eq!(spots(&verdict), (1, 0));
    let leak = &verdict.leaks[0];
    assert!((leak.from - (49.0 / FPS + HOLD)).abs() < 0.1, "{}", leak.from);
    assert_eq!(leak.why, Why::NotKept);
}

#[test]
fn a_stranger_is_a_leak_with_keep_too_even_where_the_kept_person_was() {
    let stranger = judged(Some(0.5), 100, |_| vec![like(0.05, look(0.0, By::Both, 0.9))]);
    assert_eq!(spots(&stranger), (1, 0));
    assert_eq!(stranger.leaks[0].kept_similarity, Some(0.05));
    let exchanged = judged(Some(0.5), 100, |i| {
        vec![like(if i < 50 { 0.8 } else { 0.05 }, look(0.0, By::Both, 0.9))]
    });
    assert_eq!(spots(&exchanged), (1, 0));
    assert_eq!(exchanged.leaks[0].from, 2.0);
}

#[test]
fn one_match_is_none_and_one_bad_moment_changes_nothing() {
    let lucky = judged(Some(0.5), 50, |i| {
        let face = look(0.0, By::Both, 0.9);
        vec![if i == 20 { like(0.6, face) } else { face }]
    });
    assert_eq!(spots(&lucky), (1, 0));
    let moment = judged(Some(0.5), 50, |i| {
        let face = look(0.0, By::Both, 0.9);
        vec![match i % 3 {
            0 => like(if i == 24 { 0.1 } else { 0.8 }, face),
            _ => face,
        }]
    });
    assert_eq!(spots(&moment), (0, 0));
}

#[test]
fn a_tiny_face_is_a_suspect() {
    let verdict = judged(None, 50, |_| {
        let mut tiny = look(0.0, By::Both, 0.9);
        tiny.face.rect = Rect::new(0.0, 0.0, 12.0, 15.0);
        vec![tiny]
    });
    assert_eq!(spots(&verdict), (0, 1));
}

#[test]
fn frames_that_were_copied_must_be_the_same() {
    let mut judge = Judge::new(None);
    for index in 0..10 {
        judge.take(Seen { copied: true, exact: index != 4, ..seen(index, Vec::new()) });
    }
    let verdict = judge.finish();
    assert_eq!(verdict.changed, (1, 4.0 / FPS));
    assert_eq!((verdict.copied, verdict.exact, verdict.compared), (10, 9, 10));
}

#[test]
fn memory_does_not_grow_with_the_video() {
    let mut judge = Judge::new(Some(0.5));
    for index in 0..5000 {
        judge.take(seen(index, vec![like(0.8, look(0.0, By::Both, 0.9))]));
    }
    assert_eq!(judge.chains.len(), 1);
    let held = judge.chains[0].waiting.len() + judge.chains[0].votes.len();
    assert!(held < 400, "{held}");
}
