//! `garim mosaic`: covers files one after the other, each in a child process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, anyhow, bail};
use clap::CommandFactory;
use clap::error::ErrorKind;
use pipeline::{JobSpec, KeepSpec, Progress, Report};
use redact::Policy;
use serde_json::json;

use super::{INTERRUPTED, print, stop_flag, success};
use crate::child::{self, Ended, Task};
use crate::cli::{Cli, MosaicArgs};
use crate::inputs::{self, Item};
use crate::output::Partial;
use crate::progress::Display;

pub fn run(args: &MosaicArgs) -> Result<ExitCode> {
    if let Err(e) = Policy::new(args.effect.into(), args.cells, args.shape.into(), args.pad) {
        let mut cli = Cli::command();
        cli.build();
        let command = cli.find_subcommand_mut("mosaic").context("no such subcommand")?;
        command.error(ErrorKind::ValueValidation, e).exit(); // Exit code 2.
    }
    let items = inputs::expand(&args.inputs, args.output.as_deref(), args.out_dir.as_deref())?;
    let keep = inputs::keep(&args.keep)?;
    vision::models::locate()?; // Before the first file, not after the first hour.
    let many = items.len() > 1;
    if many {
        for folder in [&args.plan_out, &args.report, &args.contact_sheet].into_iter().flatten() {
            fs::create_dir_all(folder).with_context(|| {
                format!("{}: must be a folder for several inputs", folder.display())
            })?;
        }
    }
    let stop = stop_flag()?;
    let mut failed = 0;
    for item in &items {
        match cover(args, item, &keep, many, &stop) {
            Ok(()) => {}
            Err(Ended::Interrupted) => {
                eprintln!("interrupted; {} was not written", item.output.display());
                return Ok(ExitCode::from(INTERRUPTED));
            }
            Err(Ended::Failed(error)) => {
                failed += 1;
                fail(args, item, &error);
            }
        }
    }
    if many {
        eprintln!("{} of {} files covered", items.len() - failed, items.len());
    }
    Ok(success(failed == 0))
}

fn fail(args: &MosaicArgs, item: &Item, error: &anyhow::Error) {
    let mut message = format!("{error:#}");
    // Errors of the system name no file; every message does.
    if !message.contains(&*item.input.to_string_lossy()) {
        message = format!("{}: {message}", item.input.display());
    }
    if args.json {
        print(json!({"event": "failed", "input": item.input, "message": message}));
    }
    eprintln!("error: {message}");
}

/// The files one input becomes, unfinished.
struct Outputs {
    main: Partial,
    plan: Option<Partial>,
    sheet: Option<Partial>,
    report: Option<Partial>,
}

impl Outputs {
    fn create(args: &MosaicArgs, item: &Item, many: bool) -> Result<Self> {
        let plan = item.beside(args.plan_out.as_ref(), "plan.json", many);
        let sheet = item.beside(args.contact_sheet.as_ref(), "faces.png", many);
        let report = item.beside(args.report.as_ref(), "report.json", many);
        distinct(item, [&plan, &sheet, &report])?;
        if let (Some(dir), Some(parent)) = (&args.out_dir, item.output.parent()) {
            fs::create_dir_all(parent)
                .with_context(|| format!("{}: cannot be made", dir.display()))?;
        }
        let create = |path: Option<PathBuf>| {
            path.map(|path| Partial::create(&path, args.overwrite)).transpose()
        };
        Ok(Self {
            main: Partial::create(&item.output, args.overwrite)?,
            plan: create(plan)?,
            sheet: create(sheet)?,
            report: create(report)?,
        })
    }

    /// `error` with final names for unfinished ones.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let others = [&self.plan, &self.sheet, &self.report].into_iter().flatten();
        [&self.main].into_iter().chain(others).fold(error, |error, file| file.explain(&error))
    }

    /// Gives all files their names, the covered one last: where it is, the others are.
    fn commit(self) -> Result<()> {
        for partial in [self.plan, self.sheet, self.report, Some(self.main)].into_iter().flatten() {
            partial.commit()?;
        }
        Ok(())
    }
}

