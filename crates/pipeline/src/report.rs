//! What was done to a file, for people and for programs. Holds times, boxes' sizes and
//! similarities; never pictures or templates.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::{BoxKind, Pts, Track, TrackId};
use redact::{Covered, Edit, Model, Reason};
use serde::{Deserialize, Serialize};
use vision::identify;

use crate::analyse::Analysed;
use crate::render::Rendered;

/// Version of the report's form; rises when a field changes its meaning or goes.
pub const REPORT_VERSION: u32 = 1;

/// A file and what was in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileHash {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 in lower-case hexadecimal; empty for a folder.
    pub sha256: String,
}

impl FileHash {
    /// Its name without folders.
    pub fn name(&self) -> Option<String> {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned())
    }
}

/// What was done to a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this form.
    pub report_version: u32,
    /// Garim's version.
    pub garim: String,
    /// FFmpeg's version.
    pub ffmpeg: String,
    /// The input.
    pub input: FileHash,
    /// The covered file.
    pub output: FileHash,
    /// The plan, if one was written.
    pub plan: Option<FileHash>,
    /// The models used, with their hashes.
    pub models: Vec<ModelHash>,
    /// Frames by what happened to them.
    pub frames: FrameCounts,
    /// Stretches that were covered whole.
    pub covered_whole: Vec<CoveredWhole>,
    /// Faces that were followed.
    pub tracks: Vec<TrackReport>,
    /// What a person changed in the plan; only where a plan was rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<ByHand>,
    /// Places a person may want to look at.
    pub review: Vec<ReviewSpan>,
    /// What else to know.
    pub warnings: Vec<String>,
    /// `copied` bit-exact, `aac` re-encoded, or none.
    pub audio: Option<String>,
    /// What was encoded and what copied; none for a photo.
    pub rendering: Option<Rendering>,
    /// Seconds added to all time stamps (MPEG-TS clocks start anywhere); 0 otherwise.
    pub clock_offset: f64,
    /// Seconds spent looking.
    pub analyse_seconds: f64,
    /// Seconds spent painting and encoding.
    pub render_seconds: f64,
}

/// How much of the video was encoded again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
pub enum Rendering {
    /// All of it.
    Full {
        /// Why nothing was copied.
        why: String,
    },
    /// Only groups of pictures that hold something to cover; the others are bit-exact copies.
    Smart {
        /// Groups of pictures in the video.
        groups: u64,
        /// Of these, copied.
        copied_groups: u64,
        /// Frames in the copied ones.
        copied_frames: u64,
    },
}

/// A model by name and hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelHash {
    /// Its name.
    pub name: String,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// Frames by what happened to them: `total == untouched + covered + covered_whole`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameCounts {
    /// In the output.
    pub total: u64,
    /// That the input should hold, by its index or packets.
    pub expected: u64,
    /// With nothing to cover.
    pub untouched: u64,
    /// With covered regions.
    pub covered: u64,
    /// Covered whole.
    pub covered_whole: u64,
}

/// Frames in a row that were covered whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CoveredWhole {
    /// Start in seconds.
    pub from: f64,
    /// Time of the last frame in seconds.
    pub to: f64,
    /// How many.
    pub frames: u64,
    /// Why.
    pub reason: Reason,
}

/// Whether a track's face can be seen in the output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// Covered in every frame.
    Covered,
    /// Shown, in these spans and no others.
    Kept {
        /// Who it is.
        person: String,
        /// Seconds: from, to.
        spans: Vec<(f64, f64)>,
        /// Frames in which it is shown.
        shown_frames: u64,
    },
}

/// One followed face.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackReport {
    /// Its number; the contact sheet has the same.
    pub id: TrackId,
    /// Time of the first frame it is in, in seconds.
    pub first: f64,
    /// Time of the last frame it is in, in seconds.
    pub last: f64,
    /// Frames it is in.
    pub frames: u64,
    /// Of these, frames in which a detector found it.
    pub detected: u64,
    /// Smallest, middle and largest width in pixels where it was detected.
    pub width: [f32; 3],
    /// The same of the height.
    pub height: [f32; 3],
    /// Best detection score, 0..=1.
    pub best_score: f32,
    /// The kept person it looked most like, and the cosine similarity.
    pub most_like: Option<(String, f32)>,
    /// What a person said of it in the plan; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<Edit>,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// A place to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReviewSpan {
    /// Start in seconds.
    pub from: f64,
    /// End in seconds.
    pub to: f64,
    /// Why.
    pub why: String,
}

/// What a person changed in the plan before it was rendered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByHand {
    /// Tracks kept.
    pub kept: u64,
    /// Tracks covered.
    pub covered: u64,
    /// Areas covered.
    pub areas: u64,
}

/// How long the parts took.
#[derive(Default)]
pub(crate) struct Times {
    pub(crate) analyse: Duration,
    pub(crate) render: Duration,
}

