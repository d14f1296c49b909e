//! Encoded pictures on their way from the process that made them to the one that puts a file together.
//!
//! This is the only way into [`Encoded`] beside the encoder, so it opens with a key: what is read was written by a
//! [`ChunkWriter`], which takes nothing but [`Encoded`], and sealed by somebody who has that key.
//!
//! ```text
//! "GARIMCH1" | u32 length, parameter sets (annex B) | packets: i64 PTS, DTS, duration; u8 key; u32 length, bytes
//! ```
//!
//! All numbers are little endian; times are in ticks of the video's time base. Packets are in decoding order.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use ffmpeg_sys_the_third as ff;
use sealed::{SealKey, Sealed};

use crate::sys::Packet;
use crate::{Encoded, MediaError, VideoEncoder};

const MAGIC: &[u8; 8] = b"GARIMCH1";
/// Most bytes of a packet, and of parameter sets.
const MAX_BYTES: usize = 64 << 20;

/// Writes a chunk.
pub struct ChunkWriter {
    path: PathBuf,
    out: sealed::Writer<BufWriter<File>>,
    parameter_sets: Vec<u8>,
    packets: u64,
}

impl ChunkWriter {
    /// Writes to `path`, sealed by `key` as `context`, what `encoder` will make.
    ///
    /// # Errors
    /// [`MediaError::Output`].
    pub fn create(
        path: &Path,
        key: SealKey,
        context: String,
        encoder: &VideoEncoder,
    ) -> Result<Self, MediaError> {
        let parameter_sets = encoder.parameter_sets().to_vec();
        let open = || -> io::Result<_> {
            let file = BufWriter::new(File::create_new(path)?);
            let mut out = sealed::Writer::new(file, key, context)?;
            out.write_all(MAGIC)?;
            write_bytes(&mut out, &parameter_sets)?;
            Ok(out)
        };
        let out = open().map_err(|e| output(path, &e))?;
        Ok(Self { path: path.to_owned(), out, parameter_sets, packets: 0 })
    }

    /// Says that `encoder` makes the pictures from here on.
    ///
    /// # Errors
    /// [`MediaError::NotSpliced`] if its parameter sets are others.
    pub fn use_encoder(&mut self, encoder: &VideoEncoder) -> Result<(), MediaError> {
        let same = self.parameter_sets == encoder.parameter_sets();
        if same { Ok(()) } else { Err(MediaError::NotSpliced("parameter sets")) }
    }

    /// Writes a compressed picture.
    ///
    /// # Errors
    /// [`MediaError::Output`].
    pub fn write(&mut self, encoded: &Encoded) -> Result<(), MediaError> {
        let packet = encoded.packet.get();
        let mut write = || -> io::Result<()> {
            for time in [packet.pts, packet.dts, packet.duration] {
                self.out.write_all(&time.to_le_bytes())?;
            }
            let key = packet.flags & ff::AV_PKT_FLAG_KEY as i32 != 0;
            self.out.write_all(&[u8::from(key)])?;
            write_bytes(&mut self.out, encoded.packet.data())
        };
        write().map_err(|e| output(&self.path, &e))?;
        self.packets += 1;
        Ok(())
    }

    /// Packets so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Completes the file; gives what is needed to read it.
    ///
    /// # Errors
    /// [`MediaError::Output`].
    pub fn finish(self) -> Result<Sealed, MediaError> {
        self.out.finish().map_err(|e| output(&self.path, &e))
    }
}

/// Reads a chunk.
pub struct ChunkReader<R: Read + Seek> {
    name: PathBuf,
    bytes: sealed::Reader<R>,
    parameter_sets: Vec<u8>,
}

impl<R: Read + Seek> ChunkReader<R> {
    /// Reads what a [`ChunkWriter`] wrote. `name`: what messages call it.
    ///
    /// # Errors
    /// [`MediaError::Input`] when it is something else, or was changed.
    pub fn open(name: &Path, mut bytes: sealed::Reader<R>) -> Result<Self, MediaError> {
        let mut head = || -> io::Result<_> {
            let mut magic = [0; MAGIC.len()];
            bytes.read_exact(&mut magic)?;
            let sets = read_bytes(&mut bytes)?;
            if &magic == MAGIC { Ok(sets) } else { Err(io::ErrorKind::InvalidData.into()) }
        };
        let parameter_sets = head().map_err(|e| input(name, &e))?;
        Ok(Self { name: name.to_owned(), bytes, parameter_sets })
    }

    pub(crate) fn parameter_sets(&self) -> &[u8] {
        &self.parameter_sets
    }

    /// The next compressed picture. There must be one: how many there are is known elsewhere.
    ///
    /// # Errors
    /// [`MediaError::Input`] when there is none, or the file was changed.
    pub fn next_picture(&mut self) -> Result<Encoded, MediaError> {
        let mut read = || -> io::Result<_> {
            let mut times = [[0; 8]; 3];
            for time in &mut times {
                self.bytes.read_exact(time)?;
            }
            let mut key = [0];
            self.bytes.read_exact(&mut key)?;
            Ok((times.map(i64::from_le_bytes), key[0] != 0, read_bytes(&mut self.bytes)?))
        };
        let ([pts, dts, duration], key, data) = read().map_err(|e| input(&self.name, &e))?;
        let mut packet = Packet::new()?;
        packet.set_data(&data)?;
        let p = packet.get_mut();
        (p.pts, p.dts, p.duration) = (pts, dts, duration);
        p.flags = if key { ff::AV_PKT_FLAG_KEY as i32 } else { 0 };
        Ok(Encoded { packet })
    }
}

fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= MAX_BYTES);
    let length = length.ok_or_else(|| io::Error::other("a packet is too large"))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(bytes)
}

fn read_bytes(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn output(path: &Path, error: &io::Error) -> MediaError {
    MediaError::Output { path: path.to_owned(), why: error.to_string() }
}

fn input(path: &Path, error: &io::Error) -> MediaError {
    MediaError::Input { path: path.to_owned(), why: format!("is no chunk of a video: {error}") }
}
