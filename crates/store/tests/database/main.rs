//! What the store keeps in its database: each rule on SQLite, and on PostgreSQL where there is one.
//!
//! One program and not one a file: each would have to be linked to all that it uses.

#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

mod all_at_once;
mod backup;
mod channels;
mod clocks;
mod events;
mod jobs;
mod keys;
mod leftovers;
mod originals;
mod people;
mod received;
mod recordings;
mod split;
#[path = "../support/mod.rs"]
mod support;
mod versions;
mod videos;
mod webhooks;
