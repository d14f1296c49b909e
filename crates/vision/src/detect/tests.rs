use domain::{Color, Matrix, PixelFormat, Pts, Range, SecondOpinion, TimeBase};

use super::*;
use merge::{merge, suppress};
use tile::{joined, placed, tiles};

fn face(x0: f32, y0: f32, x1: f32, y1: f32, score: f32) -> Detection {
    let rect = Rect::new(x0, y0, x1, y1);
    Detection::new(rect, score, [rect.center(); 5])
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
    let merged = merge(&[
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
    let both = merge(&[candidate(yunet.clone(), YuNet), candidate(second.clone(), CenterFace)]);
    assert_eq!((both[0].score, both[0].landmarks), (1.0, yunet.landmarks));
    let alone = merge(&[candidate(second.clone(), CenterFace)]);
    assert_eq!(alone[0].landmarks, second.landmarks);
}

#[test]
fn tiles_cover_the_picture_with_overlap_and_bounded_size() {
    for (width, height) in [
        (1280, 720),
        (1281, 720),
        (1920, 1080),
        (2560, 1440),
        (5120, 2880),
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
    assert_eq!(at(8000, 4000, u32::MAX), (5120, 2560));
    assert_eq!(at(8000, 4000, 0), (32, 16));
}

#[test]
fn boxes_come_back_in_coded_pixels() {
    let frame = blank(1280, 720);
    let view = View { frame: &frame, orientation: Orientation::new(1, false) };
    let size = scaled(view.upright(), 640);
    let scale = |a: u32, b: u32| a as f32 / b as f32;
    let (sx, sy) = (scale(720, size.width), scale(1280, size.height));
    let found = view.coded(enlarged(face(0.0, 0.0, 36.0, 64.0, 0.5), sx, sy));
    // Top left as seen is the lower left of the coded picture.
    assert_eq!(found.rect, Rect::new(0.0, 648.0, 128.0, 720.0));
    assert_eq!(found.landmarks[0], found.rect.center());
}

fn blank(width: u32, height: u32) -> Frame {
    let color = Color { range: Range::Full, matrix: Matrix::Bt601 };
    let pts = Pts::new(0, TimeBase::new(1, 25).unwrap());
    Frame::new(0, pts, Size { width, height }, PixelFormat::Gray, color, None)
}

/// What YuNet found, and what it hardly noticed.
fn found(candidates: Vec<Detection>, faint: Vec<Detection>) -> Found {
    let model = DetectorModel::YuNet;
    let candidates = candidates.into_iter().map(|face| candidate(face, model)).collect();
    let mut found = Found::default();
    (found.candidates, found.faint) = (candidates, faint);
    found
}

fn square(x: f32, side: f32, score: f32) -> Detection {
    face(x, 100.0, x + side, 100.0 + side, score)
}

#[test]
fn close_ups_are_of_what_is_in_doubt_the_likeliest_first_and_once_each() {
    let sure = square(0.0, 100.0, 0.95);
    let eye = face(20.0, 120.0, 40.0, 140.0, 0.2);
    let beside = square(70.0, 100.0, 0.05);
    let (doubtful, weak) = (square(300.0, 40.0, 0.5), square(500.0, 40.0, 0.2));
    let (faint, same) = (square(700.0, 30.0, 0.04), square(705.0, 30.0, 0.03));
    let tiny = square(900.0, 6.0, 0.08);
    let found = found(vec![sure, eye, doubtful, weak], vec![beside, same, tiny, faint]);
    let scores = |of, most| {
        let suspects = closeup::suspects(&found, of, most);
        suspects.iter().map(|face| face.score).collect::<Vec<f32>>()
    };
    assert_eq!(scores(Suspects::Doubtful, 60), [0.5]);
    assert_eq!(scores(Suspects::Weak, 60), [0.5, 0.2]);
    assert_eq!(scores(Suspects::Faint, 60), [0.5, 0.2, 0.04]);
    assert_eq!(scores(Suspects::Faint, 2), [0.5, 0.2]);
}

#[test]
fn a_close_up_stays_inside_the_picture_and_is_mapped_back_to_it() {
    let frame = blank(1280, 720);
    for orientation in [Orientation::default(), Orientation::new(1, false)] {
        let view = View { frame: &frame, orientation };
        // Twelve faces, so that some are in the second row; the first is at a corner.
        let faces: Vec<Rect> = (0..12)
            .map(|i| Rect::centred(Point { x: 100.0 * i as f32, y: 10.0 }, 24.0, 24.0))
            .collect();
        let squares: Vec<Rect> = faces.iter().map(|face| closeup::square(*face, view)).collect();
        let upright = view.upright();
        for square in &squares {
            assert!(square.x0 >= 0.0 && square.y0 >= 0.0, "{square:?}");
            assert!(square.x1 <= upright.width as f32 && square.y1 <= upright.height as f32);
            assert!((square.width() - 24.0 / 0.59).abs() < 0.01);
        }
        // Found in the middle of close-up 11, which is the second of the second row.
        let seen = face(64.0 + 22.0, 64.0 + 22.0, 64.0 + 42.0, 64.0 + 42.0, 0.8);
        let placed = closeup::placed(vec![seen], &squares);
        assert_eq!((placed.len(), placed[0].of), (1, 11));
        let center = placed[0].face.rect.center();
        assert!((center.x - squares[11].center().x).abs() < 0.01, "{center:?}");
        assert!((center.y - squares[11].center().y).abs() < 0.01, "{center:?}");
        assert!((placed[0].face.rect.width() - 20.0 * squares[11].width() / 64.0).abs() < 0.01);
    }
    let nowhere = face(640.0, 0.0, 660.0, 20.0, 0.8);
    let across = face(50.0, 20.0, 90.0, 50.0, 0.8);
    let squares = [Rect::new(0.0, 0.0, 64.0, 64.0); 2];
    assert!(closeup::placed(vec![nowhere, across], &squares).is_empty());
}

#[test]
fn an_agreement_is_with_the_nearest_face_not_with_its_shadow() {
    let mut found = found(vec![square(300.0, 100.0, 0.6), square(345.0, 100.0, 0.4)], vec![]);
    found.asked = found.candidates.iter().map(|c| c.face.rect).collect();
    found.second(square(302.0, 100.0, 0.3), closeup::AGREES, closeup::BELIEVED);
    let faces = found.finding(Size { width: 1280, height: 720 }).faces;
    let said: Vec<SecondOpinion> = faces.iter().map(|face| face.second).collect();
    assert_eq!(said, [SecondOpinion::Agrees, SecondOpinion::Doubts]);
}

#[test]
fn the_second_detector_alone_is_believed_from_a_higher_score_on() {
    let size = Size { width: 1280, height: 720 };
    let look = |yunet: f32, second: f32| {
        let (clear, faint) = match yunet {
            0.1.. => (vec![square(300.0, 40.0, yunet)], vec![]),
            _ => (vec![], vec![square(300.0, 40.0, yunet)]),
        };
        let mut found = found(clear, faint);
        found.asked = vec![square(300.0, 40.0, 0.0).rect];
        let face = square(302.0, 40.0, second / CENTERFACE_GAIN);
        found.second(face, closeup::AGREES, closeup::BELIEVED);
        let faces = found.finding(size).faces;
        faces.first().map(|face| ((face.score * 100.0).round() / 100.0, face.second))
    };
    assert_eq!(look(0.05, 0.4), None);
    assert_eq!(look(0.05, 0.6), Some((0.6, SecondOpinion::Agrees)));
    assert_eq!(look(0.2, 0.4), Some((0.2, SecondOpinion::Agrees)));
    assert_eq!(look(0.35, 0.4), Some((0.4, SecondOpinion::Agrees)));
    assert_eq!(look(0.35, 0.2), Some((0.35, SecondOpinion::Doubts)));
}

#[test]
fn silence_about_the_rest_of_a_face_at_the_border_means_nothing() {
    let size = Size { width: 1280, height: 720 };
    let opinion = |rect: Rect| {
        let face = Detection::new(rect, 0.6, [rect.center(); 5]);
        let mut found = found(vec![face], vec![]);
        found.asked = vec![rect];
        found.finding(size).faces[0].second
    };
    assert_eq!(opinion(Rect::new(0.0, 100.0, 30.0, 220.0)), SecondOpinion::NotAsked);
    assert_eq!(opinion(Rect::new(-60.0, 100.0, 30.0, 220.0)), SecondOpinion::NotAsked);
    assert_eq!(opinion(Rect::new(0.0, 100.0, 80.0, 220.0)), SecondOpinion::Doubts);
    assert_eq!(opinion(Rect::new(400.0, 100.0, 430.0, 220.0)), SecondOpinion::Doubts);
}

#[test]
fn faint_finds_are_kept_where_they_could_be_the_sign_of_a_face() {
    let mut found = found(vec![], vec![square(0.0, 10.0, 0.05), square(300.0, 40.0, 0.03)]);
    found.noticed_from = Some(32.0);
    let faint = found.finding(Size { width: 1280, height: 720 }).faint.unwrap();
    assert_eq!((faint.rects.len(), faint.from), (1, 32.0));
    assert_eq!(faint.rects[0].x0, 300.0);
}
