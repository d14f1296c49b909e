//! Sealed originals: the child process reads them as it reads files, or not at all.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use pipeline::{Input, JobSpec, RenderSpec, Speed, VerifySpec};
use redact::{EffectKind, Shape};
use sealed::{SealKey, Sealed, seal};
use serde_json::{Value, json};

use crate::support::{GARIM, Scratch};

const CONTEXT: &str = "original of 7";
/// Sizes of records, again and again: as from an upload that stopped often.
const SIZES: [usize; 5] = [4096, 1, 30_001, 77, 12_345];

/// Puts `file` sealed into the folder `sealed`, under the same name; gives what a task says of it.
fn seal_file(s: &Scratch, file: &str) -> Input {
    let (key, plain) = (SealKey::random(), s.read(file));
    let (mut text, mut offset) = (Vec::new(), 0);
    for size in SIZES.into_iter().cycle() {
        let end = plain.len().min(offset + size);
        if offset == end {
            break;
        }
        text.extend(seal(&key, CONTEXT, offset as u64, &plain[offset..end]).unwrap());
        offset = end;
    }
    let name = format!("sealed/{file}");
    s.write(&name, text);
    let sealed = Sealed { key, context: CONTEXT.to_owned(), len: plain.len() as u64 };
    Input { path: s.path(&name), sealed: Some(sealed) }
}

fn plain(path: &Path) -> Input {
    path.into()
}

fn mosaic(s: &Scratch, input: Input, name: &str) -> JobSpec {
    JobSpec {
        input,
        still: false,
        output: Some(s.path(&format!("{name}.out"))),
        poster: Some(s.path(&format!("{name}.jpg"))),
        plan: Some(s.path(&format!("{name}.plan.json"))),
        contact_sheet: None,
        keep: Vec::new(),
        keep_threshold: 0.5,
        effect: EffectKind::Mosaic,
        cells: 8,
        shape: Shape::default(),
        pad: None,
        speed: Speed::Balanced,
        preset: "ultrafast".to_owned(),
        crf: 18.0,
        to_8bit: false,
        smart: true,
    }
}

/// A task for the child.
fn task(kind: &str, spec: impl serde::Serialize) -> Value {
    let mut task = serde_json::to_value(spec).unwrap();
    task["task"] = kind.into();
    task
}

