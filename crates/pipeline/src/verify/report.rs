//! What a verification found, for people and for programs. Holds times, boxes and similarities;
//! never pictures or templates.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::FileHash;

/// Version of the report's form; rises when a field changes its meaning or goes.
pub const VERIFY_REPORT_VERSION: u32 = 1;

/// What a verification found. Times are in seconds of the original, boxes in its coded pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Version of this form.
    pub verify_version: u32,
    /// Garim's version.
    pub garim: String,
    /// The file before it was covered.
    pub original: FileHash,
    /// The file that was verified.
    pub output: FileHash,
    /// Whether nothing was found that must not be: no leak, no failure.
    pub verified: bool,
    /// Frames compared.
    pub frames: VerifiedFrames,
    /// Faces of the original, each counted once per frame.
    pub faces: FaceCounts,
    /// Faces that can be seen and must not be.
    pub leaks: Vec<Spot>,
    /// What may be one; a person should look.
    pub suspects: Vec<Spot>,
    /// Leaks and suspects beyond those listed.
    pub unlisted: (u64, u64),
    /// Sound.
    pub sound: Sound,
    /// What else is not as it must be.
    pub failures: Vec<Failure>,
    /// What to know.
    pub notes: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Frames by what was found of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VerifiedFrames {
    /// In the original.
    pub original: u64,
    /// In the output.
    pub output: u64,
    /// Compared with each other.
    pub compared: u64,
    /// The same in every pixel.
    pub exact: u64,
    /// Of groups of pictures whose packets are the same in both files; all of these must be exact.
    pub copied: u64,
    /// Groups of pictures copied.
    pub copied_groups: u64,
}

/// Faces by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaceCounts {
    /// Faces found in the original.
    pub looked_at: u64,
    /// Of these, covered.
    pub covered: u64,
    /// Visible, and confirmed to be kept people.
    pub kept: u64,
    /// Visible, because a person decided so in the plan.
    pub by_hand: u64,
    /// Visible, and none of these: leaks and suspects.
    pub visible: u64,
    /// Not looked at, because a frame held too many.
    pub overlooked: u64,
}

/// Why a face should not be as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its detail is visible.
    Detail,
    /// Its detail is not visible, but the recogniser matches it with the original.
    Recognised,
    /// It is visible, and was not confirmed to be a person to keep.
    NotKept,
}

/// A face at one place for some time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spot {
    /// First time.
    pub from: f64,
    /// Last time.
    pub to: f64,
    /// Frames in which it was seen.
    pub frames: u64,
    /// When most of it was seen; what follows is of this moment.
    pub at: f64,
    /// The frame of the original and of the output, from 0.
    pub frame: (u64, u64),
    /// Left, top, right, bottom.
    #[serde(rename = "box")]
    pub rect: [f32; 4],
    /// Share of its detail that is left.
    pub detail_left: f32,
    /// How alike the recogniser found original and output, where that is the reason.
    pub similarity: Option<f32>,
    /// Best similarity of the original to a kept person, where it was compared.
    pub kept_similarity: Option<f32>,
    /// Who found the face, in frames.
    pub found: FoundBy,
    /// Why it is listed.
    pub why: Why,
}

/// In how many frames a face was found by whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundBy {
    /// By both detectors.
    pub both: u64,
    /// By YuNet only.
    pub yunet: u64,
    /// By CenterFace only.
    pub centerface: u64,
    /// By one or both, but not clearly.
    pub doubtful: u64,
}

/// What became of the sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sound {
    /// There is none, as in the original.
    None,
    /// Every packet and every time stamp is the same.
    Identical,
    /// Another codec, because MP4 cannot carry the original's.
    Reencoded,
    /// Not as it must be: see the failures.
    Wrong,
}

/// Something other than a face that is not as it must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind, for programs.
    pub kind: FailureKind,
    /// Where it begins, in seconds, where it has a place.
    pub at: Option<f64>,
    /// For people.
    pub message: String,
}

/// Kinds of [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The pictures have another size or are turned differently.
    Picture,
    /// Frames of the original are not in the output.
    FrameMissing,
    /// Frames of the output are not in the original.
    FrameAdded,
    /// Frames are shown at another time.
    FrameMoved,
    /// Frames whose packets were copied differ.
    FrameChanged,
    /// Sound is missing, added, or has another codec without need.
    Sound,
    /// Sound packets differ.
    SoundChanged,
    /// Sound comes at another time.
    SoundMoved,
    /// A frame held more faces than are looked at.
    TooManyFaces,
}

impl VerifyReport {
    /// As JSON, for people to read.
    ///
    /// # Errors
    /// Never in practice: there is nothing in it that JSON cannot hold.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, faces, .. } = self;
        let sound = match self.sound {
            Sound::None => "no sound",
            Sound::Identical => "sound identical",
            Sound::Reencoded => "sound re-encoded",
            Sound::Wrong => "sound differs",
        };
        let leaks = self.leaks.len() as u64 + self.unlisted.0;
        let suspects = self.suspects.len() as u64 + self.unlisted.1;
        write!(
            f,
            "{}; {} frames compared, {} faces looked at, {} of kept people, {suspects} suspects, \
             {sound}",
            match leaks {
                0 if !self.verified => "NOT VERIFIED".to_owned(),
                0 => "no visible face found".to_owned(),
                n => format!("{n} LEAK{}", if n == 1 { "" } else { "S" }),
            },
            frames.compared,
            faces.looked_at,
            faces.kept,
        )?;
        if faces.by_hand > 0 {
            write!(f, ", {} shown by hand", faces.by_hand)?;
        }
        if frames.copied > 0 {
            write!(f, ", {} copied frames", frames.copied)?;
        }
        for spot in &self.leaks {
            write!(f, "\n  LEAK {spot}")?;
        }
        for failure in &self.failures {
            write!(f, "\n  FAILED {}", failure.message)?;
        }
        for spot in &self.suspects {
            write!(f, "\n  suspect {spot}")?;
        }
        for note in &self.notes {
            write!(f, "\n  note: {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x0, y0, x1, y1] = self.rect.map(f32::round);
        write!(
            f,
            "{:.2}-{:.2} s, {} frame{}, worst at {:.2} s in ({x0}, {y0})-({x1}, {y1}): ",
            self.from,
            self.to,
            self.frames,
            if self.frames == 1 { "" } else { "s" },
            self.at,
        )?;
        let left = self.detail_left * 100.0;
        match (self.why, self.similarity, self.kept_similarity) {
            (Why::Recognised, Some(similarity), _) => {
                write!(f, "still recognisable (similarity {similarity:.2})")
            }
            (Why::NotKept, _, Some(similarity)) => write!(
                f,
                "{left:.0} % of its detail is visible, and it is not a person to keep (similarity \
                 {similarity:.2})"
            ),
            _ => write!(f, "{left:.0} % of its detail is visible"),
        }
    }
}
