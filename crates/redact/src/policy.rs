//! How a face is covered, and how weak a cover may be.
//!
//! The limits are measurements, not taste. The attacker aligns a few dozen frames of a moving face,
//! solves for the face under the mosaic by regularised least squares and gives the result to a face
//! recogniser. A plain mosaic of 8 cells is undone by that; the one painted here (8 cells over the
//! padded box, blurred by one cell before, 4 bits per channel after) was not. The blur and the
//! bits are therefore no settings. `crates/pipeline/tests/strength` repeats the attack.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The kinds of cover there are to choose from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum EffectKind {
    /// A few large cells of blurred and coarsened colour.
    #[default]
    Mosaic,
    /// A wide Gaussian blur.
    Blur,
    /// One grey: the strongest.
    Fill,
}

/// The outline of a cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Shape {
    /// A box whose corners are rounded by .35 of its short side.
    #[default]
    Rounded,
    /// A box with square corners.
    Box,
}

/// A kind of cover with its strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// A mosaic.
    Mosaic {
        /// Cells along the short side of the padded box, 3..=8. Fewer is stronger.
        cells: u8,
    },
    /// A Gaussian blur with a standard deviation of more than a quarter of the face.
    Blur,
    /// One grey.
    Fill,
}

/// How faces are covered: an effect, an outline and a padding that are strong enough.
/// The default is a mosaic of 8 cells in a rounded box padded by .25.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Policy {
    #[serde(flatten)]
    effect: Effect,
    shape: Shape,
    pad: f32,
}

/// Why a policy was refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// Finer than what withstood the attack.
    #[error(
        "--cells {0}: at most {max}: with more cells over a face, the frames of a moving face \
         together give it back (48 frames gave back every face under a plain mosaic of 12); use --cells {max} or fewer",
        max = Policy::MAX_CELLS
    )]
    TooManyCells(u8),
    /// So coarse that it is a bad fill.
    #[error(
        "--cells {0}: at least {min}; use --effect fill for a stronger cover than --cells {min}",
        min = Policy::MIN_CELLS
    )]
    TooFewCells(u8),
    /// Jaw and hair would stay visible.
    #[error(
        "--pad {0}: at least {min} of the face on every side: what shows of jaw and hair beside a \
         narrower cover is enough to recognise people; leave --pad out or use {min} to {max}",
        min = Policy::MIN_PAD, max = Policy::MAX_PAD
    )]
    PadTooSmall(f32),
    /// Surely a mistake (a percentage?).
    #[error(
        "--pad {0}: at most {max}: it is a share of the face on every side, .25 is a quarter; \
         leave --pad out or use {min} to {max}",
        min = Policy::MIN_PAD, max = Policy::MAX_PAD
    )]
    PadTooLarge(f32),
    /// NaN.
    #[error(
        "--pad: not a number; leave --pad out or use {min} to {max}",
        min = Policy::MIN_PAD, max = Policy::MAX_PAD
    )]
    PadNotANumber,
}

impl Policy {
    /// Most cells along the short side of the padded box.
    pub const MAX_CELLS: u8 = 8;
    /// Fewest cells along the short side of the padded box.
    pub const MIN_CELLS: u8 = 3;
    /// Least padding per side, as a share of the face.
    pub const MIN_PAD: f32 = 0.2;
    /// Largest padding per side, as a share of the face.
    pub const MAX_PAD: f32 = 1.0;

