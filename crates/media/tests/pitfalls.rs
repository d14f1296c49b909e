//! What goes wrong when FFmpeg is used in the obvious way, each with a test that it does not here.
//! (Carrying only the main picture and sound, without metadata: `crates/garim/tests/files/outputs.rs`.)

#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

use std::path::{Path, PathBuf};
use std::process::Command;

use domain::{Frame, Pts};
use media::{
    Decoded, EncodeSettings, Item, MediaError, ReadStats, Reader, Streams, VideoEncoder, Writer,
};
use redact::{Analysis, Painter, Policy, Redacted, RedactionPlan, Seen};

/// A folder for one test.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn ffmpeg(&self, args: &str) {
        self.run("ffmpeg", &format!("-v error -nostdin -y {args}"));
    }

    fn run(&self, program: &str, args: &str) -> String {
        let mut command = Command::new(program);
        let output =
            command.current_dir(self.0.path()).args(args.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A moving test picture of `seconds` at 25 frames a second.
    fn clip(&self, seconds: f64, args: &str) {
        self.ffmpeg(&format!(
            "-f lavfi -i testsrc2=s=160x120:r=25:d={seconds} -c:v libx264 -preset veryfast {args}"
        ));
    }
}

fn open(path: &Path) -> Reader {
    Reader::open(path, Streams::Video, false).unwrap()
}

fn frames(path: &Path) -> (Vec<Decoded>, ReadStats) {
    let mut reader = open(path);
    let mut frames = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        if let Item::Frame(frame) = item {
            frames.push(frame);
        }
    }
    (frames, reader.stats())
}

fn bytes(frame: &Frame) -> Vec<u8> {
    frame.planes.iter().flat_map(|p| (0..p.height).flat_map(|y| p.row(y))).copied().collect()
}

/// A plan that covers nothing in frames at these times.
fn bare_plan(frames: &[Pts], size: domain::Size) -> RedactionPlan {
    let mut analysis = Analysis::new(size);
    for pts in frames {
        analysis.frame(*pts, Seen::Detected, false);
    }
    analysis.finish(&[], &[], &Policy::default())
}

fn paint(painter: &mut Painter, plan: &RedactionPlan, frame: Frame) -> Redacted {
    let cover = plan.for_frame(frame.seq, frame.pts, frame.size);
    painter.paint(frame, &cover)
}

/// Encodes `input` as `output`, nothing covered; gives the most packets the encoder ever held.
fn encode(input: &Path, output: &Path) -> usize {
    let times: Vec<Pts> = frames(input).0.iter().map(|d| d.frame.pts).collect();
    let mut reader = open(input);
    let info = reader.info().video.clone();
    let plan = bare_plan(&times, info.size);
    let settings = EncodeSettings::default();
    let mut encoder =
        VideoEncoder::open(&info, reader.pixel_format(), reader.color().range, &settings, None)
            .unwrap();
    let mut writer = Writer::create(output, &encoder, &info, None).unwrap();
    let mut painter = Painter::new();
    let (mut inside, mut most) = (0, 0);
    while let Some(item) = reader.next().unwrap() {
        let Item::Frame(decoded) = item else { continue };
        let painted = paint(&mut painter, &plan, decoded.frame);
        inside += 1;
        for packet in encoder.encode(painted, decoded.duration).unwrap() {
            inside -= 1;
            writer.video(packet).unwrap();
        }
        most = most.max(inside);
    }
    for packet in encoder.finish().unwrap() {
        writer.video(packet).unwrap();
    }
    writer.finish().unwrap();
    most
}

#[test]
fn pitfall_1_painting_a_frame_changes_no_later_one() {
    let s = Scratch::new();
    s.clip(2.0, "-g 100 -bf 2 in.mp4");
    let expected: Vec<Vec<u8>> =
        frames(&s.path("in.mp4")).0.iter().map(|d| bytes(&d.frame)).collect();
    let mut reader = open(&s.path("in.mp4"));
    let mut seen = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        let Item::Frame(mut decoded) = item else { continue };
        seen.push(bytes(&decoded.frame));
        decoded.frame.planes.iter_mut().for_each(|plane| plane.data.fill(0));
    }
    assert_eq!(seen.len(), 50);
    assert!(seen == expected, "what was painted shows in frames decoded later");
}

