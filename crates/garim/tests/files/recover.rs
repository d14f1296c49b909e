//! A published video is covered again when the original is gone: whoever withdrew is covered in it, and
//! nothing else changes that need not.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::pixels::{self, Rect};
use crate::support::{self, GARIM, Ran, Scratch};

/// In every frame with two people.
const HER_FACE: Rect = Rect { x: 150, y: 80, width: 80, height: 110 };
const HIS_FACE: Rect = Rect { x: 450, y: 85, width: 65, height: 90 };

/// Frames in a group of pictures of [`published`].
const GROUP: usize = 10;
/// Its groups with people in them.
const PEOPLE: std::ops::Range<usize> = 4..7;

/// Ten groups of hills, two people side by side in the fifth to seventh; with a tone. Covered as
/// `published.mp4`, him kept; `plan.json`; then the original is gone (`kept.mp4` is for comparing).
fn published(s: &Scratch) -> Value {
    s.ffmpeg(&format!(
        "-t 4 -i @pyfeat/no_face.mp4 -ss 10 -t 2 -i @made/two_people.mp4 -f lavfi -t 4 -i \
         sine=440:sample_rate=48000 -filter_complex \
         [0:v]fps=25,scale=640:240,setsar=1,split[x][y];[x]trim=end_frame=40[a];\
         [y]trim=end_frame=30,hflip[c];[1:v]fps=25,scale=640:240,setsar=1,trim=end_frame=30[b];\
         [a][b][c]concat=n=3,format=yuv420p[v] -map [v] -map 2:a -c:a aac -c:v libx264 -crf 14 \
         -preset superfast -x264-params keyint={GROUP}:min-keyint={GROUP}:scenecut=0 in.mp4"
    ));
    s.garim(
        "mosaic in.mp4 -o published.mp4 --plan-out plan.json --report report.json --crf 12 \
         --keep @made/keep_man.jpg",
    )
    .ok();
    std::fs::rename(s.path("in.mp4"), s.path("kept.mp4")).unwrap();
    s.json("report.json")
}

/// What was written down when it was published.
fn link(report: &Value) -> Value {
    json!({
        "sha256": report["output"]["sha256"],
        "original_sha256": report["input"]["sha256"],
    })
}

/// Does a task in a child process; gives its last words.
fn child(s: &Scratch, task: &Value) -> Value {
    let mut command = s.command(GARIM, "child");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(task.to_string().as_bytes()).unwrap();
    let ran = Ran::new(&child.wait_with_output().unwrap());
    serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap()
}

fn recover(s: &Scratch, published: Value, cover: &[&str]) -> Value {
    child(
        s,
        &json!({
            "task": "render", "input": {"path": "published.mp4"}, "still": false, "plan": "plan.json",
            "output": "out.mp4", "preset": "ultrafast", "crf": 12.0, "to_8bit": false, "smart": true,
            "cover_people": cover, "published": published, "edited_plan": "edited.json",
        }),
    )
}

/// The frames with people.
fn people(frames: Vec<pixels::Luma>) -> Vec<pixels::Luma> {
    let range = PEOPLE.start * GROUP..PEOPLE.end * GROUP;
    let frames = frames.into_iter().enumerate();
    frames.filter(|(i, _)| range.contains(i)).map(|(_, frame)| frame).collect()
}

