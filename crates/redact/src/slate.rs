//! Pictures for when there is none to show: drawn of text, so they need no plan.

use std::sync::Arc;

use domain::{Color, Frame, PixelFormat, Pts, Range, Size, TimeBase};

use crate::Redacted;

/// What a slate says, in Korean and English.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slate {
    /// The broadcast has not begun.
    Soon,
    /// The publisher is away.
    Away,
    /// There is a picture, and nobody can say that it may be shown.
    Covered,
}

impl Slate {
    /// The text as a bitmap, drawn by `slate/draw.py`.
    fn bitmap(self) -> &'static [u8] {
        match self {
            Self::Soon => include_bytes!("slate/soon.pbm"),
            Self::Away => include_bytes!("slate/away.pbm"),
            Self::Covered => include_bytes!("slate/covered.pbm"),
        }
    }
}

/// Size of the bitmaps, in pixels; eight of a row are a byte, and the rows come last in the file.
const WIDTH: usize = 512;
const HEIGHT: usize = 112;
/// Share of the picture's width that the text takes at most, in percent.
const SHARE: usize = 80;
/// Luma of ground and text, limited range.
const GROUND: u8 = 40;
const TEXT: u8 = 210;

/// A grey picture of this size with the text of `slate` in its middle.
pub fn slate(slate: Slate, size: Size, format: PixelFormat, color: Color) -> Redacted {
    // Its time means nothing: it is encoded again and again.
    let mut frame = Frame::new(0, Pts::new(0, TimeBase::MPEG), size, format, color, None);
    let full = color.range == Range::Full;
    let level = |luma: u8| if full { ((u32::from(luma) - 16) * 255 / 219) as u8 } else { luma };
    for (p, plane) in frame.planes.iter_mut().enumerate() {
        let is_chroma = p > 0 && format != PixelFormat::Rgb;
        plane.data.fill(if is_chroma { 128 } else { level(GROUND) });
    }
    let colored = if format == PixelFormat::Rgb { 3 } else { 1 };
    let bitmap = slate.bitmap();
    let rows = &bitmap[bitmap.len().saturating_sub(WIDTH / 8 * HEIGHT)..];
    let is_text = |x: usize, y: usize| {
        rows.get(y * (WIDTH / 8) + x / 8).is_some_and(|byte| byte >> (7 - x % 8) & 1 == 1)
    };
    for plane in frame.planes.iter_mut().take(colored) {
        let width = (plane.width * SHARE / 100).max(1);
        let height = (width * HEIGHT / WIDTH).clamp(1, plane.height);
        let (left, top) = ((plane.width - width) / 2, (plane.height - height) / 2);
        for y in 0..height {
            let row = &mut plane.row_mut(top + y)[left..left + width];
            for (x, sample) in row.iter_mut().enumerate() {
                if is_text(x * WIDTH / width, y * HEIGHT / height) {
                    *sample = level(TEXT);
                }
            }
        }
    }
    Redacted { frame: Arc::new(frame) }
}

#[cfg(test)]
mod tests {
    use domain::Matrix;

    use super::*;

    #[test]
    fn a_slate_has_text_in_its_middle_and_nowhere_else() {
        for which in [Slate::Soon, Slate::Away, Slate::Covered] {
            for (width, height) in [(1280, 720), (720, 1280), (64, 64), (16, 2)] {
                let color = Color { range: Range::Limited, matrix: Matrix::Bt709 };
                let size = Size { width, height };
                let made = slate(which, size, PixelFormat::Yuv420, color);
                let luma = &made.frame().planes[0];
                let rows = |range: std::ops::Range<usize>| {
                    range.flat_map(|y| luma.row(y)).filter(|v| **v == TEXT).count()
                };
                let height = height as usize;
                // Two rows may miss all letters; it is enough that such a picture can be made.
                if height > 16 {
                    assert!(rows(0..height) > 0, "{which:?} {size:?}");
                    assert_eq!(rows(0..height / 4) + rows(height * 3 / 4..height), 0);
                }
            }
        }
    }

    #[test]
    fn each_says_something_else() {
        assert_ne!(Slate::Soon.bitmap(), Slate::Away.bitmap());
        assert_ne!(Slate::Away.bitmap(), Slate::Covered.bitmap());
        assert_eq!(Slate::Soon.bitmap().len(), b"P4\n512 112\n".len() + WIDTH / 8 * HEIGHT);
    }
}
