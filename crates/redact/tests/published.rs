//! A plan carried over to the video that was rendered by it: good for that video only, and whoever is to
//! be covered is.
#![allow(clippy::unwrap_used)]

mod scene;

use domain::{Gop, PersonIx, Pts, Rect, Size, TimeBase, TrackId};
use redact::{
    Analysis, Cover, PlanDocument, PlanError, PlanHeader, Policy, Published, Reason, RedactionPlan,
    Seen, ShownSpan,
};
use scene::pts;
use serde_json::{Value, json};

const SIZE: Size = Size { width: 320, height: 180 };
const FRAMES: usize = 12;

fn original() -> String {
    "ab".repeat(32)
}

fn link() -> Published {
    Published { sha256: "cd".repeat(32), original_sha256: original() }
}

fn gop(first: i64, sha256: u8) -> Gop {
    Gop { start: pts(first), packets: 6, reorder: 1, sha256: [sha256; 32], plain: true }
}

/// Three faces in two groups of six frames: Mina's and Jun's, both shown, and a stranger's. Nobody's is in
/// the second group but Jun's.
fn document() -> Value {
    let mut analysis = Analysis::new(SIZE);
    (0..FRAMES).for_each(|i| analysis.frame(pts(i as i64), Seen::Detected, false));
    analysis.gops(vec![gop(0, 1), gop(6, 2)]);
    let rects = [10.0, 100.0, 200.0].map(|x| Rect::new(x, 10.0, x + 40.0, 60.0));
    let mut tracks = scene::tracks(FRAMES, &rects);
    tracks[0].boxes.truncate(6);
    tracks[2].boxes.truncate(6);
    let shown = |track, person, last| ShownSpan {
        track: TrackId(track),
        person: PersonIx(person),
        first: 0,
        last,
    };
    let shown = [shown(1, 0, 5), shown(2, 1, 11)];
    let plan = analysis.finish(&tracks, &shown, &Policy::default());
    let header = PlanHeader {
        input_sha256: original(),
        people: vec!["mina".to_owned(), "jun".to_owned()],
        ..PlanHeader::default()
    };
    serde_json::to_value(plan.document(&header, &tracks)).unwrap()
}

fn parse(document: &Value) -> PlanDocument {
    PlanDocument::parse(&serde_json::to_vec(document).unwrap()).unwrap()
}

