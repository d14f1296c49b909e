//! `garim verify` passes what `garim mosaic` makes, and can fail: every test but the first few
//! damages such an output in one way that must be noticed.

use serde_json::Value;

use crate::support::{Ran, Scratch};

/// 24 frames of one man, 320x180, with sound: `in.mp4`, covered: `out.mp4`.
fn covered(s: &Scratch) {
    s.clip("", "-g 8 -bf 0 -crf 14 -c:a aac in.mp4");
    s.mosaic("in.mp4", "--crf 14 --plan-out plan.json");
}

/// Two people side by side for two seconds, 640x240: `in.mp4`; covered but for him: `out.mp4`.
fn covered_but_him(s: &Scratch) {
    s.ffmpeg(
        "-ss 10 -t 2 -i @made/two_people.mp4 -vf scale=640:240 -c:v libx264 -preset ultrafast \
         -crf 14 -c:a copy in.mp4",
    );
    s.mosaic("in.mp4", "--crf 14 --keep @made/keep_man.jpg");
}

/// The report of `garim verify in.mp4 FILE`, which must end with `code`.
fn verify(s: &Scratch, args: &str, code: i32) -> Value {
    let ran = s.garim(&format!("verify in.mp4 {args} --json"));
    assert_eq!(ran.code, Some(code), "{ran:#?}");
    let last: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "verified", "{ran:#?}");
    assert_eq!(last["report"]["verified"], code == 0);
    last["report"].clone()
}

fn kinds(report: &Value) -> Vec<&str> {
    report["failures"].as_array().unwrap().iter().map(|f| f["kind"].as_str().unwrap()).collect()
}

fn leaks(report: &Value) -> &Vec<Value> {
    report["leaks"].as_array().unwrap()
}

/// Centre of a leak's box.
fn center(leak: &Value) -> (f64, f64) {
    let side = |i: usize| leak["box"][i].as_f64().unwrap();
    ((side(0) + side(2)) / 2.0, (side(1) + side(3)) / 2.0)
}

#[test]
fn what_mosaic_makes_is_verified() {
    let s = Scratch::new();
    covered(&s);
    let ran = s.garim("verify in.mp4 out.mp4 --plan plan.json").ok();
    let said = "out.mp4: no visible face found; 24 frames compared, 24 faces looked at";
    assert!(ran.stdout.starts_with(said), "{ran:#?}");
    assert!(ran.stdout.contains("sound identical"), "{ran:#?}");
}

#[test]
fn with_keep_only_the_right_person_may_be_seen() {
    let s = Scratch::new();
    covered_but_him(&s);
    let right = verify(&s, "out.mp4 --keep @made/keep_man.jpg", 0);
    let frames = right["frames"]["compared"].as_u64().unwrap();
    assert_eq!(right["faces"]["kept"], frames, "{right:#}");
    assert_eq!(right["faces"]["covered"], frames, "{right:#}");

    // The wrong one was kept, or nobody should have been.
    for keep in ["--keep @pyfeat/single_face.jpg", ""] {
        let wrong = verify(&s, &format!("out.mp4 {keep}"), 1);
        assert_eq!(leaks(&wrong).len(), 1, "{wrong:#}");
        let leak = &leaks(&wrong)[0];
        assert!(center(leak).0 > 400.0, "he is on the right: {leak:#}");
        assert_eq!(leak["frames"], frames);
        assert_eq!(leak["why"], if keep.is_empty() { "detail" } else { "not_kept" });
    }
}

#[test]
fn an_uncovered_copy_is_a_leak_from_start_to_end() {
    let s = Scratch::new();
    covered(&s);
    s.ffmpeg("-i in.mp4 -c:v libx264 -preset ultrafast -crf 30 -c:a copy bad.mp4");
    let report = verify(&s, "bad.mp4 --contact-sheet sheet.png", 1);
    assert_eq!(leaks(&report).len(), 1, "{report:#}");
    let leak = &leaks(&report)[0];
    assert_eq!((leak["from"].as_f64(), leak["frames"].as_u64()), (Some(0.0), Some(24)));
    assert!(leak["detail_left"].as_f64().unwrap() > 0.6, "{leak:#}");
    let (x, y) = center(leak);
    assert!((116.0..178.0).contains(&x) && (46.0..138.0).contains(&y), "{leak:#}");
    assert!(s.read("sheet.png").starts_with(b"\x89PNG"));
    let ran = s.garim("verify in.mp4 bad.mp4");
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("1 LEAK;") && ran.stdout.contains("LEAK 0.00-"), "{ran:#?}");
}

