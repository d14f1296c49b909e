//! Large pictures are looked at in tiles: the memory of a network grows with its input.

use domain::{Detection, Point, Size};

use super::merge::SAME_SOURCE_IOU;
use crate::picture::Tile;

/// Longest side of a tile, and of a picture that is looked at whole.
const LONG: usize = 1280;
/// Shorter side of a tile.
const SHORT: usize = 736;
/// Neighbouring tiles share at least this many pixels: a face up to that size is whole in one.
const OVERLAP: usize = 64;
/// A box this close to an inner border of its tile goes on beyond it.
const NEAR: f32 = 3.0;
/// A cut box that lies by this share in another is a part of that face.
const PART: f32 = 0.6;

/// The tiles of a scaled picture, left to right, top to bottom; one if it is small enough.
pub(super) fn tiles(size: Size) -> Vec<Tile> {
    let (width, height) = (size.width as usize, size.height as usize);
    if width.max(height) <= LONG {
        return vec![Tile { x: 0, y: 0, width, height }];
    }
    let (max_x, max_y) = if width >= height { (LONG, SHORT) } else { (SHORT, LONG) };
    let columns = spans(width, max_x);
    let row = |(y, height)| columns.iter().map(move |&(x, width)| Tile { x, y, width, height });
    spans(height, max_y).into_iter().flat_map(row).collect()
}

/// Start and length of the fewest equal spans of at most `max` that cover `length`.
fn spans(length: usize, max: usize) -> Vec<(usize, usize)> {
    if length <= max {
        return vec![(0, length)];
    }
    let count = (length - OVERLAP).div_ceil(max - OVERLAP);
    let span = (length + (count - 1) * OVERLAP).div_ceil(count).next_multiple_of(32).min(length);
    (0..count).map(|i| (i * (length - span) / (count - 1), span)).collect()
}

/// A face found in a tile, in pixels of the whole picture.
pub(super) struct Placed {
    pub face: Detection,
    /// Whether it touches a border beyond which the picture goes on.
    cut: bool,
}

/// Moves a face found in `tile` to its place in the picture of `size`.
pub(super) fn placed(face: Detection, tile: Tile, size: Size) -> Placed {
    let (x, y) = (tile.x as f32, tile.y as f32);
    let (width, height) = (tile.width as f32, tile.height as f32);
    let r = face.rect;
    let cut = (tile.x > 0 && r.x0 < NEAR)
        || (tile.y > 0 && r.y0 < NEAR)
        || (tile.x + tile.width < size.width as usize && r.x1 > width - NEAR)
        || (tile.y + tile.height < size.height as usize && r.y1 > height - NEAR);
    let landmarks = face.landmarks.map(|p| Point { x: p.x + x, y: p.y + y });
    Placed { face: Detection { rect: r.shifted(x, y), landmarks, ..face }, cut }
}

/// The faces of all tiles, each once, best first: whole ones win over cut ones, whatever their
/// scores. Two halves of a face that is whole in no tile both stay.
pub(super) fn joined(mut found: Vec<Placed>) -> Vec<Detection> {
    found.sort_by(|a, b| a.cut.cmp(&b.cut).then(b.face.score.total_cmp(&a.face.score)));
    let mut kept: Vec<Detection> = Vec::new();
    for Placed { face, cut } in found {
        let same = kept.iter_mut().find(|k| {
            // Of the cut box: a large face must not vanish for a small box inside it.
            let part = k.rect.intersection(face.rect).area() / face.rect.area().max(1.0);
            k.rect.iou(face.rect) > SAME_SOURCE_IOU || (cut && part > PART)
        });
        match same {
            Some(whole) if cut => whole.score = whole.score.max(face.score),
            Some(_) => {}
            None => kept.push(face),
        }
    }
    kept.sort_by(|a, b| b.score.total_cmp(&a.score));
    kept
}
