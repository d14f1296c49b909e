//! Live channels, on real databases.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::{ChannelId, ServerId};
use futures_util::future::join_all;
use serde_json::{Value, json};
use store::{
    Asked, Changes, ChannelFence, ChannelState, Claimed, Error, Ingest, NewChannel, NewLive,
    Orders, Playback, Policy, Protection, Recorded, RecordingPolicy, RecordingState, Started,
    Store,
};

use crate::support::{Db, LEASE, USER, at, last, on_both, person, told};

const LIMIT: u32 = 5;

fn new_live(owner: &str) -> NewLive {
    NewLive { owner: owner.to_owned(), collection: None, limit: LIMIT }
}

async fn start(store: &Store, owner: &str, second: i64) -> Result<Started, Error> {
    store.start_live(&new_live(owner), "test", at(second)).await
}

/// A server that says for long that it can run `slots` channels.
async fn server(store: &Store, slots: u32) -> ServerId {
    let server = ServerId::new(0);
    store.offer_capacity(server, slots, &Default::default(), LEASE * 1000, at(0)).await.unwrap();
    server
}

async fn claim(store: &Store, server: ServerId, second: i64) -> Vec<Claimed> {
    store.claim_channels(server, LEASE, at(second), 100).await.unwrap()
}

async fn claim_one(store: &Store, server: ServerId, second: i64) -> Claimed {
    let mut claimed = claim(store, server, second).await;
    assert_eq!(claimed.len(), 1);
    claimed.remove(0)
}

/// A channel that runs on a server.
async fn running(store: &Store) -> (Started, ServerId, ChannelFence) {
    let server = server(store, 10).await;
    let started = start(store, USER, 0).await.unwrap();
    let fence = claim_one(store, server, 0).await.fence;
    store.channel_running(&fence, at(0)).await.unwrap();
    (started, server, fence)
}

async fn stop(store: &Store, channel: ChannelId, second: i64) -> Result<ChannelState, Error> {
    Ok(store.stop_live(USER, channel, "test", at(second)).await?.state)
}

async fn state(store: &Store, channel: ChannelId) -> ChannelState {
    store.channel(channel).await.unwrap().state
}

async fn ask(store: &Store, fence: &ChannelFence, second: i64) -> Asked {
    store.beat_channels(&[*fence], LEASE, at(second)).await.unwrap().remove(0)
}

async fn orders(store: &Store, fence: &ChannelFence, second: i64) -> Orders {
    match ask(store, fence, second).await {
        Asked::Continue(orders) => orders,
        other => panic!("{other:?}"),
    }
}

fn fenced<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Fenced)), "{result:?}");
}

/// States that a user was told of, from event `after` on.
async fn states(store: &Store, after: i64) -> Vec<Value> {
    let events = store.events(USER, after, 1000).await.unwrap();
    let changes = events.into_iter().filter(|event| event.kind == "channel.state_changed");
    changes.map(|event| event.data["state"].clone()).collect()
}

