//! What goes wrong around a live channel of a real server, and the pixels that viewers get meanwhile: detectors that
//! are late, a child that stands still or cannot begin, a disk that is full.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::Scratch;
use crate::support::broadcast::{
    LIVE, Publisher, Seen, Sight, Viewer, is_published, make_clip, shows_him, start, stop,
    watch_until,
};
use crate::support::live::{Service, until};
use crate::support::mounts::{among_own_mounts, mount, noise};
use crate::support::processes::children;
use crate::support::server::signal;

/// Stops the threads of a process that detect faces, and nothing else of it, until it is told to end (ptrace(2):
/// PTRACE_SEIZE and PTRACE_INTERRUPT; a tracer that ends lets go).
const HOLD_DETECTORS: &str = "\
import ctypes, os, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
tasks = f'/proc/{sys.argv[1]}/task'
named = [t for t in os.listdir(tasks) if open(f'{tasks}/{t}/comm').read().startswith('detect-')]
for task in named:
    for request in (0x4206, 0x4207):
        if ptrace(request, int(task), None, None):
            sys.exit(f'ptrace: {os.strerror(ctypes.get_errno())}')
    os.waitpid(int(task), 0x40000000)
print(len(named), flush=True)
sys.stdin.read()
";

/// Holds the detectors of a child until dropped.
struct Held(Child);

