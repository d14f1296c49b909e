//! Which detector looks at which frame. Measured by leaks, false area and time together
//! (`docs/decisions/detection.md`).

use domain::{Pts, Rect, Size};
use vision::{DetectorModel, Pass, Suspects};

use crate::Speed;

/// Long side of the pass that runs on (nearly) every frame, in pixels.
const BASE: u32 = 640;
/// Long side of a smaller one, and the side that faces must have in it, in pixels.
const COARSE: u32 = 416;
const COARSE_FACE: f32 = 24.0;
/// Long side of the finer pass.
const FINE: u32 = 1280;
/// The same if time is short and nothing changed for a while.
const LESS_FINE: u32 = 960;
/// Longest side of the pass for small faces in pictures above [`LARGE`]; made in tiles.
const TILED: u32 = 3840;
/// Pictures with a longer side have faces of 16 px that the fine pass cannot see.
const LARGE: u32 = 2048;
/// Long side of the second detector's pass; in pictures above [`LARGE`] it takes [`FINE`] to judge
/// the faces that the tiles find.
const SECOND: u32 = 640;
/// A frame may be skipped only between looked-at frames at most this far apart, in seconds.
const MAX_SKIP: f64 = redact::Analysis::MAX_GAP_SECONDS * 0.9;
/// Time between two comparisons with the enrolled people, in seconds: of a file, and live, where two of them
/// decide and one a second is enough to hold.
const IDENTITY: f64 = 0.25;
const IDENTITY_LIVE: f64 = 0.5;

/// Long side of the second detector's input, for pictures of this size.
pub(crate) fn second_long_side(picture: Size) -> u32 {
    if is_large(picture) { FINE } else { SECOND }
}

fn is_large(picture: Size) -> bool {
    picture.width.max(picture.height) > LARGE
}

/// How often each pass runs, in frames of a 30 frames a second video; by time in slower ones.
#[derive(Clone, Copy, Debug)]
struct Periods {
    base: u32,
    fine: u32,
    /// The second detector looks at the whole picture, and closely at all that was noticed.
    second: u32,
}

/// What is to be done with one frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Look {
    /// Detector passes; none: the frame is skipped.
    pub(crate) passes: Vec<Pass>,
    /// Whether faces are compared with the enrolled people.
    pub(crate) identify: bool,
    /// A skipped frame that is looked at after all if the next one shows something new.
    pub(crate) hold: bool,
}

/// The look at a held frame.
pub(crate) fn look_back() -> Look {
    Look { passes: vec![Pass::new(DetectorModel::YuNet, BASE)], ..Look::default() }
}

/// Decides frame by frame, in order.
#[derive(Debug)]
pub(crate) struct Schedule {
    periods: Periods,
    /// The same while nothing changes.
    steady: Periods,
    longest: u32,
    large: bool,
    second_side: u32,
    /// Whether the base pass may be smaller at times.
    coarse: bool,
    identify: bool,
    identify_every: f64,
    fine: Option<Due>,
    second: Option<Due>,
    identity: Option<Pts>,
    looked: Option<Pts>,
    skipped: u32,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    seq: u64,
    pts: Pts,
}

impl Schedule {
    pub(crate) fn new(speed: Speed, picture: Size, identify: bool) -> Self {
        let (periods, steady) = periods(speed);
        Self {
            periods,
            steady,
            longest: picture.width.max(picture.height).max(1),
            large: is_large(picture),
            coarse: speed == Speed::Fast,
            second_side: second_long_side(picture),
            identify,
            identify_every: IDENTITY,
            fine: None,
            second: None,
            identity: None,
            looked: None,
            skipped: 0,
        }
    }

    /// The same for a live picture.
    pub(crate) fn live(speed: Speed, picture: Size) -> Self {
        Self { identify_every: IDENTITY_LIVE, ..Self::new(speed, picture, true) }
    }

    /// From the next frame on it is as thorough as that.
    pub(crate) fn set_speed(&mut self, speed: Speed) {
        (self.periods, self.steady) = periods(speed);
        self.coarse = speed == Speed::Fast;
    }

    /// Whether there is anybody to compare faces with, from the next frame on.
    pub(crate) fn identify(&mut self, anybody: bool) {
        self.identify = anybody;
    }

