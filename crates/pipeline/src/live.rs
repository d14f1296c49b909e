//! A live channel: what a publisher sends is covered as it comes, and cut into parts of a broadcast.
//!
//! ```text
//! in ─► decode ─► detect-N ─► broadcast (the caller's thread: plan, paint, encode, cut)
//!   └─ people, cover all ────►    │ on a clock of its own
//! ```
//!
//! `in` reads messages; at most 64 wait for `decode`. That decodes, fits, decides how a frame is looked at, and
//! waits when the detectors are more than 12 frames behind: then pictures wait in the pipe, and the ladder goes
//! down a step. The broadcast holds frames for a fixed time, so that a face found now is covered in the frames
//! just before. Nothing is shown of which that is not true.

mod broadcast;
mod eyes;
mod gauge;
mod ladder;
mod sound;
#[cfg(test)]
mod tests;
mod timeline;
mod window;
pub mod wire;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use domain::{Color, Matrix, Range, Size};
use media::{Canvas, SoundConfig};
use redact::Policy;
use serde::{Deserialize, Serialize};
use vision::{Detector, Engine, Gallery, Recognizer, models};

use broadcast::Broadcast;
pub use broadcast::LiveEncoding;
use eyes::{Arrival, Decode, Event, Make, Media, Never, People, SharedPeople, Stream, detect};
pub use gauge::{Gauge, gauge};
use ladder::{Ladder, Level};
pub use timeline::Timeline;
use wire::{Format, FromChild, ToChild};

use crate::enrol::{Comparer, enrol};
use crate::steady::{Sight, Steady, Told};
use crate::threads::spawn;
use crate::{JobError, KeepSpec};

/// Messages that wait to be decoded, at most.
const ARRIVALS: usize = 64;
/// Frames that wait for a detector, at most.
const WORK: usize = 3;
/// Events that wait for the broadcast, at most.
const EVENTS: usize = 64;
/// How long after it came a frame is shown: the look-ahead, and what looking, painting and waiting takes.
const DELAY_MS: i64 = 850;
/// Longest sleep of the broadcast.
const NAP: Duration = Duration::from_millis(50);
/// Detectors, at most.
const MAX_WORKERS: usize = 8;

/// What a child of a live channel is told first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveSpec {
    /// How pictures are compressed.
    pub encoding: LiveEncoding,
    /// Largest pictures; larger ones are made smaller.
    pub largest: Size,
    /// Frames a second that are sent, at most; 10..=60.
    pub max_frame_rate: u32,
    /// Detectors that work side by side; 0: one for two cores.
    pub workers: usize,
    /// How long ago the broadcast began, in ticks of 1/90000 s.
    pub elapsed: i64,
    /// What another child left; `None`: the broadcast begins.
    pub resume: Option<Resume>,
    /// Everything is covered.
    pub cover_all: bool,
}

/// Where another child left off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// With `origin` set to the end of what was sent.
    pub format: Format,
    /// Whether a publisher had come by then.
    pub published: bool,
}

/// Makes what looks at pictures.
#[derive(Clone)]
pub struct Models {
    /// A detector for one thread.
    pub detector: Arc<Make<dyn Detector>>,
    /// A recogniser, when somebody is to be shown.
    pub recognizer: Arc<Make<dyn Recognizer>>,
}

/// Covers a broadcast until [`ToChild::Stop`] comes, or `input` ends.
///
/// # Errors
/// What a broadcast cannot go on with: models that are missing, an encoder that fails, a broken pipe. Nothing
/// uncovered was sent.
pub fn live(
    spec: &LiveSpec,
    input: Box<dyn Read + Send>,
    output: &mut dyn Write,
) -> Result<(), JobError> {
    let engine = Engine::load(&models::locate()?)?;
    let engines = engine.clone();
    let detector = move || Ok(Box::new(engine.detector()?) as Box<dyn Detector>);
    let recognizer = move || Ok(Box::new(engines.recognizer()?) as Box<dyn Recognizer>);
    let models = Models { detector: Arc::new(detector), recognizer: Arc::new(recognizer) };
    live_with(spec, &models, input, output)
}

