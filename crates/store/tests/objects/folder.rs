//! What can go wrong with a folder of objects: links, unfinished files, a disk that is full or read-only.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use store::{Error, ObjectPath, Objects, Place};

use crate::servers;

fn open(folder: &Path) -> Objects {
    Objects::open(&Place::Folder(folder.to_owned())).unwrap()
}

fn path(name: &str) -> ObjectPath {
    name.parse().unwrap()
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn names(objects: &Objects) -> Vec<String> {
    let listed = objects.list(None, None, 100).await.unwrap();
    listed.into_iter().map(|object| object.path.to_string()).collect()
}

#[tokio::test]
async fn the_folder_is_made_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a/b");
    open(&folder).ready().await.unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    fs::remove_dir(&folder).unwrap();
}

#[tokio::test]
async fn a_listing_is_sorted_by_the_bytes_of_names() {
    let dir = tempfile::tempdir().unwrap();
    let objects = open(dir.path());
    let mut want = ["a/b", "a.b", "a", "a-b/c", "ab", "b/a/c", "b/a.c", "b/a-c"].map(str::to_owned);
    // A folder and a file cannot have one name.
    want[2] = "A".to_owned();
    for name in &want {
        objects.put(&path(name), Bytes::new()).await.unwrap();
    }
    want.sort_unstable();
    assert_eq!(names(&objects).await, want);
    // Also after a name that is not there, or is a folder's.
    for after in ["a", "a/a", "a/c", "b/a", "zz"] {
        let listed = objects.list(None, Some(&path(after)), 100).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|object| object.path.as_str()).collect();
        let rest: Vec<_> = want.iter().filter(|name| name.as_str() > after).collect();
        assert_eq!(listed, rest, "after {after}");
    }
}

#[tokio::test]
async fn links_that_lead_out_of_the_folder_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
    let objects = open(&inside);
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink(&outside, inside.join("folder")).unwrap();
    symlink(outside.join("secret"), inside.join("file")).unwrap();
    for name in ["file", "folder/secret", "folder/new"] {
        let name = path(name);
        let denied = [
            objects.head(&name).await.map(drop),
            objects.get(&name, 100).await.map(drop),
            objects.stream(&name, Some(0..1)).await.map(drop),
            objects.put(&name, text("x")).await,
            objects.put_new(&name, text("x")).await,
            objects.put_file(&name, &outside.join("secret")).await.map(drop),
            objects.delete(&name).await,
            objects.delete_all(&name).await,
        ];
        for result in denied {
            assert!(matches!(result, Err(Error::Denied { .. })), "{name}: {result:?}");
        }
    }
    assert!(matches!(objects.delete_all(&path("folder")).await, Err(Error::Denied { .. })));
    assert_eq!(names(&objects).await, [""; 0]);
    // With what is around it, a link goes, but not what it leads to.
    objects.put(&path("real/object"), text("x")).await.unwrap();
    symlink(&outside, inside.join("real/link")).unwrap();
    assert_eq!(names(&objects).await, ["real/object"]);
    objects.delete_all(&path("real")).await.unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
}

