//! Looking at decoded pictures: what is left of a face in them, and what else changed.

use super::{Scratch, tool};

/// An area in coded pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

impl Rect {
    pub fn new(x: usize, y: usize, width: usize, height: usize) -> Self {
        Self { x, y, width, height }
    }

    pub fn contains(self, x: usize, y: usize) -> bool {
        (self.x..self.x + self.width).contains(&x) && (self.y..self.y + self.height).contains(&y)
    }
}

/// The brightness of one picture, as coded (not turned).
pub struct Luma {
    pub width: usize,
    pub height: usize,
    pub data: Vec<u8>,
}

impl Scratch {
    /// Every frame of a video that a player shows.
    pub fn luma(&self, file: &str) -> Vec<Luma> {
        let video = self.video(file);
        let side = |name: &str| video[name].as_u64().unwrap() as usize;
        let (width, height) = (side("width"), side("height"));
        let raw = tool(self.command(
            "ffmpeg",
            &format!(
                "-v error -nostdin -noautorotate -i {file} -map 0:v:0 -fps_mode passthrough \
                 -vf extractplanes=y -pix_fmt gray -f rawvideo -"
            ),
        ));
        assert_eq!(raw.len() % (width * height), 0, "{file}: the picture size is not constant");
        raw.chunks_exact(width * height)
            .map(|data| Luma { width, height, data: data.to_vec() })
            .collect()
    }

    /// In every frame of `covered`, `face` shows nothing of what is there in `original`.
    pub fn assert_covered(&self, original: &str, covered: &str, face: Rect) {
        let (original, covered) = (self.luma(original), self.luma(covered));
        assert_eq!(original.len(), covered.len());
        assert_all_covered(&original, &covered, face);
    }

    /// In every frame of `shown`, `face` is as it is in `original`.
    pub fn assert_shown(&self, original: &str, shown: &str, face: Rect) {
        let (original, shown) = (self.luma(original), self.luma(shown));
        assert_eq!(original.len(), shown.len());
        for (i, (a, b)) in original.iter().zip(&shown).enumerate() {
            let left = detail_left(a, b, face);
            assert!(left > SHOWN, "frame {i}: only {left:.2} of the detail is left");
        }
    }
}

/// Less of a face's detail than this may be left where it is covered (measured: up to .08 under a
/// mosaic of 8 cells; a mosaic of 16 leaves .4).
pub const COVERED: f64 = 0.2;
/// More than this is left where it is not (measured: .85 to 1 after encoding).
pub const SHOWN: f64 = 0.7;

pub fn assert_all_covered(original: &[Luma], covered: &[Luma], face: Rect) {
    for (i, (a, b)) in original.iter().zip(covered).enumerate() {
        let left = detail_left(a, b, face);
        assert!(left < COVERED, "frame {i}: {left:.2} of the face's detail is left");
    }
}

/// How much of the fine structure of `original` in `area` is still in `changed`: 1 all, 0 nothing.
/// Fine structure is what differs from the mean over a sixth of the area's width: eyes, lips and
/// wrinkles, but nothing as large as a cell of the mosaic.
pub fn detail_left(original: &Luma, changed: &Luma, area: Rect) -> f64 {
    assert_eq!((original.width, original.height), (changed.width, changed.height));
    left_of(&fine(original, area), &fine(changed, area))
}

/// The same of two fine structures.
pub fn left_of(original: &[f64], changed: &[f64]) -> f64 {
    let product: f64 = original.iter().zip(changed).map(|(a, b)| a * b).sum();
    let energy: f64 = original.iter().map(|a| a * a).sum();
    assert!(energy / original.len() as f64 > 4.0, "there is nothing to see");
    product / energy
}

/// The fine structure of `picture` in `area`, line by line.
pub fn fine(picture: &Luma, area: Rect) -> Vec<f64> {
    let reach = (area.width / 12).max(1);
    let sums = Sums::new(picture);
    let mut fine = Vec::with_capacity(area.width * area.height);
    for y in area.y..area.y + area.height {
        for x in area.x..area.x + area.width {
            let (x0, x1) = (x.saturating_sub(reach), (x + reach + 1).min(picture.width));
            let (y0, y1) = (y.saturating_sub(reach), (y + reach + 1).min(picture.height));
            let mean = sums.mean(x0, y0, x1, y1);
            fine.push(f64::from(picture.data[y * picture.width + x]) - mean);
        }
    }
    fine
}

/// Sums over all rectangles from the top left corner.
struct Sums {
    stride: usize,
    sums: Vec<u64>,
}

impl Sums {
    fn new(picture: &Luma) -> Self {
        let stride = picture.width + 1;
        let mut sums = vec![0; stride * (picture.height + 1)];
        for y in 0..picture.height {
            let mut row = 0;
            for x in 0..picture.width {
                row += u64::from(picture.data[y * picture.width + x]);
                sums[(y + 1) * stride + x + 1] = sums[y * stride + x + 1] + row;
            }
        }
        Self { stride, sums }
    }

    fn mean(&self, x0: usize, y0: usize, x1: usize, y1: usize) -> f64 {
        let at = |x: usize, y: usize| self.sums[y * self.stride + x] as f64;
        (at(x1, y1) + at(x0, y0) - at(x1, y0) - at(x0, y1)) / ((x1 - x0) * (y1 - y0)) as f64
    }
}

/// Peak signal-to-noise ratio in decibels over the pixels that `counts`.
pub fn psnr(a: &Luma, b: &Luma, counts: impl Fn(usize, usize) -> bool) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let (mut sum, mut n) = (0.0, 0.0);
    for y in 0..a.height {
        for x in (0..a.width).filter(|&x| counts(x, y)) {
            let at = y * a.width + x;
            sum += (f64::from(a.data[at]) - f64::from(b.data[at])).powi(2);
            n += 1.0;
        }
    }
    assert!(n > 0.0, "no pixel counts");
    10.0 * (255.0_f64.powi(2) / (sum / n).max(1e-9)).log10()
}

/// Whether the whole picture is one grey, up to encoding noise.
pub fn is_grey(picture: &Luma) -> bool {
    let (least, most) = (picture.data.iter().min().unwrap(), picture.data.iter().max().unwrap());
    most - least <= 6
}
