//! Cuts a face out of a frame so that eyes, nose and mouth are where the recogniser expects them.

use domain::{Frame, Orientation, PixelFormat, Plane, Point};

use crate::Error;
use crate::picture::Mix;

/// Side of the square picture the recogniser takes, in pixels.
pub(crate) const SIDE: usize = 112;

/// Where the five points belong (ArcFace, as OpenCV's `FaceRecognizerSF` uses it), half a pixel
/// further than published there: it counts from the centre of the first pixel, we from its corner.
const TEMPLATE: [Point; 5] = [
    Point { x: 38.7946, y: 52.1963 },
    Point { x: 74.0318, y: 52.0014 },
    Point { x: 56.5252, y: 72.2366 },
    Point { x: 42.0493, y: 92.8655 },
    Point { x: 71.2299, y: 92.7041 },
];

/// Samples averaged per output pixel and axis at most: a face of 3600 px is then still not aliased.
const MAX_SAMPLES: usize = 32;

/// A similarity transform: `x' = a x - b y + tx`, `y' = b x + a y + ty`.
#[derive(Clone, Copy, Debug)]
struct Similarity {
    a: f64,
    b: f64,
    tx: f64,
    ty: f64,
}

impl Similarity {
    /// The one that takes `from` to `to` with the least sum of squared distances (linear in a, b,
    /// tx, ty; closed form through the centroids). `None` when the points of `from` coincide.
    fn fit(from: &[Point; 5], to: &[Point; 5]) -> Option<Self> {
        let center = |points: &[Point; 5]| {
            let sum =
                |f: fn(&Point) -> f32| points.iter().map(|p| f64::from(f(p))).sum::<f64>() / 5.0;
            (sum(|p| p.x), sum(|p| p.y))
        };
        let ((fx, fy), (gx, gy)) = (center(from), center(to));
        let (mut dot, mut cross, mut square) = (0.0, 0.0, 0.0);
        for (p, q) in from.iter().zip(to) {
            let (px, py) = (f64::from(p.x) - fx, f64::from(p.y) - fy);
            let (qx, qy) = (f64::from(q.x) - gx, f64::from(q.y) - gy);
            dot += px * qx + py * qy;
            cross += px * qy - py * qx;
            square += px * px + py * py;
        }
        let (a, b) = (dot / square, cross / square);
        let fit = Self { a, b, tx: gx - a * fx + b * fy, ty: gy - b * fx - a * fy };
        (square > 1e-3 && a.hypot(b) > 1e-6 && fit.tx.is_finite() && fit.ty.is_finite())
            .then_some(fit)
    }

    fn inverse(self) -> Self {
        let square = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / square, -self.b / square);
        Self { a, b, tx: -(a * self.tx - b * self.ty), ty: -(b * self.tx + a * self.ty) }
    }

    fn apply(self, x: f64, y: f64) -> (f64, f64) {
        (self.a * x - self.b * y + self.tx, self.b * x + self.a * y + self.ty)
    }
}

/// Writes the aligned face as three planes R, G, B of 112x112 floats 0..=255. `landmarks` are in
/// coded pixels; `frame` must have been checked. What lies outside the frame is black.
pub(crate) fn crop(
    frame: &Frame,
    orientation: Orientation,
    landmarks: &[Point; 5],
    out: &mut [f32],
) -> Result<(), Error> {
    // Fitted as seen upright: a similarity cannot undo a mirror.
    let upright = landmarks.map(|p| orientation.to_upright(p, frame.size));
    let fit = Similarity::fit(&upright, &TEMPLATE).ok_or(Error::BadLandmarks)?;
    let back = fit.inverse();
    let coded = |x: f64, y: f64| {
        let (x, y) = back.apply(x, y);
        orientation.to_coded(Point { x: x as f32, y: y as f32 }, frame.size)
    };
    // Frame pixels per output pixel; as many samples are averaged so that detail does not alias.
    let samples = (back.a.hypot(back.b).round() as usize).clamp(1, MAX_SAMPLES);
    let corner = coded(0.0, 0.0);
    let across = minus(coded(SIDE as f64, 0.0), corner, (SIDE * samples) as f32);
    let down = minus(coded(0.0, SIDE as f64), corner, (SIDE * samples) as f32);
    let mix = Mix::new(frame.color);
    let (red, rest) = out.split_at_mut(SIDE * SIDE);
    let (green, blue) = rest.split_at_mut(SIDE * SIDE);
    for (i, (r, (g, b))) in red.iter_mut().zip(green.iter_mut().zip(blue)).enumerate() {
        let (column, row) = (i % SIDE * samples, i / SIDE * samples);
        let points = (0..samples * samples).map(|s| {
            let (x, y) = ((column + s % samples) as f32 + 0.5, (row + s / samples) as f32 + 0.5);
            Point {
                x: corner.x + x * across.x + y * down.x,
                y: corner.y + x * across.y + y * down.y,
            }
        });
        [*r, *g, *b] = mean_colour(frame, &mix, points, samples);
    }
    Ok(())
}

