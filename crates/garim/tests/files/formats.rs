//! Every container and codec that is taken, and clear refusals of those that are not.

use crate::support::pixels::{self, Rect};
use crate::support::{self, FACE, Scratch};

/// `in.ENDING` made with `args` comes out as H.264 with all its frames, the face covered.
fn is_covered(ending: &str, args: &str, sound: Option<&str>) -> Scratch {
    let s = Scratch::new();
    let input = format!("in.{ending}");
    s.clip("", &format!("{args} {input}"));
    let report = s.mosaic(&input, "");
    assert_eq!(s.times("out.mp4"), s.times(&input));
    assert_eq!(report["frames"]["covered"], 24, "{report:#}");
    assert_eq!(s.video("out.mp4")["codec_name"], "h264");
    assert_eq!(report["audio"].as_str(), sound, "{report:#}");
    s.assert_covered(&input, "out.mp4", FACE);
    s.assert_plays("out.mp4");
    s
}

fn assert_sound_is_the_same(s: &Scratch, input: &str) {
    let hashes = |file| s.packets(file, "a:0").into_iter().map(|p| p.hash).collect::<Vec<_>>();
    assert_eq!(hashes("out.mp4"), hashes(input));
}

#[test]
fn quicktime_with_hevc_and_alac() {
    let s = is_covered(
        "mov",
        "-c:v libx265 -x265-params log-level=error:bframes=3 -tag:v hvc1 -c:a alac",
        Some("copied"),
    );
    assert_sound_is_the_same(&s, "in.mov");
}

#[test]
fn webm_with_vp8_and_vorbis() {
    let s =
        is_covered("webm", "-c:v libvpx -deadline realtime -b:v 1M -c:a libvorbis", Some("copied"));
    assert_sound_is_the_same(&s, "in.webm");
}

#[test]
fn webm_with_vp9_and_opus() {
    let s = is_covered(
        "webm",
        "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 1M -c:a libopus",
        Some("copied"),
    );
    assert_sound_is_the_same(&s, "in.webm");
}

#[test]
fn matroska_with_av1_and_flac() {
    let s = is_covered(
        "mkv",
        "-c:v libaom-av1 -usage realtime -cpu-used 8 -b:v 1M -c:a flac",
        Some("copied"),
    );
    assert_sound_is_the_same(&s, "in.mkv");
}

#[test]
fn flash_video_with_h264_and_aac() {
    let s = is_covered("flv", "-c:v libx264 -preset ultrafast -bf 2 -c:a aac", Some("copied"));
    assert_sound_is_the_same(&s, "in.flv");
}

#[test]
fn mp4_with_mpeg_4_and_mp3() {
    let s = is_covered("mp4", "-c:v mpeg4 -q:v 3 -bf 1 -c:a libmp3lame", Some("copied"));
    assert_sound_is_the_same(&s, "in.mp4");
}

#[test]
fn mp4_with_ac3() {
    let s = is_covered("mp4", "-c:a ac3", Some("copied"));
    assert_sound_is_the_same(&s, "in.mp4");
}

#[test]
fn mp4_with_eac3() {
    let s = is_covered("mp4", "-c:a eac3", Some("copied"));
    assert_sound_is_the_same(&s, "in.mp4");
}

#[test]
fn transport_stream_with_hevc() {
    let s = Scratch::new();
    s.clip("", "-c:v libx265 -x265-params log-level=error -c:a aac in.ts");
    let report = s.mosaic("in.ts", "");
    let gaps = |file| s.times(file).windows(2).map(|w| w[1] - w[0]).collect::<Vec<_>>();
    assert_eq!(gaps("out.mp4"), gaps("in.ts"));
    assert_eq!(report["frames"]["covered"], 24, "{report:#}");
    s.assert_covered("in.ts", "out.mp4", FACE);
    s.assert_plays("out.mp4");
}

/// AAC in MPEG-TS has a header of its own before each packet, which MP4 keeps once for all: the
/// sound is the same when the rest is.
#[test]
fn transport_stream_sound_loses_only_its_headers() {
    let s = Scratch::new();
    s.clip("", "-c:a aac in.ts");
    s.mosaic("in.ts", "");
    s.ffmpeg("-i in.ts -map 0:a -c copy -bsf:a aac_adtstoasc bare.mp4");
    let sound = |file| s.packets(file, "a:0").into_iter().map(|p| p.hash).collect::<Vec<_>>();
    assert_eq!(sound("out.mp4"), sound("bare.mp4"));
}

/// Samples of a stream's sound, as 16-bit mono.
fn samples(s: &Scratch, file: &str) -> Vec<f64> {
    let args = format!("-v error -i {file} -map 0:a -ac 1 -ar 48000 -f s16le -");
    let raw = support::tool(s.command("ffmpeg", &args));
    raw.chunks_exact(2).map(|b| f64::from(i16::from_le_bytes([b[0], b[1]]))).collect()
}

