//! Originals that are replaced, on real databases.

use domain::VideoId;
use sealed::SealKey;
use serde_json::json;
use store::{Error, Fence, Kind, NewJob, Part, Replacement, State, Store};

use crate::support::{
    Db, USER, at, claim, covering, enqueue, last, new_job, new_version, on_both, person, published,
    stored, told,
};

fn new(video: VideoId, fence: Fence) -> Replacement {
    let object = |start| format!("{}/{start:014}", folder(video, fence));
    let part = |start, length| Part { start, length, object: object(start) };
    let parts = vec![part(0, 60), part(60, 20)];
    Replacement { video, key: SealKey::random(), parts, info: json!({"container": "mp4"}) }
}

fn folder(video: VideoId, fence: Fence) -> String {
    format!("originals/{video}/{}.{}", fence.job, fence.attempt)
}

fn conversion(video: VideoId) -> NewJob {
    NewJob { video: Some(video), ..new_job(Kind::Convert) }
}

/// A video whose original is being converted.
async fn converting(store: &Store) -> (VideoId, Fence) {
    let video = stored(store).await;
    store.enqueue_conversion(&conversion(video), at(0)).await.unwrap();
    (video, claim(store, 0).await)
}

async fn replace(store: &Store, new: &Replacement, fence: &Fence) -> Result<(), Error> {
    store.replace_original(fence, new, &json!({"converted": true}), "job 1", at(9)).await
}

/// What is there of the original, as somebody reads it.
async fn original(store: &Store, video: VideoId) -> (u64, [u8; 32], Vec<Part>) {
    let (sealed, parts) = store.original(USER, video, "w", "x", at(1)).await.unwrap();
    (sealed.len, *sealed.key.to_bytes(), parts)
}

async fn quota(db: &Db, bytes: u64) {
    db.change(&format!("DELETE FROM users WHERE name = '{USER}'")).await;
    db.change(&format!(
        "INSERT INTO users (name, quota_bytes, created_at) VALUES ('{USER}', {bytes}, 0)"
    ))
    .await;
}

