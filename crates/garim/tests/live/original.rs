//! What a publisher sent is kept, sealed, where the policy says so, and the recording is covered from it once more.

use std::io::Read;

use domain::VideoId;
use jiff::Timestamp;
use sealed::Reader;
use serde_json::{Value, json};
use store::{KeySource, Location, Store};

use crate::support::broadcast::{
    CLIP, LIVE, Publisher, Seen, Sight, Viewer, make_clip, shows_him, start, stop, watch_until,
};
use crate::support::live::{Service, on_disk, until};
use crate::support::{self, Scratch};

/// A channel of which the original is kept, and that shows who agrees.
fn start_keeping(service: &Service<'_>) -> Value {
    let policy = json!({"recording": "covered_and_sealed_original"});
    service.post("/v1/channels", &json!({"collection": "shop", "policy": policy})).is(201);
    let started = start(service, Some("shop"));
    assert_eq!(started["state"], "exist");
    started
}

/// He is not seen for most of a segment.
fn is_covered(seen: &[Seen]) -> bool {
    seen.windows(40).any(|seen| seen.iter().all(|picture| picture.him != Sight::Face))
}

/// The plaintext of a video's original.
fn unsealed(s: &Scratch, video: &str) -> Vec<u8> {
    let (location, key) = (Location::Folder(s.path("data")), s.path("data/server.key"));
    let video: VideoId = video.parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (of, parts) = runtime.block_on(async {
        let store = Store::open(&location, &KeySource::File(key)).await.unwrap();
        store.original("admin", video, "test", "test", Timestamp::now()).await.unwrap()
    });
    let records = parts.iter().map(|part| s.read(&format!("data/objects/{}", part.object)));
    let records: Vec<u8> = records.collect::<Vec<_>>().concat();
    let mut plain = Vec::new();
    Reader::new(std::io::Cursor::new(records), &of).unwrap().read_to_end(&mut plain).unwrap();
    plain
}

#[test]
fn a_recording_is_covered_once_more_from_its_sealed_original_which_has_nothing_that_was_hidden() {
    let s = Scratch::new();
    make_clip(&s);
    let service = Service::start(&s, LIVE);
    service.enrol_man();
    let started = start_keeping(&service);
    let mut viewer = Viewer::of(&s, &started);
    let url = started["source_url"].as_str().unwrap();
    let publisher = Publisher::start(&s, url);
    watch_until(&service, &mut viewer, shows_him);
    let cover = format!("/v1/channels/{}/cover-all", started["channel_id"].as_str().unwrap());
    service.server.ask("PUT", &cover).key(&service.server.admin).send().is(200);
    watch_until(&service, &mut viewer, is_covered);
    service.delete(&cover).is(200);
    watch_until(&service, &mut viewer, shows_him);
    // The same encoder comes back.
    drop(publisher);
    let publisher = Publisher::start(&s, url);
    watch_until(&service, &mut viewer, |seen| seen.len() > 200 && shows_him(&seen[100..]));
    drop(publisher);
    stop(&service, &started);
    assert_eq!(viewer.leaks(), 0);

    let ready = service.event("recording.ready");
    let id = ready["video"].as_str().unwrap();
    let path = format!("/v1/videos/{id}");
    let video = service.wait(&path, |video| video["published"]["version"] == 2);
    assert_eq!(video["has_original"], true, "{video:#}");
    service.watch(&video, "covered.mp4");
    s.write("original.mp4", unsealed(&s, id));
    s.assert_plays("covered.mp4");
    let photo = support::fixture("made/keep_man.jpg");
    let verified = format!("verify original.mp4 covered.mp4 --keep {}", photo.display());
    s.garim(&verified).ok();
    let vod = started["destination_url"]["vod"].as_str().unwrap();
    let (status, playlist) = service.fetch(&vod[vod.find("/vod/").unwrap()..], None);
    assert_eq!(status, 200, "the address that was given when the session began stays good");
    let playlist = String::from_utf8(playlist).unwrap();
    let mut lines = playlist.lines().filter(|line| !line.starts_with('#'));
    let segments = lines.find(|line| line.contains("/v2/segments.mp4")).unwrap();
    s.write("segments.mp4", service.fetch(segments, None).1);
    for file in ["covered.mp4", "segments.mp4"] {
        let mut seen = Viewer::of(&s, &started);
        seen.watch_file(file);
        assert_eq!(seen.leaks(), 0);
        assert!(shows_him(&seen.pictures));
    }

    // Every picture that was received is in it, but for those while everything was covered.
    let times: Vec<f64> = s.times("original.mp4").iter().map(|at| at.as_f64()).collect();
    assert_eq!(s.times("covered.mp4").len(), times.len());
    assert!(times[0] < 0.2, "it begins with the first picture: {}", times[0]);
    let holes: Vec<f64> =
        times.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 0.5).collect();
    assert!(!holes.is_empty() && holes.iter().any(|hole| *hole > 2.0), "{holes:?}");
    assert!(times.len() > 200);

    // Nothing of it is, or was, plain.
    let clip = s.read(CLIP);
    let needle = &clip[clip.len() / 2..clip.len() / 2 + 32];
    assert!(!on_disk(&s, needle), "what was received lies on the disk in the clear");
    until(|| match std::fs::read_dir(s.path("data/objects/received")).map(Iterator::count) {
        Ok(left) if left > 0 => Err("what was received is still there".to_owned()),
        _ => Ok(()),
    });
}
