//! The plan as a JSON document: `docs/reference/plan.md` describes it for people who edit one.
//!
//! One set of types is written and read, so neither can drift from the other, nor from the schema
//! that a test makes of them. Whatever was read is checked before anything is made of it, and
//! becomes a plan only together with the input whose SHA-256 it names.

mod build;
mod check;
mod error;
mod published;
#[cfg(test)]
mod schema;
mod write;

use std::num::NonZeroU32;

use domain::{BoxKind, Rect, Size, TimeBase, TrackId};
use serde::{Deserialize, Deserializer, Serialize};

pub use error::PlanError;
pub use published::Published;
pub use write::PlanHeader;

use crate::{EffectKind, Policy, PolicyError, Reason, Shape};

/// Value of `format` in every plan.
pub const FORMAT: &str = "garim-plan";

/// Value of `version`. Rises when a reader of the last version would misread the document.
pub const VERSION: u32 = 1;

/// Longest document that is read, in bytes: hours of crowds fit.
pub const MAX_BYTES: u64 = 1 << 30;

/// A plan as a document that was found sound: made by [`PlanDocument::parse`] or
/// [`crate::RedactionPlan::document`]. It covers nothing until
/// [`PlanDocument::for_input`] or [`PlanDocument::for_published`].
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct PlanDocument(Document);

impl PlanDocument {
    /// Reads a document. What it does not understand, or finds contradictory, it refuses: a typo in
    /// an edit must not leave a face uncovered.
    ///
    /// # Errors
    /// Not a plan, of another version, malformed, or inconsistent; with the place.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(PlanError::TooLarge);
        }
        // First of all the version: the fields of another one mean nothing here.
        let head: Head = read(bytes)?;
        if head.format.as_deref() != Some(FORMAT) {
            return Err(PlanError::NotAPlan);
        }
        let version = head.version.unwrap_or(0);
        if version != u64::from(VERSION) {
            return Err(PlanError::Version(version));
        }
        let document: Document = read(bytes)?;
        check::check(&document)?;
        Ok(Self(document))
    }
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, PlanError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| PlanError::Malformed {
        place: e.path().to_string(),
        why: e.inner().to_string(),
    })?;
    let end = json.end();
    end.map_err(|e| PlanError::Malformed { place: ".".to_owned(), why: e.to_string() })?;
    Ok(value)
}

#[derive(Deserialize)]
struct Head {
    format: Option<String>,
    version: Option<u64>,
}

/// What a rendering covers in one video, and why. Times are whole numbers of ticks of `time_base`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "Garim plan, version 1"))]
struct Document {
    /// Always `garim-plan`.
    #[cfg_attr(test, schemars(extend("const" = FORMAT)))]
    format: String,
    /// Always 1.
    #[cfg_attr(test, schemars(extend("const" = VERSION)))]
    version: u32,
    /// Version of Garim that made the plan.
    tool: String,
    /// The file that the plan is good for.
    input: Input,
    /// The models that looked at it.
    models: Vec<Model>,
    /// How faces are covered.
    policy: PolicyForm,
    /// Length of a tick; null only when there are no frames.
    time_base: Option<Base>,
    /// Time of every frame, rising. A frame that is missing here is covered whole.
    frames: Vec<i64>,
    /// Frames covered whole, whatever their boxes.
    covered_whole: Vec<WholeSpan>,
    /// Groups of pictures that may be copied instead of encoded again.
    gops: Vec<GopForm>,
    /// Faces followed over time, by rising `id`.
    tracks: Vec<TrackForm>,
    /// Areas covered by hand.
    manual: Vec<Manual>,
}

/// A file by its content.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Input {
    /// Its name without folders.
    name: Option<String>,
    /// SHA-256 of its bytes in lower-case hex.
    sha256: String,
    /// Coded width of the pictures in pixels.
    width: u32,
    /// Coded height of the pictures in pixels.
    height: u32,
}

/// A model that took part in an analysis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Model {
    /// Its name, e.g. `yunet`.
    pub name: String,
    /// SHA-256 of its file, lower-case hex.
    pub sha256: String,
}

/// How faces are covered. Weaker than measured safe is refused.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PolicyForm {
    effect: EffectKind,
    /// Mosaic cells along the short side of the padded box; other effects do not look at it.
    cells: Option<u8>,
    shape: Shape,
    /// Padding on every side as a share of the face; null: the effect's own.
    pad: Option<f32>,
}

impl PolicyForm {
    fn policy(&self) -> Result<Policy, PolicyError> {
        Policy::new(self.effect, self.cells.unwrap_or(Policy::MAX_CELLS), self.shape, self.pad)
    }
}

/// Length of a tick: `num / den` seconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Base {
    num: NonZeroU32,
    den: NonZeroU32,
}

