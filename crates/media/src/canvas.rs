//! One picture size for a whole broadcast: a publisher that turns the phone, or changes its size, is fitted
//! into it with black beside.

use std::ptr;

use domain::{Color, Frame, FramePool, Matrix, PixelFormat, Range, Size};
use ffmpeg_sys_the_third as ff;

use crate::MediaError;
use crate::picture::av_format;

/// Pictures of one size, 4:2:0.
pub struct Canvas {
    size: Size,
    color: Color,
    pool: FramePool,
    scaler: Option<Scaler>,
}

impl Canvas {
    /// Pictures of `size`, whose sides are made even: H.264 4:2:0 cannot do without.
    pub fn new(size: Size, color: Color) -> Self {
        let even = |side: u32| (side & !1).max(2);
        let size = Size { width: even(size.width), height: even(size.height) };
        Self { size, color, pool: FramePool::default(), scaler: None }
    }

    /// The size of all pictures.
    pub fn size(&self) -> Size {
        self.size
    }

    /// What the samples of all pictures mean.
    pub fn color(&self) -> Color {
        self.color
    }

    /// `frame` as large as fits, in the middle. One that is of this kind already is not touched.
    ///
    /// # Errors
    /// [`MediaError::Ffmpeg`] for a picture that cannot be scaled.
    pub fn fit(&mut self, frame: Frame) -> Result<Frame, MediaError> {
        let (size, format, color) = (self.size, PixelFormat::Yuv420, self.color);
        if (frame.size, frame.format, frame.color) == (size, format, color) {
            return Ok(frame);
        }
        let kind = Kind { size: frame.size, format: frame.format, color: frame.color };
        let inner = inside(frame.size, size);
        let scaler = match self.scaler.take() {
            Some(scaler) if scaler.from == kind => scaler,
            _ => Scaler::new(kind, Kind { size: inner, format, color })?,
        };
        let mut to = Frame::new(frame.seq, frame.pts, size, format, color, Some(&self.pool));
        let black = if color.range == Range::Full { 0 } else { 16 };
        for (p, plane) in to.planes.iter_mut().enumerate() {
            plane.data.fill(if p == 0 { black } else { 128 });
        }
        self.scaler.insert(scaler).scale(&frame, &mut to, inner);
        Ok(to)
    }
}

/// The largest size of the proportions of `of` that fits into `into`, both sides even.
fn inside(of: Size, into: Size) -> Size {
    let (w, h) = (u64::from(of.width.max(1)), u64::from(of.height.max(1)));
    let (most_w, most_h) = (u64::from(into.width), u64::from(into.height));
    let (width, height) =
        if w * most_h >= h * most_w { (most_w, most_w * h / w) } else { (most_h * w / h, most_h) };
    let even = |side: u64| (side as u32 & !1).max(2);
    Size { width: even(width), height: even(height) }
}

/// What pictures are.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kind {
    size: Size,
    format: PixelFormat,
    color: Color,
}

struct Scaler {
    context: *mut ff::SwsContext,
    from: Kind,
}

// SAFETY: used from one thread at a time; not Sync.
unsafe impl Send for Scaler {}

