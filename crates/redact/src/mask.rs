//! Which samples a region covers.

use std::ops::Range;

use domain::{Rect, Size};

use crate::{Region, Shape};

/// Corner radius as a share of the short side. Measured together with a padding of .2: nothing that
/// helps a recogniser shows outside.
const CORNER: f64 = 0.35;

/// A rectangle in the samples of some plane, at least a pixel wide and high.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    pub(crate) x0: f64,
    pub(crate) y0: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Area {
    /// Of a rectangle in pixels.
    pub(crate) fn new(rect: Rect) -> Self {
        let [x0, y0, x1, y1] = [rect.x0, rect.y0, rect.x1, rect.y1].map(f64::from);
        Self { x0, y0, width: (x1 - x0).max(1.0), height: (y1 - y0).max(1.0) }
    }

    /// The same in a plane that is subsampled by `shifts`.
    pub(crate) fn subsampled(self, (sx, sy): (u32, u32)) -> Self {
        let (fx, fy) = (f64::from(1 << sx), f64::from(1 << sy));
        Self {
            x0: self.x0 / fx,
            y0: self.y0 / fy,
            width: self.width / fx,
            height: self.height / fy,
        }
    }

    /// The widest stretch of the outline between the heights `top` and `bottom`, `None` where there
    /// is none.
    fn widest(self, shape: Shape, top: f64, bottom: f64) -> Option<(f64, f64)> {
        let (top, bottom) = (top.max(self.y0), bottom.min(self.y0 + self.height));
        if bottom <= top {
            return None;
        }
        let radius = match shape {
            Shape::Rounded => CORNER * self.width.min(self.height),
            Shape::Box => 0.0,
        };
        let (cx, cy) = (self.x0 + self.width / 2.0, self.y0 + self.height / 2.0);
        // The outline is widest where it is nearest to its middle.
        let off = (cy.clamp(top, bottom) - cy).abs();
        let into_corner = (off - (self.height / 2.0 - radius)).max(0.0);
        let inset = radius - (radius * radius - into_corner * into_corner).max(0.0).sqrt();
        let half = self.width / 2.0 - inset;
        Some((cx - half, cx + half))
    }
}

/// The covered part of a picture as one run of blocks per row of blocks. A block is the pixels that
/// share a chroma sample (one pixel where there is none to share), so luma and chroma cover the
/// same area; a block is covered when any part of it lies inside the outline.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    /// Rows of blocks from the top of the picture to the first of `runs`.
    top: usize,
    runs: Vec<Range<usize>>,
    /// Pixels in a block are `1 << shift`: (horizontally, vertically).
    shifts: (u32, u32),
}

impl Mask {
    /// Of `region` in a picture of `size` in which chroma is subsampled by `shifts`.
    pub(crate) fn set(&mut self, region: &Region, size: Size, shifts: (u32, u32)) {
        let area = Area::new(region.rect);
        let (bw, bh) = (1usize << shifts.0, 1usize << shifts.1);
        let columns = (size.width as usize).div_ceil(bw);
        let rows = (size.height as usize).div_ceil(bh);
        // `as usize` takes negative numbers to 0.
        let top = (area.y0 / bh as f64).floor() as usize;
        let bottom = (((area.y0 + area.height) / bh as f64).ceil() as usize).min(rows);
        self.shifts = shifts;
        self.top = top;
        self.runs.clear();
        for row in top..bottom {
            let run = area.widest(region.shape, (row * bh) as f64, ((row + 1) * bh) as f64).map_or(
                0..0,
                |(left, right)| {
                    let left = (left / bw as f64).floor() as usize;
                    left..((right / bw as f64).ceil() as usize).min(columns)
                },
            );
            self.runs.push(run);
        }
    }

    /// Whether nothing is covered (the region lies outside the picture).
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.iter().all(Range::is_empty)
    }

    /// The columns any row covers, in a plane subsampled by `shifts` and `width` wide.
    pub(crate) fn columns(&self, shifts: (u32, u32), width: usize) -> Range<usize> {
        let runs = || self.runs.iter().filter(|run| !run.is_empty());
        let left = runs().map(|run| run.start).min().unwrap_or(0);
        let right = runs().map(|run| run.end).max().unwrap_or(0);
        self.in_plane(left..right, self.shifts.0 - shifts.0, width)
    }

    /// Every covered row with its columns, in a plane subsampled by `shifts` and of that size.
    pub(crate) fn rows(
        &self,
        shifts: (u32, u32),
        (width, height): (usize, usize),
    ) -> impl Iterator<Item = (usize, Range<usize>)> {
        let (dx, dy) = (self.shifts.0 - shifts.0, self.shifts.1 - shifts.1);
        let all = self.runs.iter().enumerate().filter(|(_, run)| !run.is_empty());
        all.flat_map(move |(at, run)| {
            let block = self.top + at;
            let columns = self.in_plane(run.clone(), dx, width);
            self.in_plane(block..block + 1, dy, height).map(move |y| (y, columns.clone()))
        })
    }

    fn in_plane(&self, blocks: Range<usize>, shift: u32, end: usize) -> Range<usize> {
        (blocks.start << shift).min(end)..(blocks.end << shift).min(end)
    }
}
