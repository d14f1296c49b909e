//! Which files to cover, where to, and whom to keep.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Files in one run, at most.
const MAX_FILES: usize = 100_000;
/// Folders inside folders, at most.
const MAX_DEPTH: usize = 32;
/// Photos of one person, at most.
const MAX_PHOTOS: usize = 64;

const VIDEOS: [&str; 11] =
    ["mp4", "m4v", "mov", "mkv", "webm", "ts", "mts", "m2ts", "avi", "flv", "m3u8"];
const PHOTOS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// Ends the name of an output that has no place of its own.
const COVERED: &str = "-covered";

/// One file to cover.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub input: PathBuf,
    pub output: PathBuf,
    pub still: bool,
}

impl Item {
    /// The path of a file that goes with this one (`plan`, `report`, …): `given` itself when it is
    /// for one input, else a file named after the output in the folder `given`.
    pub fn beside(&self, given: Option<&PathBuf>, ending: &str, many: bool) -> Option<PathBuf> {
        let given = given?;
        if !many && !given.is_dir() {
            return Some(given.clone());
        }
        let stem = self.output.file_stem().unwrap_or(OsStr::new("output")).to_string_lossy();
        Some(given.join(format!("{stem}.{ending}")))
    }
}

/// Lists the files to cover. Folders are searched; a folder with an HLS playlist is that playlist.
pub fn expand(
    inputs: &[PathBuf],
    output: Option<&Path>,
    out_dir: Option<&Path>,
) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for input in inputs {
        if input.is_dir() && playlist_in(input).is_none() {
            let before = items.len();
            let mut files = Vec::new();
            walk(input, 0, &mut files)?;
            for file in files {
                let inner = file.strip_prefix(input).unwrap_or(&file).to_owned();
                items.push(item(file, Some(&inner), output, out_dir)?);
            }
            if items.len() == before {
                bail!("{}: holds no video or photo", input.display());
            }
        } else {
            let file = if input.is_dir() { playlist_in(input) } else { None };
            items.push(item(file.unwrap_or_else(|| input.clone()), None, output, out_dir)?);
        }
    }
    check(&items, output.is_some())?;
    Ok(items)
}

fn item(
    input: PathBuf,
    inner: Option<&Path>,
    output: Option<&Path>,
    out_dir: Option<&Path>,
) -> Result<Item> {
    let still = is_photo(&input);
    let name = input.file_name().with_context(|| format!("{}: is not a file", input.display()))?;
    let output = match (output, out_dir) {
        (Some(output), _) => output.to_owned(),
        (None, Some(dir)) => with_ending(&dir.join(inner.unwrap_or(Path::new(name))), "", still),
        (None, None) => with_ending(&input, COVERED, still),
    };
    Ok(Item { input, output, still })
}

/// `path` with `addition` after its stem, and `.mp4` unless it is a photo.
fn with_ending(path: &Path, addition: &str, still: bool) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(addition);
    name.push(".");
    name.push(if still { path.extension().unwrap_or_default() } else { OsStr::new("mp4") });
    path.with_file_name(name)
}

fn check(items: &[Item], one_output: bool) -> Result<()> {
    if one_output && items.len() > 1 {
        bail!("-o is for one input, and these are {}; use --out-dir", items.len());
    }
    let inputs: HashSet<(u64, u64)> = items.iter().filter_map(|i| identity(&i.input)).collect();
    let mut outputs: HashMap<&Path, &Path> = HashMap::new();
    for item in items {
        let (input, output) = (&item.input, &item.output);
        if let Some(other) = outputs.insert(output, input) {
            bail!(
                "{} and {} would both become {}; cover them one by one with -o",
                other.display(),
                input.display(),
                output.display()
            );
        }
        if identity(output).is_some_and(|file| inputs.contains(&file)) {
            bail!("{}: is an input; the output must be another file", output.display());
        }
    }
    Ok(())
}

