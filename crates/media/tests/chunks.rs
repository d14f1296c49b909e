//! Pictures that were encoded elsewhere, and groups of pictures that are passed over.

#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

use std::fs::File;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use domain::Gop;
use media::{
    ChunkReader, ChunkWriter, EncodeSettings, Item, MediaError, Packets, Pass, Reader, Section,
    Streams, VideoEncoder, Writer,
};
use redact::{Analysis, Painter, Policy, RedactionPlan, Seen};
use sealed::{SealKey, Sealed};

const CONTEXT: &str = "chunk of a test";

/// Four seconds at 25 frames a second in groups of a second, with B-frames and a tone.
fn clip(path: &Path) {
    clip_with(path, "");
}

fn clip_with(path: &Path, more: &str) {
    let args = "-v error -f lavfi -i testsrc2=s=160x120:r=25:d=4 -f lavfi -i sine=d=4 -c:a aac -c:v libx264 \
         -preset veryfast -bf 2 -x264-params keyint=25:min-keyint=25:scenecut=0";
    let args = args.split_whitespace().chain(more.split_whitespace());
    let status = Command::new("ffmpeg").args(args).arg(path).status().unwrap();
    assert!(status.success());
}

fn gops(path: &Path) -> Vec<Gop> {
    Reader::open(path, Streams::Video, false).unwrap().index().unwrap().unwrap()
}

fn sections(gops: &[Gop], pass: impl Fn(usize) -> Pass) -> Vec<Section> {
    let section = |(at, gop): (usize, &Gop)| Section {
        start: gop.start,
        first: 25 * at as u64,
        pass: pass(at),
    };
    gops.iter().enumerate().map(section).collect()
}

/// A plan in which nothing is covered.
fn plan(path: &Path) -> RedactionPlan {
    let mut reader = Reader::open(path, Streams::Video, false).unwrap();
    let mut analysis = Analysis::new(reader.info().video.size);
    while let Some(item) = reader.next().unwrap() {
        if let Item::Frame(decoded) = item {
            analysis.frame(decoded.frame.pts, Seen::Detected, false);
        }
    }
    analysis.gops(gops(path));
    analysis.finish(&[], &[], &Policy::default())
}

fn reorder(gops: &[Gop]) -> usize {
    gops.iter().map(|gop| usize::from(gop.reorder)).max().unwrap()
}

/// Encodes the groups that `ours` says; gives what is needed to read the chunk.
fn encode(input: &Path, to: &Path, preset: &str, ours: impl Fn(usize) -> bool) -> Sealed {
    let (gops, plan) = (gops(input), plan(input));
    let mut reader = Reader::open(input, Streams::Video, false).unwrap();
    let pass = |at| if ours(at) { Pass::Decode } else { Pass::Skip };
    let splice = reader.splice(sections(&gops, pass), reorder(&gops)).unwrap();
    let info = reader.info().video.clone();
    let settings = EncodeSettings { preset: preset.to_owned(), ..EncodeSettings::default() };
    let (format, range) = (reader.pixel_format(), reader.color().range);
    let mut encoder = VideoEncoder::open(&info, format, range, &settings, Some(&splice)).unwrap();
    let (key, context) = (SealKey::random(), CONTEXT.to_owned());
    let mut chunk = ChunkWriter::create(to, key, context, &encoder).unwrap();
    let mut painter = Painter::new();
    while let Some(item) = reader.next().unwrap() {
        let Item::Frame(decoded) = item else { continue };
        let frame = decoded.frame;
        assert!(ours(frame.seq as usize / 25), "frame {} is of a group passed over", frame.seq);
        let cover = plan.for_frame(frame.seq, frame.pts, frame.size);
        if decoded.starts_group {
            encoder.start_group();
        }
        for packet in encoder.encode(painter.paint(frame, &cover), decoded.duration).unwrap() {
            chunk.write(&packet).unwrap();
        }
    }
    for packet in encoder.finish().unwrap() {
        chunk.write(&packet).unwrap();
    }
    chunk.finish().unwrap()
}

fn open(path: &Path, of: &Sealed) -> Result<ChunkReader<File>, MediaError> {
    let bytes = sealed::Reader::new(File::open(path).unwrap(), of).unwrap();
    ChunkReader::open(path, bytes)
}

