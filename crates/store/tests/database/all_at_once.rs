//! Everything at once, by several processes as far as the database can tell: nothing waits forever, nothing fails that
//! should not, and what must hold holds afterwards.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use domain::PersonId;
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;
use sqlx::Executor;
use store::{
    Answer, Beat, Chain, Error, Failure, Fence, Format, Job, KeySource, Kind, Location, NewJob,
    Retry, Store,
};

use crate::support::{
    self, LEASE, USER, at, consent, new_folder, new_job, new_version, on_both, person, stored,
};

/// Turns that each task takes.
const TURNS: u32 = 60;

/// What may happen to somebody who is too late. Not that the database is busy, or gave up on two that wait for
/// each other.
fn expected<T: Debug>(answer: Result<T, Error>) -> Option<T> {
    match answer {
        Ok(done) => Some(done),
        Err(
            Error::Fenced | Error::NotFound { .. } | Error::NoConsent { .. } | Error::NoOriginal(_)
            // The job before it failed meanwhile; twenty webhooks.
            | Error::Invalid { .. },
        ) => None,
        Err(error) => panic!("{error}"),
    }
}

/// One task's sequence of numbers (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Adds a job that covers a video, and sometimes one that waits for it.
async fn ask(store: &Store, dice: &mut Dice) {
    let video = stored(store).await;
    let priority = dice.below(3) as i64;
    let new = NewJob { video: Some(video), priority, ..new_job(Kind::Mosaic) };
    let job = store.enqueue(&new, at(0)).await.unwrap();
    if dice.below(2) == 0 {
        let after = NewJob { after: Some(job), video: Some(video), ..new_job(Kind::Render) };
        expected(store.enqueue(&after, at(0)).await);
    }
    match dice.below(5) {
        0 => drop(expected(store.cancel(USER, job, at(0)).await)),
        1 => drop(expected(store.delete_video(USER, video, "key 1", at(0)).await)),
        _ => {}
    }
}

/// Takes a job and ends it in some way.
async fn work(store: &Store, dice: &mut Dice, people: &[PersonId], now: Timestamp) {
    let Some((fence, job)) = store.claim("w", LEASE, now).await.unwrap() else { return };
    if store.beat(&fence, Some("analyse"), 300, LEASE, now).await.unwrap() == Beat::Cancel {
        expected(store.cancelled(&fence, now).await);
        return;
    }
    let failure = Failure { code: "x".to_owned(), message: "y".to_owned() };
    match dice.below(8) {
        0 => drop(expected(store.fail(&fence, &failure, Retry::Now, now).await)),
        1 => drop(expected(store.fail(&fence, &failure, Retry::Never, now).await)),
        2 => drop(expected(store.hand_back(&fence, now).await)),
        3 => {} // It died.
        _ => publish(store, dice, people, (fence, job), now).await,
    }
}

async fn publish(
    store: &Store,
    dice: &mut Dice,
    people: &[PersonId],
    (fence, job): (Fence, Job),
    now: Timestamp,
) {
    let Some(video) = job.video else { return };
    let first = dice.below(people.len() as u64) as usize;
    let second = dice.below(people.len() as u64) as usize;
    // In both orders: neither may wait for the other.
    let new = new_version(video, fence, &[people[first], people[second]]);
    if expected(store.publish(&fence, &new, &json!({}), "w", now).await).is_none() {
        store.discard_folder(&new.folder, now).await.unwrap();
        let failure = Failure { code: "x".to_owned(), message: "y".to_owned() };
        expected(store.fail(&fence, &failure, Retry::Now, now).await);
    }
}

/// Gives and takes back consent, and looks after what time has come for.
async fn change(store: &Store, dice: &mut Dice, people: &[PersonId], now: Timestamp) {
    let who = people[dice.below(people.len() as u64) as usize];
    match dice.below(6) {
        0 | 1 => drop(store.withdraw(who, "Mina", "test", now).await.unwrap()),
        2 | 3 => drop(store.grant(who, &consent(None), "test", now).await.unwrap()),
        4 => {
            let short = consent(Some(now + jiff::SignedDuration::from_secs(1)));
            store.grant(who, &short, "test", now).await.unwrap();
        }
        _ => {
            store.give_up(now).await.unwrap();
            store.expire_consents(now).await.unwrap();
            store.expire_videos(now).await.unwrap();
            store.prune_events(now).await.unwrap();
        }
    }
}

