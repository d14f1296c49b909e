//! From the detections of a track to a box in every frame where its face may be.

use domain::{BoxKind, Rect, Size, TrackBox};

use super::associate::{Path, Seen, predict, velocity};
use super::{ROUNDING, Settings};

/// Which of the sizes around a detection it is raised to.
const SIZE_QUANTILE: f32 = 0.8;
/// How a box without a detection grows, as a share of its size: for every second away from the
/// nearest detection, and for every size that the face moves in that time. Simulated drop-outs on
/// real and synthetic motion: a tenth fewer leaks for 1 % more covered area.
const DOUBT: (f32, f32) = (0.1, 0.4);
/// Growth that is left out: the box between two neighbouring detections of a calm face is right.
const NO_DOUBT: f32 = 0.02;
/// How far around a box, in seconds, others say how large it should be.
const TEMPER_WINDOW: f64 = 0.5;
/// How many others it takes to call a confident box too large.
const TEMPER_SAMPLES: usize = 5;
/// A box this share of its size away from the border touches it.
const NEAR_EDGE: f32 = 0.25;

/// All boxes of a track in order of time.
pub(super) fn boxes(
    path: &Path,
    at: &[f64],
    scene: &[u32],
    picture: Size,
    settings: &Settings,
) -> Vec<TrackBox> {
    let mut seen = smooth(&tempered(&path.seen, at, settings), at, settings);
    let detected = |s: &Seen| TrackBox {
        frame: s.frame,
        rect: s.rect,
        kind: BoxKind::Detected,
        score: s.score,
    };
    let mut boxes: Vec<TrackBox> = seen.iter().map(detected).collect();
    for pair in seen.windows(2) {
        gap(&pair[0], &pair[1], at, settings, &mut boxes);
    }
    overlay(&seen, at, settings, &mut boxes);
    if let Some(last) = seen.last().map(|seen| seen.frame) {
        extend(&seen, last + 1..at.len(), at, scene, picture, settings, &mut boxes);
    }
    if let Some(first) = seen.first().map(|seen| seen.frame) {
        seen.reverse();
        extend(&seen, (0..first).rev(), at, scene, picture, settings, &mut boxes);
    }
    boxes.sort_by_key(|b| (b.frame, b.kind != BoxKind::Detected));
    boxes
}

/// Shrinks boxes that are much larger than the confident ones around them in time: they took in
/// something beside the face, and smoothing and extension would carry their size on.
fn tempered(seen: &[Seen], at: &[f64], settings: &Settings) -> Vec<Seen> {
    let strong: Vec<&Seen> = seen.iter().filter(|s| s.score >= settings.strong_score).collect();
    let (mut from, mut to) = (0, 0);
    let mut temper = |s: &Seen| {
        let now = at[s.frame];
        while from < strong.len() && at[strong[from].frame] < now - TEMPER_WINDOW {
            from += 1;
        }
        while to < strong.len() && at[strong[to].frame] <= now + TEMPER_WINDOW {
            to += 1;
        }
        let mut around = &strong[from.min(to)..to];
        let confident = s.score >= settings.strong_score;
        if around.is_empty() {
            around = &strong[from.saturating_sub(1)..(to + 1).min(strong.len())];
        }
        let enough = if confident { TEMPER_SAMPLES } else { 1 };
        let most = |side: fn(Rect) -> f32| {
            let known = quantile(around.iter().map(|s| side(s.rect)).collect(), 0.5);
            if around.len() >= enough { known * settings.outlier_growth } else { f32::INFINITY }
        };
        let width = s.rect.width().min(most(Rect::width));
        let height = s.rect.height().min(most(Rect::height));
        if width == s.rect.width() && height == s.rect.height() {
            return *s; // A centre and a size do not round back to exactly the same edges.
        }
        Seen { rect: Rect::centred(s.rect.center(), width, height), ..*s }
    };
    seen.iter().map(&mut temper).collect()
}

/// Raises every width and height to the given quantile of those around it in time; centres stay.
fn smooth(seen: &[Seen], at: &[f64], settings: &Settings) -> Vec<Seen> {
    let (mut from, mut to) = (0, 0);
    let mut raise = |s: &Seen| {
        let now = at[s.frame];
        while at[seen[from].frame] < now - settings.size_window - ROUNDING {
            from += 1;
        }
        while to < seen.len() && at[seen[to].frame] <= now + settings.size_window + ROUNDING {
            to += 1;
        }
        let around = &seen[from..to];
        let width = quantile(around.iter().map(|s| s.rect.width()).collect(), SIZE_QUANTILE);
        let height = quantile(around.iter().map(|s| s.rect.height()).collect(), SIZE_QUANTILE);
        let (width, height) = (width.max(s.rect.width()), height.max(s.rect.height()));
        // The union, because a centre and a size do not round back to exactly the same edges.
        Seen { rect: Rect::centred(s.rect.center(), width, height).union(s.rect), ..*s }
    };
    seen.iter().map(&mut raise).collect()
}

