//! Sound that MP4 cannot carry (PCM, mostly) becomes AAC.

use std::collections::VecDeque;
use std::ptr;

use domain::TimeBase;
use ffmpeg_sys_the_third as ff;

use crate::muxer::Parameters;
use crate::sys::{self, AGAIN, AvFrame, CodecContext, Packet, check, out_of_memory, rational};
use crate::{Audio, MediaError};

/// A hole in the sound longer than this is filled with silence, so that what follows stays in time.
const MAX_DRIFT_SECONDS: i64 = 1;
/// Silence inserted at most at once; a longer hole is a broken file.
const MAX_SILENCE_SECONDS: i64 = 3600;
/// Bits a second per channel.
const BIT_RATE: i64 = 96_000;

/// Decodes one stream of sound and encodes it as AAC of the same rate and channels.
pub(crate) struct AacTranscoder {
    decoder: CodecContext,
    encoder: CodecContext,
    resampler: *mut ff::SwrContext,
    fifo: *mut ff::AVAudioFifo,
    from: TimeBase,
    to: TimeBase,
    /// Time stamp of the next sample into the fifo, in `to`; none before the first.
    next_in: Option<i64>,
    /// The same, out of the fifo.
    next_out: i64,
    decoded: AvFrame,
}

// SAFETY: all parts are used from one thread at a time; not Sync.
unsafe impl Send for AacTranscoder {}

impl AacTranscoder {
    pub(crate) fn open(
        parameters: &ff::AVCodecParameters,
        from: TimeBase,
    ) -> Result<Self, MediaError> {
        let decoder = open_decoder(parameters, from)?;
        let sound = decoder.get();
        let encoder = open_encoder(sound.sample_rate, &sound.ch_layout)?;
        let to = sys::time_base(encoder.get().time_base).ok_or_else(out_of_memory)?;
        let mut this = Self {
            decoder,
            encoder,
            resampler: ptr::null_mut(),
            fifo: ptr::null_mut(),
            from,
            to,
            next_in: None,
            next_out: 0,
            decoded: AvFrame::new()?,
        };
        let (d, e) = (this.decoder.get(), this.encoder.get());
        // SAFETY: both contexts are open; the layouts are only read. Null results are checked.
        unsafe {
            check(
                "resampler",
                ff::swr_alloc_set_opts2(
                    &mut this.resampler,
                    ptr::from_ref(&e.ch_layout).cast_mut(),
                    e.sample_fmt,
                    e.sample_rate,
                    ptr::from_ref(&d.ch_layout).cast_mut(),
                    d.sample_fmt,
                    d.sample_rate,
                    0,
                    ptr::null_mut(),
                ),
            )?;
            check("resampler", ff::swr_init(this.resampler))?;
            let channels = e.ch_layout.nb_channels;
            this.fifo = ff::av_audio_fifo_alloc(e.sample_fmt, channels, e.frame_size.max(1));
        }
        if this.fifo.is_null() { Err(out_of_memory()) } else { Ok(this) }
    }

    /// Parameters of the AAC stream.
    pub(crate) fn parameters(&self) -> Result<Parameters, MediaError> {
        Parameters::of(&self.encoder)
    }

    /// One tick per sample.
    pub(crate) fn time_base(&self) -> TimeBase {
        self.to
    }

    /// Takes a packet of the source; gives what AAC packets are ready.
    pub(crate) fn transcode(&mut self, audio: &Audio) -> Result<Vec<Packet>, MediaError> {
        // SAFETY: valid decoder and packet. A packet that does not decode leaves a hole, which is
        // filled with silence.
        unsafe { ff::avcodec_send_packet(self.decoder.as_ptr(), audio.packet.as_ptr()) };
        self.decode()?;
        self.encode(false)
    }

    /// What is left at the end.
    pub(crate) fn finish(&mut self) -> Result<Vec<Packet>, MediaError> {
        // SAFETY: a null packet starts the flush.
        unsafe { ff::avcodec_send_packet(self.decoder.as_ptr(), ptr::null()) };
        self.decode()?;
        self.convert(ptr::null_mut(), 0)?;
        let mut packets = self.encode(true)?;
        // SAFETY: a null frame starts the flush.
        check("AAC", unsafe { ff::avcodec_send_frame(self.encoder.as_ptr(), ptr::null()) })?;
        packets.extend(self.receive()?);
        Ok(packets)
    }

