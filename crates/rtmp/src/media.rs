//! What is in audio and video messages: FLV tags (FLV E.4), with the headers that E-RTMP added.

use bytes::{Buf, Bytes};

use crate::{AudioMessage, Error, Rejection, VideoMessage};

const TOO_SHORT: Error = Error::Malformed("the header of an audio or video message is cut off");

/// A frame type (FLV E.4.3.1): a keyframe.
const KEYFRAME: u8 = 1;
/// A frame type: no picture, a command for players.
const VIDEO_COMMAND: u8 = 5;
/// A sound format (E-RTMP): the header is an enhanced one.
const ENHANCED_AUDIO: u8 = 9;

/// Packet types of enhanced headers, those that audio and video share (E-RTMP).
mod packet {
    pub(super) const SEQUENCE_START: u8 = 0;
    pub(super) const CODED_FRAMES: u8 = 1;
    pub(super) const SEQUENCE_END: u8 = 2;
    /// Video only: coded frames without a composition time.
    pub(super) const CODED_FRAMES_X: u8 = 3;
    /// Colour for video, channels for audio.
    pub(super) const METADATA: u8 = 4;
    pub(super) const MULTITRACK_AUDIO: u8 = 5;
    pub(super) const MULTITRACK_VIDEO: u8 = 6;
    pub(super) const MOD_EX: u8 = 7;
}

/// Reads a video message; `None` if nothing is in it that is of use.
pub(crate) fn video(mut message: Bytes, timestamp_ms: u64) -> Result<Option<VideoMessage>, Error> {
    let Ok(first) = message.try_get_u8() else { return Ok(None) };
    let frame_type = first >> 4 & 7;
    let enhanced = first & 0x80 != 0;
    if frame_type == VIDEO_COMMAND && !(enhanced && first & 15 == packet::METADATA) {
        return Ok(None);
    }
    let packet_type = if enhanced {
        enhanced_video(first & 15, &mut message)?
    } else {
        legacy_video(first & 15, &mut message)?
    };
    let composition_ms = match packet_type {
        packet::CODED_FRAMES => {
            let composition = message.try_get_int(3).map_err(|_| TOO_SHORT)?;
            i32::try_from(composition).map_err(|_| TOO_SHORT)?
        }
        _ => 0,
    };
    Ok(match packet_type {
        packet::SEQUENCE_END => Some(VideoMessage::EndOfSequence),
        _ if message.is_empty() => None,
        packet::SEQUENCE_START => Some(VideoMessage::Config { avcc: message }),
        packet::CODED_FRAMES | packet::CODED_FRAMES_X => Some(VideoMessage::Frame {
            timestamp_ms,
            composition_ms,
            keyframe: frame_type == KEYFRAME,
            data: message,
        }),
        _ => None,
    })
}

/// The packet type of a message with a header as in FLV E.4.3, which is read.
fn legacy_video(codec: u8, message: &mut Bytes) -> Result<u8, Error> {
    let name = match codec {
        7 => {
            let packet_type = message.try_get_u8().map_err(|_| TOO_SHORT)?;
            if packet_type > packet::SEQUENCE_END {
                return Err(Error::Malformed("an AVC packet of an unknown type"));
            }
            if packet_type != packet::CODED_FRAMES {
                // A composition time without a meaning. Left out at the end by some.
                message.advance(message.len().min(3));
            }
            return Ok(packet_type);
        }
        2 => "Sorenson H.263",
        3 | 6 => "Screen video",
        4 | 5 => "VP6",
        // Not in the specification, and used by some.
        12 => "HEVC",
        13 => "AV1",
        _ => "a video codec of an unknown number",
    };
    Err(not_h264(name))
}

