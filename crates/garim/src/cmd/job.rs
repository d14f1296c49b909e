//! What `mosaic`, `analyze` and `render` share: one input, one child, outputs that appear together.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, anyhow, bail};
use clap::CommandFactory;
use clap::error::ErrorKind;
use pipeline::{JobSpec, KeepSpec, Progress, Report};
use redact::Policy;
use serde_json::json;

use super::print;
use crate::child::{self, Ended, Task};
use crate::cli::{Cli, SearchArgs};
use crate::inputs;
use crate::output::Partial;
use crate::progress::Display;

/// Ends the program with exit code 2 if the cover asked for is too weak.
pub fn check_policy(search: &SearchArgs, subcommand: &str) -> Result<()> {
    let SearchArgs { effect, cells, shape, pad, .. } = search;
    if let Err(e) = Policy::new((*effect).into(), *cells, (*shape).into(), *pad) {
        let mut cli = Cli::command();
        cli.build();
        let command = cli.find_subcommand_mut(subcommand).context("no such subcommand")?;
        command.error(ErrorKind::ValueValidation, e).exit();
    }
    Ok(())
}

/// The files one input becomes, unfinished.
pub struct Outputs {
    /// The covered file, or the plan where only that is made.
    pub main: Partial,
    pub plan: Option<Partial>,
    pub poster: Option<Partial>,
    pub sheet: Option<Partial>,
    pub report: Option<Partial>,
}

/// Where a job's files go.
pub struct Paths {
    pub main: PathBuf,
    pub plan: Option<PathBuf>,
    pub poster: Option<PathBuf>,
    pub sheet: Option<PathBuf>,
    pub report: Option<PathBuf>,
}

impl Outputs {
    /// Refuses a name that is used twice, or is one of `sources`.
    pub fn create(paths: Paths, sources: &[&Path], overwrite: bool) -> Result<Self> {
        let Paths { main, plan, poster, sheet, report } = paths;
        let mut names: Vec<&Path> = Vec::new();
        let others = [&plan, &poster, &sheet, &report].into_iter().flatten();
        for path in [&main].into_iter().chain(others) {
            let read = sources.iter().any(|source| inputs::is_same_file(path, source));
            if read || names.contains(&path.as_path()) {
                bail!("{}: is used for two things; give each output its own name", path.display());
            }
            names.push(path);
        }
        let create =
            |path: Option<PathBuf>| path.map(|path| Partial::create(&path, overwrite)).transpose();
        Ok(Self {
            main: Partial::create(&main, overwrite)?,
            plan: create(plan)?,
            poster: create(poster)?,
            sheet: create(sheet)?,
            report: create(report)?,
        })
    }

    /// `error` with final names for unfinished ones.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let others = [&self.plan, &self.poster, &self.sheet, &self.report].into_iter().flatten();
        [&self.main].into_iter().chain(others).fold(error, |error, file| file.explain(&error))
    }

    /// Gives all files their names, the covered one last: where it is, the others are.
    fn commit(self) -> Result<()> {
        let others = [self.plan, self.poster, self.sheet, self.report].into_iter().flatten();
        for partial in others.chain([self.main]) {
            partial.commit()?;
        }
        Ok(())
    }
}

/// The temporary name of a file.
pub fn path(partial: Option<&Partial>) -> Option<PathBuf> {
    partial.map(|partial| partial.path().to_owned())
}

/// A job that looks for faces. `output`, `poster`, `plan` and `contact_sheet` are still missing.
pub fn spec(search: &SearchArgs, input: &Path, still: bool, keep: Vec<KeepSpec>) -> JobSpec {
    JobSpec {
        input: input.into(),
        still,
        output: None,
        poster: None,
        plan: None,
        contact_sheet: None,
        keep,
        keep_threshold: search.keep.keep_threshold,
        effect: search.effect.into(),
        cells: search.cells,
        shape: search.shape.into(),
        pad: search.pad,
        speed: search.speed.into(),
        preset: String::new(),
        crf: 0.0,
        to_8bit: false,
        smart: false,
    }
}

/// How a job speaks of itself.
pub struct Told<'a> {
    pub input: &'a Path,
    pub json: bool,
}

impl Told<'_> {
    /// Runs `task` in a child; when it is done, all outputs are under their names.
    /// `check` sees the report before that, and may refuse.
    pub fn carry_out(
        &self,
        task: &Task,
        outputs: Outputs,
        check: &dyn Fn(&Report, &Path) -> Result<()>,
        stop: &AtomicBool,
    ) -> Result<(), Ended> {
        let output = outputs.main.target().to_owned();
        let name = self.input.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut display = Display::new(name, self.json);
        if self.json {
            print(json!({"event": "start", "input": self.input, "output": output}));
        }
        let result = child::run(task, stop, &mut |progress| self.tell(&mut display, &progress));
        display.clear();
        let result = match result {
            Err(Ended::Failed(error) | Ended::Died(error)) => {
                return Err(Ended::Failed(outputs.explain(error)));
            }
            other => other?,
        };
        let finish = || -> Result<()> {
            let report: Report = serde_json::from_value(result)?;
            let plan = match (task, &outputs.plan) {
                (_, Some(plan)) => Some(plan.target()),
                (Task::Mosaic(JobSpec { output: None, .. }), None) => Some(output.as_path()),
                _ => None,
            };
            let report = report.renamed(&output, plan);
            if let Some(partial) = &outputs.report {
                fs::write(partial.path(), report.to_json()?).with_context(|| {
                    format!("{}: cannot be written", partial.target().display())
                })?;
            }
            let sheet = outputs.sheet.as_ref().map(|s| s.target().to_owned());
            check(&report, &output)?;
            outputs.commit()?;
            self.conclude(&output, &report, sheet.as_deref());
            Ok(())
        };
        finish().map_err(Ended::Failed)
    }

    /// Shows how far the job is.
    pub(super) fn tell(&self, display: &mut Display, progress: &Progress) {
        let pace = display.show(progress, self.json);
        if self.json {
            print(json!({
                "event": "progress",
                "input": self.input,
                "phase": progress.phase,
                "frames": progress.frames,
                "total": progress.total,
                "fps": (pace.fps * 10.0).round() / 10.0,
                "eta_seconds": pace.eta.map(f64::round),
            }));
        }
    }

    fn conclude(&self, output: &Path, report: &Report, sheet: Option<&Path>) {
        if self.json {
            let (input, report) = (self.input, json!(report));
            print(json!({"event": "done", "input": input, "output": output, "report": report}));
        } else {
            print(format_args!("{}: {}", output.display(), report.to_string().trim_end()));
        }
        if let Some(sheet) = sheet {
            eprintln!("{}: shows faces uncovered; keep it private", sheet.display());
        }
    }

    /// Says why a job failed.
    pub fn fail(&self, error: &anyhow::Error) {
        let mut message = format!("{error:#}");
        // Errors of the system name no file; every message does.
        if !message.contains(&*self.input.to_string_lossy()) {
            message = format!("{}: {message}", self.input.display());
        }
        if self.json {
            print(json!({"event": "failed", "input": self.input, "message": message}));
        }
        eprintln!("error: {message}");
    }

    /// # Errors
    /// The input is not there.
    pub fn exists(&self) -> Result<()> {
        let meta = fs::metadata(self.input);
        meta.map(drop).map_err(|e| anyhow!("{}: {e}", self.input.display()))
    }
}
