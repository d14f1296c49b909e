//! Which detections belong to the same face: forward in time, then back from every start.

use domain::{Detection, Rect, SecondOpinion};

use super::{Observation, ROUNDING, Settings};

/// Edges further out than this are a fault of the detector, not a face.
const FARTHEST: f32 = 1e6;

/// How far a face may leap between two looks, in sizes of its box; what it then has to score; how long the
/// looks may be apart, in seconds; and how much its size may change.
const LEAP: f32 = 3.0;
const LEAP_SCORE: f32 = 0.5;
const LEAP_TIME: f64 = 0.1;
const LEAP_RATIO: std::ops::Range<f32> = 0.7..1.4;

/// A detection on a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub frame: usize,
    /// Index into the faces of the frame's finding.
    pub face: usize,
    pub rect: Rect,
    pub score: f32,
    pub second: SecondOpinion,
}

/// The detections of one face, in order of time, all in one scene.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub seen: Vec<Seen>,
}

impl Path {
    pub fn best_score(&self) -> f32 {
        self.seen.iter().map(|seen| seen.score).fold(0.0, f32::max)
    }
}

/// Where a path is expected to go on.
struct Expected {
    path: usize,
    predicted: Rect,
    /// Its last confident box: a chain of doubtful ones does not grow away from that.
    size: Rect,
}

/// Tracks over all frames in order of time, and for every frame the faces that are on none of them.
pub(super) fn forward(
    frames: &[Observation],
    at: &[f64],
    settings: &Settings,
) -> (Vec<Path>, Vec<Vec<Seen>>) {
    let mut paths: Vec<Path> = Vec::new();
    let mut unused = Vec::with_capacity(frames.len());
    let mut active: Vec<usize> = Vec::new();
    for (k, frame) in frames.iter().enumerate() {
        let alive = |path: &Path| {
            let since = |seen: Option<&Seen>| at[k] - at[seen.map_or(0, |seen| seen.frame)];
            let mut back = path.seen.iter().rev();
            since(path.seen.last()) <= settings.patience + ROUNDING
                && since(back.find(|seen| seen.score >= settings.strong_score))
                    <= settings.weak_patience + ROUNDING
        };
        active.retain(|path| !frame.cut && alive(&paths[*path]));
        let (strong, weak): (Vec<Seen>, Vec<Seen>) =
            usable(k, frame, settings).partition(|seen| seen.score >= settings.strong_score);
        let expect = |path: &usize| {
            let seen = &paths[*path].seen;
            let strong = seen.iter().rfind(|seen| seen.score >= settings.strong_score);
            let predicted = predict(seen, at, k, settings);
            Expected { path: *path, predicted, size: strong.map_or(predicted, |seen| seen.rect) }
        };
        let mut open: Vec<Expected> = active.iter().map(expect).collect();
        let strong = extend(&mut paths, &mut open, strong, settings.strong_iou, settings);
        unused.push(extend(&mut paths, &mut open, weak, settings.weak_iou, settings));
        for start in leap(&mut paths, &open, strong, at) {
            active.push(paths.len());
            paths.push(Path { seen: vec![start] });
        }
    }
    (paths, unused)
}

/// Follows a path back from its start through faces that no path has used.
pub(super) fn backward(
    path: &mut Path,
    unused: &mut [Vec<Seen>],
    at: &[f64],
    scene: &[u32],
    settings: &Settings,
) {
    let Some(mut start) = path.seen.first().map(|seen| seen.frame) else { return };
    let strong = start; // Paths start with a strong detection.
    let size = path.seen[0].rect;
    path.seen.reverse();
    for k in (0..start).rev() {
        let lost = at[start] - at[k] > settings.patience + ROUNDING
            || at[strong] - at[k] > settings.weak_patience + ROUNDING;
        if scene[k] != scene[start] || lost {
            break;
        }
        let predicted = predict(&path.seen, at, k, settings);
        let faces = unused[k].iter().enumerate();
        let near = faces
            .filter(|(_, seen)| same_size(predicted, seen.rect, settings))
            .filter(|(_, seen)| same_size(size, seen.rect, settings))
            .map(|(i, seen)| (predicted.iou(seen.rect), i))
            .filter(|(iou, _)| *iou >= settings.back_iou)
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        if let Some((_, i)) = near {
            path.seen.push(unused[k].remove(i));
            start = k;
        }
    }
    path.seen.reverse();
}

/// Matches `faces` to the `open` paths (with their predicted boxes), best first, and appends them.
/// Paths that got a face are no longer open; the faces that no path wanted are returned.
fn extend(
    paths: &mut [Path],
    open: &mut Vec<Expected>,
    faces: Vec<Seen>,
    least: f32,
    settings: &Settings,
) -> Vec<Seen> {
    let mut taken_path = vec![false; open.len()];
    let mut taken_face = vec![false; faces.len()];
    for (_, p, f) in candidates(open, &faces, least, settings) {
        if !taken_path[p] && !taken_face[f] {
            taken_path[p] = true;
            taken_face[f] = true;
            paths[open[p].path].seen.push(faces[f]);
        }
    }
    let mut p = taken_path.into_iter();
    open.retain(|_| p.next() == Some(false));
    let mut f = taken_face.into_iter();
    faces.into_iter().filter(|_| f.next() == Some(false)).collect()
}

