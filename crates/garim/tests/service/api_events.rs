//! What happened: as a list, as a stream, and told to webhooks.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::Sha256;
use store::{KeySource, Location, Store};

use crate::support::Scratch;
use crate::support::live::{PATIENCE, Service, header, receive};

/// A webhook that is told of new videos, and where its messages arrive.
fn hook(service: &Service) -> (Value, TcpListener) {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", target.local_addr().unwrap());
    let hook = service.post("/v1/webhooks", &json!({"url": url, "types": ["video.created"]}));
    (hook.is(201).json(), target)
}

fn deliveries(hook: &Value) -> String {
    format!("/v1/webhooks/{}/deliveries", hook["id"].as_str().unwrap())
}

#[test]
fn a_webhook_is_told_with_a_signature_and_again_when_it_did_not_take_it() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let (hook, target) = hook(&service);
    service.begin(100, "");
    let first = receive(&target, "500 Oh");
    let second = receive(&target, "200 OK");
    assert_eq!(header(&first, "webhook-id"), header(&second, "webhook-id"));
    assert!(header(&second, "content-type").starts_with("application/cloudevents+json"));
    let body = second.split("\r\n\r\n").nth(1).unwrap();
    let event: Value = serde_json::from_str(body).unwrap();
    assert_eq!(event["type"], "garim.video.created");
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"], header(&second, "webhook-id"));
    let listed = service.get("/v1/events").json();
    assert_eq!(listed["items"][0], event, "everybody is told the same");
    // Standard Webhooks, "Signature scheme".
    let secret = hook["secret"].as_str().unwrap().strip_prefix("whsec_").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&BASE64_STANDARD.decode(secret).unwrap()).unwrap();
    let (id, at) = (header(&second, "webhook-id"), header(&second, "webhook-timestamp"));
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    let right = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header(&second, "webhook-signature"), right);
    let path = format!("{}?state=delivered", deliveries(&hook));
    let delivered = service.wait(&path, |page| !page["items"].as_array().unwrap().is_empty());
    assert_eq!(delivered["items"][0]["attempt"], 2);
    assert!(!service.get("/v1/webhooks").is(200).body.contains(secret), "it is shown once");
}

#[test]
fn a_message_that_was_given_up_is_listed_and_sent_again_when_somebody_says_so() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let (hook, target) = hook(&service);
    service.begin(100, "");
    receive(&target, "503 Busy");
    let path = deliveries(&hook);
    service.wait(&path, |page| page["items"][0]["state"] == "due");
    // A day of refusals, by the clock of the test.
    let day = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    day.block_on(async {
        let key = KeySource::File(s.path("data/server.key"));
        let store = Store::open(&Location::Folder(s.path("data")), &key).await.unwrap();
        let mut now = Timestamp::now();
        let refused = store::Answer::Refused(Some(503), "busy".to_owned());
        for _ in 0..10 {
            now += SignedDuration::from_hours(24);
            let claimed = store.claim_delivery(SignedDuration::from_secs(60), now).await.unwrap();
            let Some(claimed) = claimed else { break };
            store.delivered(claimed.id, claimed.attempt, &refused, now).await.unwrap();
        }
        store.close().await;
    });
    let dead = service.get(&format!("{path}?state=dead")).is(200).json();
    let message = &dead["items"][0];
    assert_eq!((&message["attempt"], &message["status"]), (&10.into(), &503.into()), "{dead:#}");
    assert_eq!((&message["error"], &message["next_at"]), (&"busy".into(), &Value::Null));
    assert_eq!(message["event_type"], "video.created");
    let redeliver = format!("{path}/{}/redeliver", message["id"].as_str().unwrap());

    let (_, eve) = service.server.new_key("eve", &["read", "operate"]);
    let as_eve = |method: &str, path: &str| service.server.ask(method, path).key(&eve).send();
    as_eve("POST", &redeliver).problem(404, "not_found");
    as_eve("GET", &path).problem(404, "not_found");
    let one = format!("/v1/webhooks/{}", hook["id"].as_str().unwrap());
    as_eve("DELETE", &one).problem(404, "not_found");
    assert_eq!(as_eve("GET", "/v1/webhooks").json()["items"], json!([]));
    assert_eq!(as_eve("GET", "/v1/events").json()["items"], json!([]));

    let again = service.server.ask("POST", &redeliver).key(&service.server.admin).send();
    assert_eq!(again.status, 204, "{again:#?}");
    receive(&target, "200 OK");
    let delivered = service.wait(&path, |page| page["items"][0]["state"] == "delivered");
    assert_eq!(delivered["items"][0]["attempt"], 1);
    service.delete(&one).is(204);
    service.get(&path).problem(404, "not_found");
    service.delete(&one).problem(404, "not_found");
}

