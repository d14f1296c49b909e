//! What was recorded of a live session becomes a video: of segments as a live channel leaves them.

use domain::PersonId;
use serde_json::{Value, json};
use store::RecordingState;

use crate::support::live::{self, HER_FACE, HIS_FACE, Service, until, until_gone};
use crate::support::processes::{Worker, children, runs};
use crate::support::recorded::{Fragmented, Live, boxes};
use crate::support::{Packet, Scratch, Seconds};

/// The files of a recording that anybody may have.
const PUBLISHED: [&str; 4] = ["video.mp4", "poster.jpg", "segments.mp4", "media.m3u8"];

/// Four segments of six pictures of one man, with a tone.
fn clip(s: &Scratch, args: &str) -> Fragmented {
    s.clip("", &format!("-bf 0 -g 6 -keyint_min 6 -sc_threshold 0 -c:a aac {args} in.mp4"));
    let clip = Fragmented::of(s, "in.mp4", 6);
    assert_eq!(clip.fragments.len(), 4);
    clip
}

/// Two people for a second, in one segment.
fn two_people(s: &Scratch) -> Fragmented {
    live::two_people(s, "made.mp4");
    s.ffmpeg("-i made.mp4 -c:v libx264 -preset ultrafast -crf 14 -bf 0 -c:a copy in.mp4");
    Fragmented::of(s, "in.mp4", 250)
}

/// A recording of two people, of whom he may be seen; and his id.
fn shows_him(s: &Scratch) -> (Fragmented, Live, Service<'_>, String) {
    let clip = two_people(s);
    let live = Live::begin(s);
    live.record(0, 0, &clip, &clip.later(2));
    let service = Service::start(s, "");
    let man = service.enrol_man();
    live.shows(&[&man]);
    (clip, live, service, man)
}

/// The job that finishes a recording, once it is over.
fn finished(service: &Service, live: &Live) -> (String, Value) {
    let video = live.stop().to_string();
    let jobs = service.wait(&format!("/v1/jobs?video={video}"), |jobs| {
        jobs["items"].as_array().unwrap().iter().all(|job| !job["ended_at"].is_null())
    });
    let [job] = &jobs["items"].as_array().unwrap()[..] else { panic!("{jobs:#}") };
    assert_eq!(job["kind"], "recording");
    (video, job.clone())
}

/// Saves the public files of a video as files of the test; gives their names.
fn files(s: &Scratch, service: &Service, video: &str) -> Vec<String> {
    let video = service.get(&format!("/v1/videos/{video}")).is(200).json();
    let urls = video["published"]["urls"].as_array().unwrap();
    let save = |url: &Value| {
        let url = url.as_str().unwrap();
        let name = url.split('?').next().unwrap().rsplit('/').next().unwrap();
        let (status, bytes) = service.fetch(url, None);
        assert_eq!(status, 200, "{url}");
        s.write(name, bytes);
        name.to_owned()
    };
    urls.iter().map(save).collect()
}

/// What the packets hold.
fn hashes(packets: &[Packet]) -> Vec<String> {
    packets.iter().map(|packet| packet.hash.clone()).collect()
}

/// When packets come, and how long they are, counted from the first one.
fn times(packets: &[Packet]) -> Vec<(Seconds, Seconds)> {
    packets.iter().map(|packet| (packet.pts - packets[0].pts, packet.duration)).collect()
}

