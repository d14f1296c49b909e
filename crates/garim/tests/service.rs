//! The service as its users have it: a real server, real footage, real workers.

#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

#[path = "support/server.rs"]
mod server;
mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use server::{Answer, Server};
use sha2::Sha256;
use support::Scratch;
use support::pixels::Rect;

/// In every frame of [`two_people`].
const HER_FACE: Rect = Rect { x: 150, y: 80, width: 80, height: 110 };
const HIS_FACE: Rect = Rect { x: 450, y: 85, width: 65, height: 90 };
/// No job of these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Tests ask often.
const SETTINGS: &str =
    "[limits]\nrequests_per_second = 1000\nburst = 1000\n[jobs]\nlease_seconds = 5\n";

/// Two people side by side for a second, 640x240: she left of x = 320, he right of it.
fn two_people(s: &Scratch, name: &str) -> Vec<u8> {
    s.ffmpeg(&format!(
        "-ss 10 -t 1 -i @made/two_people.mp4 -vf scale=640:240 -c:v libx264 -preset ultrafast \
         -crf 14 -c:a copy {name}"
    ));
    s.read(name)
}

/// A server with what its first key may do.
struct Service<'a> {
    s: &'a Scratch,
    server: Server,
}

impl<'a> Service<'a> {
    fn start(s: &'a Scratch, settings: &str) -> Self {
        Self { s, server: Server::start(s, &format!("{settings}{SETTINGS}")) }
    }

    fn get(&self, path: &str) -> Answer {
        self.server.get(path)
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.server.ask("POST", path).key(&self.server.admin).json(body).send()
    }

    fn delete(&self, path: &str) -> Answer {
        self.server.ask("DELETE", path).key(&self.server.admin).send()
    }

    /// Begins an upload; gives its path.
    fn begin(&self, length: usize, metadata: &str) -> String {
        let ask = self.server.ask("POST", "/v1/uploads").key(&self.server.admin);
        let ask = ask.header("Tus-Resumable", "1.0.0").header("Upload-Length", &length.to_string());
        let ask = if metadata.is_empty() { ask } else { ask.header("Upload-Metadata", metadata) };
        ask.send().is(201).header("location").to_owned()
    }

    fn append(&self, upload: &str, offset: usize, bytes: &[u8]) -> Answer {
        let ask = self.server.ask("PATCH", upload).key(&self.server.admin);
        let ask = ask.header("Tus-Resumable", "1.0.0").header("Upload-Offset", &offset.to_string());
        ask.header("Content-Type", "application/offset+octet-stream").body(bytes.to_vec()).send()
    }

    fn offset(&self, upload: &str) -> usize {
        let ask = self
            .server
            .ask("HEAD", upload)
            .key(&self.server.admin)
            .header("Tus-Resumable", "1.0.0");
        ask.send().is(200).header("upload-offset").parse().unwrap()
    }

    /// Uploads a file; gives the id of the video.
    fn upload(&self, bytes: &[u8], metadata: &str) -> String {
        let upload = self.begin(bytes.len(), metadata);
        self.append(&upload, 0, bytes).is(204);
        upload.rsplit('/').next().unwrap().to_owned()
    }

    /// Enrols the man of [`two_people`]; gives his id.
    fn enrol_man(&self) -> String {
        let photo = std::fs::read(self.s.path("@made/keep_man.jpg")).unwrap();
        self.enrol("Man", &photo).is(201).json()["id"].as_str().unwrap().to_owned()
    }

    fn enrol(&self, name: &str, photo: &[u8]) -> Answer {
        let mut body = Vec::new();
        for (field, value) in
            [("collection", "shop"), ("name", name), ("given_by", name), ("how", "signed form")]
        {
            let head = format!(
                "--x\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n"
            );
            body.extend(head.bytes());
        }
        body.extend(
            b"--x\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"a.jpg\"\r\n\r\n",
        );
        body.extend(photo);
        body.extend(b"\r\n--x--\r\n");
        let ask = self.server.ask("POST", "/v1/people").key(&self.server.admin);
        ask.header("Content-Type", "multipart/form-data; boundary=x").body(body).send()
    }

