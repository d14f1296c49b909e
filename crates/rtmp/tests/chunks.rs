//! Headers of chunks: what is taken over from one to the next, timestamps, and what is not valid.

mod script;

use bytes::Bytes;
use rtmp::{Error, Limits};
use script::{AUDIO, Script, VIDEO, run, run_in_steps};

/// An audio message of one byte.
fn sound(byte: u8) -> [u8; 3] {
    [0xaf, 1, byte]
}

/// How sounds 0, 1 and so on at these times arrive.
fn sounds(times: &[u64]) -> Vec<String> {
    let sound = |(i, time)| format!("audio {time} {:?}", Bytes::from(vec![i as u8]));
    times.iter().enumerate().map(sound).collect()
}

fn seen(script: &Script) -> Vec<String> {
    let (owner, result) = run(script);
    assert_eq!(result, Ok(()));
    for step in [1, 3] {
        assert_eq!(run_in_steps(script, step).0.seen, owner.seen);
    }
    owner.seen[1..].to_vec()
}

fn malformed(script: Script) -> &'static str {
    match run(&script).1 {
        Err(Error::Malformed(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn short_headers_take_over_what_came_before() {
    let script = Script::publishing()
        .audio(1000, &sound(0))
        .header(1, 4, 20, Some((3, AUDIO)))
        .raw(&sound(1))
        .header(2, 4, 30, None)
        .raw(&sound(2))
        .raw(&[0xc4])
        .raw(&sound(3))
        // The same on another chunk stream: after type 0, type 3 adds that timestamp.
        .message(5, AUDIO, 7, &sound(4))
        .raw(&[0xc5])
        .raw(&sound(5));
    let times = [1000, 1020, 1050, 1080, 7, 14];
    assert_eq!(seen(&script), sounds(&times));
    // From 0, also where nothing came before.
    let script = Script::publishing().audio(0, &sound(0)).raw(&[0xc4]).raw(&sound(1));
    let script = script.header(1, 7, 5, Some((3, AUDIO))).raw(&sound(2));
    assert_eq!(seen(&script), sounds(&[0, 0, 5]));
}

#[test]
fn extended_timestamps_are_read_with_and_without_repetition() {
    let tag: Vec<u8> = [0x27, 1, 0, 0, 0].into_iter().chain(0..=255).collect();
    for time in [0xff_fffe, 0xff_ffff, 0x100_0000, 0x8000_0000, 0xffff_ffff_u32] {
        for repeat_extended in [true, false] {
            let mut script = Script::publishing();
            script.repeat_extended = repeat_extended;
            // 129 and 257 bytes leave one for the last chunk, less than an extended timestamp has.
            let script = script.video(time, &tag).video(time, &tag[..129]).video(time, &tag[..257]);
            // What follows is read as well.
            let seen = seen(&script.audio(time, &sound(1)));
            assert_eq!(seen.len(), 4);
            let expected = format!("frame {time}+0 {:?}", Bytes::from(tag[5..].to_vec()));
            assert_eq!(seen[0], expected, "{repeat_extended}");
            assert_eq!(seen[3], format!("audio {time} b\"\\x01\""));
        }
    }
}

#[test]
fn an_extended_difference_is_added_and_forgotten() {
    let script = Script::publishing()
        .audio(5, &sound(0))
        .header(1, 4, 0x100_0000, Some((3, AUDIO)))
        .raw(&sound(1))
        // A new message of type 3, with the extended timestamp, then one of type 2 without.
        .raw(&[0xc4, 1, 0, 0, 0])
        .raw(&sound(2))
        .header(2, 4, 1, None)
        .raw(&sound(3))
        .raw(&[0xc4])
        .raw(&sound(4));
    let times = [5, 0x100_0005, 0x200_0005, 0x200_0006, 0x200_0007];
    assert_eq!(seen(&script), sounds(&times));
}

#[test]
fn time_goes_on_when_32_bits_are_over_and_jumps_stay() {
    let mut script = Script::publishing();
    for (i, time) in [0xffff_fff0, 0xffff_ffff, 9, 5, 60_000].into_iter().enumerate() {
        script = script.audio(time, &sound(i as u8));
    }
    let wrap = 1_u64 << 32;
    let times = [wrap - 16, wrap - 1, wrap + 9, wrap + 5, wrap + 60_000];
    assert_eq!(seen(&script), sounds(&times));
}

#[test]
fn messages_of_two_streams_are_woven() {
    let script = Script::publishing()
        .set_chunk_size(4)
        .header(0, 6, 10, Some((10, VIDEO)))
        .raw(&[0x17, 1, 0, 0])
        .header(0, 4, 11, Some((6, AUDIO)))
        .raw(&[0xaf, 1, 1, 2])
        .raw(&[0xc6, 0, 1, 2, 3])
        .raw(&[0xc4, 3, 4])
        .raw(&[0xc6, 4, 5]);
    assert_eq!(
        seen(&script),
        ["audio 11 b\"\\x01\\x02\\x03\\x04\"", "key 10+0 b\"\\x01\\x02\\x03\\x04\\x05\""]
    );
}

#[test]
fn an_aborted_message_is_forgotten() {
    let script = Script::publishing()
        .set_chunk_size(4)
        .header(0, 6, 10, Some((10, VIDEO)))
        .raw(&[0x17, 1, 0, 0])
        .message(2, 2, 0, &6_u32.to_be_bytes())
        .message(2, 2, 0, &77_u32.to_be_bytes())
        .header(0, 6, 20, Some((6, VIDEO)))
        .raw(&[0x17, 1, 0, 0, 0xc6, 0, 9]);
    let (owner, result) = run(&script);
    assert_eq!(result, Ok(()));
    assert_eq!(owner.seen[1..], ["key 20+0 b\"\\t\""]);
    assert_eq!(owner.connection.buffered(), 0);
}

#[test]
fn ids_of_chunk_streams_have_one_two_or_three_bytes() {
    let audio = |id: &[u8]| [id, &[0, 0, 1, 0, 0, 3, AUDIO, 1, 0, 0, 0], &sound(1)].concat();
    let script = Script::publishing()
        .raw(&audio(&[63]))
        .raw(&audio(&[0, 0]))
        .raw(&audio(&[0, 255]))
        .raw(&audio(&[1, 255, 255]))
        .raw(&[0xc0, 255, 0xaf, 1, 2])
        // 319, in three bytes: the same as [0, 255].
        .raw(&[0xc1, 255, 0, 0xaf, 1, 3]);
    let seen = seen(&script);
    assert_eq!(seen[4..], ["audio 2 b\"\\x02\"", "audio 3 b\"\\x03\""]);
}

#[test]
fn chunks_that_are_not_valid_are_refused() {
    let publishing = Script::publishing;
    let size = |size: u32| publishing().message(2, 1, 0, &size.to_be_bytes());
    assert_eq!(malformed(size(0)), "a chunk size of 0");
    let limit = Limits::default().chunk_size;
    for too_large in [limit as u32 + 1, 0x7fff_ffff, 0xffff_ffff] {
        let error = run(&size(too_large)).1.unwrap_err();
        assert_eq!(error, Error::TooLarge { what: "bytes of a chunk", limit });
    }
    assert_eq!(malformed(publishing().message(2, 1, 0, &[0, 0])), "a chunk size is cut off");
    assert_eq!(malformed(publishing().message(2, 2, 0, &[])), "an abort is cut off");
    assert_eq!(malformed(publishing().message(2, 5, 0, &[1])), "a window size is cut off");
    let never_began = "a chunk goes on with a message that never began";
    assert_eq!(malformed(publishing().raw(&[0xc9])), never_began);
    assert_eq!(malformed(publishing().header(2, 9, 1, None)), never_began);
    let begun = publishing().header(0, 6, 0, Some((200, VIDEO))).raw(&[0x17; 128]);
    let within = begun.header(0, 6, 0, Some((200, VIDEO)));
    assert_eq!(malformed(within), "a message begins within another");
    let aggregate = publishing().message(6, 22, 0, &[9; 30]);
    assert_eq!(malformed(aggregate), "an aggregate message, which no encoder sends");
}
