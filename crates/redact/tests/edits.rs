//! What a person writes into a plan is what is covered; what makes no sense is refused.
#![allow(clippy::unwrap_used)]

mod scene;

use domain::{Gop, PersonIx, Rect, Size, TrackId};
use redact::{
    Analysis, Cover, Effect, FORMAT, FramePlan, PlanDocument, PlanError, PlanHeader, Policy,
    Reason, RedactionPlan, Seen, ShownSpan,
};
use scene::pts;
use serde_json::{Value, json};

const SIZE: Size = Size { width: 320, height: 180 };
const FRAMES: usize = 12;

fn sha256() -> String {
    "ab".repeat(32)
}

/// Two faces in twelve frames; the second is a kept person's from frame 2 to frame 5.
fn document() -> Value {
    let mut analysis = Analysis::new(SIZE);
    (0..FRAMES).for_each(|i| analysis.frame(pts(i as i64), Seen::Detected, false));
    let gop = Gop { start: pts(0), packets: 12, reorder: 1, sha256: [9; 32], plain: true };
    analysis.gops(vec![gop]);
    let rects = [Rect::new(10.0, 10.0, 50.0, 60.0), Rect::new(200.0, 20.0, 240.0, 70.0)];
    let tracks = scene::tracks(FRAMES, &rects);
    let span = ShownSpan { track: TrackId(2), person: PersonIx(0), first: 2, last: 5 };
    let plan = analysis.finish(&tracks, &[span], &Policy::default());
    let header = PlanHeader {
        input_sha256: sha256(),
        people: vec!["mina".to_owned()],
        ..PlanHeader::default()
    };
    serde_json::to_value(plan.document(&header, &tracks)).unwrap()
}

fn parse(document: &Value) -> Result<PlanDocument, PlanError> {
    PlanDocument::parse(&serde_json::to_vec(document).unwrap())
}

fn plan(document: &Value) -> RedactionPlan {
    parse(document).unwrap().for_input(&sha256()).unwrap()
}

fn frame(plan: &RedactionPlan, at: usize) -> FramePlan {
    plan.for_frame(at as u64, pts(at as i64), SIZE)
}

/// The tracks covered in each frame.
fn covered(plan: &RedactionPlan) -> Vec<Vec<u32>> {
    let tracks = |at| match frame(plan, at).cover() {
        Cover::Regions(regions) => regions.iter().map(|r| r.track.0).collect(),
        Cover::All(reason) => panic!("frame {at}: {reason}"),
    };
    (0..FRAMES).map(tracks).collect()
}

fn expect(of: impl Fn(usize) -> Vec<u32>) -> Vec<Vec<u32>> {
    (0..FRAMES).map(of).collect()
}

#[test]
fn unedited_it_covers_what_was_analysed() {
    let plan = plan(&document());
    let shown = |at| (2..=5).contains(&at);
    assert_eq!(covered(&plan), expect(|at| if shown(at) { vec![1] } else { vec![1, 2] }));
    assert_eq!(plan.gops().count(), 1);
}

#[test]
fn a_track_is_kept_or_covered_for_good_by_one_word() {
    let mut edited = document();
    edited["tracks"][0]["edit"] = json!("keep");
    edited["tracks"][1]["edit"] = json!("cover");
    assert_eq!(covered(&plan(&edited)), expect(|_| vec![2]));
    edited["tracks"][1]["edit"] = json!("keep");
    let all_kept = plan(&edited);
    assert_eq!(covered(&all_kept), expect(|_| vec![]));
    assert!(all_kept.clear(0, [9; 32]).is_some(), "nothing is covered: the packets may be copied");
}

