//! Decodes what a publisher sends and has it looked at: the threads `decode` and `detect-N`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crossbeam_channel::{Receiver, Sender, select};
use domain::{Color, Finding, Frame, Orientation, Pts, Size, TimeBase};
use media::{AacFrame, AccessUnit, Canvas, Decoded, SoundConfig, StreamDecoder};
use redact::Seen;
use vision::{Detector, Gallery};

use super::ladder::{Ladder, Level};
use super::timeline::Timeline;
use crate::JobError;
use crate::analyse::{Held, Known, Scenes, Work, compare};
use crate::enrol::Comparer;
use crate::schedule::{Look, Schedule};
use crate::steady::Steady;

/// What comes from the publisher, and when it came (ticks of 1/90000 s since the broadcast began).
pub(crate) struct Arrival {
    pub(crate) at: i64,
    pub(crate) media: Media,
}

pub(crate) enum Media {
    VideoConfig { avcc: Vec<u8>, frame_rate: Option<f64> },
    Video { ms: u64, composition_ms: i32, key: bool, data: Vec<u8> },
    SoundConfig(SoundConfig),
    Sound { ms: u64, data: Vec<u8> },
    Away,
}

/// What the broadcast is told.
pub(crate) enum Event {
    /// The first picture of the broadcast came; all will be of this size.
    Start {
        size: Size,
        color: Color,
        frame_rate: (u32, u32),
    },
    /// A picture; its `seq` rises by one. It is of one kind with all others.
    Frame {
        frame: Arc<Frame>,
        seen: Seen,
        difference: f32,
        doubt: usize,
    },
    /// What was found in a frame by somebody who knew the people of this generation; `None`: nobody could look.
    Found {
        seq: u64,
        generation: u64,
        finding: Option<Finding>,
    },
    SoundConfig(SoundConfig),
    Sound {
        at: i64,
        frame: AacFrame,
    },
    /// How much is done.
    Level(Level),
    /// Pictures do not decode.
    Damaged,
    Away,
    /// These people are shown from now on.
    Keep(u64, Vec<String>),
    CoverAll(bool),
    Stop,
}

/// Whom faces are compared with, just now.
pub(crate) struct People {
    /// Rises with each change.
    pub(crate) generation: u64,
    pub(crate) gallery: Gallery,
    pub(crate) recognizer: Option<Arc<Comparer>>,
}

/// Makes a detector, or a recogniser.
pub(crate) type Make<T> = dyn Fn() -> Result<Box<T>, JobError> + Send + Sync;

pub(crate) type SharedPeople = RwLock<Arc<People>>;

pub(crate) fn current(people: &SharedPeople) -> Arc<People> {
    Arc::clone(&people.read().unwrap_or_else(PoisonError::into_inner))
}

/// The thread `decode`.
pub(crate) struct Decode<'a> {
    pub(crate) now: &'a (dyn Fn() -> i64 + Sync),
    pub(crate) work: Sender<Work>,
    pub(crate) events: Sender<Event>,
    pub(crate) people: &'a SharedPeople,
    /// Milliseconds by which pictures are sent too late.
    pub(crate) late_ms: &'a AtomicU32,
    pub(crate) timeline: Timeline,
    pub(crate) steady: Steady,
    pub(crate) ladder: Ladder,
    /// Largest picture of a broadcast; larger ones are made smaller.
    pub(crate) largest: Size,
    /// Frames a second that are sent, at most.
    pub(crate) max_frame_rate: u32,
    /// `None` until the first picture came.
    pub(crate) canvas: Option<Canvas>,
    pub(crate) state: Stream,
}

/// What is known of the stream.
pub(crate) struct Stream {
    decoder: Option<StreamDecoder>,
    frame_rate: Option<f64>,
    schedule: Option<Schedule>,
    scenes: Scenes,
    waiting: Option<Waiting>,
    held: Option<Held>,
    seq: u64,
    /// Time of the last frame that was taken.
    last: Option<i64>,
    /// Least time between two frames: what is faster than what is sent is left out before it is looked at.
    pace: i64,
    /// Pictures are left out up to the next key frame.
    skipping: bool,
}

