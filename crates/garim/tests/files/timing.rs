//! Every frame, at its time, turned and coloured as before, and the sound to the bit.

use crate::support::{self, FACE, Packet, Scratch, Seconds, time_base};

/// What must be the same in `out.mp4` as in `input`, whatever the container.
fn assert_same_pictures_times_and_sound(s: &Scratch, input: &str) {
    assert_eq!(s.times("out.mp4"), s.times(input), "frame times");
    assert_eq!(hashes(&s.packets("out.mp4", "a:0")), hashes(&s.packets(input, "a:0")), "sound");
    assert_eq!(pts(&s.packets("out.mp4", "a:0")), pts(&s.packets(input, "a:0")), "sound times");
    s.assert_plays("out.mp4");
}

fn hashes(packets: &[Packet]) -> Vec<&str> {
    packets.iter().map(|p| p.hash.as_str()).collect()
}

fn pts(packets: &[Packet]) -> Vec<Seconds> {
    packets.iter().map(|p| p.pts).collect()
}

/// Durations in order of presentation.
fn durations(s: &Scratch, file: &str) -> Vec<Seconds> {
    let mut packets = s.packets(file, "v:0");
    packets.sort_by(|a, b| a.pts.as_f64().total_cmp(&b.pts.as_f64()));
    packets.iter().map(|p| p.duration).collect()
}

#[test]
fn a_plain_mp4_keeps_every_frame_time_duration_and_sound_packet() {
    let s = Scratch::new();
    s.clip("", "-c:a aac in.mp4");
    let report = s.mosaic("in.mp4", "");
    assert_same_pictures_times_and_sound(&s, "in.mp4");
    assert_eq!(s.times("out.mp4").len(), 24);
    assert_eq!(durations(&s, "out.mp4"), durations(&s, "in.mp4"));
    assert_eq!(s.video("out.mp4")["duration"], s.video("in.mp4")["duration"]);
    assert_eq!(time_base(&s.video("out.mp4")), time_base(&s.video("in.mp4")));
    assert_eq!(report["audio"], "copied");
    assert_eq!(report["frames"]["covered"], 24);
    s.assert_covered("in.mp4", "out.mp4", FACE);
}

#[test]
fn b_frames_in_the_source_change_nothing() {
    let s = Scratch::new();
    s.clip("", "-c:v libx264 -preset fast -bf 3 -x264-params b-pyramid=normal -c:a aac in.mp4");
    assert_eq!(s.video("in.mp4")["has_b_frames"], 2);
    s.mosaic("in.mp4", "");
    assert_same_pictures_times_and_sound(&s, "in.mp4");
    s.assert_covered("in.mp4", "out.mp4", FACE);
}

#[test]
fn variable_frame_times_and_the_last_frames_duration_stay() {
    let s = Scratch::new();
    s.clip(
        "select=not(eq(mod(n\\,5)\\,3))",
        "-fps_mode vfr -bf 0 -bsf:v setts=duration=if(eq(N\\,18)\\,PTS*9/22\\,DURATION) \
         -video_track_timescale 30000 -c:a aac in.mp4",
    );
    let (times, last) = (s.times("in.mp4"), durations(&s, "in.mp4").pop().unwrap());
    let first_gaps: Vec<_> = times.windows(2).take(4).map(|w| w[1] - w[0]).collect();
    assert_ne!(first_gaps[0], first_gaps[2], "the source is not variable");
    assert_eq!(last, Seconds::new(9000, 30000), "the source's last frame is not longer");
    s.mosaic("in.mp4", "");
    assert_same_pictures_times_and_sound(&s, "in.mp4");
    assert_eq!(durations(&s, "out.mp4"), durations(&s, "in.mp4"));
    assert_eq!(s.video("out.mp4")["duration"], s.video("in.mp4")["duration"]);
}

#[test]
fn variable_frame_times_with_b_frames_stay() {
    let s = Scratch::new();
    s.clip(
        "select=not(eq(mod(n\\,5)\\,3))",
        "-fps_mode vfr -preset fast -bf 2 -video_track_timescale 30000 -an in.mp4",
    );
    assert_eq!(s.video("in.mp4")["has_b_frames"], 2);
    s.mosaic("in.mp4", "");
    assert_eq!(s.times("out.mp4"), s.times("in.mp4"));
    assert_eq!(s.video("out.mp4")["duration"], s.video("in.mp4")["duration"]);
    s.assert_covered("in.mp4", "out.mp4", FACE);
    s.assert_plays("out.mp4");
}

