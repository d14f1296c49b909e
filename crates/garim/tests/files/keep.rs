//! Keeping one person: shown, and nobody else.

use crate::support::pixels::{self, Rect};
use crate::support::{self, Scratch};

/// In every frame of [`two_people`].
const HER_FACE: Rect = Rect { x: 150, y: 80, width: 80, height: 110 };
const HIS_FACE: Rect = Rect { x: 450, y: 85, width: 65, height: 90 };

/// Two people side by side for two seconds, 640x240: she left of x = 320, he right of it.
fn two_people(s: &Scratch) {
    s.ffmpeg(
        "-ss 10 -t 2 -i @made/two_people.mp4 -vf scale=640:240 -c:v libx264 -preset ultrafast \
         -crf 14 -c:a copy in.mp4",
    );
}

#[test]
fn he_is_shown_untouched_and_she_is_covered_in_every_frame() {
    let s = Scratch::new();
    two_people(&s);
    let report = s.mosaic("in.mp4", "--crf 12 --keep @made/keep_man.jpg");
    s.assert_covered("in.mp4", "out.mp4", HER_FACE);
    s.assert_shown("in.mp4", "out.mp4", HIS_FACE);
    for (i, (a, b)) in s.luma("in.mp4").iter().zip(&s.luma("out.mp4")).enumerate() {
        let noise = pixels::psnr(a, b, |x, _| x >= 330);
        assert!(noise > 38.0, "frame {i}: his half changed: {noise:.1} dB");
    }
    let verdicts: Vec<&str> = report["tracks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts.iter().filter(|v| **v == "kept").count(), 1, "{report:#}");
    assert!(report.to_string().contains("\"person\":\"keep_man\""), "{report:#}");
}

#[test]
fn without_keep_both_are_covered() {
    let s = Scratch::new();
    two_people(&s);
    s.mosaic("in.mp4", "");
    s.assert_covered("in.mp4", "out.mp4", HER_FACE);
    s.assert_covered("in.mp4", "out.mp4", HIS_FACE);
}

#[test]
fn a_photo_of_somebody_else_shows_nobody() {
    let s = Scratch::new();
    two_people(&s);
    let report = s.mosaic("in.mp4", "--keep @clm/obama4_crop.jpg --keep @pyfeat/single_face.jpg");
    s.assert_covered("in.mp4", "out.mp4", HER_FACE);
    s.assert_covered("in.mp4", "out.mp4", HIS_FACE);
    assert!(!report.to_string().contains("\"verdict\":\"kept\""), "{report:#}");
}

#[test]
fn a_folder_of_photos_is_one_person() {
    let s = Scratch::new();
    two_people(&s);
    std::fs::create_dir(s.path("him")).unwrap();
    s.ffmpeg("-ss 3 -i @clm/cap13_edit2.mp4 -frames:v 1 -vf scale=800:600 -q:v 2 him/a.jpg");
    s.ffmpeg("-ss 12 -i @clm/cap13_edit2.mp4 -frames:v 1 -vf scale=800:600 him/b.png");
    let report = s.mosaic("in.mp4", "--keep him");
    s.assert_shown("in.mp4", "out.mp4", HIS_FACE);
    s.assert_covered("in.mp4", "out.mp4", HER_FACE);
    assert!(report.to_string().contains("\"person\":\"him\""), "{report:#}");
}

#[test]
fn a_keep_photo_without_a_face_is_an_error_that_says_so() {
    let s = Scratch::new();
    two_people(&s);
    let error = s.refusal("in.mp4", "--keep @pyfeat/free-mountain-vector-01.jpg");
    assert!(error.contains("free-mountain-vector-01.jpg: no face found"), "{error}");
}

#[test]
fn a_keep_photo_with_several_faces_says_how_many_and_to_crop() {
    let s = Scratch::new();
    two_people(&s);
    let error = s.refusal("in.mp4", "--keep @pyfeat/multi_face.jpg");
    assert!(error.contains("multi_face.jpg: 5 faces found; crop"), "{error}");
}

#[test]
fn a_keep_file_that_is_no_photo_is_an_error_that_says_so() {
    let s = Scratch::new();
    two_people(&s);
    s.write("me.jpg", "this is not a photo");
    let error = s.refusal("in.mp4", "--keep me.jpg");
    assert!(error.contains("me.jpg") && error.contains("JPEG, PNG or WebP"), "{error}");
    let error = s.refusal("in.mp4", "--keep nowhere.jpg");
    assert!(error.contains("nowhere.jpg") && error.contains("No such file"), "{error}");
    std::fs::create_dir(s.path("nobody")).unwrap();
    let error = s.refusal("in.mp4", "--keep nobody");
    assert!(error.contains("nobody: holds no photo"), "{error}");
}

#[test]
fn a_keep_photo_with_too_small_a_face_says_how_small() {
    let s = Scratch::new();
    two_people(&s);
    s.ffmpeg("-i @made/keep_man.jpg -vf scale=120:90,pad=640:480:200:200 -q:v 1 far.jpg");
    let error = s.refusal("in.mp4", "--keep far.jpg");
    assert!(error.contains("far.jpg: the face is") && error.contains("pixels wide"), "{error}");
}

#[test]
fn photos_of_two_people_in_one_folder_are_noticed() {
    let s = Scratch::new();
    two_people(&s);
    std::fs::create_dir(s.path("him")).unwrap();
    for photo in ["made/keep_man.jpg", "pyfeat/single_face.jpg"] {
        let name = photo.rsplit('/').next().unwrap();
        s.write(&format!("him/{name}"), std::fs::read(support::fixture(photo)).unwrap());
    }
    let error = s.refusal("in.mp4", "--keep him");
    assert!(error.contains("does not look like the other photos of him"), "{error}");
}
