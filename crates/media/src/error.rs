//! What can go wrong with a media file, split by what the caller can do about it.

use std::path::PathBuf;

/// Every message names the file and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The input is not a video that can be read: missing, empty, damaged, of another kind.
    #[error("{}: {why}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the next step where there is one.
        why: String,
    },
    /// The input is readable, but Garim does not take its kind (10-bit without the flag,
    /// interlaced, a picture size that changes, a playlist in disguise).
    #[error("{}: {why}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why, and what to do about it.
        why: String,
    },
    /// The output cannot be written.
    #[error("{}: {why}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Copied and encoded packets do not fit into one track; encoding everything is the way.
    #[error("packets cannot be copied beside encoded ones: {0} do not fit")]
    NotSpliced(&'static str),
    /// FFmpeg refused something that should have worked; nothing the user did.
    #[error("FFmpeg: {what}: {why}")]
    Ffmpeg {
        /// The call or the part.
        what: &'static str,
        /// FFmpeg's own words.
        why: String,
    },
}
