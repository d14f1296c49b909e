//! Why a playlist refuses what it is given.

use super::Duration90k;

/// Why a playlist did not take what it was given. It is as it was before, except that old segments
/// may have left to make room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaylistError {
    /// The settings cannot be kept.
    #[error("the settings of a playlist are out of range: it needs {0}")]
    Settings(&'static str),
    /// A text for a playlist would break its line.
    #[error("{0:?} cannot stand in a playlist: quotes and control characters are not allowed")]
    Text(String),
    /// The playlist has ended.
    #[error("the playlist has ended: begin a new session")]
    Ended,
    /// There is no initialisation section yet.
    #[error("part {name} came before an initialisation section: send that first")]
    NoInit {
        /// The name it would have.
        name: String,
    },
    /// A part or an initialisation section has no bytes.
    #[error("{name} is empty")]
    Empty {
        /// The name it would have.
        name: String,
    },
    /// A part has no duration, or is longer than the part target.
    #[error("{name} lasts {duration} s: more than 0 and at most the part target of {target} s")]
    PartDuration {
        /// The name it would have.
        name: String,
        /// How long it is.
        duration: Duration90k,
        /// The part target.
        target: Duration90k,
    },
    /// The part before it is too short to be inside a segment.
    #[error(
        "{name} must start a segment: the part before it lasts {before} s, \
         below 85 % of the part target of {target} s"
    )]
    ShortPart {
        /// The name it would have.
        name: String,
        /// How long the part before it is.
        before: Duration90k,
        /// The part target.
        target: Duration90k,
    },
    /// The segment before it is complete, or there is none.
    #[error("{name} must start a segment: none is open")]
    NoSegment {
        /// The name it would have.
        name: String,
    },
    /// With it the segment would be longer than the segment target.
    #[error("{name} would make its segment longer than the target of {target} s: start a segment")]
    SegmentDuration {
        /// The name it would have.
        name: String,
        /// The segment target.
        target: Duration90k,
    },
    /// It starts a segment, but not with a picture that can be decoded alone.
    #[error("{name} starts a segment and is not independent: begin it with a key frame")]
    NotIndependent {
        /// The name it would have.
        name: String,
    },
    /// It does not fit into the memory of the playlist.
    #[error("{name} of {bytes} bytes does not fit into {max} bytes: lower the bit rate")]
    Full {
        /// The name it would have.
        name: String,
        /// How many bytes it has.
        bytes: usize,
        /// [`max_bytes`](super::Settings::max_bytes).
        max: usize,
    },
}
