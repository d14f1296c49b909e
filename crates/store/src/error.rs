//! What can go wrong, split by what the caller can do about it.

use std::path::PathBuf;

use domain::{ChannelId, JobId, PersonId, VideoId};
use sqlx::migrate::MigrateError;

use crate::{ChannelState, Standing};

/// Errors of this library. None of them carries keys, pictures or templates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such thing.
    #[error("there is no {kind} {name:?}")]
    NotFound {
        /// What was asked for: "person", "collection".
        kind: &'static str,
        /// By what name or id.
        name: String,
    },
    /// Several people have this name, in different collections.
    #[error("{name:?} is in several collections; use an id: {}", ids(.found))]
    Ambiguous {
        /// The name.
        name: String,
        /// Everybody who has it.
        found: Vec<PersonId>,
    },
    /// The name is in use.
    #[error("{collection:?} has a person {name:?} already")]
    NameTaken {
        /// The collection.
        collection: String,
        /// The name.
        name: String,
    },
    /// A value is empty, too long, or makes no sense.
    #[error("{what} {why}")]
    Invalid {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The person does not agree to be seen, or not to this.
    #[error("{name} is not kept: {standing}")]
    NoConsent {
        /// The person.
        name: String,
        /// Why not.
        standing: Standing,
    },
    /// The job or channel is somebody else's by now, or over.
    #[error("the job or channel was taken over by another process, or is over")]
    Fenced,
    /// A part of an upload does not begin where the last one ended.
    #[error("the next part must begin at byte {expected}")]
    OutOfPlace {
        /// Where it must begin.
        expected: u64,
    },
    /// The user's space does not suffice.
    #[error("the quota of {quota} bytes does not suffice: {used} are used")]
    Quota {
        /// Bytes the user may have.
        quota: u64,
        /// Bytes the user has.
        used: u64,
    },
    /// The original was destroyed, or is not complete yet.
    #[error("video {0} has no original: it is still arriving, or was destroyed")]
    NoOriginal(VideoId),
    /// An original was replaced or destroyed while it was read: who asks again gets the new one, or is told so.
    #[error("the original of video {0} changed while it was read")]
    Moved(VideoId),
    /// Something was made of a video's original, by which that may have to be found again.
    #[error("video {0} was covered already, by plans that are good for its original as it is")]
    Covered(VideoId),
    /// Another job works on the video.
    #[error("job {job} works on video {video}: wait until it is over, or cancel it")]
    Busy {
        /// The video.
        video: VideoId,
        /// The job.
        job: JobId,
    },
    /// There are as many channels as there may be, and none of them is free.
    #[error("{in_use} of {limit} channels are in use: stop one")]
    ChannelLimit {
        /// Channels that there may be.
        limit: u32,
        /// Channels that are in use.
        in_use: u32,
    },
    /// The servers that are alive cannot run another channel.
    #[error(
        "the servers can run {capacity} channels, and run {in_use}: stop one, or add a server that runs live channels"
    )]
    NoCapacity {
        /// Channels that the servers can run.
        capacity: u32,
        /// Channels that are in use.
        in_use: u32,
    },
    /// A channel is in a state that does not allow this.
    #[error("channel {channel} is {}: try again when that is over", .state.name())]
    ChannelBusy {
        /// The channel.
        channel: ChannelId,
        /// Where it is.
        state: ChannelState,
    },
    /// The server's key is missing, malformed, or readable by others.
    #[error("the server's key {}: {why}", .path.as_ref().map_or("in GARIM_SERVER_KEY".into(), |p| p.display().to_string()))]
    Key {
        /// Its file, unless it came from the environment.
        path: Option<PathBuf>,
        /// What is wrong and what mends it.
        why: String,
    },
    /// The database belongs to another server key.
    #[error("the database was made with another server key: put that one back")]
    WrongKey,
    /// A backup cannot be made or restored: its key, the file, or where it should go.
    #[error("backup: {0}")]
    Backup(String),
    /// Something sealed was changed, or sealed for something else.
    #[error("{0} cannot be unsealed: it was changed, or belongs to something else")]
    Sealed(String),
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The database cannot be opened, or failed.
    #[error("database: {0}")]
    Database(#[source] sqlx::Error),
    /// The tables could not be made or brought up to date.
    #[error("database: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A row holds something that this version did not write.
    #[error("database: {0} is damaged")]
    Damaged(&'static str),
    /// An object of this name is there already.
    #[error("there is an object {0:?} already")]
    Exists(String),
    /// An object has more bytes than were asked for.
    #[error("{what} has more than {limit} bytes")]
    TooLarge {
        /// The object.
        what: String,
        /// The most that it may have.
        limit: u64,
    },
    /// There are no such bytes in an object.
    #[error("the object has {size} bytes: there are none where they were asked for")]
    Range {
        /// Bytes that it has.
        size: u64,
    },
    /// The storage or the database does not answer, or cannot just now: the same may succeed later. A change
    /// may have been made all the same, when the connection was lost before the answer.
    #[error("the storage cannot be reached: {why}")]
    Unavailable {
        /// What it said.
        why: String,
    },
    /// There is no space left to store something.
    #[error("{what} does not fit: the storage is full")]
    Full {
        /// What was to be stored.
        what: String,
    },
    /// The storage does not allow it.
    #[error("{what}: not allowed: {why}")]
    Denied {
        /// What was to be read or stored.
        what: String,
        /// Why not.
        why: String,
    },
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let what = || "a change of the database".to_owned();
        let why = format!("database: {error}");
        match fault(&error) {
            Fault::Passing => Self::Unavailable { why },
            Fault::Full => Self::Full { what: what() },
            Fault::ReadOnly => Self::Denied { what: what(), why },
            Fault::Lasting => Self::Database(error),
        }
    }
}

impl From<MigrateError> for Error {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(inner) | MigrateError::ExecuteMigration(inner, _)
                if !matches!(fault(&inner), Fault::Lasting) =>
            {
                inner.into()
            }
            other => Self::Migrate(other),
        }
    }
}

/// What can be done about an error of a database.
enum Fault {
    /// Try again.
    Passing,
    /// Make room.
    Full,
    /// Let it write.
    ReadOnly,
    /// Nothing: it is a mistake of ours, or the file is damaged.
    Lasting,
}

fn fault(error: &sqlx::Error) -> Fault {
    use sqlx::Error as Said;
    let error = match error {
        Said::Io(_) | Said::PoolTimedOut | Said::PoolClosed | Said::WorkerCrashed => {
            return Fault::Passing;
        }
        // What stands before a database that is away accepts connections and closes them: that is no answer either.
        Said::Protocol(_) | Said::Tls(_) => return Fault::Passing,
        Said::Database(error) => error,
        _ => return Fault::Lasting,
    };
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        // The lowest byte is the primary result code (sqlite.org/rescode.html).
        return match code.parse().unwrap_or(0) & 0xff {
            // BUSY, LOCKED, INTERRUPT, IOERR, CANTOPEN.
            5 | 6 | 9 | 10 | 14 => Fault::Passing,
            13 => Fault::Full,
            8 => Fault::ReadOnly,
            _ => Fault::Lasting,
        };
    }
    // PostgreSQL's documentation, appendix A: connection exceptions, insufficient resources, operator intervention,
    // rolled back for another's sake, lock not available, idle in a transaction, a standby that cannot write.
    match &*code {
        "53100" => Fault::Full,
        "55P03" | "25P03" | "25006" => Fault::Passing,
        code if ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class)) => {
            Fault::Passing
        }
        _ => Fault::Lasting,
    }
}

fn ids(found: &[PersonId]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
