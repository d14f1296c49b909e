//! Inputs that are no videos, damaged ones, and outputs that must not be.

use crate::support::pixels::{self, Luma};
use crate::support::{self, FACE, Scratch};

#[test]
fn files_that_are_no_video_are_named_with_the_reason() {
    let s = Scratch::new();
    s.write("empty.mp4", "");
    s.write("text.mp4", "hello, this is not a video\n".repeat(100));
    let mut x = 1u32;
    let mut noise = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    };
    s.write("random.mp4", (0..50_000).map(|_| noise()).collect::<Vec<u8>>());
    s.clip("", "-c:a aac whole.mp4"); // its index is at the end
    let whole = s.read("whole.mp4");
    s.write("noindex.mp4", &whole[..whole.len() / 2]);
    s.ffmpeg("-f lavfi -t 0.5 -i sine -c:a aac sound.mp4");
    std::fs::create_dir(s.path("folder.mp4")).unwrap();
    for (input, why) in [
        ("missing.mp4", "No such file"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "is not a video"),
        ("random.mp4", "is not a video"),
        ("noindex.mp4", "is not a video"),
        ("sound.mp4", "holds sound but no video"),
        ("folder.mp4", "holds no video or photo"),
    ] {
        let error = s.refusal(input, "");
        assert!(error.contains(input) && error.contains(why), "{error}");
    }
}

#[test]
fn a_cover_picture_is_no_video() {
    let s = Scratch::new();
    s.ffmpeg("-ss 1 -i @pyfeat/single_face.mp4 -frames:v 1 -vf scale=320:180 cover.jpg");
    s.ffmpeg(
        "-f lavfi -t 0.5 -i sine -i cover.jpg -map 0:a -map 1:v -c:a aac -c:v copy \
         -disposition:v attached_pic song.mp4",
    );
    let error = s.refusal("song.mp4", "");
    assert!(error.contains("song.mp4: holds sound but no video"), "{error}");
}

/// A clip with its index in front and a key frame every 12 frames, 48 frames long, and its frames.
fn streamable(s: &Scratch) -> Vec<Luma> {
    s.ffmpeg(
        "-t 1.6 -i @pyfeat/single_face.mp4 -vf scale=320:180 -c:v libx264 -preset veryfast -crf 16 \
         -g 12 -keyint_min 12 -sc_threshold 0 -an -movflags +faststart whole.mp4",
    );
    let frames = s.luma("whole.mp4");
    assert_eq!(frames.len(), 48);
    frames
}

/// Every frame of `out.mp4` is the one of that time in `whole`, with the face covered.
fn assert_no_face_in_any_frame(s: &Scratch, whole: &[Luma]) {
    let (times, frames) = (s.times("out.mp4"), s.luma("out.mp4"));
    assert_eq!(times.len(), frames.len());
    for (time, frame) in times.iter().zip(&frames) {
        let at = (time.as_f64() * 30.0).round() as usize;
        let left = pixels::detail_left(&whole[at], frame, FACE);
        assert!(left < pixels::COVERED, "at {time:?}: {left:.2} of the face is left");
    }
}

#[test]
fn a_cut_off_video_is_covered_as_far_as_it_goes_and_the_report_counts() {
    let s = Scratch::new();
    let whole = streamable(&s);
    let bytes = s.read("whole.mp4");
    s.write("in.mp4", &bytes[..bytes.len() * 6 / 10]);
    let report = s.mosaic("in.mp4", "");
    let frames = |name: &str| report["frames"][name].as_u64().unwrap();
    assert_eq!(frames("expected"), 48, "{report:#}");
    assert!((12..47).contains(&frames("total")), "{report:#}");
    assert!(report["warnings"].to_string().contains("of 48 frames could be decoded"), "{report:#}");
    assert_eq!(s.times("out.mp4").len() as u64, frames("total"));
    assert_no_face_in_any_frame(&s, &whole);
    s.assert_plays("out.mp4");
}

/// Where the packets of frames `from..` (in order of the file) start in `whole.mp4`.
fn offset(s: &Scratch, packet: usize) -> usize {
    let args = "-v error -of csv=p=0 -select_streams v:0 -show_entries packet=pos whole.mp4";
    let text = support::tool(s.command("ffprobe", args));
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().nth(packet).unwrap();
    line.trim_matches(',').parse().unwrap()
}

