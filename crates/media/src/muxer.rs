//! FFmpeg's MP4 muxer, owned, and the parameters of the streams that go into it.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use domain::TimeBase;
use ffmpeg_sys_the_third as ff;

use crate::avio::{Avio, Target};
use crate::sys::{self, CodecContext, Options, Packet, check, out_of_memory, rational};
use crate::{MediaError, VideoInfo};

/// FFmpeg's MP4 muxer on one file, or on one writer.
pub(crate) struct Muxer<'a> {
    /// What messages call the output.
    path: PathBuf,
    context: *mut ff::AVFormatContext,
    /// What it is written through, unless FFmpeg opened the file; dropped after the context is freed.
    avio: Option<Avio<&'a mut dyn Target>>,
    /// Movie fragments, each from a key frame on, in the place of one index.
    fragmented: bool,
    started: bool,
    /// Last decoding time of every stream, in its own ticks.
    last: Vec<i64>,
}

// SAFETY: any thread, one at a time; not Sync.
unsafe impl Send for Muxer<'_> {}

impl Muxer<'static> {
    /// Writes a file, with its index in front.
    pub(crate) fn create(path: &Path) -> Result<Self, MediaError> {
        let url = [b"file:", path.as_os_str().as_bytes()].concat();
        let url = CString::new(url).map_err(|_| MediaError::Output {
            path: path.to_owned(),
            why: "has a zero byte in its name".to_owned(),
        })?;
        let muxer = Self::alloc(path, &url, None)?;
        // SAFETY: the context was allocated above; pb is closed in Drop.
        let code = unsafe {
            ff::avio_open(&mut (*muxer.context).pb, url.as_ptr(), ff::AVIO_FLAG_WRITE as i32)
        };
        muxer.output(code).map(|_| muxer)
    }

    /// Writes a file of a header and movie fragments (ISO/IEC 14496-12, 8.8), of which each begins with a key frame.
    pub(crate) fn fragmented(path: &Path) -> Result<Self, MediaError> {
        let mut muxer = Self::create(path)?;
        muxer.fragmented = true;
        Ok(muxer)
    }
}

impl<'a> Muxer<'a> {
    /// Writes to `target`, which messages call `name`, with the index at the end: to put it in front, FFmpeg would
    /// read again what it wrote.
    pub(crate) fn over(name: &Path, target: &'a mut dyn Target) -> Result<Self, MediaError> {
        let avio = Avio::writing(target)?;
        let pb = avio.as_ptr();
        let muxer = Self::alloc(name, c"", Some(avio))?;
        // SAFETY: the context was allocated above. `pb` is for callers to set, and stays theirs; it lives in the
        // muxer, which frees the context first.
        unsafe {
            (*muxer.context).pb = pb;
            (*muxer.context).flags |= ff::AVFMT_FLAG_CUSTOM_IO as i32;
        }
        Ok(muxer)
    }

    fn alloc(
        path: &Path,
        url: &CStr,
        avio: Option<Avio<&'a mut dyn Target>>,
    ) -> Result<Self, MediaError> {
        sys::init();
        let mut context = ptr::null_mut();
        // SAFETY: literals and a NUL-terminated url, which the call copies.
        check("mp4", unsafe {
            ff::avformat_alloc_output_context2(
                &mut context,
                ptr::null(),
                c"mp4".as_ptr(),
                url.as_ptr(),
            )
        })?;
        // SAFETY: the context was allocated by the call, and is owned by the muxer from here on.
        unsafe { (*context).flags |= ff::AVFMT_FLAG_BITEXACT as i32 };
        Ok(Self {
            path: path.to_owned(),
            context,
            avio,
            fragmented: false,
            started: false,
            last: Vec::new(),
        })
    }