#[test]
fn pitfall_2_a_playlist_in_disguise_is_refused_and_no_other_format_is_probed() {
    let s = Scratch::new();
    s.clip(0.2, "-f mpegts a.ts");
    let list = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.2,\na.ts\n#EXT-X-ENDLIST\n";
    std::fs::write(s.path("list.mp4"), list).unwrap();
    assert!(matches!(media::probe(&s.path("list.mp4")), Err(MediaError::Refused { .. })));
    std::fs::write(s.path("list.m3u8"), list).unwrap();
    assert_eq!(media::probe(&s.path("list.m3u8")).unwrap().video.size.width, 160);
    // Formats that read other files, or that are not video files at all.
    std::fs::write(s.path("concat.mp4"), "ffconcat version 1.0\nfile a.ts\n").unwrap();
    std::fs::write(s.path("sdp.mp4"), "v=0\nm=video 5004 RTP/AVP 96\n").unwrap();
    s.ffmpeg("-i a.ts -c copy -f nut in.nut");
    for name in ["concat.mp4", "sdp.mp4", "in.nut"] {
        assert!(matches!(media::probe(&s.path(name)), Err(MediaError::Input { .. })), "{name}");
    }
}

#[test]
fn pitfall_3_frames_hidden_by_an_edit_list_are_not_read() {
    let s = Scratch::new();
    s.clip(2.0, "-g 100 -bf 2 whole.mp4");
    s.ffmpeg("-ss 1 -i whole.mp4 -c copy in.mp4");
    let packets = s.run("ffprobe", "-v error -show_entries packet=pts -of csv=p=0 in.mp4");
    let (shown, stats) = frames(&s.path("in.mp4"));
    assert!(packets.lines().count() >= shown.len() + 20, "the source hides nothing");
    assert!((24..=27).contains(&shown.len()), "{} frames", shown.len());
    assert!(shown[0].frame.pts.seconds() >= -1e-9, "starts at {}", shown[0].frame.pts);
    assert_eq!((stats.expected, stats.frames), (shown.len() as u64, shown.len() as u64));
    assert!(shown.iter().all(|d| d.intact), "hidden frames are no damage");
}

#[test]
fn pitfall_4_what_cannot_be_decoded_is_not_intact_until_the_next_key_frame() {
    let s = Scratch::new();
    s.clip(2.0, "-g 25 -bf 0 -sc_threshold 0 whole.mp4");
    let mut file = std::fs::read(s.path("whole.mp4")).unwrap();
    let positions = s.run("ffprobe", "-v error -show_entries packet=pos -of csv=p=0 whole.mp4");
    let at: Vec<usize> = positions.lines().map(|l| l.trim_matches(',').parse().unwrap()).collect();
    file[at[8]..at[10]].fill(0xff);
    std::fs::write(s.path("in.mp4"), file).unwrap();
    let (read, stats) = frames(&s.path("in.mp4"));
    assert!(stats.errors > 0 || stats.damaged > 0, "{stats:?}");
    for decoded in &read {
        let frame = (decoded.frame.pts.seconds() * 25.0).round() as usize;
        let expected = !(8..25).contains(&frame);
        // A thread's complaint may come when its neighbours are still inside.
        let doubtful = (4..8).contains(&frame) || frame == 25;
        assert!(doubtful || decoded.intact == expected, "frame {frame}: {}", decoded.intact);
    }
    assert!(read.iter().filter(|d| d.intact).count() >= 24, "all is doubted");
}

/// With a picture a thread, the mark on a picture that was made up in part is lost now and then. What is logged is not.
#[test]
fn pitfall_4_a_picture_that_is_made_up_is_noticed_every_time() {
    let s = Scratch::new();
    s.clip(1.0, "-s 640x240 -g 12 -bf 2 -sc_threshold 0 whole.mp4");
    let whole = std::fs::read(s.path("whole.mp4")).unwrap();
    let positions = s.run("ffprobe", "-v error -show_entries packet=pos -of csv=p=0 whole.mp4");
    let at: Vec<usize> = positions.lines().map(|l| l.trim_matches(',').parse().unwrap()).collect();
    let mut concealed = 0;
    for at in &at[2..24] {
        let mut file = whole.clone();
        file[at + 20..at + 60].fill(0x55);
        std::fs::write(s.path("in.mp4"), file).unwrap();
        let args = "-v info -nostdin -threads 1 -i in.mp4 -f null -";
        let output = Command::new("ffmpeg").args(args.split(' ')).current_dir(s.0.path()).output();
        if !String::from_utf8_lossy(&output.unwrap().stderr).contains("concealing") {
            continue;
        }
        concealed += 1;
        for _ in 0..8 {
            let (read, stats) = frames(&s.path("in.mp4"));
            assert!(stats.damaged > 0, "at {at}: {} frames, {stats:?}", read.len());
        }
    }
    assert!(concealed > 0, "nothing was made up");
}