/// A frame of which it is not yet known how it is looked at.
struct Waiting {
    frame: Frame,
    intact: bool,
    fresh: bool,
    difference: f32,
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self {
            decoder: None,
            frame_rate: None,
            schedule: None,
            scenes: Scenes::default(),
            waiting: None,
            held: None,
            seq: 0,
            last: None,
            pace: 0,
            skipping: true,
        }
    }
}

/// Nothing of this kind is ever sent: a channel of it tells by being closed.
pub(crate) enum Never {}

/// The receiver is gone: the broadcast is over.
pub(crate) struct Over;

impl<T> From<crossbeam_channel::SendError<T>> for Over {
    fn from(_: crossbeam_channel::SendError<T>) -> Self {
        Self
    }
}

impl Decode<'_> {
    /// Runs until `arrivals` or `over` is closed.
    pub(crate) fn run(mut self, arrivals: &Receiver<Arrival>, over: &Receiver<Never>) {
        loop {
            let arrival = select! {
                recv(arrivals) -> arrival => arrival,
                recv(over) -> _ => return,
            };
            let Ok(Arrival { at, media }) = arrival else { return };
            if self.take(at, media).is_err() {
                return;
            }
        }
    }

    fn take(&mut self, at: i64, media: Media) -> Result<(), Over> {
        match media {
            Media::VideoConfig { avcc, frame_rate } => self.configure(&avcc, frame_rate)?,
            Media::Video { ms, composition_ms, key, data } => {
                let waited = ((self.now)() - at).max(0);
                let late = i64::from(self.late_ms.load(Ordering::Relaxed)) * 90;
                if let Some(level) = self.ladder.observe(at, waited.max(late)) {
                    if let Some(schedule) = &mut self.state.schedule {
                        schedule.set_speed(level.speed());
                    }
                    self.events.send(Event::Level(level))?;
                }
                let decoded_at = self.timeline.place(ms, at);
                let shown_at = decoded_at + i64::from(composition_ms) * 90;
                if self.is_skipped(key) {
                    return Ok(());
                }
                let unit = AccessUnit {
                    pts: Pts::new(shown_at, TimeBase::MPEG),
                    ahead: i64::from(composition_ms) * 90,
                    key,
                    data: &data,
                };
                self.decode(unit)?;
            }
            Media::SoundConfig(config) => self.events.send(Event::SoundConfig(config))?,
            Media::Sound { ms, data } => {
                let at = self.timeline.place(ms, at);
                self.events.send(Event::Sound { at, frame: AacFrame(data) })?;
            }
            Media::Away => {
                self.timeline.reset();
                self.restart();
                self.state.decoder = None;
                self.events.send(Event::Away)?;
            }
        }
        Ok(())
    }

    fn configure(&mut self, avcc: &[u8], frame_rate: Option<f64>) -> Result<(), Over> {
        let decoder = StreamDecoder::open(avcc, TimeBase::MPEG);
        self.state.frame_rate = frame_rate.or(self.state.frame_rate);
        if decoder.is_err() {
            self.events.send(Event::Damaged)?;
        }
        self.state.decoder = decoder.ok();
        self.restart();
        Ok(())
    }

    /// What comes has nothing to do with what was.
    fn restart(&mut self) {
        let Stream { scenes, waiting, held, last, skipping, schedule, .. } = &mut self.state;
        *scenes = Scenes::default();
        (*waiting, *held, *last, *schedule) = (None, None, None, None);
        *skipping = true;
    }

    /// Whether a picture is left out before it is decoded.
    fn is_skipped(&mut self, key: bool) -> bool {
        if self.ladder.must_skip() {
            if !self.state.skipping {
                self.restart();
            }
            self.state.skipping = true;
        } else if key {
            self.state.skipping = false;
        }
        self.state.skipping
    }

    fn decode(&mut self, unit: AccessUnit<'_>) -> Result<(), Over> {
        let Some(decoder) = &mut self.state.decoder else { return Ok(()) };
        match decoder.decode(unit) {
            Ok(frames) => frames.into_iter().try_for_each(|decoded| self.frame(decoded)),
            Err(_) => {
                // A kind of picture that is not covered; nothing of it is shown.
                self.state.decoder = None;
                Ok(self.events.send(Event::Damaged)?)
            }
        }
    }

    fn frame(&mut self, decoded: Decoded) -> Result<(), Over> {
        let Decoded { frame, intact, .. } = decoded;
        let depth = self.state.decoder.as_ref().map_or(0, StreamDecoder::reorder_depth);
        let at = frame.pts.ticks;
        // What is shown before or with the last one has come too late; what is faster than what is sent is not looked at.
        if self.state.last.is_some_and(|last| at <= last || at - last < self.state.pace) {
            return Ok(());
        }
        let Ok(mut frame) = self.fit(frame)? else {
            return Ok(self.events.send(Event::Damaged)?);
        };
        self.state.last = Some(at);
        frame.seq = self.state.seq;
        self.state.seq += 1;
        let Ok((difference, fresh)) = self.state.scenes.next(&frame) else {
            return Ok(self.events.send(Event::Damaged)?);
        };
        let goes_on = (!fresh).then_some(frame.pts);
        if let Some(waiting) = self.state.waiting.take() {
            let doubt = if intact { 0 } else { depth };
            self.judge(waiting, goes_on, doubt)?;
        }
        self.state.waiting = Some(Waiting { frame, intact, fresh, difference });
        Ok(())
    }

    /// The picture on the canvas of the broadcast, which is made for the first one.
    fn fit(&mut self, frame: Frame) -> Result<Result<Frame, media::MediaError>, Over> {
        if self.canvas.is_none() {
            let said = self.state.decoder.as_ref().and_then(StreamDecoder::frame_rate);
            let said = said.map(|(num, den)| f64::from(num) / f64::from(den));
            let frame_rate = usual_rate(self.state.frame_rate.or(said), self.max_frame_rate);
            let canvas = Canvas::new(within(frame.size, self.largest), frame.color);
            let (size, color) = (canvas.size(), canvas.color());
            self.canvas = Some(canvas);
            // A quarter of a frame of slack: time stamps are rounded to milliseconds, and shake.
            self.state.pace = 67_500 * i64::from(frame_rate.1) / i64::from(frame_rate.0);
            self.events.send(Event::Start { size, color, frame_rate })?;
        }
        Ok(match &mut self.canvas {
            Some(canvas) => canvas.fit(frame),
            None => Ok(frame),
        })
    }

    /// Decides how a frame is looked at, now that it is known when the one after it is shown (`None`: that is of
    /// another scene), and sends it on its way.
    fn judge(&mut self, waiting: Waiting, next: Option<Pts>, doubt: usize) -> Result<(), Over> {
        let Waiting { frame, intact, fresh, difference } = waiting;
        let (seq, pts) = (frame.seq, frame.pts);
        let people = current(self.people);
        let speed = self.ladder.level().speed();
        let schedule = &mut self.state.schedule;
        let schedule = schedule.get_or_insert_with(|| Schedule::live(speed, frame.size));
        schedule.identify(!people.gallery.people().is_empty());
        let known = self.steady.at(seq, fresh);
        let look = schedule.look(seq, pts, next, fresh, known.as_deref());
        let frame = Arc::new(frame);
        let wanted = intact && doubt == 0 && !look.passes.is_empty();
        let seen = match (intact && doubt == 0, wanted) {
            (false, _) => Seen::Damaged,
            (true, true) => Seen::Detected,
            (true, false) => Seen::Skipped,
        };
        let event = Event::Frame { frame: Arc::clone(&frame), seen, difference, doubt };
        self.events.send(event)?;
        if wanted {
            self.steady.asked(seq);
            self.work.send(Work { frame, look, held: self.state.held.take() })?;
        } else {
            let may_wait = intact && look.hold;
            self.state.held = known.filter(|_| may_wait).map(|known| Held { frame, known });
        }
        Ok(())
    }
}

