//! The people to keep: by photos of them, or by templates that were made of photos earlier.

use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;

use domain::Orientation;
use serde::{Deserialize, Serialize};
use vision::gallery::{Group, Person, enrol_photo, examine_photo};
use vision::{Detector, Embedding, Engine, Gallery, Recognizer, models};
use zeroize::Zeroize;

use crate::{Input, JobError, photo};

/// A person to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeepSpec {
    /// Name for the report.
    pub name: String,
    /// What they are known by.
    pub by: KnownBy,
}

/// What somebody is known by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    /// Photos that hold one face each.
    Photos(Vec<PathBuf>),
    /// What [`examine`] made of photos.
    Templates(Templates),
}

/// The recogniser's numbers for the photos of one person. Biometric data: not printed, overwritten when dropped.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Templates(pub Vec<Vec<f32>>);

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} templates", self.0.len())
    }
}

impl Drop for Templates {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Compares faces, for all workers.
pub(crate) type Comparer = Mutex<Box<dyn Recognizer>>;

/// The people in `keep`, and what compares faces with them: nothing when there is nobody.
///
/// # Errors
/// Those of [`enrol`].
pub(crate) fn people(
    engine: &Engine,
    detector: &mut dyn Detector,
    keep: &[KeepSpec],
) -> Result<(Gallery, Option<Comparer>), JobError> {
    if keep.is_empty() {
        return Ok((Gallery::enrol(Vec::new())?, None));
    }
    let mut recognizer: Box<dyn Recognizer> = Box::new(engine.recognizer()?);
    let gallery = enrol(detector, recognizer.as_mut(), keep)?;
    Ok((gallery, Some(Mutex::new(recognizer))))
}

/// A gallery of the people in `keep`, in that order; empty when there is nobody to keep.
///
/// # Errors
/// A photo that cannot be read, holds no face, several, or one too small; photos of one person that
/// show different ones; a template that is none.
pub fn enrol(
    detector: &mut dyn Detector,
    recognizer: &mut dyn Recognizer,
    keep: &[KeepSpec],
) -> Result<Gallery, JobError> {
    let mut groups = Vec::with_capacity(keep.len());
    for KeepSpec { name, by } in keep {
        let photos = match by {
            KnownBy::Photos(paths) => {
                let mut photos = Vec::with_capacity(paths.len());
                for path in paths {
                    let photo = photo::read(&path.as_path().into())?;
                    let shown = path.display().to_string();
                    let upright = Orientation::default();
                    let face = enrol_photo(detector, recognizer, photo.frame(), upright, &shown)?;
                    photos.push((shown, face));
                }
                photos
            }
            KnownBy::Templates(Templates(all)) => {
                let numbered = all.iter().zip(1..);
                numbered
                    .map(|(t, i)| Ok((format!("photo {i} of {name}"), embedding(t)?)))
                    .collect::<Result<_, JobError>>()?
            }
        };
        groups.push(Group { person: Person { name: name.clone() }, photos });
    }
    Ok(Gallery::enrol(groups)?)
}

fn embedding(values: &[f32]) -> Result<Embedding, JobError> {
    let values = values.try_into().ok().and_then(Embedding::new);
    values.ok_or_else(|| {
        vision::Error::Engine("a stored template is none of this model's".to_owned()).into()
    })
}

/// Photos of one person that is to be enrolled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrolSpec {
    /// JPEG, PNG or WebP; they may be sealed.
    pub photos: Vec<Input>,
}

/// What a photo is good for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Examined {
    /// Somebody can be known by it.
    Good(Templates),
    /// Not good enough.
    Refused(Refusal),
}

/// Why a photo does not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: Reason,
    /// For people: names the photo and what to do.
    pub message: String,
}

/// Reasons that a photo does not do. Names never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It cannot be read or decoded.
    Unreadable,
    /// It shows no face.
    NoFace,
    /// It shows several.
    SeveralFaces,
    /// The face has too few pixels.
    TooSmall,
    /// The face is not sharp.
    Blurred,
    /// The face has hardly any light.
    Dark,
    /// The face is turned away.
    ExtremePose,
    /// It does not look like the other photos of this person.
    NotOnePerson,
    /// It looks like somebody else who is enrolled. [`examine`] does not know them; callers do.
    NearDuplicate,
}

/// Looks at photos of one person, each by itself and then together. One answer for each photo, in order.
///
/// # Errors
/// Only what concerns no photo: a missing model, a failing runtime.
pub fn examine(spec: &EnrolSpec) -> Result<Vec<Examined>, JobError> {
    let engine = Engine::load(&models::locate()?)?;
    let (mut detector, mut recognizer) = (engine.detector()?, engine.recognizer()?);
    let mut answers = Vec::with_capacity(spec.photos.len());
    let mut faces = Vec::new();
    for input in &spec.photos {
        let name = input.path.display().to_string();
        let face = photo::read(input).and_then(|photo| {
            let upright = Orientation::default();
            let (detector, recognizer) = (&mut detector, &mut recognizer);
            Ok(examine_photo(detector, recognizer, photo.frame(), upright, &name)?.embedding)
        });
        answers.push(match face {
            Ok(face) => {
                let good = Examined::Good(Templates(vec![face.values().to_vec()]));
                faces.push((name, face));
                good
            }
            Err(error) => Examined::Refused(refusal(error)?),
        });
    }
    if faces.len() == spec.photos.len() {
        together(faces, &mut answers)?;
    }
    Ok(answers)
}

/// Refuses the photo that is of somebody else than the others.
fn together(faces: Vec<(String, Embedding)>, answers: &mut [Examined]) -> Result<(), JobError> {
    let names: Vec<String> = faces.iter().map(|(name, _)| name.clone()).collect();
    let person = Person { name: "this person".to_owned() };
    let error = match Gallery::enrol(vec![Group { person, photos: faces }]) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    if let vision::Error::NotOnePerson { photo, .. } = &error
        && let Some(at) = names.iter().position(|name| name == photo)
    {
        answers[at] = Examined::Refused(refusal(error.into())?);
        return Ok(());
    }
    Err(error.into())
}

/// What is wrong with a photo, or the error if that is no photo's fault.
pub(crate) fn refusal(error: JobError) -> Result<Refusal, JobError> {
    use vision::Error as Vision;
    let code = match &error {
        JobError::Picture { .. } => Reason::Unreadable,
        JobError::Vision(Vision::NoFace { .. }) => Reason::NoFace,
        JobError::Vision(Vision::SeveralFaces { .. }) => Reason::SeveralFaces,
        JobError::Vision(Vision::FaceTooSmall { .. }) => Reason::TooSmall,
        JobError::Vision(Vision::FaceBlurred { .. }) => Reason::Blurred,
        JobError::Vision(Vision::FaceDark { .. }) => Reason::Dark,
        JobError::Vision(Vision::FaceTurned { .. } | Vision::BadLandmarks) => Reason::ExtremePose,
        JobError::Vision(Vision::NotOnePerson { .. }) => Reason::NotOnePerson,
        _ => return Err(error),
    };
    Ok(Refusal { code, message: error.to_string() })
}
