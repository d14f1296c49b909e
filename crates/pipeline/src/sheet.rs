//! The contact sheet: one picture of every followed face, with its number, times and verdict.
//! It shows faces uncovered, so it is made only when asked for, and says so on itself.

use std::collections::HashMap;
use std::ops;
use std::path::Path;

use domain::{BoxKind, Frame, Matrix, Orientation, PixelFormat, Point, Range, Rect, Size, Track};
use font8x8::UnicodeFonts;
use image::{Rgb, RgbImage};

use crate::JobError;
use crate::analyse::Analysed;

/// Side of a face's picture, in pixels.
const CROP: u32 = 152;
/// Size of a tile: the picture, and four lines of text below it.
const TILE: (u32, u32) = (160, 200);
/// Tiles in a row.
const COLUMNS: u32 = 6;
/// Faces on a sheet, at most; the report lists them all.
const MAX_FACES: usize = 240;
/// Height of the line on top.
const HEADER: u32 = 20;

const INK: Rgb<u8> = Rgb([235, 235, 235]);
const KEPT: Rgb<u8> = Rgb([90, 220, 120]);
const COVERED: Rgb<u8> = Rgb([240, 170, 80]);
const PAPER: Rgb<u8> = Rgb([28, 28, 32]);

/// Collects the faces while the frames go by.
pub(crate) struct Sheet {
    tiles: Vec<Tile>,
    /// Tiles that wait for a frame, by its `seq`.
    wanted: HashMap<u64, Vec<usize>>,
    left_out: usize,
}

struct Tile {
    rect: Rect,
    lines: [String; 4],
    kept: bool,
    crop: Option<RgbImage>,
}

impl Sheet {
    /// A sheet for the tracks of an analysis.
    pub(crate) fn new(analysed: &Analysed, people: &[String]) -> Self {
        let tracks = &analysed.followed.tracks;
        let mut sheet = Self {
            tiles: Vec::new(),
            wanted: HashMap::new(),
            left_out: tracks.len().saturating_sub(MAX_FACES),
        };
        for track in tracks.iter().take(MAX_FACES) {
            let Some((seq, rect)) = clearest(track) else { continue };
            sheet.wanted.entry(seq).or_default().push(sheet.tiles.len());
            let shown = analysed.shown.iter().find(|s| s.track == track.id);
            let who = shown.and_then(|s| people.get(s.person.0));
            sheet.tiles.push(Tile {
                rect,
                lines: label(track, who),
                kept: who.is_some(),
                crop: None,
            });
        }
        sheet
    }

    /// Takes the faces it wants out of a frame, before the frame is painted.
    pub(crate) fn see(&mut self, frame: &Frame, orientation: Orientation) {
        for index in self.wanted.remove(&frame.seq).unwrap_or_default() {
            if let Some(tile) = self.tiles.get_mut(index) {
                tile.crop = Some(crop(frame, orientation, tile.rect.grown(0.35)));
            }
        }
    }

    /// Whether it waits for one of these frames (`seq`).
    pub(crate) fn wants(&self, frames: ops::Range<u64>) -> bool {
        self.wanted.keys().any(|seq| frames.contains(seq))
    }

    /// Writes the sheet as PNG.
    pub(crate) fn write(&self, path: &Path) -> Result<(), JobError> {
        let columns = COLUMNS.min(self.tiles.len().max(4) as u32);
        let rows = (self.tiles.len() as u32).div_ceil(columns);
        let mut page =
            RgbImage::from_pixel(columns * TILE.0, HEADER + (rows * TILE.1).max(TILE.1), PAPER);
        let mut header = "SHOWS FACES UNCOVERED: KEEP PRIVATE, DELETE AFTER REVIEW".to_owned();
        if self.left_out > 0 {
            header += &format!(" ({} MORE NOT SHOWN)", self.left_out);
        }
        write_text(&mut page, 4, 6, &header, COVERED);
        for (i, tile) in self.tiles.iter().enumerate() {
            let (x, y) = (i as u32 % columns * TILE.0, HEADER + i as u32 / columns * TILE.1);
            if let Some(crop) = &tile.crop {
                image::imageops::replace(&mut page, crop, (x + 4).into(), (y + 2).into());
            }
            for (line, text) in (0u32..).zip(&tile.lines) {
                let ink = match line {
                    1 if tile.kept => KEPT,
                    1 => COVERED,
                    _ => INK,
                };
                write_text(&mut page, x + 4, y + CROP + 6 + line * 10, text, ink);
            }
        }
        page.save_with_format(path, image::ImageFormat::Png).map_err(|e| JobError::Picture {
            path: path.to_owned(),
            why: format!("cannot be written: {e}"),
        })
    }
}

