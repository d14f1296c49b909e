//! Jobs that are done in parts, on real databases.

use domain::JobId;
use serde_json::json;
use store::{Error, Failure, Fence, Kind, Retry, State, Store};

use crate::support::{LEASE, USER, at, claim, covering, enqueue, new_job, on_both, told};

fn broken() -> Failure {
    Failure { code: "decode".to_owned(), message: "cannot be decoded".to_owned() }
}

async fn state(store: &Store, job: JobId) -> State {
    store.job(USER, job).await.unwrap().state
}

/// Splits the job of `fence` into `count` parts and claims all of these.
async fn split(store: &Store, fence: &Fence, count: usize) -> Vec<Fence> {
    let parts: Vec<_> = (0..count).map(|i| (Kind::AnalysePart, json!({"part": i}))).collect();
    store.split(fence, &json!({"at": "analyse"}), &parts, at(1)).await.unwrap();
    let mut fences = Vec::new();
    for _ in 0..count {
        fences.push(claim(store, 1).await);
    }
    fences
}

async fn garbage(store: &Store) -> Vec<String> {
    store.garbage(10).await.unwrap()
}

#[tokio::test]
async fn the_whole_goes_on_when_all_its_parts_are_done() {
    on_both(async |db| {
        let store = &db.store;
        let (video, whole) = covering(store).await;
        let before = told(store, 0).await.len();
        let parts = split(store, &whole, 3).await;
        assert_eq!(state(store, whole.job).await, State::Waiting(3));
        for (i, fence) in parts.iter().enumerate() {
            assert!(store.claim("w", LEASE, at(2)).await.unwrap().is_none());
            let part = store.job(USER, fence.job).await.unwrap();
            assert_eq!((part.part_of, part.video), (Some(whole.job), Some(video)));
            store.complete(fence, &json!({"done": i}), at(2)).await.unwrap();
        }
        let (again, job) = store.claim("w", LEASE, at(3)).await.unwrap().unwrap();
        assert_eq!((again.job, again.attempt), (whole.job, 2));
        assert_eq!(job.stage, Some((1, json!({"at": "analyse"}))));
        let results: Vec<_> = store.parts(whole.job, 1).await.unwrap();
        let want = (0..3).map(|i| State::Done(json!({"done": i}))).collect::<Vec<_>>();
        assert_eq!(results.into_iter().map(|part| part.state).collect::<Vec<_>>(), want);
        assert!(store.parts(whole.job, 2).await.unwrap().is_empty());
        assert!(store.jobs(USER, Some(video), None, None, 10).await.unwrap().len() == 1);
        assert!(garbage(store).await.is_empty());
        store.complete(&again, &json!({}), at(4)).await.unwrap();
        assert_eq!(garbage(store).await, [format!("parts/{}/", whole.job)]);
        let told = told(store, 0).await;
        assert_eq!(told[before..], ["job.started", "job.done"], "of parts nobody is told");
    })
    .await;
}

#[tokio::test]
async fn being_split_uses_up_no_try() {
    on_both(async |db| {
        let store = &db.store;
        let (_, mut whole) = covering(store).await;
        for round in 1..=5 {
            let parts = split(store, &whole, 1).await;
            store.complete(&parts[0], &json!({}), at(2)).await.unwrap();
            whole = claim(store, 3).await;
            assert_eq!(whole.attempt, round + 1);
        }
        store.fail(&whole, &broken(), Retry::Now, at(3)).await.unwrap();
        let (again, job) = store.claim("w", LEASE, at(3)).await.unwrap().unwrap();
        assert_eq!(again.job, whole.job, "it was its first try");
        assert_eq!(job.stage.unwrap().0, 5, "it is where it was");
    })
    .await;
}

