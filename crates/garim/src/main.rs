//! The command line of Garim. What belongs in this crate: arguments, processes, files under their
//! final names, progress, exit codes. What never does: pixels, tensors, codecs.

mod channels;
mod child;
mod cli;
mod cmd;
mod config;
mod enrol;
mod housekeeping;
mod http;
mod inputs;
mod notify;
mod output;
mod progress;
mod sealing;
mod service;
mod watched;
mod work;
mod worker;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Before anything may start a thread.
    let exit = vision::forbid_telemetry().map_err(anyhow::Error::from);
    let exit = exit.and_then(|()| cmd::run(cli::Cli::parse()));
    exit.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(1)
    })
}
