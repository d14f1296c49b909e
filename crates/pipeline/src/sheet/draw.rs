//! Pages of tiles: pictures of faces with lines of text below them.

use std::path::Path;

use domain::{Frame, Orientation, Point, Rect};
use font8x8::UnicodeFonts;
use image::{Rgb, RgbImage};

use crate::{JobError, color};

/// Side of a face's picture, in pixels.
const CROP: u32 = 152;
/// Room for one picture, its margin included.
const CELL: u32 = 160;
/// Height of a tile: the pictures, and four lines of text below them.
const TILE_HEIGHT: u32 = 200;
/// Pictures in a row.
const COLUMNS: u32 = 6;
/// Height of the line on top.
const HEADER: u32 = 20;

const INK: Rgb<u8> = Rgb([235, 235, 235]);
const PAPER: Rgb<u8> = Rgb([28, 28, 32]);
/// The second line of a tile where a face may be seen.
pub(super) const GOOD: Rgb<u8> = Rgb([90, 220, 120]);
/// The same where it is covered; also the header.
pub(super) const PLAIN: Rgb<u8> = Rgb([240, 170, 80]);
/// The same where it is seen and must not be.
pub(super) const BAD: Rgb<u8> = Rgb([255, 90, 90]);

/// Pictures side by side, and what is said of them.
pub(super) struct Tile {
    /// As many as the page has across a tile.
    pub crops: Vec<Option<RgbImage>>,
    /// Below them.
    pub lines: [String; 4],
    /// Of the second line.
    pub ink: Rgb<u8>,
}

/// Writes a page of tiles with `across` pictures each as PNG. `left_out`: tiles there was no room for.
pub(super) fn write(
    path: &Path,
    tiles: &[Tile],
    across: u32,
    left_out: u64,
) -> Result<(), JobError> {
    let width = CELL * across;
    let columns = (COLUMNS / across).min((tiles.len() as u32).max(4 / across));
    let rows = (tiles.len() as u32).div_ceil(columns).max(1);
    let mut page = RgbImage::from_pixel(columns * width, HEADER + rows * TILE_HEIGHT, PAPER);
    let mut header = "SHOWS FACES UNCOVERED: KEEP PRIVATE, DELETE AFTER REVIEW".to_owned();
    if left_out > 0 {
        header += &format!(" ({left_out} MORE NOT SHOWN)");
    }
    let room = page.width();
    write_text(&mut page, (4, 6), room, &header, PLAIN);
    for (i, tile) in (0u32..).zip(tiles) {
        let (x, y) = (i % columns * width, HEADER + i / columns * TILE_HEIGHT);
        for (n, crop) in (0u32..).zip(&tile.crops) {
            if let Some(crop) = crop {
                let x = x + n * CELL + 4;
                image::imageops::replace(&mut page, crop, x.into(), (y + 2).into());
            }
        }
        for (line, text) in (0u32..).zip(&tile.lines) {
            let ink = if line == 1 { tile.ink } else { INK };
            write_text(&mut page, (x + 4, y + CROP + 6 + line * 10), width - 8, text, ink);
        }
    }
    page.save_with_format(path, image::ImageFormat::Png).map_err(|e| JobError::Picture {
        path: path.to_owned(),
        why: format!("cannot be written: {e}"),
    })
}

/// A square picture of the coded rectangle `rect`, upright.
pub(super) fn crop(frame: &Frame, orientation: Orientation, rect: Rect) -> RgbImage {
    let size = frame.size;
    let a = orientation.to_upright(Point { x: rect.x0, y: rect.y0 }, size);
    let b = orientation.to_upright(Point { x: rect.x1, y: rect.y1 }, size);
    let center = Point { x: (a.x + b.x) / 2.0, y: (a.y + b.y) / 2.0 };
    let side = (a.x - b.x).abs().max((a.y - b.y).abs());
    let step = side / CROP as f32;
    let at = |v: f32, middle: f32| middle - side / 2.0 + v * step;
    color::upright(frame, orientation, (CROP, CROP), |p| Point {
        x: at(p.x, center.x),
        y: at(p.y, center.y),
    })
}

/// Writes as much of `text` as fits into `room` pixels.
fn write_text(page: &mut RgbImage, (x, y): (u32, u32), room: u32, text: &str, ink: Rgb<u8>) {
    let fits = (room.min(page.width().saturating_sub(x)) / 8) as usize;
    for (n, letter) in (0u32..).zip(text.chars().take(fits)) {
        // Letters the font lacks (names in Korean) show as a question mark; the report has them.
        let Some(rows) = font8x8::BASIC_FONTS.get(letter).or(font8x8::BASIC_FONTS.get('?')) else {
            continue;
        };
        for (row, bits) in (0u32..).zip(rows) {
            for column in (0..8).filter(|c| bits >> c & 1 == 1) {
                let (px, py) = (x + n * 8 + column, y + row);
                if px < page.width() && py < page.height() {
                    page.put_pixel(px, py, ink);
                }
            }
        }
    }
}
