//! Doing jobs: claim one, do it in a child process, say that it is alive, end it.
//!
//! Every attempt has a lease and a fence. Whatever this process does when it has lost them changes nothing: its
//! objects are in a folder of that attempt alone, and the database lets only the latest attempt publish.

mod attempt;
mod cover;
mod ingest;
mod search;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use store::{Beat, Failure, Fence, Job, Kind, Retry, Topic};
use tokio::sync::watch;
use tokio::task::JoinSet;

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
}

/// Does jobs until `stop` says so; then hands back what it has.
pub async fn run(service: Service, settings: Settings, stop: watch::Receiver<bool>) {
    let mut slots = JoinSet::new();
    for slot in 0..settings.slots {
        let mut settings = settings.clone();
        settings.name = format!("{}/{slot}", settings.name);
        slots.spawn(serve(service.clone(), settings, stop.clone()));
    }
    while let Some(ended) = slots.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a worker's slot ended");
        }
    }
}

/// One slot: one job after the other.
async fn serve(service: Service, settings: Settings, mut stop: watch::Receiver<bool>) {
    let mut jobs = service.store.changes(Topic::Jobs);
    while !*stop.borrow() {
        jobs.mark_unchanged();
        let wait = match service.store.claim(&settings.name, settings.lease, Timestamp::now()).await
        {
            Ok(Some((fence, job))) => {
                carry_out(&service, &settings, fence, job, &stop).await;
                continue;
            }
            Ok(None) => LOOK_EVERY,
            Err(error) => {
                tracing::warn!(%error, "jobs cannot be claimed");
                AFTER_ERROR
            }
        };
        tokio::select! {
            _ = tokio::time::sleep(wait) => {}
            _ = jobs.changed() => {}
            _ = told_to_stop(&mut stop) => {}
        }
    }
}

/// Returns when the worker is told to stop, or when whoever would say so is gone.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

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
    stop: &watch::Receiver<bool>,
) {
    tracing::info!(job = %job.id, kind = job.kind.name(), attempt = fence.attempt, "job started");
    let halt = Arc::new(AtomicBool::new(false));
    let (progress, told) = watch::channel((None, 0));
    let attempt = match Attempt::new(service, fence, job, Arc::clone(&halt), progress) {
        Ok(attempt) => attempt,
        Err(trouble) => return report(service, &fence, Err(trouble), None).await,
    };
    // Side by side: while one waits for the database the other may have its only writing connection.
    let stopped = Mutex::new(None);
    let watching = watch_over(service, settings, &fence, &told, stop.clone(), |why| {
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        // The child is killed, and the work ends with that.
        halt.store(true, Ordering::Relaxed);
    });
    let outcome = tokio::select! {
        outcome = work(&attempt) => outcome,
        never = watching => match never {},
    };
    let stopped = stopped.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(service, &fence, outcome, stopped).await;
}

/// Says again and again that the job is being done, and tells `stopped` why it is to be stopped.
async fn watch_over(
    service: &Service,
    settings: &Settings,
    fence: &Fence,
    told: &watch::Receiver<(Option<&'static str>, i64)>,
    mut stop: watch::Receiver<bool>,
    stopped: impl Fn(Stopped),
) -> Infallible {
    let lease = Duration::try_from(settings.lease).unwrap_or(BEAT_EVERY);
    let mut beats = tokio::time::interval(BEAT_EVERY.min(lease / 3));
    let mut stopping = false;
    loop {
        tokio::select! {
            _ = beats.tick() => {
                // When it shuts down, the job is this worker's until it is handed back.
                if let Some(why) = beat(service, settings, fence, told).await
                    && !stopping
                {
                    stopped(why);
                }
            }
            () = told_to_stop(&mut stop), if !stopping => {
                stopping = true;
                stopped(Stopped::ShutDown);
            }
        }
    }
}

async fn work(attempt: &Attempt) -> Result<(), Trouble> {
    match attempt.job.kind {
        Kind::Mosaic => cover::mosaic(attempt).await,
        Kind::Render => cover::render(attempt).await,
        Kind::Recover => cover::recover(attempt).await,
        Kind::Search => search::run(attempt).await,
        Kind::Ingest | Kind::Convert => ingest::run(attempt).await,
    }
}

/// Says that the job is being done; what the database says to that.
async fn beat(
    service: &Service,
    settings: &Settings,
    fence: &Fence,
    told: &watch::Receiver<(Option<&'static str>, i64)>,
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
                tracing::info!(job = %fence.job, "job done");
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

    /// Something that would fail the same way again.
    pub fn never(code: &'static str, message: impl Into<String>) -> Self {
        Self::Failed { code, message: message.into(), retry: Retry::Never }
    }
}
