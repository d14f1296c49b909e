//! MP4s that are written through a Rust writer and not as files.

#![allow(clippy::unwrap_used)]

use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use media::{Input, MediaError, PacketInfo, Packets};

/// Two seconds of a test picture with a tone, as FFmpeg writes it with `args`.
fn clip(args: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new("ffmpeg");
    command.args("-v error -nostdin -y -f lavfi -t 2 -i testsrc2=size=640x360:rate=25".split(' '));
    command.args("-f lavfi -t 2 -i sine=440 -pix_fmt yuv420p".split(' '));
    command.args(args.split(' ')).arg(file.path());
    assert!(command.status().unwrap().success());
    file
}

const KINDS: [&str; 6] = [
    "-vf noise=alls=60:allf=t -c:v libx264 -preset ultrafast -g 10 -crf 5 -f mpegts",
    "-c:v libx265 -x265-params log-level=error -output_ts_offset 1000 -f mpegts",
    "-c:v libx264 -c:a ac3 -f matroska",
    "-c:v libx264 -c:a mp2 -f mpegts",
    "-c:v libx264 -g 10 -movflags +frag_keyframe+empty_moov -f mp4",
    "-c:v libaom-av1 -usage realtime -cpu-used 8 -c:a libopus -f webm",
];

fn packets<'a>(input: impl Into<Input<'a>>) -> Vec<PacketInfo> {
    let mut packets = Packets::open(input).unwrap();
    let mut all = Vec::new();
    while let Some(packet) = packets.next().unwrap() {
        all.push(packet);
    }
    all
}

fn bytes(content: &[u8]) -> Input<'static> {
    let bytes = Box::new(Cursor::new(content.to_vec()));
    Input::Bytes { name: PathBuf::from("sealed"), bytes }
}

fn remux(input: Input<'_>, output: &mut dyn media::Target) -> Result<usize, MediaError> {
    media::remux(input, Path::new("made"), output, &mut |_, _| {})
}

#[test]
fn a_writer_gets_packet_for_packet_what_a_file_gets() {
    for kind in KINDS {
        let clip = clip(kind);
        let content = std::fs::read(clip.path()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out.mp4");
        let converted = media::convert(clip.path(), &file, &mut |_, _| {}).unwrap();
        assert!(converted.video_copied && converted.audio_copied == Some(true), "{kind}");
        let mut made = Cursor::new(Vec::new());
        assert_eq!(remux(bytes(&content), &mut made).unwrap(), 0);
        let made = made.into_inner();
        let all = packets(bytes(&made));
        assert!(all.len() > 100, "{kind}: {}", all.len());
        assert!(all == packets(file.as_path()), "{kind}");
        let pictures = |all: &[PacketInfo]| -> Vec<u128> {
            all.iter().filter(|p| p.kind == media::Kind::Video).map(|p| p.hash).collect()
        };
        assert!(pictures(&all) == pictures(&packets(clip.path())), "{kind}");
        assert!(media::is_whole_mp4(&mut Cursor::new(made)).unwrap(), "{kind}");
        assert!(!media::is_whole_mp4(&mut Cursor::new(content)).unwrap(), "{kind}");
    }
}

#[test]
fn only_a_few_bytes_at_the_head_are_written_again() {
    /// Remembers the end of what was written over.
    struct Watched(Cursor<Vec<u8>>, u64);
    impl Write for Watched {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            let (at, len) = (self.0.position(), self.0.get_ref().len() as u64);
            if at < len {
                self.1 = self.1.max(at + from.len() as u64);
            }
            self.0.write(from)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Seek for Watched {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    let content = std::fs::read(clip(KINDS[0]).path()).unwrap();
    let mut out = Watched(Cursor::new(Vec::new()), 0);
    remux(bytes(&content), &mut out).unwrap();
    assert!(out.0.get_ref().len() > 1 << 20, "the clip is too short to show anything");
    assert!((1..1024).contains(&out.1), "up to byte {} was written again", out.1);
}

/// Takes so many bytes, and then fails in its own way.
struct Fails {
    room: usize,
    panics: bool,
}

impl Write for Fails {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self.room.checked_sub(from.len()) {
            Some(room) => self.room = room,
            None if self.panics => panic!("on purpose"),
            None => return Err(io::Error::other("the moon is full")),
        }
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Fails {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Ok(0)
    }
}

#[test]
fn a_writer_that_fails_or_panics_is_an_error_with_its_reason_wherever_it_does() {
    let content = std::fs::read(clip(KINDS[0]).path()).unwrap();
    let mut made = Cursor::new(Vec::new());
    remux(bytes(&content), &mut made).unwrap();
    let whole = made.into_inner().len();
    // At the header, in the middle, and at the last bytes, which are still in FFmpeg's buffer then.
    for room in [0, 200_000, whole - 100] {
        for (panics, why) in [(false, "the moon is full"), (true, "internal error")] {
            let error = remux(bytes(&content), &mut Fails { room, panics }).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, MediaError::Output { .. }), "{text}");
            assert!(text.starts_with("made: cannot be written") && text.contains(why), "{text}");
        }
    }
}

#[test]
fn what_would_have_to_be_encoded_again_is_refused() {
    for (kind, codec) in [
        ("-c:v libvpx -deadline realtime -c:a libvorbis -f webm", "vp8"),
        ("-c:v libx264 -c:a wmav2 -f matroska", "wmav2"),
        ("-c:v mpeg4 -c:a libmp3lame -f avi", "avi"),
    ] {
        let content = std::fs::read(clip(kind).path()).unwrap();
        let error = remux(bytes(&content), &mut Cursor::new(Vec::new())).unwrap_err();
        assert!(matches!(error, MediaError::Refused { .. }), "{error}");
        assert!(error.to_string().contains(codec), "{error}");
    }
}

#[test]
fn what_only_looks_like_an_mp4_is_none() {
    let whole = std::fs::read(clip("-c:v libx264 -f mp4").path()).unwrap();
    let quicktime = std::fs::read(clip("-c:v libx264 -f mov").path()).unwrap();
    let is_whole = |content: &[u8]| media::is_whole_mp4(&mut Cursor::new(content)).unwrap();
    assert!(is_whole(&whole));
    assert!(!is_whole(&quicktime));
    assert!(!is_whole(&[]));
    assert!(!is_whole(b"\0\0\0"));
    for cut in [1, 8, 20, whole.len() / 2, whole.len() - 1] {
        assert!(!is_whole(&whole[..cut]), "the first {cut} bytes");
    }
    // Boxes of no bytes, of fewer than their heads have, and of more than there can be.
    for length in [[0, 0, 0, 2], [0xff; 4]] {
        let broken = [&whole[..], &length, b"free", &[0; 100]].concat();
        assert!(!is_whole(&broken), "{length:?}");
    }
    let huge = [&whole[..], &[0, 0, 0, 1], b"free", &[0xff; 8]].concat();
    assert!(!is_whole(&huge));
    let endless = [&whole[..], &[0, 0, 0, 8, b'f', b'r', b'e', b'e'].repeat(20_000)].concat();
    assert!(!is_whole(&endless));
}