/// Damages frames 16 to 20, which others are predicted from up to the key frame 24.
fn damaged(fill: impl FnMut(usize) -> u8) {
    let s = Scratch::new();
    let whole = streamable(&s);
    let mut bytes = s.read("whole.mp4");
    let hole = offset(&s, 16)..offset(&s, 20);
    for (at, value) in hole.clone().zip(hole.map(fill).collect::<Vec<_>>()) {
        bytes[at] = value;
    }
    s.write("in.mp4", bytes);
    let report = s.mosaic("in.mp4", "");
    assert!(!report["warnings"].as_array().unwrap().is_empty(), "{report:#}");
    let whole_covers = report["frames"]["covered_whole"].as_u64().unwrap();
    let total = report["frames"]["total"].as_u64().unwrap();
    assert!(whole_covers >= 3 || total <= 44, "{report:#}");
    // What lies before the damage and after the next key frame is covered as usual, not whole.
    assert!(report["frames"]["covered"].as_u64().unwrap() >= 30, "{report:#}");
    assert_no_face_in_any_frame(&s, &whole);
    let (times, frames) = (s.times("out.mp4"), s.luma("out.mp4"));
    let grey: Vec<f64> = (times.iter().zip(&frames))
        .filter(|(_, frame)| pixels::is_grey(frame))
        .map(|(time, _)| time.as_f64())
        .collect();
    assert_eq!(grey.len() as u64, whole_covers, "{grey:?}");
    assert!(grey.iter().all(|t| (0.3..0.95).contains(t)), "{grey:?}");
    assert_eq!(report["covered_whole"][0]["reason"], "damaged", "{report:#}");
    s.assert_plays("out.mp4");
}

#[test]
fn a_hole_of_zeros_is_covered_whole() {
    damaged(|_| 0);
}

#[test]
fn garbage_in_the_middle_is_covered_whole() {
    damaged(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8);
}

#[test]
fn a_transport_stream_that_lost_packets_is_covered_whole_until_its_next_key_frame() {
    let s = Scratch::new();
    let whole = streamable(&s);
    s.ffmpeg("-i whole.mp4 -c copy -muxdelay 0 -muxpreload 0 whole.ts");
    let bytes = s.read("whole.ts");
    let packets: Vec<&[u8]> = bytes.chunks(188).collect();
    let lost = packets.len() * 35 / 100..packets.len() * 40 / 100;
    let kept: Vec<u8> = packets
        .iter()
        .enumerate()
        .filter(|(i, _)| !lost.contains(i))
        .flat_map(|(_, p)| *p)
        .copied()
        .collect();
    s.write("in.ts", kept);
    let report = s.mosaic("in.ts", "");
    assert!(report["frames"]["covered_whole"].as_u64().unwrap() >= 2, "{report:#}");
    let start = s.times("whole.ts")[0].as_f64();
    let (times, frames) = (s.times("out.mp4"), s.luma("out.mp4"));
    let offset = report["clock_offset"].as_f64().unwrap();
    for (time, frame) in times.iter().zip(&frames) {
        let at = ((time.as_f64() - offset - start) * 30.0).round() as usize;
        let left = pixels::detail_left(&whole[at], frame, FACE);
        assert!(left < pixels::COVERED, "at {time:?}: {left:.2} of the face is left");
    }
}

#[test]
fn a_video_that_starts_between_key_frames_is_covered_whole_until_the_first() {
    let s = Scratch::new();
    let whole = streamable(&s);
    // Without its first 4 packets the stream begins with frames that nothing can be made of.
    s.ffmpeg("-i whole.mp4 -c copy -bsf:v noise=drop=lt(n\\,4) in.mkv");
    let report = s.mosaic("in.mkv", "");
    let total = report["frames"]["total"].as_u64().unwrap();
    let covered = report["frames"]["covered"].as_u64().unwrap();
    assert!(covered <= 36, "frames before the first key frame count as seen: {report:#}");
    assert!(total >= 36, "{report:#}");
    let frames = s.luma("out.mp4");
    pixels::assert_all_covered(&whole[12..], &frames[frames.len() - 36..], FACE);
    let early = &frames[..frames.len() - 36];
    assert!(early.iter().all(pixels::is_grey), "{} frames", early.len());
}

