//! What outlives a process of Garim: people, their consent, sealed templates, the audit log.
//!
//! What belongs here: tables and the rules that must hold in one transaction (no template without
//! consent, no change without its entry in the log), and the sealing of what is secret.
//! What never does: pictures being decoded, faces being compared, HTTP, command lines, or a secret that leaves
//! in the clear except to be used ([`Template`]).

mod audit;
mod consent;
mod db;
mod error;
mod idempotency;
mod key;
mod keys;
mod people;
mod users;

pub use audit::{Action, Chain, Entry};
pub use consent::{Consent, NewConsent, Scope, Standing};
pub use db::Store;
pub use error::Error;
pub use idempotency::Before;
pub use key::KeySource;
pub use keys::{ApiKey, KeyScope, NewKey, Secret};
pub use people::{Face, NewPerson, NewPhoto, Person, Template};
pub use users::{User, check_user_name};
