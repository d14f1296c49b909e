//! Writing a sealed file as its plaintext comes.

use std::io::{self, Seek, SeekFrom, Write};

use zeroize::{Zeroize, Zeroizing};

use crate::{MAX_RECORD, SealKey, Sealed, seal, sealed_len};

/// Seals what is written to it, in records of [`MAX_RECORD`] bytes. Two records' plaintext is in memory at a time.
///
/// What was written stays, but for the first record: that is sealed last, so that whoever writes a container can go
/// back to its head (the size of an MP4's `mdat`). [`Writer::finish`] completes the file; without it, it is useless.
pub struct Writer<W: Write + Seek> {
    out: W,
    key: SealKey,
    context: String,
    /// Plaintext of the first record.
    head: Zeroizing<Vec<u8>>,
    /// Plaintext behind it that is not sealed yet.
    tail: Zeroizing<Vec<u8>>,
    /// Where `tail` begins in the plaintext.
    sealed: u64,
    /// Where it is written next, in the plaintext.
    position: u64,
}

impl<W: Write + Seek> Writer<W> {
    /// Writes to `out`, from its start. `context` says what it is and whose.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn new(mut out: W, key: SealKey, context: String) -> io::Result<Self> {
        out.seek(SeekFrom::Start(sealed_len(MAX_RECORD as u64)))?;
        let full = || Zeroizing::new(Vec::with_capacity(MAX_RECORD));
        let (head, tail) = (full(), full());
        Ok(Self { out, key, context, head, tail, sealed: MAX_RECORD as u64, position: 0 })
    }

    /// Bytes of plaintext so far.
    fn len(&self) -> u64 {
        if self.head.len() < MAX_RECORD {
            self.head.len() as u64
        } else {
            self.sealed + self.tail.len() as u64
        }
    }

    /// Completes the file; gives what is needed to read it.
    ///
    /// # Errors
    /// When it cannot be written, or nothing was.
    pub fn finish(mut self) -> io::Result<Sealed> {
        let len = self.len();
        if !self.tail.is_empty() {
            self.seal_tail()?;
        }
        let record = seal(&self.key, &self.context, 0, &self.head).map_err(io::Error::other)?;
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&record)?;
        self.out.flush()?;
        Ok(Sealed { key: self.key.clone(), context: std::mem::take(&mut self.context), len })
    }

    fn seal_tail(&mut self) -> io::Result<()> {
        let record = seal(&self.key, &self.context, self.sealed, &self.tail);
        self.out.write_all(&record.map_err(io::Error::other)?)?;
        self.sealed += self.tail.len() as u64;
        self.tail.zeroize();
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let into_head = self.head.len() < MAX_RECORD;
        if !into_head && self.tail.len() == MAX_RECORD {
            self.seal_tail()?;
        }
        let buffer = if into_head { &mut self.head } else { &mut self.tail };
        let count = bytes.len().min(MAX_RECORD - buffer.len());
        buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Writes over what was written before.
    fn mend(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let at = usize::try_from(self.position).unwrap_or(usize::MAX);
        let Some(there) = self.head.get_mut(at..).filter(|there| !there.is_empty()) else {
            let why = "only the first MiB of a sealed file can be written again";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        };
        let count = bytes.len().min(there.len());
        there[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }
}

impl<W: Write + Seek> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count =
            if self.position == self.len() { self.append(bytes)? } else { self.mend(bytes)? };
        self.position += count as u64;
        Ok(count)
    }

    /// Does nothing: a record is sealed when it is full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write + Seek> Seek for Writer<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(to) => Some(to),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
        };
        // A hole would have to be filled with something.
        self.position = to.filter(|&to| to <= self.len()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::*;
    use crate::Reader;

    fn written(write: impl FnOnce(&mut Writer<&mut Cursor<Vec<u8>>>)) -> (Vec<u8>, Sealed) {
        let mut file = Cursor::new(Vec::new());
        let mut writer = Writer::new(&mut file, SealKey::random(), "test".to_owned()).unwrap();
        write(&mut writer);
        let of = writer.finish().unwrap();
        (file.into_inner(), of)
    }

    fn read(file: Vec<u8>, of: &Sealed) -> Vec<u8> {
        let mut plain = Vec::new();
        Reader::new(Cursor::new(file), of).unwrap().read_to_end(&mut plain).unwrap();
        plain
    }

    fn plain(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 7 / 3) as u8).collect()
    }

    #[test]
    fn what_was_written_is_read_whatever_its_length() {
        for length in [1, 1000, MAX_RECORD - 1, MAX_RECORD, MAX_RECORD + 1, 3 * MAX_RECORD + 5] {
            let plain = plain(length);
            let (file, of) = written(|writer| {
                plain.chunks(70_001).for_each(|piece| writer.write_all(piece).unwrap());
            });
            assert_eq!(of.len, length as u64);
            assert!(read(file, &of) == plain, "{length}");
        }
    }

    #[test]
    fn the_head_is_written_again_and_nothing_else() {
        let mut want = plain(2 * MAX_RECORD + 9);
        let (file, of) = written(|writer| {
            writer.write_all(&want).unwrap();
            writer.seek(SeekFrom::Start(40)).unwrap();
            writer.write_all(&[1, 2, 3]).unwrap();
            writer.seek(SeekFrom::Start(MAX_RECORD as u64 + 1)).unwrap();
            assert_eq!(writer.write(&[0]).unwrap_err().kind(), io::ErrorKind::Unsupported);
            assert!(writer.seek(SeekFrom::End(1)).is_err(), "no holes");
            writer.seek(SeekFrom::End(0)).unwrap();
            writer.write_all(&[9]).unwrap();
        });
        want[40..43].copy_from_slice(&[1, 2, 3]);
        want.push(9);
        assert!(read(file, &of) == want);
    }

    #[test]
    fn an_empty_file_or_one_that_is_not_finished_is_none() {
        let mut file = Cursor::new(Vec::new());
        let writer = Writer::new(&mut file, SealKey::random(), "test".to_owned()).unwrap();
        assert!(writer.finish().is_err());
        let key = SealKey::random();
        let mut file = Cursor::new(Vec::new());
        let mut writer = Writer::new(&mut file, key.clone(), "test".to_owned()).unwrap();
        writer.write_all(&plain(3 * MAX_RECORD)).unwrap();
        drop(writer);
        let of = Sealed { key, context: "test".to_owned(), len: 3 * MAX_RECORD as u64 };
        assert!(Reader::new(Cursor::new(file.into_inner()), &of).is_err());
    }
}
