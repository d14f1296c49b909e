//! People over HTTP: enrolled by photos and by tracks, their consent, and that nobody else sees them.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::live::{Form, Service, on_disk, two_people};
use crate::support::server::{Answer, rest};
use crate::support::{self, Scratch};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(support::fixture(name)).unwrap()
}

/// Which photos were refused, and why.
fn refused(answer: Answer) -> Vec<(u64, String)> {
    let answer = answer.problem(422, "photo_refused").json();
    assert!(!answer.to_string().contains("staging"), "a path of the machine: {answer:#}");
    let photos = answer["photos"].as_array().unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    photos.iter().map(|p| (p["index"].as_u64().unwrap(), text(&p["code"]))).collect()
}

/// What the log says was done, in order.
fn actions(service: &Service) -> Vec<String> {
    let log = service.get("/v1/audit").is(200).json();
    let entries = log["items"].as_array().unwrap().iter();
    entries.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn photos_that_do_not_do_enrol_nobody_and_each_is_named() {
    let s = Scratch::new();
    s.ffmpeg("-i @clm/franck_02159.jpg -vf gblur=sigma=10 blurred.png");
    s.ffmpeg("-i @clm/franck_02159.jpg -vf lutrgb=r=val/8:g=val/8:b=val/8 dark.png");
    s.ffmpeg("-i @clm/franck_02159.jpg -vf scale=iw/10:-2 small.png");
    let service = Service::start(&s, "");
    let franck = fixture("clm/franck_02159.jpg");
    let bad = [
        (b"no picture".to_vec(), "unreadable"),
        (Vec::new(), "unreadable"),
        (fixture("pyfeat/free-mountain-vector-01.jpg"), "no_face"),
        (fixture("pyfeat/multi_face.jpg"), "several_faces"),
        (s.read("small.png"), "too_small"),
        (s.read("blurred.png"), "blurred"),
        (s.read("dark.png"), "dark"),
        (fixture("pyfeat/BWPictureHuman.jpg"), "extreme_pose"),
    ];
    let form = Form::of("Franck").photo(&franck);
    let form = bad.iter().fold(form, |form, (photo, _)| form.photo(photo));
    let codes = bad.iter().zip(1..).map(|((_, code), index)| (index, (*code).to_owned()));
    let codes: Vec<(u64, String)> = codes.collect();
    assert_eq!(refused(service.send_form("/v1/people", form)), codes);

    let mixed = Form::of("Franck").photo(&franck).photo(&fixture("clm/franck_02888.jpg"));
    let mixed = mixed.photo(&fixture("clm/audrey.jpg"));
    let answer = service.send_form("/v1/people", mixed);
    assert_eq!(refused(answer), [(2, "not_one_person".to_owned())]);
    assert_eq!(service.get("/v1/people").json()["items"], json!([]));
    assert_eq!(actions(&service), ["create_key"]);

    // As large as photos are.
    s.ffmpeg("-i @clm/franck_02159.jpg -vf scale=2000:-2 -compression_level 0 large.png");
    let large = s.read("large.png");
    assert!(large.len() > 3 << 20, "{} bytes", large.len());
    service.enrol("Franck", &large).is(201);
    let answer = service.enrol("Frank", &fixture("clm/franck_04117.jpg"));
    assert_eq!(refused(answer), [(0, "near_duplicate".to_owned())]);
    service.enrol("Franck", &fixture("clm/audrey.jpg")).problem(409, "name_taken");
    // Another collection is another streamer's.
    let form = Form::new().text("name", "Frank").text("given_by", "Frank").text("how", "form");
    let elsewhere = service.send_form("/v1/people", form.photo(&franck)).is(201);
    assert_eq!(elsewhere.json()["collection"], "default");
    let collections = service.get("/v1/collections").json();
    let [default, shop] = ["default", "shop"].map(|name| json!({"name": name, "people": 1}));
    assert_eq!(collections["items"], json!([default, shop]));
}

#[test]
fn forms_that_make_no_sense_are_refused_before_anything_is_looked_at() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let send = |form: Form| service.send_form("/v1/people", form);
    let full = || Form::of("Jun").photo(b"x");
    send(Form::of("Jun")).problem(422, "invalid_value");
    let nameless = Form::new().text("given_by", "Jun").text("how", "form").photo(b"x");
    send(nameless).problem(422, "invalid_value");
    send(full().text("scope", "everything")).problem(422, "invalid_value");
    send(full().text("expires_at", "tomorrow")).problem(422, "invalid_value");
    send(full().text("hair", "black")).problem(400, "invalid_form");
    send(full().text("name", "Mina")).problem(400, "invalid_form");
    send(full().text("scope", &"x".repeat(2000))).problem(400, "invalid_form");
    send((0..64).fold(full(), |form, _| form.photo(b"x"))).problem(422, "invalid_value");
    send(Form::of("Jun").photo(&vec![0; (32 << 20) + 1])).problem(413, "too_large");
    // What is announced too large is not waited for.
    let mut socket = TcpStream::connect(service.server.address).unwrap();
    write!(
        socket,
        "POST /v1/people HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\n\r\n",
        service.server.admin,
        (64 << 20) + 1
    )
    .unwrap();
    assert!(rest(socket).starts_with("HTTP/1.1 413 "));

    let ask = || service.server.ask("POST", "/v1/people").key(&service.server.admin);
    let json = ask().json(&json!({"name": "Jun"})).send();
    json.problem(415, "unsupported_media_type");
    let kind = "multipart/form-data; boundary=x";
    ask().header("Content-Type", kind).body("--x\r\nContent-").send().problem(400, "invalid_form");
    let none = ask().header("Content-Type", "multipart/form-data").body("--x--").send();
    none.problem(400, "invalid_form");
    assert_eq!(actions(&service), ["create_key"]);
}

