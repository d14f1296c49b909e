//! A plan that was written and read covers what it covered before; and whatever is done to its
//! text, reading never panics and never covers less than the text says.
#![allow(clippy::unwrap_used)]

mod scene;

use std::path::Path;

use domain::{BoxKind, Gop, PersonIx, Pts, Rect, Size, TimeBase, Track, TrackBox, TrackId};
use proptest::prelude::*;
use redact::{
    Analysis, EffectKind, PlanDocument, PlanHeader, Policy, RedactionPlan, Seen, Shape, ShownSpan,
};
use scene::oracle;
use serde_json::{Value, json};

const SIZE: Size = Size { width: 640, height: 360 };

#[derive(Debug)]
struct Job {
    times: Vec<i64>,
    seen: Vec<Seen>,
    tracks: Vec<Track>,
    shown: Vec<ShownSpan>,
    gops: Vec<Gop>,
    policy: Policy,
}

fn base() -> TimeBase {
    TimeBase::new(1001, 24000).unwrap()
}

fn jobs() -> impl Strategy<Value = Job> {
    let seen =
        prop_oneof![8 => Just(Seen::Detected), 1 => Just(Seen::Skipped), 1 => Just(Seen::Damaged)];
    let frames = prop::collection::vec((1i64..4, seen), 0..40);
    // Some boxes are broken, as from a broken tracker.
    let edge = || prop_oneof![30 => -100f32..700.0, 1 => Just(f32::NAN), 1 => Just(f32::INFINITY)];
    let rect = (edge(), edge(), 0f32..200.0, 0f32..200.0);
    let rect = rect.prop_map(|(x, y, w, h)| Rect::new(x, y, x + w, y + h));
    let boxes = prop::collection::vec((0usize..40, rect), 0..30);
    let tracks = prop::collection::vec((1u32..9, boxes), 0..6);
    let shown = prop::collection::vec((1u32..9, 0usize..3, 0usize..40, 0usize..60), 0..8);
    let gops = prop::collection::vec((0usize..40, 0u32..9, any::<u8>(), any::<bool>()), 0..6);
    let policy = (
        prop::sample::select(vec![EffectKind::Mosaic, EffectKind::Blur, EffectKind::Fill]),
        3u8..9,
        0.2f32..1.0,
    );
    (frames, tracks, shown, gops, policy, -50i64..50).prop_map(
        |(frames, tracks, shown, gops, policy, start)| {
            let times: Vec<i64> = frames
                .iter()
                .scan(start, |time, (step, _)| {
                    *time += step;
                    Some(*time)
                })
                .collect();
            let pts = |ticks| Pts::new(ticks, base());
            let mut starts: Vec<_> = gops.into_iter().filter(|g| g.0 < times.len()).collect();
            starts.sort_by_key(|g| g.0);
            starts.dedup_by_key(|g| g.0);
            if let Some(first) = starts.first_mut() {
                first.0 = 0;
            }
            let gop = |(at, packets, byte, plain): (usize, u32, u8, bool)| Gop {
                start: pts(times[at]),
                packets,
                reorder: byte % 17,
                sha256: [byte; 32],
                plain,
            };
            let track = |(id, mut boxes): (u32, Vec<(usize, Rect)>)| {
                boxes.sort_by_key(|b| b.0);
                let kind = BoxKind::Interpolated;
                let boxes = boxes.into_iter().map(|(frame, rect)| TrackBox {
                    frame,
                    rect,
                    kind,
                    score: 0.0,
                });
                Track {
                    id: TrackId(id),
                    boxes: boxes.collect(),
                    sightings: vec![(3, PersonIx(0), 0.5)],
                    best_score: 0.75,
                    first: (0, pts(0)),
                    last: (0, pts(0)),
                }
            };
            let span = |(track, person, first, last)| ShownSpan {
                track: TrackId(track),
                person: PersonIx(person),
                first,
                last,
            };
            Job {
                seen: frames.iter().map(|f| f.1).collect(),
                tracks: tracks.into_iter().map(track).collect(),
                shown: shown.into_iter().map(span).collect(),
                gops: starts.into_iter().map(gop).collect(),
                policy: Policy::new(policy.0, policy.1, Shape::Rounded, Some(policy.2)).unwrap(),
                times,
            }
        },
    )
}

