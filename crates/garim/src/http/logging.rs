//! Logs: one line a request, with an id that the client is told.
//!
//! No queries (they may be signed), no headers, no bodies, no keys.

use std::time::Instant;

use anyhow::{Result, anyhow};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument, debug, field, info, info_span};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Log;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken from a client, in bytes.
const MAX_ID: usize = 64;
/// Longest path that is logged, in bytes.
const MAX_PATH: usize = 200;
/// Longest part of a path that is: those of live sessions may hold a signature.
const MAX_PART: usize = 63;
/// These print headers, frames or statements when they are asked for details.
const QUIET: [&str; 5] = ["h2", "hyper", "hyper_util", "rustls", "sqlx"];

/// Starts logging to stderr, for the whole process.
pub fn init(log: &Log) -> Result<()> {
    let quiet = QUIET.map(|module| (module, LevelFilter::INFO));
    let filtered = tracing_subscriber::registry().with(log.filter.clone().with_targets(quiet));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = if log.json {
        filtered.with(lines.json().flatten_event(true).with_span_list(false)).try_init()
    } else {
        use std::io::IsTerminal;
        let colours = std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal();
        filtered.with(lines.with_ansi(colours)).try_init()
    };
    started.map_err(|error| anyhow!("logging: {error}"))
}

/// Gives the request an id and logs how it ended.
pub async fn request(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_sane(id.as_bytes())).cloned();
    let id = given.unwrap_or_else(new_id);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let path = shown(request.uri().path(), route);
    let is_live = route.starts_with("/live/");
    let span = info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = %request.method(),
        path,
        key = field::Empty,
    );
    let start = Instant::now();
    async {
        let mut response = next.run(request).await;
        let millis = start.elapsed().as_millis() as u64;
        let status = response.status().as_u16();
        // Each viewer of a live session asks several times a second.
        if is_live && status < 400 {
            debug!(status, millis, "answered");
        } else {
            info!(status, millis, "answered");
        }
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }
    .instrument(span)
    .await
}

fn is_sane(id: &[u8]) -> bool {
    (1..=MAX_ID).contains(&id.len())
        && id.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

fn new_id() -> HeaderValue {
    let id = uuid::Uuid::now_v7().simple().to_string();
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
}

/// The path; its template where it holds what no path of ours holds, such as a key in the wrong place.
fn shown<'a>(path: &'a str, route: &'a str) -> &'a str {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    let short = path.len() <= MAX_PATH && path.split('/').all(|part| part.len() <= MAX_PART);
    if short && path.bytes().all(plain) && !path.contains("garim_") { path } else { route }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sane_ids_are_taken() {
        assert!(is_sane(b"a-B_9.z") && is_sane(&[b'a'; 64]));
        for bad in [&b""[..], &[b'a'; 65], b"a b", b"a\"b", "ä".as_bytes()] {
            assert!(!is_sane(bad), "{bad:?}");
        }
        assert!(is_sane(new_id().as_bytes()));
    }

    #[test]
    fn a_key_in_a_path_is_not_shown() {
        assert_eq!(shown("/v1/users/mina", "/v1/users/{user}"), "/v1/users/mina");
        assert_eq!(shown("/v1/keys/garim_abc", "/v1/keys/{id}"), "/v1/keys/{id}");
        assert_eq!(shown("/v1/keys/%67arim", "none"), "none");
        let signed = format!("/live/0198/1790000000.{:064}/media.m3u8", 0);
        assert_eq!(shown(&signed, "/live/{session}/{*path}"), "/live/{session}/{*path}");
    }
}
