//! Whole jobs out of the parts: a file is analysed, a plan made of it, and rendered by that plan.
//!
//! What belongs here: threads, bounded channels between them, the order of things, progress, and
//! the report of a job. What never does: FFmpeg calls, tensors, how a cover is painted, the command
//! line, tokio, or any path around [`redact::Painter`].
//!
//! ```text
//! analyse: decode -> detect (one worker a core) -> tracks, identities -> RedactionPlan
//! render:  decode -> paint -> encode -> mux
//! verify:  decode both files -> detect and compare (one worker a core) -> VerifyReport
//! ```

mod analyse;
mod color;
mod enrol;
mod error;
mod input;
mod job;
mod kept;
mod photo;
mod poster;
mod render;
mod replan;
mod report;
mod schedule;
mod sheet;
mod steady;
mod threads;
mod verify;

pub use analyse::{Analysed, Analyst, analyse};
pub use enrol::{
    EnrolSpec, Examined, KeepSpec, KnownBy, Reason, Refusal, Templates, enrol, examine,
};
pub use error::JobError;
pub use input::Input;
pub use job::{JobSpec, Phase, Progress, Speed, run};
pub use replan::{RenderSpec, render_plan};
pub use report::{
    ByHand, CoveredWhole, FileHash, FrameCounts, Report, ReviewSpan, TrackReport, Verdict,
};
pub use verify::{
    FaceCounts, Failure, FailureKind, FoundBy, Sound, Spot, VERIFY_REPORT_VERSION, VerifiedFrames,
    VerifyReport, VerifySpec, Why, verify,
};