/// The quantile `share` of `values`, linear between the two nearest.
fn quantile(mut values: Vec<f32>, share: f32) -> f32 {
    values.sort_by(f32::total_cmp);
    let place = share * values.len().saturating_sub(1) as f32;
    let below = values.get(place as usize).copied().unwrap_or(0.0);
    let above = values.get(place as usize + 1).copied().unwrap_or(below);
    below + (above - below) * place.fract()
}

/// The frames between two detections that follow one another.
fn gap(a: &Seen, b: &Seen, at: &[f64], settings: &Settings, boxes: &mut Vec<TrackBox>) {
    let (from, to) = (a.rect.center(), b.rect.center());
    let time = at[b.frame] - at[a.frame];
    let speed = (to.x - from.x).hypot(to.y - from.y) / time as f32;
    for frame in a.frame + 1..b.frame {
        let away = (at[frame] - at[a.frame]).min(at[b.frame] - at[frame]);
        let rect = between(a, b, frame, at);
        let rect = rect.grown(doubt(rect, speed, away, settings));
        boxes.push(TrackBox { frame, rect, kind: BoxKind::Interpolated, score: 0.0 });
    }
}

/// From each confident detection to the next, over the doubtful ones between them.
fn overlay(seen: &[Seen], at: &[f64], settings: &Settings, boxes: &mut Vec<TrackBox>) {
    let is_strong = |i: &usize| seen[*i].score >= settings.strong_score;
    let strong: Vec<usize> = (0..seen.len()).filter(is_strong).collect();
    for pair in strong.windows(2) {
        let (a, b) = (&seen[pair[0]], &seen[pair[1]]);
        if pair[1] - pair[0] < 2 || at[b.frame] - at[a.frame] > settings.overlay + ROUNDING {
            continue;
        }
        for frame in a.frame + 1..b.frame {
            let rect = between(a, b, frame, at);
            boxes.push(TrackBox { frame, rect, kind: BoxKind::Interpolated, score: 0.0 });
        }
    }
}

fn between(a: &Seen, b: &Seen, frame: usize, at: &[f64]) -> Rect {
    let share = (at[frame] - at[a.frame]) / (at[b.frame] - at[a.frame]);
    a.rect.lerp(b.rect, share as f32)
}

/// Goes on from the end of `seen` through `frames` (away from it, in either direction) until the
/// time is up or the scene ends.
fn extend(
    seen: &[Seen],
    frames: impl Iterator<Item = usize>,
    at: &[f64],
    scene: &[u32],
    picture: Size,
    settings: &Settings,
    boxes: &mut Vec<TrackBox>,
) {
    let Some(last) = seen.last() else { return };
    let (vx, vy) = velocity(seen, at, settings);
    for frame in frames {
        let away = (at[frame] - at[last.frame]).abs();
        if scene[frame] != scene[last.frame] || away > settings.extension + ROUNDING {
            break;
        }
        let mut rect = predict(seen, at, frame, settings);
        if settings.stick_to_edges {
            rect = stick(rect, last.rect, picture);
        }
        let rect = rect.grown(doubt(rect, vx.hypot(vy), away, settings));
        boxes.push(TrackBox { frame, rect, kind: BoxKind::Extended, score: 0.0 });
    }
}

/// How much to grow a box that is `away` seconds from the nearest detection of a face that moves
/// at `speed` pixels a second.
fn doubt(rect: Rect, speed: f32, away: f64, settings: &Settings) -> f32 {
    let sizes = speed / rect.area().sqrt();
    let share = (DOUBT.0 + DOUBT.1 * sizes) * away as f32 - NO_DOUBT;
    // Not `clamp`: a share that is not a number becomes 0 here.
    share.max(0.0).min(settings.dilation)
}

/// Keeps the box of a leaving (or not yet entered) face at the border of the picture, in its whole
/// size. Detectors lose a face when half of it is outside; the other half is still to be seen.
fn stick(rect: Rect, last: Rect, picture: Size) -> Rect {
    let (w, h) = (picture.width as f32, picture.height as f32);
    let (x0, x1) = stick_low((rect.x0, rect.x1), (last.x0, last.x1));
    let (x1, x0) = mirrored(w, stick_low((w - x1, w - x0), (w - last.x1, w - last.x0)));
    let (y0, y1) = stick_low((rect.y0, rect.y1), (last.y0, last.y1));
    let (y1, y0) = mirrored(h, stick_low((h - y1, h - y0), (h - last.y1, h - last.y0)));
    Rect::new(x0, y0, x1, y1)
}

fn mirrored(length: f32, (low, high): (f32, f32)) -> (f32, f32) {
    (length - low, length - high)
}

/// One axis, at the border 0: `(low, high)` moved on from `last`.
fn stick_low((low, high): (f32, f32), last: (f32, f32)) -> (f32, f32) {
    // No further out than the border, or than the last detection was.
    let back = (last.0.min(0.0) - low).max(0.0);
    let (mut low, high) = (low + back, high + back);
    let leaving = low < last.0 || last.0 <= 0.0;
    if leaving && low <= NEAR_EDGE * (high - low) {
        low = low.min(0.0);
    }
    (low, high)
}
