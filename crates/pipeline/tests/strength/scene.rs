//! A face that moves: what a camera sees, and the motion, which the attacker is told exactly.

use domain::{Color, Frame, Matrix, PixelFormat, Pts, Range, Rect, Size, TimeBase};
use image::{Rgb, RgbImage};

use crate::people::Person;

/// Pictures are square.
pub const SIZE: Size = Size { width: 300, height: 300 };

/// x' = a x - b y + x0, y' = b x + a y + y0.
#[derive(Clone, Copy, Debug)]
pub struct Similarity {
    pub a: f32,
    pub b: f32,
    pub x: f32,
    pub y: f32,
}

impl Similarity {
    pub fn apply(self, [x, y]: [f32; 2]) -> [f32; 2] {
        [self.a * x - self.b * y + self.x, self.b * x + self.a * y + self.y]
    }

    pub fn inverse(self) -> Self {
        let n = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / n, -self.b / n);
        Self { a, b, x: -(a * self.x - b * self.y), y: -(b * self.x + a * self.y) }
    }

    /// `self`, then `next`.
    pub fn then(self, next: Self) -> Self {
        let [x, y] = next.apply([self.x, self.y]);
        let (a, b) = (next.a * self.a - next.b * self.b, next.a * self.b + next.b * self.a);
        Self { a, b, x, y }
    }
}

/// One picture of the scene.
pub struct View {
    /// Y, Cb, Cr at full size, full range, row by row.
    pub planes: [Vec<u8>; 3],
    /// Where the face is: an upright box.
    pub face: Rect,
    /// From the photo to this picture.
    pub motion: Similarity,
}

/// `count` pictures of a person whose head sways, nods, tilts and comes closer; `seed` sets the
/// phases and the camera's noise.
pub fn film(person: &Person, count: usize, seed: u64) -> Vec<View> {
    let mut random = Random(seed.wrapping_mul(2) + 1);
    let phase: [f32; 7] = std::array::from_fn(|_| random.unit() * std::f32::consts::TAU);
    let [x0, y0, x1, y1] = person.face;
    let (width, height, cx, cy) = (x1 - x0, y1 - y0, (x0 + x1) / 2.0, (y0 + y1) / 2.0);
    let wave = |t: usize, period: f32, i: usize| {
        (std::f32::consts::TAU * t as f32 / period + phase[i]).sin()
    };
    let view = |t: usize| {
        let scale = 1.0 + 0.06 * wave(t, 37.0, 0) + 0.03 * wave(t, 13.0, 1);
        let angle = (4.0 * wave(t, 41.0, 2)).to_radians();
        let dx = width * (0.25 * wave(t, 53.0, 3) + 0.075 * wave(t, 17.0, 4));
        let dy = width * (0.15 * wave(t, 47.0, 5) + 0.05 * wave(t, 11.0, 6));
        let (a, b) = (scale * angle.cos(), scale * angle.sin());
        let (mx, my) = (150.0 + dx, 150.0 + dy);
        let motion = Similarity { a, b, x: mx - (a * cx - b * cy), y: my - (b * cx + a * cy) };
        let center = domain::Point { x: mx, y: my };
        let face = Rect::centred(center, width * scale, height * scale);
        (motion, face)
    };
    (0..count)
        .map(|t| {
            let (motion, face) = view(t);
            View { planes: shoot(&person.photo, motion, &mut random), face, motion }
        })
        .collect()
}

fn shoot(photo: &RgbImage, motion: Similarity, random: &mut Random) -> [Vec<u8>; 3] {
    let back = motion.inverse();
    let mut planes: [Vec<u8>; 3] = Default::default();
    for y in 0..SIZE.height {
        for x in 0..SIZE.width {
            let at = back.apply([x as f32 + 0.5, y as f32 + 0.5]);
            let rgb = sample(photo, at).map(|v| v + 2.0 * random.normal());
            let yuv = to_yuv(rgb);
            for (plane, v) in planes.iter_mut().zip(yuv) {
                plane.push(v.round() as u8);
            }
        }
    }
    planes
}

/// Bilinear; beyond the border the photo is mirrored.
pub fn sample(photo: &RgbImage, [x, y]: [f32; 2]) -> [f32; 3] {
    let (x, y) = (x - 0.5, y - 0.5);
    let (fx, fy) = (x - x.floor(), y - y.floor());
    let mirror = |v: i64, n: u32| {
        let v = v.rem_euclid(2 * i64::from(n));
        v.min(2 * i64::from(n) - 1 - v) as u32
    };
    let pixel = |dx: i64, dy: i64| -> &Rgb<u8> {
        let (px, py) = (x.floor() as i64 + dx, y.floor() as i64 + dy);
        photo.get_pixel(mirror(px, photo.width()), mirror(py, photo.height()))
    };
    let (a, b, c, d) = (pixel(0, 0), pixel(1, 0), pixel(0, 1), pixel(1, 1));
    std::array::from_fn(|i| {
        let mix = |a: u8, b: u8, t: f32| f32::from(a) * (1.0 - t) + f32::from(b) * t;
        mix(a[i], b[i], fx) * (1.0 - fy) + mix(c[i], d[i], fx) * fy
    })
}

/// BT.601, full range.
pub fn to_yuv([r, g, b]: [f32; 3]) -> [f32; 3] {
    let y = 0.299 * r + 0.587 * g + 0.114 * b;
    [y, 128.0 + (b - y) / 1.772, 128.0 + (r - y) / 1.402]
}

/// The inverse of the above.
pub fn to_rgb([y, cb, cr]: [f32; 3]) -> [u8; 3] {
    let (r, b) = (y + 1.402 * (cr - 128.0), y + 1.772 * (cb - 128.0));
    let g = (y - 0.299 * r - 0.114 * b) / 0.587;
    [r, g, b].map(|v| v.round() as u8)
}

pub fn pts(t: usize) -> Pts {
    Pts::new(t as i64, TimeBase::new(1, 25).expect("not zero"))
}

impl View {
    /// As the pipeline would decode it.
    pub fn frame(&self, t: usize) -> Frame {
        let color = Color { range: Range::Full, matrix: Matrix::Bt601 };
        let mut frame = Frame::new(t as u64, pts(t), SIZE, PixelFormat::Yuv444, color, None);
        for (plane, samples) in frame.planes.iter_mut().zip(&self.planes) {
            for (y, row) in samples.chunks_exact(SIZE.width as usize).enumerate() {
                plane.row_mut(y).copy_from_slice(row);
            }
        }
        frame
    }
}

/// Numbers that look random and are the same every time (xorshift).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Mean 0, standard deviation 1, near enough to normal (Irwin-Hall of four).
    fn normal(&mut self) -> f32 {
        let sum: f32 = (0..4).map(|_| self.unit()).sum();
        (sum - 2.0) * 3f32.sqrt()
    }
}
