//! The playlist above: what the one rendition is.

use super::{Duration90k, Playlist, PlaylistError, Segment, text::quotable};

/// What the parts of a session are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendition {
    /// Codecs as in RFC 6381, such as `avc1.64001f,mp4a.40.2`.
    pub codecs: String,
    /// Width and height in pixels.
    pub resolution: (u32, u32),
    /// Frames per second, as a fraction.
    pub frame_rate: (u32, u32),
}

/// What a player must know of the rendition before it asks for it.
#[derive(Debug, Clone)]
pub struct Variant<'a> {
    /// Where its playlist is, relative to this one.
    pub uri: &'a str,
    /// Codecs as in RFC 6381, such as `avc1.64001f,mp4a.40.2`.
    pub codecs: &'a str,
    /// Width and height in pixels.
    pub resolution: (u32, u32),
    /// Most bits per second in any segment.
    pub bandwidth: u64,
    /// Frames per second, as a fraction.
    pub frame_rate: (u32, u32),
}

impl Variant<'_> {
    /// The multivariant playlist (section 4.4.6.2).
    ///
    /// # Errors
    /// [`PlaylistError::Text`].
    pub fn multivariant(&self) -> Result<String, PlaylistError> {
        let (width, height) = self.resolution;
        let (frames, seconds) = self.frame_rate;
        Ok(format!(
            "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-STREAM-INF:BANDWIDTH={},CODECS=\"{}\",RESOLUTION={width}x{height},\
             FRAME-RATE={:.3}\n{}\n",
            self.bandwidth,
            quotable(self.codecs)?,
            f64::from(frames) / f64::from(seconds.max(1)),
            quotable(self.uri)?,
        ))
    }
}

impl Playlist {
    /// The playlist above this one, which is at `uri` from there. `None` until it is known what the
    /// parts are and how large.
    ///
    /// # Errors
    /// [`PlaylistError::Text`] for `uri`.
    pub fn multivariant(&self, uri: &str) -> Result<Option<String>, PlaylistError> {
        let Some((rendition, bandwidth)) = self.rendition.as_ref().zip(self.bandwidth()) else {
            return Ok(None);
        };
        let Rendition { codecs, resolution, frame_rate } = rendition;
        let (resolution, frame_rate) = (*resolution, *frame_rate);
        Variant { uri, codecs, resolution, bandwidth, frame_rate }.multivariant().map(Some)
    }

    /// Most bits per second of a segment that is kept; while none is complete, of the open one.
    fn bandwidth(&self) -> Option<u64> {
        let complete = self.segments.iter().filter(|segment| segment.whole.is_some());
        complete
            .map(Segment::bit_rate)
            .max()
            .or_else(|| self.segments.back().map(Segment::bit_rate))
    }
}

impl Segment {
    fn bit_rate(&self) -> u64 {
        let bytes: u64 = self.parts.iter().map(|part| part.media.len() as u64).sum();
        (bytes * 8 * Duration90k::SECOND.0).div_ceil(self.duration.0.max(1))
    }
}
