//! Live pictures in, fragments out, and what FFmpeg reads of them.

#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

use std::fs;
use std::path::Path;

use domain::{Color, Matrix, PixelFormat, Pts, Range, Size, TimeBase};
use media::{
    AacFrame, AccessUnit, Fragments, Item, Kind, LiveSettings, PacketInfo, Packets, Reader,
    Recording, SoundConfig, StreamDecoder, Streams, VideoEncoder, silence,
};
use redact::{Redacted, Slate, slate};

const COLOR: Color = Color { range: Range::Limited, matrix: Matrix::Bt709 };
const SIZE: Size = Size { width: 320, height: 180 };
const RATE: u32 = 30;
const FRAME: i64 = 3000;

fn settings() -> LiveSettings {
    LiveSettings {
        size: SIZE,
        color: COLOR,
        frame_rate: (RATE, 1),
        group: 60,
        preset: "superfast".to_owned(),
        crf: 23.0,
        max_bit_rate: 1_000_000,
        threads: 1,
    }
}

fn picture(which: Slate) -> Redacted {
    slate(which, SIZE, PixelFormat::Yuv420, COLOR)
}

fn at(n: i64) -> Pts {
    Pts::new(n * FRAME, TimeBase::MPEG)
}

/// Header and parts of 10 frames of `frames` pictures from number `first` on, a group every 60.
fn broadcast(first: i64, frames: i64, sound: &SoundConfig) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut encoder = VideoEncoder::open_live(&settings()).unwrap();
    let mut fragments = Fragments::new(&encoder, sound.clone()).unwrap();
    let header = fragments.header().unwrap();
    let quiet = silence(sound).unwrap();
    let mut parts = Vec::new();
    let mut next_sound = sound_until(first, sound);
    for start in (first..first + frames).step_by(10) {
        let mut pictures = Vec::new();
        for n in start..start + 10 {
            if n % 60 == 0 {
                encoder.start_group();
            }
            let which = if n % 2 == 0 { Slate::Soon } else { Slate::Away };
            let made = encoder.encode_at(picture(which), at(n), FRAME).unwrap();
            assert_eq!(made.len(), 1, "a picture in is a picture out at once");
            pictures.extend(made);
        }
        let end = sound_until(start + 10, sound);
        let quiet: Vec<AacFrame> = (next_sound..end).map(|_| quiet.clone()).collect();
        parts.push(fragments.part(&pictures, next_sound, &quiet).unwrap());
        next_sound = end;
    }
    (header, parts)
}

/// Frames of sound that begin before picture `n`.
fn sound_until(n: i64, sound: &SoundConfig) -> u64 {
    (n as u64 * u64::from(sound.rate())).div_ceil(u64::from(RATE) * 1024)
}

/// Times of pictures and of sound packets, in seconds.
fn read(path: &Path) -> (Vec<f64>, usize) {
    let mut reader = Reader::open(path, Streams::VideoAndAudio, false).unwrap();
    let (mut times, mut sounds) = (Vec::new(), 0);
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Frame(decoded) => {
                assert!(decoded.intact);
                times.push(decoded.frame.pts.seconds());
            }
            Item::Audio(_) => sounds += 1,
            _ => panic!("nothing is copied"),
        }
    }
    (times, sounds)
}

#[test]
fn fragments_are_a_video_with_sound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("live.mp4");
    let sound = SoundConfig::parse(&SoundConfig::USUAL).unwrap();
    assert_eq!((sound.rate(), sound.channels()), (48_000, 2));
    let (header, parts) = broadcast(0, 120, &sound);
    fs::write(&path, [header, parts.concat()].concat()).unwrap();
    let (times, sounds) = read(&path);
    let want: Vec<f64> = (0..120).map(|n| f64::from(n) / f64::from(RATE)).collect();
    assert_eq!(times.len(), want.len());
    assert!(times.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-9), "{times:?}");
    assert_eq!(sounds, 188, "4 s of 48 kHz in frames of 1024");
}

