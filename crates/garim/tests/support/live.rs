//! A running service with real workers, and what tests do with it over HTTP.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Scratch;
use super::pixels::Rect;
use super::server::{Answer, Server};

/// In every frame of [`two_people`].
pub const HER_FACE: Rect = Rect { x: 150, y: 80, width: 80, height: 110 };
pub const HIS_FACE: Rect = Rect { x: 450, y: 85, width: 65, height: 90 };
/// No job of these tests takes longer.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Tests ask often.
const SETTINGS: &str =
    "[limits]\nrequests_per_second = 1000\nburst = 1000\n[jobs]\nlease_seconds = 5\n";

/// Two people side by side for a second, 640x240: she left of x = 320, he right of it.
pub fn two_people(s: &Scratch, name: &str) -> Vec<u8> {
    s.ffmpeg(&format!(
        "-ss 10 -t 1 -i @made/two_people.mp4 -vf scale=640:240 -c:v libx264 -preset ultrafast \
         -crf 14 -c:a copy {name}"
    ));
    s.read(name)
}

/// A server with what its first key may do.
pub struct Service<'a> {
    s: &'a Scratch,
    pub server: Server,
}

/// Asks again and again, because the server is another process, until there is an answer. The last reason why there
/// is none is that of the failure.
pub fn until<T>(mut ask: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(why) => assert!(begun.elapsed() < PATIENCE, "{why}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until there is no file or folder of this path.
pub fn until_gone(path: &Path, why: &str) {
    until(|| if path.exists() { Err(why.to_owned()) } else { Ok(()) });
}

impl<'a> Service<'a> {
    pub fn start(s: &'a Scratch, settings: &str) -> Self {
        Self::start_with(s, settings, &[])
    }

    /// `secrets` are variables of its environment.
    pub fn start_with(s: &'a Scratch, settings: &str, secrets: &[(&str, &str)]) -> Self {
        let settings = format!("{settings}{SETTINGS}");
        Self { s, server: Server::start_with(s, &settings, secrets, |client| client) }
    }

    /// With these settings and no others.
    pub fn start_as(s: &'a Scratch, settings: &str) -> Self {
        Self { s, server: Server::start(s, settings) }
    }

    /// `jobs` are settings of jobs.
    pub fn start_jobs(s: &'a Scratch, jobs: &str) -> Self {
        Self::start_as(s, &format!("{SETTINGS}{jobs}"))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.server.get(path)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.server.ask("POST", path).key(&self.server.admin).json(body).send()
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.server.ask("DELETE", path).key(&self.server.admin).send()
    }

    /// Begins an upload; gives its path.
    pub fn begin(&self, length: usize, metadata: &str) -> String {
        let ask = self.server.ask("POST", "/v1/uploads").key(&self.server.admin);
        let ask = ask.header("Tus-Resumable", "1.0.0").header("Upload-Length", &length.to_string());
        let ask = if metadata.is_empty() { ask } else { ask.header("Upload-Metadata", metadata) };
        ask.send().is(201).header("location").to_owned()
    }

    pub fn append(&self, upload: &str, offset: usize, bytes: &[u8]) -> Answer {
        self.try_append(upload, offset, bytes).unwrap()
    }

    pub fn try_append(&self, upload: &str, offset: usize, bytes: &[u8]) -> reqwest::Result<Answer> {
        let ask = self.server.ask("PATCH", upload).key(&self.server.admin);
        let ask = ask.header("Tus-Resumable", "1.0.0").header("Upload-Offset", &offset.to_string());
        ask.header("Content-Type", "application/offset+octet-stream")
            .body(bytes.to_vec())
            .try_send()
    }

    pub fn offset(&self, upload: &str) -> usize {
        let ask = self
            .server
            .ask("HEAD", upload)
            .key(&self.server.admin)
            .header("Tus-Resumable", "1.0.0");
        ask.send().is(200).header("upload-offset").parse().unwrap()
    }

    /// Uploads a file; gives the id of the video.
    pub fn upload(&self, bytes: &[u8], metadata: &str) -> String {
        let upload = self.begin(bytes.len(), metadata);
        self.append(&upload, 0, bytes).is(204);
        upload.rsplit('/').next().unwrap().to_owned()
    }

    /// Enrols the man of [`two_people`]; gives his id.
    pub fn enrol_man(&self) -> String {
        let photo = std::fs::read(self.s.path("@made/keep_man.jpg")).unwrap();
        self.enrol("Man", &photo).is(201).json()["id"].as_str().unwrap().to_owned()
    }

    pub fn enrol(&self, name: &str, photo: &[u8]) -> Answer {
        self.send_form("/v1/people", Form::of(name).photo(photo))
    }

    pub fn send_form(&self, path: &str, form: Form) -> Answer {
        self.send_form_as(&self.server.admin, path, form)
    }

    pub fn send_form_as(&self, key: &str, path: &str, form: Form) -> Answer {
        let ask = self.server.ask("POST", path).key(key);
        let ask = ask.header("Content-Type", "multipart/form-data; boundary=x");
        ask.body([&form.0[..], b"--x--\r\n"].concat()).send()
    }

    /// Waits until `path` gives something that `is` takes.
    pub fn wait(&self, path: &str, is: impl Fn(&Value) -> bool) -> Value {
        until(|| {
            let answer = self.get(path).is(200).json();
            if is(&answer) { Ok(answer) } else { Err(format!("{path}: {answer:#}")) }
        })
    }

    /// Waits until a job is over.
    pub fn over(&self, job: &Value) -> Value {
        let over = ["done", "failed", "cancelled"];
        let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
        self.wait(&path, |job| over.contains(&job["state"]["name"].as_str().unwrap()))
    }

    /// Covers a video; gives the video as it is published then.
    pub fn cover(&self, video: &str, options: Value) -> Value {
        let path = format!("/v1/videos/{video}/mosaic");
        let job = self.over(&self.post(&path, &json!({ "options": options })).is(202).json());
        assert_eq!(job["state"]["name"], "done", "{job:#}");
        self.get(&format!("/v1/videos/{video}")).is(200).json()
    }

    /// Saves the published video as a file of the test.
    pub fn watch(&self, video: &Value, name: &str) -> String {
        let url = video["published"]["urls"][0].as_str().unwrap().to_owned();
        std::fs::write(self.s.path(name), self.fetch(&url, None).1).unwrap();
        url
    }

    /// Bytes at an address, as a player asks for them: without a key.
    pub fn fetch(&self, url: &str, range: Option<&str>) -> (u16, Vec<u8>) {
        let mut socket = TcpStream::connect(self.server.address).unwrap();
        let range = range.map_or(String::new(), |range| format!("Range: {range}\r\n"));
        write!(socket, "GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{range}\r\n")
            .unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), answer[end..].to_vec())
    }

    /// Waits for an event of this type and gives its data.
    pub fn event(&self, kind: &str) -> Value {
        let events = self.wait("/v1/events", |events| find(events, kind).is_some());
        find(&events, kind).unwrap()["data"].clone()
    }
}

