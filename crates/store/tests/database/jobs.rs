//! Jobs on real databases: who has one, how long, and how it ends.

use std::collections::HashSet;

use domain::JobId;
use jiff::SignedDuration;
use serde_json::json;
use store::{Beat, Error, Failure, Fence, Kind, NewJob, Retry, State, Store};

use crate::support::{
    LEASE, USER, at, claim, covering, enqueue, new_job, new_version, on_both, told,
};

fn broken() -> Failure {
    Failure { code: "decode".to_owned(), message: "cannot be decoded".to_owned() }
}

async fn state(store: &Store, job: JobId) -> State {
    store.job(USER, job).await.unwrap().state
}

async fn tagged(store: &Store, tag: &str, priority: i64, second: i64) {
    let new = NewJob { tag: Some(tag.to_owned()), priority, ..new_job(Kind::Mosaic) };
    store.enqueue(&new, at(second)).await.unwrap();
}

async fn beat(store: &Store, fence: &Fence, second: i64) -> Beat {
    store.beat(fence, Some("analyse"), 500, LEASE, at(second)).await.unwrap()
}

/// Nothing that says it has the job by `fence` changes anything.
async fn opens_nothing(store: &Store, fence: &Fence, second: i64) {
    let before = store.job(USER, fence.job).await.unwrap();
    let events = store.last_event().await.unwrap();
    assert_eq!(beat(store, fence, second).await, Beat::Lost);
    let now = at(second);
    let answers = [
        store.complete(fence, &json!({}), now).await,
        store.fail(fence, &broken(), Retry::Later, now).await,
        store.fail(fence, &broken(), Retry::Never, now).await,
        store.cancelled(fence, now).await,
        store.hand_back(fence, now).await,
    ];
    for (i, answer) in answers.into_iter().enumerate() {
        assert!(matches!(answer, Err(Error::Fenced)), "{i}: {answer:?}");
    }
    assert_eq!(store.job(USER, fence.job).await.unwrap(), before);
    assert_eq!(store.last_event().await.unwrap(), events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_claimers_at_once_take_fifty_jobs_once_each() {
    on_both(async |db| {
        for _ in 0..50 {
            enqueue(&db.store, new_job(Kind::Mosaic)).await;
        }
        let stores = [db.store.clone(), db.another().await];
        let claimers: Vec<_> = (0..20)
            .map(|i| {
                let store = stores[i % 2].clone();
                tokio::spawn(async move {
                    let mut taken = Vec::new();
                    while let Some((fence, job)) =
                        store.claim(&format!("w{i}"), LEASE, at(1)).await.unwrap()
                    {
                        assert_eq!((fence.job, fence.attempt), (job.id, 1));
                        taken.push(job.id);
                    }
                    taken
                })
            })
            .collect();
        let mut taken = Vec::new();
        for claimer in claimers {
            taken.extend(claimer.await.unwrap());
        }
        assert_eq!(taken.len(), 50);
        assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 50);
        assert_eq!(db.store.job_counts().await.unwrap(), [("running".to_owned(), 50)]);
    })
    .await;
}

#[tokio::test]
async fn urgent_jobs_go_first_and_then_old_ones() {
    on_both(async |db| {
        let store = &db.store;
        for (tag, priority, second) in
            [("late", 0, 2), ("early", 0, 1), ("urgent", 5, 3), ("lazy", -5, 0), ("future", 9, 60)]
        {
            tagged(store, tag, priority, second).await;
        }
        let mut order = Vec::new();
        while let Some((_, job)) = store.claim("w", LEASE, at(10)).await.unwrap() {
            order.push(job.tag.unwrap());
        }
        assert_eq!(order, ["urgent", "early", "late", "lazy"]);
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_ended_is_taken_over_and_the_old_fence_opens_nothing() {
    on_both(async |db| {
        let store = &db.store;
        let job = enqueue(store, new_job(Kind::Mosaic)).await;
        let old = claim(store, 0).await;
        assert_eq!(beat(store, &old, 20).await, Beat::Continue);
        assert!(store.claim("w2", LEASE, at(50)).await.unwrap().is_none(), "it was prolonged");
        let State::Running { worker, phase, progress, cancelling, .. } = state(store, job).await
        else {
            panic!()
        };
        assert_eq!((worker.as_str(), progress, cancelling), ("w", 500, false));
        assert_eq!(phase.as_deref(), Some("analyse"));
        let (new, taken) = store.claim("w2", LEASE, at(51)).await.unwrap().unwrap();
        assert_eq!((new.job, new.attempt, taken.attempt), (job, 2, 2));
        opens_nothing(store, &old, 52).await;
        store.complete(&new, &json!({"faces": 3}), at(53)).await.unwrap();
        assert_eq!(state(store, job).await, State::Done(json!({"faces": 3})));
        opens_nothing(store, &old, 54).await;
        opens_nothing(store, &new, 54).await;
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_gave_its_job_away_has_it_no_more() {
    on_both(async |db| {
        let store = &db.store;
        enqueue(store, new_job(Kind::Mosaic)).await;
        let failed = claim(store, 0).await;
        store.fail(&failed, &broken(), Retry::Now, at(1)).await.unwrap();
        opens_nothing(store, &failed, 1).await;
        let back = claim(store, 1).await;
        store.hand_back(&back, at(2)).await.unwrap();
        opens_nothing(store, &back, 2).await;
        let third = claim(store, 2).await;
        assert_eq!([failed.attempt, back.attempt, third.attempt], [1, 2, 3]);
    })
    .await;
}

#[tokio::test]
async fn attempts_are_bounded_and_the_waits_between_them_grow() {
    on_both(async |db| {
        let store = &db.store;
        let job = enqueue(store, new_job(Kind::Mosaic)).await;
        let mut second = 0;
        for wait in [5, 10] {
            let fence = claim(store, second).await;
            store.fail(&fence, &broken(), Retry::Later, at(second)).await.unwrap();
            let queued = State::Queued { run_at: at(second + wait), last: Some(broken()) };
            assert_eq!(state(store, job).await, queued);
            assert!(store.claim("w", LEASE, at(second + wait - 1)).await.unwrap().is_none());
            second += wait;
        }
        let fence = claim(store, second).await;
        store.fail(&fence, &broken(), Retry::Later, at(second)).await.unwrap();
        assert_eq!(state(store, job).await, State::Failed(broken()));
        assert!(store.claim("w", LEASE, at(100_000)).await.unwrap().is_none());
        let once = enqueue(store, new_job(Kind::Mosaic)).await;
        store.fail(&claim(store, 0).await, &broken(), Retry::Never, at(0)).await.unwrap();
        assert_eq!(state(store, once).await, State::Failed(broken()));
    })
    .await;
}

#[tokio::test]
async fn what_is_away_for_less_than_a_day_uses_up_no_try() {
    on_both(async |db| {
        let store = &db.store;
        let job = enqueue(store, new_job(Kind::Mosaic)).await;
        let (mut second, mut waits) = (0, Vec::new());
        while second < 24 * 3600 {
            let fence = claim(store, second).await;
            store.fail(&fence, &broken(), Retry::Away, at(second)).await.unwrap();
            let State::Queued { run_at, last } = state(store, job).await else { panic!() };
            assert_eq!(last, Some(broken()));
            waits.push(run_at.duration_since(at(second)).as_secs());
            second += waits[waits.len() - 1];
        }
        assert_eq!(waits[..5], [5, 10, 20, 40, 60]);
        assert!(waits[5..].iter().all(|wait| *wait == 60));
        // From then on as for anything else.
        for tries in 1..=3 {
            assert!(!state(store, job).await.is_over(), "{tries}");
            let fence = claim(store, second).await;
            store.fail(&fence, &broken(), Retry::Away, at(second)).await.unwrap();
            second += 60;
        }
        assert_eq!(state(store, job).await, State::Failed(broken()));
    })
    .await;
}

#[tokio::test]
async fn a_job_that_kills_its_worker_every_time_ends() {
    on_both(async |db| {
        let store = &db.store;
        let job = enqueue(store, new_job(Kind::Mosaic)).await;
        for second in [0, 100, 200] {
            claim(store, second).await;
            assert_eq!(
                store.give_up(at(second + 30)).await.unwrap(),
                0,
                "not before the lease ends"
            );
        }
        assert!(store.claim("w", LEASE, at(300)).await.unwrap().is_none());
        assert_eq!(store.give_up(at(300)).await.unwrap(), 1);
        let State::Failed(failure) = state(store, job).await else { panic!() };
        assert_eq!(failure.code, "worker_lost");
        assert_eq!(store.give_up(at(300)).await.unwrap(), 0);
        let told = told(store, 0).await;
        let started = ["job.started"; 3];
        assert_eq!(told, [&["job.queued"], &started[..], &["job.failed"]].concat());
    })
    .await;
}

#[tokio::test]
async fn a_job_is_cancelled_wherever_it_is() {
    on_both(async |db| {
        let store = &db.store;
        let cancel = async |job| store.cancel(USER, job, at(5)).await.unwrap().state;
        let queued = enqueue(store, new_job(Kind::Mosaic)).await;
        assert_eq!(cancel(queued).await, State::Cancelled);
        assert_eq!(cancel(queued).await, State::Cancelled);
        assert!(store.claim("w", LEASE, at(5)).await.unwrap().is_none());

        let running = enqueue(store, new_job(Kind::Mosaic)).await;
        let fence = claim(store, 0).await;
        assert!(matches!(cancel(running).await, State::Running { cancelling: true, .. }));
        assert_eq!(beat(store, &fence, 6).await, Beat::Cancel);
        store.cancelled(&fence, at(7)).await.unwrap();
        assert_eq!(state(store, running).await, State::Cancelled);

        let done = enqueue(store, new_job(Kind::Mosaic)).await;
        store.complete(&claim(store, 0).await, &json!({}), at(1)).await.unwrap();
        let events = store.last_event().await.unwrap();
        assert_eq!(cancel(done).await, State::Done(json!({})));
        assert_eq!(store.last_event().await.unwrap(), events);
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_job_is_not_begun_again() {
    on_both(async |db| {
        let store = &db.store;
        for how in 0..4 {
            let job = enqueue(store, new_job(Kind::Mosaic)).await;
            let fence = claim(store, 0).await;
            store.cancel(USER, job, at(1)).await.unwrap();
            match how {
                0 => store.hand_back(&fence, at(2)).await.unwrap(),
                1 => store.fail(&fence, &broken(), Retry::Now, at(2)).await.unwrap(),
                // Done before it heard of it; nothing is lost by that.
                2 => store.complete(&fence, &json!({}), at(2)).await.unwrap(),
                _ => {
                    assert!(store.claim("w", LEASE, at(100)).await.unwrap().is_none());
                    assert_eq!(store.give_up(at(100)).await.unwrap(), 1);
                }
            }
            let over = state(store, job).await;
            assert!(over == State::Cancelled || how == 2, "{how}: {over:?}");
            assert!(store.claim("w", LEASE, at(1000)).await.unwrap().is_none(), "{how}");
        }
    })
    .await;
}

#[tokio::test]
async fn handing_back_uses_up_no_attempt() {
    on_both(async |db| {
        let store = &db.store;
        let job = enqueue(store, new_job(Kind::Mosaic)).await;
        for attempt in 1..=7 {
            let fence = claim(store, 0).await;
            assert_eq!(fence.attempt, attempt);
            store.hand_back(&fence, at(0)).await.unwrap();
        }
        // As if it had been its first: the shortest wait, and two more after it.
        let fence = claim(store, 0).await;
        store.fail(&fence, &broken(), Retry::Later, at(0)).await.unwrap();
        let queued = State::Queued { run_at: at(5), last: Some(broken()) };
        assert_eq!(state(store, job).await, queued);
        for second in [100, 200] {
            assert!(!state(store, job).await.is_over());
            let fence = claim(store, second).await;
            store.fail(&fence, &broken(), Retry::Later, at(second)).await.unwrap();
        }
        assert_eq!(state(store, job).await, State::Failed(broken()));
    })
    .await;
}

#[tokio::test]
async fn a_job_waits_for_the_one_before_it_and_fails_with_it() {
    on_both(async |db| {
        let store = &db.store;
        let after = |job| NewJob { after: Some(job), ..new_job(Kind::Render) };
        let first = enqueue(store, new_job(Kind::Mosaic)).await;
        let second = enqueue(store, after(first)).await;
        let third = enqueue(store, after(second)).await;
        assert_eq!(state(store, second).await, State::Waiting(1));
        let fence = claim(store, 1).await;
        assert_eq!(fence.job, first);
        assert!(store.claim("w", LEASE, at(1)).await.unwrap().is_none());
        store.complete(&fence, &json!({}), at(2)).await.unwrap();
        let fence = claim(store, 2).await;
        assert_eq!(fence.job, second);
        assert_eq!(state(store, third).await, State::Waiting(1));
        store.fail(&fence, &broken(), Retry::Never, at(3)).await.unwrap();
        let State::Failed(failure) = state(store, third).await else { panic!() };
        assert_eq!(failure.code, "dependency_failed");
        assert!(matches!(store.enqueue(&after(second), at(4)).await, Err(Error::Invalid { .. })));
        let last = enqueue(store, after(first)).await;
        assert_eq!(claim(store, 4).await.job, last, "what it waits for is done");

        let first = enqueue(store, new_job(Kind::Mosaic)).await;
        let chain = [enqueue(store, after(first)).await, enqueue(store, after(first)).await];
        let end = enqueue(store, after(chain[1])).await;
        store.cancel(USER, first, at(5)).await.unwrap();
        for job in [chain[0], chain[1], end] {
            assert!(matches!(state(store, job).await, State::Failed(_)));
        }
    })
    .await;
}

#[tokio::test]
async fn jobs_of_others_are_not_there() {
    on_both(async |db| {
        let store = &db.store;
        let job = enqueue(store, new_job(Kind::Mosaic)).await;
        let foreign = NewJob { owner: "other".to_owned(), ..new_job(Kind::Render) };
        let missing = |e| matches!(e, Error::NotFound { kind: "job", .. });
        assert!(missing(store.job("other", job).await.err().unwrap()));
        assert!(missing(store.cancel("other", job, at(0)).await.err().unwrap()));
        let after = NewJob { after: Some(job), ..foreign };
        assert!(missing(store.enqueue(&after, at(0)).await.err().unwrap()));
        assert!(store.jobs("other", None, None, None, 10).await.unwrap().is_empty());
        assert!(matches!(state(store, job).await, State::Queued { .. }));
    })
    .await;
}

#[tokio::test]
async fn jobs_are_listed_by_page_video_and_state() {
    on_both(async |db| {
        let store = &db.store;
        let mut all = Vec::new();
        for second in 1..6 {
            all.push(store.enqueue(&new_job(Kind::Search), at(second)).await.unwrap());
        }
        let (video, fence) = covering(store).await;
        let ids = async |video, state, before, limit| -> Vec<JobId> {
            let jobs = store.jobs(USER, video, state, before, limit).await.unwrap();
            jobs.into_iter().map(|job| job.id).collect()
        };
        assert_eq!(ids(Some(video), None, None, 10).await, [fence.job]);
        assert_eq!(ids(None, Some("running"), None, 10).await, [fence.job]);
        assert_eq!(ids(None, None, Some(all[4]), 2).await, [all[3], all[2]]);
        assert_eq!(ids(None, None, Some(all[2]), 2).await, [all[1], all[0]]);
    })
    .await;
}

#[tokio::test]
async fn what_is_too_long_is_refused_or_shortened() {
    on_both(async |db| {
        let store = &db.store;
        let long = json!({"x": "y".repeat(300 << 10)});
        let new = NewJob { work: long.clone(), ..new_job(Kind::Mosaic) };
        assert!(matches!(store.enqueue(&new, at(0)).await, Err(Error::Invalid { .. })));
        let tagged = NewJob { tag: Some("a\0b".to_owned()), ..new_job(Kind::Mosaic) };
        assert!(matches!(store.enqueue(&tagged, at(0)).await, Err(Error::Invalid { .. })));
        let job = enqueue(store, new_job(Kind::Mosaic)).await;
        let fence = claim(store, 0).await;
        let done = store.complete(&fence, &long, at(1)).await;
        assert!(matches!(done, Err(Error::Invalid { .. })));
        let failure = Failure { message: "é\0".repeat(5000), ..broken() };
        store.fail(&fence, &failure, Retry::Never, at(1)).await.unwrap();
        let State::Failed(kept) = state(store, job).await else { panic!() };
        assert!(kept.message.len() <= 2000 && !kept.message.contains('\0'));
    })
    .await;
}

#[tokio::test]
async fn a_result_is_published_once_whoever_else_has_it_too() {
    on_both(async |db| {
        let store = &db.store;
        let (video, slow) = covering(store).await;
        let quick = claim(store, 100).await;
        assert_eq!((quick.job, quick.attempt), (slow.job, 2));
        let publish = async |fence: Fence| {
            let new = new_version(video, fence, &[]);
            store.publish(&fence, &new, &json!({}), "w", at(101)).await
        };
        assert!(matches!(publish(slow).await, Err(Error::Fenced)));
        assert_eq!(publish(quick).await.unwrap(), 1);
        assert!(matches!(publish(slow).await, Err(Error::Fenced)));
        assert!(matches!(publish(quick).await, Err(Error::Fenced)));
        assert_eq!(store.versions(video).await.unwrap().len(), 1);
        assert_eq!(state(store, quick.job).await, State::Done(json!({"version": 1})));
        let ended = store.job(USER, quick.job).await.unwrap().ended_at.unwrap();
        assert_eq!(ended.duration_since(at(0)), SignedDuration::from_secs(101));
    })
    .await;
}
