//! The first pass: every frame is looked at, faces are followed, and a plan comes out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use domain::{Finding, Frame, Gop, Orientation, PersonIx, Pts, Rect, Sighting, Size, Track};
use media::{Decoded, Item, NotCopied, ReadStats, Reader};
use redact::{Analysis, Policy, RedactionPlan, Seen, ShownSpan};
use serde::{Deserialize, Serialize};
use vision::gallery::MIN_FACE;
use vision::thumbnail::{self, Thumbnail};
use vision::track::{Followed, Observation};
use vision::{Detector, Gallery, Recognizer, cuts, identify, track};

use crate::kept::Kept;
use crate::schedule::{self, Look, Schedule};
use crate::steady::{Sight, Steady, Told};
use crate::threads::spawn;
use crate::{JobError, Speed};

/// Frames waiting for a detector, at most.
const WAITING: usize = 3;
/// Faces compared with the enrolled people in one frame, at most; the others stay covered.
const MAX_COMPARED: usize = 16;
/// Faces whose detection is weaker are not compared.
const COMPARE_SCORE: f32 = 0.5;

/// What is to be found out and covered.
pub struct Analyst<'a> {
    /// How thoroughly.
    pub speed: Speed,
    /// The people to keep.
    pub gallery: &'a Gallery,
    /// Compares faces with them; `None` when nobody is kept. One for all workers: its weights take
    /// 85 MB, and it is needed a few times a second only.
    pub recognizer: Option<Mutex<Box<dyn Recognizer>>>,
    /// How many people are named for each face that is compared, most similar first; at least 1. Who is
    /// shown depends on the first only.
    pub ranked: usize,
    /// When a kept person is believed.
    pub rules: &'a identify::Rules,
    /// How covers look.
    pub policy: &'a Policy,
    /// Bytes of decoded frames that may be kept for the second pass. A video that is larger is decoded
    /// again.
    pub memory: usize,
}

/// A finished analysis.
pub struct Analysed {
    /// What to cover.
    pub plan: RedactionPlan,
    /// Faces that were followed, and those taken for no face.
    pub followed: Followed,
    /// Where kept people are shown.
    pub shown: Vec<ShownSpan>,
    /// Time of every frame.
    pub times: Vec<Pts>,
    /// First frames of scenes.
    pub cuts: Vec<usize>,
    /// What the reader went through.
    pub stats: ReadStats,
    /// Why no packets can be copied, if so.
    pub not_copied: Option<NotCopied>,
    /// All frames, if they were few and small enough.
    pub kept: Option<Vec<Decoded>>,
}

/// What was seen in a video, or in a part of one; nobody has followed anything yet.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Looked {
    size: Size,
    seats: Vec<Seat>,
    /// By frame.
    findings: Vec<Option<Finding>>,
    pub(crate) stats: ReadStats,
    /// Thumbnails of the first and the last frame, by which parts are put together.
    edges: Option<(Vec<u8>, Vec<u8>)>,
}

impl Looked {
    /// Puts what was seen in the next part of the same video behind this one.
    pub(crate) fn append(&mut self, mut next: Self) {
        if let (Some(seat), Some((_, last)), Some((first, _))) =
            (next.seats.first_mut(), &self.edges, &next.edges)
        {
            seat.difference = thumbnail::difference(last, first);
        }
        self.findings.resize_with(self.seats.len(), || None);
        self.findings.append(&mut next.findings);
        self.seats.append(&mut next.seats);
        self.stats.add(next.stats);
        self.edges = match (self.edges.take(), next.edges) {
            (Some((first, _)), Some((_, last))) => Some((first, last)),
            (here, next) => here.or(next),
        };
    }

    /// Number of frames.
    pub(crate) fn frames(&self) -> u64 {
        self.seats.len() as u64
    }

    /// Has the people under other numbers; whom `number` does not know was not recognised.
    pub(crate) fn renumber(&mut self, number: impl Fn(PersonIx) -> Option<PersonIx>) {
        self.findings.iter_mut().flatten().for_each(|finding| renumber(finding, &number));
    }
}

/// Has the people in `finding` under other numbers; whom `number` does not know was not recognised.
pub(crate) fn renumber(finding: &mut Finding, number: impl Fn(PersonIx) -> Option<PersonIx>) {
    finding.sightings.retain_mut(|sighting| match number(sighting.person) {
        Some(person) => {
            sighting.person = person;
            true
        }
        None => false,
    });
}

/// What is known of a frame when it leaves the decoder.
#[derive(Debug, Serialize, Deserialize)]
struct Seat {
    pts: Pts,
    seen: Seen,
    difference: f32,
}

/// A frame on its way to a detector.
pub(crate) struct Work {
    pub(crate) frame: Arc<Frame>,
    pub(crate) look: Look,
    /// The frame before it.
    pub(crate) held: Option<Held>,
}

