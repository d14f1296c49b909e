//! Why a job failed.

use std::path::PathBuf;

/// Each message names the input and the next step; none leaves an output behind.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The media file, in or out.
    #[error(transparent)]
    Media(#[from] media::MediaError),
    /// Models, detectors, enrolment photos.
    #[error(transparent)]
    Vision(#[from] vision::Error),
    /// The policy asked for is weaker than what was measured safe.
    #[error(transparent)]
    Policy(#[from] redact::PolicyError),
    /// A plan that cannot be rendered.
    #[error("{}: {why}", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: redact::PlanError,
    },
    /// A job without an output.
    #[error("{}: neither a covered file nor a plan is asked for", .0.display())]
    NothingToWrite(PathBuf),
    /// A poster of what is not covered.
    #[error("{}: a poster is asked for, but no covered file", .0.display())]
    PosterAlone(PathBuf),
    /// A picture of uncovered faces, of an original that is sealed so that none is on a disk.
    #[error("{}: is sealed, so no contact sheet is made of it: it would show faces uncovered", .0.display())]
    SheetOfSealed(PathBuf),
    /// The other end of a live channel's pipe.
    #[error(transparent)]
    Pipe(crate::live::wire::WireError),
    /// A still picture could not be read or written.
    #[error("{}: {why}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A search that makes no sense.
    #[error("{0}")]
    Search(String),
    /// A face that is not in the plan.
    #[error("{}: has no face {track}; the report lists the faces by number", path.display())]
    NoTrack {
        /// The plan.
        path: PathBuf,
        /// The number asked for.
        track: u32,
    },
    /// What the steps of a job in parts say does not fit together.
    #[error("part {0} of the video is not what was cut; run the job again")]
    NoPart(usize),
    /// A thread of the job panicked: a bug, and nothing was written.
    #[error(
        "internal error: the {0} thread panicked; please report it with the input's `garim probe`"
    )]
    Panicked(&'static str),
}