fn without(document: &Value, names: &[&str]) -> PlanDocument {
    let mut document = parse(document);
    document.cover_people(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    document
}

fn carried(document: &PlanDocument, gops: &[Gop]) -> RedactionPlan {
    document.for_published(&link(), &link().sha256, Some(pts(0).base), gops).unwrap()
}

/// The tracks that are covered in frame `at`.
fn covered(plan: &RedactionPlan, at: usize) -> Vec<u32> {
    match plan.for_frame(at as u64, pts(at as i64), SIZE).cover() {
        Cover::Regions(regions) => regions.iter().map(|r| r.track.0).collect(),
        Cover::All(reason) => panic!("frame {at}: {reason}"),
    }
}

#[test]
fn it_covers_the_same_and_whoever_is_to_be_covered_too() {
    let document = document();
    let plan = carried(&without(&document, &[]), &[]);
    assert_eq!((covered(&plan, 0), covered(&plan, 11)), (vec![3], vec![]));
    let plan = carried(&without(&document, &["jun"]), &[]);
    assert_eq!((covered(&plan, 0), covered(&plan, 11)), (vec![2, 3], vec![2]));
    let plan = carried(&without(&document, &["jun", "mina"]), &[]);
    assert_eq!(covered(&plan, 0), [1, 2, 3]);
    let plan = carried(&without(&document, &["somebody"]), &[]);
    assert_eq!(covered(&plan, 0), [3], "a name that is in no track covers nobody else");
}

#[test]
fn with_somebody_to_cover_a_face_stays_shown_only_where_it_is_known_to_be_others() {
    let covered_with = |change: &dyn Fn(&mut Value)| {
        let mut document = document();
        change(&mut document);
        covered(&carried(&without(&document, &["mina"]), &[]), 0)
    };
    assert_eq!(covered_with(&|_| {}), [1, 3]);
    let kept = |d: &mut Value| d["tracks"][0]["edit"] = json!("keep");
    assert_eq!(covered_with(&kept), [1, 3], "kept by hand");
    let stranger = |d: &mut Value| d["tracks"][2]["edit"] = json!("keep");
    assert_eq!(covered_with(&stranger), [1, 3], "kept by hand, and nobody knows who it is");
    let nameless = |d: &mut Value| d["tracks"][1]["shown"][0]["person"] = json!(null);
    assert_eq!(covered_with(&nameless), [1, 2, 3]);
    let like = |d: &mut Value| {
        d["tracks"][1]["most_like"] = json!({"person": "mina", "similarity": 0.6});
    };
    assert_eq!(covered_with(&like), [1, 2, 3], "confirmed as Jun, and most like Mina");
    let both = |d: &mut Value| {
        d["tracks"][1]["shown"] = json!([
            {"person": "jun", "similarity": null, "from": 0, "to": 5},
            {"person": "mina", "similarity": null, "from": 6, "to": 11},
        ]);
    };
    assert_eq!(covered_with(&both), [1, 2, 3]);
}

#[test]
fn the_word_of_the_document_is_changed_so_that_it_can_be_kept() {
    let document = without(&document(), &["jun"]);
    let written = serde_json::to_value(&document).unwrap();
    let edits: Vec<&Value> =
        written["tracks"].as_array().unwrap().iter().map(|t| &t["edit"]).collect();
    assert_eq!(edits, [&json!(null), &json!("cover"), &json!(null)]);
    assert_eq!(written["input"]["sha256"], json!(original()));
}

#[test]
fn it_is_good_for_the_published_file_of_its_own_original_only() {
    let document = parse(&document());
    let base = Some(pts(0).base);
    let plan = |published: &Published, sha256: &str| {
        document.for_published(published, sha256, base, &[]).map(|plan| plan.len())
    };
    assert_eq!(plan(&link(), &link().sha256), Ok(FRAMES));
    assert_eq!(plan(&link(), &"ef".repeat(32)), Err(PlanError::NotPublished));
    assert_eq!(plan(&link(), &original()), Err(PlanError::NotPublished));
    let of_other = Published { original_sha256: "ef".repeat(32), ..link() };
    assert!(matches!(plan(&of_other, &link().sha256), Err(PlanError::OtherInput { .. })));
    let nothing = Published { sha256: String::new(), original_sha256: original() };
    assert_eq!(plan(&nothing, ""), Err(PlanError::NotPublished));
}

#[test]
fn only_groups_that_the_analysis_saw_as_they_are_may_be_copied() {
    let document = without(&document(), &["mina"]);
    let may = |gops: &[Gop], at: usize| {
        let plan = carried(&document, gops);
        let sha256 = gops[at].sha256;
        plan.clear(at, sha256).is_some()
    };
    assert!(may(&[gop(0, 1), gop(6, 2)], 1), "only Jun is in it, and he stays");
    assert!(!may(&[gop(0, 1), gop(6, 2)], 0), "Mina is in it");
    assert!(!may(&[gop(0, 1), gop(6, 3)], 1), "it was encoded since");
    assert!(!may(&[gop(0, 1), gop(6, 1)], 1), "it is another group's");
    let hidden = Gop { plain: false, ..gop(6, 2) };
    assert!(!may(&[gop(0, 1), hidden], 1), "it holds more than is seen");
    let fewer = Gop { packets: 5, ..gop(6, 2) };
    assert!(!may(&[gop(0, 1), fewer], 1), "a picture is missing");
}

#[test]
fn times_in_another_unit_are_the_same_times_or_everything_is_covered() {
    let document = parse(&document());
    let base = pts(0).base;
    let finer = TimeBase::new(base.num(), base.den() * 3).unwrap();
    let covers = |unit: TimeBase, ticks: i64| {
        let plan = document.for_published(&link(), &link().sha256, Some(unit), &[]).unwrap();
        plan.for_frame(1, Pts::new(ticks, unit), SIZE).cover().clone()
    };
    let tick = pts(1).ticks;
    assert!(matches!(covers(finer, tick * 3), Cover::Regions(regions) if regions.len() == 1));
    assert_eq!(covers(finer, tick * 3 + 1), Cover::All(Reason::Mismatch));
    let odd = TimeBase::new(base.num() * 7, base.den() * 11).unwrap();
    assert_eq!(covers(odd, tick * 11 / 7), Cover::All(Reason::Mismatch));
}
