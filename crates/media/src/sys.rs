//! Owning wrappers of the FFmpeg objects used here. Each frees what it owns exactly once.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::TimeBase;
use ffmpeg_sys_the_third as ff;

use crate::MediaError;

/// What FFmpeg's video decoders have complained of since the process started: what they log as errors, and that they
/// made up a part of a picture.
static COMPLAINTS: AtomicU64 = AtomicU64::new(0);

/// Makes FFmpeg silent on stderr and counts what its decoders complain about. Called by everything
/// here that starts work; cheap when repeated.
pub fn init() {
    static ONCE: Once = Once::new();
    // SAFETY: the callback is a plain function that only touches an atomic; setting it is a
    // pointer store inside FFmpeg.
    ONCE.call_once(|| unsafe { ff::av_log_set_callback(Some(on_log)) });
}

/// How a decoder says, as mere information, that it made up a part of a picture. It marks the picture too, but with
/// threads that decode a picture each the mark may be lost (FFmpeg 5.1): the one who hands the picture out has copied
/// its properties before the one who decodes it is done.
const CONCEALING: &[u8] = b"concealing ";

/// Called by FFmpeg from any of its threads. The text is not formatted: file names and metadata of
/// strangers' videos stay out of our logs.
unsafe extern "C" fn on_log(
    context: *mut c_void,
    level: c_int,
    format: *const c_char,
    _args: *mut ff::__va_list_tag,
) {
    // SAFETY: FFmpeg's contract for av_log is that the format is a NUL-terminated string.
    let is_concealing = || unsafe { CStr::from_ptr(format) }.to_bytes().starts_with(CONCEALING);
    if context.is_null() || (level > ff::AV_LOG_ERROR as c_int && !is_concealing()) {
        return;
    }
    // SAFETY: FFmpeg's contract for av_log is that a non-null context points to a struct whose
    // first field is a pointer to its AVClass; the class returned is static.
    let (class, codecs) =
        unsafe { (*context.cast::<*const ff::AVClass>(), ff::avcodec_get_class()) };
    // The category in the class says "encoder" for every codec, so the context itself is asked.
    if class != codecs {
        return;
    }
    // SAFETY: codec contexts, and nothing else, have that class. Its two fields are set before
    // the codec logs and do not change while it is open; `codec` is static or null.
    let is_video_decoder = unsafe {
        let context = &*context.cast::<ff::AVCodecContext>();
        context.codec_type == ff::AVMediaType::VIDEO && ff::av_codec_is_decoder(context.codec) != 0
    };
    if is_video_decoder {
        COMPLAINTS.fetch_add(1, Ordering::Relaxed);
    }
}

/// How often a decoder has complained so far. It cannot say of which frame, so a caller that sees
/// the number rise must doubt every frame in flight.
pub(crate) fn complaints() -> u64 {
    COMPLAINTS.load(Ordering::Relaxed)
}

/// The version of the FFmpeg libraries loaded, as they say it themselves.
pub fn ffmpeg_version() -> String {
    // SAFETY: returns a pointer to a static string.
    unsafe { text(ff::av_version_info()) }
}

/// Whether FFmpeg was built with the x264 encoder.
pub fn has_x264() -> bool {
    // SAFETY: the argument is a NUL-terminated literal; the call only searches a static table.
    unsafe { !ff::avcodec_find_encoder_by_name(c"libx264".as_ptr()).is_null() }
}

/// Copies a C string; empty for null.
///
/// # Safety
/// `p` is null or points to a NUL-terminated string that lives for the call.
pub(crate) unsafe fn text(p: *const c_char) -> String {
    if p.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(p) }.to_string_lossy().into_owned()
}

/// What FFmpeg keeps as a pointer and a number of elements; nothing for null.
///
/// # Safety
/// `p` is null or points to `n` elements that live, and do not change, as long as the slice.
pub(crate) unsafe fn slice<'a, T>(p: *const T, n: c_int) -> &'a [T] {
    match usize::try_from(n) {
        // SAFETY: the caller's promise.
        Ok(n) if n > 0 && !p.is_null() => unsafe { std::slice::from_raw_parts(p, n) },
        _ => &[],
    }
}

