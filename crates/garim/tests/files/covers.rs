//! What becomes of the pixels: faces gone, everything else as it was.
//!
//! `--crf 0` is lossless, so what the painter did shows exactly.

use std::collections::HashSet;

use serde_json::Value;

use crate::support::pixels::{self, Luma, Rect};
use crate::support::{FACE, Scratch};

/// In every frame of [`woman`].
const HER_FACE: Rect = Rect { x: 190, y: 38, width: 76, height: 120 };

/// Two seconds of a woman who moves, 320x180.
fn woman(s: &Scratch) {
    s.ffmpeg(
        "-t 2 -i @pyfeat/WolfgangLanger_Pexels.mp4 -vf scale=320:180 -an -c:v libx264 \
         -preset ultrafast -crf 12 in.mp4",
    );
}

/// The boxes of the plan in each frame, padded as they are painted, and rounded outwards.
fn boxes(s: &Scratch) -> Vec<Vec<[f64; 4]>> {
    let plan = s.json("plan.json");
    let pad = plan["policy"]["pad"].as_f64().unwrap();
    let frames: Vec<&Value> = plan["frames"].as_array().unwrap().iter().collect();
    let mut boxes = vec![Vec::new(); frames.len()];
    for track in plan["tracks"].as_array().unwrap() {
        for row in track["boxes"].as_array().unwrap() {
            let frame = frames.iter().position(|ticks| **ticks == row[0]).unwrap();
            let [x0, y0, x1, y1] = [1, 2, 3, 4].map(|i| row[i].as_f64().unwrap());
            let (w, h) = ((x1 - x0) * pad + 2.0, (y1 - y0) * pad + 2.0);
            boxes[frame].push([x0 - w, y0 - h, x1 + w, y1 + h]);
        }
    }
    boxes
}

fn is_in(boxes: &[[f64; 4]], x: usize, y: usize) -> bool {
    let (x, y) = (x as f64 + 0.5, y as f64 + 0.5);
    boxes.iter().any(|[x0, y0, x1, y1]| x > *x0 && x < *x1 && y > *y0 && y < *y1)
}

fn values(picture: &Luma, area: Rect) -> HashSet<u8> {
    let rows = area.y..area.y + area.height;
    rows.flat_map(|y| &picture.data[y * picture.width + area.x..][..area.width]).copied().collect()
}

#[test]
fn nothing_outside_the_plans_boxes_changes_and_no_detail_stays_inside() {
    let s = Scratch::new();
    woman(&s);
    let report = s.mosaic("in.mp4", "--crf 0 --plan-out plan.json");
    assert_eq!(report["frames"]["covered"], 48, "{report:#}");
    let (before, after) = (s.luma("in.mp4"), s.luma("out.mp4"));
    pixels::assert_all_covered(&before, &after, HER_FACE);
    for (i, ((a, b), boxes)) in before.iter().zip(&after).zip(boxes(&s)).enumerate() {
        let changed = |x: usize, y: usize| a.data[y * 320 + x] != b.data[y * 320 + x];
        let mut outside = (0..180).flat_map(|y| (0..320).map(move |x| (x, y)));
        let stray = outside.find(|&(x, y)| changed(x, y) && !is_in(&boxes, x, y));
        assert_eq!(stray, None, "frame {i}: a pixel changed outside of {boxes:?}");
    }
}

#[test]
fn a_mosaic_has_eight_cells_of_sixteen_greys() {
    let s = Scratch::new();
    woman(&s);
    s.mosaic("in.mp4", "--crf 0");
    for (i, picture) in s.luma("out.mp4").iter().enumerate() {
        let values = values(picture, HER_FACE);
        assert!(values.len() <= 16, "frame {i}: {} greys", values.len());
        for y in HER_FACE.y..HER_FACE.y + HER_FACE.height {
            let row = &picture.data[y * 320 + HER_FACE.x..][..HER_FACE.width];
            let steps = row.windows(2).filter(|w| w[0] != w[1]).count();
            assert!(steps < 8, "frame {i}, row {y}: {} cells", steps + 1);
        }
    }
}