/// The same with other detectors.
///
/// # Errors
/// As [`live`].
pub fn live_with(
    spec: &LiveSpec,
    models: &Models,
    input: Box<dyn Read + Send>,
    output: &mut dyn Write,
) -> Result<(), JobError> {
    let began = Instant::now();
    let elapsed = spec.elapsed;
    let now = move || elapsed + (began.elapsed().as_micros() * 9 / 100) as i64;
    let nobody = People { generation: 0, gallery: Gallery::default(), recognizer: None };
    let people = Arc::new(SharedPeople::new(Arc::new(nobody)));
    let late_ms = AtomicU32::new(0);
    let (arrivals_in, arrivals) = bounded::<Arrival>(ARRIVALS);
    let (work_in, work) = bounded(WORK);
    let (events_in, events) = bounded::<Event>(EVENTS);
    let (told_in, told) = bounded::<Told>(EVENTS);
    // The other half decodes, paints and encodes.
    let half = thread::available_parallelism().map_or(1, usize::from).div_ceil(2);
    let workers = if spec.workers == 0 { half } else { spec.workers }.clamp(1, MAX_WORKERS);
    let (known, now, late_ms) = (&*people, &now, &late_ms);
    let decode = Decode {
        now,
        work: work_in,
        events: events_in.clone(),
        people: known,
        late_ms,
        timeline: Timeline::new(DELAY_MS * 90),
        steady: Steady::new(told),
        ladder: Ladder::new(Level::Every),
        largest: spec.largest,
        max_frame_rate: spec.max_frame_rate,
        canvas: spec.resume.as_ref().filter(|resume| resume.published).map(canvas),
        state: Stream::new(),
    };
    let mut broadcast = open(spec)?;
    broadcast.hear(Event::CoverAll(spec.cover_all), now())?;
    say(output, vec![(FromChild::Ready, Vec::new())])?;
    let ears = Ears {
        arrivals: arrivals_in,
        events: events_in.clone(),
        people: Arc::clone(&people),
        recognizer: None,
        make: Arc::clone(&models.recognizer),
    };
    let stamp = *now;
    // Not waited for: it sits in a read that only the other end of the pipe can end.
    let ears = thread::Builder::new().name("in".to_owned()).spawn(move || ears.hear(input, &stamp));
    ears.map_err(|_| JobError::Panicked("new"))?;
    thread::scope(move |scope| {
        // Closed when this thread is done, whatever the one that reads is waiting for.
        let (_over, is_over) = bounded::<Never>(0);
        spawn(scope, "decode", move || decode.run(&arrivals, &is_over))?;
        for n in 0..workers {
            let (work, events) = (work.clone(), events_in.clone());
            let make = &*models.detector;
            spawn(scope, &format!("detect-{n}"), move || detect(make, known, &work, &events))?;
        }
        drop((work, events_in));
        run(&mut broadcast, &events, &told_in, output, now, late_ms)
    })
}

fn canvas(resume: &Resume) -> Canvas {
    Canvas::new(resume.format.size, resume.format.color)
}

/// How a broadcast looks until a publisher comes.
fn open(spec: &LiveSpec) -> Result<Broadcast, JobError> {
    let (format, published) = match &spec.resume {
        Some(resume) => (resume.format.clone(), resume.published),
        None => {
            let format = Format {
                size: Size { width: 1280, height: 720 },
                color: Color { range: Range::Limited, matrix: Matrix::Bt709 },
                frame_rate: (30, 1),
                sound: SoundConfig::USUAL.to_vec(),
                origin: spec.elapsed,
            };
            (format, false)
        }
    };
    Broadcast::new(spec.encoding.clone(), Policy::default(), format, published)
}

