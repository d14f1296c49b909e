//! Photos of people, and where their faces are.

use std::path::{Path, PathBuf};

use image::RgbImage;
use image::imageops::{FilterType, resize};

/// Width to which every face is brought, in pixels: a person a few metres from a 1080p camera.
pub const FACE: f32 = 91.0;

/// File, box (left, top, right, bottom), eyes, nose, mouth corners, in pixels; found by a detector
/// in the clear photo, which is more than an attacker has.
type Entry = (&'static str, [f32; 4], [[f32; 2]; 5]);

#[rustfmt::skip]
const PEOPLE: &[Entry] = &[
    ("pyfeat/0-f1-su-ph.jpg", [118.0, 95.0, 404.0, 475.0], [[198.0, 232.0], [329.0, 227.0], [270.0, 305.0], [214.0, 372.0], [322.0, 369.0]]),
    ("pyfeat/0-f15-hao-ph.jpg", [105.0, 110.0, 386.0, 489.0], [[188.0, 247.0], [317.0, 255.0], [248.0, 329.0], [184.0, 378.0], [302.0, 386.0]]),
    ("pyfeat/15-f13-anc-ph.jpg", [98.0, 127.0, 382.0, 479.0], [[159.0, 261.0], [283.0, 256.0], [212.0, 333.0], [175.0, 389.0], [281.0, 385.0]]),
    ("pyfeat/single_face.jpg", [191.0, 147.0, 373.0, 399.0], [[232.0, 243.0], [317.0, 242.0], [266.0, 292.0], [235.0, 328.0], [313.0, 328.0]]),
    ("clm/SeanConnery.jpg", [111.0, 50.0, 261.0, 269.0], [[144.0, 148.0], [215.0, 141.0], [180.0, 192.0], [156.0, 220.0], [217.0, 216.0]]),
    ("clm/audrey.jpg", [156.0, 150.0, 410.0, 477.0], [[232.0, 279.0], [349.0, 281.0], [299.0, 350.0], [241.0, 398.0], [339.0, 400.0]]),
    ("clm/bieber_small.jpg", [111.0, 190.0, 366.0, 528.0], [[174.0, 323.0], [293.0, 307.0], [242.0, 382.0], [203.0, 446.0], [301.0, 432.0]]),
    ("clm/bill-murray-snl_crop.jpg", [32.0, -43.0, 221.0, 206.0], [[78.0, 57.0], [172.0, 47.0], [132.0, 101.0], [96.0, 140.0], [178.0, 133.0]]),
    ("clm/cage.jpg", [89.0, 98.0, 391.0, 513.0], [[158.0, 268.0], [302.0, 248.0], [239.0, 340.0], [194.0, 414.0], [314.0, 397.0]]),
    ("clm/chuck_crop.jpg", [29.0, -61.0, 223.0, 239.0], [[84.0, 52.0], [178.0, 47.0], [133.0, 109.0], [97.0, 163.0], [174.0, 159.0]]),
    ("clm/fragrance-George-Clooney-main_crop.jpg", [28.0, -59.0, 215.0, 212.0], [[77.0, 41.0], [167.0, 41.0], [120.0, 96.0], [82.0, 136.0], [162.0, 137.0]]),
    ("clm/kim1_crop.jpg", [20.0, -69.0, 260.0, 280.0], [[94.0, 70.0], [212.0, 64.0], [167.0, 139.0], [108.0, 196.0], [210.0, 191.0]]),
    ("clm/obama4_crop.jpg", [18.0, -82.0, 259.0, 266.0], [[81.0, 55.0], [196.0, 52.0], [140.0, 120.0], [92.0, 174.0], [193.0, 172.0]]),
    ("clm/queen20_crop.jpg", [24.0, -51.0, 194.0, 193.0], [[65.0, 44.0], [147.0, 41.0], [103.0, 93.0], [71.0, 126.0], [148.0, 125.0]]),
    ("clm/ri_1_crop.jpg", [23.0, -60.0, 231.0, 232.0], [[69.0, 67.0], [169.0, 55.0], [123.0, 119.0], [91.0, 166.0], [175.0, 156.0]]),
    ("clm/walter2_crop.jpg", [24.0, -75.0, 279.0, 286.0], [[90.0, 57.0], [204.0, 53.0], [145.0, 122.0], [105.0, 186.0], [199.0, 182.0]]),
    ("clm/franck_01829.jpg", [257.0, 107.0, 516.0, 481.0], [[326.0, 253.0], [442.0, 237.0], [397.0, 307.0], [355.0, 382.0], [450.0, 369.0]]),
    ("pyfeat/multi_face.jpg", [531.0, 305.0, 631.0, 436.0], [[553.0, 351.0], [604.0, 353.0], [573.0, 379.0], [550.0, 394.0], [596.0, 400.0]]),
    ("pyfeat/multi_face.jpg", [686.0, 289.0, 789.0, 424.0], [[711.0, 339.0], [761.0, 339.0], [733.0, 367.0], [712.0, 387.0], [756.0, 387.0]]),
    ("pyfeat/multi_face.jpg", [434.0, 218.0, 515.0, 314.0], [[458.0, 245.0], [496.0, 245.0], [476.0, 265.0], [458.0, 285.0], [492.0, 284.0]]),
    ("pyfeat/multi_face.jpg", [314.0, 236.0, 409.0, 359.0], [[344.0, 282.0], [388.0, 281.0], [370.0, 306.0], [349.0, 327.0], [387.0, 323.0]]),
    ("pyfeat/multi_face.jpg", [216.0, 62.0, 306.0, 175.0], [[243.0, 103.0], [285.0, 105.0], [264.0, 128.0], [243.0, 142.0], [277.0, 147.0]]),
];

/// A photo scaled so that the face is [`FACE`] wide.
pub struct Person {
    pub name: String,
    pub photo: RgbImage,
    /// Left, top, right, bottom.
    pub face: [f32; 4],
    /// Eyes, nose, mouth corners.
    pub landmarks: [[f32; 2]; 5],
}

/// All people, from `$GARIM_FIXTURES` or `.garim/fixtures` of the workspace.
pub fn load() -> Vec<Person> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("GARIM_FIXTURES")
        .map_or_else(|| workspace.join(".garim/fixtures"), PathBuf::from);
    PEOPLE.iter().map(|entry| person(&folder, entry)).collect()
}

fn person(folder: &Path, (file, face, landmarks): &Entry) -> Person {
    let path = folder.join(file);
    let photo = image::open(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; run `cargo xtask fixtures`", path.display()))
        .to_rgb8();
    let scale = FACE / (face[2] - face[0]);
    let to = |v: u32| (v as f32 * scale).round() as u32;
    let photo = resize(&photo, to(photo.width()), to(photo.height()), FilterType::Triangle);
    Person {
        name: format!("{file} at {}", face[0]),
        photo,
        face: face.map(|v| v * scale),
        landmarks: landmarks.map(|p| p.map(|v| v * scale)),
    }
}
