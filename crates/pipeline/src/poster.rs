//! A still picture that stands for the video where it is listed: one covered frame.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use domain::{Frame, Orientation, Point, Size, TimeBase};
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use media::{MediaInfo, Recording};
use redact::{Covered, Redacted, RedactionPlan};

use crate::{JobError, color};

/// Longest side, in pixels.
const LONG_SIDE: u32 = 1280;
/// JPEG quality.
const QUALITY: u8 = 85;
/// The frame is looked for so far into the video, in seconds, or a third of its length if that is less:
/// videos often start black.
const INTO: f64 = 3.0;

/// The poster of a video that is being rendered.
pub(crate) struct Poster<'a> {
    seq: u64,
    view: View,
    path: &'a Path,
    written: bool,
}

impl<'a> Poster<'a> {
    /// `None` where none is asked for, or there is no frame to make it of.
    pub(crate) fn new(
        path: Option<&'a Path>,
        plan: &RedactionPlan,
        info: &MediaInfo,
    ) -> Option<Self> {
        let path = path?;
        let seq = choose(plan, info.video.time_base)?;
        let view = View::of(info);
        Some(Self { seq, view, path, written: false })
    }

    /// The frame that makes it.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Writes it, if this is its frame.
    pub(crate) fn see(&mut self, covered: &Redacted) -> Result<(), JobError> {
        if covered.frame().seq == self.seq {
            write(covered, None, self.view, self.path)?;
            self.written = true;
        }
        Ok(())
    }

    /// Whether its frame came.
    pub(crate) fn is_written(&self) -> bool {
        self.written
    }
}

/// How the pixels of a video are to be looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) orientation: Orientation,
    /// Width and height of a coded pixel; not positive where unknown.
    pub(crate) aspect: (i32, i32),
}

impl View {
    fn of(info: &MediaInfo) -> Self {
        let video = &info.video;
        Self { orientation: video.orientation, aspect: video.sample_aspect_ratio }
    }

    /// Size of the poster of a coded picture.
    fn size(self, coded: Size) -> (u32, u32) {
        let aspect = match self.aspect {
            (num, den) if num > 0 && den > 0 => f64::from(num) / f64::from(den),
            _ => 1.0,
        };
        let (width, height) = (f64::from(coded.width) * aspect, f64::from(coded.height));
        let scale = (f64::from(LONG_SIDE) / width.max(height)).min(1.0);
        let side = |side: f64| ((side * scale).round() as u32).clamp(1, LONG_SIDE);
        let upright = Size { width: side(width), height: side(height) };
        let Size { width, height } = self.orientation.upright_size(upright);
        (width, height)
    }
}

/// The frame (`seq`) of a plan that makes the poster: the one nearest to the right time, but one that is
/// covered whole only if all are. `None`: the plan has no frames.
fn choose(plan: &RedactionPlan, base: TimeBase) -> Option<u64> {
    let first = plan.iter().next()?.ticks;
    let length = base.seconds(plan.iter().last()?.ticks.saturating_sub(first));
    let wanted = INTO.min(length / 3.0);
    let distance = |ticks: i64| (base.seconds(ticks.saturating_sub(first)) - wanted).abs();
    let whole = |covered| matches!(covered, Covered::All(_));
    let nearest = plan.iter().zip(0..).min_by(|(a, _), (b, _)| {
        let worse = whole(a.covered).cmp(&whole(b.covered));
        worse.then(distance(a.ticks).total_cmp(&distance(b.ticks)))
    });
    nearest.map(|(_, seq)| seq)
}

/// Writes a covered frame as JPEG, upright, without any metadata. What lies below transparent pixels (`alpha`,
/// one value for each pixel of an upright frame) nobody sees, so it is white.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(
    covered: &Redacted,
    alpha: Option<&[u8]>,
    view: View,
    path: &Path,
) -> Result<(), JobError> {
    draw(covered.frame(), alpha, view, path)
}

