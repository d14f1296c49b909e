//! Whether a photo shows a face well enough that somebody can be known by it.
//!
//! Measured on the face as the recogniser sees it: upright, 112x112 pixels, eyes and mouth in their places.

use domain::{Detection, Frame, Orientation, Point};
use zeroize::Zeroizing;

use crate::align::{self, SIDE};
use crate::{Error, picture};

/// Least [`Quality::sharpness`].
pub const LEAST_SHARPNESS: f32 = 0.12;
/// Least [`Quality::brightness`].
pub const LEAST_BRIGHTNESS: f32 = 30.0;
/// Most [`Quality::turn`].
pub const MOST_TURN: f32 = 0.5;

/// The part of the aligned picture that is face in every pose, as a share of its side.
const INNER: (f32, f32) = (0.22, 0.78);

/// How well a face can be seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Mean luma of the face, 0 to 255.
    pub brightness: f32,
    /// Standard deviation of the Laplacian of luma over that of luma itself: light and contrast do not change it.
    pub sharpness: f32,
    /// How far the nose is from the middle between the eyes, along the line of the eyes, over the distance of
    /// the eyes: 0 from the front, .5 where it is before one of them.
    pub turn: f32,
}

impl Quality {
    /// Of a face of `frame`, its landmarks in coded pixels.
    ///
    /// # Errors
    /// [`Error::BadFrame`], [`Error::BadLandmarks`].
    pub fn of(frame: &Frame, orientation: Orientation, face: &Detection) -> Result<Self, Error> {
        picture::check(frame)?;
        let mut planes = Zeroizing::new(vec![0.0; 3 * SIDE * SIDE]);
        align::crop(frame, orientation, &face.landmarks, &mut planes)?;
        let luma = luma(&planes);
        let (from, to) = ((INNER.0 * SIDE as f32) as usize, (INNER.1 * SIDE as f32) as usize);
        let inner = || (from..to).flat_map(|y| (from..to).map(move |x| (x, y)));
        let at = |x: usize, y: usize| luma[y * SIDE + x];
        let laplacian =
            |(x, y)| 4.0 * at(x, y) - at(x - 1, y) - at(x + 1, y) - at(x, y - 1) - at(x, y + 1);
        let (brightness, contrast) = moments(inner().map(|(x, y)| at(x, y)));
        let (_, edges) = moments(inner().map(laplacian));
        let sharpness = if contrast > 0.0 { edges / contrast } else { 0.0 };
        Ok(Self { brightness, sharpness, turn: turn(&face.landmarks) })
    }
}

/// Luma (ITU-R BT.601) of planes of R, G and B.
fn luma(planes: &[f32]) -> Zeroizing<Vec<f32>> {
    let (red, rest) = planes.split_at(SIDE * SIDE);
    let (green, blue) = rest.split_at(SIDE * SIDE);
    let pixels = red.iter().zip(green).zip(blue);
    Zeroizing::new(pixels.map(|((r, g), b)| 0.299 * r + 0.587 * g + 0.114 * b).collect())
}

/// Mean and standard deviation.
fn moments(values: impl Iterator<Item = f32>) -> (f32, f32) {
    let (mut count, mut sum, mut squares) = (0.0f64, 0.0f64, 0.0f64);
    for value in values.map(f64::from) {
        count += 1.0;
        sum += value;
        squares += value * value;
    }
    let mean = sum / count.max(1.0);
    (mean as f32, (squares / count.max(1.0) - mean * mean).max(0.0).sqrt() as f32)
}

fn turn(landmarks: &[Point; 5]) -> f32 {
    let [a, b, nose, ..] = landmarks;
    let (x, y) = (b.x - a.x, b.y - a.y);
    let square = x * x + y * y;
    if square <= 0.0 {
        return f32::INFINITY;
    }
    (((nose.x - a.x) * x + (nose.y - a.y) * y) / square - 0.5).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_face_has_its_nose_by_an_eye_however_the_picture_is_tilted() {
        let p = |x: f32, y: f32| Point { x, y };
        let front = [p(0.0, 0.0), p(40.0, 0.0), p(20.0, 20.0), p(5.0, 40.0), p(35.0, 40.0)];
        assert_eq!(turn(&front), 0.0);
        let side = [p(0.0, 0.0), p(20.0, 0.0), p(22.0, 20.0), p(5.0, 40.0), p(15.0, 40.0)];
        assert!((turn(&side) - 0.6).abs() < 1e-6);
        let tilted = side.map(|q| p(-q.y, q.x));
        assert!((turn(&tilted) - 0.6).abs() < 1e-6);
        assert_eq!(turn(&[p(1.0, 1.0); 5]), f32::INFINITY);
    }
}
