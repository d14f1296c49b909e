//! The few colours a region is painted with.
//!
//! Always from an area average, never from single pixels: a reduced copy of the region (a few
//! samples per cell), blurred with the region's own border repeated so that the background does not
//! mark where the face ends, then averaged to cells and cut to 4 bits.

use std::ops::Range;

use domain::{Frame, PixelFormat, Plane, Range as Levels};

use crate::Effect;
use crate::mask::Area;

/// Samples of the reduced copy per standard deviation of the blur; also per cell, because the blur
/// before a mosaic has a standard deviation of one cell. Measured: half a cell does not stop the
/// solver, one does.
const SAMPLES: usize = 4;

/// The blur's kernel ends after three standard deviations.
const RADIUS: usize = 3 * SAMPLES;

/// Long side of the padded box in standard deviations of `Effect::Blur`. The padded box is at least
/// 1.4 faces, so one is at least .28 of the face; a quarter is the least measured safe.
const BLUR_SPAN: f64 = 5.0;

/// A face is about 1.3 times as high as wide. A box longer than this is a face cut by the border of
/// the picture: its cells are those of the whole face, not of the strip.
const MAX_ASPECT: f64 = 1.5;

/// Grey of a fill and of frames covered whole.
pub(crate) const GREY: u8 = 110;

/// A small grid of colours to be stretched over a region.
#[derive(Debug, PartialEq)]
pub(crate) struct Tile {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    /// Row by row, one per plane of the frame.
    pub(crate) planes: Vec<Vec<u8>>,
    /// Interpolated between the colours' centres; otherwise cells.
    pub(crate) smooth: bool,
}

/// The colours that cover `area` of `frame` (whose planes are well formed) with `effect`.
pub(crate) fn tile(frame: &Frame, area: Area, effect: Effect, scratch: &mut Scratch) -> Tile {
    let count = frame.format.planes();
    match effect {
        Effect::Fill => {
            let planes = (0..count).map(|p| vec![grey(frame.format, p)]).collect();
            Tile { columns: 1, rows: 1, planes, smooth: false }
        }
        Effect::Mosaic { cells } => {
            let (columns, rows) = mosaic_grid(area, f64::from(cells));
            let finish = |p, v| quantised(v, frame.format, p, frame.color.range);
            let planes = averages(frame, area, (columns, rows), SAMPLES, scratch, finish);
            Tile { columns, rows, planes, smooth: false }
        }
        Effect::Blur => {
            let pitch = area.width.max(area.height) / BLUR_SPAN / SAMPLES as f64;
            let (columns, rows) = (whole(area.width / pitch), whole(area.height / pitch));
            let planes = averages(frame, area, (columns, rows), 1, scratch, |_, v| v.round() as u8);
            Tile { columns, rows, planes, smooth: true }
        }
    }
}

/// What a plane is filled with to be grey.
pub(crate) fn grey(format: PixelFormat, plane: usize) -> u8 {
    if is_chroma(format, plane) { 128 } else { GREY }
}

fn is_chroma(format: PixelFormat, plane: usize) -> bool {
    let yuv = matches!(format, PixelFormat::Yuv420 | PixelFormat::Yuv422 | PixelFormat::Yuv444);
    yuv && plane > 0
}

/// Columns and rows: `cells` on the short side. Rounded down, so that a cell is never smaller.
fn mosaic_grid(area: Area, cells: f64) -> (usize, usize) {
    let (short, long) = (area.width.min(area.height), area.width.max(area.height));
    let cell = (short / cells).max(long / (MAX_ASPECT * cells));
    (whole(area.width / cell), whole(area.height / cell))
}

/// Rounded down, but for what is a whole number up to rounding errors.
fn whole(v: f64) -> usize {
    ((v + 1e-6).floor() as usize).max(1)
}

/// 4 bits: luma to the middle of one of 16 bins, chroma to a multiple of 16 from neutral, so that
/// grey stays grey. Limited-range luma stays within 16..=235.
fn quantised(v: f32, format: PixelFormat, plane: usize, range: Levels) -> u8 {
    if is_chroma(format, plane) {
        let steps = ((v - 128.0) / 16.0).round().clamp(-8.0, 7.0);
        return (128.0 + 16.0 * steps) as u8;
    }
    let centre = ((v / 16.0).floor().clamp(0.0, 15.0) * 16.0 + 8.0) as u8;
    let limited = range == Levels::Limited && format != PixelFormat::Rgb;
    if limited { centre.clamp(16, 235) } else { centre }
}

/// Memory for the steps between, reused from region to region.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    columns: Vec<Range<usize>>,
    sums: Vec<u32>,
    reduced: Vec<f32>,
    narrowed: Vec<f32>,
}

