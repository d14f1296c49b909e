//! A backup as a file: lines of text, sealed a piece at a time.
//!
//! ```text
//! "garim backup 1\n" | salt, 32 random bytes | check of the key, 32 bytes | frames
//! frame: u32 LE length of the rest | version, nonce, AES-256-GCM ciphertext and tag, as everywhere in this crate
//! ```
//!
//! The key of the frames is derived from the backup's key and the salt, and the associated data of a frame are its
//! number and whether it is the last. So frames cannot be moved, left out, taken from another backup, or cut off.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::Error;
use crate::db::hex;
use crate::key::{self, SecretKey};

/// First bytes of a backup.
const MAGIC: &[u8; 15] = b"garim backup 1\n";
/// Bytes of the salt, and of the check.
const LENGTH: usize = 32;
/// Plaintext of a frame, in bytes, at most.
const FRAME: usize = 1 << 20;
/// What sealing adds, in bytes: less than this.
const OVERHEAD: usize = 64;
/// Longest line, in bytes: a photo of 32 MiB in base64, and room.
const MAX_LINE: usize = 64 << 20;

/// The key of backups: 256 secret bits. Whoever has it and a backup has everything in it. Cannot be printed.
#[derive(Clone)]
pub struct BackupKey(SecretKey);

impl BackupKey {
    /// Out of 64 hexadecimal digits.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        key::parse(text).map(Self).ok_or_else(|| backup("the key is not 64 hexadecimal digits"))
    }

    /// Out of a file with them, that only its owner may read.
    ///
    /// # Errors
    /// There is no such file, others may read it, or it holds something else.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        match key::read(path) {
            Ok(key) => Ok(Self(key)),
            Err(Error::Key { .. }) if !path.exists() => Err(backup(format!(
                "there is no key file {}: garim backup --new-key",
                path.display()
            ))),
            Err(Error::Key { why, .. }) => {
                Err(backup(format!("the key file {} {why}", path.display())))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a new key, in a new file that only its owner may read.
    ///
    /// # Errors
    /// There is a file of this name, or it cannot be written.
    pub fn create(path: &Path) -> Result<(), Error> {
        if path.symlink_metadata().is_ok() {
            return Err(backup(format!("there is a file {} already", path.display())));
        }
        key::write(path, &SecretKey::random())
    }

    /// The key of the frames, and the check of it.
    fn derive(&self, salt: &[u8; LENGTH]) -> (SecretKey, [u8; LENGTH]) {
        let key = self.0.derive(&format!("garim backup v1 {}", hex(salt)));
        let check = key.mac(&[b"check"]);
        (key, check)
    }
}

pub(super) fn backup(why: impl Into<String>) -> Error {
    Error::Backup(why.into())
}

/// What a frame is bound to.
fn context(number: u64, last: bool) -> String {
    format!("{number} {}", if last { "last" } else { "more" })
}

/// Writes lines.
pub(super) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    key: SecretKey,
    number: u64,
    buffer: Zeroizing<Vec<u8>>,
}

