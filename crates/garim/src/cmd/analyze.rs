//! `garim analyze`: looks for faces in one file and writes the plan. Covers nothing yet.

use std::process::ExitCode;

use anyhow::Result;
use pipeline::JobSpec;

use super::job::{self, Outputs, Paths, Told};
use super::keep::Keep;
use super::{INTERRUPTED, stop_flag, success};
use crate::child::{Ended, Task};
use crate::cli::AnalyzeArgs;
use crate::inputs;

pub fn run(args: &AnalyzeArgs) -> Result<ExitCode> {
    job::check_policy(&args.search, "analyze")?;
    let keep = Keep::find(&args.search.keep)?;
    keep.refuse_plan()?;
    let told = Told { input: &args.input, json: args.json };
    told.exists()?;
    let paths = Paths {
        main: args.output.clone(),
        plan: None,
        poster: None,
        sheet: args.contact_sheet.clone(),
        report: args.report.clone(),
    };
    let outputs = Outputs::create(paths, &[&args.input], args.files.overwrite)?;
    let task = Task::Mosaic(JobSpec {
        plan: job::path(Some(&outputs.main)),
        contact_sheet: job::path(outputs.sheet.as_ref()),
        to_8bit: args.files.to_8bit,
        ..job::spec(&args.search, &args.input, inputs::is_photo(&args.input), keep.specs()?)
    });
    let stop = stop_flag()?;
    match told.carry_out(&task, outputs, &|_, _| Ok(()), &stop) {
        Ok(()) => {
            let (input, plan) = (args.input.display(), args.output.display());
            eprintln!("nothing is covered yet: garim render {input} {plan} -o OUT");
            Ok(ExitCode::SUCCESS)
        }
        Err(Ended::Interrupted) => Ok(ExitCode::from(INTERRUPTED)),
        Err(Ended::Failed(error) | Ended::Died(error)) => {
            told.fail(&error);
            Ok(success(false))
        }
    }
}
