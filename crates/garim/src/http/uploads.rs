//! `/v1/uploads`: sending an original, in as many pieces as the connection makes of it.
//!
//! This is the core of tus 1.0 (<https://tus.io/protocols/resumable-upload>) with its extensions creation,
//! expiration and termination. What has arrived is sealed at once; `Upload-Offset` says how much is stored, which
//! may be less than was sent.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_STANDARD, Engine};
use domain::VideoId;
use futures_util::StreamExt;
use jiff::Timestamp;
use serde_json::json;
use store::{Kind, MAX_LENGTH, NewJob, NewVideo, Source, UPLOAD_PATIENCE};
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Operate;
use super::extract::Path;
use super::problem::{Code, Problem, ProblemBody};
use super::videos::{OriginalPolicy, original};
use super::{App, Shared};
use crate::sealing::Sealer;

const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const VERSION: HeaderName = HeaderName::from_static("tus-version");
const EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
/// The only version there is.
const TUS: HeaderValue = HeaderValue::from_static("1.0.0");
/// A connection that brings nothing for this long is given up; what it brought is kept.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest `Upload-Metadata`, in bytes.
const MAX_METADATA: usize = 4096;

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(options, create)).routes(routes!(
        offset,
        append,
        append_by_post,
        abandon
    ))
}

