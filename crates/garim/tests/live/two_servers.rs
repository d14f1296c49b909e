//! Two servers that share a PostgreSQL database and the objects: the one that has a live channel is killed, and the other
//! one goes on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::support::Scratch;
use crate::support::broadcast::{
    Publisher, Viewer, is_published, make_clip, start, stop, turned_away, watch_until,
};
use crate::support::live::{Service, until};
use crate::support::servers;

/// Settings of a server that is found by others on a free port.
fn settings() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!(
        "listen = '127.0.0.1:{port}'\ndatabase_file = 'database'\n[live]\nlisten = '127.0.0.1:0'\n\
         server_url = 'http://127.0.0.1:{port}'\n"
    )
}

/// The status of a request without a key, and where it is sent on to.
fn sent_on(service: &Service<'_>, path: &str) -> (String, String) {
    let mut socket = TcpStream::connect(service.server.address).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().to_owned();
    let location = answer.lines().find_map(|line| line.strip_prefix("location: "));
    (status, location.unwrap_or_default().to_owned())
}

#[test]
fn when_the_server_of_a_channel_is_killed_another_goes_on_and_one_recording_has_both_halves() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(url) = runtime.block_on(servers::postgres()) else { return };
    let s = Scratch::new();
    make_clip(&s);
    s.write("database", url);
    let first = Service::start(&s, &settings());
    let started = start(&first, None);
    let source = started["source_url"].as_str().unwrap();
    let mut viewer = Viewer::of(&s, &started);
    let publisher = Publisher::start(&s, source);
    watch_until(&first, &mut viewer, is_published);

    // The other one says who has the channel: to its user, to viewers and to encoders.
    let mut second = Service::start(&s, &settings());
    second.server.admin.clone_from(&first.server.admin);
    let told = second.server.wait_for("publishers may come to ");
    let rtmp = told.rsplit(' ').next().unwrap().trim();
    assert_eq!(start(&second, None)["source_url"], source);
    let live = started["destination_url"]["live"].as_str().unwrap();
    let live = &live[live.find("/live/").unwrap()..];
    for path in [live.to_owned(), live.replace("index", "media") + "?_HLS_msn=1"] {
        let location = format!("http://{}{path}", first.server.address);
        assert_eq!(sent_on(&second, &path), ("307".to_owned(), location));
    }
    let key = source.rsplit('/').next().unwrap();
    let wrong_door = turned_away(&s, &format!("{rtmp}/live/{key}"));
    assert!(wrong_door.contains("another server has the stream"), "{wrong_door}");

    first.server.signal("KILL");
    drop((first, publisher));
    // Once the lease of the one that was killed is over.
    let channel = format!("/v1/channels/{}", started["channel_id"].as_str().unwrap());
    until(|| match start(&second, None)["source_url"].as_str().unwrap() {
        url if url.starts_with(rtmp) => Ok(()),
        url => Err(url.replace(key, "KEY")),
    });
    second.wait(&channel, |channel| channel["state"] == "running");
    let _publisher = Publisher::start(&s, &format!("{rtmp}/live/{key}"));
    watch_until(&second, &mut viewer, is_published);
    stop(&second, &started);
    assert_eq!(viewer.leaks(), 0);
    let ready = second.event("recording.ready");
    // Both halves, less the segment that was under way when the server was killed.
    assert!(ready["duration_ms"].as_u64().unwrap() >= 8000, "{ready:#}");
    let video = second.get(&format!("/v1/videos/{}", ready["video"].as_str().unwrap()));
    second.watch(&video.is(200).json(), "recorded.mp4");
    s.assert_plays("recorded.mp4");
}