#[tokio::test]
async fn the_new_original_takes_the_place_of_the_old_one_in_one_go() {
    on_both(async |db| {
        let store = &db.store;
        let (video, fence) = converting(store).await;
        let (_, old_key, old_parts) = original(store, video).await;
        let new = new(video, fence);
        replace(store, &new, &fence).await.unwrap();
        assert_eq!(original(store, video).await, (80, *new.key.to_bytes(), new.parts.clone()));
        assert_ne!(*new.key.to_bytes(), old_key);
        let there = store.video(USER, video).await.unwrap();
        assert_eq!((there.length, there.received(), there.info), (80, 80, Some(new.info.clone())));
        assert_eq!(store.used(USER).await.unwrap(), 80);
        let job = store.job(USER, fence.job).await.unwrap();
        assert_eq!(job.state, State::Done(json!({"converted": true})));
        let event = json!({"video": video, "bytes": 80, "bytes_before": 100});
        assert_eq!(last(store, "video.converted").await, event);
        let log = store.entries(0).await.unwrap();
        let entry = log.iter().find(|e| e.action == "replace_original").unwrap();
        assert_eq!((entry.actor.as_str(), entry.subject.as_str()), ("job 1", &*video.to_string()));
        assert_eq!(entry.detail, "100 bytes became 80");
        // The old objects, and not the folder that the new ones are in as well.
        let old: Vec<_> = old_parts.into_iter().map(|part| part.object).collect();
        assert_eq!(store.garbage(10).await.unwrap(), old);
        store.discard_replacement(video, &folder(video, fence), at(10)).await.unwrap();
        assert_eq!(store.garbage(10).await.unwrap(), old, "what became the original stays");
        let again = replace(store, &new, &fence).await;
        assert!(matches!(again, Err(Error::Fenced)), "once");
        // From here on it is like any other.
        store.delete_video(USER, video, "w", at(11)).await.unwrap();
        assert_eq!(db.number("SELECT COUNT(*) FROM parts").await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_may_not_replace_an_original_changes_nothing() {
    on_both(async |db| {
        let store = &db.store;
        let (video, fence) = converting(store).await;
        let before = original(store, video).await;
        let events = store.last_event().await.unwrap();
        let unchanged = async |why: &str| {
            assert_eq!(original(store, video).await, before, "{why}");
            assert_eq!(store.last_event().await.unwrap(), events, "{why}");
            assert!(store.garbage(10).await.unwrap().is_empty(), "{why}");
            assert_eq!(store.job(USER, fence.job).await.unwrap().state.name(), "running", "{why}");
        };
        let good = new(video, fence);
        let another = Fence { attempt: fence.attempt + 1, ..fence };
        assert!(matches!(replace(store, &good, &another).await, Err(Error::Fenced)));
        unchanged("another worker's").await;
        let parts = |parts: &[Part]| Replacement { parts: parts.to_vec(), ..good.clone() };
        assert!(matches!(replace(store, &parts(&[]), &fence).await, Err(Error::Invalid { .. })));
        for wrong in [&good.parts[1..], &[good.parts[0].clone(), good.parts[0].clone()]] {
            let replaced = replace(store, &parts(wrong), &fence).await;
            assert!(matches!(replaced, Err(Error::OutOfPlace { .. })), "{replaced:?}");
        }
        unchanged("parts that are no file").await;
        quota(db, 79).await;
        let replaced = replace(store, &good, &fence).await;
        assert!(matches!(replaced, Err(Error::Quota { quota: 79, used: 80 })), "{replaced:?}");
        unchanged("the quota").await;
        quota(db, 80).await;
        replace(store, &good, &fence).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_original_that_others_work_with_stays() {
    on_both(async |db| {
        let store = &db.store;
        let (video, fence) = converting(store).await;
        // It came between: the one that asks is refused, and at the end nothing is replaced under it.
        assert!(matches!(store.not_converting(video).await, Err(Error::Busy { job, .. }) if job == fence.job));
        let mosaic = NewJob { video: Some(video), ..new_job(Kind::Mosaic) };
        enqueue(store, mosaic).await;
        store.replaceable(&fence, video).await.unwrap();
        let other = claim(store, 1).await;
        for answer in [store.replaceable(&fence, video).await, replace(store, &new(video, fence), &fence).await] {
            assert!(matches!(answer, Err(Error::Busy { job, .. }) if job == other.job), "{answer:?}");
        }
        // Nor while parts of it wait.
        store.split(&other, &json!({}), &[(Kind::AnalysePart, json!({}))], at(2)).await.unwrap();
        assert!(matches!(store.replaceable(&fence, video).await, Err(Error::Busy { .. })));
        let part = claim(store, 3).await;
        store.complete(&part, &json!({}), at(3)).await.unwrap();
        assert!(matches!(store.replaceable(&fence, video).await, Err(Error::Busy { .. })));
        let other = claim(store, 4).await;
        let version = new_version(video, other, &[]);
        store.publish(&other, &version, &json!({}), "w", at(5)).await.unwrap();
        let replaced = replace(store, &new(video, fence), &fence).await;
        assert!(matches!(replaced, Err(Error::Covered(v)) if v == video), "{replaced:?}");
        assert_eq!(original(store, video).await.0, 100);
    })
    .await;
}

#[tokio::test]
async fn a_conversion_begins_only_where_nothing_depends_on_the_original() {
    on_both(async |db| {
        let store = &db.store;
        let ask = async |video| store.enqueue_conversion(&conversion(video), at(1)).await;
        let mina = person(store, None).await;
        let public = published(store, &[mina]).await;
        assert!(matches!(ask(public).await, Err(Error::Covered(_))));
        store.withdraw(mina, "Mina", "test", at(1)).await.unwrap();
        assert!(matches!(ask(public).await, Err(Error::Covered(_))), "it is to be covered again");
        let (covered, _) = covering(store).await;
        assert!(matches!(ask(covered).await, Err(Error::Busy { .. })));
        // What takes it up is waited for.
        let fresh = stored(store).await;
        let ingest = enqueue(store, NewJob { video: Some(fresh), ..new_job(Kind::Ingest) }).await;
        let job = ask(fresh).await.unwrap();
        assert_eq!(store.job(USER, job).await.unwrap().state, State::Waiting(1));
        assert!(matches!(ask(fresh).await, Err(Error::Busy { .. })), "one is enough");
        store.cancel(USER, ingest, at(2)).await.unwrap();
        assert_eq!(store.job(USER, job).await.unwrap().state.name(), "failed");
        store.not_converting(fresh).await.unwrap();
        ask(fresh).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_original_that_was_destroyed_or_a_job_that_was_cancelled_meanwhile_gets_none() {
    on_both(async |db| {
        let store = &db.store;
        let (video, fence) = converting(store).await;
        store.destroy_original(USER, video, "w", at(1)).await.unwrap();
        for object in store.garbage(10).await.unwrap() {
            store.swept(&object).await.unwrap();
        }
        let replaced = replace(store, &new(video, fence), &fence).await;
        assert!(matches!(replaced, Err(Error::NoOriginal(_))), "{replaced:?}");
        assert!(!store.video(USER, video).await.unwrap().has_original);
        let folder = folder(video, fence);
        store.discard_replacement(video, &folder, at(2)).await.unwrap();
        assert_eq!(store.garbage(10).await.unwrap(), [format!("{folder}/")]);
        store.complete(&fence, &json!({}), at(2)).await.unwrap();

        let (video, fence) = converting(store).await;
        store.cancel(USER, fence.job, at(3)).await.unwrap();
        assert!(matches!(replace(store, &new(video, fence), &fence).await, Err(Error::Fenced)));
        assert_eq!(original(store, video).await.0, 100);
        assert_eq!(store.job(USER, fence.job).await.unwrap().state, State::Cancelled);
        assert_eq!(told(store, 0).await.last().unwrap(), "job.cancelled");

        let (video, fence) = converting(store).await;
        store.delete_video(USER, video, "w", at(4)).await.unwrap();
        let replaced = replace(store, &new(video, fence), &fence).await;
        assert!(matches!(replaced, Err(Error::Fenced)), "it is stopped: {replaced:?}");
        assert_eq!(
            db.number(&format!("SELECT COUNT(*) FROM parts WHERE video = '{video}'")).await,
            0
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cover_that_begins_at_the_same_time_reads_one_original_or_the_other() {
    on_both(async |db| {
        let stores = [db.store.clone(), db.another().await];
        for _ in 0..10 {
            let (video, fence) = converting(&stores[0]).await;
            enqueue(&stores[0], NewJob { video: Some(video), ..new_job(Kind::Mosaic) }).await;
            let replacement = new(video, fence);
            let (one, other) = (stores[0].clone(), stores[1].clone());
            let replaced = tokio::spawn(async move {
                replace(&one, &replacement, &fence).await.map_err(|e| e.to_string())
            });
            let reading = tokio::spawn(async move {
                let cover = claim(&other, 5).await;
                (cover, original(&other, video).await.0)
            });
            let (replaced, (cover, length)) = (replaced.await.unwrap(), reading.await.unwrap());
            match replaced {
                Ok(()) => assert_eq!(length, 80, "it began with what was replaced under it"),
                Err(why) => assert!(why.contains("works on video") && length == 100, "{why}"),
            }
            for fence in [fence, cover] {
                let _ = stores[0].complete(&fence, &json!({}), at(6)).await;
            }
        }
    })
    .await;
}
