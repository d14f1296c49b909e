//! Clocks that jump, on real databases: nothing is lost, done twice, or shown again by it.

use jiff::SignedDuration;
use serde_json::json;
use store::{Beat, Error, Kind, State};

use crate::support::{
    LEASE, USER, at, claim, covering, enqueue, new_job, new_version, on_both, person,
};

/// An hour.
const JUMP: i64 = 3600;

#[tokio::test]
async fn a_clock_that_jumps_ahead_gives_a_job_to_another_and_publishes_once() {
    on_both(async |db| {
        let store = &db.store;
        let (video, slow) = covering(store).await;
        let quick = claim(store, JUMP).await;
        assert_eq!((quick.job, quick.attempt), (slow.job, 2));
        let beat = store.beat(&slow, None, 0, LEASE, at(JUMP)).await.unwrap();
        assert_eq!(beat, Beat::Lost);
        let new = new_version(video, slow, &[]);
        let late = store.publish(&slow, &new, &json!({}), "w", at(JUMP)).await;
        assert!(matches!(late, Err(Error::Fenced)));
        let new = new_version(video, quick, &[]);
        assert_eq!(store.publish(&quick, &new, &json!({}), "w", at(JUMP)).await.unwrap(), 1);
        assert_eq!(store.versions(video).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_takes_no_job_from_its_worker_and_loses_none() {
    on_both(async |db| {
        let store = &db.store;
        let job = store.enqueue(&new_job(Kind::Mosaic), at(JUMP)).await.unwrap();
        let fence = claim(store, JUMP).await;
        // Now it is an hour earlier, and nobody takes it: its lease ends later than before.
        assert!(store.claim("w2", LEASE, at(0)).await.unwrap().is_none());
        assert_eq!(store.give_up(at(0)).await.unwrap(), 0);
        let beat = store.beat(&fence, None, 500, LEASE, at(0)).await.unwrap();
        assert_eq!(beat, Beat::Continue);
        // Its worker dies. The lease that it said last counts, by the clock as it is now.
        assert!(store.claim("w2", LEASE, at(30)).await.unwrap().is_none());
        let (again, _) = store.claim("w2", LEASE, at(31)).await.unwrap().unwrap();
        assert_eq!((again.job, again.attempt), (job, 2));
        store.complete(&again, &json!({}), at(32)).await.unwrap();
        let done = store.job(USER, job).await.unwrap();
        assert_eq!(done.state, State::Done(json!({})));
    })
    .await;
}

#[tokio::test]
async fn events_stay_in_order_when_the_clock_is_set_back() {
    on_both(async |db| {
        let store = &db.store;
        let mut jobs = Vec::new();
        for second in [JUMP, 0, 2 * JUMP, 5] {
            jobs.push(store.enqueue(&new_job(Kind::Search), at(second)).await.unwrap());
        }
        let events = store.events(USER, 0, 10).await.unwrap();
        let told: Vec<_> = events.iter().map(|event| event.subject.clone()).collect();
        assert_eq!(told, jobs.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        // Who has heard the second hears the two after it.
        let rest = store.events(USER, events[1].seq, 10).await.unwrap();
        assert_eq!(rest.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn consent_that_ended_does_not_come_back_with_the_clock() {
    on_both(async |db| {
        let store = &db.store;
        let mina = person(store, None).await;
        let (video, fence) = covering(store).await;
        let new = new_version(video, fence, &[mina]);
        store.publish(&fence, &new, &json!({}), "w", at(JUMP)).await.unwrap();
        store.withdraw(mina, "Mina", "test", at(JUMP + 1)).await.unwrap();
        let version = store.version(video, 1).await.unwrap();
        let earlier = at(JUMP) - SignedDuration::from_secs(JUMP);
        assert!(!version.is_public(earlier), "the version is withdrawn, whatever time it is");
        enqueue(store, new_job(Kind::Search)).await;
        // A job that shows her is refused in the past as well.
        let (video, fence) = covering(store).await;
        let new = new_version(video, fence, &[mina]);
        let refused = store.publish(&fence, &new, &json!({}), "w", earlier).await;
        assert!(matches!(refused, Err(Error::NoConsent { .. })), "{refused:?}");
    })
    .await;
}