    fn decode(&mut self) -> Result<(), MediaError> {
        loop {
            // SAFETY: valid decoder and frame.
            let code =
                unsafe { ff::avcodec_receive_frame(self.decoder.as_ptr(), self.decoded.as_ptr()) };
            match code {
                0 => self.store()?,
                AGAIN | ff::AVERROR_EOF => return Ok(()),
                _ => {}
            }
        }
    }

    /// Puts the decoded samples into the fifo, after silence where sound is missing.
    fn store(&mut self) -> Result<(), MediaError> {
        let (pts, samples) =
            (self.decoded.get().best_effort_timestamp, self.decoded.get().nb_samples);
        if pts != ff::AV_NOPTS_VALUE {
            // SAFETY: arithmetic on plain values.
            let at = unsafe { ff::av_rescale_q(pts, rational(self.from), rational(self.to)) };
            match self.next_in {
                None => {
                    self.next_in = Some(at);
                    self.next_out = at;
                }
                Some(next) => self.silence(at.saturating_sub(next))?,
            }
        }
        let input = self.decoded.get().extended_data;
        self.convert(input.cast(), samples)
    }

    /// Converts `samples` samples at `input` (null: what the resampler still holds) into the fifo.
    fn convert(&mut self, input: *mut *const u8, samples: i32) -> Result<(), MediaError> {
        // SAFETY: the resampler is open; the result is an upper bound of what it will give.
        let room = check("resampler", unsafe { ff::swr_get_out_samples(self.resampler, samples) })?;
        if room == 0 {
            return Ok(());
        }
        let converted = self.frame(room)?;
        // SAFETY: `converted` has room for `room` samples in the encoder's format, and `input` is
        // null or holds `samples` samples in the decoder's.
        let n = check("resampler", unsafe {
            ff::swr_convert(self.resampler, converted.get().extended_data, room, input, samples)
        })?;
        self.append(&converted, n)
    }

    fn silence(&mut self, missing: i64) -> Result<(), MediaError> {
        let rate = i64::from(self.encoder.get().sample_rate);
        if missing < rate * MAX_DRIFT_SECONDS / 10 || missing > rate * MAX_SILENCE_SECONDS {
            return Ok(());
        }
        let mut left = missing;
        while left > 0 {
            let n = left.min(i64::from(self.encoder.get().frame_size.max(1)));
            let frame = self.frame(n as i32)?;
            let f = frame.get();
            // SAFETY: the planes hold `n` samples in the encoder's format.
            unsafe {
                let format = self.encoder.get().sample_fmt;
                ff::av_samples_set_silence(
                    f.extended_data,
                    0,
                    n as i32,
                    f.ch_layout.nb_channels,
                    format,
                );
            }
            self.append(&frame, n as i32)?;
            left -= n;
        }
        Ok(())
    }

    fn append(&mut self, frame: &AvFrame, samples: i32) -> Result<(), MediaError> {
        // SAFETY: the frame holds `samples` samples in the fifo's format.
        check("audio queue", unsafe {
            ff::av_audio_fifo_write(self.fifo, frame.get().extended_data.cast(), samples)
        })?;
        self.next_in = self.next_in.map(|t| t + i64::from(samples));
        Ok(())
    }

    /// A blank frame in the encoder's format with room for `samples`.
    fn frame(&self, samples: i32) -> Result<AvFrame, MediaError> {
        let mut frame = AvFrame::new()?;
        let e = self.encoder.get();
        let f = frame.get_mut();
        f.nb_samples = samples;
        f.format = e.sample_fmt.0;
        f.sample_rate = e.sample_rate;
        // SAFETY: copies a valid layout into a blank one, then allocates the planes.
        unsafe {
            check("audio", ff::av_channel_layout_copy(&mut f.ch_layout, &e.ch_layout))?;
            check("audio", ff::av_frame_get_buffer(frame.as_ptr(), 0))?;
        }
        Ok(frame)
    }

