//! Packets are copied only where all was seen and nothing is to be covered.
#![allow(clippy::unwrap_used)]

use domain::{BoxKind, Gop, PersonIx, Pts, Rect, Size, TimeBase, Track, TrackBox, TrackId};
use redact::{Analysis, Policy, RedactionPlan, Seen, ShownSpan};

const SIZE: Size = Size { width: 320, height: 180 };
const PER_GOP: usize = 4;

fn pts(ticks: i64) -> Pts {
    Pts::new(ticks, TimeBase::new(1, 25).unwrap())
}

fn gop(at: usize) -> Gop {
    let start = pts((at * PER_GOP) as i64);
    Gop { start, packets: PER_GOP as u32, reorder: 0, sha256: [at as u8; 32], plain: true }
}

fn face(frame: usize) -> Track {
    let rect = Rect::new(10.0, 10.0, 40.0, 50.0);
    Track {
        id: TrackId(1),
        boxes: vec![TrackBox { frame, rect, kind: BoxKind::Detected, score: 0.9 }],
        sightings: Vec::new(),
        best_score: 0.9,
        first: (frame, pts(frame as i64)),
        last: (frame, pts(frame as i64)),
    }
}

/// Three groups; `change` may spoil one.
fn plan(seen: impl Fn(usize) -> Seen, gops: Vec<Gop>, tracks: &[Track]) -> RedactionPlan {
    let mut analysis = Analysis::new(SIZE);
    for at in 0..3 * PER_GOP {
        analysis.frame(pts(at as i64), seen(at), false);
    }
    analysis.gops(gops);
    analysis.finish(tracks, &[], &Policy::default())
}

fn all() -> Vec<Gop> {
    (0..3).map(gop).collect()
}

fn clear(plan: &RedactionPlan) -> Vec<bool> {
    let clear: Vec<bool> = (0..3).map(|at| plan.clear(at, [at as u8; 32]).is_some()).collect();
    assert!(plan.clear(3, [3; 32]).is_none());
    clear
}

#[test]
fn a_group_without_faces_may_be_copied_and_no_other_packets_in_its_place() {
    let plan = plan(|_| Seen::Detected, all(), &[face(5)]);
    assert_eq!(clear(&plan), [true, false, true]);
    assert!(plan.clear(0, [2; 32]).is_none(), "other packets");
    assert_eq!(plan.gops().map(|(_, seq)| seq).collect::<Vec<_>>(), [0, 4, 8]);
}

#[test]
fn one_frame_that_was_not_seen_well_keeps_its_group_from_being_copied() {
    for seen in [Seen::Damaged, Seen::Skipped] {
        let last = 3 * PER_GOP - 1;
        let plan = plan(|at| if at == last { seen } else { Seen::Detected }, all(), &[]);
        assert_eq!(clear(&plan), [true, true, false], "{seen:?}");
    }
}

#[test]
fn a_group_with_more_or_fewer_pictures_than_were_seen_is_not_copied() {
    for packets in [PER_GOP as u32 - 1, PER_GOP as u32 + 1] {
        let mut gops = all();
        gops[1].packets = packets;
        assert_eq!(clear(&plan(|_| Seen::Detected, gops, &[])), [true, false, true]);
    }
}

#[test]
fn a_group_that_holds_more_than_is_shown_is_not_copied() {
    let mut gops = all();
    gops[2].plain = false;
    assert_eq!(clear(&plan(|_| Seen::Detected, gops, &[])), [true, true, false]);
}

#[test]
fn groups_that_do_not_fit_the_frames_clear_nothing() {
    let mut swapped = all();
    swapped.swap(0, 1);
    let late = vec![gop(1), gop(2)];
    let mut other = all();
    other[1].start = Pts::new(4, TimeBase::new(1, 30).unwrap());
    for gops in [swapped, late, other, Vec::new()] {
        assert_eq!(clear(&plan(|_| Seen::Detected, gops, &[])), [false; 3]);
    }
}

#[test]
fn a_group_whose_only_face_is_a_kept_persons_may_be_copied() {
    let mut analysis = Analysis::new(SIZE);
    (0..PER_GOP).for_each(|at| analysis.frame(pts(at as i64), Seen::Detected, false));
    analysis.gops(vec![gop(0)]);
    let span = ShownSpan { track: TrackId(1), person: PersonIx(0), first: 2, last: 2 };
    let plan = analysis.finish(&[face(2)], &[span], &Policy::default());
    assert!(plan.clear(0, [0; 32]).is_some());
}
