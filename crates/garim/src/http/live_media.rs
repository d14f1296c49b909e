//! `/live`: what players read of live sessions.
//!
//! ```text
//! /live/{session}/index.m3u8                                    the address for users: codecs, and where it goes on
//! /live/{session}/media.m3u8, init-…, seg-…, part-…             of a public session
//! /live/{session}/index.m3u8?expires=…&signature=…              of a signed one
//! /live/{session}/{expires}.{signature}/media.m3u8, init-…, …   where that goes on
//! ```
//!
//! The signature is in the path because players resolve what a playlist names against its address without the
//! query. So one playlist does for everybody, and caches keep one copy of it.
//!
//! Requests wait here for up to three target durations, and there are several a second of each viewer: these routes
//! have a bound of their own, and neither keys nor the limits of the API.

mod paced;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ::live::Watched;
use ::live::origin::{self, CacheControl, Status};
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, DATE, LOCATION, RANGE, RETRY_AFTER, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::SessionId;
use jiff::Timestamp;
use serde::Deserialize;
use store::Playback;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any, CorsLayer};

use super::extract::Path;
use super::problem::{Code, Problem};
use super::{App, Shared, media, watch};

/// Requests that wait or are being sent, of all viewers: each takes a task and two pieces of a segment.
const AT_ONCE: usize = 8192;
/// The playlist that users are given.
const INDEX: &str = "index.m3u8";
/// The one that it names.
const MEDIA: &str = "media.m3u8";

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/live/{session}/{*path}", get(show))
        .layer(from_fn_with_state(Arc::new(Semaphore::new(AT_ONCE)), room))
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(super::panicked))
        .layer(for_every_page())
}

/// For methods that these routes do not have.
pub async fn wrong_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "this path has other methods: see Allow")
}

/// Lets players on pages of any origin read answers, also errors. They send no credentials, and need none.
pub fn for_every_page() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers(Any)
        .expose_headers([CONTENT_LENGTH, CONTENT_RANGE, DATE, RETRY_AFTER])
        .max_age(std::time::Duration::from_hours(24))
        // It is the same for all of them, so caches need not tell them apart.
        .vary([])
}

/// Lets so many requests in at once, until their answers were sent.
async fn room(
    State(room): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let held = room.try_acquire_owned().map_err(|_| {
        Problem::new(Code::Unavailable, "too many viewers are being answered").retry_after(1)
    })?;
    Ok(next.run(request).await.map(|body| paced::holding(body, held)))
}

/// What makes an address of a session good.
#[derive(Clone, Debug, Deserialize)]
pub struct Signature {
    /// Seconds since 1970.
    pub expires: i64,
    pub signature: String,
}

impl Signature {
    /// As the query of an address has it.
    pub fn of_query(address: &Uri) -> Option<Self> {
        Query::try_from_uri(address).ok().map(|Query(signature)| signature)
    }

    /// As [`Signature::of_query`] reads it.
    pub fn query(&self) -> String {
        format!("?expires={}&signature={}", self.expires, self.signature)
    }

    /// As a folder in the path is called.
    fn of_folder(name: &str) -> Option<Self> {
        let (expires, signature) = name.split_once('.')?;
        Some(Self { expires: expires.parse().ok()?, signature: signature.to_owned() })
    }

    fn folder(&self) -> String {
        format!("{}.{}", self.expires, self.signature)
    }
}

/// Refuses who may not watch.
pub fn check(
    app: &App,
    session: SessionId,
    playback: Playback,
    signature: Option<&Signature>,
    now: Timestamp,
) -> Result<(), Problem> {
    if playback == Playback::Public {
        return Ok(());
    }
    let good = signature.filter(|s| app.store.is_signed_session(session, s.expires, &s.signature));
    let detail = match good {
        None => "this session needs a signed address: use one as the API gave it, unchanged",
        Some(signature) if signature.expires <= now.as_second() => {
            "the address expired: ask the API for a new one"
        }
        Some(_) => return Ok(()),
    };
    Err(Problem::new(Code::BadSignature, detail))
}

