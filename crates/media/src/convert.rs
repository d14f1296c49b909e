//! Any readable video, or a local HLS folder, as one MP4. **Covers nothing.**

use std::path::Path;

use domain::TimeBase;
use ffmpeg_sys_the_third as ff;
use serde::Serialize;

use crate::aac::AacTranscoder;
use crate::avio::{Input, Target};
use crate::clock::Clock;
use crate::muxer::{Muxer, Parameters, mp4_carries};
use crate::reader::{Audio, Item, Reader, Streams};
use crate::source::Source;
use crate::sys::{self, Packet};
use crate::writer::AudioPlan;
use crate::{EncodeSettings, MediaError, VideoEncoder, Writer, picture};

/// What [`convert`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Converted {
    /// Whether the video was copied bit-exact (otherwise it was re-encoded as H.264).
    pub video_copied: bool,
    /// The same for the sound; `None` when there is none.
    pub audio_copied: Option<bool>,
}

/// Writes the main video and sound of `input` to the MP4 `output`, uncovered, without re-encoding
/// where MP4 can carry the codecs. `progress` gets seconds done and the length where known.
pub fn convert(
    input: &Path,
    output: &Path,
    progress: &mut dyn FnMut(f64, Option<f64>),
) -> Result<Converted, MediaError> {
    let source = Source::open(input.into())?;
    let video = source.main_video()?;
    let codec = source.parameters(video)?.codec_id;
    let audio = source.best(ff::AVMediaType::AUDIO, video as i32);
    let audio_copies = match audio {
        Some(index) => Some(mp4_carries(source.parameters(index)?.codec_id)),
        None => None,
    };
    let copies = mp4_carries(codec) && has_times(&source);
    if copies {
        let clock = Clock::of(&source, video)?;
        copy(source, (video, audio), clock, Muxer::create(output)?, progress)?;
    } else {
        drop(source);
        transcode(input, output, progress)?;
    }
    Ok(Converted { video_copied: copies, audio_copied: audio_copies })
}

/// Writes the main video and sound of `input` to `output` as one MP4, uncovered, packet for packet: nothing is encoded
/// again. The index is at the end of it. Messages call it `name`; `progress` gets seconds done and the length where
/// known. Gives how many other streams were left out.
///
/// # Errors
/// [`MediaError::Refused`] when MP4 cannot carry the packets as they are; an input that cannot be read to its end; a
/// writer that failed, with its own reason. What was written by then is none.
pub fn remux<'a>(
    input: impl Into<Input<'a>>,
    name: &Path,
    output: &mut dyn Target,
    progress: &mut dyn FnMut(f64, Option<f64>),
) -> Result<usize, MediaError> {
    let source = Source::open(input.into())?;
    let (video, audio) = carried(&source, "an original is not encoded again")?;
    let left_out = source.info()?.other_streams;
    let clock = Clock::of(&source, video)?;
    copy(source, (video, audio), clock, Muxer::over(name, output)?, progress)?;
    Ok(left_out)
}

/// Main video and sound, which MP4 can carry as they are.
///
/// # Errors
/// [`MediaError::Refused`] when it cannot; `why` it has to.
pub(crate) fn carried(source: &Source, why: &str) -> Result<(usize, Option<usize>), MediaError> {
    let video = source.main_video()?;
    let audio = source.best(ff::AVMediaType::AUDIO, video as i32);
    for index in [Some(video), audio].into_iter().flatten() {
        let codec = source.parameters(index)?.codec_id;
        if !mp4_carries(codec) || !has_times(source) {
            // SAFETY: returns a static string for any id.
            let codec = unsafe { sys::text(ff::avcodec_get_name(codec)) };
            let container = source.container();
            return Err(source.refused(format!(
                "holds {codec} in {container}, which MP4 cannot carry as it is; {why}"
            )));
        }
    }
    Ok((video, audio))
}

/// Whether packets carry presentation times, which a copy needs; those of AVI do not.
fn has_times(source: &Source) -> bool {
    !source.container().contains("avi")
}

