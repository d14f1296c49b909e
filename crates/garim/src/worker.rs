//! Doing jobs: claim one, do it in a child process, say that it is alive, end it.
//!
//! Every attempt has a lease and a fence. Whatever this process does when it has lost them changes nothing: its
//! objects are in a folder of that attempt alone, and the database lets only the latest attempt publish.

mod attempt;
mod convert;
mod cover;
mod ingest;
mod original;
mod parts;
pub mod recording;
mod search;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use store::{Beat, Failure, Fence, Job, Kind, Retry, Topic};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::service::Service;
pub use attempt::{Attempt, Trouble};
pub use search::{BY_INDEX, BY_TIME};

/// Looks for jobs at least this often: other processes on SQLite are not heard.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Says this often how far a job is, and hears whether it is cancelled.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// Waits this long after the database failed.
const AFTER_ERROR: Duration = Duration::from_secs(2);
/// How often the end of a job is written down again when the database does not answer.
const REPORTS: u32 = 20;

/// How jobs are done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Jobs at once.
    pub slots: usize,
    /// How long a job belongs to a worker that is not heard of.
    pub lease: SignedDuration,
    /// What this worker calls itself.
    pub name: String,
    /// Seconds of a part of a long video; 0: one worker does all of it.
    pub part_seconds: u32,
}

/// Does jobs until `stopping`; then hands back what it has.
pub async fn run(service: Service, settings: Settings, stopping: CancellationToken) {
    let mut slots = JoinSet::new();
    for slot in 0..settings.slots {
        let mut settings = settings.clone();
        settings.name = format!("{}/{slot}", settings.name);
        slots.spawn(serve(service.clone(), settings, stopping.clone()));
    }
    while let Some(ended) = slots.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a worker's slot ended");
        }
    }
}

/// One slot: one job after the other.
async fn serve(service: Service, settings: Settings, stopping: CancellationToken) {
    let mut jobs = service.store.changes(Topic::Jobs);
    while !stopping.is_cancelled() {
        jobs.mark_unchanged();
        let wait = match service.store.claim(&settings.name, settings.lease, Timestamp::now()).await
        {
            Ok(Some((fence, job))) => {
                carry_out(&service, &settings, fence, job, &stopping).await;
                continue;
            }
            Ok(None) => {
                service.staging.forget_original();
                LOOK_EVERY
            }
            Err(error) => {
                tracing::warn!(%error, "jobs cannot be claimed");
                AFTER_ERROR
            }
        };
        tokio::select! {
            _ = tokio::time::sleep(wait) => {}
            _ = jobs.changed() => {}
            () = stopping.cancelled() => {}
        }
    }
}

/// The last that an attempt said of itself: what part it is at, and thousandths of that.
type Told = watch::Receiver<(Option<&'static str>, i64)>;

/// Why an attempt was stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    Cancelled,
    Lost,
    ShutDown,
}

/// One attempt, from claim to end.
async fn carry_out(
    service: &Service,
    settings: &Settings,
    fence: Fence,
    job: Job,
    stopping: &CancellationToken,
) {
    tracing::info!(job = %job.id, kind = job.kind.name(), attempt = fence.attempt, "job started");
    let halt = Arc::new(AtomicBool::new(false));
    let (progress, told) = watch::channel((None, 0));
    let attempt = match Attempt::new(service, settings, fence, job, Arc::clone(&halt), progress) {
        Ok(attempt) => attempt,
        Err(trouble) => return report(service, &fence, Err(trouble), None).await,
    };
    // Side by side: while one waits for the database the other may have its only writing connection.
    let stopped = OnceLock::new();
    let watching = watch_over(service, settings, &fence, &told, stopping, |why| {
        // The first reason is the one.
        let _ = stopped.set(why);
        // The child is killed, and the work ends with that.
        halt.store(true, Ordering::Relaxed);
    });
    let outcome = tokio::select! {
        outcome = work(&attempt) => outcome,
        never = watching => match never {},
    };
    report(service, &fence, outcome, stopped.into_inner()).await;
}

