//! When something breaks, there is an error, a next step, and no output; never a clean copy.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::support::{GARIM, Ran, Scratch};

/// `garim mosaic in.mp4 -o out.mp4` where models are looked for in `data` of the scratch folder only.
fn with_data(s: &Scratch, data: &str) -> Command {
    let mut command = s.command(GARIM, "mosaic in.mp4 -o out.mp4");
    command
        .env("GARIM_DATA", s.path(data))
        .env("HOME", s.path("nobody"))
        .env_remove("XDG_DATA_HOME");
    command.env_remove("ORT_DYLIB_PATH");
    command
}

fn error_of(mut command: Command) -> String {
    Ran::new(&command.output().unwrap()).error()
}

/// Where the tests' own models are.
fn data() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = || set("HOME").map(|home| home.join(".local/share"));
    let folder = set("GARIM_DATA")
        .or_else(|| set("XDG_DATA_HOME").or_else(home).map(|data| data.join("garim")));
    let folder = folder.unwrap();
    assert!(folder.join("models").is_dir(), "no models: run `garim models fetch`");
    folder
}

/// Links to the real models and library in `data/`, but for `own`, which is for the test to write.
fn link_data_but(s: &Scratch, own: &str) {
    for part in ["models", "lib"] {
        std::fs::create_dir_all(s.path("data").join(part)).unwrap();
        for entry in data().join(part).read_dir().unwrap() {
            let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
            if name.to_str() != Some(own) {
                std::os::unix::fs::symlink(path, s.path("data").join(part).join(name)).unwrap();
            }
        }
    }
}

#[test]
fn without_models_there_is_an_error_that_says_what_to_run() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    std::fs::create_dir(s.path("data")).unwrap();
    let error = error_of(with_data(&s, "data"));
    assert!(
        error.contains("is not installed") && error.contains("`garim models fetch`"),
        "{error}"
    );
    assert!(error.contains(s.path("data").to_str().unwrap()), "{error}");
    assert_eq!(s.names(), ["data", "in.mp4"]);
}

#[test]
fn a_model_with_one_wrong_byte_is_not_used() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    let name = "yunet_2023mar.onnx";
    link_data_but(&s, name);
    let mut bytes = std::fs::read(data().join("models").join(name)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    s.write(&format!("data/models/{name}"), bytes);
    let error = error_of(with_data(&s, "data"));
    assert!(error.contains(name) && error.contains("is not the expected file"), "{error}");
    assert!(error.contains("`garim models fetch`"), "{error}");
    assert_eq!(s.names(), ["data", "in.mp4"]);
}

#[test]
fn a_missing_runtime_is_an_error_that_says_what_to_run() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    link_data_but(&s, "");
    std::fs::remove_dir_all(s.path("data/lib")).unwrap();
    let error = error_of(with_data(&s, "data"));
    assert!(error.contains("ONNX Runtime") && error.contains("`garim models fetch`"), "{error}");
    assert_eq!(s.names(), ["data", "in.mp4"]);
}

#[test]
fn the_runtime_leaves_nothing_in_the_home_folder_and_reports_to_nobody() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    link_data_but(&s, "");
    std::fs::create_dir_all(s.path("nobody")).unwrap();
    let mut command = with_data(&s, "data");
    // The tests have it set; users do not. It keeps its reports in a cache until they are sent.
    command.env_remove("ORT_DISABLE_TELEMETRY").env_remove("XDG_CACHE_HOME");
    Ran::new(&command.output().unwrap()).ok();
    let left: Vec<_> = s.path("nobody").read_dir().unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_runtime_given_by_hand_that_is_none_is_an_error_that_names_it() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    link_data_but(&s, "");
    s.write("wrong.so", "this is no library");
    for (library, expected) in [("wrong.so", "ONNX Runtime"), ("none.so", "none.so")] {
        let mut command = with_data(&s, "data");
        command.env("ORT_DYLIB_PATH", s.path(library));
        let error = error_of(command);
        assert!(error.contains(expected) && error.contains(library), "{error}");
        assert_eq!(s.names(), ["data", "in.mp4", "wrong.so"]);
    }
}

#[test]
fn a_runtime_given_by_hand_is_used() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    link_data_but(&s, "");
    std::fs::rename(s.path("data/lib"), s.path("elsewhere")).unwrap();
    let library = s.path("elsewhere").read_dir().unwrap().next().unwrap().unwrap().path();
    let mut command = with_data(&s, "data");
    Ran::new(&command.env("ORT_DYLIB_PATH", library).output().unwrap()).ok();
    assert_eq!(s.times("out.mp4").len(), 24);
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    s.ffmpeg("-t 2 -i @pyfeat/WolfgangLanger_Pexels.mp4 -c copy -an large.mp4");
    // A limit on file sizes stands for the disk: writing fails, and the signal for it is ignored.
    let script = "trap '' XFSZ; ulimit -f 40; exec \"$0\" mosaic large.mp4 -o out.mp4";
    let mut shell = s.command("sh", "");
    let error = error_of({
        shell.args(["-c", script, GARIM]);
        shell
    });
    assert!(error.contains("out.mp4: cannot be written"), "{error}");
    assert_eq!(s.names(), ["in.mp4", "large.mp4"]);
}

/// A job that takes far longer than the test, seen at work.
struct Job {
    garim: Child,
    // Open, so that the job is not disturbed by a closed pipe.
    _events: BufReader<ChildStdout>,
}

