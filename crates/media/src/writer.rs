//! MP4 files out of redacted video and untouched sound.

use std::ffi::CString;
use std::io::{Read, Seek};
use std::path::Path;
use std::ptr;

use domain::TimeBase;
use ffmpeg_sys_the_third as ff;
use redact::Cleared;

use crate::aac::AacTranscoder;
use crate::muxer::{Muxer, Parameters, mp4_carries};
use crate::splice::{self, Copied, DecodingTimes, Splice};
use crate::sys::{self, Packet, rational};
use crate::{Audio, ChunkReader, Encoded, MediaError, VideoEncoder, VideoInfo};

/// How the main audio travels from a reader to a writer.
pub struct AudioPlan {
    parameters: Parameters,
    base: TimeBase,
    language: Option<CString>,
    copies: bool,
}

impl AudioPlan {
    pub(crate) fn new(
        parameters: Parameters,
        base: TimeBase,
        stream: &ff::AVStream,
    ) -> Result<Self, MediaError> {
        // SAFETY: the metadata dictionary belongs to the stream; the value is copied.
        let language = unsafe {
            let entry = ff::av_dict_get(stream.metadata, c"language".as_ptr(), ptr::null(), 0);
            entry.as_ref().map(|e| sys::text(e.value))
        };
        Ok(Self {
            copies: mp4_carries(parameters.get().codec_id),
            parameters,
            base,
            // A language code is three letters; anything else is not carried.
            language: language
                .filter(|l| l.len() == 3 && l.bytes().all(|b| b.is_ascii_lowercase()))
                .and_then(|l| CString::new(l).ok()),
        })
    }

    /// Whether the packets stay bit-exact; otherwise they become AAC, which the user is told.
    pub fn copies(&self) -> bool {
        self.copies
    }
}

enum Sound {
    None,
    Copy { stream: usize },
    Aac { stream: usize, transcoder: Box<AacTranscoder> },
}

/// Writes one MP4: video that was redacted, or cleared by the analysis; sound as it came. Takes
/// nothing else:
///
/// ```compile_fail,E0308
/// fn leak(writer: &mut media::Writer, frame: domain::Frame) {
///     let _ = writer.video(frame); // expected `Encoded`, found `Frame`
/// }
/// ```
/// ```
/// fn fine(writer: &mut media::Writer, packet: media::Encoded) {
///     let _ = writer.video(packet);
/// }
/// ```
/// ```compile_fail,E0061
/// fn leak(writer: &mut media::Writer, packets: media::Copied) {
///     let _ = writer.copy(packets); // nobody cleared them
/// }
/// ```
/// ```
/// fn fine(writer: &mut media::Writer, packets: media::Copied, leave: redact::Cleared) {
///     let _ = writer.copy(packets, leave);
/// }
/// ```
pub struct Writer {
    muxer: Muxer<'static>,
    video_base: TimeBase,
    sound: Sound,
    fallback_duration: i64,
    splice: Option<Spliced>,
}

/// What a track of encoded and copied packets needs.
struct Spliced {
    /// Those that the header has of the encoder.
    parameter_sets: Vec<u8>,
    decoding_times: DecodingTimes,
}

impl Writer {
    /// Creates `path` (which must not matter yet: it is a temporary name) and writes the header.
    pub fn create(
        path: &Path,
        encoder: &VideoEncoder,
        info: &VideoInfo,
        audio: Option<AudioPlan>,
    ) -> Result<Self, MediaError> {
        Self::open(path, encoder, Parameters::of(encoder.context())?, info, audio, None)
    }

    /// The same for a track that also holds copied packets. `encoder` must have been opened with
    /// `splice`, and so must those after it. `times`: when each picture of the whole file is shown,
    /// rising, in the video's ticks.
    ///
    /// # Errors
    /// [`MediaError::NotSpliced`] where encoder and source do not fit together, now or later: the
    /// file is then useless, and encoding all of it is the way.
    pub fn create_spliced(
        path: &Path,
        encoder: &VideoEncoder,
        splice: &Splice,
        times: Vec<i64>,
        info: &VideoInfo,
        audio: Option<AudioPlan>,
    ) -> Result<Self, MediaError> {
        let sets = encoder.parameter_sets();
        let header = splice.header(sets).ok_or(MediaError::NotSpliced("parameter sets"))?;
        let parameters = Parameters::of(encoder.context())?.with_extradata(&header)?;
        let spliced = Spliced {
            parameter_sets: sets.to_vec(),
            decoding_times: DecodingTimes::new(times, splice.reorder()),
        };
        Self::open(path, encoder, parameters, info, audio, Some(spliced))
    }

    fn open(
        path: &Path,
        encoder: &VideoEncoder,
        parameters: Parameters,
        info: &VideoInfo,
        audio: Option<AudioPlan>,
        splice: Option<Spliced>,
    ) -> Result<Self, MediaError> {
        let mut muxer = Muxer::create(path)?;
        let base = encoder.time_base();
        let video = muxer.add(&parameters, base)?;
        muxer.describe_video(video, info)?;
        let sound = match audio {
            None => Sound::None,
            Some(plan) => add_sound(&mut muxer, plan)?,
        };
        muxer.start(base)?;
        let fallback_duration = frame_ticks(info);
        Ok(Self { muxer, video_base: base, sound, fallback_duration, splice })
    }