/// The broadcast's own thread.
fn run(
    broadcast: &mut Broadcast,
    events: &Receiver<Event>,
    told: &Sender<Told>,
    output: &mut dyn Write,
    now: &dyn Fn() -> i64,
    late_ms: &AtomicU32,
) -> Result<(), JobError> {
    loop {
        let ticks = (broadcast.due() - now()).max(0);
        let wait = Duration::from_micros(ticks as u64 * 100 / 9).min(NAP);
        match events.recv_timeout(wait) {
            Ok(event) => {
                if let Event::Found { seq, finding, .. } = &event {
                    let sight = finding.as_ref().map_or(Sight::Doubtful, Sight::of);
                    // Nobody listens when the publisher is gone.
                    let _ = told.try_send(Told { seq: *seq, sight });
                }
                if !broadcast.hear(event, now())? {
                    return say(output, broadcast.said());
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        broadcast.tick(now())?;
        late_ms.store(broadcast.late_ms(), Ordering::Relaxed);
        say(output, broadcast.said())?;
    }
}

fn say(output: &mut dyn Write, messages: Vec<(FromChild, Vec<u8>)>) -> Result<(), JobError> {
    for (message, bytes) in messages {
        wire::write(output, &message, &bytes).map_err(JobError::Pipe)?;
    }
    Ok(())
}

/// The thread `in`: what the parent says, until it stops.
struct Ears {
    arrivals: Sender<Arrival>,
    events: Sender<Event>,
    people: Arc<SharedPeople>,
    /// Loaded when somebody is shown for the first time; stays.
    recognizer: Option<Arc<Comparer>>,
    make: Arc<Make<dyn Recognizer>>,
}

impl Ears {
    fn hear(mut self, mut input: Box<dyn Read + Send>, now: &dyn Fn() -> i64) {
        // What cannot be read ends the broadcast: the parent is gone, or does not know what it says.
        while let Ok(Some((message, bytes))) = wire::read::<ToChild>(&mut *input) {
            if !self.take(message, bytes, now()) {
                break;
            }
        }
        // Whoever does not listen is over already.
        let _ = self.events.send(Event::Stop);
    }

    /// Passes a message on. `false`: it was the last.
    fn take(&mut self, message: ToChild, bytes: Vec<u8>, at: i64) -> bool {
        let media = match message {
            ToChild::Keep { keep } => {
                let known = self.introduce(&keep);
                return self.events.send(known).is_ok();
            }
            ToChild::CoverAll { on } => return self.events.send(Event::CoverAll(on)).is_ok(),
            ToChild::Stop => return false,
            ToChild::VideoConfig { frame_rate } => Media::VideoConfig { avcc: bytes, frame_rate },
            ToChild::Video { ms, composition_ms, key } => {
                Media::Video { ms, composition_ms, key, data: bytes }
            }
            ToChild::SoundConfig => match SoundConfig::parse(&bytes) {
                Some(config) => Media::SoundConfig(config),
                None => return true,
            },
            ToChild::Sound { ms } => Media::Sound { ms, data: bytes },
            ToChild::Away => Media::Away,
        };
        self.arrivals.send(Arrival { at, media }).is_ok()
    }

    /// Has these people shown from now on. If they cannot be recognised, nobody is.
    fn introduce(&mut self, keep: &[KeepSpec]) -> Event {
        let known = (!keep.is_empty()).then(|| self.enrol(keep).ok()).flatten();
        let (gallery, recognizer) = match known {
            Some((gallery, recognizer)) => (gallery, Some(recognizer)),
            None => (Gallery::default(), None),
        };
        let names = gallery.people().iter().map(|person| person.name.clone()).collect();
        let mut people = self.people.write().unwrap_or_else(PoisonError::into_inner);
        let generation = people.generation + 1;
        *people = Arc::new(People { generation, gallery, recognizer });
        Event::Keep(generation, names)
    }

    fn enrol(&mut self, keep: &[KeepSpec]) -> Result<(Gallery, Arc<Comparer>), JobError> {
        let recognizer = match &self.recognizer {
            Some(recognizer) => Arc::clone(recognizer),
            None => Arc::clone(self.recognizer.insert(Arc::new(Mutex::new((self.make)()?)))),
        };
        let mut locked = recognizer.lock().unwrap_or_else(PoisonError::into_inner);
        // Of templates, which need no detector: a photo in its place is an error.
        let gallery = enrol(&mut vision::scripted::failing_detector(), locked.as_mut(), keep)?;
        drop(locked);
        Ok((gallery, recognizer))
    }
}
