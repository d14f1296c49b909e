//! How much of a face's detail is left in another picture of the same place.
//!
//! Both pictures are brought to one small size. Two bands of detail, about 5 to 10 and 10 to 20
//! cycles across the face, are compared cell by cell: how much of the original's detail is there
//! (its projection, the gain) times how alike the two are (their correlation). Measured
//! (`docs/reference/verify.md`): a face that was only encoded again keeps .9 to 1, one under Garim's
//! mosaic at most .1; a plain mosaic of 12 cells across the face leaves .9, of 8 cells .05.

use domain::{Plane, Rect};

/// A face shows when more than this share of its detail is left.
pub(super) const VISIBLE: f32 = 0.3;
/// The same for a face without detail, where unchanged brightness is all there is to go by.
pub(super) const VISIBLE_FLAT: f32 = 0.6;

/// Width at which faces are compared, in pixels.
const WIDTH: usize = 64;
/// Height at which they are compared, at least and at most.
const HEIGHT: (usize, usize) = (16, 128);
/// Cells across and down.
const GRID: usize = 5;
/// Half axes of the ellipse that counts as face, as a share of the box: corners are background.
const CORE: f32 = 0.46;
/// Blurs that part the bands, in pixels of the compared size.
const SIGMAS: [f32; 3] = [0.8, 1.6, 3.2];
/// Faces narrower than this, in pixels, have no fine band.
const FINE_FROM: f32 = 40.0;
/// A cell still shows the face above this product of gain and correlation.
const CELL_SHOWS: f32 = 0.4;
/// A band with less variance has nothing to compare, in squared grey levels.
const FAINT: f32 = 0.6;
/// A cell with less variance in all bands is flat.
const FLAT: f32 = 1.2;
/// What a flat cell weighs; others weigh the root of their variance, up to [`HEAVY`].
const FLAT_WEIGHT: f32 = 0.3;
const HEAVY: f32 = 3.0;
/// Samples averaged per compared pixel and axis at most.
const MAX_SAMPLES: usize = 16;
/// Coding noise taken into account at most, in grey levels: a picture that was covered whole must
/// not count as noise.
const MAX_NOISE: f32 = 3.0;

/// What is left of one face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Detail {
    /// Share of its detail, 0..=1.
    pub left: f32,
    /// Whether the original hardly has any (dark, out of focus).
    pub flat: bool,
}

impl Detail {
    /// Whether the face can be seen.
    pub(super) fn shows(self) -> bool {
        self.left > if self.flat { VISIBLE_FLAT } else { VISIBLE }
    }
}

/// Compares the luma of the face at `rect` (coded pixels). `None` when too little of it lies in the
/// picture. `noise` is what [`noise`] says of the two frames.
pub(super) fn compare(original: &Plane, output: &Plane, rect: Rect, noise: f32) -> Option<Detail> {
    if !rect.is_sane() || rect.width() < 1.0 || rect.height() < 1.0 {
        return None;
    }
    let tall = (WIDTH as f32 * rect.height() / rect.width()).round() as usize;
    let height = tall.clamp(HEIGHT.0, HEIGHT.1);
    let a = Patch::cut(original, rect, height);
    let b = Patch::cut(output, rect, height);
    let (mut cells, mut counted) = (vec![Cell::default(); GRID * GRID], 0);
    let (bands_a, bands_b) = (a.bands(), b.bands());
    for i in 0..WIDTH * height {
        let (x, y) = (i % WIDTH, i / WIDTH);
        if !is_core(x, y, height) || !is_inside(original, rect, x, y, height) {
            continue;
        }
        counted += 1;
        let cell = &mut cells[y * GRID / height * GRID + x * GRID / WIDTH];
        let pairs = [0, 1].map(|band: usize| (bands_a[band][i], bands_b[band][i]));
        cell.add(pairs, (a.pixels[i] - b.pixels[i]).abs());
    }
    (counted >= 30).then(|| judge(&cells, rect.width().min(rect.height()) >= FINE_FROM, noise))?
}

/// The usual difference between two frames, in grey levels: what encoding did to them.
pub(super) fn noise(original: &Plane, output: &Plane) -> f32 {
    let mut counts = [0u32; 256];
    let (width, height) = (original.width.min(output.width), original.height.min(output.height));
    for y in (0..height).step_by(8) {
        let (a, b) = (original.row(y), output.row(y));
        for x in (0..width).step_by(8) {
            counts[usize::from(a[x].abs_diff(b[x]))] += 1;
        }
    }
    let half = counts.iter().sum::<u32>() / 2;
    let mut seen = 0;
    let median = counts.iter().position(|n| {
        seen += n;
        seen > half
    });
    (median.unwrap_or(0) as f32).clamp(0.5, MAX_NOISE)
}

