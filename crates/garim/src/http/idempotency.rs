//! `Idempotency-Key`: a POST that is sent again does nothing again.
//!
//! The answer is kept with the key for a day. A request runs to its end also when its client is gone, so that
//! there is an answer to keep.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_STANDARD, Engine};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::Before;
use tracing::Instrument;

use super::App;
use super::auth::Caller;
use super::problem::{Code, Problem};

const NAME: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Longest key, in bytes.
const MAX_NAME: usize = 255;
/// Largest answer that is kept, in bytes.
const MAX_ANSWER: usize = 4 << 20;
/// Headers that are part of an answer.
const KEPT: [HeaderName; 3] = [CONTENT_TYPE, LOCATION, ETAG];

#[derive(Serialize, Deserialize)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    /// In base64.
    body: String,
}

/// Gives the answer of before to a POST that was sent before.
pub async fn replay(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let name = request.headers().get(&NAME);
    let Some(name) = name.filter(|_| request.method() == Method::POST) else {
        return Ok(next.run(request).await);
    };
    let name = name.to_str().ok().filter(|name| (1..=MAX_NAME).contains(&name.len()));
    let name = name.map(str::to_owned).ok_or_else(|| {
        Problem::new(
            Code::InvalidHeader,
            "Idempotency-Key must be 1 to 255 visible ASCII characters",
        )
    })?;
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(Problem::internal)?;
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let mut hash = Sha256::new();
    hash.update(path.as_bytes());
    hash.update([0]); // Stands in no path.
    hash.update(&body);
    let hash = BASE64_STANDARD.encode(hash.finalize());
    let key = caller.key().id;
    match app.store.take_request(key, &name, &hash, Timestamp::now()).await? {
        Before::Answered(answer) => answered(&answer),
        Before::Underway => {
            let detail = "it was sent before and is not answered yet";
            Err(Problem::new(Code::RequestUnderway, detail).retry_after(1))
        }
        Before::Abandoned => {
            let detail = "the server stopped while it worked on it; look whether it was done, and if not, use a new key";
            Err(Problem::new(Code::RequestAbandoned, detail))
        }
        Before::Other => {
            let detail = "use a new one for another path or body";
            Err(Problem::new(Code::IdempotencyKeyReused, detail))
        }
        Before::New => {
            let request = Request::from_parts(parts, Body::from(body));
            let handler = async move { next.run(request).await }.in_current_span();
            let work = async move {
                let answered = tokio::spawn(handler).await;
                // A handler that panicked answers 500 and may be asked again.
                let response = answered.unwrap_or_else(|e| Problem::internal(e).into_response());
                keep(&app, key, &name, response).await
            };
            tokio::spawn(work.in_current_span()).await.map_err(Problem::internal)?
        }
    }
}

async fn keep(
    app: &App,
    key: domain::KeyId,
    name: &str,
    response: Response,
) -> Result<Response, Problem> {
    let status = response.status();
    // Whoever was told to come back must not be told the same for a day.
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        app.store.forget_request(key, name).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_ANSWER).await.map_err(Problem::internal)?;
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
    let headers = KEPT
        .iter()
        .filter_map(|name| Some((name.as_str().to_owned(), text(parts.headers.get(name)?)?)));
    let body_text = BASE64_STANDARD.encode(&body);
    let answer = Answer { status: status.as_u16(), headers: headers.collect(), body: body_text };
    let answer = serde_json::to_vec(&answer).map_err(Problem::internal)?;
    app.store.keep_answer(key, name, &answer).await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn answered(answer: &[u8]) -> Result<Response, Problem> {
    let answer: Answer = serde_json::from_slice(answer).map_err(Problem::internal)?;
    let status = StatusCode::from_u16(answer.status).map_err(Problem::internal)?;
    let body = BASE64_STANDARD.decode(&answer.body).map_err(Problem::internal)?;
    let mut response = (status, body).into_response();
    response.headers_mut().clear();
    for (name, value) in answer.headers {
        let name: HeaderName = name.parse().map_err(Problem::internal)?;
        let value: HeaderValue = value.parse().map_err(Problem::internal)?;
        response.headers_mut().insert(name, value);
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
