//! The real models on real photos. Needs `garim models fetch` and `cargo xtask fixtures`; fails,
//! and says so, without them.

use std::path::{Path, PathBuf};

use domain::{
    Color, Frame, Matrix, Orientation, PixelFormat, Point, Pts, Range, SecondOpinion, Size,
    TimeBase,
};
use vision::gallery::{Group, Person, enrol_photo, examine_photo};
use vision::{Detector, DetectorModel, Embedding, Engine, Error, Gallery, Pass, Suspects, models};

const YUNET_640: Pass = Pass::new(DetectorModel::YuNet, 640);
const CENTERFACE_640: Pass = Pass::new(DetectorModel::CenterFace, 640);

fn engine() -> Engine {
    let installed = models::locate().unwrap_or_else(|e| panic!("{e}"));
    Engine::load(&installed).unwrap_or_else(|e| panic!("{e}"))
}

fn fixture(name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.garim/fixtures");
    let dir = std::env::var_os("GARIM_FIXTURES").map_or(workspace, PathBuf::from);
    dir.join(name)
}

fn photo(name: &str) -> image::RgbImage {
    let path = fixture(name);
    let photo = image::open(&path);
    photo
        .unwrap_or_else(|e| panic!("{}: {e}: run `cargo xtask fixtures`", path.display()))
        .to_rgb8()
}

fn frame(size: Size, format: PixelFormat) -> Frame {
    let color = Color { range: Range::Limited, matrix: Matrix::Bt709 };
    let base = TimeBase::new(1, 25).expect("1/25 s is a length");
    Frame::new(0, Pts::new(0, base), size, format, color, None)
}

fn rgb(photo: &image::RgbImage) -> Frame {
    let size = Size { width: photo.width(), height: photo.height() };
    let mut frame = frame(size, PixelFormat::Rgb);
    for (x, y, pixel) in photo.enumerate_pixels() {
        for (plane, value) in frame.planes.iter_mut().zip(pixel.0) {
            plane.row_mut(y as usize)[x as usize] = value;
        }
    }
    frame
}

/// The same picture as video carries it (BT.709, limited range, chroma at half size).
fn yuv420(photo: &image::RgbImage) -> Frame {
    let size = Size { width: photo.width(), height: photo.height() };
    let mut frame = frame(size, PixelFormat::Yuv420);
    for (x, y, pixel) in photo.enumerate_pixels() {
        let [r, g, b] = pixel.0.map(f32::from);
        let luma = 0.2126 * r + 0.7152 * g + 0.0722 * b;
        let (cb, cr) = ((b - luma) / 1.8556, (r - luma) / 1.5748);
        frame.planes[0].row_mut(y as usize)[x as usize] = (luma * 219.0 / 255.0 + 16.5) as u8;
        for (plane, chroma) in frame.planes[1..].iter_mut().zip([cb, cr]) {
            let value = (chroma * 224.0 / 255.0 + 128.5) as u8;
            plane.row_mut(y as usize / 2)[x as usize / 2] = value;
        }
    }
    frame
}

/// How `upright` would be coded if it were to be seen through `orientation`.
fn coded_for(upright: &Frame, orientation: Orientation) -> Frame {
    let size = orientation.upright_size(upright.size);
    let mut coded = frame(size, upright.format);
    for (from, to) in upright.planes.iter().zip(&mut coded.planes) {
        let size = Size { width: to.width as u32, height: to.height as u32 };
        for y in 0..to.height {
            for (x, value) in to.row_mut(y).iter_mut().enumerate() {
                let p =
                    orientation.to_upright(Point { x: x as f32 + 0.5, y: y as f32 + 0.5 }, size);
                *value = from.row(p.y as usize)[p.x as usize];
            }
        }
    }
    coded
}

#[test]
fn both_detectors_find_all_five_people_and_agree() {
    let mut detector = engine().detector().unwrap();
    let photo = rgb(&photo("pyfeat/multi_face.jpg"));
    let passes = [YUNET_640, CENTERFACE_640];
    let found = detector.find(&photo, Orientation::default(), &passes).unwrap();
    let sure: Vec<_> = found.faces.iter().filter(|f| f.score > 0.6).collect();
    assert_eq!(sure.len(), 5, "{:?}", found.faces);
    for face in sure {
        assert_eq!(face.second, SecondOpinion::Agrees, "{face:?}");
        let [left, right, nose, ..] = face.landmarks;
        assert!(left.x < right.x && nose.y > left.y.min(right.y), "{face:?}");
    }
    for pass in [YUNET_640, CENTERFACE_640] {
        let alone = detector.find(&photo, Orientation::default(), &[pass]).unwrap();
        assert_eq!(alone.faces.iter().filter(|f| f.score > 0.5).count(), 5, "{pass:?}");
        let asked = alone.faces.iter().any(|f| f.second != SecondOpinion::NotAsked);
        assert_eq!(asked, pass.asks_second());
    }
}