#[tokio::test]
async fn what_is_no_object_is_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let objects = open(dir.path());
    objects.put(&path("user/clip.mp4"), text("x")).await.unwrap();
    for name in ["new\nline", "back\\slash", "clip.mp4#1"] {
        fs::write(dir.path().join("user").join(name), "x").unwrap();
    }
    let pipe = dir.path().join("user/pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(names(&objects).await, ["user/clip.mp4"]);
    // Opening it would wait for a writer for ever.
    let read = objects.get(&path("user/pipe"), 9).await;
    assert!(matches!(read, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn an_object_where_there_is_a_folder_or_below_an_object_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let objects = open(dir.path());
    objects.put(&path("a/b"), text("x")).await.unwrap();
    assert!(objects.put(&path("a"), text("x")).await.is_err());
    assert!(objects.put_new(&path("a"), text("x")).await.is_err());
    let below = objects.put(&path("a/b/c"), text("x")).await;
    assert!(matches!(below, Err(Error::Invalid { .. })), "{below:?}");
    assert_eq!(names(&objects).await, ["a/b"]);
    assert_eq!(files(dir.path()), [dir.path().join("a/b")]);
}

#[tokio::test]
async fn unfinished_files_are_swept_once_they_are_old() {
    let dir = tempfile::tempdir().unwrap();
    let objects = open(dir.path());
    objects.put(&path("a/b"), text("x")).await.unwrap();
    objects.put(&path("a/b#c"), text("x")).await.unwrap();
    fs::write(dir.path().join("a/b#1"), "half").unwrap();
    fs::write(dir.path().join("c#23"), "half").unwrap();
    let (hour, now) = (SignedDuration::from_hours(1), Timestamp::now());
    assert_eq!(objects.sweep(now, hour).await.unwrap(), 0);
    assert_eq!(objects.sweep(now + SignedDuration::from_hours(2), hour).await.unwrap(), 2);
    assert_eq!(files(dir.path()), [dir.path().join("a/b"), dir.path().join("a/b#c")]);
}

#[test]
fn a_full_disk_leaves_no_part_of_an_object() {
    let Some(folder) = on_a_small_disk("folder::a_full_disk_leaves_no_part_of_an_object") else {
        return;
    };
    run(async {
        let objects = open(&folder);
        objects.put(&path("a/kept"), text("kept")).await.unwrap();
        let big = tempfile::NamedTempFile::new().unwrap();
        fs::write(big.path(), vec![1; 20 << 20]).unwrap();
        for name in ["a/kept", "a/new"] {
            let name = path(name);
            let full = [
                objects.put(&name, vec![1; 2 << 20].into()).await,
                objects.put_file(&name, big.path()).await.map(drop),
            ];
            for result in full {
                assert!(matches!(result, Err(Error::Full { .. })), "{result:?}");
            }
        }
        let full = objects.put_new(&path("a/new"), vec![1; 2 << 20].into()).await;
        assert!(matches!(full, Err(Error::Full { .. })), "{full:?}");
        assert_eq!(objects.get(&path("a/kept"), 9).await.unwrap(), "kept");
        assert_eq!(files(&folder), [folder.join("a/kept")]);
        // It is usable as before; and not ready when not even a byte fits.
        objects.put(&path("a/new"), vec![1; 500 << 10].into()).await.unwrap();
        objects.ready().await.unwrap();
        let filled = fs::write(folder.join("filler"), vec![1; 1 << 20]);
        assert!(filled.is_err());
        assert!(matches!(objects.ready().await, Err(Error::Full { .. })));
    });
}

#[test]
fn a_folder_that_cannot_be_written_can_be_read() {
    let Some(folder) = on_a_small_disk("folder::a_folder_that_cannot_be_written_can_be_read")
    else {
        return;
    };
    run(async {
        let objects = open(&folder);
        let name = path("a/b");
        objects.put(&name, text("kept")).await.unwrap();
        let read_only = Command::new("mount").args(["-o", "remount,ro"]).arg(&folder).status();
        assert!(read_only.unwrap().success());
        let denied = [
            objects.put(&name, text("x")).await,
            objects.put_new(&path("a/c"), text("x")).await,
            objects.put_file(&name, Path::new("/etc/hostname")).await.map(drop),
            objects.delete(&name).await,
            objects.delete_all(&path("a")).await,
            objects.ready().await,
        ];
        for result in denied {
            assert!(matches!(result, Err(Error::Denied { .. })), "{result:?}");
        }
        assert_eq!(objects.get(&name, 9).await.unwrap(), "kept");
        assert_eq!(names(&open(&folder)).await, ["a/b"]);
    });
}

fn run(test: impl Future) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(test);
}

/// Every file below a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort_unstable();
    found
}

/// A folder on a disk of 1 MiB, in a run of test `name` of its own. In the run that was asked for: starts that
/// one in a mount namespace, which takes the disk away with it however it ends, waits for it and gives `None`.
fn on_a_small_disk(name: &str) -> Option<PathBuf> {
    const INSIDE: &str = "GARIM_TEST_SMALL_DISK";
    if let Some(folder) = std::env::var_os(INSIDE) {
        return Some(folder.into());
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        command.args(if is_root { &["--mount"][..] } else { &["--mount", "--map-root-user"] });
        command
    };
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        servers::missing("this machine makes no mount namespaces");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=1m none "$1" && exec "$2" --exact "$3" --nocapture"#;
    let mut inner = unshare();
    inner
        .args(["sh", "-c", script, "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .arg(name);
    let ran = inner.env(INSIDE, dir.path()).stderr(Stdio::inherit()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    // A name that is none is a success of no test.
    assert!(ran.status.success() && said.contains(" 1 passed;"), "{name}: {said}");
    None
}