fn rotation(s: &Scratch, file: &str) -> i64 {
    s.video(file)["side_data_list"][0]["rotation"].as_i64().unwrap_or(0)
}

/// A phone's clip: coded lying, shown upright by its matrix. Detectors must see it upright.
fn stays_turned(filter: &str, matrix: [i32; 4], rotated: i64) {
    let s = Scratch::new();
    s.clip(filter, "-c:a aac in.mp4");
    s.turn("in.mp4", matrix);
    assert_eq!(rotation(&s, "in.mp4"), rotated);
    let report = s.mosaic("in.mp4", "");
    assert_eq!(rotation(&s, "out.mp4"), rotated);
    for side in ["width", "height"] {
        assert_eq!(s.video("out.mp4")[side], s.video("in.mp4")[side]);
    }
    assert_same_pictures_times_and_sound(&s, "in.mp4");
    assert_eq!(report["frames"]["covered"], 24, "{report:#}");
    let face = match rotated {
        -90 => {
            support::pixels::Rect::new(FACE.y, 320 - FACE.x - FACE.width, FACE.height, FACE.width)
        }
        90 => {
            support::pixels::Rect::new(180 - FACE.y - FACE.height, FACE.x, FACE.height, FACE.width)
        }
        _ => support::pixels::Rect::new(
            320 - FACE.x - FACE.width,
            180 - FACE.y - FACE.height,
            FACE.width,
            FACE.height,
        ),
    };
    s.assert_covered("in.mp4", "out.mp4", face);
}

#[test]
fn turned_by_90_degrees_stays_turned_and_is_covered() {
    stays_turned("transpose=cclock", [0, 1, -1, 0], -90);
}

#[test]
fn turned_by_180_degrees_stays_turned_and_is_covered() {
    stays_turned("hflip,vflip", [-1, 0, 0, -1], -180);
}

#[test]
fn turned_by_270_degrees_stays_turned_and_is_covered() {
    stays_turned("transpose=clock", [0, -1, 1, 0], 90);
}

#[test]
fn a_mirrored_selfie_stays_mirrored_and_is_covered() {
    let s = Scratch::new();
    s.clip("hflip", "-c:a aac in.mp4");
    s.turn("in.mp4", [-1, 0, 0, 1]);
    s.mosaic("in.mp4", "");
    let matrix = |file: &str| s.video(file)["side_data_list"][0]["displaymatrix"].clone();
    assert!(matrix("in.mp4").as_str().unwrap().contains("-65536"), "{}", matrix("in.mp4"));
    assert_eq!(matrix("out.mp4"), matrix("in.mp4"));
    let face = support::pixels::Rect { x: 320 - FACE.x - FACE.width, ..FACE };
    s.assert_covered("in.mp4", "out.mp4", face);
}

#[test]
fn pixels_that_are_not_square_stay_so() {
    let s = Scratch::new();
    s.clip("setsar=4/3", "-an in.mp4");
    s.mosaic("in.mp4", "");
    assert_eq!(s.video("out.mp4")["sample_aspect_ratio"], "4:3");
    assert_eq!(
        s.video("out.mp4")["display_aspect_ratio"],
        s.video("in.mp4")["display_aspect_ratio"]
    );
}

const COLOURS: [&str; 5] =
    ["color_range", "color_primaries", "color_transfer", "color_space", "chroma_location"];

/// The filter tags the frames: options of the output no longer reach the encoder in FFmpeg 7.
fn keeps_colours(filter: &str, args: &str, expected: [&str; 5]) {
    let s = Scratch::new();
    s.clip(filter, &format!("{args} -an in.mp4"));
    let colours = |file: &str| {
        let video = s.video(file);
        COLOURS.map(|name| video[name].as_str().unwrap_or("unknown").to_owned())
    };
    assert_eq!(colours("in.mp4"), expected);
    s.mosaic("in.mp4", "");
    assert_eq!(colours("out.mp4"), expected);
    // The samples too: grey levels away from the face are what they were.
    let (before, after) = (s.luma("in.mp4"), s.luma("out.mp4"));
    let away = |x: usize, _: usize| !(60..240).contains(&x);
    for (a, b) in before.iter().zip(&after) {
        let noise = support::pixels::psnr(a, b, away);
        assert!(noise > 36.0, "{noise:.1} dB");
    }
}

#[test]
fn high_definition_colours_stay_tagged() {
    keeps_colours(
        "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709",
        "",
        ["tv", "bt709", "bt709", "bt709", "left"],
    );
}