/// Gives a child its task, as `garim` does; its result, or why it failed.
fn child(s: &Scratch, task: &Value) -> Result<Value, String> {
    let mut command = s.command(GARIM, "child");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(task.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let Some(last) = said.lines().last() else {
        return Err(String::from_utf8(output.stderr).unwrap());
    };
    let last: Value = serde_json::from_str(last).unwrap();
    match last["event"].as_str() {
        Some("done") => Ok(last["result"].clone()),
        _ => Err(last["message"].as_str().unwrap().to_owned()),
    }
}

/// Why a job with `input` fails. It leaves no output.
fn failure(s: &Scratch, input: Input) -> String {
    let error = child(s, &task("mosaic", mosaic(s, input, "failed"))).unwrap_err();
    let left = s.names().into_iter().find(|name| name.starts_with("failed"));
    assert_eq!(left, None);
    error
}

/// A face, hills, and a face again; all groups of ten frames, so that some are copied.
fn clip(s: &Scratch, file: &str, args: &str) {
    s.ffmpeg(&format!(
        "-t 0.4 -i @pyfeat/single_face.mp4 -t 2 -i @pyfeat/no_face.mp4 -f lavfi -t 2.4 -i \
         sine=440:sample_rate=48000 -filter_complex \
         [0:v]fps=25,scale=320:180,setsar=1,trim=end_frame=10[a];\
         [1:v]fps=25,scale=320:180,setsar=1,trim=end_frame=50[b];\
         [a][b]concat=n=2,format=yuv420p[v] -map [v] -map 2:a -c:a aac -c:v libx264 -preset \
         superfast -x264-params keyint=10:min-keyint=10:scenecut=0 {args} {file}"
    ));
}

#[test]
fn a_sealed_original_gives_the_same_plan_and_the_same_output_as_the_file() {
    for (file, args) in
        [("end.mp4", ""), ("start.mp4", "-movflags +faststart"), ("in.mkv", ""), ("in.ts", "")]
    {
        let s = Scratch::new();
        clip(&s, file, args);
        let input = seal_file(&s, file);
        let run = |input, name| child(&s, &task("mosaic", mosaic(&s, input, name))).unwrap();
        let of_file = run(plain(&s.path(file)), "file");
        let of_sealed = run(input.clone(), "sealed");
        assert!(s.read("file.out") == s.read("sealed.out"), "{file}");
        assert!(s.read("file.jpg") == s.read("sealed.jpg"), "{file}");
        assert_eq!(s.json("file.plan.json"), s.json("sealed.plan.json"), "{file}");
        assert_eq!(of_file["input"]["sha256"], of_sealed["input"]["sha256"], "{file}");
        assert_eq!(of_file["rendering"], of_sealed["rendering"], "{file}");
        // Copying is not possible out of MPEG-TS.
        let mode = if file == "in.ts" { "full" } else { "smart" };
        assert_eq!(of_sealed["rendering"]["mode"], mode, "{file}");

        let render = RenderSpec {
            input: input.clone(),
            still: false,
            plan: s.path("sealed.plan.json"),
            output: s.path("again.out"),
            poster: Some(s.path("again.jpg")),
            preset: "ultrafast".to_owned(),
            crf: 18.0,
            to_8bit: false,
            smart: true,
            cover_people: Vec::new(),
            published: None,
            edited_plan: None,
        };
        child(&s, &task("render", render)).unwrap();
        assert!(s.read("again.out") == s.read("sealed.out"), "{file}, rendered by its plan");
        assert!(s.read("again.jpg") == s.read("sealed.jpg"), "{file}, rendered by its plan");

        let verify = VerifySpec {
            original: input.clone(),
            output: plain(&s.path("sealed.out")),
            plan: Some(s.path("sealed.plan.json")),
            keep: Vec::new(),
            keep_threshold: 0.5,
            contact_sheet: None,
        };
        assert_eq!(child(&s, &task("verify", verify)).unwrap()["verified"], true, "{file}");

        let probe = |input: Input| child(&s, &json!({"task": "probe", "input": input})).unwrap();
        assert_eq!(probe(plain(&s.path(file))), probe(input), "{file}");
    }
}

#[test]
fn a_sealed_original_that_was_changed_is_refused() {
    let s = Scratch::new();
    clip(&s, "in.mp4", "");
    let input = seal_file(&s, "in.mp4");
    let whole = s.read("sealed/in.mp4");
    let changed = |content: &[u8], what: &str| {
        s.write("sealed/in.mp4", content);
        let start = format!("{}: the sealed original was changed: ", input.path.display());
        let mut errors = vec![failure(&s, input.clone())];
        if what != "a bit in the middle" {
            // Only as much is read as must be known of it.
            let probe = json!({"task": "probe", "input": input});
            errors.push(child(&s, &probe).unwrap_err());
        }
        for error in errors {
            assert!(error.starts_with(&start), "{what}: {error}");
        }
    };
    for (at, what) in [
        (0, "its first length"),
        (40, "its first record"),
        (whole.len() - 1, "its last tag"),
        (whole.len() / 2, "a bit in the middle"),
    ] {
        let mut content = whole.clone();
        content[at] ^= 1;
        changed(&content, what);
    }
    changed(&whole[..whole.len() - 1], "a byte less");
    changed(&whole[..whole.len() / 2], "half of it");
    changed(&[], "nothing");

    s.write("sealed/in.mp4", &whole);
    let sealed = input.sealed.clone().unwrap();
    for other in [
        Sealed { key: SealKey::random(), ..sealed.clone() },
        Sealed { context: "original of 8".to_owned(), ..sealed.clone() },
        Sealed { len: sealed.len - 1, ..sealed.clone() },
    ] {
        let error = failure(&s, Input { sealed: Some(other), ..input.clone() });
        assert!(error.contains("the sealed original was changed"), "{error}");
    }
    let error = failure(&s, Input { path: s.path("missing"), ..input });
    assert!(error.contains("missing: No such file"), "{error}");
}

#[test]
fn a_sealed_photo_is_covered_as_the_file_is() {
    let s = Scratch::new();
    s.write("in.jpg", std::fs::read(s.path("@pyfeat/single_face.jpg")).unwrap());
    let input = seal_file(&s, "in.jpg");
    let run = |input, name| {
        let spec = JobSpec { still: true, ..mosaic(&s, input, name) };
        child(&s, &task("mosaic", spec)).unwrap()
    };
    run(plain(&s.path("in.jpg")), "file");
    run(input, "sealed");
    assert!(s.read("file.out") == s.read("sealed.out"));
    assert!(s.read("file.jpg") == s.read("sealed.jpg"));
    assert_eq!(s.json("file.plan.json"), s.json("sealed.plan.json"));
}

#[test]
fn nothing_uncovered_of_a_sealed_original_is_written() {
    let s = Scratch::new();
    clip(&s, "in.mp4", "");
    let input = seal_file(&s, "in.mp4");
    let sheet = |input: Input| JobSpec {
        contact_sheet: Some(s.path("failed.png")),
        ..mosaic(&s, input, "failed")
    };
    let error = child(&s, &task("mosaic", sheet(input.clone()))).unwrap_err();
    assert!(error.contains("is sealed, so no contact sheet is made of it"), "{error}");
    let convert = json!({"task": "convert", "input": input, "output": s.path("failed.mp4")});
    let error = child(&s, &convert).unwrap_err();
    assert!(error.contains("no task on stdin"), "{error}");
    assert_eq!(s.names(), ["in.mp4", "sealed"]);
}

#[test]
fn a_sealed_playlist_is_refused() {
    let s = Scratch::new();
    s.write("in.m3u8", "#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n");
    let error = failure(&s, seal_file(&s, "in.m3u8"));
    assert!(error.contains("is an HLS playlist"), "{error}");
}
