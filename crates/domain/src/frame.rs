//! A decoded picture in memory that Garim owns.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{Pts, Size};

/// How the samples of a frame are laid out; always 8 bits, one plane per component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PixelFormat {
    /// Luma only.
    Gray,
    /// Y, Cb, Cr; chroma halved in both directions.
    Yuv420,
    /// Y, Cb, Cr; chroma halved horizontally.
    Yuv422,
    /// Y, Cb, Cr at full size.
    Yuv444,
    /// R, G, B planes at full size (still photos).
    Rgb,
}

impl PixelFormat {
    /// Number of planes.
    pub fn planes(self) -> usize {
        if self == Self::Gray { 1 } else { 3 }
    }

    /// By how many bits the size of plane `plane` is shifted down: (horizontally, vertically).
    pub fn subsampling(self, plane: usize) -> (u32, u32) {
        match self {
            Self::Yuv420 if plane > 0 => (1, 1),
            Self::Yuv422 if plane > 0 => (1, 0),
            _ => (0, 0),
        }
    }

    /// Size of plane `plane` of a picture of `size`; odd sizes round up.
    pub fn plane_size(self, size: Size, plane: usize) -> Size {
        let (sx, sy) = self.subsampling(plane);
        let up = |v: u32, s: u32| (v + (1 << s) - 1) >> s;
        Size { width: up(size.width, sx), height: up(size.height, sy) }
    }
}

/// Which numbers stand for black and white.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Range {
    /// 16..=235 for luma (TV).
    Limited,
    /// 0..=255 (PC, JPEG).
    Full,
}

/// Which red, green and blue the luma is weighed from (ITU-T H.273, MatrixCoefficients).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Matrix {
    /// BT.601: standard definition, JPEG.
    Bt601,
    /// BT.709: high definition.
    Bt709,
    /// BT.2020, non-constant luminance.
    Bt2020,
}

/// How to turn samples into colours; only detectors need it, covering does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Color {
    /// Black and white levels.
    pub range: Range,
    /// Luma weights; ignored for `Rgb` and `Gray`.
    pub matrix: Matrix,
}

/// One component of a picture. `data.len() == stride * height`, row `y` starts at `y * stride`.
#[derive(Debug, PartialEq, Eq)]
pub struct Plane {
    /// Samples, row by row.
    pub data: Vec<u8>,
    /// Bytes from one row to the next, at least `width`.
    pub stride: usize,
    /// Samples in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Plane {
    /// The samples of row `y`. Panics when `y >= height`.
    pub fn row(&self, y: usize) -> &[u8] {
        &self.data[y * self.stride..y * self.stride + self.width]
    }

    /// The samples of row `y`, to write. Panics when `y >= height`.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        &mut self.data[y * self.stride..y * self.stride + self.width]
    }
}

/// One decoded picture: owned, moved along, painted in place. Not `Clone`: copies of faces are made
/// on purpose or not at all.
#[derive(Debug)]
pub struct Frame {
    /// Place in decoding output order, from 0. The key that joins a frame to its plan.
    pub seq: u64,
    /// When it is shown.
    pub pts: Pts,
    /// Coded size (before the display rotation).
    pub size: Size,
    /// Layout of `planes`.
    pub format: PixelFormat,
    /// What the samples mean.
    pub color: Color,
    /// `format.planes()` planes, each of `format.plane_size(size, i)`.
    pub planes: Vec<Plane>,
    pool: Option<FramePool>,
}

impl Frame {
    /// A frame of zeroed (not black) planes, its memory from `pool` where there is one.
    pub fn new(
        seq: u64,
        pts: Pts,
        size: Size,
        format: PixelFormat,
        color: Color,
        pool: Option<&FramePool>,
    ) -> Self {
        let planes = (0..format.planes())
            .map(|i| {
                let Size { width, height } = format.plane_size(size, i);
                let (width, height) = (width as usize, height as usize);
                // Rows start 32 bytes apart so that the encoder can read them with wide loads.
                let stride = width.next_multiple_of(32);
                let data = plane(stride * height, pool);
                Plane { data, stride, width, height }
            })
            .collect();
        Self { seq, pts, size, format, color, planes, pool: pool.cloned() }
    }
}