#[test]
fn addresses_that_are_none_are_refused() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let make = |body: Value| service.post("/v1/webhooks", &body);
    for url in ["", "ftp://example.com/", "http://user:secret@example.com/", "example.com"] {
        make(json!({"url": url})).problem(422, "invalid_value");
    }
    make(json!({"url": "http://localhost/", "types": ["Job Done"]})).problem(422, "invalid_value");
    make(json!({"url": "http://localhost/", "format": "xml"})).problem(422, "invalid_value");
    let (_, reader) = service.server.new_key("admin", &["read"]);
    let ask = service.server.ask("POST", "/v1/webhooks").key(&reader);
    ask.json(&json!({"url": "http://localhost/"})).send().problem(403, "missing_scope");
}

/// A client of the stream, and what it has heard.
struct Stream {
    socket: TcpStream,
    text: String,
}

impl Stream {
    fn open(service: &Service, key: &str, query: &str, headers: &str) -> Self {
        let mut socket = TcpStream::connect(service.server.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            socket,
            "GET /v1/events/stream{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer {key}\r\n{headers}\r\n"
        )
        .unwrap();
        let mut stream = Self { socket, text: String::new() };
        stream.wait_for("\r\n\r\n");
        stream
    }

    fn read(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let count = self.socket.read(&mut buffer).unwrap();
        self.text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        count
    }

    fn wait_for(&mut self, words: &str) {
        while !self.text.contains(words) {
            assert!(self.read() > 0, "{}", self.text);
        }
    }

    /// Everything up to the end that the server makes.
    fn rest(mut self) -> String {
        while self.read() > 0 {}
        self.text
    }
}

#[test]
fn events_are_followed_from_where_a_client_left_off() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let admin = &service.server.admin;
    service.begin(100, "");
    let mut resumed = Stream::open(&service, admin, "", "Last-Event-ID: 1\r\n");
    let mut new = Stream::open(&service, admin, "", "");
    let mut both = Stream::open(&service, admin, "?after=0", "");
    service.begin(200, "");
    for stream in [&mut resumed, &mut new, &mut both] {
        stream.wait_for("id: 2\n");
        assert!(stream.text.contains("text/event-stream"), "{}", stream.text);
    }
    assert!(!resumed.text.contains("id: 1\n") && !new.text.contains("id: 1\n"));
    both.wait_for("id: 1\n");
    let listed = service.get("/v1/events?after=1").is(200).json();
    assert_eq!(listed["last"], 2);
    let event = &listed["items"][0];
    both.wait_for(&format!("data: {{\"specversion\":\"1.0\",\"id\":{}", event["id"]));
    both.wait_for("event: garim.video.created\n");
    assert_eq!(event["sequence"], "2");
    service.get("/v1/events?limit=101").problem(400, "invalid_query");
    let odd = service.server.ask("GET", "/v1/events/stream").key(admin);
    odd.header("Last-Event-ID", "x").send().problem(400, "invalid_header");
}

#[test]
fn a_stream_ends_with_its_key_and_with_the_server() {
    let s = Scratch::new();
    let service = Service::start(&s, "");
    let (id, key) = service.server.new_key("mina", &["read"]);
    let followed = Stream::open(&service, &key, "", "");
    service.delete(&format!("/v1/keys/{id}")).is(204);
    let heard = followed.rest();
    assert!(!heard.contains("data: "), "{heard}");
    let followed = Stream::open(&service, &service.server.admin, "", "");
    let (code, _, log) = service.server.stop();
    assert_eq!(code, Some(0), "{log}");
    followed.rest();
}
