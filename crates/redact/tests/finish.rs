//! Which frames count as analysed, and what the plan says of them.

use domain::{BoxKind, PersonIx, Pts, Rect, Size, TimeBase, Track, TrackBox, TrackId};
use redact::{Analysis, Cover, Covered, Policy, Reason, RedactionPlan, Seen, ShownSpan};

const SIZE: Size = Size { width: 640, height: 360 };

fn ms(ticks: i64) -> Pts {
    Pts::new(ticks, TimeBase::new(1, 1000).expect("not zero"))
}

fn track(id: u32, boxes: impl IntoIterator<Item = (usize, Rect)>) -> Track {
    let kind = BoxKind::Detected;
    let boxes = boxes.into_iter().map(|(frame, rect)| TrackBox { frame, rect, kind, score: 0.9 });
    Track {
        id: TrackId(id),
        boxes: boxes.collect(),
        sightings: Vec::new(),
        best_score: 0.9,
        first: (0, ms(0)),
        last: (0, ms(0)),
    }
}

fn plan(frames: &[(i64, Seen, bool)], tracks: &[Track], shown: &[ShownSpan]) -> RedactionPlan {
    let mut analysis = Analysis::new(SIZE);
    for (ticks, seen, cut) in frames {
        analysis.frame(ms(*ticks), *seen, *cut);
    }
    analysis.finish(tracks, shown, &Policy::default())
}

/// Why each frame is covered whole, `None` where it is not.
fn whole(frames: &[(i64, Seen, bool)]) -> Vec<Option<Reason>> {
    let reason = |covered| match covered {
        Covered::All(reason) => Some(reason),
        Covered::Regions(_) => None,
    };
    plan(frames, &[], &[]).iter().map(|f| reason(f.covered)).collect()
}

use Seen::{Damaged as X, Detected as D, Skipped as S};
const NOT: Option<Reason> = Some(Reason::NotAnalysed);
const BAD: Option<Reason> = Some(Reason::Damaged);

#[test]
fn a_skipped_frame_close_between_detected_ones_is_analysed() {
    let frames = [(0, D, false), (33, S, false), (67, D, false)];
    assert_eq!(whole(&frames), [None; 3]);
    let frames = [(0, D, false), (33, S, false), (67, S, false), (100, D, false)];
    assert_eq!(whole(&frames), [None; 4], "a gap of exactly 100 ms is allowed");
}

#[test]
fn a_longer_gap_is_not_analysed() {
    let frames = [(0, D, false), (75, S, false), (150, D, false)];
    assert_eq!(whole(&frames), [None, NOT, None]);
    let frames = [(0, D, false), (33, S, false), (67, S, false), (101, D, false)];
    assert_eq!(whole(&frames), [None, NOT, NOT, None]);
}

#[test]
fn a_cut_between_leaves_the_skipped_frames_unanalysed() {
    for at in [1, 2, 3] {
        let mut frames = [(0, D, false), (30, S, false), (60, S, false), (90, D, false)];
        frames[at].2 = true;
        assert_eq!(whole(&frames), [None, NOT, NOT, None], "cut at {at}");
    }
    let frames = [(0, D, true), (30, S, false), (60, D, false)];
    assert_eq!(whole(&frames), [None; 3], "a cut before both is not between them");
}

#[test]
fn the_ends_need_a_detected_frame_on_both_sides() {
    let frames = [(0, S, false), (20, D, false), (40, S, false)];
    assert_eq!(whole(&frames), [NOT, None, NOT]);
    assert_eq!(whole(&[(0, S, false)]), [NOT]);
}

#[test]
fn a_damaged_frame_is_covered_and_vouches_for_no_other() {
    let frames = [(0, D, false), (30, S, false), (60, X, false), (90, D, false)];
    assert_eq!(whole(&frames), [None, None, BAD, None]);
    let frames = [(0, D, false), (30, S, false), (60, X, false), (120, D, false)];
    assert_eq!(whole(&frames), [None, NOT, BAD, None]);
}

#[test]
fn time_that_runs_back_bridges_nothing() {
    assert_eq!(whole(&[(50, D, false), (60, S, false), (40, D, false)]), [None, NOT, None]);
    assert_eq!(whole(&[(0, D, false), (90, S, false), (50, D, false)]), [None, NOT, None]);
}