#[test]
fn sound_that_mp4_cannot_carry_becomes_aac_in_step_with_a_warning() {
    let s = Scratch::new();
    // Silence, then a tone from .4 s on: a shift shows.
    s.clip("", "-af volume=enable='lt(t,0.4)':volume=0 -c:a adpcm_ms in.avi");
    let report = s.mosaic("in.avi", "");
    assert_eq!(report["audio"], "aac");
    assert!(report["warnings"].to_string().contains("re-encoded as AAC"), "{report:#}");
    let sound = &s.streams("out.mp4")[1];
    assert_eq!((&sound["codec_name"], &sound["sample_rate"]), (&"aac".into(), &"48000".into()));
    let (before, after) = (samples(&s, "in.avi"), samples(&s, "out.mp4"));
    let onset = |samples: &[f64]| samples.iter().position(|v| v.abs() > 1000.0).unwrap() as f64;
    let moved = (onset(&after) - onset(&before)) / 48.0;
    // AAC smears an onset over a part of its window (21 ms), never later than it is.
    assert!((-12.0..3.0).contains(&moved), "the tone moved by {moved:.1} ms");
    let length = (after.len() as f64 - before.len() as f64) / 48.0;
    assert!(length.abs() < 30.0, "the sound is {length:.1} ms longer");
}

#[test]
fn sound_at_rates_that_aac_lacks_is_resampled_whole() {
    let s = Scratch::new();
    for (rate, expected) in [(6000, "8000"), (192_000, "96000")] {
        s.clip("", &format!("-ar {rate} -c:a adpcm_ms in.avi"));
        s.mosaic("in.avi", "--overwrite");
        assert_eq!(s.streams("out.mp4")[1]["sample_rate"], expected);
        let (before, after) = (samples(&s, "in.avi"), samples(&s, "out.mp4"));
        let longer = (after.len() as f64 - before.len() as f64) / 48.0;
        assert!((-20.0..150.0).contains(&longer), "{rate} Hz: {longer:.1} ms longer");
        let loud = |samples: &[f64]| samples.iter().map(|v| v * v).sum::<f64>();
        let share = loud(&after) / loud(&before);
        assert!((0.85..1.15).contains(&share), "{rate} Hz: {share}");
    }
}

#[test]
fn a_fragmented_mp4_is_covered() {
    is_covered("mp4", "-g 8 -movflags +frag_keyframe+empty_moov -c:a aac", Some("copied"));
}

#[test]
fn a_transport_stream_whose_clock_runs_over_keeps_its_gaps() {
    let s = Scratch::new();
    // The clock has 33 bits: it starts again after 95443.7 s.
    s.clip("", "-c:a aac -output_ts_offset 95442.1 in.ts");
    let report = s.mosaic("in.ts", "");
    let gaps: Vec<_> = s.times("out.mp4").windows(2).map(|w| w[1] - w[0]).collect();
    assert_eq!(gaps, vec![support::Seconds::new(1, 30); 23]);
    assert_eq!(report["warnings"], serde_json::json!([]));
}

#[test]
fn quicktimes_uncompressed_sound_is_heard() {
    let s = Scratch::new();
    s.clip("", "-c:a pcm_s16le in.mov");
    let report = s.mosaic("in.mov", "");
    // FFmpeg 6 and later puts it into MP4 as it is, earlier ones cannot.
    match report["audio"].as_str() {
        Some("aac") => assert!(report["warnings"].to_string().contains("AAC"), "{report:#}"),
        _ => assert_sound_is_the_same(&s, "in.mov"),
    }
    let loud = |file| samples(&s, file).iter().map(|v| v * v).sum::<f64>();
    let share = loud("out.mp4") / loud("in.mov");
    assert!((0.9..1.1).contains(&share), "{share}");
}

fn playlist(kind: &str) -> Scratch {
    let s = Scratch::new();
    std::fs::create_dir(s.path("live")).unwrap();
    s.clip(
        "",
        &format!(
            "-g 8 -keyint_min 8 -c:a aac -f hls -hls_time 0.25 -hls_list_size 0 \
             -hls_segment_type {kind} live/list.m3u8"
        ),
    );
    assert!(s.path("live").read_dir().unwrap().count() > 3, "a playlist of one segment");
    s
}

#[test]
fn a_playlist_of_transport_streams() {
    let s = playlist("mpegts");
    let report = s.mosaic("live/list.m3u8", "");
    assert_eq!(report["frames"]["covered"], 24, "{report:#}");
    s.assert_covered("live/list.m3u8", "out.mp4", FACE);
    s.assert_plays("out.mp4");
}