#[test]
fn it_is_one_mp4_with_the_packets_of_the_segments_a_poster_and_an_archive() {
    let s = Scratch::new();
    let clip = clip(&s, "");
    let live = Live::begin(&s);
    // The channel waited for a publisher for a while: its clock ran.
    live.record(0, 0, &clip, &clip.later(7));
    s.write("sent.mp4", clip.whole());
    let service = Service::start(&s, "");
    let (video, job) = finished(&service, &live);
    assert_eq!(job["state"]["name"], "done", "{job:#}");
    let names = files(&s, &service, &video);
    assert_eq!(names, PUBLISHED);

    s.assert_plays("video.mp4");
    let pictures = s.packets("video.mp4", "v:0");
    assert_eq!(pictures.len(), 24);
    for stream in ["v:0", "a:0"] {
        let (sent, made) = (s.packets("sent.mp4", stream), s.packets("video.mp4", stream));
        assert_eq!(hashes(&made), hashes(&sent), "{stream}");
        assert_eq!(made[0].pts, Seconds::new(0, 1));
        assert_eq!(times(&made), times(&sent), "{stream}");
        // An archive of the same segments; its clock is the channel's.
        let archived = s.packets("media.m3u8", stream);
        assert_eq!(hashes(&archived), hashes(&sent), "{stream}");
        assert_eq!(archived[0].pts, Seconds::new(7, 1));
    }
    let length = Seconds::new(i64::try_from(clip.ticks()).unwrap(), 90_000);
    let last = pictures.last().unwrap();
    assert_eq!(length - last.pts, last.duration);
    let content = s.read("video.mp4");
    let kinds: Vec<[u8; 4]> = boxes(&content).iter().map(|found| found.0).collect();
    let place = |kind: &[u8; 4]| kinds.iter().position(|k| k == kind).unwrap();
    assert!(place(b"moov") < place(b"mdat"), "players can begin before they have all of it");
    assert!(!kinds.contains(b"moof"));
    let poster = image::open(s.path("poster.jpg")).unwrap();
    assert_eq!((poster.width(), poster.height()), (320, 180));
    let playlist = String::from_utf8(s.read("media.m3u8")).unwrap();
    assert_eq!(playlist.matches("#EXTINF").count(), 4);
    assert!(!playlist.contains("DISCONTINUITY"));

    let milliseconds = clip.ticks() / 90;
    let result = &job["state"]["result"];
    assert_eq!((&result["incomplete"], &result["covered_again"]), (&json!([]), &json!(false)));
    assert_eq!((&result["segments"], &result["pictures"]), (&json!(4), &json!(24)));
    let event = service.event("recording.ready");
    assert_eq!(event["duration_ms"], milliseconds);
    for (what, name) in [("url", "video.mp4"), ("poster", "poster.jpg"), ("playlist", "media.m3u8")]
    {
        let url = event[what].as_str().unwrap();
        assert!(url.ends_with(&format!("/media/{video}/v1/{name}")), "{event:#}");
    }
    assert_eq!(live.state(), RecordingState::Ready { video: video.parse().unwrap() });
    until_gone(&live.folder, "what was recorded stayed beside what it became");
    let shown = service.get(&format!("/v1/videos/{video}")).is(200).json();
    assert_eq!((&shown["has_original"], &shown["state"]), (&json!(false), &json!("stored")));
    assert_eq!(shown["info"]["video"]["size"]["width"], 320);
    service.post(&format!("/v1/videos/{video}/mosaic"), &json!({})).problem(409, "no_original");
}

#[test]
fn where_another_server_took_over_there_is_no_pause_and_nothing_is_lost() {
    let s = Scratch::new();
    let clip = clip(&s, "");
    let live = Live::begin(&s);
    let (before, after) = (clip.later(3), clip.later(9));
    live.record(0, 0, &clip, &before[..2]);
    // The next server says the same header again, and its clock ran on meanwhile.
    live.record(1, 2, &clip, &after[2..]);
    s.write("sent.mp4", clip.whole());
    let service = Service::start(&s, "");
    let (video, job) = finished(&service, &live);
    assert_eq!(job["state"]["result"]["incomplete"], json!([]), "{job:#}");
    files(&s, &service, &video);
    s.assert_plays("video.mp4");
    let off = ["v:0", "a:0"].map(|stream| {
        let (sent, made) = (s.packets("sent.mp4", stream), s.packets("video.mp4", stream));
        assert_eq!(hashes(&made), hashes(&sent), "{stream}");
        let both = made.iter().zip(&sent).map(|(is, was)| (is.pts - was.pts).as_f64());
        both.collect::<Vec<_>>()
    });
    // At the seam one of both waits for the other, for less than a frame of sound.
    let late = off[0].last().unwrap();
    assert!((0.0..0.022).contains(late), "{late} s");
    for (stream, off) in off.iter().enumerate() {
        let is_one = |off: &f64| off.abs() < 0.001 || (off - late).abs() < 0.001;
        assert!(off.iter().all(is_one), "stream {stream} is not in step: {off:?}");
    }
    let playlist = String::from_utf8(s.read("media.m3u8")).unwrap();
    assert_eq!(playlist.matches("#EXT-X-DISCONTINUITY\n").count(), 1);
    assert_eq!(playlist.matches("#EXT-X-MAP").count(), 1, "both have the same header");
}