fn distinct(item: &Item, others: [&Option<PathBuf>; 3]) -> Result<()> {
    let mut names: Vec<&Path> = vec![&item.output];
    for path in others.into_iter().flatten() {
        if names.contains(&path.as_path()) || inputs::is_same_file(path, &item.input) {
            bail!("{}: is used for two things; give each output its own name", path.display());
        }
        names.push(path);
    }
    Ok(())
}

fn cover(
    args: &MosaicArgs,
    item: &Item,
    keep: &[KeepSpec],
    many: bool,
    stop: &AtomicBool,
) -> Result<(), Ended> {
    let meta = fs::metadata(&item.input);
    meta.map_err(|e| Ended::Failed(anyhow!("{}: {e}", item.input.display())))?;
    let outputs = Outputs::create(args, item, many).map_err(Ended::Failed)?;
    let task = Task::Mosaic(spec(args, item, keep, &outputs));
    let name = item.input.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut display = Display::new(name, args.json);
    if args.json {
        print(json!({"event": "start", "input": item.input, "output": item.output}));
    }
    let result = child::run(&task, stop, &mut |progress| tell(args, item, &mut display, &progress));
    display.clear();
    let result = match result {
        Err(Ended::Failed(error)) => return Err(Ended::Failed(outputs.explain(error))),
        other => other?,
    };
    let finish = || -> Result<()> {
        let report: Report = serde_json::from_value(result)?;
        let plan = outputs.plan.as_ref().map(|p| p.target().to_owned());
        let report = report.renamed(outputs.main.target(), plan.as_deref());
        if let Some(partial) = &outputs.report {
            fs::write(partial.path(), report.to_json()?)
                .with_context(|| format!("{}: cannot be written", partial.target().display()))?;
        }
        let sheet = outputs.sheet.as_ref().map(|s| s.target().to_owned());
        outputs.commit()?;
        conclude(args, item, &report, sheet.as_deref());
        Ok(())
    };
    finish().map_err(Ended::Failed)
}

fn spec(args: &MosaicArgs, item: &Item, keep: &[KeepSpec], outputs: &Outputs) -> JobSpec {
    let path = |partial: &Option<Partial>| partial.as_ref().map(|p| p.path().to_owned());
    JobSpec {
        input: item.input.clone(),
        still: item.still,
        output: outputs.main.path().to_owned(),
        plan: path(&outputs.plan),
        contact_sheet: path(&outputs.sheet),
        keep: keep.to_vec(),
        keep_threshold: args.keep_threshold,
        effect: args.effect.into(),
        cells: args.cells,
        shape: args.shape.into(),
        pad: args.pad,
        speed: args.speed.into(),
        preset: args.preset.clone(),
        crf: args.crf,
        to_8bit: args.to_8bit,
        smart: !args.no_smart,
    }
}

fn tell(args: &MosaicArgs, item: &Item, display: &mut Display, progress: &Progress) {
    let pace = display.show(progress, args.json);
    if args.json {
        print(json!({
            "event": "progress",
            "input": item.input,
            "phase": progress.phase,
            "frames": progress.frames,
            "total": progress.total,
            "fps": (pace.fps * 10.0).round() / 10.0,
            "eta_seconds": pace.eta.map(f64::round),
        }));
    }
}

fn conclude(args: &MosaicArgs, item: &Item, report: &Report, sheet: Option<&Path>) {
    if args.json {
        print(
            json!({"event": "done", "input": item.input, "output": item.output, "report": report}),
        );
    } else {
        print(format_args!("{}: {}", item.output.display(), report.to_string().trim_end()));
    }
    if let Some(sheet) = sheet {
        eprintln!("{}: shows faces uncovered; keep it private", sheet.display());
    }
}
