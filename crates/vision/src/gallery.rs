//! The people who agreed to be seen, and which of them a face is most like.

use domain::{Detection, Frame, Orientation, PersonIx, SecondOpinion};

use crate::quality::{LEAST_BRIGHTNESS, LEAST_SHARPNESS, MOST_TURN, Quality};
use crate::{Detector, DetectorModel, Embedding, Error, Pass, Recognizer};

/// Width a face in an enrolment photo must have, in pixels.
pub const MIN_FACE: f32 = 40.0;
/// A face of at least this score counts when the faces in a photo are counted.
const MIN_COUNTED: f32 = 0.6;
/// A photo less like the mean of the others than this is of somebody else (strangers: .42 at most
/// and usually below .2; the same person's 5th percentile at 78 px: .64).
const MIN_SAME: f32 = 0.3;
/// A face with this score is one even if the second detector does not see it.
const CERTAIN: f32 = 0.9;
/// A box with this share of its area inside a larger one is a part of that face.
const PART: f32 = 0.7;

/// Somebody who was enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// As given by the user.
    pub name: String,
}

/// One person's photos: what they are called (for messages) and the faces on them.
pub struct Group {
    /// Whose they are.
    pub person: Person,
    /// Name of the photo and its face.
    pub photos: Vec<(String, Embedding)>,
}

/// The enrolled people and their templates. Biometric data: not printable, overwritten on drop.
#[derive(Default)]
pub struct Gallery {
    people: Vec<Person>,
    templates: Vec<(PersonIx, Embedding)>,
}

impl Gallery {
    /// Makes each person's templates: the mean of the photos, and every photo.
    ///
    /// # Errors
    /// [`Error::NotOnePerson`] when a photo does not look like the others of its group,
    /// [`Error::NoFace`] for a group without photos.
    pub fn enrol(groups: Vec<Group>) -> Result<Self, Error> {
        let mut gallery = Self::default();
        for Group { person, photos } in groups {
            check_one_person(&person, &photos)?;
            let mean = Embedding::mean(photos.iter().map(|(_, face)| face));
            let mean = mean.ok_or_else(|| Error::NoFace { photo: person.name.clone() })?;
            let ix = PersonIx(gallery.people.len());
            let alone = photos.len() == 1;
            gallery.templates.push((ix, mean));
            if !alone {
                gallery.templates.extend(photos.into_iter().map(|(_, face)| (ix, face)));
            }
            gallery.people.push(person);
        }
        Ok(gallery)
    }

    /// The enrolled people; a [`PersonIx`] is an index into them.
    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// The person `face` is most like and the cosine similarity; `None` when nobody is enrolled.
    pub fn nearest(&self, face: &Embedding) -> Option<(PersonIx, f32)> {
        let similar =
            self.templates.iter().map(|(person, template)| (*person, template.cosine(face)));
        similar.max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The people `face` is most like, at most `most` of them, each with the cosine similarity of the
    /// most similar template; most similar first.
    pub fn ranked(&self, face: &Embedding, most: usize) -> Vec<(PersonIx, f32)> {
        let mut best: Vec<(PersonIx, f32)> = Vec::with_capacity(self.people.len());
        for (person, template) in &self.templates {
            let similarity = template.cosine(face);
            // A person's templates lie side by side.
            match best.last_mut() {
                Some((last, least)) if last == person => *least = least.max(similarity),
                _ => best.push((*person, similarity)),
            }
        }
        // Of a hundred thousand people, most need not be put in order.
        let order =
            |a: &(PersonIx, f32), b: &(PersonIx, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if most < best.len() {
            best.select_nth_unstable_by(most, order);
            best.truncate(most);
        }
        best.sort_unstable_by(order);
        best
    }
}

fn check_one_person(person: &Person, photos: &[(String, Embedding)]) -> Result<(), Error> {
    let mut worst: Option<(&str, f32)> = None;
    for (i, (name, face)) in photos.iter().enumerate() {
        let others = photos.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, (_, face))| face);
        let Some(mean) = Embedding::mean(others) else { continue };
        let similarity = face.cosine(&mean);
        if worst.is_none_or(|(_, least)| similarity < least) {
            worst = Some((name, similarity));
        }
    }
    match worst {
        Some((photo, similarity)) if similarity < MIN_SAME => Err(Error::NotOnePerson {
            person: person.name.clone(),
            photo: photo.to_owned(),
            similarity,
        }),
        _ => Ok(()),
    }
}