fn minus(p: Point, q: Point, steps: f32) -> Point {
    Point { x: (p.x - q.x) / steps, y: (p.y - q.y) / steps }
}

/// Mean colour at `samples`² coded points, 0..=255; black outside the frame.
fn mean_colour(
    frame: &Frame,
    mix: &Mix,
    points: impl Iterator<Item = Point>,
    samples: usize,
) -> [f32; 3] {
    let (width, height) = (frame.size.width as f32, frame.size.height as f32);
    // Several samples a pixel apart need no interpolation.
    let sample = if samples < 3 { bilinear } else { nearest };
    let (mut sum, mut inside) = ([0.0f32; 3], 0.0f32);
    for p in points {
        if !(p.x >= 0.0 && p.y >= 0.0 && p.x < width && p.y < height) {
            continue;
        }
        inside += 1.0;
        for (i, (plane, sum)) in frame.planes.iter().zip(&mut sum).enumerate() {
            let (sx, sy) = frame.format.subsampling(i);
            *sum += sample(plane, Point { x: p.x / (1 << sx) as f32, y: p.y / (1 << sy) as f32 });
        }
    }
    let [y, cb, cr] = sum.map(|s| s / inside.max(1.0));
    let colour = match frame.format {
        PixelFormat::Gray => [mix.gray(y).clamp(0.0, 255.0); 3],
        PixelFormat::Rgb => [y, cb, cr],
        _ => mix.rgb(y, cb, cr),
    };
    colour.map(|c| c * inside / (samples * samples) as f32)
}

fn nearest(plane: &Plane, p: Point) -> f32 {
    let (x, y) = ((p.x as usize).min(plane.width - 1), (p.y as usize).min(plane.height - 1));
    f32::from(plane.row(y)[x])
}

