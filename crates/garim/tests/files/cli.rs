//! What the command line says of itself, what it takes, and its other commands.

use std::path::Path;

use serde_json::Value;

use crate::support::{self, GARIM, Ran, Scratch};

/// Compares with `tests/snapshots/NAME.txt`; `GARIM_UPDATE_SNAPSHOTS=1` writes it instead.
fn is_like_the_snapshot(args: &str, name: &str) {
    let s = Scratch::new();
    let mut command = s.command(GARIM, args);
    let ran = Ran::new(&command.env_remove("COLUMNS").output().unwrap()).ok();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/snapshots/{name}.txt"));
    if std::env::var_os("GARIM_UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &ran.stdout).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        ran.stdout == expected,
        "`garim {args}` says something else than {}; if that is meant, run the tests with \
         GARIM_UPDATE_SNAPSHOTS=1. It says:\n{}",
        path.display(),
        ran.stdout
    );
}

#[test]
fn help_of_garim() {
    is_like_the_snapshot("--help", "help");
}

#[test]
fn help_of_people_consent_and_audit() {
    for command in ["people", "people add", "consent", "consent grant", "audit", "audit verify"] {
        is_like_the_snapshot(
            &format!("{command} --help"),
            &format!("help-{}", command.replace(' ', "-")),
        );
    }
}

#[test]
fn help_of_serve_and_key() {
    for command in ["serve", "key", "key create"] {
        is_like_the_snapshot(
            &format!("{command} --help"),
            &format!("help-{}", command.replace(' ', "-")),
        );
    }
}

#[test]
fn help_of_backup_and_restore() {
    is_like_the_snapshot("backup --help", "help-backup");
    is_like_the_snapshot("restore --help", "help-restore");
}

#[test]
fn help_of_mosaic() {
    is_like_the_snapshot("mosaic --help", "help-mosaic");
}

#[test]
fn help_of_analyze_and_render() {
    is_like_the_snapshot("analyze --help", "help-analyze");
    is_like_the_snapshot("render --help", "help-render");
}

#[test]
fn help_of_convert_says_that_it_covers_nothing() {
    is_like_the_snapshot("convert --help", "help-convert");
    let s = Scratch::new();
    for args in ["--help", "convert --help", "convert -h"] {
        assert!(s.garim(args).ok().stdout.contains("COVERS NOTHING"), "garim {args}");
    }
}

#[test]
fn help_of_verify() {
    is_like_the_snapshot("verify --help", "help-verify");
}

#[test]
fn help_of_the_others() {
    is_like_the_snapshot("probe --help", "help-probe");
    is_like_the_snapshot("doctor --help", "help-doctor");
    is_like_the_snapshot("models --help", "help-models");
}

/// Exit code 2, and stderr says why.
fn misused(args: &str, words: &[&str]) {
    let s = Scratch::new();
    s.write("in.mp4", "not looked at");
    let ran = s.garim(args);
    assert_eq!(ran.code, Some(2), "garim {args}: {ran:#?}");
    for word in words {
        assert!(ran.stderr.contains(word), "garim {args} does not say {word}: {ran:#?}");
    }
    assert_eq!(s.names(), ["in.mp4"]);
}

#[test]
fn covers_weaker_than_measured_safe_are_refused_with_the_reason() {
    misused("mosaic in.mp4 --cells 12", &["--cells 12", "at most 8", "give it back"]);
    misused("mosaic in.mp4 --cells 2", &["--cells 2", "--effect fill"]);
    misused("mosaic in.mp4 --pad .05", &["--pad 0.05", "at least 0.2"]);
    misused("mosaic in.mp4 --pad 25", &["--pad 25", "quarter"]);
    misused("mosaic in.mp4 --keep-threshold .3", &["0.45 and 0.95", "strangers"]);
}

#[test]
fn wrong_arguments_are_usage_errors() {
    misused("mosaic", &["<INPUT>"]);
    misused("mosaic in.mp4 --preset fastest", &["fastest", "veryfast"]);
    misused("mosaic in.mp4 --crf 60", &["60", "between 0 and 51"]);
    misused("mosaic in.mp4 --crf nan", &["nan"]);
    misused("mosaic in.mp4 --keep-threshold nan", &["nan"]);
    misused("mosaic in.mp4 --effect pixels", &["pixels", "mosaic"]);
    misused("mosaic in.mp4 --speed warp", &["warp"]);
    misused("mosaic in.mp4 -o a.mp4 --out-dir b", &["cannot be used with"]);
    misused("mosaic in.mp4 --colour", &["--colour"]);
    misused("convert in.mp4", &["--output"]);
    misused("analyze in.mp4", &["--output"]);
    misused("analyze in.mp4 -o p.json --cells 12", &["--cells 12", "at most 8"]);
    misused("analyze in.mp4 -o p.json --crf 20", &["--crf"]);
    misused("render in.mp4", &["<PLAN>"]);
    misused("render in.mp4 p.json -o a.mp4 --effect fill", &["--effect"]);
    misused("", &["Usage"]);
    misused("uncover in.mp4", &["uncover"]);
}

