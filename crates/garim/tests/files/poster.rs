//! The poster: one covered frame.

use crate::support::pixels::{COVERED, Luma, Rect, detail_left, psnr};
use crate::support::{FACE, Scratch};

/// Of a clip.
const SIZE: (usize, usize) = (320, 180);

/// The brightness of a picture.
fn luma(s: &Scratch, file: &str) -> Luma {
    let picture = image::open(s.path(file)).unwrap().to_luma8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Luma { width, height, data: picture.into_raw() }
}

/// Frame number `frame` of a video as a player shows it: upright, and `width` by `height` pixels large.
fn shown(s: &Scratch, video: &str, frame: usize, (width, height): (usize, usize)) -> Luma {
    s.ffmpeg(&format!(
        "-i {video} -vf select=eq(n\\,{frame}),scale={width}:{height} -frames:v 1 -update 1 shown.png"
    ));
    luma(s, "shown.png")
}

/// The two show the same, apart from compression.
fn assert_same(a: &Luma, b: &Luma) {
    let db = psnr(a, b, |_, _| true);
    assert!(db > 28.0, "only {db:.1} dB alike");
}

#[test]
fn it_is_a_frame_of_the_output_with_the_face_covered() {
    let s = Scratch::new();
    s.clip("", "in.mp4");
    s.mosaic("in.mp4", "--poster poster.jpg --plan-out plan.json");
    // A third of 24 frames.
    let poster = luma(&s, "poster.jpg");
    let left = detail_left(&shown(&s, "in.mp4", 8, SIZE), &poster, FACE);
    assert!(left < COVERED, "{left:.2} of the face's detail is left");
    assert_same(&poster, &shown(&s, "out.mp4", 8, SIZE));

    s.garim("render in.mp4 plan.json -o again.mp4 --poster again.jpg --preset ultrafast").ok();
    assert!(s.read("again.jpg") == s.read("poster.jpg"));
}

#[test]
fn it_is_upright_has_square_pixels_and_is_not_too_large() {
    let s = Scratch::new();
    // Lying, with pixels twice as wide as high; seen upright they are twice as high as wide.
    s.clip("transpose=cclock,setsar=2", "-an in.mp4");
    s.turn("in.mp4", [0, 1, -1, 0]);
    s.mosaic("in.mp4", "--poster poster.jpg");
    let poster = luma(&s, "poster.jpg");
    let size = (320, 360);
    assert_eq!((poster.width, poster.height), size);
    let face = Rect::new(FACE.x, 2 * FACE.y, FACE.width, 2 * FACE.height);
    let left = detail_left(&shown(&s, "in.mp4", 8, size), &poster, face);
    assert!(left < COVERED, "{left:.2} of the face's detail is left");
    assert_same(&poster, &shown(&s, "out.mp4", 8, size));

    let s = Scratch::new();
    s.clip("scale=1920:1080", "-frames:v 3 -an in.mp4");
    s.mosaic("in.mp4", "--poster poster.jpg");
    let poster = luma(&s, "poster.jpg");
    assert_eq!((poster.width, poster.height), (1280, 720));
}

/// Hills, then a face, then hills; groups of ten frames. `face`: where the ten frames with it start.
fn shop(s: &Scratch, face: usize) {
    let after = 60 - face - 10;
    s.ffmpeg(&format!(
        "-t 3 -i @pyfeat/no_face.mp4 -t 0.8 -i @pyfeat/single_face.mp4 -filter_complex \
         [0:v]fps=25,scale=320:180,setsar=1,split[x][y];[x]trim=end_frame={face}[a];\
         [y]trim=end_frame={after},hflip[c];[1:v]fps=25,scale=320:180,setsar=1,trim=end_frame=10[b];\
         [a][b][c]concat=n=3,format=yuv420p[v] -map [v] -c:v libx264 -preset superfast \
         -x264-params keyint=10:min-keyint=10:scenecut=0 in.mp4"
    ));
}

#[test]
fn it_is_made_where_groups_are_copied_too() {
    // The frame at a third is number 20: with the face in an encoded group, or without in a copied one.
    for (face, seen) in [(20, true), (40, false)] {
        let s = Scratch::new();
        shop(&s, face);
        let report = s.mosaic("in.mp4", "--poster poster.jpg --plan-out plan.json");
        assert_eq!(report["rendering"]["mode"], "smart");
        let poster = luma(&s, "poster.jpg");
        assert_same(&poster, &shown(&s, "out.mp4", 20, SIZE));
        if seen {
            let left = detail_left(&shown(&s, "in.mp4", 20, SIZE), &poster, FACE);
            assert!(left < COVERED, "{left:.2} of the face's detail is left");
        }
        let args = "render in.mp4 plan.json -o again.mp4 --poster again.jpg --preset ultrafast";
        s.garim(args).ok();
        assert!(s.read("again.jpg") == s.read("poster.jpg"));
    }
}

#[test]
fn a_photo_has_one_too_and_what_is_transparent_stays_unseen() {
    let s = Scratch::new();
    s.ffmpeg("-i @pyfeat/single_face.mp4 -frames:v 1 -vf scale=320:180 in.png");
    let mut picture = image::open(s.path("in.png")).unwrap().to_rgba8();
    for (x, _, pixel) in picture.enumerate_pixels_mut() {
        pixel.0[3] = if x < 60 { 0 } else { 255 };
    }
    picture.save(s.path("in.png")).unwrap();
    s.garim("mosaic in.png -o out.png --poster poster.jpg").ok();
    let poster = luma(&s, "poster.jpg");
    let left = detail_left(&luma(&s, "in.png"), &poster, FACE);
    assert!(left < COVERED, "{left:.2} of the face's detail is left");
    assert!((0..180).all(|y| poster.data[y * 320..y * 320 + 40].iter().all(|&v| v > 250)));
    assert!(psnr(&poster, &luma(&s, "out.png"), |x, _| x >= 70) > 28.0);
}