/// Sample at a point of a plane, in its pixels; the outermost half pixel repeats the border.
fn bilinear(plane: &Plane, p: Point) -> f32 {
    let split = |v: f32, length: usize| {
        let v = (v - 0.5).clamp(0.0, (length - 1) as f32);
        let low = v as usize;
        (low, (low + 1).min(length - 1), v - low as f32)
    };
    let (x0, x1, tx) = split(p.x, plane.width);
    let (y0, y1, ty) = split(p.y, plane.height);
    let mix = |a: u8, b: u8, t: f32| f32::from(a) + (f32::from(b) - f32::from(a)) * t;
    let (top, bottom) = (plane.row(y0), plane.row(y1));
    let (top, bottom) = (mix(top[x0], top[x1], tx), mix(bottom[x0], bottom[x1], tx));
    top + (bottom - top) * ty
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::check;
    use domain::{Color, Matrix, Pts, Range, Size, TimeBase};

    /// A grey picture, brighter to the right, with a bright left half of its top row.
    fn ramp(width: u32, height: u32) -> Frame {
        let color = Color { range: Range::Full, matrix: Matrix::Bt601 };
        let pts = Pts::new(0, TimeBase::new(1, 25).unwrap());
        let mut frame = Frame::new(0, pts, Size { width, height }, PixelFormat::Gray, color, None);
        for y in 0..height as usize {
            for (x, v) in frame.planes[0].row_mut(y).iter_mut().enumerate() {
                *v = (x * 200 / width as usize + y * 50 / height as usize) as u8;
            }
        }
        check(&frame).unwrap();
        frame
    }

    fn cropped(frame: &Frame, orientation: Orientation, landmarks: &[Point; 5]) -> Vec<f32> {
        let mut out = vec![0.0; 3 * SIDE * SIDE];
        crop(frame, orientation, landmarks, &mut out).unwrap();
        out
    }

    #[test]
    fn fit_finds_turn_scale_and_shift() {
        let (sin, cos) = 0.5f64.sin_cos();
        let known = Similarity { a: 3.0 * cos, b: 3.0 * sin, tx: 40.0, ty: -7.0 };
        let there = TEMPLATE.map(|p| {
            let (x, y) = known.apply(f64::from(p.x), f64::from(p.y));
            Point { x: x as f32, y: y as f32 }
        });
        let back = Similarity::fit(&there, &TEMPLATE).unwrap();
        for (p, q) in there.iter().zip(&TEMPLATE) {
            let (x, y) = back.apply(f64::from(p.x), f64::from(p.y));
            assert!((x - f64::from(q.x)).abs() < 1e-3 && (y - f64::from(q.y)).abs() < 1e-3);
            let (x, y) = back.inverse().apply(x, y);
            assert!((x - f64::from(p.x)).abs() < 1e-3 && (y - f64::from(p.y)).abs() < 1e-3);
        }
    }

    #[test]
    fn points_that_coincide_are_an_error() {
        let frame = ramp(112, 112);
        let landmarks = [Point { x: 5.0, y: 5.0 }; 5];
        let mut out = vec![0.0; 3 * SIDE * SIDE];
        assert!(matches!(
            crop(&frame, Orientation::default(), &landmarks, &mut out),
            Err(Error::BadLandmarks)
        ));
        let landmarks = [Point { x: f32::NAN, y: 5.0 }; 5];
        assert!(crop(&frame, Orientation::default(), &landmarks, &mut out).is_err());
    }

    #[test]
    fn a_face_in_place_is_copied() {
        let frame = ramp(112, 112);
        let out = cropped(&frame, Orientation::default(), &TEMPLATE);
        for (x, y) in [(0, 0), (50, 3), (111, 111)] {
            let expected = f32::from(frame.planes[0].row(y)[x]);
            assert!((out[y * SIDE + x] - expected).abs() < 0.01, "{x},{y}");
        }
    }

    #[test]
    fn a_large_face_is_averaged() {
        let mut frame = ramp(448, 448);
        for y in 0..448 {
            for (x, v) in frame.planes[0].row_mut(y).iter_mut().enumerate() {
                *v = if (x + y) % 2 == 0 { 0 } else { 200 };
            }
        }
        let landmarks = TEMPLATE.map(|p| Point { x: p.x * 4.0, y: p.y * 4.0 });
        let out = cropped(&frame, Orientation::default(), &landmarks);
        assert!((out[50 * SIDE + 50] - 100.0).abs() < 1.0, "{}", out[50 * SIDE + 50]);
    }

    #[test]
    fn all_orientations_give_the_same_face() {
        let upright = ramp(200, 160);
        let landmarks = TEMPLATE.map(|p| Point { x: p.x * 1.2 + 20.0, y: p.y * 1.2 + 10.0 });
        let expected = cropped(&upright, Orientation::default(), &landmarks);
        for (turns, mirror) in (0..4).flat_map(|t| [(t, false), (t, true)]) {
            let o = Orientation::new(turns, mirror);
            let size = o.upright_size(upright.size);
            let mut coded = ramp(size.width, size.height);
            for y in 0..size.height as usize {
                for x in 0..size.width as usize {
                    let p = o.to_upright(Point { x: x as f32 + 0.5, y: y as f32 + 0.5 }, size);
                    let value = upright.planes[0].row(p.y as usize)[p.x as usize];
                    coded.planes[0].row_mut(y)[x] = value;
                }
            }
            let out = cropped(&coded, o, &landmarks.map(|p| o.to_coded(p, size)));
            let worst = out.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 0.1, "{o:?}: {worst}");
        }
    }

    #[test]
    fn outside_the_frame_is_black() {
        let frame = ramp(60, 60);
        let out = cropped(&frame, Orientation::default(), &TEMPLATE);
        assert_eq!(out[111 * SIDE + 111], 0.0);
        assert!(out[50 * SIDE + 50] > 0.0);
    }
}