/// The same for a header as in E-RTMP "ExVideoTagHeader".
fn enhanced_video(packet_type: u8, message: &mut Bytes) -> Result<u8, Error> {
    let packet_type = without_modifiers(packet_type, message)?;
    if packet_type == packet::MULTITRACK_VIDEO {
        return Err(unsupported("several video tracks are not taken; send one, in H.264 (AVC)"));
    }
    let mut codec = [0; 4];
    message.try_copy_to_slice(&mut codec).map_err(|_| TOO_SHORT)?;
    match &codec {
        b"avc1" => Ok(packet_type),
        b"hvc1" => Err(not_h264("HEVC")),
        b"av01" => Err(not_h264("AV1")),
        b"vp09" => Err(not_h264("VP9")),
        b"vp08" => Err(not_h264("VP8")),
        b"vvc1" => Err(not_h264("VVC")),
        _ => Err(not_h264("an unknown video codec")),
    }
}

/// Reads an audio message; `None` if nothing is in it that is of use.
pub(crate) fn audio(mut message: Bytes, timestamp_ms: u64) -> Result<Option<AudioMessage>, Error> {
    let Ok(first) = message.try_get_u8() else { return Ok(None) };
    let packet_type = match first >> 4 {
        10 => message.try_get_u8().map_err(|_| TOO_SHORT)?,
        ENHANCED_AUDIO => enhanced_audio(first & 15, &mut message)?,
        0 | 3 => return Err(not_aac("PCM")),
        1 => return Err(not_aac("ADPCM")),
        2 | 14 => return Err(not_aac("MP3")),
        4..=6 => return Err(not_aac("Nellymoser")),
        7 | 8 => return Err(not_aac("G.711")),
        11 => return Err(not_aac("Speex")),
        _ => return Err(not_aac("an audio codec of an unknown number")),
    };
    Ok(match packet_type {
        _ if message.is_empty() => None,
        packet::SEQUENCE_START => Some(AudioMessage::Config { asc: message }),
        packet::CODED_FRAMES => Some(AudioMessage::Frame { timestamp_ms, data: message }),
        _ => None,
    })
}

/// The packet type of a message with a header as in E-RTMP "ExAudioTagHeader", which is read.
fn enhanced_audio(packet_type: u8, message: &mut Bytes) -> Result<u8, Error> {
    let packet_type = without_modifiers(packet_type, message)?;
    if packet_type == packet::MULTITRACK_AUDIO {
        return Err(unsupported("several audio tracks are not taken; send one, in AAC"));
    }
    let mut codec = [0; 4];
    message.try_copy_to_slice(&mut codec).map_err(|_| TOO_SHORT)?;
    match &codec {
        b"mp4a" => Ok(packet_type),
        b"Opus" => Err(not_aac("Opus")),
        b"fLaC" => Err(not_aac("FLAC")),
        b"ac-3" => Err(not_aac("AC-3")),
        b"ec-3" => Err(not_aac("E-AC-3")),
        b".mp3" => Err(not_aac("MP3")),
        _ => Err(not_aac("an unknown audio codec")),
    }
}

/// Skips what modifies a packet, such as nanoseconds, and gives the packet type behind it (E-RTMP "ModEx").
fn without_modifiers(mut packet_type: u8, message: &mut Bytes) -> Result<u8, Error> {
    while packet_type == packet::MOD_EX {
        let mut size = 1 + usize::from(message.try_get_u8().map_err(|_| TOO_SHORT)?);
        if size == 256 {
            size = 1 + usize::from(message.try_get_u16().map_err(|_| TOO_SHORT)?);
        }
        if size > message.len() {
            return Err(TOO_SHORT);
        }
        message.advance(size);
        packet_type = message.try_get_u8().map_err(|_| TOO_SHORT)? & 15;
    }
    Ok(packet_type)
}

fn not_h264(codec: &str) -> Error {
    unsupported(&format!("{codec} is not taken; set the encoder to H.264 (AVC)"))
}

fn not_aac(codec: &str) -> Error {
    unsupported(&format!("{codec} is not taken; set the encoder to AAC"))
}

fn unsupported(text: &str) -> Error {
    Error::Refused(Rejection::Unsupported(text.to_owned()))
}