    /// Waits until `path` gives something that `is` takes.
    fn wait(&self, path: &str, is: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let answer = self.get(path).is(200).json();
            if is(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "{path}: {answer:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a job is over.
    fn over(&self, job: &Value) -> Value {
        let over = ["done", "failed", "cancelled"];
        let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
        self.wait(&path, |job| over.contains(&job["state"]["name"].as_str().unwrap()))
    }

    /// Covers a video; gives the video as it is published then.
    fn cover(&self, video: &str, options: Value) -> Value {
        let path = format!("/v1/videos/{video}/mosaic");
        let job = self.over(&self.post(&path, &json!({ "options": options })).is(202).json());
        assert_eq!(job["state"]["name"], "done", "{job:#}");
        self.get(&format!("/v1/videos/{video}")).is(200).json()
    }

    /// Saves the published video as a file of the test.
    fn watch(&self, video: &Value, name: &str) -> String {
        let url = video["published"]["urls"][0].as_str().unwrap().to_owned();
        std::fs::write(self.s.path(name), self.fetch(&url, None).1).unwrap();
        url
    }

    /// Bytes at an address, as a player asks for them: without a key.
    fn fetch(&self, url: &str, range: Option<&str>) -> (u16, Vec<u8>) {
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
    fn event(&self, kind: &str) -> Value {
        let events = self.wait("/v1/events", |events| find(events, kind).is_some());
        find(&events, kind).unwrap()["data"].clone()
    }
}

fn find<'v>(events: &'v Value, kind: &str) -> Option<&'v Value> {
    events["items"].as_array().unwrap().iter().rev().find(|e| e["type"] == format!("garim.{kind}"))
}

/// Whether any file in the test's data holds `bytes`.
fn on_disk(s: &Scratch, bytes: &[u8]) -> bool {
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

#[test]
fn an_upload_that_breaks_off_goes_on_and_only_who_agreed_is_shown() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let service = Service::start(&s, "");
    service.enrol_man();
    let upload = service.begin(file.len(), "filename aW4ubXA0");
    service.append(&upload, 0, &file[..10_000]).is(204);
    // The connection breaks in the middle of a body that was announced whole.
    let mut socket = TcpStream::connect(service.server.address).unwrap();
    write!(
        socket,
        "PATCH {upload} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nTus-Resumable: 1.0.0\r\n\
         Upload-Offset: 10000\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: {}\r\n\r\n",
        service.server.admin,
        file.len() - 10_000
    )
    .unwrap();
    socket.write_all(&file[10_000..15_000]).unwrap();
    drop(socket);
    let begun = Instant::now();
    while service.offset(&upload) < 15_000 {
        assert!(begun.elapsed() < PATIENCE, "what arrived was not kept");
        std::thread::sleep(Duration::from_millis(20));
    }
    service.append(&upload, 10_000, &file[10_000..]).problem(409, "upload_offset");
    service.append(&upload, 15_000, &file[15_000..]).is(204);
    let id = upload.rsplit('/').next().unwrap();
    let stored = service.wait(&format!("/v1/videos/{id}"), |video| !video["info"].is_null());
    assert_eq!((&stored["name"], &stored["state"]), (&"in.mp4".into(), &"stored".into()));
    assert_eq!(stored["info"]["video"]["size"]["width"], 640);
    assert!(!on_disk(&s, &file[20_000..20_032]), "the original lies on the disk in the clear");

    let video = service.cover(id, json!({"collection": "shop", "crf": 12.0}));
    let url = service.watch(&video, "out.mp4");
    s.assert_covered("in.mp4", "out.mp4", HER_FACE);
    s.assert_shown("in.mp4", "out.mp4", HIS_FACE);
    assert_eq!(s.packets("in.mp4", "a:0"), s.packets("out.mp4", "a:0"));
    let whole = s.read("out.mp4");
    let (status, part) = service.fetch(&url, Some("bytes=100-199"));
    assert_eq!((status, part.as_slice()), (206, &whole[100..200]));
    assert_eq!(service.fetch(&url, Some("bytes=99999999-")).0, 416);
    let forged = url.replace("signature=", "signature=0");
    assert_eq!(service.fetch(&forged[..forged.len() - 1], None).0, 403);
    let later = url.replace("expires=1", "expires=2");
    assert_eq!(service.fetch(&later, None).0, 403);
    assert_eq!(service.fetch(&url.replace("/v1/video.mp4", "/v2/video.mp4"), None).0, 403);
    let files = format!("/v1/videos/{id}/versions/1/files");
    assert_eq!(service.get(&format!("{files}/plan.json")).is(200).json()["format"], "garim-plan");
    assert!(service.get(&format!("{files}/report.json")).is(200).json()["tracks"].is_array());
    service.get(&format!("{files}/..%2Fplan.json")).problem(404, "not_found");
}

#[test]
fn who_withdraws_is_public_no_longer_and_covered_again_with_and_without_the_original() {
    for original in [true, false] {
        let s = Scratch::new();
        let file = two_people(&s, "in.mp4");
        let service = Service::start(&s, "");
        let man = service.enrol_man();
        let id = service.upload(&file, "original c2VhbA==");
        let video = service.cover(&id, json!({"people": [man], "crf": 12.0}));
        let url = service.watch(&video, "first.mp4");
        s.assert_shown("in.mp4", "first.mp4", HIS_FACE);
        if !original {
            service.delete(&format!("/v1/videos/{id}/original")).is(204);
            service.delete(&format!("/v1/videos/{id}/original")).problem(409, "no_original");
        }
        let person = service.post(&format!("/v1/people/{man}/withdraw"), &json!({"by": "Man"}));
        assert_eq!(person.is(200).json()["videos"]["consent"], "withdrawn");
        assert_eq!(service.fetch(&url, None).0, 410);
        let told = service.event("video.unpublished");
        assert_eq!(told["reason"], "consent_withdrawn");
        let purge = told["purge"][0].as_str().unwrap();
        assert!(purge.starts_with("http") && purge.ends_with(&format!("/media/{id}/v1/video.mp4")));
        let video =
            service.wait(&format!("/v1/videos/{id}"), |video| video["published"]["version"] == 2);
        service.watch(&video, "again.mp4");
        s.assert_covered("in.mp4", "again.mp4", HIS_FACE);
        s.assert_covered("in.mp4", "again.mp4", HER_FACE);
        assert_eq!(s.packets("in.mp4", "a:0"), s.packets("again.mp4", "a:0"));
        assert_eq!(service.fetch(&url, None).0, 410);
        service
            .post(&format!("/v1/videos/{id}/mosaic"), &json!({"options": {"people": [man]}}))
            .problem(409, "no_consent");
        assert!(service.get("/v1/audit/verify").is(200).json()["whole"].as_bool().unwrap());
    }
}

#[test]
fn an_original_that_is_not_to_stay_is_destroyed_when_its_video_is_published() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let service = Service::start(&s, "");
    let id = service.upload(&file, "original MA==");
    service.cover(&id, json!({}));
    let video = service.wait(&format!("/v1/videos/{id}"), |video| video["has_original"] == false);
    assert_eq!(video["published"]["version"], 1);
    let originals = s.path("data/objects/originals").join(&id);
    let begun = Instant::now();
    while originals.exists() {
        assert!(begun.elapsed() < PATIENCE, "the objects of the original stayed");
    }
    service.post(&format!("/v1/videos/{id}/mosaic"), &json!({})).problem(409, "no_original");
}