/// Frames a second that are sent: the usual rate nearest to what the publisher says, at most `most`.
fn usual_rate(said: Option<f64>, most: u32) -> (u32, u32) {
    const USUAL: [(u32, u32); 12] = [
        (10, 1),
        (15, 1),
        (20, 1),
        (24_000, 1001),
        (24, 1),
        (25, 1),
        (30_000, 1001),
        (30, 1),
        (48, 1),
        (50, 1),
        (60_000, 1001),
        (60, 1),
    ];
    let value = |(num, den): (u32, u32)| f64::from(num) / f64::from(den);
    let most = f64::from(most.clamp(10, 60));
    let mut rate = said.filter(|rate| (1.0..=1000.0).contains(rate)).unwrap_or(30.0);
    // Every second or third frame of faster streams.
    let said = rate;
    for nth in 2..=100 {
        if rate <= most + 0.5 {
            break;
        }
        rate = said / f64::from(nth);
    }
    let off = |usual: &(u32, u32)| (value(*usual) - rate).abs();
    let usual = USUAL.into_iter().filter(|usual| value(*usual) <= most);
    usual.min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or((30, 1))
}

/// `size`, or the largest of its proportions whose long side is no longer than that of `largest`, and the short
/// side likewise.
fn within(size: Size, largest: Size) -> Size {
    let (long, short) = (size.width.max(size.height).max(1), size.width.min(size.height).max(1));
    let (most, most_short) = (largest.width.max(largest.height), largest.width.min(largest.height));
    let scale = (f64::from(most) / f64::from(long)).min(f64::from(most_short) / f64::from(short));
    if scale >= 1.0 {
        return size;
    }
    let scaled = |side: u32| (f64::from(side) * scale).round() as u32;
    Size { width: scaled(size.width), height: scaled(size.height) }
}

