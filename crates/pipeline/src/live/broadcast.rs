//! What viewers get: pictures at a steady rate on a clock of its own, whatever the publisher does.
//!
//! Picture number `n` is due at `origin + n / rate`. If a frame of the publisher's is there, was seen with its
//! look-ahead, and belongs there, it is painted by its plan and sent; else the last one is sent again, and after
//! a while a slate. So the broadcast outlives its publisher, has no holes, and shows nothing that was not planned.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use domain::{Color, Frame, PersonIx, PixelFormat, Pts, Size, TimeBase};
use media::{Encoded, Fragments, LiveSettings, SoundConfig, VideoEncoder, silence};
use redact::{Cover, FramePlan, Painter, Policy, Reason, Redacted, Seen, Slate, slate};

use super::eyes::Event;
use super::ladder::Level;
use super::sound::Sound;
use super::window::Window;
use super::wire::{Format, FromChild, Header, Pace, Part, Protection, Why};
use crate::JobError;

/// Ticks a second.
const SECOND: i64 = 90_000;
/// How long a picture is shown again when no new one comes, until there is a slate instead.
const FREEZE: i64 = 2 * SECOND;
/// A frame that is due since this long and was not looked at is overdue.
const OVERDUE: i64 = SECOND / 2;
/// A frame that could not be planned this long after it was due never will be.
const GIVEN_UP: i64 = SECOND;
/// Frames of the publisher's that wait, at most, and their bytes.
const MAX_WAITING: usize = 128;
const MAX_WAITING_BYTES: usize = 192 << 20;
/// How long a trouble is told of after it was last seen.
const TROUBLE: i64 = SECOND;
/// Seconds of a segment, and parts of a second, about. The last part of a segment may be shorter.
const SEGMENT_SECONDS: f64 = 2.0;
const PARTS_A_SECOND: f64 = 3.0;
/// Pictures that are made up for at most when the broadcast was held up; more are left out.
const CATCH_UP: i64 = 20 * SECOND;

/// How pictures are compressed.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LiveEncoding {
    /// x264 preset.
    pub preset: String,
    /// Constant rate factor.
    pub crf: f32,
    /// Most bits a second.
    pub max_bit_rate: u32,
}

impl Default for LiveEncoding {
    fn default() -> Self {
        Self { preset: "superfast".to_owned(), crf: 24.0, max_bit_rate: 4_000_000 }
    }
}

