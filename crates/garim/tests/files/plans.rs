//! Analyse, edit the plan, render: what a person writes is what is seen.

use serde_json::{Value, json};

use crate::support::pixels::{self, Rect};
use crate::support::{FACE, Scratch};

/// In every frame of [`two_people`].
const HER_FACE: Rect = Rect { x: 150, y: 80, width: 80, height: 110 };
const HIS_FACE: Rect = Rect { x: 450, y: 85, width: 65, height: 90 };

/// Two people side by side, 640x240: she left of x = 320, he right of it; analysed as `plan.json`,
/// which keeps him.
fn two_people(s: &Scratch) {
    s.ffmpeg(
        "-ss 10 -t 1 -i @made/two_people.mp4 -vf scale=640:240 -c:v libx264 -preset ultrafast \
         -crf 14 -c:a copy in.mp4",
    );
    s.garim("analyze in.mp4 -o plan.json --keep @made/keep_man.jpg").ok();
}

/// `plan.json` with `change`, rendered as `out.mp4`; gives the report.
fn rendered(s: &Scratch, change: impl Fn(&mut Value)) -> Value {
    edit(s, change);
    s.garim(
        "render in.mp4 edited.json -o out.mp4 --crf 12 --preset ultrafast --report report.json \
         --overwrite",
    )
    .ok();
    s.json("report.json")
}

fn edit(s: &Scratch, change: impl Fn(&mut Value)) {
    let mut plan = s.json("plan.json");
    change(&mut plan);
    s.write("edited.json", serde_json::to_vec_pretty(&plan).unwrap());
}

/// The track that is shown, or the one that is not.
fn track(plan: &mut Value, shown: bool) -> &mut Value {
    let tracks = plan["tracks"].as_array_mut().unwrap();
    assert_eq!(tracks.len(), 2);
    tracks.iter_mut().find(|t| t["shown"].as_array().unwrap().is_empty() != shown).unwrap()
}

#[test]
fn analysing_and_rendering_gives_the_same_file_as_both_at_once() {
    let s = Scratch::new();
    two_people(&s);
    let how = "--keep @made/keep_man.jpg --effect blur --speed fast";
    let encoded = "--crf 23 --preset superfast";
    s.garim(&format!("mosaic in.mp4 -o at-once.mp4 --plan-out one.json {how} {encoded}")).ok();
    s.garim(&format!("analyze in.mp4 -o two.json {how}")).ok();
    s.garim(&format!("render in.mp4 two.json -o out.mp4 {encoded}")).ok();
    assert!(s.read("one.json") == s.read("two.json"), "the plans differ");
    assert!(s.read("at-once.mp4") == s.read("out.mp4"), "the videos differ");
}

#[test]
fn groups_are_copied_by_a_plan_too_unless_an_edit_covers_something_in_them() {
    let s = Scratch::new();
    let picture = "drawbox=t=fill:enable='gte(n,4)',drawbox=240:20:60:60:red:5:enable='gte(n,4)'";
    s.clip(picture, "-an -g 4 -keyint_min 4 -sc_threshold 0 in.mp4");
    s.garim("mosaic in.mp4 -o at-once.mp4 --report mosaic.json").ok();
    s.garim("analyze in.mp4 -o plan.json").ok();
    s.garim("render in.mp4 plan.json -o out.mp4 --report render.json").ok();
    let rendering = s.json("render.json")["rendering"].clone();
    assert_eq!(rendering["mode"], "smart", "{rendering}");
    assert_eq!(rendering, s.json("mosaic.json")["rendering"]);
    assert!(s.read("at-once.mp4") == s.read("out.mp4"), "the videos differ");
    edit(&s, |plan| {
        let frames = plan["frames"].as_array().unwrap();
        let last = frames.last().unwrap().clone();
        plan["manual"] = json!([{"from": last, "to": last, "keys": [[last, 240, 20, 300, 80]]}]);
    });
    s.garim("render in.mp4 edited.json -o edited.mp4 --report edited-report.json").ok();
    let fewer = &s.json("edited-report.json")["rendering"];
    let groups = |of: &Value| of["copied_groups"].as_u64().unwrap();
    assert_eq!(groups(fewer), groups(&rendering) - 1, "{fewer}");
    let (before, after) = (s.luma("in.mp4"), s.luma("edited.mp4"));
    let square = Rect::new(240, 20, 60, 60);
    for (i, (a, b)) in before.iter().zip(&after).enumerate().skip(4) {
        let left = pixels::detail_left(a, b, square);
        assert!(if i == 23 { left < pixels::COVERED } else { left > pixels::SHOWN }, "{i}: {left}");
    }
}