/// Puts the groups of `chunk` that `theirs` says between the others of `input`.
fn join(
    input: &Path,
    chunk: &mut ChunkReader<File>,
    output: &Path,
    theirs: impl Fn(usize) -> bool,
) -> Result<(), MediaError> {
    let (gops, plan) = (gops(input), plan(input));
    let mut reader = Reader::open(input, Streams::VideoAndAudio, false).unwrap();
    let pass = |at| if theirs(at) { Pass::Skip } else { Pass::Copy };
    let splice = reader.splice(sections(&gops, pass), reorder(&gops)).unwrap();
    let info = reader.info().video.clone();
    let (format, range) = (reader.pixel_format(), reader.color().range);
    let settings = EncodeSettings::default();
    let encoder = VideoEncoder::open(&info, format, range, &settings, Some(&splice))?;
    let times = plan.iter().map(|frame| frame.ticks).collect();
    let audio = reader.audio_plan()?;
    let mut writer = Writer::create_spliced(output, &encoder, &splice, times, &info, audio)?;
    writer.use_chunk(chunk)?;
    while let Some(item) = reader.next()? {
        match item {
            Item::Audio(audio) => writer.audio(audio)?,
            Item::Copied(group) => {
                let leave = plan.clear(group.at, group.sha256).unwrap();
                writer.copy(group, leave)?;
            }
            Item::Skipped(at) => {
                assert!(theirs(at));
                for _ in 0..gops[at].packets {
                    writer.video(chunk.next_picture()?)?;
                }
            }
            Item::Frame(_) => panic!("nothing is decoded here"),
        }
    }
    writer.finish()
}

fn times(path: &Path) -> Vec<i64> {
    plan(path).iter().map(|frame| frame.ticks).collect()
}

#[test]
fn what_was_encoded_elsewhere_stands_between_copied_groups() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    clip(&path("in.mp4"));
    let of = encode(&path("in.mp4"), &path("chunk"), "veryfast", |at| (1..3).contains(&at));
    let mut chunk = open(&path("chunk"), &of).unwrap();
    join(&path("in.mp4"), &mut chunk, &path("out.mp4"), |at| (1..3).contains(&at)).unwrap();
    assert_eq!(times(&path("out.mp4")), times(&path("in.mp4")));
    let (before, after) = (gops(&path("in.mp4")), gops(&path("out.mp4")));
    let same: Vec<bool> = before.iter().zip(&after).map(|(a, b)| a.sha256 == b.sha256).collect();
    assert_eq!(same, [true, false, false, true]);
    assert!(chunk.next_picture().is_err(), "it had as many pictures as the groups");
    let count = |name| {
        let mut packets = Packets::open(&path(name)).unwrap();
        std::iter::from_fn(|| packets.next().unwrap()).count()
    };
    assert_eq!(count("out.mp4"), count("in.mp4"), "with the sound");
}

#[test]
fn a_video_without_sound_of_which_nothing_is_copied_is_put_together_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    clip_with(&path("in.mp4"), "-an");
    let of = encode(&path("in.mp4"), &path("chunk"), "veryfast", |_| true);
    let mut chunk = open(&path("chunk"), &of).unwrap();
    join(&path("in.mp4"), &mut chunk, &path("out.mp4"), |_| true).unwrap();
    assert_eq!(times(&path("out.mp4")), times(&path("in.mp4")));
}

#[test]
fn a_chunk_of_other_settings_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    clip(&path("in.mp4"));
    // Its parameter sets are others.
    let of = encode(&path("in.mp4"), &path("chunk"), "ultrafast", |at| (1..3).contains(&at));
    let mut chunk = open(&path("chunk"), &of).unwrap();
    let error =
        join(&path("in.mp4"), &mut chunk, &path("out.mp4"), |at| (1..3).contains(&at)).unwrap_err();
    assert!(matches!(error, MediaError::NotSpliced(_)), "{error}");
}

#[test]
fn what_is_no_chunk_or_was_changed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    clip(&path("in.mp4"));
    let of = encode(&path("in.mp4"), &path("chunk"), "veryfast", |at| at == 1);
    let mut bytes = std::fs::read(path("chunk")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path("changed"), bytes).unwrap();
    assert!(matches!(open(&path("changed"), &of), Err(MediaError::Input { .. })));
    let key = SealKey::random();
    let record =
        sealed::seal(&key, CONTEXT, 0, b"an uncovered picture, sealed all the same").unwrap();
    let of = Sealed { key, context: CONTEXT.to_owned(), len: 41 };
    let bytes = sealed::Reader::new(Cursor::new(record), &of).unwrap();
    assert!(matches!(ChunkReader::open(&path("x"), bytes), Err(MediaError::Input { .. })));
}