#[test]
fn old_television_colours_stay_tagged() {
    keeps_colours(
        "setparams=range=tv:color_primaries=smpte170m:color_trc=smpte170m:\
         colorspace=smpte170m",
        "-x264-params chromaloc=2",
        ["tv", "smpte170m", "smpte170m", "smpte170m", "topleft"],
    );
}

#[test]
fn wide_gamut_colours_stay_tagged() {
    keeps_colours(
        "setparams=range=tv:color_primaries=bt2020:color_trc=bt2020-10:colorspace=bt2020nc",
        "",
        ["tv", "bt2020", "bt2020-10", "bt2020nc", "left"],
    );
}

#[test]
fn full_range_stays_full_range() {
    keeps_colours(
        "",
        "-pix_fmt yuvj420p -color_range pc -colorspace smpte170m",
        ["pc", "unknown", "unknown", "smpte170m", "left"],
    );
}

#[test]
fn untagged_colours_stay_untagged() {
    keeps_colours("", "", ["unknown", "unknown", "unknown", "unknown", "left"]);
}

#[test]
fn a_stream_that_starts_late_still_does() {
    let s = Scratch::new();
    s.clip("", "-c:a aac -output_ts_offset 5 in.mp4");
    assert!(s.times("in.mp4")[0].as_f64() > 4.9);
    s.mosaic("in.mp4", "");
    assert_same_pictures_times_and_sound(&s, "in.mp4");
}

#[test]
fn sound_that_starts_later_than_the_picture_still_does() {
    let s = Scratch::new();
    s.clip("", "-c:a aac -an early.mp4");
    s.ffmpeg(
        "-i early.mp4 -itsoffset 0.3 -f lavfi -t 0.5 -i sine=440 -map 0:v -map 1:a -c:v copy \
         -c:a aac in.mp4",
    );
    let first = |file: &str| s.packets(file, "a:0")[0].pts.as_f64();
    assert!(first("in.mp4") > 0.2);
    s.mosaic("in.mp4", "");
    assert_same_pictures_times_and_sound(&s, "in.mp4");
}

#[test]
fn frames_hidden_by_an_edit_list_do_not_come_back() {
    let s = Scratch::new();
    s.clip("", "-c:v libx264 -g 100 -bf 2 -preset fast -c:a aac whole.mp4");
    s.ffmpeg("-ss 0.4 -i whole.mp4 -c copy in.mp4");
    let hidden = s.packets("in.mp4", "v:0").len() - s.times("in.mp4").len();
    assert!(hidden >= 8, "the source hides only {hidden} frames");
    let report = s.mosaic("in.mp4", "");
    assert_eq!(s.times("out.mp4"), s.times("in.mp4"));
    assert_eq!(s.packets("out.mp4", "v:0").len(), s.times("in.mp4").len(), "hidden frames");
    assert_eq!(report["warnings"], serde_json::json!([]), "hidden frames are not missing ones");
    s.assert_covered("in.mp4", "out.mp4", FACE);
}

/// Where a phone cuts off the end of a clip without encoding it again.
#[test]
fn frames_hidden_behind_the_end_do_not_come_back() {
    let s = Scratch::new();
    s.clip("", "-c:v libx264 -g 100 -bf 2 -preset fast -an in.mp4");
    let mut bytes = s.read("in.mp4");
    // The duration of the first edit (ISO/IEC 14496-12, 8.6.6), in milliseconds.
    let edit = bytes.windows(4).position(|w| w == b"elst").unwrap() + 12;
    assert_eq!(bytes[edit..edit + 4], 800u32.to_be_bytes());
    bytes[edit..edit + 4].copy_from_slice(&400u32.to_be_bytes());
    s.write("in.mp4", bytes);
    let shown = s.times("in.mp4");
    assert_eq!(shown.len(), 12);
    s.mosaic("in.mp4", "");
    assert_eq!(s.times("out.mp4"), shown);
    assert_eq!(s.packets("out.mp4", "v:0").len(), 12);
    s.garim("convert in.mp4 -o copy.mp4").ok();
    assert_eq!(s.times("copy.mp4"), shown);
}

#[test]
fn convert_hides_what_an_edit_list_hides() {
    let s = Scratch::new();
    s.clip("", "-c:v libx264 -g 100 -bf 2 -preset fast -c:a aac whole.mp4");
    s.ffmpeg("-ss 0.4 -i whole.mp4 -c copy in.mp4");
    s.garim("convert in.mp4 -o out.mp4").ok();
    assert_eq!(s.times("out.mp4"), s.times("in.mp4"));
    let (before, after) = (s.luma("in.mp4"), s.luma("out.mp4"));
    assert!(before.iter().zip(&after).all(|(a, b)| a.data == b.data));
}

