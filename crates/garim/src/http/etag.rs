//! ETags of JSON answers (RFC 9110, sections 8.8.3 and 13).
//!
//! The tag is a hash of the JSON: what a GET gave is what `If-Match` is compared with.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::problem::{Code, Problem};

/// Largest answer that gets one, in bytes. Lists are paged, so none is larger.
const MAX_ANSWER: usize = 16 << 20;

/// Adds the tag to what a GET gives, or gives nothing to who has it already.
pub async fn answer(request: Request, next: Next) -> Result<Response, Problem> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(next.run(request).await);
    }
    let known = request.headers().get(IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    let kind = response.headers().get(CONTENT_TYPE);
    if response.status() != StatusCode::OK || kind.is_none_or(|k| k != "application/json") {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_ANSWER).await.map_err(Problem::internal)?;
    let tag = tag(&body);
    let tag_value = HeaderValue::try_from(&tag).map_err(Problem::internal)?;
    if known.is_some_and(|known| lists(&known, &tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag_value)]).into_response());
    }
    parts.headers.insert(ETAG, tag_value);
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Refuses a change of something that is no longer as the client read it; `current` is what a GET would give.
pub fn check(headers: &HeaderMap, current: &impl Serialize) -> Result<(), Problem> {
    let Some(wanted) = headers.get(IF_MATCH) else { return Ok(()) };
    let current = serde_json::to_vec(current).map_err(Problem::internal)?;
    if lists(wanted, &tag(&current)) {
        return Ok(());
    }
    Err(Problem::new(Code::PreconditionFailed, "read it again, and send the ETag of that"))
}

fn tag(json: &[u8]) -> String {
    let hash = Sha256::digest(json);
    let hash: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hash}\"")
}

fn lists(header: &HeaderValue, tag: &str) -> bool {
    let Ok(text) = header.to_str() else { return false };
    let one = |given: &str| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag;
    text.split(',').map(str::trim).any(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_a_list_and_only_there() {
        let tag = tag(b"{}");
        let lists = |text: String| lists(&HeaderValue::try_from(text).unwrap(), &tag);
        assert!(lists(tag.clone()) && lists(format!("W/{tag}")) && lists(format!("\"a\", {tag}")));
        assert!(lists("*".to_owned()) && !lists("\"a\"".to_owned()) && !lists(String::new()));
    }
}