/// Memory of a plane of this many bytes. Old contents stay: every row is written before the frame is used.
fn plane(len: usize, pool: Option<&FramePool>) -> Vec<u8> {
    // FFmpeg's wide loads and stores may reach past the end of the last row, never past this.
    const PAST_THE_END: usize = 64;
    pool.and_then(|pool| pool.take(len)).unwrap_or_else(|| {
        let mut data = Vec::with_capacity(len + PAST_THE_END);
        data.resize(len, 0);
        data
    })
}

impl Drop for Frame {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            for plane in &mut self.planes {
                pool.give(std::mem::take(&mut plane.data));
            }
        }
    }
}

/// Memory of dropped frames, kept for the next ones: a 1080p frame would otherwise be mapped and
/// unmapped by the allocator each time. Bounded; cloning shares the pool.
#[derive(Clone, Debug, Default)]
pub struct FramePool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl FramePool {
    /// Planes kept at most; further ones are freed.
    const MAX_FREE: usize = 24;

    /// One of this many bytes and no other: if planes of colour took the memory of others and the other way round, all would
    /// soon be of the largest size.
    fn take(&self, len: usize) -> Option<Vec<u8>> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = free.iter().rposition(|data| data.len() == len)?;
        Some(free.remove(fits))
    }

    fn give(&self, data: Vec<u8>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() == Self::MAX_FREE {
            // The oldest: frames may have another size by now, and nobody wants that one again.
            free.remove(0);
        }
        free.push(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TimeBase;

    fn frame(width: u32, height: u32, pool: Option<&FramePool>) -> Frame {
        let color = Color { range: Range::Limited, matrix: Matrix::Bt709 };
        let pts = Pts::new(0, TimeBase::new(1, 25).unwrap());
        Frame::new(0, pts, Size { width, height }, PixelFormat::Yuv420, color, pool)
    }

    #[test]
    fn chroma_of_odd_sizes_rounds_up() {
        let f = frame(175, 143, None);
        assert_eq!((f.planes[0].width, f.planes[0].height), (175, 143));
        assert_eq!((f.planes[2].width, f.planes[2].height), (88, 72));
    }

    #[test]
    fn a_dropped_frame_gives_its_memory_to_one_of_the_same_size() {
        let pool = FramePool::default();
        let free = || pool.free.lock().unwrap().len();
        let memory = |frame: &Frame| {
            let mut planes: Vec<_> = frame.planes.iter().map(|p| p.data.as_ptr()).collect();
            planes.sort_unstable();
            planes
        };
        let first = frame(64, 64, Some(&pool));
        let its = memory(&first);
        drop(first);
        assert_eq!(free(), 3);
        let other = frame(96, 64, Some(&pool));
        assert_eq!(free(), 3);
        let same = frame(64, 64, Some(&pool));
        assert_eq!((free(), memory(&same)), (0, its));
        // Each plane has what it needs, and none what a larger one had.
        assert!(same.planes[1].data.capacity() < same.planes[0].data.len());
        assert_eq!(other.planes[0].data.len(), 96 * 64);
    }

    #[test]
    fn memory_of_a_former_size_makes_way() {
        let pool = FramePool::default();
        let frames =
            |width: u32| -> Vec<Frame> { (0..10).map(|_| frame(width, 64, Some(&pool))).collect() };
        drop(frames(64));
        assert_eq!(pool.free.lock().unwrap().len(), FramePool::MAX_FREE);
        drop(frames(128));
        let free = pool.free.lock().unwrap();
        assert_eq!(free.len(), FramePool::MAX_FREE);
        assert!(free.iter().all(|data| [128 * 64, 64 * 32].contains(&data.len())));
    }
}
