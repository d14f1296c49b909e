//! Face search: who is where and when in a video, or on a photo. Nothing is covered, and nothing but
//! boxes, scores and likenesses is written.
//!
//! The first pass of a mosaic does the work ([`crate::analyse()`]), so a face is found by the same rules
//! here and there, and a track fills the time between two detections.

mod faces;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use domain::Rect;
use media::{Codec, MediaError, MediaInfo, Reader, Streams};
use redact::Policy;
use serde::{Deserialize, Serialize};
use vision::{Engine, FaceDetector, Gallery, identify, models};

use crate::analyse::{Analysed, Analyst, analyse};
use crate::job::{Teller, crew};
use crate::{Input, JobError, KeepSpec, Phase, Progress, Speed, enrol, photo};
use faces::Faces;

/// Longest time between two samples, in milliseconds.
pub const MOST_EVERY_MS: u32 = 500;

/// People named for one face, at most.
const MOST_MATCHES: usize = 5;

/// Which faces are looked for in a video.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSpec {
    /// Video, HLS playlist, or folder holding one; it may be sealed.
    pub input: Input,
    /// Whom faces are compared with; nobody: faces are only found.
    pub people: Vec<KeepSpec>,
    /// Least similarity of a match, 0 to 100 ([`vision::likeness::percent`]).
    pub threshold: f32,
    /// Time from one sample to the next in milliseconds, at most [`MOST_EVERY_MS`]; 0: every frame.
    pub every_ms: u32,
    /// Where the lines are written ([`VideoLine`], then [`FaceLine`]s); a temporary name.
    pub output: PathBuf,
    /// Convert deeper samples to 8 bits instead of refusing them.
    pub to_8bit: bool,
}

/// Which faces are looked for on a photo.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhotoSearchSpec {
    /// JPEG, PNG or WebP; it may be sealed.
    pub input: Input,
    /// Whom faces are compared with; nobody: faces are only found.
    pub people: Vec<KeepSpec>,
    /// Least similarity of a match, 0 to 100.
    pub threshold: f32,
}

/// The first line: the video. Sizes are those of the upright picture in pixels, not stretched by a
/// pixel's aspect ratio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoLine {
    /// How it is compressed: `h264`, `hevc`, `vp8`, `vp9`, `av1`, `mpeg4`.
    pub codec: String,
    /// Length in milliseconds.
    pub duration_millis: u64,
    /// FFmpeg's name of the container.
    pub format: String,
    /// Average frames per second; none when unknown.
    pub frame_rate: Option<f64>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Every further line: one face at one time. Lines are in order of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaceLine {
    /// Time of the frame, in milliseconds of the video's clock; 0 on a photo.
    pub timestamp_ms: i64,
    /// Whose face it is: one number for each person in the video, from 0 in order of these lines. Tracks
    /// that are confirmed to be one of the people (by the rules by which somebody is kept) share a number;
    /// every other track has its own. No two faces of a frame have the same.
    pub index: u32,
    /// Where it is.
    #[serde(rename = "box")]
    pub place: RatioBox,
    /// How sure the detector is, 0 to 100; between two detections that of the less sure one.
    pub confidence: f32,
    /// Whom it is like, most similar first: those at or above the threshold, at most five.
    pub matches: Vec<Match>,
}

/// A box in shares of the upright picture's width and height; inside the picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioBox {
    /// Left edge, 0 to 1.
    pub left: f32,
    /// Top edge, 0 to 1.
    pub top: f32,
    /// Width, 0 to 1.
    pub width: f32,
    /// Height, 0 to 1.
    pub height: f32,
}

impl RatioBox {
    /// Of the upright rectangle `rect` in a picture of this size; `None` when none of it is inside.
    fn of(rect: Rect, (width, height): (f32, f32)) -> Option<Self> {
        let inside = rect.intersection(Rect::new(0.0, 0.0, width, height));
        let share = |v: f32, all: f32| rounded(v / all, 1e5);
        let (left, top) = (share(inside.x0, width), share(inside.y0, height));
        let (w, h) = (share(inside.width(), width), share(inside.height(), height));
        let seen = inside.is_sane() && inside.area() > 0.0;
        seen.then_some(Self { left, top, width: w.min(1.0 - left), height: h.min(1.0 - top) })
    }
}

