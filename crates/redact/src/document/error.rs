//! Why a plan was refused.

use super::{FORMAT, MAX_BYTES, VERSION};

/// A document that no plan is made of. Whoever read the file puts its name before the message.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// It does not call itself one.
    #[error(
        "is not a plan (its `format` is not {FORMAT:?}); make one with `garim analyze IN -o PLAN`"
    )]
    NotAPlan,
    /// Its fields may mean something else.
    #[error(
        "is a plan of version {0}, and this Garim reads version {VERSION}; analyse the input again \
         with `garim analyze IN -o PLAN`, or use the Garim that wrote it"
    )]
    Version(u64),
    /// Larger than any plan that Garim writes of hours of video.
    #[error("is larger than {} MiB; split the input and analyse the parts", MAX_BYTES >> 20)]
    TooLarge,
    /// Not JSON, or not the fields of a plan.
    #[error(
        "{}{why}; mend it there, or analyse again with `garim analyze IN -o PLAN`",
        if place == "." { String::new() } else { format!("at {place}: ") }
    )]
    Malformed {
        /// Path of the field, `.` for the whole.
        place: String,
        /// What is wrong, with line and column.
        why: String,
    },
    /// Fields that contradict each other or make no sense.
    #[error("at {place}: {why}; mend it there, or analyse again with `garim analyze IN -o PLAN`")]
    Invalid {
        /// Path of the field.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// The file changed, or is another one.
    #[error(
        "was made of another input{}: the SHA-256 is not the same; render the file it was made of, \
         or analyse this one with `garim analyze IN -o PLAN`",
        name.as_ref().map_or(String::new(), |name| format!(" ({name})"))
    )]
    OtherInput {
        /// Name of the input it was made of.
        name: Option<String>,
    },
    /// The video at hand is not the one that was published.
    #[error(
        "is to be carried over to a published video, and this is another one (the SHA-256 is not the \
         recorded one); render the file that was published, or cover everybody in this one anew"
    )]
    NotPublished,
}