/// The frame in which a track is seen best: sure, and large.
fn clearest(track: &Track) -> Option<(u64, Rect)> {
    let worth = |b: &&domain::TrackBox| b.score * b.rect.area().sqrt();
    let seen = track.boxes.iter().filter(|b| b.kind == BoxKind::Detected);
    seen.max_by(|a, b| worth(a).total_cmp(&worth(b))).map(|b| (b.frame as u64, b.rect))
}

fn label(track: &Track, who: Option<&String>) -> [String; 4] {
    let like = vision::identify::closest(track);
    [
        format!("FACE {}", track.id.0),
        who.map_or("COVERED".to_owned(), |name| format!("KEPT {name}")),
        format!("{:.1}-{:.1} S", track.first.1.seconds(), track.last.1.seconds()),
        like.map_or(String::new(), |(_, similarity)| format!("SIMILARITY {similarity:.2}")),
    ]
}

/// A square picture of the coded rectangle `rect`, upright.
fn crop(frame: &Frame, orientation: Orientation, rect: Rect) -> RgbImage {
    let size = frame.size;
    let a = orientation.to_upright(Point { x: rect.x0, y: rect.y0 }, size);
    let b = orientation.to_upright(Point { x: rect.x1, y: rect.y1 }, size);
    let center = Point { x: (a.x + b.x) / 2.0, y: (a.y + b.y) / 2.0 };
    let side = (a.x - b.x).abs().max((a.y - b.y).abs());
    let step = side / CROP as f32;
    RgbImage::from_fn(CROP, CROP, |x, y| {
        let at = |v: u32, middle: f32| middle - side / 2.0 + (v as f32 + 0.5) * step;
        let p = orientation.to_coded(Point { x: at(x, center.x), y: at(y, center.y) }, size);
        color_at(frame, p, size)
    })
}

/// The colour at a coded point; black outside the picture.
fn color_at(frame: &Frame, p: Point, size: Size) -> Rgb<u8> {
    let inside = p.x >= 0.0 && p.y >= 0.0 && p.x < size.width as f32 && p.y < size.height as f32;
    if !inside {
        return Rgb([0; 3]);
    }
    let sample = |plane: usize| {
        let (sx, sy) = frame.format.subsampling(plane);
        let plane = &frame.planes[plane];
        let x = (p.x as usize >> sx).min(plane.width - 1);
        let y = (p.y as usize >> sy).min(plane.height - 1);
        plane.data[y * plane.stride + x]
    };
    match frame.format {
        PixelFormat::Rgb => Rgb([sample(0), sample(1), sample(2)]),
        PixelFormat::Gray => Rgb([sample(0); 3]),
        _ => yuv_to_rgb(frame, [sample(0), sample(1), sample(2)]),
    }
}

/// ITU-T H.273, 8.3, with the coefficients of the frame's matrix.
fn yuv_to_rgb(frame: &Frame, yuv: [u8; 3]) -> Rgb<u8> {
    let (kr, kb) = match frame.color.matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
        Matrix::Bt2020 => (0.2627, 0.0593),
    };
    let [y, u, v] = yuv.map(f32::from);
    let (y, scale) = match frame.color.range {
        Range::Full => (y, 1.0),
        Range::Limited => ((y - 16.0) * 255.0 / 219.0, 255.0 / 224.0),
    };
    let (u, v) = ((u - 128.0) * scale, (v - 128.0) * scale);
    let r = y + 2.0 * (1.0 - kr) * v;
    let b = y + 2.0 * (1.0 - kb) * u;
    let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
    Rgb([r, g, b].map(|c| c.clamp(0.0, 255.0) as u8))
}

fn write_text(page: &mut RgbImage, x: u32, y: u32, text: &str, ink: Rgb<u8>) {
    let fits = (page.width().saturating_sub(x) / 8) as usize;
    let tile = ((TILE.0 - 8) / 8) as usize;
    let fits = if y < HEADER { fits } else { fits.min(tile) };
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
