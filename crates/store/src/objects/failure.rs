//! What the storage says, as errors of this library.

use std::fmt::Display;
use std::io::{self, ErrorKind};

use crate::Error;

/// Longest explanation that is kept of a server's, in characters.
const MAX_WHY: usize = 200;

/// What a storage's client said about `what`.
pub(super) fn of_store(what: &(impl Display + ?Sized), error: object_store::Error) -> Error {
    use object_store::Error as Said;
    match error {
        Said::NotFound { .. } => not_found(what),
        // S3 answers 412 where the object is, but 409 where something else was done to it at the same time,
        // a deletion for example: then there may be none. The client turns both into this.
        Said::AlreadyExists { source, .. } if is_conflict(&*source) => {
            Error::Unavailable { why: format!("{what} is being changed by another") }
        }
        Said::AlreadyExists { .. } => Error::Exists(what.to_string()),
        Said::PermissionDenied { .. } | Said::Unauthenticated { .. } => denied(what),
        Said::Generic { store: "LocalFileSystem", source } => match io_error(&*source) {
            Some(error) => of_io(what, error),
            None => Error::Unavailable { why: explained(&*source) },
        },
        other => {
            let why = explained(&other);
            // Where the client does not tell failures of a server apart, it says the status in words only.
            match why
                .split_once("status code: ")
                .map(|(_, status)| status.get(..3).unwrap_or_default())
            {
                Some("404") => not_found(what),
                Some("401" | "403") => denied(what),
                // A server of one's own whose disk is full.
                Some("507") => Error::Full { what: what.to_string() },
                _ => Error::Unavailable { why },
            }
        }
    }
}

/// What the operating system said about `what`.
pub(super) fn of_io(what: &(impl Display + ?Sized), error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => not_found(what),
        ErrorKind::AlreadyExists => Error::Exists(what.to_string()),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Error::Full { what: what.to_string() }
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Error::Denied { what: what.to_string(), why: error.to_string() }
        }
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => Error::Invalid {
            what: "the name of an object",
            why: "has a folder where another has an object",
        },
        ErrorKind::InvalidFilename => {
            Error::Invalid { what: "the name of an object", why: "is no name for a file here" }
        }
        _ => Error::Io { path: what.to_string().into(), source: error },
    }
}

fn not_found(what: &(impl Display + ?Sized)) -> Error {
    Error::NotFound { kind: "object", name: what.to_string() }
}

fn denied(what: &(impl Display + ?Sized)) -> Error {
    Error::Denied { what: what.to_string(), why: "the storage refuses the key".into() }
}

fn is_conflict(source: &(dyn std::error::Error + 'static)) -> bool {
    !source.is::<object_store::Error>() && !source.is::<io::Error>()
}

/// The operating system's error among the causes, which are only lent: so a copy of it.
fn io_error(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(
                io.raw_os_error().map_or_else(|| io.kind().into(), io::Error::from_raw_os_error),
            );
        }
        cause = error.source();
    }
    None
}

/// The innermost cause in a line, without a document that a server sent with it.
fn explained(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let text = innermost.to_string();
    let line = text.split(['<', '{', '\n']).next().unwrap_or_default();
    line.trim_end_matches([' ', ':']).chars().filter(|c| !c.is_control()).take(MAX_WHY).collect()
}
