//! What an MP4 is made of: its boxes (ISO/IEC 14496-12, 4.2), and whether they are a whole file or fragments.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::avio::Bytes;

/// Top-level boxes of a file that are looked at, at most. A file that is whole has a handful.
const MOST_BOXES: usize = 10_000;
/// Length and type; then the brand, or a length of 64 bits.
const HEAD: usize = 16;

/// The beginning of a box.
struct Head {
    /// Bytes of the whole box; 0: it goes on to the end of the file.
    length: u64,
    kind: [u8; 4],
    /// What follows the type, in a file's first box.
    brand: [u8; 4],
}

/// Whether this is an MP4 in one piece: not QuickTime's kind, and not in fragments, as HLS and DASH have it. What cannot
/// be told is none.
///
/// # Errors
/// When it cannot be read.
pub fn is_whole_mp4(bytes: &mut dyn Bytes) -> io::Result<bool> {
    let end = bytes.seek(SeekFrom::End(0))?;
    let mut at = 0;
    let mut indexed = false;
    for nth in 0..MOST_BOXES {
        if at == end {
            return Ok(indexed);
        }
        let Head { length, kind, brand } = head(bytes, at, end)?;
        match (nth, &kind) {
            (0, b"ftyp") if brand != *b"qt  " => {}
            (0, _) | (_, b"moof") => return Ok(false),
            (_, b"moov") => indexed = true,
            _ => {}
        }
        let length = if length == 0 { end - at } else { length };
        if !is_whole(length, end - at) {
            return Ok(false);
        }
        at += length;
    }
    Ok(false)
}

/// Bytes of the header of a file in movie fragments (8.8), and of each fragment with all that follows it.
///
/// # Errors
/// When it cannot be read; [`io::ErrorKind::InvalidData`] for a box that is cut off, or does not say its length.
pub fn fragment_lengths(path: &Path) -> io::Result<(u64, Vec<u64>)> {
    let mut file = BufReader::new(File::open(path)?);
    let end = file.seek(SeekFrom::End(0))?;
    let (mut at, mut header, mut fragments): (u64, u64, Vec<u64>) = (0, 0, Vec::new());
    while at < end {
        let Head { length, kind, .. } = head(&mut file, at, end)?;
        if !is_whole(length, end - at) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "has a box that is cut off"));
        }
        match fragments.last_mut() {
            _ if kind == *b"moof" => fragments.push(length),
            Some(fragment) => *fragment += length,
            None => header += length,
        }
        at += length;
    }
    Ok((header, fragments))
}

/// Reads the beginning of the box at `at` of a file that ends at `end`.
fn head(bytes: &mut (impl Read + Seek + ?Sized), at: u64, end: u64) -> io::Result<Head> {
    let mut head = [0; HEAD];
    let there = usize::try_from(end.saturating_sub(at)).unwrap_or(HEAD).min(HEAD);
    bytes.seek(SeekFrom::Start(at))?;
    bytes.read_exact(&mut head[..there])?;
    let [a, b, c, d, k, i, n, t, long @ ..] = head;
    let length = match u32::from_be_bytes([a, b, c, d]) {
        1 => u64::from_be_bytes(long),
        length => length.into(),
    };
    let [e, f, g, h, ..] = long;
    Ok(Head { length, kind: [k, i, n, t], brand: [e, f, g, h] })
}

/// Whether a box of this length has its own head, and fits into what is left.
fn is_whole(length: u64, left: u64) -> bool {
    (8..=left).contains(&length)
}
