//! FFmpeg reads through a Rust reader, and writes through a Rust writer: for files that are not what lies on the disk.

use std::ffi::{c_int, c_void};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::ptr;

use ffmpeg_sys_the_third as ff;

use crate::MediaError;
use crate::sys::out_of_memory;

/// Bytes that FFmpeg reads or writes at once, at least.
const BUFFER: usize = 1 << 16;
/// What FFmpeg is told of every failure (EIO on Linux); the reason stays with us.
const FAILED: c_int = ff::AVERROR(5);
/// What is said when the reader or writer panicked.
const PANICKED: &str = "internal error: what reads or writes it panicked";

/// Bytes that can be read from anywhere.
pub trait Bytes: Read + Seek + Send {}

impl<T: Read + Seek + Send> Bytes for T {}

/// Where a video can be written, from its start: an MP4 is, but for a few bytes at its head, which are written again
/// when all is there.
pub trait Target: Write + Seek + Send {}

impl<T: Write + Seek + Send> Target for T {}

/// Where a video is read from.
pub enum Input<'a> {
    /// A file, or a folder with an HLS playlist.
    Path(&'a Path),
    /// A reader. Never a playlist.
    Bytes {
        /// What messages call it.
        name: PathBuf,
        /// Its content, read from the start.
        bytes: Box<dyn Bytes>,
    },
}

impl<'a> From<&'a Path> for Input<'a> {
    fn from(path: &'a Path) -> Self {
        Self::Path(path)
    }
}

impl<'a> From<&'a PathBuf> for Input<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::Path(path)
    }
}

/// A reader or a writer as FFmpeg knows it. Must outlive the format context that uses it.
pub(crate) struct Avio<B> {
    context: *mut ff::AVIOContext,
    /// Owned; FFmpeg has the same pointer, so it is no `Box`.
    state: *mut State<B>,
}

struct State<B> {
    bytes: B,
    /// Why reading or writing failed first. From then on, everything fails.
    failed: Option<String>,
}

// SAFETY: the context is plain memory that only calls back on the thread that uses it, one at a time; the
// reader or writer in the state is Send.
unsafe impl<B: Send> Send for Avio<B> {}

impl Avio<Box<dyn Bytes>> {
    pub(crate) fn reading(bytes: Box<dyn Bytes>) -> Result<Self, MediaError> {
        let mut avio = Self::without_context(bytes);
        let mut buffer = Buffer::new()?;
        // SAFETY: as `Buffer` says; the callbacks get `state`, which lives until the context is freed.
        avio.context = unsafe {
            ff::avio_alloc_context(
                buffer.0,
                BUFFER as c_int,
                0,
                avio.state.cast(),
                Some(on_read),
                None,
                Some(on_seek::<Box<dyn Bytes>>),
            )
        };
        avio.owning(&mut buffer)
    }
}

impl<'a> Avio<&'a mut dyn Target> {
    pub(crate) fn writing(target: &'a mut dyn Target) -> Result<Self, MediaError> {
        let mut avio = Self::without_context(target);
        let mut buffer = Buffer::new()?;
        // SAFETY: as in `reading`. The target is borrowed for as long as self lives, and so is the state.
        avio.context = unsafe {
            ff::avio_alloc_context(
                buffer.0,
                BUFFER as c_int,
                1,
                avio.state.cast(),
                None,
                Some(on_write),
                Some(on_seek::<&mut dyn Target>),
            )
        };
        avio.owning(&mut buffer)
    }
}

impl<B> Avio<B> {
    fn without_context(bytes: B) -> Self {
        let state = Box::into_raw(Box::new(State { bytes, failed: None }));
        Self { context: ptr::null_mut(), state }
    }

    /// The same when there is a context now, which then owns the buffer.
    fn owning(self, buffer: &mut Buffer) -> Result<Self, MediaError> {
        if self.context.is_null() {
            return Err(out_of_memory());
        }
        buffer.0 = ptr::null_mut();
        Ok(self)
    }

    pub(crate) fn as_ptr(&self) -> *mut ff::AVIOContext {
        self.context
    }

    /// Why it could not be read or written, if that happened: FFmpeg takes some failures for the end of the file.
    pub(crate) fn failed(&self) -> Option<&str> {
        // SAFETY: the state lives as long as self, and only the callbacks write to it, which run inside calls
        // into FFmpeg; those need the source or muxer that owns self exclusively.
        unsafe { (*self.state).failed.as_deref() }
    }
}

