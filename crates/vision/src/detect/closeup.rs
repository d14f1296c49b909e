//! Close-ups: what may be a face is cut out of the frame at one size, whatever its own, and CenterFace
//! looks at up to [`AT_ONCE`] of them side by side. It finds small faces there that it cannot see in
//! the whole picture, and tilted ones that YuNet hardly notices.

use std::ops::Range;

use domain::{Detection, Point, Rect, Size};

use super::found::{AGREE, Found};
use super::merge::Candidate;
use super::{Suspects, View, merge};
use crate::picture::{CELL, COLUMNS};

/// Scores between which a second look pays: below, little is covered; above, it is a face.
pub(super) const DOUBTFUL: Range<f32> = 0.3..0.9;
/// CenterFace's score (after the gain) from which on it agrees. In close-ups of textures it gives .15
/// to one in four, this to one in forty, and to a face in nineteen of twenty cases.
pub(super) const AGREES: f32 = 0.3;
/// Its score from which on it is believed alone: three in a thousand textures get that.
pub(super) const BELIEVED: f32 = 0.5;
/// Close-ups side by side in one look: 640x384 pixels.
pub(super) const AT_ONCE: usize = COLUMNS * 6;
/// Close-ups of one frame at most.
const MOST: usize = 4 * AT_ONCE;
/// Width and height that a face fills of its close-up.
const FILLS: f32 = 0.59;
/// Things smaller than this in the frame, in pixels, are not looked at.
const SMALLEST: f32 = 8.0;
/// IoU from which on a find belongs to a clearer one.
const SHADOW: f32 = 0.1;
/// IoU from which on a face in a close-up is the one that the close-up is of.
const OWN: f32 = 0.2;
/// Boxes this share of their size from the border are cut by it.
const CUT: f32 = 0.1;
/// Width over height of a face of which at least half shows, whichever way the picture is turned.
const WHOLE: Range<f32> = 0.5..1.8;
/// A box is believed if this share of it is in its close-up.
const INSIDE: f32 = 0.8;

/// What is to be looked at closely, the likeliest first, nothing twice.
pub(super) fn suspects(found: &Found, of: Suspects, most: usize) -> Vec<Detection> {
    let merged = merge::merge(&found.candidates);
    let (sure, open): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|face| face.score >= DOUBTFUL.end);
    let mut all = open;
    match of {
        Suspects::Doubtful => all.retain(|face| face.score >= DOUBTFUL.start),
        Suspects::Weak => {}
        Suspects::Faint => all.extend(found.faint.iter().cloned()),
    }
    all.retain(|face| side(face.rect) >= SMALLEST);
    // Eyes and mouths of a large face look like faces.
    all.retain(|face| face.score >= DOUBTFUL.start || !sure.iter().any(|s| is_part(face, s)));
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut chosen: Vec<Detection> = Vec::new();
    for face in all {
        if chosen.len() == most.min(MOST) {
            break;
        }
        if chosen.iter().all(|other| other.rect.iou(face.rect) <= AGREE) {
            chosen.push(face);
        }
    }
    chosen
}

/// Whether a face in the close-up of a suspect is a piece of another face, which reached into it.
pub(super) fn is_piece(face: Rect, of: Rect, found: &Found) -> bool {
    let clear = |c: &Candidate| c.face.score >= DOUBTFUL.start && c.face.rect.iou(face) > SHADOW;
    face.iou(of) < OWN && found.candidates.iter().any(clear)
}

fn side(rect: Rect) -> f32 {
    rect.area().sqrt()
}

/// Whether a faint find is a part of a face or its shadow: a box beside it.
fn is_part(face: &Detection, of: &Detection) -> bool {
    let Point { x, y } = face.rect.center();
    let r = of.rect;
    let inside = (r.x0..r.x1).contains(&x) && (r.y0..r.y1).contains(&y);
    face.rect.iou(r) > SHADOW || (inside && face.rect.area() < r.area())
}

/// The square around a face (in coded pixels) that is cut out, in upright pixels; inside the picture
/// where that is large enough.
pub(super) fn square(face: Rect, view: View<'_>) -> Rect {
    let Point { x, y } = view.orientation.to_upright(face.center(), view.frame.size);
    let half = side(face) / FILLS / 2.0;
    let inside = |v: f32, length: u32| {
        let length = length as f32;
        if length > 2.0 * half { v.clamp(half, length - half) } else { v }
    };
    let upright = view.upright();
    let center = Point { x: inside(x, upright.width), y: inside(y, upright.height) };
    Rect::centred(center, 2.0 * half, 2.0 * half)
}

/// Whether so much of a face is beyond the border of the picture that CenterFace's silence means
/// nothing: of faces of which a third shows, it misses four in ten in close-ups, and one in ten otherwise.
pub(super) fn is_rest(face: Rect, size: Size) -> bool {
    let picture = Rect::new(0.0, 0.0, size.width as f32, size.height as f32);
    let margin = CUT * side(face);
    let inner = Rect::new(margin, margin, picture.x1 - margin, picture.y1 - margin);
    let visible = face.intersection(picture);
    let touches = face.union(inner) != inner;
    touches && !WHOLE.contains(&(visible.width() / visible.height()))
}

/// A face in a close-up.
pub(super) struct Placed {
    /// In upright pixels of the frame.
    pub face: Detection,
    /// Index of the close-up.
    pub of: usize,
}

/// From pixels of the sheet of close-ups to the frame; without boxes that lie across close-ups.
pub(super) fn placed(seen: Vec<Detection>, squares: &[Rect]) -> Vec<Placed> {
    let cell = CELL as f32;
    let place = |face: Detection| {
        let Point { x, y } = face.rect.center();
        let (column, row) = ((x / cell).floor(), (y / cell).floor());
        let of = row as usize * COLUMNS + column as usize;
        let square = squares.get(of)?;
        let (left, top) = (column * cell, row * cell);
        let own = Rect::new(left, top, left + cell, top + cell);
        if own.intersection(face.rect).area() < INSIDE * face.rect.area() {
            return None;
        }
        let scale = square.width() / cell;
        let moved = |x: f32, y: f32| Point {
            x: square.x0 + (x - left) * scale,
            y: square.y0 + (y - top) * scale,
        };
        let r = face.rect;
        let (a, b) = (moved(r.x0, r.y0), moved(r.x1, r.y1));
        let rect = Rect::new(a.x, a.y, b.x, b.y);
        let landmarks = face.landmarks.map(|p| moved(p.x, p.y));
        Some(Placed { face: Detection { rect, landmarks, ..face }, of })
    };
    seen.into_iter().filter_map(place).collect()
}
