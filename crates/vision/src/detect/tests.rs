use super::*;
use merge::{merge, suppress};
use tile::{joined, placed, tiles};

fn face(x0: f32, y0: f32, x1: f32, y1: f32, score: f32) -> Detection {
    let rect = Rect::new(x0, y0, x1, y1);
    Detection { rect, score, landmarks: [rect.center(); 5] }
}

#[test]
fn yunet_cells_become_boxes() {
    // 2x1 cells of 32 px; the right one holds a face.
    let level = yunet::Level {
        stride: 32,
        class: &[0.9, 0.81],
        object: &[0.0, 1.5],
        boxes: &[0.0, 0.0, 0.0, 0.0, 0.5, 0.25, 2f32.ln(), 1f32.ln()],
        points: &{
            let mut points = [0.0; 20];
            points[10] = 0.25;
            points[11] = 0.5;
            points
        },
    };
    let mut faces = Vec::new();
    yunet::decode_level(&level, 64, 32, 0.3, &mut faces).unwrap();
    assert_eq!(faces.len(), 1);
    assert!((faces[0].score - 0.9).abs() < 1e-6, "object is limited to 1");
    let r = faces[0].rect;
    // Centre (1.5 * 32, 0.25 * 32), 64 wide, 32 high.
    for (value, expected) in [(r.x0, 16.0), (r.x1, 80.0), (r.y0, -8.0), (r.y1, 24.0)] {
        assert!((value - expected).abs() < 1e-4, "{r:?}");
    }
    assert_eq!(faces[0].landmarks[0], Point { x: 40.0, y: 16.0 });
    assert_eq!(faces[0].landmarks[4], Point { x: 32.0, y: 0.0 });
}

#[test]
fn yunet_output_of_another_size_is_an_error() {
    let level = yunet::Level {
        stride: 8,
        class: &[0.9],
        object: &[0.9],
        boxes: &[0.0; 4],
        points: &[0.0; 10],
    };
    assert!(yunet::decode_level(&level, 32, 32, 0.3, &mut Vec::new()).is_err());
    let nan = yunet::Level { class: &[f32::NAN], ..level };
    let error = yunet::decode_level(&nan, 8, 8, 0.3, &mut Vec::new()).unwrap_err();
    assert!(
        error.to_string().contains("not a number"),
        "a sick network is no empty picture: {error}"
    );
}

#[test]
fn centerface_maps_become_boxes() {
    // 2x2 cells of 4 px; the lower right one holds a face 8 px high, 12 px wide.
    let mut heat = [0.05; 4];
    heat[3] = 0.7;
    let mut scale = [0.0; 8];
    (scale[3], scale[7]) = (2f32.ln(), 3f32.ln());
    let mut offset = [0.0; 8];
    (offset[3], offset[7]) = (0.25, 0.5);
    let mut points = [0.0; 40];
    (points[3], points[7]) = (0.5, 0.25); // first point: y, x
    let maps = centerface::Maps { heat: &heat, scale: &scale, offset: &offset, points: &points };
    let faces = centerface::decode_maps(&maps, 2, 2, 0.1).unwrap();
    assert_eq!(faces.len(), 1);
    let r = faces[0].rect;
    // Centre x (1 + 0.5 + 0.5) * 4 = 8, y (1 + 0.25 + 0.5) * 4 = 7.
    for (value, expected) in [(r.x0, 2.0), (r.x1, 14.0), (r.y0, 3.0), (r.y1, 11.0)] {
        assert!((value - expected).abs() < 1e-4, "{r:?}");
    }
    let first = faces[0].landmarks[0];
    assert!((first.x - 5.0).abs() < 1e-4 && (first.y - 7.0).abs() < 1e-4, "{first:?}");
    assert!(centerface::decode_maps(&maps, 2, 3, 0.1).is_err());
}

#[test]
fn suppression_keeps_the_best_of_what_overlaps() {
    let faces = vec![
        face(0.0, 0.0, 10.0, 10.0, 0.5),
        face(1.0, 0.0, 11.0, 10.0, 0.9),
        face(8.0, 0.0, 18.0, 10.0, 0.4),
    ];
    let kept = suppress(faces, 0.3);
    assert_eq!(kept.iter().map(|f| f.score).collect::<Vec<_>>(), [0.9, 0.4]);
}

fn candidate(face: Detection, model: DetectorModel) -> Candidate {
    Candidate { face, model }
}

#[test]
fn merging_takes_the_union_but_not_of_weak_boxes() {
    use DetectorModel::{CenterFace, YuNet};
    let merged = merge(vec![
        candidate(face(0.0, 0.0, 10.0, 10.0, 0.8), YuNet),
        candidate(face(-1.0, 0.0, 10.0, 12.0, 0.35), CenterFace),
        candidate(face(0.0, -3.0, 10.0, 10.0, 0.2), YuNet),
        candidate(face(50.0, 0.0, 60.0, 10.0, 0.2), YuNet),
        candidate(face(50.0, 0.0, 61.0, 10.0, 0.11), YuNet),
    ]);
    assert_eq!(merged.len(), 2);
    // 0.35 >= min(0.8 / 2, 0.3) widens the box, 0.2 does not; for a weak winner half its score counts.
    assert_eq!(merged[0].rect, Rect::new(-1.0, 0.0, 10.0, 12.0));
    assert_eq!(merged[1].rect, Rect::new(50.0, 0.0, 61.0, 10.0));
}