#[test]
fn what_is_put_into_the_watched_folder_is_covered_and_published_by_itself() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let incoming = s.path("data/objects/incoming/mina");
    std::fs::create_dir_all(incoming.join("show")).unwrap();
    s.ffmpeg(
        "-i in.mp4 -c copy -f hls -hls_time 0.5 -hls_segment_type fmp4 -hls_playlist_type vod \
         data/objects/incoming/mina/show/index.m3u8",
    );
    s.write("data/objects/incoming/mina/a.mp4", &file);
    let old = std::time::SystemTime::now() - Duration::from_secs(60);
    for name in ["a.mp4", "show/index.m3u8"] {
        let file = std::fs::File::options().write(true).open(incoming.join(name)).unwrap();
        file.set_modified(old).unwrap();
    }
    let service = Service::start(&s, "[watch]\nprefix = 'incoming'\n");
    let mina = |path: &str| {
        let ask =
            service.server.ask("GET", path).key(&service.server.admin).header("Garim-User", "mina");
        ask.send().is(200).json()
    };
    let begun = Instant::now();
    let videos = loop {
        let videos = mina("/v1/videos");
        let items = videos["items"].as_array().unwrap();
        if items.len() == 2 && items.iter().all(|video| !video["published"].is_null()) {
            break videos;
        }
        assert!(begun.elapsed() < PATIENCE, "{videos:#}\n{:#}", mina("/v1/jobs"));
        std::thread::sleep(Duration::from_millis(100));
    };
    for video in videos["items"].as_array().unwrap() {
        service.watch(video, "out.mp4");
        s.assert_covered("in.mp4", "out.mp4", HER_FACE);
        s.assert_covered("in.mp4", "out.mp4", HIS_FACE);
    }
    let jobs = mina("/v1/jobs");
    let kinds: Vec<&str> =
        jobs["items"].as_array().unwrap().iter().map(|job| job["kind"].as_str().unwrap()).collect();
    for kind in ["ingest", "search", "mosaic"] {
        assert_eq!(kinds.iter().filter(|k| **k == kind).count(), 2, "{kinds:?}");
    }
    let left = || {
        let files = |folder: &Path| {
            folder.read_dir().map_or(0, |entries| {
                entries.filter(|e| e.as_ref().unwrap().path().is_file()).count()
            })
        };
        files(&incoming) + files(&incoming.join("show"))
    };
    while left() > 0 {
        assert!(begun.elapsed() < PATIENCE, "what was taken up stayed in the clear");
    }
}