#[test]
fn somebody_is_enrolled_agrees_withdraws_and_is_removed_and_all_of_it_is_logged() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let end = "2999-01-01T00:00:00Z";
    let franck = Form::of("Franck").text("scope", "live").text("expires_at", end);
    let franck = franck.photo(&fixture("clm/franck_02159.jpg"));
    let past = Form::of("Audrey").text("expires_at", "2020-01-01T00:00:00Z");
    let past = past.photo(&fixture("clm/audrey.jpg"));
    service.send_form("/v1/people", past).problem(422, "invalid_value");
    let made = service.send_form("/v1/people", franck).is(201);
    let person = made.json();
    let path = made.header("location").to_owned();
    assert_eq!(path, format!("/v1/people/{}", person["id"].as_str().unwrap()));
    assert_eq!(service.get(&path).is(200).json(), person);
    let standing = |shown: bool, consent: &str, at: Value| json!({"shown": shown, "consent": consent, "at": at});
    assert_eq!(person["live"], standing(true, "given", end.into()));
    assert_eq!(person["videos"], standing(false, "never", Value::Null));
    let fields: Vec<&str> = person.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["collection", "created_at", "id", "live", "name", "photos", "videos"]);

    let consents = format!("{path}/consents");
    let given = json!({"given_by": "Franck", "how": "told me", "scope": "videos"});
    let agreed = service.post(&consents, &given).is(201).json();
    assert_eq!(agreed["videos"], standing(true, "given", Value::Null));
    let empty = json!({"given_by": "", "how": "told me"});
    service.post(&consents, &empty).problem(422, "invalid_value");

    let more = Form::new().photo(&fixture("clm/franck_02888.jpg"));
    let more = service.send_form(&format!("{path}/photos"), more).is(201).json();
    assert_eq!(more["photos"], 2);
    let other = Form::new().photo(b"no picture");
    let other = service.send_form(&format!("{path}/photos"), other);
    assert_eq!(refused(other), [(0, "unreadable".to_owned())]);
    let first = service.get("/v1/collections/shop/faces?limit=1").is(200).json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = service.get(&format!("/v1/collections/shop/faces?limit=1&cursor={cursor}")).json();
    assert_ne!(first["items"][0]["id"], second["items"][0]["id"]);
    for page in [&first, &second] {
        let face = page["items"][0].as_object().unwrap();
        let fields: Vec<&str> = face.keys().map(String::as_str).collect();
        assert_eq!(fields, ["created_at", "id", "name", "person"], "never a picture");
        assert_eq!(face["person"], person["id"]);
    }
    assert!(second.get("next_cursor").is_none());
    service.get("/v1/collections/other/faces").problem(404, "not_found");
    service.get("/v1/people?collection=other").problem(404, "not_found");

    let gone = service.post(&format!("{path}/withdraw"), &json!({"by": "Franck"})).is(200).json();
    assert_eq!((&gone["videos"]["shown"], &gone["live"]["shown"]), (&false.into(), &false.into()));
    assert_eq!(gone["live"]["consent"], "withdrawn");
    let records = service.get(&consents).is(200).json();
    let records = records["items"].as_array().unwrap();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|r| r["withdrawn_by"] == "Franck" && r["withdrawn_at"].is_string()));

    service.delete(&path).is(204);
    for gone in [&path, &consents] {
        service.get(gone).problem(404, "not_found");
    }
    service.delete(&path).problem(404, "not_found");
    let done = ["create_key", "enrol", "grant", "grant", "enrol", "withdraw", "delete"];
    assert_eq!(actions(&service), done);
    let log = service.get("/v1/audit?limit=3").json();
    assert_eq!(log["items"][1]["subject"], person["id"]);
    assert!(log["items"][1]["actor"].as_str().unwrap().starts_with("key "), "{log:#}");
    let cursor = log["next_cursor"].as_str().unwrap();
    let rest = service.get(&format!("/v1/audit?cursor={cursor}")).json();
    assert_eq!(rest["items"][0]["seq"], 4);
    let checked = service.get("/v1/audit/verify").is(200).json();
    assert_eq!((&checked["whole"], &checked["entries"]), (&true.into(), &7.into()));
    assert_eq!(checked["head"].as_str().unwrap().len(), 64);
}