fn judge(cells: &[Cell], fine: bool, noise: f32) -> Option<Detail> {
    let (mut shown, mut all, mut flat, mut used) = (0.0, 0.0, 0, 0);
    for cell in cells.iter().filter(|cell| cell.n >= 12.0) {
        used += 1;
        let bands = if fine { &cell.bands[..] } else { &cell.bands[1..] };
        let variance: f32 = bands.iter().map(|band| band.variance(cell.n)).sum();
        let (weight, shows) = if variance < FLAT {
            flat += 1;
            (FLAT_WEIGHT, cell.change / cell.n < (1.8 * noise).max(1.5))
        } else {
            let left = bands.iter().map(|band| band.left(cell.n)).fold(0.0, f32::max);
            (variance.sqrt().min(HEAVY), left > CELL_SHOWS)
        };
        all += weight;
        shown += if shows { weight } else { 0.0 };
    }
    (all > 0.0).then(|| Detail { left: shown / all, flat: flat * 10 > used * 7 })
}

fn is_core(x: usize, y: usize, height: usize) -> bool {
    let from_middle = |v: usize, length: usize| {
        ((v as f32 + 0.5) / length as f32 - 0.5) / CORE // -1..=1 inside
    };
    from_middle(x, WIDTH).hypot(from_middle(y, height)) <= 1.0
}

/// Whether the compared pixel lies in the picture.
fn is_inside(plane: &Plane, rect: Rect, x: usize, y: usize, height: usize) -> bool {
    let px = rect.x0 + (x as f32 + 0.5) * rect.width() / WIDTH as f32;
    let py = rect.y0 + (y as f32 + 0.5) * rect.height() / height as f32;
    (0.0..plane.width as f32).contains(&px) && (0.0..plane.height as f32).contains(&py)
}

/// Sums over the pixels of one cell.
#[derive(Clone, Debug, Default)]
struct Cell {
    n: f32,
    bands: [Band; 2],
    change: f32,
}

impl Cell {
    fn add(&mut self, pairs: [(f32, f32); 2], change: f32) {
        self.n += 1.0;
        self.change += change;
        for (band, (a, b)) in self.bands.iter_mut().zip(pairs) {
            band.a += a;
            band.b += b;
            band.aa += a * a;
            band.bb += b * b;
            band.ab += a * b;
        }
    }
}

/// Sums of one band: of the original, of the output, and of their products.
#[derive(Clone, Copy, Debug, Default)]
struct Band {
    a: f32,
    b: f32,
    aa: f32,
    bb: f32,
    ab: f32,
}

impl Band {
    /// Variance of the original's detail.
    fn variance(self, n: f32) -> f32 {
        (self.aa / n - (self.a / n).powi(2)).max(0.0)
    }

    /// Gain times correlation of the original's detail in the output, 0..=1.
    fn left(self, n: f32) -> f32 {
        let own = self.variance(n);
        if own < FAINT {
            return 0.0;
        }
        let other = (self.bb / n - (self.b / n).powi(2)).max(0.0);
        let both = (self.ab / n - self.a / n * self.b / n).max(0.0);
        (both / own).min(1.0) * (both / (own * other + 1e-6).sqrt()).min(1.0)
    }
}

/// A face at the size at which faces are compared.
struct Patch {
    height: usize,
    pixels: Vec<f32>,
}

impl Patch {
    fn cut(plane: &Plane, rect: Rect, height: usize) -> Self {
        let (dx, dy) = (rect.width() / WIDTH as f32, rect.height() / height as f32);
        let (nx, ny) = (samples(dx), samples(dy));
        let mut pixels = Vec::with_capacity(WIDTH * height);
        for i in 0..WIDTH * height {
            let (x, y) = ((i % WIDTH) as f32, (i / WIDTH) as f32);
            let mut sum = 0.0;
            for s in 0..nx * ny {
                let (u, v) = ((s % nx) as f32 + 0.5, (s / nx) as f32 + 0.5);
                sum += bilinear(
                    plane,
                    rect.x0 + (x + u / nx as f32) * dx,
                    rect.y0 + (y + v / ny as f32) * dy,
                );
            }
            pixels.push(sum / (nx * ny) as f32);
        }
        Self { height, pixels }
    }

    /// The fine and the middle band.
    fn bands(&self) -> [Vec<f32>; 2] {
        let [a, b, c] = SIGMAS.map(|sigma| self.blurred(sigma));
        let minus = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a - b).collect();
        [minus(&a, &b), minus(&b, &c)]
    }

    /// With a Gaussian blur; what lies outside repeats the border.
    fn blurred(&self, sigma: f32) -> Vec<f32> {
        let reach = (3.0 * sigma).ceil() as isize;
        let mut kernel: Vec<f32> =
            (-reach..=reach).map(|d| (-(d * d) as f32 / (2.0 * sigma * sigma)).exp()).collect();
        let sum: f32 = kernel.iter().sum();
        kernel.iter_mut().for_each(|k| *k /= sum);
        let across = convolve(&self.pixels, &kernel, WIDTH, 1, self.height, WIDTH);
        convolve(&across, &kernel, self.height, WIDTH, WIDTH, 1)
    }
}