/// Which file a name leads to, also through links; `None` when there is none.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Whether both names lead to one existing file, also through links.
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    identity(a).is_some_and(|file| identity(b) == Some(file))
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if depth > MAX_DEPTH {
        bail!("{}: is nested too deep", folder.display());
    }
    if let Some(playlist) = playlist_in(folder) {
        found.push(playlist); // Its segments are parts of it, not videos of their own.
        return Ok(());
    }
    for path in entries(folder)? {
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        let covered = path.file_stem().is_some_and(|n| n.to_string_lossy().ends_with(COVERED));
        if hidden || covered {
            continue;
        }
        if path.is_dir() {
            walk(&path, depth + 1, found)?;
        } else if has_extension(&path, &VIDEOS) || has_extension(&path, &PHOTOS) {
            if found.len() == MAX_FILES {
                bail!("{}: holds more than {MAX_FILES} files", folder.display());
            }
            found.push(path);
        }
    }
    Ok(())
}

/// The playlist of a folder; where it holds several, the choice is left to the reader.
fn playlist_in(folder: &Path) -> Option<PathBuf> {
    let mut lists = entries(folder).ok()?.into_iter().filter(|p| has_extension(p, &["m3u8"]));
    let first = lists.next()?;
    Some(if lists.next().is_some() { folder.to_owned() } else { first })
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> =
            folder.read_dir()?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
        paths.sort();
        Ok(paths)
    };
    read().with_context(|| format!("{}: cannot be listed", folder.display()))
}

/// Whether a file is to be taken for a photo.
pub fn is_photo(path: &Path) -> bool {
    has_extension(path, &PHOTOS)
}

fn has_extension(path: &Path, list: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    list.contains(&extension.as_str())
}

/// The photos of one person at `path`: a photo, or a folder of them.
pub fn photos(path: &Path) -> Result<Vec<PathBuf>> {
    let photos: Vec<PathBuf> = if path.is_dir() {
        entries(path)?.into_iter().filter(|p| has_extension(p, &PHOTOS)).collect()
    } else {
        vec![path.to_owned()]
    };
    if photos.is_empty() {
        bail!("{}: holds no photo (JPEG, PNG or WebP) to keep somebody by", path.display());
    }
    if photos.len() > MAX_PHOTOS {
        bail!(
            "{}: holds more than {MAX_PHOTOS} photos; the best five or so are enough",
            path.display()
        );
    }
    Ok(photos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(items: &[Item]) -> Vec<String> {
        items.iter().map(|i| i.output.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    fn touch(dir: &Path, names: &[&str]) {
        for name in names {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
    }

    #[test]
    fn folders_are_searched_and_earlier_outputs_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        touch(
            dir.path(),
            &["b.MOV", "a.jpg", "a-covered.jpg", "notes.txt", "sub/c.webm", ".d.mp4"],
        );
        let items = expand(&[dir.path().to_owned()], None, None).unwrap();
        assert_eq!(names(&items), ["a-covered.jpg", "b-covered.mp4", "c-covered.mp4"]);
    }

    #[test]
    fn a_folder_with_a_playlist_is_one_video() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["live.m3u8", "0.ts", "1.ts"]);
        let items = expand(&[dir.path().to_owned()], None, Some(Path::new("out"))).unwrap();
        assert_eq!(items[0].output, Path::new("out/live.mp4"));
        assert_eq!(items.len(), 1);
    }

    #[test]
    fn an_input_is_never_an_output() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["a.mp4"]);
        let a = dir.path().join("a.mp4");
        let error = expand(std::slice::from_ref(&a), Some(&a), None).unwrap_err();
        assert!(error.to_string().contains("is an input"), "{error}");
        std::os::unix::fs::symlink(&a, dir.path().join("link.mp4")).unwrap();
        assert!(expand(&[a], Some(&dir.path().join("link.mp4")), None).is_err());
    }

    #[test]
    fn two_inputs_never_share_an_output() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["a.mp4", "a.mov"]);
        let both = [dir.path().join("a.mp4"), dir.path().join("a.mov")];
        let error = expand(&both, None, Some(Path::new("out"))).unwrap_err().to_string();
        assert!(error.contains("would both become"), "{error}");
        assert!(expand(&both, Some(Path::new("o.mp4")), None).is_err());
    }
}
