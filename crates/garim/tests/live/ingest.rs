//! What strangers, publishers and viewers that go too far do to the sockets of a real server, while somebody else is
//! live.

use std::fs::{read_dir, read_to_string, write};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::Scratch;
use crate::support::broadcast::{CLIP, LIVE, Publisher};
use crate::support::live::{Service, until};
use crate::support::processes::children;
use crate::support::rtmp::{
    AUDIO, COMMAND, Stranger, VIDEO, command, connected, handshake, header, message, publishing,
    text,
};
use crate::support::server::{Server, certificate};

/// A stranger is cut off after 10 s; the rest is for a busy machine.
const CUT_WITHIN: Duration = Duration::from_secs(15);
/// All that strangers may cost a server at once, in KiB, with the rest of what it does meanwhile.
const COSTS: u64 = 32 << 10;

/// A small picture, for where nobody looks at it.
fn make_clip(s: &Scratch, picture: &str, encoding: &str) {
    s.ffmpeg(&format!(
        "-f lavfi -i {picture} -f lavfi -i sine=440:sample_rate=48000 -t 6 -c:v libx264 -preset ultrafast \
         -pix_fmt yuv420p -g 30 -bf 0 {encoding} -c:a aac {CLIP}"
    ));
}

const SMALL: &str = "testsrc=size=320x240:rate=15";

/// A channel that was started.
struct Channel {
    id: String,
    /// Host and port for publishers.
    address: String,
    key: String,
    url: String,
    playlist: String,
}

impl Channel {
    fn start(service: &Service<'_>, user: &str) -> Self {
        let body = json!({"user": user});
        Self::of(&service.post("/v1/live/start", &body).is(200).json())
    }

    fn of(started: &Value) -> Self {
        let url = started["source_url"].as_str().unwrap();
        let (_, rest) = url.split_once("://").unwrap();
        let parts: Vec<&str> = rest.split('/').collect();
        let live = started["destination_url"]["live"].as_str().unwrap();
        let live = &live[live.find("/live/").unwrap()..];
        Self {
            id: started["channel_id"].as_str().unwrap().to_owned(),
            address: parts[0].to_owned(),
            key: parts[2].to_owned(),
            url: url.to_owned(),
            playlist: live.replace("index.m3u8", "media.m3u8"),
        }
    }

