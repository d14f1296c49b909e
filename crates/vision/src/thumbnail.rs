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
        picture::scale(&mut resizer, plane, size, out)?;
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

/// Mean absolute difference, 0..=255.
pub fn difference(a: &Thumbnail, b: &Thumbnail) -> f32 {
    let sum: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    sum as f32 / a.len() as f32
}