/// A broadcast. All times are ticks of 1/90000 s since it began.
pub(crate) struct Broadcast {
    encoding: LiveEncoding,
    policy: Policy,
    /// What viewers get now.
    stage: Stage,
    window: Option<Window>,
    /// Frames that were not shown yet, in order of time.
    waiting: VecDeque<Arc<Frame>>,
    painter: Painter,
    /// What was shown last of the publisher's, and when.
    last: Option<(Redacted, i64)>,
    publisher: Publisher,
    /// How the sound of a publisher is coded whose first picture has not come.
    announced: Option<SoundConfig>,
    /// Whether anything of the publisher's was ever shown.
    was_seen: bool,
    cover_all: bool,
    level: Level,
    generation: u64,
    /// Names of the people that are shown, in the order in which detectors number them.
    people: Vec<String>,
    trouble: Option<(Why, i64)>,
    told: Protection,
    pace: Pace,
    paced: i64,
    said: Vec<(FromChild, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Publisher {
    /// None came yet.
    Awaited,
    Here,
    Away,
}

/// An encoder and what comes out of it, under one header.
struct Stage {
    format: Format,
    published: bool,
    encoder: VideoEncoder,
    fragments: Fragments,
    sound: Sound,
    /// Pictures of a segment and of a part.
    segment: i64,
    part: i64,
    /// Number of the next picture.
    next: i64,
    /// Pictures of the part that is not complete.
    pictures: Vec<Encoded>,
    counts: Part,
    slates: HashMap<Slate, Redacted>,
}

impl Broadcast {
    /// `format`: how it looks until a publisher comes, or how it looked before another process took over, and
    /// `published` whether a publisher had come by then. The first picture is due at `format.origin`.
    pub(crate) fn new(
        encoding: LiveEncoding,
        policy: Policy,
        format: Format,
        published: bool,
    ) -> Result<Self, JobError> {
        let stage = Stage::open(&encoding, format, published)?;
        let mut broadcast = Self {
            encoding,
            policy,
            paced: stage.format.origin,
            stage,
            window: None,
            waiting: VecDeque::new(),
            painter: Painter::new(),
            last: None,
            publisher: if published { Publisher::Away } else { Publisher::Awaited },
            announced: None,
            was_seen: published,
            cover_all: false,
            level: Level::Every,
            generation: 0,
            people: Vec::new(),
            trouble: None,
            told: Protection::Ok,
            pace: Pace::default(),
            said: Vec::new(),
        };
        broadcast.say_header()?;
        Ok(broadcast)
    }

    fn say_header(&mut self) -> Result<(), JobError> {
        let header = FromChild::Header(self.stage.header());
        self.said.push((header, self.stage.fragments.header()?));
        Ok(())
    }

    /// What was said since the last call.
    pub(crate) fn said(&mut self) -> Vec<(FromChild, Vec<u8>)> {
        std::mem::take(&mut self.said)
    }

    /// When the next picture is due.
    pub(crate) fn due(&self) -> i64 {
        self.stage.time(self.stage.next)
    }

    /// Takes note of what happened. `false`: the broadcast is over.
    ///
    /// # Errors
    /// When an encoder cannot be opened.
    pub(crate) fn hear(&mut self, event: Event, now: i64) -> Result<bool, JobError> {
        match event {
            Event::Start { size, color, frame_rate } => self.start(size, color, frame_rate)?,
            Event::Frame { frame, seen, difference, doubt } => {
                self.publisher = Publisher::Here;
                self.pace.decoded += 1;
                let (size, policy) = (self.stage.format.size, self.policy);
                let window = self.window.get_or_insert_with(|| Window::new(size, policy));
                window.frame(frame.seq, frame.pts, seen, difference);
                // Also of frames before, which were to be looked at with this one.
                if seen == Seen::Damaged {
                    self.trouble = Some((Why::Damaged, now + TROUBLE));
                }
                if doubt > 0 {
                    window.doubt(doubt);
                }
                self.wait(frame);
            }
            Event::Found { seq, generation, mut finding } => {
                match &mut finding {
                    // Who was meant is not known any more.
                    Some(finding) if generation != self.generation => finding.sightings.clear(),
                    Some(_) => {}
                    None => self.trouble = Some((Why::Detector, now + TROUBLE)),
                }
                if let Some(window) = &mut self.window {
                    window.found(seq, finding);
                }
            }
            Event::SoundConfig(config) => self.sound_config(config)?,
            Event::Sound { at, frame } => self.stage.sound.put(at, frame),
            Event::Level(level) => self.level = level,
            Event::Damaged => self.trouble = Some((Why::Damaged, now + TROUBLE)),
            Event::Away => {
                self.publisher = match self.publisher {
                    Publisher::Awaited => Publisher::Awaited,
                    Publisher::Here | Publisher::Away => Publisher::Away,
                };
                self.stage.sound.clear();
                // What was not seen with its look-ahead never is, and is not late either: another publisher's pictures
                // say nothing of it.
                let end = self.window.as_mut().map_or(0, Window::close);
                let before = self.waiting.len();
                self.waiting.retain(|frame| frame.seq < end);
                self.pace.dropped += (before - self.waiting.len()) as u64;
            }
            Event::Keep(generation, people) => self.keep(generation, people),
            Event::CoverAll(on) => self.cover_all = on,
            Event::Stop => {
                self.finish_part()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The first picture of the publisher's came: what is sent from now on is like it, and like its sound.
    fn start(&mut self, size: Size, color: Color, frame_rate: (u32, u32)) -> Result<(), JobError> {
        let announced = self.announced.take();
        let sound = announced.unwrap_or_else(|| self.stage.sound.config().clone());
        let sound = sound.bytes().to_vec();
        self.reopen(Format { size, color, frame_rate, sound, origin: 0 }, true)
    }

    fn sound_config(&mut self, config: SoundConfig) -> Result<(), JobError> {
        // Before its first picture nothing is sent of the publisher's: one change of header is enough.
        if !self.stage.published {
            self.announced = Some(config);
            return Ok(());
        }
        if config == *self.stage.sound.config() {
            return Ok(());
        }
        let format = Format { sound: config.bytes().to_vec(), ..self.stage.format.clone() };
        self.reopen(format, self.stage.published)
    }

    /// Goes on under another header.
    fn reopen(&mut self, format: Format, published: bool) -> Result<(), JobError> {
        self.finish_part()?;
        let format = Format { origin: self.due(), ..format };
        self.stage = Stage::open(&self.encoding, format, published)?;
        self.last = None;
        self.say_header()
    }

    fn wait(&mut self, frame: Arc<Frame>) {
        let bytes = |frame: &Frame| frame.planes.iter().map(|plane| plane.data.len()).sum();
        let each: usize = bytes(&frame);
        let most = (MAX_WAITING_BYTES / each.max(1)).clamp(1, MAX_WAITING);
        while self.waiting.len() >= most {
            self.waiting.pop_front();
            self.pace.dropped += 1;
        }
        self.waiting.push_back(frame);
    }

    /// From now on these people are shown. Somebody who is not among them any more is covered in every picture
    /// that was not sent yet.
    fn keep(&mut self, generation: u64, people: Vec<String>) {
        let before = std::mem::replace(&mut self.people, people);
        self.generation = generation;
        let now = |person: PersonIx| {
            let name = before.get(person.0)?;
            self.people.iter().position(|other| other == name).map(PersonIx)
        };
        if let Some(window) = &mut self.window {
            window.renumber(now);
        }
        if before.iter().any(|name| !self.people.contains(name)) {
            self.last = None;
        }
    }

    /// Sends what is due at `now`.
    ///
    /// # Errors
    /// When an encoder fails.
    pub(crate) fn tick(&mut self, now: i64) -> Result<(), JobError> {
        let behind = now - self.due();
        if behind > CATCH_UP {
            self.finish_part()?;
            let format = Format { origin: now, ..self.stage.format.clone() };
            self.stage = Stage::open(&self.encoding, format, self.stage.published)?;
            self.say_header()?;
        }
        while self.due() <= now {
            self.pace.late_ms = u32::try_from((now - self.due()) / 90).unwrap_or(u32::MAX);
            self.send(now)?;
        }
        self.tell(now);
        Ok(())
    }

    /// Frames of the publisher's that wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How late the last picture was, in milliseconds.
    pub(crate) fn late_ms(&self) -> u32 {
        self.pace.late_ms
    }

    /// Sends the next picture.
    fn send(&mut self, now: i64) -> Result<(), JobError> {
        let at = self.due();
        let until = self.stage.time(self.stage.next + 1);
        let picture = self.picture(at, (until - at) / 2, now);
        let (redacted, is_slate, is_repeated) = match picture {
            Picture::New(redacted) => {
                self.last = Some((redacted.clone(), at));
                self.was_seen = true;
                (redacted, false, false)
            }
            Picture::Again(redacted) => (redacted, false, true),
            Picture::Slate(which) => (self.stage.slate(which), true, false),
        };
        self.pace.sent += 1;
        self.pace.slates += u64::from(is_slate);
        self.pace.repeated += u64::from(is_repeated);
        self.stage.encode(redacted, at, until, (is_slate, is_repeated))?;
        if self.stage.is_part_complete() {
            self.finish_part()?;
        }
        Ok(())
    }

    /// What is shown at `at`, `half` a frame or less before or after its own time.
    fn picture(&mut self, at: i64, half: i64, now: i64) -> Picture {
        let mut newest: Option<(Frame, FramePlan)> = None;
        while let Some(frame) = self.waiting.front()
            && frame.pts.ticks < at + half
        {
            let plan = self.window.as_mut().and_then(|window| window.take(frame.seq));
            let given_up = frame.pts.ticks < at - GIVEN_UP;
            if plan.is_none() && !given_up {
                break;
            }
            let Some(frame) = self.waiting.pop_front() else { break };
            // A worker that still holds it has not said what it found, so there is no plan.
            let frame = Arc::try_unwrap(frame);
            let next = frame.ok().zip(plan);
            self.pace.dropped += u64::from(newest.is_some() || next.is_none());
            newest = next.or(newest);
        }
        if self.cover_all {
            return Picture::Slate(Slate::Covered);
        }
        // Detectors that are late, and not a publisher that sends nothing.
        let overdue = self.waiting.front().is_some_and(|f| f.pts.ticks < at - OVERDUE)
            && self.window.as_ref().is_some_and(|window| window.is_late(at));
        if overdue && newest.is_none() && self.trouble.is_none_or(|(_, until)| until < now) {
            self.trouble = Some((Why::Overload, now + TROUBLE));
        }
        match newest {
            Some((frame, plan)) => match plan.cover() {
                Cover::All(reason) => {
                    let why = match (reason, self.trouble) {
                        (_, Some((why, until))) if until >= now => why,
                        (Reason::NotAnalysed, _) => Why::Overload,
                        _ => Why::Damaged,
                    };
                    self.trouble = Some((why, now + TROUBLE));
                    Picture::Slate(Slate::Covered)
                }
                Cover::Regions(_) => Picture::New(self.painter.paint(frame, &plan)),
            },
            None => self.nothing_new(at, overdue),
        }
    }

    fn nothing_new(&self, at: i64, overdue: bool) -> Picture {
        match (&self.last, self.publisher) {
            (Some((last, shown)), _) if at - shown <= FREEZE => Picture::Again(last.clone()),
            _ if overdue => Picture::Slate(Slate::Covered),
            // Nothing of the publisher's was shown yet.
            (None, Publisher::Awaited | Publisher::Here) if !self.was_seen => {
                Picture::Slate(Slate::Soon)
            }
            _ => Picture::Slate(Slate::Away),
        }
    }

    fn finish_part(&mut self) -> Result<(), JobError> {
        let made = self.stage.finish_part()?;
        self.said.extend(made.map(|(part, bytes)| (FromChild::Part(part), bytes)));
        Ok(())
    }

    /// Says how well the picture is protected, if that changed, and how it goes, every second.
    fn tell(&mut self, now: i64) {
        let trouble = self.trouble.filter(|(_, until)| *until >= now).map(|(why, _)| why);
        let protection = match trouble {
            _ if self.cover_all => Protection::Blocked { why: Why::ByHand },
            Some(why) => Protection::Blocked { why },
            None => self.level.protection(),
        };
        if protection != self.told {
            self.told = protection;
            self.said.push((FromChild::Protection(protection), Vec::new()));
        }
        if now - self.paced >= SECOND {
            self.paced = now;
            self.said.push((FromChild::Pace(self.pace), Vec::new()));
        }
    }
}

enum Picture {
    New(Redacted),
    Again(Redacted),
    Slate(Slate),
}

impl Stage {
    fn open(encoding: &LiveEncoding, format: Format, published: bool) -> Result<Self, JobError> {
        let (num, den) = format.frame_rate;
        let rate = f64::from(num) / f64::from(den);
        let segment = (SEGMENT_SECONDS * rate).round().max(1.0) as i64;
        let part = (rate / PARTS_A_SECOND).round().max(1.0) as i64;
        let Format { size, color, .. } = format;
        let encoder = VideoEncoder::open_live(&LiveSettings {
            size,
            color,
            frame_rate: format.frame_rate,
            group: segment as u32,
            preset: encoding.preset.clone(),
            crf: encoding.crf,
            max_bit_rate: encoding.max_bit_rate,
            threads: if size.width * size.height > 1280 * 720 { 2 } else { 1 },
        })?;
        let config = SoundConfig::parse(&format.sound).unwrap_or_else(usual_sound);
        let quiet = silence(&config)?;
        let fragments = Fragments::new(&encoder, config.clone())?;
        let sound = Sound::new(config, quiet, format.origin);
        Ok(Self {
            format,
            published,
            encoder,
            fragments,
            sound,
            segment,
            part,
            next: 0,
            pictures: Vec::new(),
            counts: blank(),
            slates: HashMap::new(),
        })
    }

    fn header(&self) -> Header {
        let longest = |pictures: i64| {
            // Ticks are whole, so that parts of as many pictures differ by one.
            let (num, den) = self.format.frame_rate;
            let ticks = pictures.unsigned_abs() * SECOND as u64 * u64::from(den);
            u32::try_from(ticks.div_ceil(u64::from(num).max(1))).unwrap_or(u32::MAX)
        };
        Header {
            codecs: self.fragments.codecs(),
            size: self.format.size,
            frame_rate: self.format.frame_rate,
            part_ticks: longest(self.part),
            segment_ticks: longest(self.segment),
            published: self.published,
            format: self.format.clone(),
        }
    }

    /// Whether the pictures so far are a part. Segments begin with one.
    fn is_part_complete(&self) -> bool {
        let place = self.next % self.segment;
        place == 0 || place % self.part == 0
    }

    /// When picture number `n` is due.
    fn time(&self, n: i64) -> i64 {
        let (num, den) = self.format.frame_rate;
        let ticks = i128::from(n) * i128::from(SECOND) * i128::from(den) / i128::from(num.max(1));
        self.format.origin.saturating_add(i64::try_from(ticks).unwrap_or(i64::MAX))
    }

    fn slate(&mut self, which: Slate) -> Redacted {
        let (size, color) = (self.format.size, self.format.color);
        let draw = || slate(which, size, PixelFormat::Yuv420, color);
        self.slates.entry(which).or_insert_with(draw).clone()
    }

    fn encode(
        &mut self,
        picture: Redacted,
        at: i64,
        until: i64,
        (is_slate, is_repeated): (bool, bool),
    ) -> Result<(), JobError> {
        if self.next % self.segment == 0 {
            self.encoder.start_group();
        }
        if self.pictures.is_empty() {
            let starts_segment = self.next % self.segment == 0;
            self.counts = Part { start: at, starts_segment, ..blank() };
        }
        let made = self.encoder.encode_at(picture, Pts::new(at, TimeBase::MPEG), until - at)?;
        self.pictures.extend(made);
        self.next += 1;
        self.counts.pictures += 1;
        self.counts.slates += u32::from(is_slate);
        self.counts.repeated += u32::from(is_repeated);
        Ok(())
    }

    /// The part of what was encoded since the last one, if anything was.
    fn finish_part(&mut self) -> Result<Option<(Part, Vec<u8>)>, JobError> {
        if self.pictures.is_empty() {
            return Ok(None);
        }
        let end = self.time(self.next);
        let (first, sound) = self.sound.until(end);
        let bytes = self.fragments.part(&self.pictures, first, &sound)?;
        self.pictures.clear();
        let ticks = u32::try_from(end - self.counts.start).unwrap_or(u32::MAX);
        Ok(Some((Part { ticks, ..self.counts }, bytes)))
    }
}

fn blank() -> Part {
    Part { start: 0, ticks: 0, starts_segment: false, pictures: 0, slates: 0, repeated: 0 }
}

fn usual_sound() -> SoundConfig {
    SoundConfig::parse(&SoundConfig::USUAL)
        .unwrap_or_else(|| unreachable!("a constant, read in a test"))
}
