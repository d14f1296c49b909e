//! `garim render`: covers a file by a plan, without looking for faces.

use std::process::ExitCode;

use anyhow::Result;
use pipeline::RenderSpec;

use super::job::{self, Outputs, Paths, Told};
use super::{INTERRUPTED, stop_flag, success};
use crate::child::{Ended, Task};
use crate::cli::RenderArgs;
use crate::inputs;

pub fn run(args: &RenderArgs) -> Result<ExitCode> {
    let told = Told { input: &args.input, json: args.json };
    told.exists()?;
    let paths = Paths {
        main: args.output.clone(),
        plan: None,
        poster: args.poster.clone(),
        sheet: None,
        report: args.report.clone(),
    };
    let outputs = Outputs::create(paths, &[&args.input, &args.plan], args.files.overwrite)?;
    let task = Task::Render(RenderSpec {
        input: args.input.as_path().into(),
        still: inputs::is_photo(&args.input),
        plan: args.plan.clone(),
        output: outputs.main.path().to_owned(),
        poster: job::path(outputs.poster.as_ref()),
        preset: args.encoding.preset.clone(),
        crf: args.encoding.crf,
        to_8bit: args.files.to_8bit,
        smart: !args.encoding.no_smart,
        cover_people: Vec::new(),
        published: None,
        edited_plan: None,
    });
    let stop = stop_flag()?;
    match told.carry_out(&task, outputs, &|_, _| Ok(()), &stop) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Ended::Interrupted) => Ok(ExitCode::from(INTERRUPTED)),
        Err(Ended::Failed(error)) => {
            told.fail(&error);
            Ok(success(false))
        }
    }
}