/// `out.mp4` with the frames `from..=to` of the original, as `bad.mp4`.
fn uncover(s: &Scratch, from: u32, to: u32) {
    s.ffmpeg(&format!(
        "-i out.mp4 -i in.mp4 -filter_complex [0:v][1:v]overlay=enable='between(n,{from},{to})' \
         -map 0:a -c:a copy -c:v libx264 -preset ultrafast -crf 14 -bf 0 -video_track_timescale \
         30000 bad.mp4"
    ));
}

#[test]
fn three_frames_uncovered_are_a_leak_at_their_time() {
    let s = Scratch::new();
    covered(&s);
    uncover(&s, 10, 12);
    let report = verify(&s, "bad.mp4", 1);
    assert_eq!(leaks(&report).len(), 1, "{report:#}");
    let leak = &leaks(&report)[0];
    let times = s.times("in.mp4");
    assert_eq!(leak["frames"], 3);
    for (field, frame) in [("from", 10), ("to", 12)] {
        let at = leak[field].as_f64().unwrap();
        assert!((at - times[frame].as_f64()).abs() < 1e-6, "{leak:#}");
    }
}

#[test]
fn a_weak_mosaic_and_a_weak_blur_are_leaks() {
    let s = Scratch::new();
    covered(&s);
    // Over the face and around it. 5 px: 12 cells across the face.
    for weak in ["pixelize=w=5:h=5:mode=avg", "gblur=sigma=1.5"] {
        s.ffmpeg(&format!(
            "-i in.mp4 -filter_complex [0:v]split[a][b];[b]crop=100:130:96:26,{weak}[c];\
             [a][c]overlay=96:26 -map 0:a -c:a copy -c:v libx264 -preset ultrafast -crf 14 -bf 0 \
             bad.mp4"
        ));
        let report = verify(&s, "bad.mp4", 1);
        assert_eq!(leaks(&report).len(), 1, "{weak}: {report:#}");
    }
}

#[test]
fn a_dropped_frame_is_a_failure_and_the_rest_is_still_looked_at() {
    let s = Scratch::new();
    covered(&s);
    s.ffmpeg(
        "-i out.mp4 -vf select=not(eq(n\\,7)) -fps_mode passthrough -c:a copy -c:v libx264 \
         -preset ultrafast -crf 14 -bf 0 bad.mp4",
    );
    let report = verify(&s, "bad.mp4", 1);
    assert_eq!(kinds(&report), ["frame_missing"], "{report:#}");
    let at = report["failures"][0]["at"].as_f64().unwrap();
    assert!((at - s.times("in.mp4")[7].as_f64()).abs() < 1e-6, "{report:#}");
    assert_eq!(report["frames"]["compared"], 23);
    assert_eq!(leaks(&report).len(), 0, "{report:#}");
}

#[test]
fn shifted_changed_and_missing_sound_are_failures() {
    let s = Scratch::new();
    covered(&s);
    s.ffmpeg("-i out.mp4 -itsoffset 0.1 -i out.mp4 -map 0:v -map 1:a -c copy shifted.mp4");
    s.ffmpeg("-i out.mp4 -c:v copy -c:a aac -b:a 64k changed.mp4");
    s.ffmpeg("-i out.mp4 -c:v copy -c:a libmp3lame another.mp4");
    s.ffmpeg("-i out.mp4 -c:v copy -an silent.mp4");
    let cases = [
        ("shifted.mp4", "sound_moved"),
        ("changed.mp4", "sound_changed"),
        ("another.mp4", "sound"),
        ("silent.mp4", "sound"),
    ];
    for (file, kind) in cases {
        let report = verify(&s, file, 1);
        assert_eq!(kinds(&report), [kind], "{file}: {report:#}");
        assert_eq!(report["sound"], "wrong");
    }
}

#[test]
fn a_transport_stream_is_verified_though_mp4_stores_it_otherwise() {
    let s = Scratch::new();
    s.clip("", "-g 8 -bf 2 -crf 14 -c:a aac in.ts");
    s.mosaic("in.ts", "");
    let ran = s.garim("verify in.ts out.mp4").ok();
    assert!(ran.stdout.contains("sound identical"), "{ran:#?}");
}

