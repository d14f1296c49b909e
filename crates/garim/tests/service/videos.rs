//! The service as its users have it: a real server, real footage, real workers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::live::{HER_FACE, HIS_FACE, Service, on_disk, two_people, until, until_gone};
use crate::support::{Scratch, tool};

/// Asks to send `length` bytes from `offset` on, and sends none of them yet.
fn announce(service: &Service<'_>, upload: &str, offset: usize, length: usize) -> TcpStream {
    let mut socket = TcpStream::connect(service.server.address).unwrap();
    write!(
        socket,
        "PATCH {upload} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nTus-Resumable: 1.0.0\r\n\
         Upload-Offset: {offset}\r\nContent-Type: application/offset+octet-stream\r\n\
         Content-Length: {length}\r\n\r\n",
        service.server.admin,
    )
    .unwrap();
    socket
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
    let mut socket = announce(&service, &upload, 10_000, file.len() - 10_000);
    socket.write_all(&file[10_000..15_000]).unwrap();
    drop(socket);
    until(|| match service.offset(&upload) {
        0..15_000 => Err("what arrived was not kept".to_owned()),
        _ => Ok(()),
    });
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
fn who_is_refused_while_still_sending_hears_why() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let upload = service.begin(16 << 20, "");
    let mut socket = announce(&service, &upload, 5, 16 << 20);
    socket.peek(&mut [0]).unwrap();
    // The answer is there, and was not read. Whoever sends on is not thrown out.
    for _ in 0..64 {
        socket.write_all(&[7; 128 << 10]).unwrap();
    }
    socket.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
    assert!(answer.contains("upload_offset"), "{answer}");
    // So that nobody sends another request that would be lost with the connection.
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[test]
fn who_withdraws_is_public_no_longer_and_covered_again_whatever_is_left_of_the_video() {
    for (original, plan) in [(true, true), (false, true), (false, false)] {
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
        if !plan {
            let objects = s.path("data/objects/vod/admin");
            let plans = tool(s.command("find", &format!("{} -name plan.json", objects.display())));
            let plans = String::from_utf8(plans).unwrap();
            assert_eq!(plans.lines().count(), 1, "{plans}");
            std::fs::remove_file(plans.trim()).unwrap();
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
    until_gone(&originals, "the objects of the original stayed");
    service.post(&format!("/v1/videos/{id}/mosaic"), &json!({})).problem(409, "no_original");
}

/// Makes every file in a folder look as if nobody had written it for a minute.
fn age(folder: &Path) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
        } else {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
        }
    }
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
    age(&incoming);
    assert!(incoming.join("show/init.mp4").exists(), "it is what must not be taken up by itself");
    let service = Service::start(&s, "[watch]\nprefix = 'incoming'\n");
    let mina = |path: &str| {
        let ask =
            service.server.ask("GET", path).key(&service.server.admin).header("Garim-User", "mina");
        ask.send().is(200).json()
    };
    let videos = until(|| {
        let videos = mina("/v1/videos");
        let items = videos["items"].as_array().unwrap();
        if items.len() == 2 && items.iter().all(|video| !video["published"].is_null()) {
            return Ok(videos);
        }
        Err(format!("{videos:#}\n{:#}", mina("/v1/jobs")))
    });
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
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    let left = || {
        let files = |folder: &Path| {
            folder.read_dir().map_or(0, |entries| {
                entries.filter(|e| e.as_ref().unwrap().path().is_file()).count()
            })
        };
        files(&incoming) + files(&incoming.join("show"))
    };
    until(|| match left() {
        0 => Ok(()),
        count => Err(format!("{count} files that were taken up stayed in the clear")),
    });
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