impl Report {
    #[allow(clippy::too_many_arguments)] // Each is a different thing, named at the one call.
    pub(crate) fn new(
        analysed: &Analysed,
        rendered: &Rendered,
        people: &[String],
        input: &FileHash,
        output: FileHash,
        plan: Option<FileHash>,
        models: Vec<Model>,
        times: &Times,
    ) -> Self {
        let clock = Clock(&analysed.times);
        let tracks = analysed.followed.tracks.iter();
        Self {
            report_version: REPORT_VERSION,
            garim: env!("CARGO_PKG_VERSION").to_owned(),
            ffmpeg: media::ffmpeg_version(),
            input: input.clone(),
            output,
            plan,
            models: models
                .into_iter()
                .map(|m| ModelHash { name: m.name, sha256: m.sha256 })
                .collect(),
            frames: count(analysed, rendered),
            covered_whole: whole(analysed, &clock),
            tracks: tracks.map(|t| track(t, analysed, people, &clock)).collect(),
            by_hand: None,
            review: review(analysed, &clock),
            warnings: warnings(analysed, rendered),
            audio: rendered
                .audio_copied
                .map(|copied| if copied { "copied" } else { "aac" }.to_owned()),
            rendering: rendered.rendering.clone(),
            clock_offset: rendered.clock_offset,
            analyse_seconds: times.analyse.as_secs_f64(),
            render_seconds: times.render.as_secs_f64(),
        }
    }

    /// One line for the end of a job.
    pub fn summary(&self) -> String {
        let kept = self.tracks.iter().filter(|t| t.verdict != Verdict::Covered).count();
        let faces = self.tracks.len();
        let f = &self.frames;
        let mut line = format!(
            "{} of {} frames covered, {faces} face{} followed, {kept} kept",
            f.covered + f.covered_whole,
            f.total,
            if faces == 1 { "" } else { "s" },
        );
        if let Some(Rendering::Smart { copied_frames, .. }) = self.rendering {
            line += &format!(", {copied_frames} frames copied as they were");
        }
        if let Some(ByHand { areas: areas @ 1.., .. }) = self.by_hand {
            line += &format!(", {areas} area{} covered by hand", if areas == 1 { "" } else { "s" });
        }
        if f.covered_whole > 0 {
            line += &format!(", {} frames covered whole", f.covered_whole);
        }
        if !self.warnings.is_empty() {
            line += &format!(", {} warning(s)", self.warnings.len());
        }
        line
    }
}

/// Times of frames in seconds.
struct Clock<'a>(&'a [Pts]);

impl Clock<'_> {
    fn at(&self, frame: usize) -> f64 {
        let pts = self.0.get(frame).or(self.0.last());
        pts.map_or(0.0, |pts| (pts.seconds() * 1e6).round() / 1e6)
    }
}

fn count(analysed: &Analysed, rendered: &Rendered) -> FrameCounts {
    let plan = analysed.plan.summary();
    let beyond = rendered.frames.saturating_sub(plan.frames as u64);
    let whole = plan.whole as u64 + rendered.distrusted + beyond;
    let untouched = plan.untouched as u64;
    FrameCounts {
        total: rendered.frames,
        expected: analysed.stats.expected.max(rendered.stats.expected),
        untouched,
        covered: rendered.frames.saturating_sub(whole + untouched),
        covered_whole: whole,
    }
}

fn whole(analysed: &Analysed, clock: &Clock) -> Vec<CoveredWhole> {
    let mut spans: Vec<CoveredWhole> = Vec::new();
    let mut open = false;
    for (at, frame) in analysed.plan.iter().enumerate() {
        let Covered::All(reason) = frame.covered else {
            open = false;
            continue;
        };
        match spans.last_mut() {
            Some(span) if open && span.reason == reason => {
                span.to = clock.at(at);
                span.frames += 1;
            }
            _ => {
                let from = clock.at(at);
                spans.push(CoveredWhole { from, to: from, frames: 1, reason });
            }
        }
        open = true;
    }
    spans
}

fn track(track: &Track, analysed: &Analysed, people: &[String], clock: &Clock) -> TrackReport {
    let name = |person: domain::PersonIx| people.get(person.0).cloned().unwrap_or_default();
    let mut frames: Vec<usize> = track.boxes.iter().map(|b| b.frame).collect();
    frames.dedup();
    let seen: Vec<_> = track.boxes.iter().filter(|b| b.kind == BoxKind::Detected).collect();
    let spans: Vec<_> = analysed.shown.iter().filter(|s| s.track == track.id).collect();
    let verdict = match spans.first() {
        None => Verdict::Covered,
        Some(first) => Verdict::Kept {
            person: name(first.person),
            spans: spans.iter().map(|s| (clock.at(s.first), clock.at(s.last))).collect(),
            shown_frames: spans.iter().map(|s| (s.last + 1).saturating_sub(s.first) as u64).sum(),
        },
    };
    TrackReport {
        id: track.id,
        first: clock.at(frames.first().copied().unwrap_or(track.first.0)),
        last: clock.at(frames.last().copied().unwrap_or(track.last.0)),
        frames: frames.len() as u64,
        detected: seen.len() as u64,
        width: spread(seen.iter().map(|b| b.rect.width())),
        height: spread(seen.iter().map(|b| b.rect.height())),
        best_score: track.best_score,
        most_like: identify::closest(track).map(|(person, s)| (name(person), s)),
        edit: None,
        verdict,
    }
}

