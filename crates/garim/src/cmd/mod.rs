//! One file per subcommand.

mod analyze;
mod audit;
mod backup;
mod consent;
mod convert;
mod doctor;
mod job;
mod keep;
mod key;
mod models;
mod mosaic;
mod people;
mod probe;
mod render;
mod serve;
mod verify;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::child;
use crate::cli::{Cli, Command};

/// Exit code after Ctrl-C: 128 + SIGINT, as shells expect.
const INTERRUPTED: u8 = 130;

/// Runs the command; an error means exit code 1.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Mosaic(args) => mosaic::run(&args),
        Command::Analyze(args) => analyze::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Probe(args) => probe::run(&args),
        Command::People(args) => people::run(&args),
        Command::Consent(args) => consent::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Worker(args) => serve::work_only(&args),
        Command::Key(args) => key::run(&args),
        Command::Backup(args) => backup::back_up(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Doctor => doctor::run(),
        Command::Models(args) => models::run(&args),
        Command::Child => Ok(success(child::serve()?)),
    }
}

fn success(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// A flag that Ctrl-C and SIGTERM set. A second one ends the process at once.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(
            signal,
            INTERRUPTED.into(),
            Arc::clone(&stop),
        )?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Prints a line to stdout; a closed pipe is the reader's choice, not an error of ours.
fn print(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
