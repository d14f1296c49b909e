//! H.264 encoding. The one door into it is [`Redacted`]: an unpainted frame does not fit.
//!
//! ```compile_fail,E0308
//! fn leak(encoder: &mut media::VideoEncoder, frame: domain::Frame) {
//!     let _ = encoder.encode(frame, 1); // expected `Redacted`, found `Frame`
//! }
//! ```
//! ```
//! fn fine(encoder: &mut media::VideoEncoder, frame: redact::Redacted) {
//!     let _ = encoder.encode(frame, 1);
//! }
//! ```

use std::collections::BTreeMap;
use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::Arc;

use domain::{Color, Frame, Matrix, PixelFormat, Pts, Range, Size, TimeBase};
use ffmpeg_sys_the_third as ff;
use redact::Redacted;

use crate::sys::{
    self, AGAIN, AvFrame, CodecContext, Options, Packet, check, out_of_memory, rational,
};
use crate::{MediaError, Splice, VideoInfo, picture};

/// Settings of the encoder that a user may change.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodeSettings {
    /// x264 preset, `ultrafast` to `placebo`.
    pub preset: String,
    /// Constant rate factor, 0 (lossless) to 51.
    pub crf: f32,
}

impl Default for EncodeSettings {
    fn default() -> Self {
        Self { preset: "veryfast".to_owned(), crf: 20.0 }
    }
}

/// What a live encoder makes.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveSettings {
    /// Size of the pictures; both sides even.
    pub size: Size,
    /// What the samples mean.
    pub color: Color,
    /// Frames a second, as a fraction.
    pub frame_rate: (u32, u32),
    /// Frames of a group of pictures: a new one begins with [`VideoEncoder::start_group`] only, at the latest
    /// after this many.
    pub group: u32,
    /// x264 preset, `ultrafast` to `placebo`.
    pub preset: String,
    /// Constant rate factor, 0 (lossless) to 51.
    pub crf: f32,
    /// Most bits a second, over two seconds.
    pub max_bit_rate: u32,
    /// Threads of the encoder.
    pub threads: u32,
}

impl LiveSettings {
    /// x264's own options. A picture in is a picture out at once; sizes of pictures are bounded, so that a part
    /// is no larger than a viewer's line takes.
    fn pairs(&self) -> Vec<(&'static CStr, String)> {
        let Self { group, preset, crf, max_bit_rate, threads, .. } = self;
        vec![
            (c"preset", preset.clone()),
            (c"tune", "zerolatency".to_owned()),
            (c"profile", "high".to_owned()),
            (c"crf", crf.to_string()),
            (c"maxrate", max_bit_rate.to_string()),
            (c"bufsize", max_bit_rate.saturating_mul(2).to_string()),
            (c"g", group.to_string()),
            (c"bf", "0".to_owned()),
            (c"forced-idr", "1".to_owned()),
            (c"threads", threads.to_string()),
            (c"x264-params", format!("scenecut=0:keyint={group}:min-keyint={group}")),
        ]
    }
}

/// A compressed picture that was redacted before it was compressed. Only the encoder makes one.
///
/// ```compile_fail,E0451
/// fn forge(encoded: media::Encoded) -> media::Encoded {
///     media::Encoded { ..encoded } // its field is private
/// }
/// ```
/// ```
/// fn pass(encoded: media::Encoded) -> media::Encoded {
///     encoded
/// }
/// ```
pub struct Encoded {
    pub(crate) packet: Packet,
}

/// Who the encoder's input belongs to; keeps the planes alive while FFmpeg reads them.
enum Picture {
    Covered(Redacted),
    /// Only for `convert`, inside this crate.
    Uncovered(Frame),
}

impl Picture {
    fn frame(&self) -> &Frame {
        match self {
            Self::Covered(redacted) => redacted.frame(),
            Self::Uncovered(frame) => frame,
        }
    }
}

/// An open x264 encoder for one stream.
pub struct VideoEncoder {
    context: CodecContext,
    input: AvFrame,
    base: TimeBase,
    format: PixelFormat,
    /// Durations by time stamp, for frames inside the encoder (its look-ahead bounds them).
    durations: BTreeMap<i64, i64>,
    /// The next picture starts a group.
    key: bool,
}

