//! Objects as files in a folder: what `object_store` does not do there, or does by following symbolic links.
//!
//! Everything here blocks, so that it is called through [`blocking`].

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream::{StreamExt, try_unfold};
use jiff::Timestamp;

use super::path::is_unfinished;
use super::{Contents, Object, ObjectPath, failure, flow};
use crate::Error;

/// Bytes that are read at a time.
const PIECE: u64 = 256 << 10;
/// Longest path that is looked into, in bytes; no object's name is longer.
const MAX_PATH: usize = 512;

/// Runs `work` on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Error::Unavailable { why: "the server is stopping".into() }))
}

/// Makes the folder, if it is missing, and returns its real path.
pub(super) fn make(folder: &Path) -> Result<PathBuf, Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io(folder))?;
    fs::canonicalize(folder).map_err(Error::io(folder))
}

/// An object's file, without following symbolic links.
pub(super) fn find(root: &Path, path: &ObjectPath) -> Result<(PathBuf, Metadata), Error> {
    let (file, meta) = walk_to(root, path)?;
    if !meta.is_file() {
        return Err(Error::NotFound { kind: "object", name: path.to_string() });
    }
    Ok((file, meta))
}

/// The file or folder at `path`, without following symbolic links.
fn walk_to(root: &Path, path: &ObjectPath) -> Result<(PathBuf, Metadata), Error> {
    let mut at = root.to_owned();
    let mut meta = None;
    for segment in path.as_str().split('/') {
        at.push(segment);
        let here = fs::symlink_metadata(&at).map_err(|error| match error.kind() {
            ErrorKind::NotADirectory => failure::of_io(path, ErrorKind::NotFound.into()),
            _ => failure::of_io(path, error),
        })?;
        if here.is_symlink() {
            let why =
                format!("{} is a symbolic link; mount what it leads to instead", at.display());
            return Err(Error::Denied { what: path.to_string(), why });
        }
        meta = Some(here);
    }
    match meta {
        Some(meta) => Ok((at, meta)),
        None => Err(Error::NotFound { kind: "object", name: path.to_string() }),
    }
}

/// See [`super::Objects::head`].
pub(super) fn head(root: &Path, path: &ObjectPath) -> Result<Object, Error> {
    let (_, meta) = find(root, path)?;
    object(path.clone(), &meta)
}

fn object(path: ObjectPath, meta: &Metadata) -> Result<Object, Error> {
    let modified = meta.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    let modified = modified.ok_or(Error::Damaged("an object's time"))?;
    Ok(Object { path, size: meta.len(), modified })
}

/// See [`super::Objects::stream`].
pub(super) async fn stream(
    root: Arc<Path>,
    path: ObjectPath,
    range: Option<Range<u64>>,
) -> Result<Contents, Error> {
    let name = path.clone();
    let open = move || {
        let (file, _) = find(&root, &name)?;
        let file = File::open(file).map_err(|error| failure::of_io(&name, error))?;
        let size = file.metadata().map_err(|error| failure::of_io(&name, error))?.len();
        Ok((file, size))
    };
    let (file, size) = blocking(open).await?;
    if range.as_ref().is_some_and(|range| range.start >= size) {
        return Err(Error::Range { size });
    }
    let range = range.map_or(0..size, |range| range.start..range.end.min(size));
    let name = path.clone();
    let pieces = try_unfold((file, range.clone()), move |(file, left)| {
        let name = name.clone();
        blocking(move || {
            if left.is_empty() {
                return Ok(None);
            }
            let piece = read(&file, &left).map_err(|error| failure::of_io(&name, error))?;
            let left = left.start + piece.len() as u64..left.end;
            Ok(Some((piece, (file, left))))
        })
    });
    Ok(Contents { size, bytes: flow::exactly(range.clone(), &path, pieces.boxed()), range })
}

