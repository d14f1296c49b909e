//! What a service does while its database or its storage is away, and afterwards: it says so, loses nothing, and
//! finishes what was under way.
//!
//! PostgreSQL and S3 are those of `cargo xtask servers`, behind a line that the test cuts. Without them a test says so
//! and does nothing, or fails where GARIM_TEST_REQUIRED is set. GARIM_TEST_OUTAGE is how many seconds they are away.

use std::io::{BufRead, BufReader};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use serde_json::{Value, json};
use url::Url;

use crate::support::broadcast::{Publisher, Seen, Sight, Viewer, make_clip, start};
use crate::support::live::{HER_FACE, HIS_FACE, Service, two_people, until};
use crate::support::{Scratch, tool};

/// The address of one of the servers that tests need.
fn test_server(variable: &str) -> Option<Url> {
    if let Ok(url) = std::env::var(variable) {
        return Some(url.parse().unwrap());
    }
    let required = std::env::var_os("GARIM_TEST_REQUIRED").is_some();
    assert!(!required, "{variable} is not set, and GARIM_TEST_REQUIRED is");
    eprintln!("SKIPPED: {variable} is not set: run this under `cargo xtask servers`");
    None
}

/// How long a server is away: longer than a lease of these tests, and than a job is tried that fails.
fn outage() -> Duration {
    let seconds = std::env::var("GARIM_TEST_OUTAGE").ok().map(|text| text.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// A line to a server that can be cut: `None` for its ends says that it is.
struct Line {
    address: SocketAddr,
    ends: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Line {
    fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ends = Arc::new(Mutex::new(Some(Vec::new())));
        let known = Arc::clone(&ends);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // One that is not taken is closed at once.
                let mut known = known.lock().unwrap();
                let Some(open) = known.as_mut() else { continue };
                let server = TcpStream::connect(&server).unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                open.extend([client, server]);
            }
        });
        Self { address, ends }
    }

    fn cut(&self) {
        for end in self.ends.lock().unwrap().take().unwrap_or_default() {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        *self.ends.lock().unwrap() = Some(Vec::new());
    }
}

/// Uploads a video and has it covered; gives its id and the job, which is being done.
fn covering(service: &Service, file: &[u8]) -> (String, Value) {
    let video = service.upload(file, "");
    let path = format!("/v1/videos/{video}/mosaic");
    let job = service.post(&path, &json!({"options": {"crf": 12.0}})).is(202).json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    service.wait(&path, |job| job["state"]["name"] == "running");
    (video, job)
}

/// The job ends well, and its video is published once, with both people covered.
fn is_finished(s: &Scratch, service: &Service, video: &str, job: &Value) {
    let job = service.over(job);
    assert_eq!(job["state"]["name"], "done", "{job:#}");
    let versions = service.get(&format!("/v1/videos/{video}/versions")).is(200).json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 1, "{versions:#}");
    let video = service.get(&format!("/v1/videos/{video}")).is(200).json();
    service.watch(&video, "out.mp4");
    s.assert_covered("in.mp4", "out.mp4", HER_FACE);
    s.assert_covered("in.mp4", "out.mp4", HIS_FACE);
    assert_eq!(service.get("/v1/audit/verify").is(200).json()["whole"], true);
}

/// Asks until the server is ready.
fn until_ready(service: &Service) {
    until(|| match service.server.ask("GET", "/readyz").send() {
        answer if answer.status == 200 => Ok(()),
        answer => Err(format!("{answer:#?}")),
    });
}

/// Writes to the SQLite database of `s`, in another process, until it is dropped.
struct Writing(Child);

impl Writing {
    fn begin(s: &Scratch) -> Self {
        let script = "import sqlite3, sys\n\
             c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n\
             c.execute('BEGIN IMMEDIATE')\n\
             print('writing', flush=True)\n\
             sys.stdin.read()\n";
        let mut python = Command::new("python3");
        python.args(["-c", script]).arg(s.path("data/garim.db"));
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "writing\n");
        Self(child)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_short_write_of_another_process_is_waited_for() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let writing = Writing::begin(&s);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| service.begin(100, ""));
        // Reading goes on meanwhile, and nothing is decided before the other one is done.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            let videos = service.get("/v1/videos").is(200).json();
            assert_eq!(videos["items"], json!([]));
            assert!(!asked.is_finished());
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(writing);
        let upload = asked.join().unwrap();
        assert_eq!(service.offset(&upload), 0);
    });
}

