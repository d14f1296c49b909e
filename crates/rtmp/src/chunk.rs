//! Chunks become messages (RTMP 5.3).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::output::DEFAULT_CHUNK_SIZE;
use crate::{Error, Limits};

/// Types of messages (RTMP 5.4, 7.1).
pub(crate) mod kind {
    pub(crate) const SET_CHUNK_SIZE: u8 = 1;
    pub(crate) const ABORT: u8 = 2;
    pub(crate) const USER_CONTROL: u8 = 4;
    pub(crate) const WINDOW_SIZE: u8 = 5;
    pub(crate) const AUDIO: u8 = 8;
    pub(crate) const VIDEO: u8 = 9;
    pub(crate) const DATA_AMF3: u8 = 15;
    pub(crate) const COMMAND_AMF3: u8 = 17;
    pub(crate) const DATA: u8 = 18;
    pub(crate) const COMMAND: u8 = 20;
    pub(crate) const AGGREGATE: u8 = 22;
}

/// A value of the timestamp field that says that four more bytes hold it.
const EXTENDED: u32 = 0xff_ffff;
/// Bytes that are allocated for a message at least, unless it is shorter.
const FIRST_ALLOCATION: usize = 4096;

/// A complete message.
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) timestamp: u32,
    pub(crate) payload: Bytes,
}

/// Puts messages together. Payload goes from the input into its message as it comes, however long the chunk is.
pub(crate) struct ChunkReader {
    chunk_size: usize,
    streams: Vec<ChunkStream>,
    /// The chunk whose payload is being read.
    current: Option<Chunk>,
    /// Bytes allocated for the payloads of all streams.
    allocated: usize,
}

/// What one chunk takes over from the one before it on the same chunk stream.
struct ChunkStream {
    id: u32,
    timestamp: u32,
    /// What a header of type 3 adds to the timestamp.
    delta: u32,
    /// What stood in the extended timestamp, if the last header had one.
    extended: Option<u32>,
    kind: u8,
    /// Bytes of the message.
    length: usize,
    /// What came of it. Empty between messages.
    payload: Vec<u8>,
}

struct Chunk {
    /// Index of its stream.
    stream: usize,
    /// Bytes that are still to come.
    remaining: usize,
}

impl ChunkReader {
    pub(crate) fn new() -> Self {
        Self { chunk_size: DEFAULT_CHUNK_SIZE, streams: Vec::new(), current: None, allocated: 0 }
    }

    /// Bytes allocated for messages that are not complete.
    pub(crate) fn allocated(&self) -> usize {
        self.allocated
    }

    /// The next message, or `None` if more bytes are needed; then `input` holds less than a header.
    ///
    /// Set Chunk Size and Abort Message are carried out here. Media is an error unless `publishing`, before room is
    /// made for it.
    pub(crate) fn read(
        &mut self,
        input: &mut BytesMut,
        publishing: bool,
        limits: &Limits,
    ) -> Result<Option<Message>, Error> {
        loop {
            let chunk = match self.current.take() {
                Some(chunk) => chunk,
                None => {
                    let mut bytes = &input[..];
                    let Some(header) = Header::read(&mut bytes, &self.streams) else {
                        return Ok(None);
                    };
                    let size = input.len() - bytes.len();
                    input.advance(size);
                    self.begin(header, publishing, limits)?
                }
            };
            let stream = chunk.stream;
            self.payload(chunk, input, limits)?;
            if let Some(message) = self.complete(stream) {
                match message.kind {
                    kind::SET_CHUNK_SIZE => self.set_chunk_size(&message.payload, limits)?,
                    kind::ABORT => self.abort(&message.payload)?,
                    _ => return Ok(Some(message)),
                }
            } else if self.current.is_some() {
                return Ok(None);
            }
        }
    }

    /// Takes a header over into its stream.
    fn begin(&mut self, header: Header, publishing: bool, limits: &Limits) -> Result<Chunk, Error> {
        let index = match self.streams.iter().position(|stream| stream.id == header.stream) {
            Some(index) => index,
            // Without a length there is nothing to go by. librtmp begins its pings with type 1.
            None if header.length.is_none() => {
                return Err(Error::Malformed("a chunk goes on with a message that never began"));
            }
            None if self.streams.len() >= limits.chunk_streams => {
                return Err(Error::TooLarge { what: "chunk streams", limit: limits.chunk_streams });
            }
            None => {
                self.streams.push(ChunkStream::new(header.stream));
                self.streams.len() - 1
            }
        };
        let Some(stream) = self.streams.get_mut(index) else {
            return Err(Error::Malformed("a chunk of an unknown stream"));
        };
        if stream.payload.is_empty() {
            stream.begin(&header);
            check(stream.kind, stream.length, publishing, limits)?;
        } else if header.format != 3 {
            return Err(Error::Malformed("a message begins within another"));
        }
        let remaining = self.chunk_size.min(stream.length - stream.payload.len());
        Ok(Chunk { stream: index, remaining })
    }

