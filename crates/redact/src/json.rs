//! The plan as JSON, for reports and for review: `docs/reference/plan.md` describes it.
//!
//! Written as a stream: serialising an hour of video holds an index of its boxes, not its text.
//! Reading one back for a second rendering will live next to this, and will make a `RedactionPlan`
//! only together with the input whose SHA-256 it names.

use domain::{BoxKind, Gop, Size, TimeBase, TrackId};
use serde::ser::{Serialize, SerializeSeq, Serializer};

use crate::plan::Face;
use crate::{Policy, Reason, RedactionPlan, ShownSpan};

/// Value of `format` in every plan.
pub const FORMAT: &str = "garim-plan";

/// Value of `version`. Rises when a reader of the last version would misread the document.
pub const VERSION: u32 = 1;

/// What a plan says about how it came to be.
#[derive(Clone, Debug, Default)]
pub struct PlanHeader {
    /// SHA-256 of the input's bytes, lower-case hex.
    pub input_sha256: String,
    /// File name of the input, without its folder.
    pub input_name: Option<String>,
    /// Version of Garim that analysed.
    pub tool_version: String,
    /// The models that looked.
    pub models: Vec<Model>,
    /// Names of the kept people, by `PersonIx`.
    pub people: Vec<String>,
}

/// A model that took part in an analysis.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Model {
    /// Its name, e.g. `yunet`.
    pub name: String,
    /// SHA-256 of its file, lower-case hex.
    pub sha256: String,
}

impl RedactionPlan {
    /// The document, to be given to a serde serialiser, e.g. `serde_json::to_writer` over a
    /// buffered writer.
    pub fn to_json<'a>(&'a self, header: &'a PlanHeader) -> impl Serialize + 'a {
        Document {
            format: FORMAT,
            version: VERSION,
            tool: &header.tool_version,
            input: Input {
                name: header.input_name.as_deref(),
                sha256: &header.input_sha256,
                size: self.size,
            },
            models: &header.models,
            policy: &self.policy,
            time_base: self.base,
            frames: Frames(self),
            covered_whole: Whole(self),
            gops: Gops(self),
            tracks: Tracks { plan: self, people: &header.people },
        }
    }

    fn ticks(&self, frame: usize) -> Option<i64> {
        self.frames.get(frame).map(|entry| entry.ticks)
    }

    /// The frame that box `at` lies in.
    fn frame_of(&self, at: usize) -> usize {
        self.frames.partition_point(|entry| entry.first <= at).saturating_sub(1)
    }
}

#[derive(serde::Serialize)]
struct Document<'a> {
    format: &'static str,
    version: u32,
    tool: &'a str,
    input: Input<'a>,
    models: &'a [Model],
    policy: &'a Policy,
    time_base: Option<TimeBase>,
    frames: Frames<'a>,
    covered_whole: Whole<'a>,
    gops: Gops<'a>,
    tracks: Tracks<'a>,
}

#[derive(serde::Serialize)]
struct Input<'a> {
    name: Option<&'a str>,
    sha256: &'a str,
    #[serde(flatten)]
    size: Size,
}

/// Time of every frame.
struct Frames<'a>(&'a RedactionPlan);

impl Serialize for Frames<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.frames.iter().map(|entry| entry.ticks))
    }
}

/// Frames covered whole, neighbours with one reason together.
struct Whole<'a>(&'a RedactionPlan);

#[derive(serde::Serialize)]
struct WholeSpan {
    from: i64,
    to: i64,
    frames: usize,
    reason: Reason,
}

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut seq = s.serialize_seq(None)?;
        for run in self.0.frames.chunk_by(|a, b| a.all == b.all) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            if let Some(reason) = first.all {
                let frames = run.len();
                seq.serialize_element(&WholeSpan {
                    from: first.ticks,
                    to: last.ticks,
                    frames,
                    reason,
                })?;
            }
        }
        seq.end()
    }
}

/// Groups of pictures that a second rendering may copy.
struct Gops<'a>(&'a RedactionPlan);

#[derive(serde::Serialize)]
struct GopJson {
    from: i64,
    packets: u32,
    reorder: u8,
    sha256: String,
    plain: bool,
}

impl Serialize for Gops<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.gops.iter().map(|placed| {
            let gop = &placed.gop;
            let sha256 = gop.sha256.iter().map(|b| format!("{b:02x}")).collect();
            let Gop { start, packets, reorder, plain, .. } = *gop;
            GopJson { from: start.ticks, packets, reorder, sha256, plain }
        }))
    }
}

struct Tracks<'a> {
    plan: &'a RedactionPlan,
    people: &'a [String],
}

#[derive(serde::Serialize)]
struct TrackJson<'a> {
    id: TrackId,
    shown: Vec<Shown<'a>>,
    boxes: Boxes<'a>,
}

#[derive(serde::Serialize)]
struct Shown<'a> {
    person: Option<&'a str>,
    from: i64,
    to: i64,
}

impl Serialize for Tracks<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let boxes = &self.plan.boxes;
        let mut order: Vec<usize> = (0..boxes.len()).collect();
        // Stable: the boxes of a track stay in order of time.
        order.sort_by_key(|at| boxes[*at].track);
        let runs = order.chunk_by(|a, b| boxes[*a].track == boxes[*b].track);
        let mut seq = s.serialize_seq(None)?;
        for run in runs {
            let Some(id) = run.first().map(|at| boxes[*at].track) else { continue };
            let boxes = Boxes { plan: self.plan, run };
            seq.serialize_element(&TrackJson { id, shown: self.shown(id), boxes })?;
        }
        seq.end()
    }
}

impl<'a> Tracks<'a> {
    fn shown(&self, id: TrackId) -> Vec<Shown<'a>> {
        let of_track = |span: &&ShownSpan| span.track == id && span.first <= span.last;
        let spans = self.plan.shown.iter().filter(of_track);
        spans
            .filter_map(|span| {
                let last = span.last.min(self.plan.len().saturating_sub(1));
                let (from, to) = (self.plan.ticks(span.first)?, self.plan.ticks(last)?);
                Some(Shown { person: span.named(self.people), from, to })
            })
            .collect()
    }
}

/// The boxes of one track: `[ticks, x0, y0, x1, y1, kind]` each.
struct Boxes<'a> {
    plan: &'a RedactionPlan,
    run: &'a [usize],
}

impl Serialize for Boxes<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.run.iter().map(|at| {
            let Face { rect, kind, .. } = &self.plan.boxes[*at];
            let ticks = self.plan.ticks(self.plan.frame_of(*at));
            let row: (Option<i64>, f32, f32, f32, f32, BoxKind) =
                (ticks, rect.x0, rect.y0, rect.x1, rect.y1, *kind);
            row
        }))
    }
}
