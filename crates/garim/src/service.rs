//! What a server and a worker share: the database, the objects, a folder for what is being worked on.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use domain::{JobId, VideoId};
use jiff::Timestamp;
use pipeline::Input;
use rustix::fs::{FlockOperation, flock};
use store::{Error, ObjectPath, Objects, Store, video_folder};

/// Everything that work needs. Clones are the same.
#[derive(Clone)]
pub struct Service {
    pub store: Store,
    pub objects: Objects,
    pub staging: Arc<Staging>,
}

/// File of an original in a room.
pub const ORIGINAL: &str = "original";

/// An original in a room.
pub struct Original {
    pub input: Input,
    /// Which one it is: another upload or conversion has another.
    pub source: String,
}

/// Who reads an original, and why: for the log.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// The user whose video it is.
    pub owner: &'a str,
    /// Who reads it.
    pub actor: &'a str,
    /// What for.
    pub why: &'a str,
}

impl Service {
    /// Brings a video's original, still sealed, into a room. `fetched` hears how many of how many parts are
    /// there, and may end it.
    ///
    /// # Errors
    /// Those of the store, of writing to the room, and of `fetched`.
    pub async fn original<E: From<Error> + From<std::io::Error>>(
        &self,
        video: VideoId,
        Access { owner, actor, why }: Access<'_>,
        room: &Room,
        fetched: impl Fn(u64, u64) -> Result<(), E>,
    ) -> Result<Original, E> {
        let now = Timestamp::now();
        let (sealed, parts) = self.store.original(owner, video, actor, why, now).await?;
        let count = parts.len() as u64;
        fetched(0, count)?;
        let source = parts.first().map_or(String::new(), |part| part.object.clone());
        let path = room.file(ORIGINAL);
        if !self.staging.lend_original(&source, &path) {
            let mut file = tokio::fs::File::create_new(&path).await?;
            for (part, done) in parts.iter().zip(1..) {
                // A part that is gone was there when the parts were listed.
                let moved = |error| match error {
                    Error::NotFound { .. } => Error::Moved(video),
                    error => error,
                };
                self.objects.download(&part.object.parse()?, &mut file).await.map_err(moved)?;
                fetched(done, count)?;
            }
        }
        Ok(Original { input: Input { path, sealed: Some(sealed) }, source })
    }

    /// Brings an object into a room, as file `name`.
    ///
    /// # Errors
    /// Those of the store, and of writing to the room.
    pub async fn fetch<E: From<Error> + From<std::io::Error>>(
        &self,
        object: &ObjectPath,
        room: &Room,
        name: &str,
    ) -> Result<PathBuf, E> {
        let path = room.file(name);
        let mut file = tokio::fs::File::create_new(&path).await?;
        self.objects.download(object, &mut file).await?;
        Ok(path)
    }
}

/// A folder of this process for files that are being worked on: sealed originals and covered results. It goes
/// with the process; what a killed one left, the next one sweeps.
pub struct Staging {
    folder: PathBuf,
    /// Which original is at hand.
    original: Mutex<Option<String>>,
    // Holds the lock that says that somebody still works here.
    _lock: File,
}

/// File in a staging folder whose lock its process holds.
const LOCK: &str = "lock";

