//! One attempt at a job: what it reads, the child that does the work, what it writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use pipeline::{Input, Phase, Progress};
use serde::de::DeserializeOwned;
use store::{Error, Fence, Job, ObjectPath, Person, Retry, VersionFile, Video};
use tokio::sync::watch;

use super::Settings;
use crate::child::{self, Ended, Task};
use crate::service::{Access, Original, Room, Service, vod_folder};

/// Why an attempt did not succeed.
#[derive(Debug)]
pub enum Trouble {
    /// This went wrong.
    Failed { code: &'static str, message: String, retry: Retry },
    /// The job is somebody else's.
    Lost,
    /// It was told to stop.
    Stopped,
}

/// One attempt at a job.
pub struct Attempt {
    pub service: Service,
    pub fence: Fence,
    pub job: Job,
    /// A folder of its own; goes with it.
    pub room: Room,
    /// Seconds of a part of a long video; 0: it is not split.
    pub part_seconds: u32,
    halt: Arc<AtomicBool>,
    progress: watch::Sender<(Option<&'static str>, i64)>,
}

impl Attempt {
    pub fn new(
        service: &Service,
        settings: &Settings,
        fence: Fence,
        job: Job,
        halt: Arc<AtomicBool>,
        progress: watch::Sender<(Option<&'static str>, i64)>,
    ) -> Result<Self, Trouble> {
        let room = service.staging.room(fence.job, fence.attempt);
        let room = room.map_err(|e| Trouble::later("staging_unavailable", format!("{e:#}")))?;
        let (service, part_seconds) = (service.clone(), settings.part_seconds);
        Ok(Self { service, fence, job, room, part_seconds, halt, progress })
    }

    /// What the job was told to do.
    pub fn work<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        serde_json::from_value(self.job.work.clone()).map_err(|e| {
            Trouble::never("bad_work", format!("what is to be done cannot be read: {e}"))
        })
    }

    /// The video that the job is about.
    pub async fn video(&self) -> Result<Video, Trouble> {
        let none = || Trouble::never("bad_work", "the job names no video");
        let id = self.job.video.ok_or_else(none)?;
        Ok(self.service.store.video(&self.job.owner, id).await?)
    }

    /// The people of one of the user's collections. One that is gone has none.
    pub async fn members(&self, collection: &str) -> Result<Vec<Person>, Trouble> {
        match self.service.store.people(Some(&self.job.owner), Some(collection)).await {
            Err(Error::NotFound { .. }) => Ok(Vec::new()),
            people => Ok(people?),
        }
    }

    /// Who reads and shows, for the log.
    pub fn actor(&self) -> String {
        format!("job {}", self.job.id)
    }

    /// Brings a video's original, still sealed, into the room.
    pub async fn original(&self, video: &Video, why: &str) -> Result<Input, Trouble> {
        Ok(self.shared_original(video, why).await?.input)
    }

    /// The same, and says which one it is.
    pub async fn shared_original(&self, video: &Video, why: &str) -> Result<Original, Trouble> {
        let who = Access { owner: &self.job.owner, actor: &self.actor(), why };
        let fetched = |done, of| {
            self.tell("fetch", done, Some(of));
            self.go_on()
        };
        let original = self.service.original(video.id, who, &self.room, fetched).await?;
        self.service.staging.keep_original(&original);
        Ok(original)
    }

    /// Brings an object into the room: covered media, plans, reports.
    pub async fn fetch(&self, object: &ObjectPath, name: &str) -> Result<PathBuf, Trouble> {
        self.service.fetch(object, &self.room, name).await
    }

