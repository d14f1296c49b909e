//! What a server does by the clock: ends what has expired, gives up what goes on failing, deletes what nothing
//! refers to any more, takes up what lies in the watched folder.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use store::{Error, ObjectPath};
use tokio_util::sync::CancellationToken;

use crate::service::Service;
use crate::watched::{Watch, take_up};

/// How often it looks. Consent that ends is noticed at once where media is given out; this tells the world.
const EVERY: Duration = Duration::from_secs(2);
/// Every how many looks old events, half-written objects, and what jobs left behind are deleted.
const RARELY: u32 = 1800;
/// Objects deleted in one look.
const GARBAGE: u32 = 200;
/// Folders of objects that jobs and live channels make, or jobs are given.
const MADE: [&str; 4] = ["vod", "searches", "plans", "received"];
/// Objects in them that are looked at in one look.
const LISTED: usize = 1000;
/// A channel that no server makes ready for so long is free again. Who started it waits no longer than that.
const START_PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// Half-written objects older than this are of killed processes.
const STALE: SignedDuration = SignedDuration::from_hours(24);

/// Looks after things until `stopping`.
pub async fn run(service: Service, watch: Option<Watch>, stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut looks, mut round) = (0_u32, None);
    while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
        let rarely = looks.is_multiple_of(RARELY);
        looks = looks.wrapping_add(1);
        let now = Timestamp::now();
        // One that fails keeps none of the others from being done: whose consent ended is not to wait for a disk.
        let mut done = vec![expire(&service, now).await, collect(&service).await];
        if let Some(watch) = &watch {
            done.push(take_up(&service, watch, rarely, now).await);
        }
        if rarely {
            round = Some(Round::default());
            done.push(service.store.prune_events(now).await);
            done.push(service.store.prune_servers(now).await);
            done.push(service.objects.sweep(now, STALE).await.map(drop));
        }
        done.push(go_round(&service, &mut round, now).await);
        for error in done.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "housekeeping failed; it is tried again");
        }
    }
}

/// Ends what time has come for.
async fn expire(service: &Service, now: Timestamp) -> Result<(), Error> {
    let store = &service.store;
    store.expire_consents(now).await?;
    let given_up = store.give_up(now).await?;
    if given_up > 0 {
        tracing::warn!(jobs = given_up, "jobs lost their worker in every attempt");
    }
    store.expire_videos(now).await?;
    store.give_up_starts(START_PATIENCE, now).await?;
    Ok(())
}

/// Deletes objects that nothing refers to any more. Gives the first error, after it has tried the others.
async fn collect(service: &Service) -> Result<(), Error> {
    let mut first = Ok(());
    for object in service.store.garbage(GARBAGE).await? {
        match delete(service, &object).await {
            Ok(()) => service.store.swept(&object).await?,
            Err(error) => first = first.and(Err(error)),
        }
    }
    first
}

/// Where a round through everything that jobs left behind is. It goes a step at every look, so that none takes long.
#[derive(Default)]
struct Round {
    /// Which of [`MADE`].
    folder: usize,
    after: Option<ObjectPath>,
}

/// Goes the next step of a round, if one is under way; one that fails is gone again.
async fn go_round(
    service: &Service,
    round: &mut Option<Round>,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(Round { folder, after }) = round else { return Ok(()) };
    let pruned = service.store.prune_jobs(now).await?;
    let Some(name) = MADE.get(*folder) else {
        if pruned == 0 {
            *round = None;
        }
        return Ok(());
    };
    let page = service.objects.list(Some(&name.parse()?), after.as_ref(), LISTED).await?;
    let page: Vec<ObjectPath> = page.into_iter().map(|object| object.path).collect();
    let found = service.store.discard_leftovers(&page, now).await?;
    if found > 0 {
        tracing::info!(found, "what attempts left behind is deleted");
    }
    *after = page.last().cloned();
    if page.len() < LISTED {
        (*folder, *after) = (*folder + 1, None);
    }
    Ok(())
}

async fn delete(service: &Service, object: &str) -> Result<(), Error> {
    match object.strip_suffix('/') {
        Some(folder) => service.objects.delete_all(&folder.parse()?).await,
        None => service.objects.delete(&object.parse()?).await,
    }
}
