//! Objects of the store, in a folder and in a bucket.

#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

mod both;
mod folder;
mod s3;
#[path = "../servers/mod.rs"]
mod servers;