#[test]
fn matroskas_milliseconds_are_kept() {
    let s = Scratch::new();
    s.clip("fps=24000/1001", "-c:a aac in.mkv");
    assert_eq!(time_base(&s.video("in.mkv")), Seconds::new(1, 1000));
    s.mosaic("in.mkv", "");
    assert_same_pictures_times_and_sound(&s, "in.mkv");
}

#[test]
fn a_time_base_that_is_no_fraction_of_one_is_kept() {
    let s = Scratch::new();
    // AVI counts frames: its unit is one frame of 1001/24000 s. MPEG-4 in it has no time stamps.
    s.clip("fps=24000/1001", "-c:v mpeg4 -q:v 3 -c:a mp3 in.avi");
    assert_eq!(time_base(&s.video("in.avi")), Seconds::new(1001, 24000));
    s.mosaic("in.avi", "");
    assert_eq!(s.times("out.mp4"), s.times("in.avi"));
    let sound = |file: &str| s.packets(file, "a:0").into_iter().map(|p| p.hash).collect::<Vec<_>>();
    assert_eq!(sound("out.mp4"), sound("in.avi"));
    s.assert_plays("out.mp4");
    s.assert_covered("in.avi", "out.mp4", FACE);
}

#[test]
fn avi_with_b_frames_and_without_time_stamps_keeps_its_order() {
    let s = Scratch::new();
    s.clip("", "-c:v libx264 -preset fast -bf 2 -an in.avi");
    let report = s.mosaic("in.avi", "");
    assert_eq!(report["frames"]["total"], 24, "{report:#}");
    let (before, after) = (s.luma("in.avi"), s.luma("out.mp4"));
    assert_eq!((before.len(), after.len()), (24, 24));
    for (i, (a, b)) in before.iter().zip(&after).enumerate() {
        let noise = support::pixels::psnr(a, b, |x, _| !(60..240).contains(&x));
        assert!(noise > 36.0, "frame {i} is another one: {noise:.1} dB");
    }
    let gaps: Vec<_> = s.times("out.mp4").windows(2).map(|w| w[1] - w[0]).collect();
    assert_eq!(gaps, vec![Seconds::new(1, 30); 23]);
    s.assert_covered("in.avi", "out.mp4", FACE);
}

#[test]
fn a_transport_stream_starts_at_zero_with_picture_and_sound_in_step() {
    let s = Scratch::new();
    s.clip("", "-c:a aac in.ts");
    let before = s.times("in.ts");
    assert!(before[0].as_f64() > 1.0, "its clock starts somewhere");
    let report = s.mosaic("in.ts", "");
    let after = s.times("out.mp4");
    let gaps = |times: &[Seconds]| times.windows(2).map(|w| w[1] - w[0]).collect::<Vec<_>>();
    assert_eq!(gaps(&after), gaps(&before));
    let apart = |file: &str, times: &[Seconds]| s.packets(file, "a:0")[0].pts - times[0];
    let drift = apart("out.mp4", &after).as_f64() - apart("in.ts", &before).as_f64();
    assert!(drift.abs() < 1.5 / 90_000.0, "sound moved by {drift} s");
    assert!(after[0].as_f64().abs() < 0.1, "starts at {:?}", after[0]);
    let offset = report["clock_offset"].as_f64().unwrap();
    assert!((before[0].as_f64() + offset - after[0].as_f64()).abs() < 1e-4);
    s.assert_plays("out.mp4");
}

#[test]
fn a_video_of_one_frame_is_one_frame() {
    let s = Scratch::new();
    s.clip("", "-frames:v 1 -an in.mp4");
    let report = s.mosaic("in.mp4", "");
    assert_eq!(report["frames"]["total"], 1);
    assert_eq!(s.times("out.mp4"), s.times("in.mp4"));
    assert_eq!(durations(&s, "out.mp4"), durations(&s, "in.mp4"));
    s.assert_covered("in.mp4", "out.mp4", FACE);
}

#[test]
fn a_video_without_sound_gets_none() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    let report = s.mosaic("in.mp4", "");
    assert_eq!(report["audio"], serde_json::Value::Null);
    assert_eq!(s.streams("out.mp4").len(), 1);
    assert_eq!(s.times("out.mp4"), s.times("in.mp4"));
}
