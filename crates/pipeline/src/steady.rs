//! Whether a scene has been the same for a while: nobody in it, or the same faces in about the same
//! places, each surely one. There, detectors look less often.
//!
//! Detectors answer late and out of order, and yet the same video must be looked at in the same way
//! each time. So what is said of a frame depends on the answers up to a fixed number of frames
//! before it, and waits for these.

use std::collections::{BTreeMap, BTreeSet};

use crossbeam_channel::Receiver;
use domain::{Finding, Rect};

/// Frames by which answers may be late. More than the detectors have at hand, so nobody waits long.
const LAG: u64 = 12;
/// Frames in which nothing changed before a scene is steady.
const QUIET: u64 = 20;
/// A find from this score on may be a face.
const SOMETHING: f32 = 0.3;
/// A find from this score on is one.
const SURE: f32 = 0.7;
/// IoU of boxes of a face that has not moved much.
const SAME: f32 = 0.5;

/// What one look showed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sight {
    /// Faces, none of them in doubt. Boxes in coded pixels.
    Clear(Vec<Rect>),
    /// Something that may or may not be a face.
    Doubtful,
}

impl Sight {
    pub(crate) fn of(finding: &Finding) -> Self {
        let finds = || finding.faces.iter().filter(|face| face.score >= SOMETHING);
        if finds().all(|face| face.score >= SURE) {
            Self::Clear(finds().map(|face| face.rect).collect())
        } else {
            Self::Doubtful
        }
    }

    /// Whether it shows just these faces, in about the same places.
    pub(crate) fn is_just(&self, faces: &[Rect]) -> bool {
        let Self::Clear(seen) = self else { return false };
        let mut open: Vec<Rect> = seen.clone();
        let mut take = |face: &Rect| {
            let same = open.iter().position(|other| other.iou(*face) >= SAME);
            same.map(|at| open.swap_remove(at)).is_some()
        };
        seen.len() == faces.len() && faces.iter().all(&mut take)
    }
}

/// What a detector saw in a frame that it was asked to look at.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) seq: u64,
    pub(crate) sight: Sight,
}

/// Listens to the detectors.
pub(crate) struct Steady {
    told: Receiver<Told>,
    /// Frames that were asked about and not answered.
    open: BTreeSet<u64>,
    /// The answers of late.
    sights: BTreeMap<u64, Sight>,
    /// Where the scene began.
    scene: u64,
}

impl Steady {
    pub(crate) fn new(told: Receiver<Told>) -> Self {
        Self { told, open: BTreeSet::new(), sights: BTreeMap::new(), scene: 0 }
    }

    /// A detector was asked to look at this frame.
    pub(crate) fn asked(&mut self, seq: u64) {
        self.open.insert(seq);
    }