#[test]
fn he_is_covered_in_every_frame_she_stays_so_and_all_else_is_as_it_was() {
    let s = Scratch::new();
    let report = published(&s);
    assert_eq!(report["rendering"]["copied_groups"], 7, "{report:#}");
    let before = people(s.luma("kept.mp4"));
    for (a, b) in before.iter().zip(&people(s.luma("published.mp4"))) {
        assert!(pixels::detail_left(a, b, HIS_FACE) > pixels::SHOWN, "he was published");
    }

    let said = recover(&s, link(&report), &["keep_man"]);
    assert_eq!(said["event"], "done", "{said:#}");
    let recovered = &said["result"];
    let after = people(s.luma("out.mp4"));
    assert_eq!(after.len(), before.len());
    pixels::assert_all_covered(&before, &after, HIS_FACE);
    pixels::assert_all_covered(&before, &after, HER_FACE);

    assert_eq!(recovered["rendering"]["mode"], "smart", "{recovered:#}");
    assert_eq!(recovered["rendering"]["copied_groups"], 7);
    assert_eq!(recovered["frames"]["covered_whole"], 0);
    assert_eq!(recovered["input"]["sha256"], report["output"]["sha256"]);
    assert_eq!(s.times("out.mp4"), s.times("kept.mp4"));
    let sound = |file| s.packets(file, "a:0").into_iter().map(|p| (p.pts, p.hash)).collect();
    let (was, is): (Vec<_>, Vec<_>) = (sound("kept.mp4"), sound("out.mp4"));
    assert!(was == is, "the sound differs");
    s.assert_plays("out.mp4");
    let frames = s.luma("kept.mp4").into_iter().zip(s.luma("out.mp4")).enumerate();
    for (i, (a, b)) in frames.filter(|(i, _)| !PEOPLE.contains(&(i / GROUP))) {
        assert!(a.data == b.data, "frame {i} holds nobody, and changed");
    }

    // The plan that goes with it covers him as well.
    let edited = s.json("edited.json");
    assert_eq!(edited["input"], s.json("plan.json")["input"]);
    let shown = edited["tracks"].as_array().unwrap().iter();
    let mut shown = shown.filter(|track| !track["shown"].as_array().unwrap().is_empty());
    assert!(shown.all(|track| track["edit"] == "cover"));
}

#[test]
fn it_can_be_done_again_and_who_agrees_still_stays_shown() {
    let s = Scratch::new();
    let report = published(&s);
    let said = recover(&s, link(&report), &["somebody else"]);
    assert_eq!(said["event"], "done", "{said:#}");
    let before = people(s.luma("kept.mp4"));
    for (a, b) in before.iter().zip(&people(s.luma("out.mp4"))) {
        assert!(pixels::detail_left(a, b, HIS_FACE) > pixels::SHOWN);
    }
    pixels::assert_all_covered(&before, &people(s.luma("out.mp4")), HER_FACE);
    std::fs::rename(s.path("out.mp4"), s.path("published.mp4")).unwrap();
    let again = json!({
        "sha256": said["result"]["output"]["sha256"],
        "original_sha256": report["input"]["sha256"],
    });
    let said = recover(&s, again, &["keep_man"]);
    assert_eq!(said["result"]["rendering"]["copied_groups"], 7, "{said:#}");
    pixels::assert_all_covered(&before, &people(s.luma("out.mp4")), HIS_FACE);
}

#[test]
fn a_video_that_is_not_the_published_one_is_refused() {
    let s = Scratch::new();
    s.clip("", "-frames:v 3 in.mp4");
    s.garim("mosaic in.mp4 -o published.mp4 --plan-out plan.json --report report.json").ok();
    let report = s.json("report.json");
    let refused = |published: Value, words: &str| {
        let said = recover(&s, published, &["jun"]);
        assert_eq!(said["event"], "failed", "{said:#}");
        assert!(said["message"].as_str().unwrap().contains(words), "{said:#}");
        assert!(!s.path("out.mp4").exists());
    };
    refused(Value::Null, "was made of another input");
    let mut other = link(&report);
    other["original_sha256"] = report["output"]["sha256"].clone();
    refused(other, "was made of another input");
    let mut other = link(&report);
    other["sha256"] = report["input"]["sha256"].clone();
    refused(other, "this is another one");
}

#[test]
fn a_video_of_another_container_is_recovered_by_its_own_ticks() {
    let s = Scratch::new();
    s.clip("", "-c:a aac in.mkv");
    s.garim("mosaic in.mkv -o published.mp4 --plan-out plan.json --report report.json").ok();
    let said = recover(&s, link(&s.json("report.json")), &["jun"]);
    assert_eq!(said["result"]["frames"]["covered_whole"], 0, "{said:#}");
    assert_eq!(said["result"]["frames"]["covered"], 24);
    assert_eq!(s.times("out.mp4"), s.times("in.mkv"));
    s.assert_covered("in.mkv", "out.mp4", support::FACE);
    // A transport stream's clock starts anywhere.
    s.clip("", "-c:a aac in.ts");
    s.garim("mosaic in.ts -o published.mp4 --plan-out plan.json --report report.json --overwrite")
        .ok();
    std::fs::remove_file(s.path("out.mp4")).unwrap();
    let said = recover(&s, link(&s.json("report.json")), &["jun"]);
    assert_eq!(said["result"]["frames"]["covered_whole"], 0, "{said:#}");
}
