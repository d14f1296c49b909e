//! Whether anything was found lately. Where nothing is, detectors look less often.
//!
//! Detectors answer late and out of order, and yet the same video must be looked at in the same way
//! each time. So what is said of a frame depends on the answers up to a fixed number of frames
//! before it, and waits for these.

use std::collections::BTreeSet;

use crossbeam_channel::Receiver;
use domain::Finding;

/// Frames by which answers may be late. More than the detectors have at hand, so nobody waits long.
const LAG: u64 = 12;
/// Frames in which nothing was found before it is calm.
const QUIET: u64 = 20;
/// A find from this score on may be a face.
const SOMETHING: f32 = 0.3;

/// What a detector found in a frame that it was asked to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) seq: u64,
    pub(crate) something: bool,
}

/// Whether a look found anything that may be a face.
pub(crate) fn is_something(finding: &Finding) -> bool {
    finding.faces.iter().any(|face| face.score >= SOMETHING)
}

/// Listens to the detectors.
pub(crate) struct Calm {
    told: Receiver<Told>,
    /// Frames that were asked about and not answered.
    open: BTreeSet<u64>,
    /// Frames of late in which something was found.
    finds: BTreeSet<u64>,
    /// Where the scene began.
    scene: u64,
}

impl Calm {
    pub(crate) fn new(told: Receiver<Told>) -> Self {
        Self { told, open: BTreeSet::new(), finds: BTreeSet::new(), scene: 0 }
    }

    /// A detector was asked to look at this frame.
    pub(crate) fn asked(&mut self, seq: u64) {
        self.open.insert(seq);
    }

    /// Whether nothing was found for a while before frame `seq`. `fresh`: a scene may begin there.
    pub(crate) fn at(&mut self, seq: u64, fresh: bool) -> bool {
        if fresh {
            self.scene = seq;
        }
        let Some(until) = seq.checked_sub(LAG) else { return false };
        while self.open.first().is_some_and(|&first| first <= until) {
            // Detectors that are gone have failed: the job ends with their error.
            let Ok(told) = self.told.recv() else { return false };
            self.open.remove(&told.seq);
            if told.something {
                self.finds.insert(told.seq);
            }
        }
        let from = until.saturating_sub(QUIET);
        self.finds = self.finds.split_off(&from);
        seq - self.scene >= LAG + QUIET && self.finds.range(..=until).next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;

    /// Whether it is calm at each of 100 frames, when a face is in those `faces` says.
    fn calm(faces: impl Fn(u64) -> bool, fresh: &[u64], early: u64) -> Vec<u64> {
        let (tell, told) = unbounded();
        let mut calm = Calm::new(told);
        let mut answered = 0;
        let at = (0..100).filter(|&seq| {
            // Answers come as late as they may, or earlier.
            while answered + LAG <= seq + early && answered < seq {
                tell.send(Told { seq: answered, something: faces(answered) }).unwrap();
                answered += 1;
            }
            let now = calm.at(seq, seq == 0 || fresh.contains(&seq));
            calm.asked(seq);
            now
        });
        at.collect()
    }

    #[test]
    fn it_is_calm_once_nothing_was_found_for_a_while() {
        assert_eq!(calm(|_| false, &[], 0), (32..100).collect::<Vec<_>>());
        let face = |seq| seq == 40;
        let want: Vec<u64> = (32..52).chain(73..100).collect();
        assert_eq!(calm(face, &[], 0), want);
        assert_eq!(calm(face, &[], 9), want, "answers that come early change nothing");
    }

    #[test]
    fn a_new_scene_is_not_calm() {
        assert_eq!(calm(|_| false, &[50], 0), (32..50).chain(82..100).collect::<Vec<_>>());
    }

    #[test]
    fn detectors_that_are_gone_are_not_waited_for() {
        let (tell, told) = unbounded();
        let mut calm = Calm::new(told);
        calm.asked(0);
        drop(tell);
        assert!(!calm.at(50, false));
    }
}