#[test]
fn a_playlist_of_fragmented_mp4() {
    let s = playlist("fmp4");
    let report = s.mosaic("live/list.m3u8", "");
    assert_eq!(report["frames"]["covered"], 24, "{report:#}");
    s.assert_covered("live/list.m3u8", "out.mp4", FACE);
    assert_sound_is_the_same(&s, "live/list.m3u8");
    s.assert_plays("out.mp4");
}

/// Two recordings in one playlist: each has its own clock, which starts again.
fn joined(s: &Scratch) {
    std::fs::create_dir(s.path("live")).unwrap();
    s.clip("", "-g 12 -c:a aac live/0.ts");
    s.clip("hflip", "-g 12 -c:a aac live/1.ts");
    s.write(
        "live/list.m3u8",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.8,\n0.ts\n#EXT-X-DISCONTINUITY\n\
         #EXTINF:0.8,\n1.ts\n#EXT-X-ENDLIST\n",
    );
}

#[test]
fn recordings_joined_in_a_playlist_follow_each_other() {
    let s = Scratch::new();
    joined(&s);
    let report = s.mosaic("live", "--keep @made/keep_man.jpg");
    // The last pictures before the join may count as damaged: no one can tell what is missing there.
    assert!(report["frames"]["covered"].as_u64().unwrap() >= 44, "{report:#}");
    assert_eq!(report["frames"]["untouched"], 0, "{report:#}");
    assert_joined(&s);
    let (before, after) = ([s.luma("live/0.ts"), s.luma("live/1.ts")], s.luma("out.mp4"));
    pixels::assert_all_covered(&before[0], &after[..24], FACE);
    let mirrored = Rect { x: 320 - FACE.x - FACE.width, ..FACE };
    pixels::assert_all_covered(&before[1], &after[24..], mirrored);
}

#[test]
fn convert_joins_recordings_too() {
    let s = Scratch::new();
    joined(&s);
    s.garim("convert live -o out.mp4").ok();
    assert_joined(&s);
}

/// Both recordings are there, one after the other, picture and sound in step.
fn assert_joined(s: &Scratch) {
    let times = s.times("out.mp4");
    assert_eq!(times.len(), 48);
    for (i, pair) in times.windows(2).enumerate() {
        let gap = (pair[1] - pair[0]).as_f64();
        let most = if i == 23 { 0.1 } else { 0.0334 };
        assert!((0.0333..=most).contains(&gap), "{gap} s after frame {i}");
    }
    let sound = s.packets("out.mp4", "a:0");
    let both = s.packets("live/0.ts", "a:0").len() + s.packets("live/1.ts", "a:0").len();
    assert_eq!(sound.len(), both);
    // In each recording the sound begins as long before the picture as in its source.
    let lead = |file: &str| (s.times(file)[0] - s.packets(file, "a:0")[0].pts).as_f64();
    let second = times[24].as_f64() - sound[both / 2].pts.as_f64();
    assert!((second - lead("live/1.ts")).abs() < 0.001, "{second} s");
    s.assert_plays("out.mp4");
}

#[test]
fn a_folder_with_a_playlist() {
    let s = playlist("mpegts");
    let report = s.mosaic("live", "");
    assert_eq!(report["frames"]["covered"], 24, "{report:#}");
    s.assert_covered("live/list.m3u8", "out.mp4", FACE);
}

#[test]
fn odd_sizes_get_one_more_row_and_column() {
    let s = Scratch::new();
    s.clip(
        "format=yuv444p,crop=175:143:60:20,format=yuv420p",
        "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 1M -an in.webm",
    );
    s.mosaic("in.webm", "");
    let video = s.video("out.mp4");
    assert_eq!((&video["width"], &video["height"]), (&176.into(), &144.into()));
    assert_eq!(s.times("out.mp4"), s.times("in.webm"));
    s.assert_plays("out.mp4");
    let before = s.luma("in.webm");
    let after: Vec<_> = s.luma("out.mp4").iter().map(|p| crop(p, 175, 143)).collect();
    pixels::assert_all_covered(&before, &after, Rect { x: FACE.x - 60, y: FACE.y - 20, ..FACE });
    let noise = pixels::psnr(&before[5], &after[5], |x, _| x < 10);
    assert!(noise > 30.0, "the picture moved: {noise:.1} dB");
}

fn crop(picture: &pixels::Luma, width: usize, height: usize) -> pixels::Luma {
    let rows = picture.data.chunks_exact(picture.width).take(height);
    pixels::Luma { width, height, data: rows.flat_map(|row| &row[..width]).copied().collect() }
}

fn keeps_layout(layout: &str) {
    let s = Scratch::new();
    s.clip("", &format!("-pix_fmt {layout} -an in.mp4"));
    assert_eq!(s.video("in.mp4")["pix_fmt"], layout);
    let report = s.mosaic("in.mp4", "");
    assert_eq!(s.video("out.mp4")["pix_fmt"], layout);
    assert_eq!(report["frames"]["covered"], 24, "{report:#}");
    s.assert_covered("in.mp4", "out.mp4", FACE);
    s.assert_plays("out.mp4");
}

