//! What strangers send to an open port: it is refused soon, and costs little until then.

mod script;

use std::time::Duration;

use rtmp::{Connection, Error, Limits};
use script::{AUDIO, Amf, COMMAND, KEY, Owner, Script, VIDEO, amf, run, run_in_steps, small, text};

fn error(script: &Script) -> Error {
    let (owner, result) = run(script);
    let error = result.expect_err("it was taken");
    assert_eq!(owner.connection.buffered(), 0);
    assert!(!format!("{error} {error:?} {:?}", owner.connection).contains(KEY));
    error
}

fn too_large(what: &'static str, limit: usize) -> Error {
    Error::TooLarge { what, limit }
}

#[test]
fn other_protocols_are_told_apart() {
    for (bytes, protocol) in [
        (&b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n"[..], "HTTP"),
        (b"POST /fcs/ident2 HTTP/1.1\r\n", "HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "TLS (RTMPS or HTTPS)"),
        (&[6; 1537], "encrypted RTMP (RTMPE)"),
        (&[0; 100], "another protocol, or an unknown version of RTMP"),
        (b"GETAWAY", "another protocol, or an unknown version of RTMP"),
        (b"\xff", "another protocol, or an unknown version of RTMP"),
    ] {
        for step in [1, 1000] {
            let (owner, result) = run_in_steps(&Script::empty().raw(bytes), step);
            assert_eq!(result, Err(Error::NotRtmp(protocol)));
            assert!(owner.sent.is_empty());
        }
    }
    let said = Error::NotRtmp("HTTP").to_string();
    assert_eq!(said, "this is HTTP; the port speaks RTMP: use an rtmp:// address");
}

#[test]
fn who_is_silent_is_cut_off() {
    let limits = Limits::default();
    let handshake = Script::new();
    for sent in [0, 1, 1537, 3073] {
        let mut connection = Connection::new(limits.clone());
        connection.receive(&handshake.bytes[..sent], Duration::from_secs(0)).unwrap();
        assert!(connection.next_event().unwrap().is_none());
        assert_eq!(connection.deadline(), Duration::from_secs(10));
        assert_eq!(connection.tick(Duration::from_millis(9999)), Ok(()));
        let error = connection.tick(Duration::from_secs(10)).unwrap_err();
        assert_eq!(error.to_string(), "it was connected without publishing for 10 s");
        assert!(connection.is_closing());
    }
}

#[test]
fn who_drips_is_cut_off_at_the_same_time() {
    let script = Script::publishing();
    let mut owner = Owner::new(Limits::default());
    let mut dripped = 0;
    let result = script.bytes.iter().try_for_each(|byte| {
        owner.now += Duration::from_millis(500);
        owner.feed(&[*byte], 1).inspect(|()| dripped += 1)
    });
    assert!(matches!(result, Err(Error::TooSlow { .. })), "{result:?}");
    assert_eq!(dripped, 19);
    assert_eq!(owner.now, Duration::from_secs(10));
}

#[test]
fn a_publisher_may_be_silent_for_a_while_only() {
    let mut owner = Owner::new(Limits::default());
    owner.now = Duration::from_secs(9);
    owner.feed(&Script::publishing().bytes, 4096).unwrap();
    // Publishing has no end.
    for _ in 0..100 {
        assert_eq!(owner.connection.deadline(), owner.now + Duration::from_secs(10));
        owner.now += Duration::from_millis(9999);
        owner.feed(&Script::empty().audio(0, &[0xaf, 1, 1]).bytes, 4096).unwrap();
    }
    assert_eq!(owner.seen.len(), 101);
    owner.now += Duration::from_secs(10);
    let error = owner.connection.tick(owner.now).unwrap_err();
    assert_eq!(error.to_string(), "it sent nothing for 10 s");
    // Also where the owner does not look at the time.
    let mut owner = Owner::new(Limits::default());
    owner.feed(&Script::publishing().bytes, 4096).unwrap();
    owner.now = Duration::from_secs(10);
    assert!(matches!(owner.feed(&[0], 1), Err(Error::TooSlow { .. })));
}

#[test]
fn nested_and_long_amf_is_refused() {
    let command = |payload: &[u8]| Script::new().message(3, COMMAND, 0, payload);
    let connect = amf(&[text("connect"), Amf::Number(1.0)]);
    let nested =
        |level: &[u8]| command(&[&connect[..], &level.repeat(50_000 / level.len())].concat());
    let depth = too_large("AMF objects in one another", 8);
    assert_eq!(error(&nested(&[3, 0, 1, b'a'])), depth);
    assert_eq!(error(&nested(&[10, 0, 0, 0, 1])), depth);
    assert_eq!(error(&nested(&[8, 0, 0, 0, 1, 0, 1, b'a'])), depth);
    assert_eq!(error(&nested(&[16, 0, 1, b'c', 0, 1, b'a'])), depth);
    // Eight in one another are none too many.
    for (levels, taken) in [(8, true), (9, false)] {
        let object = [&[3, 0, 1, b'a'].repeat(levels)[..], &[5]].concat();
        let (_, result) = run(&command(&[&connect[..], &object].concat()));
        assert_eq!(result.is_ok(), taken, "{result:?}");
    }
    let values = too_large("AMF values in a message", 1024);
    assert_eq!(error(&nested(&[5])), values);
    let array = [&connect[..], &[10, 0xff, 0xff, 0xff, 0xff], &[5; 60_000]].concat();
    assert_eq!(error(&command(&array)), values);
    let string = too_large("bytes of an AMF string", 8192);
    assert_eq!(error(&command(&[&[2, 0xff, 0xff], &[b'a'; 65_000][..]].concat())), string);
    assert_eq!(error(&command(&[12, 0xff, 0xff, 0xff, 0xff, 1])), string);
}

#[test]
fn short_and_empty_commands_are_refused() {
    let command = |payload: &[u8]| error(&Script::new().message(3, COMMAND, 0, payload));
    let no_name = Error::Malformed("a command without a name");
    for payload in [&[][..], &[5], &amf(&[Amf::Number(1.0)]), &[3, 0, 0, 9]] {
        assert_eq!(command(payload), no_name);
    }
    let object = Amf::Object(vec![("app", text("live")), ("fpad", Amf::Boolean(false))]);
    let whole = amf(&[text("connect"), Amf::Number(1.0), object]);
    let mut taken = Vec::new();
    for length in 1..=whole.len() {
        // Cut off at most places, it is an error.
        let (_, result) = run(&Script::new().message(3, COMMAND, 0, &whole[..length]));
        match result {
            Ok(()) => taken.push(length),
            Err(error) => assert_eq!(error, Error::Malformed("an AMF value is cut off")),
        }
    }
    // Between values and between properties.
    assert_eq!(taken, [10, 19, 20, 32, 40, 43]);
    assert_eq!(command(&[4]), Error::Malformed("an AMF value of an unknown type"));
    let amf3 = Error::Malformed("a command of AMF3, which was not agreed on");
    assert_eq!(error(&Script::new().message(3, 17, 0, &[])), amf3);
    assert_eq!(error(&Script::new().message(3, 17, 0, &[3, 1])), amf3);
}

#[test]
fn commands_out_of_order_are_refused() {
    let connected = Script::new().connect("live");
    for (script, what) in [
        (connected.clone().connect("live"), "connect came twice"),
        (Script::new().publish(KEY), "publish came before connect"),
        (Script::publishing().publish(KEY), "publish came twice"),
        (Script::publishing().connect("live"), "connect came twice"),
    ] {
        assert_eq!(error(&script), Error::Malformed(what));
    }
    // Ends of what never began, data that nobody waits for, and answers are passed over.
    let odd = connected
        .command("deleteStream", &[])
        .command("_result", &[])
        .message(4, 18, 0, &amf(&[text("onMetaData"), Amf::Object(vec![])]))
        .message(4, 18, 0, &[99])
        .message(3, 4, 0, &[0])
        .message(3, 19, 0, &[1])
        .message(3, 99, 0, &[]);
    let (owner, result) = run(&odd);
    assert_eq!((result, owner.seen.len()), (Ok(()), 0));
    let (owner, _) = run(&odd.command("makeCoffee", &[]));
    assert!(owner.was_sent("NetConnection.Call.Failed"));
}

#[test]
fn who_wants_to_play_is_told_where() {
    for command in ["play", "play2", "getStreamLength"] {
        let script = Script::new().connect("live").command(command, &[Amf::Null, text(KEY)]);
        let (owner, result) = run(&script);
        assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
        assert!(owner.was_sent("playing over RTMP is not offered"));
    }
    // Before connect, our chunks have 128 bytes.
    let (owner, _) = run(&Script::new().command("play", &[]));
    let (status, rest) = owner.sent[3073 + 12..].split_at(128);
    assert_eq!((rest[0], rest.len()), (0xc3, 1 + usize::from(owner.sent[3073 + 6]) - 128));
    assert_eq!(status[..11], [2, 0, 8, b'o', b'n', b'S', b't', b'a', b't', b'u', b's']);
}

#[test]
fn a_publish_without_a_key_is_a_wrong_key() {
    for name in ["", "?", "/"] {
        let (owner, result) = run(&Script::new().connect("live").publish(name));
        assert_eq!(result, Err(Error::Refused(rtmp::Rejection::WrongKey)));
        assert!(owner.seen.is_empty() && owner.was_sent("NetStream.Publish.Denied"));
    }
}

#[test]
fn media_before_publish_is_refused_by_its_header() {
    let what = Error::Malformed("media before publishing was accepted");
    for kind in [AUDIO, VIDEO] {
        for before in [Script::new(), Script::new().connect("live")] {
            assert_eq!(error(&before.header(0, 6, 0, Some((1 << 20, kind)))), what);
        }
    }
}

#[test]
fn large_messages_are_refused_by_their_header() {
    let media = too_large("bytes of an audio or video message", 4 << 20);
    for kind in [AUDIO, VIDEO] {
        let header = |length| Script::publishing().header(0, 6, 0, Some((length, kind)));
        assert_eq!(error(&header(16 << 20 >> 1)), media);
        assert_eq!(error(&header(0xff_ffff)), media);
        assert_eq!(error(&header((4 << 20) + 1)), media);
        let (owner, _) = run(&header(0xff_ffff));
        assert!(owner.was_sent("NetStream.Failed") && owner.was_sent(&media.to_string()));
    }
    for kind in [0, 1, 2, 18, 20, 99] {
        let header = Script::new().header(0, 6, 0, Some(((64 << 10) + 1, kind)));
        assert_eq!(error(&header), too_large("bytes of a message", 64 << 10));
    }
    let largest = [&[0x17, 1, 0, 0, 0][..], &vec![7; (4 << 20) - 5]].concat();
    let (owner, result) = run(&Script::publishing().set_chunk_size(60_000).video(0, &largest));
    assert_eq!((result, owner.seen.len()), (Ok(()), 2));
}

#[test]
fn many_chunk_streams_are_refused() {
    let mut script = Script::publishing();
    for stream in 10..60 {
        script = script.message(stream, 99, 0, &[1]);
    }
    // Those of commands are counted too.
    assert_eq!(error(&script), too_large("chunk streams", 16));
    let as_many_as_allowed =
        (10..25).fold(Script::publishing(), |script, stream| script.message(stream, 99, 0, &[1]));
    assert_eq!(run(&as_many_as_allowed).1, Ok(()));
    assert!(run(&as_many_as_allowed.message(25, 99, 0, &[1])).1.is_err());
}

#[test]
fn incomplete_messages_are_bounded_together() {
    // Before a key was seen: 15 streams with nearly a message each, whose memory is counted.
    let mut script = Script::new().set_chunk_size(65_535);
    for stream in 3..18 {
        script = script.header(0, stream, 0, Some((64 << 10, 20))).raw(&vec![1; 65_535]);
    }
    let (owner, result) = run(&script);
    assert_eq!(result, Ok(()));
    assert_eq!(owner.connection.buffered(), 15 * (64 << 10));
    let mut script = Script::publishing().set_chunk_size((4 << 20) - 1);
    for stream in 4..7 {
        script = script.header(0, stream, 0, Some((4 << 20, VIDEO))).raw(&vec![1; (4 << 20) - 1]);
    }
    assert_eq!(error(&script), too_large("bytes of incomplete messages", 8 << 20));
}

#[test]
fn unread_bytes_are_bounded() {
    let mut connection = Connection::new(small());
    let now = Duration::ZERO;
    connection.receive(&[3; 4000], now).unwrap();
    let error = connection.receive(&[3; 1000], now).unwrap_err();
    assert_eq!(error, too_large("unread bytes", 4096));
    assert!(connection.is_closing() && connection.buffered() == 0);
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    let mut script = Script::new();
    for _ in 0..2000 {
        script = script.command("x", &[]);
    }
    let mut connection = Connection::new(Limits::default());
    connection.receive(&script.bytes, Duration::ZERO).unwrap();
    assert_eq!(connection.next_event().unwrap_err(), too_large("unsent bytes", 64 << 10));
    // Where they are read, it goes on until the deadline.
    assert_eq!(run_in_steps(&script, 1000).1, Ok(()));
}
