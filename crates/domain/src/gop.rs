//! Groups of pictures.

use serde::{Deserialize, Serialize};

use crate::Pts;

/// A group of pictures that decodes on its own and is shown before all that follow it: from one IDR
/// picture (ITU-T H.264, 3.69) up to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gop {
    /// When its first picture is shown.
    pub start: Pts,
    /// Packets of pictures that are shown.
    pub packets: u32,
    /// Most pictures that are decoded before, and shown after, one and the same picture.
    pub reorder: u8,
    /// SHA-256 over the lengths and bytes of all its packets, in decoding order.
    pub sha256: [u8; 32],
    /// Whether its packets hold one shown picture each and nothing that a decoder passes over:
    /// what is seen of it is all there is.
    pub plain: bool,
}
