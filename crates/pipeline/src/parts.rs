//! Covering a long video in parts, each in a process of its own, perhaps on another machine.
//!
//! ```text
//! split -> analyse each part -> plan -> render each part -> join
//! ```
//!
//! Parts begin at IDR pictures, so each decodes on its own. What detectors saw in them is put together before anybody
//! is followed or recognised: tracks and identities know nothing of parts, and no seam can leak. How the video is cut
//! does not depend on who does the work, so neither does the result. Everything between the steps is sealed.
//!
//! A video that is not the regular kind is not cut ([`Stepped::Whole`]): nothing is gained by being clever with a
//! damaged file.

mod cover;
mod look;

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::ops::Range;
use std::path::PathBuf;

use domain::Gop;
use media::{MediaError, Pass, Reader, Section, Streams};
use sealed::{SealKey, Sealed};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Input, JobError, JobSpec, Progress, Report};

/// One step of a job that is done in parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartSpec {
    /// What is to be done in the end. `keep` matters to the analysis only.
    pub job: JobSpec,
    /// Which step.
    pub step: Step,
}

/// A step, and what it needs of those before it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Decides where the video is cut.
    Split {
        /// About how long a part is, in seconds.
        seconds: u32,
        /// Where to write that.
        output: SealTo,
    },
    /// Looks for faces in one part.
    Analyse {
        /// What the split wrote.
        split: Input,
        /// Which part.
        part: usize,
        /// Where to write what was seen.
        output: SealTo,
    },
    /// Follows and recognises who was seen, and plans.
    Plan {
        /// What all parts' analyses made.
        seen: SeenParts,
        /// Where to write the plan.
        output: SealTo,
    },
    /// Covers one part.
    Render {
        /// What the split wrote.
        split: Input,
        /// The plan.
        plan: Input,
        /// Which part.
        part: usize,
        /// Where to write the encoded pictures.
        output: SealTo,
    },
    /// Puts the file together.
    Join {
        /// What all parts' analyses made.
        seen: SeenParts,
        /// The plan by which the parts were rendered.
        plan: Input,
        /// The encoded pictures of each part; `None`: all of its pictures are copied.
        chunks: Vec<Option<Input>>,
        /// What rendering said.
        rendered: PartRendered,
    },
}

/// What was seen in a whole video, part by part.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenParts {
    /// What the split wrote.
    pub split: Input,
    /// What the analyses wrote, in order.
    pub parts: Vec<Input>,
    /// Who may be shown, by name, in the order of the plan.
    pub people: Vec<String>,
    /// Seconds that the analyses took.
    pub seconds: f64,
}

/// Where something is written, sealed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealTo {
    /// The file; it must not exist.
    pub path: PathBuf,
    /// The key.
    pub key: SealKey,
    /// What it is and whose.
    pub context: String,
}

impl fmt::Debug for SealTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, sealed as {:?}", self.path.display(), self.context)
    }
}

/// What came of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "stepped", rename_all = "snake_case")]
pub enum Stepped {
    /// The video is to be covered by one process, for this reason.
    Whole {
        /// Why it cannot be cut.
        why: String,
    },
    /// It was cut.
    Split {
        /// Into so many parts.
        parts: usize,
        /// Bytes of plaintext that were written.
        len: u64,
    },
    /// A part was looked at.
    Analysed {
        /// Bytes of plaintext that were written.
        len: u64,
        /// Seconds that it took.
        seconds: f64,
    },
    /// There is a plan.
    Planned {
        /// Bytes of plaintext that were written.
        len: u64,
    },
    /// A part was covered.
    Rendered {
        /// Bytes of plaintext that were written; `None`: nothing was, all of its pictures are to be copied.
        len: Option<u64>,
        /// What there is to know of it.
        rendered: PartRendered,
    },
    /// The file is there.
    Joined(Box<Report>),
}

/// What rendering a part said, or the sum of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartRendered {
    /// Frames encoded.
    pub frames: u64,
    /// Of these, covered whole because the second pass could not trust them.
    pub distrusted: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Where a video is cut.
#[derive(Debug, Serialize, Deserialize)]
struct Split {
    /// Of the input.
    sha256: String,
    gops: Vec<Gop>,
    /// Groups of pictures of each part.
    parts: Vec<Range<usize>>,
}

impl Split {
    fn part(&self, part: usize) -> Result<Range<usize>, JobError> {
        self.parts.get(part).cloned().ok_or(JobError::NoPart(part))
    }

    /// Frames before group `at`.
    fn first(&self, at: usize) -> u64 {
        self.gops.iter().take(at).map(|gop| u64::from(gop.packets)).sum()
    }

    /// What a reader does with each group.
    fn sections(&self, pass: impl Fn(usize) -> Pass) -> Vec<Section> {
        let mut first = 0;
        let section = |(at, gop): (usize, &Gop)| {
            let section = Section { start: gop.start, first, pass: pass(at) };
            first += u64::from(gop.packets);
            section
        };
        self.gops.iter().enumerate().map(section).collect()
    }

    /// The most pictures that one is decoded early by.
    fn reorder(&self) -> usize {
        self.gops.iter().map(|gop| usize::from(gop.reorder)).max().unwrap_or(0)
    }
}

