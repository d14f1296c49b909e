//! Viewers over real HTTP, of sessions that nobody publishes.

mod browser;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::live::hls::{Duration90k, Part, Playlist, Rendition, Settings};
use ::live::origin::{Origin, WAITING_LIMIT};
use ::live::{Desk, Shared, Spawn, Watched};
use axum::http::Method;
use bytes::Bytes;
use domain::{ChannelId, ServerId, SessionId, Size};
use jiff::{SignedDuration, Timestamp};
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{Client, Response};
use store::{KeySource, Location, NewChannel, NewLive, Objects, Place, Playback, Policy, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use crate::config::{Config, Overrides};
use crate::http::{App, router};
use crate::service::{Service, Staging};

/// For what must happen, and would not at all if something were wrong.
const SOON: Duration = Duration::from_secs(20);
/// A third of a second.
const PART: Duration90k = Duration90k(30_000);

struct Server {
    _data: tempfile::TempDir,
    address: SocketAddr,
    id: ServerId,
    store: Store,
    desk: Arc<Desk>,
    client: Client,
}

struct Show {
    channel: ChannelId,
    session: SessionId,
    origin: Arc<Origin>,
}

impl Server {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let data = tempfile::tempdir().unwrap();
        let overrides = Overrides { data: Some(data.path().to_owned()), ..Overrides::default() };
        let config = Config::load(overrides, || unreachable!()).unwrap();
        let (folder, key) = (data.path().to_owned(), KeySource::File(data.path().join("key")));
        let store = Store::open(&Location::Folder(folder.clone()), &key).await.unwrap();
        let objects = Objects::open(&Place::Folder(folder.join("objects"))).unwrap();
        let staging = Arc::new(Staging::open(&folder).unwrap());
        let service = Service { store: store.clone(), objects: objects.clone(), staging };
        let spawn = Spawn {
            command: Arc::new(|| std::process::Command::new("false")),
            task: Arc::new(|_| Vec::new()),
        };
        let largest = Size { width: 1280, height: 720 };
        let shared =
            Shared { store: store.clone(), objects, spawn, encoding: Default::default(), largest };
        let now = Timestamp::now();
        let id = ServerId::new(now.as_millisecond());
        let desk = Arc::new(Desk::new(shared, id, Default::default(), 9));
        store
            .offer_capacity(id, 9, &Default::default(), SignedDuration::from_hours(1), now)
            .await
            .unwrap();
        let prometheus = PrometheusBuilder::new().build_recorder().handle();
        let app = Arc::new(App::new(config, service, prometheus).showing(Arc::clone(&desk)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = router(&app).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        let client = Client::builder().timeout(SOON).build().unwrap();
        Self { _data: data, address, id, store, desk, client }
    }

    /// A session of a user, which is not shown yet.
    async fn begin(&self, user: &str, playback: Playback) -> (ChannelId, SessionId) {
        let now = Timestamp::now();
        let policy = Policy { playback, ..Policy::default() };
        let channel = NewChannel { policy, ..NewChannel::of(user, 9) };
        self.store.create_channel(&channel, now).await.unwrap();
        let live = NewLive { owner: user.to_owned(), collection: None, limit: 9 };
        let started = self.store.start_live(&live, "test", now).await.unwrap();
        (started.channel.id, started.session)
    }

    /// A session that is shown.
    async fn show(&self, user: &str, playback: Playback) -> Show {
        let (channel, session) = self.begin(user, playback).await;
        let settings = Settings::new(Duration90k(PART.0 * 6), PART);
        let origin = Arc::new(Origin::new(Playlist::new(settings, "1-").unwrap(), WAITING_LIMIT));
        self.desk.show(session, Watched { origin: Arc::clone(&origin), playback });
        let show = Show { channel, session, origin };
        show.origin.describe(rendition("avc1.64001f,mp4a.40.2")).unwrap();
        show.origin.map(Bytes::from_static(b"init"), Duration90k(PART.0 * 6)).unwrap();
        show
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.ask(Method::GET, path, headers).await
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
        let request =
            self.client.request(method, self.url(path)).header("origin", "https://a.example");
        let request = headers.iter().fold(request, |r, (name, value)| r.header(*name, *value));
        request.send().await.unwrap()
    }
}

fn rendition(codecs: &str) -> Rendition {
    Rendition { codecs: codecs.to_owned(), resolution: (1280, 720), frame_rate: (30, 1) }
}

impl Show {
    fn path(&self, name: &str) -> String {
        format!("/live/{}/{name}", self.session)
    }

    /// Part `n` of the session, of 1000 bytes.
    fn part(&self, n: u64) {
        self.part_of(n, 1000);
    }

    fn part_of(&self, n: u64, bytes: usize) {
        let after = SignedDuration::from_millis(i64::try_from(n * 1000 / 3).unwrap());
        let part = Part {
            media: vec![u8::try_from(n % 256).unwrap(); bytes].into(),
            duration: PART,
            independent: n.is_multiple_of(6),
            starts_segment: n.is_multiple_of(6),
            program_date_time: "2026-07-01T12:00:00Z".parse::<Timestamp>().unwrap() + after,
        };
        self.origin.part(part).unwrap();
    }

    async fn waiting(&self, count: usize) {
        let all = async {
            while self.origin.waiting() != count {
                yield_now().await;
            }
        };
        timeout(SOON, all).await.unwrap();
    }
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

const FOR_EVER: &str = "public, max-age=31536000, immutable";

#[tokio::test]
async fn a_player_finds_its_way_from_the_address_that_users_are_given() {
    let server = Server::start().await;
    let show = server.show("mina", Playback::Public).await;
    (0..8).for_each(|n| show.part(n));
    let index = server.get(&show.path("index.m3u8"), &[]).await;
    assert_eq!(index.status(), 200);
    assert_eq!(header(&index, "content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(header(&index, "cache-control"), "public, max-age=1");
    let text = index.text().await.unwrap();
    let line = "#EXT-X-STREAM-INF:BANDWIDTH=24000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,\
         FRAME-RATE=30.000\nmedia.m3u8\n";
    assert!(text.ends_with(line), "{text}");
    let media = server.get(&show.path("media.m3u8"), &[]).await;
    assert_eq!(header(&media, "cache-control"), "public, max-age=1");
    assert_eq!(header(&media, "vary"), "accept-encoding");
    let text = media.text().await.unwrap();
    let names = text.lines().filter_map(|line| match line.split_once("URI=\"") {
        Some((_, rest)) => rest.split('"').next(),
        None => (!line.starts_with('#')).then_some(line),
    });
    // The last one is the part that comes next.
    let names: Vec<_> = names.collect();
    assert!(names.len() > 9, "{text}");
    for name in &names[..names.len() - 1] {
        let media = server.get(&show.path(name), &[]).await;
        assert_eq!(media.status(), 200, "{name}");
        assert_eq!(header(&media, "cache-control"), FOR_EVER);
        assert_eq!(header(&media, "content-type"), "video/mp4");
        assert_eq!(header(&media, "accept-ranges"), "bytes");
        let length: usize = header(&media, "content-length").parse().unwrap();
        assert_eq!(media.bytes().await.unwrap().len(), length);
    }
}

#[tokio::test]
async fn every_page_may_read_every_answer() {
    let server = Server::start().await;
    let show = server.show("mina", Playback::Public).await;
    (0..8).for_each(|n| show.part(n));
    let other = SessionId::new(0);
    let signed = server.show("jun", Playback::Signed).await;
    signed.part(0);
    for (path, status) in [
        (show.path("index.m3u8"), 200),
        (show.path("media.m3u8"), 200),
        (show.path("1-seg-0.m4s"), 200),
        (show.path("1-seg-9.m4s"), 404),
        // A part of a server that had the session before.
        (show.path("0-seg-0.m4s"), 404),
        (show.path("seg-0.m4s"), 404),
        (show.path("a/b/c"), 404),
        (show.path("media.m3u8?_HLS_msn=9"), 400),
        (show.path("media.m3u8?_HLS_part=1"), 400),
        (show.path("0.00/media.m3u8"), 404),
        (signed.path("index.m3u8"), 403),
        (format!("/live/{other}/index.m3u8"), 404),
        ("/live/x/index.m3u8".to_owned(), 404),
        (format!("/watch/{}/state", show.channel), 200),
        (format!("/watch/{other}/state"), 404),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = server.ask(method.clone(), &path, &[]).await;
            assert_eq!(answer.status(), status, "{path}");
            assert_eq!(header(&answer, "access-control-allow-origin"), "*", "{path}");
            assert_eq!(header(&answer, "access-control-allow-credentials"), "", "{path}");
            assert!(!header(&answer, "vary").contains("origin"), "{path}");
            if status != 200 {
                assert_eq!(header(&answer, "content-type"), "application/problem+json", "{path}");
                assert_eq!(header(&answer, "cache-control"), "no-store", "{path}");
            }
            let body = answer.bytes().await.unwrap();
            assert_eq!(body.is_empty(), method == Method::HEAD, "{path}");
        }
        let asked =
            [("access-control-request-method", "GET"), ("access-control-request-headers", "range")];
        let preflight = server.ask(Method::OPTIONS, &path, &asked).await;
        assert_eq!(preflight.status(), 200, "{path}");
        assert_eq!(header(&preflight, "access-control-allow-origin"), "*");
        assert_eq!(header(&preflight, "access-control-allow-headers"), "*");
        assert_eq!(header(&preflight, "access-control-allow-methods"), "GET,HEAD");
        let post = server.ask(Method::POST, &path, &[]).await;
        assert_eq!(post.status(), 405, "{path}");
        assert_eq!(header(&post, "access-control-allow-origin"), "*");
    }
}

#[tokio::test]
async fn playlists_are_compressed_for_those_who_take_that() {
    let server = Server::start().await;
    let show = server.show("mina", Playback::Public).await;
    (0..60).for_each(|n| show.part(n));
    let path = show.path("media.m3u8");
    let zipped = show.origin.playlist("", true).await.body;
    let plain = show.origin.playlist("", false).await.body;
    assert!(zipped.len() * 3 < plain.len());
    for (takes, encoding) in [
        ("gzip", "gzip"),
        ("br, GZIP;q=0.5", "gzip"),
        ("br", ""),
        ("gzip;q=0", ""),
        ("gzip;q=0.0, identity", ""),
        ("", ""),
    ] {
        let answer = server.get(&path, &[("accept-encoding", takes)]).await;
        assert_eq!(header(&answer, "content-encoding"), encoding, "{takes}");
        assert_eq!(header(&answer, "vary"), "accept-encoding");
        let expected = if encoding == "gzip" { &zipped } else { &plain };
        assert_eq!(answer.bytes().await.unwrap(), expected, "{takes}");
    }
}

#[tokio::test]
async fn parts_of_segments_can_be_had() {
    let server = Server::start().await;
    let show = server.show("mina", Playback::Public).await;
    (0..6).for_each(|n| show.part_of(n, 40_000));
    let path = show.path("1-seg-0.m4s");
    for (range, status, content, length) in [
        ("bytes=0-0", 206, "bytes 0-0/240000", 1),
        ("bytes=39999-40000", 206, "bytes 39999-40000/240000", 2),
        ("bytes=100000-", 206, "bytes 100000-239999/240000", 140_000),
        ("bytes=-5", 206, "bytes 239995-239999/240000", 5),
        ("bytes=0-1,4-5", 200, "", 240_000),
        ("lines=1-2", 200, "", 240_000),
    ] {
        let answer = server.get(&path, &[("range", range)]).await;
        assert_eq!(answer.status(), status, "{range}");
        assert_eq!(header(&answer, "content-range"), content);
        assert_eq!(header(&answer, "cache-control"), FOR_EVER);
        assert_eq!(header(&answer, "content-length"), length.to_string());
        let bytes = answer.bytes().await.unwrap();
        assert_eq!(bytes.len(), length);
        if range == "bytes=39999-40000" {
            assert_eq!(bytes[..], [0, 1]);
        }
    }
    let answer = server.get(&path, &[("range", "bytes=240000-")]).await;
    assert_eq!(answer.status(), 416);
    assert_eq!(header(&answer, "content-range"), "bytes */240000");
}

/// Each on a connection of its own. Nothing that bounds callers of the API is in their way.
#[tokio::test]
async fn two_hundred_viewers_wait_for_a_part_and_all_get_it() {
    let server = Server::start().await;
    let show = server.show("mina", Playback::Public).await;
    (0..7).for_each(|n| show.part(n));
    let mut viewers = JoinSet::new();
    for n in 0..200 {
        let (playlist, part) = ("media.m3u8?_HLS_msn=1&_HLS_part=1", "1-part-1.1.m4s");
        let url = server.url(&show.path(if n % 2 == 0 { playlist } else { part }));
        let client = Client::builder().timeout(SOON).build().unwrap();
        viewers.spawn(async move {
            let answer = client.get(url).send().await.unwrap();
            (n, answer.status(), answer.bytes().await.unwrap())
        });
    }
    show.waiting(200).await;
    show.part(7);
    let playlist = show.origin.playlist("", false).await.body;
    while let Some(answer) = viewers.join_next().await {
        let (n, status, bytes) = answer.unwrap();
        assert_eq!(status, 200);
        assert_eq!(bytes, if n % 2 == 0 { playlist.clone() } else { vec![7; 1000].into() });
    }
    assert_eq!(show.origin.waiting(), 0);
}

#[tokio::test]
async fn who_does_not_read_is_in_nobodys_way() {
    let server = Server::start().await;
    let show = server.show("mina", Playback::Public).await;
    (0..6).for_each(|n| show.part_of(n, 1 << 20));
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", show.path("1-seg-0.m4s"));
        stream.write_all(request.as_bytes()).await.unwrap();
        // It is being answered.
        stream.read_exact(&mut [0; 100]).await.unwrap();
        slow.push(stream);
    }
    for n in 6..60 {
        show.part(n);
        let part = server.get(&show.path(&format!("1-part-{}.{}.m4s", n / 6, n % 6)), &[]).await;
        assert_eq!(
            (part.status(), part.bytes().await.unwrap().len()),
            (200.try_into().unwrap(), 1000)
        );
    }
}

#[tokio::test]
async fn who_goes_away_waits_no_longer() {
    let server = Server::start().await;
    let show = server.show("mina", Playback::Public).await;
    show.part(0);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", show.path("1-part-0.1.m4s"));
    stream.write_all(request.as_bytes()).await.unwrap();
    show.waiting(1).await;
    drop(stream);
    show.waiting(0).await;
}

#[tokio::test]
async fn a_signed_session_is_for_those_with_a_signature() {
    let server = Server::start().await;
    let show = server.show("mina", Playback::Signed).await;
    (0..8).for_each(|n| show.part(n));
    let expires = Timestamp::now().as_second() + 60;
    let signature = server.store.sign_session(show.session, expires);
    let query = format!("?expires={expires}&signature={signature}");
    let index =
        server.get(&show.path(&format!("index.m3u8{query}")), &[]).await.text().await.unwrap();
    let media = index.lines().last().unwrap();
    assert_eq!(media, format!("{expires}.{signature}/media.m3u8"));
    let folder = format!("{expires}.{signature}");
    for name in [
        "index.m3u8",
        "media.m3u8",
        "media.m3u8?_HLS_msn=1&_HLS_part=1",
        "1-init-0.mp4",
        "1-part-1.0.m4s",
    ] {
        let good = server.get(&show.path(&format!("{folder}/{name}")), &[]).await;
        assert_eq!(good.status(), 200, "{name}");
    }
    // The playlist names the same files to everybody.
    let text = server.get(&show.path(media), &[]).await.text().await.unwrap();
    assert!(text.contains("\n1-seg-0.m4s\n"), "{text}");
    let past = Timestamp::now().as_second() - 1;
    let expired = format!("{past}.{}", server.store.sign_session(show.session, past));
    let other = server.show("jun", Playback::Signed).await;
    let others = format!("{expires}.{}", server.store.sign_session(other.session, expires));
    let later = format!("{}.{signature}", expires + 1);
    for wrong in [&expired, &others, &later, "x", "1.2"] {
        for name in ["index.m3u8", "media.m3u8", "1-part-1.0.m4s", "1-part-9.9.m4s"] {
            let answer = server.get(&show.path(&format!("{wrong}/{name}")), &[]).await;
            assert_eq!(answer.status(), 403, "{wrong} {name}");
        }
    }
    for name in ["media.m3u8", "1-part-1.0.m4s", &format!("1-part-1.0.m4s{query}")] {
        assert_eq!(server.get(&show.path(name), &[]).await.status(), 403, "{name}");
    }
    // The page hands on what it was given.
    let state = format!("/watch/{}/state", show.channel);
    assert_eq!(server.get(&state, &[]).await.status(), 403);
    let view = server.get(&format!("{state}{query}"), &[]).await.text().await.unwrap();
    let view: serde_json::Value = serde_json::from_str(&view).unwrap();
    assert_eq!(view["live"], show.path(&format!("index.m3u8{query}")));
}

#[tokio::test]
async fn the_page_is_told_where_a_channel_is() {
    let server = Server::start().await;
    let now = Timestamp::now();
    let view = async |id: &str| -> serde_json::Value {
        let answer = server.get(&format!("/watch/{id}/state"), &[]).await;
        assert_eq!(header(&answer, "cache-control"), "no-store");
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    };
    let idle = server.store.create_channel(&NewChannel::of("idle", 9), now).await.unwrap();
    let told = view(&idle.id.to_string()).await;
    assert_eq!((&told["state"], &told["live"]), (&"waiting".into(), &serde_json::Value::Null));
    let (channel, session) = server.begin("mina", Playback::Public).await;
    for id in [channel.to_string(), session.to_string()] {
        let told = view(&id).await;
        assert_eq!(told["state"], "waiting");
        assert_eq!(told["live"], format!("/live/{session}/index.m3u8"));
        let keys: Vec<_> = told.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["live", "now", "recording", "session", "state", "vod"]);
    }
    // It runs on no server, so who asks for it here is told to try again.
    let answer = server.get(&format!("/live/{session}/index.m3u8"), &[]).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "retry-after")), (404, "2"));
    let later = now + SignedDuration::from_hours(2);
    server.store.give_up_starts(SignedDuration::ZERO, later).await.unwrap();
    assert_eq!(view(&session.to_string()).await["state"], "ended");
    assert_eq!(view(&channel.to_string()).await["session"], session.to_string());
    let answer = server.get(&format!("/live/{session}/index.m3u8"), &[]).await;
    assert_eq!(answer.status(), 410);
    assert!(answer.text().await.unwrap().contains("the session is over"));
}

