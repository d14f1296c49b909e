//! The publisher's side of RTMP, byte by byte: for what no encoder does.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub const AUDIO: u8 = 8;
pub const VIDEO: u8 = 9;
pub const COMMAND: u8 = 20;

/// No connection is open for longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two bytes of somebody who is slow.
const DRIP: Duration = Duration::from_millis(200);
/// Bytes of a chunk when nothing else was agreed on (RTMP 5.4.1).
const CHUNK: usize = 128;

/// C0, C1 and C2 (RTMP 5.2).
pub fn handshake() -> Vec<u8> {
    [vec![3], vec![0; 2 * 1536]].concat()
}

/// The handshake and `connect`.
pub fn connected() -> Vec<u8> {
    let object = [&[3][..], &name("app"), &text("live"), &[0, 0, 9]].concat();
    [handshake(), command("connect", &object)].concat()
}

/// All that an encoder says before its first frame.
pub fn publishing(key: &str) -> Vec<u8> {
    let arguments = [&[5][..], &text(key), &text("live")].concat();
    [connected(), command("publish", &arguments)].concat()
}

/// A command with number 1 (RTMP 7.2); `arguments` are of AMF0.
pub fn command(name: &str, arguments: &[u8]) -> Vec<u8> {
    let one = [&[0][..], &1_f64.to_be_bytes()].concat();
    message(COMMAND, &[&text(name)[..], &one, arguments].concat())
}

/// A text of AMF0.
pub fn text(text: &str) -> Vec<u8> {
    [&[2][..], &name(text)].concat()
}

fn name(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// A message in chunk stream 4.
pub fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(4, kind, payload.len());
    for (n, chunk) in payload.chunks(CHUNK).enumerate() {
        bytes.extend(if n > 0 { &[0xc4][..] } else { &[] });
        bytes.extend(chunk);
    }
    bytes
}

/// The same, at a time in milliseconds (less than 2^24 - 1).
fn message_at(ms: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = message(kind, payload);
    bytes[1..4].copy_from_slice(&ms.to_be_bytes()[1..]);
    bytes
}

/// What an encoder sends, and when.
#[derive(Clone)]
pub struct Tag {
    /// In milliseconds since it began to send.
    pub due: u32,
    /// What it says that the time is, in milliseconds.
    pub ms: u32,
    pub kind: u8,
    pub payload: Vec<u8>,
}

impl Tag {
    /// Whether it is a picture, and not how pictures are coded (FLV E.4.3).
    pub fn is_picture(&self) -> bool {
        self.kind == VIDEO && self.payload.get(1) == Some(&1)
    }
}

/// The audio and video of an FLV file (FLV E.3).
pub fn tags(file: &[u8]) -> Vec<Tag> {
    let (mut tags, mut rest) = (Vec::new(), &file[13..]);
    while let [kind, a, b, c, x, y, z, high, _, _, _, data @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let ms = u32::from_be_bytes([*high, *x, *y, *z]);
        if [AUDIO, VIDEO].contains(kind) {
            tags.push(Tag { due: ms, ms, kind: *kind, payload: data[..length].to_vec() });
        }
        rest = &data[length + 4..];
    }
    tags
}

/// Somebody who sends tags in time, as an encoder does, and stays when they are sent; gone when dropped.
pub struct Sender {
    socket: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    pub fn start(url: &str, tags: Vec<Tag>) -> Self {
        let (_, rest) = url.split_once("://").unwrap();
        let parts: Vec<&str> = rest.split('/').collect();
        let socket = TcpStream::connect(parts[0]).unwrap();
        let mut sends = socket.try_clone().unwrap();
        sends.write_all(&publishing(parts[2])).unwrap();
        let thread = thread::spawn(move || {
            let began = Instant::now();
            for Tag { due, ms, kind, payload } in tags {
                let due = Duration::from_millis(due.into());
                thread::sleep(due.saturating_sub(began.elapsed()));
                if sends.write_all(&message_at(ms, kind, &payload)).is_err() {
                    return;
                }
            }
        });
        Self { socket, thread: Some(thread) }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The header of the first chunk of a message (RTMP 5.3.1).
pub fn header(stream: u16, kind: u8, length: usize) -> Vec<u8> {
    let basic = match stream {
        2..64 => vec![stream as u8],
        _ => [&[1][..], &(stream - 64).to_le_bytes()].concat(),
    };
    let length = &(length as u32).to_be_bytes()[1..];
    [&basic[..], &[0; 3], length, &[kind], &1_u32.to_le_bytes()].concat()
}

/// A connection to a server, which has to close it.
pub struct Stranger {
    socket: TcpStream,
    began: Instant,
}

impl Stranger {
    pub fn come(address: &str) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { socket, began: Instant::now() }
    }

    /// Sends all that is taken, then waits until it is closed: how long it was open, and what was said.
    pub fn send(mut self, bytes: &[u8]) -> (Duration, String) {
        // It may be closed before.
        let _ = self.socket.write_all(bytes);
        let mut said = Vec::new();
        if let Err(error) = self.socket.read_to_end(&mut said) {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "it stays open");
        }
        (self.began.elapsed(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Sends byte by byte until it is closed.
    pub fn drip(mut self, bytes: &[u8]) -> Duration {
        self.socket.set_read_timeout(Some(DRIP)).unwrap();
        let mut bytes = bytes.iter();
        loop {
            match self.socket.read(&mut [0; 4096]) {
                Ok(0) => return self.began.elapsed(),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let byte = bytes.next().expect("it takes all of it");
                    let _ = self.socket.write_all(&[*byte]);
                }
                Err(_) => return self.began.elapsed(),
            }
        }
    }

    /// Sends `first`, then `again` for ever, and never reads.
    pub fn deaf(mut self, first: &[u8], again: &[u8]) -> Duration {
        let mut sent = self.socket.write_all(first);
        while sent.is_ok() {
            sent = self.socket.write_all(again);
        }
        assert_ne!(sent.unwrap_err().kind(), ErrorKind::WouldBlock, "it stays open");
        self.began.elapsed()
    }

    /// Whether it is open, without waiting.
    pub fn is_open(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let seen = self.socket.peek(&mut [0]);
        matches!(seen, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}
