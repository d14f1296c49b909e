//! The first pass, part by part, and what is made of it.

use std::time::{Duration, Instant};

use domain::PersonIx;
use media::{Pass, Reader, Streams};
use redact::Policy;
use serde::{Deserialize, Serialize};
use vision::models;
use vision::{Engine, Gallery, identify};

use super::{SealTo, SeenParts, Split, Stepped, open, seal};
use crate::analyse::{Analysed, Analyst, Looked, conclude, look};
use crate::job::{Ending, Teller, crew};
use crate::kept::Kept;
use crate::report::FileHash;
use crate::{JobError, JobSpec, Phase, Progress, enrol};

/// What one analysis writes.
#[derive(Serialize, Deserialize)]
struct SeenPart {
    /// Names of the people that it knew, by their numbers in it.
    people: Vec<String>,
    looked: Looked,
}

pub(super) fn analyse_part(
    job: &JobSpec,
    split: &Split,
    part: usize,
    output: &SealTo,
    emit: &mut dyn FnMut(Progress),
) -> Result<Stepped, JobError> {
    let started = Instant::now();
    let gops = split.part(part)?;
    let expected = split.first(gops.end) - split.first(gops.start);
    let policy = Policy::new(job.effect, job.cells, job.shape, job.pad)?;
    let engine = Engine::load(&models::locate()?)?;
    let mut detector = engine.detector()?;
    let (gallery, recognizer) = enrol::people(&engine, &mut detector, &job.keep)?;
    let rules = rules(job);
    let analyst = Analyst { recognizer, ..analyst(job, &gallery, &rules, &policy) };
    let mut reader = Reader::open(job.input.open()?, Streams::Video, job.to_8bit)?;
    let pass = |at| if gops.contains(&at) { Pass::Decode } else { Pass::Skip };
    if let Err(why) = reader.splice(split.sections(pass), split.reorder()) {
        return Ok(Stepped::Whole { why: why.to_string() });
    }
    let mut told = Teller::new(Phase::Analyse, Some(expected));
    let detectors = crew(&engine, detector)?;
    let nothing = &mut Kept::new(0);
    let mut looked = look(&mut reader, detectors, &analyst, nothing, &mut |n| told.tell(n, emit))?;
    let stats = &mut looked.stats;
    stats.expected = expected;
    if stats.frames != expected || stats.damaged + stats.errors + stats.retimed > 0 {
        return Ok(Stepped::Whole { why: "it did not decode cleanly".to_owned() });
    }
    if let Err(why) = reader.gops() {
        return Ok(Stepped::Whole { why: why.to_string() });
    }
    let people = job.keep.iter().map(|person| person.name.clone()).collect();
    let len = seal(output, &SeenPart { people, looked })?;
    Ok(Stepped::Analysed { len, seconds: started.elapsed().as_secs_f64() })
}

fn rules(job: &JobSpec) -> identify::Rules {
    identify::Rules { threshold: job.keep_threshold, ..identify::Rules::default() }
}

fn analyst<'a>(
    job: &JobSpec,
    gallery: &'a Gallery,
    rules: &'a identify::Rules,
    policy: &'a Policy,
) -> Analyst<'a> {
    Analyst { speed: job.speed, gallery, recognizer: None, ranked: 1, rules, policy, memory: 0 }
}

pub(super) fn plan(job: &JobSpec, seen: &SeenParts, output: &SealTo) -> Result<Stepped, JobError> {
    let (split, analysed) = put_together(job, seen)?;
    let document = ending(job, seen, &split)?.document(&analysed);
    Ok(Stepped::Planned { len: seal(output, &document)? })
}

/// The analysis of the whole video.
pub(super) fn put_together(job: &JobSpec, seen: &SeenParts) -> Result<(Split, Analysed), JobError> {
    let split: Split = open(&seen.split)?;
    if seen.parts.len() != split.parts.len() {
        return Err(JobError::NoPart(seen.parts.len()));
    }
    let mut whole: Option<Looked> = None;
    for (input, part) in seen.parts.iter().zip(&split.parts) {
        let SeenPart { people, mut looked } = open(input)?;
        if looked.frames() != split.first(part.end) - split.first(part.start) {
            return Err(JobError::NoPart(part.start));
        }
        // Who was not asked about there, or may not be shown any more, was not recognised.
        looked.renumber(|PersonIx(at)| {
            let name = people.get(at)?;
            seen.people.iter().position(|known| known == name).map(PersonIx)
        });
        match &mut whole {
            None => whole = Some(looked),
            Some(whole) => whole.append(looked),
        }
    }
    let whole = whole.ok_or(JobError::NoPart(0))?;
    let policy = Policy::new(job.effect, job.cells, job.shape, job.pad)?;
    let (nobody, rules) = (Gallery::default(), rules(job));
    let gops = Ok(split.gops.clone());
    let analysed = conclude(whole, gops, &analyst(job, &nobody, &rules, &policy));
    Ok((split, analysed))
}

/// What the plan and the report say of the job.
pub(super) fn ending<'a>(
    job: &'a JobSpec,
    seen: &SeenParts,
    split: &Split,
) -> Result<Ending<'a>, JobError> {
    let input = FileHash { path: job.input.path.clone(), sha256: split.sha256.clone() };
    Ending::new(job, &models::locate()?, input, seen.people.clone())
}

/// What the analyses took, for the report.
pub(super) fn time(seen: &SeenParts) -> Duration {
    Duration::try_from_secs_f64(seen.seconds).unwrap_or_default()
}