#[tokio::test]
async fn the_page_and_what_it_needs_come_from_the_binary() {
    let server = Server::start().await;
    let page = server.get(&format!("/watch/{}", ChannelId::new(0)), &[]).await;
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    let policy = header(&page, "content-security-policy").to_owned();
    assert_eq!(header(&page, "referrer-policy"), "no-referrer");
    let text = page.text().await.unwrap();
    assert!(!text.contains("PAGE_") && !text.contains("HLS_VERSION"), "{text}");
    assert!(!text.contains("http"), "something comes from elsewhere");
    // What the policy allows is what the page has.
    for (start, end) in [("<style>", "</style>"), ("<script>", "</script>")] {
        let inside = text.split_once(start).unwrap().1.split_once(end).unwrap().0;
        use base64::Engine;
        use sha2::Digest;
        let hash = base64::prelude::BASE64_STANDARD.encode(sha2::Sha256::digest(inside));
        assert!(policy.contains(&format!("'sha256-{hash}'")), "{policy}");
    }
    let name = text.split_once("data-hls=\"").unwrap().1.split_once('"').unwrap().0;
    let plain = server.get(&format!("/watch/{name}"), &[]).await;
    assert_eq!(header(&plain, "cache-control"), FOR_EVER);
    assert_eq!(header(&plain, "content-type"), "text/javascript; charset=utf-8");
    let size = plain.bytes().await.unwrap().len();
    let zipped = server.get(&format!("/watch/{name}"), &[("accept-encoding", "gzip")]).await;
    assert_eq!(header(&zipped, "content-encoding"), "gzip");
    assert!(zipped.bytes().await.unwrap().len() * 3 < size);
    let licence = text.split_once("/watch/hls-").unwrap().1.split_once(' ').unwrap().0;
    let licence = server.get(&format!("/watch/hls-{licence}"), &[]).await.text().await.unwrap();
    assert!(licence.contains("Dailymotion") && licence.contains("TERMS AND CONDITIONS"));
}
