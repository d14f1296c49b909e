//! The attack: many covered frames of one face, its motion known, solved for the one picture under
//! them all that explains every colour best, by regularised least squares (conjugate gradients on
//! the normal equations).

use image::{Rgb, RgbImage};

use crate::people::Person;
use crate::scene::{Similarity, View, sample, to_rgb, to_yuv};

/// The unknown picture: the padded box of the face and a margin.
pub const WIDTH: usize = 64;
pub const HEIGHT: usize = 80;
const MARGIN: f32 = 6.0;

/// Iterations: enough that more change nothing a recogniser sees.
const STEPS: usize = 60;

/// From the photo to the unknown picture.
#[derive(Clone, Copy)]
pub struct Canvas(pub Similarity);

impl Canvas {
    pub fn new(person: &Person) -> Self {
        let [x0, y0, x1, y1] = person.face;
        let (w, h) = ((x1 - x0) * 1.5, (y1 - y0) * 1.5);
        let a = ((WIDTH as f32 - 2.0 * MARGIN) / w).min((HEIGHT as f32 - 2.0 * MARGIN) / h);
        let x = WIDTH as f32 / 2.0 - a * (x0 + x1) / 2.0;
        Self(Similarity { a, b: 0.0, x, y: HEIGHT as f32 / 2.0 - a * (y0 + y1) / 2.0 })
    }

    /// What the attacker is after, `enlarge` times the size.
    pub fn clear(self, person: &Person, enlarge: u32) -> RgbImage {
        let back = self.0.inverse();
        RgbImage::from_fn(WIDTH as u32 * enlarge, HEIGHT as u32 * enlarge, |x, y| {
            let at = [x, y].map(|v| (v as f32 + 0.5) / enlarge as f32);
            Rgb(sample(&person.photo, back.apply(at)).map(|v| v.round() as u8))
        })
    }

    /// From a picture of the scene to the unknown picture.
    pub fn of(self, view: &View) -> Similarity {
        view.motion.inverse().then(self.0)
    }
}

/// The colours of one frame. Colour (row, column) is the sum over samples (j, i) of the unknown
/// picture, weighted by `down[row][j] * across[column][i]`.
pub struct Observation {
    /// Which pixel of the unknown picture each sample is.
    samples: Vec<u32>,
    across: Vec<f32>,
    down: Vec<f32>,
    columns: usize,
    cells: Vec<[f32; 3]>,
    /// How much each colour counts, 0..=1.
    trust: Vec<f32>,
}

type Picture = Vec<[f32; 3]>;

impl Observation {
    /// Samples at (`xs`, `ys`) of a frame that `motion` takes to the unknown picture.
    pub fn new(
        motion: Similarity,
        xs: &[f32],
        ys: &[f32],
        across: Vec<f32>,
        down: Vec<f32>,
        cells: Vec<[f32; 3]>,
        trust: Vec<f32>,
    ) -> Self {
        let place = |x: f32, y: f32| {
            let [u, v] = motion.apply([x, y]);
            let (u, v) = (u.clamp(0.0, WIDTH as f32 - 1.0), v.clamp(0.0, HEIGHT as f32 - 1.0));
            (v as usize * WIDTH + u as usize) as u32
        };
        let samples = ys.iter().flat_map(|y| xs.iter().map(move |x| place(*x, *y))).collect();
        Self { samples, columns: across.len() / xs.len(), across, down, cells, trust }
    }

    fn rows(&self) -> usize {
        self.cells.len() / self.columns
    }

    /// The colours that `picture` would give.
    fn forward(&self, picture: &Picture) -> Picture {
        let (width, height) = (self.across.len() / self.columns, self.down.len() / self.rows());
        let mut narrow = vec![[0.0; 3]; height * self.columns];
        let lines = self.samples.chunks_exact(width).zip(narrow.chunks_exact_mut(self.columns));
        for (line, out) in lines {
            for (out, weights) in out.iter_mut().zip(self.across.chunks_exact(width)) {
                for (at, w) in line.iter().zip(weights).filter(|(_, w)| **w != 0.0) {
                    add(out, &picture[*at as usize], *w);
                }
            }
        }
        let mut cells = vec![[0.0; 3]; self.cells.len()];
        for (out, weights) in
            cells.chunks_exact_mut(self.columns).zip(self.down.chunks_exact(height))
        {
            for (line, w) in
                narrow.chunks_exact(self.columns).zip(weights).filter(|(_, w)| **w != 0.0)
            {
                out.iter_mut().zip(line).for_each(|(out, v)| add(out, v, *w));
            }
        }
        cells
    }

