//! The servers of `scripts/test-servers.py`, for tests. Every test has a database, or a folder in the bucket, of its
//! own.
//!
//! Where the servers are not there, a test says so and does nothing; where GARIM_TEST_REQUIRED is set, as
//! `cargo xtask ci` does, it fails instead, so that no check is left out silently.

#![allow(dead_code)] // Not every test that has this module needs every server.
#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

use std::time::Duration;

use sqlx::{AnyPool, Executor};
use store::S3Config;
use url::Url;
use uuid::Uuid;

/// The URL of a new, empty PostgreSQL database.
pub async fn postgres() -> Option<String> {
    sqlx::any::install_default_drivers();
    let mut url = server("GARIM_TEST_POSTGRES")?;
    let name = format!("test_{}", Uuid::now_v7().simple());
    let pool = AnyPool::connect(url.as_str()).await.unwrap();
    let create = format!("CREATE DATABASE {name}");
    pool.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
    pool.close().await;
    url.set_path(&name);
    Some(url.into())
}

/// A new, empty folder in a bucket.
pub fn s3() -> Option<S3Config> {
    let url = server("GARIM_TEST_S3")?;
    let endpoint = format!("http://{}:{}", url.host_str().unwrap(), url.port().unwrap());
    Some(S3Config {
        bucket: url.path().trim_matches('/').to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint),
        access_key: url.username().to_owned().into(),
        secret_key: url.password().unwrap().to_owned().into(),
        allow_http: true,
        prefix: Some(format!("tests/{}", Uuid::now_v7().simple()).parse().unwrap()),
        give_up_after: Duration::from_secs(30),
    })
}

/// What a test needs and this machine has not: says so, or fails where nothing may be left out.
pub fn missing(what: &str) {
    assert!(
        std::env::var_os("GARIM_TEST_REQUIRED").is_none(),
        "{what}, and GARIM_TEST_REQUIRED is set"
    );
    eprintln!("SKIPPED: {what}");
}

fn server(variable: &str) -> Option<Url> {
    match std::env::var(variable) {
        Ok(url) => Some(url.parse().unwrap()),
        Err(_) => {
            missing(&format!("{variable} is not set: run this under `cargo xtask servers`"));
            None
        }
    }
}
