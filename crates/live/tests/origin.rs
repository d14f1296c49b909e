//! Requests that wait at an origin. Time is paused: it passes only when everybody waits.
#![allow(clippy::unwrap_used)]

mod stream;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use live::hls::Rendition;
use live::origin::{CacheControl, Origin, Response, Status, WAITING_LIMIT};
use stream::{part, parts, playlist};
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;

fn origin(count: u64, waiting_limit: usize) -> Arc<Origin> {
    let origin = Origin::new(playlist(), waiting_limit);
    for part in parts(count) {
        origin.part(part).unwrap();
    }
    Arc::new(origin)
}

/// Starts that many requests and lets each run until it waits.
async fn ask(origin: &Arc<Origin>, count: usize, query: &'static str) -> JoinSet<Response> {
    let mut asked = JoinSet::new();
    for _ in 0..count {
        let origin = Arc::clone(origin);
        asked.spawn(async move { origin.playlist(query, true).await });
        yield_now().await;
    }
    asked
}

fn text(response: &Response) -> String {
    let mut text = String::new();
    if response.gzip {
        flate2::read::GzDecoder::new(&response.body[..]).read_to_string(&mut text).unwrap();
    } else {
        text.push_str(std::str::from_utf8(&response.body).unwrap());
    }
    text
}

