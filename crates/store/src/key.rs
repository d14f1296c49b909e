//! The server's key, and sealing with it.
//!
//! Every person has a key of their own; it is sealed by the server's, and seals what is theirs. So destroying
//! one short value destroys all of it, in backups as well once the key is gone from them.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead, Generate, Payload};
use aes_gcm::{Aes256Gcm, Key, KeyInit, Nonce};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sealed::SealKey;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Error;

/// Bytes of a key.
const LENGTH: usize = 32;
/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;
/// Bytes of an AES-GCM nonce. Random; NIST SP 800-38D allows 2^32 messages with one key that way.
const NONCE: usize = 12;
/// First byte of everything sealed: AES-256-GCM, then the nonce, the ciphertext and its tag.
const VERSION: u8 = 1;

/// Where the server's key is.
#[derive(Clone)]
pub enum KeySource {
    /// 64 hexadecimal digits, out of the environment.
    Given(Zeroizing<String>),
    /// A file with them that only its owner can read; made for a new database.
    File(PathBuf),
}

/// 32 secret bytes. Cannot be printed; overwritten when dropped.
#[derive(Clone)]
pub(crate) struct SecretKey(Zeroizing<[u8; LENGTH]>);

impl SecretKey {
    /// A new random one.
    pub(crate) fn random() -> Self {
        let key = Zeroizing::new(<[u8; LENGTH]>::generate());
        Self(key)
    }

    /// The bytes, to be handed out as somebody's secret.
    pub(crate) fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// The server's key. `may_make`: a missing file is made.
    pub(crate) fn of_server(source: &KeySource, may_make: bool) -> Result<Self, Error> {
        match source {
            KeySource::Given(text) => parse(text).ok_or_else(|| bad(None, NOT_HEX)),
            KeySource::File(path) => {
                if may_make {
                    make(path)?;
                }
                read(path)
            }
        }
    }

    /// A key for another purpose that tells nothing of this one (HMAC as a PRF, RFC 5869 section 2).
    pub(crate) fn derive(&self, purpose: &str) -> Self {
        Self(Zeroizing::new(self.mac(&[purpose.as_bytes()])))
    }

    /// HMAC-SHA256 (RFC 2104) over all parts, each with its length before it.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> [u8; LENGTH] {
        // Keys shorter than a block are filled up with zeros (RFC 2104, section 2).
        let mut block = Zeroizing::new([0; BLOCK]);
        block[..LENGTH].copy_from_slice(&*self.0);
        let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Seals `plain`. `context` says what it is and whose, so that nobody can put it elsewhere.
    pub(crate) fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce = Nonce::generate();
        let sealed = self
            .cipher()
            .encrypt(&nonce, Payload { msg: plain, aad: context.as_bytes() })
            .map_err(|_| Error::Sealed(context.to_owned()))?;
        let mut out = Vec::with_capacity(1 + NONCE + sealed.len());
        out.push(VERSION);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Opens what [`SecretKey::seal`] made for the same `context`.
    pub(crate) fn open(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let failed = || Error::Sealed(context.to_owned());
        let (&version, rest) = sealed.split_first().ok_or_else(failed)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE>().ok_or_else(failed)?;
        if version != VERSION {
            return Err(failed());
        }
        let payload = Payload { msg: text, aad: context.as_bytes() };
        let plain = self.cipher().decrypt(nonce.into(), payload).map_err(|_| failed())?;
        Ok(Zeroizing::new(plain))
    }

    /// A person's key, out of what is stored of it.
    pub(crate) fn open_key(&self, context: &str, sealed: &[u8]) -> Result<Self, Error> {
        let plain = self.open(context, sealed)?;
        let bytes = <[u8; LENGTH]>::try_from(plain.as_slice());
        bytes.map(|b| Self(Zeroizing::new(b))).map_err(|_| Error::Sealed(context.to_owned()))
    }

    /// Seals another key.
    pub(crate) fn seal_key(&self, context: &str, key: &Self) -> Result<Vec<u8>, Error> {
        self.seal(context, &*key.0)
    }

    /// Seals a key of a file.
    pub(crate) fn seal_file_key(&self, context: &str, key: &SealKey) -> Result<Vec<u8>, Error> {
        self.seal(context, &*key.to_bytes())
    }

    /// A key of a file, out of what is stored of it in the column `what`.
    pub(crate) fn open_file_key(
        &self,
        context: &str,
        sealed: &[u8],
        what: &'static str,
    ) -> Result<SealKey, Error> {
        let plain = self.open(context, sealed)?;
        let bytes = plain.as_slice().try_into().map_err(|_| Error::Damaged(what))?;
        Ok(SealKey::from_bytes(bytes))
    }

