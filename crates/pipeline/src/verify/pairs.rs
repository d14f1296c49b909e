//! Reads both videos in step and pairs their frames by time; has every pair looked at.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use domain::{Frame, Orientation, Pts, Size};
use media::{Reader, Streams};
use vision::Detector;

use super::Times;
use super::judge::{Judge, Verdict};
use super::look::{self, Eyes, Pair, Recognise, Seen};
use super::plan::Hints;
use super::report::{Failure, FailureKind};
use super::streams::Instant;
use crate::analyse::next_frame;
use crate::threads::spawn;
use crate::{Input, JobError};

/// Pairs waiting for a worker, at most.
const WAITING: usize = 3;
/// Frames are the same, only moved, when their times differ by less than this share of the time
/// between two frames.
const NEAR: f64 = 0.45;
/// Assumed between two frames until two were seen, in seconds.
const USUAL: f64 = 0.04;
/// Every so many pairs one is looked at deeply.
const DEEP: u64 = 5;
/// Time between two looks of the recogniser at covered faces, and at faces that show, in seconds.
const RECOGNISE: (f64, f64) = (0.5, 0.12);

/// Both videos, read in step.
pub(super) struct Pairs {
    readers: [Reader; 2],
    /// The next frame of each.
    next: [Option<Frame>; 2],
    read: [u64; 2],
    copied: Times,
    hints: Option<Hints>,
    /// Frames that need no cover by the plan and were not copied.
    uncopied: u64,
    index: u64,
    interval: f64,
    last: Option<f64>,
    recognised: (Option<f64>, Option<f64>),
    missing: Run,
    added: Run,
    moved: Run,
    failures: Vec<Failure>,
}

/// What went by.
pub(super) struct Paired {
    /// Frames of original and output.
    pub frames: (u64, u64),
    /// Frames that need no cover by the plan and were not copied, if there is a plan.
    pub clear: Option<u64>,
    pub failures: Vec<Failure>,
}

/// Frames with the same fault: how many, and the first one's time.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    count: u64,
    first: f64,
    worst: f64,
}

impl Run {
    fn add(&mut self, time: f64, by: f64) {
        if self.count == 0 {
            self.first = time;
        }
        self.count += 1;
        if by.abs() > self.worst.abs() {
            self.worst = by;
        }
    }
}

impl Pairs {
    /// Opens both files.
    pub(super) fn open(
        original: &Input,
        output: &Input,
        copied: Times,
        hints: Option<Hints>,
    ) -> Result<Self, JobError> {
        // What was reduced to 8 bits is compared as such.
        let open =
            |input: &Input| Ok::<_, JobError>(Reader::open(input.open()?, Streams::Video, true)?);
        let mut pairs = Self {
            readers: [open(original)?, open(output)?],
            next: [None, None],
            read: [0; 2],
            copied,
            hints,
            uncopied: 0,
            index: 0,
            interval: USUAL,
            last: None,
            recognised: (None, None),
            missing: Run::default(),
            added: Run::default(),
            moved: Run::default(),
            failures: Vec::new(),
        };
        pairs.compare_pictures();
        for side in 0..2 {
            pairs.next[side] = pairs.read(side)?;
        }
        Ok(pairs)
    }

    /// How the original's pictures are turned.
    pub(super) fn orientation(&self) -> Orientation {
        self.readers[0].info().video.orientation
    }

    /// Pairs to come, where the original says so.
    pub(super) fn expected(&self) -> Option<u64> {
        self.readers[0].info().video.frames
    }

    fn compare_pictures(&mut self) {
        let [a, b] = &self.readers;
        let (a, b) = (&a.info().video, &b.info().video);
        let fail = |message| Failure { kind: FailureKind::Picture, at: None, message };
        if !fits(a.size, b.size) {
            let (a, b) = (a.size, b.size);
            self.failures.push(fail(format!(
                "the pictures are {}x{}, and {}x{} in the original",
                b.width, b.height, a.width, a.height
            )));
        }
        if a.orientation != b.orientation {
            self.failures.push(fail("the pictures are turned differently".to_owned()));
        }
    }

    fn read(&mut self, side: usize) -> Result<Option<Frame>, JobError> {
        let frame = next_frame(&mut self.readers[side])?.map(|decoded| decoded.frame);
        self.read[side] += u64::from(frame.is_some());
        Ok(frame)
    }

    /// The next two frames that belong together.
    fn next(&mut self) -> Result<Option<Pair>, JobError> {
        loop {
            let by = match &self.next {
                [None, None] => return Ok(None),
                [Some(a), None] => {
                    self.missing.add(a.pts.seconds(), 0.0);
                    self.next[0] = self.read(0)?;
                    continue;
                }
                [None, Some(b)] => {
                    self.added.add(b.pts.seconds(), 0.0);
                    self.next[1] = self.read(1)?;
                    continue;
                }
                [Some(a), Some(b)] => later(a.pts, b.pts),
            };
            if by.abs() < NEAR * self.interval
                && let [Some(a), Some(b)] = [self.next[0].take(), self.next[1].take()]
            {
                let pair = self.pair(a, b, by);
                self.next = [self.read(0)?, self.read(1)?];
                return Ok(Some(pair));
            }
            let side = usize::from(by < 0.0);
            if let Some(frame) = self.next[side].take() {
                let run = if side == 0 { &mut self.missing } else { &mut self.added };
                run.add(frame.pts.seconds(), 0.0);
            }
            self.next[side] = self.read(side)?;
        }
    }