    /// Encodes whole AAC frames out of the fifo; at the end also the last, shorter one.
    fn encode(&mut self, all: bool) -> Result<Vec<Packet>, MediaError> {
        let mut packets = VecDeque::new();
        loop {
            // SAFETY: the fifo is valid.
            let waiting = unsafe { ff::av_audio_fifo_size(self.fifo) };
            let n = waiting.min(self.encoder.get().frame_size);
            if n == 0 || (n < self.encoder.get().frame_size && !all) {
                return Ok(packets.into());
            }
            let mut frame = self.frame(n)?;
            // SAFETY: the frame has room for `n` samples in the fifo's format.
            check("audio queue", unsafe {
                ff::av_audio_fifo_read(self.fifo, frame.get().extended_data.cast(), n)
            })?;
            frame.get_mut().pts = self.next_out;
            self.next_out += i64::from(n);
            // SAFETY: valid encoder and frame.
            check("AAC", unsafe { ff::avcodec_send_frame(self.encoder.as_ptr(), frame.as_ptr()) })?;
            packets.extend(self.receive()?);
        }
    }

    fn receive(&mut self) -> Result<Vec<Packet>, MediaError> {
        let mut packets = Vec::new();
        loop {
            let packet = Packet::new()?;
            // SAFETY: valid encoder, blank packet.
            match unsafe { ff::avcodec_receive_packet(self.encoder.as_ptr(), packet.as_ptr()) } {
                AGAIN | ff::AVERROR_EOF => return Ok(packets),
                code => check("AAC", code)?,
            };
            packets.push(packet);
        }
    }
}

impl Drop for AacTranscoder {
    fn drop(&mut self) {
        // SAFETY: owned here; both calls accept null.
        unsafe {
            ff::swr_free(&mut self.resampler);
            ff::av_audio_fifo_free(self.fifo);
        }
    }
}

fn open_decoder(
    parameters: &ff::AVCodecParameters,
    base: TimeBase,
) -> Result<CodecContext, MediaError> {
    // SAFETY: searches a static table.
    let codec = unsafe { ff::avcodec_find_decoder(parameters.codec_id) };
    if codec.is_null() {
        // SAFETY: static string for any id.
        let name = unsafe { sys::text(ff::avcodec_get_name(parameters.codec_id)) };
        return Err(MediaError::Ffmpeg {
            what: "sound",
            why: format!("MP4 cannot carry {name} and this FFmpeg has no decoder for it"),
        });
    }
    let mut decoder = CodecContext::new(codec)?;
    decoder.get_mut().pkt_timebase = rational(base);
    // SAFETY: valid objects; parameters are copied.
    unsafe {
        check("sound", ff::avcodec_parameters_to_context(decoder.as_ptr(), parameters))?;
        check("sound", ff::avcodec_open2(decoder.as_ptr(), codec, ptr::null_mut()))?;
        let context = decoder.get_mut();
        if context.ch_layout.order == ff::AVChannelOrder::UNSPEC {
            let channels = context.ch_layout.nb_channels.max(1);
            ff::av_channel_layout_default(&mut context.ch_layout, channels);
        }
    }
    Ok(decoder)
}

/// An encoder for the rate nearest to `rate` that AAC knows.
pub(crate) fn open_encoder(
    rate: i32,
    layout: &ff::AVChannelLayout,
) -> Result<CodecContext, MediaError> {
    // SAFETY: searches a static table.
    let codec = unsafe { ff::avcodec_find_encoder(ff::AVCodecID::AAC) };
    let mut encoder = CodecContext::new(codec)?;
    let to = encoder.get_mut();
    to.sample_fmt = ff::AVSampleFormat::FLTP;
    // AAC's rates end at 96 kHz (ISO/IEC 14496-3, table 1.18); odd ones go to the nearest usual.
    const RATES: [i32; 12] =
        [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000];
    to.sample_rate =
        RATES.into_iter().min_by_key(|known| (known - rate).unsigned_abs()).unwrap_or(48000);
    to.bit_rate = BIT_RATE * i64::from(layout.nb_channels.max(1));
    to.time_base = ff::AVRational { num: 1, den: to.sample_rate };
    to.flags |= ff::AV_CODEC_FLAG_GLOBAL_HEADER as i32;
    // SAFETY: copies a valid layout; then opens for the codec the context was made for.
    unsafe {
        check("AAC", ff::av_channel_layout_copy(&mut to.ch_layout, layout))?;
        check("AAC", ff::avcodec_open2(encoder.as_ptr(), codec, ptr::null_mut()))?;
    }
    Ok(encoder)
}
