//! The playlist above: what the one rendition is.

use super::{PlaylistError, text::quotable};

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