#[test]
fn a_playlist_under_another_name_is_refused() {
    let s = Scratch::new();
    s.clip("", "-an -f mpegts a.ts");
    s.write("in.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.8,\na.ts\n#EXT-X-ENDLIST\n");
    let error = s.refusal("in.mp4", "");
    assert!(error.contains("in.mp4: is an HLS playlist under another name"), "{error}");
}

#[test]
fn a_playlist_that_points_outside_its_folder_is_refused() {
    let s = Scratch::new();
    s.clip("", "-an -f mpegts secret.ts");
    for (name, line) in [
        ("up.m3u8", "../secret.ts".to_owned()),
        ("root.m3u8", s.path("secret.ts").display().to_string()),
        ("web.m3u8", "http://127.0.0.1:9/secret.ts".to_owned()),
        ("odd.m3u8", "concat:secret.ts".to_owned()),
    ] {
        let list = format!("in/{name}");
        s.write(&list, format!("#EXTM3U\n#EXTINF:0.8,\n{line}\n#EXT-X-ENDLIST\n"));
        let error = s.refusal(&list, "");
        assert!(error.contains(name) && error.contains("its own folder"), "{error}");
    }
}

#[test]
fn other_readers_than_those_of_video_files_are_not_reached() {
    let s = Scratch::new();
    s.clip("", "-an secret.mp4");
    // A list that FFmpeg's concat reader would follow, and an image that is none of a video's.
    s.write("list.mp4", format!("ffconcat version 1.0\nfile {}\n", s.path("secret.mp4").display()));
    s.ffmpeg("-i secret.mp4 -frames:v 1 picture.png");
    std::fs::rename(s.path("picture.png"), s.path("picture.mp4")).unwrap();
    for input in ["list.mp4", "picture.mp4"] {
        let error = s.refusal(input, "");
        assert!(error.contains(input), "{error}");
    }
    // A name is a name, never a protocol.
    let error = s.refusal("concat:secret.mp4", "");
    assert!(error.contains("concat:secret.mp4: No such file"), "{error}");
}

#[test]
fn an_existing_output_is_replaced_only_with_overwrite() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    s.write("out.mp4", "precious");
    let error = s.refusal("in.mp4", "");
    assert!(error.contains("out.mp4: exists; pass --overwrite"), "{error}");
    assert_eq!(s.read("out.mp4"), b"precious");
    s.mosaic("in.mp4", "--overwrite");
    assert_eq!(s.times("out.mp4").len(), 24);
}

#[test]
fn the_input_is_never_the_output_not_even_through_links() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    let before = s.read("in.mp4");
    std::os::unix::fs::symlink("in.mp4", s.path("soft.mp4")).unwrap();
    std::fs::hard_link(s.path("in.mp4"), s.path("hard.mp4")).unwrap();
    for output in ["in.mp4", "./in.mp4", "soft.mp4", "hard.mp4"] {
        for command in ["mosaic", "convert"] {
            let error = s.garim(&format!("{command} in.mp4 -o {output} --overwrite")).error();
            assert!(error.contains("the output must be another file"), "{command}: {error}");
        }
    }
    for other in ["--report", "--plan-out", "--poster", "--contact-sheet"] {
        let error =
            s.garim(&format!("mosaic in.mp4 -o out.mp4 {other} in.mp4 --overwrite")).error();
        assert!(error.contains("in.mp4"), "{error}");
    }
    assert_eq!(s.read("in.mp4"), before);
    assert_eq!(s.names(), ["hard.mp4", "in.mp4", "soft.mp4"]);
}

#[test]
fn an_output_that_cannot_be_written_is_named_before_any_work() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    s.write("file", "");
    std::fs::create_dir(s.path("folder")).unwrap();
    for (output, why) in [
        ("nowhere/out.mp4", "No such file"),
        ("file/out.mp4", "Not a directory"),
        ("folder", "is a folder"),
        ("/proc/self/out.mp4", "/proc/self/out.mp4"),
    ] {
        let error = s.garim(&format!("mosaic in.mp4 -o {output}")).error();
        assert!(error.contains(output) && error.contains(why), "{error}");
    }
    assert_eq!(s.names(), ["file", "folder", "in.mp4"]);
}