pub fn find<'v>(events: &'v Value, kind: &str) -> Option<&'v Value> {
    events["items"].as_array().unwrap().iter().rev().find(|e| e["type"] == format!("garim.{kind}"))
}

/// Whether any file in the test's data holds `bytes`.
pub fn on_disk(s: &Scratch, bytes: &[u8]) -> bool {
    fn look(folder: &std::path::Path, bytes: &[u8]) -> bool {
        std::fs::read_dir(folder).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                return look(&path, bytes);
            }
            let content = std::fs::read(&path).unwrap_or_default();
            content.windows(bytes.len()).any(|window| window == bytes)
        })
    }
    look(&s.path("data"), bytes)
}

/// A form (multipart/form-data) that is being filled in.
pub struct Form(Vec<u8>);

impl Form {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// With all that is needed to enrol somebody in the collection "shop" but photos.
    pub fn of(name: &str) -> Self {
        let texts =
            [("collection", "shop"), ("name", name), ("given_by", name), ("how", "form 12")];
        texts.into_iter().fold(Self::new(), |form, (name, value)| form.text(name, value))
    }

    pub fn text(mut self, name: &str, value: &str) -> Self {
        let head = format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        self.0.extend([head.as_bytes(), value.as_bytes(), b"\r\n"].concat());
        self
    }

    pub fn photo(mut self, photo: &[u8]) -> Self {
        let head =
            b"--x\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"a.jpg\"\r\n\r\n";
        self.0.extend([&head[..], photo, b"\r\n"].concat());
        self
    }
}

/// Takes one request and answers with this status.
pub fn receive(target: &TcpListener, status: &str) -> String {
    let (mut socket, _) = target.accept().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = socket.read(&mut buffer).unwrap();
        request.extend(&buffer[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if body.len() >= header(head, "content-length").parse().unwrap() {
            write!(socket, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .unwrap();
            return text;
        }
    }
}

pub fn header(request: &str, name: &str) -> String {
    let mut lines = request.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(n, _)| n.eq_ignore_ascii_case(name));
    found.unwrap_or_else(|| panic!("no {name} in {request}")).1.to_owned()
}
