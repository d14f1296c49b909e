//! Live channels over HTTP. What runs them is played by the test: it claims them as a server does, in a process of
//! its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use domain::ServerId;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::{Asked, ChannelFence, ChannelState, KeySource, Location, Store};

use crate::support::Scratch;
use crate::support::live::{Service, until};
use crate::support::server::Answer;

const LEASE: SignedDuration = SignedDuration::from_secs(30);
const QUICK: &str = "[live]\nwait_seconds = 1\n";

/// Whoever runs channels: makes ready what is started, ends what is stopped.
struct Runner {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a runner does not do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lazy {
    No,
    /// It says that it can run channels, and takes none.
    Claims,
    /// It never ends a session.
    Stops,
}

impl Runner {
    fn start(s: &Scratch, slots: u32, lazy: Lazy) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let location = Location::Folder(s.path("data"));
        let key = KeySource::File(s.path("data/server.key"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime.block_on(Store::open(&location, &key)).unwrap();
        let server = ServerId::new(0);
        runtime
            .block_on(store.offer_capacity(
                server,
                slots,
                &Default::default(),
                LEASE * 10,
                Timestamp::now(),
            ))
            .unwrap();
        let told = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut fences = Vec::new();
            runtime.block_on(async {
                let mut ticks = tokio::time::interval(Duration::from_millis(10));
                while !told.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    run(&store, server, lazy, &mut fences).await;
                }
                store.release_channels(server).await.unwrap();
                store.close().await;
            });
        });
        Self { over, thread: Some(thread) }
    }
}

/// What a server does again and again.
async fn run(store: &Store, server: ServerId, lazy: Lazy, fences: &mut Vec<ChannelFence>) {
    let now = Timestamp::now();
    if lazy == Lazy::Claims {
        return;
    }
    for claimed in store.claim_channels(server, LEASE, now, 100).await.unwrap() {
        let ending = [ChannelState::Stopping, ChannelState::Deleting];
        if !ending.contains(&claimed.channel.state) {
            store.channel_running(&claimed.fence, now).await.unwrap();
        }
        fences.push(claimed.fence);
    }
    let asked = store.beat_channels(fences, LEASE, now).await.unwrap();
    for (fence, asked) in std::mem::take(fences).into_iter().zip(asked) {
        match asked {
            Asked::Stop if lazy != Lazy::Stops => store.channel_stopped(&fence, now).await.unwrap(),
            Asked::Lost => {}
            _ => fences.push(fence),
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the runner failed");
    }
}

fn start(service: &Service, user: &str) -> Answer {
    service.post("/v1/live/start", &json!({"user": user}))
}

fn stop(service: &Service, channel: &str) -> Answer {
    service.post("/v1/live/stop", &json!({"channel_id": channel}))
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).unwrap().as_str().unwrap_or_else(|| panic!("{pointer}: {value:#}"))
}

fn channel_path(channel: &str) -> String {
    format!("/v1/channels/{channel}")
}

