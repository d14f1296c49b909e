//! Videos that are read through a Rust reader and not as files.

#![allow(clippy::unwrap_used)]

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::Command;

use media::{Bytes, Input, Item, MediaError, MediaInfo, Packets, Reader, Streams};

/// A second of a test picture with a tone, as FFmpeg writes it with `args`, and as a file.
struct Clip {
    file: tempfile::NamedTempFile,
    content: Vec<u8>,
}

impl Clip {
    fn new(args: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("ffmpeg");
        command
            .args("-v error -nostdin -y -f lavfi -t 1 -i testsrc=size=160x120:rate=25".split(' '));
        command.args("-f lavfi -t 1 -i sine=440 -pix_fmt yuv420p".split(' '));
        command.args(args.split(' ')).arg(file.path());
        assert!(command.status().unwrap().success());
        let content = std::fs::read(file.path()).unwrap();
        Self { file, content }
    }
}

const KINDS: [&str; 5] = [
    "-c:v libx264 -g 10 -f mp4",
    "-c:v libx264 -g 10 -movflags +faststart -f mp4",
    "-c:v libx264 -g 10 -f matroska",
    "-c:v libx264 -g 10 -f mpegts",
    "-c:v mpeg4 -c:a pcm_s16le -f avi",
];

fn bytes(bytes: impl Bytes + 'static) -> Input<'static> {
    Input::Bytes { name: PathBuf::from("sealed"), bytes: Box::new(bytes) }
}

/// Everything a reader gives: times and brightness of pictures, how many packets of sound.
type Content = (Vec<(i64, Vec<u8>)>, usize);

fn read(input: Input<'_>) -> Result<Content, MediaError> {
    let mut reader = Reader::open(input, Streams::VideoAndAudio, false)?;
    let (mut frames, mut sound) = (Vec::new(), 0);
    while let Some(item) = reader.next()? {
        match item {
            Item::Frame(d) => frames.push((d.frame.pts.ticks, d.frame.planes[0].data.clone())),
            Item::Audio(_) => sound += 1,
            Item::Copied(_) | Item::Skipped(_) => panic!("nothing is copied here"),
        }
    }
    Ok((frames, sound))
}

fn packets(input: Input<'_>) -> Result<usize, MediaError> {
    let mut packets = Packets::open(input)?;
    let mut count = 0;
    while packets.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[test]
fn bytes_give_what_the_file_gives() {
    for kind in KINDS {
        let clip = Clip::new(kind);
        let of_file = read(clip.file.path().into()).unwrap();
        let of_bytes = read(bytes(Cursor::new(clip.content.clone()))).unwrap();
        assert!(of_file.0.len() >= 24 && of_file.1 > 0, "{kind}");
        assert!(of_file == of_bytes, "{kind}");
        let debug = |info: MediaInfo| format!("{info:?}");
        let infos = [
            media::probe(clip.file.path()).map(debug).unwrap(),
            media::probe(bytes(Cursor::new(clip.content.clone()))).map(debug).unwrap(),
        ];
        assert_eq!(infos[0], infos[1], "{kind}");
        let counts = (packets(clip.file.path().into()), packets(bytes(Cursor::new(clip.content))));
        assert_eq!(counts.0.unwrap(), counts.1.unwrap(), "{kind}");
    }
}

/// Cannot be read from a byte on, like a record that was changed.
struct FailsAt {
    content: Cursor<Vec<u8>>,
    at: u64,
}

impl Read for FailsAt {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.at.saturating_sub(self.content.position());
        if left == 0 {
            return Err(io::Error::other("on purpose"));
        }
        self.content.by_ref().take(left).read(into)
    }
}

impl Seek for FailsAt {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.content.seek(to)
    }
}

#[test]
fn bytes_that_cannot_be_read_on_are_an_error_and_no_shorter_video() {
    for kind in KINDS {
        let content = Clip::new(kind).content;
        let len = content.len() as u64;
        for at in (0..len).step_by(content.len() / 12).chain([len - 1]) {
            let failing = || bytes(FailsAt { content: Cursor::new(content.clone()), at });
            for error in [read(failing()).err(), packets(failing()).err()] {
                let error = error.map(|e| e.to_string());
                assert_eq!(
                    error.as_deref(),
                    Some("sealed: on purpose"),
                    "{kind}, from {at} of {len}"
                );
            }
        }
    }
}

#[test]
fn bytes_are_never_a_playlist_and_only_of_the_kinds_taken() {
    for (content, why) in [
        (&b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"[..], "is an HLS playlist"),
        (b"\xef\xbb\xbf \n#EXTM3U\n", "is an HLS playlist"),
        (b"", "is empty"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "cannot be opened"),
        (b"<?xml version=\"1.0\"?><MPD></MPD>", "is not a video that can be read"),
        (&[0; 3000], "is not a video that can be read"),
    ] {
        // Kinds that are not on the list cannot be opened; what is of no kind is no video.
        let error = media::probe(bytes(Cursor::new(content.to_vec()))).err().unwrap();
        assert!(error.to_string().starts_with(&format!("sealed: {why}")), "{error}");
    }
    // A kind that FFmpeg reads and we do not.
    let gif = Clip::new("-map 0:v -pix_fmt rgb8 -f gif").content;
    assert!(matches!(media::probe(bytes(Cursor::new(gif))), Err(MediaError::Input { .. })));
}