#[tokio::test(start_paused = true)]
async fn one_part_wakes_two_hundred_who_share_one_answer() {
    let origin = origin(7, WAITING_LIMIT);
    let asked = ask(&origin, 200, "_HLS_msn=1&_HLS_part=1").await;
    assert_eq!(origin.waiting(), 200);
    origin.part(part(1, 1)).unwrap();
    let answers = asked.join_all().await;
    assert_eq!(origin.waiting(), 0);
    let first = &answers[0];
    assert_eq!(first.status, Status::Ok);
    assert_eq!(first.content_type, "application/vnd.apple.mpegurl");
    assert_eq!(first.cache, CacheControl::MaxAge(6));
    assert!(first.gzip);
    assert!(text(first).contains("URI=\"part-1.1.m4s\"\n#EXT-X-PRELOAD-HINT"), "{}", text(first));
    // Not only equal: the same bytes in memory, so it was rendered and compressed once.
    assert!(answers.iter().all(|a| a.body.as_ptr() == first.body.as_ptr()));
    let plain = origin.playlist("", false).await;
    assert_eq!(text(&plain), text(first));
    assert_eq!(plain.cache, CacheControl::MaxAge(1));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_never_answered_from_before_it() {
    let origin = origin(60, WAITING_LIMIT);
    for index in 0..3 {
        for (query, gzip) in [("", false), ("", true), ("_HLS_skip=YES", false)] {
            let answer = origin.playlist(query, gzip).await;
            let hint = format!("URI=\"part-10.{index}.m4s\"\n");
            assert!(text(&answer).ends_with(&hint), "{query} {gzip}");
        }
        origin.part(part(10, index)).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_told_after_three_target_durations() {
    let origin = origin(7, WAITING_LIMIT);
    let started = Instant::now();
    for answer in [origin.playlist("_HLS_msn=1", true).await, origin.media("part-1.1.m4s").await] {
        assert_eq!(answer.status, Status::Unavailable);
        assert_eq!(answer.cache, CacheControl::NoStore);
    }
    assert_eq!(started.elapsed(), Duration::from_secs(12));
    assert_eq!(origin.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn parts_in_between_do_not_make_a_request_wait_longer() {
    let origin = origin(7, WAITING_LIMIT);
    let started = Instant::now();
    let mut asked = ask(&origin, 1, "_HLS_msn=2").await;
    for index in 1..4 {
        tokio::time::advance(Duration::from_secs(1)).await;
        origin.part(part(1, index)).unwrap();
    }
    assert_eq!(asked.join_next().await.unwrap().unwrap().status, Status::Unavailable);
    assert_eq!(started.elapsed(), Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn the_hinted_part_is_held_until_it_is_there() {
    let origin = origin(11, WAITING_LIMIT);
    let mut asked = JoinSet::new();
    for name in ["part-1.5.m4s", "part-2.0.m4s"] {
        let origin = Arc::clone(&origin);
        asked.spawn(async move { (name, origin.media(name).await) });
    }
    yield_now().await;
    assert_eq!(origin.waiting(), 2);
    for (part, bytes) in [(part(1, 5), "<1.5>"), (part(2, 0), "<2.0>")] {
        origin.part(part).unwrap();
        let (name, answer) = asked.join_next().await.unwrap().unwrap();
        assert_eq!(answer.status, Status::Ok, "{name}");
        assert_eq!(answer.body, bytes, "{name}");
        assert_eq!(answer.cache, CacheControl::Immutable);
        assert_eq!(answer.content_type, "video/mp4");
    }
}

/// The hinted part never comes: its segment is cut short, or the session ends.
#[tokio::test(start_paused = true)]
async fn a_hint_that_was_wrong_is_not_found_at_once() {
    let started = Instant::now();
    let actions: [fn(&Origin); 3] = [
        |origin| {
            origin.map(Bytes::from_static(b"other"), stream::settings().segment_target).unwrap()
        },
        |origin| origin.part(part(2, 0)).unwrap(),
        Origin::end,
    ];
    for action in actions {
        let origin = origin(8, WAITING_LIMIT);
        let held = {
            let origin = Arc::clone(&origin);
            tokio::spawn(async move { origin.media("part-1.2.m4s").await })
        };
        yield_now().await;
        assert_eq!(origin.waiting(), 1);
        action(&origin);
        let answer = held.await.unwrap();
        assert_eq!(answer.status, Status::NotFound);
        assert_eq!(answer.cache, CacheControl::NoStore);
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn readers_who_go_away_leave_nothing_behind() {
    let origin = origin(7, 200);
    let mut asked = ask(&origin, 200, "_HLS_msn=1&_HLS_part=1").await;
    assert_eq!(origin.waiting(), 200);
    let refused = origin.playlist("_HLS_msn=1&_HLS_part=1", true).await;
    assert_eq!((refused.status, refused.cache), (Status::Unavailable, CacheControl::NoStore));
    // What is there is still answered.
    assert_eq!(origin.playlist("", true).await.status, Status::Ok);
    assert_eq!(origin.media("seg-0.m4s").await.status, Status::Ok);
    asked.shutdown().await;
    assert_eq!(origin.waiting(), 0);
    assert_eq!(Arc::strong_count(&origin), 1);
    let again = ask(&origin, 200, "_HLS_msn=1&_HLS_part=1").await;
    origin.part(part(1, 1)).unwrap();
    assert!(again.join_all().await.iter().all(|answer| answer.status == Status::Ok));
}

#[tokio::test(start_paused = true)]
async fn the_end_wakes_everybody() {
    let origin = origin(7, WAITING_LIMIT);
    let asked = ask(&origin, 3, "_HLS_msn=2&_HLS_part=0").await;
    assert_eq!(origin.waiting(), 3);
    origin.end();
    for answer in asked.join_all().await {
        assert!(text(&answer).ends_with("seg-1.m4s\n#EXT-X-ENDLIST\n"));
        assert_eq!(answer.cache, CacheControl::MaxAge(60));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_viewer_waits_for_the_first_part() {
    let origin = origin(0, WAITING_LIMIT);
    let asked = ask(&origin, 1, "").await;
    assert_eq!(origin.waiting(), 1);
    origin.part(part(0, 0)).unwrap();
    assert_eq!(asked.join_all().await[0].status, Status::Ok);
}

#[tokio::test(start_paused = true)]
async fn the_playlist_above_waits_for_the_first_part_too() {
    let origin = origin(0, WAITING_LIMIT);
    let (codecs, resolution) = ("avc1.64001f".to_owned(), (640, 360));
    origin.describe(Rendition { codecs, resolution, frame_rate: (30, 1) }).unwrap();
    let asked = {
        let origin = Arc::clone(&origin);
        tokio::spawn(async move { origin.multivariant("a/media.m3u8").await })
    };
    yield_now().await;
    assert_eq!(origin.waiting(), 1);
    origin.part(part(0, 0)).unwrap();
    let answer = asked.await.unwrap();
    assert_eq!((answer.status, answer.cache), (Status::Ok, CacheControl::MaxAge(1)));
    assert!(text(&answer).ends_with("\na/media.m3u8\n"));
    let none = Origin::new(playlist(), WAITING_LIMIT);
    none.end();
    assert_eq!(none.multivariant("media.m3u8").await.status, Status::NotFound);
}

#[tokio::test(start_paused = true)]
async fn refusals_say_why_and_are_not_kept() {
    let origin = origin(120, WAITING_LIMIT);
    let gone = Status::Gone;
    for (answer, status, why) in [
        (
            origin.playlist("_HLS_part=1", true).await,
            Status::BadRequest,
            "_HLS_part needs _HLS_msn",
        ),
        (
            origin.playlist("_HLS_msn=22", true).await,
            Status::BadRequest,
            "_HLS_msn=22 is too far in the future: 20 segments were completed",
        ),
        (origin.media("seg-0.m4s").await, gone, "no longer kept"),
        (origin.media("seg-20.m4s").await, Status::NotFound, "no such media"),
    ] {
        assert_eq!((answer.status, text(&answer).as_str()), (status, why));
        assert_eq!(answer.cache, CacheControl::NoStore, "{why}");
        assert!(!answer.gzip, "{why}");
    }
}

/// What the playlist refuses changes nothing for those who wait.
#[tokio::test(start_paused = true)]
async fn a_refused_part_wakes_nobody_into_an_answer() {
    let origin = origin(7, WAITING_LIMIT);
    let asked = ask(&origin, 1, "_HLS_msn=1&_HLS_part=1").await;
    let mut wrong = part(1, 0);
    wrong.independent = false;
    origin.part(wrong).unwrap_err();
    yield_now().await;
    assert_eq!(origin.waiting(), 1);
    origin.part(part(1, 1)).unwrap();
    assert_eq!(asked.join_all().await[0].status, Status::Ok);
}
