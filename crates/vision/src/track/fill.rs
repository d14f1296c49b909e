//! From the detections of a track to a box in every frame where its face may be.

use domain::{BoxKind, Point, Rect, Size, TrackBox};

use super::associate::{Path, Seen, predict, same_size, velocity};
use super::{FAST, Observation, ROUNDING, Settings};

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

/// How much further than at its last speed it may have come.
const REACH: f32 = 1.5;
/// An extension ends this long after the last sign of a face, in seconds.
const NO_SIGN: f64 = 0.2;
/// IoU from which on a find, however faint, is a sign that the face is still there.
const SIGN_IOU: f32 = 0.4;

/// How long a fast face is taken to go on turning or braking as it did, in seconds.
const SWERVE: f32 = 0.1;

/// Share of its size by which a detection lies off the line between its neighbours if it may be another thing.
const JUMP: f32 = 0.75;

/// The video that the paths are in.
pub(super) struct Video<'a> {
    pub frames: &'a [Observation],
    /// Seconds of every frame.
    pub at: &'a [f64],
    /// Number of the scene of every frame.
    pub scene: &'a [u32],
    pub picture: Size,
    /// For every frame the detections that are on no track that is covered.
    pub strays: Vec<Vec<Seen>>,
    pub settings: &'a Settings,
}