    /// Moves what there is of a chunk's payload into its message.
    fn payload(
        &mut self,
        chunk: Chunk,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<(), Error> {
        let Some(stream) = self.streams.get_mut(chunk.stream) else { return Ok(()) };
        let size = chunk.remaining.min(input.len());
        let (held, needed) = (stream.payload.capacity(), stream.payload.len() + size);
        if needed > held {
            // Doubled, and never more than the message needs, so that none is copied when it is complete.
            let capacity = needed.max(2 * held).max(FIRST_ALLOCATION).min(stream.length);
            self.allocated += capacity - held;
            if self.allocated > limits.partial {
                let what = "bytes of incomplete messages";
                return Err(Error::TooLarge { what, limit: limits.partial });
            }
            stream.payload.reserve_exact(capacity - stream.payload.len());
        }
        stream.payload.put(input.take(size));
        if chunk.remaining > size {
            self.current = Some(Chunk { remaining: chunk.remaining - size, ..chunk });
        }
        Ok(())
    }

    /// The message of a stream, if all of it came.
    fn complete(&mut self, stream: usize) -> Option<Message> {
        let stream = self.streams.get_mut(stream)?;
        if stream.payload.len() < stream.length {
            return None;
        }
        let payload = std::mem::take(&mut stream.payload);
        self.allocated = self.allocated.saturating_sub(payload.capacity());
        let ChunkStream { kind, timestamp, .. } = *stream;
        Some(Message { kind, timestamp, payload: payload.into() })
    }

    /// RTMP 5.4.1.
    fn set_chunk_size(&mut self, mut payload: &[u8], limits: &Limits) -> Result<(), Error> {
        let size =
            payload.try_get_u32().map_err(|_| Error::Malformed("a chunk size is cut off"))?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size == 0 {
            return Err(Error::Malformed("a chunk size of 0"));
        }
        if size > limits.chunk_size {
            return Err(Error::TooLarge { what: "bytes of a chunk", limit: limits.chunk_size });
        }
        self.chunk_size = size;
        Ok(())
    }

    /// RTMP 5.4.2.
    fn abort(&mut self, mut payload: &[u8]) -> Result<(), Error> {
        let id = payload.try_get_u32().map_err(|_| Error::Malformed("an abort is cut off"))?;
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
            let aborted = std::mem::take(&mut stream.payload);
            self.allocated = self.allocated.saturating_sub(aborted.capacity());
        }
        Ok(())
    }
}

/// Whether a message may come at all, by its header.
fn check(kind: u8, length: usize, publishing: bool, limits: &Limits) -> Result<(), Error> {
    let media = matches!(kind, kind::AUDIO | kind::VIDEO);
    if media && !publishing {
        return Err(Error::Malformed("media before publishing was accepted"));
    }
    if kind == kind::AGGREGATE {
        return Err(Error::Malformed("an aggregate message, which no encoder sends"));
    }
    let (what, limit) = match media {
        true => ("bytes of an audio or video message", limits.media),
        false => ("bytes of a message", limits.command),
    };
    if length > limit { Err(Error::TooLarge { what, limit }) } else { Ok(()) }
}

impl ChunkStream {
    fn new(id: u32) -> Self {
        let (timestamp, delta, extended) = (0, 0, None);
        Self { id, timestamp, delta, extended, kind: 0, length: 0, payload: Vec::new() }
    }

    /// A new message. A header without a field takes it over from the one before (RTMP 5.3.1.2); that of type 3
    /// after one of type 0 adds that one's timestamp.
    fn begin(&mut self, header: &Header) {
        if let Some(field) = header.timestamp {
            self.delta = field;
            self.extended = header.extended;
        }
        let before = if header.format == 0 { 0 } else { self.timestamp };
        self.timestamp = before.wrapping_add(self.delta);
        if let Some((length, kind)) = header.length {
            (self.length, self.kind) = (length, kind);
        }
    }

    /// Whether four bytes that follow a header of type 3 repeat the extended timestamp.
    fn repeats(&self, bytes: u32) -> bool {
        self.extended == Some(bytes) || self.timestamp == bytes
    }
}

/// A chunk's header: basic header, message header, extended timestamp (RTMP 5.3.1).
struct Header {
    /// 0 to 3: how much of the message header is there.
    format: u8,
    /// The id of the chunk stream, 2 to 65599.
    stream: u32,
    /// A timestamp (type 0) or what is added to it (types 1 and 2).
    timestamp: Option<u32>,
    /// Length and type of the message (types 0 and 1).
    length: Option<(usize, u8)>,
    /// What the four bytes held, if they were there.
    extended: Option<u32>,
}

impl Header {
    /// Reads one off the front; `None` if it is not complete.
    fn read(bytes: &mut &[u8], streams: &[ChunkStream]) -> Option<Self> {
        let first = bytes.try_get_u8().ok()?;
        let format = first >> 6;
        let stream = match first & 0x3f {
            0 => 64 + u32::from(bytes.try_get_u8().ok()?),
            1 => 64 + u32::from(bytes.try_get_u16_le().ok()?),
            id => u32::from(id),
        };
        let mut header = Self { format, stream, timestamp: None, length: None, extended: None };
        if format <= 2 {
            header.timestamp = Some(u24(bytes)?);
        }
        if format <= 1 {
            header.length = Some((usize::try_from(u24(bytes)?).ok()?, bytes.try_get_u8().ok()?));
        }
        if format == 0 {
            // The message stream: there is only one.
            bytes.try_get_u32_le().ok()?;
        }
        if header.timestamp == Some(EXTENDED) {
            header.extended = Some(bytes.try_get_u32().ok()?);
            header.timestamp = header.extended;
        } else if format == 3
            && let Some(before) = streams.iter().find(|before| before.id == stream)
            && before.extended.is_some()
        {
            // RTMP 5.3.1.3 repeats the four bytes here. FFmpeg and librtmp do; some encoders do not.
            let mut ahead = *bytes;
            if before.repeats(ahead.try_get_u32().ok()?) {
                *bytes = ahead;
            }
        }
        Some(header)
    }
}

fn u24(bytes: &mut &[u8]) -> Option<u32> {
    let high = bytes.try_get_u8().ok()?;
    Some(u32::from(high) << 16 | u32::from(bytes.try_get_u16().ok()?))
}