/// Somebody whom a face is like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// The name in the spec.
    pub person: String,
    /// 0 to 100 ([`vision::likeness::percent`]).
    pub similarity: f32,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Searched {
    /// The first line.
    pub video: VideoLine,
    /// Frames that were sampled.
    pub samples: u64,
    /// Of these, damaged ones: what is said of them is guessed from their neighbours.
    pub damaged: u64,
    /// Lines of faces.
    pub faces: u64,
    /// Different values of [`FaceLine::index`].
    pub people: u32,
}

/// What is on a photo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhotoSearched {
    /// `jpeg`, `png` or `webp`.
    pub format: String,
    /// Width in pixels, upright.
    pub width: u32,
    /// Height in pixels, upright.
    pub height: u32,
    /// All faces, in no order that means anything; each has an index of its own.
    pub faces: Vec<FaceLine>,
}

/// Looks for faces in `spec.input` and writes what was found, line by line. `emit` gets the progress.
///
/// # Errors
/// A threshold or a sampling time that is out of bounds; any failure of reading, looking or writing. What
/// was written so far is incomplete then.
pub fn search(spec: &SearchSpec, emit: &mut dyn FnMut(Progress)) -> Result<Searched, JobError> {
    check(spec.threshold)?;
    if spec.every_ms > MOST_EVERY_MS {
        let why = format!("{} ms from sample to sample; at most {MOST_EVERY_MS}", spec.every_ms);
        return Err(JobError::Search(why));
    }
    let engine = Engine::load(&models::locate()?)?;
    let mut detector = engine.detector()?;
    let (gallery, recognizer) = enrol::people(&engine, &mut detector, &spec.people)?;
    let (rules, policy) = (identify::Rules::default(), Policy::default());
    let analyst = analyst((&gallery, recognizer), &rules, &policy);
    let (info, analysed) = look(spec, &engine, detector, &analyst, emit)?;
    write(spec, &info, &analysed)
}

/// Most of the work: the first pass. Where the input is opened.
fn look(
    spec: &SearchSpec,
    engine: &Engine,
    detector: FaceDetector,
    analyst: &Analyst<'_>,
    emit: &mut dyn FnMut(Progress),
) -> Result<(MediaInfo, Analysed), JobError> {
    let reader = Reader::open(spec.input.open()?, Streams::Video, spec.to_8bit)?;
    let info = reader.info().clone();
    let mut told = Teller::new(Phase::Analyse, info.video.frames);
    let analysed = analyse(reader, crew(engine, detector)?, analyst, &mut |n| told.tell(n, emit))?;
    if analysed.times.is_empty() {
        let why = "holds no picture that can be decoded".to_owned();
        return Err(MediaError::Input { path: spec.input.path.clone(), why }.into());
    }
    Ok((info, analysed))
}

/// Finds all faces on a photo.
///
/// # Errors
/// A threshold that is out of bounds; a photo that cannot be read; any failure of looking.
pub fn search_photo(spec: &PhotoSearchSpec) -> Result<PhotoSearched, JobError> {
    check(spec.threshold)?;
    let engine = Engine::load(&models::locate()?)?;
    let mut detector = engine.detector()?;
    let (gallery, recognizer) = enrol::people(&engine, &mut detector, &spec.people)?;
    let (rules, policy) = (identify::Rules::default(), Policy::default());
    let analyst = analyst((&gallery, recognizer), &rules, &policy);
    let picture = photo::read(&spec.input)?;
    let size = picture.frame().size;
    let analysed = photo::analyse(&picture, &mut detector, &analyst)?;
    let upright = domain::Orientation::default();
    let names = names(&spec.people);
    let mut faces = Faces::new(&analysed, &names, spec.threshold, size, upright);
    Ok(PhotoSearched {
        format: picture.format_name().to_owned(),
        width: size.width,
        height: size.height,
        faces: faces.at(0),
    })
}

fn check(threshold: f32) -> Result<(), JobError> {
    if (0.0..=100.0).contains(&threshold) {
        return Ok(());
    }
    Err(JobError::Search(format!("threshold {threshold}: it goes from 0 to 100")))
}

fn analyst<'a>(
    (gallery, recognizer): (&'a Gallery, Option<enrol::Comparer>),
    rules: &'a identify::Rules,
    policy: &'a Policy,
) -> Analyst<'a> {
    let (speed, memory) = (Speed::Balanced, 0);
    Analyst { speed, gallery, recognizer, ranked: MOST_MATCHES, rules, policy, memory }
}

