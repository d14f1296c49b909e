//! What a live channel's child and its parent say to each other: one message after the other, each a line of
//! JSON and bytes.
//!
//! ```text
//! u32 length of the JSON | u32 length of the bytes | JSON | bytes        (little endian)
//! ```

use std::io::{self, Read, Write};
use std::marker::PhantomData;

use domain::Size;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::KeepSpec;

/// Longest JSON of a message: templates of many people.
const MAX_JSON: usize = 16 << 20;
/// Most bytes of a message: a picture, or a part of a broadcast.
const MAX_BYTES: usize = 16 << 20;
const HEAD: usize = 8;

/// What a child is told. Times are milliseconds on the publisher's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToChild {
    /// These people are shown from now on, nobody else.
    Keep {
        /// With their templates.
        keep: Vec<KeepSpec>,
    },
    /// Everything is covered, until it is said otherwise.
    CoverAll {
        /// Whether it is.
        on: bool,
    },
    /// How the pictures that follow are coded; bytes: an AVCDecoderConfigurationRecord.
    VideoConfig {
        /// Frames a second, if the publisher said so.
        frame_rate: Option<f64>,
    },
    /// A picture; bytes: its NAL units behind their lengths.
    Video {
        /// When it is decoded.
        ms: u64,
        /// How much later it is shown.
        composition_ms: i32,
        /// Whether decoding may start with it.
        key: bool,
    },
    /// How the sound that follows is coded; bytes: an AudioSpecificConfig.
    SoundConfig,
    /// A frame of AAC; bytes: that.
    Sound {
        /// When it is heard.
        ms: u64,
    },
    /// The publisher is gone, for now.
    Away,
    /// The broadcast is over: what was covered is sent, then the child ends.
    Stop,
}

/// What a child says. Times are ticks of 1/90000 s since the broadcast began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromChild {
    /// It is ready to be sent a stream.
    Ready,
    /// The header of what follows; bytes: that.
    Header(Header),
    /// A part of the broadcast, covered; bytes: that.
    Part(Part),
    /// How well the picture is protected, when that changed.
    Protection(Protection),
    /// How it goes, about every second.
    Pace(Pace),
    /// It ends because of this.
    Failed {
        /// For people.
        message: String,
    },
}

/// What is common to the parts that follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Of both tracks (RFC 6381).
    pub codecs: String,
    /// Of the pictures.
    pub size: Size,
    /// Frames a second, as a fraction.
    pub frame_rate: (u32, u32),
    /// Ticks of a part, at most.
    pub part_ticks: u32,
    /// Ticks of a segment, but for a last one.
    pub segment_ticks: u32,
    /// Whether this is what the publisher sends, not what is shown until there is one.
    pub published: bool,
    /// With which a child that takes over goes on.
    pub format: Format,
}

/// What a child that takes over from another one has to keep, so that the broadcast goes on under one header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Format {
    /// Of the pictures.
    pub size: Size,
    /// What their samples mean.
    pub color: domain::Color,
    /// Frames a second, as a fraction.
    pub frame_rate: (u32, u32),
    /// An AudioSpecificConfig.
    pub sound: Vec<u8>,
    /// When the first picture under this header was shown.
    pub origin: i64,
}

/// Some pictures and the sound that belongs to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// When its first picture is shown.
    pub start: i64,
    /// How long it is.
    pub ticks: u32,
    /// Whether a segment begins with it, and so an IDR picture.
    pub starts_segment: bool,
    /// Its pictures.
    pub pictures: u32,
    /// Those in which nothing of the publisher's can be seen: slates.
    pub slates: u32,
    /// Those that were shown before.
    pub repeated: u32,
}

/// How well the picture is protected. Nothing is ever shown uncovered; this says at what price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Protection {
    /// Every frame is looked at in time.
    Ok,
    /// Not every frame is.
    Degraded {
        /// Why.
        why: Why,
    },
    /// Nothing of the picture is shown.
    Blocked {
        /// Why.
        why: Why,
    },
}

/// Why not all of the picture is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The machine does not keep up: every second frame is looked at.
    EverySecondFrame,
    /// The machine does not keep up: frames are left out.
    FramesDropped,
    /// The machine does not keep up at all.
    Overload,
    /// A detector fails.
    Detector,
    /// What comes does not decode.
    Damaged,
    /// Somebody wants it.
    ByHand,
}

/// Counts since the child began, and how late it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Frames that were decoded.
    pub decoded: u64,
    /// Of these, those that were not shown: too late, or of a faster stream than what is sent.
    pub dropped: u64,
    /// Pictures that were sent.
    pub sent: u64,
    /// Of these, those in which nothing of the publisher's can be seen.
    pub slates: u64,
    /// Of these, those that were shown before.
    pub repeated: u64,
    /// Milliseconds by which the last picture was sent too late.
    pub late_ms: u32,
}

