//! `garim models`: the weights and the runtime.

use std::process::ExitCode;

use anyhow::{Context, Result};
use vision::models;

use super::{print, success};
use crate::cli::{ModelsArgs, ModelsCommand};

pub fn run(args: &ModelsArgs) -> Result<ExitCode> {
    match args.command {
        ModelsCommand::Fetch => {
            let folder = models::fetch_dir()
                .context("there is no data folder: set GARIM_DATA or HOME to say where files go")?;
            vision::fetch(&folder, &mut |line| eprintln!("{line}"))?;
            Ok(success(list()))
        }
        ModelsCommand::List => {
            list();
            Ok(ExitCode::SUCCESS)
        }
        ModelsCommand::Verify => Ok(success(list())),
    }
}

/// Prints every file; whether all are as they should be.
fn list() -> bool {
    let mut well = true;
    for status in models::status() {
        let place = status.path.map_or(String::new(), |path| path.display().to_string());
        let pinned = status.model.pinned();
        well &= status.state.is_ok();
        let state = status.state.err().map_or("ok".to_owned(), |e| e.to_string());
        print(format_args!("{:<34} {:<10} {place}  {state}", pinned.name, pinned.licence));
    }
    well
}