    /// What to do with frame `seq` at `pts`. `next`: the time of the frame after it, if there is
    /// one that belongs to the same scene; `fresh`: a new scene may begin here, so nothing is known
    /// of it; `known`: the faces in it, if nothing changed for a while.
    pub(crate) fn look(
        &mut self,
        seq: u64,
        pts: Pts,
        next: Option<Pts>,
        fresh: bool,
        known: Option<&[Rect]>,
    ) -> Look {
        let periods = if known.is_some() { self.steady } else { self.periods };
        if !fresh && self.may_skip(next, periods.base) {
            self.skipped += 1;
            // What the next look finds may be in this frame too.
            return Look { hold: self.periods.base == 1, ..Look::default() };
        }
        self.skipped = 0;
        self.looked = Some(pts);
        let mut passes = vec![Pass::new(DetectorModel::YuNet, self.base_side(known))];
        let fine = due(&mut self.fine, periods.fine, seq, pts, fresh);
        if fine {
            passes.push(Pass::new(DetectorModel::YuNet, self.fine_side(known)));
            if self.large {
                passes.push(Pass::new(DetectorModel::YuNet, TILED));
            }
        }
        let second = due(&mut self.second, periods.second, seq, pts, fresh);
        if second {
            passes.push(Pass::new(DetectorModel::CenterFace, self.second_side));
        }
        passes.push(match (second, fine) {
            (true, _) if self.large => Pass::CloseUps { of: Suspects::Faint, most: 120 },
            (true, _) => Pass::CloseUps { of: Suspects::Faint, most: 60 },
            (false, true) => Pass::CloseUps { of: Suspects::Weak, most: 20 },
            (false, false) => Pass::CloseUps { of: Suspects::Doubtful, most: 6 },
        });
        Look { passes, identify: self.identify && self.identity_due(pts), hold: false }
    }

    /// Long side of the base pass. It may be smaller where it is only to see that large faces are still
    /// there, if time is short.
    fn base_side(&self, known: Option<&[Rect]>) -> u32 {
        let Some(faces) = known.filter(|faces| self.coarse && !faces.is_empty()) else {
            return BASE;
        };
        let scale = COARSE as f32 / self.longest as f32;
        let large = |face: &Rect| face.area().sqrt() * scale >= COARSE_FACE;
        if faces.iter().all(large) { COARSE } else { BASE }
    }

    /// Long side of the finer pass.
    fn fine_side(&self, known: Option<&[Rect]>) -> u32 {
        if self.coarse && known.is_some() { LESS_FINE } else { FINE }
    }

    fn may_skip(&self, next: Option<Pts>, base: u32) -> bool {
        let (Some(looked), Some(next)) = (self.looked, next) else { return false };
        let gap = next.seconds_since(looked);
        self.skipped + 1 < base && (0.0..=MAX_SKIP).contains(&gap)
    }

    fn identity_due(&mut self, pts: Pts) -> bool {
        let due = self.identity.is_none_or(|last| {
            let since = pts.seconds_since(last);
            !(0.0..self.identify_every - 0.005).contains(&since)
        });
        if due {
            self.identity = Some(pts);
        }
        due
    }
}

/// How often passes run, and how often while nothing changes.
fn periods(speed: Speed) -> (Periods, Periods) {
    let thorough = Periods { base: 1, fine: 2, second: 5 };
    match speed {
        Speed::Fast => {
            (Periods { base: 2, fine: 10, second: 30 }, Periods { base: 2, fine: 20, second: 60 })
        }
        Speed::Balanced => {
            (Periods { base: 1, fine: 5, second: 15 }, Periods { base: 2, fine: 10, second: 30 })
        }
        Speed::Thorough => (thorough, thorough),
    }
}