    fn pair(&mut self, original: Frame, output: Frame, by: f64) -> Pair {
        let time = original.pts.seconds();
        if by != 0.0 {
            self.moved.add(time, by);
        }
        if let Some(last) = self.last.replace(time).filter(|last| time > *last) {
            self.interval = time - last;
        }
        let at = Instant::of(original.pts);
        let copied = self.copied.contains(&at);
        let clear = self.hints.as_ref().is_some_and(|hints| hints.clear.contains(&at));
        self.uncopied += u64::from(clear && !copied);
        let by_hand = self.hints.as_mut().and_then(|hints| hints.by_hand.remove(&at));
        let recognise = Recognise {
            covered: due(&mut self.recognised.0, time, RECOGNISE.0),
            shown: due(&mut self.recognised.1, time, RECOGNISE.1),
        };
        let index = self.index;
        self.index += 1;
        let deep = index.is_multiple_of(DEEP).then_some(index / DEEP);
        Pair {
            index,
            original,
            output,
            copied,
            recognise,
            deep,
            by_hand: by_hand.unwrap_or_default(),
        }
    }

    /// What went by, when there is no more.
    pub(super) fn finish(self) -> Paired {
        let mut failures = self.failures;
        let mut tell = |kind, run: Run, what: String| {
            if run.count > 0 {
                let at = format!("from {:.2} s on", run.first);
                let message = format!("{} frame{} {what}, {at}", run.count, plural(run.count));
                failures.push(Failure { kind, at: Some(run.first), message });
            }
        };
        tell(FailureKind::FrameMissing, self.missing, "of the original missing".to_owned());
        tell(FailureKind::FrameAdded, self.added, "not in the original".to_owned());
        let moved = format!("shown at another time (by up to {:.1} ms)", self.moved.worst * 1000.0);
        tell(FailureKind::FrameMoved, self.moved, moved);
        Paired {
            frames: (self.read[0], self.read[1]),
            clear: self.hints.map(|_| self.uncopied),
            failures,
        }
    }
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// H.264 needs even sides: the last column or row may have been repeated.
fn fits(original: Size, output: Size) -> bool {
    let grown = |a: u32, b: u32| b == a || b == a + a % 2;
    grown(original.width, output.width) && grown(original.height, output.height)
}

/// By how much the second time is later, in seconds; exactly 0 when both are the same.
fn later(a: Pts, b: Pts) -> f64 {
    if Instant::of(a) == Instant::of(b) { 0.0 } else { b.seconds_since(a) }
}

fn due(last: &mut Option<f64>, now: f64, every: f64) -> bool {
    let due = last.is_none_or(|last| !(0.0..every - 0.005).contains(&(now - last)));
    if due {
        *last = Some(now);
    }
    due
}

type Found = Result<Seen, JobError>;

/// Has all pairs looked at by one worker per detector, and judged in order.
///
/// # Errors
/// The first error of reader or worker; a panic is one too.
pub(super) fn look_at(
    pairs: &mut Pairs,
    detectors: Vec<Box<dyn Detector>>,
    eyes: &Eyes<'_>,
    judge: Judge,
    progress: &mut dyn FnMut(u64),
) -> Result<Verdict, JobError> {
    let (work_in, work_out) = bounded::<Pair>(WAITING);
    let (found_in, found_out) = bounded::<Found>(16);
    // Everything moves in, so that an early return hangs up on the workers before they are joined.
    thread::scope(move |scope| {
        for (n, detector) in detectors.into_iter().enumerate() {
            let (work, found) = (work_out.clone(), found_in.clone());
            spawn(scope, &format!("verify-{n}"), move || worker(detector, eyes, &work, &found))?;
        }
        drop((work_out, found_in));
        let collector = spawn(scope, "collect", move || collect(judge, &found_out))?;
        let fed = feed(pairs, &work_in, progress);
        drop(work_in);
        let verdict = collector.join().map_err(|_| JobError::Panicked("collect"))??;
        fed.map(|()| verdict)
    })
}

/// Ends early, without an error of its own, when the workers are gone: theirs is the one to report.
fn feed(
    pairs: &mut Pairs,
    work: &Sender<Pair>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), JobError> {
    while let Some(pair) = pairs.next()? {
        let done = pair.index + 1;
        if work.send(pair).is_err() {
            return Ok(());
        }
        progress(done);
    }
    Ok(())
}

fn worker(
    mut detector: Box<dyn Detector>,
    eyes: &Eyes<'_>,
    work: &Receiver<Pair>,
    found: &Sender<Found>,
) {
    for pair in work {
        // A panic must not look like a frame without faces.
        let looked = catch_unwind(AssertUnwindSafe(|| look::look(detector.as_mut(), eyes, &pair)));
        let seen = looked.unwrap_or(Err(JobError::Panicked("verify")));
        let failed = seen.is_err();
        if found.send(seen).is_err() || failed {
            return;
        }
    }
}

/// Judges what was seen in order; what arrives early waits.
fn collect(mut judge: Judge, found: &Receiver<Found>) -> Result<Verdict, JobError> {
    let mut early: BTreeMap<u64, Seen> = BTreeMap::new();
    let mut next = 0;
    for seen in found {
        let seen = seen?;
        early.insert(seen.index, seen);
        while let Some(seen) = early.remove(&next) {
            judge.take(seen);
            next += 1;
        }
    }
    Ok(judge.finish())
}
