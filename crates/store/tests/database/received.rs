//! What is received in a session is kept, sealed, until it is the original of the recording, on real databases.

use domain::{ServerId, SessionId, VideoId};
use sealed::SealKey;
use serde_json::{Value, json};
use store::{
    ChannelFence, Claimed, Error, Failure, Fence, Job, Kind, NewChannel, NewJob, NewLive,
    ObjectPath, Part, Policy, Recorded, RecordingPolicy, RecordingState, Replacement, Retry, State,
    Store, received_folder,
};

use crate::support::{Db, LEASE, USER, at, last, new_version, on_both, told};

/// Somebody publishes on a channel of which the original is kept; so much is recorded.
async fn keeping(store: &Store, segments: u64) -> Claimed {
    let server = ServerId::new(0);
    store.offer_capacity(server, 10, &Default::default(), LEASE, at(0)).await.unwrap();
    let recording = RecordingPolicy::CoveredAndSealedOriginal;
    let policy = Policy { recording, ..Policy::default() };
    let new = NewChannel { policy, ..NewChannel::of(USER, 5) };
    store.create_channel(&new, at(0)).await.unwrap();
    let live = NewLive { owner: USER.to_owned(), collection: None, limit: 5 };
    store.start_live(&live, "test", at(0)).await.unwrap();
    let claimed = store.claim_channels(server, LEASE, at(0), 1).await.unwrap().remove(0);
    let fence = &claimed.fence;
    store.channel_running(fence, at(0)).await.unwrap();
    store.set_recording(fence, &RecordingState::Recording, at(1)).await.unwrap();
    let recorded = Recorded { segments, bytes: 10 * segments, duration_ms: 2000 * segments };
    store.set_recorded(fence, &recorded).await.unwrap();
    claimed
}

async fn end(store: &Store, fence: &ChannelFence) {
    store.stop_live(USER, fence.channel, "test", at(2)).await.unwrap();
    store.channel_stopped(fence, at(2)).await.unwrap();
}

async fn take(store: &Store) -> (Fence, Job) {
    store.claim("w", LEASE, at(3)).await.unwrap().unwrap()
}

/// The recording is published, and what was received is to become its original.
async fn published(store: &Store) -> (SessionId, VideoId, Fence) {
    let claimed = keeping(store, 3).await;
    end(store, &claimed.fence).await;
    let (fence, job) = take(store).await;
    let video = job.video.unwrap();
    store.publish(&fence, &new_version(video, fence, &[]), &json!({}), "w", at(3)).await.unwrap();
    let (fence, job) = take(store).await;
    assert_eq!((job.kind, job.video), (Kind::Original, Some(video)));
    assert_eq!(job.work, json!({"session": claimed.session.id, "collection": null}));
    (claimed.session.id, video, fence)
}

fn original(video: VideoId, fence: Fence) -> Replacement {
    let object = format!("originals/{video}/{}.{}/0", fence.job, fence.attempt);
    let parts = vec![Part { start: 0, length: 80, object }];
    Replacement { video, key: SealKey::random(), parts, info: json!({"container": "mp4"}) }
}

async fn adopt(store: &Store, new: &Replacement, fence: &Fence) -> Result<(), Error> {
    let then = NewJob::new(USER, Kind::Mosaic, json!({"speed": "thorough"}));
    let then = NewJob { video: Some(new.video), ..then };
    store.adopt_original(fence, new, &then, &json!({"bytes": 80}), "job 1", at(4)).await
}