    /// Adds a stream with its own copy of `parameters`; returns its index.
    pub(crate) fn add(
        &mut self,
        parameters: &Parameters,
        base: TimeBase,
    ) -> Result<usize, MediaError> {
        // SAFETY: the context is alive; the new stream belongs to it.
        unsafe {
            let stream = ff::avformat_new_stream(self.context, ptr::null());
            let Some(stream) = stream.as_mut() else {
                return Err(out_of_memory());
            };
            check("stream", ff::avcodec_parameters_copy(stream.codecpar, parameters.0))?;
            // The tag of another container means nothing in this one.
            (*stream.codecpar).codec_tag = 0;
            stream.time_base = rational(base);
            self.last.push(i64::MIN);
            usize::try_from(stream.index).map_err(|_| out_of_memory())
        }
    }

    fn stream(&mut self, index: usize) -> Result<&mut ff::AVStream, MediaError> {
        // SAFETY: the list holds `nb_streams` valid pointers; the index is checked.
        unsafe {
            let context = &*self.context;
            if index >= context.nb_streams as usize {
                return Err(out_of_memory());
            }
            Ok(&mut **context.streams.add(index))
        }
    }

    /// Rotation, pixel aspect and rate as the source has them.
    pub(crate) fn describe_video(
        &mut self,
        index: usize,
        info: &VideoInfo,
    ) -> Result<(), MediaError> {
        let stream = self.stream(index)?;
        let (num, den) = info.sample_aspect_ratio;
        stream.sample_aspect_ratio = ff::AVRational { num, den };
        let (num, den) = info.frame_rate;
        stream.avg_frame_rate = ff::AVRational { num, den };
        let Some(matrix) = info.display_matrix else {
            return Ok(());
        };
        // SAFETY: the call allocates 36 bytes owned by the stream, written once here.
        unsafe {
            let kind = ff::AVPacketSideDataType::DISPLAYMATRIX;
            let data = ff::av_stream_new_side_data(stream, kind, 36);
            if data.is_null() {
                return Err(out_of_memory());
            }
            ptr::copy_nonoverlapping(matrix.as_ptr().cast::<u8>(), data, 36);
        }
        Ok(())
    }

    pub(crate) fn set_tag(&mut self, index: usize, tag: &[u8; 4]) -> Result<(), MediaError> {
        let stream = self.stream(index)?;
        // SAFETY: every stream has parameters.
        unsafe { (*stream.codecpar).codec_tag = u32::from_le_bytes(*tag) };
        Ok(())
    }

    pub(crate) fn set_language(
        &mut self,
        index: usize,
        language: &CString,
    ) -> Result<(), MediaError> {
        let stream = self.stream(index)?;
        // SAFETY: both strings are NUL-terminated and copied.
        check("language", unsafe {
            ff::av_dict_set(&mut stream.metadata, c"language".as_ptr(), language.as_ptr(), 0)
        })?;
        Ok(())
    }

    /// Writes the header. `base` is the video's: its ticks stay exact in the file.
    pub(crate) fn start(&mut self, base: TimeBase) -> Result<(), MediaError> {
        let timescale = base.den().to_string();
        let movie = self.movie_timescale(base).to_string();
        let mut pairs = vec![(c"movie_timescale", movie.as_str())];
        if self.fragmented {
            let flags = "+frag_keyframe+empty_moov+default_base_moof+skip_trailer";
            pairs.push((c"movflags", flags));
        } else if self.avio.is_none() {
            pairs.push((c"movflags", "+faststart"));
        }
        if self.parameters().any(|p| p.codec_id == ff::AVCodecID::FLAC) {
            // "Experimental" in FFmpeg 5 only: the mapping is published and players take it.
            pairs.push((c"strict", "experimental"));
        }
        if i32::try_from(base.den()).is_ok() {
            pairs.push((c"video_track_timescale", &timescale));
        }
        let mut options = Options::new(&pairs)?;
        // SAFETY: all streams are set up; options outlive the call.
        let code = unsafe { ff::avformat_write_header(self.context, options.as_mut()) };
        self.output(code)?;
        self.started = true;
        Ok(())
    }

