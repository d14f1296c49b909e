//! What is public, and how it stops being so, on real databases.

use domain::{PersonId, VideoId};
use jiff::Timestamp;
use serde_json::json;
use store::{Chain, Error, Kind, Standing, State, Store, VersionState};

use crate::support::{
    self, Db, USER, at, consent, covering, last, new_version, on_both, person, published, stored,
    told,
};

/// How often two processes race for each kind of database.
const RACES: usize = 40;

async fn state(store: &Store, video: VideoId, number: i64) -> VersionState {
    store.version(video, number).await.unwrap().state
}

async fn publish(
    store: &Store,
    shows: &[PersonId],
    now: Timestamp,
) -> (VideoId, Result<i64, Error>) {
    let (video, fence) = covering(store).await;
    let new = new_version(video, fence, shows);
    (video, store.publish(&fence, &new, &json!({"faces": 2}), "w", now).await)
}

/// Public versions that show somebody who does not agree.
async fn leaks(db: &Db) -> i64 {
    db.number(
        "SELECT COUNT(*) FROM versions v JOIN shown s ON s.video = v.video AND s.number = v.number \
         WHERE v.state = 'published' AND NOT EXISTS \
         (SELECT 1 FROM consents c WHERE c.person = s.person AND c.withdrawn_at IS NULL)",
    )
    .await
}

