//! Live channels: what a publisher sends is covered by a child process and shown to many viewers.
//!
//! What belongs here: what a channel is and which state it is in, the session of a publisher, the
//! child that covers and encodes, the recording, and the origin that viewers read from ([`hls`],
//! [`origin`]). What never does: pictures being decoded, covered or encoded in this process, bytes
//! of RTMP being parsed, HTTP routes, SQL.
//!
//! The origin exists; the rest is to come. It is given finished CMAF fragments and looks at none of
//! their bytes:
//!
//! ```text
//! child ── init, parts ──► origin::Origin ─► hls::Playlist        what may be asked for, no clock
//!                              │    ▲
//!                              ▼    └── viewers: a playlist, a segment, a part that comes next
//!                          Response ──► HTTP, elsewhere
//! ```

pub mod hls;
pub mod origin;