async fn is_readable(store: &Store, session: SessionId) -> bool {
    match store.received(session, "test", at(5)).await {
        Ok(_) => true,
        Err(Error::NotFound { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn is_garbage(store: &Store, session: SessionId) -> bool {
    let folder = format!("{}/", received_folder(session));
    store.garbage(1000).await.unwrap().contains(&folder)
}

#[tokio::test]
async fn only_where_the_policy_says_so_is_there_a_key_and_every_server_gets_the_same() {
    on_both(async |db| {
        let store = &db.store;
        let claimed = keeping(store, 0).await;
        let key = claimed.received.unwrap();
        let later = at(LEASE.as_secs() + 1);
        let again = store.claim_channels(ServerId::new(1), LEASE, later, 1).await.unwrap();
        assert_eq!(*again[0].received.as_ref().unwrap().to_bytes(), *key.to_bytes());
        let read = store.received(claimed.session.id, "w", at(1)).await.unwrap();
        assert_eq!(*read.to_bytes(), *key.to_bytes());
        let row = "SELECT COUNT(*) FROM audit WHERE action = 'read_original'";
        assert_eq!(db.number(row).await, 1);

        let address = Default::default();
        store.offer_capacity(ServerId::new(1), 10, &address, LEASE, later).await.unwrap();
        let live = NewLive { owner: "other".to_owned(), collection: None, limit: 5 };
        store.start_live(&live, "test", later).await.unwrap();
        let other = store.claim_channels(ServerId::new(1), LEASE, later, 1).await.unwrap();
        assert!(other[0].received.is_none());
        assert!(!is_readable(store, other[0].session.id).await);
    })
    .await;
}

#[tokio::test]
async fn the_recording_gets_its_original_and_what_was_received_is_destroyed_with_that() {
    on_both(async |db| {
        let store = &db.store;
        let (session, video, fence) = published(store).await;
        assert!(is_readable(store, session).await && !is_garbage(store, session).await);
        let before = store.last_event().await.unwrap();
        let new = original(video, fence);
        adopt(store, &new, &fence).await.unwrap();
        assert_eq!(told(store, before).await, ["job.done", "video.stored", "job.queued"]);
        assert!(!is_readable(store, session).await && is_garbage(store, session).await);
        let (sealed, parts) = store.original(USER, video, "w", "x", at(5)).await.unwrap();
        assert_eq!((*sealed.key.to_bytes(), sealed.len), (*new.key.to_bytes(), 80));
        assert_eq!(parts, new.parts);
        let stored = store.video(USER, video).await.unwrap();
        assert_eq!((stored.published, stored.has_original), (Some(1), true));
        let (_, next) = store.claim("w", LEASE, at(4)).await.unwrap().unwrap();
        assert_eq!((next.kind, next.video), (Kind::Mosaic, Some(video)));
        let row = "SELECT COUNT(*) FROM audit WHERE action = 'keep_original'";
        assert_eq!(db.number(row).await, 1);
        // Another attempt that was believed dead.
        assert!(matches!(adopt(store, &new, &fence).await, Err(Error::Fenced)));
    })
    .await;
}

#[tokio::test]
async fn what_cannot_become_an_original_is_destroyed_and_told() {
    on_both(async |db: &Db| {
        let store = &db.store;
        let failure = Failure { code: "format_changed".to_owned(), message: "turned".to_owned() };
        let (session, video, fence) = published(store).await;
        store.fail(&fence, &failure, Retry::Later, at(4)).await.unwrap();
        assert!(is_readable(store, session).await, "it is tried again");
        let (fence, _) = store.claim("w", LEASE, at(60)).await.unwrap().unwrap();
        store.fail(&fence, &failure, Retry::Never, at(61)).await.unwrap();
        assert!(!is_readable(store, session).await && is_garbage(store, session).await);
        let told: Value = last(store, "recording.original_failed").await;
        assert_eq!(told, json!({"session": session, "video": video, "reason": "turned"}));

        // The recording itself comes to nothing.
        let claimed = keeping(store, 3).await;
        end(store, &claimed.fence).await;
        let (fence, job) = take(store).await;
        assert_eq!(job.kind, Kind::Recording);
        store.fail(&fence, &failure, Retry::Never, at(4)).await.unwrap();
        assert!(!is_readable(store, claimed.session.id).await);

        // The user has no room for it.
        let (session, video, fence) = published(store).await;
        store.put_user(USER, Some(10), None, at(0)).await.unwrap();
        let refused = adopt(store, &original(video, fence), &fence).await;
        assert!(matches!(refused, Err(Error::Quota { .. })), "{refused:?}");
        assert!(is_readable(store, session).await);
        assert!(!store.video(USER, video).await.unwrap().has_original);
        store.put_user(USER, None, None, at(0)).await.unwrap();

        // Somebody deletes the video.
        store.delete_video(USER, video, "test", at(5)).await.unwrap();
        assert!(!is_readable(store, session).await && is_garbage(store, session).await);
        let late = adopt(store, &original(video, fence), &fence).await;
        assert!(matches!(late, Err(Error::Fenced)), "{late:?}");
    })
    .await;
}

#[tokio::test]
async fn a_session_that_loses_something_or_records_nothing_keeps_nothing() {
    on_both(async |db| {
        let store = &db.store;
        let claimed = keeping(store, 3).await;
        let (fence, session) = (claimed.fence, claimed.session.id);
        store.received_lost(&fence, "the disk is full", at(2)).await.unwrap();
        assert!(!is_readable(store, session).await && is_garbage(store, session).await);
        let told = last(store, "recording.original_failed").await;
        assert_eq!(told["reason"], "the disk is full");
        let before = store.last_event().await.unwrap();
        store.received_lost(&fence, "again", at(2)).await.unwrap();
        assert_eq!(store.last_event().await.unwrap(), before, "it is told once");
        end(store, &fence).await;
        let jobs = store.jobs(USER, None, None, None, 10).await.unwrap();
        let kinds: Vec<Kind> = jobs.iter().map(|job| job.kind).collect();
        assert_eq!(kinds, [Kind::Recording]);
        assert!(matches!(jobs[0].state, State::Queued { .. }));

        let claimed = keeping(store, 0).await;
        let (fence, session) = (claimed.fence, claimed.session.id);
        end(store, &fence).await;
        assert!(!is_readable(store, session).await && is_garbage(store, session).await);
        assert!(matches!(store.received_lost(&fence, "late", at(3)).await, Err(Error::Fenced)));
    })
    .await;
}

#[tokio::test]
async fn what_nobody_can_read_is_swept_up_and_nothing_else() {
    on_both(async |db| {
        let store = &db.store;
        let swept = async |session: SessionId| {
            let name = format!("{}/000001-0-x.flv", received_folder(session));
            let objects: Vec<ObjectPath> = vec![name.parse().unwrap()];
            store.discard_leftovers(&objects, at(1_000_000)).await.unwrap() == 1
        };
        assert!(!swept(SessionId::new(0)).await, "of another installation");
        let claimed = keeping(store, 3).await;
        let session = claimed.session.id;
        assert!(!swept(session).await);
        store.received_lost(&claimed.fence, "x", at(2)).await.unwrap();
        assert!(swept(session).await, "a server that did not notice stored more");
    })
    .await;
}
