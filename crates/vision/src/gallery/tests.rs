use domain::{Color, Finding, Matrix, PixelFormat, Point, Pts, Range, Rect, Size, TimeBase};

use super::*;
use crate::embed::LENGTH;
use crate::scripted::{ScriptedDetector, ScriptedRecognizer, embedding};

/// A face that is person 0 by `share` (0..=1) and person 1 by the rest.
fn between(share: f32) -> Embedding {
    let mut values = [0.0; LENGTH];
    (values[0], values[1]) = (share, 1.0 - share);
    Embedding::new(values).unwrap()
}

fn group(name: &str, faces: Vec<Embedding>) -> Group {
    let photos = faces.into_iter().enumerate().map(|(i, f)| (format!("{name}{i}.jpg"), f));
    Group { person: Person { name: name.to_owned() }, photos: photos.collect() }
}

#[test]
fn the_nearest_person_is_found_by_mean_or_by_photo() {
    let groups =
        vec![group("ann", vec![between(1.0), between(0.5)]), group("bob", vec![embedding(7)])];
    let gallery = Gallery::enrol(groups).unwrap();
    assert_eq!(gallery.people()[1].name, "bob");
    let (person, similarity) = gallery.nearest(&between(0.5)).unwrap();
    assert_eq!(person, PersonIx(0));
    assert!((similarity - 1.0).abs() < 1e-5, "a photo itself: {similarity}");
    let (person, similarity) = gallery.nearest(&between(0.7)).unwrap();
    assert_eq!(person, PersonIx(0));
    assert!(similarity > 0.99, "near the mean: {similarity}");
    assert_eq!(gallery.nearest(&embedding(7)).unwrap().0, PersonIx(1));
    assert!(Gallery::default().nearest(&embedding(7)).is_none());
}

#[test]
fn a_photo_of_somebody_else_is_named() {
    let faces = vec![between(1.0), embedding(9), between(0.8)];
    let error = Gallery::enrol(vec![group("ann", faces)]).err().unwrap();
    match error {
        Error::NotOnePerson { person, photo, similarity } => {
            assert_eq!((person.as_str(), photo.as_str()), ("ann", "ann1.jpg"));
            assert!(similarity.abs() < 1e-6);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_person_without_photos_is_an_error() {
    assert!(matches!(Gallery::enrol(vec![group("ann", vec![])]), Err(Error::NoFace { .. })));
}

fn face(x: f32, width: f32, score: f32) -> Detection {
    let rect = Rect::new(x, 100.0, x + width, 100.0 + width);
    Detection::new(rect, score, [Point::default(); 5])
}

/// Enrols a 1280x720 photo on which `faces` are found; the second detector sees those in `agreed`.
fn enrol(faces: Vec<Detection>, agreed: &[usize]) -> Result<(), Error> {
    let color = Color { range: Range::Full, matrix: Matrix::Bt601 };
    let pts = Pts::new(0, TimeBase::new(1, 1).unwrap());
    let size = Size { width: 1280, height: 720 };
    let frame = Frame::new(0, pts, size, PixelFormat::Gray, color, None);
    let scale = 640.0 / 1280.0;
    let judged = |(i, mut face): (usize, Detection)| {
        face.second = match agreed.contains(&i) {
            true => SecondOpinion::Agrees,
            false if face.rect.width() * scale < 18.0 => SecondOpinion::NotAsked,
            false => SecondOpinion::Doubts,
        };
        face
    };
    let faces: Vec<Detection> = faces.into_iter().enumerate().map(judged).collect();
    let mut detector = ScriptedDetector(move |_: &Frame, _: Orientation, passes: &[Pass]| {
        assert!(passes.iter().any(Pass::asks_second));
        Ok(Finding { faces: faces.clone(), ..Finding::default() })
    });
    let mut recognizer =
        ScriptedRecognizer(|_: &Frame, _: Orientation, _: &Detection| Ok(embedding(3)));
    let enrolled =
        enrol_photo(&mut detector, &mut recognizer, &frame, Orientation::default(), "me.jpg")?;
    assert!((enrolled.cosine(&embedding(3)) - 1.0).abs() < 1e-6);
    Ok(())
}

#[test]
fn one_face_is_enrolled_in_spite_of_weak_or_doubted_boxes_and_parts_of_it() {
    enrol(vec![face(100.0, 200.0, 0.95)], &[0]).unwrap();
    enrol(vec![face(100.0, 200.0, 0.95), face(600.0, 100.0, 0.5)], &[0, 1]).unwrap();
    enrol(vec![face(100.0, 200.0, 0.95), face(600.0, 100.0, 0.8)], &[0]).unwrap();
    enrol(vec![face(100.0, 200.0, 0.95), face(120.0, 100.0, 0.95)], &[0, 1]).unwrap();
}

#[test]
fn several_real_faces_are_counted_and_the_largest_is_shown() {
    let faces = vec![face(100.0, 60.0, 0.95), face(600.0, 200.0, 0.7), face(900.0, 20.0, 0.7)];
    let error = enrol(faces, &[0, 1]).unwrap_err();
    let text = error.to_string();
    match error {
        Error::SeveralFaces { count, largest, .. } => {
            assert_eq!(
                (count, largest.x0),
                (3, 600.0),
                "a face too small for a second opinion counts"
            );
        }
        other => panic!("{other}"),
    }
    assert!(
        text.contains("me.jpg: 3 faces") && text.contains("200x200 pixels at 600,100"),
        "{text}"
    );
}

#[test]
fn no_face_and_a_small_face_say_so() {
    assert!(matches!(enrol(vec![], &[]), Err(Error::NoFace { .. })));
    assert!(matches!(enrol(vec![face(100.0, 200.0, 0.4)], &[0]), Err(Error::NoFace { .. })));
    let error = enrol(vec![face(100.0, 39.0, 0.95)], &[0]).unwrap_err();
    assert_eq!(error.to_string(), "me.jpg: the face is 39 pixels wide, at least 40 are needed");
}
