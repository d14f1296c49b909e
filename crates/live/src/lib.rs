//! Live channels: what a publisher sends is covered by a child process and shown to many viewers.
//!
//! What belongs here: what a channel is and which state it is in, the session of a publisher, the
//! child that covers and encodes, the recording, and the origin that viewers read from ([`hls`],
//! [`origin`]). What never does: pictures being decoded, covered or encoded in this process, bytes
//! of RTMP being parsed, HTTP routes, SQL.
//!
//! ```text
//! publisher ─► ingest ─► channel ─► child          media, by a pipe
//!                          │ ▲         │
//!                desk ─────┘ └─────────┘ parts     covered and encoded; nobody here looks into them
//!    (claims, beats)       ├─► origin ─► viewers   a playlist, a segment, a part that comes next
//!                          ├─► recorder ─► objects
//!                          └─► received ─► objects   what the publisher sent, sealed, if the policy says so
//! ```

pub mod hls;
pub mod origin;

mod channel;
mod child;
mod desk;
mod door;
mod ingest;
mod people;
mod received;
mod recorder;

pub use channel::Shared;
pub use child::{Spawn, resident_kib};
pub use desk::{Desk, Watched};
pub use ingest::{Socket, listen};
pub use people::recognisable;
pub use received::{Take, takes};
pub use recorder::{Recorded, Segment, all};
