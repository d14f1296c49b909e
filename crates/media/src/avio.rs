//! FFmpeg reads through a Rust reader: for files that are not what lies on the disk.

use std::ffi::{c_int, c_void};
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::ptr;

use ffmpeg_sys_the_third as ff;

use crate::MediaError;
use crate::sys::out_of_memory;

/// Bytes that FFmpeg reads at once, at least.
const BUFFER: usize = 1 << 16;
/// What FFmpeg is told of every failure (EIO on Linux); the reason stays with us.
const FAILED: c_int = ff::AVERROR(5);

/// Bytes that can be read from anywhere.
pub trait Bytes: Read + Seek + Send {}

impl<T: Read + Seek + Send> Bytes for T {}

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

/// A reader as FFmpeg knows it. Must outlive the format context that uses it.
pub(crate) struct Avio {
    context: *mut ff::AVIOContext,
    /// Owned; FFmpeg has the same pointer, so it is no `Box`.
    state: *mut State,
}

struct State {
    bytes: Box<dyn Bytes>,
    /// Why reading failed first. From then on, everything fails.
    failed: Option<String>,
}

// SAFETY: the context is plain memory that only calls back on the thread that uses it, one at a time; the
// reader in the state is Send.
unsafe impl Send for Avio {}

impl Avio {
    pub(crate) fn new(bytes: Box<dyn Bytes>) -> Result<Self, MediaError> {
        let state = Box::into_raw(Box::new(State { bytes, failed: None }));
        let mut avio = Self { context: ptr::null_mut(), state };
        // SAFETY: the buffer comes from FFmpeg's allocator, as the context demands, and belongs to the context
        // once that is there; until then it is freed here. The callbacks get `state`, which lives until the
        // context is freed.
        unsafe {
            let mut buffer = ff::av_malloc(BUFFER);
            if buffer.is_null() {
                return Err(out_of_memory());
            }
            let (size, opaque) = (BUFFER as c_int, state.cast());
            avio.context = ff::avio_alloc_context(
                buffer.cast(),
                size,
                0,
                opaque,
                Some(on_read),
                None,
                Some(on_seek),
            );
            if avio.context.is_null() {
                ff::av_freep((&raw mut buffer).cast());
                return Err(out_of_memory());
            }
        }
        Ok(avio)
    }

    pub(crate) fn as_ptr(&self) -> *mut ff::AVIOContext {
        self.context
    }

    /// Why it could not be read, if that happened: FFmpeg takes some failures for the end of the file.
    pub(crate) fn failed(&self) -> Option<&str> {
        // SAFETY: the state lives as long as self, and only the callbacks write to it, which run inside calls
        // into FFmpeg; those need the source that owns self exclusively.
        unsafe { (*self.state).failed.as_deref() }
    }
}

impl Drop for Avio {
    fn drop(&mut self) {
        // SAFETY: context and state are owned here, and whoever used them is closed (see the struct). FFmpeg may
        // have put another buffer into the context; the one that is there is the one to free.
        unsafe {
            if !self.context.is_null() {
                ff::av_freep((&raw mut (*self.context).buffer).cast());
                ff::avio_context_free(&mut self.context);
            }
            drop(Box::from_raw(self.state));
        }
    }
}

impl State {
    /// Does something with the reader; a failure or a panic is noted, and is the last thing it does.
    fn guarded<T>(&mut self, what: impl FnOnce(&mut dyn Bytes) -> io::Result<T>) -> Option<T> {
        if self.failed.is_some() {
            return None;
        }
        // After a panic the reader is never used again, so what state it is in does not matter.
        let done = catch_unwind(AssertUnwindSafe(|| what(&mut *self.bytes)));
        match done {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => self.failed = Some(error.to_string()),
            Err(_) => self.failed = Some("internal error: its reader panicked".to_owned()),
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
        (&mut *opaque.cast::<State>(), std::slice::from_raw_parts_mut(buffer, size))
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

/// Called by FFmpeg to go elsewhere, or to ask for the size.
unsafe extern "C" fn on_seek(opaque: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: as in `on_read`.
    let state = unsafe { &mut *opaque.cast::<State>() };
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

    /// Bytes read by FFmpeg's own call, from `offset` on.
    fn read(avio: &Avio, offset: i64, buffer: &mut [u8]) -> (i64, c_int) {
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
        let avio = Avio::new(Box::new(Cursor::new(content.clone()))).unwrap();
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
        let avio = Avio::new(Box::new(Panics)).unwrap();
        for _ in 0..2 {
            assert!(read(&avio, 0, &mut [0; 10]).1 < 0);
        }
        assert_eq!(avio.failed(), Some("internal error: its reader panicked"));
    }
}
