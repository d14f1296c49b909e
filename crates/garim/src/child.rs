//! Jobs run in a child process: untrusted media can then crash or swell only that.
//!
//! The parent writes one [`Task`] to the child's stdin and reads [`Message`]s, one JSON a line, from
//! its stdout. The child writes temporary files only; final names are given by the parent, after a
//! complete [`Message::Done`] and a clean exit.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use pipeline::live::wire::{self, FromChild};
use pipeline::live::{LiveEncoding, LiveSpec};
use pipeline::{
    ArchiveSpec, EnrolSpec, Input, JobSpec, PartSpec, Phase, PhotoSearchSpec, Progress,
    RecordingSpec, RemuxSpec, RenderSpec, SearchSpec, TrackSpec, VerifySpec,
};
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, getppid, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Task {
    /// Without an output: analyse only.
    Mosaic(JobSpec),
    Render(RenderSpec),
    /// One step of a job that is done in parts.
    Part(Box<PartSpec>),
    Verify(VerifySpec),
    /// Looks at photos of somebody who is to be enrolled.
    Examine(EnrolSpec),
    /// Cuts somebody who is to be enrolled out of a video. The answer holds pictures of a face.
    ExamineTrack(TrackSpec),
    /// Looks for faces in a video.
    Search(SearchSpec),
    /// Looks for faces on a photo.
    SearchPhoto(PhotoSearchSpec),
    /// Makes an MP4 of a sealed original, sealed as well.
    Remux(RemuxSpec),
    /// Makes an MP4 of what a live channel sent: covered, so in the clear.
    Recording(RecordingSpec),
    /// Makes segments of HLS of a covered file.
    Archive(ArchiveSpec),
    /// Plain files only: what it writes is uncovered, and must not lie beside a sealed original.
    Convert {
        input: PathBuf,
        output: PathBuf,
    },
    Probe {
        input: Input,
    },
    /// Tries how much of the machine a live channel takes.
    Gauge(LiveEncoding),
    /// Covers a live channel. The only task that is told more, and says more than its result: what comes after
    /// it on the pipes is `pipeline::live::wire`.
    Live(LiveSpec),
}

/// What a child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Message {
    Progress(Progress),
    Done { result: serde_json::Value },
    Failed { message: String },
}

/// Variable in which a child is told whose it is.
const PARENT: &str = "GARIM_PARENT";
/// Longest message read from a child, in bytes.
const MAX_MESSAGE: u64 = 64 << 20;
/// Longest task read by a child, in bytes.
const MAX_TASK: u64 = 16 << 20;
/// Resident memory after which a child is stopped, in KiB.
const MAX_RESIDENT_KIB: u64 = 6 << 20;
/// A child that says nothing for this long is stopped: no single step takes that long.
const MAX_SILENCE: Duration = Duration::from_secs(600);
/// How often the parent looks after the child.
const WATCH_EVERY: Duration = Duration::from_millis(200);
/// Lines kept of what a child wrote to stderr, to show if it dies.
const LAST_WORDS: usize = 8;

/// How a job ended, other than well.
#[derive(Debug)]
pub enum Ended {
    /// By Ctrl-C or SIGTERM.
    Interrupted,
    /// The child said so: it would again.
    Failed(anyhow::Error),
    /// The child died, hung or swelled, or could not be started: with other luck it may go well.
    Died(anyhow::Error),
}

/// Runs `task` in a child and gives its result. Stops it when `stop` is set.
pub fn run(
    task: &Task,
    stop: &AtomicBool,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<serde_json::Value, Ended> {
    let mut child = start(task).map_err(Ended::Died)?;
    let outcome = attend(&mut child, stop, on_progress);
    // Whatever happened: no child outlives this function.
    let _ = child.kill();
    let _ = child.wait();
    outcome
}

/// This program as a child, without pipes.
pub fn command() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("child")
        .env(PARENT, std::process::id().to_string())
        // glibc gives every thread a heap of its own, and what one freed no other gets: up to 130 MB more.
        .env("MALLOC_ARENA_MAX", "1");
    command
}

