//! Opening untrusted files: allow-lists of containers, protocols and codecs, and limits.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use domain::{Pts, Size};
use ffmpeg_sys_the_third as ff;

use crate::avio::{Avio, Bytes, Input};
use crate::info::orientation;
use crate::sys::{self, Options};
use crate::{AudioInfo, Codec, MediaError, MediaInfo, VideoInfo, playlist};

/// Containers read, by FFmpeg's names of their demuxers.
const CONTAINERS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,avi,flv";
/// The same for the segments of a playlist.
const CONTAINERS_HLS: &str = "hls,mpegts,mov,mp4,m4a,3gp,3g2,mj2";
/// Largest picture decoded (8K and a bit), against decompression bombs.
pub(crate) const MAX_PIXELS: i64 = 8192 * 4608;

/// Bytes looked at to tell a playlist from a video.
const HEAD: u64 = 1024;

/// Says what is in a file. Nothing is decoded beyond what FFmpeg needs to name the streams.
pub fn probe<'a>(input: impl Into<Input<'a>>) -> Result<MediaInfo, MediaError> {
    Source::open(input.into())?.info()
}

/// An opened container.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    context: *mut ff::AVFormatContext,
    /// MPEG-TS and HLS clocks start anywhere; the others start at zero on purpose.
    pub(crate) free_clock: bool,
    /// What it is read through, unless FFmpeg opened the file; dropped after the context is closed.
    avio: Option<Avio<Box<dyn Bytes>>>,
}

// SAFETY: as for codec contexts: any thread, one at a time; not Sync.
unsafe impl Send for Source {}

impl Source {
    /// Opens an input; a folder stands for the HLS playlist in it.
    pub(crate) fn open(input: Input<'_>) -> Result<Self, MediaError> {
        sys::init();
        match input {
            Input::Path(path) => Self::open_path(path),
            Input::Bytes { name, bytes } => Self::open_bytes(name, bytes),
        }
    }