    fn until_connected(&self, server: &Server) {
        let path = format!("/v1/channels/{}", self.id);
        until(|| match server.get(&path).is(200).json()["ingest"]["state"].as_str() {
            Some("connected") => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Segments that there were so far.
    fn segments(&self, server: &Server) -> usize {
        let answer = server.get(&self.playlist);
        if answer.status == 404 {
            return 0; // Nothing was sent yet.
        }
        let playlist = answer.is(200).body;
        let first = playlist.lines().find_map(|l| l.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
        first.unwrap().parse::<usize>().unwrap() + playlist.matches("#EXTINF:").count()
    }

    fn until_more(&self, server: &Server, segments: usize) {
        let end = self.segments(server) + segments;
        until(|| match self.segments(server) {
            n if n >= end => Ok(()),
            n => Err(format!("{n} segments of {end}")),
        });
    }

    /// What was told of its publisher, oldest first.
    fn told(&self, server: &Server) -> Vec<String> {
        let events = server.get("/v1/events").is(200).json();
        let events = events["items"].as_array().unwrap().iter();
        let own = events.filter(|event| event["data"]["channel"] == self.id.as_str());
        let kinds = own.map(|event| event["type"].as_str().unwrap());
        kinds.filter_map(|kind| kind.strip_prefix("garim.ingest.")).map(str::to_owned).collect()
    }
}

/// Memory of a process now (VmRSS) or at most (VmHWM), in KiB: proc(5).
fn memory(process: u32, what: &str) -> u64 {
    let status = read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().unwrap()
}

/// What a process used at most from here on, more than now.
struct Growth(u32, u64);

impl Growth {
    fn of(process: u32) -> Self {
        // The peak is that from now on.
        write(format!("/proc/{process}/clear_refs"), "5").unwrap();
        Self(process, memory(process, "VmRSS"))
    }

    fn kib(&self) -> u64 {
        memory(self.0, "VmHWM").saturating_sub(self.1)
    }
}

fn open_files(process: u32) -> usize {
    read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

fn garbage() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..1 << 20).map(|_| next()).collect()
}

/// What is sent at once, by somebody without a key.
fn attacks() -> Vec<(&'static str, Vec<u8>)> {
    let after = |bytes: Vec<u8>| [connected(), bytes].concat();
    let nested = [&b"\x02\0\x01x\0\0\0\0\0\0\0\0\0"[..], &b"\x03\0\x01a".repeat(12_500)].concat();
    let streams = (64..4064).flat_map(|n| [header(n, COMMAND, 1000), vec![1; 128]].concat());
    vec![
        ("nothing", Vec::new()),
        ("garbage", garbage()),
        ("garbage that begins like RTMP", [vec![3], garbage()].concat()),
        ("garbage after the handshake", [handshake(), garbage()].concat()),
        ("HTTP", b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("half a handshake", handshake()[..2000].to_vec()),
        ("a handshake", handshake()),
        ("no publish", connected()),
        ("AMF in AMF", after(message(COMMAND, &nested))),
        ("a message of 16 MB", after([header(4, COMMAND, 0xff_ffff), vec![0; 16 << 20]].concat())),
        ("chunk streams", [handshake(), streams.collect()].concat()),
        ("an empty command", after(message(COMMAND, &[]))),
        ("a short command", after(message(COMMAND, &[2, 0]))),
        ("empty media", after(message(VIDEO, &[]))),
        ("media before connect", [handshake(), message(AUDIO, &[0xaf, 1, 1])].concat()),
        ("media before publish", after(header(4, VIDEO, 4 << 20))),
        ("play", after(command("play", &[]))),
        ("a wrong key", publishing("live_nobody")),
    ]
}

/// What somebody with a key does, one after the other.
fn misuse(channel: &Channel) -> Vec<(&'static str, Duration)> {
    let then = |what, bytes: Vec<u8>| {
        let stranger = Stranger::come(&channel.address);
        let (open, said) = stranger.send(&[publishing(&channel.key), bytes].concat());
        assert!(said.contains("NetStream.Publish.Start"), "{what}: {said:?}");
        (what, open)
    };
    let large = [header(4, VIDEO, 0xff_ffff), vec![0; 16 << 20]].concat();
    let empty = [message(VIDEO, &[]), message(AUDIO, &[]), message(VIDEO, &[0x17, 1, 0, 0, 0])];
    vec![
        then("16 MB of media", large),
        then("cut off media", message(VIDEO, &[0x17, 1])),
        then("no H.264", message(VIDEO, &b"\x17\x01\0\0\0abcdefgh".repeat(1000))),
        then("another codec", message(VIDEO, &[0x22, 1, 2, 3])),
        then("garbage", garbage()),
        then("empty media, and then nothing", empty.concat().repeat(1000)),
    ]
}

#[test]
fn strangers_are_cut_off_and_harm_nobody() {
    let s = Scratch::new();
    make_clip(&s, SMALL, "");
    let service = Service::start(&s, LIVE);
    let server = &service.server;
    let good = Channel::start(&service, "admin");
    let bad = Channel::start(&service, "mallory");
    let _publisher = Publisher::start(&s, &good.url);
    good.until_connected(server);
    good.until_more(server, 2);
    let (growth, files) = (Growth::of(server.id()), open_files(server.id()));
    let segments = good.segments(server);

    let attacks = attacks();
    let address = good.address.as_str();
    thread::scope(|scope| {
        for (what, bytes) in attacks.iter().flat_map(|attack| [attack; 4]) {
            scope.spawn(move || {
                let (open, said) = Stranger::come(address).send(bytes);
                assert!(open < CUT_WITHIN, "{what}: it was open for {open:?}");
                assert!(!said.contains("NetStream.Publish.Start"), "{what}");
            });
        }
        scope.spawn(|| {
            let open = Stranger::come(address).drip(&publishing(&good.key));
            assert!(open < CUT_WITHIN, "a slow one was open for {open:?}");
        });
        scope.spawn(|| {
            // Few answers at once are not too many, and nobody reads them.
            let again = command("x", &text(&"a".repeat(1000))).repeat(100);
            let open = Stranger::come(address).deaf(&connected(), &again);
            assert!(open < CUT_WITHIN, "a deaf one was open for {open:?}");
        });
        scope.spawn(|| {
            for (what, open) in misuse(&bad) {
                assert!(open < CUT_WITHIN, "{what}: it was open for {open:?}");
            }
        });
    });

    let grown = growth.kib();
    println!("the server grew by {grown} KiB");
    assert!(grown < COSTS, "the server grew by {grown} KiB");
    assert!(good.segments(server) >= segments + 3, "its viewers go on");
    assert_eq!(good.told(server), ["connected"], "it was never away");
    good.until_more(server, 2);
    until(|| match open_files(server.id()) {
        n if n <= files => Ok(()),
        n => Err(format!("{n} files are open, of {files} before")),
    });
}

#[test]
fn idle_connections_keep_no_publisher_out() {
    let s = Scratch::new();
    make_clip(&s, SMALL, "");
    let service = Service::start(&s, LIVE);
    let channel = Channel::start(&service, "admin");
    let began = Instant::now();
    let idle: Vec<Stranger> = (0..300).map(|_| Stranger::come(&channel.address)).collect();
    let open = || idle.iter().filter(|stranger| stranger.is_open()).count();
    // As many as there is room for.
    until(|| match open() {
        128 => Ok(()),
        n => Err(format!("{n} are open")),
    });
    let _publisher = Publisher::start(&s, &channel.url);
    channel.until_connected(&service.server);
    assert_eq!(open(), 127, "one of them made way");
    until(|| match open() {
        0 => Ok(()),
        n => Err(format!("{n} are open")),
    });
    assert!(began.elapsed() < CUT_WITHIN, "they were open for {:?}", began.elapsed());
    channel.until_more(&service.server, 1);
    assert_eq!(channel.told(&service.server), ["connected"]);
}

#[test]
fn a_publisher_at_ten_times_the_bit_rate_is_bounded() {
    let s = Scratch::new();
    let rate = "-b:v 40M -minrate 40M -maxrate 40M -bufsize 8M";
    make_clip(&s, "color=gray:size=640x360:rate=25,noise=alls=100:allf=t+u", rate);
    assert!(s.read(CLIP).len() > 20 << 20, "it is a heavy one");
    let service = Service::start(&s, LIVE);
    let server = &service.server;
    let channel = Channel::start(&service, "admin");
    let child = children(server.id())[0];
    let growth = Growth::of(server.id());
    let publisher = Publisher::start(&s, &channel.url);
    channel.until_connected(server);
    channel.until_more(server, 5);
    let (grown, used) = (growth.kib(), memory(child, "VmHWM"));
    println!("the server grew by {grown} KiB, the child used {used} KiB at most");
    // Of what was sent, only what waits for the child; and of what came back, the playlist.
    assert!(grown < 64 << 10, "the server grew by {grown} KiB");
    assert!(used < 512 << 10, "the child used {used} KiB");
    assert_eq!(children(server.id()), [child], "it is the same child");
    drop(publisher);
    channel.until_more(server, 1);
}

#[test]
fn a_second_publisher_is_told_of_now_and_then() {
    let s = Scratch::new();
    make_clip(&s, SMALL, "");
    let service = Service::start(&s, LIVE);
    let server = &service.server;
    let channel = Channel::start(&service, "admin");
    let _publisher = Publisher::start(&s, &channel.url);
    channel.until_connected(server);
    let began = Instant::now();
    let rejected = || channel.told(server).iter().filter(|kind| *kind == "rejected").count();
    let mut tries = 0;
    until(|| {
        let (_, said) = Stranger::come(&channel.address).send(&publishing(&channel.key));
        assert!(said.contains("NetStream.Publish.BadName"), "{said:?}");
        tries += 1;
        // The second one.
        if rejected() == 2 { Ok(()) } else { Err(format!("of {tries} tries")) }
    });
    assert!(began.elapsed() > Duration::from_secs(9) && tries > 2, "{tries} tries");
    let shown = server.get(&format!("/v1/channels/{}", channel.id)).is(200).json();
    assert_eq!(shown["ingest"]["state"], "connected", "{shown:#}");
    let event = service.event("ingest.rejected");
    assert!(event["reason"].as_str().unwrap().contains("already"), "{event:#}");
}

#[test]
fn a_publisher_whose_codec_is_not_taken_is_told_of() {
    // FLV E.4.2.1, and the enhanced header of E-RTMP.
    let codecs = [
        ("HEVC", message(VIDEO, b"\x90hvc1\x01\x01\x60\0\0")),
        ("MP3", message(AUDIO, b"\x2f\xff\xfb\x90\0")),
    ];
    for (codec, bytes) in codecs {
        let s = Scratch::new();
        let service = Service::start(&s, LIVE);
        let channel = Channel::start(&service, "admin");
        let stranger = Stranger::come(&channel.address);
        let (_, said) = stranger.send(&[publishing(&channel.key), bytes].concat());
        assert!(said.contains("NetStream.Publish.Rejected") && said.contains(codec), "{said:?}");
        until(|| match channel.told(&service.server) {
            told if told == ["connected", "rejected", "disconnected"] => Ok(()),
            told => Err(format!("{codec}: {told:?}")),
        });
        let event = service.event("ingest.rejected");
        let reason = event["reason"].as_str().unwrap();
        assert!(reason.starts_with(codec) && reason.contains("set the encoder to"), "{event:#}");
    }
}

/// A viewer who asks for all of this in one go, and does what viewers should not.
fn viewer(address: SocketAddr, paths: &[String]) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    let ask = |path: &String| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    // One that goes away is not told that it does not matter.
    let _ = socket.write_all(paths.iter().map(ask).collect::<String>().as_bytes());
    socket
}

#[test]
fn viewers_who_do_not_read_or_go_away_harm_nobody() {
    let s = Scratch::new();
    let rate = "-b:v 3M -minrate 3M -maxrate 3M -bufsize 1M";
    make_clip(&s, "color=gray:size=640x360:rate=25,noise=alls=100:allf=t+u", rate);
    let service = Service::start(&s, LIVE);
    let server = &service.server;
    let channel = Channel::start(&service, "admin");
    let _publisher = Publisher::start(&s, &channel.url);
    channel.until_connected(server);
    channel.until_more(server, 3);
    let playlist = server.get(&channel.playlist).is(200).body;
    let folder = channel.playlist.strip_suffix("media.m3u8").unwrap();
    let segments = playlist.lines().filter(|line| !line.starts_with('#') && line.contains("seg"));
    let segments: Vec<String> = segments.map(|name| format!("{folder}{name}")).collect();
    let size = service.fetch(segments.last().unwrap(), None).1.len();
    assert!(size > 300_000, "a segment of {size} bytes fits what is between a server and a viewer");
    let next = format!("{}?_HLS_msn={}", channel.playlist, channel.segments(server) + 1);
    let (growth, files) = (Growth::of(server.id()), open_files(server.id()));

    let all = segments.iter().cycle().take(40).cloned().collect::<Vec<_>>();
    let idle: Vec<TcpStream> = (0..200)
        .map(|n| match n % 3 {
            // Twelve megabytes that are never read.
            0 => viewer(server.address, &all),
            // Who waits for what is to come, and does not read it either.
            1 => viewer(server.address, std::slice::from_ref(&next)),
            _ => viewer(server.address, &[next.clone(), segments[0].clone()]),
        })
        .collect();
    let (mut parts, mut gone) = (0, 0);
    let mut longest = Duration::ZERO;
    let end = channel.segments(server) + 3;
    while channel.segments(server) < end {
        // As many go away in the middle of an answer as there are parts.
        drop(viewer(server.address, &[segments[0].clone(), next.clone()]));
        gone += 1;
        let began = Instant::now();
        let ask = format!("{}?_HLS_msn={}", channel.playlist, channel.segments(server));
        assert_eq!(service.fetch(&ask, None).0, 200);
        longest = longest.max(began.elapsed());
        parts += 1;
    }
    let grown = growth.kib();
    println!("{parts} times something new after {longest:?} at most; it grew by {grown} KiB");
    println!("{gone} viewers were gone");
    assert!(longest < Duration::from_secs(4), "a segment took {longest:?}");
    assert!(grown < 64 << 10, "the server grew by {grown} KiB");
    assert_eq!(channel.told(server), ["connected"]);
    drop(idle);
    until(|| match open_files(server.id()) {
        n if n <= files => Ok(()),
        n => Err(format!("{n} files are open, of {files} before")),
    });
}

#[test]
fn with_a_certificate_publishers_speak_rtmps_and_viewers_http_2() {
    let s = Scratch::new();
    make_clip(&s, SMALL, "");
    let trusted = certificate(&s);
    let settings = "[tls]\ncertificate = 'cert.pem'\nkey = 'key.pem'\n[live]\ntls_listen = '127.0.0.1:0'\nslots = 1\n";
    let server = Server::start_with(&s, settings, &[], |client| client.tls_certs_only([trusted]));
    let ask = server.ask("POST", "/v1/live/start").key(&server.admin);
    let channel = Channel::of(&ask.json(&json!({"user": "admin"})).send().is(200).json());
    assert!(channel.url.starts_with("rtmps://127.0.0.1:"), "{}", channel.url);
    let _publisher = Publisher::start(&s, &channel.url);
    channel.until_connected(&server);
    channel.until_more(&server, 1);

    // One connection waits for the segment under way, and gets it.
    let next = channel.segments(&server);
    let playlist = server.get(&format!("{}?_HLS_msn={next}", channel.playlist)).is(200);
    assert_eq!(playlist.version, "HTTP/2.0");
    assert!(channel.segments(&server) > next);
    let segment = playlist.body.lines().rfind(|line| line.ends_with(".m4s")).unwrap();
    let (folder, _) = channel.playlist.rsplit_once('/').unwrap();
    let segment = server.get(&format!("{folder}/{segment}")).is(200);
    assert_eq!((&*segment.version, segment.header("content-type")), ("HTTP/2.0", "video/mp4"));

    // Who speaks no TLS is sent away, and who says nothing is cut off.
    let (open, said) = Stranger::come(&channel.address).send(&publishing(&channel.key));
    assert!(open < CUT_WITHIN && !said.contains("NetStream"), "{said:?}");
    let (open, _) = Stranger::come(&channel.address).send(&[]);
    assert!(open < CUT_WITHIN, "it was open for {open:?}");
    assert_eq!(channel.told(&server), ["connected"]);
}