impl Staging {
    /// Makes a folder in `data` and removes those of processes that are gone.
    pub fn open(data: &Path) -> Result<Self> {
        let parent = data.join("staging");
        make(&parent)?;
        sweep(&parent)?;
        let folder = parent.join(JobId::new(Timestamp::now().as_millisecond()).to_string());
        make(&folder)?;
        let path = folder.join(LOCK);
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let lock = lock.with_context(|| path.display().to_string())?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("{}: cannot be locked", path.display()))?;
        Ok(Self { folder, original: Mutex::new(None), _lock: lock })
    }

    /// Puts the original `source` at `path`, if it is at hand: as another name of the same file.
    fn lend_original(&self, source: &str, path: &Path) -> bool {
        let original = self.original.lock().unwrap_or_else(PoisonError::into_inner);
        original.as_deref() == Some(source)
            && fs::hard_link(self.folder.join(ORIGINAL), path).is_ok()
    }

    /// Keeps an original at hand, and no other: the parts of a long video that one worker does do not each fetch
    /// all of it.
    pub fn keep_original(&self, Original { input, source }: &Original) {
        let mut original = self.original.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.folder.join(ORIGINAL);
        let _ = fs::remove_file(&file);
        // Where this fails, it is fetched again.
        *original = fs::hard_link(&input.path, file).is_ok().then(|| source.clone());
    }

    /// Keeps none: nobody needs it just now.
    pub fn forget_original(&self) {
        let mut original = self.original.lock().unwrap_or_else(PoisonError::into_inner);
        if original.take().is_some() {
            let _ = fs::remove_file(self.folder.join(ORIGINAL));
        }
    }

    /// A new folder for one attempt of a job; removed when dropped.
    pub fn room(&self, job: JobId, attempt: i64) -> Result<Room> {
        let folder = self.folder.join(format!("{job}.{attempt}"));
        make(&folder)?;
        Ok(Room { folder })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The folder of one attempt.
pub struct Room {
    folder: PathBuf,
}

impl Room {
    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// `message` without the path of this folder, which says nothing to who is told.
    pub fn nameless(&self, message: &str) -> String {
        message.replace(&self.file("").display().to_string(), "")
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn make(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("{}: cannot be made", folder.display()))
}

/// Removes the folders whose lock nobody holds.
fn sweep(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent).with_context(|| parent.display().to_string())? {
        let folder = entry?.path();
        // A folder without a lock file is being made just now, or its process died doing so: left for the next.
        let Ok(lock) = OpenOptions::new().write(true).open(folder.join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(&folder);
        }
    }
    Ok(())
}

/// Folder of the objects that an attempt of a job makes: `{job}.{attempt}` in that of the video.
pub fn vod_folder(
    user: &str,
    video: VideoId,
    created: Timestamp,
    job: JobId,
    attempt: i64,
) -> Result<ObjectPath, Error> {
    format!("{}/{job}.{attempt}", video_folder(user, video, created)).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_a_running_one_has_is_not() {
        let data = tempfile::tempdir().unwrap();
        let running = Staging::open(data.path()).unwrap();
        let room = running.room(JobId::new(0), 1).unwrap();
        fs::write(room.file("original"), b"sealed").unwrap();
        // A killed process: its folder and lock file are there, and nobody holds the lock.
        let killed = data.path().join("staging/killed");
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join(LOCK), b"").unwrap();
        fs::write(killed.join("out.mp4"), b"half").unwrap();
        let next = Staging::open(data.path()).unwrap();
        assert!(!killed.exists());
        assert!(room.file("original").exists());
        let folder = next.folder.clone();
        drop(next);
        assert!(!folder.exists());
        let path = room.file("");
        drop(room);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn an_original_that_changes_while_it_is_read_may_be_read_again() {
        let data = tempfile::tempdir().unwrap();
        let key = store::KeySource::File(data.path().join("server.key"));
        let location = store::Location::Folder(data.path().to_owned());
        let service = Service {
            store: Store::open(&location, &key).await.unwrap(),
            objects: Objects::open(&store::Place::Folder(data.path().join("objects"))).unwrap(),
            staging: Arc::new(Staging::open(data.path()).unwrap()),
        };
        let new = store::NewVideo {
            owner: "mina".to_owned(),
            name: "walk.mp4".to_owned(),
            source: store::Source::Upload(10),
            original: store::Original::Keep,
            expires_at: None,
            days: None,
        };
        let now = Timestamp::now();
        let video = service.store.add_video(&new, now).await.unwrap();
        // Its object was deleted since the parts were listed.
        let part = store::Part { start: 0, length: 10, object: format!("originals/{video}/0") };
        service.store.add_parts("mina", video, &[part], None, now).await.unwrap();
        let room = service.staging.room(JobId::new(0), 1).unwrap();
        let who = Access { owner: "mina", actor: "job", why: "mosaic" };
        let read = service.original(video, who, &room, |_, _| Ok::<_, crate::worker::Trouble>(()));
        let Err(crate::worker::Trouble::Failed { retry, code, .. }) = read.await else {
            panic!("it was read, or the job was lost")
        };
        assert_eq!((retry, code), (store::Retry::Later, "storage_unavailable"));
    }

    #[test]
    fn objects_of_a_video_are_found_by_its_time_in_utc() {
        let at: Timestamp = "2026-11-25T23:05:59+09:00".parse().unwrap();
        let (video, job) = (VideoId::new(1), JobId::new(2));
        let folder = vod_folder("mina", video, at, job, 3).unwrap();
        assert_eq!(folder.as_str(), format!("vod/mina/202611251405-{video}/{job}.3"));
    }
}
