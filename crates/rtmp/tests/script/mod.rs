//! The publisher's side: writes what an encoder sends, and feeds it to a connection.
//!
//! Also used by the fuzz target.
#![allow(dead_code)]

use std::time::Duration;

use rtmp::{AudioMessage, Connection, Error, Event, Limits, VideoMessage};

/// The key that [`Owner`] takes.
pub const KEY: &str = "s3cret-of-alice";

pub const AUDIO: u8 = 8;
pub const VIDEO: u8 = 9;
pub const COMMAND: u8 = 20;

/// An AMF0 value.
#[derive(Clone)]
pub enum Amf {
    Number(f64),
    Boolean(bool),
    Text(String),
    Object(Vec<(&'static str, Amf)>),
    EcmaArray(Vec<(&'static str, Amf)>),
    Null,
}

pub fn text(text: &str) -> Amf {
    Amf::Text(text.to_owned())
}

pub fn amf(values: &[Amf]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        write_amf(value, &mut bytes);
    }
    bytes
}

fn write_amf(value: &Amf, to: &mut Vec<u8>) {
    match value {
        Amf::Number(number) => {
            to.push(0);
            to.extend(number.to_be_bytes());
        }
        Amf::Boolean(boolean) => to.extend([1, u8::from(*boolean)]),
        Amf::Text(text) => {
            to.push(2);
            write_name(text, to);
        }
        Amf::Object(properties) => {
            to.push(3);
            write_properties(properties, to);
        }
        Amf::EcmaArray(properties) => {
            to.push(8);
            to.extend((properties.len() as u32).to_be_bytes());
            write_properties(properties, to);
        }
        Amf::Null => to.push(5),
    }
}

fn write_properties(properties: &[(&str, Amf)], to: &mut Vec<u8>) {
    for (name, value) in properties {
        write_name(name, to);
        write_amf(value, to);
    }
    to.extend([0, 0, 9]);
}

fn write_name(name: &str, to: &mut Vec<u8>) {
    to.extend((name.len() as u16).to_be_bytes());
    to.extend(name.as_bytes());
}

/// What a publisher sends.
#[derive(Clone)]
pub struct Script {
    pub bytes: Vec<u8>,
    chunk_size: usize,
    /// Whether headers of type 3 repeat the extended timestamp.
    pub repeat_extended: bool,
}

impl Script {
    /// Nothing yet.
    pub fn empty() -> Self {
        Self { bytes: Vec::new(), chunk_size: 128, repeat_extended: true }
    }

    /// The handshake.
    pub fn new() -> Self {
        let mut script = Self::empty();
        script.bytes.push(3);
        script.bytes.extend((0..2 * 1536).map(|i| i as u8));
        script
    }

    /// The handshake, then what an encoder sends before its first frame.
    pub fn publishing() -> Self {
        Self::new().connect("live").command("createStream", &[]).publish(KEY)
    }

    pub fn connect(self, app: &str) -> Self {
        let properties = vec![
            ("app", text(app)),
            ("type", text("nonprivate")),
            ("flashVer", text("FMLE/3.0 (compatible; test)")),
            ("tcUrl", text("rtmp://host/live")),
            ("fpad", Amf::Boolean(false)),
        ];
        self.command("connect", &[Amf::Object(properties)])
    }

    pub fn publish(self, name: &str) -> Self {
        self.command("publish", &[Amf::Null, text(name), text("live")])
    }

    pub fn command(self, name: &str, arguments: &[Amf]) -> Self {
        let values = [&[text(name), Amf::Number(4.0)], arguments].concat();
        self.message(3, COMMAND, 0, &amf(&values))
    }

    pub fn set_chunk_size(mut self, size: usize) -> Self {
        self = self.message(2, 1, 0, &(size as u32).to_be_bytes());
        self.chunk_size = size;
        self
    }

    pub fn video(self, time: u32, tag: &[u8]) -> Self {
        self.message(6, VIDEO, time, tag)
    }

    pub fn audio(self, time: u32, tag: &[u8]) -> Self {
        self.message(4, AUDIO, time, tag)
    }

    /// A message with a header of type 0.
    pub fn message(mut self, stream: u8, kind: u8, time: u32, payload: &[u8]) -> Self {
        let mut rest = payload;
        self = self.header(0, stream, time, Some((payload.len(), kind)));
        loop {
            let (chunk, more) = rest.split_at(self.chunk_size.min(rest.len()));
            self.bytes.extend(chunk);
            if more.is_empty() {
                return self;
            }
            rest = more;
            self.bytes.push(0xc0 | stream);
            if time >= 0xff_ffff && self.repeat_extended {
                self.bytes.extend(time.to_be_bytes());
            }
        }
    }

    /// A header of a type from 0 to 2; with length and kind of the message if it has them.
    pub fn header(mut self, format: u8, stream: u8, time: u32, of: Option<(usize, u8)>) -> Self {
        self.bytes.push(format << 6 | stream);
        self.bytes.extend(&time.min(0xff_ffff).to_be_bytes()[1..]);
        if let Some((length, kind)) = of {
            self.bytes.extend(&(length as u32).to_be_bytes()[1..]);
            self.bytes.push(kind);
        }
        if format == 0 {
            self.bytes.extend(1_u32.to_le_bytes());
        }
        if time >= 0xff_ffff {
            self.bytes.extend(time.to_be_bytes());
        }
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }
}

/// The owner of a connection, who takes [`KEY`] only, and looks after the limits.
pub struct Owner {
    pub connection: Connection,
    limits: Limits,
    /// What happened, written in a way that can be compared.
    pub seen: Vec<String>,
    /// All that was sent.
    pub sent: Vec<u8>,
    pub now: Duration,
}

impl Owner {
    pub fn new(limits: Limits) -> Self {
        Self {
            connection: Connection::new(limits.clone()),
            limits,
            seen: Vec::new(),
            sent: Vec::new(),
            now: Duration::ZERO,
        }
    }

    /// Feeds bytes, at most `step` at a time.
    pub fn feed(&mut self, bytes: &[u8], step: usize) -> Result<(), Error> {
        for piece in bytes.chunks(step) {
            let received = self.connection.receive(piece, self.now);
            self.within_limits();
            let done = received.and_then(|()| self.events());
            let output = self.connection.take_output();
            self.sent.extend(output);
            if done.is_err() {
                assert!(self.connection.is_closing());
                return done;
            }
        }
        Ok(())
    }

    fn events(&mut self) -> Result<(), Error> {
        loop {
            let event = self.connection.next_event();
            self.within_limits();
            let Some(event) = event? else { return Ok(()) };
            let shown = format!("{event:?} {:?}", self.connection);
            // Who writes its key into the name of its encoder has itself to blame.
            assert!(matches!(event, Event::Metadata(_)) || !shown.contains(KEY), "{shown}");
            if let Event::Publish(publish) = &event {
                match publish.key.reveal() == KEY {
                    true => self.connection.accept_publish(self.now),
                    false => self.connection.reject_publish(&rtmp::Rejection::WrongKey),
                }
            }
            self.seen.push(written(&event));
        }
    }

    fn within_limits(&self) {
        let (held, limit) = (self.connection.buffered(), self.limits.buffered());
        assert!(held <= limit, "{held} bytes are held, of {limit}");
    }

    pub fn was_sent(&self, text: &str) -> bool {
        self.sent.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

fn written(event: &Event) -> String {
    match event {
        Event::Publish(publish) => format!("publish to {}", publish.app),
        Event::Metadata(metadata) => format!("{metadata:?}"),
        Event::Unpublish => "unpublish".to_owned(),
        Event::Video(VideoMessage::Config { avcc }) => format!("avcc {avcc:?}"),
        Event::Video(VideoMessage::Frame { timestamp_ms, composition_ms, keyframe, data }) => {
            let kind = if *keyframe { "key" } else { "frame" };
            format!("{kind} {timestamp_ms}{composition_ms:+} {data:?}")
        }
        Event::Video(VideoMessage::EndOfSequence) => "end of video".to_owned(),
        Event::Audio(AudioMessage::Config { asc }) => format!("asc {asc:?}"),
        Event::Audio(AudioMessage::Frame { timestamp_ms, data }) => {
            format!("audio {timestamp_ms} {data:?}")
        }
    }
}

/// Feeds it all to a connection with the default limits.
pub fn run(script: &Script) -> (Owner, Result<(), Error>) {
    run_in_steps(script, 4096)
}

pub fn run_in_steps(script: &Script, step: usize) -> (Owner, Result<(), Error>) {
    let mut owner = Owner::new(Limits::default());
    let result = owner.feed(&script.bytes, step);
    (owner, result)
}

/// Limits that short inputs reach.
pub fn small() -> Limits {
    Limits {
        media: 8 << 10,
        command: 2 << 10,
        chunk_streams: 4,
        partial: 12 << 10,
        unread: 4 << 10,
        unsent: 4 << 10,
        amf_values: 64,
        amf_string: 256,
        ..Limits::default()
    }
}

/// Bytes as a fuzzer makes them: the first says what comes before the others, and how they are split.
pub fn feed_any(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let script = match first & 3 {
        0 => Script::empty(),
        1 => Script::new(),
        2 => Script::new().connect("live"),
        _ => Script::publishing(),
    };
    let step = [1, 2, 3, 7, 64, 500, 1000, 2000][usize::from(first >> 2 & 7)];
    let mut owner = Owner::new(small());
    owner.feed(&script.bytes, 1000).expect("what comes before is fine");
    if owner.feed(bytes, step).is_err() {
        assert!(owner.connection.next_event().is_ok_and(|event| event.is_none()));
        assert_eq!(owner.connection.buffered(), 0);
    }
}