/// The line that a child is told first. It may hold the key of a sealed original.
pub fn line(task: &Task) -> Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(serde_json::to_vec(task)?);
    line.push(b'\n');
    Ok(line)
}

fn start(task: &Task) -> Result<Child> {
    let mut child = command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("the child process cannot be started")?;
    let mut stdin = child.stdin.take().context("the child has no stdin")?;
    stdin.write_all(&line(task)?).context("the child does not listen")?;
    Ok(child)
}

fn attend(
    child: &mut Child,
    stop: &AtomicBool,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<serde_json::Value, Ended> {
    let (messages, words) = listen(child).map_err(Ended::Died)?;
    let mut heard = Instant::now();
    let mut answer = None;
    loop {
        match messages.recv_timeout(WATCH_EVERY) {
            Ok(Ok(Message::Progress(progress))) => {
                heard = Instant::now();
                on_progress(progress);
            }
            Ok(Ok(Message::Done { result })) => answer = Some(result),
            Ok(Ok(Message::Failed { message })) => return Err(Ended::Failed(anyhow!(message))),
            Ok(Err(e)) => return Err(Ended::Died(e)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Ended::Interrupted);
        }
        watch(child, heard).map_err(Ended::Died)?;
    }
    let status = child.wait().map_err(|e| Ended::Died(e.into()))?;
    if stop.load(Ordering::Relaxed) {
        return Err(Ended::Interrupted);
    }
    match answer {
        Some(result) if status.success() => Ok(result),
        _ => Err(Ended::Died(died(status, &words.recv().unwrap_or_default()))),
    }
}

type Messages = Receiver<Result<Message>>;

/// Reads the child's stdout and stderr on threads of their own, which end with the child.
fn listen(child: &mut Child) -> Result<(Messages, Receiver<Vec<String>>)> {
    let stdout = child.stdout.take().context("the child has no stdout")?;
    let stderr = child.stderr.take().context("the child has no stderr")?;
    let (to_parent, messages) = sync_channel(64);
    std::thread::Builder::new().name("child-out".to_owned()).spawn(move || {
        let mut out = BufReader::new(stdout);
        loop {
            let mut line = Vec::new();
            let read = out.by_ref().take(MAX_MESSAGE).read_until(b'\n', &mut line);
            let message = match read {
                Ok(0) => return,
                Ok(_) => serde_json::from_slice(&line).context("the child said something unknown"),
                Err(e) => Err(e.into()),
            };
            let failed = message.is_err();
            if to_parent.send(message).is_err() || failed {
                return;
            }
        }
    })?;
    let (to_parent, words) = sync_channel(1);
    std::thread::Builder::new().name("child-err".to_owned()).spawn(move || {
        let mut last = VecDeque::new();
        let mut err = BufReader::new(stderr);
        let mut line = Vec::new();
        while matches!(err.by_ref().take(4096).read_until(b'\n', &mut line), Ok(n) if n > 0) {
            if last.len() == LAST_WORDS {
                last.pop_front();
            }
            last.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
        let _ = to_parent.send(Vec::from(last));
    })?;
    Ok((messages, words))
}

/// Stops a child that swells or hangs.
fn watch(child: &Child, heard: Instant) -> Result<()> {
    if heard.elapsed() > MAX_SILENCE {
        bail!("the job made no progress for {} s and was stopped", MAX_SILENCE.as_secs());
    }
    if let Some(kib) = live::resident_kib(child.id())
        && kib > MAX_RESIDENT_KIB
    {
        bail!("the job took more than {} GiB of memory and was stopped", MAX_RESIDENT_KIB >> 20);
    }
    Ok(())
}

fn died(status: ExitStatus, words: &[String]) -> anyhow::Error {
    let how = match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(code)) => format!("ended with code {code}"),
        (None, None) => "ended".to_owned(),
    };
    let mut text = format!(
        "the process that read it {how}, so nothing was written; the file may be damaged: rewriting \
         it may help (ffmpeg -i IN -c copy OUT.mkv)"
    );
    for line in words {
        text += &format!("\n  {line}");
    }
    anyhow!(text)
}