    /// Parameters of all streams.
    fn parameters(&self) -> impl Iterator<Item = &ff::AVCodecParameters> {
        // SAFETY: the context is alive and keeps `nb_streams` valid pointers to streams, each of
        // which has parameters; nothing changes them while `self` is borrowed.
        unsafe {
            let context = &*self.context;
            (0..context.nb_streams as usize).map(|i| &*(**context.streams.add(i)).codecpar)
        }
    }

    /// The unit of the delay before a track starts (ISO/IEC 14496-12, 8.6.6). FFmpeg's default, the
    /// millisecond, would move tracks that start elsewhere: this one holds both tracks' ticks.
    fn movie_timescale(&self, base: TimeBase) -> i32 {
        let mut scale = i64::from(base.den());
        let rates = self.parameters().map(|p| i64::from(p.sample_rate));
        for rate in rates.filter(|&rate| rate > 0) {
            // SAFETY: arithmetic on plain values, both positive.
            let shared = unsafe { ff::av_gcd(scale, rate) };
            scale = (scale / shared).saturating_mul(rate);
        }
        // Too fine for the field: the picture's own ticks then, and the sound moves by less than one.
        i32::try_from(scale).or(i32::try_from(base.den())).unwrap_or(1000)
    }

    /// Writes a packet whose times are in `base`; FFmpeg interleaves the streams.
    pub(crate) fn write(
        &mut self,
        mut packet: Packet,
        stream: usize,
        base: TimeBase,
    ) -> Result<(), MediaError> {
        let to = self.stream(stream)?.time_base;
        // SAFETY: valid packet; arithmetic only.
        unsafe { ff::av_packet_rescale_ts(packet.as_ptr(), rational(base), to) };
        let p = packet.get_mut();
        if let Some(last) = self.last.get_mut(stream) {
            order(p, last);
        }
        p.stream_index = i32::try_from(stream).map_err(|_| out_of_memory())?;
        p.pos = -1;
        // SAFETY: the header was written; the call takes over the packet's reference.
        let code = unsafe { ff::av_interleaved_write_frame(self.context, packet.as_ptr()) };
        self.output(code).map(|_| ())
    }

    /// Writes the index and closes the file; errors that were buffered show here.
    pub(crate) fn finish(mut self) -> Result<(), MediaError> {
        self.started = false;
        // SAFETY: the header was written; flushing leaves nothing in the buffer, so that its error says all.
        let (trailer, buffered) = unsafe {
            let trailer = ff::av_write_trailer(self.context);
            let pb = (*self.context).pb;
            if pb.is_null() {
                (trailer, 0)
            } else {
                ff::avio_flush(pb);
                (trailer, (*pb).error)
            }
        };
        for code in [trailer, buffered, self.close()] {
            self.output(code)?;
        }
        Ok(())
    }

    /// Closes the file; a writer is its owner's. Nothing is written from here on.
    fn close(&mut self) -> i32 {
        // SAFETY: the context is alive. Both ways clear pb, so that nothing is closed twice.
        unsafe {
            if self.avio.is_some() {
                (*self.context).pb = ptr::null_mut();
                0
            } else {
                ff::avio_closep(&mut (*self.context).pb)
            }
        }
    }

    fn output(&self, code: i32) -> Result<i32, MediaError> {
        // A writer that failed is asked whatever FFmpeg says: it knows the reason, and FFmpeg may go on.
        let failed = self.avio.as_ref().and_then(Avio::failed);
        let why = match failed {
            Some(why) => format!("cannot be written: {why}"),
            None if code < 0 => format!("cannot be written: {}", sys::why(code)),
            None => return Ok(code),
        };
        Err(MediaError::Output { path: self.path.clone(), why })
    }
}

/// Keeps decoding times rising, which MP4 insists on; times that do so already are not changed.
fn order(p: &mut ff::AVPacket, last: &mut i64) {
    if p.dts == ff::AV_NOPTS_VALUE {
        p.dts = if p.pts == ff::AV_NOPTS_VALUE { (*last).max(0) } else { p.pts };
    }
    if p.pts == ff::AV_NOPTS_VALUE {
        p.pts = p.dts;
    }
    p.dts = p.dts.max(last.saturating_add(1));
    p.pts = p.pts.max(p.dts);
    *last = p.dts;
}

