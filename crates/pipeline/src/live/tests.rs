//! A broadcast with the clock in hand: frames, what was found in them, and the pixels that viewers get.

use std::io::Cursor;
use std::path::PathBuf;

use domain::{
    Color, Detection, Finding, Frame, Matrix, PersonIx, PixelFormat, Point, Pts, Range, Rect,
    Sighting, Size, TimeBase,
};
use media::{AacFrame, Item, Reader, SoundConfig, Streams};
use redact::{Policy, Seen};

use super::broadcast::{Broadcast, LiveEncoding};
use super::eyes::Event;
use super::ladder::Level;
use super::wire::{Format, FromChild, Header, Part, Protection, Why};
use super::*;

const SIZE: Size = Size { width: 320, height: 180 };
const COLOR: Color = Color { range: Range::Limited, matrix: Matrix::Bt709 };
/// Ticks of a frame at 30 a second.
const FRAME: i64 = 3000;
const SIDE: f32 = 48.0;
/// The face is of a colour that nothing else has, and of a pattern that no cover has.
const SKIN: u8 = 200;
const CELL: usize = 4;

/// Where the face is in frame `n`: it walks to the right and back.
fn face_at(n: u64) -> Rect {
    let x = 20.0 + 2.0 * (n % 200).min(200 - n % 200) as f32;
    Rect::new(x, 60.0, x + SIDE, 60.0 + SIDE)
}

/// A picture with a face in each of `faces`.
fn picture(seq: u64, at: i64, faces: &[Rect]) -> Frame {
    let pts = Pts::new(at, TimeBase::MPEG);
    let mut frame = Frame::new(seq, pts, SIZE, PixelFormat::Yuv420, COLOR, None);
    for (p, plane) in frame.planes.iter_mut().enumerate() {
        plane.data.fill(if p == 0 { 100 } else { 128 });
        for face in faces {
            let by = if p == 0 { 1.0 } else { 2.0 };
            let side = |v: f32| (v / by) as usize;
            for y in side(face.y0)..side(face.y1).min(plane.height) {
                for x in side(face.x0)..side(face.x1).min(plane.width) {
                    let light = (x / CELL + y / CELL).is_multiple_of(2);
                    plane.row_mut(y)[x] = match (p, light) {
                        (0, true) => 220,
                        (0, false) => 30,
                        (1, _) => SKIN,
                        _ => 128,
                    };
                }
            }
        }
    }
    frame
}

/// Whether any part of a face can be made out: its colour, and under it the pattern.
fn shows_a_face(frame: &Frame) -> bool {
    let (luma, skin) = (&frame.planes[0], &frame.planes[1]);
    let mut seen = 0;
    for y in (0..luma.height).step_by(CELL) {
        for x in (0..luma.width - CELL).step_by(CELL) {
            let is_skin = skin.row(y / 2)[x / 2] > 170;
            let differs = luma.row(y)[x].abs_diff(luma.row(y)[x + CELL]) > 90;
            seen += usize::from(is_skin && differs);
        }
    }
    // A whole face is 144 cells.
    seen > 12
}

fn found(faces: &[Rect]) -> Finding {
    let face = |rect: &Rect| {
        let landmarks = [Point { x: rect.x0, y: rect.y0 }; 5];
        let mut face = Detection::new(*rect, 0.95, landmarks);
        face.second = domain::SecondOpinion::Agrees;
        face
    };
    Finding { faces: faces.iter().map(face).collect(), ..Finding::default() }
}

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Seen,
    /// The detector says nothing of it until so many frames later.
    Late(u64),
    Never,
    Fails,
    Skipped,
    Damaged,
    /// It does not come.
    Lost,
}

fn broadcast(format: Format, published: bool) -> Broadcast {
    let encoding =
        LiveEncoding { preset: "ultrafast".into(), crf: 12.0, ..LiveEncoding::default() };
    Broadcast::new(encoding, Policy::default(), format, published).unwrap()
}

struct Studio {
    broadcast: Broadcast,
    now: i64,
    seq: u64,
    sent: Vec<(FromChild, Vec<u8>)>,
    /// Findings that are due at a time.
    due: Vec<(i64, u64, Option<Finding>)>,
    generation: u64,
    /// Whom the face is like.
    like: Option<PersonIx>,
}