#[test]
fn one_call_goes_live_and_one_ends_it() {
    let s = Scratch::new();
    let settings = "public_url = 'https://tv.example.org'\n";
    let service = Service::start(&s, settings);
    let _runner = Runner::start(&s, 3, Lazy::No);
    let first = start(&service, "admin").is(200).json();
    assert_eq!(first["state"], "create");
    assert_eq!(first.as_object().unwrap().len(), 4);
    let channel = text(&first, "/channel_id").to_owned();
    let (base, key) = text(&first, "/source_url").rsplit_once('/').unwrap();
    assert_eq!(base, "rtmp://tv.example.org/live");
    let shown = service.get(&channel_path(&channel)).is(200);
    assert!(!shown.body.contains(key), "who may only look is not told the key");
    let shown = shown.json();
    assert_eq!((&shown["state"], &shown["user"]), (&"running".into(), &"admin".into()));
    assert_eq!(
        (&shown["ingest"]["state"], &shown["protection"]["state"]),
        (&"waiting".into(), &"ok".into())
    );
    let session = text(&shown, "/session").to_owned();
    let live = format!("https://tv.example.org/live/{session}/index.m3u8");
    assert_eq!(text(&first, "/destination_url/live"), live);
    let vod = format!("https://tv.example.org/vod/{session}/index.m3u8");
    assert_eq!(text(&first, "/destination_url/vod"), vod);

    let mut again = start(&service, "admin").is(200).json();
    assert_eq!(again["state"], "exist");
    again["state"] = "create".into();
    assert_eq!(again, first, "it is the same, unchanged");

    let stopped = json!({"state": "stopped", "channel_id": channel});
    assert_eq!(stop(&service, &channel).is(200).json(), stopped);
    assert_eq!(service.get(&channel_path(&channel)).json()["state"], "idle");
    assert_eq!(stop(&service, &channel).is(200).json(), stopped, "again");
    stop(&service, "0198c2f0-0000-7000-8000-000000000000").problem(404, "not_found");

    let next = start(&service, "admin").is(200).json();
    assert_eq!((text(&next, "/channel_id"), text(&next, "/state")), (channel.as_str(), "exist"));
    assert_ne!(next["source_url"], first["source_url"]);
    assert_ne!(next["destination_url"], first["destination_url"]);
    let sessions = service.get(&format!("{}/sessions", channel_path(&channel))).is(200).json();
    assert_eq!(sessions["items"].as_array().unwrap().len(), 2);
    assert_eq!(sessions["items"][1]["id"], session.as_str());
    assert!(sessions["items"][1]["ended_at"].is_string());
    assert_eq!(sessions["items"][1]["recording"]["state"], "off", "nobody published");
    let recordings = service.get(&format!("{}/recordings", channel_path(&channel))).is(200).json();
    assert_eq!(recordings["items"].as_array().unwrap().len(), 1, "the one under way");
    assert_eq!(
        service.get(&format!("/v1/sessions/{session}")).is(200).json(),
        sessions["items"][1]
    );
    let event = service.event("channel.state_changed");
    assert_eq!((&event["state"], &event["was"]), (&"running".into(), &"starting".into()));
    let log = service.server.stop().2;
    assert!(!log.contains(key), "{log}");
}

#[test]
fn one_address_does_both_for_clients_that_have_only_one() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let _runner = Runner::start(&s, 3, Lazy::No);
    let act = |body: Value| service.post("/v1/live", &body);
    let body = json!({"action": "start", "user": "mina", "channel_id": ""});
    let started = act(body).is(200).json();
    assert_eq!(started["state"], "create");
    let channel = text(&started, "/channel_id");
    let body = |user: &str| json!({"action": "stop", "user": user, "channel_id": channel});
    act(body("noor")).problem(404, "not_found");
    let stopped = act(body("mina")).is(200).json();
    assert_eq!(stopped, json!({"state": "stopped", "channel_id": channel}));
    act(json!({"action": "stop", "channel_id": "x"})).problem(404, "not_found");
    for body in [
        json!({"action": "start", "channel_id": channel}),
        json!({"action": "stop", "user": "mina"}),
        json!({"action": "pause", "user": "mina"}),
        json!({"user": "mina"}),
        json!({"action": "start", "user": "mina", "colour": 1}),
        json!({"action": "start", "user": "Mina!"}),
    ] {
        act(body).problem(422, "invalid_value");
    }
}

#[test]
fn fifty_starts_at_once_get_five_channels() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let _runner = Runner::start(&s, 50, Lazy::No);
    let answers: Vec<Answer> = thread::scope(|scope| {
        let ask = |i: usize| {
            let service = &service;
            scope.spawn(move || start(service, &format!("user{i}")))
        };
        let asked: Vec<_> = (0..50).map(ask).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status == 200);
    let of = |name: &str| -> BTreeSet<String> {
        good.iter().map(|answer| text(&answer.json(), name).to_owned()).collect()
    };
    assert_eq!((good.len(), of("/channel_id").len(), of("/source_url").len()), (5, 5, 5));
    for answer in bad {
        let body = answer.problem(409, "channel_limit_reached").json();
        assert_eq!((&body["limit"], &body["in_use"]), (&5.into(), &5.into()));
    }
}

#[test]
fn where_nobody_runs_channels_a_start_says_so() {
    let s = Scratch::new();
    let service = Service::start(&s, QUICK);
    let full = start(&service, "admin").problem(503, "no_capacity");
    assert!(!full.header("retry-after").is_empty());
    assert_eq!((&full.json()["limit"], &full.json()["in_use"]), (&0.into(), &0.into()));
    assert_eq!(service.event("limit.reached")["capacity"], 0);
    let runner = Runner::start(&s, 3, Lazy::Claims);
    let late = thread::scope(|scope| {
        let late = scope.spawn(|| start(&service, "admin"));
        let listed = service.wait("/v1/channels", |page| page["items"][0]["state"] == "creating");
        let channel = text(&listed, "/items/0/id").to_owned();
        stop(&service, &channel).problem(409, "channel_busy");
        service.delete(&channel_path(&channel)).problem(409, "channel_busy");
        late.join().unwrap()
    });
    let late = late.problem(503, "not_ready");
    assert!(text(&late.json(), "/detail").contains("no server"), "{late:#?}");
    let channel = service.get("/v1/channels").json()["items"][0].clone();
    assert_eq!((&channel["state"], &channel["session"]), (&"create_failed".into(), &Value::Null));
    drop(runner);
    let _runner = Runner::start(&s, 3, Lazy::No);
    let started = start(&service, "admin").is(200).json();
    assert_eq!(started["channel_id"], channel["id"]);
}

