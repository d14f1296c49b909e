//! Playlists in full, what is asked of them, and what they refuse.
#![allow(clippy::unwrap_used)]

mod stream;

use bytes::Bytes;
use live::hls::{
    Decision, Duration90k, InvalidQuery, Media, Part, Playlist, PlaylistError, PlaylistQuery,
    Rendition, Settings, Variant,
};
use stream::{FRAME, part, parts, playlist, settings};

fn filled(count: u64) -> Playlist {
    let mut playlist = playlist();
    for part in parts(count) {
        playlist.part(part).unwrap();
    }
    playlist
}

fn ready(playlist: &Playlist, name: &str) -> String {
    match playlist.media(name) {
        Media::Ready(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn the_first_parts() {
    assert_eq!(
        filled(2).text(false),
        "\
#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.001001,HOLD-BACK=6.0,CAN-SKIP-UNTIL=12.0
#EXT-X-PART-INF:PART-TARGET=0.333667
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-MAP:URI=\"init-0.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2026-07-01T12:00:00.000Z
#EXT-X-PART:DURATION=0.333667,URI=\"part-0.0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.333667,URI=\"part-0.1.m4s\"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part-0.2.m4s\"
"
    );
}

/// Segments roll out at the front, with a discontinuity among them; another is inside, whose segment
/// before was cut short; parts are listed near the end only.
#[test]
fn a_long_stream_with_discontinuities() {
    let mut playlist = Playlist::new(settings(), "media/").unwrap();
    playlist.map(Bytes::from_static(b"slate"), settings().segment_target).unwrap();
    playlist.part(part(0, 0)).unwrap();
    playlist.map(Bytes::from_static(b"one"), settings().segment_target).unwrap();
    for part in parts(12).skip(6) {
        playlist.part(part).unwrap();
    }
    playlist.part(part(2, 0)).unwrap();
    playlist.map(Bytes::from_static(b"two"), settings().segment_target).unwrap();
    for part in parts(38).skip(18) {
        playlist.part(part).unwrap();
    }
    let expected = "\
#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.001001,HOLD-BACK=6.0,CAN-SKIP-UNTIL=12.0
#EXT-X-PART-INF:PART-TARGET=0.333667
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA-SEQUENCE:1
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI=\"media/init-1.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2026-07-01T12:00:02.002Z
#EXTINF:2.002000,
media/seg-1.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-07-01T12:00:04.004Z
#EXTINF:0.333667,
media/seg-2.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI=\"media/init-2.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2026-07-01T12:00:06.006Z
#EXTINF:2.002000,
media/seg-3.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-07-01T12:00:08.008Z
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-4.0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-4.1.m4s\"
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-4.2.m4s\"
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-4.3.m4s\"
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-4.4.m4s\"
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-4.5.m4s\"
#EXTINF:2.002000,
media/seg-4.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-07-01T12:00:10.010Z
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-5.0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-5.1.m4s\"
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-5.2.m4s\"
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-5.3.m4s\"
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-5.4.m4s\"
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-5.5.m4s\"
#EXTINF:2.002000,
media/seg-5.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-07-01T12:00:12.012Z
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-6.0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.333667,URI=\"media/part-6.1.m4s\"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"media/part-6.2.m4s\"
";
    assert_eq!(playlist.text(false), expected);
    // Nothing is before the skip boundary.
    assert_eq!(playlist.text(true), expected);
    assert_eq!(ready(&playlist, "media/seg-2.m4s"), "<2.0>");
    assert_eq!(ready(&playlist, "media/init-0.mp4"), "slate");
    for part in parts(42).skip(38) {
        playlist.part(part).unwrap();
    }
    assert!(playlist.text(false).contains(
        "#EXT-X-MEDIA-SEQUENCE:2\n#EXT-X-DISCONTINUITY-SEQUENCE:1\n#EXT-X-MAP:URI=\"media/init-1.mp4\"\n"
    ));
    for part in parts(48).skip(42) {
        playlist.part(part).unwrap();
    }
    // Segments 1 and 2 have left the list and are kept; 0 and its initialisation section are not.
    assert_eq!(playlist.media("media/seg-0.m4s"), Media::Gone);
    assert_eq!(playlist.media("media/part-0.0.m4s"), Media::Gone);
    assert_eq!(playlist.media("media/init-0.mp4"), Media::Gone);
    assert_eq!(ready(&playlist, "media/seg-1.m4s"), "<1.0><1.1><1.2><1.3><1.4><1.5>");
    assert_eq!(ready(&playlist, "media/part-1.5.m4s"), "<1.5>");
    assert_eq!(ready(&playlist, "media/init-1.mp4"), "one");
}

#[test]
fn a_delta_leaves_out_what_is_before_the_skip_boundary() {
    let mut playlist = Playlist::new(Settings { window: 9, ..settings() }, "").unwrap();
    playlist.map(Bytes::from_static(b"init"), settings().segment_target).unwrap();
    for part in parts(50) {
        playlist.part(part).unwrap();
    }
    // Eight segments and 0.67 s: the first ends 14.68 s from the end, the second 12.68 s, the third
    // 10.68 s.
    let (full, delta) = (playlist.text(false), playlist.text(true));
    let (head, tail) = full.split_once("#EXT-X-MAP:URI=\"init-0.mp4\"\n").unwrap();
    let (_, tail) = tail.split_once("seg-1.m4s\n").unwrap();
    assert_eq!(delta, format!("{head}#EXT-X-SKIP:SKIPPED-SEGMENTS=2\n{tail}"));

    // A discontinuity is not left out, nor what is behind it.
    let mut playlist = Playlist::new(Settings { window: 9, ..settings() }, "").unwrap();
    for (n, part) in parts(50).enumerate() {
        if n == 0 || n == 6 {
            playlist.map(Bytes::from_static(b"init"), settings().segment_target).unwrap();
        }
        playlist.part(part).unwrap();
    }
    let delta = playlist.text(true);
    assert!(delta.contains("SKIPPED-SEGMENTS=1\n#EXT-X-DISCONTINUITY\n"), "{delta}");
}

/// Frames of 24000/1001 Hz are no whole ticks.
#[test]
fn a_segment_is_complete_although_its_times_were_rounded() {
    let mut playlist = filled(5);
    let mut last = part(0, 5);
    last.duration.0 -= 6;
    playlist.part(last).unwrap();
    let text = playlist.text(false);
    assert!(text.contains("#EXTINF:2.001933,\nseg-0.m4s\n"), "{text}");
    assert!(text.ends_with("URI=\"part-1.0.m4s\"\n"), "{text}");
}

#[test]
fn an_ended_playlist_is_complete_and_waits_for_nothing() {
    let mut playlist = filled(8);
    playlist.end();
    let text = playlist.text(false);
    let end = "#EXTINF:0.667333,\nseg-1.m4s\n#EXT-X-ENDLIST\n";
    assert!(text.ends_with(end), "{text}");
    assert!(!text.contains("PRELOAD-HINT"));
    let far = PlaylistQuery { msn: Some(99), ..PlaylistQuery::default() };
    assert_eq!(playlist.decide(&far), Decision::Ready);
    for name in ["part-1.2.m4s", "part-2.0.m4s"] {
        assert_eq!(playlist.media(name), Media::NotFound, "{name}");
    }
    assert_eq!(playlist.part(part(2, 0)), Err(PlaylistError::Ended));
    assert_eq!(
        playlist.map(Bytes::from_static(b"x"), settings().segment_target),
        Err(PlaylistError::Ended)
    );

    let mut never_began = filled(0);
    never_began.end();
    assert_eq!(never_began.decide(&PlaylistQuery::default()), Decision::Ready);
    assert!(never_began.text(false).ends_with("#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-ENDLIST\n"));
}

/// Two segments are complete, the third has two parts.
#[test]
fn a_request_waits_until_what_it_asks_for_is_there() {
    let playlist = filled(14);
    for (query, expected) in [
        ("", Some(true)),
        ("_HLS_skip=YES", Some(true)),
        ("_HLS_msn=0", Some(true)),
        ("_HLS_msn=1", Some(true)),
        ("_HLS_msn=1&_HLS_part=5", Some(true)),
        // Beyond the end of a segment means the first part of the next.
        ("_HLS_msn=1&_HLS_part=6", Some(true)),
        ("_HLS_msn=1&_HLS_part=4000", Some(true)),
        ("_HLS_msn=2&_HLS_part=1", Some(true)),
        ("_HLS_msn=2&_HLS_part=2", Some(false)),
        ("_HLS_msn=2", Some(false)),
        ("_HLS_msn=3&_HLS_part=0&_HLS_skip=v2", Some(false)),
        ("_HLS_msn=3", Some(false)),
        // Three seconds are nine parts, of which the last is number 10.
        ("_HLS_msn=2&_HLS_part=10", Some(false)),
        ("_HLS_msn=2&_HLS_part=11", None),
        ("_HLS_msn=3&_HLS_part=9", None),
        ("_HLS_msn=4", None),
        ("_HLS_msn=18446744073709551615", None),
        ("_HLS_msn=2&_HLS_part=18446744073709551615", None),
    ] {
        let found = match playlist.decide(&PlaylistQuery::parse(query).unwrap()) {
            Decision::Ready => Some(true),
            Decision::Wait => Some(false),
            Decision::Refuse(InvalidQuery::TooFar { complete: 2, .. }) => None,
            other => panic!("{query}: {other:?}"),
        };
        assert_eq!(found, expected, "{query}");
    }
    // Between two segments: the first part of the next is not there.
    let playlist = filled(12);
    let query = PlaylistQuery::parse("_HLS_msn=1&_HLS_part=6").unwrap();
    assert_eq!(playlist.decide(&query), Decision::Wait);
    // Before the first part.
    let playlist = filled(0);
    for query in ["", "_HLS_msn=0", "_HLS_msn=0&_HLS_part=0", "_HLS_msn=1"] {
        let query = PlaylistQuery::parse(query).unwrap();
        assert_eq!(playlist.decide(&query), Decision::Wait, "{query:?}");
    }
}

#[test]
fn queries_are_read_strictly() {
    let all = PlaylistQuery { msn: Some(7), part: Some(0), skip: true };
    let read = PlaylistQuery::parse;
    assert_eq!(read("token=a=b&_HLS_msn=7&_HLS_part=0&_HLS_skip=YES&x"), Ok(all));
    assert_eq!(read(""), Ok(PlaylistQuery::default()));
    assert_eq!(read("_HLS_part=1"), Err(InvalidQuery::PartWithoutMsn));
    for wrong in [
        "_HLS_msn",
        "_HLS_msn=",
        "_HLS_msn=-1",
        "_HLS_msn=+1",
        "_HLS_msn=1.0",
        "_HLS_msn=18446744073709551616",
        "_HLS_msn=1&_HLS_part=x",
        "_HLS_skip=NO",
        "_HLS_skip=",
    ] {
        assert!(matches!(read(wrong), Err(InvalidQuery::Value { .. })), "{wrong}");
    }
}

#[test]
fn media_has_one_name_each() {
    let playlist = filled(8);
    assert_eq!(ready(&playlist, "init-0.mp4"), "init");
    assert_eq!(ready(&playlist, "seg-0.m4s"), "<0.0><0.1><0.2><0.3><0.4><0.5>");
    assert_eq!(ready(&playlist, "part-0.3.m4s"), "<0.3>");
    assert_eq!(ready(&playlist, "part-1.1.m4s"), "<1.1>");
    for name in ["part-1.2.m4s", "part-2.0.m4s"] {
        assert_eq!(playlist.media(name), Media::Wait, "{name}");
    }
    for name in [
        "part-1.3.m4s",
        "part-0.6.m4s",
        "part-2.1.m4s",
        "part-3.0.m4s",
        "seg-1.m4s",
        "init-1.mp4",
        "seg-00.m4s",
        "seg-+0.m4s",
        "seg-.m4s",
        "seg-0.mp4",
        "init-0.m4s",
        "part-0.m4s",
        "part-0.0.0.m4s",
        "part-0.18446744073709551615.m4s",
        "seg-18446744073709551616.m4s",
        "",
        "-",
        "../init-0.mp4",
    ] {
        assert_eq!(playlist.media(name), Media::NotFound, "{name}");
    }
}

/// Segment and parts are the same bytes in memory.
#[test]
fn a_complete_segment_is_there_once() {
    let playlist = filled(6);
    let (Media::Ready(whole), Media::Ready(part)) =
        (playlist.media("seg-0.m4s"), playlist.media("part-0.2.m4s"))
    else {
        panic!("both are there");
    };
    assert_eq!(part.as_ptr(), whole[10..].as_ptr());
}

#[test]
fn what_breaks_a_promise_is_refused() {
    let part_target = Duration90k(10 * FRAME);
    let frames = |n| Duration90k(n * FRAME);
    let with = |index, change: fn(&mut Part)| {
        let mut part = part(0, index);
        change(&mut part);
        part
    };
    let mut playlist = Playlist::new(settings(), "").unwrap();
    let name = |name: &str| name.to_owned();
    assert_eq!(
        playlist.part(part(0, 0)),
        Err(PlaylistError::NoInit { name: name("part-0.0.m4s") })
    );
    assert_eq!(
        playlist.map(Bytes::new(), settings().segment_target),
        Err(PlaylistError::Empty { name: name("init-0.mp4") })
    );
    playlist.map(Bytes::from_static(b"init"), settings().segment_target).unwrap();
    let at_start = name("part-0.0.m4s");
    for (given, error) in [
        (part(0, 1), PlaylistError::NoSegment { name: at_start.clone() }),
        (
            with(0, |part| part.independent = false),
            PlaylistError::NotIndependent { name: at_start.clone() },
        ),
        (
            with(0, |part| part.media = Bytes::new()),
            PlaylistError::Empty { name: at_start.clone() },
        ),
        (
            with(0, |part| part.duration = Duration90k(10 * FRAME + 1)),
            PlaylistError::PartDuration {
                name: at_start.clone(),
                duration: Duration90k(10 * FRAME + 1),
                target: part_target,
            },
        ),
        (
            with(0, |part| part.duration = Duration90k::ZERO),
            PlaylistError::PartDuration {
                name: at_start.clone(),
                duration: Duration90k::ZERO,
                target: part_target,
            },
        ),
    ] {
        assert_eq!(playlist.part(given), Err(error));
    }
    playlist.part(part(0, 0)).unwrap();
    // 85 % of ten frames are 8.5: nine are enough, eight are only at the end of a segment.
    playlist.part(with(1, |part| part.duration = Duration90k(9 * FRAME))).unwrap();
    playlist.part(with(2, |part| part.duration = Duration90k(8 * FRAME))).unwrap();
    let text = playlist.text(false);
    let short = PlaylistError::ShortPart {
        name: name("part-0.3.m4s"),
        before: frames(8),
        target: part_target,
    };
    assert_eq!(playlist.part(part(0, 3)), Err(short));
    assert_eq!(playlist.text(false), text);
    playlist.part(part(1, 0)).unwrap();

    // 59 frames leave room for one.
    let mut playlist = filled(5);
    playlist.part(with(5, |part| part.duration = Duration90k(9 * FRAME))).unwrap();
    let long = PlaylistError::SegmentDuration { name: name("part-0.6.m4s"), target: frames(60) };
    assert_eq!(playlist.part(with(6, |part| part.duration = Duration90k(2 * FRAME))), Err(long));
    playlist.part(with(6, |part| part.duration = Duration90k(FRAME))).unwrap();
    assert!(playlist.text(false).contains("#EXTINF:2.002000,\nseg-0.m4s\n"));
}

#[test]
fn settings_that_cannot_be_kept_are_refused() {
    let second = Duration90k::SECOND;
    for wrong in [
        Settings::new(Duration90k(44_999), Duration90k(30_000)),
        Settings::new(Duration90k(60 * 90_000 + 1), second),
        Settings::new(second, Duration90k(90_001)),
        Settings::new(second, Duration90k::ZERO),
        Settings { window: 3, ..settings() },
        Settings { window: 1001, ..settings() },
        Settings { grace: 1001, ..settings() },
    ] {
        let made = Playlist::new(wrong.clone(), "");
        assert!(matches!(made, Err(PlaylistError::Settings(_))), "{wrong:?}");
    }
    for prefix in ["a\"b", "a\nb"] {
        let made = Playlist::new(settings(), prefix);
        assert_eq!(made.map(|_| ()), Err(PlaylistError::Text(prefix.to_owned())));
    }
}

/// Ten bytes each: the oldest segments leave, the last four and the open one never.
#[test]
fn memory_is_bounded() {
    let mut playlist = Playlist::new(Settings { max_bytes: 320, ..settings() }, "").unwrap();
    playlist.map(Bytes::from_static(b"init"), settings().segment_target).unwrap();
    for mut part in parts(60) {
        part.media = Bytes::from_static(b"0123456789");
        playlist.part(part).unwrap();
    }
    let text = playlist.text(false);
    assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:5\n"), "{text}");
    assert_eq!(playlist.media("seg-4.m4s"), Media::Gone);
    // There would be room without those four.
    let mut big = part(10, 0);
    big.media = Bytes::from(vec![0; 200]);
    let full = PlaylistError::Full { name: "part-10.0.m4s".to_owned(), bytes: 200, max: 320 };
    assert_eq!(playlist.part(big), Err(full));
    // What no segment needs any more does not count, nor what none ever needed.
    for msn in 10..200 {
        playlist.map(Bytes::from_static(b"never used"), settings().segment_target).unwrap();
        playlist.map(Bytes::from_static(b"used"), settings().segment_target).unwrap();
        playlist.part(part(msn, 0)).unwrap();
    }
}

#[test]
fn the_multivariant_playlist() {
    let variant = Variant {
        uri: "live.m3u8",
        codecs: "avc1.64001f,mp4a.40.2",
        resolution: (1280, 720),
        bandwidth: 3_200_000,
        frame_rate: (30_000, 1001),
    };
    assert_eq!(
        variant.multivariant().unwrap(),
        "\
#EXTM3U
#EXT-X-VERSION:9
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-STREAM-INF:BANDWIDTH=3200000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=29.970
live.m3u8
"
    );
    let broken = Variant { codecs: "a\"\n#EXT", ..variant };
    assert_eq!(broken.multivariant(), Err(PlaylistError::Text("a\"\n#EXT".to_owned())));
}

#[test]
fn the_playlist_above_says_what_the_parts_are() {
    let mut playlist = playlist();
    let codecs = "avc1.64001f,mp4a.40.2".to_owned();
    let rendition = Rendition { codecs, resolution: (1280, 720), frame_rate: (30_000, 1001) };
    let broken = Rendition { codecs: "a\"".to_owned(), ..rendition.clone() };
    assert_eq!(playlist.describe(broken), Err(PlaylistError::Text("a\"".to_owned())));
    playlist.describe(rendition.clone()).unwrap();
    assert_eq!(playlist.multivariant("media.m3u8"), Ok(None));
    let line = |playlist: &Playlist| {
        let text = playlist.multivariant("media.m3u8").unwrap().unwrap();
        text.lines().rev().nth(1).unwrap().to_owned()
    };
    // 50 bytes in a third of a second: 1199 bits a second, rounded up.
    playlist.part(Part { media: Bytes::from(vec![0; 50]), ..part(0, 0) }).unwrap();
    let first = "#EXT-X-STREAM-INF:BANDWIDTH=1199,CODECS=\"avc1.64001f,mp4a.40.2\",\
         RESOLUTION=1280x720,FRAME-RATE=29.970";
    assert_eq!(line(&playlist), first);
    // Of complete segments the one with the most, though it is not the last.
    for index in 1..6 {
        playlist.part(Part { media: Bytes::from(vec![0; 50]), ..part(0, index) }).unwrap();
    }
    (0..9).for_each(|index| playlist.part(part(1 + index / 6, index % 6)).unwrap());
    assert_eq!(line(&playlist), first);
    playlist.describe(Rendition { resolution: (640, 360), ..rendition }).unwrap();
    assert!(line(&playlist).contains("RESOLUTION=640x360"));
}

#[test]
fn media_is_found_by_names_as_the_playlist_has_them() {
    let mut playlist = Playlist::new(settings(), "7-").unwrap();
    playlist.map(Bytes::from_static(b"init"), settings().segment_target).unwrap();
    parts(6).for_each(|part| playlist.part(part).unwrap());
    for name in ["7-init-0.mp4", "7-seg-0.m4s", "7-part-0.3.m4s"] {
        assert!(playlist.text(false).contains(name), "{name}");
        assert!(matches!(playlist.media(name), Media::Ready(_)), "{name}");
        assert_eq!(playlist.media(&name[2..]), Media::NotFound);
        assert_eq!(playlist.media(&name.replace('7', "6")), Media::NotFound);
    }
}