fn small(s: &Scratch, name: &str) {
    s.clip("", &format!("-frames:v 3 -an {name}"));
}

#[test]
fn several_inputs_and_folders_go_into_one_folder() {
    let s = Scratch::new();
    std::fs::create_dir_all(s.path("holiday/day2")).unwrap();
    small(&s, "first.mp4");
    small(&s, "holiday/second.mkv");
    small(&s, "holiday/day2/third.mov");
    s.ffmpeg("-i @pyfeat/single_face.mp4 -frames:v 1 -vf scale=320:180 holiday/photo.JPG");
    s.write("holiday/notes.txt", "not a video");
    let ran = s.garim("mosaic first.mp4 holiday --out-dir out --report out --plan-out plans").ok();
    assert!(ran.stderr.contains("4 of 4 files covered"), "{ran:#?}");
    for name in ["first.mp4", "second.mp4", "day2/third.mp4"] {
        assert_eq!(s.times(&format!("out/{name}")).len(), 3);
    }
    assert!(image::open(s.path("out/photo.JPG")).is_ok());
    for name in ["first", "second", "third", "photo"] {
        assert_eq!(s.json(&format!("out/{name}.report.json"))["report_version"], 1);
        assert_eq!(s.json(&format!("plans/{name}.plan.json"))["format"], "garim-plan");
    }
}

#[test]
fn without_a_place_outputs_lie_beside_their_inputs_and_are_not_covered_again() {
    let s = Scratch::new();
    std::fs::create_dir(s.path("clips")).unwrap();
    small(&s, "clips/a.mkv");
    s.garim("mosaic clips").ok();
    assert_eq!(s.times("clips/a-covered.mp4").len(), 3);
    s.garim("mosaic clips --overwrite").ok();
    assert_eq!(s.path("clips").read_dir().unwrap().count(), 2);
}

#[test]
fn a_bad_file_among_several_does_not_stop_the_others() {
    let s = Scratch::new();
    s.write("bad.mp4", "no video");
    small(&s, "good.mp4");
    let ran = s.garim("mosaic bad.mp4 good.mp4 --out-dir out");
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("error: bad.mp4: is not a video"), "{ran:#?}");
    assert!(ran.stderr.contains("1 of 2 files covered"), "{ran:#?}");
    assert_eq!(s.times("out/good.mp4").len(), 3);
    assert!(!s.path("out/bad.mp4").exists());
}

#[test]
fn outputs_that_would_collide_are_refused_before_any_work() {
    let s = Scratch::new();
    small(&s, "a.mp4");
    small(&s, "a.mkv");
    let error = s.garim("mosaic a.mp4 a.mkv --out-dir out").error();
    assert!(error.contains("a.mp4 and a.mkv would both become out/a.mp4"), "{error}");
    let error = s.garim("mosaic a.mp4 a.mkv -o out.mp4").error();
    assert!(error.contains("-o is for one input") && error.contains("--out-dir"), "{error}");
    assert_eq!(s.names(), ["a.mkv", "a.mp4"]);
}

#[test]
fn one_name_for_two_outputs_is_refused() {
    let s = Scratch::new();
    small(&s, "in.mp4");
    let error = s.garim("mosaic in.mp4 -o out.mp4 --report x.json --plan-out x.json").error();
    assert!(error.contains("x.json: is used for two things"), "{error}");
    assert_eq!(s.names(), ["in.mp4"]);
}

#[test]
fn names_with_spaces_other_letters_and_great_length_work() {
    let s = Scratch::new();
    small(&s, "in.mp4");
    let long = "가림".repeat(40) + ".mp4"; // 244 bytes of at most 255
    for (input, output) in
        [("a b.mp4", "é ü.mp4"), ("-x.mp4", "100%.mp4"), ("#1?.mp4", long.as_str())]
    {
        std::fs::copy(s.path("in.mp4"), s.path(input)).unwrap();
        let mut command = s.command(GARIM, "mosaic -o");
        Ran::new(&command.args([output, "--", input]).output().unwrap()).ok();
        assert!(s.path(output).exists(), "{output}");
    }
}