    /// The transpose of `forward`, onto `picture`.
    fn backward(&self, cells: &Picture, picture: &mut Picture) {
        let (width, height) = (self.across.len() / self.columns, self.down.len() / self.rows());
        let mut narrow = vec![[0.0; 3]; height * self.columns];
        for (cells, weights) in cells.chunks_exact(self.columns).zip(self.down.chunks_exact(height))
        {
            for (line, w) in
                narrow.chunks_exact_mut(self.columns).zip(weights).filter(|(_, w)| **w != 0.0)
            {
                line.iter_mut().zip(cells).for_each(|(out, v)| add(out, v, *w));
            }
        }
        for (line, narrow) in
            self.samples.chunks_exact(width).zip(narrow.chunks_exact(self.columns))
        {
            for (v, weights) in narrow.iter().zip(self.across.chunks_exact(width)) {
                for (at, w) in line.iter().zip(weights).filter(|(_, w)| **w != 0.0) {
                    add(&mut picture[*at as usize], v, *w);
                }
            }
        }
    }
}

fn add(sum: &mut [f32; 3], v: &[f32; 3], weight: f32) {
    sum.iter_mut().zip(v).for_each(|(sum, v)| *sum += weight * v);
}

/// How far the colours of `seen` are from those that `clear` would give, on average.
pub fn mean_error(seen: &[Observation], clear: &RgbImage) -> f32 {
    let clear: Picture = clear.pixels().map(|p| to_yuv(p.0.map(f32::from))).collect();
    let (mut sum, mut count) = (0.0, 0.0);
    for o in seen {
        for ((model, cell), trust) in o.forward(&clear).iter().zip(&o.cells).zip(&o.trust) {
            let off: f32 = model.iter().zip(cell).map(|(a, b)| (a - b).abs()).sum();
            sum += trust * off;
            count += trust * 3.0;
        }
    }
    sum / count
}

/// The picture that explains `seen` best, as RGB; `smooth` weighs its roughness.
pub fn solve(seen: &[Observation], smooth: f32) -> Vec<[u8; 3]> {
    let size = WIDTH * HEIGHT;
    let normal = |x: &Picture| {
        let mut out = roughness(x, smooth);
        for o in seen {
            let mut cells = o.forward(x);
            cells.iter_mut().zip(&o.trust).for_each(|(c, t)| *c = c.map(|v| v * t));
            o.backward(&cells, &mut out);
        }
        out
    };
    let mut residual = vec![[0.0; 3]; size];
    for o in seen {
        let wanted = o.cells.iter().zip(&o.trust).map(|(c, t)| c.map(|v| (v - 128.0) * t));
        o.backward(&wanted.collect(), &mut residual);
    }
    let mut x = vec![[0.0; 3]; size];
    let mut direction = residual.clone();
    let mut norm = dots(&residual, &residual);
    for _ in 0..STEPS {
        let image = normal(&direction);
        let along = dots(&direction, &image);
        let step: [f64; 3] = std::array::from_fn(|c| norm[c] / along[c].max(1e-12));
        for i in 0..size {
            for c in 0..3 {
                x[i][c] += step[c] as f32 * direction[i][c];
                residual[i][c] -= step[c] as f32 * image[i][c];
            }
        }
        let next = dots(&residual, &residual);
        for (d, r) in direction.iter_mut().zip(&residual) {
            *d = std::array::from_fn(|c| r[c] + (next[c] / norm[c].max(1e-12)) as f32 * d[c]);
        }
        norm = next;
    }
    x.into_iter().map(|v| to_rgb(v.map(|v| (v + 128.0).clamp(0.0, 255.0)))).collect()
}

/// Squared differences of neighbours, differentiated.
fn roughness(x: &Picture, weight: f32) -> Picture {
    let mut out = vec![[0.0; 3]; x.len()];
    let mut pair = |i: usize, j: usize| {
        for c in 0..3 {
            let d = weight * (x[i][c] - x[j][c]);
            out[i][c] += d;
            out[j][c] -= d;
        }
    };
    for y in 0..HEIGHT {
        for at in y * WIDTH..(y + 1) * WIDTH {
            if at + 1 < (y + 1) * WIDTH {
                pair(at, at + 1);
            }
            if y + 1 < HEIGHT {
                pair(at, at + WIDTH);
            }
        }
    }
    out
}

fn dots(a: &Picture, b: &Picture) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for (a, b) in a.iter().zip(b) {
        (0..3).for_each(|c| sums[c] += f64::from(a[c]) * f64::from(b[c]));
    }
    sums
}
