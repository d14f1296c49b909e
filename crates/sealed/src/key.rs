//! Keys of sealed files.

use std::fmt;

use aes_gcm::aead::Generate;
use aes_gcm::{Aes256Gcm, Key, KeyInit};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// Bytes of a key.
const LENGTH: usize = 32;

/// The key of one sealed file: 32 secret bytes, overwritten when dropped. Cannot be printed. Serialised, it is
/// 64 hexadecimal digits, for the pipe to the process that reads the file and for nothing else.
#[derive(Clone)]
pub struct SealKey(Zeroizing<[u8; LENGTH]>);

impl SealKey {
    /// A new random one.
    pub fn random() -> Self {
        Self(Zeroizing::new(Generate::generate()))
    }

    /// The key that [`SealKey::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8; LENGTH]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// The key itself, for whoever seals it with another.
    pub fn to_bytes(&self) -> Zeroizing<[u8; LENGTH]> {
        self.0.clone()
    }

    pub(crate) fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(<&Key<Aes256Gcm>>::from(&*self.0))
    }
}

impl Serialize for SealKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half & 15)]);
        let mut text = Zeroizing::new(String::with_capacity(2 * LENGTH));
        for byte in self.0.iter() {
            text.push(digit(byte >> 4));
            text.push(digit(*byte));
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for SealKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Hex)
    }
}

struct Hex;

impl Visitor<'_> for Hex {
    type Value = SealKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key of {} hexadecimal digits", 2 * LENGTH)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SealKey, E> {
        // The message must not repeat the text.
        let bad = || E::custom("a key is not 64 hexadecimal digits");
        let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
        if text.len() != 2 * LENGTH {
            return Err(bad());
        }
        let mut key = Zeroizing::new([0; LENGTH]);
        for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(bad());
            };
            *byte = high << 4 | low;
        }
        Ok(SealKey(key))
    }
}
