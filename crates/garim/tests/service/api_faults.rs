//! What goes wrong around a running service: strangers' requests, a job that is stopped, disks that are full or
//! cannot be written, targets that do not answer, workers that were killed.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::{KeySource, Location, Store};

use crate::support::Scratch;
use crate::support::live::{
    HER_FACE, HIS_FACE, Service, header, receive, two_people, until, until_gone,
};
use crate::support::mounts::{among_own_mounts, mount, noise};
use crate::support::server::Server;

fn id(upload: &str) -> &str {
    upload.rsplit('/').next().unwrap()
}

#[test]
fn uploads_versions_and_plans_of_others_are_not_there() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let service = Service::start(&s, "");
    let video = service.upload(&file, "");
    service.cover(&video, json!({}));
    let upload = service.begin(100, "");
    service.append(&upload, 0, &[1; 40]).is(204);
    let files = format!("/v1/videos/{video}/versions/1/files");
    let plan = service.get(&format!("{files}/plan.json")).is(200).json();

    let (_, eve) = service.server.new_key("eve", &["read", "operate", "people", "originals"]);
    let ask = |method: &str, path: &str| {
        let ask = service.server.ask(method, path).key(&eve).header("Tus-Resumable", "1.0.0");
        let ask = ask.header("Upload-Offset", "40").header("X-HTTP-Method-Override", "PATCH");
        ask.header("Content-Type", "application/offset+octet-stream")
    };
    ask("HEAD", &upload).send().is(404);
    ask("PATCH", &upload).body("x").send().problem(404, "not_found");
    ask("POST", &upload).body("x").send().problem(404, "not_found");
    ask("DELETE", &upload).send().problem(404, "not_found");
    assert_eq!(service.offset(&upload), 40, "somebody else changed the upload");
    for name in ["video.mp4", "poster.jpg", "plan.json", "report.json"] {
        let answer = service.server.ask("GET", &format!("{files}/{name}")).key(&eve).send();
        answer.problem(404, "not_found");
    }
    let post =
        |path: &str, body: Value| service.server.ask("POST", path).key(&eve).json(&body).send();
    let render = json!({"plan": plan, "version": 1, "people": []});
    post(&format!("/v1/videos/{video}/render"), render).problem(404, "not_found");
    post("/v1/searches", json!({"video": video})).problem(404, "not_found");
    post("/v1/videos", json!({"object": "incoming/admin/a.mp4"})).problem(404, "not_found");
    let jobs = service.server.ask("GET", &format!("/v1/jobs?video={video}")).key(&eve).send();
    assert_eq!(jobs.is(200).json()["items"], json!([]));
    let versions = service.get(&format!("/v1/videos/{video}/versions")).json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 1, "somebody else rendered");
}

#[test]
fn a_job_that_runs_is_stopped_and_publishes_nothing() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let video = service.upload(&s.read("@made/two_people.mp4"), "");
    let path = format!("/v1/videos/{video}/mosaic");
    let thorough = json!({"options": {"speed": "thorough"}});
    let job = service.post(&path, &thorough).is(202).json();
    let job_path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    service.wait(&job_path, |job| job["state"]["phase"] == "analyse");
    let cancel = format!("{job_path}/cancel");
    let told = service.post(&cancel, &json!({})).is(200).json();
    assert_eq!(told["state"]["cancelling"], true, "{told:#}");
    let over = service.over(&job);
    assert_eq!(over["state"]["name"], "cancelled", "{over:#}");
    let again = service.post(&cancel, &json!({})).is(200).json();
    assert_eq!(again["state"]["name"], "cancelled", "{again:#}");
    assert_eq!(service.event("job.cancelled")["job"], job["id"]);
    let versions = service.get(&format!("/v1/videos/{video}/versions")).json();
    assert_eq!(versions["items"], json!([]));
    // Its worker does the next job.
    let next = service.upload(b"no video", "");
    let jobs = format!("/v1/jobs?video={next}");
    service.wait(&jobs, |jobs| jobs["items"][0]["state"]["name"] == "failed");
}

#[test]
fn a_quota_refuses_what_does_not_fit_and_room_is_given_back() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let (_, mina) = service.server.new_key("mina", &["read", "operate"]);
    let quota = json!({"quota_bytes": 1000});
    let put = service.server.ask("PUT", "/v1/users/mina").key(&service.server.admin).json(&quota);
    put.send().is(200);
    let begin = |length: u32| {
        let ask = service.server.ask("POST", "/v1/uploads").key(&mina);
        let ask = ask.header("Tus-Resumable", "1.0.0");
        ask.header("Upload-Length", &length.to_string()).send()
    };
    begin(1001).problem(413, "quota_exceeded");
    let first = begin(600).is(201).header("location").to_owned();
    // What is announced counts, not only what arrived.
    begin(401).problem(413, "quota_exceeded");
    begin(400).is(201);
    let delete = service.server.ask("DELETE", &first).key(&mina).header("Tus-Resumable", "1.0.0");
    delete.send().is(204);
    begin(600).is(201);
    begin(1).problem(413, "quota_exceeded");
    service.begin(2000, "");
}

