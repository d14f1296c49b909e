//! One picture size for a whole broadcast: a publisher that turns the phone, or changes its size, is fitted
//! into it with black beside.

use std::ptr;

use domain::{Color, Frame, FramePool, Matrix, PixelFormat, Range, Size};
use ffmpeg_sys_the_third as ff;

use crate::MediaError;
use crate::picture::av_format;
use crate::scaler::{Scaler, Side};

/// Pictures of one size, 4:2:0.
pub struct Canvas {
    size: Size,
    color: Color,
    pool: FramePool,
    /// Memory of pictures before they are put in the middle.
    small: FramePool,
    scaler: Option<Scaler>,
}

impl Canvas {
    /// Pictures of `size`, whose sides are made even: H.264 4:2:0 cannot do without.
    pub fn new(size: Size, color: Color) -> Self {
        let even = |side: u32| (side & !1).max(2);
        let size = Size { width: even(size.width), height: even(size.height) };
        Self { size, color, pool: FramePool::default(), small: FramePool::default(), scaler: None }
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
        let from = side(frame.size, frame.format, frame.color);
        let inner = inside(frame.size, size);
        let scaler = match self.scaler.take().filter(|scaler| scaler.fits(from)) {
            Some(scaler) => scaler,
            None => {
                let to = side(inner, format, color);
                Scaler::new(from, to, ff::SWS_BILINEAR as i32).ok_or_else(|| {
                    let why = format!("{}x{} cannot be scaled", from.width, from.height);
                    MediaError::Ffmpeg { what: "scaling", why }
                })?
            }
        };
        let pool = if inner == size { &self.pool } else { &self.small };
        let mut scaled = Frame::new(frame.seq, frame.pts, inner, format, color, Some(pool));
        scale(self.scaler.insert(scaler), &frame, &mut scaled);
        if inner == size {
            return Ok(scaled);
        }
        let mut to = Frame::new(frame.seq, frame.pts, size, format, color, Some(&self.pool));
        put_in_the_middle(&scaled, &mut to);
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

/// What FFmpeg is told of pictures.
fn side(size: Size, format: PixelFormat, color: Color) -> Side {
    Side {
        width: size.width as i32,
        height: size.height as i32,
        format: av_format(format),
        range: color.range,
        coefficients: coefficients(color),
    }
}

/// Scales `from`, of the kind that the scaler was made for, into `to`, of the kind that it makes.
fn scale(scaler: &mut Scaler, from: &Frame, to: &mut Frame) {
    let mut data = [ptr::null::<u8>(); 4];
    let mut strides = [0i32; 4];
    for (i, plane) in from.planes.iter().enumerate().take(4) {
        data[i] = plane.data.as_ptr();
        strides[i] = plane.stride as i32;
    }
    // SAFETY: planes of `from` hold `stride * height` bytes each for the size and layout that the scaler was made for;
    // `to` is of the size and layout that it makes.
    unsafe { scaler.convert(data.as_ptr(), strides.as_ptr(), to) };
}

/// `small` in the middle of `to`, black around it. Copied, not scaled to its place: the scaler writes whole vectors,
/// up to 31 samples past the right end of a row, which in the middle of a picture is not padding.
fn put_in_the_middle(small: &Frame, to: &mut Frame) {
    let black = if to.color.range == Range::Full { 0 } else { 16 };
    // Even, so that chroma lies where luma does.
    let even = |room: u32| (room / 2) as usize & !1;
    let left = even(to.size.width.saturating_sub(small.size.width));
    let top = even(to.size.height.saturating_sub(small.size.height));
    for (i, (from, plane)) in small.planes.iter().zip(&mut to.planes).enumerate() {
        plane.data.fill(if i == 0 { black } else { 128 });
        let (sx, sy) = to.format.subsampling(i);
        for y in 0..from.height {
            plane.row_mut((top >> sy) + y)[left >> sx..][..from.width].copy_from_slice(from.row(y));
        }
    }
}

fn coefficients(color: Color) -> i32 {
    let which = match color.matrix {
        Matrix::Bt709 => ff::SWS_CS_ITU709,
        Matrix::Bt601 => ff::SWS_CS_ITU601,
        Matrix::Bt2020 => ff::SWS_CS_BT2020,
    };
    which as i32
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
        assert!(fitted.planes[1..].iter().all(|plane| plane.row(90).iter().all(|v| *v == 128)));
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
