//! Smart rendering: groups of pictures without anything to cover are bit-exact copies, and where
//! that cannot be, everything is encoded.

use serde_json::Value;

use crate::support::{Scratch, Seconds, tool};

/// Frames in a group of pictures of [`shop`].
const GROUP: usize = 10;
/// The groups of [`shop`] with a face in them.
const FACES: std::ops::Range<usize> = 4..6;

/// 100 frames of 320x180 in ten groups: hills, a man's face in the fifth and sixth, hills again;
/// with a tone. `filter` comes at the end.
fn shop(s: &Scratch, filter: &str, args: &str) {
    let comma = if filter.is_empty() { "" } else { "," };
    s.ffmpeg(&format!(
        "-t 3 -i @pyfeat/no_face.mp4 -t 0.8 -i @pyfeat/single_face.mp4 -f lavfi -t 4 -i \
         sine=440:sample_rate=48000 -filter_complex \
         [0:v]fps=25,scale=320:180,setsar=1,split[x][y];[x]trim=end_frame=40[a];\
         [y]trim=end_frame=40,hflip[c];[1:v]fps=25,scale=320:180,setsar=1,trim=end_frame=20[b];\
         [a][b][c]concat=n=3,format=yuv420p{comma}{filter}[v] -map [v] -map 2:a -c:a aac \
         -c:v libx264 -preset superfast -x264-params \
         keyint={GROUP}:min-keyint={GROUP}:scenecut=0 {args}"
    ));
}