impl VideoEncoder {
    /// An encoder for frames of `format` that keep `info`'s size, time base, aspect and colours.
    /// A picture with an odd side gets one more row or column, which H.264 4:2:0 cannot do without.
    /// `splice`: what it makes goes beside copied packets.
    pub fn open(
        info: &VideoInfo,
        format: PixelFormat,
        range: Range,
        settings: &EncodeSettings,
        splice: Option<&Splice>,
    ) -> Result<Self, MediaError> {
        let crf = settings.crf.to_string();
        let params = splice.map(Splice::x264_params);
        let mut pairs: Vec<(&CStr, &str)> = vec![(c"preset", &settings.preset), (c"crf", &crf)];
        if let Some(params) = &params {
            pairs.extend([(c"x264-params", params.as_str()), (c"forced-idr", "1")]);
        }
        Self::with(info.time_base, format, &pairs, |c| fill(c, info, format, range))
    }

    /// An encoder that gives each picture as soon as it gets it: 4:2:0, times in 1/90000 s.
    ///
    /// # Errors
    /// [`MediaError::Ffmpeg`] when x264 is missing, or does not take the settings.
    pub fn open_live(settings: &LiveSettings) -> Result<Self, MediaError> {
        let (format, pairs) = (PixelFormat::Yuv420, settings.pairs());
        let pairs: Vec<(&CStr, &str)> = pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
        Self::with(TimeBase::MPEG, format, &pairs, |c| fill_live(c, settings))
    }

    fn with(
        base: TimeBase,
        format: PixelFormat,
        pairs: &[(&CStr, &str)],
        fill: impl FnOnce(&mut ff::AVCodecContext),
    ) -> Result<Self, MediaError> {
        sys::init();
        // SAFETY: searches a static table for a literal.
        let codec = unsafe { ff::avcodec_find_encoder_by_name(c"libx264".as_ptr()) };
        if codec.is_null() {
            return Err(MediaError::Ffmpeg {
                what: "libx264",
                why: "this FFmpeg was built without it; install one with x264 (`garim doctor`)"
                    .into(),
            });
        }
        let mut context = CodecContext::new(codec)?;
        fill(context.get_mut());
        let mut options = Options::new(pairs)?;
        // SAFETY: the context was allocated for this codec; options outlive the call.
        check("libx264", unsafe { ff::avcodec_open2(context.as_ptr(), codec, options.as_mut()) })?;
        Ok(Self {
            context,
            input: AvFrame::new()?,
            base,
            format,
            durations: BTreeMap::new(),
            key: false,
        })
    }

    /// Makes the next picture an IDR picture: one that a player can start at.
    pub fn start_group(&mut self) {
        self.key = true;
    }

    /// The unit of the time stamps of what goes in and comes out.
    pub fn time_base(&self) -> TimeBase {
        self.base
    }

    /// Its parameter sets, as a byte stream.
    pub(crate) fn parameter_sets(&self) -> &[u8] {
        let context = self.context.get();
        // SAFETY: extradata has `extradata_size` readable bytes while the encoder is open.
        unsafe { sys::slice(context.extradata, context.extradata_size) }
    }

    pub(crate) fn context(&self) -> &CodecContext {
        &self.context
    }

    /// Takes a frame shown for `duration` ticks (0: unknown); gives what is ready, which lags
    /// behind by the encoder's look-ahead.
    pub fn encode(&mut self, frame: Redacted, duration: i64) -> Result<Vec<Encoded>, MediaError> {
        let ticks = frame.frame().pts.ticks;
        self.send(Picture::Covered(frame), ticks, duration)
    }

    /// The same, shown at another time than its own: a picture that is shown again, or a slate.
    ///
    /// # Errors
    /// [`MediaError::Ffmpeg`] when `at` is in another unit than the encoder's, or x264 fails.
    pub fn encode_at(
        &mut self,
        frame: Redacted,
        at: Pts,
        duration: i64,
    ) -> Result<Vec<Encoded>, MediaError> {
        if at.base != self.base {
            return Err(MediaError::Ffmpeg { what: "encoder", why: "time base changed".into() });
        }
        self.send(Picture::Covered(frame), at.ticks, duration)
    }

