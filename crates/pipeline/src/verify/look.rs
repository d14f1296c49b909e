//! One frame of the original and the same moment of the output, compared.

use std::sync::Mutex;

use domain::{Detection, Frame, Orientation, PersonIx, Rect};
use vision::{Detector, Gallery, Recognizer};

use super::detail::{self, Detail};
use super::faces::{self, Face, MAX_FACES};
use crate::JobError;

/// Narrower faces cannot be recognised reliably, in pixels. A little below the 40 that the analysis
/// asks for: its detectors measure the same face a little larger or smaller.
const MIN_RECOGNISED: f32 = 36.0;
/// Faces recognised in one frame, at most; the largest.
const MAX_RECOGNISED: usize = 16;

/// IoU from which on a box of the plan means a face.
const MEANT: f32 = 0.3;

/// A pair of frames on its way to a worker.
pub(super) struct Pair {
    /// Place in the order of pairs, from 0.
    pub index: u64,
    /// The frame as it was.
    pub original: Frame,
    /// The frame as it is now.
    pub output: Frame,
    /// Whether the packets of its GOP were copied, so that every pixel must be the same.
    pub copied: bool,
    /// Which faces the recogniser looks at.
    pub recognise: Recognise,
    /// How many deep looks there were before, if this is to be one.
    pub deep: Option<u64>,
    /// Where faces are that a person decided to show, in coded pixels.
    pub by_hand: Vec<Rect>,
}

/// Which faces of a frame the recogniser looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recognise {
    /// Faces that do not show: are they recognisable all the same?
    pub covered: bool,
    /// Faces that show: whose are they?
    pub shown: bool,
}

/// What workers need to recognise faces.
pub(super) struct Eyes<'a> {
    /// The people to keep.
    pub gallery: &'a Gallery,
    /// One for all workers: its weights take 85 MB.
    pub recognizer: Mutex<Box<dyn Recognizer>>,
    /// How the pictures are turned.
    pub orientation: Orientation,
}

/// What became of one face.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// The face, as found in the original.
    pub face: Face,
    /// How much of it is left.
    pub detail: Detail,
    /// How alike the recogniser finds original and output, -1..=1, if it looked.
    pub same: Option<f32>,
    /// The kept person most like the original, if it looked.
    pub person: Option<(PersonIx, f32)>,
    /// Whether a person decided to show it, whoever it is.
    pub by_hand: bool,
}

/// What was seen of a pair.
pub(super) struct Seen {
    /// Place in the order of pairs.
    pub index: u64,
    /// Frames of original and output.
    pub frames: (u64, u64),
    /// When, in seconds.
    pub time: f64,
    /// How many deep looks there were before, if it was one.
    pub deep: Option<u64>,
    /// Whether every pixel is the same.
    pub exact: bool,
    /// Whether it had to be.
    pub copied: bool,
    /// The faces of the original.
    pub looks: Vec<Look>,
    /// Faces that were too many to be looked at.
    pub overlooked: usize,
}

/// Looks at one pair.
pub(super) fn look(
    detector: &mut dyn Detector,
    eyes: &Eyes<'_>,
    pair: &Pair,
) -> Result<Seen, JobError> {
    let (original, output) = (&pair.original, &pair.output);
    let mut found = faces::find(detector, original, eyes.orientation, pair.deep.is_some())?;
    let overlooked = found.len().saturating_sub(MAX_FACES);
    found.truncate(MAX_FACES);
    let mut looks = Vec::with_capacity(found.len());
    if let ([before, ..], [after, ..]) = (&original.planes[..], &output.planes[..]) {
        let noise = detail::noise(before, after);
        for face in found {
            let Some(detail) = detail::compare(before, after, face.rect, noise) else { continue };
            looks.push(Look { face, detail, same: None, person: None, by_hand: false });
        }
    }
    for rect in &pair.by_hand {
        // One face each: whoever is beside it was not meant.
        let nearest = looks.iter_mut().map(|look| (look.face.rect.iou(*rect), look));
        if let Some((iou, look)) = nearest.max_by(|a, b| a.0.total_cmp(&b.0))
            && iou > MEANT
        {
            look.by_hand = true;
        }
    }
    let wanted = |look: &Look| {
        if look.detail.shows() { pair.recognise.shown } else { pair.recognise.covered }
    };
    let able = |look: &&mut Look| wanted(look) && look.face.width() >= MIN_RECOGNISED;
    for look in looks.iter_mut().filter(able).take(MAX_RECOGNISED) {
        recognise(eyes, pair, look)?;
    }
    Ok(Seen {
        index: pair.index,
        frames: (original.seq, output.seq),
        time: original.pts.seconds(),
        deep: pair.deep,
        exact: is_exact(original, output),
        copied: pair.copied,
        looks,
        overlooked,
    })
}

/// Embeddings live in here only.
fn recognise(eyes: &Eyes<'_>, pair: &Pair, look: &mut Look) -> Result<(), JobError> {
    let Some(landmarks) = look.face.landmarks else { return Ok(()) };
    let face = Detection::new(look.face.rect, look.face.score, landmarks);
    let mut recognizer = eyes.recognizer.lock().map_err(|_| JobError::Panicked("verify"))?;
    let mut embed = |frame: &Frame| match recognizer.embed(frame, eyes.orientation, &face) {
        Ok(embedding) => Ok(Some(embedding)),
        Err(vision::Error::BadLandmarks) => Ok(None),
        Err(e) => Err(e),
    };
    let Some(before) = embed(&pair.original)? else { return Ok(()) };
    look.person = eyes.gallery.nearest(&before);
    if !look.detail.shows() {
        // The points of the original: what an attacker could at best align the cover with.
        look.same = embed(&pair.output)?.map(|after| before.cosine(&after));
    }
    Ok(())
}

/// Whether all planes hold the same samples, row padding aside.
fn is_exact(a: &Frame, b: &Frame) -> bool {
    a.size == b.size
        && a.format == b.format
        && a.planes.iter().zip(&b.planes).all(|(a, b)| {
            (a.width, a.height) == (b.width, b.height)
                && (0..a.height).all(|y| a.row(y) == b.row(y))
        })
}