async fn show(
    State(app): Shared,
    Path((session, path)): Path<(SessionId, String)>,
    address: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (folder, name) = match path.split_once('/') {
        Some((folder, name)) => (Some(folder), name),
        None => (None, path.as_str()),
    };
    let in_query =
        if folder.is_none() && name == INDEX { Signature::of_query(&address) } else { None };
    let signature = folder.map_or(in_query.clone(), Signature::of_folder);
    let now = Timestamp::now();
    let Some(Watched { origin, playback }) = app.desk.as_ref().and_then(|d| d.watched(session))
    else {
        return not_here(&app, session, signature.as_ref(), &address, now).await;
    };
    check(&app, session, playback, signature.as_ref(), now)?;
    // Another name for the same bytes would be kept twice by every cache.
    if playback == Playback::Public && folder.is_some() {
        return Err(Problem::not_found("file", path));
    }
    let answer = match name {
        INDEX => {
            let folder =
                in_query.filter(|_| playback == Playback::Signed).map(|s| s.folder() + "/");
            origin.multivariant(&(folder.unwrap_or_default() + MEDIA)).await
        }
        MEDIA => {
            let query = address.query().unwrap_or_default();
            let mut response = playlist(origin.playlist(query, takes_gzip(&headers)).await)?;
            response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
            return Ok(response);
        }
        name => return file(origin.media(name).await, headers.get(RANGE)),
    };
    playlist(answer)
}

fn playlist(answer: origin::Response) -> Result<Response, Problem> {
    let answer = found(answer)?;
    let kind = HeaderValue::from_static(answer.content_type);
    let mut response = ([(CONTENT_TYPE, kind)], answer.body).into_response();
    response.headers_mut().insert(CACHE_CONTROL, cached(answer.cache));
    if answer.gzip {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

fn file(answer: origin::Response, range: Option<&HeaderValue>) -> Result<Response, Problem> {
    let origin::Response { body, content_type, cache, .. } = found(answer)?;
    let size = body.len();
    let range = match range.map(|range| media::parse(range, size as u64)).transpose() {
        Ok(range) => range.flatten().map(|range| range.start as usize..range.end as usize),
        Err(problem) => {
            let size = format!("bytes */{size}");
            return Ok(([(CONTENT_RANGE, size)], problem).into_response());
        }
    };
    let part = range.clone().map_or(body.clone(), |range| body.slice(range));
    let (length, kind) = (HeaderValue::from(part.len()), HeaderValue::from_static(content_type));
    let bytes = HeaderValue::from_static("bytes");
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_LENGTH, length),
        (ACCEPT_RANGES, bytes),
        (CACHE_CONTROL, cached(cache)),
    ];
    let response = (headers, paced::body(part)).into_response();
    let Some(range) = range else { return Ok(response) };
    let range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
    Ok((StatusCode::PARTIAL_CONTENT, [(CONTENT_RANGE, range)], response).into_response())
}

/// What the origin did not find or did not want is a problem as elsewhere.
fn found(answer: origin::Response) -> Result<origin::Response, Problem> {
    let code = match answer.status {
        Status::Ok => return Ok(answer),
        Status::BadRequest => Code::InvalidQuery,
        Status::NotFound => Code::NotFound,
        Status::Gone => Code::Gone,
        Status::Unavailable => Code::Unavailable,
    };
    let problem = Problem::new(code, String::from_utf8_lossy(&answer.body).into_owned());
    Err(if code == Code::Unavailable { problem.retry_after(1) } else { problem })
}

fn cached(cache: CacheControl) -> HeaderValue {
    match cache {
        CacheControl::Immutable => HeaderValue::from_static("public, max-age=31536000, immutable"),
        CacheControl::MaxAge(seconds) => {
            let text = format!("public, max-age={seconds}");
            HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("no-store"))
        }
        CacheControl::NoStore => HeaderValue::from_static("no-store"),
    }
}

/// What there is to say of a session that this server does not show: which one does, or why nobody does.
async fn not_here(
    app: &App,
    session: SessionId,
    signature: Option<&Signature>,
    address: &Uri,
    now: Timestamp,
) -> Result<Response, Problem> {
    let found = app.store.session(None, session).await?;
    check(app, session, found.playback, signature, now)?;
    if found.ended_at.is_none() {
        let server = app.store.server_of(found.channel, now).await?;
        let url = server.and_then(|server| server.http);
        // Not to itself, while it begins.
        if let Some(url) = url.filter(|url| app.config.live.server_url.as_ref() != Some(url)) {
            let to = format!("{url}{}", address.path_and_query().map_or("/", |path| path.as_str()));
            let to = HeaderValue::try_from(to).map_err(|_| Problem::not_found("server", url))?;
            let no = HeaderValue::from_static("no-store");
            let headers = [(LOCATION, to), (CACHE_CONTROL, no)];
            return Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response());
        }
        let detail = "it has not begun on this server: it starts, or another server shows it";
        return Err(Problem::new(Code::NotFound, detail).retry_after(2));
    }
    let until = signature.map(|signature| signature.expires);
    let detail = match watch::recording(app, &found, until, now).await? {
        Some(address) => format!("the session is over; its recording is {address}"),
        None => "the session is over".to_owned(),
    };
    Err(Problem::new(Code::Gone, detail))
}

/// Whether the viewer takes gzip (RFC 9110, section 12.5.3).
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let given = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|list| list.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.unwrap_or(1.0) > 0.0
    })
}