#[test]
fn events_are_one_json_object_a_line_in_order() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    let ran = s.garim("mosaic in.mp4 -o out.mp4 --json").ok();
    let events: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!((names[0], *names.last().unwrap()), ("start", "done"));
    let middle = &events[1..events.len() - 1];
    assert!(middle.len() >= 2 && middle.iter().all(|e| e["event"] == "progress"), "{names:?}");
    assert!(events.iter().all(|e| e["input"] == "in.mp4"));
    assert_eq!(events[0]["output"], "out.mp4");
    let place = |e: &Value| (e["phase"] == "render", e["frames"].as_u64().unwrap());
    assert!(middle.windows(2).all(|w| place(&w[0]) <= place(&w[1])), "{middle:#?}");
    assert!(middle.iter().all(|e| e["total"] == 24 && e["fps"].is_number()));
    assert_eq!(place(middle.last().unwrap()), (true, 24));
    assert_eq!(events.last().unwrap()["report"]["frames"]["total"], 24);
    assert_eq!(ran.stderr, "", "nothing but events");
}

/// Every frame's samples, as a hash of the whole.
fn pictures(s: &Scratch, file: &str) -> String {
    let args = format!(
        "-v error -i {file} -map 0:v -fps_mode passthrough -f rawvideo -c:v rawvideo pipe:"
    );
    let raw = support::tool(s.command("ffmpeg", &args));
    assert!(!raw.is_empty());
    s.write("raw", &raw);
    let sum = support::tool(s.command("md5sum", "raw"));
    String::from_utf8_lossy(&sum[..32]).into_owned()
}

fn sound(s: &Scratch, file: &str) -> Vec<String> {
    s.packets(file, "a:0").into_iter().map(|p| p.hash).collect()
}

#[test]
fn convert_makes_one_mp4_of_a_playlist_without_touching_picture_or_sound() {
    let s = Scratch::new();
    std::fs::create_dir(s.path("live")).unwrap();
    s.clip(
        "",
        "-c:v libx264 -preset fast -g 8 -keyint_min 8 -c:a aac -f hls -hls_time 0.25 \
         -hls_list_size 0 -hls_segment_type fmp4 live/list.m3u8",
    );
    let ran = s.garim("convert live -o out.mp4").ok();
    assert_eq!(ran.stdout.trim_end(), "out.mp4: video copied, sound copied, nothing covered");
    assert_eq!(pictures(&s, "out.mp4"), pictures(&s, "live/list.m3u8"));
    assert_eq!(sound(&s, "out.mp4"), sound(&s, "live/list.m3u8"));
    let packets = |file| s.packets(file, "v:0").into_iter().map(|p| p.hash).collect::<Vec<_>>();
    assert_eq!(packets("out.mp4"), packets("live/list.m3u8"));
    let gaps = |file| s.times(file).windows(2).map(|w| w[1] - w[0]).collect::<Vec<_>>();
    assert_eq!(gaps("out.mp4"), gaps("live/list.m3u8"));
    s.assert_plays("out.mp4");
}

#[test]
fn convert_makes_one_mp4_of_a_playlist_of_transport_streams() {
    let s = Scratch::new();
    std::fs::create_dir(s.path("live")).unwrap();
    s.clip("", "-g 8 -c:a aac -f hls -hls_time 0.25 -hls_list_size 0 live/list.m3u8");
    s.garim("convert live/list.m3u8 -o out.mp4").ok();
    assert_eq!(pictures(&s, "out.mp4"), pictures(&s, "live/list.m3u8"));
    assert!(s.times("out.mp4")[0].as_f64() < 0.1, "starts at zero");
    s.assert_plays("out.mp4");
}