/// Writes the poster of what a live channel sent, which was covered then.
///
/// # Errors
/// A recording that cannot be read, or has no picture; the file cannot be written.
pub(crate) fn of_recording(recording: &Recording, path: &Path) -> Result<(), JobError> {
    let info = recording.info()?;
    let wanted = INTO.min(info.duration.unwrap_or(0.0) / 3.0);
    let Some(picture) = recording.picture(wanted)? else {
        let why = "cannot be made: the recording has no picture".to_owned();
        return Err(JobError::Picture { path: path.to_owned(), why });
    };
    draw(picture.frame(), None, View::of(&info), path)
}

/// Of a frame that is covered, or was.
fn draw(frame: &Frame, alpha: Option<&[u8]>, view: View, path: &Path) -> Result<(), JobError> {
    let (width, height) = view.size(frame.size);
    let Size { width: w, height: h } = view.orientation.upright_size(frame.size);
    let mut full = color::upright(frame, view.orientation, (w, h), |p: Point| p);
    for (pixel, &alpha) in full.pixels_mut().zip(alpha.unwrap_or_default()) {
        pixel.0 = pixel.0.map(|v| 255 - ((255 - u16::from(v)) * u16::from(alpha) / 255) as u8);
    }
    let picture = resize(&full, width, height, FilterType::Triangle);
    encode(&picture, path)
}

fn encode(picture: &RgbImage, path: &Path) -> Result<(), JobError> {
    let bad = |why: String| JobError::Picture {
        path: path.to_owned(),
        why: format!("cannot be written: {why}"),
    };
    let mut out = BufWriter::new(File::create(path).map_err(|e| bad(e.to_string()))?);
    JpegEncoder::new_with_quality(&mut out, QUALITY)
        .encode_image(picture)
        .map_err(|e| bad(e.to_string()))?;
    out.flush().map_err(|e| bad(e.to_string()))
}

#[cfg(test)]
mod tests {
    use domain::Pts;
    use redact::{Analysis, Policy, Seen};

    use super::*;

    fn view(quarter_turns: u8, aspect: (i32, i32)) -> View {
        View { orientation: Orientation::new(quarter_turns, false), aspect }
    }

    #[test]
    fn a_poster_is_as_large_as_a_viewer_sees_the_video_and_no_larger_than_it_may_be() {
        let size = |width, height, view: View| view.size(Size { width, height });
        assert_eq!(size(1920, 1080, view(0, (1, 1))), (1280, 720));
        assert_eq!(size(1920, 1080, view(1, (1, 1))), (720, 1280));
        assert_eq!(size(320, 180, view(3, (0, 1))), (180, 320));
        assert_eq!(size(720, 576, view(0, (64, 45))), (1024, 576));
        assert_eq!(size(720, 576, view(1, (64, 45))), (576, 1024));
        assert_eq!(size(100, 100, view(0, (i32::MAX, 1))), (1280, 1));
        assert_eq!(size(100, 100, view(0, (1, i32::MAX))), (1, 100));
    }

    /// A plan of a frame a second, of which these are as given and all others were looked at.
    fn plan(frames: i64, skipped: &[i64]) -> (RedactionPlan, TimeBase) {
        let base = TimeBase::new(1, 1).unwrap();
        let mut analysis = Analysis::new(Size { width: 8, height: 8 });
        for ticks in 0..frames {
            let seen = if skipped.contains(&ticks) { Seen::Damaged } else { Seen::Detected };
            analysis.frame(Pts::new(ticks + 7, base), seen, false);
        }
        (analysis.finish(&[], &[], &Policy::default()), base)
    }

    #[test]
    fn the_frame_at_three_seconds_or_a_third_is_chosen_but_none_that_is_covered_whole() {
        let choose = |frames, skipped: &[i64]| {
            let (plan, base) = plan(frames, skipped);
            choose(&plan, base)
        };
        assert_eq!(choose(100, &[]), Some(3));
        assert_eq!(choose(7, &[]), Some(2));
        assert_eq!(choose(1, &[]), Some(0));
        assert_eq!(choose(1, &[0]), Some(0));
        assert_eq!(choose(0, &[]), None);
        assert_eq!(choose(100, &[0, 1, 2, 3, 4]), Some(5));
    }
}
