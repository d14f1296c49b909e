//! `POST /v1/videos/{id}/convert`: an HLS archive that was taken up becomes an MP4, sealed all the way.

use std::io::{Cursor, Read};

use serde_json::{Value, json};
use store::{KeySource, Location, Store};

use crate::support::Scratch;
use crate::support::live::{HER_FACE, HIS_FACE, Service, on_disk, two_people, until};

/// An HLS archive in the incoming folder, of two people, with MPEG-TS segments and a clock that starts somewhere. Gives
/// what `garim convert` makes of it.
fn archive(s: &Scratch) -> Vec<u8> {
    two_people(s, "in.mp4");
    std::fs::create_dir_all(s.path("data/objects/incoming/admin/show")).unwrap();
    s.ffmpeg(
        "-i in.mp4 -vf noise=alls=10:allf=t -c:v libx264 -preset ultrafast -crf 2 -g 6 -c:a copy -output_ts_offset 500 -f hls \
         -hls_time 0.2 -hls_playlist_type vod data/objects/incoming/admin/show/index.m3u8",
    );
    s.garim("convert data/objects/incoming/admin/show/index.m3u8 -o plain.mp4").ok();
    s.read("plain.mp4")
}

/// Has the archive taken up; gives the id of the video.
fn take_up(service: &Service<'_>) -> String {
    let body = json!({"object": "incoming/admin/show/index.m3u8"});
    let job = service.over(&service.post("/v1/videos", &body).is(202).json());
    assert_eq!(job["state"]["name"], "done", "{job:#}");
    job["video"].as_str().unwrap().to_owned()
}

/// Pieces of what a video holds, from all over it.
fn pieces(content: &[u8]) -> Vec<[u8; 24]> {
    let piece = |at: usize| content[at..at + 24].try_into().unwrap();
    (2000..content.len() - 5000).step_by(9973).map(piece).collect()
}

/// What is sealed as the original, decrypted with the keys of the server; and the names of its objects.
fn original(s: &Scratch, id: &str) -> (Vec<u8>, Vec<String>) {
    let location = Location::Folder(s.path("data"));
    let key = KeySource::File(s.path("data/server.key"));
    let (sealed, parts) = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Store::open(&location, &key).await.unwrap();
        let now = jiff::Timestamp::now();
        store.original("admin", id.parse().unwrap(), "test", "test", now).await.unwrap()
    });
    let object = |part: &store::Part| s.read(&format!("data/objects/{}", part.object));
    let records: Vec<u8> = parts.iter().flat_map(object).collect();
    let mut plain = Vec::new();
    let mut reader = sealed::Reader::new(Cursor::new(records), &sealed).unwrap();
    reader.read_to_end(&mut plain).unwrap();
    (plain, parts.into_iter().map(|part| part.object).collect())
}

fn convert(service: &Service<'_>, id: &str) -> Value {
    let path = format!("/v1/videos/{id}/convert");
    service.over(&service.post(&path, &json!({})).is(202).json())
}

#[test]
fn an_archive_becomes_a_sealed_mp4_with_its_packets_and_is_covered_like_any_other() {
    let s = Scratch::new();
    let plain = archive(&s);
    let pieces = pieces(&plain);
    assert!(plain.len() > 2 << 20 && pieces.len() > 100, "{} bytes", plain.len());
    assert!(pieces.iter().any(|piece| on_disk(&s, piece)), "the search finds nothing");
    let service = Service::start(&s, "");
    let id = take_up(&service);
    let (segments, old) = original(&s, &id);
    let path = format!("/v1/videos/{id}");
    let before = service.get(&path).is(200).json();
    assert_eq!(before["info"]["container"], "mpegts");

    let job = convert(&service, &id);
    assert_eq!(job["state"]["name"], "done", "{job:#}");
    assert_eq!(job["kind"], "convert");
    let video = service.get(&path).is(200).json();
    let (mp4, parts) = original(&s, &id);
    let result = &job["state"]["result"];
    assert_eq!((&result["converted"], &result["left_out"]), (&true.into(), &0.into()), "{job:#}");
    assert_eq!((&video["bytes"], &video["received"]), (&mp4.len().into(), &mp4.len().into()));
    assert_eq!((&result["bytes"], &result["info"]), (&video["bytes"], &video["info"]));
    assert!(video["info"]["container"].as_str().unwrap().contains("mp4"), "{video:#}");
    assert!(parts.len() > 2 && segments != mp4);
    let event = json!({"video": id, "bytes": mp4.len(), "bytes_before": segments.len()});
    assert_eq!(service.event("video.converted"), event);
    let log = service.get("/v1/audit").is(200).json().to_string();
    assert!(log.contains("replace_original") && log.contains("read_original"), "{log}");
    assert!(service.get("/v1/audit/verify").is(200).json()["whole"].as_bool().unwrap());
    until(|| match old.iter().find(|object| s.path(&format!("data/objects/{object}")).exists()) {
        Some(object) => Err(format!("{object} of the old original stayed")),
        None => Ok(()),
    });
    let held = pieces.iter().filter(|piece| mp4.windows(24).any(|w| w == *piece)).count();
    assert!(
        held * 10 > pieces.len() * 9,
        "{held} of {} pieces: the search proves little",
        pieces.len()
    );
    for piece in &pieces {
        assert!(!on_disk(&s, piece), "the original lies on the disk in the clear");
    }

    // One that is an MP4 stays as it is.
    let again = convert(&service, &id);
    assert_eq!(again["state"]["result"], json!({"video": id, "converted": false}), "{again:#}");
    assert_eq!(original(&s, &id).1, parts);

    let covered = service.cover(&id, json!({"crf": 12.0}));
    service.watch(&covered, "out.mp4");
    s.write("mp4.mp4", &mp4);
    for stream in ["v:0", "a:0"] {
        assert!(!s.packets("mp4.mp4", stream).is_empty());
        assert_eq!(s.packets("mp4.mp4", stream), s.packets("plain.mp4", stream), "{stream}");
    }
    let sound = |file| s.packets(file, "a:0").into_iter().map(|p| p.hash).collect::<Vec<_>>();
    assert_eq!(sound("mp4.mp4"), sound("in.mp4"));
    assert_eq!(s.packets("out.mp4", "a:0"), s.packets("mp4.mp4", "a:0"));
    s.assert_covered("mp4.mp4", "out.mp4", HER_FACE);
    s.assert_covered("mp4.mp4", "out.mp4", HIS_FACE);
    let refused = service.post(&format!("{path}/convert"), &json!({}));
    refused.problem(409, "already_covered");
}

