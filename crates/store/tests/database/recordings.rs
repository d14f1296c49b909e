//! What becomes of recordings when their sessions are over, on real databases.

use domain::{ServerId, SessionId, VideoId};
use serde_json::json;
use store::{
    ChannelFence, Error, Failure, Fence, Job, Kind, NewLive, NewVersion, ObjectPath, Recorded,
    RecordingState, Retry, Store, VersionFile, VideoState, recording_folder, video_folder,
};

use crate::support::{Db, LEASE, USER, at, last, on_both, person, told};

/// Somebody publishes on a channel that is recorded; `segments` are there.
async fn recording(store: &Store, segments: u64) -> (ChannelFence, SessionId) {
    let server = ServerId::new(0);
    store.offer_capacity(server, 10, &Default::default(), LEASE, at(0)).await.unwrap();
    let new = NewLive { owner: USER.to_owned(), collection: None, limit: 5 };
    let session = store.start_live(&new, "test", at(0)).await.unwrap().session;
    let fence = store.claim_channels(server, LEASE, at(0), 1).await.unwrap().remove(0).fence;
    store.channel_running(&fence, at(0)).await.unwrap();
    store.set_recording(&fence, &RecordingState::Recording, at(1)).await.unwrap();
    let recorded = Recorded { segments, bytes: 10 * segments, duration_ms: 2000 * segments };
    store.set_recorded(&fence, &recorded).await.unwrap();
    (fence, session)
}

/// The user stops the channel, and its server ends the session.
async fn end(store: &Store, fence: &ChannelFence, second: i64) {
    store.stop_live(USER, fence.channel, "test", at(second)).await.unwrap();
    store.channel_stopped(fence, at(second)).await.unwrap();
}

async fn state(store: &Store, session: SessionId) -> RecordingState {
    store.session(None, session).await.unwrap().recording
}

/// A recording that was handed over: its session, its video, and the job while it is being done.
async fn finishing(store: &Store) -> (SessionId, VideoId, Fence) {
    let (fence, session) = recording(store, 3).await;
    let video = store.finish_recording(&fence, at(2)).await.unwrap().unwrap();
    end(store, &fence, 3).await;
    let (fence, job) = take(store, 3).await;
    assert_eq!((job.kind, job.video), (Kind::Recording, Some(video)));
    (session, video, fence)
}

async fn take(store: &Store, second: i64) -> (Fence, Job) {
    store.claim("w", LEASE, at(second)).await.unwrap().unwrap()
}

fn version(video: VideoId, fence: Fence) -> NewVersion {
    let file = |name: &str| VersionFile { name: name.to_owned(), bytes: 10, public: true };
    NewVersion {
        video,
        folder: format!("{}/{}.{}", video_folder(USER, video, at(2)), fence.job, fence.attempt),
        files: ["video.mp4", "poster.jpg", "segments.mp4", "media.m3u8"].map(file).to_vec(),
        options: json!({}),
        plan_of: None,
        shows: Vec::new(),
    }
}

async fn publish(store: &Store, video: VideoId, fence: Fence) {
    let result = json!({"duration_ms": 6000});
    store.publish(&fence, &version(video, fence), &result, "w", at(4)).await.unwrap();
}

fn segments(session: SessionId) -> String {
    format!("{}/", recording_folder(USER, session, at(0)))
}

async fn is_garbage(store: &Store, folder: &str) -> bool {
    store.garbage(1000).await.unwrap().iter().any(|object| object == folder)
}

fn failure() -> Failure {
    Failure { code: "input_refused".to_owned(), message: "segment 3 is damaged".to_owned() }
}

#[tokio::test]
async fn a_recording_becomes_a_video_by_a_job_and_is_ready_when_that_has_published() {
    on_both(async |db| {
        let store = &db.store;
        store.set_public_url("https://garim.example").await.unwrap();
        let (fence, session) = recording(store, 3).await;
        let before = store.last_event().await.unwrap();
        let video = store.finish_recording(&fence, at(2)).await.unwrap().unwrap();
        assert_eq!(state(store, session).await, RecordingState::Finishing { video });
        assert_eq!(told(store, before).await, ["video.created", "job.queued"]);
        let stored = store.video(USER, video).await.unwrap();
        assert_eq!((stored.state, stored.length), (VideoState::Stored, 0));
        assert!(!stored.has_original && stored.published.is_none());
        assert_eq!(stored.name, format!("{USER} {}", at(0).strftime("%Y-%m-%d %H:%M")));
        let jobs = store.jobs(USER, Some(video), None, None, 10).await.unwrap();
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].work, json!({"session": session, "broken": null}));

        // A server that dies now has another end the session, which says the same again.
        assert_eq!(store.finish_recording(&fence, at(2)).await.unwrap(), Some(video));
        end(store, &fence, 3).await;
        assert_eq!(state(store, session).await, RecordingState::Finishing { video });
        assert_eq!(store.jobs(USER, None, None, None, 10).await.unwrap().len(), 1);
        assert_eq!(store.videos(USER, None, 10).await.unwrap().len(), 1);

        let (job, _) = take(store, 3).await;
        assert!(!is_garbage(store, &segments(session)).await);
        publish(store, video, job).await;
        assert_eq!(state(store, session).await, RecordingState::Ready { video });
        assert!(is_garbage(store, &segments(session)).await);
        let url = |name| format!("https://garim.example/media/{video}/v1/{name}");
        let ready = json!({
            "channel": fence.channel,
            "session": session,
            "video": video,
            "version": 1,
            "duration_ms": 6000,
            "url": url("video.mp4"),
            "poster": url("poster.jpg"),
            "playlist": url("media.m3u8"),
        });
        assert_eq!(last(store, "recording.ready").await, ready);
        let events = told(store, before).await;
        assert_eq!(events[events.len() - 3..], ["job.done", "recording.ready", "video.published"]);
    })
    .await;
}