#[test]
fn a_plan_that_was_edited_is_rendered_and_shows_nobody_without_their_consent() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let service = Service::start(&s, "");
    let man = service.enrol_man();
    let id = service.upload(&file, "");
    service.cover(&id, json!({"people": [man], "crf": 12.0}));
    let mut plan = service.get(&format!("/v1/videos/{id}/versions/1/files/plan.json")).json();
    let render = |plan: &Value, people: Value| {
        let body = json!({"plan": plan, "version": 1, "people": people});
        service.post(&format!("/v1/videos/{id}/render"), &body)
    };
    // Whose is whose: the report says whom the first version shows.
    let report = service.get(&format!("/v1/videos/{id}/versions/1/files/report.json")).json();
    let tracks = report["tracks"].as_array().unwrap();
    let his = tracks.iter().find(|t| t["verdict"] == "kept").unwrap()["id"].clone();
    let edit = |plan: &mut Value, his_track: bool, edit: &str| {
        for track in plan["tracks"].as_array_mut().unwrap() {
            if (track["id"] == his) == his_track {
                track["edit"] = edit.into();
            }
        }
    };
    let mut keeps_her = plan.clone();
    edit(&mut keeps_her, false, "keep");
    render(&keeps_her, json!([])).problem(409, "no_consent");
    render(&json!({}), json!([])).problem(422, "invalid_value");
    edit(&mut plan, true, "cover");
    // Plans of long videos are large.
    let body = json!({"plan": plan, "version": 1, "people": []}).to_string();
    let body = body + &" ".repeat(4 << 20);
    let ask = service.server.ask("POST", &format!("/v1/videos/{id}/render"));
    let ask = ask.key(&service.server.admin).header("Content-Type", "application/json");
    let job = service.over(&ask.body(body).send().is(202).json());
    assert_eq!(job["state"]["name"], "done", "{job:#}");
    let video = service.get(&format!("/v1/videos/{id}")).json();
    assert_eq!(video["published"]["version"], 2);
    service.watch(&video, "out.mp4");
    s.assert_covered("in.mp4", "out.mp4", HIS_FACE);
    s.assert_covered("in.mp4", "out.mp4", HER_FACE);
}

