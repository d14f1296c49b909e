use std::fmt;

use bytes::Bytes;

use crate::StreamKey;

/// What a publisher does. The order is that of its messages.
#[derive(Debug)]
pub enum Event {
    /// It asks for leave to publish. No other event comes until
    /// [`accept_publish`](crate::Connection::accept_publish) or
    /// [`reject_publish`](crate::Connection::reject_publish) answers.
    Publish(Publish),
    /// What it says of its stream, before the first frame or at any time.
    Metadata(Metadata),
    /// H.264.
    Video(VideoMessage),
    /// AAC.
    Audio(AudioMessage),
    /// It is done, and will close the connection; what else it sends is dropped. Many publishers just disconnect, so
    /// this may never come.
    Unpublish,
}

/// What a publisher asks for.
pub struct Publish {
    /// The path of the address without the key: `live` of `rtmp://host/live/KEY`. As the publisher sent it, of at most
    /// [`Limits::amf_string`](crate::Limits::amf_string) bytes; may be empty. Not for a log, since people type keys into
    /// the wrong field.
    pub app: String,
    /// The last part of the path. Never empty; whatever follows a `?` was cut off.
    pub key: StreamKey,
    /// What the server should do with it.
    pub publish_type: PublishType,
}

/// What a server should do with a stream (RTMP 7.2.2.6). Encoders send `live` whatever is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishType {
    /// Pass it on. Also what is taken for any other word or none.
    Live,
    /// Store it.
    Record,
    /// Store it behind what is stored.
    Append,
}

/// What a publisher says of its stream (`onMetaData`, FLV E.5). Nothing of it is checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// Pixels.
    pub width: Option<f64>,
    /// Pixels.
    pub height: Option<f64>,
    /// Frames per second.
    pub frame_rate: Option<f64>,
    /// The name of the program, of at most [`Limits::amf_string`](crate::Limits::amf_string) bytes.
    pub encoder: Option<String>,
}

/// A video message (FLV E.4.3, E-RTMP "Enhanced Video").
#[derive(Clone, PartialEq, Eq)]
pub enum VideoMessage {
    /// How to decode what follows. May come again, also unchanged.
    Config {
        /// An AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1), not checked and not empty.
        avcc: Bytes,
    },
    /// One picture.
    Frame {
        /// When it is decoded, in milliseconds. What the publisher sent, and goes back or jumps as that does; only the
        /// wrap after 2^32 ms is taken out: the low 32 bits are always the publisher's. (FFmpeg starts at 0 again after
        /// 2^31 ms, 24.8 days; that is a jump.)
        timestamp_ms: u64,
        /// What is added to that for when it is shown: -2^23 to 2^23 - 1 ms.
        composition_ms: i32,
        /// Whether decoding can start here, as the publisher says.
        keyframe: bool,
        /// NAL units, each behind its length as `avcc` says. Not checked and not empty.
        data: Bytes,
    },
    /// No frame follows of this configuration.
    EndOfSequence,
}

/// An audio message (FLV E.4.2, E-RTMP "Enhanced Audio").
#[derive(Clone, PartialEq, Eq)]
pub enum AudioMessage {
    /// How to decode what follows. May come again, also unchanged.
    Config {
        /// An AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1), not checked and not empty.
        asc: Bytes,
    },
    /// One AAC frame without a header.
    Frame {
        /// When it is heard, in milliseconds, on the clock of [`VideoMessage::Frame`]. Rounded by the publisher.
        timestamp_ms: u64,
        /// Not checked and not empty.
        data: Bytes,
    },
}

/// Shows neither key nor app.
impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { publish_type, .. } = self;
        f.debug_struct("Publish").field("publish_type", publish_type).finish_non_exhaustive()
    }
}

/// Says how long pictures are, not what is in them.
impl fmt::Debug for VideoMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { avcc } => write!(f, "Config({} bytes)", avcc.len()),
            Self::Frame { timestamp_ms, composition_ms, keyframe, data } => f
                .debug_struct("Frame")
                .field("timestamp_ms", timestamp_ms)
                .field("composition_ms", composition_ms)
                .field("keyframe", keyframe)
                .field("bytes", &data.len())
                .finish(),
            Self::EndOfSequence => f.write_str("EndOfSequence"),
        }
    }
}

/// Says how long sound is, not what is in it.
impl fmt::Debug for AudioMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { asc } => write!(f, "Config({} bytes)", asc.len()),
            Self::Frame { timestamp_ms, data } => f
                .debug_struct("Frame")
                .field("timestamp_ms", timestamp_ms)
                .field("bytes", &data.len())
                .finish(),
        }
    }
}