/// Does one step. `emit` gets its progress.
///
/// # Errors
/// Any failure; what was written so far is incomplete and must not be used.
pub fn step(spec: &PartSpec, emit: &mut dyn FnMut(Progress)) -> Result<Stepped, JobError> {
    let stepped = match &spec.step {
        Step::Split { seconds, output } => split(&spec.job, *seconds, output),
        Step::Analyse { split, part, output } => {
            look::analyse_part(&spec.job, &open(split)?, *part, output, emit)
        }
        Step::Plan { seen, output } => look::plan(&spec.job, seen, output),
        Step::Render { split, plan, part, output } => {
            cover::render_part(&spec.job, &open(split)?, plan, *part, output, emit)
        }
        Step::Join { seen, plan, chunks, rendered } => {
            cover::join(&spec.job, seen, plan, chunks, rendered, emit)
        }
    };
    match stepped {
        // They do not fit into one track, which one process knows how to do without.
        Err(JobError::Media(e @ MediaError::NotSpliced(_))) => {
            Ok(Stepped::Whole { why: e.to_string() })
        }
        other => other,
    }
}

fn split(job: &JobSpec, seconds: u32, output: &SealTo) -> Result<Stepped, JobError> {
    job.input.refuse_playlist()?;
    let reader = Reader::open(job.input.open()?, Streams::Video, job.to_8bit)?;
    let gops = match reader.index()? {
        Ok(gops) => gops,
        Err(why) => return Ok(Stepped::Whole { why: why.to_string() }),
    };
    let parts = cut(&gops, seconds);
    if parts.len() < 2 {
        return Ok(Stepped::Whole { why: "it is short".to_owned() });
    }
    let count = parts.len();
    let split = Split { sha256: job.input.sha256()?, gops, parts };
    Ok(Stepped::Split { parts: count, len: seal(output, &split)? })
}

/// Parts of about so many seconds; what is left at the end and is less than half of that goes with the last.
fn cut(gops: &[Gop], seconds: u32) -> Vec<Range<usize>> {
    let time = |at: usize| gops.get(at).map_or(0.0, |gop| gop.start.seconds());
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for at in 1..gops.len() {
        if time(at) - time(start) >= f64::from(seconds) {
            parts.push(start..at);
            start = at;
        }
    }
    let last = time(gops.len().saturating_sub(1)) - time(start);
    match parts.last_mut() {
        Some(before) if last < f64::from(seconds) / 2.0 => before.end = gops.len(),
        _ => parts.push(start..gops.len()),
    }
    parts
}

/// Writes `value` as JSON, sealed; gives the bytes of plaintext.
fn seal(to: &SealTo, value: &impl Serialize) -> Result<u64, JobError> {
    let write = || -> std::io::Result<u64> {
        let file = BufWriter::new(File::create_new(&to.path)?);
        let sealed = sealed::Writer::new(file, to.key.clone(), to.context.clone())?;
        let mut out = BufWriter::new(sealed);
        serde_json::to_writer(&mut out, value)?;
        out.flush()?;
        let sealed = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        Ok(sealed.finish()?.len)
    };
    write().map_err(|e| MediaError::Output { path: to.path.clone(), why: e.to_string() }.into())
}

/// Reads what [`seal`] wrote.
fn open<T: DeserializeOwned>(input: &Input) -> Result<T, JobError> {
    serde_json::from_slice(&bytes(input)?).map_err(|e| input.unreadable(&e))
}

/// The plaintext of something that another step wrote.
fn bytes(input: &Input) -> Result<Vec<u8>, JobError> {
    let mut bytes = Vec::new();
    let mut sealed = input.bytes().map_err(|e| input.unreadable(&e))?;
    sealed.read_to_end(&mut bytes).map_err(|e| input.unreadable(&e))?;
    Ok(bytes)
}

/// What is needed to read a sealed file; another step's output is never anything else.
fn sealed_of(input: &Input) -> Result<&Sealed, JobError> {
    input.sealed.as_ref().ok_or_else(|| {
        let why = "is not sealed, so nobody knows who made it".to_owned();
        MediaError::Input { path: input.path.clone(), why }.into()
    })
}

#[cfg(test)]
mod tests {
    use domain::{Pts, TimeBase};

    use super::*;

    fn gops(seconds: &[i64]) -> Vec<Gop> {
        let base = TimeBase::new(1, 1).unwrap();
        let gop = |&at: &i64| Gop {
            start: Pts::new(at, base),
            packets: 3,
            reorder: 0,
            sha256: [0; 32],
            plain: true,
        };
        seconds.iter().map(gop).collect()
    }

    #[test]
    fn a_video_is_cut_at_groups_into_parts_of_about_one_length() {
        let every_two: Vec<i64> = (0..100).map(|i| 7 + 2 * i).collect();
        assert_eq!(cut(&gops(&every_two), 60), [0..30, 30..60, 60..100]);
        assert_eq!(cut(&gops(&every_two), 90), [0..45, 45..100]);
        assert_eq!(cut(&gops(&[0, 50, 100, 150, 200]), 60), [0..2, 2..5]);
        assert_eq!(cut(&gops(&[0, 300, 340]), 60), [0..1, 1..3]);
        assert_eq!(cut(&gops(&[0, 10, 20]), 60).len(), 1);
        assert_eq!(cut(&gops(&[0]), 60).len(), 1);
    }

    #[test]
    fn frames_are_counted_over_all_parts() {
        let split =
            Split { sha256: String::new(), gops: gops(&[0, 1, 2]), parts: vec![0..2, 2..3] };
        let sections = split.sections(|at| if at == 1 { Pass::Decode } else { Pass::Skip });
        assert_eq!(sections.iter().map(|s| s.first).collect::<Vec<_>>(), [0, 3, 6]);
        assert_eq!(split.first(2), 6);
        assert!(split.part(2).is_err());
    }
}