#[tokio::test]
async fn a_session_that_ends_in_any_way_hands_over_what_was_recorded() {
    on_both(async |db| {
        let store = &db.store;
        // Its server says that it is over, and not that the recording is to be finished.
        let (fence, session) = recording(store, 3).await;
        end(store, &fence, 2).await;
        let state_of = state(store, session).await;
        assert!(matches!(state_of, RecordingState::Finishing { .. }), "{state_of:?}");

        let (fence, session) = recording(store, 3).await;
        store.channel_failed(&fence, "the disk is full", at(2)).await.unwrap();
        let state_of = state(store, session).await;
        assert!(matches!(state_of, RecordingState::Finishing { .. }), "{state_of:?}");

        // What was recorded before a recording failed is worth as much.
        let (fence, session) = recording(store, 3).await;
        let reason = "the store does not keep up".to_owned();
        let failed = RecordingState::Failed { reason: reason.clone() };
        store.set_recording(&fence, &failed, at(1)).await.unwrap();
        let video = store.finish_recording(&fence, at(2)).await.unwrap().unwrap();
        assert_eq!(state(store, session).await, RecordingState::Finishing { video });
        // Too late to say that.
        store.set_recording(&fence, &failed, at(2)).await.unwrap();
        end(store, &fence, 2).await;
        assert_eq!(state(store, session).await, RecordingState::Finishing { video });
        let jobs = store.jobs(USER, Some(video), None, None, 10).await.unwrap();
        assert_eq!(jobs[0].work["broken"], reason);

        for recorded in [RecordingState::Recording, failed] {
            let (fence, session) = recording(store, 0).await;
            store.set_recording(&fence, &recorded, at(1)).await.unwrap();
            assert_eq!(store.finish_recording(&fence, at(2)).await.unwrap(), None);
            end(store, &fence, 2).await;
            let state_of = state(store, session).await;
            assert!(matches!(state_of, RecordingState::Failed { .. }), "{state_of:?}");
        }
        assert_eq!(store.videos(USER, None, 10).await.unwrap().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_comes_to_nothing_fails_the_recording_and_keeps_what_was_recorded() {
    on_both(async |db| {
        let store = &db.store;
        let (session, video, fence) = finishing(store).await;
        let before = store.last_event().await.unwrap();
        store.fail(&fence, &failure(), Retry::Later, at(4)).await.unwrap();
        assert_eq!(state(store, session).await, RecordingState::Finishing { video });
        let (fence, _) = take(store, 100).await;
        store.fail(&fence, &failure(), Retry::Never, at(100)).await.unwrap();
        let reason = failure().message;
        assert_eq!(state(store, session).await, RecordingState::Failed { reason: reason.clone() });
        assert_eq!(last(store, "recording.failed").await["reason"], json!(reason));
        assert_eq!(told(store, before).await, ["job.started", "job.failed", "recording.failed"]);
        assert!(!is_garbage(store, &segments(session)).await);

        // Whoever ends it before its server says that the session is over ends it once.
        let (fence, session) = recording(store, 3).await;
        let video = store.finish_recording(&fence, at(2)).await.unwrap().unwrap();
        let job = store.jobs(USER, Some(video), None, None, 1).await.unwrap()[0].id;
        store.cancel(USER, job, at(2)).await.unwrap();
        assert!(last(store, "recording.failed").await["reason"].is_string());
        assert_eq!(store.finish_recording(&fence, at(3)).await.unwrap(), None);
        end(store, &fence, 3).await;
        let state_of = state(store, session).await;
        assert!(matches!(state_of, RecordingState::Failed { .. }), "{state_of:?}");
        assert_eq!(store.jobs(USER, None, Some("queued"), None, 10).await.unwrap().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_video_that_is_deleted_takes_what_was_recorded_along() {
    on_both(async |db| {
        let store = &db.store;
        let (ready, ready_video, fence) = finishing(store).await;
        publish(store, ready_video, fence).await;
        let (failed, failed_video, fence) = finishing(store).await;
        store.fail(&fence, &failure(), Retry::Never, at(4)).await.unwrap();
        let (running, running_video, fence) = finishing(store).await;
        for video in [ready_video, failed_video, running_video] {
            store.delete_video(USER, video, "test", at(5)).await.unwrap();
        }
        for session in [ready, failed, running] {
            assert!(is_garbage(store, &segments(session)).await);
        }
        let new = version(running_video, fence);
        let gone = store.publish(&fence, &new, &json!({}), "w", at(6)).await;
        assert!(matches!(gone, Err(Error::Fenced)), "{gone:?}");
        for session in [ready, failed, running] {
            let state_of = state(store, session).await;
            assert!(matches!(state_of, RecordingState::Failed { .. }), "{state_of:?}");
        }
        assert_eq!(last(store, "recording.failed").await["session"], json!(running));
    })
    .await;
}

/// Whether the sweep takes the objects of a recording.
async fn swept(store: &Store, session: SessionId) -> bool {
    let name = format!("{}seg-0000000000-0000000000-180000.m4s", segments(session));
    let objects: Vec<ObjectPath> = vec![name.parse().unwrap()];
    store.discard_leftovers(&objects, at(1_000_000)).await.unwrap() == 1
}

#[tokio::test]
async fn what_is_being_recorded_or_finished_is_not_swept_and_what_nobody_needs_is() {
    on_both(async |db| {
        let store = &db.store;
        assert!(!swept(store, SessionId::new(0)).await, "of another installation");
        let (fence, session) = recording(store, 3).await;
        assert!(!swept(store, session).await);
        store.finish_recording(&fence, at(2)).await.unwrap();
        assert!(!swept(store, session).await);
        end(store, &fence, 3).await;
        assert!(!swept(store, session).await);
        let (job, done) = take(store, 3).await;
        publish(store, done.video.unwrap(), job).await;
        assert!(swept(store, session).await, "of a server that lost the channel");

        let (session, video, fence) = finishing(store).await;
        store.fail(&fence, &failure(), Retry::Never, at(4)).await.unwrap();
        assert!(!swept(store, session).await, "it is all there is");
        store.delete_video(USER, video, "test", at(5)).await.unwrap();
        assert!(swept(store, session).await);

        let (fence, session) = recording(store, 0).await;
        end(store, &fence, 2).await;
        assert!(swept(store, session).await);
    })
    .await;
}

#[tokio::test]
async fn who_is_seen_without_consent_keeps_a_recording_from_being_published() {
    on_both(async |db| {
        let store = &db.store;
        let (session, video, fence) = finishing(store).await;
        let mina = person(store, None).await;
        store.withdraw(mina, "Mina", "test", at(4)).await.unwrap();
        let new = NewVersion { shows: vec![mina], ..version(video, fence) };
        let refused = store.publish(&fence, &new, &json!({}), "w", at(4)).await;
        assert!(matches!(refused, Err(Error::NoConsent { .. })), "{refused:?}");
        assert_eq!(state(store, session).await, RecordingState::Finishing { video });
        publish(store, video, fence).await;
        assert_eq!(state(store, session).await, RecordingState::Ready { video });
    })
    .await;
}

#[tokio::test]
async fn recordings_are_kept_as_long_as_the_user_says_or_else_the_server() {
    on_both(async |db: &Db| {
        let expiry = async |store: &Store| {
            let (_, video, _) = finishing(store).await;
            store.video(USER, video).await.unwrap().expires_at
        };
        let day = 24 * 60 * 60;
        assert_eq!(expiry(&db.store).await, None);
        let store = db.store.clone().keeping(Some(7));
        assert_eq!(expiry(&store).await, Some(at(2 + 7 * day)));
        // A user who has no space left loses nothing.
        store.put_user(USER, Some(0), Some(2), at(0)).await.unwrap();
        assert_eq!(expiry(&store).await, Some(at(2 + 2 * day)));
    })
    .await;
}

#[tokio::test]
async fn a_server_says_nothing_of_a_recording_that_is_not_its_own_to_say() {
    on_both(async |db| {
        let store = &db.store;
        let (fence, _) = recording(store, 3).await;
        let video = VideoId::new(0);
        for recording in [
            RecordingState::Off,
            RecordingState::Waiting,
            RecordingState::Finishing { video },
            RecordingState::Ready { video },
        ] {
            let refused = store.set_recording(&fence, &recording, at(2)).await;
            assert!(matches!(refused, Err(Error::Invalid { .. })), "{recording:?}");
        }
        let late = LEASE.as_secs() + 1;
        store.claim_channels(ServerId::new(0), LEASE, at(late), 1).await.unwrap();
        let lost = store.finish_recording(&fence, at(late)).await;
        assert!(matches!(lost, Err(Error::Fenced)), "{lost:?}");
        assert!(store.videos(USER, None, 10).await.unwrap().is_empty());
    })
    .await;
}
