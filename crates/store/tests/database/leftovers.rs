//! What jobs leave behind, on real databases: what is swept, and what must not be.

use bytes::Bytes;
use domain::{JobId, VideoId};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use store::{
    Error, Failure, Fence, Kind, NewJob, ObjectPath, Objects, Place, Retry, Store, video_folder,
};

use crate::support::{
    LEASE, USER, at, claim, covering, enqueue, new_job, new_version, on_both, servers, stored,
};

fn days(days: i64) -> Timestamp {
    at(0) + SignedDuration::from_hours(24 * days)
}

fn folder(video: VideoId, job: JobId, attempt: i64) -> String {
    format!("{}/{job}.{attempt}", video_folder(USER, video, at(0)))
}

/// What of these folders is swept at `now`.
async fn swept(store: &Store, folders: &[String], now: Timestamp) -> Vec<String> {
    let objects: Vec<ObjectPath> = folders
        .iter()
        .flat_map(|folder| ["plan.json", "video.mp4"].map(|name| format!("{folder}/{name}")))
        .map(|name| name.parse().unwrap())
        .collect();
    let before = store.garbage(1000).await.unwrap();
    let count = store.discard_leftovers(&objects, now).await.unwrap();
    let mut after = store.garbage(1000).await.unwrap();
    after.retain(|object| !before.contains(object));
    assert_eq!(count, after.len());
    after.iter().map(|folder| folder.trim_end_matches('/').to_owned()).collect()
}

async fn searching(store: &Store, video: VideoId) -> Fence {
    let job = NewJob { video: Some(video), priority: 1000, ..new_job(Kind::Search) };
    enqueue(store, job).await;
    claim(store, 0).await
}

#[tokio::test]
async fn an_attempt_is_swept_when_it_can_publish_no_more() {
    on_both(async |db| {
        let store = &db.store;
        let (video, first) = covering(store).await;
        let attempt = |number| folder(video, first.job, number);
        let all = [attempt(1), attempt(2), attempt(3)];
        assert!(swept(store, &all, at(1)).await.is_empty(), "it is being done");
        // Its worker was killed: until another has the job it may still publish.
        assert!(swept(store, &all, at(40)).await.is_empty());
        let (second, _) = store.claim("v", LEASE, at(40)).await.unwrap().unwrap();
        assert_eq!(swept(store, &all, at(41)).await, [attempt(1)]);
        assert!(swept(store, &all[1..], at(41)).await.is_empty());
        let failure = Failure { code: "full".to_owned(), message: "full".to_owned() };
        store.fail(&second, &failure, Retry::Later, at(42)).await.unwrap();
        assert_eq!(swept(store, &all[1..], at(42)).await, [attempt(2)]);
        let third = claim(store, 1000).await;
        let new = new_version(video, third, &[]);
        assert_eq!(new.folder, attempt(3));
        store.publish(&third, &new, &json!({}), "w", at(1001)).await.unwrap();
        assert!(swept(store, &[attempt(3)], days(400)).await.is_empty(), "it is public");
    })
    .await;
}

#[tokio::test]
async fn what_was_found_stays_and_what_this_database_does_not_know_too() {
    on_both(async |db| {
        let store = &db.store;
        let video = stored(store).await;
        let fence = searching(store, video).await;
        let found = format!("searches/{video}/{}.1", fence.job);
        let lost = format!("searches/{video}/{}.0", fence.job);
        store.complete(&fence, &json!({"folder": found}), at(1)).await.unwrap();
        // Another installation's, in the same bucket; and jobs that a restored database has not heard of.
        let foreign = folder(VideoId::new(1), JobId::new(1), 1);
        let young = folder(video, JobId::new(at(0).as_millisecond()), 1);
        let old = folder(video, JobId::new(1), 1);
        let all = [found, lost.clone(), foreign, young, old.clone()];
        let mut gone = swept(store, &all, at(2)).await;
        gone.sort();
        assert_eq!(gone, [lost, old]);
    })
    .await;
}

