//! The child process of a channel: media goes in, parts of a broadcast come out.

use std::io;
use std::process::{Command as StdCommand, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use pipeline::live::LiveSpec;
use pipeline::live::wire::{FromChild, ToChild, Unpacker, pack};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child as Process, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

/// Messages that wait to be written, at most, and their bytes: a few seconds of a stream.
const MESSAGES: usize = 512;
const BYTES: usize = 24 << 20;
/// Messages that were read and not taken, at most.
const HEARD: usize = 32;
/// Bytes read at once.
const READ: usize = 64 << 10;
/// Longest line of what a child writes to stderr that is kept.
const LINE: u64 = 1000;

/// What a child is told first: a line.
type FirstLine = dyn Fn(&LiveSpec) -> Vec<u8> + Send + Sync;

/// How to start a child, which is a matter of the binary.
#[derive(Clone)]
pub struct Spawn {
    /// The command, without pipes.
    pub command: Arc<dyn Fn() -> StdCommand + Send + Sync>,
    /// The first line that it is told.
    pub task: Arc<FirstLine>,
}

/// A child and the tasks that write and read its pipes. It is killed when this is dropped.
pub(crate) struct Child {
    process: Process,
    to: mpsc::Sender<Outgoing>,
    queued: Arc<AtomicUsize>,
    from: mpsc::Receiver<(FromChild, Bytes)>,
}

struct Outgoing {
    message: ToChild,
    bytes: Bytes,
}

/// More waits to be written than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Child {
    pub(crate) fn start(spawn: &Spawn, spec: &LiveSpec) -> io::Result<Self> {
        let mut command = Command::from((spawn.command)());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.kill_on_drop(true).spawn()?;
        let gone = || io::Error::other("the child has no pipes");
        let stdin = process.stdin.take().ok_or_else(gone)?;
        let stdout = process.stdout.take().ok_or_else(gone)?;
        let stderr = process.stderr.take().ok_or_else(gone)?;
        let queued = Arc::new(AtomicUsize::new(0));
        let (to, outgoing) = mpsc::channel(MESSAGES);
        let (heard, from) = mpsc::channel(HEARD);
        tokio::spawn(write(stdin, (spawn.task)(spec), outgoing, Arc::clone(&queued)));
        tokio::spawn(read(stdout, heard));
        tokio::spawn(note(stderr));
        Ok(Self { process, to, queued, from })
    }

    /// Says something, unless too much waits already.
    pub(crate) fn say(&self, message: ToChild, bytes: Bytes) -> Result<(), Full> {
        let size = bytes.len();
        if self.queued.fetch_add(size, Ordering::Relaxed) + size > BYTES {
            self.queued.fetch_sub(size, Ordering::Relaxed);
            return Err(Full);
        }
        self.to.try_send(Outgoing { message, bytes }).map_err(|_| {
            self.queued.fetch_sub(size, Ordering::Relaxed);
            Full
        })
    }

    /// Whether little enough waits to go on after something was left out.
    pub(crate) fn is_ready(&self) -> bool {
        self.queued.load(Ordering::Relaxed) < BYTES / 4 && self.to.capacity() > MESSAGES / 2
    }

    /// What it says next; `None`: it is gone.
    pub(crate) async fn hear(&mut self) -> Option<(FromChild, Bytes)> {
        self.from.recv().await
    }

    /// Its number, while it lives.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Ends it, whatever it does.
    pub(crate) async fn kill(mut self) {
        let _ = self.process.kill().await;
    }
}

/// Resident memory of a process, from /proc (proc(5), VmRSS), in KiB; `None`: there is no such process.
pub fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Writes until nobody has anything to say, or the child is gone.
async fn write(
    mut stdin: ChildStdin,
    task: Vec<u8>,
    mut outgoing: mpsc::Receiver<Outgoing>,
    queued: Arc<AtomicUsize>,
) {
    if stdin.write_all(&task).await.is_err() {
        return;
    }
    while let Some(Outgoing { message, bytes }) = outgoing.recv().await {
        queued.fetch_sub(bytes.len(), Ordering::Relaxed);
        // A message too long for the pipe is left out; the stream has a hole there.
        let Ok(packed) = pack(&message, &bytes) else { continue };
        if stdin.write_all(&packed).await.is_err() {
            return;
        }
    }
}

/// Reads until the child is gone, or says what cannot be understood.
async fn read(mut stdout: ChildStdout, heard: mpsc::Sender<(FromChild, Bytes)>) {
    let mut unpacker = Unpacker::default();
    let mut buffer = vec![0; READ];
    loop {
        match stdout.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => unpacker.take(&buffer[..n]),
        }
        loop {
            match unpacker.next() {
                Ok(Some((message, bytes))) => {
                    if heard.send((message, bytes.into())).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "a live child said something unknown");
                    return;
                }
            }
        }
    }
}

/// Logs what a child writes to stderr: panics, mostly.
async fn note(stderr: ChildStderr) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut lines).take(LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                tracing::warn!(line = text.trim_end(), "a live child");
            }
        }
    }
}