#[test]
fn convert_copies_what_mp4_can_carry_and_encodes_the_rest() {
    let s = Scratch::new();
    s.clip("", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus a.webm");
    s.garim("convert a.webm -o a.mp4").ok();
    assert_eq!(s.video("a.mp4")["codec_name"], "vp9");
    assert_eq!(
        (pictures(&s, "a.mp4"), sound(&s, "a.mp4")),
        (pictures(&s, "a.webm"), sound(&s, "a.webm"))
    );
    assert_eq!(s.times("a.mp4"), s.times("a.webm"));
    s.clip("", "-c:v libvpx -deadline realtime -c:a libvorbis b.webm");
    let ran = s.garim("convert b.webm -o b.mp4 --json").ok();
    let event: Value = serde_json::from_str(ran.stdout.trim_end()).unwrap();
    assert_eq!(event["result"], serde_json::json!({"video_copied": false, "audio_copied": true}));
    assert_eq!(s.video("b.mp4")["codec_name"], "h264");
    assert_eq!((s.times("b.mp4"), sound(&s, "b.mp4")), (s.times("b.webm"), sound(&s, "b.webm")));
    s.assert_plays("b.mp4");
}

#[test]
fn convert_keeps_times_of_an_mp4_and_drops_what_it_tells() {
    let s = Scratch::new();
    s.clip("", "-c:v libx264 -preset fast -bf 2 -c:a aac -metadata title=Xyzzy in.mp4");
    s.garim("convert in.mp4 -o out.mp4").ok();
    assert_eq!(
        (s.times("out.mp4"), sound(&s, "out.mp4")),
        (s.times("in.mp4"), sound(&s, "in.mp4"))
    );
    assert_eq!(pictures(&s, "out.mp4"), pictures(&s, "in.mp4"));
    assert!(!s.read("out.mp4").windows(5).any(|w| w == b"Xyzzy"));
    let error = s.garim("convert in.mp4 -o out.mp4").error();
    assert!(error.contains("out.mp4: exists"), "{error}");
    let error = s.garim("convert none.mp4 -o x.mp4").error();
    assert!(error.contains("none.mp4: No such file"), "{error}");
}

#[test]
fn probe_says_what_is_in_a_file() {
    let s = Scratch::new();
    s.clip("fps=24000/1001", "-c:a ac3 in.mkv");
    let text = s.garim("probe in.mkv").ok().stdout;
    for word in
        ["matroska", "h264, 320x180, yuv420p", "time base 1/1000", "ac3, 48000 Hz, 1 channels"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    let json: Value = serde_json::from_str(&s.garim("probe in.mkv --json").ok().stdout).unwrap();
    assert_eq!(json["video"]["size"], serde_json::json!({"width": 320, "height": 180}));
    assert_eq!(json["video"]["codec"], "h264");
    assert_eq!(json["audio"]["copyable"], true);
    s.write("text.mp4", "no video");
    let error = s.garim("probe text.mp4").error();
    assert!(error.contains("text.mp4: is not a video"), "{error}");
}

/// `garim ARGS` where no models are to be found.
fn without_models(args: &str) -> Ran {
    let s = Scratch::new();
    let mut command = s.command(GARIM, args);
    command.env("GARIM_DATA", s.path("data")).env("HOME", s.path("home"));
    command.env_remove("XDG_DATA_HOME").env_remove("ORT_DYLIB_PATH");
    Ran::new(&command.output().unwrap())
}

#[test]
fn doctor_finds_nothing_wrong_here() {
    let ran = Scratch::new().garim("doctor");
    let lines: Vec<&str> = ran.stdout.lines().filter(|l| !l.contains("disk")).collect();
    for part in ["FFmpeg", "x264", "YuNet", "CenterFace", "SFace", "ONNX Runtime", "CPU"] {
        assert!(lines.iter().any(|l| l.contains(part)), "{part}: {ran:#?}");
    }
    assert!(lines.iter().all(|l| l.starts_with("ok ")), "{ran:#?}");
}

#[test]
fn doctor_names_what_is_missing_and_the_command_that_mends_it() {
    let ran = without_models("doctor");
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    for part in ["YuNet", "CenterFace", "SFace", "ONNX Runtime"] {
        let line = ran.stdout.lines().find(|l| l.contains(part)).unwrap();
        assert!(line.starts_with("FAIL") && line.contains("`garim models fetch`"), "{line}");
    }
}

#[test]
fn models_are_listed_with_licence_and_verified() {
    let s = Scratch::new();
    let ran = s.garim("models verify").ok();
    assert_eq!(ran.stdout.lines().count(), 4, "{ran:#?}");
    assert!(ran.stdout.lines().all(|l| l.ends_with("ok")), "{ran:#?}");
    assert!(ran.stdout.contains("MIT") && ran.stdout.contains("Apache-2.0"), "{ran:#?}");
    let ran = without_models("models verify");
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stdout.contains("garim models fetch"), "{ran:#?}");
    without_models("models list").ok();
}