#[test]
fn both_reports_say_what_the_one_of_mosaic_says() {
    let s = Scratch::new();
    two_people(&s);
    s.garim("mosaic in.mp4 -o m.mp4 --keep @made/keep_man.jpg --report m.json").ok();
    s.garim("analyze in.mp4 -o p.json --keep @made/keep_man.jpg --report a.json").ok();
    s.garim("render in.mp4 p.json -o r.mp4 --report r.json").ok();
    let (mosaic, analyzed, rendered) = (s.json("m.json"), s.json("a.json"), s.json("r.json"));
    for field in ["frames", "covered_whole", "models", "input", "review", "warnings"] {
        assert_eq!(analyzed[field], mosaic[field], "{field}");
        assert_eq!(rendered[field], mosaic[field], "{field}");
    }
    // The form and the numbers are the same, scores and all.
    assert_eq!(analyzed["tracks"], mosaic["tracks"]);
    assert_eq!(rendered["tracks"], mosaic["tracks"]);
    assert_eq!(analyzed["output"]["path"], "p.json");
    assert_eq!(rendered["plan"], json!({"path": "p.json", "sha256": analyzed["output"]["sha256"]}));
    assert_eq!(rendered["by_hand"], json!({"kept": 0, "covered": 0, "areas": 0}));
    assert_eq!(mosaic.get("by_hand"), None);
}

#[test]
fn a_kept_face_is_covered_by_one_word() {
    let s = Scratch::new();
    two_people(&s);
    let report = rendered(&s, |plan| track(plan, true)["edit"] = json!("cover"));
    s.assert_covered("in.mp4", "out.mp4", HIS_FACE);
    s.assert_covered("in.mp4", "out.mp4", HER_FACE);
    assert_eq!(report["by_hand"]["covered"], 1);
    let verdicts: Vec<&Value> =
        report["tracks"].as_array().unwrap().iter().map(|t| &t["verdict"]).collect();
    assert_eq!(verdicts, ["covered", "covered"]);
}

#[test]
fn a_covered_face_is_shown_by_one_word() {
    let s = Scratch::new();
    two_people(&s);
    let report = rendered(&s, |plan| {
        track(plan, false)["edit"] = json!("keep");
        track(plan, true)["edit"] = json!("cover");
    });
    s.assert_shown("in.mp4", "out.mp4", HER_FACE);
    s.assert_covered("in.mp4", "out.mp4", HIS_FACE);
    let tracks = report["tracks"].as_array().unwrap();
    let kept = tracks.iter().find(|t| t["edit"] == "keep").unwrap();
    assert_eq!((&kept["verdict"], &kept["shown_frames"]), (&json!("kept"), &kept["frames"]));
}

#[test]
fn an_area_is_covered_by_hand_for_its_time_and_there_only() {
    let s = Scratch::new();
    two_people(&s);
    // Over the map behind him, which nothing else covers: from frame 5 to 15, moving right.
    let report = rendered(&s, |plan| {
        let ticks = |frame: usize| plan["frames"][frame].clone();
        let (from, to) = (ticks(5), ticks(15));
        plan["manual"] = json!([{
            "note": "the map", "from": from, "to": to,
            "keys": [[from, 330, 60, 385, 150], [to, 340, 60, 395, 150]],
        }]);
    });
    let (before, after) = (s.luma("in.mp4"), s.luma("out.mp4"));
    let map = Rect::new(340, 60, 45, 90); // Inside the area in all its frames.
    for (i, (a, b)) in before.iter().zip(&after).enumerate() {
        let left = pixels::detail_left(a, b, map);
        if (5..=15).contains(&i) {
            assert!(left < pixels::COVERED, "frame {i}: {left:.2} is left");
        } else {
            assert!(left > pixels::SHOWN, "frame {i}: only {left:.2} is left");
        }
        // Right of him, and above the padded area, nothing changes.
        let noise = pixels::psnr(a, b, |x, y| x > 540 || (x > 325 && x < 415 && y < 32));
        assert!(noise > 38.0, "frame {i}: {noise:.1} dB");
    }
    assert_eq!(report["by_hand"]["areas"], 1);
    s.assert_covered("in.mp4", "out.mp4", HER_FACE);
    s.assert_shown("in.mp4", "out.mp4", HIS_FACE);
}

#[test]
fn the_effect_is_changed_without_looking_again() {
    let s = Scratch::new();
    two_people(&s);
    rendered(&s, |plan| plan["policy"]["effect"] = json!("fill"));
    for (i, frame) in s.luma("out.mp4").iter().enumerate() {
        let inside = (0..HER_FACE.height).flat_map(|y| (0..HER_FACE.width).map(move |x| (x, y)));
        let values =
            inside.map(|(x, y)| frame.data[(HER_FACE.y + y) * frame.width + HER_FACE.x + x]);
        let (min, max) = values.fold((255, 0), |(min, max), v| (v.min(min), v.max(max)));
        assert!(max - min <= 8, "frame {i}: {min} to {max} is not one grey");
    }
}

