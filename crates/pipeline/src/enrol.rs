//! The people to keep, from their photos.

use domain::Orientation;
use vision::gallery::{Group, Person, enrol_photo};
use vision::{Detector, Gallery, Recognizer};

use crate::{JobError, KeepSpec, photo};

/// A gallery of the people in `keep`, in that order; empty when there is nobody to keep.
///
/// # Errors
/// A photo that cannot be read, holds no face, several, or one too small; photos of one person that
/// show different ones.
pub fn enrol(
    detector: &mut dyn Detector,
    recognizer: &mut dyn Recognizer,
    keep: &[KeepSpec],
) -> Result<Gallery, JobError> {
    let mut groups = Vec::with_capacity(keep.len());
    for person in keep {
        let mut photos = Vec::with_capacity(person.photos.len());
        for path in &person.photos {
            let photo = photo::read(path)?;
            let name = path.display().to_string();
            let upright = Orientation::default();
            let face = enrol_photo(detector, recognizer, photo.frame(), upright, &name)?;
            photos.push((name, face));
        }
        groups.push(Group { person: Person { name: person.name.clone() }, photos });
    }
    Ok(Gallery::enrol(groups)?)
}