#[test]
fn what_is_no_video_fails_and_what_belongs_to_others_is_not_there() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let id = service.upload(&b"this is no video at all\n".repeat(100), "");
    let path = format!("/v1/videos/{id}/mosaic");
    let job = service.over(&service.post(&path, &json!({})).is(202).json());
    assert_eq!(job["state"]["failure"]["code"], "input_refused", "{job:#}");
    assert!(!job.to_string().contains("staging"), "a path of the machine: {job:#}");
    service.post(&path, &json!({"options": {"cells": 20}})).problem(422, "invalid_value");
    service.post(&path, &json!({"options": {"collection": "none"}})).problem(404, "not_found");

    let key = json!({"user": "eve", "scopes": ["read", "operate", "people", "originals"]});
    let eve = service.post("/v1/keys", &key).is(201).json()["secret"].as_str().unwrap().to_owned();
    let job = job["id"].as_str().unwrap();
    let ask = |method: &str, path: &str| {
        let ask = match method {
            "get" => service.server.ask("GET", path),
            "delete" => service.server.ask("DELETE", path),
            _ => service.server.ask("POST", path).json(&json!({})),
        };
        ask.key(&eve).send().problem(404, "not_found");
    };
    ask("get", &format!("/v1/videos/{id}"));
    ask("get", &format!("/v1/videos/{id}/versions"));
    ask("delete", &format!("/v1/videos/{id}"));
    ask("delete", &format!("/v1/videos/{id}/original"));
    ask("post", &format!("/v1/videos/{id}/mosaic"));
    ask("get", &format!("/v1/jobs/{job}"));
    ask("post", &format!("/v1/jobs/{job}/cancel"));
    ask("get", &format!("/v1/searches/{job}"));
    let as_admin = service.server.ask("GET", "/v1/videos").key(&eve).header("Garim-User", "admin");
    as_admin.send().problem(403, "missing_scope");
    service.get(&format!("/v1/videos/{id}")).is(200);
}

#[test]
fn a_search_says_when_and_where_and_who() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let service = Service::start(&s, "");
    let man = service.enrol_man();
    let id = service.upload(&file, "");
    let new =
        json!({"video": id, "collection": "shop", "threshold": 60, "every_ms": 100, "tag": "t"});
    let job = service.over(&service.post("/v1/searches", &new).is(202).json());
    assert_eq!(job["state"]["name"], "done", "{job:#}");
    let path = format!("/v1/searches/{}", job["id"].as_str().unwrap());
    let mut faces = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = service.get(&format!("{path}?limit=7{cursor}")).is(200).json();
        assert_eq!(page["video"]["width"], 640);
        faces.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert!(faces.len() >= 18, "{} faces in a second", faces.len());
    for face in &faces {
        let is_his = face["box"]["left"].as_f64().unwrap() > 0.5;
        let matches = face["matches"].as_array().unwrap();
        assert_eq!(!matches.is_empty(), is_his, "{face:#}");
        assert!(matches.iter().all(|m| m["person"] == man.as_str()), "{face:#}");
    }
    let by_index = service.get(&format!("{path}?sort=index&limit=200")).is(200).json();
    let mut sorted = faces.clone();
    sorted.sort_by_key(|face| face["index"].as_i64()); // Stable: then by time.
    assert_eq!(by_index["items"].as_array().unwrap(), &sorted);

    let photo = std::fs::read(s.path("@made/keep_man.jpg")).unwrap();
    let ask = service.server.ask("POST", "/v1/faces?collection=shop").key(&service.server.admin);
    let found = ask.header("Content-Type", "image/jpeg").body(photo.clone()).send().is(200).json();
    assert_eq!(found["faces"][0]["matches"][0]["person"], man.as_str());
    let marker = &photo[photo.len() / 2..photo.len() / 2 + 32];
    assert!(!on_disk(&s, marker), "a photo lies on the disk in the clear");
}

