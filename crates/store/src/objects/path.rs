//! Names of objects.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Longest name, in bytes. S3 allows 1024, of which a prefix takes some.
const MAX_LENGTH: usize = 512;
/// Longest segment, in bytes: a file's name has 255, of which an unfinished file takes some.
const MAX_SEGMENT: usize = 240;

/// The name of an object: segments with `/` between them, such as `vod/mina/v1.json`.
///
/// No segment is empty, `.` or `..`, holds control characters or a backslash, or ends in `#` and digits (so end
/// the names of unfinished files). So a name cannot lead out of the folder or bucket, whatever it was made of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectPath(String);

impl ObjectPath {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment of the name: what it is called in its folder.
    #[must_use]
    pub fn base(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The name with `/` and `rest` after it.
    ///
    /// # Errors
    /// [`Error::Invalid`] where that is no name.
    pub fn join(&self, rest: &str) -> Result<Self, Error> {
        format!("{}/{rest}", self.0).parse()
    }

    /// As the storage's client takes it.
    pub(super) fn key(&self) -> object_store::path::Path {
        // It accepts whatever this type does, and changes nothing; the root, which it would be otherwise, is a
        // name that no operation takes.
        object_store::path::Path::parse(&self.0).unwrap_or_default()
    }
}

impl FromStr for ObjectPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let why = if text.len() > MAX_LENGTH {
            Some("is longer than 512 bytes")
        } else {
            text.split('/').find_map(problem)
        };
        match why {
            Some(why) => Err(Error::Invalid { what: "the name of an object", why }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// What is wrong with a segment.
fn problem(segment: &str) -> Option<&'static str> {
    if segment.is_empty() {
        Some("has an empty part")
    } else if segment == "." || segment == ".." {
        Some("has a part . or ..")
    } else if segment.len() > MAX_SEGMENT {
        Some("has a part longer than 240 bytes")
    } else if segment.chars().any(|c| c.is_control() || c == '\\') {
        Some("holds control characters or a backslash")
    } else if is_unfinished(segment) {
        Some("has a part that ends in # and digits")
    } else {
        None
    }
}

/// Whether `object_store` names unfinished files so: the object's name, `#` and a number.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reaches_the_storage_as_it_is() {
        for name in
            ["a", "a/b.c/d-e_f", "가림/얼굴 1.mp4", "100%/a%2Fb", "a#/b", "#1a", "...", "a?b*c"]
        {
            assert_eq!(name.parse::<ObjectPath>().unwrap().key().as_ref(), name);
        }
        let long = vec!["x".repeat(MAX_SEGMENT); 2].join("/");
        assert!(long.parse::<ObjectPath>().is_ok());
    }

    #[test]
    fn a_name_that_could_lead_elsewhere_is_none() {
        let long = "x".repeat(MAX_SEGMENT + 1);
        let longer = vec!["x".repeat(170); 4].join("/");
        for name in [
            "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/..", "a\0b",
            "a\nb", "a\u{85}b", "a\\b", "..\\a", "a#1", "a#12/b", &long, &longer,
        ] {
            assert!(name.parse::<ObjectPath>().is_err(), "{name:?}");
        }
        assert!("a".parse::<ObjectPath>().unwrap().join("../b").is_err());
    }
}