    /// Writes a compressed picture.
    pub fn video(&mut self, encoded: Encoded) -> Result<(), MediaError> {
        let mut packet = encoded.packet;
        let p = packet.get_mut();
        if p.duration <= 0 {
            p.duration = self.fallback_duration;
        }
        if self.splice.is_some() {
            splice::adapt(&mut packet)?;
            self.retime(&mut packet)?;
        }
        self.muxer.write(packet, 0, self.video_base)
    }

    /// Says that `encoder` makes the pictures from here on.
    ///
    /// # Errors
    /// [`MediaError::NotSpliced`] if its parameter sets are not those in the header.
    pub fn use_encoder(&mut self, encoder: &VideoEncoder) -> Result<(), MediaError> {
        self.takes(encoder.parameter_sets())
    }

    /// Says that pictures from here on come from `chunk`, which may have been made on another machine.
    ///
    /// # Errors
    /// [`MediaError::NotSpliced`] if its parameter sets are not those in the header, or this is no spliced track.
    pub fn use_chunk<R: Read + Seek>(&mut self, chunk: &ChunkReader<R>) -> Result<(), MediaError> {
        match self.splice {
            Some(_) => self.takes(chunk.parameter_sets()),
            None => Err(MediaError::NotSpliced("a chunk that nobody asked for")),
        }
    }

    fn takes(&self, parameter_sets: &[u8]) -> Result<(), MediaError> {
        match &self.splice {
            Some(spliced) if spliced.parameter_sets != parameter_sets => {
                Err(MediaError::NotSpliced("parameter sets"))
            }
            _ => Ok(()),
        }
    }

    /// Writes a group of pictures as it was in the source.
    ///
    /// # Errors
    /// [`MediaError::NotSpliced`] if `leave` was given for other packets.
    pub fn copy(&mut self, group: Copied, leave: Cleared) -> Result<(), MediaError> {
        if group.sha256 != leave.sha256() || self.splice.is_none() {
            return Err(MediaError::NotSpliced("packets that were not cleared"));
        }
        for mut packet in group.packets {
            self.retime(&mut packet)?;
            self.muxer.write(packet, 0, self.video_base)?;
        }
        Ok(())
    }

    /// Gives a packet its decoding time in the spliced track.
    fn retime(&mut self, packet: &mut Packet) -> Result<(), MediaError> {
        let Some(spliced) = &mut self.splice else { return Ok(()) };
        let p = packet.get_mut();
        let dts = spliced.decoding_times.next(p.pts);
        p.dts = dts.ok_or(MediaError::NotSpliced("decoding times"))?;
        Ok(())
    }

    /// Writes a packet of sound.
    pub fn audio(&mut self, audio: Audio) -> Result<(), MediaError> {
        match &mut self.sound {
            Sound::None => Ok(()),
            Sound::Copy { stream } => self.muxer.write(audio.packet, *stream, audio.base),
            Sound::Aac { stream, transcoder } => {
                for packet in transcoder.transcode(&audio)? {
                    self.muxer.write(packet, *stream, transcoder.time_base())?;
                }
                Ok(())
            }
        }
    }

    /// Completes the file: index at the front, so that it plays while it downloads.
    pub fn finish(mut self) -> Result<(), MediaError> {
        if self.splice.as_ref().is_some_and(|spliced| !spliced.decoding_times.is_done()) {
            return Err(MediaError::NotSpliced("the number of pictures"));
        }
        if let Sound::Aac { stream, transcoder } = &mut self.sound {
            for packet in transcoder.finish()? {
                self.muxer.write(packet, *stream, transcoder.time_base())?;
            }
        }
        self.muxer.finish()
    }
}

fn add_sound(muxer: &mut Muxer<'_>, plan: AudioPlan) -> Result<Sound, MediaError> {
    let (stream, sound) = if plan.copies {
        let stream = muxer.add(&plan.parameters, plan.base)?;
        (stream, Sound::Copy { stream })
    } else {
        let transcoder = Box::new(AacTranscoder::open(plan.parameters.get(), plan.base)?);
        let stream = muxer.add(&transcoder.parameters()?, transcoder.time_base())?;
        (stream, Sound::Aac { stream, transcoder })
    };
    if let Some(language) = &plan.language {
        muxer.set_language(stream, language)?;
    }
    Ok(sound)
}

/// One frame's ticks at the average rate, for a last frame whose duration nobody knows.
fn frame_ticks(info: &VideoInfo) -> i64 {
    let (num, den) = info.frame_rate;
    if num <= 0 || den <= 0 {
        return 0;
    }
    // SAFETY: arithmetic on plain values.
    unsafe { ff::av_rescale_q(1, ff::AVRational { num: den, den: num }, rational(info.time_base)) }
}
