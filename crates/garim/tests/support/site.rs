//! A server and two workers on one database that are killed at random and started again, and clients that put up
//! with it.

use std::collections::HashMap;
use std::sync::RwLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use serde_json::{Value, json};

use super::Scratch;
use super::live::{Service, until};
use super::processes::Worker;
use super::server::{Answer, Ask, Server, signal};

/// Somebody, one of three, is killed as many milliseconds after the one before, at least and at most. A job takes about
/// one second: many are hit, and none as often as it may be tried.
const PAUSE: (u64, u64) = (500, 2000);
/// A job that its worker was killed over is another's after five seconds, the least there is; and is tried as often
/// as can be.
const JOBS: &str = "[limits]\nrequests_per_second = 100000\nburst = 100000\n\
     [jobs]\nworkers = 1\nlease_seconds = 5\nattempts = 20\n";

/// Numbers by which a run can be repeated (SplitMix64, <https://doi.org/10.1145/2660193.2660195>).
pub struct Seeded(pub u64);

impl Seeded {
    /// At least `from` and less than `to`.
    fn within(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + (z ^ (z >> 31)) % (to - from)
    }
}

/// All of it.
pub struct Site<'a> {
    s: &'a Scratch,
    settings: String,
    /// Read by who asks, and by who kills it meanwhile; written when it is started again.
    service: RwLock<Service<'a>>,
    workers: RwLock<Vec<Worker<'a>>>,
}

impl<'a> Site<'a> {
    /// `settings` say where the database is; nothing: SQLite.
    pub fn start(s: &'a Scratch, settings: &str) -> Self {
        let settings = format!("{settings}{JOBS}");
        let service = RwLock::new(Service::start_as(s, &settings));
        let workers = ["a", "b"].map(|name| Worker::start(s, name)).into();
        Self { s, settings, service, workers: RwLock::new(workers) }
    }