#[test]
fn landmarks_are_yunets_where_it_saw_the_face_too() {
    use DetectorModel::{CenterFace, YuNet};
    let yunet = face(0.0, 0.0, 10.0, 10.0, 0.5);
    let second = face(0.0, 0.0, 10.0, 11.0, 1.0);
    let both = merge(vec![candidate(yunet.clone(), YuNet), candidate(second.clone(), CenterFace)]);
    assert_eq!((both[0].score, both[0].landmarks), (1.0, yunet.landmarks));
    let alone = merge(vec![candidate(second.clone(), CenterFace)]);
    assert_eq!(alone[0].landmarks, second.landmarks);
}

#[test]
fn tiles_cover_the_picture_with_overlap_and_bounded_size() {
    for (width, height) in [
        (1280, 720),
        (1281, 720),
        (1920, 1080),
        (2560, 1440),
        (4096, 2304),
        (1080, 1920),
        (4096, 1),
    ] {
        let all = tiles(Size { width, height });
        let (w, h) = (width as usize, height as usize);
        let longest = if w >= h { (1280, 736) } else { (736, 1280) };
        for t in &all {
            assert!(t.width <= longest.0 && t.height <= longest.1, "{t:?}");
            assert!(t.x + t.width <= w && t.y + t.height <= h, "{t:?}");
        }
        // Every 64 px box lies whole in a tile.
        for x in (0..w).step_by(16) {
            for y in (0..h).step_by(16) {
                let (x, y) = (x.min(w.saturating_sub(64)), y.min(h.saturating_sub(64)));
                let (x1, y1) = ((x + 64).min(w), (y + 64).min(h));
                let holds =
                    |t: &Tile| t.x <= x && t.y <= y && t.x + t.width >= x1 && t.y + t.height >= y1;
                assert!(all.iter().any(holds), "{width}x{height}: {x},{y}");
            }
        }
    }
    assert_eq!(tiles(Size { width: 1280, height: 720 }).len(), 1);
}

#[test]
fn a_cut_face_loses_to_the_whole_one_next_door() {
    let size = Size { width: 1920, height: 720 };
    let all = tiles(size);
    assert_eq!(all.len(), 2);
    let (left, right) = (all[0], all[1]);
    // A face that ends 20 px beyond the left tile: seen as a stump there, whole in the right one.
    let edge = left.width as f32;
    let stump = face(edge - 30.0, 100.0, edge - 1.0, 150.0, 0.9);
    let x = edge - 30.0 - right.x as f32;
    let whole = face(x, 100.0, x + 50.0, 150.0, 0.6);
    let faces = joined(vec![placed(stump.clone(), left, size), placed(whole, right, size)]);
    assert_eq!(faces.len(), 1);
    assert_eq!(faces[0].rect, Rect::new(edge - 30.0, 100.0, edge + 20.0, 150.0));
    assert_eq!(faces[0].score, 0.9);
    // Nobody saw it whole: the stump stays. A small box inside a large stump does not remove it.
    assert_eq!(joined(vec![placed(stump, left, size)]).len(), 1);
    let large = face(edge - 400.0, 100.0, edge - 1.0, 600.0, 0.9);
    let small = face(edge - 50.0 - right.x as f32, 300.0, edge - right.x as f32, 350.0, 0.5);
    assert_eq!(joined(vec![placed(large, left, size), placed(small, right, size)]).len(), 2);
}

#[test]
fn impossible_boxes_are_refused() {
    let possible = |f: &Detection| is_possible(f, 640.0, 384.0);
    assert!(possible(&face(-20.0, -20.0, 60.0, 80.0, 0.5)));
    assert!(!possible(&face(0.0, 0.0, f32::INFINITY, 10.0, 0.5)));
    assert!(!possible(&face(f32::NAN, 0.0, 10.0, 10.0, 0.5)));
    assert!(!possible(&face(0.0, 0.0, 1300.0, 10.0, 0.5)), "more than twice the picture");
    assert!(!possible(&face(700.0, 0.0, 720.0, 20.0, 0.5)), "outside");
    assert!(!possible(&face(10.0, 10.0, 10.5, 20.0, 0.5)), "thinner than a pixel");
    let mut blind = face(0.0, 0.0, 20.0, 20.0, 0.5);
    blind.landmarks[2].x = f32::NAN;
    assert!(!possible(&blind));
}

#[test]
fn small_pictures_are_enlarged_a_little() {
    let at = |width, height, long| {
        let size = scaled(Size { width, height }, long);
        (size.width, size.height)
    };
    assert_eq!(at(1280, 720, 640), (640, 360));
    assert_eq!(at(720, 1280, 640), (360, 640));
    assert_eq!(at(176, 144, 640), (640, 524));
    assert_eq!(at(176, 144, 1280), (640, 524), "no more than 640 or twice");
    assert_eq!(at(640, 360, 1920), (1280, 720));
    assert_eq!(at(100_000, 1, 1280), (1280, 1));
    assert_eq!(at(8000, 4000, u32::MAX), (4096, 2048));
    assert_eq!(at(8000, 4000, 0), (32, 16));
}

#[test]
fn boxes_come_back_in_coded_pixels() {
    let coded = Size { width: 1280, height: 720 };
    let o = Orientation::new(1, false);
    let upright = o.upright_size(coded);
    let size = scaled(upright, 640);
    let found = to_coded(face(0.0, 0.0, 36.0, 64.0, 0.5), size, upright, o, coded);
    // Top left as seen is the lower left of the coded picture.
    assert_eq!(found.rect, Rect::new(0.0, 648.0, 128.0, 720.0));
    assert_eq!(found.landmarks[0], found.rect.center());
}