#[test]
fn a_landscape_has_no_face() {
    let mut detector = engine().detector().unwrap();
    let photo = rgb(&photo("pyfeat/free-mountain-vector-01.jpg"));
    let passes = [YUNET_640, CENTERFACE_640];
    let found = detector.find(&photo, Orientation::default(), &passes).unwrap();
    assert!(found.faces.iter().all(|f| f.score < 0.6), "{:?}", found.faces);
}

#[test]
fn a_turned_or_mirrored_recording_is_seen_as_its_viewer_sees_it() {
    let engine = engine();
    let (mut detector, mut recognizer) = (engine.detector().unwrap(), engine.recognizer().unwrap());
    let upright = yuv420(&photo("clm/franck_02221.jpg"));
    let mut whole = |frame: &Frame, orientation| {
        let found = detector.find(frame, orientation, &[YUNET_640]).unwrap();
        let face = found.faces.into_iter().next().expect("a face");
        let embedding = vision::Recognizer::embed(&mut recognizer, frame, orientation, &face);
        (face, embedding.unwrap())
    };
    let (face, embedding) = whole(&upright, Orientation::default());
    assert!(face.score > 0.8);
    for (turns, mirror) in (0..4).flat_map(|t| [(t, false), (t, true)]) {
        let o = Orientation::new(turns, mirror);
        let coded = coded_for(&upright, o);
        let (turned, same) = whole(&coded, o);
        let expected = o.rect_to_coded(face.rect, coded.size);
        assert!(turned.rect.iou(expected) > 0.9, "{o:?}: {:?} {expected:?}", turned.rect);
        let left = o.to_upright(turned.landmarks[0], coded.size);
        assert!((left.x - face.landmarks[0].x).abs() < 3.0, "{o:?}: image-left eye first");
        assert!(embedding.cosine(&same) > 0.95, "{o:?}: {}", embedding.cosine(&same));
    }
}

/// Five people pasted small into a 4K picture, some across the borders of tiles.
#[test]
fn tiles_find_small_faces_in_a_large_picture_once_each() {
    let mut detector = engine().detector().unwrap();
    let group = photo("pyfeat/multi_face.jpg");
    let small = image::imageops::thumbnail(&group, group.width() / 3, group.height() / 3);
    let mut large = image::RgbImage::from_pixel(3840, 2160, image::Rgb([90, 100, 110]));
    let places = [(100, 100), (1200, 700), (2000, 1300), (3000, 400), (1250, 1500)];
    for (x, y) in places {
        image::imageops::replace(&mut large, &small, x, y);
    }
    let frame = yuv420(&large);
    let pass = |long_side| Pass::new(DetectorModel::YuNet, long_side);
    let mut count = |long_side| {
        let found = detector.find(&frame, Orientation::default(), &[pass(long_side)]).unwrap();
        found.faces.iter().filter(|f| f.score > 0.5).count()
    };
    assert_eq!(count(2560), 25);
    assert!(count(640) < 25, "the small picture loses some, or the test shows nothing");
}

/// Five people, tilted, their faces about 26 px wide, in a full HD picture.
#[test]
fn close_ups_find_small_tilted_faces() {
    let mut detector = engine().detector().unwrap();
    let group = photo("pyfeat/multi_face.jpg");
    let (width, height) = (group.width() / 4, group.height() / 4);
    let small = image::imageops::thumbnail(&group, width, height);
    let mut large = image::RgbImage::from_pixel(1920, 1080, image::Rgb([90, 100, 110]));
    let (sin, cos) = 35f32.to_radians().sin_cos();
    for (x, y, pixel) in large.enumerate_pixels_mut() {
        let (x, y) = (x as f32 - 960.0, y as f32 - 540.0);
        let (u, v) = (cos * x + sin * y, cos * y - sin * x);
        let (u, v) = (u + width as f32 / 2.0, v + height as f32 / 2.0);
        if (0.0..width as f32).contains(&u) && (0.0..height as f32).contains(&v) {
            *pixel = *small.get_pixel(u as u32, v as u32);
        }
    }
    let frame = yuv420(&large);
    let mut faces = |passes: &[Pass]| {
        let found = detector.find(&frame, Orientation::default(), passes).unwrap();
        found.faces.into_iter().filter(|face| face.score >= 0.6).collect::<Vec<_>>()
    };
    let whole = [YUNET_640, Pass::new(DetectorModel::YuNet, 1280), CENTERFACE_640];
    let closely = [&whole[..], &[Pass::CloseUps { of: Suspects::Faint, most: 60 }]].concat();
    let (without, with) = (faces(&whole), faces(&closely));
    assert_eq!(with.len(), 5, "{with:?}");
    assert!(without.len() < 5, "or the test shows nothing: {without:?}");
    assert!(with.iter().all(|face| face.second == SecondOpinion::Agrees), "{with:?}");
}