/// One worker: looks at frames until there are no more. One that fails is replaced.
pub(crate) fn detect(
    make: &Make<dyn Detector>,
    people: &SharedPeople,
    work: &Receiver<Work>,
    events: &Sender<Event>,
) {
    let mut detector = make().ok();
    for work in work {
        let people = current(people);
        let generation = people.generation;
        // Whoever hears of a frame may take it for itself: nobody holds it here by then.
        let found = work.done(|frame, look| {
            if detector.is_none() {
                detector = make().ok();
            }
            let found = detector.as_mut().and_then(|detector| {
                // A panic must not look like a frame without faces.
                let found = catch_unwind(AssertUnwindSafe(|| {
                    look_at(detector.as_mut(), &people, frame, look)
                }));
                found.ok().and_then(Result::ok)
            });
            if found.is_none() {
                detector = None;
            }
            found.ok_or(())
        });
        for (seq, finding) in found {
            if events.send(Event::Found { seq, generation, finding: finding.ok() }).is_err() {
                return;
            }
        }
    }
}

fn look_at(
    detector: &mut dyn Detector,
    people: &People,
    frame: &Frame,
    look: &Look,
) -> Result<Finding, JobError> {
    let upright = Orientation::default();
    let mut finding = detector.find(frame, upright, &look.passes)?;
    if look.identify {
        let recognizer = people.recognizer.as_deref();
        let known = Known { gallery: &people.gallery, recognizer, ranked: 1 };
        finding.sightings = compare(known, upright, frame, &finding)?;
    }
    Ok(finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_a_usual_one_and_not_above_what_is_wanted() {
        let rates = |most: u32| {
            [29.97, 30.0, 59.94, 60.0, 24.0, 25.2, 120.0, 5.0, 48.0]
                .map(|said| usual_rate(Some(said), most))
        };
        let film = (24, 1);
        let want = [
            (30_000, 1001),
            (30, 1),
            (30_000, 1001),
            (30, 1),
            film,
            (25, 1),
            (30, 1),
            (10, 1),
            film,
        ];
        assert_eq!(rates(30), want);
        assert_eq!(usual_rate(Some(59.94), 60), (60_000, 1001));
        assert_eq!(usual_rate(None, 30), (30, 1));
        assert_eq!(usual_rate(Some(f64::NAN), 25), (15, 1));
    }

    #[test]
    fn large_pictures_are_made_smaller_whichever_way_the_phone_is_held() {
        let hd = Size { width: 1920, height: 1080 };
        let size = |width, height| within(Size { width, height }, hd);
        assert_eq!(size(1280, 720), Size { width: 1280, height: 720 });
        assert_eq!(size(3840, 2160), hd);
        assert_eq!(size(2160, 3840), Size { width: 1080, height: 1920 });
        assert_eq!(size(2000, 2000), Size { width: 1080, height: 1080 });
    }
}