/// A frame that is looked at only if the one after it shows anything else than these faces.
pub(crate) struct Held {
    pub(crate) frame: Arc<Frame>,
    pub(crate) known: Vec<Rect>,
}

impl Work {
    /// What `look` finds in the frame, and in the one held before it if that is to be looked at too, in their order, by
    /// `seq`. When that is known, nobody holds the frames here any more.
    pub(crate) fn done<E>(
        self,
        mut look: impl FnMut(&Frame, &Look) -> Result<Finding, E>,
    ) -> impl Iterator<Item = (u64, Result<Finding, E>)> {
        let Self { frame, look: wanted, held } = self;
        let finding = look(&frame, &wanted);
        let sight = finding.as_ref().ok().map(Sight::of);
        let held = held.zip(sight).filter(|(held, sight)| !sight.is_just(&held.known));
        let before = held.map(|(held, _)| {
            let Held { frame, .. } = held;
            (frame.seq, look(&frame, &schedule::look_back()))
        });
        before.into_iter().chain([(frame.seq, finding)])
    }
}

/// Reads all frames of `reader`, has them looked at by one worker per detector, and makes
/// the plan. `progress` is called with the number of frames read so far.
///
/// # Errors
/// The first error of reader or detector; a panic of a worker is one too. There is no plan then.
pub fn analyse(
    mut reader: Reader,
    detectors: Vec<Box<dyn Detector>>,
    analyst: &Analyst<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Analysed, JobError> {
    let mut kept = Kept::new(analyst.memory);
    let looked = look(&mut reader, detectors, analyst, &mut kept, progress)?;
    let analysed = conclude(looked, reader.gops(), analyst);
    Ok(Analysed { kept: kept.all(), ..analysed })
}

/// The same without following what was seen.
pub(crate) fn look(
    reader: &mut Reader,
    detectors: Vec<Box<dyn Detector>>,
    analyst: &Analyst<'_>,
    kept: &mut Kept,
    progress: &mut dyn FnMut(u64),
) -> Result<Looked, JobError> {
    let video = &reader.info().video;
    let (size, orientation) = (video.size, video.orientation);
    let (work_in, work_out) = bounded::<Work>(WAITING);
    // The collector keeps up with anything: findings are small.
    let (found_in, found_out) = bounded::<Result<(u64, Finding), JobError>>(64);
    let (told_in, told_out) = bounded::<Told>(64);
    let mut schedule = Schedule::new(analyst.speed, size, !analyst.gallery.people().is_empty());
    // Everything moves in, so that an early return hangs up on the workers before they are joined.
    thread::scope(move |scope| {
        for (n, detector) in detectors.into_iter().enumerate() {
            let (work, found) = (work_out.clone(), found_in.clone());
            spawn(scope, &format!("detect-{n}"), move || {
                detect(detector, analyst, orientation, &work, &found);
            })?;
        }
        drop((work_out, found_in));
        let collector = spawn(scope, "collect", move || collect(&found_out, &told_in))?;
        let (mut steady, mut scenes) = (Steady::new(told_out), Scenes::default());
        let seats = feed(reader, &mut schedule, &mut steady, &mut scenes, kept, &work_in, progress);
        drop((work_in, steady));
        let findings = collector.join().map_err(|_| JobError::Panicked("collect"))??;
        let seats = seats?;
        Ok(Looked { size, seats, findings, stats: reader.stats(), edges: scenes.edges() })
    })
}

/// Decodes, decides what is looked at, and hands it to the workers. Ends early, without an error of
/// its own, when the workers are gone: theirs is the one to report.
fn feed(
    reader: &mut Reader,
    schedule: &mut Schedule,
    steady: &mut Steady,
    scenes: &mut Scenes,
    kept: &mut Kept,
    work: &Sender<Work>,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Seat>, JobError> {
    let mut seats: Vec<Seat> = Vec::new();
    let mut waiting: Option<(Decoded, bool)> = None;
    let mut held: Option<Held> = None;
    loop {
        let mut next = next_frame(reader)?;
        if let Some(decoded) = &mut next {
            decoded.frame.seq = seats.len() as u64; // Of a part: its place in that.
        }
        let scene = next.as_ref().map(|d| scenes.next(&d.frame)).transpose()?;
        let goes_on = scene.is_some_and(|(_, fresh)| !fresh);
        // A frame can be judged only when the time of the one after it is known.
        if let Some((decoded, fresh)) = waiting.take() {
            let at = next.as_ref().filter(|_| goes_on).map(|d| d.frame.pts);
            let intact = decoded.intact;
            let frame = kept.lend(decoded);
            let known = steady.at(frame.seq, fresh);
            let look = schedule.look(frame.seq, frame.pts, at, fresh, known.as_deref());
            // What a detector would say of a damaged frame means nothing.
            let wanted = intact && !look.passes.is_empty();
            if let (Some(seat), true) = (seats.last_mut(), wanted) {
                seat.seen = Seen::Detected; // It cannot be Damaged here: the one after it is not in.
                steady.asked(frame.seq);
                if work.send(Work { frame, look, held: held.take() }).is_err() {
                    return Ok(seats);
                }
            } else {
                let may_wait = intact && look.hold;
                held = known.filter(|_| may_wait).map(|known| Held { frame, known });
            }
        }
        let (Some(decoded), Some((difference, fresh))) = (next, scene) else { return Ok(seats) };
        let seen = if decoded.intact { Seen::Skipped } else { Seen::Damaged };
        if seen == Seen::Damaged {
            // Frames shown before it may have been predicted from it.
            let depth = reader.reorder_depth().min(seats.len());
            let before = seats.len() - depth;
            seats[before..].iter_mut().for_each(|seat| seat.seen = Seen::Damaged);
        }
        seats.push(Seat { pts: decoded.frame.pts, seen, difference });
        progress(seats.len() as u64);
        waiting = Some((decoded, fresh));
    }
}

/// The next frame; sound and copied groups are passed over.
pub(crate) fn next_frame(reader: &mut Reader) -> Result<Option<Decoded>, JobError> {
    loop {
        match reader.next()? {
            Some(Item::Frame(decoded)) => return Ok(Some(decoded)),
            Some(Item::Audio(_) | Item::Copied(_) | Item::Skipped(_)) => {}
            None => return Ok(None),
        }
    }
}

/// Notices new scenes while the frames go by, by their thumbnails.
#[derive(Default)]
pub(crate) struct Scenes {
    first: Option<Thumbnail>,
    last: Option<Thumbnail>,
    recent: Vec<f32>,
}

impl Scenes {
    /// How much the frame differs from the one before, and whether a scene may begin with it.
    pub(crate) fn next(&mut self, frame: &Frame) -> Result<(f32, bool), JobError> {
        let now = thumbnail::thumbnail(frame)?;
        let difference = self.last.as_ref().map(|last| thumbnail::difference(last, &now));
        self.first.get_or_insert(now);
        self.last = Some(now);
        let Some(difference) = difference else { return Ok((0.0, true)) };
        let fresh = cuts::maybe(&self.recent, difference);
        if self.recent.len() == 4 {
            self.recent.remove(0);
        }
        self.recent.push(difference);
        Ok((difference, fresh))
    }

    /// Thumbnails of the first and the last frame.
    fn edges(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        Some((self.first?.to_vec(), self.last?.to_vec()))
    }
}

/// One worker: looks at frames until there are no more. Its first error ends it.
fn detect(
    mut detector: Box<dyn Detector>,
    analyst: &Analyst<'_>,
    orientation: Orientation,
    work: &Receiver<Work>,
    found: &Sender<Result<(u64, Finding), JobError>>,
) {
    let mut look = |frame: &Frame, look: &Look| {
        // A panic in a detector must not look like a frame without faces.
        let looked = catch_unwind(AssertUnwindSafe(|| {
            look_at(detector.as_mut(), analyst, orientation, frame, look)
        }));
        looked.unwrap_or(Err(JobError::Panicked("detect")))
    };
    for work in work {
        for (seq, finding) in work.done(&mut look) {
            let failed = finding.is_err();
            if found.send(finding.map(|f| (seq, f))).is_err() || failed {
                return;
            }
        }
    }
}

fn look_at(
    detector: &mut dyn Detector,
    analyst: &Analyst<'_>,
    orientation: Orientation,
    frame: &Frame,
    look: &Look,
) -> Result<Finding, JobError> {
    let mut finding = detector.find(frame, orientation, &look.passes)?;
    if look.identify {
        finding.sightings = compare(analyst.known(), orientation, frame, &finding)?;
    }
    Ok(finding)
}

impl Analyst<'_> {
    pub(crate) fn known(&self) -> Known<'_> {
        let recognizer = self.recognizer.as_ref();
        Known { gallery: self.gallery, recognizer, ranked: self.ranked }
    }
}

