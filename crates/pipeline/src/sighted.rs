//! Somebody is to be enrolled who was seen in a video: a user points at a track of its plan.
//!
//! The clearest sightings are cut out of the original and looked at like photos that were uploaded. A
//! track only says that a face moved without a jump, so all good sightings must look like one person;
//! and a picture that would show somebody else too is not made.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use domain::{BoxKind, Frame, Orientation, Point, Pts, Rect, Size, Track, TrackId};
use image::ImageFormat;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use media::{Reader, Streams};
use redact::{PlanDocument, PlanError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vision::gallery::{self, Group, Person};
use vision::quality::{LEAST_SHARPNESS, MOST_TURN, Quality};
use vision::{Embedding, Engine, Error, Gallery, models};
use zeroize::Zeroize;

use crate::analyse::next_frame;
use crate::enrol::refusal;
use crate::job::Teller;
use crate::{Input, JobError, Phase, Progress, Reason, Refusal, Templates, color, photo, replan};

/// Sightings that are looked at, at most.
const MOST_LOOKED_AT: usize = 24;
/// Sightings that are given, at most.
const MOST_GIVEN: usize = 5;
/// Room around the face on every side, as a share of its size: as much as shows nobody else.
const MARGINS: [f32; 3] = [0.6, 0.4, 0.2];
/// Longest side of a picture, in pixels; faces beyond that are made smaller.
const MOST_SIDE: u32 = 640;
/// The face that is found must be the tracked one: least IoU of their boxes.
const SAME_PLACE: f32 = 0.3;
/// Width of the recogniser's input in pixels: a wider face is not known better.
const WIDE: f32 = 112.0;

/// Somebody to enrol, as a track of a processed video.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackSpec {
    /// The original video; it may be sealed.
    pub input: Input,
    /// The plan that was made of it.
    pub plan: PathBuf,
    /// The track's number in it.
    pub track: u32,
    /// Convert deeper samples to 8 bits instead of refusing them.
    pub to_8bit: bool,
}

/// What a track is good for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackExamined {
    /// Sightings that somebody can be known by, the best first; at most five.
    pub good: Vec<Sighted>,
    /// Why there are none: what stopped most of those that were looked at. None exactly when there are.
    pub refused: Option<Refusal>,
}

/// A good sighting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighted {
    /// When, in milliseconds of the video's clock.
    pub timestamp_ms: i64,
    /// One template, as [`crate::examine`] makes of a photo.
    pub templates: Templates,
    /// The picture it was made of.
    pub photo: Jpeg,
}

/// A picture of a face as a JPEG file; base64 in JSON. Biometric data: not printed, overwritten when
/// dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Jpeg(pub Vec<u8>);

impl fmt::Debug for Jpeg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JPEG of {} bytes", self.0.len())
    }
}

