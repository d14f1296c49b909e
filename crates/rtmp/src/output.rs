use crate::amf::{self, Value};
use crate::{Error, Rejection};

/// Bytes of a chunk until another size is announced (RTMP 5.4.1).
pub(crate) const DEFAULT_CHUNK_SIZE: usize = 128;
/// Bytes of our chunks from `connect` on: every answer fits into one.
const CHUNK_SIZE: u16 = 4096;
/// After so many bytes an acknowledgement is asked for, and given unless the publisher says another number.
pub(crate) const WINDOW: u32 = 2_500_000;
/// The one message stream that there is (`createStream` answers it).
pub(crate) const STREAM: u32 = 1;

/// Messages of a status are for people: longer ones are cut.
const MAX_DESCRIPTION: usize = 512;

/// What is to be sent.
pub(crate) struct Output {
    pub(crate) bytes: Vec<u8>,
    chunk_size: usize,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), chunk_size: DEFAULT_CHUNK_SIZE }
    }

    /// Answers `connect` (RTMP 7.2.1.1), after Window Acknowledgement Size, Set Peer Bandwidth (dynamic) and Set Chunk
    /// Size (RTMP 5.4).
    pub(crate) fn connected(&mut self, transaction: f64) {
        let [a, b, c, d] = WINDOW.to_be_bytes();
        self.message(2, 5, 0, &[a, b, c, d]);
        self.message(2, 6, 0, &[a, b, c, d, 2]);
        self.message(2, 1, 0, &u32::from(CHUNK_SIZE).to_be_bytes());
        self.chunk_size = usize::from(CHUNK_SIZE);
        // A version that old encoders know.
        let server = [("fmsVer", "FMS/3,0,1,123".into()), ("capabilities", 31.0.into())];
        let mut status = status("status", "NetConnection.Connect.Success", "connected");
        status.push(("objectEncoding".to_owned(), 0.0.into()));
        self.command(0, "_result", transaction, [amf::object(server), Value::Object(status)]);
    }

    /// Answers a command with a value.
    pub(crate) fn result(&mut self, transaction: f64, value: Value) {
        self.command(0, "_result", transaction, [Value::Null, value]);
    }

    /// Answers `FCPublish`. The key is looked at when `publish` comes.
    pub(crate) fn publish_may_follow(&mut self, transaction: f64) {
        self.result(transaction, Value::Null);
        let status = status("status", "NetStream.Publish.Start", "publish may follow");
        self.command(0, "onFCPublish", 0.0, [Value::Null, Value::Object(status)]);
    }

    /// Answers an unknown command.
    pub(crate) fn no_such_command(&mut self, transaction: f64) {
        let status = status("error", "NetConnection.Call.Failed", "there is no such command");
        self.command(0, "_error", transaction, [Value::Null, Value::Object(status)]);
    }

    /// Acknowledgement: so many bytes were received, modulo 2^32.
    pub(crate) fn acknowledge(&mut self, received: u32) {
        self.message(2, 3, 0, &received.to_be_bytes());
    }

    /// Stream Begin (RTMP 7.1.7).
    pub(crate) fn stream_begin(&mut self) {
        let [a, b, c, d] = STREAM.to_be_bytes();
        self.message(2, 4, 0, &[0, 0, a, b, c, d]);
    }

    /// Answers Ping Request with its own time (RTMP 7.1.7).
    pub(crate) fn pong(&mut self, time: u32) {
        let [a, b, c, d] = time.to_be_bytes();
        self.message(2, 4, 0, &[0, 7, a, b, c, d]);
    }

    /// `onStatus` of the stream (RTMP 7.2.2).
    pub(crate) fn status(&mut self, level: &str, code: &str, description: &str) {
        let status = Value::Object(status(level, code, description));
        self.command(STREAM, "onStatus", 0.0, [Value::Null, status]);
    }

    /// The status that turns a publisher away.
    pub(crate) fn reject(&mut self, rejection: &Rejection) {
        self.status("error", rejection.code(), &rejection.to_string());
    }

    /// The status that says why the server hangs up. librtmp knows the code.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.status("error", "NetStream.Failed", &error.to_string());
    }

    /// A command of a message stream, or of the connection, which is stream 0.
    fn command(&mut self, stream: u32, name: &str, transaction: f64, arguments: [Value; 2]) {
        let mut payload = Vec::new();
        amf::write(&name.into(), &mut payload);
        amf::write(&transaction.into(), &mut payload);
        for argument in &arguments {
            amf::write(argument, &mut payload);
        }
        self.message(3, 20, stream, &payload);
    }

    /// A message in chunks, the first with a full header (RTMP 5.3.1.2.1), with the timestamp 0.
    fn message(&mut self, chunk_stream: u8, kind: u8, stream: u32, payload: &[u8]) {
        let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
        self.bytes.extend_from_slice(&[chunk_stream, 0, 0, 0]);
        self.bytes.extend_from_slice(&length);
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&stream.to_le_bytes());
        for (i, chunk) in payload.chunks(self.chunk_size).enumerate() {
            if i > 0 {
                self.bytes.push(0xc0 | chunk_stream);
            }
            self.bytes.extend_from_slice(chunk);
        }
    }
}

/// The information object of a status, for encoders and for people.
fn status(level: &str, code: &str, description: &str) -> Vec<(String, Value)> {
    let description = &description[..description.floor_char_boundary(MAX_DESCRIPTION)];
    [("level", level), ("code", code), ("description", description)]
        .map(|(name, text)| (name.to_owned(), text.into()))
        .into()
}