#[test]
fn at_the_default_quality_the_face_is_gone_and_the_rest_is_the_same_up_to_noise() {
    let s = Scratch::new();
    woman(&s);
    s.garim("mosaic in.mp4 -o out.mp4 --plan-out plan.json").ok();
    let (before, after) = (s.luma("in.mp4"), s.luma("out.mp4"));
    pixels::assert_all_covered(&before, &after, HER_FACE);
    for (i, ((a, b), boxes)) in before.iter().zip(&after).zip(boxes(&s)).enumerate() {
        let noise = pixels::psnr(a, b, |x, y| !is_in(&boxes, x, y));
        assert!(noise > 36.0, "frame {i}: {noise:.1} dB outside of the covers");
    }
}

#[test]
fn a_fill_is_one_grey() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    s.mosaic("in.mp4", "--effect fill --crf 0");
    for (i, picture) in s.luma("out.mp4").iter().enumerate() {
        assert_eq!(values(picture, FACE).len(), 1, "frame {i}");
    }
}

#[test]
fn a_blur_leaves_no_detail() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    s.mosaic("in.mp4", "--effect blur --crf 0");
    s.assert_covered("in.mp4", "out.mp4", FACE);
}

#[test]
fn a_box_covers_the_corners_that_a_rounded_cover_leaves() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    let changed = |shape: &str| -> usize {
        s.mosaic("in.mp4", &format!("--shape {shape} --effect fill --crf 0 --overwrite"));
        let (before, after) = (s.luma("in.mp4"), s.luma("out.mp4"));
        before[0].data.iter().zip(&after[0].data).filter(|(a, b)| a != b).count()
    };
    let (rounded, square) = (changed("rounded"), changed("box"));
    let share = square as f64 / rounded as f64;
    // Corners of .35 of the short side leave out (1 - pi/4) * 4 * .35^2 of a square.
    assert!((1.03..1.2).contains(&share), "{rounded} and {square} pixels");
}

#[test]
fn a_video_without_faces_is_left_as_it_is() {
    let s = Scratch::new();
    s.ffmpeg(
        "-t 1 -i @pyfeat/no_face.mp4 -vf scale=480:270 -an -c:v libx264 -preset ultrafast in.mp4",
    );
    let report = s.mosaic("in.mp4", "--crf 0");
    assert_eq!(report["frames"]["untouched"], report["frames"]["total"], "{report:#}");
    assert_eq!(report["tracks"], serde_json::json!([]));
    let (before, after) = (s.luma("in.mp4"), s.luma("out.mp4"));
    assert_eq!(before.len(), after.len());
    assert!(before.iter().zip(&after).all(|(a, b)| a.data == b.data));
}

#[test]
fn a_face_between_two_cuts_is_covered_from_its_first_frame_to_its_last() {
    let s = Scratch::new();
    s.ffmpeg(
        "-t 0.5 -i @pyfeat/no_face.mp4 -t 0.8 -i @pyfeat/single_face.mp4 \
         -filter_complex [0:v]scale=320:180,fps=30,setsar=1,split[a][c];\
         [1:v]scale=320:180,fps=30,setsar=1[b];[a][b][c]concat=n=3 -c:v libx264 \
         -preset ultrafast -crf 16 in.mp4",
    );
    let report = s.mosaic("in.mp4", "--crf 10");
    let (before, after) = (s.luma("in.mp4"), s.luma("out.mp4"));
    assert_eq!((before.len(), after.len()), (54, 54));
    pixels::assert_all_covered(&before[15..39], &after[15..39], FACE);
    let untouched = report["frames"]["untouched"].as_u64().unwrap();
    assert!(untouched >= 26, "the scenes without a face: {report:#}");
}

#[test]
fn every_speed_covers() {
    let s = Scratch::new();
    s.clip("", "-an in.mp4");
    for speed in ["fast", "balanced", "thorough"] {
        let report = s.mosaic("in.mp4", &format!("--speed {speed} --overwrite"));
        assert_eq!(report["frames"]["covered"], 24, "{speed}: {report:#}");
        s.assert_covered("in.mp4", "out.mp4", FACE);
    }
}
