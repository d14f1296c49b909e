//! Videos and their originals on real databases.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use store::{
    Beat, Error, Kind, NewJob, NewVideo, Original, Source, State, Store, UPLOAD_PATIENCE,
    VideoState,
};

use crate::support::{
    self, Db, LEASE, USER, at, claim, covering, enqueue, last, new_job, new_video, on_both, part,
    published, stored,
};

async fn keyless(db: &Db) -> i64 {
    db.number("SELECT COUNT(*) FROM videos WHERE sealed_key IS NULL").await
}

fn is_missing<T>(answer: Result<T, Error>) -> bool {
    matches!(answer, Err(Error::NotFound { kind: "video", .. }))
}

async fn user(db: &Db, quota: Option<i64>, days: Option<i64>) {
    let null = |n: Option<i64>| n.map_or("NULL".to_owned(), |n| n.to_string());
    db.change(&format!(
        "INSERT INTO users (name, quota_bytes, retention_days, created_at) VALUES ('{USER}', {}, {}, 0)",
        null(quota),
        null(days)
    ))
    .await;
}

async fn received(store: &Store, video: domain::VideoId) -> u64 {
    store.video(USER, video).await.unwrap().received()
}

#[tokio::test]
async fn an_upload_arrives_part_by_part_and_opens_with_its_key() {
    on_both(async |db| {
        let store = &db.store;
        let video = store.add_video(&new_video(100), at(0)).await.unwrap();
        let key = store.original_key(USER, video).await.unwrap();
        let original = store.original(USER, video, "w", "mosaic", at(0)).await;
        assert!(matches!(original, Err(Error::NoOriginal(_))), "it is still arriving");
        let parts = [part(video, 0, 30), part(video, 30, 30), part(video, 60, 40)];
        assert_eq!(store.add_parts(USER, video, &parts[..2], None, at(1)).await.unwrap(), 60);
        let state = store.video(USER, video).await.unwrap().state;
        assert_eq!(state, VideoState::Uploading { received: 60 });
        assert_eq!(store.add_parts(USER, video, &parts[2..], None, at(2)).await.unwrap(), 100);
        assert_eq!(store.video(USER, video).await.unwrap().state, VideoState::Stored);
        assert_eq!(last(store, "video.stored").await["bytes"], 100);
        let (sealed, found) = store.original(USER, video, "w", "mosaic", at(3)).await.unwrap();
        assert_eq!((sealed.len, found.as_slice()), (100, &parts[..]));
        assert_eq!(sealed.context, store::seal_context(video));
        assert_eq!(*sealed.key.to_bytes(), *key.to_bytes());
        let log = store.entries(0).await.unwrap();
        let reads: Vec<_> = log.iter().map(|e| (e.action.as_str(), e.detail.as_str())).collect();
        assert_eq!(reads, [("read_original", "mosaic")]);
    })
    .await;
}