/// A hash of every decoded frame.
fn frames(s: &Scratch, file: &str) -> Vec<String> {
    let args = format!("-v error -nostdin -i {file} -an -fps_mode passthrough -f framemd5 -");
    let text = String::from_utf8(tool(s.command("ffmpeg", &args))).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| row.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// Time and hash of every packet of sound. (Durations are the containers' own affair.)
fn sound(s: &Scratch, file: &str) -> Vec<(Seconds, String)> {
    s.packets(file, "a:0").into_iter().map(|p| (p.pts, p.hash)).collect()
}

/// Where the packets of the video are in a file, and how long they are.
fn places(s: &Scratch, file: &str) -> Vec<(usize, usize)> {
    let args =
        format!("-v error -select_streams v -show_entries packet=pos,size -of csv=p=0 {file}");
    let text = String::from_utf8(tool(s.command("ffprobe", &args))).unwrap();
    let number = |text: &str| text.trim().parse().unwrap();
    let row = |line: &str| line.split_once(',').map(|(size, pos)| (number(pos), number(size)));
    text.lines().filter_map(row).collect()
}

/// Covers `in.mp4` and checks what holds of every output; gives the report and, for each frame,
/// whether it is the same as before, bit for bit.
fn cover(s: &Scratch, input: &str, args: &str) -> (Value, Vec<bool>) {
    let report = s.mosaic(input, args);
    assert_eq!(s.times("out.mp4"), s.times(input));
    assert!(sound(s, "out.mp4") == sound(s, input), "the sound differs");
    s.assert_plays("out.mp4");
    let (before, after) = (frames(s, input), frames(s, "out.mp4"));
    assert_eq!(before.len(), after.len());
    let same = before.iter().zip(&after).map(|(a, b)| a == b).collect();
    (report, same)
}

/// Of each group of [`shop`], whether its frames are the same (all of them or none).
fn groups(same: &[bool]) -> Vec<bool> {
    let whole = |group: &[bool]| {
        assert!(group.iter().all(|&frame| frame == group[0]), "{same:?}");
        group[0]
    };
    same.chunks(GROUP).map(whole).collect()
}

fn assert_only_faces_were_encoded(report: &Value, same: &[bool]) {
    assert_eq!(report["rendering"]["mode"], "smart", "{report:#}");
    assert_eq!(report["rendering"]["copied_groups"], 8, "{report:#}");
    assert_eq!(report["rendering"]["copied_frames"], 80);
    let want: Vec<bool> = (0..10).map(|group| !FACES.contains(&group)).collect();
    assert_eq!(groups(same), want);
}

/// Everything was encoded, and the report says why.
fn assert_full(report: &Value, why: &str) {
    assert_eq!(report["rendering"]["mode"], "full", "{report:#}");
    let said = report["rendering"]["why"].as_str().unwrap();
    assert!(said.contains(why), "{said}");
}

fn copies_around_the_face(args: &str, b_frames: i64) {
    let s = Scratch::new();
    shop(&s, "", &format!("{args} in.mp4"));
    assert_eq!(s.video("in.mp4")["has_b_frames"], b_frames);
    let (report, same) = cover(&s, "in.mp4", "");
    assert_only_faces_were_encoded(&report, &same);
    assert_eq!(s.video("out.mp4")["codec_tag_string"], "avc1");
    assert_eq!(s.video("out.mp4")["duration"], s.video("in.mp4")["duration"]);
}

#[test]
fn groups_without_faces_are_copied_from_a_source_without_b_frames() {
    copies_around_the_face("-bf 0", 0);
}

#[test]
fn groups_without_faces_are_copied_from_a_source_with_b_frames() {
    copies_around_the_face("-bf 2 -x264opts b-pyramid=none", 1);
}

#[test]
fn groups_without_faces_are_copied_from_a_source_with_a_b_pyramid() {
    copies_around_the_face("-bf 3 -x264opts b-pyramid=normal:b-adapt=0", 2);
}

#[test]
fn groups_without_faces_are_copied_from_a_baseline_source() {
    copies_around_the_face("-profile:v baseline", 0);
}

#[test]
fn groups_without_faces_are_copied_from_matroska() {
    let s = Scratch::new();
    shop(&s, "", "in.mkv");
    let (report, same) = cover(&s, "in.mkv", "");
    assert_only_faces_were_encoded(&report, &same);
}

#[test]
fn variable_frame_times_stay_in_copied_and_encoded_groups() {
    let s = Scratch::new();
    shop(&s, "settb=1/25,setpts=N+floor(N/3)", "-fps_mode vfr -bf 2 in.mp4");
    let gaps: Vec<_> = s.times("in.mp4").windows(2).map(|w| (w[1] - w[0]).as_f64()).collect();
    assert!(gaps.iter().any(|gap| (gap - gaps[0]).abs() > 0.005), "{gaps:?}");
    let (report, same) = cover(&s, "in.mp4", "");
    assert_only_faces_were_encoded(&report, &same);
}

#[test]
fn an_output_can_be_covered_again() {
    let s = Scratch::new();
    shop(&s, "", "in.mp4");
    s.mosaic("in.mp4", "");
    std::fs::rename(s.path("out.mp4"), s.path("again.mp4")).unwrap();
    // It has two sets of parameter sets already; the mosaic is no face.
    let (report, same) = cover(&s, "again.mp4", "--overwrite");
    assert_eq!(report["rendering"]["mode"], "smart", "{report:#}");
    assert!(same.iter().filter(|&&same| same).count() >= 80);
}

#[test]
fn a_video_without_faces_is_copied_whole() {
    let s = Scratch::new();
    s.ffmpeg(
        "-t 2 -i @pyfeat/no_face.mp4 -vf scale=320:180 -c:v libx264 -preset superfast -g 12 \
         -c:a aac in.mp4",
    );
    let (report, same) = cover(&s, "in.mp4", "");
    assert_eq!(report["rendering"]["copied_frames"], same.len());
    assert!(same.iter().all(|&same| same));
    let video = |file| s.packets(file, "v:0").into_iter().map(|p| p.hash).collect::<Vec<_>>();
    assert_eq!(video("out.mp4"), video("in.mp4"), "packets");
}

#[test]
fn the_output_survives_a_remux_to_hls() {
    let s = Scratch::new();
    shop(&s, "", "in.mp4");
    s.mosaic("in.mp4", "");
    let want = frames(&s, "out.mp4");
    for (kind, list) in [("mpegts", "ts.m3u8"), ("fmp4", "mp4.m3u8")] {
        s.ffmpeg(&format!(
            "-i out.mp4 -c copy -f hls -hls_time 0.8 -hls_list_size 0 -hls_segment_type {kind} \
             -hls_fmp4_init_filename init.mp4 {list}"
        ));
        assert_eq!(frames(&s, list), want, "{kind}");
        s.assert_plays(list);
    }
}

#[test]
fn the_contact_sheet_changes_nothing_and_shows_faces_of_copied_groups() {
    let s = Scratch::new();
    shop(&s, "", "in.mp4");
    s.ffmpeg("-ss 0.4 -i @pyfeat/single_face.mp4 -frames:v 1 -update 1 man.png");
    let (report, same) = cover(&s, "in.mp4", "--keep man.png --contact-sheet sheet.png");
    let kept = &report["tracks"][0];
    assert_eq!(kept["verdict"], "kept", "{report:#}");
    assert_eq!(report["rendering"]["copied_frames"], 100, "he is shown, so nothing is covered");
    assert!(same.iter().all(|&same| same));
    let sheet = image::open(s.path("sheet.png")).unwrap().to_rgb8();
    // The first tile holds a picture, not the empty page.
    let tile = image::imageops::crop_imm(&sheet, 4, 22, 152, 152).to_image();
    let bright = tile.pixels().filter(|pixel| pixel[0] > 60).count();
    assert!(bright > 8000, "{bright} pixels of a face's picture");
}

#[test]
fn no_smart_encodes_everything() {
    let s = Scratch::new();
    shop(&s, "", "in.mp4");
    let (report, same) = cover(&s, "in.mp4", "--no-smart");
    assert_full(&report, "asked for");
    assert!(same.iter().all(|&same| !same));
}

#[test]
fn a_group_with_frames_hidden_by_an_edit_list_is_encoded() {
    let s = Scratch::new();
    // The face comes first and is cut off by an edit list: it is still in the file.
    s.ffmpeg(
        "-t 3 -i @pyfeat/no_face.mp4 -t 0.8 -i @pyfeat/single_face.mp4 -filter_complex \
         [0:v]fps=25,scale=320:180,setsar=1,trim=end_frame=40[a];\
         [1:v]fps=25,scale=320:180,setsar=1,trim=end_frame=5[b];[b][a]concat[v] -map [v] \
         -c:v libx264 -preset superfast -x264-params keyint=15:min-keyint=15:scenecut=0 whole.mp4",
    );
    s.ffmpeg("-ss 0.2 -i whole.mp4 -c copy in.mp4");
    assert_eq!((frames(&s, "in.mp4").len(), s.packets("in.mp4", "v:0").len()), (40, 45));
    let report = s.mosaic("in.mp4", "");
    assert_eq!(report["rendering"]["copied_groups"], 2, "{report:#}");
    assert_eq!(s.times("out.mp4"), s.times("in.mp4"));
    assert_eq!(s.packets("out.mp4", "v:0").len(), 40, "hidden frames are gone");
}

#[test]
fn a_group_that_does_not_decode_is_covered_not_copied() {
    let s = Scratch::new();
    shop(&s, "", "-bf 0 in.mp4");
    // Bytes in the middle of a picture of the second group.
    let (at, size) = places(&s, "in.mp4")[GROUP + 2];
    let mut bytes = s.read("in.mp4");
    bytes[at + size / 3..at + size].fill(0xa5);
    s.write("in.mp4", bytes);
    let report = s.mosaic("in.mp4", "");
    assert_eq!(report["rendering"]["mode"], "smart", "{report:#}");
    assert_eq!(report["rendering"]["copied_groups"], 7, "{report:#}");
    let whole = &report["covered_whole"][0];
    assert_eq!(whole["reason"], "damaged");
    assert!(whole["from"].as_f64().unwrap() >= 0.4 && whole["to"].as_f64().unwrap() < 0.8);
    assert_eq!(s.times("out.mp4").len(), 100);
}

#[test]
fn open_groups_are_no_places_to_cut_at() {
    let s = Scratch::new();
    shop(&s, "", "-bf 2 -x264opts open-gop=1 in.mp4");
    assert!(s.packets("in.mp4", "v:0").len() == 100);
    let (report, _) = cover(&s, "in.mp4", "");
    assert_full(&report, "most groups");
}

#[test]
fn a_video_of_one_group_with_a_face_is_encoded() {
    let s = Scratch::new();
    shop(&s, "", "-x264-params keyint=infinite:scenecut=0 in.mp4");
    let (report, _) = cover(&s, "in.mp4", "");
    assert_full(&report, "most groups");
}

#[test]
fn parameter_sets_repeated_in_the_stream_are_copied_with_it() {
    let s = Scratch::new();
    shop(&s, "", "-bsf:v dump_extra=freq=keyframe in.ts");
    s.garim("convert in.ts -o in.mp4").ok();
    let (report, same) = cover(&s, "in.mp4", "");
    assert_only_faces_were_encoded(&report, &same);
}

#[test]
fn parameter_sets_that_change_in_the_stream_mean_encoding_everything() {
    let s = Scratch::new();
    shop(&s, "", "-profile:v baseline a.ts");
    shop(&s, "", "-profile:v high -bf 2 -refs 4 b.ts");
    let both = [s.read("a.ts"), s.read("b.ts")].concat();
    s.write("both.ts", both);
    s.ffmpeg("-i both.ts -map 0:v -c copy in.mp4");
    let report = s.mosaic("in.mp4", "");
    assert_full(&report, "parameter sets");
    assert_eq!(s.times("out.mp4").len(), s.times("in.mp4").len());
}

#[test]
fn transport_streams_and_other_codecs_are_encoded() {
    let s = Scratch::new();
    shop(&s, "", "in.ts");
    assert_full(&s.mosaic("in.ts", ""), "parameter sets");
    shop(&s, "", "-c:v libx265 -x265-params log-level=error -preset ultrafast in.mp4");
    assert_full(&s.mosaic("in.mp4", "--overwrite"), "not H.264");
}

#[test]
fn repeated_time_stamps_mean_encoding_everything() {
    let s = Scratch::new();
    shop(&s, "", "-bf 2 -x264opts b-adapt=0 plain.mp4");
    // A picture is shown when another is.
    s.ffmpeg(
        "-i plain.mp4 -map 0:v -c copy -bsf:v setts=pts=if(eq(N\\,15)\\,PTS+512\\,PTS) in.mkv",
    );
    let report = s.mosaic("in.mkv", "");
    assert_full(&report, "time stamps");
    assert_eq!(report["frames"]["total"], 100);
}

#[test]
fn a_video_coded_larger_than_it_is_shown_is_encoded() {
    let s = Scratch::new();
    shop(&s, "", "wide.mp4");
    // The header says that the right 40 columns are not shown; they are still in every picture.
    s.ffmpeg("-i wide.mp4 -c copy -bsf:v h264_metadata=crop_right=40 in.mp4");
    assert_eq!(s.video("in.mp4")["width"], 280);
    let report = s.mosaic("in.mp4", "");
    assert_full(&report, "larger than it is shown");
}
