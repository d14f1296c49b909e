use std::fmt;
use std::time::Duration;

use bytes::{Buf, BytesMut};

use crate::amf::Value;
use crate::chunk::{ChunkReader, Message, kind};
use crate::command::{self, Command};
use crate::output::{self, Output};
use crate::timeline::Timeline;
use crate::{Error, Event, Limits, Publish, Rejection, address, handshake, media};

/// The window of acknowledgements that a publisher may ask for: not one for every few bytes.
const SMALLEST_WINDOW: u32 = 4096;

/// The server's side of one connection. Its owner has the socket and the clock.
///
/// `now` is always the time since the connection was accepted. After an error the connection takes nothing more; what
/// the publisher is told of it is in the output.
pub struct Connection {
    limits: Limits,
    state: State,
    /// Received and not parsed.
    input: BytesMut,
    chunks: ChunkReader,
    output: Output,
    timeline: Timeline,
    /// When the last bytes came, or the owner last answered.
    last_heard: Duration,
    /// Bytes received, and how many of them the publisher was told of.
    received: u64,
    acknowledged: u64,
    /// After how many bytes it is to be told.
    window: u32,
}

/// How far it got. What is sent in the wrong state is an error.
enum State {
    /// C0 and C1 are awaited.
    Greeting,
    /// C2 is awaited.
    Handshake,
    /// `connect` is awaited.
    Open,
    /// `publish` is awaited.
    Connected { app: String, tc_url: String },
    /// The owner's answer to [`Event::Publish`] is awaited. Nothing is parsed.
    Asked,
    /// Media is taken.
    Publishing,
    /// The publisher said that it is done, and should close. What it sends is dropped.
    Ended,
    /// It is over.
    Closing,
}

