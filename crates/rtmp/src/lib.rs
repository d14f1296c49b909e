//! The server's side of an RTMP connection over which somebody publishes H.264 and AAC.
//!
//! What belongs here: bytes of a publisher become [`Event`]s, and answers become bytes for it. What never does:
//! sockets, threads, clocks, which keys are good, decoding, and playback.
//!
//! The owner of a connection has the socket and the clock, and does this in a loop:
//!
//! 1. read at most 64 KiB, or until [`Connection::deadline`]; then [`Connection::receive`] or
//!    [`Connection::tick`];
//! 2. take events from [`Connection::next_event`] until there is none, and answer [`Event::Publish`];
//! 3. send what [`Connection::take_output`] gives; after an error, or when [`Connection::is_closing`], stop
//!    sending, read until the publisher closes or five seconds have passed, and close. (Bytes that come to a closed
//!    socket reset the connection, and the status that says why is lost. FFmpeg looks for one only when it sends
//!    again, which took it three seconds with x264.)
//!
//! ```
//! use std::time::Duration;
//! use rtmp::{Connection, Error, Limits};
//!
//! let mut connection = Connection::new(Limits::default());
//! connection.receive(b"GET / HTTP/1.1\r\n", Duration::from_millis(3))?;
//! assert_eq!(connection.next_event().unwrap_err(), Error::NotRtmp("HTTP"));
//! # Ok::<(), Error>(())
//! ```
//!
//! Bytes are parsed only when an event is asked for, and no event waits in a queue: what is held are unparsed bytes,
//! parts of messages and unsent answers, each within its limit ([`Limits`]).
//!
//! Sections named in comments are those of "Adobe's Real Time Messaging Protocol 1.0" (RTMP), "Adobe Flash Video File
//! Format Specification 10.1" (FLV), "Action Message Format AMF0" (AMF) and "Enhanced RTMP v2" (E-RTMP).

mod address;
mod amf;
mod chunk;
mod command;
mod connection;
mod error;
mod event;
mod handshake;
mod limits;
mod media;
mod output;
mod timeline;

pub use address::StreamKey;
pub use connection::Connection;
pub use error::{Error, Rejection};
pub use event::{AudioMessage, Event, Metadata, Publish, PublishType, VideoMessage};
pub use limits::Limits;
