//! `garim probe`: what is in a file.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use serde_json::Value;

use super::print;
use crate::child::{self, Ended, Task};
use crate::cli::ProbeArgs;

pub fn run(args: &ProbeArgs) -> Result<ExitCode> {
    let task = Task::Probe { input: args.input.as_path().into() };
    let info = match child::run(&task, &AtomicBool::new(false), &mut |_| {}) {
        Ok(info) => info,
        Err(Ended::Failed(error) | Ended::Died(error)) => return Err(error),
        Err(Ended::Interrupted) => return Ok(ExitCode::from(super::INTERRUPTED)),
    };
    if args.json {
        print(serde_json::to_string_pretty(&info)?);
    } else {
        print(text(&info));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(info: &Value) -> String {
    let video = &info["video"];
    let word = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let seconds = info["duration"].as_f64().map_or("unknown".to_owned(), |d| format!("{d:.3} s"));
    let (num, den) = (&video["frame_rate"][0], &video["frame_rate"][1]);
    let turns = video["orientation"]["quarter_turns"].as_u64().unwrap_or(0) * 90;
    let mut lines = vec![
        format!("container  {}", word(&info["container"])),
        format!("length     {seconds}"),
        format!(
            "video      {}, {}x{}, {}, {num}/{den} fps, time base {}/{}",
            word(&video["codec"]),
            video["size"]["width"],
            video["size"]["height"],
            word(&video["pixel_format"]),
            video["time_base"]["num"],
            video["time_base"]["den"],
        ),
    ];
    if turns != 0 {
        lines.push(format!("rotation   {turns} degrees clockwise"));
    }
    lines.push(match &info["audio"] {
        Value::Null => "sound      none".to_owned(),
        audio => format!(
            "sound      {}, {} Hz, {} channels{}",
            word(&audio["codec"]),
            audio["sample_rate"],
            audio["channels"],
            if audio["copyable"] == true { "" } else { " (MP4 cannot carry it: becomes AAC)" },
        ),
    });
    lines.push(format!("not carried {} other streams", info["other_streams"]));
    lines.join("\n")
}