/// Matches what is left of clear `faces` to `open` paths that had one just before, nearest first, and
/// appends them; returns the faces that no path got. A face that moves by more than its size between two
/// looks overlaps nothing that was expected of it.
fn leap(paths: &mut [Path], open: &[Expected], faces: Vec<Seen>, at: &[f64]) -> Vec<Seen> {
    let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
    for (p, Expected { path, .. }) in open.iter().enumerate() {
        let Some(last) = paths[*path].seen.last() else { continue };
        for (f, face) in faces.iter().enumerate() {
            let (a, b) = (last.rect.center(), face.rect.center());
            let size = (last.rect.area().sqrt(), face.rect.area().sqrt());
            let far = (a.x - b.x).hypot(a.y - b.y) / size.0.min(size.1);
            let clear = last.score.min(face.score) >= LEAP_SCORE
                && at[face.frame] - at[last.frame] <= LEAP_TIME + ROUNDING;
            if clear && far <= LEAP && LEAP_RATIO.contains(&(size.0 / size.1)) {
                pairs.push((far, p, f));
            }
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let (mut taken_path, mut taken_face) = (vec![false; open.len()], vec![false; faces.len()]);
    for (_, p, f) in pairs {
        if !taken_path[p] && !taken_face[f] {
            (taken_path[p], taken_face[f]) = (true, true);
            paths[open[p].path].seen.push(faces[f]);
        }
    }
    let mut f = taken_face.into_iter();
    faces.into_iter().filter(|_| f.next() == Some(false)).collect()
}

/// Pairs (similarity, index into `open`, index into `faces`) alike enough to match, best first.
fn candidates(
    open: &[Expected],
    faces: &[Seen],
    least: f32,
    settings: &Settings,
) -> Vec<(f32, usize, usize)> {
    // Sorted by left edge, so that a crowd is not compared with itself face by face.
    let mut grown: Vec<(Rect, usize)> =
        faces.iter().enumerate().map(|(f, seen)| (seen.rect.grown(settings.reach), f)).collect();
    grown.sort_by(|a, b| a.0.x0.total_cmp(&b.0.x0));
    let widest = grown.iter().map(|(rect, _)| rect.width()).fold(0.0, f32::max);
    let mut pairs = Vec::new();
    for (p, Expected { predicted, size, .. }) in open.iter().enumerate() {
        let wanted = predicted.grown(settings.reach);
        let from = grown.partition_point(|(rect, _)| rect.x0 < wanted.x0 - widest);
        let near = grown[from..].iter().take_while(|(rect, _)| rect.x0 <= wanted.x1);
        for (rect, f) in near {
            let similarity = wanted.iou(*rect);
            let Seen { rect, score, .. } = faces[*f];
            let fits = same_size(*predicted, rect, settings)
                && (score >= settings.strong_score || same_size(*size, rect, settings));
            if similarity >= least && fits {
                pairs.push((similarity, p, *f));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    pairs
}

/// The faces of a frame that are worth following.
fn usable<'a>(
    k: usize,
    frame: &'a Observation,
    settings: &'a Settings,
) -> impl Iterator<Item = Seen> + 'a {
    let faces = frame.finding.iter().flat_map(|finding| &finding.faces).enumerate();
    faces.filter(|(_, face)| face.score >= settings.least_score && is_possible(face)).map(
        move |(i, face)| Seen {
            frame: k,
            face: i,
            rect: face.rect,
            score: face.score,
            second: face.second,
        },
    )
}

fn is_possible(face: &Detection) -> bool {
    let r = face.rect;
    r.is_sane() && r.area() > 0.0 && [r.x0, r.y0, r.x1, r.y1].iter().all(|v| v.abs() <= FARTHEST)
}

/// Where the face is expected in frame `k`, going on from the end of `seen` in either direction.
pub(super) fn predict(seen: &[Seen], at: &[f64], k: usize, settings: &Settings) -> Rect {
    let Some(last) = seen.last() else { return Rect::default() };
    let time = (at[k] - at[last.frame]).clamp(-settings.coast, settings.coast) as f32;
    let (vx, vy) = velocity(seen, at, settings);
    last.rect.shifted(vx * time, vy * time)
}

/// Velocity of the centre at the end of `seen`, in pixels a second; `seen` may run back in time.
pub(super) fn velocity(seen: &[Seen], at: &[f64], settings: &Settings) -> (f32, f32) {
    let recent = &seen[seen.len().saturating_sub(settings.memory)..];
    let (Some(a), Some(b)) = (recent.first(), recent.last()) else { return (0.0, 0.0) };
    let time = (at[b.frame] - at[a.frame]) as f32;
    if time == 0.0 {
        return (0.0, 0.0);
    }
    let (from, to) = (a.rect.center(), b.rect.center());
    ((to.x - from.x) / time, (to.y - from.y) / time)
}

/// Whether two boxes can be those of one face.
pub(super) fn same_size(predicted: Rect, seen: Rect, settings: &Settings) -> bool {
    let ratio = (predicted.area() / seen.area()).sqrt();
    ratio >= settings.size_ratio.0 && ratio <= settings.size_ratio.1
}