fn finish(job: &Job) -> RedactionPlan {
    let mut analysis = Analysis::new(SIZE);
    for (time, seen) in job.times.iter().zip(&job.seen) {
        analysis.frame(Pts::new(*time, base()), *seen, false);
    }
    analysis.gops(job.gops.clone());
    analysis.finish(&job.tracks, &job.shown, &job.policy)
}

fn write(plan: &RedactionPlan, tracks: &[Track]) -> Vec<u8> {
    let header = PlanHeader {
        input_sha256: "0a".repeat(32),
        input_name: Some("in.mp4".to_owned()),
        people: vec!["mina".to_owned(), "jun".to_owned()],
        ..PlanHeader::default()
    };
    serde_json::to_vec(&plan.document(&header, tracks)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_and_read_covers_the_same_in_every_frame(job in jobs()) {
        let plan = finish(&job);
        let again = oracle::read(&write(&plan, &job.tracks)).expect("it is taken");
        prop_assert_eq!(plan.policy(), again.policy());
        for (seq, time) in job.times.iter().enumerate() {
            let at = |plan: &RedactionPlan| plan.for_frame(seq as u64, Pts::new(*time, base()), SIZE);
            prop_assert_eq!(at(&plan), at(&again));
        }
        prop_assert_eq!(plan.gops().collect::<Vec<_>>(), again.gops().collect::<Vec<_>>());
        prop_assert_eq!(plan.reorder(), again.reorder());
        for (at, gop) in job.gops.iter().enumerate() {
            let clear = |plan: &RedactionPlan| plan.clear(at, gop.sha256).is_some();
            prop_assert_eq!(clear(&plan), clear(&again));
        }
    }
}

/// Numbers without a pattern, the same in every run (xorshift, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n.max(1)
    }
}

/// A small plan with something in every field.
fn sample() -> Value {
    let mut analysis = Analysis::new(SIZE);
    for at in 0..10 {
        let seen = if at == 7 { Seen::Damaged } else { Seen::Detected };
        analysis.frame(Pts::new(at * 2, base()), seen, false);
    }
    let start = Pts::new(0, base());
    analysis.gops(vec![Gop { start, packets: 10, reorder: 2, sha256: [7; 32], plain: true }]);
    let rects = [Rect::new(10.0, 10.0, 50.5, 60.0), Rect::new(200.0, 20.0, 240.0, 70.25)];
    let tracks = scene::tracks(10, &rects);
    let span = ShownSpan { track: TrackId(2), person: PersonIx(1), first: 2, last: 5 };
    let plan = analysis.finish(&tracks, &[span], &Policy::default());
    let mut json: Value = serde_json::from_slice(&write(&plan, &tracks)).unwrap();
    json["models"] = json!([{"name": "yunet", "sha256": "cd".repeat(32)}]);
    json["tracks"][0]["edit"] = json!("cover");
    json["tracks"][0]["most_like"] = json!({"person": "jun", "similarity": 0.25});
    json["manual"] = json!([
        {"note": "screen", "from": 2, "to": 9, "keys": [[2, 0, 0, 9, 9], [8, 40.5, 0, 60, 20]]},
        {"from": 0, "to": 1, "keys": [[0, 5, 5, 50, 50]]},
    ]);
    json
}

#[test]
fn the_fuzzers_seed_is_a_plan_of_this_version() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/plan/sample.json");
    let bytes = serde_json::to_vec(&sample()).unwrap();
    if std::env::var_os("GARIM_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &bytes).unwrap();
    }
    let seed = std::fs::read(&path).unwrap_or_default();
    assert!(seed == bytes, "{}: run the tests with GARIM_UPDATE_SNAPSHOTS=1", path.display());
    assert!(oracle::read(&seed).is_some());
}