/// Says again and again that the job is being done, also while it stops, and tells `stop` why it is to be stopped.
async fn watch_over(
    service: &Service,
    settings: &Settings,
    fence: &Fence,
    told: &Told,
    stopping: &CancellationToken,
    stop: impl Fn(Stopped),
) -> Infallible {
    let lease = Duration::try_from(settings.lease).unwrap_or(BEAT_EVERY);
    let mut beats = tokio::time::interval(BEAT_EVERY.min(lease / 3));
    let mut shutting_down = false;
    loop {
        let why = tokio::select! {
            _ = beats.tick() => beat(service, settings, fence, told).await,
            () = stopping.cancelled(), if !shutting_down => {
                shutting_down = true;
                Some(Stopped::ShutDown)
            }
        };
        why.into_iter().for_each(&stop);
    }
}

async fn work(attempt: &Attempt) -> Result<(), Trouble> {
    match attempt.job.kind {
        Kind::Mosaic => cover::mosaic(attempt).await,
        Kind::Render => cover::render(attempt).await,
        Kind::Recover => cover::recover(attempt).await,
        Kind::Search => search::run(attempt).await,
        Kind::Ingest => ingest::run(attempt).await,
        Kind::AnalysePart | Kind::RenderPart => parts::part(attempt).await,
        Kind::Convert => convert::run(attempt).await,
        Kind::Recording => recording::run(attempt).await,
        Kind::Original => original::run(attempt).await,
    }
}

/// Says that the job is being done; what the database says to that.
async fn beat(
    service: &Service,
    settings: &Settings,
    fence: &Fence,
    told: &Told,
) -> Option<Stopped> {
    let (phase, progress) = *told.borrow();
    match service.store.beat(fence, phase, progress, settings.lease, Timestamp::now()).await {
        Ok(Beat::Continue) => None,
        Ok(Beat::Cancel) => Some(Stopped::Cancelled),
        Ok(Beat::Lost) => Some(Stopped::Lost),
        Err(error) => {
            // Until the lease ends the job is still ours; then the fence keeps us out.
            tracing::warn!(job = %fence.job, %error, "the database did not hear that the job is being done");
            None
        }
    }
}

/// Writes down how an attempt ended.
async fn report(
    service: &Service,
    fence: &Fence,
    outcome: Result<(), Trouble>,
    stopped: Option<Stopped>,
) {
    let store = &service.store;
    for _ in 0..REPORTS {
        let now = Timestamp::now();
        let written = match (&outcome, stopped) {
            // What was published is published, whatever came meanwhile.
            (Ok(()), _) => {
                tracing::info!(job = %fence.job, attempt = fence.attempt, "attempt done");
                return;
            }
            (Err(_), Some(Stopped::Lost)) | (Err(Trouble::Lost), _) => {
                tracing::warn!(job = %fence.job, attempt = fence.attempt, "the job was lost to another worker");
                return;
            }
            (Err(_), Some(Stopped::Cancelled)) => store.cancelled(fence, now).await,
            (Err(_), Some(Stopped::ShutDown)) | (Err(Trouble::Stopped), None) => {
                store.hand_back(fence, now).await
            }
            (Err(Trouble::Failed { code, message, retry }), None) => {
                tracing::warn!(job = %fence.job, code, message, "attempt failed");
                let failure = Failure { code: (*code).to_owned(), message: message.clone() };
                store.fail(fence, &failure, *retry, now).await
            }
        };
        match written {
            Ok(()) | Err(store::Error::Fenced) => return,
            Err(error) => {
                tracing::warn!(job = %fence.job, %error, "the end of a job cannot be written down");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
    // When the lease ends, somebody does the job again.
    tracing::error!(job = %fence.job, "gave up writing down how the job ended");
}

impl Trouble {
    /// Something that is missing or broken just now.
    pub fn later(code: &'static str, message: impl Into<String>) -> Self {
        Self::Failed { code, message: message.into(), retry: Retry::Later }
    }

    /// Something that every job needs, and that somebody else must mend.
    pub fn away(code: &'static str, message: impl Into<String>) -> Self {
        Self::Failed { code, message: message.into(), retry: Retry::Away }
    }

    /// Something that would fail the same way again.
    pub fn never(code: &'static str, message: impl Into<String>) -> Self {
        Self::Failed { code, message: message.into(), retry: Retry::Never }
    }
}