impl<B> Drop for Avio<B> {
    fn drop(&mut self) {
        // SAFETY: context and state are owned here, and whoever used them is closed (see the struct). FFmpeg may
        // have put another buffer into the context; the one that is there is the one to free. What is in it and was
        // not flushed is not written.
        unsafe {
            if !self.context.is_null() {
                ff::av_freep((&raw mut (*self.context).buffer).cast());
                ff::avio_context_free(&mut self.context);
            }
            drop(Box::from_raw(self.state));
        }
    }
}

/// Memory from FFmpeg's allocator, as a context demands; freed unless one took it.
struct Buffer(*mut u8);

impl Buffer {
    fn new() -> Result<Self, MediaError> {
        // SAFETY: allocates or returns null, which is checked.
        let buffer = unsafe { ff::av_malloc(BUFFER) };
        if buffer.is_null() { Err(out_of_memory()) } else { Ok(Self(buffer.cast())) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: null, or owned here.
        unsafe { ff::av_free(self.0.cast()) }
    }
}

impl<B> State<B> {
    /// Does something with the reader or writer; a failure or a panic is noted, and is the last thing it does.
    fn guarded<T>(&mut self, what: impl FnOnce(&mut B) -> io::Result<T>) -> Option<T> {
        if self.failed.is_some() {
            return None;
        }
        // After a panic it is never used again, so what state it is in does not matter.
        let done = catch_unwind(AssertUnwindSafe(|| what(&mut self.bytes)));
        match done {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => self.failed = Some(error.to_string()),
            Err(_) => self.failed = Some(PANICKED.to_owned()),
        }
        None
    }
}

/// Called by FFmpeg for the next bytes.
unsafe extern "C" fn on_read(opaque: *mut c_void, buffer: *mut u8, size: c_int) -> c_int {
    let Some(size) = usize::try_from(size).ok().filter(|_| !buffer.is_null()) else {
        return FAILED;
    };
    // SAFETY: `opaque` is the state given to the context, and nobody else uses it during the call; the buffer has
    // `size` bytes. They are zeroed first, since a reader may look at them and FFmpeg does not initialise them.
    let (state, into) = unsafe {
        ptr::write_bytes(buffer, 0, size);
        (&mut *opaque.cast::<State<Box<dyn Bytes>>>(), std::slice::from_raw_parts_mut(buffer, size))
    };
    let read = state.guarded(|bytes| {
        loop {
            match bytes.read(into) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    });
    match read {
        Some(0) if size > 0 => ff::AVERROR_EOF,
        Some(count) => c_int::try_from(count.min(size)).unwrap_or(FAILED),
        None => FAILED,
    }
}

/// A pointer to bytes that FFmpeg has written: a mutable one before its version 7.
trait Written {
    fn start(self) -> *const u8;
}

impl Written for *const u8 {
    fn start(self) -> *const u8 {
        self
    }
}

impl Written for *mut u8 {
    fn start(self) -> *const u8 {
        self
    }
}

/// Called by FFmpeg with the next bytes.
unsafe extern "C" fn on_write<P: Written>(opaque: *mut c_void, buffer: P, size: c_int) -> c_int {
    let start = buffer.start();
    let Some(count) = usize::try_from(size).ok().filter(|_| !start.is_null()) else {
        return FAILED;
    };
    // SAFETY: `opaque` is the state given to the context, and nobody else uses it during the call; the buffer has
    // `size` bytes that nobody changes meanwhile.
    let (state, from) = unsafe {
        (&mut *opaque.cast::<State<&mut dyn Target>>(), std::slice::from_raw_parts(start, count))
    };
    state.guarded(|target| target.write_all(from)).map_or(FAILED, |()| size)
}

/// Called by FFmpeg to go elsewhere, or to ask for the size.
unsafe extern "C" fn on_seek<B: Seek>(opaque: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: `opaque` is the state given to the context, which is one over a `B`, and nobody else uses it during
    // the call.
    let state = unsafe { &mut *opaque.cast::<State<B>>() };
    let whence = whence & !(ff::AVSEEK_FORCE as c_int);
    let place = if whence == ff::AVSEEK_SIZE as c_int {
        state.guarded(|bytes| {
            let here = bytes.stream_position()?;
            let end = bytes.seek(SeekFrom::End(0))?;
            bytes.seek(SeekFrom::Start(here))?;
            Ok(end)
        })
    } else {
        // SEEK_SET, SEEK_CUR and SEEK_END of <stdio.h>. A place that is none is no failure of the file.
        let to = match (whence, u64::try_from(offset)) {
            (0, Ok(offset)) => SeekFrom::Start(offset),
            (1, _) => SeekFrom::Current(offset),
            (2, _) => SeekFrom::End(offset),
            _ => return FAILED.into(),
        };
        state.guarded(|bytes| match bytes.seek(to) {
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(u64::MAX),
            place => place,
        })
    };
    place.and_then(|place| i64::try_from(place).ok()).unwrap_or(FAILED.into())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    struct Panics;

    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("on purpose")
        }
    }

