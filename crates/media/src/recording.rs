//! What a live channel sent, as it was recorded: covered already.
//!
//! Every picture in it was [`crate::Encoded`] when it was written. That cannot be told from the bytes, so whoever opens
//! a [`Recording`] answers for where they come from; what is made of one needs no plan.

use std::path::{Path, PathBuf};

use domain::Frame;

use crate::clock::Clock;
use crate::convert::{carried, copy};
use crate::muxer::Muxer;
use crate::reader::{Item, Reader, Streams};
use crate::source::Source;
use crate::{MediaError, MediaInfo};

/// A recorded broadcast.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
}

/// One picture of a [`Recording`]. Nothing else makes one.
///
/// ```compile_fail,E0451
/// fn leak(frame: domain::Frame) -> media::RecordedFrame {
///     media::RecordedFrame { frame }
/// }
/// ```
/// ```
/// fn fine(recording: &media::Recording) -> Option<media::RecordedFrame> {
///     recording.picture(3.0).ok().flatten()
/// }
/// ```
#[derive(Debug)]
pub struct RecordedFrame {
    frame: Frame,
}

impl RecordedFrame {
    /// The picture.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }
}

impl Recording {
    /// What lies at `path` (a file, or an HLS playlist) was sent by a live channel.
    pub fn of_broadcast(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// As [`crate::probe`].
    pub fn info(&self) -> Result<MediaInfo, MediaError> {
        crate::probe(&*self.path)
    }

    /// Writes its video and sound to the MP4 `output`, packet for packet, with the index in front. Its clock starts at
    /// zero, and where nobody recorded for a while there is no pause. `progress` gets seconds done and the length where
    /// known.
    ///
    /// # Errors
    /// [`MediaError::Refused`] when MP4 cannot carry the packets as they are; a recording that cannot be read to its end;
    /// an output that cannot be written.
    pub fn mp4(
        &self,
        output: &Path,
        progress: &mut dyn FnMut(f64, Option<f64>),
    ) -> Result<(), MediaError> {
        self.copy_to(|| Muxer::create(output), Clock::without_pauses, progress)
    }

    /// Writes its video and sound to `output` as a header and movie fragments, of which each begins with a key frame:
    /// segments of HLS. Packet for packet, by the clock that it has.
    ///
    /// # Errors
    /// As [`Recording::mp4`].
    pub fn fragments(
        &self,
        output: &Path,
        progress: &mut dyn FnMut(f64, Option<f64>),
    ) -> Result<(), MediaError> {
        self.copy_to(|| Muxer::fragmented(output), |clock| clock, progress)
    }

    fn copy_to(
        &self,
        muxer: impl FnOnce() -> Result<Muxer<'static>, MediaError>,
        times: impl FnOnce(Clock) -> Clock,
        progress: &mut dyn FnMut(f64, Option<f64>),
    ) -> Result<(), MediaError> {
        let source = Source::open((&*self.path).into())?;
        let streams = carried(&source, "a recording is not encoded again")?;
        let clock = times(Clock::of(&source, streams.0)?);
        copy(source, streams, clock, muxer()?, progress)
    }

    /// The first picture that is shown at `seconds` or later, or else the last one; `None`: there is none.
    ///
    /// # Errors
    /// When it cannot be decoded.
    pub fn picture(&self, seconds: f64) -> Result<Option<RecordedFrame>, MediaError> {
        let mut reader = Reader::open(&*self.path, Streams::Video, false)?;
        let mut last = None;
        while let Some(item) = reader.next()? {
            let Item::Frame(decoded) = item else { continue };
            let frame = decoded.frame;
            let is_it = frame.pts.seconds() >= seconds;
            last = Some(RecordedFrame { frame });
            if is_it {
                break;
            }
        }
        Ok(last)
    }
}