#[test]
fn a_stop_that_takes_long_goes_on_and_is_asked_for_again() {
    let s = Scratch::new();
    let service = Service::start(&s, QUICK);
    let runner = Runner::start(&s, 3, Lazy::Stops);
    let channel = text(&start(&service, "admin").is(200).json(), "/channel_id").to_owned();
    stop(&service, &channel).problem(503, "not_ready");
    assert_eq!(service.get(&channel_path(&channel)).json()["state"], "stopping");
    // Its server is shut down: another ends it.
    drop(runner);
    let _runner = Runner::start(&s, 3, Lazy::No);
    stop(&service, &channel).is(200);
    assert_eq!(service.get(&channel_path(&channel)).json()["state"], "idle");
}

#[test]
fn a_running_channel_survives_a_restart() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let _runner = Runner::start(&s, 3, Lazy::No);
    let before = start(&service, "admin").is(200).json();
    let channel = channel_path(text(&before, "/channel_id"));
    let cover = |method: &str, service: &Service| {
        let path = format!("{channel}/cover-all");
        service.server.ask(method, &path).key(&service.server.admin).send().is(200).json()
    };
    assert_eq!(cover("PUT", &service)["cover_all"], true);
    let admin = service.server.admin.clone();
    service.server.signal("KILL");
    drop(service);
    let mut service = Service::start(&s, "");
    service.server.admin = admin;
    assert_eq!(service.get(&channel).is(200).json()["cover_all"], true);
    let after = start(&service, "admin").is(200).json();
    assert_eq!(after["source_url"], before["source_url"]);
    assert_eq!(after["destination_url"], before["destination_url"]);
    assert_eq!(cover("DELETE", &service)["cover_all"], false);
}

#[test]
fn channels_are_made_changed_and_deleted() {
    let s = Scratch::new();
    let service = Service::start(&s, "[live]\nchannels = 2\n");
    let _runner = Runner::start(&s, 3, Lazy::No);
    let body =
        json!({"name": "Studio 1", "policy": {"recording": "none", "reconnect_seconds": 30}});
    let made = service.post("/v1/channels", &body).is(201);
    let path = made.header("location").to_owned();
    let made = made.json();
    assert_eq!((&made["name"], &made["state"]), (&"Studio 1".into(), &"idle".into()));
    let policy = json!({"recording": "none", "playback": "public", "reconnect_seconds": 30,
        "max_frame_rate": 30});
    assert_eq!(made["policy"], policy);
    let second = service.post("/v1/channels", &json!({})).is(201).json();
    service.post("/v1/channels", &json!({})).problem(409, "channel_limit_reached");
    let page = service.get("/v1/channels?limit=1").json();
    assert_eq!(page["items"], json!([second]));
    let cursor = text(&page, "/next_cursor");
    let page = service.get(&format!("/v1/channels?cursor={cursor}")).json();
    assert_eq!(page["items"], json!([made]));

    let patch =
        |body: Value| service.server.ask("PATCH", &path).key(&service.server.admin).json(&body);
    let tag = service.get(&path).is(200).header("etag").to_owned();
    let changes = json!({"name": "Studio", "policy": {"playback": "signed"}});
    let changed = patch(changes.clone()).header("If-Match", &tag).send().is(200).json();
    assert_eq!(changed["name"], "Studio");
    assert_eq!(changed["policy"]["reconnect_seconds"], 30, "what is left out stays");
    patch(changes).header("If-Match", &tag).send().problem(412, "precondition_failed");
    patch(json!({"collection": null})).send().is(200);
    patch(json!({"collection": "nowhere"})).send().problem(404, "not_found");
    for bad in [
        json!({"policy": {"reconnect_seconds": 1}}),
        json!({"policy": {"max_frame_rate": 61}}),
        json!({"policy": {"recording": "all"}}),
        json!({"name": ""}),
        json!({"user": "noor"}),
    ] {
        patch(bad).send().problem(422, "invalid_value");
    }

    // Its user gets it.
    let started = start(&service, "admin").is(200).json();
    assert_eq!(format!("/v1/channels/{}", text(&started, "/channel_id")), path);
    assert!(text(&started, "/destination_url/live").contains("?expires="));
    let session = service.get(&path).json()["session"].clone();
    let session = service.get(&format!("/v1/sessions/{}", session.as_str().unwrap())).json();
    assert_eq!(session["recording"]["state"], "off");
    let listed = service.get(&format!("{path}/recordings")).is(200).json();
    assert_eq!(listed["items"], json!([]));
    let rotated = service.post(&format!("{path}/rotate-key"), &json!({})).is(200).json();
    assert!(text(&rotated, "/source_url").ends_with(text(&rotated, "/stream_key")));
    assert_ne!(rotated["source_url"], started["source_url"]);
    assert_eq!(start(&service, "admin").json()["source_url"], rotated["source_url"]);
    service.post(&format!("{path}/disconnect"), &json!({})).is(204);

    // It is drained before it goes.
    service.delete(&path).is(204);
    until(|| {
        let gone = service.get(&path).status == 404;
        if gone { Ok(()) } else { Err("it is still there".to_owned()) }
    });
    assert_eq!(
        format!("/v1/channels/{}", text(&service.event("channel.deleted"), "/channel")),
        path
    );
    let sessions = service.get(&format!("{path}/sessions")).is(200).json();
    assert_eq!(sessions["items"][0]["id"], session["id"], "what was sent stays listed");
    service.delete(&path).problem(404, "not_found");
}