/// FFmpeg's words for an error number.
pub(crate) fn why(code: c_int) -> String {
    let mut buffer = [0 as c_char; 128];
    // SAFETY: the buffer is as long as stated and the call always terminates it.
    unsafe {
        ff::av_strerror(code, buffer.as_mut_ptr(), buffer.len());
        text(buffer.as_ptr())
    }
}

/// Turns a negative return value into an error that names the call.
pub(crate) fn check(what: &'static str, code: c_int) -> Result<c_int, MediaError> {
    if code < 0 { Err(MediaError::Ffmpeg { what, why: why(code) }) } else { Ok(code) }
}

/// What a full or empty codec queue answers.
pub(crate) const AGAIN: c_int = ff::AVERROR(libc_eagain());

const fn libc_eagain() -> c_int {
    11 // EAGAIN on Linux, the only platform built for.
}

pub(crate) fn rational(base: TimeBase) -> ff::AVRational {
    // Checked on the way in (`time_base`): both parts came from a positive c_int.
    ff::AVRational { num: base.num() as c_int, den: base.den() as c_int }
}

pub(crate) fn time_base(r: ff::AVRational) -> Option<TimeBase> {
    TimeBase::new(u32::try_from(r.num).ok()?, u32::try_from(r.den).ok()?)
}

/// Options for an FFmpeg call: key and value pairs.
pub(crate) struct Options(*mut ff::AVDictionary);

impl Options {
    pub(crate) fn new(pairs: &[(&CStr, &str)]) -> Result<Self, MediaError> {
        let mut options = Self(ptr::null_mut());
        for (key, value) in pairs {
            let value = c_string(value)?;
            // SAFETY: both strings are NUL-terminated and copied by the call.
            check("options", unsafe {
                ff::av_dict_set(&mut options.0, key.as_ptr(), value.as_ptr(), 0)
            })?;
        }
        Ok(options)
    }

    pub(crate) fn as_mut(&mut self) -> *mut *mut ff::AVDictionary {
        &mut self.0
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: owned here; the call accepts null and clears the pointer.
        unsafe { ff::av_dict_free(&mut self.0) }
    }
}

pub(crate) fn c_string(s: &str) -> Result<CString, MediaError> {
    CString::new(s)
        .map_err(|_| MediaError::Ffmpeg { what: "text", why: "holds a zero byte".to_owned() })
}

/// An owned packet (compressed data of one frame).
pub(crate) struct Packet(*mut ff::AVPacket);

// SAFETY: a packet is plain memory with atomic reference counts; it has no thread of its own.
unsafe impl Send for Packet {}

impl Packet {
    pub(crate) fn new() -> Result<Self, MediaError> {
        // SAFETY: allocates or returns null, which is checked.
        let p = unsafe { ff::av_packet_alloc() };
        if p.is_null() { Err(out_of_memory()) } else { Ok(Self(p)) }
    }

    pub(crate) fn as_ptr(&self) -> *mut ff::AVPacket {
        self.0
    }

    pub(crate) fn get(&self) -> &ff::AVPacket {
        // SAFETY: never null, and alive as long as self.
        unsafe { &*self.0 }
    }

    pub(crate) fn get_mut(&mut self) -> &mut ff::AVPacket {
        // SAFETY: never null, and borrowed exclusively.
        unsafe { &mut *self.0 }
    }

    /// The compressed bytes.
    pub(crate) fn data(&self) -> &[u8] {
        let p = self.get();
        // SAFETY: a packet's data has `size` readable bytes, which nothing changes while it is
        // borrowed.
        unsafe { slice(p.data, p.size) }
    }