/// The child's side: reads its task, does it, says how it went. The result is also its exit code.
pub fn serve() -> Result<bool> {
    harden()?;
    let mut input = BufReader::new(io::stdin());
    let mut text = Zeroizing::new(Vec::new());
    input.by_ref().take(MAX_TASK).read_until(b'\n', &mut text)?;
    let task: Task = serde_json::from_slice(&text).context("no task on stdin")?;
    if let Task::Live(spec) = task {
        return live(&spec, Box::new(input));
    }
    let tell = |message: &Message| -> Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let mut out = io::stdout().lock();
        out.write_all(&line)?;
        Ok(out.flush()?)
    };
    // A parent that is gone ends this process by signal; a lost progress line is nothing.
    let result = work(&task, &mut |progress| drop(tell(&Message::Progress(progress))));
    match result {
        Ok(result) => tell(&Message::Done { result }).map(|()| true),
        Err(e) => tell(&Message::Failed { message: format!("{e:#}") }).map(|()| false),
    }
}

/// Covers a live channel until the parent says stop, or is gone.
fn live(spec: &LiveSpec, input: Box<dyn Read + Send>) -> Result<bool> {
    // Not through the standard library's line buffer: parts are megabytes.
    let mut output = BufWriter::new(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    let ended = pipeline::live::live(spec, input, &mut output);
    if let Err(e) = &ended {
        let message = FromChild::Failed { message: e.to_string() };
        wire::write(&mut output, &message, &[])?;
    }
    Ok(ended.is_ok())
}

/// Dies with its parent, and leaves no core dump: it would hold raw frames.
fn harden() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // The signal does not come from a parent that died before it was asked for.
    let parent = getppid().map_or(0, Pid::as_raw_pid);
    if std::env::var(PARENT).is_ok_and(|wanted| wanted != parent.to_string()) {
        bail!("the process that started this one is gone");
    }
    Ok(())
}

fn work(task: &Task, tell: &mut dyn FnMut(Progress)) -> Result<serde_json::Value> {
    Ok(match task {
        Task::Mosaic(spec) => serde_json::to_value(pipeline::run(spec, tell)?)?,
        Task::Render(spec) => serde_json::to_value(pipeline::render_plan(spec, tell)?)?,
        Task::Part(spec) => serde_json::to_value(pipeline::step(spec, tell)?)?,
        Task::Verify(spec) => serde_json::to_value(pipeline::verify(spec, tell)?)?,
        Task::Examine(spec) => serde_json::to_value(pipeline::examine(spec)?)?,
        Task::ExamineTrack(spec) => serde_json::to_value(pipeline::examine_track(spec, tell)?)?,
        Task::Search(spec) => serde_json::to_value(pipeline::search(spec, tell)?)?,
        Task::SearchPhoto(spec) => serde_json::to_value(pipeline::search_photo(spec)?)?,
        Task::Remux(spec) => serde_json::to_value(pipeline::remux(spec, tell)?)?,
        Task::Recording(spec) => serde_json::to_value(pipeline::recording(spec, tell)?)?,
        Task::Archive(spec) => serde_json::to_value(pipeline::archive(spec, tell)?)?,
        Task::Gauge(encoding) => serde_json::to_value(pipeline::live::gauge(encoding)?)?,
        Task::Live(_) => bail!("a live channel has no single result"),
        Task::Probe { input } => serde_json::to_value(media::probe(input.open()?)?)?,
        Task::Convert { input, output } => {
            let mut last = Instant::now();
            let converted = media::convert(input, output, &mut |done, total| {
                if last.elapsed() > WATCH_EVERY {
                    last = Instant::now();
                    let millis = |seconds: f64| (seconds.max(0.0) * 1000.0) as u64;
                    let (frames, total) = (millis(done), total.map(millis));
                    tell(Progress { phase: Phase::Convert, frames, total });
                }
            })?;
            serde_json::to_value(converted)?
        }
    })
}