    /// `cells` counts along the short side of the padded box and is checked for every effect, also
    /// those that do not use it. `pad` is a share of the face's width (left, right) and height (top,
    /// bottom); `None` is .25 for mosaic and blur, .35 for fill.
    ///
    /// # Errors
    /// What is weaker than measured safe, with the reason.
    pub fn new(
        effect: EffectKind,
        cells: u8,
        shape: Shape,
        pad: Option<f32>,
    ) -> Result<Self, PolicyError> {
        if cells > Self::MAX_CELLS {
            return Err(PolicyError::TooManyCells(cells));
        }
        if cells < Self::MIN_CELLS {
            return Err(PolicyError::TooFewCells(cells));
        }
        let pad = pad.unwrap_or(if effect == EffectKind::Fill { 0.35 } else { 0.25 });
        if pad.is_nan() {
            return Err(PolicyError::PadNotANumber);
        }
        if pad < Self::MIN_PAD {
            return Err(PolicyError::PadTooSmall(pad));
        }
        if pad > Self::MAX_PAD {
            return Err(PolicyError::PadTooLarge(pad));
        }
        let effect = match effect {
            EffectKind::Mosaic => Effect::Mosaic { cells },
            EffectKind::Blur => Effect::Blur,
            EffectKind::Fill => Effect::Fill,
        };
        Ok(Self { effect, shape, pad })
    }

    /// What covers.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// The outline.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Padding per side as a share of the face, `MIN_PAD..=MAX_PAD`.
    pub fn pad(&self) -> f32 {
        self.pad
    }
}

impl Default for Policy {
    fn default() -> Self {
        let effect = Effect::Mosaic { cells: Self::MAX_CELLS };
        Self { effect, shape: Shape::Rounded, pad: 0.25 }
    }
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mosaic => "mosaic",
            Self::Blur => "blur",
            Self::Fill => "fill",
        })
    }
}

impl FromStr for EffectKind {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        [Self::Mosaic, Self::Blur, Self::Fill]
            .into_iter()
            .find(|kind| kind.to_string() == s)
            .ok_or_else(|| format!("{s:?} is no effect; use mosaic, blur or fill"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mosaic(cells: u8, pad: Option<f32>) -> Result<Policy, PolicyError> {
        Policy::new(EffectKind::Mosaic, cells, Shape::Rounded, pad)
    }

    #[test]
    fn the_default_is_what_new_gives() {
        assert_eq!(mosaic(8, None), Ok(Policy::default()));
        let fill = Policy::new(EffectKind::Fill, 8, Shape::Box, None).unwrap();
        assert_eq!((fill.effect(), fill.pad()), (Effect::Fill, 0.35));
    }

    #[test]
    fn what_is_weaker_than_measured_is_refused_with_the_flag_and_the_reason() {
        let text = mosaic(12, None).unwrap_err().to_string();
        assert!(text.starts_with("--cells 12: ") && text.contains("moving face"), "{text}");
        assert_eq!(mosaic(9, None), Err(PolicyError::TooManyCells(9)));
        assert_eq!(mosaic(2, None), Err(PolicyError::TooFewCells(2)));
        let text = mosaic(8, Some(0.1)).unwrap_err().to_string();
        assert!(text.starts_with("--pad 0.1: ") && text.contains("jaw"), "{text}");
        assert_eq!(mosaic(8, Some(25.0)), Err(PolicyError::PadTooLarge(25.0)));
        assert_eq!(mosaic(8, Some(f32::NAN)), Err(PolicyError::PadNotANumber));
        assert_eq!(mosaic(8, Some(f32::INFINITY)), Err(PolicyError::PadTooLarge(f32::INFINITY)));
        assert_eq!(mosaic(8, Some(-f32::INFINITY)), Err(PolicyError::PadTooSmall(-f32::INFINITY)));
        for kind in [EffectKind::Blur, EffectKind::Fill] {
            assert!(Policy::new(kind, 8, Shape::Rounded, Some(0.19)).is_err());
        }
    }

    #[test]
    fn the_bounds_themselves_are_allowed() {
        for cells in Policy::MIN_CELLS..=Policy::MAX_CELLS {
            assert!(mosaic(cells, Some(Policy::MIN_PAD)).is_ok());
            assert!(mosaic(cells, Some(Policy::MAX_PAD)).is_ok());
        }
    }

    #[test]
    fn effects_are_read_as_they_are_printed() {
        assert_eq!("blur".parse(), Ok(EffectKind::Blur));
        assert!("ellipse".parse::<EffectKind>().unwrap_err().contains("mosaic, blur or fill"));
    }
}
