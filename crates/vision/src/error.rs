//! What can go wrong, split by what the caller can do about it.

use std::path::PathBuf;

use domain::Rect;

/// Errors of this library. None of them carries pictures or embeddings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model or the runtime library is in none of the folders.
    #[error("{name} is not installed (looked for {file} in {}): run `garim models fetch`", list(.searched))]
    Missing {
        /// What is missing.
        name: &'static str,
        /// Its path below a data folder.
        file: &'static str,
        /// The data folders that were searched.
        searched: Vec<PathBuf>,
    },
    /// A file is not the one Garim was measured with.
    #[error("{} is not the expected file (SHA-256 {found}, expected {expected}): delete it and run `garim models fetch`", .path.display())]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// The pinned hash, in hexadecimal.
        expected: &'static str,
        /// The file's hash, in hexadecimal.
        found: String,
    },
    /// A file or a folder cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A package could not be fetched or is not what it should be.
    #[error("cannot fetch {what}: {why}")]
    Fetch {
        /// The package or file.
        what: String,
        /// What happened and what to do.
        why: String,
    },
    /// ONNX Runtime could not be loaded, or failed while it ran.
    #[error("ONNX Runtime: {0}")]
    Engine(String),
    /// The planes of a frame do not fit its size, or it has none.
    #[error("frame {seq} cannot be looked at: {why}")]
    BadFrame {
        /// The frame.
        seq: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The five points of a face do not span a face.
    #[error("the face cannot be aligned: its landmarks coincide")]
    BadLandmarks,
    /// No face was found in a photo of a person to enrol.
    #[error("{photo}: no face found; use a sharp photo that shows the face from the front")]
    NoFace {
        /// The photo.
        photo: String,
    },
    /// Several faces were found in a photo of one person.
    #[error(
        "{photo}: {count} faces found; crop the photo to the one you mean (the largest is {:.0}x{:.0} pixels at {:.0},{:.0})",
        .largest.width(), .largest.height(), .largest.x0, .largest.y0
    )]
    SeveralFaces {
        /// The photo.
        photo: String,
        /// How many.
        count: usize,
        /// The largest of them, in coded pixels.
        largest: Rect,
    },
    /// The face in a photo is too small to be recognised by.
    #[error(
        "{photo}: the face is {width:.0} pixels wide, at least {} are needed",
        crate::gallery::MIN_FACE
    )]
    FaceTooSmall {
        /// The photo.
        photo: String,
        /// Width of the face in pixels.
        width: f32,
    },
    /// The face in a photo is not sharp enough to know somebody by.
    #[error(
        "{photo}: the face is blurred (sharpness {sharpness:.2}, at least {} is needed); use a sharper photo",
        crate::quality::LEAST_SHARPNESS
    )]
    FaceBlurred {
        /// The photo.
        photo: String,
        /// See [`crate::quality::Quality`].
        sharpness: f32,
    },
    /// The face in a photo has too little light.
    #[error(
        "{photo}: the face is dark (brightness {brightness:.0} of 255, at least {:.0} is needed); use a photo with more light",
        crate::quality::LEAST_BRIGHTNESS
    )]
    FaceDark {
        /// The photo.
        photo: String,
        /// See [`crate::quality::Quality`].
        brightness: f32,
    },
    /// The face in a photo looks away.
    #[error("{photo}: the face is turned away; use a photo that shows it from the front")]
    FaceTurned {
        /// The photo.
        photo: String,
        /// See [`crate::quality::Quality`].
        turn: f32,
    },
    /// A photo does not look like the person on the others.
    #[error(
        "{photo} does not look like the other photos of {person} (similarity {similarity:.2}): remove the photo that is of somebody else"
    )]
    NotOnePerson {
        /// The person.
        person: String,
        /// The photo least like the others.
        photo: String,
        /// Its cosine similarity to the mean of the others.
        similarity: f32,
    },
}

fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