fn enrolled(engine: &Engine, name: &str) -> Result<Embedding, Error> {
    let (mut detector, mut recognizer) = (engine.detector()?, engine.recognizer()?);
    let frame = rgb(&photo(name));
    enrol_photo(&mut detector, &mut recognizer, &frame, Orientation::default(), name)
}

#[test]
fn the_gallery_knows_its_people_and_nobody_else() {
    let engine = engine();
    let group = |person: &str, photos: &[&str]| Group {
        person: Person { name: person.to_owned() },
        photos: photos.iter().map(|p| ((*p).to_owned(), enrolled(&engine, p).unwrap())).collect(),
    };
    let franck = ["clm/franck_01829.jpg", "clm/franck_02221.jpg"];
    let gallery =
        Gallery::enrol(vec![group("franck", &franck), group("audrey", &["clm/audrey.jpg"])]);
    let gallery = gallery.unwrap();
    let similarity = |name| gallery.nearest(&enrolled(&engine, name).unwrap()).unwrap();
    for (name, person) in [("clm/franck_04117.jpg", 0), ("clm/audrey_crop.jpg", 1)] {
        let (nearest, cosine) = similarity(name);
        assert_eq!(nearest.0, person, "{name}");
        assert!(cosine > 0.5, "{name}: {cosine}");
    }
    for stranger in ["pyfeat/single_face.jpg", "clm/SeanConnery.jpg", "pyfeat/0-f1-su-ph.jpg"] {
        let (_, cosine) = similarity(stranger);
        assert!(cosine < 0.42, "{stranger}: {cosine}");
    }
    let mixed = Gallery::enrol(vec![group("mixed", &[franck[0], franck[1], "clm/audrey.jpg"])]);
    match mixed.err() {
        Some(Error::NotOnePerson { photo, .. }) => assert_eq!(photo, "clm/audrey.jpg"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn photos_that_do_not_do_are_refused() {
    let engine = engine();
    let error = |name| enrolled(&engine, name).err().expect("refused");
    assert!(matches!(error("pyfeat/multi_face.jpg"), Error::SeveralFaces { count: 5, .. }));
    assert!(matches!(error("pyfeat/free-mountain-vector-01.jpg"), Error::NoFace { .. }));
}

#[test]
fn photos_to_be_known_by_for_long_must_show_the_face_well() {
    let engine = engine();
    let examined = |image: &image::RgbImage| {
        let (mut detector, mut recognizer) = (engine.detector()?, engine.recognizer()?);
        let upright = Orientation::default();
        examine_photo(&mut detector, &mut recognizer, &rgb(image), upright, "me.jpg")
    };
    let good = photo("clm/franck_02159.jpg");
    examined(&good).unwrap();
    let blurred = image::imageops::blur(&good, 9.0);
    assert!(matches!(examined(&blurred), Err(Error::FaceBlurred { .. })));
    let mut dark = good.clone();
    dark.iter_mut().for_each(|v| *v /= 8);
    assert!(matches!(examined(&dark), Err(Error::FaceDark { .. })));
    let turned = photo("pyfeat/BWPictureHuman.jpg");
    assert!(matches!(examined(&turned), Err(Error::FaceTurned { .. })));
    let half = photo("pyfeat/45-m7-di-ph.jpg");
    examined(&half).unwrap();
    let dim = image::imageops::resize(
        &good,
        good.width() / 5,
        good.height() / 5,
        image::imageops::FilterType::Triangle,
    );
    examined(&dim).unwrap();
}

#[test]
fn a_second_fetch_finds_everything_there() {
    let installed = models::locate().unwrap_or_else(|e| panic!("{e}"));
    let mut lines = Vec::new();
    let folder = installed.path(models::Model::YuNet).parent().unwrap().parent().unwrap();
    vision::fetch(folder, &mut |line| lines.push(line.to_owned())).unwrap();
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line.ends_with(": there")), "{lines:?}");
}
