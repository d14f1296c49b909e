//! The shell of the server: keys, limits, errors, TLS, and how it stops.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::Scratch;
use crate::support::server::{Answer, Server, certificate, rest};

const KEY: &str = r#"{"user": "mina", "scopes": ["read"]}"#;

/// Something that the first admin key may see.
fn show_admin(server: &Server, key: &str) -> Answer {
    server.ask("GET", "/v1/users/admin").key(key).send()
}

#[test]
fn the_first_admin_key_is_printed_once() {
    let s = Scratch::new();
    let server = Server::start(&s, "");
    assert_eq!(server.admin.len(), 49, "{}", server.admin);
    show_admin(&server, &server.admin).is(200);
    let admin = server.admin.clone();
    let (code, rest, log) = server.stop();
    assert_eq!((code, rest.as_str()), (Some(0), ""));
    assert!(!log.contains(&admin[6..]), "{log}");
    let again = Server::start(&s, "");
    assert_eq!(again.admin, "");
    show_admin(&again, &admin).is(200);
    assert_eq!(again.stop().1, "");
}

#[test]
fn keys_of_the_command_line_open_the_server_and_take_the_place_of_the_first() {
    let s = Scratch::new();
    let made =
        s.garim("key create --user mina --scope read,operate --label phone --data data").ok();
    let key = made.stdout.trim();
    assert!(made.stderr.contains("not shown again") && !made.stderr.contains(&key[6..]));
    let server = Server::start(&s, "");
    assert_eq!(server.admin, "");
    server.ask("GET", "/v1/users/mina").key(key).send().is(200);
    let listed = s.garim("key list --json --data data").ok().stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["scopes"], json!(["read", "operate"]));
    let id = listed["id"].as_str().unwrap();
    assert!(s.garim("key list --data data").ok().stdout.contains("mina (phone): read,operate"));
    s.garim(&format!("key revoke {id} --data data")).ok();
    server.ask("GET", "/v1/users/mina").key(key).send().problem(401, "unauthenticated");
    assert!(s.garim("key list --data data").ok().stdout.contains("revoked"));
    let log = s.garim("audit list --store data").ok().stdout;
    assert!(log.contains("create_key") && log.contains("revoke_key"), "{log}");
    let none = s.garim("key create --user Mina --scope read --data data").error();
    assert!(none.contains("user's name"), "{none}");
    let wrong = s.garim("key create --user mina --scope root --data data");
    assert!(wrong.code == Some(2) && wrong.stderr.contains("originals"), "{wrong:#?}");
}

#[test]
fn nothing_but_health_and_the_document_answers_without_a_key() {
    let s = Scratch::new();
    let server = Server::start(&s, "limits.strangers_per_minute = 1000");
    let document = server.ask("GET", "/openapi.json").send().is(200).json();
    let mut open = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let at = path
                .replace("{id}", "01990000-0000-7000-8000-000000000000")
                .replace(['{', '}'], "");
            let ask = || server.ask(&method.to_uppercase(), &at);
            if operation["security"] == json!([{}]) {
                open.push(path.as_str());
                if path.starts_with("/media/") {
                    assert_eq!(ask().send().status, 404); // Signed instead: see service.rs.
                } else {
                    ask().send().is(200);
                }
                continue;
            }
            let wrong = format!("garim_{}", "A".repeat(43));
            for answer in [
                ask().send(),
                ask().key("").send(),
                ask().key(&wrong).send(),
                ask().key(&server.admin[..48]).send(),
                ask().header("Authorization", &format!("Basic {}", server.admin)).send(),
                ask().header("Authorization", "Bearer \u{1f600}").send(),
            ] {
                // An answer to HEAD has no body.
                let answer = match method.as_str() {
                    "head" => answer.is(401),
                    _ => answer.problem(401, "unauthenticated"),
                };
                assert_eq!(answer.header("www-authenticate"), "Bearer");
            }
        }
    }
    let media = "/media/{video}/{version}/{file}";
    open.sort_unstable();
    assert_eq!(open, ["/healthz", media, "/openapi.json", "/readyz"]);
}

