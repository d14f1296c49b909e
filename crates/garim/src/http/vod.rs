//! `/vod`: the recording of a session as HLS, at the address that was given when the session began.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::SessionId;
use jiff::Timestamp;
use store::{ObjectPath, RecordingState, Session, Version};
use tower_http::catch_panic::CatchPanicLayer;

use super::extract::Path;
use super::live_media::{Signature, check, for_every_page, wrong_method};
use super::problem::{Code, Problem};
use super::{App, Shared, media};
use crate::worker::recording::{PLAYLIST, SEGMENTS};

/// Longest playlist: a line of 40 bytes for each of 100,000 segments, and room.
const MAX_PLAYLIST: usize = 16 << 20;
/// Who withdraws is not shown for longer than that by a cache that nobody purges.
const CACHED: &str = "public, max-age=60";
/// Seconds after which a recording that is not there yet is asked for again.
const AGAIN: u64 = 5;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/vod/{session}/index.m3u8", get(playlist))
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(super::panicked))
        .layer(for_every_page())
}

async fn playlist(
    State(app): Shared,
    Path(session): Path<SessionId>,
    address: Uri,
) -> Result<Response, Problem> {
    let now = Timestamp::now();
    let session = app.store.session(None, session).await?;
    let signature = Signature::of_query(&address);
    check(&app, session.id, session.playback, signature.as_ref(), now)?;
    let version = published(&app, &session, now).await?;
    let file = version.files.iter().find(|file| file.name == PLAYLIST);
    if file.is_none() {
        let detail = "this recording was covered again, and is one MP4 only: see its video";
        return Err(Problem::new(Code::NotFound, detail));
    }
    let folder: ObjectPath = version.folder.parse()?;
    let bytes = app.objects.get(&folder.join(PLAYLIST)?, MAX_PLAYLIST).await?;
    let expires = media::expiry(now);
    let until = signature.and_then(|s| Timestamp::from_second(s.expires).ok());
    let expires = until.map_or(expires, |until| until.min(expires));
    let segments = media::url(&app, version.video, version.number, SEGMENTS, expires);
    let text = String::from_utf8_lossy(&bytes).replace(SEGMENTS, &segments);
    let kind = [(CONTENT_TYPE, "application/vnd.apple.mpegurl"), (CACHE_CONTROL, CACHED)];
    Ok((kind, text).into_response())
}

/// What viewers may have of a recording.
async fn published(app: &App, session: &Session, now: Timestamp) -> Result<Version, Problem> {
    let video = match session.recording {
        RecordingState::Ready { video } => video,
        RecordingState::Off | RecordingState::Failed { .. } => {
            return Err(Problem::new(Code::NotFound, "this session has no recording"));
        }
        RecordingState::Waiting | RecordingState::Recording | RecordingState::Finishing { .. } => {
            let problem = Problem::new(Code::NotFound, "the recording is not there yet");
            return Err(problem.retry_after(AGAIN));
        }
    };
    let gone = || Problem::new(Code::Gone, "the recording is public no longer");
    let number = app.store.video(&session.owner, video).await?.published.ok_or_else(gone)?;
    let version = app.store.version(video, number).await?;
    if version.is_public(now) { Ok(version) } else { Err(gone()) }
}