#[test]
fn a_second_encoder_goes_on_where_the_first_one_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("live.mp4");
    let sound = SoundConfig::parse(&[0x12, 0x10]).unwrap();
    assert_eq!((sound.rate(), sound.channels()), (44_100, 2));
    let (header, parts) = broadcast(0, 60, &sound);
    let (again, more) = broadcast(60, 60, &sound);
    assert_eq!(header, again, "one header is good for both");
    fs::write(&path, [header, parts.concat(), more.concat()].concat()).unwrap();
    let (times, _) = read(&path);
    assert_eq!(times.len(), 120);
    assert!(times.windows(2).all(|w| (w[1] - w[0] - 1.0 / 30.0).abs() < 1e-9));
}

#[test]
fn a_part_is_decoded_as_it_was_encoded() {
    let sound = SoundConfig::parse(&SoundConfig::USUAL).unwrap();
    let (header, parts) = broadcast(0, 60, &sound);
    let avcc = inside(&header, b"avcC");
    let mut decoder = StreamDecoder::open(avcc, TimeBase::MPEG).unwrap();
    let mut frames = Vec::new();
    let pictures = parts.iter().flat_map(|part| samples(part));
    for (n, data) in pictures.enumerate() {
        let unit = AccessUnit { pts: at(n as i64), ahead: 0, key: n == 0, data };
        frames.extend(decoder.decode(unit).unwrap());
    }
    assert_eq!(frames.len(), 60);
    assert!(frames.iter().all(|f| f.intact && f.frame.size == SIZE && f.frame.color == COLOR));
    assert_eq!(decoder.frame_rate(), Some((30, 1)));
    let want = picture(Slate::Soon);
    let (luma, meant) = (&frames[0].frame.planes[0], &want.frame().planes[0]);
    let off: u32 = (0..180)
        .flat_map(|y| luma.row(y).iter().zip(meant.row(y)))
        .map(|(a, b)| u32::from(a.abs_diff(*b)))
        .sum();
    assert!(off / (320 * 180) < 4, "{off}");
}

#[test]
fn what_does_not_decode_is_not_intact_until_the_next_key_frame() {
    let sound = SoundConfig::parse(&SoundConfig::USUAL).unwrap();
    let (header, parts) = broadcast(0, 120, &sound);
    let mut decoder = StreamDecoder::open(inside(&header, b"avcC"), TimeBase::MPEG).unwrap();
    let mut intact = Vec::new();
    for (n, data) in parts.iter().flat_map(|part| samples(part)).enumerate() {
        let mut data = data.to_vec();
        if n == 20 {
            data.iter_mut().skip(6).for_each(|byte| *byte ^= 0x55);
        }
        if n == 30 {
            data.clear();
        }
        let unit = AccessUnit { pts: at(n as i64), ahead: 0, key: n % 60 == 0, data: &data };
        intact.extend(decoder.decode(unit).unwrap().iter().map(|f| (f.frame.pts, f.intact)));
    }
    let is_intact = |n: i64| intact.iter().find(|f| f.0 == at(n)).is_some_and(|f| f.1);
    assert!((0..20).all(is_intact));
    assert!(!(21..60).any(is_intact), "{intact:?}");
    assert!((60..120).all(is_intact));
}

#[test]
fn configurations_of_sound_are_read_or_refused() {
    let read = |bytes: &[u8]| SoundConfig::parse(bytes).map(|c| (c.rate(), c.channels()));
    assert_eq!(read(&[0x14, 0x08]), Some((16_000, 1)));
    assert_eq!(read(&[0x12, 0x10, 0x56, 0xe5, 0x00]), Some((44_100, 2)));
    assert_eq!(read(&[0x12]), None);
    assert_eq!(read(&[0x17, 0x90]), None, "a rate of its own");
    assert_eq!(read(&[0x12, 0x14]), None, "960 samples");
    assert_eq!(read(&[0x12, 0x00]), None, "channels of its own");
    assert_eq!(read(&[0xff; 3]), None);
}

