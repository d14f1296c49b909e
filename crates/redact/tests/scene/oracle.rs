//! What a plan must cover, worked out from its JSON the slow and plain way.

use domain::{Pts, Size, TimeBase};
use redact::{Cover, PlanDocument, RedactionPlan};
use serde_json::Value;

/// Reads the document and, if it is taken, looks at every frame: what is covered is what the JSON
/// says. Gives the plan, `None` if the document was refused.
pub fn read(bytes: &[u8]) -> Option<RedactionPlan> {
    let document = PlanDocument::parse(bytes).ok()?;
    let json: Value = serde_json::from_slice(bytes).expect("a plan is JSON");
    let again = serde_json::to_vec(&document).expect("a plan is serialised");
    let same = serde_json::to_vec(&PlanDocument::parse(&again).expect("reads what it writes"));
    assert_eq!(same.expect("a plan is serialised"), again);
    let number = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok()).expect("a number");
    let size =
        Size { width: number(&json["input"]["width"]), height: number(&json["input"]["height"]) };
    let plan = document.for_input(json["input"]["sha256"].as_str().expect("a hash")).ok()?;
    let frames = list(&json["frames"]);
    assert_eq!((plan.len(), plan.size()), (frames.len(), size));
    for (seq, frame) in frames.iter().enumerate() {
        let base = &json["time_base"];
        let base = TimeBase::new(number(&base["num"]), number(&base["den"])).expect("not zero");
        let pts = Pts::new(ticks(frame), base);
        let cover = plan.for_frame(seq as u64, pts, size);
        match (cover.cover(), covered(&json, pts.ticks)) {
            (Cover::All(_), None) => {}
            (Cover::Regions(regions), Some(tracks)) => {
                let found: Vec<u64> = regions.iter().map(|r| r.track.0.into()).collect();
                assert_eq!(found, tracks, "frame {seq}");
                assert!(regions.iter().all(|r| r.rect.is_sane()), "frame {seq}");
            }
            (cover, meant) => panic!("frame {seq}: {cover:?}, not {meant:?}"),
        }
        let later = plan.for_frame(seq as u64, Pts::new(pts.ticks.wrapping_add(1), base), size);
        assert!(matches!(later.cover(), Cover::All(_)), "another time");
    }
    let beyond = Pts::new(0, TimeBase::new(1, 1).expect("not zero"));
    assert!(matches!(plan.for_frame(frames.len() as u64, beyond, size).cover(), Cover::All(_)));
    for at in 0..plan.gops().len() {
        plan.is_clear(at);
        plan.gop_frames(at);
    }
    document.tracks();
    document.people();
    Some(plan)
}

/// Names of the tracks and areas covered at a time; `None`: everything is.
fn covered(json: &Value, time: i64) -> Option<Vec<u64>> {
    let within = |span: &Value| (ticks(&span["from"])..=ticks(&span["to"])).contains(&time);
    if list(&json["covered_whole"]).iter().any(within) {
        return None;
    }
    let mut names = Vec::new();
    for track in list(&json["tracks"]) {
        let shown = match track["edit"].as_str() {
            Some("keep") => true,
            Some(_) => false,
            None => list(&track["shown"]).iter().any(within),
        };
        let here = list(&track["boxes"]).iter().filter(|row| ticks(&row[0]) == time && !shown);
        names.extend(here.map(|_| track["id"].as_u64().expect("a number")));
    }
    let last = list(&json["tracks"]).last().map_or(0, |t| t["id"].as_u64().expect("a number"));
    let areas = (last + 1..).zip(list(&json["manual"])).filter(|(_, area)| within(area));
    names.extend(areas.map(|(name, _)| name));
    Some(names)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn ticks(value: &Value) -> i64 {
    value.as_i64().expect("ticks")
}