#[test]
fn a_photo_that_does_not_do_enrols_nobody_and_says_why() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let reason = |answer: Answer| {
        answer.problem(422, "photo_refused").json()["photos"][0]["code"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(reason(service.enrol("Nobody", b"no picture")), "unreadable");
    s.ffmpeg("-ss 10 -i @made/two_people.mp4 -frames:v 1 two.png");
    assert_eq!(reason(service.enrol("Both", &s.read("two.png"))), "several_faces");
    s.ffmpeg("-i @made/keep_man.jpg -vf scale=60:-1 small.png");
    assert!(
        ["too_small", "no_face"]
            .contains(&reason(service.enrol("Man", &s.read("small.png"))).as_str())
    );
    assert_eq!(service.get("/v1/people").json()["items"], json!([]));
    // As large as photos are.
    s.ffmpeg("-i @made/keep_man.jpg -vf scale=2000:-2 -compression_level 0 large.png");
    let large = s.read("large.png");
    assert!(large.len() > 3 << 20, "{} bytes", large.len());
    service.enrol("Man", &large).is(201);
    let photo = std::fs::read(s.path("@made/keep_man.jpg")).unwrap();
    assert_eq!(reason(service.enrol("Twin", &photo)), "near_duplicate");
    assert_eq!(service.get("/v1/collections").json()["items"][0]["people"], 1);
}

#[test]
fn somebody_is_enrolled_by_a_track_of_a_covered_video() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let service = Service::start(&s, "");
    let id = service.upload(&file, "");
    service.cover(&id, json!({}));
    let report = service.get(&format!("/v1/videos/{id}/versions/1/files/report.json")).json();
    let plan = service.get(&format!("/v1/videos/{id}/versions/1/files/plan.json")).json();
    let mut enrolled = Vec::new();
    for (index, track) in report["tracks"].as_array().unwrap().iter().enumerate() {
        let body = json!({
            "collection": "shop", "name": format!("person {index}"), "video": id, "version": 1, "track": track["id"],
            "consent": {"given_by": "them", "how": "told me"},
        });
        let answer = service.post("/v1/people/from-track", &body);
        if answer.status == 201 {
            enrolled.push(answer.json());
        } else {
            answer.problem(422, "photo_refused");
        }
    }
    assert!(!enrolled.is_empty(), "{report:#}\n{plan:#}");
    let log = service.get("/v1/audit").json().to_string();
    assert!(log.contains("face crops of track"), "{log}");
    let video = service.cover(&id, json!({"collection": "shop", "crf": 12.0}));
    let shows =
        service.get(&format!("/v1/videos/{id}/versions")).json()["items"][0]["shows"].clone();
    assert_eq!(shows.as_array().unwrap().len(), enrolled.len(), "{video:#}");
}

#[test]
fn a_webhook_is_told_with_a_signature_and_again_when_it_did_not_take_it() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", target.local_addr().unwrap());
    let hook = service.post("/v1/webhooks", &json!({"url": url, "types": ["video.created"]}));
    let hook = hook.is(201).json();
    service.begin(100, "");
    let first = receive(&target, "500 Oh");
    let second = receive(&target, "200 OK");
    assert_eq!(header(&first, "webhook-id"), header(&second, "webhook-id"));
    let body = second.split("\r\n\r\n").nth(1).unwrap();
    let event: Value = serde_json::from_str(body).unwrap();
    assert_eq!(event["type"], "garim.video.created");
    assert_eq!(event["specversion"], "1.0");
    let secret = hook["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&BASE64_STANDARD.decode(secret).unwrap()).unwrap();
    let (id, at) = (header(&second, "webhook-id"), header(&second, "webhook-timestamp"));
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    let right = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header(&second, "webhook-signature"), right);
    let path = format!("/v1/webhooks/{}/deliveries?state=delivered", hook["id"].as_str().unwrap());
    let delivered = service.wait(&path, |page| !page["items"].as_array().unwrap().is_empty());
    assert_eq!(delivered["items"][0]["attempt"], 2);
}

/// Takes one request and answers with this status.
fn receive(target: &TcpListener, status: &str) -> String {
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

fn header(request: &str, name: &str) -> String {
    let mut lines = request.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(n, _)| n.eq_ignore_ascii_case(name));
    found.unwrap_or_else(|| panic!("no {name} in {request}")).1.to_owned()
}

#[test]
fn events_are_followed_from_where_a_client_left_off() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    service.begin(100, "");
    let mut socket = TcpStream::connect(service.server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        socket,
        "GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nLast-Event-ID: 1\r\n\r\n",
        service.server.admin
    )
    .unwrap();
    service.begin(200, "");
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains("garim.video.created") {
        let count = socket.read(&mut buffer).unwrap();
        assert!(count > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(text.contains("id: 2") && !text.contains("id: 1\n"), "{text}");
}
