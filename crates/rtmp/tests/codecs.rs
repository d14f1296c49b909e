//! H.264 and AAC are taken, with both kinds of headers; any other codec is refused by its name.

mod script;

use rtmp::{Error, Rejection};
use script::{Script, run};

fn seen(script: Script) -> Vec<String> {
    let (owner, result) = run(&script);
    assert_eq!(result, Ok(()));
    owner.seen[1..].to_vec()
}

/// What a publisher is told.
fn refused(script: Script) -> String {
    let (owner, result) = run(&script);
    let Err(Error::Refused(Rejection::Unsupported(text))) = result else { panic!("{result:?}") };
    assert!(owner.was_sent(&text) && owner.was_sent("NetStream.Publish.Rejected"));
    text
}

fn video(tag: &[u8]) -> Script {
    Script::publishing().video(40, tag)
}

fn audio(tag: &[u8]) -> Script {
    Script::publishing().audio(40, tag)
}

fn enhanced(first: u8, codec: &[u8; 4], rest: &[u8]) -> Vec<u8> {
    [&[first], &codec[..], rest].concat()
}

#[test]
fn enhanced_h264_and_aac_are_taken() {
    for (tag, expected) in [
        (enhanced(0x90, b"avc1", &[1, 2]), "avcc b\"\\x01\\x02\""),
        (enhanced(0x91, b"avc1", &[0, 0, 33, 5]), "key 40+33 b\"\\x05\""),
        (enhanced(0xa1, b"avc1", &[0xff, 0xff, 0xff, 5]), "frame 40-1 b\"\\x05\""),
        (enhanced(0xa3, b"avc1", &[5]), "frame 40+0 b\"\\x05\""),
        (enhanced(0x92, b"avc1", &[]), "end of video"),
        // With nanoseconds before the packet type.
        (b"\x97\x02\0\0\0\x03avc1\x05".to_vec(), "key 40+0 b\"\\x05\""),
    ] {
        assert_eq!(seen(video(&tag)), [expected]);
    }
    for (tag, expected) in [
        (enhanced(0x90, b"mp4a", &[1, 2]), "asc b\"\\x01\\x02\""),
        (enhanced(0x91, b"mp4a", &[5]), "audio 40 b\"\\x05\""),
    ] {
        assert_eq!(seen(audio(&tag)), [expected]);
    }
}

#[test]
fn modifiers_of_any_length_are_skipped() {
    for length in [1, 254, 255, 256, 257, 65_536_usize] {
        let mut tag = vec![0x97];
        match length {
            ..256 => tag.push((length - 1) as u8),
            _ => {
                tag.push(255);
                tag.extend((length as u32 - 1).to_be_bytes().split_at(2).1);
            }
        }
        tag.extend(vec![7; length]);
        tag.extend(b"\x03avc1\x05");
        assert_eq!(seen(video(&tag)), ["key 40+0 b\"\\x05\""], "{length}");
    }
}

#[test]
fn other_video_codecs_are_refused_by_name() {
    for (codec, name) in [(b"hvc1", "HEVC"), (b"av01", "AV1"), (b"vp09", "VP9"), (b"vp08", "VP8")] {
        // Already the first packet, which has the configuration.
        for first in [0x90, 0x91, 0x93] {
            let told = refused(video(&enhanced(first, codec, &[0; 20])));
            assert_eq!(told, format!("{name} is not taken; set the encoder to H.264 (AVC)"));
        }
    }
    for (first, name) in [(0x12, "Sorenson H.263"), (0x14, "VP6"), (0x1c, "HEVC"), (0x1d, "AV1")] {
        let told = refused(video(&[first, 0, 0, 0, 0, 1]));
        assert_eq!(told, format!("{name} is not taken; set the encoder to H.264 (AVC)"));
    }
    assert!(refused(video(&enhanced(0x90, b"oops", &[]))).starts_with("an unknown video codec"));
    assert!(refused(video(b"\x96\x00avc1\x00")).starts_with("several video tracks"));
}

#[test]
fn other_audio_codecs_are_refused_by_name() {
    for (first, name) in [
        (0x0f, "PCM"),
        (0x1f, "ADPCM"),
        (0x2f, "MP3"),
        (0x5f, "Nellymoser"),
        (0x7f, "G.711"),
        (0xbf, "Speex"),
        (0xef, "MP3"),
    ] {
        let told = refused(audio(&[first, 1, 2]));
        assert_eq!(told, format!("{name} is not taken; set the encoder to AAC"));
    }
    for (codec, name) in [(b"Opus", "Opus"), (b"fLaC", "FLAC"), (b"ac-3", "AC-3")] {
        let told = refused(audio(&enhanced(0x90, codec, &[0; 8])));
        assert_eq!(told, format!("{name} is not taken; set the encoder to AAC"));
    }
    assert!(refused(audio(b"\x95\x00mp4a\x00")).starts_with("several audio tracks"));
}

#[test]
fn media_without_content_is_left_out() {
    for tag in [
        &[][..],
        &[0x17, 0],
        &[0x17, 0, 0, 0, 0],
        &[0x17, 1, 0, 0, 0],
        // A command for players, with both headers, and colours.
        &[0x57, 0],
        &[0x57],
        b"\xd1\x00",
        b"\x94avc1\x02\x00\x09colorInfo",
    ] {
        assert_eq!(seen(video(tag)), Vec::<String>::new(), "{tag:?}");
    }
    for tag in [&[][..], &[0xaf, 0], &[0xaf, 1], b"\x94mp4a\x01\x02", b"\x92mp4a"] {
        assert_eq!(seen(audio(tag)), Vec::<String>::new(), "{tag:?}");
    }
}

#[test]
fn media_that_is_cut_off_is_an_error() {
    let cut_off = Error::Malformed("the header of an audio or video message is cut off");
    for tag in [&[0x17][..], &[0x17, 1], &[0x17, 1, 0, 0], b"\x90", b"\x90avc", b"\x91avc1\0\0"] {
        assert_eq!(run(&video(tag)).1, Err(cut_off.clone()), "{tag:?}");
    }
    for tag in [&[0xaf][..], b"\x90", b"\x91mp4", b"\x97", b"\x97\xff\xff\xff", b"\x97\0"] {
        assert_eq!(run(&audio(tag)).1, Err(cut_off.clone()), "{tag:?}");
    }
    let unknown = Error::Malformed("an AVC packet of an unknown type");
    assert_eq!(run(&video(&[0x17, 3, 0, 0, 0, 1])).1, Err(unknown));
}
