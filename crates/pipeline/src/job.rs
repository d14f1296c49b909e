//! One job from its description to its report. It runs in a child process of its own
//! (`garim::cmd`), so everything it needs is in the [`JobSpec`].

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use media::{EncodeSettings, MediaError, Reader, Streams};
use redact::{EffectKind, Model, PlanDocument, PlanHeader, Policy, Shape};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vision::models::{self, Installed};
use vision::{Detector, Engine, FaceDetector, identify};

use crate::analyse::{Analysed, Analyst, analyse};
use crate::input::sha256;
use crate::render::{Order, Rendered, render};
use crate::report::{FileHash, Report, Times};
use crate::sheet::Sheet;
use crate::{Input, JobError, KeepSpec, enrol, photo};

/// Progress is told at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Bytes of decoded frames kept between the passes: two seconds of 720p, or twelve of 400x300.
const KEPT_FRAMES: usize = 64 << 20;

/// How much work goes into finding faces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speed {
    /// Detectors look at every second frame.
    Fast,
    /// Detectors look at every frame, a finer pass at every fifth.
    #[default]
    Balanced,
    /// Finer and second detectors look often, and doubtful finds are covered too.
    Thorough,
}

/// Everything a job needs to know. Outputs are temporary names: whoever started the job gives them
/// their final ones when it is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// Video or photo.
    pub input: Input,
    /// Whether `input` is a still picture.
    pub still: bool,
    /// Where to write the covered file; `None`: the file is only analysed.
    pub output: Option<PathBuf>,
    /// Where to write a JPEG of one covered frame that stands for the video; only with `output`.
    #[serde(default)]
    pub poster: Option<PathBuf>,
    /// Where to write the plan.
    pub plan: Option<PathBuf>,
    /// Where to write a picture of all tracks; it shows faces.
    pub contact_sheet: Option<PathBuf>,
    /// People to keep.
    pub keep: Vec<KeepSpec>,
    /// Least similarity to a kept person.
    pub keep_threshold: f32,
    /// What covers look like.
    pub effect: EffectKind,
    /// Mosaic cells on the short side.
    pub cells: u8,
    /// Outline of covers.
    pub shape: Shape,
    /// Padding per side as a share of the face's size; `None`: the effect's own.
    pub pad: Option<f32>,
    /// Thoroughness.
    pub speed: Speed,
    /// x264 preset.
    pub preset: String,
    /// x264 constant rate factor.
    pub crf: f32,
    /// Convert deeper samples to 8 bits instead of refusing them.
    pub to_8bit: bool,
    /// Copy groups of pictures that need no cover instead of encoding them again.
    pub smart: bool,
}

/// A part of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Looking for faces.
    Analyse,
    /// Painting and encoding.
    Render,
    /// Copying without covering; progress counts milliseconds of video.
    Convert,
    /// Comparing an output with its original.
    Verify,
}

/// How far a running job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which part.
    pub phase: Phase,
    /// Frames done in this part.
    pub frames: u64,
    /// Frames in all, where the file says or the analysis counted them.
    pub total: Option<u64>,
}

/// Runs a job to its end. `emit` gets its progress.
///
/// # Errors
/// Any failure; what was written so far is incomplete and must not be used.
pub fn run(spec: &JobSpec, emit: &mut dyn FnMut(Progress)) -> Result<Report, JobError> {
    if spec.output.is_none() {
        if spec.poster.is_some() {
            return Err(JobError::PosterAlone(spec.input.path.clone()));
        }
        spec.input.refuse_playlist()?;
    }
    if spec.contact_sheet.is_some() {
        spec.input.refuse_sheet()?;
    }
    let policy = Policy::new(spec.effect, spec.cells, spec.shape, spec.pad)?;
    let installed = models::locate()?;
    let engine = Engine::load(&installed)?;
    let mut detector = engine.detector()?;
    let (gallery, recognizer) = enrol::people(&engine, &mut detector, &spec.keep)?;
    let rules = identify::Rules { threshold: spec.keep_threshold, ..identify::Rules::default() };
    let analyst = Analyst {
        speed: spec.speed,
        gallery: &gallery,
        recognizer,
        ranked: 1,
        rules: &rules,
        policy: &policy,
        memory: if spec.output.is_some() { KEPT_FRAMES } else { 0 },
    };
    let input = FileHash { path: spec.input.path.clone(), sha256: spec.input.sha256()? };
    let job = Job { spec, installed: &installed, engine: &engine, analyst, input };
    if spec.still { job.still(detector, emit) } else { job.video(detector, emit) }
}