#[tokio::test]
async fn the_whole_fails_with_a_part_and_the_other_parts_stop() {
    on_both(async |db| {
        let store = &db.store;
        let (_, whole) = covering(store).await;
        let parts: Vec<_> = (0..3).map(|i| (Kind::RenderPart, json!({"part": i}))).collect();
        store.split(&whole, &json!({}), &parts, at(1)).await.unwrap();
        let (bad, busy) = (claim(store, 1).await, claim(store, 1).await);
        let retried = store.fail(&bad, &broken(), Retry::Now, at(2)).await;
        retried.unwrap();
        assert_eq!(state(store, whole.job).await, State::Waiting(3), "it is tried again");
        let bad = claim(store, 2).await;
        store.fail(&bad, &broken(), Retry::Never, at(2)).await.unwrap();
        assert_eq!(state(store, whole.job).await, State::Failed(broken()));
        assert!(store.claim("w", LEASE, at(3)).await.unwrap().is_none(), "the third is stopped");
        assert!(matches!(state(store, busy.job).await, State::Running { cancelling: true, .. }));
        // One that was done all the same changes nothing.
        store.complete(&busy, &json!({}), at(4)).await.unwrap();
        assert_eq!(state(store, whole.job).await, State::Failed(broken()));
    })
    .await;
}

#[tokio::test]
async fn cancelling_the_whole_stops_its_parts_and_cancelling_a_part_fails_the_whole() {
    on_both(async |db| {
        let store = &db.store;
        let (_, whole) = covering(store).await;
        let parts = split(store, &whole, 2).await;
        store.cancel(USER, whole.job, at(2)).await.unwrap();
        assert_eq!(state(store, whole.job).await, State::Cancelled);
        for part in &parts {
            assert!(matches!(
                state(store, part.job).await,
                State::Running { cancelling: true, .. }
            ));
            store.cancelled(part, at(3)).await.unwrap();
        }
        assert_eq!(garbage(store).await, [format!("parts/{}/", whole.job)]);

        let (_, whole) = covering(store).await;
        let parts = split(store, &whole, 2).await;
        store.cancel(USER, parts[0].job, at(2)).await.unwrap();
        store.cancelled(&parts[0], at(3)).await.unwrap();
        let State::Failed(failure) = state(store, whole.job).await else { panic!() };
        assert_eq!(failure.code, "part_cancelled");
    })
    .await;
}

#[tokio::test]
async fn parts_of_an_earlier_round_count_no_more() {
    on_both(async |db| {
        let store = &db.store;
        let (_, whole) = covering(store).await;
        let first = split(store, &whole, 1).await;
        store.complete(&first[0], &json!({}), at(2)).await.unwrap();
        let again = claim(store, 3).await;
        let second = split(store, &again, 2).await;
        assert_eq!(store.parts(whole.job, 2).await.unwrap().len(), 2);
        assert!(matches!(store.complete(&first[0], &json!({}), at(4)).await, Err(Error::Fenced)));
        assert_eq!(state(store, whole.job).await, State::Waiting(2));
        store.complete(&second[0], &json!({}), at(4)).await.unwrap();
        assert_eq!(state(store, whole.job).await, State::Waiting(1));
    })
    .await;
}

#[tokio::test]
async fn who_lost_a_job_or_was_told_to_stop_splits_nothing() {
    on_both(async |db| {
        let store = &db.store;
        let parts = [(Kind::AnalysePart, json!({}))];
        let (_, slow) = covering(store).await;
        let quick = claim(store, 100).await;
        let split = async |fence| store.split(fence, &json!({}), &parts, at(101)).await;
        assert!(matches!(split(&slow).await, Err(Error::Fenced)));
        store.cancel(USER, quick.job, at(101)).await.unwrap();
        assert!(matches!(split(&quick).await, Err(Error::Fenced)));
        assert_eq!(state(store, quick.job).await, State::Cancelled);
        enqueue(store, new_job(Kind::Mosaic)).await;
        let fence = claim(store, 101).await;
        let none = store.split(&fence, &json!({}), &[], at(101)).await;
        assert!(matches!(none, Err(Error::Invalid { .. })));
        assert!(store.parts(quick.job, 2).await.unwrap().is_empty());
    })
    .await;
}
