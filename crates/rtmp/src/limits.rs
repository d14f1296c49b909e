use std::time::Duration;

/// What one connection may cost. The defaults are for encoders as they are (H.264 up to about 50 Mbit/s).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an audio or video message. 4 MiB.
    pub media: usize,
    /// Bytes of any other message. 64 KiB.
    pub command: usize,
    /// Bytes of a chunk that the publisher may announce. 16 777 215, the largest with a meaning (RTMP 5.4.1).
    /// Chunks are never held as such, so that it costs nothing.
    pub chunk_size: usize,
    /// Chunk streams. 16; encoders use up to 6.
    pub chunk_streams: usize,
    /// Bytes allocated for messages that are not complete yet. 8 MiB; at least `media`.
    pub partial: usize,
    /// Bytes that were received and not parsed yet. 256 KiB.
    pub unread: usize,
    /// Bytes of answers that were not taken yet. 64 KiB.
    pub unsent: usize,
    /// Objects and arrays in one another. 8.
    pub amf_depth: usize,
    /// AMF values in a message, those in objects and arrays counted. 1024.
    pub amf_values: usize,
    /// Bytes of an AMF string. 8 KiB.
    pub amf_string: usize,
    /// From the connection to its `publish`, whatever is sent meanwhile. 10 s.
    pub publish_within: Duration,
    /// Without any byte. 10 s.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            media: 4 << 20,
            command: 64 << 10,
            chunk_size: 0xff_ffff,
            chunk_streams: 16,
            partial: 8 << 20,
            unread: 256 << 10,
            unsent: 64 << 10,
            amf_depth: 8,
            amf_values: 1024,
            amf_string: 8 << 10,
            publish_within: Duration::from_secs(10),
            silence: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// Most bytes that [`Connection::buffered`](crate::Connection::buffered) can say: all that may be held at
    /// once, and the last answers, since unsent ones are counted after they are written.
    pub fn buffered(&self) -> usize {
        self.unread + self.partial + self.unsent + LAST_ANSWERS
    }
}

/// More than the longest answer, the handshake's with 3073 bytes, and a status have.
const LAST_ANSWERS: usize = 4096;