/// Convolves `lines` lines of `length` pixels; neighbours on a line are `step` apart, lines `skip`.
fn convolve(
    from: &[f32],
    kernel: &[f32],
    length: usize,
    step: usize,
    lines: usize,
    skip: usize,
) -> Vec<f32> {
    let reach = kernel.len() / 2;
    let mut to = vec![0.0; from.len()];
    for line in 0..lines {
        for i in 0..length {
            let at = |k: usize| (i + k).saturating_sub(reach).min(length - 1);
            let sum = kernel.iter().enumerate().map(|(k, w)| w * from[line * skip + at(k) * step]);
            to[line * skip + i * step] = sum.sum();
        }
    }
    to
}

/// Samples per pixel so that what is larger than the compared size does not alias.
fn samples(step: f32) -> usize {
    (step.round() as usize).clamp(1, MAX_SAMPLES)
}

/// Sample at a point of a plane; outside, the border repeats.
fn bilinear(plane: &Plane, x: f32, y: f32) -> f32 {
    let split = |v: f32, length: usize| {
        let v = (v - 0.5).clamp(0.0, length.saturating_sub(1) as f32);
        let low = v as usize;
        (low, (low + 1).min(length.saturating_sub(1)), v - low as f32)
    };
    let ((x0, x1, tx), (y0, y1, ty)) = (split(x, plane.width), split(y, plane.height));
    let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
    let row = |y: usize| {
        let row = plane.row(y);
        mix(f32::from(row[x0]), f32::from(row[x1]), tx)
    };
    mix(row(y0), row(y1), ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACE: Rect = Rect { x0: 30.0, y0: 20.0, x1: 130.0, y1: 150.0 };

    fn plane(value: impl Fn(usize, usize) -> u8) -> Plane {
        let (width, height) = (160, 170);
        let data = (0..width * height).map(|i| value(i % width, i / width)).collect();
        Plane { data, stride: width, width, height }
    }

    /// Blotches of all sizes, the same at every call.
    fn texture(x: usize, y: usize) -> u8 {
        let wave = |fx: f32, fy: f32| (x as f32 * fx + y as f32 * fy).sin();
        let sum = wave(0.21, 0.13) + wave(-0.37, 0.45) + wave(0.71, 0.33) + wave(0.11, -0.62);
        (120.0 + 18.0 * sum) as u8
    }

    fn mosaic(cell: usize) -> Plane {
        let from = plane(texture);
        plane(|x, y| {
            let (x0, y0) = (x / cell * cell, y / cell * cell);
            let (x1, y1) = ((x0 + cell).min(160), (y0 + cell).min(170));
            let sum: u32 = (y0..y1)
                .flat_map(|y| (x0..x1).map(move |x| (x, y)))
                .map(|(x, y)| u32::from(from.row(y)[x]))
                .sum();
            (sum / ((x1 - x0) * (y1 - y0)) as u32) as u8
        })
    }

    fn left(output: &Plane) -> f32 {
        let original = plane(texture);
        let noise = noise(&original, output);
        compare(&original, output, FACE, noise).unwrap().left
    }

    #[test]
    fn an_uncovered_face_is_all_there_and_a_noisy_one_nearly() {
        assert_eq!(left(&plane(texture)), 1.0);
        let noisy = plane(|x, y| texture(x, y).saturating_add(((x * 7 + y * 13) % 7) as u8));
        assert!(left(&noisy) > 0.9, "{}", left(&noisy));
    }

    #[test]
    fn a_dimmed_face_still_shows() {
        let dim = plane(|x, y| 60 + texture(x, y) / 2);
        assert!(left(&dim) > VISIBLE, "{}", left(&dim));
    }

    #[test]
    fn a_strong_mosaic_leaves_little_and_a_weak_one_much() {
        // 100 px across the face: 5 cells, and 16.
        assert!(left(&mosaic(20)) < 0.15, "{}", left(&mosaic(20)));
        assert!(left(&mosaic(6)) > VISIBLE, "{}", left(&mosaic(6)));
    }

    #[test]
    fn another_picture_is_not_the_face() {
        let other = plane(|x, y| texture(y + 31, x + 77));
        assert!(left(&other) < 0.15, "{}", left(&other));
        assert!(left(&plane(|_, _| 120)) < 0.05);
    }

    #[test]
    fn half_a_face_uncovered_shows() {
        let half = plane(|x, y| if y < 85 { texture(x, y) } else { 120 });
        assert!(left(&half) > VISIBLE, "{}", left(&half));
    }

    #[test]
    fn a_face_without_detail_shows_while_it_is_unchanged() {
        let (dark, other) = (plane(|_, _| 20), plane(|_, _| 40));
        let same = compare(&dark, &dark, FACE, 0.5).unwrap();
        assert!(same.flat && same.shows());
        assert!(!compare(&dark, &other, FACE, 0.5).unwrap().shows());
    }

    #[test]
    fn what_lies_outside_the_picture_does_not_count() {
        let original = plane(texture);
        let outside = FACE.shifted(200.0, 0.0);
        assert_eq!(compare(&original, &original, outside, 0.5), None);
        let nowhere = Rect::new(f32::NAN, 0.0, 10.0, 10.0);
        assert_eq!(compare(&original, &original, nowhere, 0.5), None);
        let half = FACE.shifted(-80.0, 0.0);
        assert!(compare(&original, &original, half, 0.5).unwrap().left > 0.99);
    }
}