    /// Itself in base64url without padding (RFC 4648, section 5), after `prefix`.
    pub(crate) fn to_base64url(&self, prefix: &str) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 43));
        text.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(*self.0, &mut text);
        text
    }

    /// Itself as 64 hexadecimal digits, for a key file.
    pub(crate) fn to_hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * LENGTH));
        for byte in self.0.iter() {
            for half in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(half)]));
            }
        }
        text
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(<&Key<Aes256Gcm>>::from(&*self.0))
    }
}

const NOT_HEX: &str = "is not 64 hexadecimal digits";

fn bad(path: Option<&Path>, why: impl Into<String>) -> Error {
    Error::Key { path: path.map(Path::to_owned), why: why.into() }
}

/// The key in a file that only its owner may read.
pub(crate) fn read(path: &Path) -> Result<SecretKey, Error> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(bad(
                Some(path),
                "is missing; without it nobody's templates can be read. Put it back",
            ));
        }
        Err(e) => return Err(Error::io(path)(e)),
    };
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(bad(
            Some(path),
            format!("can be read by others: chmod 600 {}", path.display()),
        ));
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(Error::io(path))?);
    parse(&text).ok_or_else(|| bad(Some(path), NOT_HEX))
}

/// Makes a key file, complete or not at all; leaves one that is there alone.
fn make(path: &Path) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    write(path, &SecretKey::random())
}

/// Writes a key file, complete or not at all; leaves one that is there alone.
pub(crate) fn write(path: &Path, key: &SecretKey) -> Result<(), Error> {
    // By a name that nobody else has: processes in containers may have the same number.
    let draft = path.with_extension(format!("new-{}", uuid::Uuid::now_v7().simple()));
    let written = (|| {
        let mut file: File =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(key.to_hex().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        match fs::hard_link(&draft, path) {
            // Another process was faster: its key is the one.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    })();
    let _ = fs::remove_file(&draft);
    written.map_err(Error::io(path))
}

/// A key out of 64 hexadecimal digits.
pub(crate) fn parse(text: &str) -> Option<SecretKey> {
    let text = text.trim();
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    if text.len() != 2 * LENGTH || digits.len() != 2 * LENGTH {
        return None;
    }
    let mut key = Zeroizing::new([0; LENGTH]);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(SecretKey(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_with_the_same_key_for_the_same_thing() {
        let (key, other) = (SecretKey::random(), SecretKey::random());
        let sealed = key.seal("template:1", b"secret").unwrap();
        assert_eq!(&**key.open("template:1", &sealed).unwrap(), b"secret");
        assert!(key.open("template:2", &sealed).is_err());
        assert!(other.open("template:1", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open("template:1", &changed).is_err(), "byte {at}");
            assert!(key.open("template:1", &sealed[..at]).is_err(), "{at} bytes");
        }
        assert_ne!(sealed, key.seal("template:1", b"secret").unwrap());
    }

    #[test]
    fn parts_of_a_mac_cannot_be_shifted() {
        let key = SecretKey::random();
        assert_ne!(key.mac(&[b"ab", b"c"]), key.mac(&[b"a", b"bc"]));
        assert_ne!(key.derive("a").mac(&[]), key.derive("b").mac(&[]));
    }

    #[test]
    fn a_key_file_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.key");
        let source = KeySource::File(path.clone());
        let missing = SecretKey::of_server(&source, false).err().unwrap().to_string();
        assert!(missing.contains("server.key") && missing.contains("Put it back"), "{missing}");
        let made = SecretKey::of_server(&source, true).unwrap();
        let again = SecretKey::of_server(&source, true).unwrap();
        assert_eq!(*made.0, *again.0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let open = SecretKey::of_server(&source, true).err().unwrap().to_string();
        assert!(open.contains("chmod 600"), "{open}");
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        let given = |text: &str| {
            SecretKey::of_server(&KeySource::Given(Zeroizing::new(text.to_owned())), true)
        };
        assert!(given(&"0f".repeat(32)).is_ok());
        for text in ["", "0f", &"0f".repeat(33), &"0g".repeat(32), &"é".repeat(32)] {
            let error = given(text).err().unwrap().to_string();
            assert_eq!(error, "the server's key in GARIM_SERVER_KEY: is not 64 hexadecimal digits");
        }
    }
}