impl Studio {
    fn open() -> Self {
        let sound = SoundConfig::USUAL.to_vec();
        let format = Format { size: SIZE, color: COLOR, frame_rate: (30, 1), sound, origin: 0 };
        let broadcast = broadcast(format, false);
        Self {
            broadcast,
            now: 0,
            seq: 0,
            sent: Vec::new(),
            due: Vec::new(),
            generation: 0,
            like: None,
        }
    }

    /// With a publisher whose first picture just came.
    fn on_air() -> Self {
        let mut studio = Self::open();
        studio.hear(Event::Start { size: SIZE, color: COLOR, frame_rate: (30, 1) });
        studio
    }

    fn hear(&mut self, event: Event) {
        assert!(self.broadcast.hear(event, self.now).unwrap());
    }

    fn tick(&mut self) {
        self.broadcast.tick(self.now).unwrap();
        self.sent.extend(self.broadcast.said());
        self.now += FRAME;
    }

    /// `count` frames come, one each 30th of a second; `fate` says what becomes of each.
    fn frames(&mut self, count: u64, fate: impl Fn(u64) -> Fate) {
        for n in 0..count {
            let fate = fate(n);
            if fate != Fate::Lost {
                self.frame(fate);
            }
            self.answers();
            self.tick();
        }
    }

    fn frame(&mut self, fate: Fate) {
        let (seq, shown) = (self.seq, self.now + DELAY_MS * 90);
        self.seq += 1;
        let face = face_at(seq);
        let frame = Arc::new(picture(seq, shown, &[face]));
        let seen = match fate {
            Fate::Skipped => Seen::Skipped,
            Fate::Damaged => Seen::Damaged,
            _ => Seen::Detected,
        };
        self.hear(Event::Frame { frame, seen, difference: 1.0, doubt: 0 });
        let mut finding = found(&[face]);
        if let Some(person) = self.like.filter(|_| seq.is_multiple_of(8)) {
            finding.sightings = vec![Sighting { face: 0, person, similarity: 0.8 }];
        }
        match fate {
            Fate::Seen => self.due.push((self.now, seq, Some(finding))),
            Fate::Late(frames) => {
                self.due.push((self.now + frames as i64 * FRAME, seq, Some(finding)));
            }
            Fate::Fails => self.due.push((self.now, seq, None)),
            Fate::Never | Fate::Skipped | Fate::Damaged | Fate::Lost => {}
        }
    }

    fn answers(&mut self) {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.due).into_iter().partition(|d| d.0 <= now);
        self.due = later;
        let due: Vec<(i64, u64, Option<Finding>)> = due;
        for (_, seq, finding) in due {
            let generation = self.generation;
            self.hear(Event::Found { seq, generation, finding });
        }
    }

    fn keep(&mut self, people: &[&str]) {
        self.generation += 1;
        let people = people.iter().map(|name| (*name).to_owned()).collect();
        self.hear(Event::Keep(self.generation, people));
    }

    /// Ends it; gives what viewers got.
    fn end(mut self) -> Shown {
        assert!(!self.broadcast.hear(Event::Stop, self.now).unwrap());
        self.sent.extend(self.broadcast.said());
        Shown::of(&self.sent)
    }
}

/// What viewers got.
struct Shown {
    headers: Vec<Header>,
    parts: Vec<Part>,
    protection: Vec<Protection>,
    /// Of each picture under the last header, whether it shows a face, and whether it shows the face's colour.
    faces: Vec<(bool, bool)>,
    /// Frames of sound under the last header.
    sounds: usize,
}

impl Shown {
    fn of(sent: &[(FromChild, Vec<u8>)]) -> Self {
        let (mut headers, mut parts, mut protection) = (Vec::new(), Vec::new(), Vec::new());
        let mut files: Vec<Vec<u8>> = Vec::new();
        for (message, bytes) in sent {
            match message {
                FromChild::Header(header) => {
                    headers.push(header.clone());
                    files.push(bytes.clone());
                }
                FromChild::Part(part) => {
                    parts.push(*part);
                    files.last_mut().unwrap().extend(bytes);
                }
                FromChild::Protection(p) => protection.push(*p),
                _ => {}
            }
        }
        let (mut faces, mut sounds) = (Vec::new(), 0);
        let bytes = Box::new(Cursor::new(files.pop().unwrap()));
        let input = media::Input::Bytes { name: PathBuf::from("live.mp4"), bytes };
        let mut reader = Reader::open(input, Streams::VideoAndAudio, false).unwrap();
        while let Some(item) = reader.next().unwrap() {
            match item {
                Item::Frame(decoded) => {
                    let skin = decoded.frame.planes[1].data.iter().any(|v| *v > 160);
                    faces.push((shows_a_face(&decoded.frame), skin));
                }
                Item::Audio(_) => sounds += 1,
                _ => {}
            }
        }
        Self { headers, parts, protection, faces, sounds }
    }

