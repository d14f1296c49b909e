//! What is in the files that `garim mosaic` writes, and what is not.

use serde_json::{Value, json};

use crate::support::{self, Scratch};

/// Stands in every piece of metadata of [`talkative`]; must stand nowhere in an output.
const SECRET: &str = "Xyzzy";

/// A QuickTime file that tells more than its picture and sound: a title, a place, chapters, another
/// sound track, subtitles, a timecode track and a cover picture.
fn talkative(s: &Scratch) {
    s.clip("", "-c:a aac plain.mp4");
    s.write("words.srt", format!("1\n00:00:00,000 --> 00:00:00,500\n{SECRET}\n"));
    s.write(
        "meta.txt",
        format!(
            ";FFMETADATA1\ntitle={SECRET}\nartist={SECRET}\ncomment={SECRET}\n\
             location=+37.5665+126.9780/{SECRET}\n\
             [CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle={SECRET}\n"
        ),
    );
    s.ffmpeg("-i plain.mp4 -frames:v 1 cover.png");
    s.ffmpeg(&format!(
        "-i plain.mp4 -i words.srt -i meta.txt -i cover.png -f lavfi -t 0.8 -i sine=880 \
         -map 0:v -map 0:a -map 4:a -map 1:s -map 3:v -map_metadata 2 -c:v:0 copy -c:a:0 copy \
         -c:a:1 aac -c:s mov_text -c:v:1 copy -disposition:v:1 attached_pic \
         -metadata:s:v:0 title={SECRET} -metadata:s:a:0 handler_name={SECRET} \
         -metadata:s:a:0 language=kor -timecode 01:00:00:00 in.mov"
    ));
}

/// Names of the boxes at the top of an MP4, in order.
fn boxes(bytes: &[u8]) -> Vec<String> {
    let (mut at, mut names) = (0, Vec::new());
    while let Some(header) = bytes.get(at..at + 16) {
        names.push(String::from_utf8_lossy(&header[4..8]).into_owned());
        let small = u64::from(u32::from_be_bytes(header[..4].try_into().unwrap()));
        let large = u64::from_be_bytes(header[8..16].try_into().unwrap());
        at += usize::try_from(if small == 1 { large } else { small }).unwrap();
    }
    names
}

#[test]
fn only_the_main_picture_and_sound_are_carried_and_no_metadata() {
    let s = Scratch::new();
    talkative(&s);
    let kinds = |file: &str| -> Vec<String> {
        let name = |v: &Value| v["codec_type"].as_str().unwrap_or_default().to_owned();
        s.streams(file).iter().map(name).collect()
    };
    assert!(kinds("in.mov").len() >= 6, "the source holds only {:?}", kinds("in.mov"));
    let source = s.read("in.mov");
    assert!(source.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()));
    assert!(source.windows(8).any(|w| w == b"+37.5665"));

    s.mosaic("in.mov", "");
    assert_eq!(kinds("out.mp4"), ["video", "audio"]);
    let out = s.read("out.mp4");
    for word in [SECRET, "37.5665", "126.978"] {
        assert!(!out.windows(word.len()).any(|w| w == word.as_bytes()), "{word} is in the output");
    }
    assert_eq!(s.streams("out.mp4")[1]["tags"]["language"], "kor", "a language tells nothing");
    assert_eq!(s.packets("out.mp4", "a:0")[3].hash, s.packets("in.mov", "a:0")[3].hash);
    let chapters = support::tool(s.command("ffprobe", "-v error -show_chapters out.mp4"));
    assert_eq!(String::from_utf8_lossy(&chapters), "");
}

#[test]
fn the_index_comes_before_the_data() {
    let s = Scratch::new();
    s.clip("", "-c:a aac in.mp4");
    s.mosaic("in.mp4", "");
    let names = boxes(&s.read("out.mp4"));
    let at = |name: &str| names.iter().position(|n| n == name).unwrap();
    assert!(at("ftyp") < at("moov") && at("moov") < at("mdat"), "{names:?}");
}

#[test]
fn playback_can_start_at_every_part() {
    let s = Scratch::new();
    s.ffmpeg("-t 3 -i @pyfeat/WolfgangLanger_Pexels.mp4 -vf scale=160:90 -an in.mp4");
    s.garim("mosaic in.mp4 -o out.mp4").ok();
    for start in ["0.5", "1.7", "2.9"] {
        let args = format!("-v warning -ss {start} -i out.mp4 -frames:v 1 -f null -");
        let output = s.command("ffmpeg", &args).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "from {start} s");
    }
}

fn sha256(s: &Scratch, file: &str) -> String {
    let line = support::tool(s.command("sha256sum", file));
    String::from_utf8_lossy(&line).split_whitespace().next().unwrap().to_owned()
}

