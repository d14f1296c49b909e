//! A detector and a recogniser that do what a test says, for tests of what is built on them.
//!
//! The closure may return an error, panic or block: that is how faults are injected.

use domain::{Detection, Finding, Frame, Orientation, SecondOpinion};

use crate::{Detector, Embedding, Error, Pass, Recognizer};

/// A [`Detector`] that calls a closure.
pub struct ScriptedDetector<F>(pub F);

impl<F> Detector for ScriptedDetector<F>
where
    F: FnMut(&Frame, Orientation, &[Pass]) -> Result<Finding, Error> + Send,
{
    fn find(
        &mut self,
        frame: &Frame,
        orientation: Orientation,
        passes: &[Pass],
    ) -> Result<Finding, Error> {
        (self.0)(frame, orientation, passes)
    }
}

/// A detector that finds `faces(seq)` in frame `seq`; its CenterFace always agrees.
pub fn detector(faces: impl Fn(u64) -> Vec<Detection> + Send) -> impl Detector {
    ScriptedDetector(move |frame: &Frame, _: Orientation, passes: &[Pass]| {
        let mut faces = faces(frame.seq);
        faces.sort_by(|a, b| b.score.total_cmp(&a.score));
        if passes.iter().any(Pass::asks_second) {
            faces.iter_mut().for_each(|face| face.second = SecondOpinion::Agrees);
        }
        Ok(Finding { faces, ..Finding::default() })
    })
}

/// A detector that fails on every frame.
pub fn failing_detector() -> impl Detector {
    ScriptedDetector(|_: &Frame, _: Orientation, _: &[Pass]| {
        Err(Error::Engine("scripted failure".to_owned()))
    })
}

/// A [`Recognizer`] that calls a closure.
pub struct ScriptedRecognizer<F>(pub F);

impl<F> Recognizer for ScriptedRecognizer<F>
where
    F: FnMut(&Frame, Orientation, &Detection) -> Result<Embedding, Error> + Send,
{
    fn embed(
        &mut self,
        frame: &Frame,
        orientation: Orientation,
        face: &Detection,
    ) -> Result<Embedding, Error> {
        (self.0)(frame, orientation, face)
    }
}

/// An embedding of an invented person: the same number gives the same one, two different numbers
/// (modulo 128) have similarity 0.
pub fn embedding(person: usize) -> Embedding {
    let mut values = [0.0; crate::embed::LENGTH];
    values[person % crate::embed::LENGTH] = 1.0;
    match Embedding::new(values) {
        Some(embedding) => embedding,
        None => unreachable!("a unit vector has a direction"),
    }
}