#[test]
fn a_frame_in_another_time_base_is_a_mismatch() {
    let mut analysis = Analysis::new(SIZE);
    analysis.frame(ms(0), D, false);
    let other = Pts::new(1, TimeBase::new(1, 25).expect("not zero"));
    analysis.frame(other, D, false);
    let plan = analysis.finish(&[], &[], &Policy::default());
    assert_eq!(*plan.for_frame(1, other, SIZE).cover(), Cover::All(Reason::Mismatch));
    assert_eq!(
        *plan.for_frame(0, Pts::new(0, other.base), SIZE).cover(),
        Cover::All(Reason::Mismatch)
    );
}

#[test]
fn a_frame_the_plan_does_not_hold_is_covered_whole() {
    let plan = plan(&[(0, D, false), (40, D, false)], &[], &[]);
    assert!(plan.for_frame(1, ms(40), SIZE).is_clear());
    let other = Size { width: 360, height: 640 };
    for (seq, pts, size, reason) in [
        (2, ms(80), SIZE, Reason::NotInPlan),
        (u64::MAX, ms(0), SIZE, Reason::NotInPlan),
        (1, ms(41), SIZE, Reason::Mismatch),
        (0, ms(40), SIZE, Reason::Mismatch),
        (1, ms(40), other, Reason::Mismatch),
    ] {
        let plan = plan.for_frame(seq, pts, size);
        assert_eq!(*plan.cover(), Cover::All(reason), "{seq} {pts} {size:?}");
        assert_eq!((plan.seq(), plan.pts(), plan.size()), (seq, pts, size));
        assert!(!plan.is_clear());
    }
}

#[test]
fn boxes_become_padded_regions_of_their_frames() {
    let rect = Rect::new(100.0, 100.0, 140.0, 160.0);
    let tracks = [
        track(1, [(0, rect), (2, rect.shifted(10.0, 0.0))]),
        // Twice in frame 2, and at a frame that was never reported.
        track(2, [(2, rect), (2, rect.shifted(5.0, 5.0)), (9, rect)]),
    ];
    let plan = plan(&[(0, D, false), (40, D, false), (80, D, false)], &tracks, &[]);
    let regions = |seq: u64| match plan.for_frame(seq, ms(seq as i64 * 40), SIZE).cover() {
        Cover::Regions(regions) => regions.iter().map(|r| (r.track.0, r.rect.x0)).collect(),
        Cover::All(_) => Vec::new(),
    };
    assert_eq!(regions(0), [(1, 90.0)]);
    assert_eq!(regions(1), []);
    assert_eq!(regions(2), [(1, 100.0), (2, 90.0), (2, 95.0)]);
    let sum = plan.summary();
    assert_eq!(
        (sum.frames, sum.untouched, sum.with_regions, sum.regions, sum.whole),
        (3, 1, 2, 4, 0)
    );
}

#[test]
fn a_span_leaves_out_its_own_track_in_its_own_frames() {
    let rect = Rect::new(100.0, 100.0, 140.0, 160.0);
    let frames: Vec<_> = (0..4).map(|i| (i * 40, D, false)).collect();
    let tracks = [track(1, (0..4).map(|f| (f, rect))), track(2, (0..4).map(|f| (f, rect)))];
    let span =
        |track, first, last| ShownSpan { track: TrackId(track), person: PersonIx(0), first, last };
    let counts = |shown: &[ShownSpan]| -> Vec<Covered> {
        plan(&frames, &tracks, shown).iter().map(|f| f.covered).collect()
    };
    let regions = |counts: [usize; 4]| counts.map(Covered::Regions).to_vec();
    assert_eq!(counts(&[span(1, 1, 2)]), regions([2, 1, 1, 2]));
    assert_eq!(counts(&[span(1, 1, 1), span(1, 3, 99)]), regions([2, 1, 2, 1]));
    assert_eq!(counts(&[span(3, 0, 3)]), regions([2; 4]), "no such track");
    assert_eq!(counts(&[span(1, 3, 0)]), regions([2; 4]), "an empty span");
}

#[test]
fn an_unusable_box_covers_its_frame() {
    let bad = [
        Rect::new(f32::NAN, 0.0, 1.0, 1.0),
        Rect::new(0.0, 0.0, f32::INFINITY, 1.0),
        Rect::new(10.0, 0.0, 5.0, 1.0),
        Rect::new(-1e30, 0.0, 1e30, 1.0),
    ];
    for rect in bad {
        let plan = plan(&[(0, D, false), (40, D, false)], &[track(1, [(1, rect)])], &[]);
        let covered: Vec<_> = plan.iter().map(|f| f.covered).collect();
        assert_eq!(covered, [Covered::Regions(0), Covered::All(Reason::BadBox)], "{rect:?}");
    }
}
