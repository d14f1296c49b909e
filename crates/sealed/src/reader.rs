//! Reading the plaintext of a sealed file.

use std::io::{self, Read, Seek, SeekFrom};

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::{Zeroize, Zeroizing};

use crate::{Error, LENGTH, MAX_RECORD, NONCE, Sealed, TAG, associated};

/// Most records of a file: a terabyte of full ones. An index of them takes 16 MiB.
const MAX_RECORDS: usize = 1 << 20;

/// The plaintext of a sealed file, decrypted record by record as it is read. One record's plaintext is in
/// memory at a time; it is overwritten when the reader is dropped.
pub struct Reader<R> {
    sealed: R,
    cipher: Aes256Gcm,
    context: String,
    len: u64,
    records: Vec<Record>,
    /// Where it is read next, in the plaintext. May be behind the end.
    position: u64,
    /// Plaintext of the record `open`, or nothing that counts.
    buffer: Zeroizing<Vec<u8>>,
    open: Option<usize>,
}

/// Where a record is.
#[derive(Clone, Copy)]
struct Record {
    /// Of its nonce, in the sealed file.
    at: u64,
    /// Of its first byte, in the plaintext.
    offset: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads the lengths of all records, but opens none yet.
    ///
    /// # Errors
    /// [`Error::Changed`] when the records do not add up to `of.len`; [`Error::Io`].
    pub fn new(mut sealed: R, of: &Sealed) -> Result<Self, Error> {
        let records = index(&mut sealed, of.len)?;
        let longest = records.windows(2).map(|pair| pair[1].offset - pair[0].offset);
        let last = records.last().map(|record| of.len - record.offset);
        let longest = longest.chain(last).max().unwrap_or(0) as usize; // At most MAX_RECORD.
        Ok(Self {
            sealed,
            cipher: of.key.cipher(),
            context: of.context.clone(),
            len: of.len,
            records,
            position: 0,
            buffer: Zeroizing::new(vec![0; longest]),
            open: None,
        })
    }

    /// Decrypts record number `number` into the buffer; gives how long it is.
    fn open(&mut self, number: usize) -> Result<usize, Error> {
        let Record { at, offset } = self.records[number];
        let end = self.records.get(number + 1).map_or(self.len, |next| next.offset);
        let length = (end - offset) as usize;
        if self.open == Some(number) {
            return Ok(length);
        }
        self.open = None;
        self.sealed.seek(SeekFrom::Start(at))?;
        let (mut nonce, mut tag) = ([0; NONCE], [0; TAG]);
        let buffer = &mut self.buffer[..length];
        let read = self
            .sealed
            .read_exact(&mut nonce)
            .and_then(|()| self.sealed.read_exact(buffer))
            .and_then(|()| self.sealed.read_exact(&mut tag));
        read.map_err(cut_off)?;
        let (nonce, tag) = (Nonce::from(nonce), Tag::from(tag));
        let aad = associated(&self.context, offset);
        // The tag is checked before anything is decrypted.
        let opened = self.cipher.decrypt_inout_detached(&nonce, &aad, (&mut *buffer).into(), &tag);
        if opened.is_err() {
            buffer.zeroize();
            return Err(Error::Changed(format!("what stands at byte {offset} cannot be opened")));
        }
        self.open = Some(number);
        Ok(length)
    }
}

/// Where the records of a file are. Only their lengths are read.
fn index<R: Read + Seek>(sealed: &mut R, len: u64) -> Result<Vec<Record>, Error> {
    let changed = |why: &str| Error::Changed(why.to_owned());
    let end = sealed.seek(SeekFrom::End(0))?;
    let mut records = Vec::new();
    let (mut at, mut offset) = (0, 0);
    while at < end {
        if records.len() == MAX_RECORDS {
            return Err(Error::Changed(format!("it has more than {MAX_RECORDS} pieces")));
        }
        sealed.seek(SeekFrom::Start(at))?;
        let mut length = [0; LENGTH];
        sealed.read_exact(&mut length).map_err(cut_off)?;
        let text = u32::from_le_bytes(length) as usize;
        let plain = text.checked_sub(TAG).filter(|plain| (1..=MAX_RECORD).contains(plain));
        let plain = plain.ok_or_else(|| changed("a piece of it has an impossible length"))?;
        let nonce_at = at + LENGTH as u64;
        records.push(Record { at: nonce_at, offset });
        // Neither can overflow: there are at most 2^20 records of little more than 2^20 bytes.
        at = nonce_at + (NONCE + text) as u64;
        offset += plain as u64;
        if at > end {
            return Err(changed("it is cut off"));
        }
    }
    if offset != len {
        return Err(Error::Changed(format!("it holds {offset} bytes, and {len} were sealed")));
    }
    Ok(records)
}

fn cut_off(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Changed("it is cut off".to_owned()),
        _ => Error::Io(error),
    }
}

/// Errors that are [`Error::Changed`] come as [`io::ErrorKind::InvalidData`] with it inside.
impl<R: Read + Seek> Read for Reader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.len || into.is_empty() {
            return Ok(0);
        }
        // The first record starts at 0, so there is one that starts at or before the position.
        let after = self.records.partition_point(|record| record.offset <= self.position);
        let number = after.saturating_sub(1);
        let length = self.open(number).map_err(|error| match error {
            Error::Io(error) => error,
            changed => io::Error::new(io::ErrorKind::InvalidData, changed),
        })?;
        let start = (self.position - self.records[number].offset) as usize;
        let count = into.len().min(length - start);
        into[..count].copy_from_slice(&self.buffer[start..start + count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl<R: Read + Seek> Seek for Reader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(to) => Some(to),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
        };
        self.position = to.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