/// What can be uploaded.
#[utoipa::path(
    options,
    path = "/v1/uploads",
    operation_id = "upload_options",
    tag = "uploads",
    security(("key" = ["operate"])),
    responses((status = 204, description = "In Tus-Version, Tus-Extension and Tus-Max-Size")),
)]
async fn options(_: Operate) -> Response {
    let headers = [
        (RESUMABLE, TUS),
        (VERSION, TUS),
        (EXTENSION, HeaderValue::from_static("creation,expiration,termination")),
        (MAX_SIZE, MAX_LENGTH.into()),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Begin an upload.
///
/// Scope: operate. The id in `Location` is that of the video.
#[utoipa::path(
    post,
    path = "/v1/uploads",
    operation_id = "create_upload",
    tag = "uploads",
    security(("key" = ["operate"])),
    params(
        ("Tus-Resumable" = String, Header, description = "`1.0.0`"),
        ("Upload-Length" = u64, Header, description = "Bytes of the file"),
        ("Upload-Metadata" = Option<String>, Header, description = "tus key-value pairs, values in base64: \
            `filename`; `original`: `seal`, or seconds after which it is destroyed once it was covered"),
    ),
    responses(
        (status = 201, description = "Send it with PATCH to Location", headers(
            ("Location" = String, description = "Path of the upload"))),
        (status = 412, description = "Another version of tus", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "A value makes no sense", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn create(
    State(app): Shared,
    Operate(caller): Operate,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    let length = number(&headers, &LENGTH)?;
    let metadata = metadata(&headers)?;
    let get = |key: &str| metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let policy = match get("original") {
        None => None,
        Some("seal") => Some(OriginalPolicy::Seal),
        Some(seconds) => {
            Some(OriginalPolicy::DeleteAfterSeconds(seconds.parse().map_err(|_| {
                Problem::new(
                    Code::InvalidHeader,
                    "Upload-Metadata: original must be `seal` or seconds",
                )
            })?))
        }
    };
    let now = Timestamp::now();
    let video = NewVideo {
        owner: caller.owner().to_owned(),
        name: get("filename").unwrap_or("upload").to_owned(),
        source: Source::Upload(length),
        original: original(&app, policy),
        expires_at: None,
        days: app.config.retention.days,
    };
    let video = app.store.add_video(&video, now).await?;
    let location = format!("/v1/uploads/{video}");
    let headers = [
        (RESUMABLE, TUS),
        (OFFSET, 0.into()),
        (EXPIRES, http_date(now + UPLOAD_PATIENCE)?),
        (LOCATION, HeaderValue::try_from(location).map_err(Problem::internal)?),
    ];
    Ok((StatusCode::CREATED, headers).into_response())
}

/// Ask how much of an upload has arrived.
///
/// Scope: operate.
#[utoipa::path(
    head,
    path = "/v1/uploads/{id}",
    operation_id = "show_upload",
    tag = "uploads",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid), ("Tus-Resumable" = String, Header, description = "`1.0.0`")),
    responses(
        (status = 200, description = "In Upload-Offset", headers(
            ("Upload-Offset" = u64, description = "Bytes that are stored"),
            ("Upload-Length" = u64, description = "Bytes of the file"))),
        (status = 404, description = "There is none"),
        (status = 412, description = "Another version of tus"),
    ),
)]
async fn offset(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<VideoId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    let video = app.store.video(caller.owner(), id).await?;
    let headers = [
        (RESUMABLE, TUS),
        (OFFSET, video.received().into()),
        (LENGTH, video.length.into()),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((StatusCode::OK, headers).into_response())
}

/// Send the next bytes of an upload.
///
/// Scope: operate. If the connection breaks, ask for the offset and go on from there.
#[utoipa::path(
    patch,
    path = "/v1/uploads/{id}",
    operation_id = "append_upload",
    tag = "uploads",
    security(("key" = ["operate"])),
    params(
        ("id" = String, Path, format = Uuid),
        ("Tus-Resumable" = String, Header, description = "`1.0.0`"),
        ("Upload-Offset" = u64, Header, description = "Where in the file the body begins"),
    ),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream"),
    responses(
        (status = 204, description = "Stored up to Upload-Offset", headers(
            ("Upload-Offset" = u64, description = "Bytes that are stored"))),
        (status = 409, description = "The offset is not where the upload ended", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = 412, description = "Another version of tus", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn append(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<VideoId>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    check_version(&parts.headers)?;
    let kind = parts.headers.get(CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != "application/offset+octet-stream") {
        let detail = "send Content-Type: application/offset+octet-stream";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let start = number(&parts.headers, &OFFSET)?;
    let video = app.store.video(caller.owner(), id).await?;
    if start != video.received() {
        return Err(store::Error::OutOfPlace { expected: video.received() }.into());
    }
    let left = video.length - start;
    let owner = caller.owner().to_owned();
    // Goes on when the client is gone, to store what it has brought.
    let receive = receive(Arc::clone(&app), owner, id, start, left, body);
    let received = tokio::spawn(receive).await.map_err(Problem::internal)??;
    let headers = [(RESUMABLE, TUS), (OFFSET, received.into())];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// Send the next bytes of an upload, for clients that know no PATCH (tus, "X-HTTP-Method-Override").
///
/// Scope: operate.
#[utoipa::path(
    post,
    path = "/v1/uploads/{id}",
    operation_id = "append_upload_by_post",
    tag = "uploads",
    security(("key" = ["operate"])),
    params(
        ("id" = String, Path, format = Uuid),
        ("X-HTTP-Method-Override" = String, Header, description = "`PATCH`"),
        ("Tus-Resumable" = String, Header, description = "`1.0.0`"),
        ("Upload-Offset" = u64, Header, description = "Where in the file the body begins"),
    ),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream"),
    responses(
        (status = 204, description = "Stored up to Upload-Offset", headers(
            ("Upload-Offset" = u64, description = "Bytes that are stored"))),
        (status = 409, description = "The offset is not where the upload ended", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = 412, description = "Another version of tus", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn append_by_post(
    app: Shared,
    caller: Operate,
    id: Path<VideoId>,
    request: Request,
) -> Result<Response, Problem> {
    if request.headers().get(&OVERRIDE).is_none_or(|method| method != "PATCH") {
        return Err(Problem::new(Code::InvalidHeader, "send X-HTTP-Method-Override: PATCH"));
    }
    append(app, caller, id, request).await
}

/// Seals what a body brings; gives how much of the upload is stored.
async fn receive(
    app: Arc<App>,
    owner: String,
    video: VideoId,
    start: u64,
    left: u64,
    body: Body,
) -> Result<u64, Problem> {
    let probe = NewJob { video: Some(video), ..NewJob::new(&owner, Kind::Ingest, json!({})) };
    let mut sealer = Sealer::open(&app.service(), &owner, video, start, Some(probe)).await?;
    let took = take(&mut sealer, body.into_data_stream(), left).await;
    // What has arrived is kept, however it ended.
    let received = sealer.finish().await?;
    took?;
    Ok(received)
}

async fn take(sealer: &mut Sealer, mut body: BodyDataStream, mut left: u64) -> Result<(), Problem> {
    loop {
        let next = timeout(SILENCE, body.next()).await.map_err(|_| {
            let detail = format!("nothing came for {} s", SILENCE.as_secs());
            Problem::new(Code::SlowBody, detail)
        })?;
        let Some(bytes) = next else { return Ok(()) };
        let bytes = bytes.map_err(|_| Problem::new(Code::BrokenBody, "the body broke off"))?;
        let count = bytes.len() as u64;
        if count > left {
            return Err(Problem::new(Code::TooLarge, "it is longer than Upload-Length said"));
        }
        sealer.push(&bytes).await?;
        left -= count;
    }
}

/// Give up an upload, and delete what has arrived of it.
///
/// Scope: operate.
#[utoipa::path(
    delete,
    path = "/v1/uploads/{id}",
    operation_id = "delete_upload",
    tag = "uploads",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid), ("Tus-Resumable" = String, Header, description = "`1.0.0`")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 412, description = "Another version of tus", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn abandon(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<VideoId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    app.store.delete_video(caller.owner(), id, &caller.actor(), Timestamp::now()).await?;
    Ok((StatusCode::NO_CONTENT, [(RESUMABLE, TUS)]).into_response())
}

fn check_version(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.get(&RESUMABLE).is_some_and(|version| version == TUS) {
        return Ok(());
    }
    Err(Problem::new(Code::PreconditionFailed, "send Tus-Resumable: 1.0.0"))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Problem> {
    let text = headers.get(name).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Problem::new(Code::InvalidHeader, format!("{name} must be a number of bytes"))
    })
}

/// Pairs of a key and a value in base64, separated by commas (tus, "Upload-Metadata").
fn metadata(headers: &HeaderMap) -> Result<Vec<(String, String)>, Problem> {
    let Some(value) = headers.get(&METADATA) else { return Ok(Vec::new()) };
    let bad =
        || Problem::new(Code::InvalidHeader, "Upload-Metadata: must be keys and values in base64");
    let text = value.to_str().ok().filter(|text| text.len() <= MAX_METADATA).ok_or_else(bad)?;
    let pair = |pair: &str| {
        let (key, value) = pair.trim().split_once(' ').unwrap_or((pair.trim(), ""));
        let value = BASE64_STANDARD.decode(value.trim()).ok()?;
        Some((key.to_owned(), String::from_utf8(value).ok()?))
    };
    text.split(',').map(|text| pair(text).ok_or_else(bad)).collect()
}

/// RFC 9110, section 5.6.7.
fn http_date(at: Timestamp) -> Result<HeaderValue, Problem> {
    let text = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::try_from(text).map_err(Problem::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_pairs_in_base64() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(METADATA, HeaderValue::try_from(text).unwrap());
            metadata(&headers).ok()
        };
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(
            read("filename Y2xpcC5tcDQ=, empty"),
            Some(vec![pair("filename", "clip.mp4"), pair("empty", "")])
        );
        assert_eq!(read("filename !"), None);
        assert_eq!(read(&"x ".repeat(3000)), None);
        assert_eq!(metadata(&HeaderMap::new()).ok(), Some(Vec::new()));
    }
}