#[tokio::test]
async fn a_plan_stays_until_it_is_rendered() {
    on_both(async |db| {
        let store = &db.store;
        let video = stored(store).await;
        let plan = || format!("plans/{video}/{}.json", JobId::new(at(0).as_millisecond()));
        let (named, alone) = (plan(), plan());
        let work = json!({"plan": named, "people": [], "version": 1});
        enqueue(store, NewJob { video: Some(video), work, ..new_job(Kind::Render) }).await;
        let fence = claim(store, 0).await;
        let objects: Vec<ObjectPath> =
            [&named, &alone].iter().map(|name| name.parse().unwrap()).collect();
        assert_eq!(store.discard_leftovers(&objects, at(60)).await.unwrap(), 0, "just stored");
        assert_eq!(store.discard_leftovers(&objects, days(2)).await.unwrap(), 1);
        assert_eq!(store.garbage(10).await.unwrap(), [alone]);
        store.complete(&fence, &json!({}), days(2)).await.unwrap();
        assert_eq!(store.discard_leftovers(&objects[..1], days(2)).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn jobs_that_were_over_long_ago_are_forgotten_and_searches_with_their_video() {
    on_both(async |db| {
        let store = &db.store;
        let (video, fence) = covering(store).await;
        store
            .publish(&fence, &new_version(video, fence, &[]), &json!({}), "w", at(0))
            .await
            .unwrap();
        let search = searching(store, video).await;
        let found = format!("searches/{video}/{}.1", search.job);
        store.complete(&search, &json!({"folder": found}), at(0)).await.unwrap();
        let running = searching(store, video).await;
        let is_known = async |job| match store.job(USER, job).await {
            Ok(_) => true,
            Err(Error::NotFound { .. }) => false,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(store.prune_jobs(days(89)).await.unwrap(), 0);
        assert_eq!(store.prune_jobs(days(91)).await.unwrap(), 1);
        assert!(!is_known(fence.job).await, "what it made is a version");
        assert!(is_known(search.job).await && is_known(running.job).await);
        assert!(store.version(video, 1).await.unwrap().is_public(days(91)));
        let public = folder(video, fence.job, 1);
        assert!(
            swept(store, &[public], days(200)).await.is_empty(),
            "it is public without its job"
        );

        store.delete_video(USER, video, "key 1", days(92)).await.unwrap();
        store.give_up(days(92)).await.unwrap();
        assert_eq!(store.prune_jobs(days(92)).await.unwrap(), 1);
        assert!(!is_known(search.job).await && is_known(running.job).await);
        assert!(store.garbage(10).await.unwrap().contains(&format!("{found}/")));
    })
    .await;
}

#[tokio::test]
async fn more_jobs_than_are_forgotten_at_once_are_forgotten_in_turns() {
    on_both(async |db| {
        let ids = (0..501).map(|i| format!("('{}')", JobId::new(i))).collect::<Vec<_>>().join(", ");
        db.change(&format!(
            "INSERT INTO jobs (id, owner, kind, work, priority, state, run_at, attempt, tries, progress, \
             cancel, pending, created_at, ended_at) SELECT t.column1, '{USER}', 'ingest', '{{}}', 0, 'cancelled', \
             0, 0, 3, 0, 0, 0, 0, 0 FROM (VALUES {ids}) t"
        ))
        .await;
        assert_eq!(db.store.prune_jobs(at(0)).await.unwrap(), 500);
        assert_eq!(db.store.prune_jobs(at(0)).await.unwrap(), 1);
        assert_eq!(db.store.prune_jobs(at(0)).await.unwrap(), 0);
    })
    .await;
}

/// In a folder and, where there is one, in a bucket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_objects_of_an_attempt_go_and_those_of_the_next_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut places = vec![Place::Folder(dir.path().join("objects"))];
    places.extend(servers::s3().map(Place::S3));
    for place in places {
        let objects = Objects::open(&place).unwrap();
        on_both(async |db| {
            let store = &db.store;
            let (video, first) = covering(store).await;
            let (second, _) = store.claim("v", LEASE, at(40)).await.unwrap().unwrap();
            for attempt in [first.attempt, second.attempt] {
                for name in ["video.mp4", "plan.json"] {
                    let name = format!("{}/{name}", folder(video, first.job, attempt));
                    objects.put(&name.parse().unwrap(), Bytes::from_static(b"x")).await.unwrap();
                }
            }
            let all: ObjectPath = video_folder(USER, video, at(0)).parse().unwrap();
            let list = async || -> Vec<ObjectPath> {
                let listed = objects.list(Some(&all), None, 10).await.unwrap();
                listed.into_iter().map(|object| object.path).collect()
            };
            assert_eq!(store.discard_leftovers(&list().await, at(41)).await.unwrap(), 1);
            for garbage in store.garbage(10).await.unwrap() {
                let folder = garbage.trim_end_matches('/').parse().unwrap();
                objects.delete_all(&folder).await.unwrap();
            }
            let left: Vec<String> = list().await.iter().map(ToString::to_string).collect();
            let kept = folder(video, first.job, second.attempt);
            assert_eq!(left, [format!("{kept}/plan.json"), format!("{kept}/video.mp4")]);
        })
        .await;
    }
}
