//! `/media`: covered files for viewers, by signed addresses that expire.
//!
//! An address names a version, so nobody gets another one by it: when the version is public no longer it answers
//! 410, whatever its signature says.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    RANGE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::VideoId;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use store::ObjectPath;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Path, Query};
use super::problem::{Code, Problem, ProblemBody};
use super::{App, Shared};

/// How long an address is good.
const GOOD_FOR: SignedDuration = SignedDuration::from_hours(6);
/// How long caches may keep a file without asking again: who withdraws consent is not shown for longer than that
/// by a cache that nobody purges.
pub const CACHED: &str = "public, max-age=60";

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Until when an address that is made now is good. Rounded, so that an answer does not change with every second.
pub fn expiry(now: Timestamp) -> Timestamp {
    let hour = 3600;
    let end = (now + GOOD_FOR).as_second() / hour * hour + hour;
    Timestamp::from_second(end).unwrap_or(now)
}

/// The same of an address that is given for another one, which is good until `until` (seconds since 1970): no longer
/// than that.
pub fn expiry_within(now: Timestamp, until: Option<i64>) -> Timestamp {
    let until = until.and_then(|until| Timestamp::from_second(until).ok());
    until.map_or(expiry(now), |until| until.min(expiry(now)))
}

/// The signed address of a file.
pub fn url(app: &App, video: VideoId, number: i64, file: &str, expires: Timestamp) -> String {
    let expires = expires.as_second();
    let signature = app.store.sign_media(video, number, file, expires);
    let base = app.config.public_url.as_ref().map_or("", |url| url.as_str().trim_end_matches('/'));
    format!("{base}/media/{video}/v{number}/{file}?expires={expires}&signature={signature}")
}

/// The media type of a file by its name.
pub fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("mp4") => "video/mp4",
        Some("m3u8") => "application/vnd.apple.mpegurl",
        Some("jpg") => "image/jpeg",
        Some("json") => "application/json",
        Some("jsonl") => "application/jsonl",
        _ => "application/octet-stream",
    }
}

/// What makes an address good.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Signed {
    /// Seconds since 1970.
    expires: i64,
    #[param(min_length = 64, max_length = 64)]
    signature: String,
}

/// Watch a covered video.
///
/// Needs no key: the address is signed. Ranges are given as RFC 9110 says.
#[utoipa::path(
    get,
    path = "/media/{video}/{version}/{file}",
    operation_id = "get_media",
    tag = "media",
    security(()),
    params(
        ("video" = String, Path, format = Uuid),
        ("version" = String, Path, description = "`v` and the number", pattern = "^v[1-9][0-9]{0,17}$"),
        ("file" = String, Path),
        Signed,
        ("Range" = Option<String>, Header, description = "`bytes=0-1023`"),
    ),
    responses(
        (status = 200, description = "The file", content((Vec<u8> = "video/mp4"), (Vec<u8> = "image/jpeg"))),
        (status = 206, description = "A part of it", content((Vec<u8> = "video/mp4"), (Vec<u8> = "image/jpeg"))),
        (status = 304, description = "The client has it"),
        (status = 400, description = "The query makes no sense", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The signature is wrong, or the address expired", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = 404, description = "There is no such file", body = ProblemBody, content_type = "application/problem+json"),
        (status = 410, description = "It is public no longer", body = ProblemBody, content_type = "application/problem+json"),
        (status = 416, description = "There are no such bytes", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn show(
    State(app): Shared,
    Path((video, version, file)): Path<(VideoId, String, String)>,
    Query(Signed { expires, signature }): Query<Signed>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let number = version.strip_prefix('v').and_then(|n| n.parse().ok());
    let number: i64 = number.ok_or_else(|| Problem::not_found("version", &version))?;
    let now = Timestamp::now();
    if !app.store.is_signed(video, number, &file, expires, &signature) {
        return Err(Problem::new(
            Code::BadSignature,
            "use an address as the API gave it, unchanged",
        ));
    }
    if expires <= now.as_second() {
        return Err(Problem::new(
            Code::BadSignature,
            "the address expired: ask the API for a new one",
        ));
    }
    let version = app.store.version(video, number).await?;
    if !version.is_public(now) {
        return Err(Problem::new(Code::Gone, "it is public no longer"));
    }
    let found = version.files.iter().find(|f| f.name == file && f.public);
    let found = found.ok_or_else(|| Problem::not_found("file", &file))?;
    let tag = format!("\"{video}-{number}-{file}\"");
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    let folder: ObjectPath = version.folder.parse()?;
    let range = headers.get(RANGE).map(|range| parse(range, found.bytes)).transpose()?.flatten();
    send(&app, &folder.join(&file)?, range, tag).await
}

async fn send(
    app: &App,
    object: &ObjectPath,
    range: Option<Range<u64>>,
    tag: String,
) -> Result<Response, Problem> {
    let partial = range.is_some();
    let contents = app.objects.stream(object, range).await?;
    let given = contents.range;
    let headers = [
        (CONTENT_TYPE, kind(object.as_str()).to_owned()),
        (CONTENT_LENGTH, (given.end - given.start).to_string()),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (CACHE_CONTROL, CACHED.to_owned()),
        (ETAG, tag),
    ];
    let body = Body::from_stream(contents.bytes);
    if partial {
        let range = format!("bytes {}-{}/{}", given.start, given.end - 1, contents.size);
        return Ok(
            (StatusCode::PARTIAL_CONTENT, [(CONTENT_RANGE, range)], headers, body).into_response()
        );
    }
    Ok((headers, body).into_response())
}

/// One range of bytes (RFC 9110, section 14.1.2). What is no such range is ignored, as that section says; several
/// ranges are too: then everything is sent.
pub fn parse(header: &HeaderValue, size: u64) -> Result<Option<Range<u64>>, Problem> {
    let range = header.to_str().ok().and_then(|text| text.strip_prefix("bytes="));
    let Some((from, to)) = range.and_then(|range| range.trim().split_once('-')) else {
        return Ok(None);
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let range = match (from.is_empty(), to.is_empty()) {
        (true, false) => number(to).map(|last| size.saturating_sub(last)..size),
        (false, true) => number(from).map(|from| from..size),
        (false, false) => match (number(from), number(to)) {
            (Some(from), Some(to)) if from <= to => Some(from..to.saturating_add(1).min(size)),
            _ => None,
        },
        (true, true) => None,
    };
    match range {
        Some(range) if range.start < range.end => Ok(Some(range)),
        Some(_) => Err(Problem::new(Code::NoSuchBytes, format!("the file has {size} bytes"))),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood_as_the_rfc_says() {
        let parse = |text: &str| parse(&HeaderValue::try_from(text).unwrap(), 100);
        for (text, range) in [
            ("bytes=0-9", Some(0..10)),
            ("bytes=90-", Some(90..100)),
            ("bytes=90-200", Some(90..100)),
            ("bytes=-10", Some(90..100)),
            ("bytes=-200", Some(0..100)),
            ("bytes=0-18446744073709551615", Some(0..100)),
            ("bytes=9-0", None),
            ("bytes=-", None),
            ("bytes=x-y", None),
            ("bytes=0-1,5-6", None),
            ("items=0-1", None),
        ] {
            assert_eq!(parse(text).unwrap(), range, "{text}");
        }
        for text in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_made_within_an_hour_are_the_same() {
        let at = |text: &str| expiry(text.parse().unwrap()).to_string();
        assert_eq!(at("2026-11-25T10:00:01Z"), "2026-11-25T17:00:00Z");
        assert_eq!(at("2026-11-25T10:59:59Z"), "2026-11-25T17:00:00Z");
    }
}
