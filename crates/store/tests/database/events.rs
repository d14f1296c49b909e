//! The outbox on real databases: what is told, in what order, and who is woken.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;
use store::{Error, Format, Kind, Topic};
use tokio::time::timeout;

use crate::support::{
    USER, at, consent, covering, enqueue, new_job, new_version, on_both, person, told,
};

/// Longer than any machine needs; only a test that fails waits that long.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn what_did_not_happen_is_not_told() {
    on_both(async |db| {
        let store = &db.store;
        store
            .add_webhook(USER, "http://localhost/", &[], Format::Cloudevents, at(0))
            .await
            .unwrap();
        let mina = person(store, Some(at(1))).await;
        let (video, fence) = covering(store).await;
        let counts = async || {
            [
                db.number("SELECT COUNT(*) FROM events").await,
                db.number("SELECT COUNT(*) FROM deliveries").await,
                db.number("SELECT seq FROM event_head").await,
            ]
        };
        assert_eq!(counts().await, [4, 4, 4]);
        let new = new_version(video, fence, &[mina]);
        let answer = store.publish(&fence, &new, &json!({}), "w", at(1)).await;
        assert!(matches!(answer, Err(Error::NoConsent { .. })));
        assert_eq!(counts().await, [4, 4, 4]);
        store.grant(mina, &consent(None), "test", at(2)).await.unwrap();
        store.publish(&fence, &new, &json!({}), "w", at(2)).await.unwrap();
        assert_eq!(counts().await, [6, 6, 6]);
        assert_eq!(told(store, 4).await, ["job.done", "video.published"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_on_misses_nothing_though_many_write_at_once() {
    on_both(async |db| {
        let stores = [db.store.clone(), db.another().await];
        let writers: Vec<_> = (0..6)
            .map(|i| {
                let store = stores[i % 2].clone();
                tokio::spawn(async move {
                    for _ in 0..20 {
                        store.enqueue(&new_job(Kind::Mosaic), at(0)).await.unwrap();
                    }
                })
            })
            .collect();
        let mut seen = 0;
        while seen < 120 {
            for event in stores[1].events(USER, seen, 7).await.unwrap() {
                assert_eq!(event.seq, seen + 1);
                seen = event.seq;
            }
            tokio::task::yield_now().await;
        }
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(db.store.last_event().await.unwrap(), 120);
    })
    .await;
}

#[tokio::test]
async fn events_belong_to_one_user() {
    on_both(async |db| {
        let store = &db.store;
        enqueue(store, new_job(Kind::Mosaic)).await;
        assert!(store.events("other", 0, 10).await.unwrap().is_empty());
        assert_eq!(store.last_event().await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn old_events_are_forgotten_and_numbers_go_on() {
    on_both(async |db| {
        let store = &db.store;
        store
            .add_webhook(USER, "http://localhost/", &[], Format::Cloudevents, at(0))
            .await
            .unwrap();
        for second in [0, 1, 100] {
            store.enqueue(&new_job(Kind::Mosaic), at(second)).await.unwrap();
        }
        let later = at(50) + SignedDuration::from_hours(30 * 24);
        store.prune_events(later).await.unwrap();
        let left = store.events(USER, 0, 10).await.unwrap();
        assert_eq!(left.iter().map(|e| e.seq).collect::<Vec<_>>(), [3]);
        assert_eq!(db.number("SELECT COUNT(*) FROM deliveries").await, 1);
        store.prune_events(later + SignedDuration::from_hours(24)).await.unwrap();
        store.enqueue(&new_job(Kind::Mosaic), at(200)).await.unwrap();
        assert_eq!(store.last_event().await.unwrap(), 4);
    })
    .await;
}

#[tokio::test]
async fn who_waits_is_woken_by_the_same_process() {
    on_both(async |db| {
        let (mut jobs, mut events) =
            (db.store.changes(Topic::Jobs), db.store.changes(Topic::Events));
        enqueue(&db.store, new_job(Kind::Mosaic)).await;
        assert!(jobs.has_changed().unwrap() && events.has_changed().unwrap());
        jobs.mark_unchanged();
        events.mark_unchanged();
        db.store.job_counts().await.unwrap();
        assert!(!jobs.has_changed().unwrap() && !events.has_changed().unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_woken_by_another_process_on_postgres() {
    on_both(async |db| {
        let other = db.another().await;
        if !db.is_postgres() {
            other.listen().await.unwrap();
            return;
        }
        let (mut jobs, mut events) = (other.changes(Topic::Jobs), other.changes(Topic::Events));
        let listener = other.clone();
        let listening = tokio::spawn(async move { listener.listen().await });
        // It listens once it says so by waking everybody.
        timeout(SOON, jobs.changed()).await.unwrap().unwrap();
        timeout(SOON, events.changed()).await.unwrap().unwrap();
        enqueue(&db.store, new_job(Kind::Mosaic)).await;
        timeout(SOON, jobs.changed()).await.unwrap().unwrap();
        timeout(SOON, events.changed()).await.unwrap().unwrap();
        // A connection that was lost is made again, and then everybody looks.
        db.change(
            "SELECT CAST(pg_terminate_backend(pid) AS TEXT) FROM pg_stat_activity \
             WHERE query LIKE 'LISTEN%' AND datname = current_database()",
        )
        .await;
        timeout(SOON, jobs.changed()).await.unwrap().unwrap();
        timeout(SOON, events.changed()).await.unwrap().unwrap();
        enqueue(&db.store, new_job(Kind::Mosaic)).await;
        timeout(SOON, jobs.changed()).await.unwrap().unwrap();
        listening.abort();
    })
    .await;
}