    fn uncovered(&self) -> usize {
        self.faces.iter().filter(|face| face.0).count()
    }

    /// Pictures of the publisher's.
    fn pictures(&self) -> usize {
        self.faces.iter().filter(|face| face.1).count()
    }
}

#[test]
fn the_test_sees_a_face_that_is_not_covered() {
    assert!(shows_a_face(&picture(0, 0, &[face_at(7)])));
    assert!(!shows_a_face(&picture(0, 0, &[])));
}

#[test]
fn every_frame_is_covered_and_sent_in_its_place() {
    let mut studio = Studio::on_air();
    studio.frames(150, |_| Fate::Seen);
    let shown = studio.end();
    assert_eq!(shown.uncovered(), 0);
    // All but those that wait for their time, or for what comes after them.
    assert!((120..=125).contains(&shown.pictures()), "{}", shown.pictures());
    assert_eq!(shown.faces.len(), 150);
    assert_eq!(shown.protection, []);
    let ticks: i64 = shown.parts.iter().map(|part| i64::from(part.ticks)).sum();
    assert_eq!(ticks, 150 * FRAME);
    assert!(shown.parts.iter().all(|part| part.repeated == 0));
    let starts: Vec<i64> =
        shown.parts.iter().filter(|p| p.starts_segment).map(|p| p.start).collect();
    assert_eq!(starts, [0, 60 * FRAME, 120 * FRAME]);
    assert_eq!(shown.sounds, 235, "5 s of silence in frames of 1024");
}