/// Copies main video and sound, with times by `clock`.
pub(crate) fn copy(
    source: Source,
    (video, audio): (usize, Option<usize>),
    mut clock: Clock,
    mut muxer: Muxer<'_>,
    progress: &mut dyn FnMut(f64, Option<f64>),
) -> Result<(), MediaError> {
    let info = source.info()?;
    let mut lanes = Vec::new();
    for index in [Some(video), audio].into_iter().flatten() {
        let base = sys::time_base(source.stream(index)?.time_base)
            .ok_or_else(|| source.input("has no time base"))?;
        let parameters = source.parameters(index)?;
        let lane = if mp4_carries(parameters.codec_id) {
            let to = muxer.add(&Parameters::copy(parameters)?, base)?;
            Lane { from: index, to, base, last: None, step: 0, aac: None }
        } else {
            let aac = AacTranscoder::open(parameters, base)?;
            let to = muxer.add(&aac.parameters()?, aac.time_base())?;
            Lane { from: index, to, base, last: None, step: 0, aac: Some(aac) }
        };
        lanes.push(lane);
    }
    muxer.describe_video(0, &info.video)?;
    if source.parameters(video)?.codec_id == ff::AVCodecID::HEVC {
        muxer.set_tag(0, b"hvc1")?; // The tag that Apple's players insist on.
    }
    muxer.start(info.video.time_base)?;
    let mut packet = Packet::new()?;
    loop {
        packet.reset();
        // SAFETY: open context, blank packet.
        let code = unsafe { ff::av_read_frame(source.as_ptr(), packet.as_ptr()) };
        source.intact()?;
        if code == ff::AVERROR_EOF {
            break;
        }
        if code < 0 {
            return Err(source.input(format!("cannot be read to its end: {}", sys::why(code))));
        }
        let index = usize::try_from(packet.get().stream_index).ok();
        let Some(lane) = lanes.iter_mut().find(|l| Some(l.from) == index) else {
            continue;
        };
        let mut packet = packet.take()?;
        lane.measure(packet.get_mut());
        clock.straighten(packet.get_mut(), lane.from, lane.base);
        progress(lane.base.seconds(packet.get().pts), info.duration);
        // Behind the end of an edit list. What one hides at the start has times below zero, which
        // hides it in the output too, and the pictures after it may need it.
        let p = packet.get();
        if p.flags & ff::AV_PKT_FLAG_DISCARD as i32 == 0 || p.pts < 0 {
            lane.write(packet, &mut muxer)?;
        }
    }
    for lane in &mut lanes {
        lane.finish(&mut muxer)?;
    }
    muxer.finish()
}

/// One stream on its way through a remux.
struct Lane {
    from: usize,
    to: usize,
    base: TimeBase,
    /// When the packet before was decoded, and the shortest time between two so far; 0: nobody knows.
    last: Option<i64>,
    step: i64,
    /// For sound that MP4 cannot carry.
    aac: Option<AacTranscoder>,
}

impl Lane {
    /// Gives a packet a duration that says none, as those of sound in an HLS archive of MP4: without one, players cut
    /// off the last.
    fn measure(&mut self, packet: &mut ff::AVPacket) {
        if packet.dts != ff::AV_NOPTS_VALUE {
            let step = self.last.map_or(0, |last| packet.dts.saturating_sub(last));
            if step > 0 && (self.step == 0 || step < self.step) {
                self.step = step;
            }
            self.last = Some(packet.dts);
        }
        if packet.duration <= 0 {
            packet.duration = self.step;
        }
    }

    fn write(&mut self, packet: Packet, muxer: &mut Muxer<'_>) -> Result<(), MediaError> {
        let Some(aac) = &mut self.aac else { return muxer.write(packet, self.to, self.base) };
        for packet in aac.transcode(&Audio { packet, base: self.base })? {
            muxer.write(packet, self.to, aac.time_base())?;
        }
        Ok(())
    }

    fn finish(&mut self, muxer: &mut Muxer<'_>) -> Result<(), MediaError> {
        let Some(aac) = &mut self.aac else { return Ok(()) };
        for packet in aac.finish()? {
            muxer.write(packet, self.to, aac.time_base())?;
        }
        Ok(())
    }
}

fn transcode(
    input: &Path,
    output: &Path,
    progress: &mut dyn FnMut(f64, Option<f64>),
) -> Result<(), MediaError> {
    let mut reader = Reader::open(input, Streams::VideoAndAudio, true)?;
    let info = reader.info().clone();
    let color = picture::color(&info.video);
    let settings = EncodeSettings::default();
    let mut encoder =
        VideoEncoder::open(&info.video, reader.pixel_format(), color.range, &settings, None)?;
    let audio: Option<AudioPlan> = reader.audio_plan()?;
    let mut writer = Writer::create(output, &encoder, &info.video, audio)?;
    while let Some(item) = reader.next()? {
        match item {
            Item::Audio(audio) => writer.audio(audio)?,
            Item::Copied(_) | Item::Skipped(_) => {
                return Err(MediaError::NotSpliced("groups nobody asked for"));
            }
            Item::Frame(decoded) => {
                progress(decoded.frame.pts.seconds(), info.duration);
                for packet in encoder.encode_uncovered(decoded.frame, decoded.duration)? {
                    writer.video(packet)?;
                }
            }
        }
    }
    for packet in encoder.finish()? {
        writer.video(packet)?;
    }
    writer.finish()
}
