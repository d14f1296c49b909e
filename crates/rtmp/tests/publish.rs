//! Publishers as they are: what they send arrives, however it is cut into chunks and packets.

mod script;

use std::time::Duration;

use rtmp::{Connection, Error, Event, Limits, Rejection};
use script::{Amf, KEY, Owner, Script, amf, run, run_in_steps, text};

const AVCC: &[u8] = &[0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1f];
const ASC: &[u8] = &[0xaf, 0, 0x12, 0x10];
/// A keyframe and a frame that is shown 3 ms before its time.
const KEYFRAME: &[u8] = &[0x17, 1, 0, 0, 40, 0, 0, 0, 2, 0x65, 0x88];
const FRAME: &[u8] = &[0x27, 1, 0xff, 0xff, 0xfd, 0, 0, 0, 1, 0x41];

/// All that an encoder sends from its first byte to its last.
fn session(chunk_size: usize) -> Script {
    let metadata = vec![
        ("width", Amf::Number(1280.0)),
        ("height", Amf::Number(720.0)),
        ("framerate", Amf::Number(29.97)),
        ("stereo", Amf::Boolean(true)),
        ("encoder", text("test encoder")),
    ];
    let metadata = amf(&[text("@setDataFrame"), text("onMetaData"), Amf::EcmaArray(metadata)]);
    let long: Vec<u8> = [0x27, 1, 0, 0, 0].into_iter().chain((0..700).map(|i| i as u8)).collect();
    let name = [Amf::Null, text(KEY)];
    let mut script = Script::new();
    if chunk_size != 128 {
        script = script.set_chunk_size(chunk_size);
    }
    script
        .connect("live")
        .command("releaseStream", &name)
        .command("FCPublish", &name)
        .command("createStream", &[Amf::Null])
        .command("_checkbw", &[Amf::Null])
        .publish(KEY)
        .message(4, 18, 0, &metadata)
        .video(0, AVCC)
        .audio(0, ASC)
        .video(0, KEYFRAME)
        .audio(0, &[0xaf, 1, 7, 8, 9])
        .video(33, FRAME)
        .video(67, &long)
        .video(70, &[0x17, 2, 0, 0, 0])
        .command("FCUnpublish", &name)
        .command("deleteStream", &[Amf::Null, Amf::Number(1.0)])
}

fn seen_of_session() -> Vec<String> {
    let (owner, result) = run(&session(128));
    assert_eq!(result, Ok(()));
    owner.seen
}

#[test]
fn a_session_arrives_as_it_was_sent() {
    let seen = seen_of_session();
    assert_eq!(seen[0], "publish to live");
    assert_eq!(
        seen[1],
        "Metadata { width: Some(1280.0), height: Some(720.0), frame_rate: Some(29.97), \
         encoder: Some(\"test encoder\") }"
    );
    assert_eq!(seen[2], "avcc b\"\\x01d\\0\\x1f\"");
    assert_eq!(seen[3], "asc b\"\\x12\\x10\"");
    assert_eq!(seen[4], "key 0+40 b\"\\0\\0\\0\\x02e\\x88\"");
    assert_eq!(seen[5], "audio 0 b\"\\x07\\x08\\t\"");
    assert_eq!(seen[6], "frame 33-3 b\"\\0\\0\\0\\x01A\"");
    assert!(seen[7].starts_with("frame 67+0 b\"\\0\\x01\\x02"), "{}", seen[7]);
    assert_eq!(seen[8..], ["end of video", "unpublish"]);
}

#[test]
fn chunks_of_any_size_give_the_same() {
    let expected = seen_of_session();
    for chunk_size in [1, 2, 127, 129, 4096, 0xff_ffff] {
        let (owner, result) = run(&session(chunk_size));
        assert_eq!(result, Ok(()));
        assert_eq!(owner.seen, expected, "{chunk_size}");
    }
}

#[test]
fn a_session_cut_anywhere_gives_the_same() {
    let expected = seen_of_session();
    for chunk_size in [1, 128] {
        let session = session(chunk_size);
        for step in [1, 2, 3, 5, 1536] {
            assert_eq!(run_in_steps(&session, step).0.seen, expected, "{step}");
        }
        for at in 0..session.bytes.len() {
            let mut owner = Owner::new(Limits::default());
            let (head, tail) = session.bytes.split_at(at);
            owner.feed(head, usize::MAX).unwrap();
            owner.feed(tail, usize::MAX).unwrap();
            assert_eq!(owner.seen, expected, "{at}");
        }
    }
}

