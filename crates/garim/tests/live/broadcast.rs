//! Live from end to end: a real publisher, a real server with its child, and the pixels that a viewer gets.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::Scratch;
use crate::support::broadcast::{
    LIVE, Publisher, Seen, Sight, Viewer, is_published, make_clip, shows_him, start, stop,
    turned_away, watch_until,
};
use crate::support::live::{Service, until};
use crate::support::processes::children;
use crate::support::server;

/// The ends of two segments later.
fn goes_on(seen: &[Seen]) -> bool {
    seen.len() >= 96
}

fn channel(service: &Service<'_>, started: &Value) -> Value {
    let id = started["channel_id"].as_str().unwrap();
    service.get(&format!("/v1/channels/{id}")).is(200).json()
}

/// Saves the recording as `recorded.mp4`, once it is there; gives what the event says of it.
fn save_recording(s: &Scratch, service: &Service<'_>) -> Value {
    let ready = service.event("recording.ready");
    let video = ready["video"].as_str().unwrap();
    let video = service.get(&format!("/v1/videos/{video}")).is(200).json();
    service.watch(&video, "recorded.mp4");
    s.assert_plays("recorded.mp4");
    ready
}

#[test]
fn strangers_are_covered_and_who_agrees_is_shown_until_they_do_not_any_more() {
    let s = Scratch::new();
    make_clip(&s);
    let service = Service::start(&s, LIVE);
    let man = service.enrol_man();
    let started = start(&service, Some("shop"));
    assert_eq!(started["state"], "create");
    assert_eq!(start(&service, Some("shop"))["source_url"], started["source_url"]);
    let mut viewer = Viewer::of(&s, &started);
    let url = started["source_url"].as_str().unwrap();
    let publisher = Publisher::start(&s, url);
    watch_until(&service, &mut viewer, shows_him);
    assert_eq!(channel(&service, &started)["ingest"]["state"], "connected");

    service.post(&format!("/v1/people/{man}/withdraw"), &json!({"by": "Man"})).is(200);
    let withdrawn = Timestamp::now();
    watch_until(&service, &mut viewer, goes_on);
    watch_until(&service, &mut viewer, goes_on);
    let late = withdrawn + SignedDuration::from_secs(1);
    let shown_late = viewer.pictures.iter().filter(|p| p.at > late && p.him == Sight::Face).count();
    assert_eq!(shown_late, 0, "a second after he withdrew he is covered");

    // The encoder dies; the playlist goes on, and the same encoder comes back to it.
    drop(publisher);
    watch_until(&service, &mut viewer, goes_on);
    assert_eq!(channel(&service, &started)["ingest"]["state"], "reconnecting");
    let publisher = Publisher::start(&s, url);
    until(|| match channel(&service, &started)["ingest"]["state"].as_str() {
        Some("connected") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    watch_until(&service, &mut viewer, goes_on);
    drop(publisher);

    stop(&service, &started);
    viewer.look(&service);
    assert!(viewer.ended, "the playlist says that it is over");
    assert_eq!(viewer.leaks(), 0, "she was covered in every picture");
    assert_eq!(
        viewer.discontinuities, 1,
        "but for the slate before the first picture it is one stream"
    );

    // He agreed to be in the broadcast and then to nothing: he is not in the video.
    save_recording(&s, &service);
    let mut recorded = Viewer::of(&s, &started);
    recorded.watch_file("recorded.mp4");
    assert!(recorded.pictures.len() > 200);
    let seen = |p: &&Seen| p.her == Sight::Face || p.him == Sight::Face;
    assert_eq!(recorded.pictures.iter().filter(seen).count(), 0);
}

#[test]
fn a_child_that_is_killed_is_followed_by_another_and_nothing_is_uncovered() {
    let s = Scratch::new();
    make_clip(&s);
    let service = Service::start(&s, LIVE);
    service.enrol_man();
    let started = start(&service, Some("shop"));
    let mut viewer = Viewer::of(&s, &started);
    let url = started["source_url"].as_str().unwrap();
    let wrong = turned_away(&s, &format!("{}x", &url[..url.len() - 1]));
    assert!(wrong.contains("stream key"), "{wrong}");
    let _publisher = Publisher::start(&s, url);
    watch_until(&service, &mut viewer, shows_him);
    let busy = turned_away(&s, url);
    assert!(busy.contains("already") || busy.contains("in use"), "{busy}");

    for child in children(service.server.id()) {
        server::signal(child, "KILL");
    }
    service.event("protection.blocked");
    watch_until(&service, &mut viewer, shows_him);
    service.event("protection.restored");
    assert_eq!(viewer.leaks(), 0);
    assert_eq!(viewer.discontinuities, 1);

    // One call covers everything, until it is released.
    let cover = format!("/v1/channels/{}/cover-all", started["channel_id"].as_str().unwrap());
    service.server.ask("PUT", &cover).key(&service.server.admin).send().is(200);
    watch_until(&service, &mut viewer, goes_on);
    let from = viewer.pictures.len();
    watch_until(&service, &mut viewer, goes_on);
    assert!(viewer.pictures[from..].iter().all(|p| p.him != Sight::Face));
    service.delete(&cover);
    watch_until(&service, &mut viewer, shows_him);
    assert_eq!(viewer.leaks(), 0);
}

#[test]
fn a_server_that_is_killed_comes_back_with_its_channels_and_the_recording_goes_on() {
    let s = Scratch::new();
    make_clip(&s);
    let service = Service::start(&s, LIVE);
    let started = start(&service, None);
    let mut viewer = Viewer::of(&s, &started);
    let publisher = Publisher::start(&s, started["source_url"].as_str().unwrap());
    watch_until(&service, &mut viewer, is_published);
    let admin = service.server.admin.clone();
    server::signal(service.server.id(), "KILL");
    drop((service, publisher));

    let mut service = Service::start(&s, LIVE);
    service.server.admin = admin;
    // Once the lease of the one that was killed is over, the other sends.
    watch_until(&service, &mut viewer, |seen| !seen.is_empty());
    // The address has another port, because the test asked for any; the key is the same.
    let again = start(&service, None);
    assert_eq!(again["channel_id"], started["channel_id"]);
    let key = |answer: &Value| {
        answer["source_url"].as_str().unwrap().rsplit('/').next().map(str::to_owned)
    };
    assert_eq!(key(&again), key(&started));
    let _publisher = Publisher::start(&s, again["source_url"].as_str().unwrap());
    watch_until(&service, &mut viewer, is_published);
    stop(&service, &started);
    assert_eq!(viewer.leaks(), 0);
    let ready = save_recording(&s, &service);
    // Both halves, less the segment that was under way when the server was killed.
    assert!(ready["duration_ms"].as_u64().unwrap() >= 8000, "{ready}");

    // The address that was given when it began is that of the archive now.
    let vod = again["destination_url"]["vod"].as_str().unwrap();
    let (status, playlist) = service.fetch(&vod[vod.find("/vod/").unwrap()..], None);
    let playlist = String::from_utf8(playlist).unwrap();
    assert_eq!(status, 200, "{playlist}");
    let segment = playlist.lines().find(|line| !line.starts_with('#')).unwrap();
    let path = &segment[segment.find("/media/").unwrap()..];
    assert_eq!(service.fetch(path, Some("bytes=0-99")).0, 206, "{playlist}");
    let seconds =
        |line: &str| line.strip_prefix("#EXTINF:")?.trim_end_matches(',').parse::<f64>().ok();
    assert!(playlist.lines().filter_map(seconds).sum::<f64>() >= 8.0, "{playlist}");
}