fn names(people: &[KeepSpec]) -> Vec<&str> {
    people.iter().map(|person| person.name.as_str()).collect()
}

/// Writes the lines of all samples as they are made.
fn write(spec: &SearchSpec, info: &MediaInfo, analysed: &Analysed) -> Result<Searched, JobError> {
    let video = video_line(info, analysed);
    let mut lines = Lines::create(&spec.output)?;
    lines.add(&video)?;
    let mut searched = Searched { video, samples: 0, damaged: 0, faces: 0, people: 0 };
    let names = names(&spec.people);
    let (size, orientation) = (info.video.size, info.video.orientation);
    let mut faces = Faces::new(analysed, &names, spec.threshold, size, orientation);
    let covers: Vec<_> = analysed.plan.iter().map(|frame| frame.covered).collect();
    for frame in samples(analysed, spec.every_ms) {
        searched.samples += 1;
        let damaged = redact::Covered::All(redact::Reason::Damaged);
        searched.damaged += u64::from(covers.get(frame) == Some(&damaged));
        for line in faces.at(frame) {
            lines.add(&line)?;
            searched.faces += 1;
        }
    }
    searched.people = faces.people();
    lines.finish()?;
    Ok(searched)
}

/// The frames that are sampled: the first, and then the first of every step.
fn samples(analysed: &Analysed, every_ms: u32) -> impl Iterator<Item = usize> + '_ {
    let start = analysed.times.first().copied();
    let step = f64::from(every_ms) / 1000.0;
    let mut next = f64::MIN;
    analysed.times.iter().enumerate().filter_map(move |(frame, pts)| {
        let at = pts.seconds_since(start?);
        // Ticks are rounded: a frame that is a tenth of a millisecond early is not.
        let at = at + 1e-4;
        if at < next {
            return None;
        }
        if step > 0.0 {
            next = ((at / step).floor() + 1.0) * step;
        }
        Some(frame)
    })
}

fn video_line(info: &MediaInfo, analysed: &Analysed) -> VideoLine {
    let video = &info.video;
    let size = video.orientation.upright_size(video.size);
    let (num, den) = video.frame_rate;
    let frame_rate = (num > 0 && den > 0).then(|| f64::from(num) / f64::from(den));
    let shown = match (analysed.times.first(), analysed.times.last()) {
        (Some(first), Some(last)) => {
            last.seconds_since(*first) + frame_rate.map_or(0.0, |rate| 1.0 / rate)
        }
        _ => 0.0,
    };
    let seconds = info.duration.filter(|d| d.is_finite() && *d > 0.0).unwrap_or(shown);
    VideoLine {
        codec: codec(video.codec).to_owned(),
        duration_millis: (seconds * 1000.0).round() as u64,
        format: info.container.clone(),
        frame_rate: frame_rate.map(|rate| (rate * 1000.0).round() / 1000.0),
        width: size.width,
        height: size.height,
    }
}

fn codec(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "h264",
        Codec::Hevc => "hevc",
        Codec::Vp8 => "vp8",
        Codec::Vp9 => "vp9",
        Codec::Av1 => "av1",
        Codec::Mpeg4 => "mpeg4",
    }
}

/// Rounded to a multiple of `1 / per`.
fn rounded(value: f32, per: f64) -> f32 {
    ((f64::from(value) * per).round() / per) as f32
}

/// A file of JSON lines.
struct Lines<'a> {
    path: &'a Path,
    out: BufWriter<File>,
}

impl<'a> Lines<'a> {
    fn create(path: &'a Path) -> Result<Self, JobError> {
        let file = File::create(path).map_err(|e| failed(path, &e.to_string()))?;
        Ok(Self { path, out: BufWriter::new(file) })
    }

    fn add(&mut self, line: &impl Serialize) -> Result<(), JobError> {
        serde_json::to_writer(&mut self.out, line)
            .map_err(|e| failed(self.path, &e.to_string()))?;
        self.out.write_all(b"\n").map_err(|e| failed(self.path, &e.to_string()))
    }

    fn finish(mut self) -> Result<(), JobError> {
        self.out.flush().map_err(|e| failed(self.path, &e.to_string()))
    }
}

fn failed(path: &Path, why: &str) -> JobError {
    MediaError::Output { path: path.to_owned(), why: why.to_owned() }.into()
}