/// Fifty users who start at once, from two processes.
async fn rush(db: &Db) -> Vec<(String, Result<Started, Error>)> {
    let stores = Arc::new([db.store.clone(), db.another().await]);
    let starts = (0..50).map(|i| {
        let stores = Arc::clone(&stores);
        tokio::spawn(async move {
            let user = format!("user{i}");
            let started = start(&stores[i % 2], &user, 1).await;
            (user, started)
        })
    });
    join_all(starts).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_starts_at_once_get_five_channels_and_each_another_one() {
    on_both(async |db| {
        server(&db.store, 100).await;
        let mut channels = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for (user, started) in rush(db).await {
            match started {
                Ok(started) => {
                    assert!(!started.existed);
                    assert_eq!(started.channel.owner, user);
                    assert!(channels.insert(started.channel.id), "it has another user already");
                    keys.insert(started.key.reveal().to_owned());
                }
                Err(Error::ChannelLimit { limit, in_use }) => assert_eq!((limit, in_use), (5, 5)),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((channels.len(), keys.len()), (5, 5));
        assert_eq!(db.number("SELECT COUNT(*) FROM channels").await, 5);
        assert_eq!(db.number("SELECT COUNT(DISTINCT owner) FROM channels").await, 5);
        let reached = "SELECT COUNT(*) FROM events WHERE type = 'limit.reached'";
        assert_eq!(db.number(reached).await, 45);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_starts_at_once_get_the_free_channels_once_each() {
    on_both(async |db| {
        server(&db.store, 3).await;
        let mut free = BTreeSet::new();
        for _ in 0..4 {
            let new = NewChannel::of("before", LIMIT);
            free.insert(db.store.create_channel(&new, at(0)).await.unwrap().id);
        }
        let mut got = BTreeSet::new();
        for (_, started) in rush(db).await {
            match started {
                Ok(started) => {
                    assert!(started.existed && free.contains(&started.channel.id));
                    assert!(got.insert(started.channel.id), "it has another user already");
                }
                // Three, by the servers' capacity.
                Err(Error::NoCapacity { capacity: 3, in_use: 3 }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(got.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn no_channel_is_given_where_no_server_runs_any() {
    on_both(async |db| {
        let refused = start(&db.store, USER, 0).await;
        assert!(
            matches!(refused, Err(Error::NoCapacity { capacity: 0, in_use: 0 })),
            "{refused:?}"
        );
        assert_eq!(told(&db.store, 0).await, ["limit.reached"]);
        let gone = ServerId::new(0);
        db.store.offer_capacity(gone, 4, &Default::default(), LEASE, at(0)).await.unwrap();
        db.store
            .offer_capacity(ServerId::new(0), 1, &Default::default(), LEASE * 3, at(0))
            .await
            .unwrap();
        start(&db.store, "a", 1).await.unwrap();
        start(&db.store, "b", 1).await.unwrap();
        let late = LEASE.as_secs();
        let refused = start(&db.store, "c", late).await;
        assert!(
            matches!(refused, Err(Error::NoCapacity { capacity: 1, in_use: 2 })),
            "{refused:?}"
        );
        assert!(start(&db.store, "a", late).await.unwrap().existed, "it has one");
        db.store.release_channels(gone).await.unwrap();
        db.store.prune_servers(at(3 * 86_400)).await.unwrap();
        assert_eq!(db.number("SELECT COUNT(*) FROM live_servers").await, 0);
    })
    .await;
}

#[tokio::test]
async fn who_starts_again_gets_the_same_channel_unchanged() {
    on_both(async |db| {
        let store = &db.store;
        let (first, _, fence) = running(store).await;
        person(store, None).await; // Makes the collection.
        let events = told(store, 0).await.len();
        let again = NewLive { collection: Some("shop".to_owned()), ..new_live(USER) };
        let again = store.start_live(&again, "test", at(1)).await.unwrap();
        assert!(again.existed && !first.existed);
        assert_eq!((again.channel.id, again.session), (first.channel.id, first.session));
        assert_eq!(again.key.reveal(), first.key.reveal());
        assert_eq!(again.channel.collection, None);
        assert!(again.channel.is_ready(at(1)) && !again.channel.is_ready(at(0) + LEASE));
        assert_eq!(told(store, 0).await.len(), events);
        // Also while another server takes it over.
        store.set_ingest(&fence, &Ingest::Connected, at(2)).await.unwrap();
        claim_one(store, ServerId::new(0), LEASE.as_secs() + 1).await;
        let again = start(store, USER, LEASE.as_secs() + 1).await.unwrap();
        assert_eq!(again.channel.state, ChannelState::Recovering);
        assert_eq!(again.session, first.session);
    })
    .await;
}

#[tokio::test]
async fn a_free_channel_goes_to_another_user_with_nothing_of_the_one_before() {
    on_both(async |db| {
        let store = &db.store;
        let (first, server, fence) = running(store).await;
        let channel = first.channel.id;
        let changes = Changes {
            name: Some("Mina's".to_owned()),
            policy: Some(Policy { playback: Playback::Signed, ..Policy::default() }),
            ..Changes::default()
        };
        store.change_channel(USER, channel, &changes, at(1)).await.unwrap();
        store.set_cover_all(USER, channel, true, "test", at(1)).await.unwrap();
        stop(store, channel, 2).await.unwrap();
        store.channel_stopped(&fence, at(2)).await.unwrap();
        assert!(store.channel_by_stream_key(first.key.reveal()).await.unwrap().is_none());

        // The same user gets it as it was, but for the key and the addresses.
        let second = start(store, USER, 3).await.unwrap();
        assert!(second.existed);
        assert_eq!((second.channel.id, second.channel.name.as_str()), (channel, "Mina's"));
        assert!(second.channel.cover_all);
        assert_eq!(second.channel.state, ChannelState::Starting);
        assert_ne!(second.session, first.session);
        assert_ne!(second.key.reveal(), first.key.reveal());
        let fence = claim_one(store, server, 3).await.fence;
        store.channel_running(&fence, at(3)).await.unwrap();
        stop(store, channel, 4).await.unwrap();
        store.channel_stopped(&fence, at(4)).await.unwrap();

        let third = start(store, "noor", 5).await.unwrap();
        assert!(third.existed);
        let taken = &third.channel;
        assert_eq!(
            (taken.id, taken.owner.as_str(), taken.name.as_str()),
            (channel, "noor", "noor")
        );
        assert_eq!((&taken.policy, taken.cover_all), (&Policy::default(), false));
        assert_eq!(store.channel(channel).await.unwrap(), *taken);
        assert!(store.channel_by_stream_key(second.key.reveal()).await.unwrap().is_none());
        let found = store.channel_by_stream_key(third.key.reveal()).await.unwrap().unwrap();
        assert_eq!(found.id, channel);
        assert_eq!(told(store, 0).await.last().unwrap(), "channel.released");
        // Each sees their own sessions only.
        let sessions = store.sessions(USER, channel, false, None, 10).await.unwrap();
        let ids: Vec<_> = sessions.iter().map(|session| session.id).collect();
        assert_eq!(ids, [second.session, first.session]);
        assert_eq!(sessions[1].playback, Playback::Public, "as it was when it started");
        assert_eq!(sessions[0].playback, Playback::Signed);
        let theirs = store.sessions("noor", channel, false, None, 10).await.unwrap();
        assert_eq!(theirs.len(), 1);
        assert!(matches!(
            store.session(Some("noor"), first.session).await,
            Err(Error::NotFound { .. })
        ));
        assert!(matches!(stop(store, channel, 6).await, Err(Error::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn the_key_is_kept_sealed_and_a_new_one_ends_the_old() {
    on_both(async |db| {
        let store = &db.store;
        let (started, _, fence) = running(store).await;
        let (channel, old) = (started.channel.id, started.key);
        assert_eq!(format!("{old:?}"), "StreamKey");
        assert!(!format!("{:?}", started.channel).contains(old.reveal()));
        let hex: String = old.reveal().bytes().map(|b| format!("{b:02x}")).collect();
        let dump = if db.is_postgres() { "encode(sealed_key, 'hex')" } else { "hex(sealed_key)" };
        let leaks = format!(
            "SELECT COUNT(*) FROM channels WHERE lower({dump}) LIKE '%{hex}%' OR key_hash LIKE '%{}%'",
            old.reveal()
        );
        assert_eq!(db.number(&leaks).await, 0);
        let let_in = store.channel_by_stream_key(old.reveal()).await.unwrap().unwrap();
        assert_eq!(orders(store, &fence, 1).await.admission, let_in.admission);

        let new = store.rotate_stream_key(USER, channel, "test", at(2)).await.unwrap();
        assert!(store.channel_by_stream_key(old.reveal()).await.unwrap().is_none());
        let again = store.channel_by_stream_key(new.reveal()).await.unwrap().unwrap();
        let now = orders(store, &fence, 2).await.admission;
        assert!(now > let_in.admission, "who has the old key is cut off");
        assert_eq!(now, again.admission, "and who has the new one is not");
        assert_eq!(start(store, USER, 3).await.unwrap().key.reveal(), new.reveal());

        store.disconnect(USER, channel).await.unwrap();
        assert!(orders(store, &fence, 4).await.admission > again.admission);
        let back = store.channel_by_stream_key(new.reveal()).await.unwrap().unwrap();
        assert_eq!(orders(store, &fence, 4).await.admission, back.admission);
        for wrong in ["", "live_", old.reveal(), &new.reveal()[..47], &format!("{}x", new.reveal())]
        {
            assert!(store.channel_by_stream_key(wrong).await.unwrap().is_none());
        }
        assert!(store.rotate_stream_key("noor", channel, "test", at(5)).await.is_err());
        assert!(store.disconnect("noor", channel).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_stop_is_done_by_who_has_the_channel_and_may_be_asked_for_again() {
    on_both(async |db| {
        let store = &db.store;
        let (started, _, fence) = running(store).await;
        let channel = started.channel.id;
        let stopped = store.channel_stopped(&fence, at(1)).await;
        assert!(matches!(stopped, Err(Error::ChannelBusy { .. })), "nobody asked for it");
        assert_eq!(stop(store, channel, 2).await.unwrap(), ChannelState::Stopping);
        assert_eq!(stop(store, channel, 2).await.unwrap(), ChannelState::Stopping);
        assert_eq!(ask(store, &fence, 2).await, Asked::Stop);
        assert!(store.channel_by_stream_key(started.key.reveal()).await.unwrap().is_none());
        let late = store.channel_running(&fence, at(2)).await;
        assert!(matches!(late, Err(Error::ChannelBusy { state: ChannelState::Stopping, .. })));
        store.channel_stopped(&fence, at(3)).await.unwrap();
        assert_eq!(stop(store, channel, 4).await.unwrap(), ChannelState::Idle);
        fenced(store.channel_stopped(&fence, at(4)).await);
        assert_eq!(ask(store, &fence, 4).await, Asked::Lost);
        let session = store.session(Some(USER), started.session).await.unwrap();
        assert_eq!((session.ended_at, session.reason), (Some(at(3)), None));
        assert_eq!(session.recording, RecordingState::Off, "nobody published");
        assert_eq!(states(store, 0).await, ["creating", "running", "stopping", "idle"]);
        let missing = store.stop_live(USER, ChannelId::new(0), "test", at(5)).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_channel_that_starts_or_goes_is_not_stopped() {
    on_both(async |db| {
        let store = &db.store;
        let server = server(store, 10).await;
        let channel = start(store, USER, 0).await.unwrap().channel.id;
        let busy = |error, want| {
            assert!(matches!(error, Error::ChannelBusy { state, .. } if state == want), "{error}");
        };
        busy(stop(store, channel, 1).await.unwrap_err(), ChannelState::Creating);
        let deleted = store.delete_channel(USER, channel, "test", at(1)).await;
        busy(deleted.unwrap_err(), ChannelState::Creating);
        let fence = claim_one(store, server, 1).await.fence;
        store.channel_running(&fence, at(1)).await.unwrap();
        store.delete_channel(USER, channel, "test", at(2)).await.unwrap();
        store.delete_channel(USER, channel, "test", at(2)).await.unwrap();
        busy(stop(store, channel, 2).await.unwrap_err(), ChannelState::Deleting);
        assert_eq!(ask(store, &fence, 2).await, Asked::Stop);
        store.channel_stopped(&fence, at(3)).await.unwrap();
        assert!(matches!(store.channel(channel).await, Err(Error::NotFound { .. })));
        assert_eq!(told(store, 0).await.last().unwrap(), "channel.deleted");
        assert_eq!(store.sessions(USER, channel, false, None, 10).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn when_a_server_dies_another_takes_over_and_the_first_is_not_heard() {
    on_both(async |db| {
        let store = &db.store;
        let (started, first, old) = running(store).await;
        let channel = started.channel.id;
        store.set_ingest(&old, &Ingest::Connected, at(1)).await.unwrap();
        store.set_recording(&old, &RecordingState::Recording, at(1)).await.unwrap();
        let second = ServerId::new(0);
        let end = LEASE.as_secs();
        assert!(claim(store, second, end - 1).await.is_empty(), "the first is alive");
        ask(store, &old, 10).await;
        assert!(claim(store, second, end + 5).await.is_empty(), "it said so again");
        let late = end + 11;
        let both = [db.store.clone(), db.another().await];
        let both = both.iter().map(|store| claim(store, second, late));
        let taken: Vec<Claimed> = join_all(both).await.into_iter().flatten().collect();
        let [taken] = taken.as_slice() else { panic!("{} have it", taken.len()) };
        assert_eq!(taken.channel.state, ChannelState::Recovering);
        assert_eq!(taken.channel.ingest, Ingest::Reconnecting);
        assert_eq!(taken.channel.lease.as_ref().unwrap().server, second);
        assert_eq!(taken.session.id, started.session, "viewers stay where they are");
        assert_eq!(taken.session.recording, RecordingState::Recording);
        assert_eq!(last(store, "ingest.disconnected").await["was"], "connected");

        assert_eq!(ask(store, &old, late).await, Asked::Lost);
        fenced(store.channel_running(&old, at(late)).await);
        fenced(store.channel_stopped(&old, at(late)).await);
        fenced(store.channel_failed(&old, "x", at(late)).await);
        fenced(store.set_ingest(&old, &Ingest::Connected, at(late)).await);
        fenced(store.set_protection(&old, &Protection::Ok, at(late)).await);
        fenced(store.finish_recording(&old, at(late)).await);
        fenced(store.set_recorded(&old, &Recorded::default()).await);
        assert_eq!(store.channel(channel).await.unwrap(), taken.channel);

        store.channel_running(&taken.fence, at(late)).await.unwrap();
        store.set_ingest(&taken.fence, &Ingest::Connected, at(late)).await.unwrap();
        assert_eq!(told(store, 0).await.last().unwrap(), "ingest.reconnected");
        assert!(claim(store, first, late).await.is_empty());
        let session = store.session(None, started.session).await.unwrap();
        assert_eq!(session.first_publish_at, Some(at(1)));
    })
    .await;
}

#[tokio::test]
async fn a_stop_whose_server_dies_is_finished_by_another() {
    on_both(async |db| {
        let store = &db.store;
        let (started, server, fence) = running(store).await;
        store.set_recording(&fence, &RecordingState::Recording, at(1)).await.unwrap();
        stop(store, started.channel.id, 1).await.unwrap();
        store.release_channels(server).await.unwrap();
        fenced(store.channel_stopped(&fence, at(1)).await);
        // At once: it was given back.
        let taken = claim_one(store, ServerId::new(0), 1).await;
        assert_eq!(taken.channel.state, ChannelState::Stopping);
        assert_eq!(ask(store, &taken.fence, 2).await, Asked::Stop);
        let recorded = Recorded { segments: 1, bytes: 1, duration_ms: 1 };
        store.set_recorded(&taken.fence, &recorded).await.unwrap();
        let video = store.finish_recording(&taken.fence, at(2)).await.unwrap().unwrap();
        store.channel_stopped(&taken.fence, at(3)).await.unwrap();
        let session = store.session(None, started.session).await.unwrap();
        assert_eq!(session.recording, RecordingState::Finishing { video });
    })
    .await;
}

#[tokio::test]
async fn running_channels_survive_a_restart_of_everything() {
    on_both(async |db| {
        let (started, server, fence) = running(&db.store).await;
        let id = started.channel.id;
        db.store.set_ingest(&fence, &Ingest::Connected, at(1)).await.unwrap();
        db.store.set_cover_all(USER, id, true, "test", at(1)).await.unwrap();
        let store = db.another().await;
        let taken = claim_one(&store, server, LEASE.as_secs() + 1).await;
        assert!(taken.channel.cover_all);
        store.channel_running(&taken.fence, at(40)).await.unwrap();
        let again = start(&store, USER, 41).await.unwrap();
        assert!(again.channel.is_ready(at(41)));
        assert_eq!(again.key.reveal(), started.key.reveal(), "the publisher comes back with it");
        assert!(orders(&store, &taken.fence, 42).await.cover_all);
    })
    .await;
}

#[tokio::test]
async fn every_change_is_told_once() {
    on_both(async |db| {
        let store = &db.store;
        let (started, _, fence) = running(store).await;
        let before = store.last_event().await.unwrap();
        let rejected = Ingest::Rejected("unknown codec".to_owned());
        let second = Ingest::Rejected("somebody publishes already".to_owned());
        for ingest in [
            &rejected,
            &Ingest::Connected,
            &Ingest::Connected,
            &second,
            &Ingest::Starved,
            &Ingest::Connected,
            &Ingest::Reconnecting,
            &Ingest::Connected,
            &Ingest::Reconnecting,
            &Ingest::Waiting,
        ] {
            store.set_ingest(&fence, ingest, at(1)).await.unwrap();
        }
        let degraded = Protection::Degraded("the detector lags".to_owned());
        let blocked = Protection::Blocked("the detector died".to_owned());
        for protection in [&degraded, &degraded, &blocked, &Protection::Ok] {
            store.set_protection(&fence, protection, at(2)).await.unwrap();
            assert_eq!(store.channel(fence.channel).await.unwrap().protection, *protection);
        }
        for recording in [RecordingState::Recording, RecordingState::Recording] {
            store.set_recording(&fence, &recording, at(3)).await.unwrap();
        }
        let recorded = Recorded { segments: 3, bytes: 4000, duration_ms: 6000 };
        store.set_recorded(&fence, &recorded).await.unwrap();
        store.set_ingest(&fence, &Ingest::Connected, at(4)).await.unwrap();
        store.channel_failed(&fence, "the disk is full", at(5)).await.unwrap();
        let want = [
            "ingest.rejected",
            "ingest.connected",
            "ingest.rejected",
            "ingest.starved",
            "ingest.reconnected",
            "ingest.disconnected",
            "ingest.reconnected",
            "ingest.disconnected",
            "ingest.disconnected",
            "protection.degraded",
            "protection.blocked",
            "protection.restored",
            "recording.started",
            "ingest.connected",
            "video.created",
            "job.queued",
            "ingest.disconnected",
            "channel.state_changed",
        ];
        assert_eq!(told(store, before).await, want);
        let failed = last(store, "channel.state_changed").await;
        assert_eq!(failed["state"], "idle");
        assert_eq!(failed["reason"], "the disk is full");
        assert_eq!(failed["session"], json!(started.session));
        let session = store.session(None, started.session).await.unwrap();
        assert_eq!(session.recorded, recorded);
        assert_eq!(session.reason.as_deref(), Some("the disk is full"));
        let listed = store.sessions(USER, fence.channel, true, None, 10).await.unwrap();
        assert_eq!(listed, [session]);
    })
    .await;
}

#[tokio::test]
async fn a_start_that_no_server_takes_is_given_up() {
    on_both(async |db| {
        let store = &db.store;
        let server = server(store, 10).await;
        let patience = LEASE;
        let late = LEASE.as_secs();
        let first = start(store, USER, 0).await.unwrap();
        assert_eq!(store.give_up_starts(patience, at(late - 1)).await.unwrap(), 0);
        assert_eq!(store.give_up_starts(patience, at(late)).await.unwrap(), 1);
        let failed = store.channel(first.channel.id).await.unwrap();
        assert_eq!((failed.state, failed.session), (ChannelState::CreateFailed, None));
        assert!(failed.reason.unwrap().contains("no server"));
        assert!(claim(store, server, late).await.is_empty());
        // It is free, and counts for nothing.
        let again = start(store, USER, late).await.unwrap();
        assert_eq!((again.channel.id, again.existed), (first.channel.id, true));
        assert_eq!(again.channel.state, ChannelState::Creating);
        // A server that is at work on it has its time.
        let fence = claim_one(store, server, late).await.fence;
        ask(store, &fence, 2 * late).await;
        assert_eq!(store.give_up_starts(patience, at(2 * late + 5)).await.unwrap(), 0);
        store.channel_running(&fence, at(2 * late + 5)).await.unwrap();
        assert_eq!(store.give_up_starts(patience, at(9 * late)).await.unwrap(), 0);
        assert_eq!(state(store, first.channel.id).await, ChannelState::Running);
    })
    .await;
}

#[tokio::test]
async fn what_a_user_decides_holds_from_when_it_is_said() {
    on_both(async |db| {
        let store = &db.store;
        let refused = NewLive { collection: Some("shop".to_owned()), ..new_live(USER) };
        let refused = store.start_live(&refused, "test", at(0)).await;
        assert!(matches!(refused, Err(Error::NotFound { kind: "collection", .. })), "{refused:?}");
        person(store, None).await; // Makes the collection.
        let (started, server, fence) = running(store).await;
        let id = started.channel.id;
        assert_eq!(orders(store, &fence, 1).await.collection, None);
        let silent = Policy { recording: RecordingPolicy::None, ..Policy::default() };
        let changes = Changes {
            collection: Some(Some("shop".to_owned())),
            policy: Some(silent),
            ..Changes::default()
        };
        store.change_channel(USER, id, &changes, at(1)).await.unwrap();
        let changed = last(store, "channel.updated").await;
        assert_eq!(changed["changed"], json!(["collection", "policy"]));
        assert_eq!(orders(store, &fence, 2).await.collection.as_deref(), Some("shop"));
        let session = store.session(None, started.session).await.unwrap();
        assert_eq!(session.recording, RecordingState::Waiting);
        stop(store, id, 3).await.unwrap();
        store.channel_stopped(&fence, at(3)).await.unwrap();
        let next = start(store, USER, 4).await.unwrap();
        assert_eq!(next.channel.collection.as_deref(), Some("shop"), "it is the user's still");
        let claimed = claim_one(store, server, 4).await;
        assert_eq!(claimed.session.recording, RecordingState::Off);
        assert_eq!(claimed.session.collection.as_deref(), Some("shop"));

        for bad in [
            Policy { reconnect_seconds: 4, ..Policy::default() },
            Policy { reconnect_seconds: 601, ..Policy::default() },
            Policy { max_frame_rate: 0, ..Policy::default() },
        ] {
            let changes = Changes { policy: Some(bad.clone()), ..Changes::default() };
            assert!(store.change_channel(USER, id, &changes, at(5)).await.is_err(), "{bad:?}");
        }
        let elsewhere = Changes { collection: Some(Some("x".to_owned())), ..Changes::default() };
        assert!(store.change_channel(USER, id, &elsewhere, at(5)).await.is_err());
        assert!(store.change_channel("noor", id, &Changes::default(), at(5)).await.is_err());
        assert!(serde_json::from_str::<Policy>(r#"{"colour": 1}"#).is_err());
        assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), Policy::default());
    })
    .await;
}

#[tokio::test]
async fn channels_are_made_listed_and_deleted_within_the_limit() {
    on_both(async |db| {
        let store = &db.store;
        let mut made = Vec::new();
        for second in 0..2 {
            let new = NewChannel::of(USER, 2);
            made.push(store.create_channel(&new, at(second)).await.unwrap());
        }
        assert_eq!(states(store, 0).await, ["idle", "idle"]);
        let full = store.create_channel(&NewChannel::of("noor", 2), at(3)).await;
        assert!(matches!(full, Err(Error::ChannelLimit { limit: 2, in_use: 2 })), "{full:?}");
        let newest = store.channels(USER, None, 1).await.unwrap();
        assert_eq!(newest, made[1..]);
        let older = store.channels(USER, Some(made[1].id), 10).await.unwrap();
        assert_eq!(older, made[..1]);
        assert!(store.channels("noor", None, 10).await.unwrap().is_empty());
        let other = store.delete_channel("noor", made[0].id, "test", at(4)).await;
        assert!(matches!(other, Err(Error::NotFound { .. })));
        store.delete_channel(USER, made[0].id, "test", at(4)).await.unwrap();
        store.create_channel(&NewChannel::of("noor", 2), at(5)).await.unwrap();
        let entries = store.entries(0).await.unwrap();
        let deleted = entries.iter().find(|entry| entry.action == "delete_channel").unwrap();
        assert_eq!(deleted.subject, made[0].id.to_string());
    })
    .await;
}