/// The decoder makes up what is missing and only logs it. Its word must be heard.
#[test]
fn pitfall_4_a_complaint_without_an_error_is_noticed() {
    let s = Scratch::new();
    s.ffmpeg(
        "-f lavfi -i testsrc2=s=160x120:r=25:d=2 -c:v libx265 -bsf:v noise=drop=eq(n\\,20) \
         -x265-params log-level=error:bframes=0:keyint=30:min-keyint=30:scenecut=0 in.mkv",
    );
    let (read, stats) = frames(&s.path("in.mkv"));
    assert_eq!((read.len(), stats.errors), (49, 0), "{stats:?}");
    let doubted: Vec<u64> = read.iter().filter(|d| !d.intact).map(|d| d.frame.seq).collect();
    // Frame 21 is now the 20th; what was still inside when it complained is doubted too.
    assert!((20..29).all(|seq| doubted.contains(&seq)), "{doubted:?}");
    assert!(doubted.iter().all(|seq| (15..=29).contains(seq)), "{doubted:?}");
}

#[test]
fn pitfall_5_the_encoder_holds_no_more_for_a_longer_video() {
    let s = Scratch::new();
    s.clip(4.0, "short.mp4");
    s.clip(16.0, "long.mp4");
    let short = encode(&s.path("short.mp4"), &s.path("a.mp4"));
    let long = encode(&s.path("long.mp4"), &s.path("b.mp4"));
    assert!(long <= short && short < 64, "{short} packets, then {long}");
}

#[test]
fn pitfall_6_picture_types_of_the_source_are_not_copied() {
    let s = Scratch::new();
    s.clip(2.0, "-g 1 in.mp4");
    encode(&s.path("in.mp4"), &s.path("out.mp4"));
    let keys = |file: &str| {
        let flags =
            s.run("ffprobe", &format!("-v error -show_entries packet=flags -of csv=p=0 {file}"));
        flags.lines().filter(|l| l.starts_with('K')).count()
    };
    assert_eq!(keys("in.mp4"), 50, "every picture of the source is a key frame");
    assert!(keys("out.mp4") <= 2, "{} key frames", keys("out.mp4"));
}

#[test]
fn pitfall_7_every_frame_keeps_its_duration_the_last_one_too() {
    let s = Scratch::new();
    s.clip(
        1.0,
        "-bf 0 -fps_mode vfr -bsf:v setts=duration=if(eq(N\\,24)\\,PTS*5/24\\,DURATION) \
         -video_track_timescale 12800 in.mp4",
    );
    encode(&s.path("in.mp4"), &s.path("out.mp4"));
    let length = |file: &str| -> f64 {
        let args = format!("-v error -show_entries stream=duration -of csv=p=0 {file}");
        s.run("ffprobe", &args).trim().trim_matches(',').parse().unwrap()
    };
    assert!((length("in.mp4") - 1.16).abs() < 1e-3, "{}", length("in.mp4"));
    assert_eq!(length("out.mp4"), length("in.mp4"));
}

#[test]
fn pitfall_8_and_11_a_cut_off_video_counts_what_is_missing() {
    let s = Scratch::new();
    s.clip(2.0, "-movflags +faststart whole.mp4");
    let file = std::fs::read(s.path("whole.mp4")).unwrap();
    std::fs::write(s.path("in.mp4"), &file[..file.len() * 6 / 10]).unwrap();
    let (read, stats) = frames(&s.path("in.mp4"));
    assert_eq!(stats.expected, 50, "{stats:?}");
    assert_eq!(stats.frames, read.len() as u64);
    assert!((5..45).contains(&stats.frames), "{stats:?}");
    let (read, stats) = frames(&s.path("whole.mp4"));
    assert_eq!((stats.expected, stats.frames, stats.damaged, stats.errors), (50, 50, 0, 0));
    assert!(read.iter().all(|d| d.intact));
}

#[test]
fn pitfall_9_a_picture_size_that_changes_is_refused() {
    let s = Scratch::new();
    s.clip(0.4, "a.ts");
    s.clip(0.4, "-vf scale=96:64 -output_ts_offset 0.4 b.ts");
    let both = [std::fs::read(s.path("a.ts")).unwrap(), std::fs::read(s.path("b.ts")).unwrap()];
    std::fs::write(s.path("in.ts"), both.concat()).unwrap();
    let mut reader = open(&s.path("in.ts"));
    let error = loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("read to the end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, MediaError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("from 160x120 to 96x64"), "{error}");
}

#[test]
fn pitfall_12_pictures_beyond_the_limit_are_refused_before_they_are_decoded() {
    let s = Scratch::new();
    s.ffmpeg(
        "-f lavfi -i color=gray:s=8192x4640:r=1:d=1 -frames:v 1 -c:v libx264 -preset ultrafast \
         -threads 1 in.mp4",
    );
    for refused in [
        media::probe(&s.path("in.mp4")).err(),
        Reader::open(&s.path("in.mp4"), Streams::Video, false).err(),
    ] {
        let error = refused.unwrap();
        assert!(matches!(error, MediaError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("8192x4640"), "{error}");
    }
}
