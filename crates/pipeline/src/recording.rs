//! What a live channel sent becomes a file: packet for packet, with a poster.

use std::path::PathBuf;

use media::Recording;
use serde::{Deserialize, Serialize};

use crate::remux::{compare, copying};
use crate::{Input, JobError, Progress, poster};

/// What was recorded, and what it becomes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordingSpec {
    /// An HLS playlist of segments that a live channel of this server sent. They are trusted to be covered.
    pub playlist: PathBuf,
    /// The MP4.
    pub output: PathBuf,
    /// The poster, a JPEG; `None`: none.
    pub poster: Option<PathBuf>,
}

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordingMade {
    /// Pictures in it.
    pub frames: u64,
    /// What it says of itself ([`media::MediaInfo`]).
    pub info: serde_json::Value,
}

/// Makes one MP4 of a recording. It was read again and holds the packets of the recording.
///
/// # Errors
/// Any failure; what was written so far must not be used.
pub fn recording(
    spec: &RecordingSpec,
    emit: &mut dyn FnMut(Progress),
) -> Result<RecordingMade, JobError> {
    let RecordingSpec { playlist, output, poster } = spec;
    Recording::of_broadcast(playlist).mp4(output, &mut copying(emit))?;
    let made = Input::from(output.as_path());
    let (frames, info) = compare(&Input::from(playlist.as_path()), &made, emit)?;
    if let Some(poster) = poster {
        poster::of_recording(&Recording::of_broadcast(output), poster)?;
    }
    let info = serde_json::to_value(info).map_err(|e| made.unreadable(&e))?;
    Ok(RecordingMade { frames, info })
}