impl Held {
    fn of(child: u32) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", HOLD_DETECTORS, &child.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut held = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(held.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.trim().parse::<u32>().is_ok_and(|threads| threads > 0), "{said:?}");
        Self(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// One second of pictures without anybody.
fn shows_nobody(seen: &[Seen]) -> bool {
    let last = seen.iter().rev().take(24);
    seen.len() >= 24 && last.into_iter().all(|picture| picture.him == Sight::Nothing)
}

fn only_child(service: &Service<'_>) -> u32 {
    until(|| match children(service.server.id())[..] {
        [child] => Ok(child),
        ref others => Err(format!("children {others:?}")),
    })
}

fn until_protected(service: &Service<'_>, started: &Value) {
    let channel = format!("/v1/channels/{}", started["channel_id"].as_str().unwrap());
    service.wait(&channel, |channel| channel["protection"]["state"] == "ok");
}

#[test]
fn nothing_is_shown_while_detectors_are_late_or_all_of_the_child_stands_still() {
    const NAME: &str =
        "faults::nothing_is_shown_while_detectors_are_late_or_all_of_the_child_stands_still";
    // There it may hold threads of other processes.
    if !among_own_mounts(NAME) {
        return;
    }
    let s = Scratch::new();
    make_clip(&s);
    let service = Service::start(&s, LIVE);
    service.enrol_man();
    let started = start(&service, Some("shop"));
    let mut viewer = Viewer::of(&s, &started);
    let _publisher = Publisher::start(&s, started["source_url"].as_str().unwrap());
    watch_until(&service, &mut viewer, shows_him);
    let child = only_child(&service);

    let held = Held::of(child);
    watch_until(&service, &mut viewer, shows_nobody);
    assert_eq!(service.event("protection.blocked")["reason"], "overload");
    drop(held);
    watch_until(&service, &mut viewer, shows_him);
    until_protected(&service, &started);

    // Longer than its look-ahead: a segment that does not come is waited for in vain.
    signal(child, "STOP");
    viewer.look(&service);
    let live = started["destination_url"]["live"].as_str().unwrap();
    let media = live[live.find("/live/").unwrap()..].replace("index", "media");
    let (_, playlist) = service.fetch(&media, None);
    let playlist = String::from_utf8(playlist).unwrap();
    let first = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
    let next = first.unwrap().parse::<usize>().unwrap() + playlist.matches("#EXTINF:").count();
    assert_eq!(service.fetch(&format!("{media}?_HLS_msn={next}"), None).0, 503);
    signal(child, "CONT");
    watch_until(&service, &mut viewer, shows_him);
    until_protected(&service, &started);
    assert_eq!(only_child(&service), child);
    assert_eq!((viewer.leaks(), viewer.discontinuities), (0, 1));

    let numbers = service.get("/metrics").is(200).body;
    let number = |name: &str| {
        let line = numbers.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {numbers}")).trim().parse::<f64>().unwrap()
    };
    let is = |state: &str| number(&format!("garim_live_channels{{protection=\"{state}\"}}"));
    assert_eq!(["ok", "degraded", "blocked"].map(is), [1.0, 0.0, 0.0]);
    let changes = "garim_live_protection_changes_total{protection=\"blocked\",reason=\"overload\"}";
    assert!(number(changes) >= 1.0);
    let pictures = |kind: &str| number(&format!("garim_live_pictures_total{{kind=\"{kind}\"}}"));
    assert!(pictures("sent") > pictures("slate") && pictures("slate") > 0.0, "{numbers}");
}

#[test]
fn nothing_is_shown_without_the_right_models() {
    let s = Scratch::new();
    make_clip(&s);
    let installed = vision::models::data_dirs().into_iter().find(|d| d.join("models").is_dir());
    let installed = installed.unwrap();
    let model = "models/yunet_2023mar.onnx";
    let right = std::fs::read(installed.join(model)).unwrap();
    s.write(&format!("own/{model}"), &right);
    symlink(installed.join("lib"), s.path("own/lib")).unwrap();
    for other in ["models/centerface.onnx", "models/sface_2021dec.onnx"] {
        symlink(installed.join(other), s.path("own").join(other)).unwrap();
    }
    let (own, home) = (s.path("own"), s.path("home"));
    let variables = [
        ("GARIM_DATA", own.to_str().unwrap()),
        ("HOME", home.to_str().unwrap()),
        ("XDG_DATA_HOME", home.to_str().unwrap()),
    ];
    let mut service = Service::start_with(&s, LIVE, &variables);
    service.enrol_man();
    let started = start(&service, Some("shop"));
    let mut viewer = Viewer::of(&s, &started);
    let _publisher = Publisher::start(&s, started["source_url"].as_str().unwrap());
    watch_until(&service, &mut viewer, shows_him);

    s.write(&format!("own/{model}"), b"another model");
    signal(only_child(&service), "KILL");
    service.server.wait_for("yunet_2023mar.onnx");
    assert_eq!(service.event("protection.blocked")["reason"], "child");
    s.write(&format!("own/{model}"), right);
    watch_until(&service, &mut viewer, shows_him);
    until_protected(&service, &started);
    assert_eq!((viewer.leaks(), viewer.discontinuities), (0, 1));
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_broadcast() {
    if !among_own_mounts("faults::a_full_disk_ends_the_recording_and_not_the_broadcast") {
        return;
    }
    let s = Scratch::new();
    make_clip(&s);
    mount("size=24m", &s.path("data/objects"));
    let service = Service::start(&s, LIVE);
    let started = start(&service, None);
    let mut viewer = Viewer::of(&s, &started);
    let _publisher = Publisher::start(&s, started["source_url"].as_str().unwrap());
    watch_until(&service, &mut viewer, is_published);
    // It takes what fits.
    let filler = s.path("data/objects/filler");
    let full = std::fs::write(&filler, noise(32 << 20)).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let failed = service.event("recording.failed");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("full") || reason.contains("space"), "{reason}");
    assert!(!reason.contains("data/objects"), "a path of the machine: {reason}");
    watch_until(&service, &mut viewer, is_published);

    std::fs::remove_file(filler).unwrap();
    stop(&service, &started);
    viewer.look(&service);
    assert!(viewer.ended);
    assert_eq!((viewer.leaks(), viewer.discontinuities), (0, 1));
    let ready = service.event("recording.ready");
    assert!(ready["duration_ms"].as_u64().unwrap() >= 4000, "{ready:#}");
    let video = service.get(&format!("/v1/videos/{}", ready["video"].as_str().unwrap()));
    service.watch(&video.is(200).json(), "recorded.mp4");
    s.assert_plays("recorded.mp4");
}