    /// Puts other bytes into the packet; its times stay.
    pub(crate) fn set_data(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        let size = c_int::try_from(bytes.len()).map_err(|_| out_of_memory())?;
        let mut fresh = Self::new()?;
        // SAFETY: `fresh` is blank and gets a buffer of `size` bytes, all of them written; the
        // properties are then copied from a valid packet, and the two swapped.
        unsafe {
            check("memory", ff::av_new_packet(fresh.0, size))?;
            ptr::copy_nonoverlapping(bytes.as_ptr(), (*fresh.0).data, bytes.len());
            check("packet", ff::av_packet_copy_props(fresh.0, self.0))?;
        }
        std::mem::swap(self, &mut fresh);
        Ok(())
    }

    pub(crate) fn reset(&mut self) {
        // SAFETY: valid packet; the call drops its reference and resets the fields.
        unsafe { ff::av_packet_unref(self.0) }
    }

    /// The packet's content, leaving `self` empty.
    pub(crate) fn take(&mut self) -> Result<Self, MediaError> {
        let fresh = Self::new()?;
        // SAFETY: both are valid packets and `fresh` is blank.
        unsafe { ff::av_packet_move_ref(fresh.0, self.0) };
        Ok(fresh)
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: owned here.
        unsafe { ff::av_packet_free(&mut self.0) }
    }
}

/// An owned frame as FFmpeg has it.
pub(crate) struct AvFrame(*mut ff::AVFrame);

// SAFETY: as for Packet.
unsafe impl Send for AvFrame {}

impl AvFrame {
    pub(crate) fn new() -> Result<Self, MediaError> {
        // SAFETY: allocates or returns null, which is checked.
        let p = unsafe { ff::av_frame_alloc() };
        if p.is_null() { Err(out_of_memory()) } else { Ok(Self(p)) }
    }

    pub(crate) fn as_ptr(&self) -> *mut ff::AVFrame {
        self.0
    }

    pub(crate) fn get(&self) -> &ff::AVFrame {
        // SAFETY: never null, alive as long as self.
        unsafe { &*self.0 }
    }

    pub(crate) fn get_mut(&mut self) -> &mut ff::AVFrame {
        // SAFETY: never null, borrowed exclusively.
        unsafe { &mut *self.0 }
    }

    pub(crate) fn reset(&mut self) {
        // SAFETY: valid frame.
        unsafe { ff::av_frame_unref(self.0) }
    }
}

impl Drop for AvFrame {
    fn drop(&mut self) {
        // SAFETY: owned here.
        unsafe { ff::av_frame_free(&mut self.0) }
    }
}

/// An owned decoder or encoder.
pub(crate) struct CodecContext(*mut ff::AVCodecContext);

// SAFETY: FFmpeg lets a codec context be used from any thread, one at a time; the wrapper is not
// Sync, so that is what happens.
unsafe impl Send for CodecContext {}

impl CodecContext {
    pub(crate) fn new(codec: *const ff::AVCodec) -> Result<Self, MediaError> {
        // SAFETY: `codec` comes from avcodec_find_*, which returns static objects.
        let p = unsafe { ff::avcodec_alloc_context3(codec) };
        if p.is_null() { Err(out_of_memory()) } else { Ok(Self(p)) }
    }

    pub(crate) fn as_ptr(&self) -> *mut ff::AVCodecContext {
        self.0
    }

    pub(crate) fn get(&self) -> &ff::AVCodecContext {
        // SAFETY: never null, alive as long as self.
        unsafe { &*self.0 }
    }

    pub(crate) fn get_mut(&mut self) -> &mut ff::AVCodecContext {
        // SAFETY: never null, borrowed exclusively.
        unsafe { &mut *self.0 }
    }
}

impl Drop for CodecContext {
    fn drop(&mut self) {
        // SAFETY: owned here; joins the codec's threads.
        unsafe { ff::avcodec_free_context(&mut self.0) }
    }
}

pub(crate) fn out_of_memory() -> MediaError {
    MediaError::Ffmpeg { what: "memory", why: "none left".to_owned() }
}
