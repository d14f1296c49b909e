//! Finds faces in frames, follows them over time, and recognises the people who were enrolled.
//!
//! What belongs here: the model files and ONNX Runtime (nothing else in Garim uses it), making
//! network input from frames, reading network output, merging boxes, tracks, cuts, and deciding
//! whether a face is an enrolled person's. What never does: decoding or painting pixels, what a
//! cover looks like, storage, threads, FFmpeg. An error here means "cover the whole frame", never
//! "no faces".
//!
//! ```no_run
//! # fn main() -> Result<(), vision::Error> {
//! let engine = vision::Engine::load(&vision::models::locate()?)?;
//! let mut detector = engine.detector()?; // one per thread
//! # Ok(())
//! # }
//! ```

mod align;
pub mod cuts;
pub mod detect;
pub mod embed;
mod engine;
mod error;
mod fetch;
pub mod gallery;
pub mod identify;
pub mod likeness;
pub mod models;
mod onnx;
mod picture;
pub mod quality;
pub mod scripted;
pub mod thumbnail;
pub mod track;

pub use detect::{Detector, DetectorModel, FaceDetector, Pass, Suspects};
pub use embed::{Embedding, FaceRecognizer, Recognizer};
pub use engine::{Engine, forbid_telemetry};
pub use error::Error;
pub use fetch::fetch;
pub use gallery::Gallery;