#[test]
fn an_address_that_expired_says_so_whoever_signed_it() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let upload = service.begin(10, "");
    let video = id(&upload);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let key = KeySource::File(s.path("data/server.key"));
    let store = runtime.block_on(Store::open(&Location::Folder(s.path("data")), &key)).unwrap();
    let ask = |expires: Timestamp| {
        let expires = expires.as_second();
        let signature = store.sign_media(video.parse().unwrap(), 1, "video.mp4", expires);
        let query = format!("expires={expires}&signature={signature}");
        service.server.ask("GET", &format!("/media/{video}/v1/video.mp4?{query}")).send()
    };
    let hour = SignedDuration::from_hours(1);
    let expired = ask(Timestamp::now() - hour).problem(403, "bad_signature").json();
    assert!(expired["detail"].as_str().unwrap().contains("expired"), "{expired:#}");
    // It is the time alone: until then the same signer is believed, and there is no such version.
    ask(Timestamp::now() + hour).problem(404, "not_found");
    runtime.block_on(store.close());
}

#[test]
fn an_archive_of_ts_segments_is_one_video() {
    let s = Scratch::new();
    two_people(&s, "in.mp4");
    let show = s.path("data/objects/incoming/mina/show");
    std::fs::create_dir_all(&show).unwrap();
    s.ffmpeg(
        "-i in.mp4 -c:v libx264 -preset ultrafast -crf 14 -g 12 -c:a copy -f hls -hls_time 0.5 \
         -hls_playlist_type vod data/objects/incoming/mina/show/index.m3u8",
    );
    let mut segments = 0;
    for entry in show.read_dir().unwrap() {
        let path = entry.unwrap().path();
        segments += usize::from(path.extension().is_some_and(|kind| kind == "ts"));
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    }
    assert!(segments >= 2);
    let service = Service::start(&s, "[watch]\nprefix = 'incoming'\n");
    let mina = |path: &str| {
        let ask = service.server.ask("GET", path).key(&service.server.admin);
        ask.header("Garim-User", "mina").send().is(200).json()
    };
    let video = until(|| {
        let videos = mina("/v1/videos");
        let published = &videos["items"][0]["published"];
        if published.is_null() {
            Err(format!("{:#}", mina("/v1/jobs")))
        } else {
            Ok(videos["items"][0].clone())
        }
    });
    assert_eq!(mina("/v1/videos")["items"].as_array().unwrap().len(), 1);
    service.watch(&video, "out.mp4");
    s.assert_covered("in.mp4", "out.mp4", HER_FACE);
    s.assert_covered("in.mp4", "out.mp4", HIS_FACE);
    assert_eq!(s.times("in.mp4").len(), s.times("out.mp4").len(), "frames were lost");
    until(|| match show.read_dir().map_or(0, Iterator::count) {
        0 => Ok(()),
        left => Err(format!("{left} files stayed in the clear")),
    });
}

#[test]
fn what_a_killed_worker_left_is_swept_and_what_is_public_stays() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let service = Service::start(&s, "");
    let video = service.upload(&file, "");
    service.cover(&video, json!({}));
    let only = |folder: &Path| folder.read_dir().unwrap().next().unwrap().unwrap().path();
    let public = only(&only(&s.path("data/objects/vod/admin")));
    service.server.signal("KILL");
    drop(service);
    // As an attempt leaves it that was killed between storing and publishing.
    let lost = public.with_extension("0");
    std::fs::create_dir(&lost).unwrap();
    std::fs::copy(public.join("video.mp4"), lost.join("video.mp4")).unwrap();
    // Not of this database: another server may use the same place.
    let foreign = "data/objects/vod/admin/202601010000-01890000-0000-7000-8000-000000000000/\
                   01890000-0000-7000-8000-000000000001.1/video.mp4";
    s.write(foreign, "x");
    let service = Service::start(&s, "");
    until_gone(&lost, "what was left stayed");
    assert!(public.join("video.mp4").exists() && s.path(foreign).exists());
    drop(service);
}

#[test]
fn a_server_without_its_objects_is_not_ready_and_says_why_in_its_log() {
    let s = Scratch::new();
    let mut service = Service::start(&s, "");
    service.get("/readyz").is(200);
    let (there, away) = (s.path("data/objects"), s.path("away"));
    std::fs::rename(&there, &away).unwrap();
    let ready = |is: u16| {
        until(|| match service.get("/readyz") {
            answer if answer.status == is => Ok(answer),
            answer => Err(format!("{answer:#?}")),
        })
    };
    ready(503).problem(503, "unavailable");
    service.get("/healthz").is(200);
    std::fs::rename(&away, &there).unwrap();
    ready(200);
    service.server.wait_for("objects: ");
}

