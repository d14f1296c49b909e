//! Parts as a channel would send them.
#![allow(dead_code, reason = "each test uses some of it")]

use bytes::Bytes;
use jiff::Timestamp;
use live::hls::{Duration90k, Part, Playlist, Settings};

/// Frames of a part and of a segment at 30000/1001 Hz, and ticks of a frame.
pub const PART: u64 = 10;
pub const SEGMENT: u64 = 60;
pub const FRAME: u64 = 3003;

/// Segments of 2.002 s in six parts; five of them are listed.
pub fn settings() -> Settings {
    let targets = (Duration90k(SEGMENT * FRAME), Duration90k(PART * FRAME));
    Settings { window: 5, grace: 2, ..Settings::new(targets.0, targets.1) }
}

/// A playlist with an initialisation section.
pub fn playlist() -> Playlist {
    let mut playlist = Playlist::new(settings(), "").unwrap();
    playlist.map(Bytes::from_static(b"init"), settings().segment_target).unwrap();
    playlist
}

/// The part at this place of a stream that began on 1 July 2026 and was never cut short.
pub fn part(msn: u64, index: u64) -> Part {
    let frames = msn * SEGMENT + index * PART;
    Part {
        media: Bytes::from(format!("<{msn}.{index}>")),
        duration: Duration90k(PART * FRAME),
        independent: index == 0,
        starts_segment: index == 0,
        program_date_time: at(Duration90k(frames * FRAME)),
    }
}

/// The first parts of such a stream.
pub fn parts(count: u64) -> impl Iterator<Item = Part> {
    (0..count).map(|n| part(n / 6, n % 6))
}

/// So long after the stream began.
pub fn at(after: Duration90k) -> Timestamp {
    let start: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
    start + jiff::SignedDuration::from_micros(after.micros().try_into().unwrap())
}