/// Adds and removes webhooks, and delivers.
async fn deliver(store: &Store, dice: &mut Dice, now: Timestamp) {
    let answer = store.add_webhook(USER, "http://localhost/", &[], Format::Cloudevents, now).await;
    let made = expected(answer.map(|(hook, _)| hook));
    for _ in 0..4 {
        let Some(one) = store.claim_delivery(LEASE, now).await.unwrap() else { break };
        let answer = match dice.below(2) {
            0 => Answer::Taken(200),
            _ => Answer::Refused(Some(500), "no".to_owned()),
        };
        store.delivered(one.id, one.attempt, &answer, now).await.unwrap();
    }
    if let Some(hook) = made {
        store.remove_webhook(USER, hook).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_keeps_every_promise() {
    on_both(async |db| {
        let stores = [db.store.clone(), db.another().await, db.another().await];
        let mut people = Vec::new();
        for _ in 0..4 {
            people.push(person(&db.store, None).await);
        }
        let people: Arc<[PersonId]> = people.into();
        let tasks: Vec<_> = (0..12)
            .map(|i: usize| {
                let (store, people) = (stores[i % 3].clone(), people.clone());
                tokio::spawn(async move {
                    let mut dice = Dice(i as u64);
                    for turn in 0..TURNS {
                        let now = at(i64::from(turn) * 10);
                        match dice.below(8) {
                            0 | 1 => ask(&store, &mut dice).await,
                            2..=4 => work(&store, &mut dice, &people, now).await,
                            5 | 6 => change(&store, &mut dice, &people, now).await,
                            _ => deliver(&store, &mut dice, now).await,
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let store = &db.store;
        store.expire_consents(at(100_000)).await.unwrap();
        let leaks = "SELECT COUNT(*) FROM versions v JOIN shown s ON s.video = v.video AND s.number = v.number \
             WHERE v.state = 'published' AND NOT EXISTS (SELECT 1 FROM consents c WHERE c.person = s.person \
             AND c.withdrawn_at IS NULL AND c.expires_at IS NULL)";
        assert_eq!(db.number(leaks).await, 0);
        assert!(db.number("SELECT COUNT(*) FROM versions").await > 0, "something was published");
        assert!(matches!(store.check_log().await.unwrap(), Chain::Whole { .. }));
        let gaps = "SELECT (SELECT seq FROM event_head) - (SELECT COUNT(*) FROM events)";
        assert_eq!(db.number(gaps).await, 0);
        let ends = "SELECT COUNT(*) FROM events WHERE type IN ('job.done', 'job.failed', 'job.cancelled')";
        let over = "SELECT COUNT(*) FROM jobs WHERE state IN ('done', 'failed', 'cancelled')";
        assert_eq!(db.number(ends).await, db.number(over).await, "each job ended once");
        let twice = "SELECT COUNT(*) FROM (SELECT video FROM versions WHERE state = 'published' \
             GROUP BY video HAVING COUNT(*) > 1) twice";
        assert_eq!(db.number(twice).await, 0);
        let lost = "SELECT COUNT(*) FROM jobs j JOIN jobs p ON p.id = j.parent \
             WHERE j.state = 'waiting' AND p.state IN ('done', 'failed', 'cancelled')";
        assert_eq!(db.number(lost).await, 0, "nobody waits for what is over");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_database_may_be_opened_by_many_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut locations = vec![Location::Folder(new_folder(&dir))];
    locations.extend(support::servers::postgres().await.map(|url| Location::Postgres(url.into())));
    let key = KeySource::File(dir.path().join("server.key"));
    for location in locations {
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let (location, key) = (location.clone(), key.clone());
                tokio::spawn(async move { Store::open(&location, &key).await })
            })
            .collect();
        let mut stores = Vec::new();
        for task in tasks {
            stores.push(task.await.unwrap().unwrap());
        }
        for store in &stores {
            store.enqueue(&new_job(Kind::Mosaic), at(0)).await.unwrap();
        }
        assert_eq!(stores[0].last_event().await.unwrap(), 10);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stops_half_way_holds_others_up_for_a_bounded_time() {
    let databases = support::databases().await;
    join_all(databases.iter().map(async |db| {
        let began = Instant::now();
        let mut raw = db.raw.acquire().await.unwrap();
        let lock = if db.is_postgres() {
            // `WRITER` in db.rs.
            "BEGIN; SELECT CAST(pg_advisory_xact_lock(444016519533) AS TEXT)"
        } else {
            "BEGIN IMMEDIATE"
        };
        raw.execute(lock).await.unwrap();
        let answer = db.store.enqueue(&new_job(Kind::Mosaic), at(0)).await;
        assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
        assert!(began.elapsed().as_secs() < 30);
        // Reading goes on meanwhile.
        assert_eq!(db.store.last_event().await.unwrap(), 0);
        raw.execute("ROLLBACK").await.unwrap();
        db.store.enqueue(&new_job(Kind::Mosaic), at(0)).await.unwrap();
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_lost_is_made_again() {
    on_both(async |db| {
        if !db.is_postgres() {
            return;
        }
        db.change(
            "SELECT CAST(pg_terminate_backend(pid) AS TEXT) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
        db.store.enqueue(&new_job(Kind::Mosaic), at(0)).await.unwrap();
        db.store.ready().await.unwrap();
    })
    .await;
}
