//! What outlives a process of Garim: people, their consent, sealed templates, the audit log, objects.
//!
//! What belongs here: tables and the rules that must hold in one transaction (no template without
//! consent, no change without its entry in the log), and the sealing of what is secret.
//! What never does: pictures being decoded, faces being compared, HTTP, command lines, or a secret that leaves
//! in the clear except to be used ([`Template`]).

mod audit;
mod consent;
mod db;
mod error;
mod key;
mod objects;
mod people;

pub use audit::{Action, Chain, Entry};
pub use consent::{Consent, NewConsent, Scope, Standing};
pub use db::Store;
pub use error::Error;
pub use key::KeySource;
pub use objects::{Contents, Object, ObjectPath, Objects, Place, S3Config};
pub use people::{Face, NewPerson, NewPhoto, Person, Template};
