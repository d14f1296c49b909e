//! Plain values that flow between the crates of Garim: time, geometry, frames, detections, tracks, ids.
//!
//! What belongs here: data with its units and the arithmetic that is true of it everywhere.
//! What never does: I/O, threads, FFmpeg, ONNX Runtime, policy (who is shown, what a cover looks
//! like), or anything that depends on another crate of the workspace.

mod frame;
mod geometry;
mod gop;
mod ids;
mod time;
mod track;

pub use frame::{Color, Frame, FramePool, Matrix, PixelFormat, Plane, Range};
pub use geometry::{Orientation, Point, Rect, Size};
pub use gop::Gop;
pub use ids::{
    ChannelId, CollectionId, ConsentId, DeliveryId, EventId, JobId, KeyId, PersonId, PhotoId,
    ServerId, SessionId, VideoId, WebhookId,
};
pub use time::{Pts, TimeBase};
pub use track::{
    BoxKind, Detection, Faint, Finding, PersonIx, SecondOpinion, Sighting, Track, TrackBox, TrackId,
};