impl Connection {
    /// A connection that was accepted just now.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Greeting,
            input: BytesMut::new(),
            chunks: ChunkReader::new(),
            output: Output::new(),
            timeline: Timeline::default(),
            last_heard: Duration::ZERO,
            received: 0,
            acknowledged: 0,
            window: output::WINDOW,
        }
    }

    /// Takes bytes that came from the publisher. Call [`next_event`](Self::next_event) until there is none before
    /// more are read; while [`Event::Publish`] waits for its answer, better read none.
    ///
    /// # Errors
    /// [`Error::TooSlow`] as [`tick`](Self::tick), and [`Error::TooLarge`] if they would be more than
    /// [`Limits::unread`] unparsed ones.
    pub fn receive(&mut self, bytes: &[u8], now: Duration) -> Result<(), Error> {
        self.tick(now)?;
        if matches!(self.state, State::Ended | State::Closing) || bytes.is_empty() {
            return Ok(());
        }
        if self.input.len() + bytes.len() > self.limits.unread {
            let error = Error::TooLarge { what: "unread bytes", limit: self.limits.unread };
            return Err(self.fail(error));
        }
        self.input.extend_from_slice(bytes);
        self.last_heard = now;
        self.received = self.received.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Parses what was received up to the next event. `None`: there is none until more is received, or
    /// [`Event::Publish`] is answered.
    ///
    /// # Errors
    /// Any but [`Error::TooSlow`].
    pub fn next_event(&mut self) -> Result<Option<Event>, Error> {
        self.parse().map_err(|error| self.fail(error))
    }

    /// Lets it publish, in answer to [`Event::Publish`]. Without that, nothing happens.
    pub fn accept_publish(&mut self, now: Duration) {
        if let State::Asked = self.state {
            self.output.stream_begin();
            self.output.status(
                "status",
                "NetStream.Publish.Start",
                "the stream is being published",
            );
            self.state = State::Publishing;
            self.last_heard = self.last_heard.max(now);
        }
    }

    /// Turns it away, in answer to [`Event::Publish`] or at any time after it: it is told why, and the connection
    /// is closing. Without an [`Event::Publish`] before, nothing happens.
    pub fn reject_publish(&mut self, rejection: &Rejection) {
        if let State::Asked | State::Publishing = self.state {
            self.output.reject(rejection);
            self.close();
        }
    }

    /// What is to be sent to the publisher, and is no longer held afterwards. Often empty.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output.bytes)
    }

    /// Whether it is over: send the output and close. What is received is dropped.
    pub fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing)
    }

    /// When [`tick`](Self::tick) will fail if nothing is received: after [`Limits::silence`] without a byte, and
    /// until the publisher sent its `publish` at [`Limits::publish_within`] whatever it sends. The owner's answer to
    /// that is due within the silence, too. After [`Event::Unpublish`], the publisher has as long to close.
    pub fn deadline(&self) -> Duration {
        self.due().0
    }

    /// Looks at the time.
    ///
    /// # Errors
    /// [`Error::TooSlow`] from [`deadline`](Self::deadline) on.
    pub fn tick(&mut self, now: Duration) -> Result<(), Error> {
        let (deadline, error) = self.due();
        if now < deadline || self.is_closing() {
            return Ok(());
        }
        Err(self.fail(error))
    }

    /// Bytes that are held: unparsed ones, memory of incomplete messages, output. Never more than
    /// [`Limits::buffered`].
    pub fn buffered(&self) -> usize {
        self.input.len() + self.chunks.allocated() + self.output.bytes.len()
    }

    fn due(&self) -> (Duration, Error) {
        let Limits { silence, publish_within, .. } = self.limits;
        let silent = self.last_heard.saturating_add(silence);
        match self.state {
            State::Ended => {
                let what = "it ended its stream and stayed connected";
                (silent, Error::TooSlow { what, limit: silence })
            }
            State::Greeting | State::Handshake | State::Open | State::Connected { .. }
                if publish_within <= silent =>
            {
                let what = "it was connected without publishing";
                (publish_within, Error::TooSlow { what, limit: publish_within })
            }
            _ => (silent, Error::TooSlow { what: "it sent nothing", limit: silence }),
        }
    }

    /// Ends it with an error. Whoever got as far as `connect` is told why.
    fn fail(&mut self, error: Error) -> Error {
        let connected = !matches!(self.state, State::Greeting | State::Handshake | State::Open);
        match &error {
            Error::Refused(rejection) => self.output.reject(rejection),
            error if connected => self.output.failed(error),
            _ => {}
        }
        self.close();
        error
    }

    fn close(&mut self) {
        self.stop(State::Closing);
    }

    /// Nothing is parsed from here on.
    fn stop(&mut self, state: State) {
        self.state = state;
        self.input = BytesMut::new();
        self.chunks = ChunkReader::new();
    }

    fn parse(&mut self) -> Result<Option<Event>, Error> {
        loop {
            let event = match self.state {
                State::Greeting => {
                    if !handshake::greet(&mut self.input, &mut self.output.bytes)? {
                        return Ok(None);
                    }
                    self.state = State::Handshake;
                    None
                }
                State::Handshake => {
                    if !handshake::finish(&mut self.input) {
                        return Ok(None);
                    }
                    self.state = State::Open;
                    None
                }
                State::Asked | State::Ended | State::Closing => return Ok(None),
                State::Open | State::Connected { .. } | State::Publishing => {
                    let publishing = matches!(self.state, State::Publishing);
                    self.acknowledge();
                    match self.chunks.read(&mut self.input, publishing, &self.limits)? {
                        Some(message) => self.message(message)?,
                        None => return Ok(None),
                    }
                }
            };
            if self.output.bytes.len() > self.limits.unsent {
                return Err(Error::TooLarge { what: "unsent bytes", limit: self.limits.unsent });
            }
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Says how much was received, whenever it is as much as the publisher wants to know (RTMP 5.4.3).
    fn acknowledge(&mut self) {
        if self.received - self.acknowledged >= u64::from(self.window) {
            self.acknowledged = self.received;
            // Modulo 2^32.
            self.output.acknowledge(self.received as u32);
        }
    }

    fn message(&mut self, message: Message) -> Result<Option<Event>, Error> {
        let mut payload = message.payload;
        match message.kind {
            kind::USER_CONTROL => self.user_control(&payload),
            kind::WINDOW_SIZE => {
                let window = payload.try_get_u32();
                let window = window.map_err(|_| Error::Malformed("a window size is cut off"))?;
                self.window = window.max(SMALLEST_WINDOW);
            }
            kind::AUDIO => {
                let time = self.timeline.unwrap(message.timestamp);
                return Ok(media::audio(payload, time)?.map(Event::Audio));
            }
            kind::VIDEO => {
                let time = self.timeline.unwrap(message.timestamp);
                return Ok(media::video(payload, time)?.map(Event::Video));
            }
            kind::DATA => {
                let publishing = matches!(self.state, State::Publishing);
                let metadata = command::metadata(&payload, &self.limits).filter(|_| publishing);
                return Ok(metadata.map(Event::Metadata));
            }
            kind::COMMAND => return self.command(&payload),
            // The same with a byte before it, as long as no value in it is of AMF3: we answer `connect` with AMF0.
            kind::DATA_AMF3 | kind::COMMAND_AMF3 => {
                let first = payload.try_get_u8();
                if first != Ok(0) {
                    return Err(Error::Malformed("a command of AMF3, which was not agreed on"));
                }
                let kind = message.kind + (kind::COMMAND - kind::COMMAND_AMF3);
                return self.message(Message { kind, payload, ..message });
            }
            // Acknowledgements, the peer's bandwidth, shared objects.
            _ => {}
        }
        Ok(None)
    }

    /// Only a ping is answered (RTMP 7.1.7).
    fn user_control(&mut self, mut payload: &[u8]) {
        const PING_REQUEST: u16 = 6;
        if payload.try_get_u16() == Ok(PING_REQUEST)
            && let Ok(time) = payload.try_get_u32()
        {
            self.output.pong(time);
        }
    }

    fn command(&mut self, payload: &[u8]) -> Result<Option<Event>, Error> {
        let (command, transaction) = command::read(payload, &self.limits)?;
        match (command, &self.state) {
            (Command::Connect { app, tc_url }, State::Open) => {
                self.output.connected(transaction);
                self.state = State::Connected { app, tc_url };
            }
            (Command::Connect { .. }, _) => return Err(Error::Malformed("connect came twice")),
            (Command::Play, _) => {
                let text =
                    "playing over RTMP is not offered; open the stream's page or HLS address";
                return Err(Error::Refused(Rejection::Unsupported(text.to_owned())));
            }
            (Command::Publish { name, publish_type }, State::Connected { app, tc_url }) => {
                let Some((app, key)) = address::split(app, tc_url, &name) else {
                    return Err(Error::Refused(Rejection::WrongKey));
                };
                self.state = State::Asked;
                return Ok(Some(Event::Publish(Publish { app, key, publish_type })));
            }
            (Command::Publish { .. }, State::Open) => {
                return Err(Error::Malformed("publish came before connect"));
            }
            (Command::Publish { .. }, _) => return Err(Error::Malformed("publish came twice")),
            (Command::Unpublish, State::Publishing) => {
                let text = "the stream is no longer published";
                self.output.status("status", "NetStream.Unpublish.Success", text);
                // Not closed: rtmp2sink of GStreamer calls that an error.
                self.stop(State::Ended);
                return Ok(Some(Event::Unpublish));
            }
            (Command::CreateStream, _) => {
                self.output.result(transaction, f64::from(output::STREAM).into());
            }
            (Command::FcPublish, _) => self.output.publish_may_follow(transaction),
            (Command::Acknowledge, _) => self.output.result(transaction, Value::Null),
            // 0: no answer is wanted.
            (Command::Unknown, _) if transaction != 0.0 => self.output.no_such_command(transaction),
            (Command::Unpublish | Command::Ignore | Command::Unknown, _) => {}
        }
        Ok(None)
    }
}

/// Says how far it got. The rest may hold the stream key.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Greeting | State::Handshake => "handshake",
            State::Open => "open",
            State::Connected { .. } => "connected",
            State::Asked => "asked to publish",
            State::Publishing => "publishing",
            State::Ended => "ended",
            State::Closing => "closing",
        };
        f.debug_struct("Connection")
            .field("state", &state)
            .field("received", &self.received)
            .field("buffered", &self.buffered())
            .finish_non_exhaustive()
    }
}