/// All boxes of a track in order of time.
pub(super) fn boxes(path: &Path, video: &Video<'_>) -> Vec<TrackBox> {
    let Video { at, settings, .. } = *video;
    let mut seen = smooth(&tempered(&path.seen, at, settings), at, settings);
    let detected = |s: &Seen| TrackBox {
        frame: s.frame,
        rect: s.rect,
        kind: BoxKind::Detected,
        score: s.score,
    };
    let mut boxes: Vec<TrackBox> = seen.iter().map(detected).collect();
    for next in 1..seen.len() {
        gap(&seen, next, video, &mut boxes);
    }
    for (i, doubtful) in seen.iter().enumerate().filter(|(_, s)| s.score < settings.strong_score) {
        let Some(before) = seen[..i].last() else { continue };
        let (pace, away) = (pace(&seen[..i], at, settings), at[doubtful.frame] - at[before.frame]);
        strays(doubtful.frame, doubtful.rect, pace, away, video, &mut boxes);
    }
    overlay(&seen, at, settings, &mut boxes);
    jumps(&seen, at, &mut boxes);
    if let Some(last) = seen.last().map(|seen| seen.frame) {
        extend(&seen, last + 1..at.len(), video, &mut boxes);
    }
    if let Some(first) = seen.first().map(|seen| seen.frame) {
        seen.reverse();
        extend(&seen, (0..first).rev(), video, &mut boxes);
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

/// The frames between detection `next` and the one before it.
fn gap(seen: &[Seen], next: usize, video: &Video<'_>, boxes: &mut Vec<TrackBox>) {
    let Video { at, settings, .. } = *video;
    let (a, b) = (&seen[next - 1], &seen[next]);
    if b.frame - a.frame < 2 {
        return;
    }
    let after: Vec<Seen> = seen[next..].iter().take(3).rev().copied().collect();
    let (from, to) = (a.rect.center(), b.rect.center());
    let time = at[b.frame] - at[a.frame];
    let speed = (to.x - from.x).hypot(to.y - from.y) / time as f32;
    for frame in a.frame + 1..b.frame {
        let away = (at[frame] - at[a.frame]).min(at[b.frame] - at[frame]);
        let rect = between(a, b, frame, at);
        strays(frame, rect, speed, away, video, boxes);
        let swerves = [swerve(&seen[..next], frame, at), swerve(&after, frame, at)];
        let rect = rect.grown(doubt(rect, speed, away, settings));
        for rect in swerves.into_iter().flatten().chain([rect]) {
            boxes.push(TrackBox { frame, rect, kind: BoxKind::Interpolated, score: 0.0 });
        }
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

/// From the detection before to the one after each that lies off that line by much of its size: a thing that
/// a fast face passed may have been taken for it.
fn jumps(seen: &[Seen], at: &[f64], boxes: &mut Vec<TrackBox>) {
    for three in seen.windows(3) {
        let [a, middle, b] = three else { continue };
        if at[b.frame] - at[a.frame] > 2.0 * f64::from(SWERVE) {
            continue;
        }
        let rect = between(a, b, middle.frame, at);
        let (on, off) = (rect.center(), middle.rect.center());
        if (on.x - off.x).hypot(on.y - off.y) > JUMP * side(middle.rect) {
            boxes.push(TrackBox {
                frame: middle.frame,
                rect,
                kind: BoxKind::Interpolated,
                score: 0.0,
            });
        }
    }
}

fn between(a: &Seen, b: &Seen, frame: usize, at: &[f64]) -> Rect {
    let share = (at[frame] - at[a.frame]) / (at[b.frame] - at[a.frame]);
    a.rect.lerp(b.rect, share as f32)
}

/// Goes on from the end of `seen` through `frames` (away from it, in either direction) until the
/// time is up, the scene ends, or nothing looks like a face there any more.
fn extend(
    seen: &[Seen],
    frames: impl Iterator<Item = usize>,
    video: &Video<'_>,
    boxes: &mut Vec<TrackBox>,
) {
    let Video { at, scene, settings, .. } = *video;
    let Some(last) = seen.last() else { return };
    let (vx, vy) = velocity(seen, at, settings);
    let speed = vx.hypot(vy);
    let pace = pace(seen, at, settings);
    let mut sign = at[last.frame];
    for frame in frames {
        let away = (at[frame] - at[last.frame]).abs();
        if scene[frame] != scene[last.frame] || away > settings.extension + ROUNDING {
            break;
        }
        let mut rect = predict(seen, at, frame, settings);
        if !settings.needs_sign || may_be_at(rect, &video.frames[frame]) {
            sign = at[frame];
        } else if (at[frame] - sign).abs() > NO_SIGN + ROUNDING {
            break;
        }
        strays(frame, rect, pace, away, video, boxes);
        if let Some(rect) = swerve(seen, frame, at) {
            boxes.push(TrackBox { frame, rect, kind: BoxKind::Extended, score: 0.0 });
        }
        if settings.stick_to_edges {
            rect = stick(rect, last.rect, video.picture);
        }
        let rect = rect.grown(doubt(rect, speed, away, settings));
        boxes.push(TrackBox { frame, rect, kind: BoxKind::Extended, score: 0.0 });
    }
}

/// Where a fast face is soon after the end of `seen` if it goes on to turn or brake as it does there;
/// constant velocity would miss it by its own size. `None` for a slow face, and when it is too late to say.
fn swerve(seen: &[Seen], frame: usize, at: &[f64]) -> Option<Rect> {
    let [.., a, b, c] = seen else { return None };
    let time = (at[frame] - at[c.frame]) as f32;
    let (before, step) = ((at[b.frame] - at[a.frame]) as f32, (at[c.frame] - at[b.frame]) as f32);
    if [time, before, step].iter().any(|t| t.abs() > SWERVE) {
        return None;
    }
    let along = |axis: fn(Point) -> f32| {
        let [a, b, c] = [a, b, c].map(|seen| axis(seen.rect.center()));
        let (earlier, later) = ((b - a) / before, (c - b) / step);
        let bend = 2.0 * (later - earlier) / (before + step);
        let speed = later + bend * step / 2.0;
        (speed, speed * time + bend * time * time / 2.0)
    };
    let ((vx, dx), (vy, dy)) = (along(|p| p.x), along(|p| p.y));
    let fast = vx.hypot(vy) > FAST * side(c.rect);
    fast.then(|| c.rect.shifted(dx, dy))
}

/// The highest speed between neighbouring detections at the end of `seen`, in pixels a second: a face that
/// turns round is slow on average.
fn pace(seen: &[Seen], at: &[f64], settings: &Settings) -> f32 {
    let recent = &seen[seen.len().saturating_sub(settings.memory)..];
    let step = |pair: &[Seen]| {
        let (a, b) = (pair[0].rect.center(), pair[1].rect.center());
        let time = (at[pair[1].frame] - at[pair[0].frame]).abs();
        (b.x - a.x).hypot(b.y - a.y) / time as f32
    };
    recent.windows(2).map(step).fold(0.0, f32::max)
}

/// Whether anything was noticed at `rect`, or could not have been.
fn may_be_at(rect: Rect, frame: &Observation) -> bool {
    let Some(finding) = &frame.finding else { return true };
    let Some(faint) = finding.faint.as_ref().filter(|faint| side(rect) >= faint.from) else {
        return true;
    };
    let faces = finding.faces.iter().map(|face| face.rect);
    faces.chain(faint.rects.iter().copied()).any(|other| other.iou(rect) > SIGN_IOU)
}

fn side(rect: Rect) -> f32 {
    rect.area().sqrt()
}

/// A fast face that is lost in `frame` may be whatever was found near its path, `away` seconds from its
/// last detection, and taken for nothing.
fn strays(
    frame: usize,
    rect: Rect,
    speed: f32,
    away: f64,
    video: &Video<'_>,
    boxes: &mut Vec<TrackBox>,
) {
    let size = side(rect);
    if speed < FAST * size {
        return;
    }
    let reach = size + REACH * speed * away as f32;
    let near = |seen: &&Seen| {
        let (a, b) = (seen.rect.center(), rect.center());
        (a.x - b.x).hypot(a.y - b.y) <= reach && same_size(rect, seen.rect, video.settings)
    };
    for seen in video.strays[frame].iter().filter(near) {
        let kind = BoxKind::Interpolated;
        boxes.push(TrackBox { frame, rect: seen.rect, kind, score: 0.0 });
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
