//! Decodes H.264 that comes picture by picture, not out of a file: a live stream.
//!
//! Pictures may change their size in mid-stream; what the owner makes of that is not decided here.

use std::ptr;

use domain::{Color, Pts, Range, Size, TimeBase};
use ffmpeg_sys_the_third as ff;

use crate::damage::Damage;
use crate::muxer::Parameters;
use crate::picture::{self, Copier};
use crate::source::MAX_PIXELS;
use crate::sys::{self, AGAIN, AvFrame, CodecContext, Packet, check};
use crate::{Decoded, MediaError};

/// One coded picture as RTMP and MP4 carry it: NAL units behind their lengths.
#[derive(Clone, Copy, Debug)]
pub struct AccessUnit<'a> {
    /// When it is shown.
    pub pts: Pts,
    /// How long before that it is decoded, in ticks of `pts`; 0 without B pictures.
    pub ahead: i64,
    /// Whether the publisher calls it a key frame.
    pub key: bool,
    /// NAL units.
    pub data: &'a [u8],
}

/// An open decoder. Frames come out in order of display, as many pictures late as the stream reorders.
pub struct StreamDecoder {
    context: CodecContext,
    base: TimeBase,
    packet: Packet,
    decoded: AvFrame,
    copier: Option<Copier>,
    damage: Damage,
    complaints: u64,
    frames: u64,
}

impl StreamDecoder {
    /// For a stream with these parameter sets: an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1).
    /// `base`: the unit of the time stamps that will come.
    ///
    /// # Errors
    /// [`MediaError::Ffmpeg`] when FFmpeg cannot make sense of them.
    pub fn open(avcc: &[u8], base: TimeBase) -> Result<Self, MediaError> {
        sys::init();
        // SAFETY: searches a static table.
        let codec = unsafe { ff::avcodec_find_decoder(ff::AVCodecID::H264) };
        if codec.is_null() {
            let why = "this FFmpeg was built without its decoder".to_owned();
            return Err(MediaError::Ffmpeg { what: "H.264", why });
        }
        let mut context = CodecContext::new(codec)?;
        let parameters = Parameters::video(ff::AVCodecID::H264)?.with_extradata(avcc)?;
        // SAFETY: both objects are valid; the call copies.
        check("parameter sets", unsafe {
            ff::avcodec_parameters_to_context(context.as_ptr(), parameters.get())
        })?;
        let c = context.get_mut();
        c.pkt_timebase = sys::rational(base);
        c.max_pixels = MAX_PIXELS;
        c.flags |= ff::AV_CODEC_FLAG_OUTPUT_CORRUPT as i32;
        // Threads by frame would hold pictures back.
        c.thread_count = 1;
        // SAFETY: the context was allocated for this codec.
        check("parameter sets", unsafe {
            ff::avcodec_open2(context.as_ptr(), codec, ptr::null_mut())
        })?;
        Ok(Self {
            context,
            base,
            packet: Packet::new()?,
            decoded: AvFrame::new()?,
            copier: None,
            damage: Damage::new(),
            complaints: sys::complaints(),
            frames: 0,
        })
    }

    /// Takes a picture; gives the frames that are ready. What does not decode is no error: the frames that may
    /// depend on it are not `intact`. Their `seq` counts from 0.
    ///
    /// # Errors
    /// [`MediaError::Ffmpeg`] for pictures of a kind that is not covered: interlaced ones, or samples of a layout
    /// that is not 4:2:0, 4:2:2, 4:4:4 or grey.
    pub fn decode(&mut self, unit: AccessUnit<'_>) -> Result<Vec<Decoded>, MediaError> {
        self.packet.reset();
        self.packet.set_data(unit.data)?;
        let ticks = unit.pts.ticks;
        let p = self.packet.get_mut();
        p.pts = ticks;
        p.dts = ticks.saturating_sub(unit.ahead);
        if unit.key {
            p.flags |= ff::AV_PKT_FLAG_KEY as i32;
        }
        self.damage.sent(ticks, 0, unit.key, false);
        // SAFETY: valid decoder and packet; the decoder takes its own reference.
        let code = unsafe { ff::avcodec_send_packet(self.context.as_ptr(), self.packet.as_ptr()) };
        self.listen();
        if code < 0 {
            self.damage.complained();
        }
        let mut frames = Vec::new();
        loop {
            // SAFETY: valid decoder and frame.
            let code =
                unsafe { ff::avcodec_receive_frame(self.context.as_ptr(), self.decoded.as_ptr()) };
            self.listen();
            match code {
                0 => frames.push(self.take()?),
                AGAIN | ff::AVERROR_EOF => return Ok(frames),
                _ => {
                    self.damage.complained();
                    return Ok(frames);
                }
            }
        }
    }

    fn listen(&mut self) {
        let complaints = sys::complaints();
        if complaints != self.complaints {
            self.complaints = complaints;
            self.damage.complained();
        }
    }

    fn take(&mut self) -> Result<Decoded, MediaError> {
        let av = self.decoded.get();
        let refused = |why: &str| MediaError::Ffmpeg { what: "the stream", why: why.to_owned() };
        if av.interlaced_frame != 0 {
            return Err(refused("is interlaced, which is not covered; let it send whole pictures"));
        }
        let layout = picture::layout(ff::AVPixelFormat(av.format));
        let layout = layout.ok_or_else(|| refused("has pictures of an unusual sample layout"))?;
        let color = color(av);
        let clean = av.flags & ff::AV_FRAME_FLAG_CORRUPT as i32 == 0 && av.decode_error_flags == 0;
        let ticks = if av.pts == ff::AV_NOPTS_VALUE { av.best_effort_timestamp } else { av.pts };
        let intact = self.damage.received(ticks, clean).intact;
        let fits = |copier: &Copier| copier.is_for(layout, color);
        let copier = match self.copier.take().filter(fits) {
            Some(copier) => self.copier.insert(copier),
            None => self.copier.insert(Copier::new(layout, color)),
        };
        let frame = copier.copy(&self.decoded, self.frames, Pts::new(ticks, self.base))?;
        self.frames += 1;
        Ok(Decoded { frame, intact, duration: 0, starts_group: false })
    }

    /// How many pictures may be shown before one that was decoded before them.
    pub fn reorder_depth(&self) -> usize {
        usize::try_from(self.context.get().has_b_frames).unwrap_or(0)
    }

    /// Frames a second as the parameter sets have it, once a picture was decoded; `None`: they do not say.
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        let rate = self.context.get().framerate;
        let (num, den) = (u32::try_from(rate.num).ok()?, u32::try_from(rate.den).ok()?);
        (num > 0 && den > 0).then_some((num, den))
    }
}

/// What the samples of a decoded picture mean, read as players do where it does not say.
fn color(av: &ff::AVFrame) -> Color {
    let full = av.color_range == ff::AVColorRange::JPEG
        || ff::AVPixelFormat(av.format) == ff::AVPixelFormat::YUVJ420P;
    let size = Size { width: av.width.max(0) as u32, height: av.height.max(0) as u32 };
    let matrix = picture::matrix(av.colorspace.0 as u32, size);
    Color { range: if full { Range::Full } else { Range::Limited }, matrix }
}
