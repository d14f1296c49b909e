//! What a server does by the clock: ends what has expired, gives up what goes on failing, deletes what nothing
//! refers to any more, takes up what lies in the watched folder.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::{Error, Kind, NewJob, NewVideo, Object, ObjectPath, Original, Source};
use tokio_util::sync::CancellationToken;

use crate::service::Service;
use crate::work::{MosaicOptions, SearchWork, default_collection};

/// How often it looks. Consent that ends is noticed at once where media is given out; this tells the world.
const EVERY: Duration = Duration::from_secs(2);
/// Every how many looks old events and half-written objects are deleted.
const RARELY: u32 = 1800;
/// Objects deleted in one look.
const GARBAGE: u32 = 200;
/// Objects of the watched folder that are looked at in one look.
const WATCHED: usize = 1000;
/// An object is taken up when it has not been written for this long: uploads to a folder grow.
const SETTLED: SignedDuration = SignedDuration::from_secs(5);
/// Half-written objects older than this are of killed processes.
const STALE: SignedDuration = SignedDuration::from_hours(24);

/// What is taken up by itself, and how.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Folder of the store that has a folder for each user.
    pub prefix: ObjectPath,
    /// What becomes of the originals.
    pub original: Original,
    /// Days after which the videos are deleted of users who have no number of their own.
    pub days: Option<u32>,
}

/// Looks after things until `stopping`.
pub async fn run(service: Service, watch: Option<Watch>, stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looks = 0_u32;
    while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
        let rarely = looks.is_multiple_of(RARELY);
        looks = looks.wrapping_add(1);
        if let Err(error) = look(&service, watch.as_ref(), rarely).await {
            tracing::warn!(%error, "housekeeping failed; it is tried again");
        }
    }
}

async fn look(service: &Service, watch: Option<&Watch>, rarely: bool) -> Result<(), Error> {
    let now = Timestamp::now();
    let store = &service.store;
    store.expire_consents(now).await?;
    let given_up = store.give_up(now).await?;
    if given_up > 0 {
        tracing::warn!(jobs = given_up, "jobs lost their worker in every attempt");
    }
    store.expire_videos(now).await?;
    for object in store.garbage(GARBAGE).await? {
        delete(service, &object).await?;
        store.swept(&object).await?;
    }
    if let Some(watch) = watch {
        take_up(service, watch, now).await?;
    }
    if rarely {
        store.prune_events(now).await?;
        service.objects.sweep(now, STALE).await?;
    }
    Ok(())
}

async fn delete(service: &Service, object: &str) -> Result<(), Error> {
    match object.strip_suffix('/') {
        Some(folder) => service.objects.delete_all(&folder.parse()?).await,
        None => service.objects.delete(&object.parse()?).await,
    }
}

/// Takes up every object `{prefix}/{user}/...` that was not taken up yet.
async fn take_up(service: &Service, watch: &Watch, now: Timestamp) -> Result<(), Error> {
    let mut after: Option<ObjectPath> = None;
    loop {
        let page = service.objects.list(Some(&watch.prefix), after.as_ref(), WATCHED).await?;
        let full = page.len() == WATCHED;
        after = page.last().map(|object| object.path.clone());
        for object in page.iter().filter(|object| object.modified + SETTLED <= now) {
            if let Err(error) = take(service, watch, object, now).await {
                tracing::warn!(object = object.path.as_str(), %error, "an object cannot be taken up");
            }
        }
        if !full {
            return Ok(());
        }
    }
}

/// The whole chain for one object: seal it, search faces in it, cover it, publish.
async fn take(
    service: &Service,
    watch: &Watch,
    object: &Object,
    now: Timestamp,
) -> Result<(), Error> {
    let path = object.path.as_str();
    let below = path.strip_prefix(watch.prefix.as_str()).unwrap_or_default();
    let mut parts = below.trim_start_matches('/').splitn(2, '/');
    let (Some(user), Some(rest)) = (parts.next(), parts.next()) else { return Ok(()) };
    if store::check_user_name(user).is_err() || !starts_chain(rest) {
        return Ok(());
    }
    let base = rest.rsplit('/').next().unwrap_or(rest);
    let video = NewVideo {
        owner: user.to_owned(),
        name: base.chars().take(50).collect(),
        source: Source::Object(path.to_owned()),
        original: watch.original,
        expires_at: None,
        days: watch.days,
    };
    let mark = format!("{} {}", object.size, object.modified.as_millisecond());
    let json = |value: Result<Value, serde_json::Error>| value.unwrap_or_default();
    // Without such a collection, or with nobody in it who agrees, everybody is covered.
    let collection = Some(default_collection());
    let search = SearchWork { collection: collection.clone(), ..SearchWork::default() };
    let options = MosaicOptions { collection, ..MosaicOptions::default() };
    let chain = [
        (Kind::Ingest, json!({})),
        (Kind::Search, json(serde_json::to_value(search))),
        (Kind::Mosaic, json(serde_json::to_value(options))),
    ];
    let job = |(kind, work)| NewJob {
        owner: user.to_owned(),
        kind,
        video: None,
        work,
        tag: Some("watched".to_owned()),
        priority: 0,
        after: None,
    };
    let jobs: Vec<NewJob> = chain.into_iter().map(job).collect();
    if service.store.take_up(path, &mark, &video, &jobs, now).await?.is_some() {
        tracing::info!(object = path, user, "taken up");
    }
    Ok(())
}

/// Whether an object is one that work begins with: of an HLS archive that is its playlist.
fn starts_chain(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
    let playable = ["mp4", "mov", "m4v", "mkv", "webm", "mts", "m2ts", "avi", "flv", "m3u8"];
    // A lone .ts or .m4s may be a segment of an archive, and segments are taken up with their playlist.
    playable.contains(&kind)
}
