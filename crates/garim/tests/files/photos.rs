//! Photos: upright, covered, and without what they tell besides the picture.

use image::{DynamicImage, GenericImageView};

use crate::support::Scratch;
use crate::support::pixels::{Luma, Rect, detail_left};

/// Where the man's face is in [`man`].
const FACE: Rect = Rect { x: 232, y: 92, width: 124, height: 184 };
const SECRET: &str = "Xyzzy";

/// A photo of the man, 640x360.
fn man(s: &Scratch, name: &str, more: &str) {
    s.ffmpeg(&format!("-ss 0.5 -i @pyfeat/single_face.mp4 -frames:v 1 {more} {name}"));
}

fn open(s: &Scratch, name: &str) -> DynamicImage {
    image::open(s.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn luma(picture: &DynamicImage) -> Luma {
    let (width, height) = picture.dimensions();
    Luma { width: width as usize, height: height as usize, data: picture.to_luma8().into_raw() }
}

fn left(s: &Scratch, before: &str, after: &str) -> f64 {
    detail_left(&luma(&open(s, before)), &luma(&open(s, after)), FACE)
}

/// Covers `name` as `out.ENDING` in its own format.
fn is_covered(s: &Scratch, name: &str) -> DynamicImage {
    let (_, ending) = name.split_once('.').unwrap();
    let out = format!("out.{ending}");
    s.garim(&format!("mosaic {name} -o {out}")).ok();
    let left = left(s, name, &out);
    assert!(left < 0.2, "{left:.2} of the face is left");
    open(s, &out)
}

/// An EXIF block: turned by a quarter, a description, a place.
fn exif() -> Vec<u8> {
    let mut tiff = b"MM\0\x2a\0\0\0\x08".to_vec();
    let entry = |tag: u16, kind: u16, count: u32, value: [u8; 4]| {
        [&tag.to_be_bytes()[..], &kind.to_be_bytes(), &count.to_be_bytes(), &value].concat()
    };
    tiff.extend(3u16.to_be_bytes());
    tiff.extend(entry(0x010e, 2, 6, 50u32.to_be_bytes())); // ImageDescription, at 50
    tiff.extend(entry(0x0112, 3, 1, [0, 6, 0, 0])); // Orientation: shown turned clockwise
    tiff.extend(entry(0x8825, 4, 1, 56u32.to_be_bytes())); // GPS block, at 56
    tiff.extend([0; 4]);
    tiff.extend(format!("{SECRET}\0").bytes());
    tiff.extend(1u16.to_be_bytes());
    tiff.extend(entry(0x0001, 2, 2, *b"N\0\0\0"));
    tiff.extend([0; 4]);
    let mut block = vec![0xff, 0xe1];
    block.extend(u16::try_from(tiff.len() + 8).unwrap().to_be_bytes());
    block.extend(b"Exif\0\0");
    block.extend(tiff);
    block
}

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|w| w == word.as_bytes())
}

#[test]
fn a_jpeg_is_turned_upright_and_loses_what_it_tells() {
    let s = Scratch::new();
    man(&s, "upright.jpg", "-q:v 2");
    man(&s, "lying.jpg", "-vf transpose=cclock -q:v 2");
    let lying = s.read("lying.jpg");
    s.write("in.jpg", [&lying[..2], &exif(), &lying[2..]].concat());
    s.garim("mosaic in.jpg -o out.jpg").ok();
    assert_eq!(open(&s, "out.jpg").dimensions(), (640, 360));
    let left = left(&s, "upright.jpg", "out.jpg");
    assert!(left < 0.2, "{left:.2} of the face is left");
    let bytes = s.read("out.jpg");
    assert!(!holds(&bytes, "Exif") && !holds(&bytes, SECRET));
    assert!(holds(&s.read("in.jpg"), SECRET), "the source tells nothing");
}

#[test]
fn a_png_stays_a_png() {
    let s = Scratch::new();
    man(&s, "in.png", "");
    let out = is_covered(&s, "in.png");
    assert!(s.read("out.png").starts_with(b"\x89PNG"));
    // Lossless: away from the face nothing changed.
    let before = open(&s, "in.png").to_rgb8();
    let after = out.to_rgb8();
    assert!((0..360).all(|y| before.get_pixel(5, y) == after.get_pixel(5, y)));
}

#[test]
fn see_through_pixels_stay_see_through() {
    let s = Scratch::new();
    s.ffmpeg("-i @pyfeat/Image_with_alpha.png -vf scale=400:-1 in.png");
    s.garim("mosaic in.png -o out.png").ok();
    let (before, after) = (open(&s, "in.png").to_rgba8(), open(&s, "out.png").to_rgba8());
    let alpha = |picture: &image::RgbaImage| picture.pixels().map(|p| p.0[3]).collect::<Vec<_>>();
    assert_eq!(alpha(&before), alpha(&after));
    let changed = before.pixels().zip(after.pixels()).filter(|(a, b)| a != b).count();
    assert!(changed > 400, "nothing was covered");
}

#[test]
fn a_webp_stays_a_webp() {
    let s = Scratch::new();
    man(&s, "in.webp", "-c:v libwebp -quality 90");
    is_covered(&s, "in.webp");
    let bytes = s.read("out.webp");
    assert!(bytes.starts_with(b"RIFF") && holds(&bytes[..16], "WEBP"));
}