    /// The faces that were seen for a while before frame `seq`, and nothing else; `None`: the scene is
    /// not steady. `fresh`: a scene may begin there.
    pub(crate) fn at(&mut self, seq: u64, fresh: bool) -> Option<Vec<Rect>> {
        if fresh {
            self.scene = seq;
        }
        let until = seq.checked_sub(LAG)?;
        while self.open.first().is_some_and(|&first| first <= until) {
            // Detectors that are gone have failed: the job ends with their error.
            let told = self.told.recv().ok()?;
            self.open.remove(&told.seq);
            self.sights.insert(told.seq, told.sight);
        }
        let from = until.saturating_sub(QUIET);
        self.sights = self.sights.split_off(&from);
        if seq - self.scene < LAG + QUIET {
            return None;
        }
        let mut sights = self.sights.range(..=until).map(|(_, sight)| sight).rev();
        match sights.next()? {
            Sight::Clear(faces) if sights.all(|sight| sight.is_just(faces)) => Some(faces.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;
    use domain::{Detection, Point};

    use super::*;

    fn face(x: f32, score: f32) -> Detection {
        let rect = Rect::new(x, 100.0, x + 80.0, 200.0);
        Detection::new(rect, score, [Point::default(); 5])
    }

    fn sight(faces: Vec<Detection>) -> Sight {
        Sight::of(&Finding { faces, ..Finding::default() })
    }

    /// Whether it is steady at each of 100 frames, when a look shows what `sights` says.
    fn steady(sights: impl Fn(u64) -> Sight, fresh: &[u64], early: u64) -> Vec<u64> {
        let (tell, told) = unbounded();
        let mut steady = Steady::new(told);
        let mut answered = 0;
        let at = (0..100).filter(|&seq| {
            // Answers come as late as they may, or earlier.
            while answered + LAG <= seq + early && answered < seq {
                tell.send(Told { seq: answered, sight: sights(answered) }).unwrap();
                answered += 1;
            }
            let now = steady.at(seq, seq == 0 || fresh.contains(&seq)).is_some();
            steady.asked(seq);
            now
        });
        at.collect()
    }

    #[test]
    fn a_scene_is_steady_once_nothing_changed_for_a_while() {
        let nobody = |_| sight(vec![]);
        assert_eq!(steady(nobody, &[], 0), (32..100).collect::<Vec<_>>());
        let somebody_passes =
            |seq| if seq == 40 { sight(vec![face(0.0, 0.9)]) } else { sight(vec![]) };
        let want: Vec<u64> = (32..52).chain(73..100).collect();
        assert_eq!(steady(somebody_passes, &[], 0), want);
        assert_eq!(steady(somebody_passes, &[], 9), want, "answers that come early change nothing");
    }

    #[test]
    fn faces_that_stay_are_steady_until_one_more_comes_or_one_goes_far() {
        let sway = |seq| (seq as f32).sin() * 10.0;
        let two = |seq| vec![face(sway(seq), 0.9), face(300.0, 0.8)];
        assert_eq!(steady(|seq| sight(two(seq)), &[], 0), (32..100).collect::<Vec<_>>());
        let third = |seq| {
            let more = (seq >= 50).then(|| face(600.0, 0.9));
            sight(two(seq).into_iter().chain(more).collect())
        };
        assert_eq!(steady(third, &[], 0), (32..62).chain(82..100).collect::<Vec<_>>());
        let walks = |seq| sight(vec![face(seq as f32 * 4.0, 0.9)]);
        assert_eq!(steady(walks, &[], 0), Vec::<u64>::new());
    }

    #[test]
    fn a_doubt_is_not_steady() {
        let doubt = |_| sight(vec![face(0.0, 0.9), face(300.0, 0.5)]);
        assert_eq!(steady(doubt, &[], 0), Vec::<u64>::new());
        let nothing = |_| sight(vec![face(0.0, 0.9), face(300.0, 0.2)]);
        assert_eq!(steady(nothing, &[], 0), (32..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_look_shows_just_the_faces_that_are_known_or_something_else() {
        let known = [face(0.0, 0.9).rect, face(300.0, 0.9).rect];
        assert!(sight(vec![face(310.0, 0.8), face(5.0, 0.9)]).is_just(&known));
        assert!(!sight(vec![face(5.0, 0.9)]).is_just(&known), "one is gone");
        assert!(!sight(vec![face(5.0, 0.9), face(10.0, 0.9)]).is_just(&known), "one moved");
        let three = vec![face(0.0, 0.9), face(300.0, 0.9), face(600.0, 0.9)];
        assert!(!sight(three).is_just(&known), "one more");
        assert!(!Sight::Doubtful.is_just(&known));
    }

    #[test]
    fn a_new_scene_is_not_steady() {
        let nobody = |_| sight(vec![]);
        let want: Vec<u64> = (32..50).chain(82..100).collect();
        assert_eq!(steady(nobody, &[50], 0), want);
    }

    #[test]
    fn detectors_that_are_gone_are_not_waited_for() {
        let (tell, told) = unbounded();
        let mut steady = Steady::new(told);
        steady.asked(0);
        drop(tell);
        assert!(steady.at(50, false).is_none());
    }
}