/// For each plane: the area reduced to `group` samples per column and row, blurred, averaged to
/// columns and rows. Blur and average are linear, so they are one matrix per axis.
fn averages(
    frame: &Frame,
    area: Area,
    (columns, rows): (usize, usize),
    group: usize,
    scratch: &mut Scratch,
    finish: impl Fn(usize, f32) -> u8,
) -> Vec<Vec<u8>> {
    let (across, down) = (weights(columns, group), weights(rows, group));
    let samples = (columns * group, rows * group);
    let planes = frame.planes.iter().enumerate();
    planes
        .map(|(p, plane)| {
            reduce(plane, area.subsampled(frame.format.subsampling(p)), samples, scratch);
            let Scratch { reduced, narrowed, .. } = &mut *scratch;
            narrowed.clear();
            narrowed.resize(samples.1 * columns, 0.0);
            for (out, row) in
                narrowed.chunks_exact_mut(columns).zip(reduced.chunks_exact(samples.0))
            {
                for (sample, weights) in row.iter().zip(across.chunks_exact(columns)) {
                    out.iter_mut().zip(weights).for_each(|(sum, w)| *sum += sample * w);
                }
            }
            let mut colours = vec![0.0f32; columns * rows];
            for (row, weights) in narrowed.chunks_exact(columns).zip(down.chunks_exact(rows)) {
                for (out, weight) in colours.chunks_exact_mut(columns).zip(weights) {
                    out.iter_mut().zip(row).for_each(|(sum, v)| *sum += weight * v);
                }
            }
            colours.into_iter().map(|v| finish(p, v)).collect()
        })
        .collect()
}

/// `count * group` rows (samples) of `count` weights (colours): a Gaussian of [`SAMPLES`] samples
/// with the first and the last sample repeated beyond the ends, then the mean of `group`
/// neighbours. Each column sums to 1.
fn weights(count: usize, group: usize) -> Vec<f32> {
    let length = count * group;
    let kernel: [f32; 2 * RADIUS + 1] = std::array::from_fn(|k| {
        let x = (k as f32 - RADIUS as f32) / SAMPLES as f32;
        (-0.5 * x * x).exp()
    });
    let total = kernel.iter().sum::<f32>() * group as f32;
    let mut weights = vec![0.0; length * count];
    for sample in 0..length {
        for (k, weight) in kernel.iter().enumerate() {
            let from = (sample + k).saturating_sub(RADIUS).min(length - 1);
            weights[from * count + sample / group] += weight / total;
        }
    }
    weights
}

/// Area averages: `area` of `plane` as `width` x `height` samples into `scratch.reduced`. Outside
/// the picture, the samples at its border are repeated.
fn reduce(plane: &Plane, area: Area, (width, height): (usize, usize), scratch: &mut Scratch) {
    let Scratch { columns, sums, reduced, .. } = scratch;
    columns.clear();
    columns.extend((0..width).map(|i| pixels(area.x0, area.width, i, width, plane.width)));
    let left = columns.iter().map(|c| c.start).min().unwrap_or(0);
    let right = columns.iter().map(|c| c.end).max().unwrap_or(0);
    sums.clear();
    sums.resize(right - left, 0);
    reduced.clear();
    let mut done = 0..0;
    for j in 0..height {
        let lines = pixels(area.y0, area.height, j, height, plane.height);
        if lines == done {
            // Most of a huge area lies outside the picture.
            reduced.extend_from_within(reduced.len() - width..);
            continue;
        }
        done = lines.clone();
        let count = lines.len();
        sums.fill(0);
        for y in lines {
            let row = &plane.row(y)[left..right];
            sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += u32::from(*v));
        }
        reduced.extend(columns.iter().map(|c| {
            let sum: u64 = sums[c.start - left..c.end - left].iter().map(|v| u64::from(*v)).sum();
            sum as f32 / (c.len() * count) as f32
        }));
    }
}

/// The pixels of sample `i` of `count` over `start..start + length`, at least one, moved into
/// `0..end` where they lie outside (and never cut, so that no sample is a single pixel of a large
/// area). Neighbouring samples meet, so every pixel of the area is in one.
fn pixels(start: f64, length: f64, i: usize, count: usize, end: usize) -> Range<usize> {
    let edge = |i: f64| start + length * i / count as f64;
    let (mut from, mut to) = (edge(i as f64).round(), edge(i as f64 + 1.0).round());
    if to <= from {
        from = edge(i as f64 + 0.5).floor();
        to = from + 1.0;
    }
    let length = ((to - from) as usize).min(end);
    // `as usize` takes negative numbers to 0.
    let from = (from as usize).min(end - length);
    from..from + length
}
