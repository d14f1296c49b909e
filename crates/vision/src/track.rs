//! Follows faces over the frames of a video, offline: every decision may look both ways in time.
//!
//! The steps and their numbers were chosen by measuring leaks (faces left uncovered) and false
//! area together; [`Settings`] says what each one is for. Association is in the manner of
//! ByteTrack (Zhang et al., ECCV 2022): confident detections first, doubtful ones second.

mod associate;
mod fill;
mod veto;

#[cfg(test)]
mod tests;

use domain::{Finding, PersonIx, Pts, Size, Track, TrackBox, TrackId};

use associate::Path;

/// One frame of the video as the analysis saw it.
#[derive(Clone, Debug)]
pub struct Observation {
    /// When it is shown.
    pub pts: Pts,
    /// Whether a new scene begins with it.
    pub cut: bool,
    /// What was found; `None`: it was not looked at or could not be decoded.
    pub finding: Option<Finding>,
}

/// How faces are followed. Times are in seconds, shares are of a box's width or height.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Detections that score lower are not looked at.
    pub least_score: f32,
    /// From this score on, a detection is matched first and may start a track.
    pub strong_score: f32,
    /// A track dies after this long without a detection.
    pub patience: f64,
    /// A track dies after this long with doubtful detections only: a chain of them can leave the
    /// face and wander over a texture.
    pub weak_patience: f64,
    /// Velocity is taken over this many latest detections: fewer jitter, more lag behind.
    pub memory: usize,
    /// Velocity is trusted for no longer than this; afterwards the predicted box stays where it is.
    pub coast: f64,
    /// Boxes are grown by this share on every side before they are compared, so that a fast face
    /// that no longer overlaps its last box is still matched.
    pub reach: f32,
    /// Least IoU of grown boxes for detections of `strong_score`.
    pub strong_iou: f32,
    /// Least IoU of grown boxes for doubtful detections.
    pub weak_iou: f32,
    /// Least plain IoU when a track is followed back to before its start.
    pub back_iou: f32,
    /// Bounds of predicted size over detected size (size: square root of the area).
    pub size_ratio: (f32, f32),
    /// Drop a track that the second detector looked at and never agreed with, unless one of its
    /// detections is certain. Halves the area covered for nothing.
    pub veto: bool,
    /// How often it has to have looked in vain for that.
    pub vain_looks: usize,
    /// With `veto`: also drop a track without a certain detection when the second detector looked at
    /// it four times or more and agreed less often than this share.
    pub least_agreement: f32,
    /// Drop a track of doubtful detections that the second detector looked at and never agreed
    /// with. Off in `thorough`.
    pub strict_start: bool,
    /// Boxes are at most this many times as large as the median of the confident ones around them.
    pub outlier_growth: f32,
    /// Sizes are raised to their 80th percentile over this long before and after: boxes of turning
    /// heads shrink before they are lost.
    pub size_window: f64,
    /// A box is also drawn from one confident detection to the next over doubtful ones between
    /// them, if these are no further apart: doubtful boxes may sit beside the face.
    pub overlay: f64,
    /// How long a track goes on before its first and after its last detection.
    pub extension: f64,
    /// Whether an extension ends early when nothing is noticed there for a while, although a face of its
    /// size would be, if only faintly.
    pub needs_sign: bool,
    /// Most that boxes without a detection grow on every side with time and speed; 0 is off.
    pub dilation: f32,
    /// Whether an extension stays at the border of the picture instead of leaving it.
    pub stick_to_edges: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            least_score: 0.1,
            strong_score: 0.3,
            patience: 0.5,
            weak_patience: 1.0,
            memory: 4,
            coast: 0.3,
            reach: 0.5,
            strong_iou: 0.10,
            weak_iou: 0.15,
            back_iou: 0.15,
            size_ratio: (0.45, 2.2),
            veto: true,
            vain_looks: 3,
            least_agreement: 0.45,
            strict_start: true,
            outlier_growth: 1.4,
            size_window: 0.3,
            overlay: 0.5,
            extension: 0.5,
            needs_sign: true,
            dilation: 0.25,
            stick_to_edges: true,
        }
    }
}

/// What [`follow`] made of the detections.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// Tracks to cover.
    pub tracks: Vec<Track>,
    /// Tracks taken for no face: nothing of them is covered, a reviewer may want to see them.
    pub dropped: Vec<Track>,
}