#[test]
fn what_belongs_to_others_does_not_exist() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let _runner = Runner::start(&s, 3, Lazy::No);
    let started = start(&service, "mina").is(200).json();
    let channel = text(&started, "/channel_id").to_owned();
    let path = channel_path(&channel);
    let (_, eve) = service.server.new_key("eve", &["read", "operate"]);
    let (_, reader) = service.server.new_key("mina", &["read"]);
    let (_, mina) = service.server.new_key("mina", &["read", "operate"]);
    let ask = |key: &str, method: &str, path: &str, body: Value| {
        service.server.ask(method, path).key(key).json(&body).send()
    };
    let session = ask(&mina, "GET", &path, json!({})).is(200).json()["session"].clone();
    let session = format!("/v1/sessions/{}", session.as_str().unwrap());
    for (method, path) in [
        ("GET", path.clone()),
        ("PATCH", path.clone()),
        ("DELETE", path.clone()),
        ("POST", format!("{path}/rotate-key")),
        ("POST", format!("{path}/disconnect")),
        ("PUT", format!("{path}/cover-all")),
        ("DELETE", format!("{path}/cover-all")),
        ("GET", format!("{path}/sessions")),
        ("GET", format!("{path}/recordings")),
        ("GET", session.clone()),
    ] {
        ask(&eve, method, &path, json!({})).problem(404, "not_found");
        if method != "GET" {
            ask(&reader, method, &path, json!({})).problem(403, "missing_scope");
        }
    }
    let stop = json!({"channel_id": channel});
    ask(&eve, "POST", "/v1/live/stop", stop.clone()).problem(404, "not_found");
    ask(&reader, "POST", "/v1/live/stop", stop.clone()).problem(403, "missing_scope");
    let theirs = json!({"user": "mina"});
    ask(&eve, "POST", "/v1/live/start", theirs.clone()).problem(403, "missing_scope");
    ask(&reader, "POST", "/v1/live/start", theirs.clone()).problem(403, "missing_scope");
    assert_eq!(ask(&mina, "POST", "/v1/live/start", theirs).is(200).json()["state"], "exist");
    ask(&mina, "POST", "/v1/live/stop", stop).is(200);
    // The channel goes to eve, and mina's session does not.
    let next = ask(&eve, "POST", "/v1/live/start", json!({"user": "eve"})).is(200).json();
    assert_eq!(text(&next, "/channel_id"), channel);
    assert_ne!(next["destination_url"], started["destination_url"]);
    ask(&eve, "GET", &session, json!({})).problem(404, "not_found");
    ask(&mina, "GET", &session, json!({})).is(200);
    ask(&mina, "GET", &path, json!({})).problem(404, "not_found");
    let old = ask(&mina, "GET", &format!("{path}/sessions"), json!({})).is(200).json();
    assert_eq!(old["items"].as_array().unwrap().len(), 1);
}
