//! What a server does by the clock: ends what has expired, gives up what goes on failing, deletes what nothing
//! refers to any more, takes up what lies in the watched folder.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use store::Error;
use tokio_util::sync::CancellationToken;

use crate::service::Service;
use crate::watched::{Watch, take_up};

/// How often it looks. Consent that ends is noticed at once where media is given out; this tells the world.
const EVERY: Duration = Duration::from_secs(2);
/// Every how many looks old events and half-written objects are deleted.
const RARELY: u32 = 1800;
/// Objects deleted in one look.
const GARBAGE: u32 = 200;
/// Half-written objects older than this are of killed processes.
const STALE: SignedDuration = SignedDuration::from_hours(24);

/// Looks after things until `stopping`.
pub async fn run(service: Service, watch: Option<Watch>, stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looks = 0_u32;
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
            done.push(service.store.prune_events(now).await);
            done.push(service.objects.sweep(now, STALE).await.map(drop));
        }
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

async fn delete(service: &Service, object: &str) -> Result<(), Error> {
    match object.strip_suffix('/') {
        Some(folder) => service.objects.delete_all(&folder.parse()?).await,
        None => service.objects.delete(&object.parse()?).await,
    }
}