#[test]
fn people_of_others_are_not_there() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let man = service.enrol_man();
    let (_, eve) = service.server.new_key("eve", &["read", "operate", "people", "originals"]);
    let as_eve = |method: &str, path: &str, body: Value| {
        let ask = service.server.ask(method, path).key(&eve);
        if method == "POST" { ask.json(&body).send() } else { ask.send() }
    };
    let path = format!("/v1/people/{man}");
    as_eve("GET", &path, Value::Null).problem(404, "not_found");
    as_eve("DELETE", &path, Value::Null).problem(404, "not_found");
    as_eve("GET", &format!("{path}/consents"), Value::Null).problem(404, "not_found");
    let consent = json!({"given_by": "eve", "how": "none"});
    as_eve("POST", &format!("{path}/consents"), consent).problem(404, "not_found");
    as_eve("POST", &format!("{path}/withdraw"), json!({"by": "eve"})).problem(404, "not_found");
    let photo = Form::new().photo(&fixture("clm/audrey.jpg"));
    let photo = service.send_form_as(&eve, &format!("{path}/photos"), photo);
    photo.problem(404, "not_found");
    as_eve("GET", "/v1/collections/shop/faces", Value::Null).problem(404, "not_found");
    as_eve("GET", "/v1/people?collection=shop", Value::Null).problem(404, "not_found");
    for list in ["/v1/people", "/v1/collections"] {
        assert_eq!(as_eve("GET", list, Value::Null).is(200).json()["items"], json!([]));
    }
    let picture = fixture("made/keep_man.jpg");
    let ask = service.server.ask("POST", "/v1/faces?collection=shop").key(&eve);
    let found = ask.header("Content-Type", "image/jpeg").body(picture.clone()).send();
    found.problem(404, "not_found");
    // Who is enrolled there is no near duplicate here.
    service.send_form_as(&eve, "/v1/people", Form::of("Man").photo(&picture)).is(201);

    let (_, reader) = service.server.new_key("admin", &["read"]);
    let form = service.send_form_as(&reader, "/v1/people", Form::of("x").photo(&picture));
    form.problem(403, "missing_scope");
    for path in ["/v1/audit", "/v1/audit/verify"] {
        service.server.ask("GET", path).key(&reader).send().problem(403, "missing_scope");
    }
    let withdraw = service.server.ask("POST", &format!("{path}/withdraw")).key(&reader);
    withdraw.json(&json!({"by": "x"})).send().problem(403, "missing_scope");
    assert_eq!(service.get(&path).json()["videos"]["shown"], true);
}