/// Packets of pictures and of sound, in order.
fn packets(path: &Path) -> [Vec<PacketInfo>; 2] {
    let mut packets = Packets::open(path).unwrap();
    let mut found = [Vec::new(), Vec::new()];
    while let Some(packet) = packets.next().unwrap() {
        found[usize::from(packet.kind == Kind::Audio)].push(packet);
    }
    found
}

#[test]
fn a_recording_becomes_one_mp4_that_begins_at_zero_and_has_no_pause() {
    let folder = tempfile::tempdir().unwrap();
    let sound = SoundConfig::parse(&SoundConfig::USUAL).unwrap();
    // It begins 20 s after the channel did, and for 8 s nobody has the channel.
    let (header, parts) = broadcast(600, 120, &sound);
    let (again, more) = broadcast(960, 60, &sound);
    assert_eq!(header, again);
    let mut playlist = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"a.mp4\",BYTERANGE=\"{}@0\"\n",
        header.len()
    );
    let mut file = header;
    for segment in parts.chunks(6).chain(more.chunks(6)) {
        let segment = segment.concat();
        let (length, at) = (segment.len(), file.len());
        playlist += &format!("#EXTINF:2,\n#EXT-X-BYTERANGE:{length}@{at}\na.mp4\n");
        file.extend(segment);
    }
    let [source, made] = ["a.m3u8", "made.mp4"].map(|name| folder.path().join(name));
    fs::write(folder.path().join("a.mp4"), &file).unwrap();
    fs::write(&source, playlist + "#EXT-X-ENDLIST\n").unwrap();
    Recording::of_broadcast(&source).mp4(&made, &mut |_, _| {}).unwrap();

    let [sent, got] = [packets(&source), packets(&made)];
    for (sent, got) in sent.iter().zip(&got) {
        let hashes = |packets: &[PacketInfo]| packets.iter().map(|p| p.hash).collect::<Vec<_>>();
        assert_eq!(hashes(got), hashes(sent));
    }
    let [pictures, sounds] = got.map(|packets| {
        let times = packets.into_iter().map(|packet| packet.at.unwrap().seconds());
        times.collect::<Vec<f64>>()
    });
    assert_eq!(pictures.len(), 180);
    // The first frame of sound that begins with the picture or later: 20 s are 937.5 of them.
    assert_eq!((pictures[0], sounds[0]), (0.0, 512.0 / 48_000.0));
    let steps = |times: &[f64], step: f64| {
        times.windows(2).filter(|w| (w[1] - w[0] - step).abs() > 1e-6).count()
    };
    assert!(steps(&pictures, 1.0 / 30.0) <= 1, "only at the seam: {pictures:?}");
    assert!(steps(&sounds, 1024.0 / 48_000.0) <= 1, "only at the seam: {sounds:?}");
    // As long as what was sent, but for a frame of sound by which both waited at the seam.
    let end = pictures[179] + 1.0 / 30.0;
    assert!((6.0..6.022).contains(&end), "{end}");
    let of_sound = sounds.last().unwrap() + 1024.0 / 48_000.0;
    assert!((of_sound - end).abs() < 0.022, "{of_sound}, {end}");
    let picture = Recording::of_broadcast(&made).picture(3.0).unwrap().unwrap();
    assert_eq!((picture.frame().size, picture.frame().pts.seconds()), (SIZE, 3.0));
}

/// The content of the first box of this name.
fn inside<'a>(file: &'a [u8], name: &[u8; 4]) -> &'a [u8] {
    let at = file.windows(4).position(|w| w == name).unwrap();
    let length = u32::from_be_bytes(file[at - 4..at].try_into().unwrap()) as usize;
    &file[at + 4..at - 4 + length]
}

/// The pictures of a part: its first run lists their sizes, and its data begins with them.
fn samples(part: &[u8]) -> Vec<&[u8]> {
    let run = inside(part, b"trun");
    let word = |at: usize| u32::from_be_bytes(run[at..at + 4].try_into().unwrap()) as usize;
    let mut data = inside(part, b"mdat");
    let mut samples = Vec::new();
    for n in 0..word(4) {
        let (sample, rest) = data.split_at(word(12 + 12 * n + 4));
        samples.push(sample);
        data = rest;
    }
    samples
}
