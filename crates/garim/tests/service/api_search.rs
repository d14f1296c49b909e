//! Face search over HTTP: in stored videos by jobs, and on one picture at once.

use std::net::TcpListener;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::{Value, json};

use crate::support::Scratch;
use crate::support::live::{Service, on_disk, receive, two_people, until_gone};
use crate::support::server::Answer;

/// All faces of a search, page by page.
fn all(service: &Service, path: &str, limit: usize) -> Vec<Value> {
    let (mut faces, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service.get(&format!("{path}limit={limit}{cursor}")).is(200).json();
        assert_eq!(page["video"]["width"], 640);
        let items = page["items"].as_array().unwrap();
        assert!((1..=limit).contains(&items.len()), "{page:#}");
        faces.extend(items.clone());
        let Some(next) = page["next_cursor"].as_str() else { return faces };
        cursor = format!("&cursor={next}");
    }
}

#[test]
fn a_search_says_when_and_where_and_who() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let service = Service::start(&s, "");
    let man = service.enrol_man();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/sns", target.local_addr().unwrap());
    service.post("/v1/webhooks", &json!({"url": url, "format": "sns"})).is(201);
    let id = service.upload(&file, "filename YS5tcDQ=");
    let new =
        json!({"video": id, "collection": "shop", "threshold": 60, "every_ms": 100, "tag": "t"});
    let job = service.post("/v1/searches", &new).is(202).json();
    let path = format!("/v1/searches/{}", job["id"].as_str().unwrap());
    let begun = service.get(&path).is(200).json();
    if begun["job"]["state"]["name"] != "done" {
        assert_eq!((&begun["video"], &begun["items"]), (&Value::Null, &json!([])));
    }
    let job = service.over(&job);
    assert_eq!(job["state"]["name"], "done", "{job:#}");
    let faces = all(&service, &format!("{path}?"), 7);
    assert!(faces.len() >= 18, "{} faces in a second", faces.len());
    for face in &faces {
        let is_his = face["box"]["left"].as_f64().unwrap() > 0.5;
        let matches = face["matches"].as_array().unwrap();
        assert_eq!(!matches.is_empty(), is_his, "{face:#}");
        assert!(matches.iter().all(|m| m["person"] == man.as_str()), "{face:#}");
        assert!(matches.iter().all(|m| m["similarity"].as_f64().unwrap() >= 60.0), "{face:#}");
    }
    assert!(faces.is_sorted_by_key(|face| face["timestamp_ms"].as_i64()));
    let mut sorted = faces.clone();
    sorted.sort_by_key(|face| face["index"].as_i64()); // Stable: then by time.
    assert_eq!(all(&service, &format!("{path}?sort=index&"), 5), sorted);
    // A cursor that was not given out.
    let inside = BASE64_URL_SAFE_NO_PAD.encode("7");
    service.get(&format!("{path}?cursor={inside}")).problem(400, "invalid_cursor");
    let beyond = BASE64_URL_SAFE_NO_PAD.encode("99999999");
    assert_eq!(service.get(&format!("{path}?cursor={beyond}")).json()["items"], json!([]));

    let told = receive(&target, "200 OK");
    let told: Value = serde_json::from_str(told.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&told["JobId"], &told["JobTag"]), (&job["id"], &"t".into()));
    assert_eq!((&told["Status"], &told["API"]), (&"SUCCEEDED".into(), &"StartFaceSearch".into()));
    assert_eq!(told["Video"]["S3ObjectName"], "a.mp4");
    assert!(told["Timestamp"].as_i64().unwrap() > 0);

    // What was found goes with the video.
    let found = s.path("data/objects/searches").join(&id);
    assert!(found.exists());
    service.delete(&format!("/v1/videos/{id}")).is(204);
    until_gone(&found, "what was found stayed");
    service.get(&path).problem(404, "not_found");
}

