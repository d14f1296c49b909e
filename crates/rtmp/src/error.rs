use std::fmt;
use std::time::Duration;

/// Why a connection ends. Send what [`Connection::take_output`](crate::Connection::take_output) holds, and close it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another protocol, named. Whoever connects has the wrong port or scheme.
    #[error("this is {0}; the port speaks RTMP: use an rtmp:// address")]
    NotRtmp(&'static str),
    /// Against the protocol. No known publisher does it.
    #[error("not valid RTMP: {0}")]
    Malformed(&'static str),
    /// More than [`Limits`](crate::Limits) allow.
    #[error("{what}: more than the {limit} that are allowed")]
    TooLarge {
        /// What is too large, or too many.
        what: &'static str,
        /// The limit, in bytes or pieces.
        limit: usize,
    },
    /// A deadline passed.
    #[error("{what} for {} s", .limit.as_secs_f32())]
    TooSlow {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
    /// The publisher was told why.
    #[error("refused: {0}")]
    Refused(Rejection),
}

/// Why a publisher is turned away, in the words that it is told.
///
/// They are for people: encoders show or log the description, some only the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// No key, an unknown one, or one that was replaced.
    WrongKey,
    /// Somebody publishes with that key already.
    Busy,
    /// The key is good, and nobody may publish yet or any more.
    NotReady,
    /// The key is good, and another server takes the stream.
    Elsewhere,
    /// Publishing was ended on the server.
    Stopped,
    /// Something is asked for that is not done. The text names it and what to do instead; at most 512 bytes of it
    /// are sent.
    Unsupported(String),
}

impl Rejection {
    /// The code of the status. `BadName` for a second publisher, `Denied` and `Rejected` else: these are the codes that
    /// librtmp, which OBS uses, and GStreamer know.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::WrongKey | Self::NotReady | Self::Elsewhere => "NetStream.Publish.Denied",
            Self::Busy => "NetStream.Publish.BadName",
            Self::Stopped | Self::Unsupported(_) => "NetStream.Publish.Rejected",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongKey => {
                "the stream key is missing, wrong or no longer valid; copy it anew into the encoder"
            }
            Self::Busy => "somebody publishes to this stream already; stop the other encoder first",
            Self::NotReady => "the stream is not started; start it, then publish again",
            Self::Elsewhere => {
                "another server has the stream now; publish to the address that starting it gives"
            }
            Self::Stopped => "the stream was stopped on the server",
            Self::Unsupported(text) => text,
        })
    }
}