#[test]
fn a_publisher_is_answered() {
    let (owner, _) = run(&session(128));
    assert_eq!(owner.sent[..9], [3, 0, 0, 0, 0, 0, 0, 0, 0], "S0, and S1 without a digest");
    assert_eq!(owner.sent[1537..3073], session(128).bytes[1..1537], "S2 echoes C1");
    // Window Acknowledgement Size, Set Peer Bandwidth, Set Chunk Size, then the answer to connect.
    let introduction = [
        &[2, 0, 0, 0, 0, 0, 4, 5, 0, 0, 0, 0, 0, 0x26, 0x25, 0xa0][..],
        &[2, 0, 0, 0, 0, 0, 5, 6, 0, 0, 0, 0, 0, 0x26, 0x25, 0xa0, 2],
        &[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0x10, 0],
    ]
    .concat();
    let (sent, answers) = owner.sent[3073..].split_at(introduction.len());
    assert_eq!(sent, introduction);
    let result = amf(&[
        text("_result"),
        Amf::Number(4.0),
        Amf::Object(vec![("fmsVer", text("FMS/3,0,1,123")), ("capabilities", Amf::Number(31.0))]),
        Amf::Object(vec![
            ("level", text("status")),
            ("code", text("NetConnection.Connect.Success")),
            ("description", text("connected")),
            ("objectEncoding", Amf::Number(0.0)),
        ]),
    ]);
    let header = [3, 0, 0, 0, 0, 0, result.len() as u8, 20, 0, 0, 0, 0];
    assert!(answers.starts_with(&[&header[..], &result].concat()));
    for text in ["onFCPublish", "NetStream.Publish.Start", "NetStream.Unpublish.Success"] {
        assert!(owner.was_sent(text), "{text}");
    }
}

#[test]
fn each_command_ends_the_stream() {
    for command in ["FCUnpublish", "deleteStream", "closeStream"] {
        let (owner, result) = run(&Script::publishing().command(command, &[]));
        assert_eq!((result, owner.seen[1].as_str()), (Ok(()), "unpublish"));
    }
}

#[test]
fn the_owner_may_take_its_time_to_answer() {
    let mut connection = Connection::new(Limits::default());
    connection.receive(&Script::publishing().bytes, Duration::from_secs(9)).unwrap();
    assert!(matches!(connection.next_event(), Ok(Some(Event::Publish(_)))));
    assert_eq!(connection.deadline(), Duration::from_secs(19));
    connection.accept_publish(Duration::from_secs(18));
    assert_eq!(connection.deadline(), Duration::from_secs(28));
}

#[test]
fn who_ended_its_stream_should_close() {
    let (mut owner, _) = run(&session(128));
    owner.now = Duration::from_secs(9);
    let more = Script::empty().video(0, KEYFRAME).publish(KEY);
    owner.feed(&more.bytes, 4096).unwrap();
    assert_eq!(owner.seen.last().unwrap(), "unpublish");
    assert!(!owner.connection.is_closing());
    assert_eq!(owner.connection.buffered(), 0);
    let error = owner.connection.tick(Duration::from_secs(10)).unwrap_err();
    assert_eq!(error.to_string(), "it ended its stream and stayed connected for 10 s");
    assert!(owner.connection.is_closing());
}

#[test]
fn a_wrong_key_is_told_so_and_nothing_more_is_taken() {
    let script = Script::new().connect("live").publish("guess").video(0, KEYFRAME);
    let (owner, result) = run(&script);
    assert_eq!(result, Ok(()));
    assert_eq!(owner.seen, ["publish to live"]);
    assert!(owner.connection.is_closing());
    assert!(owner.was_sent("NetStream.Publish.Denied"));
    assert!(owner.was_sent("copy it anew"));
    assert!(!owner.was_sent("NetStream.Publish.Start"));
}

#[test]
fn each_rejection_has_a_code_and_a_text() {
    for (rejection, code, text) in [
        (Rejection::Busy, "NetStream.Publish.BadName", "stop the other encoder"),
        (Rejection::NotReady, "NetStream.Publish.Denied", "start it"),
        (Rejection::Stopped, "NetStream.Publish.Rejected", "stopped on the server"),
        (Rejection::Unsupported("too wide".into()), "NetStream.Publish.Rejected", "too wide"),
    ] {
        // While publishing, as it also may be said.
        let (mut owner, _) = run(&Script::publishing());
        owner.connection.reject_publish(&rejection);
        owner.sent = owner.connection.take_output();
        assert!(owner.was_sent(code) && owner.was_sent(text) && owner.was_sent("error"));
        assert!(owner.connection.is_closing());
        owner.feed(&Script::empty().video(0, KEYFRAME).bytes, 4096).unwrap();
        assert_eq!(owner.seen, ["publish to live"]);
    }
}