#[test]
fn what_one_mp4_cannot_hold_is_in_the_archive_and_what_comes_after_a_hole_is_left_out() {
    let s = Scratch::new();
    let other = clip(&s, "-ar 44100");
    let clip = clip(&s, "");
    let live = Live::begin(&s);
    live.record(0, 0, &other, &other.fragments[..1]);
    live.record(1, 1, &clip, &clip.later(1)[..3]);
    let lost = live.folder.join(format!("seg-0000000005-0000000001-{}.m4s", 18_000));
    std::fs::write(lost, &clip.fragments[3].bytes).unwrap();
    s.write("sent.mp4", clip.whole());
    let service = Service::start(&s, "");
    let (video, job) = finished(&service, &live);
    files(&s, &service, &video);
    s.assert_plays("video.mp4");
    let sent = s.packets("sent.mp4", "v:0");
    assert_eq!(hashes(&s.packets("video.mp4", "v:0")), hashes(&sent)[..18]);
    let result = &job["state"]["result"];
    let incomplete = result["incomplete"].as_array().unwrap();
    assert_eq!(incomplete.len(), 2, "{job:#}");
    assert!(incomplete[0].as_str().unwrap().contains("segment 4 is missing"), "{job:#}");
    assert!(incomplete[1].as_str().unwrap().contains("the format changed"), "{job:#}");
    let ticks = |clip: &Fragmented, n| clip.fragments[..n].iter().map(|f| f.ticks).sum::<u64>();
    assert_eq!(result["duration_ms"], ticks(&clip, 3) / 90);
    assert_eq!(result["recorded_ms"], (ticks(&clip, 3) + ticks(&other, 1)) / 90);
    let playlist = String::from_utf8(s.read("media.m3u8")).unwrap();
    assert_eq!(playlist.matches("#EXT-X-MAP").count(), 2);
    assert_eq!(playlist.matches("#EXTINF").count(), 4);
}

#[test]
fn who_is_seen_and_agrees_stays_and_is_covered_when_they_withdraw_later() {
    let s = Scratch::new();
    let (_, live, service, man) = shows_him(&s);
    let (video, job) = finished(&service, &live);
    assert_eq!(job["state"]["name"], "done", "{job:#}");
    let path = format!("/v1/videos/{video}");
    let version = service.get(&format!("{path}/versions")).is(200).json()["items"][0].clone();
    assert_eq!(version["shows"], json!([man]));
    let before = service.get(&path).is(200).json();
    let url = service.watch(&before, "first.mp4");
    s.assert_shown("in.mp4", "first.mp4", HIS_FACE);

    service.post(&format!("/v1/people/{man}/withdraw"), &json!({"by": "Man"})).is(200);
    for old in before["published"]["urls"].as_array().unwrap() {
        assert_eq!(service.fetch(old.as_str().unwrap(), None).0, 410, "{url}");
    }
    let after = service.wait(&path, |video| video["published"]["version"] == 2);
    service.watch(&after, "again.mp4");
    s.assert_plays("again.mp4");
    s.assert_covered("in.mp4", "again.mp4", HIS_FACE);
    s.assert_covered("in.mp4", "again.mp4", HER_FACE);
    assert_eq!(files(&s, &service, &video), PUBLISHED);
    s.assert_plays("segments.mp4");
    s.assert_covered("in.mp4", "segments.mp4", HIS_FACE);
    assert_eq!(live.state(), RecordingState::Ready { video: video.parse().unwrap() });
}

