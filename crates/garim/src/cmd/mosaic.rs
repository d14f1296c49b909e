//! `garim mosaic`: covers files one after the other, each in a child process.

use std::fs;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use pipeline::JobSpec;

use super::job::{self, Outputs, Paths, Told};
use super::keep::Keep;
use super::{INTERRUPTED, stop_flag, success};
use crate::child::{Ended, Task};
use crate::cli::MosaicArgs;
use crate::inputs::{self, Item};

pub fn run(args: &MosaicArgs) -> Result<ExitCode> {
    job::check_policy(&args.search, "mosaic")?;
    let items = inputs::expand(&args.inputs, args.output.as_deref(), args.out_dir.as_deref())?;
    let keep = Keep::find(&args.search.keep)?;
    if args.plan_out.is_some() {
        keep.refuse_plan()?;
    }
    let many = items.len() > 1;
    if many {
        vision::models::locate()?; // Once for all; each job looks for itself.
        for folder in
            [&args.plan_out, &args.poster, &args.report, &args.contact_sheet].into_iter().flatten()
        {
            fs::create_dir_all(folder).with_context(|| {
                format!("{}: must be a folder for several inputs", folder.display())
            })?;
        }
    }
    let stop = stop_flag()?;
    let mut failed = 0;
    for item in &items {
        let told = Told { input: &item.input, json: args.json };
        match cover(args, item, &keep, many, &told, &stop) {
            Ok(()) => {}
            Err(Ended::Interrupted) => {
                eprintln!("interrupted; {} was not written", item.output.display());
                return Ok(ExitCode::from(INTERRUPTED));
            }
            Err(Ended::Failed(error) | Ended::Died(error)) => {
                failed += 1;
                told.fail(&error);
            }
        }
    }
    if many {
        eprintln!("{} of {} files covered", items.len() - failed, items.len());
    }
    Ok(success(failed == 0))
}

fn cover(
    args: &MosaicArgs,
    item: &Item,
    keep: &Keep,
    many: bool,
    told: &Told<'_>,
    stop: &AtomicBool,
) -> Result<(), Ended> {
    let outputs = || -> Result<Outputs> {
        told.exists()?;
        if let (Some(dir), Some(parent)) = (&args.out_dir, item.output.parent()) {
            fs::create_dir_all(parent)
                .with_context(|| format!("{}: cannot be made", dir.display()))?;
        }
        let paths = Paths {
            main: item.output.clone(),
            plan: item.beside(args.plan_out.as_ref(), "plan.json", many),
            poster: item.beside(args.poster.as_ref(), "poster.jpg", many),
            sheet: item.beside(args.contact_sheet.as_ref(), "faces.png", many),
            report: item.beside(args.report.as_ref(), "report.json", many),
        };
        Outputs::create(paths, &[&item.input], args.files.overwrite)
    };
    let outputs = outputs().map_err(Ended::Failed)?;
    let people = keep.specs().map_err(Ended::Failed)?;
    let task = Task::Mosaic(JobSpec {
        output: job::path(Some(&outputs.main)),
        poster: job::path(outputs.poster.as_ref()),
        plan: job::path(outputs.plan.as_ref()),
        contact_sheet: job::path(outputs.sheet.as_ref()),
        preset: args.encoding.preset.clone(),
        crf: args.encoding.crf,
        to_8bit: args.files.to_8bit,
        smart: !args.encoding.no_smart,
        ..job::spec(&args.search, &item.input, item.still, people)
    });
    told.carry_out(&task, outputs, &|report, output| keep.log_shown(report, output), stop)
}