#[test]
fn colour_at_half_width_is_kept() {
    keeps_layout("yuv422p");
}

#[test]
fn colour_at_full_size_is_kept() {
    keeps_layout("yuv444p");
}

/// FFmpeg shows H.264 without colour as 4:2:0 with grey chroma, so only the brightness tells.
#[test]
fn pictures_without_colour_are_covered() {
    let s = Scratch::new();
    s.clip("", "-c:v libx265 -x265-params log-level=error -pix_fmt gray -an in.mp4");
    assert_eq!(s.video("in.mp4")["pix_fmt"], "gray");
    let report = s.mosaic("in.mp4", "");
    assert_eq!(report["frames"]["covered"], 24, "{report:#}");
    s.assert_covered("in.mp4", "out.mp4", FACE);
    assert_same_away_from_the_face(&s.luma("in.mp4"), &s.luma("out.mp4"));
    s.assert_plays("out.mp4");
}

fn assert_same_away_from_the_face(before: &[pixels::Luma], after: &[pixels::Luma]) {
    assert_eq!(before.len(), after.len());
    for (i, (a, b)) in before.iter().zip(after).enumerate() {
        let noise = pixels::psnr(a, b, |x, _| !(60..240).contains(&x));
        assert!(noise > 36.0, "frame {i} is another picture: {noise:.1} dB");
    }
}

fn is_refused_unless_reduced(filter: &str, args: &str, word: &str) {
    let s = Scratch::new();
    s.clip(filter, &format!("{args} -an in.mp4"));
    let error = s.refusal("in.mp4", "");
    assert!(error.contains("in.mp4") && error.contains("--to-8bit"), "{error}");
    assert!(error.contains(word), "{error}");
    let report = s.mosaic("in.mp4", "--to-8bit");
    assert_eq!(report["frames"]["covered"], 24, "{report:#}");
    assert_eq!(s.video("out.mp4")["pix_fmt"], "yuv420p");
    assert_eq!(s.times("out.mp4"), s.times("in.mp4"));
    s.ffmpeg("-i in.mp4 -pix_fmt yuv420p -c:v libx264 -qp 0 -preset ultrafast plain.mp4");
    s.assert_covered("plain.mp4", "out.mp4", FACE);
    assert_same_away_from_the_face(&s.luma("plain.mp4"), &s.luma("out.mp4"));
}

#[test]
fn ten_bit_hevc_is_refused_unless_reduced() {
    is_refused_unless_reduced(
        "",
        "-c:v libx265 -x265-params log-level=error -pix_fmt yuv420p10le",
        "10 bits",
    );
}

#[test]
fn ten_bit_h264_is_refused_unless_reduced() {
    is_refused_unless_reduced("", "-pix_fmt yuv420p10le", "10 bits");
}

#[test]
fn hdr_is_refused_unless_reduced() {
    is_refused_unless_reduced(
        "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc",
        "-c:v libx265 -x265-params log-level=error -pix_fmt yuv420p10le",
        "HDR",
    );
}

#[test]
fn interlaced_video_is_refused_with_what_to_do() {
    let s = Scratch::new();
    s.clip(
        "tinterlace=interleave_top,fieldorder=tff",
        "-flags +ildct+ilme -x264-params tff=1 -an in.mp4",
    );
    let error = s.refusal("in.mp4", "");
    assert!(error.contains("in.mp4: is interlaced") && error.contains("bwdif"), "{error}");
}

#[test]
fn a_picture_size_that_changes_is_refused_with_where_and_what_to_do() {
    let s = Scratch::new();
    s.clip("", "-an a.ts");
    s.clip("scale=256:144", "-an -output_ts_offset 0.8 b.ts");
    let both = [s.read("a.ts"), s.read("b.ts")].concat();
    s.write("in.ts", both);
    let error = s.refusal("in.ts", "");
    assert!(error.contains("in.ts: changes from 320x180 to 256x144"), "{error}");
}

#[test]
fn other_codecs_are_refused_by_name() {
    let s = Scratch::new();
    s.clip("", "-c:v prores_ks -an in.mov");
    let error = s.refusal("in.mov", "");
    assert!(
        error.contains("in.mov: is compressed as prores") && error.contains("libx264"),
        "{error}"
    );
}

#[test]
fn rgb_samples_are_refused_with_what_to_do() {
    let s = Scratch::new();
    s.clip("", "-c:v libx264rgb -pix_fmt bgr24 -an in.mkv");
    let error = s.refusal("in.mkv", "");
    assert!(error.contains("in.mkv: has gbrp samples") && error.contains("-pix_fmt"), "{error}");
}