/// The first bytes in `range`; none at the end of the file.
fn read(file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let mut piece = vec![0; usize::try_from((range.end - range.start).min(PIECE)).unwrap_or(0)];
    loop {
        match file.read_at(&mut piece, range.start) {
            Ok(length) => {
                piece.truncate(length);
                return Ok(piece.into());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// See [`super::Objects::list`].
pub(super) fn list(
    root: &Path,
    prefix: Option<&ObjectPath>,
    after: Option<&ObjectPath>,
    limit: usize,
) -> Result<Vec<Object>, Error> {
    if let Some(prefix) = prefix {
        match walk_to(root, prefix) {
            Ok((_, meta)) if meta.is_dir() => {}
            Ok(_) | Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
    }
    let mut found = Vec::new();
    let start = prefix.map_or("", ObjectPath::as_str);
    list_folder(root, start, after.map(ObjectPath::as_str), limit, &mut found)?;
    Ok(found)
}

/// Adds what is in `folder` (a path below `root`, empty for `root` itself) to `found` until it has `limit`.
fn list_folder(
    root: &Path,
    folder: &str,
    after: Option<&str>,
    limit: usize,
    found: &mut Vec<Object>,
) -> Result<(), Error> {
    for (name, is_folder) in entries(&root.join(folder))? {
        if found.len() >= limit {
            break;
        }
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if is_folder {
            // `path` ends in a slash here. What is in it comes after `after`, or `after` is in it.
            let wanted =
                after.is_none_or(|after| path.as_str() > after || after.starts_with(&path));
            if wanted && path.len() <= MAX_PATH {
                list_folder(root, path.trim_end_matches('/'), after, limit, found)?;
            }
        } else if after.is_none_or(|after| path.as_str() > after)
            && let Ok(path) = path.parse::<ObjectPath>()
        {
            match fs::symlink_metadata(root.join(path.as_str())) {
                Ok(meta) => found.push(object(path, &meta)?),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failure::of_io(&path, error)),
            }
        }
    }
    Ok(())
}

/// The files and folders in `folder`, in the order of the names of objects: a folder's name has its slash.
/// Without symbolic links, and without names that are not UTF-8.
fn entries(folder: &Path) -> Result<Vec<(String, bool)>, Error> {
    let failed = |error| failure::of_io(&folder.display(), error);
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        // Deleted by another since its name was read.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if kind.is_dir() {
            entries.push((name + "/", true));
        } else if kind.is_file() {
            entries.push((name, false));
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

/// See [`super::Objects::delete`].
pub(super) fn delete(root: &Path, path: &ObjectPath) -> Result<(), Error> {
    let file = match find(root, path) {
        Ok((file, _)) => file,
        Err(Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    match fs::remove_file(&file) {
        Ok(()) => sync_parent(&file).map_err(|error| failure::of_io(path, error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failure::of_io(path, error)),
    }
}

/// See [`super::Objects::delete_all`].
pub(super) fn delete_all(root: &Path, prefix: &ObjectPath) -> Result<(), Error> {
    let folder = match walk_to(root, prefix) {
        Ok((folder, meta)) if meta.is_dir() => folder,
        Ok(_) | Err(Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    // Unfinished files go with it. Symbolic links are deleted, never followed.
    match fs::remove_dir_all(&folder) {
        Ok(()) => sync_parent(&folder).map_err(|error| failure::of_io(prefix, error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
            Err(Error::Unavailable { why: format!("something is being stored in {prefix}") })
        }
        Err(error) => Err(failure::of_io(prefix, error)),
    }
}

/// Makes a deletion last through a power cut.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent().map(File::open) {
        Some(Ok(folder)) => folder.sync_all(),
        // Deleted too.
        Some(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        Some(Err(error)) => Err(error),
        None => Ok(()),
    }
}

/// Deletes unfinished files last written before `before`; returns how many.
pub(super) fn sweep(root: &Path, before: SystemTime) -> Result<u64, Error> {
    let mut swept = 0;
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for (name, is_folder) in entries(&folder)? {
            let path = folder.join(&name);
            if is_folder {
                folders.push(path);
            } else if is_unfinished(&name) && is_older(&path, before) {
                match fs::remove_file(&path) {
                    Ok(()) => swept += 1,
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(failure::of_io(&path.display(), error)),
                }
            }
        }
    }
    Ok(swept)
}

fn is_older(file: &Path, than: SystemTime) -> bool {
    fs::symlink_metadata(file).and_then(|meta| meta.modified()).is_ok_and(|time| time < than)
}

/// Whether a file can be written in the folder; its name is that of an unfinished one, so nobody sees it.
pub(super) fn ready(root: &Path) -> Result<(), Error> {
    let path = root.join(format!("ready#{}", std::process::id()));
    let written = File::create(&path).and_then(|mut file| file.write_all(b"ready"));
    let removed = fs::remove_file(&path);
    written.and(removed).map_err(|error| failure::of_io(&root.display(), error))
}