impl Drop for Jpeg {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Serialize for Jpeg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Jpeg {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Looks at the clearest sightings of a track. Decodes once, up to the last of them. Pictures go into the
/// answer only, never to a disk. `emit` gets the progress.
///
/// # Errors
/// A plan that is malformed, of another input, or without that track; any failure of reading or looking.
pub fn examine_track(
    spec: &TrackSpec,
    emit: &mut dyn FnMut(Progress),
) -> Result<TrackExamined, JobError> {
    let (mut reader, sha256) = open(spec)?;
    let refused = |why: PlanError| JobError::Plan { path: spec.plan.clone(), why };
    let document = PlanDocument::parse(&replan::read(&spec.plan)?).map_err(refused)?;
    document.for_input(&sha256).map_err(refused)?;
    let (tracks, times) = (document.tracks(), document.times());
    let wanted = tracks.iter().find(|track| track.id == TrackId(spec.track));
    let wanted =
        wanted.ok_or_else(|| JobError::NoTrack { path: spec.plan.clone(), track: spec.track })?;
    let mut candidates = candidates(wanted, &tracks, &times);
    let Some(last) = candidates.keys().max().copied() else { return Ok(conclude(&[], Vec::new())) };

    let engine = Engine::load(&models::locate()?)?;
    let mut examiner = Examiner {
        detector: engine.detector()?,
        recognizer: engine.recognizer()?,
        orientation: reader.info().video.orientation,
        track: spec.track,
        good: Vec::new(),
        refused: Vec::new(),
    };
    let mut told = Teller::new(Phase::Analyse, Some(last as u64 + 1));
    while let Some(decoded) = next_frame(&mut reader)? {
        let frame = decoded.frame;
        told.tell(frame.seq + 1, emit);
        let found = usize::try_from(frame.seq).ok().and_then(|seq| candidates.remove(&seq));
        if let Some(candidate) = found.filter(|c| decoded.intact && c.pts == frame.pts) {
            examiner.look(&frame, &candidate)?;
        }
        if candidates.is_empty() {
            break;
        }
    }
    examiner.conclude()
}

/// Where the input is opened; with its SHA-256.
fn open(spec: &TrackSpec) -> Result<(Reader, String), JobError> {
    spec.input.refuse_playlist()?;
    let sha256 = spec.input.sha256()?;
    Ok((Reader::open(spec.input.open()?, Streams::Video, spec.to_8bit)?, sha256))
}

/// A sighting that is to be looked at. Rectangles are in coded pixels.
struct Candidate {
    pts: Pts,
    /// The face.
    rect: Rect,
    /// The faces of others in the same frame.
    others: Vec<Rect>,
}

/// By frame: the largest sighting of each of [`MOST_LOOKED_AT`] parts of the track.
fn candidates(track: &Track, all: &[Track], times: &[Pts]) -> HashMap<usize, Candidate> {
    let seen: Vec<_> = track.boxes.iter().filter(|b| b.kind == BoxKind::Detected).collect();
    let part = seen.len().div_ceil(MOST_LOOKED_AT).max(1);
    let largest = seen
        .chunks(part)
        .filter_map(|part| part.iter().max_by(|a, b| a.rect.area().total_cmp(&b.rect.area())));
    let mut candidates: HashMap<usize, Candidate> = largest
        .filter_map(|b| {
            let pts = *times.get(b.frame)?;
            Some((b.frame, Candidate { pts, rect: b.rect, others: Vec::new() }))
        })
        .collect();
    for other in all.iter().filter(|other| other.id != track.id) {
        for b in &other.boxes {
            if let Some(candidate) = candidates.get_mut(&b.frame) {
                candidate.others.push(b.rect);
            }
        }
    }
    candidates
}

/// A sighting that does.
struct Good {
    pts: Pts,
    photo: Jpeg,
    worth: f32,
    embedding: Embedding,
}

struct Examiner {
    detector: vision::FaceDetector,
    recognizer: vision::FaceRecognizer,
    orientation: Orientation,
    track: u32,
    good: Vec<Good>,
    refused: Vec<Refusal>,
}

impl Examiner {
    fn look(&mut self, frame: &Frame, candidate: &Candidate) -> Result<(), JobError> {
        let name = format!("face {} at {}", self.track, candidate.pts);
        match self.examine(frame, candidate, &name) {
            Ok(good) => self.good.push(good),
            Err(error) => self.refused.push(refusal(error)?),
        }
        Ok(())
    }

    fn examine(
        &mut self,
        frame: &Frame,
        candidate: &Candidate,
        name: &str,
    ) -> Result<Good, JobError> {
        let (seen, size) = (|r| self.orientation.rect_to_upright(r, frame.size), frame.size);
        let upright = self.orientation.upright_size(size);
        let (face, others) = (seen(candidate.rect), candidate.others.iter().map(|r| seen(*r)));
        let others: Vec<Rect> = others.collect();
        let area = alone(face, &others, upright).ok_or_else(|| {
            let (count, largest) = (others.len() + 1, candidate.rect);
            Error::SeveralFaces { photo: name.to_owned(), count, largest }
        })?;
        let (photo, scale) = jpeg(frame, self.orientation, area)?;
        // Looked at as it will be kept, not as it was before.
        let kept = image::load_from_memory_with_format(&photo.0, ImageFormat::Jpeg)
            .map_err(|e| unreadable(name, &e))?;
        let kept = photo::of(kept.to_rgb8())?;
        let none = Orientation::default();
        let found = gallery::examine_photo(
            &mut self.detector,
            &mut self.recognizer,
            kept.frame(),
            none,
            name,
        )?;
        let own = face.shifted(-area.x0, -area.y0);
        let own = Rect::new(own.x0 * scale, own.y0 * scale, own.x1 * scale, own.y1 * scale);
        if found.face.rect.iou(own) < SAME_PLACE {
            return Err(Error::NoFace { photo: name.to_owned() }.into());
        }
        let worth = worth(&found.quality, found.face.rect.width());
        Ok(Good { pts: candidate.pts, photo, worth, embedding: found.embedding })
    }

