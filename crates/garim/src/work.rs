//! What jobs are told to do: the JSON in their rows, and in requests.

use domain::{PersonId, SessionId};
use pipeline::Speed;
use redact::{EffectKind, Policy, Shape};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// People in one request, at most.
pub const MAX_PEOPLE: usize = 64;

/// How to cover a video. What is left out is as in `garim mosaic`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MosaicOptions {
    /// Show the people in this collection who agree to it. Without `collection` and `people`, everybody is covered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub collection: Option<String>,
    /// Show these people. Each must agree to it when this is asked for; who does not any more when it is done is
    /// covered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<uuid::Uuid>, max_items = 64)]
    pub people: Vec<PersonId>,
    /// What covers look like.
    #[serde(default)]
    pub effect: Effect,
    /// Mosaic cells on the short side; fewer hide more.
    #[serde(default = "default_cells")]
    #[schema(minimum = 3, maximum = 8)]
    pub cells: u8,
    /// How thoroughly faces are looked for.
    #[serde(default)]
    pub speed: Thoroughness,
    /// Least similarity to somebody who is shown (cosine).
    #[serde(default = "default_threshold")]
    #[schema(minimum = 0.45, maximum = 0.95)]
    pub keep_threshold: f32,
    /// x264 preset.
    #[serde(default)]
    pub preset: Preset,
    /// x264 constant rate factor; less is better and larger.
    #[serde(default = "default_crf")]
    #[schema(minimum = 0.0, maximum = 51.0)]
    pub crf: f32,
    /// Accept videos of more than 8 bits a sample; the result has 8.
    #[serde(default)]
    pub to_8bit: bool,
}

/// What covers look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Few, coarse cells.
    #[default]
    Mosaic,
    /// A strong blur.
    Blur,
    /// One colour: tells nothing at all.
    Fill,
}

/// How thoroughly faces are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Thoroughness {
    /// In every second frame.
    Fast,
    /// In every frame.
    #[default]
    Balanced,
    /// With finer and second detectors often; doubtful finds are covered too.
    Thorough,
}

/// x264 presets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "x264's own names")]
pub enum Preset {
    Ultrafast,
    Superfast,
    #[default]
    Veryfast,
    Faster,
    Fast,
    Medium,
    Slow,
}

fn default_cells() -> u8 {
    8
}

fn default_threshold() -> f32 {
    0.5
}

fn default_crf() -> f32 {
    20.0
}

impl Default for MosaicOptions {
    fn default() -> Self {
        Self {
            collection: None,
            people: Vec::new(),
            effect: Effect::default(),
            cells: default_cells(),
            speed: Thoroughness::default(),
            keep_threshold: default_threshold(),
            preset: Preset::default(),
            crf: default_crf(),
            to_8bit: false,
        }
    }
}

/// Why options are refused: which field, and what is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field}: {why}")]
pub struct BadOption {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl MosaicOptions {
    /// # Errors
    /// A cover that is too weak, a number out of its range, too many people.
    pub fn check(&self) -> Result<(), BadOption> {
        let bad = |field, why: &str| Err(BadOption { field, why: why.to_owned() });
        if let Err(e) = Policy::new(self.effect.kind(), self.cells, Shape::default(), None) {
            return bad("cells", &e.to_string());
        }
        if !(0.45..=0.95).contains(&self.keep_threshold) {
            return bad("keep_threshold", "must lie between 0.45 and 0.95");
        }
        if !(0.0..=51.0).contains(&self.crf) {
            return bad("crf", "must lie between 0 and 51");
        }
        if self.people.len() > MAX_PEOPLE {
            return bad("people", "are more than 64");
        }
        Ok(())
    }
}

/// The collection that people are in, and whose people are shown, where nobody names one.
pub fn default_collection() -> String {
    "default".to_owned()
}

/// How to render a plan that a person has edited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenderWork {
    /// The object that holds the plan.
    pub plan: String,
    /// Who is shown in tracks that are kept by hand.
    pub people: Vec<PersonId>,
    /// The version it was edited from: the result is made the same way.
    pub version: i64,
}

/// How to cover again what shows somebody who does not agree any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecoverWork {
    /// The version that showed them.
    pub version: i64,
}

/// What is to be published of a live session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingWork {
    /// The session.
    pub session: SessionId,
    /// Why its recording ended before it did.
    pub broken: Option<String>,
}

/// What becomes of what a live session received.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OriginalWork {
    /// The session.
    pub session: SessionId,
    /// The collection whose people may be seen when the recording is covered once more.
    pub collection: Option<String>,
}

/// Which faces to look for in a video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchWork {
    /// The collection whose people are compared with; none: faces are only found.
    pub collection: Option<String>,
    /// Least similarity of a match, 0 to 100.
    pub threshold: f32,
    /// Milliseconds between samples, at most 500; 0: every frame.
    pub every_ms: u32,
}

impl Default for SearchWork {
    fn default() -> Self {
        Self { collection: None, threshold: default_similarity(), every_ms: default_every_ms() }
    }
}

/// Least similarity of a match where nobody says, 0 to 100.
pub fn default_similarity() -> f32 {
    80.0
}

/// Milliseconds between samples where nobody says.
pub fn default_every_ms() -> u32 {
    500
}

impl Effect {
    /// What paints it.
    pub fn kind(self) -> EffectKind {
        match self {
            Self::Mosaic => EffectKind::Mosaic,
            Self::Blur => EffectKind::Blur,
            Self::Fill => EffectKind::Fill,
        }
    }
}

impl From<Thoroughness> for Speed {
    fn from(speed: Thoroughness) -> Self {
        match speed {
            Thoroughness::Fast => Self::Fast,
            Thoroughness::Balanced => Self::Balanced,
            Thoroughness::Thorough => Self::Thorough,
        }
    }
}

impl Preset {
    /// As x264 calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ultrafast => "ultrafast",
            Self::Superfast => "superfast",
            Self::Veryfast => "veryfast",
            Self::Faster => "faster",
            Self::Fast => "fast",
            Self::Medium => "medium",
            Self::Slow => "slow",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_on_the_command_line_and_covers_everybody() {
        let options: MosaicOptions = serde_json::from_str("{}").unwrap();
        assert_eq!(options, MosaicOptions::default());
        assert!(options.check().is_ok());
        assert!(options.people.is_empty() && options.collection.is_none());
    }

    #[test]
    fn weak_covers_typing_errors_and_numbers_out_of_range_are_refused() {
        for (text, field) in [
            (r#"{"cells": 9}"#, "cells"),
            (r#"{"cells": 2}"#, "cells"),
            (r#"{"crf": 52}"#, "crf"),
            (r#"{"crf": -1}"#, "crf"),
            (r#"{"keep_threshold": 0.4}"#, "keep_threshold"),
        ] {
            let options: MosaicOptions = serde_json::from_str(text).unwrap();
            assert_eq!(options.check().unwrap_err().field, field, "{text}");
        }
        assert!(serde_json::from_str::<MosaicOptions>(r#"{"colection": "shop"}"#).is_err());
        assert!(serde_json::from_str::<MosaicOptions>(r#"{"effect": "none"}"#).is_err());
    }
}
