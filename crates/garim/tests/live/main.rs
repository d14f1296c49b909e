//! Broadcasts of real publishers, by the clock of the wall.
//!
//! One program and not one a file: each would have to be linked to all that it uses.

#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

mod broadcast;
mod faults;
mod ingest;
mod original;
mod publishers;
#[path = "../support/mod.rs"]
mod support;
mod two_servers;