#[test]
fn a_key_is_shown_nowhere() {
    let properties = vec![("app", text(KEY)), ("tcUrl", text(&format!("rtmp://host/{KEY}")))];
    let connect = Script::new().command("connect", &[Amf::Object(properties)]);
    let mut connection = Connection::new(Limits::default());
    connection.receive(&connect.publish(KEY).bytes, Duration::ZERO).unwrap();
    let event = connection.next_event().unwrap().unwrap();
    let Event::Publish(publish) = &event else { panic!("{event:?}") };
    assert_eq!((publish.app.as_str(), publish.key.reveal()), (KEY, KEY));
    let shown = format!("{event:?} {publish:?} {:?} {connection:?}", publish.key);
    assert!(shown.contains("StreamKey(..)") && !shown.contains(KEY), "{shown}");
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let (mut owner, _) = run(&Script::publishing());
    let text = format!("x{}", "é".repeat(100_000));
    owner.connection.reject_publish(&Rejection::Unsupported(text));
    owner.sent = owner.connection.take_output();
    assert!(owner.was_sent(&"é".repeat(255)) && !owner.was_sent(&"é".repeat(256)));
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let (mut owner, _) = run(&Script::new().connect("live"));
    owner.connection.accept_publish(owner.now);
    owner.connection.reject_publish(&Rejection::Busy);
    assert!(owner.connection.take_output().is_empty() && !owner.connection.is_closing());
    let media = Script::empty().video(0, KEYFRAME);
    let error = owner.feed(&media.bytes, 4096).unwrap_err();
    assert_eq!(error, Error::Malformed("media before publishing was accepted"));
}

#[test]
fn amf3_messages_and_other_connects_are_taken() {
    let publish = amf(&[text("publish"), Amf::Number(0.0), Amf::Null, text(KEY)]);
    // Without an object, and with a list of codecs.
    let codecs = [10, 0, 0, 0, 2].into_iter().chain(amf(&[text("hvc1"), text("av01")]));
    let mut enhanced = amf(&[text("connect"), Amf::Number(1.0)]);
    enhanced.extend([3, 0, 10]);
    enhanced.extend(b"fourCcList");
    enhanced.extend(codecs);
    enhanced.extend([0, 3]);
    enhanced.extend(b"app");
    enhanced.extend(amf(&[text("live")]));
    enhanced.extend([0, 0, 9]);
    for (connect, app) in [
        (amf(&[text("connect")]), ""),
        (amf(&[text("connect"), Amf::Null]), ""),
        (enhanced, "live"),
    ] {
        let script = Script::new().message(3, 20, 0, &connect);
        let script = script.message(3, 17, 0, &[&[0], &publish[..]].concat());
        let (owner, result) = run(&script);
        assert_eq!((result, owner.seen), (Ok(()), vec![format!("publish to {app}")]));
    }
}

#[test]
fn a_ping_is_answered_and_bytes_are_acknowledged() {
    let script = Script::publishing().message(2, 4, 0, &[0, 6, 1, 2, 3, 4]).message(
        2,
        5,
        0,
        &5000_u32.to_be_bytes(),
    );
    let (mut owner, _) = run(&script);
    owner.sent.clear();
    for _ in 0..100 {
        owner.feed(&Script::empty().audio(0, &[0xaf; 200]).bytes, 4096).unwrap();
    }
    let received = script.bytes.len() + 100 * (12 + 200 + 1);
    let acknowledgement = [2, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0];
    let acknowledged: Vec<u32> = owner
        .sent
        .chunks(16)
        .map(|message| {
            assert_eq!(message[..12], acknowledgement);
            u32::from_be_bytes(message[12..].try_into().unwrap())
        })
        .collect();
    // Each after at least the window, and after less than a message more.
    assert_eq!(acknowledged.len(), received / 5112);
    assert!(acknowledged.is_sorted_by(|a, b| (5000..5213).contains(&(b - a))), "{acknowledged:?}");
    let (owner, _) = run(&script);
    assert!(owner.was_sent("\0\u{7}\u{1}\u{2}\u{3}\u{4}"), "the ping's own time");
}

/// Recorded from FFmpeg 5.1 and GStreamer 1.22, without the handshake; also seeds of the fuzz target, whose first byte
/// is not theirs.
#[test]
fn recorded_encoders_are_understood() {
    let ffmpeg = include_bytes!("../../../fuzz/seeds/rtmp/ffmpeg");
    let rtmp2sink = include_bytes!("../../../fuzz/seeds/rtmp/rtmp2sink");
    let rtmpsink = include_bytes!("../../../fuzz/seeds/rtmp/rtmpsink");
    for recorded in [&ffmpeg[1..], &rtmp2sink[1..], &rtmpsink[1..]] {
        let (owner, result) = run(&Script::new().raw(recorded));
        assert_eq!(result, Ok(()));
        let count = |kind: &str| owner.seen.iter().filter(|seen| seen.starts_with(kind)).count();
        assert_eq!(owner.seen[0], "publish to live");
        assert_eq!([count("avcc"), count("asc"), count("key"), count("frame")], [1, 1, 1, 14]);
        assert_eq!([count("audio"), count("end of video"), count("unpublish")], [13, 1, 1]);
    }
}
