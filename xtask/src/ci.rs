//! `cargo xtask ci`: everything that must hold before a commit lands, stopping at the first failure.
//!
//! One optimised profile throughout, so that the steps share their builds and the tests run what
//! users run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{cmd, servers, tidy};

/// The `cargo-deny` that CI uses; another one may read `deny.toml` differently.
const DENY_VERSION: &str = "0.20.2";

type Step = (&'static str, fn(&Path) -> Result<()>);

/// Cheapest first, so that what fails fails soon.
const STEPS: &[Step] = &[
    ("fmt", fmt),
    ("tidy", tidy::run),
    ("deny", deny),
    ("clippy", clippy),
    ("tests", tests),
    ("doctests", doctests),
    ("docs", docs),
    ("api", api),
    ("clients", clients),
];

/// Runs the steps named in `only`, or all if it is empty; says for each how long it took and ends
/// with a line that says how it went.
pub fn run(root: &Path, only: &[&str]) -> Result<()> {
    if let Some(unknown) = only.iter().find(|name| STEPS.iter().all(|(step, _)| step != *name)) {
        let known: Vec<_> = STEPS.iter().map(|(name, _)| *name).collect();
        bail!("ci has no step {unknown}; its steps are {}", known.join(", "));
    }
    let start = Instant::now();
    for (name, step) in STEPS.iter().filter(|(name, _)| only.is_empty() || only.contains(name)) {
        eprintln!("ci: {name}");
        let step_start = Instant::now();
        step(root).with_context(|| {
            format!("ci FAILED at {name} after {:.0} s", start.elapsed().as_secs_f64())
        })?;
        eprintln!("ci: {name} ok in {:.1} s", step_start.elapsed().as_secs_f64());
    }
    eprintln!("ci: passed in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn fmt(root: &Path) -> Result<()> {
    cmd::run(cmd::cargo(root, &["fmt", "--all", "--check"]))
}

fn clippy(root: &Path) -> Result<()> {
    let args =
        ["clippy", "--workspace", "--all-targets", "--release", "--locked", "--", "-D", "warnings"];
    cmd::run(cmd::cargo(root, &args))
}

fn tests(root: &Path) -> Result<()> {
    // Nextest where it is, because it runs tests of several crates at once and names the slow ones.
    let args: &[&str] = if succeeds(cmd::cargo(root, &["nextest", "--version"])) {
        &["nextest", "run", "--workspace", "--release", "--locked"]
    } else {
        &["test", "--workspace", "--release", "--locked", "--lib", "--bins", "--tests"]
    };
    // Built before the servers start, which have nothing to do meanwhile.
    let mut build = cmd::cargo(root, args);
    build.arg("--no-run");
    cmd::run(build)?;
    let mut tests = servers::with(root, &cmd::cargo(root, args))?;
    // A test whose server is not there fails instead of doing nothing.
    tests.env("GARIM_TEST_REQUIRED", "1");
    cmd::run(tests)
}

/// The tests in documentation, `compile_fail` proofs of the type chain among them.
fn doctests(root: &Path) -> Result<()> {
    cmd::run(cmd::cargo(root, &["test", "--doc", "--workspace", "--release", "--locked"]))
}

fn docs(root: &Path) -> Result<()> {
    let mut doc = cmd::cargo(root, &["doc", "--no-deps", "--workspace", "--release", "--locked"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    cmd::run(doc)
}

/// A running server answers as its OpenAPI document says, whatever it is asked.
fn api(root: &Path) -> Result<()> {
    with_server(root, "check-api.sh")
}

/// The clients in other languages, against a running server.
fn clients(root: &Path) -> Result<()> {
    with_server(root, "check-clients.sh")
}

fn with_server(root: &Path, script: &str) -> Result<()> {
    cmd::run(cmd::cargo(root, &["build", "--release", "--locked", "-p", "garim"]))?;
    let mut script = cmd::command(root.join("scripts").join(script), root, &[]);
    script.env("GARIM", target_directory(root)?.join("release/garim"));
    cmd::run(script)
}

/// Licences, banned crates and sources of every dependency, by `deny.toml`.
fn deny(root: &Path) -> Result<()> {
    let deny = cargo_deny(root)?;
    let args = ["--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
    cmd::run(cmd::command(deny, root, &args))
}

/// The pinned cargo-deny: the one on the path if it is that version, else one built once into
/// the target folder (about a minute; no package registry has a current binary of it).
fn cargo_deny(root: &Path) -> Result<PathBuf> {
    let tools = target_directory(root)?.join("tools");
    let wanted = format!("cargo-deny {DENY_VERSION}");
    for program in [PathBuf::from("cargo-deny"), tools.join("bin/cargo-deny")] {
        let mut version = cmd::command(&program, root, &["--version"]);
        if version.output().is_ok_and(|o| o.stdout.trim_ascii() == wanted.as_bytes()) {
            return Ok(program);
        }
    }
    eprintln!("ci: building {wanted} once, for later runs too");
    let mut install = cmd::cargo(
        root,
        &["install", "cargo-deny", "--debug", "--locked", "--force", "--version", DENY_VERSION],
    );
    install.arg("--root").arg(&tools);
    // Unoptimised it takes two seconds to check and a third of the time to build.
    install.env("CARGO_PROFILE_DEV_DEBUG", "0");
    // Not this workspace's target folder, where the whole build would stay behind.
    install.env("CARGO_TARGET_DIR", tools.join("build"));
    cmd::run(install)?;
    std::fs::remove_dir_all(tools.join("build")).context("cannot clear target/tools/build")?;
    Ok(tools.join("bin/cargo-deny"))
}

fn target_directory(root: &Path) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let args = ["metadata", "--format-version=1", "--no-deps", "--locked"];
    let json = cmd::output(cmd::cargo(root, &args))?;
    let metadata: Metadata =
        serde_json::from_str(&json).context("`cargo metadata` wrote something unknown")?;
    Ok(metadata.target_directory)
}

fn succeeds(mut command: std::process::Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
