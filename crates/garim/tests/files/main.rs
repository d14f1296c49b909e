//! The command line on files, as a user has it.
//!
//! One program and not one a file: each would have to be linked to all that it uses.

#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

mod backup;
mod bad_input;
mod cli;
mod covers;
mod faults;
mod formats;
mod found;
mod keep;
mod outputs;
mod people;
mod photos;
mod plans;
mod poster;
mod recover;
mod sealed;
mod smart;
#[path = "../support/mod.rs"]
mod support;
mod timing;
mod verify;