#[test]
fn what_mp4_cannot_carry_stays_the_original_that_it_was() {
    let s = Scratch::new();
    two_people(&s, "in.mp4");
    s.ffmpeg("-i in.mp4 -c:v libvpx -deadline realtime -b:v 1M -c:a libvorbis in.webm");
    let service = Service::start(&s, "");
    let id = service.upload(&s.read("in.webm"), "original c2VhbA==");
    let job = convert(&service, &id);
    assert_eq!(job["state"]["failure"]["code"], "input_refused", "{job:#}");
    let message = job["state"]["failure"]["message"].as_str().unwrap();
    assert!(message.contains("vp8") && !message.contains("staging"), "{message}");
    assert!(original(&s, &id).0 == s.read("in.webm"));
    // Nothing hinders anybody from covering it.
    service.cover(&id, json!({}));
}

#[test]
fn a_conversion_is_alone_with_its_video_and_asked_for_once() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    // Jobs stay where they are: nobody does them.
    let service = Service::start_as(&s, "[jobs]\nworkers = 0\n");
    let half = service.begin(file.len(), "");
    let convert = |id: &str| format!("/v1/videos/{id}/convert");
    let id = half.rsplit('/').next().unwrap();
    service.post(&convert(id), &json!({})).problem(409, "conflict");
    service.append(&half, 0, &file).is(204);
    service.post(&convert(id), &json!({"covers": true})).problem(422, "invalid_value");
    service.post(&convert(id), &json!({"priority": 11})).problem(422, "invalid_value");
    let ask = || {
        let ask = service.server.ask("POST", &convert(id)).key(&service.server.admin);
        ask.header("Idempotency-Key", "once").json(&json!({"tag": "archive 7"})).send()
    };
    let job = ask().is(202).json();
    // It waits for what takes the video up.
    assert_eq!((&job["kind"], &job["tag"]), (&"convert".into(), &"archive 7".into()), "{job:#}");
    assert_eq!(job["state"], json!({"name": "waiting", "left": 1}), "{job:#}");
    assert_eq!(ask().is(202).json()["id"], job["id"]);
    let other = [
        (convert(id), json!({})),
        (format!("/v1/videos/{id}/mosaic"), json!({})),
        ("/v1/searches".to_owned(), json!({"video": id})),
    ];
    for (path, body) in &other {
        service.post(path, body).problem(409, "video_busy");
    }
    service.post(&format!("/v1/jobs/{}/cancel", job["id"].as_str().unwrap()), &json!({})).is(200);
    let (path, body) = &other[1];
    service.post(path, body).is(202);
    service.post(&convert(id), &json!({})).problem(409, "video_busy");

    let gone = service.upload(&file, "");
    service.delete(&format!("/v1/videos/{gone}/original")).is(204);
    service.post(&convert(&gone), &json!({})).problem(409, "no_original");
    let key = |user: &str, scopes: &[&str]| {
        let key = service.post("/v1/keys", &json!({"user": user, "scopes": scopes})).is(201).json();
        key["secret"].as_str().unwrap().to_owned()
    };
    let as_one =
        |key: &str| service.server.ask("POST", &convert(id)).key(key).json(&json!({})).send();
    as_one(&key("eve", &["operate"])).problem(404, "not_found");
    as_one(&key("admin", &["read"])).problem(403, "missing_scope");
}
