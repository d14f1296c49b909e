//! Whole jobs out of the parts: a file is analysed, a plan made of it, and rendered by that plan.
//!
//! What belongs here: threads, bounded channels between them, the order of things, progress, and
//! the report of a job. What never does: FFmpeg calls, tensors, how a cover is painted, the command
//! line, tokio, or any path around [`redact::Painter`].
//!
//! ```text
//! analyse: decode -> detect (one worker a core) -> tracks, identities -> RedactionPlan
//! render:  decode -> paint -> encode -> mux
//! parts:   both, cut at IDR pictures, each part in a process of its own
//! search:  the first pass of analyse -> lines of faces
//! remux:   demux -> mux, of sealed originals
//! recording: demux -> mux, of what a live channel sent, and a poster
//! archive: demux -> mux, of a recording that was covered again, as segments of HLS
//! live:    decode -> detect -> plan -> paint -> encode, on a clock, see [`live`]
//! verify:  decode both files -> detect and compare (one worker a core) -> VerifyReport
//! ```

mod analyse;
mod archive;
mod color;
mod enrol;
mod error;
mod input;
mod job;
mod kept;
pub mod live;
mod parts;
mod photo;
mod poster;
mod recording;
mod recover;
mod remux;
mod render;
mod replan;
mod report;
mod schedule;
mod search;
mod sheet;
mod sighted;
mod steady;
mod threads;
mod verify;

pub use analyse::{Analysed, Analyst, analyse};
pub use archive::{ArchiveMade, ArchiveSpec, archive};
pub use enrol::{
    EnrolSpec, Examined, KeepSpec, KnownBy, Reason, Refusal, Templates, enrol, examine,
};
pub use error::JobError;
pub use input::Input;
pub use job::{JobSpec, Phase, Progress, Speed, run};
pub use parts::{PartRendered, PartSpec, SealTo, SeenParts, Step, Stepped, step};
pub use recording::{RecordingMade, RecordingSpec, recording};
pub use remux::{RemuxSpec, Remuxed, remux};
pub use replan::{RenderSpec, render_plan};
pub use report::{
    ByHand, CoveredWhole, FileHash, FrameCounts, Report, ReviewSpan, TrackReport, Verdict,
};
pub use search::{
    FaceLine, MOST_EVERY_MS, Match, PhotoSearchSpec, PhotoSearched, RatioBox, SearchSpec, Searched,
    VideoLine, search, search_photo,
};
pub use sighted::{Jpeg, Sighted, TrackExamined, TrackSpec, examine_track};
pub use verify::{
    FaceCounts, Failure, FailureKind, FoundBy, Sound, Spot, VERIFY_REPORT_VERSION, VerifiedFrames,
    VerifyReport, VerifySpec, Why, verify,
};