#[test]
fn a_search_without_a_collection_finds_everybody_and_knows_nobody() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let service = Service::start(&s, "");
    let id = service.upload(&file, "");
    let job = service.post("/v1/searches", &json!({"video": id})).is(202).json();
    assert_eq!(service.over(&job)["state"]["name"], "done");
    let path = format!("/v1/searches/{}", job["id"].as_str().unwrap());
    let found = service.get(&path).is(200).json();
    let items = found["items"].as_array().unwrap();
    assert!(items.iter().all(|face| face["matches"] == json!([])));
    for side in [true, false] {
        let here = |face: &&Value| (face["box"]["left"].as_f64().unwrap() > 0.5) == side;
        assert_eq!(items.iter().filter(here).count(), 2, "one a sample: {found:#}");
    }

    let search = |body: Value| service.post("/v1/searches", &body);
    search(json!({"video": id, "threshold": 101})).problem(422, "invalid_value");
    search(json!({"video": id, "every_ms": 501})).problem(422, "invalid_value");
    search(json!({"video": id, "tag": "a\nb"})).problem(422, "invalid_value");
    search(json!({"video": id, "collection": "none"})).problem(404, "not_found");
    search(json!({"video": "01990000-0000-7000-8000-000000000000"})).problem(404, "not_found");
    service.get(&format!("{path}?sort=size")).problem(400, "invalid_query");
    let arriving = service.begin(100, "");
    let arriving = arriving.rsplit('/').next().unwrap();
    search(json!({"video": arriving})).problem(409, "conflict");
    let mosaic = service.post(&format!("/v1/videos/{id}/mosaic"), &json!({})).is(202).json();
    let mosaic = format!("/v1/searches/{}", mosaic["id"].as_str().unwrap());
    service.get(&mosaic).problem(404, "not_found");
    let (_, eve) = service.server.new_key("eve", &["read", "operate"]);
    service.server.ask("GET", &path).key(&eve).send().problem(404, "not_found");
    let ask = service.server.ask("POST", "/v1/searches").key(&eve);
    ask.json(&json!({"video": id})).send().problem(404, "not_found");
}

#[test]
fn faces_on_a_picture_are_found_at_once_and_nothing_of_it_is_stored() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let man = service.enrol_man();
    s.ffmpeg("-ss 10 -i @made/two_people.mp4 -frames:v 1 both.png");
    let both = s.read("both.png");
    let find = |query: &str, kind: &str, picture: &[u8]| -> Answer {
        let ask = service.server.ask("POST", &format!("/v1/faces{query}"));
        let ask = ask.key(&service.server.admin).header("Content-Type", kind);
        ask.body(picture.to_vec()).send()
    };
    let found = find("", "image/png", &both).is(200).json();
    let faces = found["faces"].as_array().unwrap();
    assert_eq!(faces.len(), 2, "{found:#}");
    assert!(faces.iter().all(|face| face["matches"] == json!([])));
    let inside = |face: &Value| {
        let side = |name: &str| face["box"][name].as_f64().unwrap();
        side("left") + side("width") <= 1.0001 && side("top") + side("height") <= 1.0001
    };
    assert!(faces.iter().all(inside));

    let his = |found: &Value| {
        let faces = found["faces"].as_array().unwrap().iter();
        let known = faces.filter(|face| face["matches"] != json!([]));
        known.map(|face| face["matches"][0]["person"].clone()).collect::<Vec<_>>()
    };
    let known = find("?collection=shop&threshold=60", "image/png", &both).is(200).json();
    assert_eq!(his(&known), [man.as_str()]);
    service.post(&format!("/v1/people/{man}/withdraw"), &json!({"by": "him"})).is(200);
    let known = find("?collection=shop&threshold=60", "image/png", &both).is(200).json();
    assert_eq!(his(&known), [Value::Null; 0], "who withdrew is not recognised");

    find("", "image/gif", &both).problem(415, "unsupported_media_type");
    let none = find("", "image/jpeg", b"no picture").problem(422, "input_refused");
    assert!(!none.body.contains("staging"), "a path of the machine: {none:#?}");
    find("", "image/jpeg", b"").problem(422, "input_refused");
    find("?threshold=101", "image/png", &both).problem(400, "invalid_query");
    find("?collection=none", "image/png", &both).problem(404, "not_found");
    find("", "image/png", &vec![0; (32 << 20) + 1]).problem(413, "too_large");
    let marker = &both[both.len() / 2..both.len() / 2 + 32];
    assert!(!on_disk(&s, marker), "a picture lies on the disk in the clear");
}