/// Whom faces are compared with.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    /// The people.
    pub(crate) gallery: &'a Gallery,
    /// `None` when there is nobody.
    pub(crate) recognizer: Option<&'a Mutex<Box<dyn Recognizer>>>,
    /// How many are named for each face, most similar first; at least 1.
    pub(crate) ranked: usize,
}

/// Compares the largest faces with the gallery. A stranger's embedding lives only in here.
pub(crate) fn compare(
    known: Known<'_>,
    orientation: Orientation,
    frame: &Frame,
    finding: &Finding,
) -> Result<Vec<Sighting>, JobError> {
    let width = |i: usize| {
        let rect = finding.faces[i].rect;
        // Rotated pictures swap the sides; a face is taller than wide.
        rect.width().min(rect.height())
    };
    let mut faces: Vec<usize> = (0..finding.faces.len())
        .filter(|&i| finding.faces[i].score >= COMPARE_SCORE && width(i) >= MIN_FACE)
        .collect();
    faces.sort_by(|&a, &b| width(b).total_cmp(&width(a)));
    faces.truncate(MAX_COMPARED);
    let mut sightings = Vec::new();
    let Some(recognizer) = known.recognizer else { return Ok(sightings) };
    let mut recognizer = recognizer.lock().map_err(|_| JobError::Panicked("detect"))?;
    for face in faces {
        let embedding = match recognizer.embed(frame, orientation, &finding.faces[face]) {
            Ok(embedding) => embedding,
            // A face that cannot be aligned is not recognised, so it stays covered.
            Err(vision::Error::BadLandmarks) => continue,
            Err(e) => return Err(e.into()),
        };
        let ranked = known.gallery.ranked(&embedding, known.ranked);
        sightings.extend(ranked.into_iter().map(|(person, similarity)| Sighting {
            face,
            person,
            similarity,
        }));
    }
    Ok(sightings)
}