#[tokio::test]
async fn a_version_is_public_until_another_takes_its_place() {
    on_both(async |db| {
        let store = &db.store;
        store.set_public_url("https://video.example.org/").await.unwrap();
        let mina = person(store, None).await;
        let video = published(store, &[mina, mina]).await;
        let first = store.version(video, 1).await.unwrap();
        assert!(first.is_public(at(1_000_000)) && first.consent_until.is_none());
        assert_eq!(store.shown(video, 1).await.unwrap(), [mina]);
        assert_eq!(store.video(USER, video).await.unwrap().published, Some(1));
        let url = |n, file| format!("https://video.example.org/media/{video}/v{n}/{file}");
        let event = last(store, "video.published").await;
        assert_eq!(event["urls"], json!([url(1, "video.mp4"), url(1, "poster.jpg")]));
        assert_eq!(event["purge"], json!([]));

        let job = support::new_job(Kind::Render);
        let job = store::NewJob { video: Some(video), priority: 2000, ..job };
        support::enqueue(store, job).await;
        let fence = support::claim(store, 1).await;
        let new = new_version(video, fence, &[]);
        let number = store.publish(&fence, &new, &json!({}), "w", at(9)).await.unwrap();
        assert_eq!(number, 2);
        assert_eq!(state(store, video, 1).await, VersionState::Superseded(at(9)));
        assert!(!store.version(video, 1).await.unwrap().is_public(at(9)));
        let event = last(store, "video.published").await;
        assert_eq!(event["purge"], json!([url(1, "video.mp4"), url(1, "poster.jpg")]));
        assert_eq!(store.garbage(10).await.unwrap(), [format!("{}/", first.folder)]);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_published_without_the_consent_of_everybody_it_shows() {
    on_both(async |db| {
        let store = &db.store;
        let (mina, jun) = (person(store, None).await, person(store, Some(at(50))).await);
        let gone = person(store, None).await;
        store.remove_person(gone, "test", at(1)).await.unwrap();
        let (video, answer) = publish(store, &[mina, jun], at(49)).await;
        assert_eq!(answer.unwrap(), 1);
        assert_eq!(store.version(video, 1).await.unwrap().consent_until, Some(at(50)));
        store.withdraw(mina, "Mina", "test", at(50)).await.unwrap();
        let stands = [
            (mina, Standing::Withdrawn(at(50))),
            (jun, Standing::Expired(at(50))),
            (gone, Standing::Never),
            (PersonId::new(0), Standing::Never),
        ];
        let other = person(store, None).await;
        for (who, expected) in stands {
            let (events, entries) = (store.last_event().await.unwrap(), entries(db).await);
            let (video, answer) = publish(store, &[other, who], at(50)).await;
            let Err(Error::NoConsent { standing, .. }) = answer else { panic!("{answer:?}") };
            assert_eq!(standing, expected);
            assert!(store.versions(video).await.unwrap().is_empty());
            let told = told(store, events).await;
            assert_eq!(told, ["video.created", "video.stored", "job.queued", "job.started"]);
            assert_eq!(entries, self::entries(db).await, "nothing is in the log that was not");
        }
    })
    .await;
}

async fn entries(db: &Db) -> i64 {
    db.number("SELECT COUNT(*) FROM audit").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_withdraws_while_a_version_is_published_stays_public() {
    on_both(async |db| {
        let (one, two) = (db.store.clone(), db.another().await);
        let mut first = [0, 0];
        for i in 0..RACES {
            let mina = person(&one, None).await;
            let (video, fence) = covering(&one).await;
            let (publisher, withdrawer) =
                if i % 2 == 0 { (one.clone(), two.clone()) } else { (two.clone(), one.clone()) };
            let publish = async move {
                let new = new_version(video, fence, &[mina]);
                publisher.publish(&fence, &new, &json!({}), "w", at(1)).await
            };
            let withdraw = async move {
                if i % 3 == 0 {
                    withdrawer.remove_person(mina, "test", at(1)).await
                } else {
                    withdrawer.withdraw(mina, "Mina", "test", at(1)).await.map(|_| ())
                }
            };
            let (publish, withdraw) = if i % 4 < 2 {
                let publish = tokio::spawn(publish);
                let withdraw = tokio::spawn(withdraw);
                (publish, withdraw)
            } else {
                let withdraw = tokio::spawn(withdraw);
                (tokio::spawn(publish), withdraw)
            };
            withdraw.await.unwrap().unwrap();
            match publish.await.unwrap() {
                Ok(_) => {
                    let VersionState::Withdrawn(..) = state(&one, video, 1).await else { panic!() };
                    first[0] += 1;
                }
                Err(Error::NoConsent { .. }) => first[1] += 1,
                Err(error) => panic!("{error}"),
            }
            assert_eq!(leaks(db).await, 0);
        }
        eprintln!("{} times publishing was first, {} times withdrawing", first[0], first[1]);
        assert!(matches!(one.check_log().await.unwrap(), Chain::Whole { .. }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_holds_after_a_grant_and_a_withdrawal_at_once_is_what_the_log_says() {
    on_both(async |db| {
        let (one, two) = (db.store.clone(), db.another().await);
        for i in 0..RACES {
            let mina = person(&one, None).await;
            let (granter, withdrawer) =
                if i % 2 == 0 { (one.clone(), two.clone()) } else { (two.clone(), one.clone()) };
            let grant = tokio::spawn(async move {
                granter.grant(mina, &consent(None), "test", at(1)).await.unwrap();
            });
            withdrawer.withdraw(mina, "Mina", "test", at(1)).await.unwrap();
            grant.await.unwrap();
            let last = format!(
                "SELECT CASE WHEN action = 'grant' THEN 1 ELSE 0 END + CAST(0 AS BIGINT) FROM audit \
                 WHERE subject = '{mina}' ORDER BY seq DESC LIMIT 1"
            );
            let granted = db.number(&last).await == 1;
            let records = one.consents(mina).await.unwrap();
            assert_eq!(records.iter().any(|r| r.withdrawn.is_none()), granted);
        }
    })
    .await;
}

#[tokio::test]
async fn a_withdrawal_takes_back_every_video_that_shows_the_person() {
    on_both(async |db| {
        let store = &db.store;
        store.set_public_url("https://video.example.org").await.unwrap();
        let (mina, jun) = (person(store, None).await, person(store, None).await);
        let shown = [published(store, &[mina]).await, published(store, &[mina, jun]).await];
        let other = published(store, &[jun]).await;
        let before = store.last_event().await.unwrap();
        store.withdraw(mina, "Mina", "test", at(5)).await.unwrap();
        let events = store.events(USER, before, 100).await.unwrap();
        for video in shown {
            let reason = "consent_withdrawn".to_owned();
            assert_eq!(state(store, video, 1).await, VersionState::Withdrawn(at(5), reason));
            assert_eq!(store.video(USER, video).await.unwrap().published, None);
            let jobs = store.jobs(USER, Some(video), Some("queued"), None, 10).await.unwrap();
            assert_eq!(jobs.len(), 1);
            assert_eq!((jobs[0].kind, &jobs[0].work), (Kind::Recover, &json!({"version": 1})));
            let told = |e: &&store::Event| e.subject == video.to_string();
            let event = events.iter().find(told).unwrap();
            assert_eq!(event.kind, "video.unpublished");
            let url = |file| format!("https://video.example.org/media/{video}/v1/{file}");
            assert_eq!(event.data["purge"], json!([url("video.mp4"), url("poster.jpg")]));
            assert_eq!(event.data["job"], json!(jobs[0].id));
        }
        assert_eq!(events.len(), 4, "one of each video, and one of each job");
        assert!(store.version(other, 1).await.unwrap().is_public(at(5)));
        // Once more changes nothing.
        store.withdraw(mina, "Mina", "test", at(6)).await.unwrap();
        store.remove_person(mina, "test", at(7)).await.unwrap();
        assert_eq!(store.last_event().await.unwrap(), before + 4);

        store.remove_person(jun, "test", at(8)).await.unwrap();
        let reason = "person_removed".to_owned();
        assert_eq!(state(store, other, 1).await, VersionState::Withdrawn(at(8), reason));
        let event = last(store, "video.unpublished").await;
        assert_eq!(event["reason"], "person_removed");
    })
    .await;
}

#[tokio::test]
async fn a_version_is_not_public_from_the_moment_that_consent_ends() {
    on_both(async |db| {
        let store = &db.store;
        let (mina, jun) = (person(store, Some(at(60))).await, person(store, Some(at(60))).await);
        let (ends, longer) = (published(store, &[mina]).await, published(store, &[jun]).await);
        let version = store.version(ends, 1).await.unwrap();
        assert!(version.is_public(at(59)) && !version.is_public(at(60)));
        assert_eq!(store.expire_consents(at(59)).await.unwrap(), 0);
        store.grant(jun, &consent(Some(at(90))), "test", at(30)).await.unwrap();
        assert_eq!(store.expire_consents(at(60)).await.unwrap(), 2);
        let reason = "consent_expired".to_owned();
        assert_eq!(state(store, ends, 1).await, VersionState::Withdrawn(at(60), reason));
        let kept = store.version(longer, 1).await.unwrap();
        assert!(kept.is_public(at(89)) && !kept.is_public(at(90)));
        let jobs = store.jobs(USER, None, Some("queued"), None, 10).await.unwrap();
        assert_eq!(
            jobs.iter().map(|j| (j.kind, j.video)).collect::<Vec<_>>(),
            [(Kind::Recover, Some(ends))]
        );
        assert_eq!(store.expire_consents(at(60)).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_was_cancelled_or_whose_video_was_deleted_publishes_nothing() {
    on_both(async |db| {
        let store = &db.store;
        let (video, fence) = covering(store).await;
        store.cancel(USER, fence.job, at(1)).await.unwrap();
        let new = new_version(video, fence, &[]);
        let answer = store.publish(&fence, &new, &json!({}), "w", at(2)).await;
        assert!(matches!(answer, Err(Error::Fenced)));
        assert_eq!(store.job(USER, fence.job).await.unwrap().state, State::Cancelled);
        assert!(store.versions(video).await.unwrap().is_empty());
        store.discard_folder(&new.folder, at(3)).await.unwrap();
        assert_eq!(store.garbage(10).await.unwrap(), [format!("{}/", new.folder)]);

        let (video, fence) = covering(store).await;
        store.delete_video(USER, video, "key 1", at(4)).await.unwrap();
        let new = new_version(video, fence, &[]);
        let answer = store.publish(&fence, &new, &json!({}), "w", at(5)).await;
        assert!(answer.is_err(), "{answer:?}");
        assert!(store.versions(video).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_attempts_left_that_were_killed_before_is_discarded() {
    on_both(async |db| {
        let store = &db.store;
        let (video, killed) = covering(store).await;
        // After the lease.
        let fence = support::claim(store, 1000).await;
        assert_eq!((fence.job, fence.attempt), (killed.job, 2));
        let new = new_version(video, fence, &[]);
        store.publish(&fence, &new, &json!({}), "w", at(1001)).await.unwrap();
        let left = new_version(video, killed, &[]).folder;
        assert_eq!(store.garbage(10).await.unwrap(), [format!("{left}/")]);
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_is_public_is_not_discarded() {
    on_both(async |db| {
        let store = &db.store;
        let video = published(store, &[]).await;
        let folder = store.version(video, 1).await.unwrap().folder;
        store.discard_folder(&folder, at(3)).await.unwrap();
        assert!(store.garbage(10).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_original_outlives_its_grace_when_it_is_needed_again() {
    on_both(async |db| {
        let store = &db.store;
        let mina = person(store, None).await;
        let grace = store::Original::DeleteAfter(jiff::SignedDuration::from_secs(100));
        let new = store::NewVideo { original: grace, ..support::new_video(10) };
        let video = store.add_video(&new, at(0)).await.unwrap();
        store.add_parts(USER, video, &[support::part(video, 0, 10)], None, at(0)).await.unwrap();
        let job = store::NewJob { video: Some(video), ..support::new_job(Kind::Mosaic) };
        support::enqueue(store, job).await;
        let fence = support::claim(store, 0).await;
        let new = new_version(video, fence, &[mina]);
        store.publish(&fence, &new, &json!({}), "w", at(10)).await.unwrap();
        let due = async || store.video(USER, video).await.unwrap().original_delete_at;
        assert_eq!(due().await, Some(at(110)));
        store.withdraw(mina, "Mina", "test", at(50)).await.unwrap();
        assert_eq!(due().await, None);
        assert_eq!(store.expire_videos(at(200)).await.unwrap(), 0);
        let fence = support::claim(store, 50).await;
        let new = new_version(video, fence, &[]);
        store.publish(&fence, &new, &json!({}), "w", at(60)).await.unwrap();
        assert_eq!(due().await, Some(at(160)));
        assert_eq!(store.expire_videos(at(159)).await.unwrap(), 0);
        assert_eq!(store.expire_videos(at(160)).await.unwrap(), 1);
        assert!(!store.video(USER, video).await.unwrap().has_original);
        assert!(store.version(video, 2).await.unwrap().is_public(at(160)));
    })
    .await;
}

#[tokio::test]
async fn a_signature_is_good_for_one_file_of_one_version_until_one_time() {
    on_both(async |db| {
        let store = &db.store;
        let (video, other) = (stored(store).await, stored(store).await);
        let signed = store.sign_media(video, 1, "video.mp4", 100);
        assert!(db.another().await.is_signed(video, 1, "video.mp4", 100, &signed));
        assert!(!store.is_signed(other, 1, "video.mp4", 100, &signed));
        assert!(!store.is_signed(video, 2, "video.mp4", 100, &signed));
        assert!(!store.is_signed(video, 1, "plan.json", 100, &signed));
        assert!(!store.is_signed(video, 1, "video.mp4", 101, &signed));
        assert!(!store.is_signed(video, 1, "video.mp4", 100, &signed[1..]));
    })
    .await;
}