#[test]
fn whatever_is_done_to_its_bytes_reading_does_not_panic_and_covers_what_they_say() {
    let bytes = serde_json::to_vec(&sample()).unwrap();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..6000 {
        let mut bytes = bytes.clone();
        for _ in 0..=dice.below(2) {
            let at = dice.below(bytes.len());
            match dice.below(5) {
                0 => bytes[at] ^= 1 << dice.below(8),
                1 => bytes[at] = b"0123456789-.eE,[]{}\"nul"[dice.below(23)],
                2 => drop(bytes.remove(at)),
                3 => bytes.insert(at, b"0123456789-.e,[]{}\""[dice.below(19)]),
                _ if dice.below(20) == 0 => bytes.truncate(at),
                _ => bytes[at] = b'0' + dice.below(10) as u8,
            }
        }
        if oracle::read(&bytes).is_some() { taken += 1 } else { refused += 1 }
    }
    assert!(taken > 500 && refused > 500, "one-sided: {taken} taken, {refused} refused");
}

#[test]
fn whatever_is_done_to_its_fields_reading_does_not_panic_and_covers_what_they_say() {
    let sample = sample();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..6000 {
        let mut json = sample.clone();
        for _ in 0..1 + dice.below(5) / 4 {
            let other = pick(&mut sample.clone(), &mut dice).clone();
            change(pick(&mut json, &mut dice), other, &mut dice);
        }
        let read = oracle::read(&serde_json::to_vec(&json).unwrap());
        if read.is_some() { taken += 1 } else { refused += 1 }
    }
    assert!(taken > 500 && refused > 500, "one-sided: {taken} taken, {refused} refused");
}

/// A value somewhere in the document, deep ones and their parents.
fn pick<'a>(mut json: &'a mut Value, dice: &mut Dice) -> &'a mut Value {
    loop {
        let inner = match json {
            Value::Array(list) if !list.is_empty() => list.len(),
            Value::Object(map) if !map.is_empty() => map.len(),
            _ => return json,
        };
        if dice.below(6) == 0 {
            return json;
        }
        let at = dice.below(inner);
        json = match json {
            Value::Array(list) => &mut list[at],
            Value::Object(map) => map.values_mut().nth(at).unwrap(),
            _ => unreachable!("only these have inner values"),
        };
    }
}

fn change(value: &mut Value, other: Value, dice: &mut Dice) {
    match value {
        Value::Array(list) if dice.below(3) > 0 && !list.is_empty() => {
            let (a, b) = (dice.below(list.len()), dice.below(list.len()));
            match dice.below(4) {
                0 => list.swap(a, b),
                1 => drop(list.remove(a)),
                2 => list.insert(a, list[b].clone()),
                _ => list.insert(a, other),
            }
        }
        Value::Object(map) if dice.below(3) > 0 && !map.is_empty() => {
            let key = map.keys().nth(dice.below(map.len())).unwrap().clone();
            drop(map.remove(&key));
        }
        Value::Number(n) if dice.below(3) > 0 => {
            let n = n.as_f64().unwrap();
            *value = match dice.below(6) {
                0 => json!(n as i64 + 1),
                1 => json!(n as i64 - 1),
                2 => json!(-n),
                3 => json!(i64::MAX),
                4 => json!(i64::MIN),
                _ => json!(n * 1e40),
            };
        }
        _ if dice.below(2) == 0 => *value = other,
        _ => {
            let odd = [json!(null), json!(0), json!("keep"), json!([]), json!({}), json!(1e308)];
            *value = odd[dice.below(odd.len())].clone();
        }
    }
}

#[test]
fn a_large_plan_is_read_in_time() {
    // Ten minutes with five faces: 90,000 boxes.
    let rects = [Rect::new(10.1, 20.2, 60.3, 80.4); 5];
    let tracks = scene::tracks(18_000, &rects);
    let plan = scene::plan(SIZE, 18_000, &rects, &[1], &Policy::default());
    let bytes = write(&plan, &tracks);
    let again = PlanDocument::parse(&bytes).unwrap().for_input(&"0a".repeat(32)).unwrap();
    assert_eq!(again.summary(), plan.summary());
}