struct Job<'a> {
    spec: &'a JobSpec,
    installed: &'a Installed,
    engine: &'a Engine,
    analyst: Analyst<'a>,
    input: FileHash,
}

impl Job<'_> {
    fn video(
        self,
        detector: FaceDetector,
        emit: &mut dyn FnMut(Progress),
    ) -> Result<Report, JobError> {
        let spec = self.spec;
        let started = Instant::now();
        let mut analysed = self.look(detector, emit)?;
        let mut sheet = spec.contact_sheet.as_ref().map(|_| Sheet::new(&analysed, &self.names()));
        let analyse = started.elapsed();
        let Some(output) = &spec.output else {
            if let Some(sheet) = &mut sheet {
                sheet.fill(Reader::open(spec.input.open()?, Streams::Video, spec.to_8bit)?)?;
            }
            let times = Times { analyse, ..Times::default() };
            return self.finish(&analysed, &not_rendered(&analysed), sheet, times);
        };

        let started = Instant::now();
        let mut told = Teller::new(Phase::Render, Some(analysed.times.len() as u64));
        let settings = EncodeSettings { preset: spec.preset.clone(), crf: spec.crf };
        let kept = analysed.kept.take().map(|frames| (frames, analysed.stats));
        let order = Order {
            input: &spec.input,
            to_8bit: spec.to_8bit,
            plan: &analysed.plan,
            settings: &settings,
            smart: spec.smart,
            not_copied: analysed.not_copied,
            output,
            poster: spec.poster.as_deref(),
        };
        let rendered = render(&order, kept, sheet.as_mut(), &mut |n| told.tell(n, emit))?;
        let times = Times { analyse, render: started.elapsed() };
        self.finish(&analysed, &rendered, sheet, times)
    }

    /// The first pass.
    fn look(
        &self,
        detector: FaceDetector,
        emit: &mut dyn FnMut(Progress),
    ) -> Result<Analysed, JobError> {
        let spec = self.spec;
        let reader = Reader::open(spec.input.open()?, Streams::Video, spec.to_8bit)?;
        let mut told = Teller::new(Phase::Analyse, reader.info().video.frames);
        let detectors = crew(self.engine, detector)?;
        let analysed = analyse(reader, detectors, &self.analyst, &mut |n| told.tell(n, emit))?;
        if analysed.times.is_empty() {
            return Err(MediaError::Input {
                path: spec.input.path.clone(),
                why: "holds no picture that can be decoded".to_owned(),
            }
            .into());
        }
        Ok(analysed)
    }

    fn still(
        self,
        mut detector: FaceDetector,
        emit: &mut dyn FnMut(Progress),
    ) -> Result<Report, JobError> {
        let started = Instant::now();
        let picture = photo::read(&self.spec.input)?;
        let analysed = photo::analyse(&picture, &mut detector, &self.analyst)?;
        emit(Progress { phase: Phase::Analyse, frames: 1, total: Some(1) });
        let analyse = started.elapsed();
        let mut sheet =
            self.spec.contact_sheet.as_ref().map(|_| Sheet::new(&analysed, &self.names()));
        if let Some(sheet) = &mut sheet {
            sheet.see(picture.frame(), domain::Orientation::default());
        }
        if let Some(output) = &self.spec.output {
            photo::render(picture, &analysed.plan, output, self.spec.poster.as_deref())?;
            emit(Progress { phase: Phase::Render, frames: 1, total: Some(1) });
        }
        let render = started.elapsed() - analyse;
        let times = Times { analyse, render };
        self.finish(&analysed, &not_rendered(&analysed), sheet, times)
    }

    fn names(&self) -> Vec<String> {
        self.spec.keep.iter().map(|keep| keep.name.clone()).collect()
    }

    fn finish(
        self,
        analysed: &Analysed,
        rendered: &Rendered,
        sheet: Option<Sheet>,
        times: Times,
    ) -> Result<Report, JobError> {
        let names = self.names();
        let ending = Ending::new(self.spec, self.installed, self.input, names)?;
        let plan = match &self.spec.plan {
            Some(_) => ending.write(&ending.document(analysed))?,
            None => None,
        };
        ending.finish(analysed, rendered, plan, sheet, times)
    }
}

