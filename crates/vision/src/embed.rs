//! Faces as points on a sphere: the same person's lie close together.

use domain::{Detection, Frame, Orientation};
use ort::session::Session;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::align::{self, SIDE};
use crate::engine::{output, run};
use crate::{Error, picture};

/// Numbers in an [`Embedding`].
pub const LENGTH: usize = 128;

/// A face as a unit vector. Biometric data: cannot be printed, is overwritten when dropped, and a
/// stranger's is never kept beyond the comparison.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Embedding([f32; LENGTH]);

impl Embedding {
    /// Scales `values` to length 1; `None` when they have no direction (zero or not finite).
    pub fn new(mut values: [f32; LENGTH]) -> Option<Self> {
        let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
        let usable = length.is_finite() && length > 1e-6;
        if usable {
            values.iter_mut().for_each(|v| *v /= length);
        }
        let embedding = usable.then_some(Self(values));
        values.zeroize();
        embedding
    }

    /// The numbers, to be sealed. Never log them, never store them in the clear.
    pub fn values(&self) -> &[f32; LENGTH] {
        &self.0
    }

    /// Cosine similarity, -1..=1. SFace: 0.5 and more is the same person, strangers stay below 0.42.
    pub fn cosine(&self, other: &Self) -> f32 {
        self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum()
    }

    /// The direction between all of them; `None` for none, or when they cancel out.
    pub(crate) fn mean<'a>(embeddings: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut sum = [0.0; LENGTH];
        for embedding in embeddings {
            sum.iter_mut().zip(&embedding.0).for_each(|(s, v)| *s += v);
        }
        let mean = Self::new(sum);
        sum.zeroize();
        mean
    }
}

/// Turns a face into an [`Embedding`]. For one thread.
pub trait Recognizer: Send {
    /// The face of `frame` that a detector found, its landmarks in coded pixels.
    ///
    /// # Errors
    /// When it cannot be computed; the face must then be treated as unknown.
    fn embed(
        &mut self,
        frame: &Frame,
        orientation: Orientation,
        face: &Detection,
    ) -> Result<Embedding, Error>;
}

/// SFace (Zhong, Deng, Hu, Zhao, Li, Wen: "SFace: Sigmoid-Constrained Hypersphere Loss for Robust
/// Face Recognition", 2021).
pub struct FaceRecognizer {
    session: Session,
    input: Vec<f32>,
}

impl FaceRecognizer {
    pub(crate) fn new(session: Session) -> Self {
        Self { session, input: vec![0.0; 3 * SIDE * SIDE] }
    }
}

impl Recognizer for FaceRecognizer {
    fn embed(
        &mut self,
        frame: &Frame,
        orientation: Orientation,
        face: &Detection,
    ) -> Result<Embedding, Error> {
        picture::check(frame)?;
        align::crop(frame, orientation, &face.landmarks, &mut self.input)?;
        let outputs = run(&mut self.session, &self.input, SIDE, SIDE);
        self.input.zeroize();
        self.input.resize(3 * SIDE * SIDE, 0.0);
        let outputs = outputs?;
        let values = output(&outputs, "fc1")?;
        let values = values
            .try_into()
            .map_err(|_| Error::Engine(format!("SFace: {} numbers", values.len())))?;
        Embedding::new(values).ok_or_else(|| Error::Engine("SFace: no direction".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn along(axis: usize, value: f32) -> [f32; LENGTH] {
        let mut values = [0.0; LENGTH];
        values[axis] = value;
        values
    }

    #[test]
    fn has_length_one_whatever_it_was_made_of() {
        let a = Embedding::new(along(0, 20.0)).unwrap();
        let b = Embedding::new(along(0, 0.1)).unwrap();
        assert!((a.cosine(&b) - 1.0).abs() < 1e-6);
        assert!(Embedding::new(along(0, 0.0)).is_none());
        assert!(Embedding::new(along(0, f32::NAN)).is_none());
        assert!(Embedding::new(along(0, f32::INFINITY)).is_none());
    }

    #[test]
    fn mean_lies_between() {
        let (a, b) =
            (Embedding::new(along(0, 1.0)).unwrap(), Embedding::new(along(1, 1.0)).unwrap());
        let mean = Embedding::mean([&a, &b]).unwrap();
        assert!((mean.cosine(&a) - 0.5f32.sqrt()).abs() < 1e-6);
        assert!((mean.cosine(&a) - mean.cosine(&b)).abs() < 1e-6);
        assert!(Embedding::mean([]).is_none());
    }
}
