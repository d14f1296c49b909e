//! What a job reads: a file as it is, or a sealed original, which is decrypted in memory only.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use media::{Bytes, MediaError};
use sealed::Sealed;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::JobError;
use crate::job::hex;

/// A file to read. Opened anew for every pass over it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Where it is; for videos also an HLS playlist, or a folder holding one, if it is not sealed.
    pub path: PathBuf,
    /// Set: what lies at `path` is sealed. Its plaintext is never written anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
}

impl From<&Path> for Input {
    fn from(path: &Path) -> Self {
        Self { path: path.to_owned(), sealed: None }
    }
}

impl Input {
    /// For [`media`].
    ///
    /// # Errors
    /// A sealed original that is missing, changed or cut off.
    pub fn open(&self) -> Result<media::Input<'_>, JobError> {
        match &self.sealed {
            None => Ok(media::Input::Path(&self.path)),
            Some(_) => {
                let bytes = self.bytes().map_err(|e| self.unreadable(&e))?;
                Ok(media::Input::Bytes { name: self.path.clone(), bytes })
            }
        }
    }

    /// What is in it, decrypted where it is sealed.
    pub(crate) fn bytes(&self) -> Result<Box<dyn Bytes>, sealed::Error> {
        let file = File::open(&self.path)?;
        Ok(match &self.sealed {
            None => Box::new(file),
            Some(of) => Box::new(sealed::Reader::new(file, of)?),
        })
    }

    /// SHA-256 of its content (not of its ciphertext) in hexadecimal; of a playlist's text, not of its segments;
    /// empty for a folder.
    pub(crate) fn sha256(&self) -> Result<String, JobError> {
        if self.sealed.is_none() && self.path.is_dir() {
            return Ok(String::new());
        }
        let mut bytes = self.bytes().map_err(|e| self.unreadable(&e))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match bytes.read(&mut buffer) {
                Ok(0) => return Ok(hex(hasher)),
                Ok(count) => hasher.update(&buffer[..count]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.unreadable(&e)),
            }
        }
    }

    /// A playlist's hash says nothing about its segments, so no plan can say that they are the same.
    ///
    /// # Errors
    /// It is a playlist or a folder.
    pub(crate) fn refuse_playlist(&self) -> Result<(), JobError> {
        let path = &self.path;
        let playlist = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("m3u8"));
        if self.sealed.is_none() && (playlist || path.is_dir()) {
            return Err(MediaError::Input {
                path: path.clone(),
                why: "is a playlist, and a plan is good for one file only; make it one with \
                      `garim convert IN -o OUT.mp4` and go on with that"
                    .to_owned(),
            }
            .into());
        }
        Ok(())
    }

    /// A contact sheet is a file, and shows what is sealed.
    ///
    /// # Errors
    /// It is sealed.
    pub(crate) fn refuse_sheet(&self) -> Result<(), JobError> {
        match self.sealed {
            Some(_) => Err(JobError::SheetOfSealed(self.path.clone())),
            None => Ok(()),
        }
    }

    pub(crate) fn unreadable(&self, error: &dyn std::error::Error) -> JobError {
        MediaError::Input { path: self.path.clone(), why: error.to_string() }.into()
    }
}

/// SHA-256 of a file that is not sealed, as [`Input::sha256`].
pub(crate) fn sha256(path: &Path) -> Result<String, JobError> {
    Input::from(path).sha256()
}
