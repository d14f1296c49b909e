//! Errors as clients see them: RFC 9457 problem+json with a stable code.
//!
//! What is the client's doing is said in full. What is not is logged, and the client is told a request id.

use std::borrow::Cow;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Stable names of what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    InvalidJson,
    InvalidQuery,
    InvalidHeader,
    InvalidCursor,
    InvalidForm,
    Unauthenticated,
    MissingScope,
    NotFound,
    MethodNotAllowed,
    SlowBody,
    Conflict,
    NameTaken,
    NoConsent,
    RequestUnderway,
    RequestAbandoned,
    PreconditionFailed,
    Gone,
    UploadOffset,
    NoOriginal,
    AlreadyCovered,
    VideoBusy,
    ChannelBusy,
    ChannelLimitReached,
    TooLarge,
    QuotaExceeded,
    NoSuchBytes,
    BrokenBody,
    BadSignature,
    PhotoRefused,
    InputRefused,
    StorageFull,
    UnsupportedMediaType,
    InvalidValue,
    IdempotencyKeyReused,
    TooManyRequests,
    TooManyAtOnce,
    Internal,
    Unavailable,
    Timeout,
    NoCapacity,
    NotReady,
}

impl Code {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidJson | Self::InvalidQuery | Self::InvalidHeader | Self::InvalidCursor => {
                StatusCode::BAD_REQUEST
            }
            Self::BrokenBody | Self::InvalidForm => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::MissingScope | Self::BadSignature => StatusCode::FORBIDDEN,
            Self::Gone => StatusCode::GONE,
            Self::QuotaExceeded => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoSuchBytes => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict
            | Self::NameTaken
            | Self::NoConsent
            | Self::RequestUnderway
            | Self::RequestAbandoned
            | Self::UploadOffset
            | Self::NoOriginal
            | Self::AlreadyCovered
            | Self::VideoBusy
            | Self::ChannelBusy
            | Self::ChannelLimitReached => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidValue
            | Self::IdempotencyKeyReused
            | Self::PhotoRefused
            | Self::InputRefused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests | Self::TooManyAtOnce => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable | Self::Timeout | Self::NoCapacity | Self::NotReady => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::InvalidJson => "The body is no JSON",
            Self::InvalidQuery => "The query makes no sense",
            Self::InvalidHeader => "A header makes no sense",
            Self::InvalidCursor => "The cursor is none of this list",
            Self::Unauthenticated => "A valid API key is needed",
            Self::MissingScope => "The API key may not do this",
            Self::NotFound => "There is no such thing",
            Self::MethodNotAllowed => "The path has no such method",
            Self::SlowBody => "The body took too long to arrive",
            Self::Conflict => "The state of the thing does not allow this",
            Self::NameTaken => "The name is in use",
            Self::NoConsent => "The person does not agree to be seen",
            Self::RequestUnderway => "A request with this idempotency key is being worked on",
            Self::RequestAbandoned => {
                "The server stopped while it worked on a request with this idempotency key"
            }
            Self::PreconditionFailed => "The thing was changed since it was read",
            Self::InvalidForm => "The form cannot be read",
            Self::Gone => "It was there and is no longer",
            Self::UploadOffset => "The upload did not end there",
            Self::NoOriginal => "The original is not there",
            Self::AlreadyCovered => "The video was covered already",
            Self::VideoBusy => "Another job works on the video",
            Self::ChannelBusy => "The channel is starting, stopping or being deleted",
            Self::ChannelLimitReached => "All channels are in use",
            Self::QuotaExceeded => "The user's space does not suffice",
            Self::NoSuchBytes => "There are no such bytes",
            Self::BrokenBody => "The body broke off",
            Self::BadSignature => "The address is not good",
            Self::PhotoRefused => "A photo does not do",
            Self::InputRefused => "The file cannot be used",
            Self::StorageFull => "The server's storage is full",
            Self::TooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body is of the wrong type",
            Self::InvalidValue => "A value makes no sense",
            Self::IdempotencyKeyReused => "The idempotency key was used for another request",
            Self::TooManyRequests => "Too many requests",
            Self::TooManyAtOnce => "Too many requests at once",
            Self::Internal => "The server failed",
            Self::Unavailable => "The server cannot do this at the moment",
            Self::Timeout => "The request took too long",
            Self::NoCapacity => "The servers cannot run another channel",
            Self::NotReady => "The channel was not ready in time",
        }
    }
}

/// An error, on its way to the client.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    /// Seconds.
    retry_after: Option<u64>,
    /// For the log only.
    cause: Option<String>,
    photos: Vec<RefusedPhoto>,
    /// Channels that there may be, and that are in use.
    channels: Option<(u32, u32)>,
}