#[test]
fn frames_that_a_plan_lacks_are_covered_whole() {
    let s = Scratch::new();
    two_people(&s);
    let all = s.json("plan.json")["frames"].as_array().unwrap().len();
    let report = rendered(&s, |plan| {
        plan["frames"].as_array_mut().unwrap().truncate(all - 6);
        let last = plan["frames"][all - 7].as_i64().unwrap();
        for track in plan["tracks"].as_array_mut().unwrap() {
            track["boxes"].as_array_mut().unwrap().retain(|row| row[0].as_i64().unwrap() <= last);
        }
    });
    assert_eq!(report["frames"]["covered_whole"], 6, "{report:#}");
    for (i, frame) in s.luma("out.mp4").iter().enumerate() {
        let (min, max) = (frame.data.iter().min().unwrap(), frame.data.iter().max().unwrap());
        let flat = max - min <= 8;
        assert_eq!(flat, i >= all - 6, "frame {i}: {min} to {max}");
    }
    // Out of the middle: those after it are no longer at their place.
    let report = rendered(&s, |plan| {
        let gone = plan["frames"].as_array_mut().unwrap().remove(9);
        for track in plan["tracks"].as_array_mut().unwrap() {
            track["boxes"].as_array_mut().unwrap().retain(|row| row[0] != gone);
        }
    });
    assert_eq!(report["frames"]["covered_whole"], all - 9, "{report:#}");
}

#[test]
fn a_plan_that_is_not_this_inputs_or_not_sound_is_refused_and_nothing_is_written() {
    let s = Scratch::new();
    s.clip("", "-frames:v 3 -an in.mp4");
    s.clip("hflip", "-frames:v 3 -an other.mp4");
    s.garim("analyze in.mp4 -o plan.json").ok();
    let refused = |input: &str, words: &[&str]| {
        let before = s.names();
        let error = s.garim(&format!("render {input} edited.json -o out.mp4")).error();
        for word in words {
            assert!(error.contains(word), "{word}: {error}");
        }
        assert_eq!(error.matches("garim analyze").count(), 1, "the next step, once: {error}");
        assert_eq!(s.names(), before, "files were left behind");
    };
    edit(&s, |_| {});
    refused("other.mp4", &["other.mp4: edited.json: was made of another input (in.mp4)"]);
    edit(&s, |plan| plan["version"] = json!(2));
    refused("in.mp4", &["edited.json: is a plan of version 2", "reads version 1"]);
    edit(&s, |plan| plan["policy"]["cells"] = json!(12));
    refused("in.mp4", &["edited.json: at policy: cells 12: at most 8"]);
    edit(&s, |plan| plan["tracks"][0]["edit"] = json!("show"));
    refused("in.mp4", &["edited.json: at tracks[0].edit: unknown variant `show`", "line "]);
    let text = s.read("plan.json");
    s.write("edited.json", &text[..300]);
    refused("in.mp4", &["edited.json: at ", "EOF", "line 1 column 300"]);
    s.write("edited.json", "{}");
    refused("in.mp4", &["edited.json: is not a plan"]);
    let error = s.garim("render in.mp4 none.json -o out.mp4").error();
    assert!(error.contains("none.json: No such file"), "{error}");
    let error = s.garim("render in.mp4 plan.json -o plan.json --overwrite").error();
    assert!(error.contains("plan.json: is used for two things"), "{error}");
    let error = s.garim("render in.mp4 plan.json -o in.mp4 --overwrite").error();
    assert!(error.contains("in.mp4: is used for two things"), "{error}");
    assert_eq!(s.read("plan.json"), text);
}

#[test]
fn a_playlist_has_no_plan_since_its_hash_says_nothing_of_its_segments() {
    let s = Scratch::new();
    std::fs::create_dir(s.path("live")).unwrap();
    s.clip("", "-an -f hls live/list.m3u8");
    for input in ["live", "live/list.m3u8"] {
        let error = s.garim(&format!("analyze {input} -o plan.json")).error();
        assert!(error.contains("is a playlist") && error.contains("garim convert"), "{error}");
    }
    assert_eq!(s.names(), ["live"]);
}

#[test]
fn photos_have_plans_too() {
    let s = Scratch::new();
    s.ffmpeg("-i @pyfeat/single_face.mp4 -frames:v 1 -vf scale=320:180 in.png");
    s.garim("analyze in.png -o plan.json --contact-sheet sheet.png").ok();
    assert!(image::open(s.path("sheet.png")).unwrap().width() > 100);
    s.garim("render in.png plan.json -o covered.png").ok();
    s.garim("mosaic in.png -o at-once.png").ok();
    assert!(s.read("covered.png") == s.read("at-once.png"), "the pictures differ");
    edit(&s, |plan| plan["tracks"][0]["edit"] = json!("keep"));
    s.garim("render in.png edited.json -o shown.png").ok();
    let pixels = |name: &str| image::open(s.path(name)).unwrap().to_rgb8().into_raw();
    assert!(pixels("shown.png") == pixels("in.png"), "nothing is covered");
}

#[test]
fn the_contact_sheet_of_an_analysis_is_that_of_mosaic() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    s.garim("analyze in.mp4 -o plan.json --contact-sheet one.png").ok();
    s.garim("mosaic in.mp4 -o out.mp4 --contact-sheet two.png").ok();
    assert!(s.read("one.png") == s.read("two.png"), "the sheets differ");
    s.assert_covered("in.mp4", "out.mp4", FACE);
}