#[test]
fn who_withdrew_during_the_broadcast_is_covered_before_anybody_gets_the_recording() {
    let s = Scratch::new();
    let (clip, live, service, man) = shows_him(&s);
    service.post(&format!("/v1/people/{man}/withdraw"), &json!({"by": "Man"})).is(200);
    let (video, job) = finished(&service, &live);
    let result = &job["state"]["result"];
    assert_eq!(result["covered_again"], true, "{job:#}");
    assert_eq!(files(&s, &service, &video), PUBLISHED);
    for file in ["video.mp4", "segments.mp4"] {
        s.assert_plays(file);
        s.assert_covered("in.mp4", file, HIS_FACE);
        s.assert_covered("in.mp4", file, HER_FACE);
    }
    let text = String::from_utf8(s.read("media.m3u8")).unwrap();
    let seconds = text.lines().filter_map(|line| line.strip_prefix("#EXTINF:")?.strip_suffix(','));
    let seconds: f64 = seconds.map(|seconds| seconds.parse::<f64>().unwrap()).sum();
    assert!((seconds - clip.ticks() as f64 / 90_000.0).abs() < 0.1, "{text}");
    let versions = service.get(&format!("/v1/videos/{video}/versions")).is(200).json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 1);
    assert_eq!(versions["items"][0]["shows"], json!([]));
    assert_eq!(service.event("recording.ready")["duration_ms"], clip.ticks() / 90);
    let playlist = service.event("recording.ready")["playlist"].clone();
    assert!(playlist.as_str().unwrap().ends_with("/media.m3u8"), "{playlist}");
}

#[test]
fn a_recording_whose_worker_is_killed_is_finished_by_another_and_published_once() {
    let s = Scratch::new();
    s.ffmpeg(
        "-ss 2 -t 16 -i @made/two_people.mp4 -vf scale=640:240 -c:v libx264 -preset ultrafast -bf 0 \
         -g 250 -keyint_min 250 -sc_threshold 0 -c:a copy in.mp4",
    );
    let clip = Fragmented::of(&s, "in.mp4", 250);
    let live = Live::begin(&s);
    live.record(0, 0, &clip, &clip.fragments);
    // Somebody who is not known any more: all of it is looked at, which takes a while.
    live.shows(&[&PersonId::new(0).to_string()]);
    let service = Service::start_as(&s, "[jobs]\nworkers = 0\nlease_seconds = 5\n");
    let first = Worker::start(&s, "first");
    let video = live.stop().to_string();
    let jobs = format!("/v1/jobs?video={video}");
    let child = until(|| match children(first.id())[..] {
        [child] => Ok(child),
        ref others => Err(format!("children {others:?}")),
    });
    first.signal("KILL");
    let _second = Worker::start(&s, "second");
    until(|| if runs(child) { Err("the child stayed".to_owned()) } else { Ok(()) });
    assert_eq!(first.end(), None);
    assert!(matches!(live.state(), RecordingState::Finishing { .. }));
    let jobs = service.wait(&jobs, |jobs| !jobs["items"][0]["ended_at"].is_null());
    let job = &jobs["items"][0];
    assert_eq!((&job["state"]["name"], &job["attempt"]), (&json!("done"), &json!(2)), "{job:#}");
    let versions = service.get(&format!("/v1/videos/{video}/versions")).is(200).json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 1);
    files(&s, &service, &video);
    s.assert_covered("in.mp4", "video.mp4", HIS_FACE);
    let events = service.get("/v1/events?limit=100").is(200).json();
    let ready = events["items"].as_array().unwrap().iter();
    assert_eq!(ready.filter(|event| event["type"] == "garim.recording.ready").count(), 1);
    until_gone(&live.folder, "what was recorded stayed");
}

#[test]
fn a_recording_that_cannot_be_played_fails_and_stays_until_its_video_is_deleted() {
    let s = Scratch::new();
    let clip = clip(&s, "");
    let live = Live::begin(&s);
    live.record(0, 0, &clip, &clip.fragments);
    let header = live.folder.join("init-0000000000.mp4");
    std::fs::write(header, b"no header").unwrap();
    let service = Service::start(&s, "");
    let (video, job) = finished(&service, &live);
    assert_eq!(job["state"]["failure"]["code"], "input_refused", "{job:#}");
    let reason = service.event("recording.failed")["reason"].as_str().unwrap().to_owned();
    assert!(!reason.is_empty() && !reason.contains("staging"), "{reason}");
    assert_eq!(live.state(), RecordingState::Failed { reason });
    assert!(live.folder.exists());
    service.delete(&format!("/v1/videos/{video}")).is(204);
    until_gone(&live.folder, "what was recorded outlived its video");
}