#[test]
fn sixteen_bits_a_sample_are_covered() {
    let s = Scratch::new();
    man(&s, "in.png", "-pix_fmt rgb48be");
    assert_eq!(open(&s, "in.png").color(), image::ColorType::Rgb16);
    is_covered(&s, "in.png");
}

#[test]
fn pictures_without_colour_are_covered() {
    let s = Scratch::new();
    man(&s, "in.jpg", "-pix_fmt gray -q:v 2");
    is_covered(&s, "in.jpg");
}

#[test]
fn pictures_for_printing_are_read() {
    let s = Scratch::new();
    s.write("in.jpg", cmyk());
    s.garim("mosaic in.jpg -o out.jpg").ok();
    assert_eq!(open(&s, "out.jpg").dimensions(), (16, 16));
    assert_eq!(open(&s, "out.jpg").color(), image::ColorType::Rgb8);
}

/// A JPEG of 16x16 mid-grey pixels in four inks: of every block all coefficients are zero, so one
/// code of one bit will do for each Huffman table.
fn cmyk() -> Vec<u8> {
    let segment = |marker: u8, content: &[u8]| {
        let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
        [&[0xff, marker], &length[..], content].concat()
    };
    let one_code = [[1u8].as_slice(), &[0; 15], &[0]].concat();
    let inks: Vec<u8> = (1..=4).flat_map(|i| [i, 0x11, 0]).collect();
    let scan: Vec<u8> = (1..=4).flat_map(|i| [i, 0]).collect();
    [
        vec![0xff, 0xd8],
        segment(0xee, b"Adobe\0\x64\0\0\0\0\0"),
        segment(0xdb, &[&[0u8][..], &[1; 64]].concat()),
        segment(0xc0, &[&[8, 0, 16, 0, 16, 4], &inks[..]].concat()),
        segment(0xc4, &[&[0x00], &one_code[..]].concat()),
        segment(0xc4, &[&[0x10], &one_code[..]].concat()),
        segment(0xda, &[&[4], &scan[..], &[0, 63, 0]].concat()),
        vec![0; 4], // 4 blocks of 4 inks, two bits each
        vec![0xff, 0xd9],
    ]
    .concat()
}

#[test]
fn the_kept_man_is_shown_in_a_photo_and_others_are_not() {
    let s = Scratch::new();
    man(&s, "in.png", "");
    s.ffmpeg("-ss 2 -i @pyfeat/single_face.mp4 -frames:v 1 -q:v 2 me.jpg");
    s.garim("mosaic in.png -o shown.png --keep me.jpg").ok();
    assert_eq!(open(&s, "shown.png").to_rgb8(), open(&s, "in.png").to_rgb8());
    s.garim("mosaic in.png -o other.png --keep @made/keep_man.jpg").ok();
    let left = left(&s, "in.png", "other.png");
    assert!(left < 0.2, "{left:.2} of the face is left");
}

#[test]
fn all_of_a_group_are_covered() {
    let s = Scratch::new();
    let ran = s.garim("mosaic @pyfeat/multi_face.jpg -o out.jpg --report report.json").ok();
    let report = s.json("report.json");
    assert_eq!(report["tracks"].as_array().unwrap().len(), 5, "{report:#}");
    assert!(ran.stdout.contains("5 faces followed"), "{}", ran.stdout);
    let (before, after) =
        (open(&s, "@pyfeat/multi_face.jpg").to_luma8(), open(&s, "out.jpg").to_luma8());
    let changed = before.iter().zip(after.iter()).filter(|(a, b)| a.abs_diff(**b) > 12).count();
    let side = |track: &serde_json::Value, name: &str| track[name][1].as_f64().unwrap();
    let faces: f64 = (report["tracks"].as_array().unwrap().iter())
        .map(|track| side(track, "width") * side(track, "height"))
        .sum();
    assert!(changed as f64 > 0.7 * faces, "{changed} pixels changed, the faces have {faces:.0}");
}

#[test]
fn an_animated_webp_is_refused() {
    let s = Scratch::new();
    s.ffmpeg("-t 0.2 -i @pyfeat/single_face.mp4 -vf scale=160:90 -c:v libwebp_anim -an in.webp");
    let error = s.garim("mosaic in.webp -o out.webp").error();
    assert!(error.contains("in.webp: is animated"), "{error}");
    assert_eq!(s.names(), ["in.webp"]);
}

#[test]
fn photos_that_cannot_be_read_are_named() {
    let s = Scratch::new();
    man(&s, "whole.jpg", "-q:v 2");
    s.write("cut.png", &b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..]);
    s.write("text.jpg", "hello");
    s.write("empty.jpg", "");
    for name in ["cut.png", "text.jpg", "empty.jpg", "none.jpg"] {
        let error = s.garim(&format!("mosaic {name} -o out.jpg")).error();
        assert!(error.starts_with(&format!("error: {name}: ")), "{error}");
    }
    assert_eq!(s.names(), ["cut.png", "empty.jpg", "text.jpg", "whole.jpg"]);
}
