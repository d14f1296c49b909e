//! A covered video as HLS: its packets once more, as segments that lie one behind the other in a file.

use std::io;
use std::path::{Path, PathBuf};

use domain::Pts;
use media::{Kind, MediaError, Packets, Recording};
use serde::{Deserialize, Serialize};

use crate::remux::{compare, copying};
use crate::{Input, JobError, Progress};

/// Ticks of a second.
const TICKS: f64 = 90_000.0;
/// Segments at most; a video of more has no archive.
const MAX_SEGMENTS: usize = 100_000;

/// What becomes an archive.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveSpec {
    /// An MP4 that this server covered. It is trusted to be that.
    pub covered: PathBuf,
    /// The header and the segments, one behind the other.
    pub output: PathBuf,
}

/// Where things are in the file.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ArchiveMade {
    /// Bytes of the header, with which the file begins.
    pub header: u64,
    /// Bytes of each segment, and how long it plays, in ticks of 1/90000 s.
    pub segments: Vec<(u64, u64)>,
}

/// Makes segments of a covered MP4; `None`: there would be too many. They were read again and hold its packets.
///
/// # Errors
/// Any failure; what was written so far must not be used.
pub fn archive(
    spec: &ArchiveSpec,
    emit: &mut dyn FnMut(Progress),
) -> Result<Option<ArchiveMade>, JobError> {
    let ArchiveSpec { covered, output } = spec;
    Recording::of_broadcast(covered).fragments(output, &mut copying(emit))?;
    compare(&Input::from(covered.as_path()), &Input::from(output.as_path()), emit)?;
    let unreadable = |e: io::Error| MediaError::Input { path: output.clone(), why: e.to_string() };
    let (header, bytes) = media::fragment_lengths(output).map_err(unreadable)?;
    let ticks = durations(output)?;
    if bytes.len() != ticks.len() || bytes.is_empty() {
        let why = format!("has {} fragments and {} key frames", bytes.len(), ticks.len());
        return Err(MediaError::Refused { path: output.clone(), why }.into());
    }
    let made = ArchiveMade { header, segments: bytes.into_iter().zip(ticks).collect() };
    Ok((made.segments.len() <= MAX_SEGMENTS).then_some(made))
}

/// How long it is from each key frame to the next, and from the last to the end.
fn durations(path: &Path) -> Result<Vec<u64>, MediaError> {
    let mut packets = Packets::open(path)?;
    let (mut starts, mut end) = (Vec::new(), 0.0_f64);
    while let Some(packet) = packets.next()? {
        let (Kind::Video, Some(at)) = (packet.kind, packet.at) else { continue };
        if packet.key {
            starts.push(at.seconds());
        }
        let over = Pts { ticks: at.ticks.saturating_add(packet.duration.max(0)), ..at };
        end = end.max(over.seconds());
    }
    starts.push(end);
    let ticks = |seconds: f64| (seconds.max(0.0) * TICKS).round() as u64;
    Ok(starts.windows(2).map(|pair| ticks(pair[1] - pair[0])).collect())
}
