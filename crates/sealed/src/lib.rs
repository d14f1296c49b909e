//! Sealed originals: videos as they came, encrypted piece by piece, and read with seeks.
//!
//! What belongs here: the format, its keys, writing them, reading them. What never does: where
//! sealed files are kept, who may open them, what is in them.
//!
//! A sealed file is a sequence of records, each with at most [`MAX_RECORD`] bytes of plaintext:
//!
//! ```text
//! u32 LE length of what follows the nonce | nonce, 12 random bytes | AES-256-GCM ciphertext | tag, 16 bytes
//! ```
//!
//! The associated data of a record are the context ("original of" and whose), its length before it, and the
//! offset of the record's plaintext, both numbers as u64 LE. So records cannot be moved, repeated, left out in
//! between, or put into another file. That some are missing at the end is told by the length of the whole
//! plaintext, which is kept elsewhere ([`Sealed`]).

mod key;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::{fmt, io};

use aes_gcm::Nonce;
use aes_gcm::aead::{Aead, Generate, Payload};
use serde::{Deserialize, Serialize};

pub use key::SealKey;
pub use reader::Reader;
pub use writer::Writer;

/// Most bytes of plaintext in a record.
pub const MAX_RECORD: usize = 1 << 20;

/// Bytes of a record's length.
const LENGTH: usize = 4;
/// Bytes of a nonce. Random; NIST SP 800-38D allows 2^32 messages with one key that way.
const NONCE: usize = 12;
/// Bytes of a tag.
const TAG: usize = 16;

/// What there is to know of a sealed file in order to read it. Whoever has this can read it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Its key.
    pub key: SealKey,
    /// What it is and whose.
    pub context: String,
    /// Bytes of plaintext.
    pub len: u64,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, sealed as {:?}", self.len, self.context)
    }
}

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A record would be empty or longer than [`MAX_RECORD`].
    #[error("a record of {0} bytes: 1 to {MAX_RECORD} can be sealed")]
    RecordSize(usize),
    /// The cipher refused.
    #[error("cannot be sealed")]
    Cipher,
    /// It is not what was sealed: changed, cut off, put together of other records, or another's key.
    #[error("the sealed original was changed: {0}")]
    Changed(String),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Seals `plain`, which stands at `offset` in the plaintext, as one record.
///
/// # Errors
/// [`Error::RecordSize`].
pub fn seal(key: &SealKey, context: &str, offset: u64, plain: &[u8]) -> Result<Vec<u8>, Error> {
    if plain.is_empty() || plain.len() > MAX_RECORD {
        return Err(Error::RecordSize(plain.len()));
    }
    let nonce = Nonce::generate();
    let aad = associated(context, offset);
    let payload = Payload { msg: plain, aad: &aad };
    let text = key.cipher().encrypt(&nonce, payload).map_err(|_| Error::Cipher)?;
    let length = u32::try_from(text.len()).map_err(|_| Error::RecordSize(plain.len()))?;
    let mut record = Vec::with_capacity(LENGTH + NONCE + text.len());
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&nonce);
    record.extend_from_slice(&text);
    Ok(record)
}

/// Bytes of a record with so many of plaintext.
pub fn sealed_len(plain: u64) -> u64 {
    plain + (LENGTH + NONCE + TAG) as u64
}

/// What a record is bound to.
fn associated(context: &str, offset: u64) -> Vec<u8> {
    let length = context.len() as u64;
    [&length.to_le_bytes(), context.as_bytes(), &offset.to_le_bytes()].concat()
}