/// Smallest, middle and largest.
fn spread(values: impl Iterator<Item = f32>) -> [f32; 3] {
    let mut values: Vec<f32> = values.collect();
    values.sort_by(f32::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(&least), Some(&middle), Some(&most)) => {
            [least, middle, most].map(|v| (v * 10.0).round() / 10.0)
        }
        _ => [0.0; 3],
    }
}

/// What a person may want to look at: finds that were dismissed, and kept faces that nearly were.
fn review(analysed: &Analysed, clock: &Clock) -> Vec<ReviewSpan> {
    let dropped = analysed.followed.dropped.iter().map(|t| ReviewSpan {
        from: clock.at(t.first.0),
        to: clock.at(t.last.0),
        why: format!(
            "something like a face (score {:.2}) that the second detector did not confirm was not \
             covered; --speed thorough covers it",
            t.best_score
        ),
    });
    let partly = analysed.followed.tracks.iter().filter_map(|t| {
        let shown = analysed.shown.iter().filter(|s| s.track == t.id);
        let frames: usize = shown.map(|s| (s.last + 1).saturating_sub(s.first)).sum();
        let all = t.last.0 + 1 - t.first.0;
        (frames > 0 && frames * 10 < all * 9).then(|| ReviewSpan {
            from: clock.at(t.first.0),
            to: clock.at(t.last.0),
            why: format!("face {} is kept in {frames} of its {all} frames only", t.id.0),
        })
    });
    let mut spans: Vec<ReviewSpan> = dropped.chain(partly).collect();
    spans.sort_by(|a, b| a.from.total_cmp(&b.from));
    spans
}

fn warnings(analysed: &Analysed, rendered: &Rendered) -> Vec<String> {
    let mut warnings = Vec::new();
    let stats = analysed.stats;
    if stats.frames < stats.expected {
        warnings.push(format!(
            "only {} of {} frames could be decoded; the output is shorter by the rest",
            stats.frames, stats.expected
        ));
    }
    if stats.damaged > 0 {
        warnings.push(format!(
            "{} frames are damaged or depend on damaged ones; they are covered whole",
            stats.damaged
        ));
    }
    if stats.errors > 0 && stats.damaged == 0 && stats.frames >= stats.expected {
        warnings.push(format!("{} errors while reading", stats.errors));
    }
    if stats.retimed > 0 {
        warnings.push(format!(
            "{} frames had no time stamp of their own, or that of another; they were moved to the \
             next free tick",
            stats.retimed
        ));
    }
    if rendered.distrusted > 0 {
        warnings.push(format!(
            "{} frames decoded differently the second time; they are covered whole",
            rendered.distrusted
        ));
    }
    let planned = analysed.plan.len() as u64;
    if rendered.frames != planned {
        warnings.push(format!(
            "{planned} frames were analysed and {} written; did the input change?",
            rendered.frames
        ));
    }
    if rendered.audio_copied == Some(false) {
        warnings.push("MP4 cannot carry this sound; it was re-encoded as AAC".to_owned());
    }
    warnings
}

impl fmt::Display for Report {
    /// The readable form: what `garim mosaic` prints without `--json`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary())?;
        for t in &self.tracks {
            let like = t.most_like.as_ref().map_or(String::new(), |(who, similarity)| {
                format!(", most like {who} ({similarity:.2})")
            });
            let verdict = match (&t.verdict, t.edit) {
                (Verdict::Covered, None | Some(Edit::Keep)) => "covered".to_owned(),
                (Verdict::Covered, Some(Edit::Cover)) => "covered by hand".to_owned(),
                (Verdict::Kept { shown_frames, .. }, Some(_)) => {
                    format!("kept by hand, shown in {shown_frames} frames")
                }
                (Verdict::Kept { person, shown_frames, .. }, None) => {
                    format!("kept: {person}, shown in {shown_frames} frames")
                }
            };
            writeln!(
                f,
                "  face {}: {:.2}-{:.2} s, {} frames, {:.0} px wide, {verdict}{like}",
                t.id.0, t.first, t.last, t.frames, t.width[1]
            )?;
        }
        for s in &self.covered_whole {
            writeln!(
                f,
                "  covered whole: {:.2}-{:.2} s, {} frames: {}",
                s.from, s.to, s.frames, s.reason
            )?;
        }
        for s in &self.review {
            writeln!(f, "  look at {:.2}-{:.2} s: {}", s.from, s.to, s.why)?;
        }
        for warning in &self.warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        Ok(())
    }
}

/// Writes a report as JSON, for people too.
impl Report {
    /// As JSON with line breaks.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// The same report with the outputs under their final names.
    pub fn renamed(mut self, output: &Path, plan: Option<&Path>) -> Self {
        self.output.path = output.to_owned();
        if let (Some(hash), Some(path)) = (self.plan.as_mut(), plan) {
            hash.path = path.to_owned();
        }
        self
    }
}