impl Job {
    /// Starts covering a long video and waits for the first sign of progress.
    fn start(s: &Scratch) -> Self {
        let mut command =
            s.command(GARIM, "mosaic @clm/franck.mp4 -o out.mp4 --json --report r.json");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut garim = command.spawn().unwrap();
        let mut events = BufReader::new(garim.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("\"progress\"") {
            line.clear();
            assert!(events.read_line(&mut line).unwrap() > 0, "no progress");
        }
        Self { garim, _events: events }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.garim)
    }

    /// The process that reads the video, by proc(5).
    fn reader(&self) -> Pid {
        let tasks = Path::new("/proc").join(self.garim.id().to_string()).join("task");
        let children: Vec<i32> = tasks
            .read_dir()
            .unwrap()
            .flat_map(|task| {
                let list = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap();
                list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(children.len(), 1, "{children:?}");
        Pid::from_raw(children[0]).unwrap()
    }

    fn end(mut self) -> Ran {
        drop(self.garim.stdin.take());
        let output: Output = self.garim.wait_with_output().unwrap();
        Ran::new(&output)
    }
}

/// Waits until a process is gone (or waits for somebody to ask how it ended).
fn await_end(pid: Pid) {
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let start = Instant::now();
    // The state follows the name in brackets.
    let lives = |text: String| !text.rsplit(')').next().unwrap().trim_start().starts_with('Z');
    while std::fs::read_to_string(&stat).is_ok_and(lives) {
        assert!(start.elapsed() < Duration::from_secs(20), "the child outlived its parent");
        std::thread::yield_now();
    }
}

fn killed_reader(signal: Signal) {
    let s = Scratch::new();
    let job = Job::start(&s);
    let reader = job.reader();
    kill_process(reader, signal).unwrap();
    let ran = job.end();
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let expected = format!("was killed by signal {}", signal.as_raw());
    assert!(ran.stderr.contains(&expected) && ran.stderr.contains("franck.mp4"), "{ran:#?}");
    assert!(ran.stderr.contains("nothing was written"), "{ran:#?}");
    assert_eq!(ran.stderr.matches("error: ").count(), 1, "{ran:#?}");
    assert_eq!(s.names(), Vec::<String>::new());
}

/// As a failed assertion in a decoder would end it. (A fault that is only sent, and not repeated by
/// the faulty instruction, does not end a Rust program.)
#[test]
fn a_crash_of_the_decoder_is_an_error_and_leaves_nothing() {
    killed_reader(Signal::ABORT);
}

#[test]
fn a_reader_that_is_killed_is_an_error_and_leaves_nothing() {
    killed_reader(Signal::KILL);
}

#[test]
fn after_kill_nothing_has_the_final_name_and_the_next_run_cleans_up() {
    let s = Scratch::new();
    let job = Job::start(&s);
    let reader = job.reader();
    kill_process(job.pid(), Signal::KILL).unwrap();
    assert_eq!(job.end().code, None);
    await_end(reader);
    let left = s.names();
    assert!(!left.is_empty() && left.iter().all(|n| n.ends_with(".garim-part")), "{left:?}");
    s.clip("", "-an in.mp4");
    s.mosaic("in.mp4", "");
    assert_eq!(s.names(), ["in.mp4", "out.mp4", "report.json"]);
}

fn stopped(send: impl Fn(&Job)) {
    let s = Scratch::new();
    let job = Job::start(&s);
    let reader = job.reader();
    send(&job);
    let ran = job.end();
    assert_eq!(ran.code, Some(130), "{ran:#?}");
    assert_eq!(ran.stderr.trim_end(), "interrupted; out.mp4 was not written");
    await_end(reader);
    assert_eq!(s.names(), Vec::<String>::new());
}

/// A terminal sends it to all processes at once.
#[test]
fn ctrl_c_ends_with_130_and_leaves_nothing() {
    stopped(|job| kill_process_group(job.pid(), Signal::INT).unwrap());
}

#[test]
fn an_interrupt_of_the_parent_alone_ends_the_child_too() {
    stopped(|job| kill_process(job.pid(), Signal::INT).unwrap());
}

#[test]
fn being_told_to_terminate_is_an_interrupt() {
    stopped(|job| kill_process(job.pid(), Signal::TERM).unwrap());
}

#[test]
fn the_reader_leaves_no_core_dump_and_shows_its_memory_to_nobody() {
    let s = Scratch::new();
    let job = Job::start(&s);
    let reader = job.reader().as_raw_nonzero();
    let limits = std::fs::read_to_string(format!("/proc/{reader}/limits")).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    assert!(core.split_whitespace().filter(|w| *w == "0").count() == 2, "{core}");
    kill_process(job.pid(), Signal::INT).unwrap();
    job.end();
}

#[test]
fn a_child_without_a_task_fails() {
    let s = Scratch::new();
    let ran = s.garim("child");
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("no task on stdin"), "{ran:#?}");
}

#[test]
fn a_failure_is_an_event_too() {
    let s = Scratch::new();
    s.write("in.mp4", "no video");
    let ran = s.garim("mosaic in.mp4 -o out.mp4 --json");
    assert_eq!(ran.code, Some(1));
    let last: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["input"]), (&"failed".into(), &"in.mp4".into()));
    assert!(last["message"].as_str().unwrap().contains("is not a video"), "{last}");
}

#[test]
fn a_child_whose_parent_died_before_it_could_hear_of_that_does_nothing() {
    let s = Scratch::new();
    let mut child = s.command(GARIM, "child");
    // Init's id, whose child it is not.
    let output = child.env("GARIM_PARENT", "1").output().unwrap();
    assert!(Ran::new(&output).error().contains("is gone"));
}