impl Writer {
    pub(super) fn new(path: &Path, key: &BackupKey) -> Result<Self, Error> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        let mut file = BufWriter::new(file.map_err(Error::io(path))?);
        let salt = *SecretKey::random().bytes();
        let (key, check) = key.derive(&salt);
        let written = file.write_all(MAGIC).and_then(|()| file.write_all(&salt));
        written.and_then(|()| file.write_all(&check)).map_err(Error::io(path))?;
        let buffer = Zeroizing::new(Vec::with_capacity(FRAME));
        Ok(Self { path: path.to_owned(), file, key, number: 0, buffer })
    }

    /// Adds a line, which holds no line break.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Error> {
        if line.len() > MAX_LINE {
            return Err(backup("a row is larger than a backup can hold"));
        }
        for mut piece in [line, b"\n"] {
            while !piece.is_empty() {
                if self.buffer.len() == FRAME {
                    self.seal(false)?;
                }
                let (now, later) = piece.split_at(piece.len().min(FRAME - self.buffer.len()));
                self.buffer.extend_from_slice(now);
                piece = later;
            }
        }
        Ok(())
    }

    /// Without this, the backup is one that was cut off.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.seal(true)?;
        let done = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        done.map_err(Error::io(self.path))
    }

    fn seal(&mut self, last: bool) -> Result<(), Error> {
        let sealed = self.key.seal(&context(self.number, last), &self.buffer)?;
        let length = (sealed.len() as u32).to_le_bytes(); // Little more than FRAME.
        let written = self.file.write_all(&length).and_then(|()| self.file.write_all(&sealed));
        written.map_err(Error::io(&self.path))?;
        self.number += 1;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads lines.
pub(super) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    key: SecretKey,
    number: u64,
    /// Plaintext of the frame that is being read, and how much of it was.
    frame: Zeroizing<Vec<u8>>,
    read: usize,
    last: bool,
}

impl Reader {
    pub(super) fn new(path: &Path, key: &BackupKey) -> Result<Self, Error> {
        let mut file = BufReader::new(File::open(path).map_err(Error::io(path))?);
        let mut start = [0; MAGIC.len() + 2 * LENGTH];
        let whole = file.read_exact(&mut start);
        whole.map_err(cut_off(path))?;
        let (magic, rest) = start.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(backup(format!("{} is none, or of another version", path.display())));
        }
        let (mut salt, mut check) = ([0; LENGTH], [0; LENGTH]);
        salt.copy_from_slice(&rest[..LENGTH]);
        check.copy_from_slice(&rest[LENGTH..]);
        let (key, right) = key.derive(&salt);
        // Nothing secret is compared: whoever has the file can read the check.
        if check != right {
            return Err(backup(format!(
                "{} was made with another key, or was changed",
                path.display()
            )));
        }
        let frame = Zeroizing::new(Vec::new());
        Ok(Self { path: path.to_owned(), file, key, number: 0, frame, read: 0, last: false })
    }

    /// The next line into `line`, without its line break; false after the last.
    pub(super) fn line(&mut self, line: &mut Vec<u8>) -> Result<bool, Error> {
        line.clear();
        loop {
            let rest = &self.frame[self.read..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let piece = &rest[..end.unwrap_or(rest.len())];
            if line.len() + piece.len() > MAX_LINE {
                return Err(self.changed());
            }
            line.extend_from_slice(piece);
            self.read += piece.len();
            if end.is_some() {
                self.read += 1;
                return Ok(true);
            }
            if self.last {
                return if line.is_empty() { Ok(false) } else { Err(self.changed()) };
            }
            self.open()?;
        }
    }

    /// Reads and opens the next frame.
    fn open(&mut self) -> Result<(), Error> {
        let mut length = [0; 4];
        self.file.read_exact(&mut length).map_err(cut_off(&self.path))?;
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME + OVERHEAD {
            return Err(self.changed());
        }
        let mut sealed = vec![0; length];
        self.file.read_exact(&mut sealed).map_err(cut_off(&self.path))?;
        let open = |last| self.key.open(&context(self.number, last), &sealed);
        self.last = false;
        let opened = open(false).or_else(|_| {
            let opened = open(true);
            self.last = opened.is_ok();
            opened
        });
        self.frame = opened.map_err(|_| self.changed())?;
        self.read = 0;
        self.number += 1;
        let more = self.last && self.file.read(&mut [0]).map_err(Error::io(&self.path))? > 0;
        if more { Err(self.changed()) } else { Ok(()) }
    }

    pub(super) fn changed(&self) -> Error {
        backup(format!("{} was changed or damaged (piece {})", self.path.display(), self.number))
    }
}

fn cut_off(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |error| match error.kind() {
        ErrorKind::UnexpectedEof => backup(format!("{} is cut off", path.display())),
        _ => Error::Io { path, source: error },
    }
}