#[test]
fn the_report_tells_frames_tracks_hashes_and_versions() {
    let s = Scratch::new();
    s.clip("", "-c:a aac in.mp4");
    let report = s.mosaic("in.mp4", "--plan-out plan.json");
    assert_eq!(report["report_version"], 1);
    assert_eq!(report["garim"], env!("CARGO_PKG_VERSION"));
    assert!(report["ffmpeg"].as_str().unwrap().starts_with(|c: char| c.is_ascii_digit()));
    for (part, file) in [("input", "in.mp4"), ("output", "out.mp4"), ("plan", "plan.json")] {
        let hash = json!({"path": file, "sha256": sha256(&s, file)});
        assert_eq!(report[part], hash, "{part}");
    }
    assert_eq!(report["models"].as_array().unwrap().len(), 4);
    assert!(
        report["models"]
            .as_array()
            .unwrap()
            .iter()
            .all(|m| m["sha256"].as_str().unwrap().len() == 64)
    );
    let frames =
        json!({"total": 24, "expected": 24, "untouched": 0, "covered": 24, "covered_whole": 0});
    assert_eq!(report["frames"], frames);
    assert_eq!(report["warnings"], json!([]));
    assert_eq!(report["covered_whole"], json!([]));

    let tracks = report["tracks"].as_array().unwrap();
    assert_eq!(tracks.len(), 1, "{report:#}");
    let track = &tracks[0];
    assert_eq!((&track["id"], &track["frames"]), (&1.into(), &24.into()));
    assert_eq!((&track["first"], &track["verdict"]), (&json!(0.0), &"covered".into()));
    assert!((track["last"].as_f64().unwrap() - 23.0 / 30.0).abs() < 1e-4);
    let width = track["width"][1].as_f64().unwrap();
    assert!((60.0..95.0).contains(&width), "{track:#}");
    assert_eq!(track["most_like"], Value::Null);
}

#[test]
fn the_summary_is_for_people() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    let ran = s.garim("mosaic in.mp4 -o out.mp4 --preset ultrafast").ok();
    let mut lines = ran.stdout.lines();
    let first = lines.next().unwrap();
    assert_eq!(first, "out.mp4: 24 of 24 frames covered, 1 face followed, 0 kept");
    assert!(lines.next().unwrap().starts_with("  face 1: 0.00-0.77 s, 24 frames, "));
    assert_eq!(lines.next(), None);
}

#[test]
fn the_plan_tells_its_form_its_input_and_every_frame() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    s.mosaic("in.mp4", "--plan-out plan.json --cells 6 --pad .3 --shape box");
    let plan = s.json("plan.json");
    assert_eq!((&plan["format"], &plan["version"]), (&"garim-plan".into(), &1.into()));
    let input =
        json!({"name": "in.mp4", "sha256": sha256(&s, "in.mp4"), "width": 320, "height": 180});
    assert_eq!(plan["input"], input);
    assert_eq!(
        (&plan["policy"]["effect"], &plan["policy"]["cells"]),
        (&"mosaic".into(), &6.into())
    );
    assert_eq!(plan["policy"]["shape"], "box");
    let base = support::Seconds::new(
        plan["time_base"]["num"].as_i64().unwrap(),
        plan["time_base"]["den"].as_i64().unwrap(),
    );
    let ticks = plan["frames"].as_array().unwrap().iter().map(|t| base * t.as_i64().unwrap());
    assert_eq!(ticks.collect::<Vec<_>>(), s.times("out.mp4"));
    assert_eq!(plan["covered_whole"], json!([]));
    let boxes = plan["tracks"][0]["boxes"].as_array().unwrap();
    assert_eq!(boxes.len(), 24);
    assert_eq!(boxes[0].as_array().unwrap().len(), 6, "ticks, four edges, kind");
    assert_eq!(boxes[0][5], "detected");
}

#[test]
fn a_contact_sheet_is_made_only_when_asked_for_and_says_that_it_shows_faces() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    let ran = s.garim("mosaic in.mp4 -o out.mp4 --contact-sheet sheet.png").ok();
    assert!(ran.stderr.contains("sheet.png: shows faces uncovered"), "{ran:#?}");
    let sheet = image::open(s.path("sheet.png")).unwrap().to_luma8();
    // The first tile holds a picture of the man: many greys, not the paper's one.
    let greys: std::collections::HashSet<u8> = (30..150)
        .flat_map(|y| (10..150).map(move |x| (x, y)))
        .map(|(x, y)| sheet.get_pixel(x, y).0[0])
        .collect();
    assert!(greys.len() > 100, "{} greys", greys.len());
    let ran = s.garim("mosaic in.mp4 -o out2.mp4").ok();
    assert!(!ran.stderr.contains("faces uncovered"), "{ran:#?}");
    assert_eq!(s.names(), ["in.mp4", "out.mp4", "out2.mp4", "sheet.png"]);
}

#[test]
fn quality_and_preset_reach_the_encoder() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    let size = |args: &str| {
        s.garim(&format!("mosaic in.mp4 -o out.mp4 --overwrite {args}")).ok();
        s.read("out.mp4").len()
    };
    assert!(size("--crf 40") * 2 < size("--crf 20"));
    assert!(size("--preset ultrafast") > size("--preset fast"));
}