impl Scaler {
    fn new(from: Kind, to: Kind) -> Result<Self, MediaError> {
        // SAFETY: plain values; null filters mean none. Null on failure, checked.
        let context = unsafe {
            ff::sws_getContext(
                from.size.width as i32,
                from.size.height as i32,
                av_format(from.format),
                to.size.width as i32,
                to.size.height as i32,
                av_format(to.format),
                ff::SWS_BILINEAR as i32,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        if context.is_null() {
            let why = format!("{}x{} cannot be scaled", from.size.width, from.size.height);
            return Err(MediaError::Ffmpeg { what: "scaling", why });
        }
        let scaler = Self { context, from };
        let full = |kind: Kind| i32::from(kind.color.range == Range::Full);
        // SAFETY: the tables are static, and only read.
        unsafe {
            let (a, b) = (coefficients(from.color), coefficients(to.color));
            ff::sws_setColorspaceDetails(context, a, full(from), b, full(to), 0, 1 << 16, 1 << 16);
        }
        Ok(scaler)
    }

    /// Puts `from` into the middle of `to`, as large as `inner`.
    fn scale(&mut self, from: &Frame, to: &mut Frame, inner: Size) {
        let mut source = [ptr::null(); 4];
        let mut source_strides = [0i32; 4];
        for (i, plane) in from.planes.iter().enumerate().take(4) {
            source[i] = plane.data.as_ptr();
            source_strides[i] = plane.stride as i32;
        }
        // Even, so that chroma lies where luma does.
        let even = |room: u32| (room / 2) as usize & !1;
        let left = even(to.size.width.saturating_sub(inner.width));
        let top = even(to.size.height.saturating_sub(inner.height));
        let mut target = [ptr::null_mut(); 4];
        let mut strides = [0i32; 4];
        let format = to.format;
        for (i, plane) in to.planes.iter_mut().enumerate().take(4) {
            let (sx, sy) = format.subsampling(i);
            let start = (top >> sy) * plane.stride + (left >> sx);
            target[i] = plane.data[start..].as_mut_ptr();
            strides[i] = plane.stride as i32;
        }
        // SAFETY: source planes hold `stride * height` bytes each for the size and format the context was made
        // for; `inner` at (`left`, `top`) lies inside the target's planes.
        unsafe {
            ff::sws_scale(
                self.context,
                source.as_ptr().cast(),
                source_strides.as_ptr(),
                0,
                from.size.height as i32,
                target.as_ptr(),
                strides.as_ptr(),
            );
        }
    }
}

fn coefficients(color: Color) -> *const i32 {
    let which = match color.matrix {
        Matrix::Bt709 => ff::SWS_CS_ITU709,
        Matrix::Bt601 => ff::SWS_CS_ITU601,
        Matrix::Bt2020 => ff::SWS_CS_BT2020,
    };
    // SAFETY: a static table for any number.
    unsafe { ff::sws_getCoefficients(which as i32) }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        // SAFETY: owned here.
        unsafe { ff::sws_freeContext(self.context) }
    }
}

#[cfg(test)]
mod tests {
    use domain::{Pts, TimeBase};

    use super::*;

    const COLOR: Color = Color { range: Range::Limited, matrix: Matrix::Bt709 };

    fn white(width: u32, height: u32) -> Frame {
        let pts = Pts::new(7, TimeBase::MPEG);
        let size = Size { width, height };
        let mut frame = Frame::new(3, pts, size, PixelFormat::Yuv420, COLOR, None);
        for (p, plane) in frame.planes.iter_mut().enumerate() {
            plane.data.fill(if p == 0 { 235 } else { 128 });
        }
        frame
    }

    #[test]
    fn a_picture_of_its_kind_is_not_touched() {
        let mut canvas = Canvas::new(Size { width: 64, height: 36 }, COLOR);
        let frame = white(64, 36);
        let memory = frame.planes[0].data.as_ptr();
        let fitted = canvas.fit(frame).unwrap();
        assert_eq!(fitted.planes[0].data.as_ptr(), memory);
    }

    #[test]
    fn a_turned_phone_is_in_the_middle_with_black_beside() {
        let mut canvas = Canvas::new(Size { width: 640, height: 360 }, COLOR);
        let fitted = canvas.fit(white(360, 640)).unwrap();
        assert_eq!((fitted.size, fitted.seq), (Size { width: 640, height: 360 }, 3));
        let row = fitted.planes[0].row(180);
        let lit: Vec<usize> = (0..640).filter(|x| row[*x] > 100).collect();
        assert_eq!((lit.first(), lit.last(), lit.len()), (Some(&218), Some(&419), 202));
        assert_eq!((row[0], row[639]), (16, 16));
    }

    #[test]
    fn all_sizes_fit() {
        for (w, h) in [(1, 1), (2, 4000), (4000, 2), (641, 361), (1920, 1080)] {
            let inner = inside(Size { width: w, height: h }, Size { width: 640, height: 360 });
            assert!(inner.width <= 640 && inner.height <= 360, "{w}x{h}: {inner:?}");
            let mut canvas = Canvas::new(Size { width: 641, height: 361 }, COLOR);
            assert_eq!(canvas.fit(white(w, h)).unwrap().size, Size { width: 640, height: 360 });
        }
    }
}
