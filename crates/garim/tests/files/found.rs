//! The child finds faces and examines tracks, in sealed originals as in files, and writes no picture.

use std::io::Write;
use std::process::Stdio;

use sealed::{SealKey, Sealed, seal};
use serde_json::{Value, json};

use crate::support::{self, GARIM, Ran, Scratch};

/// Does a task in a child process; gives its result.
fn child(s: &Scratch, task: &Value) -> Value {
    let mut command = s.command(GARIM, "child");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(task.to_string().as_bytes()).unwrap();
    let ran = Ran::new(&child.wait_with_output().unwrap()).ok();
    let last: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "done", "{last:#}");
    last["result"].clone()
}

/// `file` as a file, and sealed.
fn inputs(s: &Scratch, file: &str) -> [Value; 2] {
    let (key, plain) = (SealKey::random(), s.read(file));
    let records = plain.chunks(100_000).enumerate();
    let sealed: Vec<u8> = records
        .flat_map(|(i, part)| seal(&key, "a clip", i as u64 * 100_000, part).unwrap())
        .collect();
    s.write("sealed", sealed);
    let sealed = Sealed { key, context: "a clip".to_owned(), len: plain.len() as u64 };
    [json!({ "path": file }), json!({ "path": "sealed", "sealed": sealed })]
}

#[test]
fn a_sealed_original_is_searched_and_examined_like_a_file() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    s.garim("analyze in.mp4 -o plan.json").ok();
    let inputs = inputs(&s, "in.mp4");
    let before = s.names();
    let found = inputs.clone().map(|input| {
        let task = json!({
            "task": "search", "input": input, "people": [], "threshold": 50.0, "every_ms": 100,
            "output": "found.jsonl", "to_8bit": false,
        });
        (child(&s, &task), s.read("found.jsonl"))
    });
    assert_eq!(found[0], found[1]);
    let text = String::from_utf8(found[0].1.clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let fields = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let video = ["codec", "duration_millis", "format", "frame_rate", "height", "width"];
    assert_eq!(fields(&lines[0]), video);
    assert_eq!(fields(&lines[1]), ["box", "confidence", "index", "matches", "timestamp_ms"]);
    assert_eq!(fields(&lines[1]["box"]), ["height", "left", "top", "width"]);
    assert_eq!(lines.len() as u64, found[0].0["faces"].as_u64().unwrap() + 1);

    let seen = inputs.map(|input| {
        let task = json!({
            "task": "examine_track", "input": input, "plan": "plan.json", "track": 1, "to_8bit": false,
        });
        child(&s, &task)
    });
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0]["refused"], Value::Null);
    let good = seen[0]["good"].as_array().unwrap();
    assert!((1..=5).contains(&good.len()), "{}", good.len());
    assert_eq!(good[0]["templates"][0].as_array().unwrap().len(), 128);
    assert!(good[0]["photo"].as_str().unwrap().starts_with("/9j/"), "a JPEG in base64");

    let mut after = s.names();
    after.retain(|name| name != "found.jsonl");
    assert_eq!(after, before, "nothing else was written");
}

#[test]
fn a_photo_is_searched() {
    let s = Scratch::new();
    s.write("me.jpg", std::fs::read(support::fixture("made/keep_man.jpg")).unwrap());
    let [file, sealed] = inputs(&s, "me.jpg").map(|input| {
        let people = json!([{"name": "me", "by": {"photos": ["me.jpg"]}}]);
        let task = json!({
            "task": "search_photo", "input": input, "people": people, "threshold": 80.0,
        });
        child(&s, &task)
    });
    assert_eq!(file, sealed);
    assert_eq!(file["faces"][0]["matches"][0]["person"], "me", "{file:#}");
    assert_eq!(file["format"], "jpeg");
}