    /// Kills one after the other until `over` is closed. Gives how often.
    pub fn kill(&self, mut numbers: Seeded, over: Receiver<()>) -> u32 {
        let mut killed = 0;
        loop {
            let pause = Duration::from_millis(numbers.within(PAUSE.0, PAUSE.1));
            match over.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return killed,
            }
            match numbers.within(0, 3) {
                0 => self.kill_server(),
                1 => self.kill_worker(0, "a"),
                _ => self.kill_worker(1, "b"),
            }
            killed += 1;
        }
    }

    fn kill_server(&self) {
        // While others read: it dies over their requests.
        signal(self.service.read().unwrap().server.id(), "KILL");
        let mut service = self.service.write().unwrap();
        let admin = std::mem::take(&mut service.server.admin);
        *service = Service::start_as(self.s, &self.settings);
        service.server.admin = admin;
    }

    fn kill_worker(&self, which: usize, name: &str) {
        let mut workers = self.workers.write().unwrap();
        workers[which].signal("KILL");
        workers[which] = Worker::start(self.s, name);
    }

    /// What the server answers once it is there.
    pub fn ask(&self, ask: impl for<'x> Fn(&'x Server) -> Ask<'x>) -> Answer {
        until(|| {
            let service = self.service.read().unwrap();
            match ask(&service.server).key(&service.server.admin).try_send() {
                Ok(answer) if answer.status == 503 => Err(format!("{answer:?}")),
                Ok(answer) => Ok(answer),
                Err(error) => Err(format!("{error:?}")),
            }
        })
    }

    pub fn get(&self, path: &str) -> Value {
        self.ask(|server| server.ask("GET", path)).is(200).json()
    }

    /// Everything of a list that comes in pages.
    pub fn all(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut next = format!("{path}?limit=200");
        loop {
            let page = self.get(&next);
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { return items };
            next = format!("{path}?limit=200&cursor={cursor}");
        }
    }

    pub fn events(&self) -> Vec<Value> {
        let (mut events, mut after) = (Vec::new(), 0);
        loop {
            let page = self.get(&format!("/v1/events?after={after}"));
            let items = page["items"].as_array().unwrap();
            if items.is_empty() {
                return events;
            }
            events.extend(items.iter().cloned());
            after = page["last"].as_i64().unwrap();
        }
    }

    /// What happened so, and how often, by what `of` it is about.
    pub fn counted(&self, kind: &str, of: &str) -> HashMap<String, u32> {
        let mut counts = HashMap::new();
        for event in self.events().iter().filter(|e| e["type"] == format!("garim.{kind}")) {
            *counts.entry(event["data"][of].as_str().unwrap().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Uploads a file, has it covered, and waits for the end of that. Gives the job.
    pub fn cover(&self, number: u32, file: &[u8]) -> Value {
        let video = self.upload(number, file);
        let path = self.order(number, &video);
        until(|| {
            let job = self.get(&path);
            let over = ["done", "failed", "cancelled"];
            let is_over = over.contains(&job["state"]["name"].as_str().unwrap());
            if is_over { Ok(job) } else { Err(format!("{job:#}")) }
        })
    }

    /// Sends a file in pieces, as much as the server has not, until it has all of it. Gives the id of the video.
    fn upload(&self, number: u32, file: &[u8]) -> String {
        // Another upload than one that may have been begun: nobody goes on with that, and it expires.
        let upload = self.post(
            &format!("upload {number}"),
            |server| {
                let ask = server.ask("POST", "/v1/uploads").header("Tus-Resumable", "1.0.0");
                ask.header("Upload-Length", &file.len().to_string())
            },
            || None,
        );
        loop {
            let head = self
                .ask(|server| server.ask("HEAD", &upload).header("Tus-Resumable", "1.0.0"))
                .is(200);
            let start: usize = head.header("upload-offset").parse().unwrap();
            if start == file.len() {
                return upload.rsplit('/').next().unwrap().to_owned();
            }
            let end = file.len().min(start + file.len() / 2);
            // What came of it, the server is asked.
            let _ = self.service.read().unwrap().try_append(&upload, start, &file[start..end]);
        }
    }

    /// Orders that a video is covered. Gives the path of the job.
    fn order(&self, number: u32, video: &str) -> String {
        let tag = format!("cover {number}");
        let body = json!({"tag": tag, "options": {"preset": "ultrafast"}});
        let path = format!("/v1/videos/{video}/mosaic");
        self.post(
            &tag,
            |server| server.ask("POST", &path).json(&body),
            || {
                let jobs = self.get(&format!("/v1/jobs?video={video}"));
                let job =
                    jobs["items"].as_array().unwrap().iter().find(|job| job["tag"] == *tag)?;
                Some(format!("/v1/jobs/{}", job["id"].as_str().unwrap()))
            },
        )
    }

    /// Sends a request until it is answered, and gives where that says that what it made is. When the server died over
    /// it, nobody answers to its key for ten minutes: then `made` looks whether it was done, and if not it is a new
    /// request.
    fn post(
        &self,
        name: &str,
        ask: impl for<'x> Fn(&'x Server) -> Ask<'x>,
        made: impl Fn() -> Option<String>,
    ) -> String {
        for attempt in 0.. {
            let key = format!("{name}, {attempt}");
            let answer = self.ask(|server| ask(server).header("Idempotency-Key", &key));
            if answer.status < 300 {
                return answer.header("location").to_owned();
            }
            answer.problem(409, "request_underway");
            if let Some(location) = made() {
                return location;
            }
        }
        unreachable!()
    }

    /// Saves the published video as a file of the test.
    pub fn watch(&self, video: &Value, name: &str) {
        self.service.read().unwrap().watch(video, name);
    }

    /// Ends all processes as an administrator does: each exits with 0.
    pub fn stop(self) {
        for worker in self.workers.into_inner().unwrap() {
            worker.signal("TERM");
            assert_eq!(worker.end(), Some(0));
        }
        let (code, _, log) = self.service.into_inner().unwrap().server.stop();
        assert_eq!(code, Some(0), "{log}");
    }
}