#[test]
fn nothing_is_shown_of_a_frame_that_nobody_looked_at() {
    type Fault = (&'static str, fn(u64) -> Fate, Option<Protection>);
    let blocked = |why| Some(Protection::Blocked { why });
    let faults: [Fault; 7] = [
        ("late", |n| if (40..70).contains(&n) { Fate::Late(12) } else { Fate::Seen }, None),
        (
            "too late",
            |n| if (40..70).contains(&n) { Fate::Late(60) } else { Fate::Seen },
            blocked(Why::Overload),
        ),
        ("never", |n| if n >= 40 { Fate::Never } else { Fate::Seen }, blocked(Why::Overload)),
        (
            "fails",
            |n| if (40..70).contains(&n) { Fate::Fails } else { Fate::Seen },
            blocked(Why::Detector),
        ),
        (
            "damaged",
            |n| if (40..70).contains(&n) { Fate::Damaged } else { Fate::Seen },
            blocked(Why::Damaged),
        ),
        (
            "skipped",
            |n| if (40..70).contains(&n) { Fate::Skipped } else { Fate::Seen },
            blocked(Why::Overload),
        ),
        ("lost", |n| if (40..70).contains(&n) { Fate::Lost } else { Fate::Seen }, None),
    ];
    for (name, fate, told) in faults {
        let mut studio = Studio::on_air();
        studio.frames(180, fate);
        let shown = studio.end();
        assert_eq!(shown.uncovered(), 0, "{name}");
        assert_eq!(shown.faces.len(), 180, "{name}: viewers' players go on");
        assert!(shown.pictures() >= 25, "{name}: {}", shown.pictures());
        assert_eq!(shown.protection.first().copied(), told, "{name}");
        if told.is_some() && name != "never" {
            assert_eq!(shown.protection.last(), Some(&Protection::Ok), "{name}: it recovers");
        }
    }
}

#[test]
fn from_the_first_picture_on_nothing_is_shown_that_was_not_seen() {
    for fate in [Fate::Fails, Fate::Never, Fate::Damaged, Fate::Skipped] {
        let mut studio = Studio::on_air();
        studio.frames(90, |n| if n < 30 { fate } else { Fate::Seen });
        assert_eq!(studio.end().uncovered(), 0);
    }
}

#[test]
fn skipped_frames_between_two_that_were_seen_are_shown_covered() {
    let mut studio = Studio::on_air();
    studio.frames(90, |n| if n % 2 == 1 { Fate::Skipped } else { Fate::Seen });
    let shown = studio.end();
    assert_eq!((shown.uncovered(), shown.protection.len()), (0, 0));
    assert!(shown.pictures() >= 60, "{}", shown.pictures());
}

#[test]
fn a_face_that_is_found_now_is_covered_in_the_frames_before() {
    let mut studio = Studio::on_air();
    // For 12 frames the detectors see nobody, although somebody is there.
    for n in 0..100 {
        let missed = (50..62).contains(&n);
        studio.frame(if missed { Fate::Never } else { Fate::Seen });
        if missed {
            let (seq, generation) = (studio.seq - 1, 0);
            let nobody = Some(Finding::default());
            studio.hear(Event::Found { seq, generation, finding: nobody });
        }
        studio.answers();
        studio.tick();
    }
    assert_eq!(studio.end().uncovered(), 0);
}

#[test]
fn a_publisher_that_stops_leaves_its_last_picture_and_then_a_slate() {
    let mut studio = Studio::on_air();
    studio.frames(60, |_| Fate::Seen);
    studio.hear(Event::Away);
    for _ in 0..120 {
        studio.tick();
    }
    let shown = studio.end();
    assert_eq!((shown.uncovered(), shown.faces.len()), (0, 180));
    let last = shown.faces.iter().rposition(|face| face.1).unwrap();
    // 45 pictures had their look-ahead; the last one of them stays for 2 s.
    assert!((125..=135).contains(&last), "{last}");
    let slates: u32 = shown.parts.iter().map(|part| part.slates).sum();
    assert!(slates > 60, "{slates}");
    assert_eq!(shown.protection, []);
}

#[test]
fn who_comes_back_goes_on_in_the_same_broadcast() {
    let mut studio = Studio::on_air();
    studio.frames(60, |_| Fate::Seen);
    studio.hear(Event::Away);
    (0..90).for_each(|_| studio.tick());
    studio.seq += 7; // Another publisher's frames have no place behind those of the first.
    studio.frames(90, |_| Fate::Seen);
    let shown = studio.end();
    assert_eq!(shown.uncovered(), 0);
    assert_eq!(
        shown.headers.len(),
        2,
        "one until a publisher came, and one for all that came after"
    );
    assert!(shown.faces[200..].iter().filter(|face| face.1).count() > 25);
}

#[test]
fn who_comes_back_at_once_is_no_look_ahead_of_what_was_before_and_nothing_is_late() {
    let mut studio = Studio::on_air();
    studio.frames(60, |_| Fate::Seen);
    studio.hear(Event::Away);
    (0..15).for_each(|_| studio.tick());
    assert_eq!(studio.broadcast.waiting(), 0, "what waits for its look-ahead is never shown");
    studio.frames(90, |_| Fate::Seen);
    let shown = studio.end();
    assert_eq!((shown.uncovered(), shown.protection), (0, vec![]));
}

#[test]
fn one_key_press_covers_everything_until_it_is_released() {
    let mut studio = Studio::on_air();
    studio.frames(60, |_| Fate::Seen);
    studio.hear(Event::CoverAll(true));
    studio.frames(60, |_| Fate::Seen);
    studio.hear(Event::CoverAll(false));
    studio.frames(60, |_| Fate::Seen);
    let shown = studio.end();
    assert!(shown.faces[60..120].iter().all(|face| !face.1), "from the very next picture on");
    assert!(shown.faces[121..].iter().all(|face| face.1));
    let by_hand = Protection::Blocked { why: Why::ByHand };
    assert_eq!(shown.protection, [by_hand, Protection::Ok]);
}

#[test]
fn somebody_who_agrees_is_shown_and_covered_at_once_when_they_do_not_any_more() {
    let mut studio = Studio::on_air();
    studio.like = Some(PersonIx(0));
    studio.keep(&["her"]);
    studio.frames(120, |_| Fate::Seen);
    let until = studio.now / FRAME;
    studio.keep(&[]);
    studio.like = None;
    studio.frames(60, |_| Fate::Seen);
    let shown = studio.end();
    let (before, after) = shown.faces.split_at(until as usize);
    let visible = before.iter().filter(|face| face.0).count();
    assert!(visible > 60, "{visible}");
    assert!(after.iter().all(|face| !face.0), "not in one picture more");
}

#[test]
fn a_look_that_knew_others_shows_nobody() {
    let mut studio = Studio::on_air();
    studio.like = Some(PersonIx(0));
    // What the detectors say is of somebody who was number 0 before.
    studio.hear(Event::Keep(5, vec!["him".to_owned()]));
    studio.frames(90, |_| Fate::Seen);
    assert_eq!(studio.end().uncovered(), 0);
}

#[test]
fn numbers_of_people_that_change_show_nobody_else() {
    let mut studio = Studio::on_air();
    studio.like = Some(PersonIx(1));
    studio.keep(&["him", "her"]);
    studio.frames(90, |_| Fate::Seen);
    // She is number 0 now, and stays shown all the while.
    studio.like = Some(PersonIx(0));
    studio.keep(&["her"]);
    studio.frames(60, |_| Fate::Seen);
    let shown = studio.end();
    assert!(shown.faces[60..].iter().all(|face| face.0));
}

#[test]
fn steps_of_the_ladder_are_told() {
    let mut studio = Studio::on_air();
    for level in [Level::Second, Level::Dropping, Level::Nothing, Level::Every] {
        studio.hear(Event::Level(level));
        studio.tick();
    }
    let want = [
        Protection::Degraded { why: Why::EverySecondFrame },
        Protection::Degraded { why: Why::FramesDropped },
        Protection::Blocked { why: Why::Overload },
        Protection::Ok,
    ];
    assert_eq!(studio.end().protection, want);
}

#[test]
fn sound_belongs_to_its_picture() {
    let mut studio = Studio::on_air();
    for n in 0..200 {
        let at = n * 1920 + DELAY_MS * 90;
        studio.hear(Event::Sound { at, frame: AacFrame(vec![n as u8; 6]) });
    }
    studio.frames(130, |_| Fate::Seen);
    let shown = studio.end();
    assert_eq!(shown.sounds, 204, "4.3 s");
}

#[test]
fn the_first_picture_is_the_one_change_of_header_however_long_it_takes_after_the_sound() {
    let mut studio = Studio::open();
    studio.hear(Event::SoundConfig(SoundConfig::parse(&[0x12, 0x10]).unwrap()));
    (0..40).for_each(|_| studio.tick());
    studio.hear(Event::Start { size: SIZE, color: COLOR, frame_rate: (30, 1) });
    studio.frames(60, |_| Fate::Seen);
    let shown = studio.end();
    let sounds: Vec<&[u8]> = shown.headers.iter().map(|h| h.format.sound.as_slice()).collect();
    assert_eq!(sounds, [&SoundConfig::USUAL[..], &[0x12, 0x10]]);
}

#[test]
fn a_broadcast_that_was_held_up_makes_up_for_it() {
    let mut studio = Studio::on_air();
    studio.frames(30, |_| Fate::Seen);
    studio.now += 5 * 90_000;
    studio.tick();
    let shown = studio.end();
    assert_eq!((shown.faces.len(), shown.uncovered()), (30 + 151, 0));
    assert_eq!(shown.headers.len(), 2);
}

#[test]
fn what_waits_is_bounded() {
    let mut studio = Studio::on_air();
    for _ in 0..400 {
        studio.frame(Fate::Never);
        studio.now += 1;
    }
    assert!(studio.broadcast.waiting() <= 128);
    studio.tick();
    assert_eq!(studio.end().uncovered(), 0);
}

#[test]
fn another_child_goes_on_where_one_left_off() {
    let mut studio = Studio::on_air();
    studio.frames(70, |_| Fate::Seen);
    let header = studio.sent.iter().rev().find_map(|(message, bytes)| match message {
        FromChild::Header(header) => Some((header.clone(), bytes.clone())),
        _ => None,
    });
    let (header, bytes) = header.unwrap();
    let end = studio.sent.iter().rev().find_map(|(message, _)| match message {
        FromChild::Part(part) => Some(part.start + i64::from(part.ticks)),
        _ => None,
    });
    let format = Format { origin: end.unwrap(), ..header.format };
    let mut next = broadcast(format, true);
    next.tick(studio.now + 30 * FRAME).unwrap();
    let said = next.said();
    assert!(matches!(&said[0], (FromChild::Header(_), again) if *again == bytes), "one header");
    let first = said.iter().find_map(|(message, _)| match message {
        FromChild::Part(part) => Some(*part),
        _ => None,
    });
    assert_eq!(first.map(|part| (part.start, part.starts_segment)), Some((end.unwrap(), true)));
}
