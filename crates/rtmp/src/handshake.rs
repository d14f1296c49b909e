//! The handshake (RTMP 5.2), the simple one: clients that offer a digest take it as well.

use bytes::{Buf, BytesMut};

use crate::Error;

/// Bytes of C1, C2, S1 and S2.
const PACKET: usize = 1536;
/// The version of plain RTMP.
const VERSION: u8 = 3;

/// What other protocols begin with. Versions from 32 on are not used, so that text is told apart (RTMP 5.2.2).
const OTHERS: [(&[u8], &str); 12] = [
    (b"GET ", "HTTP"),
    (b"POST ", "HTTP"),
    (b"PUT ", "HTTP"),
    (b"HEAD ", "HTTP"),
    (b"DELETE ", "HTTP"),
    (b"OPTIONS ", "HTTP"),
    (b"PATCH ", "HTTP"),
    (b"CONNECT ", "HTTP"),
    (b"PRI * ", "HTTP"),
    (b"SSH-", "SSH"),
    (&[0x16, 3], "TLS (RTMPS or HTTPS)"),
    (&[6], "encrypted RTMP (RTMPE)"),
];

/// Takes C0 and C1 and writes S0, S1 and S2. `false`: more bytes are needed.
pub(crate) fn greet(input: &mut BytesMut, output: &mut Vec<u8>) -> Result<bool, Error> {
    if input.first().is_some_and(|version| *version != VERSION) {
        return not_rtmp(input);
    }
    if input.len() <= PACKET {
        return Ok(false);
    }
    input.advance(1);
    let hello = input.split_to(PACKET);
    output.push(VERSION);
    // S1: a time and a version of 0, which says "no digest", and any bytes.
    output.extend_from_slice(&[0; 8]);
    output.extend((8..PACKET).map(|i| i as u8));
    output.extend_from_slice(&hello);
    Ok(true)
}

/// Takes C2, whatever is in it: what it should echo proves nothing.
pub(crate) fn finish(input: &mut BytesMut) -> bool {
    let complete = input.len() >= PACKET;
    if complete {
        input.advance(PACKET);
    }
    complete
}

/// `false` while the bytes are the beginning of a known protocol's.
fn not_rtmp(input: &[u8]) -> Result<bool, Error> {
    for (beginning, name) in OTHERS {
        if input.starts_with(beginning) {
            return Err(Error::NotRtmp(name));
        }
    }
    if OTHERS.iter().any(|(beginning, _)| beginning.starts_with(input)) {
        return Ok(false);
    }
    Err(Error::NotRtmp("another protocol, or an unknown version of RTMP"))
}