impl Base {
    fn time_base(self) -> Option<TimeBase> {
        TimeBase::new(self.num.get(), self.den.get())
    }
}

/// Every frame from `from` to `to`, both included, is covered whole.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct WholeSpan {
    from: i64,
    to: i64,
    /// Why; `manual` for what a person added.
    reason: Reason,
}

/// A group of pictures.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct GopForm {
    /// Time of its first frame.
    from: i64,
    /// Number of pictures.
    packets: u32,
    /// Most pictures that are decoded before, and shown after, one and the same picture; at most 16.
    reorder: u8,
    /// SHA-256 over the lengths and bytes of its packets, lower-case hex.
    sha256: String,
    /// Whether its packets hold nothing but one shown picture each.
    plain: bool,
}

/// One face followed over time.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TrackForm {
    /// Its number; report and contact sheet have the same.
    #[cfg_attr(test, schemars(with = "u32"))]
    id: TrackId,
    /// A person's word on it, which counts more than `shown`; null: none.
    edit: Option<Edit>,
    /// Best detection score, 0 to 1.
    best_score: f32,
    /// Whom of the kept people it looked most like; null: it was never compared.
    most_like: Option<Likeness>,
    /// When it is confirmed to be a kept person, and so not covered.
    shown: Vec<Shown>,
    /// Where it is.
    boxes: Vec<Row>,
}

/// What a person says of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Edit {
    /// Never shown.
    Cover,
    /// Shown in all its frames.
    Keep,
}

/// Likeness to a kept person.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Likeness {
    person: String,
    /// Cosine similarity, -1 to 1.
    similarity: f32,
}

/// A track is not covered from `from` to `to`, both included.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Shown {
    /// Whom it was confirmed to be; null when the name is not known.
    person: Option<String>,
    /// Best cosine similarity to that person in these frames, -1 to 1; null when none was compared
    /// here.
    similarity: Option<f32>,
    from: i64,
    to: i64,
}

/// `[time, left, top, right, bottom, kind]` in coded pixels, without padding.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Row(
    i64,
    #[serde(deserialize_with = "edge")]
    #[cfg_attr(test, schemars(with = "Option<f32>"))]
    f32,
    #[serde(deserialize_with = "edge")]
    #[cfg_attr(test, schemars(with = "Option<f32>"))]
    f32,
    #[serde(deserialize_with = "edge")]
    #[cfg_attr(test, schemars(with = "Option<f32>"))]
    f32,
    #[serde(deserialize_with = "edge")]
    #[cfg_attr(test, schemars(with = "Option<f32>"))]
    f32,
    #[serde(with = "Kind")] BoxKind,
);

/// JSON has no NaN; it is written as null.
fn edge<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Ok(Option::<f32>::deserialize(deserializer)?.unwrap_or(f32::NAN))
}

/// How the face's place is known.
#[derive(Serialize, Deserialize)]
#[serde(remote = "BoxKind", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum Kind {
    Detected,
    Interpolated,
    Extended,
    Manual,
}

/// An area that is covered in every frame from `from` to `to`, both included. Between two keys its
/// edges move evenly; before the first and after the last they stay.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Manual {
    /// For people.
    note: Option<String>,
    from: i64,
    to: i64,
    /// At least one, rising in time.
    keys: Vec<Key>,
}

/// `[time, left, top, right, bottom]` in coded pixels, without padding.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Key(i64, f32, f32, f32, f32);

impl Document {
    fn size(&self) -> Size {
        Size { width: self.input.width, height: self.input.height }
    }

    /// Indices of the frames from `from` to `to`, both included.
    fn between(&self, from: i64, to: i64) -> std::ops::Range<usize> {
        let start = self.frames.partition_point(|t| *t < from);
        start..self.frames.partition_point(|t| *t <= to).max(start)
    }

    /// Why each frame is covered whole; of two spans the one that starts first.
    fn whole(&self) -> Vec<Option<Reason>> {
        let mut whole = vec![None; self.frames.len()];
        let mut spans: Vec<&WholeSpan> = self.covered_whole.iter().collect();
        spans.sort_by_key(|span| span.from);
        let mut decided = 0;
        for span in spans {
            let frames = self.between(span.from, span.to);
            if let Some(rest) = whole.get_mut(frames.start.max(decided)..frames.end) {
                rest.fill(Some(span.reason));
            }
            decided = decided.max(frames.end);
        }
        whole
    }
}

impl Row {
    fn rect(&self) -> Rect {
        Rect::new(self.1, self.2, self.3, self.4)
    }
}

impl Key {
    fn rect(&self) -> Rect {
        Rect::new(self.1, self.2, self.3, self.4)
    }
}
