//! Files that appear under their final name complete or not at all.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

/// Ends the name of every unfinished file.
const SUFFIX: &str = ".garim-part";

/// An unfinished file beside its final name. It is locked while it is being written, which is how a
/// later run knows that nobody writes it any more; dropped, it is removed.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    target: PathBuf,
    overwrite: bool,
    // Holds the lock.
    file: File,
    done: bool,
}

impl Partial {
    /// An empty, locked file beside `target`. Removes what killed runs left in that folder.
    pub fn create(target: &Path, overwrite: bool) -> Result<Self> {
        if target.is_dir() {
            bail!("{}: is a folder", target.display());
        }
        if !overwrite && target.symlink_metadata().is_ok() {
            bail!("{}: exists; pass --overwrite to replace it", target.display());
        }
        let folder = folder_of(target);
        sweep(&folder);
        let name = target
            .file_name()
            .with_context(|| format!("{}: is not a file name", target.display()))?
            .to_string_lossy()
            .into_owned();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Long names are cut, so that the addition does not make them too long for the file system.
        let short: String = name.chars().take(40).collect();
        let path = folder.join(format!(".{short}.{}-{count}{SUFFIX}", process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("{}: cannot be written", target.display()))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("{}: cannot be locked", path.display()))?;
        Ok(Self { path, target: target.to_owned(), overwrite, file, done: false })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `error` with the final name where it names the unfinished file, which nobody knows.
    pub fn explain(&self, error: &anyhow::Error) -> anyhow::Error {
        let (path, target) = (self.path.display().to_string(), self.target.display().to_string());
        anyhow!(format!("{error:#}").replace(&path, &target))
    }

    /// The final name.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the complete file its final name, after its bytes are on disk.
    pub fn commit(mut self) -> Result<()> {
        let target = self.target.display().to_string();
        self.file.sync_all().with_context(|| format!("{target}: cannot be written"))?;
        let flags = if self.overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(CWD, &self.path, CWD, &self.target, flags) {
            Ok(()) => {}
            // File systems without the flag (some network ones): the check at the start stands.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                std::fs::rename(&self.path, &self.target)
                    .with_context(|| format!("{target}: cannot be written"))?;
            }
            Err(e) => return Err(e).with_context(|| format!("{target}: cannot be written")),
        }
        self.done = true;
        if let Ok(folder) = File::open(folder_of(&self.target)) {
            // The new name itself; a file system that cannot do this has its own ways.
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Removes unfinished files that nobody holds a lock on: their writers were killed.
fn sweep(folder: &Path) {
    let Ok(entries) = folder.read_dir() else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(SUFFIX) && is_abandoned(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn is_abandoned(path: &Path) -> bool {
    let opened: io::Result<File> = OpenOptions::new().write(true).open(path);
    opened.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = dir
            .read_dir()
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_dropped_file_leaves_nothing_and_a_committed_one_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.mp4");
        drop(Partial::create(&target, false).unwrap());
        assert_eq!(names(dir.path()), Vec::<String>::new());
        let partial = Partial::create(&target, false).unwrap();
        std::fs::write(partial.path(), "video").unwrap();
        partial.commit().unwrap();
        assert_eq!(names(dir.path()), ["out.mp4"]);
        assert_eq!(std::fs::read_to_string(target).unwrap(), "video");
    }

    #[test]
    fn an_output_that_appears_meanwhile_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.mp4");
        let partial = Partial::create(&target, false).unwrap();
        std::fs::write(&target, "other").unwrap();
        assert!(partial.commit().is_err());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "other");
        assert!(Partial::create(&target, false).unwrap_err().to_string().contains("--overwrite"));
    }

    #[test]
    fn what_a_killed_run_left_is_removed_but_not_what_is_being_written() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".x.mp4.1-0.garim-part"), "left").unwrap();
        let busy = Partial::create(&dir.path().join("a.mp4"), false).unwrap();
        let _other = Partial::create(&dir.path().join("b.mp4"), false).unwrap();
        assert!(busy.path().exists());
        assert_eq!(names(dir.path()).len(), 2);
    }
}