#[test]
fn an_upload_to_a_full_disk_goes_on_when_there_is_room_again() {
    if !among_own_mounts("api_faults::an_upload_to_a_full_disk_goes_on_when_there_is_room_again") {
        return;
    }
    let s = Scratch::new();
    mount("size=16m", &s.path("data"));
    let service = Service::start(&s, "");
    s.write("data/filler", noise(10 << 20));
    let bytes = noise(8 << 20);
    let upload = service.begin(bytes.len(), "");
    let full = service.append(&upload, 0, &bytes).problem(507, "storage_full");
    assert!(!full.body.contains("data/"), "a path of the machine: {full:#?}");
    let kept = service.offset(&upload);
    assert!(kept > 0 && kept < bytes.len(), "{kept} bytes were kept of what fitted");
    service.append(&upload, kept, &bytes[kept..]).problem(507, "storage_full");
    service.get("/v1/videos").is(200);
    service.get("/readyz").is(200);
    std::fs::remove_file(s.path("data/filler")).unwrap();
    let from = service.offset(&upload);
    assert!(from >= kept, "what had been stored was lost");
    service.append(&upload, from, &bytes[from..]).is(204);
    let video = service.get(&format!("/v1/videos/{}", id(&upload))).is(200).json();
    assert_eq!((&video["state"], &video["received"]), (&"stored".into(), &bytes.len().into()));
}

#[test]
fn objects_that_cannot_be_written_are_a_problem_that_passes() {
    if !among_own_mounts("api_faults::objects_that_cannot_be_written_are_a_problem_that_passes") {
        return;
    }
    let s = Scratch::new();
    let objects = s.path("data/objects");
    mount("size=64m", &objects);
    let service = Service::start(&s, "");
    let upload = service.begin(200_000, "");
    let bytes = noise(200_000);
    service.append(&upload, 0, &bytes[..100_000]).is(204);
    mount("remount,ro", &objects);
    let refused = service.append(&upload, 100_000, &bytes[100_000..]).problem(503, "unavailable");
    assert_ne!(refused.header("retry-after"), "");
    service.get("/v1/videos").is(200);
    assert_eq!(
        service.offset(&upload),
        100_000,
        "nothing is lost, and nothing is said to be there"
    );
    until(|| match service.get("/readyz").status {
        503 => Ok(()),
        status => Err(format!("/readyz is {status}")),
    });
    mount("remount,rw", &objects);
    service.append(&upload, 100_000, &bytes[100_000..]).is(204);
    let video = service.get(&format!("/v1/videos/{}", id(&upload))).json();
    assert_eq!(video["state"], "stored");
}

#[test]
fn a_server_whose_data_cannot_be_written_does_not_start_and_changes_nothing() {
    if !among_own_mounts(
        "api_faults::a_server_whose_data_cannot_be_written_does_not_start_and_changes_nothing",
    ) {
        return;
    }
    let s = Scratch::new();
    let data = s.path("data");
    mount("size=64m", &data);
    let service = Service::start(&s, "");
    let upload = service.begin(100, "");
    let (admin, (code, _, log)) = (service.server.admin.clone(), service.server.stop());
    assert_eq!(code, Some(0), "{log}");
    mount("remount,ro", &data);
    let error = Server::refusal(&s, "");
    assert!(error.contains("data: Read-only file system"), "{error}");
    mount("remount,rw", &data);
    let server = Server::start(&s, "");
    let head = server.ask("HEAD", &upload).key(&admin).header("Tus-Resumable", "1.0.0");
    assert_eq!(head.send().is(200).header("upload-offset"), "0");
}

#[test]
fn a_webhook_that_never_answers_keeps_nobody_waiting() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let prompt = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = |target: &TcpListener| {
        let url = format!("http://{}/hook", target.local_addr().unwrap());
        let hook = json!({"url": url, "types": ["video.created"]});
        service.post("/v1/webhooks", &hook).is(201).json()["id"].as_str().unwrap().to_owned()
    };
    let (slow, _) = (hook(&silent), hook(&prompt));
    let begun = Instant::now();
    let mut heard = Vec::new();
    // More than are on their way at once.
    for _ in 0..20 {
        service.begin(100, "");
        heard.push(header(&receive(&prompt, "200 OK"), "webhook-id"));
        service.get("/v1/videos").is(200);
    }
    // Less than the time that a target has to answer.
    assert!(begun.elapsed() < Duration::from_secs(8), "the others waited {:?}", begun.elapsed());
    heard.sort();
    heard.dedup();
    assert_eq!(heard.len(), 20, "a message was told twice, and another not at all");
    let deliveries = format!("/v1/webhooks/{slow}/deliveries");
    let given_up = |page: &Value| {
        page["items"].as_array().unwrap().iter().any(|message| {
            message["state"] == "due" && message["attempt"] == 1 && message["error"].is_string()
        })
    };
    let page = service.wait(&deliveries, given_up);
    assert_eq!(page["items"].as_array().unwrap().len(), 20);
}
