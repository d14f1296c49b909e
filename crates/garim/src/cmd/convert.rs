//! `garim convert`: one MP4 out of a playlist or video. Covers nothing.

use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::json;

use super::{INTERRUPTED, print, stop_flag};
use crate::child::{self, Ended, Task};
use crate::cli::ConvertArgs;
use crate::inputs;
use crate::output::Partial;
use crate::progress::Display;

pub fn run(args: &ConvertArgs) -> Result<ExitCode> {
    if inputs::is_same_file(&args.input, &args.output) {
        bail!("{}: is the input; the output must be another file", args.output.display());
    }
    let stop = stop_flag()?;
    let output = Partial::create(&args.output, args.overwrite)?;
    let task = Task::Convert { input: args.input.clone(), output: output.path().to_owned() };
    let mut display = Display::new(args.input.display().to_string(), args.json);
    let result = child::run(&task, &stop, &mut |progress| {
        display.show(&progress, args.json);
    });
    display.clear();
    let converted = match result {
        Ok(converted) => converted,
        Err(Ended::Interrupted) => return Ok(ExitCode::from(INTERRUPTED)),
        Err(Ended::Failed(error) | Ended::Died(error)) => return Err(output.explain(&error)),
    };
    output.commit()?;
    if args.json {
        print(json!({"event": "done", "output": args.output, "result": converted}));
    } else {
        print(format_args!("{}: {}, nothing covered", args.output.display(), how(&converted)));
    }
    Ok(ExitCode::SUCCESS)
}

fn how(converted: &serde_json::Value) -> String {
    let word = |value: &serde_json::Value| if value == true { "copied" } else { "re-encoded" };
    let video = word(&converted["video_copied"]);
    match &converted["audio_copied"] {
        serde_json::Value::Null => format!("video {video}, no sound"),
        audio => format!("video {video}, sound {}", word(audio)),
    }
}