    impl Seek for Panics {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            Ok(0)
        }
    }

    impl Write for Panics {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("on purpose")
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Bytes read by FFmpeg's own call, from `offset` on.
    fn read(avio: &Avio<Box<dyn Bytes>>, offset: i64, buffer: &mut [u8]) -> (i64, c_int) {
        // SAFETY: an open context, and a buffer of the size given.
        unsafe {
            let place = ff::avio_seek(avio.as_ptr(), offset, 0);
            let size = buffer.len() as c_int;
            (place, ff::avio_read(avio.as_ptr(), buffer.as_mut_ptr(), size))
        }
    }

    #[test]
    fn ffmpeg_reads_seeks_and_knows_the_size() {
        let content: Vec<u8> = (0..200_000u32).map(|i| (i / 7) as u8).collect();
        let avio = Avio::reading(Box::new(Cursor::new(content.clone()))).unwrap();
        let mut buffer = vec![0; 70_000];
        for at in [0, 150_000, 3, 130_001] {
            let count = content.len().min(at + buffer.len()) - at;
            assert_eq!(read(&avio, at as i64, &mut buffer), (at as i64, count as c_int));
            assert!(buffer[..count] == content[at..at + count], "from {at}");
        }
        // SAFETY: an open context.
        assert_eq!(unsafe { ff::avio_size(avio.as_ptr()) }, 200_000);
        assert!(read(&avio, -1, &mut buffer).0 < 0);
        assert_eq!(read(&avio, 200_000, &mut buffer).1, ff::AVERROR_EOF);
        assert_eq!(avio.failed(), None);
    }

    #[test]
    fn a_panic_stays_on_our_side_and_is_the_last_thing_that_is_read() {
        let avio = Avio::reading(Box::new(Panics)).unwrap();
        for _ in 0..2 {
            assert!(read(&avio, 0, &mut [0; 10]).1 < 0);
        }
        assert_eq!(avio.failed(), Some(PANICKED));
    }

    /// Writes `bytes` by FFmpeg's own call, at `offset`; what FFmpeg says of that.
    fn write(avio: &Avio<&mut dyn Target>, offset: i64, bytes: &[u8]) -> c_int {
        // SAFETY: an open context, and as many bytes as is said.
        unsafe {
            ff::avio_seek(avio.as_ptr(), offset, 0);
            ff::avio_write(avio.as_ptr(), bytes.as_ptr(), bytes.len() as c_int);
            ff::avio_flush(avio.as_ptr());
            (*avio.as_ptr()).error
        }
    }

    #[test]
    fn ffmpeg_writes_and_goes_back() {
        let mut want: Vec<u8> = (0..200_000u32).map(|i| (i / 7) as u8).collect();
        let mut file = Cursor::new(Vec::new());
        let avio = Avio::writing(&mut file).unwrap();
        assert_eq!(write(&avio, 0, &want), 0);
        assert_eq!(write(&avio, 40, &[1, 2, 3]), 0);
        assert_eq!(write(&avio, 200_000, &[9]), 0);
        assert_eq!(avio.failed(), None);
        drop(avio);
        want[40..43].copy_from_slice(&[1, 2, 3]);
        want.push(9);
        assert!(file.into_inner() == want);
    }

    #[test]
    fn a_panicking_writer_is_asked_once() {
        let mut panics = Panics;
        let avio = Avio::writing(&mut panics).unwrap();
        assert!(write(&avio, 0, &[1]) < 0);
        assert!(write(&avio, 0, &[1]) < 0);
        assert_eq!(avio.failed(), Some(PANICKED));
    }
}