    /// For `convert` only, which says in its name and its help that it covers nothing.
    pub(crate) fn encode_uncovered(
        &mut self,
        frame: Frame,
        duration: i64,
    ) -> Result<Vec<Encoded>, MediaError> {
        let ticks = frame.pts.ticks;
        self.send(Picture::Uncovered(frame), ticks, duration)
    }

    /// What is left inside, at the end of the stream.
    pub fn finish(mut self) -> Result<Vec<Encoded>, MediaError> {
        // SAFETY: a null frame starts the flush.
        check("end of encoding", unsafe {
            ff::avcodec_send_frame(self.context.as_ptr(), ptr::null())
        })?;
        self.drain()
    }

    fn send(
        &mut self,
        picture: Picture,
        ticks: i64,
        duration: i64,
    ) -> Result<Vec<Encoded>, MediaError> {
        let frame = picture.frame();
        if frame.format != self.format {
            return Err(MediaError::Ffmpeg { what: "encoder", why: "pixel format changed".into() });
        }
        self.input.reset();
        let context = self.context.get();
        let same =
            (frame.size.width as i32, frame.size.height as i32) == (context.width, context.height);
        let av = self.input.get_mut();
        av.width = context.width;
        av.height = context.height;
        av.format = context.pix_fmt.0;
        av.pts = ticks;
        if std::mem::take(&mut self.key) {
            av.pict_type = ff::AVPictureType::I;
        }
        if same {
            lend(&mut self.input, picture)?
        } else {
            pad(&mut self.input, frame)?
        }
        self.durations.insert(ticks, duration);
        // SAFETY: the frame is complete; the encoder takes its own references.
        check("encoding", unsafe {
            ff::avcodec_send_frame(self.context.as_ptr(), self.input.as_ptr())
        })?;
        self.drain()
    }

    fn drain(&mut self) -> Result<Vec<Encoded>, MediaError> {
        let mut ready = Vec::new();
        loop {
            let mut packet = Packet::new()?;
            // SAFETY: valid encoder, blank packet.
            match unsafe { ff::avcodec_receive_packet(self.context.as_ptr(), packet.as_ptr()) } {
                AGAIN | ff::AVERROR_EOF => return Ok(ready),
                code => check("encoding", code)?,
            };
            let p = packet.get_mut();
            p.duration = self.durations.remove(&p.pts).unwrap_or(0);
            ready.push(Encoded { packet });
        }
    }
}

fn fill(c: &mut ff::AVCodecContext, info: &VideoInfo, format: PixelFormat, range: Range) {
    let even = |v: u32, shift: u32| (v + (1 << shift) - 1) >> shift << shift;
    let (sx, sy) = format.subsampling(1);
    c.width = even(info.size.width, sx) as i32;
    c.height = even(info.size.height, sy) as i32;
    c.pix_fmt = picture::av_format(format);
    c.time_base = rational(info.time_base);
    let (num, den) = info.frame_rate;
    if num > 0 && den > 0 {
        c.framerate = ff::AVRational { num, den };
    }
    let (num, den) = info.sample_aspect_ratio;
    c.sample_aspect_ratio = ff::AVRational { num, den };
    // The numbers came out of the same FFmpeg, so they are values it knows.
    c.color_range = match range {
        Range::Full => ff::AVColorRange::JPEG,
        // An untagged stream stays untagged; limited is what that means.
        Range::Limited => ff::AVColorRange(info.color_range.min(1) as _),
    };
    c.color_primaries = ff::AVColorPrimaries(info.color_primaries as _);
    c.color_trc = ff::AVColorTransferCharacteristic(info.color_transfer as _);
    c.colorspace = ff::AVColorSpace(info.color_matrix as _);
    c.chroma_sample_location = ff::AVChromaLocation(info.chroma_location as _);
    c.flags |= ff::AV_CODEC_FLAG_GLOBAL_HEADER as i32;
}

