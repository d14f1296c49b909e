//! Proof from pixels: is every face of the original destroyed in the output, but for kept people's?
//!
//! Independent of the plan and of the analysis: other detector settings, no tracker, every frame.
//! What is compared with what is in `verify/pairs.rs`, what is said of it in `verify/judge.rs`.
//!
//! ```text
//! packets of both files ──────────────────────────────► sound, copied groups
//! frames of both ─► pairs ─► look (one worker a core) ─► judge ─► leaks, suspects, kept people
//! ```

mod detail;
mod faces;
mod judge;
mod look;
mod pairs;
mod plan;
mod report;
mod streams;

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Instant as Clock;

use media::{Reader, Streams};
use serde::{Deserialize, Serialize};
use vision::{Detector, Engine, Gallery, Recognizer, models};

use crate::analyse::next_frame;
use crate::job::Teller;
use crate::sheet::SpotSheet;
use crate::{FileHash, Input, JobError, KeepSpec, Phase, Progress, enrol};
use judge::{Judge, Verdict};
use look::Eyes;
use pairs::Pairs;
pub use report::{
    FaceCounts, Failure, FailureKind, FoundBy, Sound, Spot, VERIFY_REPORT_VERSION, VerifiedFrames,
    VerifyReport, Why,
};

/// Everything a verification needs to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifySpec {
    /// The video before it was covered.
    pub original: Input,
    /// The covered video.
    pub output: Input,
    /// The plan it was covered by: faces that a person decided to show by it are no leaks.
    pub plan: Option<PathBuf>,
    /// People who may be seen.
    pub keep: Vec<KeepSpec>,
    /// Least similarity to a kept person.
    pub keep_threshold: f32,
    /// Where to write a picture of all leaks and suspects; it shows faces.
    pub contact_sheet: Option<PathBuf>,
}

/// Compares two videos. `emit` gets its progress.
///
/// # Errors
/// Files, photos or models that cannot be read. A leak is not an error: it is in the report.
pub fn verify(spec: &VerifySpec, emit: &mut dyn FnMut(Progress)) -> Result<VerifyReport, JobError> {
    let started = Clock::now();
    if spec.contact_sheet.is_some() {
        spec.original.refuse_sheet()?;
        spec.output.refuse_sheet()?;
    }
    let hash = |input: &Input| {
        Ok::<_, JobError>(FileHash { path: input.path.clone(), sha256: input.sha256()? })
    };
    let (original, output) = (hash(&spec.original)?, hash(&spec.output)?);
    let hints = match &spec.plan {
        Some(path) => Some(plan::hints(path, &original.sha256)?),
        None => None,
    };
    let streams = streams::compare(&spec.original, &spec.output)?;
    let mut pairs = Pairs::open(&spec.original, &spec.output, streams.copied, hints)?;
    let verdict = look_at_all(spec, &mut pairs, emit)?;
    let pairs = pairs.finish();
    if let Some(path) = &spec.contact_sheet {
        draw(spec, &verdict)?.write(path)?;
    }
    let mut report = VerifyReport {
        verify_version: VERIFY_REPORT_VERSION,
        garim: env!("CARGO_PKG_VERSION").to_owned(),
        original,
        output,
        verified: false,
        frames: VerifiedFrames {
            original: pairs.frames.0,
            output: pairs.frames.1,
            compared: verdict.compared,
            exact: verdict.exact,
            copied: verdict.copied,
            copied_groups: streams.copied_groups,
        },
        faces: verdict.counts,
        leaks: Vec::new(),
        suspects: Vec::new(),
        unlisted: verdict.unlisted,
        sound: streams.sound,
        failures: streams.failures,
        notes: streams.notes,
        seconds: 0.0,
    };
    report.failures.extend(pairs.failures);
    report.failures.extend(failures(&verdict));
    if let Some(clear) = pairs.clear
        && report.frames.copied > 0
        && clear > 0
    {
        report.notes.push(format!(
            "{clear} frames that need no cover by the plan were re-encoded, not copied"
        ));
    }
    (report.leaks, report.suspects) = (verdict.leaks, verdict.suspects);
    report.verified = report.leaks.is_empty() && report.failures.is_empty();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// Has every pair of frames looked at.
fn look_at_all(
    spec: &VerifySpec,
    pairs: &mut Pairs,
    emit: &mut dyn FnMut(Progress),
) -> Result<Verdict, JobError> {
    let engine = Engine::load(&models::locate()?)?;
    let mut recognizer: Box<dyn Recognizer> = Box::new(engine.recognizer()?);
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(8);
    let mut detectors: Vec<Box<dyn Detector>> = Vec::new();
    for _ in 0..workers {
        detectors.push(Box::new(engine.detector()?));
    }
    let keeping = !spec.keep.is_empty();
    let gallery = match detectors.first_mut() {
        Some(detector) if keeping => enrol(detector.as_mut(), recognizer.as_mut(), &spec.keep)?,
        _ => Gallery::enrol(Vec::new())?,
    };
    let eyes = Eyes {
        gallery: &gallery,
        recognizer: Mutex::new(recognizer),
        orientation: pairs.orientation(),
    };
    let judge = Judge::new(keeping.then_some(spec.keep_threshold));
    let mut told = Teller::new(Phase::Verify, pairs.expected());
    pairs::look_at(pairs, detectors, &eyes, judge, &mut |n| told.tell(n, emit))
}

fn failures(verdict: &Verdict) -> Vec<Failure> {
    let mut failures = Vec::new();
    if verdict.changed.0 > 0 {
        failures.push(Failure {
            kind: FailureKind::FrameChanged,
            at: Some(verdict.changed.1),
            message: format!(
                "{} frames whose packets were copied are not the same, from {:.2} s on",
                verdict.changed.0, verdict.changed.1
            ),
        });
    }
    if verdict.counts.overlooked > 0 {
        failures.push(Failure {
            kind: FailureKind::TooManyFaces,
            at: None,
            message: format!(
                "{} faces were not looked at: more than {} in a frame",
                verdict.counts.overlooked,
                faces::MAX_FACES
            ),
        });
    }
    failures
}

/// Reads both files again for the pictures of what was found.
fn draw(spec: &VerifySpec, verdict: &Verdict) -> Result<SpotSheet, JobError> {
    let mut sheet = SpotSheet::new(&verdict.leaks, &verdict.suspects);
    for (side, input) in [&spec.original, &spec.output].into_iter().enumerate() {
        let mut reader = Reader::open(input.open()?, Streams::Video, true)?;
        let orientation = reader.info().video.orientation;
        while let Some(decoded) = next_frame(&mut reader)? {
            if !sheet.see(side, &decoded.frame, orientation) {
                break;
            }
        }
    }
    Ok(sheet)
}

/// Times of frames.
type Times = HashSet<streams::Instant>;