/// Whether a pass with this period is due; if so, notes that it runs now.
fn due(last: &mut Option<Due>, period: u32, seq: u64, pts: Pts, fresh: bool) -> bool {
    let due = fresh
        || last.is_none_or(|last| {
            let since = pts.seconds_since(last.pts);
            // Videos with fewer than 25 frames a second wait no longer than those with 25 do.
            seq - last.seq >= u64::from(period)
                || since >= f64::from(period) / 25.0 - 0.001
                || since < 0.0
        });
    if due {
        *last = Some(Due { seq, pts });
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::TimeBase;

    const HD: Size = Size { width: 1280, height: 720 };

    fn looks(speed: Speed, size: Size, millis: &[i64], fresh: &[usize]) -> Vec<Look> {
        looks_when(speed, size, millis, fresh, None)
    }

    fn looks_when(
        speed: Speed,
        size: Size,
        millis: &[i64],
        fresh: &[usize],
        known: Option<&[Rect]>,
    ) -> Vec<Look> {
        let base = TimeBase::new(1, 1000).unwrap();
        let pts: Vec<Pts> = millis.iter().map(|&ms| Pts::new(ms, base)).collect();
        let mut schedule = Schedule::new(speed, size, true);
        (0..pts.len())
            .map(|i| {
                let next = pts.get(i + 1).copied();
                schedule.look(i as u64, pts[i], next, i == 0 || fresh.contains(&i), known)
            })
            .collect()
    }

    fn at(fps: f64, n: usize) -> Vec<i64> {
        (0..n).map(|i| (i as f64 * 1000.0 / fps).round() as i64).collect()
    }

    /// How many of `looks` have this pass of YuNet.
    fn count(looks: &[Look], side: u32) -> usize {
        let pass = Pass::new(DetectorModel::YuNet, side);
        looks.iter().filter(|look| look.passes.contains(&pass)).count()
    }

    #[test]
    fn balanced_looks_at_every_frame_and_closely_at_what_is_in_doubt() {
        let looks = looks(Speed::Balanced, HD, &at(30.0, 60), &[]);
        assert_eq!((count(&looks, BASE), count(&looks, FINE)), (60, 12));
        let closely = |wanted| {
            let has = |pass: &Pass| matches!(pass, Pass::CloseUps { of, .. } if *of == wanted);
            looks.iter().filter(|look| look.passes.iter().any(has)).count()
        };
        assert_eq!(
            (closely(Suspects::Faint), closely(Suspects::Weak), closely(Suspects::Doubtful)),
            (4, 8, 48)
        );
    }

    #[test]
    fn fast_skips_every_second_frame_but_never_at_the_end_or_over_100_ms() {
        let dense = looks(Speed::Fast, HD, &at(30.0, 10), &[]);
        let skipped: Vec<bool> = dense.iter().map(|l| l.passes.is_empty()).collect();
        let want = [false, true, false, true, false, true, false, true, false, false];
        assert_eq!(skipped, want);
        let sparse = looks(Speed::Fast, HD, &at(15.0, 10), &[]);
        assert!(sparse.iter().all(|l| !l.passes.is_empty()));
    }

    #[test]
    fn where_nothing_changes_balanced_holds_every_second_frame_back() {
        let steady = looks_when(Speed::Balanced, HD, &at(30.0, 300), &[], Some(&[]));
        let (looked, held): (Vec<&Look>, Vec<&Look>) = steady.iter().partition(|l| !l.hold);
        assert_eq!((looked.len(), held.len()), (151, 149), "the last but one is looked at");
        assert!(looked.iter().all(|l| !l.passes.is_empty()));
        assert!(held.iter().all(|l| l.passes.is_empty()));
        let lively = looks(Speed::Balanced, HD, &at(30.0, 300), &[]);
        assert_eq!((count(&steady, FINE), count(&lively, FINE)), (30, 60));
        let thorough = looks_when(Speed::Thorough, HD, &at(30.0, 60), &[], Some(&[]));
        assert!(thorough.iter().all(|l| !l.passes.is_empty()));
    }

    #[test]
    fn fast_looks_coarsely_where_all_faces_are_known_and_large() {
        let coarse = |speed, faces: &[f32]| {
            let faces: Vec<Rect> =
                faces.iter().map(|side| Rect::new(0.0, 0.0, *side, *side)).collect();
            count(&looks_when(speed, HD, &at(30.0, 60), &[], Some(&faces)), COARSE) > 0
        };
        assert!(coarse(Speed::Fast, &[90.0, 80.0]));
        assert!(!coarse(Speed::Fast, &[90.0, 60.0]), "one would be smaller than 24 px");
        assert!(!coarse(Speed::Fast, &[]), "whoever comes may be small");
        assert!(!coarse(Speed::Balanced, &[90.0]));
    }

    #[test]
    fn a_new_scene_gets_every_pass() {
        let looks = looks(Speed::Balanced, HD, &at(30.0, 10), &[3]);
        assert_eq!(looks[2].passes.len(), 2);
        assert_eq!(looks[3].passes.len(), 4);
        assert!(looks[3].passes.contains(&Pass::CloseUps { of: Suspects::Faint, most: 60 }));
    }

    #[test]
    fn pictures_above_2k_are_also_searched_in_tiles() {
        let uhd = Size { width: 3840, height: 2160 };
        assert_eq!(count(&looks(Speed::Balanced, uhd, &at(30.0, 1), &[]), TILED), 1);
    }

    #[test]
    fn slow_videos_are_searched_finely_by_time() {
        let fine = count(&looks(Speed::Balanced, HD, &at(5.0, 10), &[]), FINE);
        assert!(fine >= 8, "{fine}");
    }

    #[test]
    fn people_are_compared_four_times_a_second() {
        let looks = looks(Speed::Balanced, HD, &at(30.0, 90), &[]);
        let n = looks.iter().filter(|l| l.identify).count();
        assert!((10..=13).contains(&n), "{n}");
    }
}