    fn open_path(path: &Path) -> Result<Self, MediaError> {
        let input = |why: &str| MediaError::Input { path: path.to_owned(), why: why.to_owned() };
        let meta = path.metadata().map_err(|e| input(&e.to_string()))?;
        let path = if meta.is_dir() { playlist::in_folder(path)? } else { path.to_owned() };
        let (hls, containers) = Self::kind(&path)?;
        let url = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| input("has a zero byte in its name"))?;
        // A path such as `concat:x` must stay a path.
        let url = [b"file:", url.as_bytes_with_nul()].concat();
        let url = CString::from_vec_with_nul(url).map_err(|_| sys::out_of_memory())?;
        Self::open_as(path, &url, hls, Options::new(&limits(containers, "file"))?, None)
    }

    fn open_bytes(name: PathBuf, mut bytes: Box<dyn Bytes>) -> Result<Self, MediaError> {
        let mut head = Vec::new();
        let read = bytes.by_ref().take(HEAD).read_to_end(&mut head).and_then(|_| bytes.rewind());
        if let Err(e) = read {
            return Err(MediaError::Input { path: name, why: e.to_string() });
        }
        if head.is_empty() {
            return Err(MediaError::Input { path: name, why: "is empty".to_owned() });
        }
        if playlist::looks_like_one(&head) {
            let why = "is an HLS playlist; a playlist makes the reader open other files, so it is taken only \
                       as a file of its own, never sealed";
            return Err(MediaError::Refused { path: name, why: why.to_owned() });
        }
        let avio = Avio::reading(bytes)?;
        // There is no protocol of this name: nothing else is ever opened. Nor does a file name tell its kind.
        Self::open_as(name, c"", false, Options::new(&limits(CONTAINERS, "none"))?, Some(avio))
    }

    fn open_as(
        path: PathBuf,
        url: &CStr,
        free_clock: bool,
        mut options: Options,
        avio: Option<Avio<Box<dyn Bytes>>>,
    ) -> Result<Self, MediaError> {
        // SAFETY: allocates or returns null, which is checked.
        let mut context = unsafe { ff::avformat_alloc_context() };
        if context.is_null() {
            return Err(sys::out_of_memory());
        }
        // SAFETY: a fresh context. `pb` is for callers to set before it is opened; then it stays theirs. `url` ends
        // in NUL; on failure the call frees the context and leaves it null.
        let code = unsafe {
            if let Some(avio) = &avio {
                (*context).pb = avio.as_ptr();
            }
            ff::avformat_open_input(&mut context, url.as_ptr(), ptr::null(), options.as_mut())
        };
        if code < 0 {
            let why = avio.as_ref().and_then(Avio::failed);
            return Err(MediaError::Input {
                path,
                why: why.map_or(unreadable(code), str::to_owned),
            });
        }
        let mut source = Self { path, context, free_clock, avio };
        // SAFETY: the context was opened above.
        let code = unsafe { ff::avformat_find_stream_info(context, ptr::null_mut()) };
        source.intact()?;
        if code < 0 {
            return Err(source.input(unreadable(code)));
        }
        source.free_clock |= source.container().contains("mpegts");
        Ok(source)
    }

    /// Whether all that was read so far could be read.
    ///
    /// # Errors
    /// A reader that failed. To be asked after every read, whatever FFmpeg said: it may go on behind a hole, or
    /// take it for the end, and then a changed original would be a short one.
    pub(crate) fn intact(&self) -> Result<(), MediaError> {
        match self.avio.as_ref().and_then(Avio::failed) {
            Some(why) => Err(self.input(why)),
            None => Ok(()),
        }
    }

    fn kind(path: &Path) -> Result<(bool, &'static str), MediaError> {
        let input = |why: String| MediaError::Input { path: path.to_owned(), why };
        let mut head = Vec::new();
        File::open(path)
            .and_then(|f| f.take(HEAD).read_to_end(&mut head))
            .map_err(|e| input(e.to_string()))?;
        if head.is_empty() {
            return Err(input("is empty".to_owned()));
        }
        match (playlist::looks_like_one(&head), playlist::has_extension(path)) {
            (false, false) => Ok((false, CONTAINERS)),
            (true, true) => playlist::check(path).map(|()| (true, CONTAINERS_HLS)),
            (true, false) => Err(MediaError::Refused {
                path: path.to_owned(),
                why:
                    "is an HLS playlist under another name; a playlist makes the reader open other \
                      files, so it is taken only when its name ends in .m3u8"
                        .to_owned(),
            }),
            (false, true) => {
                Err(input("is not an HLS playlist, though its name says so".to_owned()))
            }
        }
    }

    pub(crate) fn as_ptr(&self) -> *mut ff::AVFormatContext {
        self.context
    }

    pub(crate) fn container(&self) -> String {
        // SAFETY: an open input has a static AVInputFormat with a static name.
        unsafe { sys::text((*(*self.context).iformat).name) }
    }

    pub(crate) fn input(&self, why: impl Into<String>) -> MediaError {
        MediaError::Input { path: self.path.clone(), why: why.into() }
    }

    pub(crate) fn refused(&self, why: impl Into<String>) -> MediaError {
        MediaError::Refused { path: self.path.clone(), why: why.into() }
    }

    pub(crate) fn streams(&self) -> &[*mut ff::AVStream] {
        // SAFETY: FFmpeg keeps `nb_streams` valid pointers at `streams`.
        unsafe {
            let context = &*self.context;
            if context.nb_streams == 0 {
                return &[];
            }
            std::slice::from_raw_parts(context.streams, context.nb_streams as usize)
        }
    }

    /// The stream at `index`.
    pub(crate) fn stream(&self, index: usize) -> Result<&ff::AVStream, MediaError> {
        let stream = self.streams().get(index).ok_or_else(|| self.input("has no such stream"))?;
        // SAFETY: pointers in the list are valid while the context is open.
        Ok(unsafe { &**stream })
    }

    /// Parameters of the stream at `index`.
    pub(crate) fn parameters(&self, index: usize) -> Result<&ff::AVCodecParameters, MediaError> {
        // SAFETY: every stream has parameters for as long as it lives.
        Ok(unsafe { &*self.stream(index)?.codecpar })
    }

    /// Index of the main stream of a kind; cover art never counts as video.
    pub(crate) fn best(&self, kind: ff::AVMediaType, related: i32) -> Option<usize> {
        // SAFETY: the context is open; a null decoder pointer means "not wanted".
        let index =
            unsafe { ff::av_find_best_stream(self.context, kind, -1, related, ptr::null_mut(), 0) };
        let index = usize::try_from(index).ok()?;
        let disposition = self.stream(index).ok()?.disposition;
        (disposition & ff::AV_DISPOSITION_ATTACHED_PIC as i32 == 0).then_some(index)
    }

    /// Index of the main video. An error says what the file holds instead.
    pub(crate) fn main_video(&self) -> Result<usize, MediaError> {
        self.best(ff::AVMediaType::VIDEO, -1).ok_or_else(|| {
            let audio = self.best(ff::AVMediaType::AUDIO, -1).is_some();
            self.input(if audio { "holds sound but no video" } else { "holds no video" })
        })
    }

    pub(crate) fn info(&self) -> Result<MediaInfo, MediaError> {
        let index = self.main_video()?;
        let audio = self.best(ff::AVMediaType::AUDIO, index as i32);
        // SAFETY: the context is open.
        let duration = unsafe { (*self.context).duration };
        Ok(MediaInfo {
            container: self.container(),
            duration: (duration > 0)
                .then_some(duration as f64 / f64::from(ff::AV_TIME_BASE as u32)),
            video: self.video_info(index)?,
            audio: audio.map(|a| self.audio_info(a)).transpose()?,
            other_streams: self.streams().len() - 1 - usize::from(audio.is_some()),
        })
    }

    fn video_info(&self, index: usize) -> Result<VideoInfo, MediaError> {
        let (stream, par) = (self.stream(index)?, self.parameters(index)?);
        let size = match (u32::try_from(par.width), u32::try_from(par.height)) {
            (Ok(width), Ok(height)) if width > 0 && height > 0 => Size { width, height },
            _ => {
                return Err(
                    self.input("has a video stream without a picture (damaged at its start?)")
                );
            }
        };
        if i64::from(size.width) * i64::from(size.height) > MAX_PIXELS {
            return Err(self.refused(format!(
                "is {}x{}; pictures above {MAX_PIXELS} pixels are not taken",
                size.width, size.height
            )));
        }
        let format = ff::AVPixelFormat(par.format);
        // SAFETY: returns null for an unknown format, else a static descriptor.
        let depth = unsafe { ff::av_pix_fmt_desc_get(format).as_ref() }.map(|d| d.comp[0].depth);
        let Some(depth) = depth else {
            return Err(
                self.input("has a video stream that cannot be decoded (damaged at its start?)")
            );
        };
        let time_base =
            sys::time_base(stream.time_base).ok_or_else(|| self.input("has no time base"))?;
        let matrix = display_matrix(stream);
        let ff::AVRational { num, den } = pick_aspect(stream, par);
        Ok(VideoInfo {
            codec: self.codec(par.codec_id)?,
            size,
            orientation: matrix.as_ref().map(orientation).unwrap_or_default(),
            display_matrix: matrix,
            sample_aspect_ratio: (num, den),
            // SAFETY: static string or null.
            pixel_format: unsafe { sys::text(ff::av_get_pix_fmt_name(format)) },
            depth: depth.unsigned_abs(),
            hdr: par.color_trc == ff::AVColorTransferCharacteristic::SMPTE2084
                || par.color_trc == ff::AVColorTransferCharacteristic::ARIB_STD_B67,
            interlaced: ![ff::AVFieldOrder::UNKNOWN, ff::AVFieldOrder::PROGRESSIVE]
                .contains(&par.field_order),
            color_range: par.color_range.0 as u32,
            color_primaries: par.color_primaries.0 as u32,
            color_transfer: par.color_trc.0 as u32,
            color_matrix: par.color_space.0 as u32,
            chroma_location: par.chroma_location.0 as u32,
            time_base,
            start: (stream.start_time != ff::AV_NOPTS_VALUE)
                .then(|| Pts::new(stream.start_time, time_base)),
            frame_rate: (stream.avg_frame_rate.num, stream.avg_frame_rate.den),
            frames: u64::try_from(stream.nb_frames).ok().filter(|&n| n > 0),
        })
    }

    fn codec(&self, id: ff::AVCodecID) -> Result<Codec, MediaError> {
        Ok(match id {
            ff::AVCodecID::H264 => Codec::H264,
            ff::AVCodecID::HEVC => Codec::Hevc,
            ff::AVCodecID::VP8 => Codec::Vp8,
            ff::AVCodecID::VP9 => Codec::Vp9,
            ff::AVCodecID::AV1 => Codec::Av1,
            ff::AVCodecID::MPEG4 => Codec::Mpeg4,
            other => {
                // SAFETY: returns a static string for any id.
                let name = unsafe { sys::text(ff::avcodec_get_name(other)) };
                return Err(self.refused(format!(
                    "is compressed as {name}; Garim reads H.264, HEVC, VP8, VP9, AV1 and MPEG-4, so \
                     convert it first (ffmpeg -i IN -c:v libx264 -crf 16 OUT.mp4)"
                )));
            }
        })
    }

    fn audio_info(&self, index: usize) -> Result<AudioInfo, MediaError> {
        let par = self.parameters(index)?;
        Ok(AudioInfo {
            // SAFETY: static string for any id.
            codec: unsafe { sys::text(ff::avcodec_get_name(par.codec_id)) },
            sample_rate: par.sample_rate.unsigned_abs(),
            channels: par.ch_layout.nb_channels.unsigned_abs(),
            copyable: crate::muxer::mp4_carries(par.codec_id),
        })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // SAFETY: owned here and opened by avformat_open_input.
        unsafe { ff::avformat_close_input(&mut self.context) }
    }
}