/// Gathers the findings by frame until the workers are done.
fn collect(
    found: &Receiver<Result<(u64, Finding), JobError>>,
    told: &Sender<Told>,
) -> Result<Vec<Option<Finding>>, JobError> {
    let mut findings: Vec<Option<Finding>> = Vec::new();
    for result in found {
        let (seq, finding) = result?;
        // The decoder may be at its end and not listen any more.
        let _ = told.send(Told { seq, sight: Sight::of(&finding) });
        let at = seq as usize;
        if findings.len() <= at {
            findings.resize_with(at + 1, || None);
        }
        findings[at] = Some(finding);
    }
    Ok(findings)
}

/// Tracks, identities and the plan, from what was seen.
pub(crate) fn conclude(
    looked: Looked,
    gops: Result<Vec<Gop>, NotCopied>,
    analyst: &Analyst<'_>,
) -> Analysed {
    let Looked { size, seats, mut findings, stats, .. } = looked;
    findings.resize_with(seats.len(), || None);
    let differences: Vec<f32> = seats.iter().map(|s| s.difference).collect();
    let cut = cuts::find(&differences);
    let mut analysis = Analysis::new(size);
    let mut frames = Vec::with_capacity(seats.len());
    for ((seat, finding), &cut) in seats.iter().zip(findings).zip(&cut) {
        // A frame counts as looked at only when its finding arrived.
        let (seen, finding) = match (seat.seen, finding) {
            (Seen::Detected, None) => (Seen::Skipped, None),
            (Seen::Damaged, _) => (Seen::Damaged, None),
            other => other,
        };
        analysis.frame(seat.pts, seen, cut);
        frames.push(Observation { pts: seat.pts, cut, finding });
    }
    let not_copied = gops.as_ref().err().copied();
    analysis.gops(gops.unwrap_or_default());
    let settings = match analyst.speed {
        // What the second detector agreed with once is covered, and what was lost is for as long as any.
        Speed::Thorough => track::Settings {
            least_agreement: 0.0,
            strict_start: false,
            needs_sign: false,
            ..track::Settings::default()
        },
        Speed::Balanced => track::Settings::default(),
        // It is asked half as often.
        Speed::Fast => track::Settings { vain_looks: 2, ..track::Settings::default() },
    };
    let followed = track::follow(&frames, size, &settings);
    let shown = match analyst.ranked {
        1 => identify::shown(&followed.tracks, &frames, analyst.rules),
        _ => identify::shown(&nearest(&followed.tracks), &frames, analyst.rules),
    };
    let shown = spans(shown);
    let plan = analysis.finish(&followed.tracks, &shown, analyst.policy);
    Analysed {
        plan,
        followed,
        shown,
        times: seats.iter().map(|s| s.pts).collect(),
        cuts: (0..cut.len()).filter(|&i| cut[i]).collect(),
        stats,
        not_copied,
        kept: None,
    }
}

/// What was found out of identities, as a plan takes it.
pub(crate) fn spans(shown: Vec<identify::Shown>) -> Vec<ShownSpan> {
    let span =
        |identify::Shown { track, person, first, last }| ShownSpan { track, person, first, last };
    shown.into_iter().map(span).collect()
}

/// The tracks with one sighting a frame, the most similar: one vote.
fn nearest(tracks: &[Track]) -> Vec<Track> {
    let mut tracks = tracks.to_vec();
    for track in &mut tracks {
        track.sightings.dedup_by_key(|sighting| sighting.0);
    }
    tracks
}