/// Joins the detections of all `frames` into tracks and fills these.
///
/// `frames` are in order of display and `picture` is their coded size. Box frames are indices into
/// `frames`. Ids count from 1 in order of the first detection, first those of `tracks`, then those of
/// `dropped`.
///
/// Time and memory grow with the number of detections, not with its square: no window reaches
/// further than 1000 frames a second.
pub fn follow(frames: &[Observation], picture: Size, settings: &Settings) -> Followed {
    let at = clock(frames);
    let scene = scenes(frames);
    let (mut paths, mut unused) = associate::forward(frames, &at, settings);
    for path in &mut paths {
        associate::backward(path, &mut unused, &at, &scene, settings);
    }
    let doubtful = |path: &Path| veto::is_doubtful(path, &at, settings);
    let (kept, mut dropped): (Vec<Path>, Vec<Path>) =
        paths.into_iter().partition(|path| !doubtful(path));
    let parts = kept.into_iter().flat_map(|path| veto::faithful(path, &at, settings));
    let (mut kept, doubted): (Vec<Path>, Vec<Path>) = parts.partition(|path| !doubtful(path));
    dropped.extend(doubted);
    for paths in [&mut kept, &mut dropped] {
        paths.sort_by_key(|path| path.seen.first().map(|seen| seen.frame));
    }
    let mut strays = unused;
    for seen in dropped.iter().flat_map(|path| &path.seen) {
        strays[seen.frame].push(*seen);
    }
    let video = fill::Video { frames, at: &at, scene: &scene, picture, strays, settings };
    let finish = |paths: &[Path], first_id: usize| -> Vec<Track> {
        let numbered = paths.iter().zip(first_id..);
        let whole = |(path, id)| track(path, id, frames, fill::boxes(path, &video));
        numbered.filter_map(whole).collect()
    };
    Followed { tracks: finish(&kept, 1), dropped: finish(&dropped, 1 + kept.len()) }
}

/// A path with its boxes as a [`Track`]; `None` for a path without detections (there is none).
fn track(path: &Path, id: usize, frames: &[Observation], boxes: Vec<TrackBox>) -> Option<Track> {
    let (first, last) = (path.seen.first()?.frame, path.seen.last()?.frame);
    let mut sightings: Vec<(usize, PersonIx, f32)> = Vec::new();
    for seen in &path.seen {
        let finding = frames.get(seen.frame).and_then(|frame| frame.finding.as_ref());
        let all = finding.iter().flat_map(|finding| &finding.sightings);
        let mine = all.filter(|sighting| sighting.face == seen.face);
        sightings.extend(mine.map(|s| (seen.frame, s.person, s.similarity)));
    }
    Some(Track {
        id: TrackId(u32::try_from(id).unwrap_or(u32::MAX)),
        boxes,
        sightings,
        best_score: path.best_score(),
        first: (first, frames.get(first)?.pts),
        last: (last, frames.get(last)?.pts),
    })
}

/// Rounding of sums of time stamps, in seconds: 15 frames at 30 a second are half a second.
pub(crate) const ROUNDING: f64 = 1e-6;

/// Seconds of every frame since the first. Time stamps of broken files may stand still or go back:
/// here every frame comes at least 1 ms after the one before, which also bounds how many frames
/// any window of time can hold.
pub(crate) fn clock(frames: &[Observation]) -> Vec<f64> {
    let mut now = 0.0;
    let mut previous = frames.first().map(|frame| frame.pts);
    let mut tick = |frame: &Observation| {
        let step = previous.map_or(0.0, |previous| frame.pts.seconds_since(previous));
        previous = Some(frame.pts);
        now += step.max(0.001);
        now
    };
    frames.iter().map(&mut tick).collect()
}

/// Number of the scene that every frame belongs to.
fn scenes(frames: &[Observation]) -> Vec<u32> {
    let mut scene = 0;
    let mut count = |frame: &Observation| {
        scene += u32::from(frame.cut);
        scene
    };
    frames.iter().map(&mut count).collect()
}
/// Sizes of its box that a face moves in a second from which on it is blurred, and nobody knows where it is
/// without a detection: a quarter in a 30th.
const FAST: f32 = 7.5;