#[test]
fn a_database_that_another_process_keeps_is_a_problem_that_passes() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let service = Service::start(&s, "");
    let upload = service.begin(1000, "");
    let (video, job) = covering(&service, &file);
    let writing = Writing::begin(&s);
    let refused = service.append(&upload, 0, &[7; 1000]).problem(503, "unavailable");
    assert_ne!(refused.header("retry-after"), "");
    service.server.ask("GET", "/healthz").send().is(200);
    let shown = service.get(&format!("/v1/videos/{video}")).is(200).json();
    assert_eq!(shown["state"], "stored");
    assert_eq!(service.offset(&upload), 0, "nothing is said to be there that is not");
    drop(writing);
    until(|| match service.append(&upload, service.offset(&upload), &[7; 1000]) {
        answer if answer.status == 204 => Ok(()),
        answer => Err(format!("{answer:#?}")),
    });
    is_finished(&s, &service, &video, &job);
}

/// An upload of 1000 bytes of which 400 are there; gives its path.
fn half_uploaded(service: &Service) -> String {
    let upload = service.begin(1000, "");
    service.append(&upload, 0, &[7; 400]).is(204);
    upload
}

/// A database of its own, behind a line that can be cut.
fn postgres() -> Option<(Line, Url)> {
    let mut url = test_server("GARIM_TEST_POSTGRES")?;
    let name = format!("outage_{}", uuid::Uuid::now_v7().simple());
    let mut create = Command::new("psql");
    create.arg(url.as_str()).args(["-q", "-c", &format!("CREATE DATABASE {name}")]);
    tool(create);
    let line = Line::to(format!("{}:{}", url.host_str().unwrap(), url.port().unwrap()));
    url.set_port(Some(line.address.port())).unwrap();
    url.set_path(&name);
    Some((line, url))
}

#[test]
fn postgres_that_is_away_for_a_while_loses_nothing() {
    let Some((line, url)) = postgres() else { return };
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let service = Service::start_with(&s, "", &[("GARIM_DATABASE_URL", url.as_str())]);
    let upload = half_uploaded(&service);
    let (video, job) = covering(&service, &file);
    line.cut();
    let begun = Instant::now();
    while begun.elapsed() < outage() {
        let refused = service.get("/v1/videos").problem(503, "unavailable");
        assert_ne!(refused.header("retry-after"), "");
        service.append(&upload, 400, &[7; 600]).problem(503, "unavailable");
        service.server.ask("GET", "/readyz").send().problem(503, "unavailable");
        service.server.ask("GET", "/healthz").send().is(200);
    }
    line.mend();
    until_ready(&service);
    assert_eq!(service.offset(&upload), 400);
    service.append(&upload, 400, &[7; 600]).is(204);
    is_finished(&s, &service, &video, &job);
}

#[test]
fn a_broadcast_goes_on_while_postgres_is_away_and_after_ten_seconds_nobody_is_shown() {
    let Some((line, url)) = postgres() else { return };
    let s = Scratch::new();
    make_clip(&s);
    let settings = "[live]\nlisten = \"127.0.0.1:0\"\nslots = 1\n";
    let service = Service::start_with(&s, settings, &[("GARIM_DATABASE_URL", url.as_str())]);
    service.enrol_man();
    let started = start(&service, Some("shop"));
    let mut viewer = Viewer::of(&s, &started);
    let source = started["source_url"].as_str().unwrap();
    let publisher = Publisher::start(&s, source);
    let shown = |seen: &[Seen]| seen.iter().filter(|picture| picture.him == Sight::Face).count();
    let mut watch_until = |is: &dyn Fn(&[Seen]) -> bool| {
        let from = viewer.pictures.len();
        until(|| {
            viewer.look(&service);
            let seen = &viewer.pictures[from..];
            if is(seen) { Ok(()) } else { Err(format!("{} pictures", seen.len())) }
        });
    };
    watch_until(&|seen| shown(seen) >= 24);
    line.cut();
    // Two segments in which he is not: nobody could say that he still agrees.
    watch_until(&|seen| seen.len() >= 96 && shown(&seen[seen.len() - 96..]) == 0);
    drop(publisher);
    // The last picture again, then the slate.
    watch_until(&|seen| seen.len() >= 144);
    line.mend();
    // What happened meanwhile is told.
    service.event("ingest.disconnected");
    let _publisher = Publisher::start(&s, source);
    watch_until(&|seen| shown(seen) >= 24);
    service.event("ingest.reconnected");
    assert_eq!(viewer.leaks(), 0);
    assert_eq!(viewer.discontinuities, 1);
    let published: Vec<&Seen> = viewer.pictures.iter().filter(|seen| seen.published).collect();
    let times = published.windows(2).map(|two| two[1].at.duration_since(two[0].at));
    let longest = times.max().unwrap();
    assert!(longest < SignedDuration::from_millis(100), "pictures were missing: {longest:?}");
}