#[test]
fn an_area_drawn_by_hand_moves_evenly_between_its_keys_and_nothing_else_changes() {
    let mut edited = document();
    edited["manual"] = json!([{
        "note": "screen", "from": 3, "to": 9,
        "keys": [[4, 100.0, 100.0, 120.0, 140.0], [8, 140.0, 100.0, 180.0, 140.0]],
    }]);
    let plan = plan(&edited);
    let at = |seq| match frame(&plan, seq).cover() {
        Cover::Regions(regions) => {
            regions.iter().find(|r| r.track == TrackId(3)).map(|region| region.rect)
        }
        Cover::All(_) => None,
    };
    let padded = |x0, x1| Some(Rect::new(x0, 100.0, x1, 140.0).grown(0.25));
    assert_eq!((at(2), at(10)), (None, None));
    assert_eq!((at(3), at(4)), (padded(100.0, 120.0), padded(100.0, 120.0)));
    assert_eq!(at(6), padded(120.0, 150.0));
    assert_eq!((at(8), at(9)), (padded(140.0, 180.0), padded(140.0, 180.0)));
    edited["manual"] = json!([]);
    let before = covered(&self::plan(&edited));
    let without: Vec<Vec<u32>> =
        covered(&plan).into_iter().map(|t| t.into_iter().filter(|t| *t < 3).collect()).collect();
    assert_eq!(without, before);
    assert!(plan.clear(0, [9; 32]).is_none());
}

#[test]
fn frames_are_covered_whole_by_hand() {
    let mut edited = document();
    edited["covered_whole"] = json!([
        {"from": 7, "to": 100, "reason": "manual"},
        {"from": 6, "to": 8, "reason": "damaged"},
        {"from": 7, "to": 7, "reason": "mismatch"},
        {"from": -5, "to": 0, "reason": "manual"},
    ]);
    let plan = plan(&edited);
    let whole = |at| match frame(&plan, at).cover() {
        Cover::All(reason) => Some(*reason),
        Cover::Regions(_) => None,
    };
    let (hand, damaged) = (Some(Reason::Manual), Some(Reason::Damaged));
    let expected = [&[hand][..], &[None; 5], &[damaged; 3], &[hand; 3]].concat();
    assert_eq!((0..FRAMES).map(whole).collect::<Vec<_>>(), expected);
}

#[test]
fn the_effect_is_changed_by_one_word_and_never_below_what_is_safe() {
    let mut edited = document();
    edited["policy"]["effect"] = json!("fill");
    let plan = plan(&edited);
    assert_eq!((plan.policy().effect(), plan.policy().pad()), (Effect::Fill, 0.25));
    edited["policy"] = json!({"effect": "fill", "shape": "box"});
    assert_eq!(self::plan(&edited).policy().pad(), 0.35);
    edited["policy"] = json!({"effect": "mosaic", "cells": 12, "shape": "box"});
    let error = parse(&edited).unwrap_err().to_string();
    assert!(error.starts_with("at policy: cells 12: at most 8"), "{error}");
    edited["policy"] = json!({"effect": "blur", "shape": "box", "pad": 0.1});
    assert!(parse(&edited).unwrap_err().to_string().contains("jaw"));
}

#[test]
fn frames_that_are_not_listed_are_covered_whole() {
    let mut edited = document();
    edited["frames"].as_array_mut().unwrap().truncate(10);
    for track in edited["tracks"].as_array_mut().unwrap() {
        track["boxes"].as_array_mut().unwrap().truncate(10);
    }
    let plan = plan(&edited);
    assert!(matches!(frame(&plan, 9).cover(), Cover::Regions(_)));
    for at in [10, 11] {
        assert_eq!(*frame(&plan, at).cover(), Cover::All(Reason::NotInPlan));
    }
    assert!(plan.clear(0, [9; 32]).is_none(), "its packets hold more than the plan lists");
}

#[test]
fn it_is_good_for_its_own_input_only() {
    let document = document();
    for other in ["", "ab", &"cd".repeat(32), &sha256().to_uppercase()] {
        let error = parse(&document).unwrap().for_input(other).unwrap_err();
        assert_eq!(error, PlanError::OtherInput { name: None });
    }
    let mut without = document;
    without["input"]["sha256"] = json!("");
    assert!(parse(&without).unwrap().for_input("").is_err(), "a folder has no hash");
}