#[test]
fn a_key_may_do_what_its_scopes_say_for_its_own_user() {
    let s = Scratch::new();
    let server = Server::start(&s, "");
    let (id, key) = server.new_key("mina", &["read"]);
    let ask = |method: &str, path: &str| server.ask(method, path).key(&key);
    ask("GET", "/v1/users/mina").send().is(200);
    ask("GET", "/v1/users/admin").send().problem(404, "not_found");
    ask("GET", "/v1/users/nobody").send().problem(404, "not_found");
    for (method, path) in [
        ("GET", "/v1/keys"),
        ("POST", "/v1/keys"),
        ("DELETE", &format!("/v1/keys/{id}")),
        ("PUT", "/v1/users/mina"),
        ("GET", "/metrics"),
    ] {
        let refused = ask(method, path).send().problem(403, "missing_scope");
        assert!(refused.body.contains("admin"), "{refused:#?}");
    }
    // Not even an admin has a scope that its key does not name.
    let (_, admin) = server.new_key("root", &["admin"]);
    show_admin(&server, &admin).problem(403, "missing_scope");
    server.ask("DELETE", &format!("/v1/keys/{id}")).key(&admin).send().is(204);
    ask("GET", "/v1/users/mina").send().problem(401, "unauthenticated");
}

#[test]
fn bodies_that_make_no_sense_are_refused_with_the_reason() {
    let s = Scratch::new();
    let server = Server::start(&s, "limits.body_bytes = 4096");
    let post = |body: &str| {
        let ask = server.ask("POST", "/v1/keys").key(&server.admin).body(body.to_owned());
        ask.header("Content-Type", "application/json; charset=utf-8").send()
    };
    post("").problem(400, "invalid_json");
    post("{").problem(400, "invalid_json");
    post(&"[".repeat(4000)).problem(422, "invalid_value");
    post(&format!(r#"{{"user": {}"#, "[".repeat(4000))).problem(422, "invalid_value");
    post(&format!(r#"{{"scopes": {}"#, "[".repeat(4000))).problem(400, "invalid_json");
    post(r#"["mina", ["read"]]"#).problem(422, "invalid_value");
    post("null").problem(422, "invalid_value");
    post("{}").problem(422, "invalid_value");
    post(r#"{"user": "mina", "scopes": ["root"]}"#).problem(422, "invalid_value");
    post(r#"{"user": "mina", "scopes": []}"#).problem(422, "invalid_value");
    post(r#"{"user": "../x", "scopes": ["read"]}"#).problem(422, "invalid_value");
    post(r#"{"user": "mina", "scopes": ["read"], "label": "a\u0000b"}"#)
        .problem(422, "invalid_value");
    post(r#"{"user": "mina", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}"#)
        .problem(422, "invalid_value");
    let unknown = post(r#"{"user": "mina", "scopes": ["read"], "admin": true}"#);
    assert!(unknown.problem(422, "invalid_value").body.contains("admin"));
    post(&format!("{KEY}{}", " ".repeat(5000))).problem(413, "too_large");
    let ask = server.ask("POST", "/v1/keys").key(&server.admin).body(KEY);
    ask.send().problem(415, "unsupported_media_type");
    // No length announced.
    let stream = server.start_post(&server.admin, "/v1/keys", "Transfer-Encoding: chunked");
    (&stream).write_all(format!("1400\r\n{}", " ".repeat(0x1400)).as_bytes()).unwrap();
    let answer = rest(stream);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too_large"), "{answer}");
    post(KEY).is(201);
}

#[test]
fn paths_methods_and_queries_that_make_no_sense_are_problems_too() {
    let s = Scratch::new();
    let server = Server::start(&s, "");
    for path in ["/", "/v1", "/v2/keys", "/v1/keys/", "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd"]
    {
        server.get(path).problem(404, "not_found");
    }
    for path in ["/v1/keys/1", "/v1/keys/%00", "/v1/keys/%ff", "/v1/keys/a%2Fb", "/v1/users/%ff"] {
        server.get(path).problem(404, "not_found");
    }
    let wrong = server.ask("PATCH", "/v1/keys").key(&server.admin).send();
    let wrong = wrong.problem(405, "method_not_allowed");
    assert!(wrong.header("allow").contains("POST"), "{wrong:#?}");
    for query in ["limit=0", "limit=201", "limit=-1", "limit=x", "limit=1&limit=2"] {
        server.get(&format!("/v1/keys?{query}")).problem(400, "invalid_query");
    }
    server.get("/v1/keys?cursor=AAAA").problem(400, "invalid_cursor");
    let id = server.get("/healthz");
    assert_eq!(id.header("x-content-type-options"), "nosniff");
    assert_eq!(id.header("cache-control"), "no-store");
    assert_eq!(id.header("x-request-id").len(), 32);
    let own = server.ask("GET", "/healthz").header("X-Request-Id", "job-7").send();
    assert_eq!(own.header("x-request-id"), "job-7");
}

#[test]
fn lists_come_in_pages_and_answers_have_tags() {
    let s = Scratch::new();
    let server = Server::start(&s, "");
    let mut made: Vec<String> = (0..5).map(|_| server.new_key("mina", &["read"]).0).collect();
    made.sort(); // Several may be of one millisecond.
    let (mut found, mut path) = (Vec::new(), "/v1/keys?user=mina&limit=2".to_owned());
    loop {
        let page = server.get(&path).is(200).json();
        let items = page["items"].as_array().unwrap();
        found.extend(items.iter().map(|key| key["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        assert_eq!(items.len(), 2);
        path = format!("/v1/keys?user=mina&limit=2&cursor={cursor}");
    }
    assert_eq!(found, made);

    let put = |tag: &str, days: i64| {
        let ask = server.ask("PUT", "/v1/users/jun").key(&server.admin);
        let ask = if tag.is_empty() { ask } else { ask.header("If-Match", tag) };
        ask.json(&json!({"retention_days": days})).send()
    };
    put("*", 3).problem(404, "not_found");
    put("", 3).is(200);
    let read = server.get("/v1/users/jun").is(200);
    let tag = read.header("etag");
    let known = server.ask("GET", "/v1/users/jun").key(&server.admin).header("If-None-Match", tag);
    let known = known.send().is(304);
    assert_eq!((known.body.as_str(), known.header("etag")), ("", tag));
    let head = server.ask("HEAD", "/v1/users/jun").key(&server.admin).send().is(200);
    assert_eq!((head.body.as_str(), head.header("etag")), ("", tag));
    put(tag, 4).is(200);
    put(tag, 5).problem(412, "precondition_failed");
    assert_eq!(server.get("/v1/users/jun").json()["retention_days"], 4);
}

#[test]
fn a_request_that_is_sent_again_does_nothing_again() {
    let s = Scratch::new();
    let server = Server::start(&s, "");
    let post = |name: &str, body: &str| {
        let ask = server.ask("POST", "/v1/keys").key(&server.admin).header("Idempotency-Key", name);
        ask.header("Content-Type", "application/json").body(body.to_owned()).send()
    };
    let (first, again) = (post("one", KEY).is(201), post("one", KEY).is(201));
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(
        (first.header("idempotent-replayed"), again.header("idempotent-replayed")),
        ("", "true")
    );
    post("one", &KEY.replace("mina", "jun")).problem(422, "idempotency_key_reused");
    post("", KEY).problem(400, "invalid_header");
    post(&"x".repeat(256), KEY).problem(400, "invalid_header");
    // A refusal is an answer too.
    post("two", "{}").problem(422, "invalid_value");
    assert_eq!(post("two", "{}").header("idempotent-replayed"), "true");
    // Another key's requests are others.
    let (_, other) = server.new_key("root", &["admin"]);
    let ask = server.ask("POST", "/v1/keys").key(&other).header("Idempotency-Key", "one");
    let others = ask.header("Content-Type", "application/json").body(KEY).send().is(201);
    assert_ne!(others.body, first.body);

    let keys = || server.get("/v1/keys?user=mina").json()["items"].as_array().unwrap().len();
    let before = keys();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| post("three", KEY))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (made, told): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status == 201);
    assert!(!made.is_empty() && made.iter().all(|answer| answer.body == made[0].body));
    told.into_iter().for_each(|answer| drop(answer.problem(409, "request_underway")));
    assert_eq!(keys(), before + 1);
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back() {
    let s = Scratch::new();
    let settings = "[limits]\nrequests_per_second = 1\nburst = 4\nstrangers_per_minute = 3";
    let server = Server::start(&s, settings);
    let refused = |ask: &dyn Fn() -> Answer| {
        let refused = (0..50).map(|_| ask()).find(|answer| answer.status == 429).unwrap();
        let refused = refused.problem(429, "too_many_requests");
        assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1, "{refused:#?}");
    };
    let (_, other) = server.new_key("mina", &["read"]);
    refused(&|| show_admin(&server, &server.admin));
    refused(&|| server.ask("GET", "/v1/keys").send());
    server.ask("GET", "/v1/users/mina").key(&other).send().is(200);
    server.ask("GET", "/healthz").send().is(200);
}

#[test]
fn one_key_has_so_many_requests_at_once() {
    let s = Scratch::new();
    let server = Server::start(&s, "limits.concurrent = 1");
    let length = format!("Content-Length: {}", KEY.len());
    let stream = server.start_post(&server.admin, "/v1/keys", &length);
    show_admin(&server, &server.admin).problem(429, "too_many_at_once");
    (&stream).write_all(KEY.as_bytes()).unwrap();
    assert!(rest(stream).starts_with("HTTP/1.1 201"));
    show_admin(&server, &server.admin).is(200);
}

#[test]
fn a_body_that_does_not_arrive_ends_the_request() {
    let s = Scratch::new();
    let server = Server::start(&s, "limits.timeout_seconds = 1");
    let stream = server.start_post(&server.admin, "/v1/keys", "Content-Length: 100");
    (&stream).write_all(b"{").unwrap();
    let answer = rest(stream);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("slow_body"), "{answer}");
    let stream = server.start_post(&server.admin, "/v1/keys", "Content-Length: 100");
    drop(stream); // The client went away.
    show_admin(&server, &server.admin).is(200);
}

#[test]
fn a_request_that_is_underway_is_answered_before_the_server_stops() {
    let s = Scratch::new();
    let mut server = Server::start(&s, "");
    let length = format!("Content-Length: {}", KEY.len());
    let stream = server.start_post(&server.admin, "/v1/keys", &length);
    server.signal("TERM");
    server.wait_for("stopping");
    let address = server.address;
    (&stream).write_all(KEY.as_bytes()).unwrap();
    let answer = rest(stream);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let (code, _, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_request_that_does_not_end_keeps_the_server_only_so_long() {
    let s = Scratch::new();
    let server = Server::start(&s, "limits.shutdown_seconds = 0");
    let stream = server.start_post(&server.admin, "/v1/keys", "Content-Length: 100");
    assert_eq!(server.stop().0, Some(0));
    drop(stream);
}

#[test]
fn settings_that_make_no_sense_are_all_named_and_nothing_starts() {
    let s = Scratch::new();
    let error = Server::refusal(&s, "listen = '0.0.0.0:0'\n[limits]\nburst = 'many'\nsped = 1");
    for words in ["garim.toml", "allow_plain_http", "limits.burst", "limits.sped"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(!s.path("data").exists());
    let error = Server::refusal(&s, "[tls]\ncertificate = 'no.pem'\nkey = 'no.key'");
    assert!(error.contains("no.pem"), "{error}");
    let server = Server::start(&s, "listen = '0.0.0.0:0'\nallow_plain_http = true");
    assert!(server.address.ip().is_unspecified());
}

#[test]
fn tls_is_spoken_with_a_certificate() {
    let s = Scratch::new();
    let trusted = certificate(&s);
    let settings = "[tls]\ncertificate = 'cert.pem'\nkey = 'key.pem'";
    let server = Server::start_with(&s, settings, &[], |client| client.tls_certs_only([trusted]));
    let answer = show_admin(&server, &server.admin).is(200);
    assert_eq!(answer.json()["name"], "admin");
    let mut plain = TcpStream::connect(server.address).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: garim\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut answer);
    assert!(!answer.starts_with(b"HTTP"));
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn pages_of_others_may_call_only_if_the_settings_say_so() {
    let s = Scratch::new();
    let origin = "https://console.example.org";
    let preflight = |server: &Server, origin: &str| {
        let ask = server.ask("OPTIONS", "/v1/keys").header("Origin", origin);
        ask.header("Access-Control-Request-Method", "POST").send()
    };
    let closed = Server::start(&s, "");
    preflight(&closed, origin).problem(405, "method_not_allowed");
    let answer = closed.ask("GET", "/healthz").header("Origin", origin).send();
    assert_eq!(answer.header("access-control-allow-origin"), "");
    drop(closed);
    let open = Server::start(&s, &format!("cors.origins = ['{origin}']"));
    assert_eq!(preflight(&open, origin).header("access-control-allow-origin"), origin);
    let other = preflight(&open, "https://evil.example.org");
    assert_eq!(other.header("access-control-allow-origin"), "");
}

#[test]
fn requests_are_counted_by_route() {
    let s = Scratch::new();
    let server = Server::start(&s, "");
    server.get("/v1/users/admin").is(200);
    server.get("/v1/users/nobody").is(404);
    server.get("/no/such/path").is(404);
    let text = server.get("/metrics").is(200).body;
    let route = "method=\"GET\",route=\"/v1/users/{user}\"";
    for line in [
        format!("garim_http_requests_total{{{route},status=\"200\"}} 1"),
        format!("garim_http_requests_total{{{route},status=\"404\"}} 1"),
        format!("garim_http_request_seconds_count{{{route}}} 2"),
        "garim_http_requests_underway 1".to_owned(),
        "garim_jobs{state=\"queued\"} 0".to_owned(),
        "garim_jobs{state=\"running\"} 0".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("nobody") && !text.contains("such"), "{text}");
}

#[test]
fn no_secret_is_in_the_log_however_much_is_logged() {
    for format in ["human", "json"] {
        let s = Scratch::new();
        let server = Server::start(&s, &format!("[log]\nfilter = 'trace'\nformat = '{format}'"));
        let (_, key) = server.new_key("mina", &["read"]);
        let admin = server.admin.clone();
        server.ask("GET", "/v1/users/mina").key(&key).send().is(200);
        server.ask("GET", &format!("/v1/users/mina?key={key}&signature=sealed")).key(&key).send();
        server.ask("GET", &format!("/v1/keys/{key}")).key(&admin).send().is(404);
        server.ask("POST", "/v1/keys").key(&admin).json(&json!({ "user": key })).send().is(422);
        let replayed = server.ask("POST", "/v1/keys").key(&admin).header("Idempotency-Key", "one");
        let made = replayed.json(&json!({"user": "jun", "scopes": ["read"]})).send().is(201).json();
        let wrong = format!("garim_{}", "secret".repeat(7) + "x");
        server.ask("GET", "/v1/keys").key(&wrong).send().is(401);
        let (code, _, log) = server.stop();
        assert_eq!(code, Some(0));
        assert!(log.contains("answered") && log.contains("/v1/users/mina"), "{log}");
        for secret in [&admin, &key, &wrong, made["secret"].as_str().unwrap()] {
            assert!(!log.contains(&secret[6..]), "{secret} is in the log:\n{log}");
        }
        assert!(!log.contains("signature=") && !log.contains("Bearer"), "{log}");
        if format == "json" {
            log.lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap()));
        }
    }
}

/// Compares with docs/reference/openapi.json; `GARIM_UPDATE_SNAPSHOTS=1` writes it instead.
#[test]
fn the_document_in_the_docs_is_that_of_the_server() {
    let s = Scratch::new();
    let server = Server::start(&s, "");
    let text = server.ask("GET", "/openapi.json").send().is(200).body;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/openapi.json");
    if std::env::var_os("GARIM_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == expected,
        "/openapi.json is not docs/reference/openapi.json; if that is meant, run the tests with \
         GARIM_UPDATE_SNAPSHOTS=1"
    );
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut names = std::collections::HashSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(names.insert(operation["operationId"].as_str()), "{method} {path}: name it");
            assert!(operation["summary"].is_string(), "{method} {path} does not say what it does");
            assert!(operation["responses"]["503"].is_object(), "{method} {path} says no errors");
        }
    }
}