/// Names of files in the rooms of the server's staging folder.
fn in_rooms(s: &Scratch) -> Vec<String> {
    fn look(folder: &Path, names: &mut Vec<String>) {
        // A room may go while it is looked at.
        for path in folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                look(&path, names);
            } else {
                names.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    let mut names = Vec::new();
    look(&s.path("data/staging"), &mut names);
    names.retain(|name| name != "lock");
    names
}

#[test]
fn a_photo_is_never_on_the_disk_in_the_clear_not_even_while_it_is_looked_at() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let photo = fixture("made/keep_man.jpg");
    let marker = &photo[photo.len() / 2..photo.len() / 2 + 32];
    s.write("data/marked", marker);
    assert!(on_disk(&s, marker), "a photo in the clear would not be seen");
    std::fs::remove_file(s.path("data/marked")).unwrap();
    let mut seen = false;
    std::thread::scope(|scope| {
        let enrolled = scope.spawn(|| service.enrol_man());
        while !enrolled.is_finished() {
            seen |= in_rooms(&s).iter().any(|name| name == "photo 1");
            assert!(!on_disk(&s, marker));
        }
        enrolled.join().unwrap();
    });
    assert!(seen, "the test looked too late");
    assert!(!on_disk(&s, marker));
    assert_eq!(in_rooms(&s), [""; 0]);
}

#[test]
fn somebody_is_enrolled_by_a_track_of_a_covered_video() {
    let s = Scratch::new();
    let file = two_people(&s, "in.mp4");
    let service = Service::start(&s, "");
    let id = service.upload(&file, "");
    service.cover(&id, json!({}));
    let files = format!("/v1/videos/{id}/versions/1/files");
    let report = service.get(&format!("{files}/report.json")).json();
    let body = |name: &str, track: &Value| {
        json!({
            "collection": "shop", "name": name, "video": id, "version": 1, "track": track,
            "consent": {"given_by": "them", "how": "told me"},
        })
    };
    let enrol = |body: &Value| service.post("/v1/people/from-track", body);
    let mut enrolled = Vec::new();
    for (index, track) in report["tracks"].as_array().unwrap().iter().enumerate() {
        let answer = enrol(&body(&format!("person {index}"), &track["id"]));
        if answer.status == 201 {
            enrolled.push((track["id"].clone(), answer.json()));
        } else {
            answer.problem(422, "photo_refused");
        }
    }
    let (track, person) = enrolled.first().unwrap_or_else(|| panic!("{report:#}"));
    assert!(person["photos"].as_i64().unwrap() >= 1);
    let twin = refused(enrol(&body("twin", track)));
    assert_eq!(twin, [(0, "near_duplicate".to_owned())]);
    enrol(&body("nobody", &9999.into())).problem(422, "input_refused");
    let mut other = body("nobody", track);
    other["version"] = 9.into();
    enrol(&other).problem(404, "not_found");
    let (_, key) = service.server.new_key("admin", &["people"]);
    let ask = service.server.ask("POST", "/v1/people/from-track").key(&key);
    ask.json(&body("nobody", track)).send().problem(403, "missing_scope");
    let (_, eve) = service.server.new_key("eve", &["people", "originals"]);
    let ask = service.server.ask("POST", "/v1/people/from-track").key(&eve);
    ask.json(&body("nobody", track)).send().problem(404, "not_found");

    let log = service.get("/v1/audit").json();
    let read = log["items"].as_array().unwrap().iter().find(|e| {
        e["action"] == "read_original" && e["detail"].as_str().unwrap().contains("face crops")
    });
    let read = read.unwrap_or_else(|| panic!("{log:#}"));
    assert_eq!(read["subject"], id.as_str());
    assert!(read["actor"].as_str().unwrap().starts_with("key "), "{read:#}");

    let video = service.cover(&id, json!({"collection": "shop", "crf": 12.0}));
    let versions = service.get(&format!("/v1/videos/{id}/versions")).json();
    let shows = versions["items"][0]["shows"].as_array().unwrap();
    assert_eq!(shows.len(), enrolled.len(), "{video:#}");
    service.delete(&format!("/v1/videos/{id}/original")).is(204);
    enrol(&body("nobody", track)).problem(409, "no_original");
}