#[test]
fn the_version_is_judged_before_the_fields() {
    let error = parse(&json!({"format": FORMAT, "version": 2, "other": {}})).unwrap_err();
    assert_eq!(error, PlanError::Version(2));
    let error = parse(&json!({"format": FORMAT})).unwrap_err();
    assert_eq!(error, PlanError::Version(0));
    for other in [json!({}), json!({"format": "report", "version": 1})] {
        assert_eq!(parse(&other).unwrap_err(), PlanError::NotAPlan);
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place() {
    let cases = [
        ("/frames/3", json!(2), "frames[3]: does not rise"),
        ("/frames/3", json!(2.5), "frames[3]: invalid type"),
        ("/time_base", json!(null), "time_base: is null"),
        ("/time_base/den", json!(0), "time_base.den: invalid value"),
        ("/input/width", json!(0), "input.width: 0 pixels"),
        ("/input/height", json!(20_001), "input.height: 20001 pixels"),
        ("/input/sha256", json!("AB".repeat(32)), "input.sha256: is not a SHA-256"),
        ("/gops/0/sha256", json!("ab"), "gops[0].sha256: is not a SHA-256"),
        ("/gops/0/reorder", json!(17), "gops[0].reorder: 17"),
        ("/gops/0/packets", json!(-1), "gops[0].packets: invalid value"),
        ("/covered_whole", json!([{"from": 5, "to": 4, "reason": "manual"}]), "ends (4) before"),
        ("/covered_whole", json!([{"from": 50, "to": 60, "reason": "manual"}]), "no frame lies"),
        ("/covered_whole", json!([{"from": 0, "to": 1, "reason": "why"}]), "unknown variant `why`"),
        ("/tracks/1/id", json!(1), "tracks[1].id: does not rise"),
        ("/tracks/0/edit", json!("show"), "tracks[0].edit: unknown variant `show`"),
        ("/tracks/0/shown", json!([{"from": 3, "to": 2}]), "tracks[0].shown[0]: ends before"),
        ("/tracks/0/best_score", json!(1e300), "tracks[0].best_score: scores"),
        ("/tracks/0/boxes/4/0", json!(99), "tracks[0].boxes[4]: 99 is the time of no frame"),
        ("/tracks/0/boxes/4/0", json!(2), "tracks[0].boxes[4]: is earlier"),
        ("/tracks/0/boxes/4/1", json!(1e300), "tracks[0].boxes[4]: left, top"),
        ("/tracks/0/boxes/4/1", json!(null), "tracks[0].boxes[4]: left, top"),
        ("/tracks/0/boxes/4/3", json!(0), "tracks[0].boxes[4]: left, top"),
        ("/tracks/0/boxes/4/5", json!("seen"), "tracks[0].boxes[4][5]: unknown variant"),
        ("/tracks/0/boxes/4", json!([4, 1, 2, 3]), "tracks[0].boxes[4]: invalid length"),
        ("/manual", json!([{"from": 0, "to": 1, "keys": []}]), "manual[0].keys: is empty"),
        ("/manual", json!([{"from": 0, "to": 1}]), "manual[0]: missing field `keys`"),
        ("/manual", json!([{"from": 0, "to": 1, "keys": [[0, 0.1, 0.1, 0.4, 0.4]]}]), "one pixel"),
        (
            "/manual",
            json!([{"from": 0, "to": 1, "keys": [[0, 0, 0, 4, 4], [0, 0, 0, 4, 4]]}]),
            "keys[1]: does not rise in time",
        ),
        ("/tool", json!(7), "tool: invalid type"),
    ];
    for (place, value, words) in cases {
        let mut edited = document();
        *edited.pointer_mut(place).unwrap() = value.clone();
        let error = parse(&edited).map(drop).unwrap_err().to_string();
        assert!(error.contains(words), "{place} = {value}: {error}");
        assert!(error.contains("garim analyze"), "names the next step: {error}");
    }
    let mut more = document();
    more["tracks"][0]["edti"] = json!("cover");
    assert!(parse(&more).unwrap_err().to_string().contains("tracks[0].edti: unknown field"));
}

#[test]
fn text_that_is_no_document_is_refused_with_its_place() {
    let text = serde_json::to_string(&document()).unwrap();
    let error = PlanDocument::parse(&text.as_bytes()[..500]).unwrap_err().to_string();
    assert!(error.contains("EOF") && error.contains("line 1 column 500"), "{error}");
    let error = PlanDocument::parse((text + "x").as_bytes()).unwrap_err().to_string();
    assert!(error.contains("trailing characters"), "{error}");
    for bytes in [&b""[..], b"[]", b"\xff\xfe", b"null", b"\"garim-plan\""] {
        assert!(PlanDocument::parse(bytes).is_err(), "{bytes:?}");
    }
}