impl Drop for Muxer<'_> {
    fn drop(&mut self) {
        // A muxer that was started and not finished is abandoned together with its file, so no trailer is written.
        self.close();
        // SAFETY: owned here; freeing the context frees its queues.
        unsafe { ff::avformat_free_context(self.context) };
    }
}

/// Codec parameters, owned.
pub(crate) struct Parameters(*mut ff::AVCodecParameters);

// SAFETY: plain memory.
unsafe impl Send for Parameters {}

impl Parameters {
    pub(crate) fn new() -> Result<Self, MediaError> {
        // SAFETY: allocates or returns null, which is checked.
        let p = unsafe { ff::avcodec_parameters_alloc() };
        if p.is_null() { Err(out_of_memory()) } else { Ok(Self(p)) }
    }

    /// Those of a video of which only the codec is known.
    pub(crate) fn video(codec: ff::AVCodecID) -> Result<Self, MediaError> {
        let new = Self::new()?;
        // SAFETY: owned, not null; plain fields.
        unsafe {
            (*new.0).codec_type = ff::AVMediaType::VIDEO;
            (*new.0).codec_id = codec;
        }
        Ok(new)
    }

    pub(crate) fn copy(from: &ff::AVCodecParameters) -> Result<Self, MediaError> {
        let to = Self::new()?;
        // SAFETY: both are valid; the call makes a deep copy.
        check("parameters", unsafe { ff::avcodec_parameters_copy(to.0, from) })?;
        Ok(to)
    }

    /// With another `extradata`, FFmpeg's name for the parameter sets in the header.
    pub(crate) fn with_extradata(self, bytes: &[u8]) -> Result<Self, MediaError> {
        // SAFETY: the old buffer is FFmpeg's own and freed by its allocator; the new one has the
        // padding that FFmpeg demands, zeroed, and `bytes.len()` bytes written.
        unsafe {
            let par = &mut *self.0;
            let padding = ff::AV_INPUT_BUFFER_PADDING_SIZE as usize;
            ff::av_freep(ptr::addr_of_mut!(par.extradata).cast());
            par.extradata_size = 0;
            par.extradata = ff::av_mallocz(bytes.len() + padding).cast();
            if par.extradata.is_null() {
                return Err(out_of_memory());
            }
            ptr::copy_nonoverlapping(bytes.as_ptr(), par.extradata, bytes.len());
            par.extradata_size = i32::try_from(bytes.len()).map_err(|_| out_of_memory())?;
        }
        Ok(self)
    }

    pub(crate) fn of(context: &CodecContext) -> Result<Self, MediaError> {
        let to = Self::new()?;
        // SAFETY: both are valid; the call makes a deep copy.
        check("parameters", unsafe {
            ff::avcodec_parameters_from_context(to.0, context.as_ptr())
        })?;
        Ok(to)
    }

    pub(crate) fn get(&self) -> &ff::AVCodecParameters {
        // SAFETY: never null, alive as long as self.
        unsafe { &*self.0 }
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        // SAFETY: owned here.
        unsafe { ff::avcodec_parameters_free(&mut self.0) }
    }
}

/// Whether MP4 can carry packets of this codec as they are.
pub(crate) fn mp4_carries(codec: ff::AVCodecID) -> bool {
    // TrueHD in MP4 is experimental in FFmpeg; players do not take it.
    if codec == ff::AVCodecID::TRUEHD {
        return false;
    }
    // SAFETY: a literal name; the muxer found is a static object.
    unsafe {
        let mp4 = ff::av_guess_format(c"mp4".as_ptr(), ptr::null(), ptr::null());
        !mp4.is_null() && ff::avformat_query_codec(mp4, codec, ff::FF_COMPLIANCE_NORMAL as i32) == 1
    }
}