    /// The best, if all are of one person.
    fn conclude(mut self) -> Result<TrackExamined, JobError> {
        self.good.sort_by(|a, b| b.worth.total_cmp(&a.worth));
        let given: Vec<Sighted> = self.good.iter().take(MOST_GIVEN).map(Good::given).collect();
        let photos = self.good.drain(..).map(|good| {
            let name = format!("face {} at {}", self.track, good.pts);
            (name, good.embedding)
        });
        let photos: Vec<_> = photos.collect();
        if !photos.is_empty() {
            let person = Person { name: "this track".to_owned() };
            match Gallery::enrol(vec![Group { person, photos }]) {
                Ok(_) => {}
                Err(error @ Error::NotOnePerson { .. }) => {
                    return Ok(TrackExamined {
                        good: Vec::new(),
                        refused: Some(refusal(error.into())?),
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(conclude(&self.refused, given))
    }
}

impl Good {
    fn given(&self) -> Sighted {
        Sighted {
            timestamp_ms: (self.pts.seconds() * 1000.0).round() as i64,
            templates: Templates(vec![self.embedding.values().to_vec()]),
            photo: self.photo.clone(),
        }
    }
}

fn conclude(refused: &[Refusal], good: Vec<Sighted>) -> TrackExamined {
    if !good.is_empty() {
        return TrackExamined { good, refused: None };
    }
    let times = |code: Reason| refused.iter().filter(|r| r.code == code).count();
    let most = refused.iter().rev().max_by_key(|r| times(r.code));
    let none = || Refusal {
        code: Reason::NoFace,
        message: "the face was never seen clearly; use a photo, or another track".to_owned(),
    };
    TrackExamined { good, refused: Some(most.cloned().unwrap_or_else(none)) }
}

/// How good it is, 0 to 1: sharp, from the front, and large.
fn worth(quality: &Quality, width: f32) -> f32 {
    let sharp = (quality.sharpness / (3.0 * LEAST_SHARPNESS)).min(1.0);
    let front = 1.0 - quality.turn / MOST_TURN / 2.0;
    sharp * front * (width / WIDE).min(1.0)
}

/// The face with as much around it as shows nobody else, in whole pixels of the upright picture.
fn alone(face: Rect, others: &[Rect], upright: Size) -> Option<Rect> {
    let picture = Rect::new(0.0, 0.0, upright.width as f32, upright.height as f32);
    let grown = MARGINS.iter().map(|margin| {
        let r = face.grown(*margin).intersection(picture);
        Rect::new(r.x0.floor(), r.y0.floor(), r.x1.ceil(), r.y1.ceil())
    });
    let mut alone = grown.filter(|area| {
        area.area() > 0.0 && others.iter().all(|other| area.intersection(*other).area() <= 0.0)
    });
    alone.next()
}

/// This area of the upright picture, and the size of its pixels in those of the JPEG.
fn jpeg(frame: &Frame, orientation: Orientation, area: Rect) -> Result<(Jpeg, f32), JobError> {
    let (width, height) = (area.width() as u32, area.height() as u32);
    let mut picture = color::upright(frame, orientation, (width, height), |p| Point {
        x: area.x0 + p.x,
        y: area.y0 + p.y,
    });
    let scale = (MOST_SIDE as f32 / width.max(height) as f32).min(1.0);
    if scale < 1.0 {
        let side = |v: u32| ((v as f32 * scale).round() as u32).max(1);
        picture = imageops::resize(&picture, side(width), side(height), FilterType::Triangle);
    }
    let mut bytes = Vec::new();
    let written = JpegEncoder::new_with_quality(&mut bytes, photo::JPEG_QUALITY)
        .encode_image(&picture)
        .map_err(|e| unreadable("the picture of a face", &e));
    picture.into_raw().zeroize();
    written.map(|()| (Jpeg(bytes), scale))
}

fn unreadable(name: &str, why: &image::ImageError) -> JobError {
    JobError::Picture { path: PathBuf::from(name), why: why.to_string() }
}
