//! The dependency direction of the workspace, read from `cargo metadata`.
//!
//! This table is the architecture: what a crate may see. A new crate starts with a row here.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::cmd;

/// What a crate may depend on inside the workspace. Development dependencies are exempt: a test
/// may look further than the code does.
const MAY_USE: &[(&str, &[&str])] = &[
    ("garim-domain", &[]),
    ("garim-rtmp", &[]),
    ("garim-sealed", &[]),
    ("garim-vision", &["garim-domain"]),
    ("garim-redact", &["garim-domain"]),
    ("garim-store", &["garim-domain", "garim-sealed"]),
    ("garim-media", &["garim-domain", "garim-sealed", "garim-redact"]),
    (
        "garim-pipeline",
        &["garim-domain", "garim-sealed", "garim-vision", "garim-redact", "garim-media"],
    ),
    (
        "garim-live",
        &["garim-domain", "garim-sealed", "garim-pipeline", "garim-rtmp", "garim-store"],
    ),
    (
        "garim",
        &[
            "garim-domain",
            "garim-rtmp",
            "garim-sealed",
            "garim-vision",
            "garim-redact",
            "garim-store",
            "garim-media",
            "garim-pipeline",
            "garim-live",
        ],
    ),
    ("xtask", &[]),
];

/// Outside crates that only some crates may name, in tests as well: a name, or with `*` at the
/// end all that start so.
const ONLY_FOR: &[(&str, &[&str])] = &[
    ("ffmpeg-*", &["garim-media"]),
    ("ort", &["garim-vision"]),
    ("ort-*", &["garim-vision"]),
    ("tokio", &["garim-live", "garim-store", "garim"]),
    ("tokio-*", &["garim-live", "garim-store", "garim"]),
];

/// Checks the workspace at `root`.
pub fn check(root: &Path) -> Result<()> {
    let args = ["metadata", "--format-version=1", "--no-deps", "--locked"];
    let json = cmd::output(cmd::cargo(root, &args))?;
    let found = violations(&json)?;
    if !found.is_empty() {
        bail!("dependencies point the wrong way:\n  {}", found.join("\n  "));
    }
    Ok(())
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    /// The package's own name, whatever it is renamed to.
    name: String,
    /// `None` for a normal one, else `dev` or `build`.
    kind: Option<String>,
}

/// One sentence for each dependency that the tables do not allow.
fn violations(metadata: &str) -> Result<Vec<String>> {
    let metadata: Metadata =
        serde_json::from_str(metadata).context("`cargo metadata` wrote something unknown")?;
    let members: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let mut found = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some((_, may_use)) = MAY_USE.iter().find(|(row, _)| *row == name) else {
            found.push(format!("{name} has no row in xtask/src/layers.rs: add one"));
            continue;
        };
        for dependency in &package.dependencies {
            let on = dependency.name.as_str();
            let dev = dependency.kind.as_deref() == Some("dev");
            if members.contains(&on) && !dev && !may_use.contains(&on) {
                found.push(format!("{name} must not depend on {on}"));
            }
            for (_, only) in ONLY_FOR.iter().filter(|(pattern, _)| matches(pattern, on)) {
                if !only.contains(&name) {
                    found.push(format!("{name} must not use {on}: only {} may", only.join(", ")));
                }
            }
        }
    }
    Ok(found)
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metadata of a workspace with these dependencies: package, what it depends on, kind.
    fn metadata(dependencies: &[(&str, &str, Option<&str>)]) -> String {
        let members = ["garim-domain", "garim-redact", "garim-media", "garim-vision", "garim"];
        let mut names: Vec<&str> = members.to_vec();
        names.extend(dependencies.iter().map(|d| d.0).filter(|name| !members.contains(name)));
        let packages: Vec<_> = names
            .iter()
            .map(|name| {
                let dependencies: Vec<_> = dependencies
                    .iter()
                    .filter(|(of, _, _)| of == name)
                    .map(|(_, on, kind)| serde_json::json!({"name": on, "kind": kind}))
                    .collect();
                serde_json::json!({"name": name, "dependencies": dependencies})
            })
            .collect();
        serde_json::json!({ "packages": packages }).to_string()
    }

    #[test]
    fn what_the_design_allows_passes() {
        let found = violations(&metadata(&[
            ("garim-redact", "garim-domain", None),
            ("garim-media", "garim-redact", None),
            ("garim-media", "ffmpeg-sys-the-third", None),
            ("garim-vision", "ort", None),
            ("garim", "garim-media", None),
            ("garim", "tokio", None),
            ("garim-domain", "serde", None),
            // A test may look further than the code does.
            ("garim-redact", "garim-vision", Some("dev")),
        ]));
        assert_eq!(found.unwrap(), Vec::<String>::new());
    }

    #[test]
    fn every_rule_can_be_broken() {
        for (of, on, kind) in [
            ("garim-domain", "garim-redact", None),
            ("garim-redact", "garim-media", None),
            ("garim-vision", "garim-redact", None),
            ("garim-media", "garim-vision", Some("build")),
            ("garim-redact", "garim", None),
            ("garim", "ffmpeg-sys-the-third", None),
            ("garim-vision", "ffmpeg-the-third", Some("dev")),
            ("garim-media", "ort", None),
            ("garim", "ort-sys", None),
            ("garim-domain", "tokio", None),
            ("garim-media", "tokio-util", Some("dev")),
        ] {
            let found = violations(&metadata(&[(of, on, kind)])).unwrap();
            assert_eq!(found.len(), 1, "{of} -> {on}: {found:?}");
            assert!(found[0].contains(of) && found[0].contains(on), "{found:?}");
        }
    }

    #[test]
    fn a_crate_without_a_row_is_named() {
        let found = violations(&metadata(&[("garim-new", "serde", None)])).unwrap();
        assert_eq!(found, ["garim-new has no row in xtask/src/layers.rs: add one"]);
    }
}