/// What FFmpeg may open, and how.
fn limits(containers: &'static str, protocols: &'static str) -> [(&'static CStr, &'static str); 3] {
    [(c"format_whitelist", containers), (c"protocol_whitelist", protocols), (c"max_streams", "64")]
}

fn unreadable(code: i32) -> String {
    if code == ff::AVERROR_INVALIDDATA {
        "is not a video that can be read (no index, cut short, or another kind of file)".to_owned()
    } else {
        format!("cannot be opened: {}", sys::why(code))
    }
}

/// The container's aspect ratio goes before the bit stream's, as in FFmpeg's own tools.
fn pick_aspect(stream: &ff::AVStream, par: &ff::AVCodecParameters) -> ff::AVRational {
    let aspect = stream.sample_aspect_ratio;
    if aspect.num > 0 && aspect.den > 0 { aspect } else { par.sample_aspect_ratio }
}

fn display_matrix(stream: &ff::AVStream) -> Option<[i32; 9]> {
    let mut size = 0usize;
    // SAFETY: returns null or a pointer to `size` bytes owned by the stream.
    let data = unsafe {
        ff::av_stream_get_side_data(stream, ff::AVPacketSideDataType::DISPLAYMATRIX, &mut size)
    };
    if data.is_null() || size < 36 {
        return None;
    }
    // SAFETY: at least 36 readable bytes, checked above; read without assuming alignment.
    let bytes = unsafe { std::slice::from_raw_parts(data, 36) };
    let mut matrix = [0i32; 9];
    for (value, four) in matrix.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = i32::from_ne_bytes([four[0], four[1], four[2], four[3]]);
    }
    Some(matrix)
}