#[test]
fn sound_that_mp4_cannot_carry_is_noted() {
    let s = Scratch::new();
    s.clip("", "-g 8 -bf 0 -crf 14 -c:a pcm_s16le in.mov");
    s.mosaic("in.mov", "");
    let ran = s.garim("verify in.mov out.mp4").ok();
    let said = "note: the sound was re-encoded from pcm_s16le to aac: MP4 cannot carry it";
    assert!(ran.stdout.contains(said), "{ran:#?}");
}

#[test]
fn copied_groups_of_pictures_are_known_and_must_decode_the_same() {
    let s = Scratch::new();
    // Nobody in it: everything may be copied.
    s.ffmpeg(
        "-t 1 -i @pyfeat/no_face.mp4 -vf scale=320:180 -an -c:v libx264 -preset ultrafast -g 8 \
         -bf 0 in.mp4",
    );
    s.ffmpeg("-i in.mp4 -c copy out.mp4");
    let report = verify(&s, "out.mp4", 0);
    let frames = &report["frames"];
    assert_eq!(frames["copied"], frames["compared"], "{report:#}");
    assert_eq!(frames["exact"], frames["compared"], "{report:#}");
    assert!(frames["copied_groups"].as_u64().unwrap() > 2, "{report:#}");

    // Another container: the same pictures, with start codes instead of lengths.
    s.ffmpeg("-i in.mp4 -c copy -bsf:v h264_mp4toannexb out.ts");
    s.ffmpeg("-i out.ts -c copy again.mp4");
    assert_eq!(verify(&s, "again.mp4", 0)["frames"]["copied"], frames["compared"]);
}

#[test]
fn a_face_that_a_person_decided_to_show_is_no_leak_with_the_plan() {
    let s = Scratch::new();
    covered_but_him(&s);
    s.garim("analyze in.mp4 -o plan.json").ok();
    let mut plan: Value = serde_json::from_slice(&s.read("plan.json")).unwrap();
    let left = |track: &Value| track["boxes"][0][1].as_f64().unwrap() < 320.0;
    let tracks = plan["tracks"].as_array_mut().unwrap();
    let her = tracks.iter_mut().find(|track| left(track)).unwrap();
    her["edit"] = "keep".into();
    s.write("edited.json", plan.to_string());
    s.garim("render in.mp4 edited.json -o by_hand.mp4 --crf 14").ok();
    let report = verify(&s, "by_hand.mp4 --plan edited.json", 0);
    let frames = report["frames"]["compared"].as_u64().unwrap();
    assert_eq!(report["faces"]["by_hand"], frames, "{report:#}");
    assert_eq!(report["faces"]["covered"], frames, "{report:#}");
    // Without it nobody knows, and the other one is still a leak.
    assert!(center(&leaks(&verify(&s, "by_hand.mp4", 1))[0]).0 < 320.0);
    s.ffmpeg("-i in.mp4 -c copy -metadata title=x copy.mp4");
    let uncovered = verify(&s, "copy.mp4 --plan edited.json", 1);
    assert!(center(&leaks(&uncovered)[0]).0 > 320.0, "{uncovered:#}");
}

#[test]
fn a_plan_of_another_file_is_refused() {
    let s = Scratch::new();
    covered(&s);
    s.ffmpeg("-i in.mp4 -c copy -metadata title=x other.mp4");
    let error = s.garim("verify other.mp4 out.mp4 --plan plan.json").error();
    assert!(error.contains("plan.json: is the plan of another file"), "{error}");
}

#[test]
fn what_cannot_be_compared_says_why() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    let missing = s.garim("verify in.mp4 nowhere.mp4").error();
    assert!(missing.contains("nowhere.mp4") && missing.contains("No such file"), "{missing}");
    let same = s.garim("verify in.mp4 in.mp4").error();
    assert!(same.contains("is ORIGINAL and OUTPUT"), "{same}");
    s.write("sheet.png", "mine");
    s.write("text.mp4", "this is no video");
    let no_video = s.garim("verify in.mp4 text.mp4").error();
    assert!(no_video.contains("text.mp4: is not a video that can be read"), "{no_video}");
    let exists = s.garim("verify in.mp4 text.mp4 --contact-sheet sheet.png").error();
    assert!(exists.contains("pass --overwrite"), "{exists}");
    let usage: Ran = s.garim("verify in.mp4");
    assert_eq!(usage.code, Some(2), "{usage:#?}");
}
