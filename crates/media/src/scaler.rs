//! FFmpeg's converter of pictures, owned: from one size, layout and range to another.

use std::ptr;

use domain::{Frame, Range};
use ffmpeg_sys_the_third as ff;

/// One side of a conversion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Side {
    pub(crate) width: i32,
    pub(crate) height: i32,
    pub(crate) format: ff::AVPixelFormat,
    pub(crate) range: Range,
    /// Which coefficients luma is weighed by: `SWS_CS_*`.
    pub(crate) coefficients: i32,
}

/// Converts pictures of one kind into those of another.
pub(crate) struct Scaler {
    context: *mut ff::SwsContext,
    from: Side,
}

// SAFETY: used from one thread at a time; not Sync.
unsafe impl Send for Scaler {}

impl Scaler {
    /// `flags`: `SWS_*`. `None` where FFmpeg cannot do it.
    pub(crate) fn new(from: Side, to: Side, flags: i32) -> Option<Self> {
        // SAFETY: plain values; null filters mean none. Null on failure, checked.
        let context = unsafe {
            ff::sws_getContext(
                from.width,
                from.height,
                from.format,
                to.width,
                to.height,
                to.format,
                flags,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        if context.is_null() {
            return None;
        }
        let full = |side: Side| i32::from(side.range == Range::Full);
        // SAFETY: the tables are static for any number, and only read.
        unsafe {
            let table = |side: Side| ff::sws_getCoefficients(side.coefficients);
            ff::sws_setColorspaceDetails(
                context,
                table(from),
                full(from),
                table(to),
                full(to),
                0,
                1 << 16,
                1 << 16,
            );
        }
        Some(Self { context, from })
    }

    /// Whether it takes pictures of this kind.
    pub(crate) fn fits(&self, from: Side) -> bool {
        self.from == from
    }

    /// Converts a picture into the whole of `to`.
    ///
    /// # Safety
    /// `data` and `strides` are the planes of a picture of the kind that this was made for; `to` is of the kind that it
    /// was made to.
    pub(crate) unsafe fn convert(
        &mut self,
        data: *const *const u8,
        strides: *const i32,
        to: &mut Frame,
    ) {
        let mut target = [ptr::null_mut(); 4];
        let mut target_strides = [0i32; 4];
        for (i, plane) in to.planes.iter_mut().enumerate().take(4) {
            target[i] = plane.data.as_mut_ptr();
            target_strides[i] = plane.stride as i32;
        }
        // SAFETY: the caller's promise; each plane of `to` holds `stride * height` bytes, rows are padded to
        // vectors of 32 bytes, and memory goes on after the last one (`domain::Frame::new`).
        unsafe {
            ff::sws_scale(
                self.context,
                data.cast(),
                strides,
                0,
                self.from.height,
                target.as_ptr(),
                target_strides.as_ptr(),
            );
        }
    }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        // SAFETY: owned here.
        unsafe { ff::sws_freeContext(self.context) }
    }
}