/// What the plan and the report say of a job.
pub(crate) struct Ending<'a> {
    spec: &'a JobSpec,
    input: FileHash,
    models: Vec<Model>,
    /// Names of the people to keep, by their numbers.
    names: Vec<String>,
}

impl<'a> Ending<'a> {
    pub(crate) fn new(
        spec: &'a JobSpec,
        installed: &Installed,
        input: FileHash,
        names: Vec<String>,
    ) -> Result<Self, JobError> {
        Ok(Self { spec, input, models: used(installed)?, names })
    }

    /// The plan as it is written.
    pub(crate) fn document(&self, analysed: &Analysed) -> PlanDocument {
        let header = PlanHeader {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            input_sha256: self.input.sha256.clone(),
            input_name: self.input.name(),
            models: self.models.clone(),
            people: self.names.clone(),
        };
        analysed.plan.document(&header, &analysed.followed.tracks)
    }

    /// Writes the plan, if one is asked for.
    pub(crate) fn write(&self, document: &PlanDocument) -> Result<Option<FileHash>, JobError> {
        let Some(path) = &self.spec.plan else { return Ok(None) };
        write_json(path, document)?;
        Ok(Some(FileHash { path: path.clone(), sha256: sha256(path)? }))
    }

    /// Writes the other files that go with the output, and the report.
    pub(crate) fn finish(
        self,
        analysed: &Analysed,
        rendered: &Rendered,
        plan: Option<FileHash>,
        sheet: Option<Sheet>,
        times: Times,
    ) -> Result<Report, JobError> {
        let spec = self.spec;
        if let (Some(sheet), Some(path)) = (sheet, &spec.contact_sheet) {
            sheet.write(path)?;
        }
        let output = match (&spec.output, &plan) {
            (Some(path), _) => FileHash { path: path.clone(), sha256: sha256(path)? },
            (None, Some(plan)) => plan.clone(),
            (None, None) => return Err(JobError::NothingToWrite(spec.input.path.clone())),
        };
        let Self { input, models, names, .. } = self;
        Ok(Report::new(analysed, rendered, &names, &input, output, plan, models, &times))
    }
}

/// A detector for every worker of an analysis, `first` among them.
pub(crate) fn crew(
    engine: &Engine,
    first: FaceDetector,
) -> Result<Vec<Box<dyn Detector>>, JobError> {
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(8);
    let mut detectors: Vec<Box<dyn Detector>> = vec![Box::new(first)];
    for _ in 1..workers {
        detectors.push(Box::new(engine.detector()?));
    }
    Ok(detectors)
}

/// What is to be said of frames that were analysed and not yet rendered as a video.
fn not_rendered(analysed: &Analysed) -> Rendered {
    let frames = analysed.plan.len() as u64;
    Rendered { frames, stats: analysed.stats, ..Rendered::default() }
}

/// The models that looked, and the runtime that ran them (which may be the user's own).
fn used(installed: &Installed) -> Result<Vec<Model>, JobError> {
    let mut models = Vec::new();
    for model in models::Model::ALL {
        let pinned = model.pinned();
        let sha256 = match model {
            models::Model::Runtime if installed.runtime_is_users() => {
                sha256(installed.path(model))?
            }
            _ => pinned.sha256.to_owned(), // Checked when they were found.
        };
        models.push(Model { name: pinned.name.to_owned(), sha256 });
    }
    Ok(models)
}

/// Tells progress, not too often.
pub(crate) struct Teller {
    phase: Phase,
    total: Option<u64>,
    last: Instant,
}

impl Teller {
    pub(crate) fn new(phase: Phase, total: Option<u64>) -> Self {
        Self { phase, total, last: Instant::now() }
    }

    pub(crate) fn tell(&mut self, frames: u64, emit: &mut dyn FnMut(Progress)) {
        if self.last.elapsed() >= PROGRESS_EVERY || Some(frames) == self.total {
            self.last = Instant::now();
            emit(Progress { phase: self.phase, frames, total: self.total });
        }
    }
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), JobError> {
    let output = |why: String| MediaError::Output { path: path.to_owned(), why };
    let file = File::create(path).map_err(|e| output(e.to_string()))?;
    let mut out = io::BufWriter::new(file);
    serde_json::to_writer(&mut out, value).map_err(|e| output(e.to_string()))?;
    io::Write::flush(&mut out).map_err(|e| output(e.to_string()))?;
    Ok(())
}

pub(crate) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