/// Why what was said cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// It is longer than any message.
    #[error("a message is too long")]
    TooLong,
    /// It is no message.
    #[error("a message cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The pipe is broken.
    #[error("the pipe: {0}")]
    Io(#[from] io::Error),
}

/// A message as it goes through the pipe.
///
/// # Errors
/// [`WireError::TooLong`].
pub fn pack<T: Serialize>(message: &T, bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    let json = serde_json::to_vec(message)?;
    if json.len() > MAX_JSON || bytes.len() > MAX_BYTES {
        return Err(WireError::TooLong);
    }
    let mut out = Vec::with_capacity(HEAD + json.len() + bytes.len());
    out.extend((json.len() as u32).to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(json);
    out.extend(bytes);
    Ok(out)
}

/// Writes a message.
///
/// # Errors
/// [`WireError`].
pub fn write<T: Serialize>(to: &mut dyn Write, message: &T, bytes: &[u8]) -> Result<(), WireError> {
    to.write_all(&pack(message, bytes)?)?;
    Ok(to.flush()?)
}

/// Reads a message; `None` at the end.
///
/// # Errors
/// [`WireError`].
pub fn read<T: DeserializeOwned>(from: &mut dyn Read) -> Result<Option<(T, Vec<u8>)>, WireError> {
    let mut unpacker = Unpacker::default();
    let mut head = [0; HEAD];
    match from.read_exact(&mut head) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    unpacker.take(&head);
    let mut rest = vec![0; unpacker.wants()?.unwrap_or(HEAD) - HEAD];
    from.read_exact(&mut rest)?;
    unpacker.take(&rest);
    unpacker.next()
}

/// Puts messages together of what comes in pieces.
#[derive(Debug)]
pub struct Unpacker<T> {
    pending: Vec<u8>,
    kind: PhantomData<T>,
}

impl<T> Default for Unpacker<T> {
    fn default() -> Self {
        Self { pending: Vec::new(), kind: PhantomData }
    }
}

impl<T: DeserializeOwned> Unpacker<T> {
    /// Takes the next piece. All messages in it must be taken out before the next one.
    pub fn take(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
    }

    /// Length of the first message, head and all, if its head is there.
    fn wants(&self) -> Result<Option<usize>, WireError> {
        let Some((head, _)) = self.pending.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [a, b, c, d, e, f, g, h] = *head;
        let json = u32::from_le_bytes([a, b, c, d]) as usize;
        let bytes = u32::from_le_bytes([e, f, g, h]) as usize;
        if json > MAX_JSON || bytes > MAX_BYTES {
            return Err(WireError::TooLong);
        }
        Ok(Some(HEAD + json + bytes))
    }

    /// The next message, if all of it is there.
    ///
    /// # Errors
    /// [`WireError::TooLong`] and [`WireError::Json`]; what follows cannot be read either.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<(T, Vec<u8>)>, WireError> {
        let Some(length) = self.wants()?.filter(|length| *length <= self.pending.len()) else {
            return Ok(None);
        };
        let rest = self.pending.split_off(length);
        let whole = std::mem::replace(&mut self.pending, rest);
        let json = whole.first_chunk().map_or(0, |four| u32::from_le_bytes(*four) as usize);
        let (json, bytes) = whole[HEAD..].split_at(json);
        Ok(Some((serde_json::from_slice(json)?, bytes.to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let said = [
            (ToChild::VideoConfig { frame_rate: Some(29.97) }, vec![1, 2, 3]),
            (ToChild::Video { ms: 7, composition_ms: -40, key: true }, vec![9; 1000]),
            (ToChild::Stop, vec![]),
        ];
        let all: Vec<u8> = said.iter().flat_map(|(m, b)| pack(m, b).unwrap()).collect();
        for size in [1, 7, 100, 5000] {
            let mut unpacker = Unpacker::default();
            let mut heard = Vec::new();
            for piece in all.chunks(size) {
                unpacker.take(piece);
                while let Some(message) = unpacker.next().unwrap() {
                    heard.push(message);
                }
            }
            assert_eq!(heard, said);
        }
        let mut from = all.as_slice();
        for message in &said {
            assert_eq!(read::<ToChild>(&mut from).unwrap().as_ref(), Some(message));
        }
        assert_eq!(read::<ToChild>(&mut from).unwrap(), None);
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let mut unpacker = Unpacker::<FromChild>::default();
        unpacker.take(&[0xff; 8]);
        assert!(matches!(unpacker.next(), Err(WireError::TooLong)));
        let mut unpacker = Unpacker::<FromChild>::default();
        unpacker.take(&pack(&"hello", &[]).unwrap());
        assert!(matches!(unpacker.next(), Err(WireError::Json(_))));
        let cut = pack(&ToChild::Away, b"bytes").unwrap();
        assert!(read::<ToChild>(&mut &cut[..cut.len() - 1]).is_err());
    }
}
