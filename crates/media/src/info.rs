//! What a media file says of itself.

use std::fmt;

use domain::{Orientation, Pts, Size, TimeBase};
use serde::Serialize;

/// A file's container and its main streams.
#[derive(Clone, Debug, Serialize)]
pub struct MediaInfo {
    /// FFmpeg's name of the container, e.g. `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// Length in seconds, where the container says one.
    pub duration: Option<f64>,
    /// The main video.
    pub video: VideoInfo,
    /// The main audio, if there is any.
    pub audio: Option<AudioInfo>,
    /// Streams that Garim would not carry over: subtitles, data, cover art, further audio.
    pub other_streams: usize,
}

/// Video codecs Garim reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// H.264 / AVC.
    H264,
    /// H.265 / HEVC.
    Hevc,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// AV1.
    Av1,
    /// MPEG-4 part 2.
    Mpeg4,
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::H264 => "H.264",
            Self::Hevc => "HEVC",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
            Self::Mpeg4 => "MPEG-4",
        })
    }
}

/// The main video stream. Colour numbers are those of ITU-T H.273.
#[derive(Clone, Debug, Serialize)]
pub struct VideoInfo {
    /// How it is compressed.
    pub codec: Codec,
    /// Coded size, before rotation.
    pub size: Size,
    /// How a viewer turns it.
    pub orientation: Orientation,
    /// The display matrix as the container has it (16.16 fixed point, row by row), if any.
    #[serde(skip)]
    pub display_matrix: Option<[i32; 9]>,
    /// Width to height of one pixel; (0, 1) when unknown.
    pub sample_aspect_ratio: (i32, i32),
    /// FFmpeg's name of the sample layout, e.g. `yuv420p`.
    pub pixel_format: String,
    /// Bits per sample.
    pub depth: u32,
    /// Whether the transfer function is PQ or HLG.
    pub hdr: bool,
    /// Whether fields are interleaved.
    pub interlaced: bool,
    /// 1 limited, 2 full, 0 unknown.
    pub color_range: u32,
    /// Colour primaries.
    pub color_primaries: u32,
    /// Transfer characteristics.
    pub color_transfer: u32,
    /// Matrix coefficients.
    pub color_matrix: u32,
    /// Where chroma samples sit (FFmpeg's AVChromaLocation).
    pub chroma_location: u32,
    /// The unit of its time stamps.
    pub time_base: TimeBase,
    /// First time stamp, where known.
    pub start: Option<Pts>,
    /// Average frames per second as a fraction; (0, 1) when unknown.
    pub frame_rate: (i32, i32),
    /// Frames the container promises, where it does.
    pub frames: Option<u64>,
}

/// The main audio stream.
#[derive(Clone, Debug, Serialize)]
pub struct AudioInfo {
    /// FFmpeg's name of the codec.
    pub codec: String,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u32,
    /// Whether MP4 can carry it as it is.
    pub copyable: bool,
}

/// The right-angle orientation nearest to a display matrix (ISO/IEC 14496-12, 8.2.2: 16.16 fixed
/// point a b u / c d v / x y w, so that x' = ax + cy and y' = bx + dy).
pub(crate) fn orientation(matrix: &[i32; 9]) -> Orientation {
    let [a, b, _, c, d, ..] = matrix.map(f64::from);
    let fit = |turns: u8, mirror: bool| {
        let m = if mirror { -1.0 } else { 1.0 };
        let (ea, eb, ec, ed) = match turns {
            0 => (m, 0.0, 0.0, 1.0),
            1 => (0.0, m, -1.0, 0.0),
            2 => (-m, 0.0, 0.0, -1.0),
            _ => (0.0, -m, 1.0, 0.0),
        };
        a * ea + b * eb + c * ec + d * ed
    };
    let mut best = (f64::MIN, Orientation::default());
    for mirror in [false, true] {
        for turns in 0..4 {
            let score = fit(turns, mirror);
            if score > best.0 {
                best = (score, Orientation::new(turns, mirror));
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: i32 = 1 << 16;

    #[test]
    fn a_phone_held_upright_is_a_quarter_turn() {
        // ffmpeg's "rotate=90": shown turned 90 degrees clockwise.
        let matrix = [0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30];
        assert_eq!(orientation(&matrix), Orientation::new(1, false));
    }

    #[test]
    fn identity_and_flips() {
        let w = 1 << 30;
        assert_eq!(orientation(&[ONE, 0, 0, 0, ONE, 0, 0, 0, w]), Orientation::new(0, false));
        assert_eq!(orientation(&[-ONE, 0, 0, 0, ONE, 0, 0, 0, w]), Orientation::new(0, true));
        assert_eq!(orientation(&[-ONE, 0, 0, 0, -ONE, 0, 0, 0, w]), Orientation::new(2, false));
        assert_eq!(orientation(&[ONE, 0, 0, 0, -ONE, 0, 0, 0, w]), Orientation::new(2, true));
    }
}