    /// Has a child do `task`.
    pub async fn child<T: DeserializeOwned>(&self, task: Task) -> Result<T, Trouble> {
        let halt = Arc::clone(&self.halt);
        let progress = self.progress.clone();
        let ran = tokio::task::spawn_blocking(move || {
            child::run(&task, &halt, &mut |Progress { phase, frames, total }| {
                let _ = progress.send(thousandths(name(phase), frames, total));
            })
        });
        let nameless = |e: anyhow::Error| self.room.nameless(&format!("{e:#}"));
        let answer = ran.await.map_err(|e| Trouble::later("worker_failed", e.to_string()))?;
        match answer {
            Ok(value) => serde_json::from_value(value)
                .map_err(|e| Trouble::never("bad_answer", format!("the child's answer: {e}"))),
            Err(Ended::Interrupted) => Err(Trouble::Stopped),
            Err(Ended::Died(e)) => Err(Trouble::later("child_died", nameless(e))),
            Err(Ended::Failed(e)) => Err(Trouble::never("input_refused", nameless(e))),
        }
    }

    /// Where the objects of this attempt go.
    pub fn folder(&self, video: &Video) -> Result<ObjectPath, Trouble> {
        let Fence { job, attempt } = self.fence;
        Ok(vod_folder(&self.job.owner, video.id, video.created_at, job, attempt)?)
    }

    /// Stores the room's file `name` as an object in `folder`.
    pub async fn store(
        &self,
        folder: &ObjectPath,
        name: &str,
        public: bool,
    ) -> Result<VersionFile, Trouble> {
        self.store_as(folder, name, name, public).await
    }

    /// Stores the room's file `file` as the object `name` in `folder`.
    pub async fn store_as(
        &self,
        folder: &ObjectPath,
        file: &str,
        name: &str,
        public: bool,
    ) -> Result<VersionFile, Trouble> {
        self.go_on()?;
        self.tell("store", 0, None);
        let path = self.room.file(file);
        let bytes = self.service.objects.put_file(&folder.join(name)?, &path).await?;
        Ok(VersionFile { name: name.to_owned(), bytes, public })
    }

    /// Stores a few bytes as an object in `folder`.
    pub async fn store_bytes(
        &self,
        folder: &ObjectPath,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<VersionFile, Trouble> {
        let count = bytes.len() as u64;
        self.service.objects.put_new(&folder.join(name)?, Bytes::from(bytes)).await?;
        Ok(VersionFile { name: name.to_owned(), bytes: count, public: false })
    }

    /// Says how far the job is.
    pub fn tell(&self, phase: &'static str, done: u64, total: Option<u64>) {
        let _ = self.progress.send(thousandths(phase, done, total));
    }

    /// # Errors
    /// The job was told to stop.
    pub fn go_on(&self) -> Result<(), Trouble> {
        if self.halt.load(Ordering::Relaxed) { Err(Trouble::Stopped) } else { Ok(()) }
    }
}

fn thousandths(phase: &'static str, done: u64, total: Option<u64>) -> (Option<&'static str>, i64) {
    let share = total.filter(|t| *t > 0).map_or(0, |t| done.min(t) * 1000 / t);
    (Some(phase), i64::try_from(share).unwrap_or(1000))
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Analyse => "analyse",
        Phase::Render => "render",
        Phase::Convert => "convert",
        Phase::Verify => "verify",
    }
}

/// Reads a small file of the room.
pub fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    Ok(std::fs::read(path)?)
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::later("staging_unavailable", format!("the worker's folder: {error}"))
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Fenced => Self::Lost,
            // Somebody withdrew while the video was covered: covered again, without them.
            Error::NoConsent { .. } => {
                Self::Failed { code: "consent_changed", message, retry: Retry::Now }
            }
            Error::NotFound { .. } => Self::never("not_found", message),
            Error::NoOriginal(_) => Self::never("no_original", message),
            Error::Sealed(_) | Error::Damaged(_) => Self::never("damaged", message),
            Error::Invalid { .. } => Self::never("invalid", message),
            Error::Covered(_) => Self::never("already_covered", message),
            Error::Busy { .. } => Self::later("video_busy", message),
            Error::Quota { .. } => Self::never("quota_exceeded", message),
            Error::Full { .. } => Self::away("storage_full", message),
            Error::Denied { .. } => Self::away("storage_denied", message),
            Error::Unavailable { .. } => Self::away("storage_unavailable", message),
            _ => Self::later("storage_unavailable", message),
        }
    }
}
