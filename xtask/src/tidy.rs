//! Checks that take no compiler: the dependency direction, and what is in the checkout's files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::{cmd, layers};

/// Nothing larger is committed: footage and models are fetched.
const MAX_BYTES: u64 = 1_000_000;

/// Hosts of package registries. The project is built behind mirrors, so package clients are
/// told a package's name, never where it lies. Written in two parts because this file is checked
/// too.
const REGISTRIES: &[(&str, &str)] = &[
    ("crates", ".io"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("npmjs", ".org"),
    ("npmjs", ".com"),
    ("deb.debian", ".org"),
    ("archive.ubuntu", ".com"),
];

/// Files that a package client writes, addresses included.
const WRITTEN_BY_CLIENTS: &[&str] = &["Cargo.lock", "fuzz/Cargo.lock"];

/// Runs every check.
pub fn run(root: &Path) -> Result<()> {
    layers::check(root)?;
    check_files(root)
}

/// Checks each file that is committed or about to be.
fn check_files(root: &Path) -> Result<()> {
    if !root.join(".git").exists() {
        eprintln!("tidy: not a git checkout, so there are no committed files to check");
        return Ok(());
    }
    // A checkout may belong to another user than the one who checks it (a container's root).
    let args =
        ["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let list = cmd::output(cmd::command("git", root, &args))?;
    let mut found = Vec::new();
    for name in list.split_terminator('\0') {
        let path = root.join(name);
        // Deleted but not yet committed so, or a link to somewhere.
        if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read {name}"))?;
        found.extend(problems(name, &bytes));
    }
    if !found.is_empty() {
        bail!("files that must not be committed so:\n  {}", found.join("\n  "));
    }
    Ok(())
}

/// What is wrong with a file, one sentence each.
fn problems(name: &str, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    if bytes.len() as u64 > MAX_BYTES {
        found.push(format!("{name} has {} bytes; the limit is {MAX_BYTES}", bytes.len()));
    }
    if !WRITTEN_BY_CLIENTS.contains(&name) {
        for (host, domain) in REGISTRIES {
            let host = format!("{host}{domain}");
            if bytes.windows(host.len()).any(|window| window == host.as_bytes()) {
                found.push(format!("{name} names the registry host {host}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_and_a_registry_host_are_found() {
        assert_eq!(problems("a.md", b"fetched with pip"), Vec::<String>::new());
        assert_eq!(problems("a.bin", &vec![0; 1_000_001]).len(), 1);
        for (host, domain) in REGISTRIES {
            let text = format!("see https://{host}{domain}/simple");
            assert_eq!(problems("a.md", text.as_bytes()).len(), 1, "{text}");
            assert_eq!(problems("Cargo.lock", text.as_bytes()), Vec::<String>::new());
        }
    }
}