#[test]
fn s3_that_is_away_for_a_while_loses_nothing() {
    let Some(url) = test_server("GARIM_TEST_S3") else { return };
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let line = Line::to(format!("{}:{}", url.host_str().unwrap(), url.port().unwrap()));
    let bucket = url.path().trim_matches('/');
    let settings =
        format!("[objects]\nbucket = '{bucket}'\nendpoint = 'http://{}'\n", line.address);
    let password = url.password().unwrap();
    let keys = [("AWS_ACCESS_KEY_ID", url.username()), ("AWS_SECRET_ACCESS_KEY", password)];
    let service = Service::start_with(&s, &settings, &keys);
    let upload = half_uploaded(&service);
    let (video, job) = covering(&service, &file);
    line.cut();
    let begun = Instant::now();
    while begun.elapsed() < outage() {
        service.append(&upload, 400, &[7; 600]).problem(503, "unavailable");
        service.server.ask("GET", "/readyz").send().problem(503, "unavailable");
        service.server.ask("GET", "/healthz").send().is(200);
        // What is only in the database is known.
        service.get(&format!("/v1/videos/{video}")).is(200);
        assert_eq!(service.offset(&upload), 400);
    }
    line.mend();
    until_ready(&service);
    service.append(&upload, 400, &[7; 600]).is(204);
    is_finished(&s, &service, &video, &job);
}

/// A clock that a test sets: for a server that was started with `variables`, and its children.
struct Clock<'a> {
    s: &'a Scratch,
    library: String,
    file: String,
}

impl<'a> Clock<'a> {
    fn new(s: &'a Scratch) -> Self {
        let find = std::fs::read_dir("/usr/lib").unwrap().filter_map(|entry| {
            let library = entry.unwrap().path().join("faketime/libfaketimeMT.so.1");
            library.exists().then(|| library.to_str().unwrap().to_owned())
        });
        let library = find.last().expect("libfaketime is missing: run `scripts/setup.sh`");
        let clock = Self { s, library, file: s.path("clock").to_str().unwrap().to_owned() };
        clock.set("+0");
        clock
    }

    /// What there is to add to the right time: `-1h`.
    fn set(&self, shift: &str) {
        // Never half of it: it is read at any time.
        self.s.write("clock.new", shift);
        std::fs::rename(self.s.path("clock.new"), &self.file).unwrap();
    }

    fn variables(&self) -> [(&str, &str); 4] {
        [
            ("LD_PRELOAD", self.library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.as_str()),
            ("FAKETIME_NO_CACHE", "1"),
            // How much time passes is what it was.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}

#[test]
fn a_clock_that_jumps_loses_nothing() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let clock = Clock::new(&s);
    let service = Service::start_with(&s, "", &clock.variables());
    let upload = half_uploaded(&service);
    let seen = |service: &Service| service.get("/v1/events").is(200).json()["items"].clone();
    for shift in ["-3h", "+3h", "+0"] {
        let before = seen(&service).as_array().unwrap().len();
        let (video, job) = covering(&service, &file);
        clock.set(shift);
        is_finished(&s, &service, &video, &job);
        assert_eq!(service.offset(&upload), 400, "{shift}");
        let events = seen(&service);
        let events = events.as_array().unwrap();
        assert!(events.len() > before, "{shift}: {events:#?}");
    }
    service.append(&upload, 400, &[7; 600]).is(204);
    let told = |kind: &str| {
        let events = seen(&service);
        events.as_array().unwrap().iter().filter(|event| event["type"] == kind).count()
    };
    assert_eq!(told("garim.video.published"), 3, "each once");
    assert_eq!(service.get("/v1/audit/verify").is(200).json()["whole"], true);
}