fn fill_live(c: &mut ff::AVCodecContext, settings: &LiveSettings) {
    let LiveSettings { size, color, frame_rate: (num, den), .. } = *settings;
    c.width = size.width as i32;
    c.height = size.height as i32;
    c.pix_fmt = picture::av_format(PixelFormat::Yuv420);
    c.time_base = sys::rational(TimeBase::MPEG);
    c.framerate = ff::AVRational { num: num as i32, den: den as i32 };
    c.sample_aspect_ratio = ff::AVRational { num: 1, den: 1 };
    c.color_range = match color.range {
        Range::Full => ff::AVColorRange::JPEG,
        Range::Limited => ff::AVColorRange::MPEG,
    };
    (c.colorspace, c.color_primaries, c.color_trc) = match color.matrix {
        Matrix::Bt601 => (
            ff::AVColorSpace::SMPTE170M,
            ff::AVColorPrimaries::SMPTE170M,
            ff::AVColorTransferCharacteristic::SMPTE170M,
        ),
        // What is live in BT.2020 is HDR and looks wrong either way; its samples are kept.
        Matrix::Bt709 => (
            ff::AVColorSpace::BT709,
            ff::AVColorPrimaries::BT709,
            ff::AVColorTransferCharacteristic::BT709,
        ),
        Matrix::Bt2020 => (
            ff::AVColorSpace::BT2020_NCL,
            ff::AVColorPrimaries::BT2020,
            ff::AVColorTransferCharacteristic::BT2020_10,
        ),
    };
    c.flags |= ff::AV_CODEC_FLAG_GLOBAL_HEADER as i32;
}

/// Lends the planes to FFmpeg without a copy; they return to their pool when it lets go.
fn lend(av: &mut AvFrame, picture: Picture) -> Result<(), MediaError> {
    let picture = Arc::new(picture);
    let planes = &picture.frame().planes;
    for (i, plane) in planes.iter().enumerate() {
        let owner = Box::into_raw(Box::new(Arc::clone(&picture))).cast::<c_void>();
        let data = plane.data.as_ptr().cast_mut();
        // SAFETY: the planes live until `release` drops the last owner; the buffer is marked
        // read-only, so FFmpeg copies before it would ever write.
        let buffer = unsafe {
            let flags = ff::AV_BUFFER_FLAG_READONLY as i32;
            ff::av_buffer_create(data, plane.data.len(), Some(release), owner, flags)
        };
        if buffer.is_null() {
            // SAFETY: FFmpeg did not take the owner, so it is ours to drop, once.
            drop(unsafe { Box::from_raw(owner.cast::<Arc<Picture>>()) });
            return Err(out_of_memory());
        }
        let av = av.get_mut();
        av.buf[i] = buffer;
        av.data[i] = data;
        av.linesize[i] = plane.stride as i32;
    }
    Ok(())
}

unsafe extern "C" fn release(owner: *mut c_void, _data: *mut u8) {
    // SAFETY: called once per buffer by FFmpeg with the pointer given to av_buffer_create.
    drop(unsafe { Box::from_raw(owner.cast::<Arc<Picture>>()) });
}

/// Copies a picture with odd sides into an even one, its last row and column repeated.
fn pad(av: &mut AvFrame, frame: &Frame) -> Result<(), MediaError> {
    // SAFETY: width, height and format are set; the call allocates the planes.
    check("memory", unsafe { ff::av_frame_get_buffer(av.as_ptr(), 0) })?;
    let even = domain::Size { width: av.get().width as u32, height: av.get().height as u32 };
    for (i, plane) in frame.planes.iter().enumerate() {
        let size = frame.format.plane_size(even, i);
        let av = av.get();
        for y in 0..size.height as usize {
            // SAFETY: FFmpeg allocated `height` rows of `linesize >= width` bytes.
            let row = unsafe {
                let start = av.data[i].offset(av.linesize[i] as isize * y as isize);
                std::slice::from_raw_parts_mut(start, size.width as usize)
            };
            let from = plane.row(y.min(plane.height - 1));
            row[..from.len()].copy_from_slice(from);
            row[from.len()..].fill(from.last().copied().unwrap_or_default());
        }
    }
    Ok(())
}
