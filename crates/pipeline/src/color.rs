//! Colours of single points of a frame, for pictures that people look at.

use domain::{Frame, Matrix, Orientation, PixelFormat, Point, Range};
use image::{Rgb, RgbImage};

/// A picture of `width` by `height` pixels of the coded frame as it is seen upright. `place`: where in the
/// upright frame the middle of a pixel lies, given in pixels of the picture.
pub(crate) fn upright(
    frame: &Frame,
    orientation: Orientation,
    (width, height): (u32, u32),
    place: impl Fn(Point) -> Point,
) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let middle = Point { x: x as f32 + 0.5, y: y as f32 + 0.5 };
        color_at(frame, orientation.to_coded(place(middle), frame.size))
    })
}

/// The colour at a coded point; black outside the picture.
fn color_at(frame: &Frame, p: Point) -> Rgb<u8> {
    let size = frame.size;
    let inside = p.x >= 0.0 && p.y >= 0.0 && p.x < size.width as f32 && p.y < size.height as f32;
    if !inside {
        return Rgb([0; 3]);
    }
    let sample = |plane: usize| {
        let (sx, sy) = frame.format.subsampling(plane);
        let plane = &frame.planes[plane];
        let x = (p.x as usize >> sx).min(plane.width - 1);
        let y = (p.y as usize >> sy).min(plane.height - 1);
        plane.data[y * plane.stride + x]
    };
    match frame.format {
        PixelFormat::Rgb => Rgb([sample(0), sample(1), sample(2)]),
        PixelFormat::Gray => Rgb([sample(0); 3]),
        _ => yuv_to_rgb(frame, [sample(0), sample(1), sample(2)]),
    }
}

/// ITU-T H.273, 8.3, with the coefficients of the frame's matrix.
fn yuv_to_rgb(frame: &Frame, yuv: [u8; 3]) -> Rgb<u8> {
    let (kr, kb) = match frame.color.matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
        Matrix::Bt2020 => (0.2627, 0.0593),
    };
    let [y, u, v] = yuv.map(f32::from);
    let (y, scale) = match frame.color.range {
        Range::Full => (y, 1.0),
        Range::Limited => ((y - 16.0) * 255.0 / 219.0, 255.0 / 224.0),
    };
    let (u, v) = ((u - 128.0) * scale, (v - 128.0) * scale);
    let r = y + 2.0 * (1.0 - kr) * v;
    let b = y + 2.0 * (1.0 - kb) * u;
    let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
    Rgb([r, g, b].map(|c| c.clamp(0.0, 255.0) as u8))
}