/// The one face on a photo, called `photo` in messages.
///
/// # Errors
/// [`Error::NoFace`], [`Error::SeveralFaces`] or [`Error::FaceTooSmall`] when the photo does not do,
/// and whatever the detector and the recogniser fail with.
pub fn enrol_photo(
    detector: &mut dyn Detector,
    recognizer: &mut dyn Recognizer,
    frame: &Frame,
    orientation: Orientation,
    photo: &str,
) -> Result<Embedding, Error> {
    let face = only_face(detector, frame, orientation, photo)?;
    recognizer.embed(frame, orientation, &face)
}

/// A face that is shown well enough to know somebody by it.
pub struct Examined {
    /// Where it is.
    pub face: Detection,
    /// How well it can be seen.
    pub quality: Quality,
    /// Biometric data.
    pub embedding: Embedding,
}

/// The same for somebody who will be known by the photo for long: it must show the face well.
///
/// # Errors
/// Those of [`enrol_photo`], and [`Error::FaceTurned`], [`Error::FaceDark`], [`Error::FaceBlurred`].
pub fn examine_photo(
    detector: &mut dyn Detector,
    recognizer: &mut dyn Recognizer,
    frame: &Frame,
    orientation: Orientation,
    photo: &str,
) -> Result<Examined, Error> {
    let face = only_face(detector, frame, orientation, photo)?;
    let quality = Quality::of(frame, orientation, &face)?;
    let Quality { brightness, sharpness, turn } = quality;
    let photo = photo.to_owned();
    if turn > MOST_TURN {
        return Err(Error::FaceTurned { photo, turn });
    }
    if brightness < LEAST_BRIGHTNESS {
        return Err(Error::FaceDark { photo, brightness });
    }
    if sharpness < LEAST_SHARPNESS {
        return Err(Error::FaceBlurred { photo, sharpness });
    }
    let embedding = recognizer.embed(frame, orientation, &face)?;
    Ok(Examined { face, quality, embedding })
}

/// Photos are few: look at close-ups (320), at the usual size, and for small faces in the back.
const PASSES: [Pass; 4] = [
    Pass::new(DetectorModel::YuNet, 320),
    Pass::new(DetectorModel::YuNet, 640),
    Pass::new(DetectorModel::YuNet, 1280),
    Pass::new(DetectorModel::CenterFace, 640),
];

fn only_face(
    detector: &mut dyn Detector,
    frame: &Frame,
    orientation: Orientation,
    photo: &str,
) -> Result<Detection, Error> {
    let finding = detector.find(frame, orientation, &PASSES)?;
    let is_real = |face: &Detection| {
        let doubted = face.second == SecondOpinion::Doubts;
        face.score >= CERTAIN || (face.score >= MIN_COUNTED && !doubted)
    };
    let mut faces: Vec<Detection> = finding.faces.into_iter().filter(is_real).collect();
    faces.sort_by(|a, b| b.rect.area().total_cmp(&a.rect.area()));
    let count = count(&faces);
    let photo = || photo.to_owned();
    let largest = faces.into_iter().next().ok_or_else(|| Error::NoFace { photo: photo() })?;
    let width = largest.rect.width();
    if count > 1 {
        return Err(Error::SeveralFaces { photo: photo(), count, largest: largest.rect });
    }
    if width < MIN_FACE {
        return Err(Error::FaceTooSmall { photo: photo(), width });
    }
    Ok(largest)
}

/// How many different faces there are, largest first. In a close-up the fine pass takes the eyes or
/// the mouth for a face of its own: a box that lies in a larger one is a part of it.
fn count(faces: &[Detection]) -> usize {
    let is_part = |i: usize, face: &Detection| {
        let inside = |larger: &Detection| larger.rect.intersection(face.rect).area();
        faces[..i].iter().any(|larger| inside(larger) > PART * face.rect.area())
    };
    faces.iter().enumerate().filter(|(i, face)| !is_part(*i, face)).count()
}

#[cfg(test)]
mod tests;