/// Why a photo does not do.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefusedPhoto {
    /// Which of the photos, from 0.
    pub index: usize,
    /// `no_face`, `several_faces`, `too_small`, `blurred`, `dark`, `extreme_pose`, `unreadable`, `not_one_person` or
    /// `near_duplicate`. Never changes its meaning.
    #[schema(value_type = String)]
    pub code: pipeline::Reason,
    /// For people.
    pub message: String,
}

/// An error (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// `urn:garim:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// What went wrong, the same for every problem with this code.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    code: Code,
    /// What went wrong this time.
    detail: String,
    /// With `photo_refused`: which photos, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    photos: Vec<RefusedPhoto>,
    /// With `channel_limit_reached` and `no_capacity`: how many channels there may be, or can be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    /// With these: how many are in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_use: Option<u32>,
}

impl Problem {
    /// `detail` is sent: what the client did, in words it can act on.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        let (photos, channels) = (Vec::new(), None);
        Self { code, detail, retry_after: None, cause: None, photos, channels }
    }

    /// Nothing the client can do something about; `cause` is logged, not sent.
    pub fn internal(cause: impl ToString) -> Self {
        let detail = "the server's log says more, by the X-Request-Id of this answer";
        Self { cause: Some(cause.to_string()), ..Self::new(Code::Internal, detail) }
    }

    /// A fault that passes; `cause` is logged, not sent.
    pub fn unavailable(cause: impl ToString) -> Self {
        let detail = "something that the server needs does not answer; try again";
        let problem = Self::new(Code::Unavailable, detail).retry_after(2);
        Self { cause: Some(cause.to_string()), ..problem }
    }

    /// There is no `kind` of this name or id, or it is somebody else's.
    pub fn not_found(kind: &str, name: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("there is no {kind} {name}"))
    }

    /// Some of the photos do not do.
    pub fn photos(photos: Vec<RefusedPhoto>, of: usize) -> Self {
        let detail = format!("{} of {of} photos do not do, so none is taken", photos.len());
        Self { photos, ..Self::new(Code::PhotoRefused, detail) }
    }

    /// Tells the client when to try again.
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { code, detail, retry_after, cause, photos, channels } = self;
        let status = code.status();
        if let Some(cause) = cause {
            tracing::error!(%status, cause, "request failed");
        }
        let name = serde_json::to_value(code).unwrap_or_default();
        let kind = format!("urn:garim:problem:{}", name.as_str().unwrap_or_default());
        let (title, detail) = (code.title(), detail.into_owned());
        let (limit, in_use) = channels.unzip();
        let number = status.as_u16();
        let body = ProblemBody { kind, title, status: number, code, detail, photos, limit, in_use };
        let mut response = (status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::unavailable(error)
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        use store::Error as E;
        let text = error.to_string();
        match error {
            E::NotFound { .. } => Self::new(Code::NotFound, text),
            E::NameTaken { .. } => Self::new(Code::NameTaken, text),
            E::Ambiguous { .. } => Self::new(Code::Conflict, text),
            E::NoConsent { .. } => Self::new(Code::NoConsent, text),
            E::OutOfPlace { .. } => Self::new(Code::UploadOffset, text),
            E::Quota { .. } => Self::new(Code::QuotaExceeded, text),
            E::Covered(_) => Self::new(Code::AlreadyCovered, text),
            E::Busy { .. } => Self::new(Code::VideoBusy, text),
            E::ChannelBusy { .. } => Self::new(Code::ChannelBusy, text),
            E::ChannelLimit { limit, in_use } => {
                let channels = Some((limit, in_use));
                Self { channels, ..Self::new(Code::ChannelLimitReached, text) }
            }
            E::NoCapacity { capacity, in_use } => {
                let channels = Some((capacity, in_use));
                Self { channels, ..Self::new(Code::NoCapacity, text) }.retry_after(10)
            }
            E::NoOriginal(_) => Self::new(Code::NoOriginal, text),
            E::Range { .. } => Self::new(Code::NoSuchBytes, text),
            E::Full { .. } => {
                let detail = "nothing was stored; tell whoever runs the server";
                Self { cause: Some(text), ..Self::new(Code::StorageFull, detail) }
            }
            E::Invalid { .. } => Self::new(Code::InvalidValue, text),
            // A disk that became read-only, keys of S3 that were changed: whoever runs the server can mend it.
            E::Denied { .. } => Self::unavailable(text),
            E::Unavailable { .. } | E::Moved(_) => Self::unavailable(text),
            _ => Self::internal(text),
        }
    }
}
