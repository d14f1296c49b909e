//! The server and its workers: uploads, jobs, people, events, recordings; what goes wrong around them.
//!
//! One program and not one a file: each would have to be linked to all that it uses.

#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

mod api_convert;
mod api_events;
mod api_faults;
mod api_live;
mod api_outages;
mod api_people;
mod api_search;
mod chaos;
mod parts;
mod recording;
mod serve;
#[path = "../support/mod.rs"]
mod support;
mod videos;
