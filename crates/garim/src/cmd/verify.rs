//! `garim verify`: looks for faces that an output still shows.

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use pipeline::{VerifyReport, VerifySpec};
use serde_json::json;

use super::job::Told;
use super::keep::Keep;
use super::{INTERRUPTED, print, stop_flag, success};
use crate::child::{self, Ended, Task};
use crate::cli::VerifyArgs;
use crate::inputs;
use crate::output::Partial;
use crate::progress::Display;

pub fn run(args: &VerifyArgs) -> Result<ExitCode> {
    for path in [&args.original, &args.output] {
        std::fs::metadata(path).with_context(|| path.display().to_string())?;
    }
    if inputs::is_same_file(&args.original, &args.output) {
        bail!("{}: is ORIGINAL and OUTPUT; give the covered file second", args.output.display());
    }
    if let Some(sheet) = &args.contact_sheet {
        let others = [Some(&args.original), Some(&args.output), args.plan.as_ref()];
        if others.into_iter().flatten().any(|path| inputs::is_same_file(sheet, path)) {
            bail!("{}: would be overwritten; give the sheet its own name", sheet.display());
        }
    }
    let keep = Keep::find(&args.keep)?.specs()?;
    vision::models::locate()?;
    let stop = stop_flag()?;
    let sheet = args.contact_sheet.as_ref();
    let sheet = sheet.map(|path| Partial::create(path, args.overwrite)).transpose()?;
    let task = Task::Verify(VerifySpec {
        original: args.original.as_path().into(),
        output: args.output.as_path().into(),
        plan: args.plan.clone(),
        keep,
        keep_threshold: args.keep.keep_threshold,
        contact_sheet: sheet.as_ref().map(|partial| partial.path().to_owned()),
    });
    let name = args.output.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut display = Display::new(name, args.json);
    let told = Told { input: &args.output, json: args.json };
    let result = child::run(&task, &stop, &mut |progress| told.tell(&mut display, &progress));
    display.clear();
    match result {
        Ok(report) => conclude(args, &serde_json::from_value(report)?, sheet),
        Err(Ended::Interrupted) => Ok(ExitCode::from(INTERRUPTED)),
        Err(Ended::Failed(error) | Ended::Died(error)) => {
            Err(fail(args, sheet.map_or(anyhow!("{error:#}"), |sheet| sheet.explain(&error))))
        }
    }
}

fn fail(args: &VerifyArgs, error: anyhow::Error) -> anyhow::Error {
    if args.json {
        let message = format!("{error:#}");
        print(json!({"event": "failed", "input": args.output, "message": message}));
    }
    error
}

fn conclude(args: &VerifyArgs, report: &VerifyReport, sheet: Option<Partial>) -> Result<ExitCode> {
    if let Some(sheet) = sheet {
        let path = sheet.target().to_owned();
        sheet.commit()?;
        eprintln!("{}: shows faces uncovered; keep it private", path.display());
    }
    if args.json {
        print(json!({"event": "verified", "input": args.output, "report": report}));
    } else {
        print(format_args!("{}: {report}", args.output.display()));
    }
    if !report.verified {
        eprintln!("{}: not verified", args.output.display());
    }
    Ok(success(report.verified))
}
