//! The project's chores, run as `cargo xtask <chore>`.
//!
//! Here belongs what a developer or CI runs on the checkout itself. What a user of Garim runs
//! belongs in the `garim` binary. This crate builds without FFmpeg, without a model and without
//! any other crate of the workspace, so that it works before they do.

mod ci;
mod cmd;
mod fixtures;
mod layers;
mod made;
mod packages;
mod servers;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask <chore>

  fixtures [bench]
             fetch and make the footage of the demo and the tests, into .garim/fixtures; with
             `bench` that of the benchmark too
  servers COMMAND...
             run a command beside a PostgreSQL and an S3 server that are there for it alone; tests
             that need them do nothing otherwise
  tidy       check the dependency direction and the committed files (seconds)
  ci [STEP]  everything that must hold before a commit lands, in order, stopping at the first
             failure: fmt, tidy, deny, clippy, tests, doctests, docs, api, clients; or only the steps
             named
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fixtures"] => fixtures::run(&root(), false),
        ["fixtures", "bench"] => fixtures::run(&root(), true),
        ["servers", ref line @ ..] if !line.is_empty() => servers::run(&root(), line),
        ["tidy"] => tidy::run(&root()),
        ["ci", ref steps @ ..] => ci::run(&root(), steps),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root. Cargo says at run time where it is; the path known at build time is
/// wrong once a checkout has been moved together with its target folder.
fn root() -> PathBuf {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map_or_else(|| xtask.clone(), Path::to_path_buf)
}
