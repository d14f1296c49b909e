//! Sealed originals that become sealed MP4s.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use media::{PacketInfo, Packets};
use pipeline::{Input, JobError, RemuxSpec, Remuxed, remux};
use sealed::{SealKey, Sealed};

const CONTEXT: &str = "original of 7";

/// An original of 3 s, as FFmpeg writes it with `args`, sealed and not.
struct Original {
    folder: tempfile::TempDir,
    input: Input,
}

impl Original {
    fn new(args: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        let mut command = Command::new("ffmpeg");
        command.args(
            "-v error -nostdin -y -f lavfi -t 3 -i testsrc2=size=640x360:rate=25,noise=alls=60:allf=t -f lavfi -t 3 -i sine=440 \
             -pix_fmt yuv420p"
                .split_whitespace(),
        );
        assert!(command.args(args.split(' ')).arg(&plain).status().unwrap().success());
        let path = folder.path().join("original");
        let file = File::create_new(&path).unwrap();
        let mut writer = sealed::Writer::new(file, SealKey::random(), CONTEXT.to_owned()).unwrap();
        writer.write_all(&fs::read(plain).unwrap()).unwrap();
        let sealed = Some(writer.finish().unwrap());
        Self { folder, input: Input { path, sealed } }
    }

    fn spec(&self) -> RemuxSpec {
        let output = self.folder.path().join("made");
        RemuxSpec { input: self.input.clone(), output, key: SealKey::random(), context: None }
    }

    fn plain(&self) -> std::path::PathBuf {
        self.folder.path().join("plain")
    }
}

const ARCHIVE: &str = "-c:v libx264 -preset ultrafast -g 25 -crf 5 -f mpegts";

fn packets<'a>(input: impl Into<media::Input<'a>>) -> Vec<PacketInfo> {
    let mut packets = Packets::open(input).unwrap();
    let mut all = Vec::new();
    while let Some(packet) = packets.next().unwrap() {
        all.push(packet);
    }
    all
}

fn plain_of(path: &Path, of: &Sealed) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut reader = sealed::Reader::new(File::open(path).unwrap(), of).unwrap();
    reader.read_to_end(&mut plain).unwrap();
    plain
}

#[test]
fn the_sealed_mp4_has_the_packets_of_a_plain_one_and_none_of_its_bytes() {
    let original = Original::new(ARCHIVE);
    let spec = original.spec();
    let made: Remuxed = remux(&spec, &mut |_| {}).unwrap().unwrap();
    let of = Sealed { key: spec.key.clone(), context: CONTEXT.to_owned(), len: made.bytes };
    let input = Input { path: spec.output.clone(), sealed: Some(of.clone()) };
    let file = original.folder.path().join("converted.mp4");
    media::convert(&original.plain(), &file, &mut |_, _| {}).unwrap();
    let all = packets(input.open().unwrap());
    assert!(all.len() > 75 + 100, "{}", all.len());
    assert!(all == packets(file.as_path()));
    assert_eq!(made.left_out, 0);
    assert!(made.info["container"].as_str().unwrap().contains("mp4"), "{}", made.info);
    let plain = plain_of(&spec.output, &of);
    assert!(plain.len() as u64 == made.bytes && plain.len() > 2 << 20, "{}", plain.len());
    let sealed = fs::read(&spec.output).unwrap();
    for at in [4, 100, 1 << 20, (2 << 20) + 5, plain.len() - 200] {
        let piece = &plain[at..at + 16];
        assert!(!sealed.windows(16).any(|w| w == piece), "bytes from {at} lie there in the clear");
    }
    // And it is one: nothing is left to do.
    let again =
        RemuxSpec { input, output: original.folder.path().join("again"), ..original.spec() };
    assert!(remux(&again, &mut |_| {}).unwrap().is_none());
    assert!(!again.output.exists());
}

#[test]
fn what_was_changed_or_cut_off_becomes_nothing() {
    let original = Original::new(ARCHIVE);
    let content = fs::read(&original.input.path).unwrap();
    assert!(content.len() > 2 << 20);
    let mut changed = content.clone();
    changed[(1 << 20) + 500] ^= 1;
    for broken in [changed, content[..content.len() - 40].to_vec()] {
        fs::write(&original.input.path, broken).unwrap();
        let spec = original.spec();
        let error = remux(&spec, &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("changed"), "{error}");
        let _ = fs::remove_file(spec.output);
    }
}

#[test]
fn what_cannot_be_an_mp4_as_it_is_or_is_not_sealed_is_refused() {
    let refused = |spec: &RemuxSpec, why: &str| {
        let error = remux(spec, &mut |_| {}).unwrap_err();
        assert!(matches!(error, JobError::Media(media::MediaError::Refused { .. })), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    };
    let webm = Original::new("-c:v libvpx -deadline realtime -c:a libvorbis -f webm");
    refused(&webm.spec(), "vp8");
    let original = Original::new(ARCHIVE);
    let key = original.input.sealed.clone().unwrap().key;
    refused(&RemuxSpec { key, ..original.spec() }, "key");
    let input = Input { sealed: None, ..original.input.clone() };
    refused(&RemuxSpec { input, ..original.spec() }, "not sealed");
    assert!(!original.spec().output.exists());
}

#[test]
fn streams_that_are_left_out_are_counted() {
    let original = Original::new("-map 0:v -map 1:a -map 1:a -c:v libx264 -f mpegts");
    let made = remux(&original.spec(), &mut |_| {}).unwrap().unwrap();
    assert_eq!(made.left_out, 1);
}
