//! How much of a processor a channel takes on this machine, tried with made-up pictures before there is one.

use std::time::{Duration, Instant};

use domain::{
    Color, Frame, FramePool, Matrix, Orientation, PixelFormat, Pts, Range, Size, TimeBase,
};
use media::{LiveSettings, VideoEncoder};
use redact::{Analysis, Painter, Policy, Seen};
use serde::{Deserialize, Serialize};
use vision::{Detector, Engine, models};

use super::broadcast::LiveEncoding;
use crate::schedule::Schedule;
use crate::{JobError, Speed};

/// The picture that is tried: what phones send.
const SIZE: Size = Size { width: 1280, height: 720 };
const COLOR: Color = Color { range: Range::Limited, matrix: Matrix::Bt709 };
const FRAME_RATE: u32 = 30;
/// A second of pictures is covered so often. The quickest counts: others may be at work meanwhile.
const ROUNDS: usize = 3;
/// Of all the time of the processors, channels are promised this much. These pictures change everywhere all the time:
/// of a real stream, decoding and sending it included, 0.5 of a core were seen where this says 0.7.
const PROMISED: f64 = 0.85;
/// Channels of one server, at most.
const MOST: u32 = 1000;
/// With less than one channel on a core, pictures are compressed by a preset that takes half the time.
const QUICK_PRESET: &str = "ultrafast";

/// What one channel of 1280x720 with 30 frames a second takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gauge {
    /// Seconds of one core for a second of pictures, above 0.
    pub cores: f64,
}

impl Gauge {
    /// How many channels so many cores cover; at least one.
    pub fn channels(&self, cores: u32) -> u32 {
        let channels = f64::from(cores) * PROMISED / self.cores.max(0.001);
        (channels as u32).clamp(1, MOST)
    }

    /// How pictures should be compressed by a machine that is that fast.
    pub fn encoding(&self, usual: LiveEncoding) -> LiveEncoding {
        if self.cores <= PROMISED {
            return usual;
        }
        LiveEncoding { preset: QUICK_PRESET.to_owned(), ..usual }
    }
}

/// Looks at a few seconds of pictures, paints and encodes them as a channel would, but one after the other.
///
/// # Errors
/// When models are missing or the encoder cannot be opened: no channel could run either.
pub fn gauge(encoding: &LiveEncoding) -> Result<Gauge, JobError> {
    let mut detector = Engine::load(&models::locate()?)?.detector()?;
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        fastest = fastest.min(one_second(&mut detector, encoding)?);
    }
    Ok(Gauge { cores: fastest.as_secs_f64() })
}

/// How long a second of pictures takes.
fn one_second(detector: &mut dyn Detector, encoding: &LiveEncoding) -> Result<Duration, JobError> {
    let mut encoder = VideoEncoder::open_live(&LiveSettings {
        size: SIZE,
        color: COLOR,
        frame_rate: (FRAME_RATE, 1),
        group: 2 * FRAME_RATE,
        preset: encoding.preset.clone(),
        crf: encoding.crf,
        max_bit_rate: encoding.max_bit_rate,
        threads: 1,
    })?;
    let mut schedule = Schedule::live(Speed::Balanced, SIZE);
    let (mut painter, pool) = (Painter::new(), FramePool::default());
    let step = i64::from(90_000 / FRAME_RATE);
    let mut taken = Duration::ZERO;
    for seq in 0..u64::from(FRAME_RATE) {
        let at = |seq: u64| Pts::new(seq as i64 * step, TimeBase::MPEG);
        let frame = picture(seq, at(seq), &pool);
        let began = Instant::now();
        let look = schedule.look(seq, at(seq), Some(at(seq + 1)), seq == 0, None);
        if !look.passes.is_empty() {
            detector.find(&frame, Orientation::default(), &look.passes)?;
        }
        let mut analysis = Analysis::piece(seq, SIZE);
        analysis.frame(frame.pts, Seen::Detected, false);
        let plan = analysis.finish(&[], &[], &Policy::default()).for_frame(seq, frame.pts, SIZE);
        encoder.encode_at(painter.paint(frame, &plan), at(seq), step)?;
        taken += began.elapsed();
    }
    Ok(taken)
}

/// Something that moves, with a grain, and no face in it.
fn picture(seq: u64, pts: Pts, pool: &FramePool) -> Frame {
    let mut frame = Frame::new(seq, pts, SIZE, PixelFormat::Yuv420, COLOR, Some(pool));
    let shift = seq as usize * 5;
    for plane in &mut frame.planes {
        for y in 0..plane.height {
            for (x, sample) in plane.row_mut(y).iter_mut().enumerate() {
                let tile = ((x + shift) / 40 + y / 40) % 5 * 25;
                let grain = (x * 7919 + y * 104_729 + shift * 31) % 11;
                *sample = (60 + tile + grain) as u8;
            }
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_one_at_least_and_never_for_more_than_the_cores_do() {
        let channels = |cores: f64, of: u32| Gauge { cores }.channels(of);
        assert_eq!([channels(0.5, 2), channels(0.7, 2), channels(0.9, 2)], [3, 2, 1]);
        assert_eq!([channels(0.8, 8), channels(3.0, 1), channels(0.0, 4)], [8, 1, 1000]);
    }

    #[test]
    fn a_slow_machine_takes_the_quicker_preset() {
        let preset = |cores| Gauge { cores }.encoding(LiveEncoding::default()).preset;
        assert_eq!([preset(0.7), preset(0.9)], ["superfast", "ultrafast"]);
    }
}
