//! Tiny grey pictures that tell whether two frames show the same scene.

use domain::{Frame, PixelFormat, Size};
use fast_image_resize::Resizer;

use crate::Error;
use crate::picture::{self, Mix};

/// Width in pixels.
pub const WIDTH: usize = 64;
/// Height in pixels.
pub const HEIGHT: usize = 36;

/// Grey levels 0..=255, row by row, as coded.
pub type Thumbnail = [u8; WIDTH * HEIGHT];

/// The area average of the luma of `frame`, black at 0 and white at 255 whatever its range.
///
/// # Errors
/// [`Error::BadFrame`] when the planes of the frame do not fit its size.
pub fn thumbnail(frame: &Frame) -> Result<Thumbnail, Error> {
    picture::check(frame)?;
    let size = Size { width: WIDTH as u32, height: HEIGHT as u32 };
    let mut resizer = Resizer::new();
    let used = if frame.format == PixelFormat::Rgb { 3 } else { 1 };
    let mut planes: [Vec<u8>; 3] = Default::default();
    for (plane, out) in frame.planes.iter().zip(&mut planes).take(used) {
        // Four rows for each of the thumbnail tell as much as all, and cost less than half.
        let nth = (plane.height / (4 * HEIGHT)).max(1);
        picture::resize(&mut resizer, plane, nth, size, out)?;
    }
    let mix = Mix::new(frame.color);
    let level = |i: usize| {
        let sample = |plane: usize| planes[plane].get(i).map_or(0.0, |&v| f32::from(v));
        match frame.format {
            PixelFormat::Rgb => 0.299 * sample(0) + 0.587 * sample(1) + 0.114 * sample(2),
            _ => mix.gray(sample(0)),
        }
    };
    Ok(std::array::from_fn(|i| level(i).round().clamp(0.0, 255.0) as u8))
}

/// Mean absolute difference of two thumbnails, 0..=255.
pub fn difference(a: &[u8], b: &[u8]) -> f32 {
    let sum: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    sum as f32 / a.len() as f32
}

#[cfg(test)]
mod tests {
    use domain::{Color, Matrix, Pts, Range, TimeBase};

    use super::*;

    fn flat(format: PixelFormat, range: Range, samples: [u8; 3]) -> Frame {
        let color = Color { range, matrix: Matrix::Bt709 };
        let pts = Pts::new(0, TimeBase::new(1, 25).unwrap());
        let size = Size { width: 177, height: 99 };
        let mut frame = Frame::new(0, pts, size, format, color, None);
        for (plane, sample) in frame.planes.iter_mut().zip(samples) {
            plane.data.fill(sample);
        }
        frame
    }

    #[test]
    fn levels_do_not_depend_on_range_or_format() {
        let limited = thumbnail(&flat(PixelFormat::Yuv420, Range::Limited, [235, 0, 255])).unwrap();
        let full = thumbnail(&flat(PixelFormat::Gray, Range::Full, [255; 3])).unwrap();
        let rgb = thumbnail(&flat(PixelFormat::Rgb, Range::Full, [255; 3])).unwrap();
        assert_eq!((limited, full), (rgb, rgb));
        assert_eq!(limited[0], 255);
        let black = thumbnail(&flat(PixelFormat::Yuv420, Range::Limited, [16, 0, 0])).unwrap();
        assert_eq!(difference(&limited, &black), 255.0);
        assert_eq!(difference(&black, &black), 0.0);
    }

    #[test]
    fn is_an_average_in_place() {
        let mut frame = flat(PixelFormat::Gray, Range::Full, [0; 3]);
        for y in 0..frame.planes[0].height {
            let width = frame.planes[0].width;
            frame.planes[0].row_mut(y)[width / 2..].fill(200);
        }
        let thumbnail = thumbnail(&frame).unwrap();
        assert_eq!((thumbnail[0], thumbnail[WIDTH - 1]), (0, 200));
        let mean = thumbnail.iter().map(|&v| u32::from(v)).sum::<u32>() / (WIDTH * HEIGHT) as u32;
        assert!((99..=102).contains(&mean), "{mean}");
    }

    #[test]
    fn a_broken_frame_is_an_error() {
        let mut frame = flat(PixelFormat::Gray, Range::Full, [0; 3]);
        frame.planes.clear();
        assert!(thumbnail(&frame).is_err());
    }
}
