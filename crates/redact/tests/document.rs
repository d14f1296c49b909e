//! The written plan says what the plan does.

use domain::{BoxKind, Gop, PersonIx, Pts, Rect, Size, TimeBase, Track, TrackBox, TrackId};
use redact::{Analysis, Model, PlanDocument, PlanHeader, Policy, Seen, ShownSpan};
use serde_json::json;

#[test]
fn a_plan_as_json() {
    let pts = |ticks| Pts::new(ticks, TimeBase::new(1001, 24000).unwrap());
    let mut analysis = Analysis::new(Size { width: 640, height: 360 });
    for (at, seen) in [Seen::Detected, Seen::Detected, Seen::Skipped, Seen::Skipped, Seen::Damaged]
        .into_iter()
        .enumerate()
    {
        analysis.frame(pts(at as i64 + 7), seen, false);
    }
    let gop = |at, packets, plain| Gop {
        start: pts(at),
        packets,
        reorder: 2,
        sha256: [at as u8; 32],
        plain,
    };
    analysis.gops(vec![gop(7, 2, true), gop(9, 3, false)]);
    let track = |id, frames: &[usize], kind| Track {
        id: TrackId(id),
        boxes: frames
            .iter()
            .map(|f| TrackBox {
                frame: *f,
                rect: Rect::new(1.5, 2.0, 31.0, 42.0),
                kind,
                score: 0.5,
            })
            .collect(),
        sightings: vec![(0, PersonIx(0), 0.25), (1, PersonIx(0), 0.75)],
        best_score: 0.5,
        first: (0, pts(7)),
        last: (0, pts(7)),
    };
    let tracks = [track(2, &[0, 1], BoxKind::Detected), track(1, &[1, 3], BoxKind::Extended)];
    let shown = |track, person, first, last| ShownSpan {
        track: TrackId(track),
        person: PersonIx(person),
        first,
        last,
    };
    let shown = [shown(2, 0, 0, 90), shown(1, 5, 1, 1), shown(1, 0, 3, 2), shown(2, 0, 80, 90)];
    let plan = analysis.finish(&tracks, &shown, &Policy::default());
    let header = PlanHeader {
        input_sha256: "ab".repeat(32),
        input_name: Some("in.mp4".into()),
        tool_version: "garim 0.1.0".into(),
        models: vec![Model { name: "yunet".into(), sha256: "cd".repeat(32) }],
        people: vec!["mina".into()],
    };
    let expected = json!({
        "format": "garim-plan",
        "version": 1,
        "tool": "garim 0.1.0",
        "input": {"name": "in.mp4", "sha256": "ab".repeat(32), "width": 640, "height": 360},
        "models": [{"name": "yunet", "sha256": "cd".repeat(32)}],
        "policy": {"effect": "mosaic", "cells": 8, "shape": "rounded", "pad": 0.25},
        "time_base": {"num": 1001, "den": 24000},
        "frames": [7, 8, 9, 10, 11],
        "covered_whole": [
            {"from": 9, "to": 10, "reason": "not_analysed"},
            {"from": 11, "to": 11, "reason": "damaged"},
        ],
        "gops": [
            {"from": 7, "packets": 2, "reorder": 2, "sha256": "07".repeat(32), "plain": true},
            {"from": 9, "packets": 3, "reorder": 2, "sha256": "09".repeat(32), "plain": false},
        ],
        "tracks": [
            {
                "id": 1,
                "edit": null,
                "best_score": 0.5,
                "most_like": {"person": "mina", "similarity": 0.75},
                "shown": [{"person": null, "similarity": null, "from": 8, "to": 8}],
                "boxes": [[8, 1.5, 2.0, 31.0, 42.0, "extended"], [10, 1.5, 2.0, 31.0, 42.0, "extended"]],
            },
            {
                "id": 2,
                "edit": null,
                "best_score": 0.5,
                "most_like": {"person": "mina", "similarity": 0.75},
                "shown": [{"person": "mina", "similarity": 0.75, "from": 7, "to": 11}],
                "boxes": [[7, 1.5, 2.0, 31.0, 42.0, "detected"], [8, 1.5, 2.0, 31.0, 42.0, "detected"]],
            },
        ],
        "manual": [],
    });
    assert_eq!(serde_json::to_value(plan.document(&header, &tracks)).unwrap(), expected);
}

#[test]
fn an_empty_plan_is_still_a_document() {
    let plan = Analysis::new(Size { width: 2, height: 2 }).finish(&[], &[], &Policy::default());
    let value = serde_json::to_value(plan.document(&PlanHeader::default(), &[])).unwrap();
    assert_eq!((&value["frames"], &value["time_base"]), (&json!([]), &json!(null)));
}

#[test]
fn the_example_in_the_reference_is_a_plan() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/plan.md");
    let text = std::fs::read_to_string(path).unwrap();
    let example = text.split("```").nth(1).unwrap().strip_prefix("json").unwrap();
    let document = PlanDocument::parse(example.as_bytes()).unwrap();
    let sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let summary = document.for_input(sha256).unwrap().summary();
    assert_eq!((summary.frames, summary.regions, summary.whole), (5, 4, 2));
}