#[tokio::test]
async fn parts_that_do_not_fit_change_nothing() {
    on_both(async |db| {
        let store = &db.store;
        let video = store.add_video(&new_video(100), at(0)).await.unwrap();
        store.add_parts(USER, video, &[part(video, 0, 30)], None, at(0)).await.unwrap();
        let add = async |parts: &[store::Part]| store.add_parts(USER, video, parts, None, at(1)).await;
        let place = |expected| move |e: &Error| matches!(e, Error::OutOfPlace { expected: x } if *x == expected);
        let invalid = |e: &Error| matches!(e, Error::Invalid { .. });
        assert!(place(30)(&add(&[part(video, 0, 30)]).await.unwrap_err()));
        assert!(place(30)(&add(&[part(video, 31, 1)]).await.unwrap_err()));
        let gap = [part(video, 30, 10), part(video, 41, 10)];
        assert!(place(40)(&add(&gap).await.unwrap_err()));
        assert!(invalid(&add(&[part(video, 30, 71)]).await.unwrap_err()));
        assert!(invalid(&add(&[part(video, 30, 0)]).await.unwrap_err()));
        assert!(invalid(&add(&[]).await.unwrap_err()));
        // Lengths whose sum comes out right by going round.
        let round = [part(video, 30, u64::MAX), part(video, 29, 71)];
        assert!(add(&round).await.is_err());
        let other = store.add_parts("other", video, &[part(video, 30, 70)], None, at(1)).await;
        assert!(is_missing(other));
        assert_eq!(received(store, video).await, 30);
        assert_eq!(db.number("SELECT COUNT(*) FROM parts").await, 1);
        add(&[part(video, 30, 70)]).await.unwrap();
        assert!(place(100)(&add(&[part(video, 30, 70)]).await.unwrap_err()));
        assert!(invalid(&add(&[part(video, 100, 1)]).await.unwrap_err()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_comes_twice_at_once_is_stored_once() {
    on_both(async |db| {
        let stores = [db.store.clone(), db.another().await];
        let video = stores[0].add_video(&new_video(100), at(0)).await.unwrap();
        for start in (0..100).step_by(10) {
            let tasks: Vec<_> = (0..6)
                .map(|i| {
                    let store = stores[i % 2].clone();
                    let part = part(video, start, 10);
                    tokio::spawn(
                        async move { store.add_parts(USER, video, &[part], None, at(0)).await },
                    )
                })
                .collect();
            let mut stored = 0;
            for task in tasks {
                match task.await.unwrap() {
                    Ok(_) => stored += 1,
                    Err(Error::OutOfPlace { expected }) => assert_eq!(expected, start + 10),
                    Err(error) => panic!("{error}"),
                }
            }
            assert_eq!(stored, 1);
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM parts").await, 10);
        assert_eq!(stores[0].video(USER, video).await.unwrap().state, VideoState::Stored);
    })
    .await;
}

#[tokio::test]
async fn videos_of_others_are_not_there() {
    on_both(async |db| {
        let store = &db.store;
        let video = published(store, &[]).await;
        assert!(is_missing(store.video("other", video).await));
        assert!(is_missing(store.original_key("other", video).await));
        assert!(is_missing(store.original("other", video, "w", "x", at(0)).await));
        assert!(is_missing(store.delete_video("other", video, "key 1", at(0)).await));
        assert!(is_missing(store.destroy_original("other", video, "w", at(0)).await));
        assert!(is_missing(store.set_length("other", video, 5).await));
        assert!(store.videos("other", None, 10).await.unwrap().is_empty());
        assert_eq!(store.videos(USER, None, 10).await.unwrap().len(), 1);
        assert_eq!(keyless(db).await, 0);
        assert!(store.entries(0).await.unwrap().is_empty(), "nothing was read or destroyed");
    })
    .await;
}

#[tokio::test]
async fn nothing_is_left_of_a_deleted_video() {
    on_both(async |db| {
        let store = &db.store;
        store.set_public_url("https://video.example.org").await.unwrap();
        let video = published(store, &[]).await;
        let version = store.version(video, 1).await.unwrap();
        let of = |priority| NewJob { video: Some(video), priority, ..new_job(Kind::Search) };
        let running = enqueue(store, of(5)).await;
        let fence = claim(store, 0).await;
        let queued = enqueue(store, of(0)).await;
        let waiting = enqueue(store, NewJob { after: Some(queued), ..of(0) }).await;
        let unrelated = enqueue(store, new_job(Kind::Search)).await;
        store.delete_video(USER, video, "key 1", at(9)).await.unwrap();
        assert!(is_missing(store.video(USER, video).await));
        assert!(is_missing(store.original_key(USER, video).await));
        assert!(is_missing(store.original(USER, video, "w", "x", at(9)).await));
        assert!(is_missing(store.delete_video(USER, video, "key 1", at(9)).await));
        assert!(store.videos(USER, None, 10).await.unwrap().is_empty());
        assert_eq!(keyless(db).await, 1);
        assert_eq!(db.number("SELECT COUNT(*) FROM parts").await, 0);
        let mut garbage = store.garbage(10).await.unwrap();
        garbage.sort();
        let [original, plans, found] =
            ["originals", "plans", "searches"].map(|of| format!("{of}/{video}/"));
        let version_folder = format!("{}/", version.folder);
        let (made, _) = version.folder.rsplit_once('/').unwrap();
        assert_eq!(garbage, [original, plans, found, format!("{made}/"), version_folder]);
        let log = store.entries(0).await.unwrap().pop().unwrap();
        assert_eq!(
            (log.actor.as_str(), log.action.as_str(), log.subject),
            ("key 1", "delete_video", video.to_string())
        );
        assert!(!store.version(video, 1).await.unwrap().is_public(at(9)));
        let url = |file| format!("https://video.example.org/media/{video}/v1/{file}");
        let event = last(store, "video.deleted").await;
        assert_eq!(event["purge"], json!([url("video.mp4"), url("poster.jpg")]));
        assert_eq!(store.used(USER).await.unwrap(), 0);

        let state = async |job| store.job(USER, job).await.unwrap().state;
        assert_eq!(state(queued).await, State::Cancelled);
        assert!(state(waiting).await.is_over());
        assert!(matches!(state(running).await, State::Running { cancelling: true, .. }));
        assert_eq!(store.beat(&fence, None, 0, LEASE, at(10)).await.unwrap(), Beat::Cancel);
        assert_eq!(claim(store, 10).await.job, unrelated);
        store.set_info(video, &json!({"who": "Mina"})).await.unwrap();
        assert_eq!(db.number("SELECT COUNT(*) FROM videos WHERE info IS NOT NULL").await, 0);
        for object in garbage {
            store.swept(&object).await.unwrap();
        }
        assert!(store.garbage(10).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_original_is_destroyed_and_what_was_made_of_it_stays() {
    on_both(async |db| {
        let store = &db.store;
        let video = published(store, &[]).await;
        store.destroy_original(USER, video, "studio key", at(5)).await.unwrap();
        assert_eq!(keyless(db).await, 1);
        assert!(!store.video(USER, video).await.unwrap().has_original);
        assert!(matches!(store.original_key(USER, video).await, Err(Error::NoOriginal(_))));
        let read = store.original(USER, video, "w", "x", at(6)).await;
        assert!(matches!(read, Err(Error::NoOriginal(_))));
        let again = store.destroy_original(USER, video, "studio key", at(6)).await;
        assert!(matches!(again, Err(Error::NoOriginal(_))));
        assert!(store.version(video, 1).await.unwrap().is_public(at(6)));
        let mut garbage = store.garbage(10).await.unwrap();
        garbage.sort();
        // What was edited can be rendered from the original only.
        assert_eq!(garbage, ["originals", "plans"].map(|of| format!("{of}/{video}/")));
        let log = store.entries(0).await.unwrap();
        assert_eq!(log.len(), 1);
        assert_eq!(
            (log[0].action.as_str(), log[0].actor.as_str()),
            ("destroy_original", "studio key")
        );

        let half = store.add_video(&new_video(100), at(0)).await.unwrap();
        store.add_parts(USER, half, &[part(half, 0, 50)], None, at(0)).await.unwrap();
        store.destroy_original(USER, half, "studio key", at(1)).await.unwrap();
        let rest = store.add_parts(USER, half, &[part(half, 50, 50)], None, at(2)).await;
        assert!(matches!(rest, Err(Error::NoOriginal(_))), "one that is destroyed cannot go on");
    })
    .await;
}

#[tokio::test]
async fn a_grace_period_begins_with_publishing() {
    on_both(async |db| {
        let store = &db.store;
        let grace = Original::DeleteAfter(SignedDuration::from_secs(100));
        let new = NewVideo { original: grace, ..new_video(10) };
        let video = store.add_video(&new, at(0)).await.unwrap();
        store.add_parts(USER, video, &[part(video, 0, 10)], None, at(0)).await.unwrap();
        assert_eq!(store.video(USER, video).await.unwrap().original, grace);
        assert_eq!(store.expire_videos(at(10_000)).await.unwrap(), 0);
        enqueue(store, NewJob { video: Some(video), ..new_job(Kind::Mosaic) }).await;
        let fence = claim(store, 10).await;
        let version = support::new_version(video, fence, &[]);
        store.publish(&fence, &version, &json!({}), "w", at(20)).await.unwrap();
        assert_eq!(store.expire_videos(at(119)).await.unwrap(), 0);
        assert_eq!(store.expire_videos(at(120)).await.unwrap(), 1);
        assert_eq!(keyless(db).await, 1);
        assert_eq!(store.entries(0).await.unwrap()[0].actor, "garim");
        assert_eq!(store.expire_videos(at(121)).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn uploads_are_given_up_when_nothing_comes_any_more() {
    on_both(async |db| {
        let store = &db.store;
        let hours = |h: i64| at(0) + SignedDuration::from_hours(h);
        assert_eq!(UPLOAD_PATIENCE, SignedDuration::from_hours(24));
        let silent = store.add_video(&new_video(100), at(0)).await.unwrap();
        let slow = store.add_video(&new_video(100), at(0)).await.unwrap();
        let taken = NewVideo { source: Source::Object("incoming/a.mp4".into()), ..new_video(1) };
        let taken = store.add_video(&taken, at(0)).await.unwrap();
        let done = stored(store).await;
        store.add_parts(USER, slow, &[part(slow, 0, 10)], None, hours(23)).await.unwrap();
        assert_eq!(store.expire_videos(hours(24)).await.unwrap(), 1);
        assert!(is_missing(store.video(USER, silent).await));
        for video in [slow, taken, done] {
            store.video(USER, video).await.unwrap();
        }
        assert_eq!(store.expire_videos(hours(47)).await.unwrap(), 1);
        assert!(is_missing(store.video(USER, slow).await));
    })
    .await;
}

#[tokio::test]
async fn videos_are_deleted_when_their_time_is_over() {
    on_both(async |db| {
        let store = &db.store;
        user(db, None, Some(7)).await;
        let days = |d: i64| at(0) + SignedDuration::from_hours(24 * d);
        let (kept, other) =
            (stored(store).await, NewVideo { owner: "other".into(), ..new_video(1) });
        let expires_at: Option<Timestamp> = Some(days(2));
        let short = NewVideo { expires_at, ..new_video(10) };
        let short = store.add_video(&short, at(0)).await.unwrap();
        store.add_parts(USER, short, &[part(short, 0, 10)], None, at(0)).await.unwrap();
        let other = store.add_video(&other, at(0)).await.unwrap();
        assert_eq!(store.video(USER, kept).await.unwrap().expires_at, Some(days(7)));
        assert_eq!(store.video(USER, short).await.unwrap().expires_at, expires_at);
        assert_eq!(store.video("other", other).await.unwrap().expires_at, None);
        store.add_parts("other", other, &[part(other, 0, 1)], None, at(0)).await.unwrap();
        assert_eq!(store.expire_videos(days(2)).await.unwrap(), 1);
        assert!(is_missing(store.video(USER, short).await));
        assert_eq!(store.expire_videos(days(7)).await.unwrap(), 1);
        assert!(is_missing(store.video(USER, kept).await));
        assert_eq!(keyless(db).await, 2);
        let log = store.entries(0).await.unwrap();
        let said: Vec<_> = log.iter().map(|e| (e.actor.as_str(), e.action.as_str())).collect();
        assert_eq!(said, [("garim", "delete_video"); 2]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_holds_for_uploads_at_once() {
    on_both(async |db| {
        user(db, Some(1000), None).await;
        let stores = [db.store.clone(), db.another().await];
        let tasks: Vec<_> = (0..12)
            .map(|i| {
                let store = stores[i % 2].clone();
                tokio::spawn(async move { store.add_video(&new_video(150), at(0)).await })
            })
            .collect();
        let mut added = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(video) => added.push(video),
                Err(Error::Quota { quota: 1000, used: 900 }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((added.len(), stores[0].used(USER).await.unwrap()), (6, 900));
        stores[0].add_video(&new_video(100), at(0)).await.unwrap();
        stores[0].delete_video(USER, added[0], "key 1", at(1)).await.unwrap();
        stores[0].add_video(&new_video(150), at(1)).await.unwrap();
        let unlimited = NewVideo { owner: "other".into(), ..new_video(1 << 40) };
        stores[0].add_video(&unlimited, at(1)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn versions_count_until_their_files_are_garbage() {
    on_both(async |db| {
        let store = &db.store;
        let mina = support::person(store, None).await;
        let video = published(store, &[mina]).await;
        assert_eq!(store.used(USER).await.unwrap(), 130);
        store.withdraw(mina, "Mina", "test", at(1)).await.unwrap();
        assert_eq!(store.used(USER).await.unwrap(), 130);
        store.destroy_original(USER, video, "w", at(2)).await.unwrap();
        assert_eq!(store.used(USER).await.unwrap(), 30);
    })
    .await;
}

#[tokio::test]
async fn an_object_is_taken_up_again_from_the_start() {
    on_both(async |db| {
        let store = &db.store;
        user(db, Some(100), None).await;
        let new = NewVideo { source: Source::Object("incoming/a.mp4".into()), ..new_video(1) };
        let video = store.add_video(&new, at(0)).await.unwrap();
        for length in [0, u64::MAX] {
            let set = store.set_length(USER, video, length).await;
            assert!(matches!(set, Err(Error::Invalid { .. })));
        }
        let set = store.set_length(USER, video, 101).await;
        assert!(matches!(set, Err(Error::Quota { .. })));
        store.set_length(USER, video, 80).await.unwrap();
        let first = part(video, 0, 40);
        store.add_parts(USER, video, std::slice::from_ref(&first), None, at(1)).await.unwrap();
        assert!(is_missing(store.set_length(USER, video, 90).await), "it is being taken up");
        store.forget_parts(video, at(2)).await.unwrap();
        assert_eq!(received(store, video).await, 0);
        store.set_length(USER, video, 90).await.unwrap();
        let parts = [part(video, 0, 40), part(video, 40, 50)];
        store.add_parts(USER, video, &parts, None, at(3)).await.unwrap();
        // What sweeps up the first attempt must not take the second with it.
        assert_eq!(store.garbage(10).await.unwrap(), [first.object]);
        store.forget_parts(video, at(4)).await.unwrap();
        let (_, found) = store.original(USER, video, "w", "x", at(5)).await.unwrap();
        assert_eq!(found, parts, "one that is complete is not forgotten");
    })
    .await;
}

#[tokio::test]
async fn an_object_that_was_used_up_is_not_taken_up_while_it_waits_to_be_deleted() {
    on_both(async |db| {
        let store = &db.store;
        let new = |name: &str| NewVideo { source: Source::Object(name.into()), ..new_video(1) };
        let take = async |name: &str, mark: &str| {
            store.take_up(name, mark, &new(name), &[new_job(Kind::Ingest)], at(0)).await.unwrap()
        };
        let [playlist, init] = ["incoming/mina/a/index.m3u8", "incoming/mina/a/init.mp4"];
        assert!(take(playlist, "1").await.is_some());
        assert!(take(playlist, "1").await.is_none(), "it was");
        let fence = claim(store, 0).await;
        let used = [init.to_owned(), playlist.to_owned()];
        store.complete_discarding(&fence, &json!({}), &used, at(1)).await.unwrap();
        store.swept(playlist).await.unwrap();
        assert!(take(init, "1").await.is_none());
        assert_eq!(store.videos(USER, None, 10).await.unwrap().len(), 1);
        store.swept(init).await.unwrap();
        assert!(take(init, "2").await.is_some(), "another of that name");
    })
    .await;
}

#[tokio::test]
async fn videos_that_make_no_sense_are_refused() {
    on_both(async |db| {
        let store = &db.store;
        let unnamed = NewVideo { name: " ".into(), ..new_video(1) };
        for new in [new_video(0), new_video(u64::MAX), unnamed] {
            assert!(matches!(store.add_video(&new, at(0)).await, Err(Error::Invalid { .. })));
        }
        assert_eq!(store.last_event().await.unwrap(), 0);
        let (video, _) = covering(store).await;
        store.set_info(video, &json!({"width": 1920})).await.unwrap();
        assert_eq!(store.video(USER, video).await.unwrap().info, Some(json!({"width": 1920})));
    })
    .await;
}
