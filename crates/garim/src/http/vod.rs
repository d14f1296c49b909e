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
use store::{Error, ObjectPath, RecordingState, Session, Version};
use tower_http::catch_panic::CatchPanicLayer;

use super::extract::Path;
use super::live_media::{Signature, check, for_every_page, wrong_method};
use super::problem::{Code, Problem};
use super::{App, Shared, media};
use crate::worker::recording::{PLAYLIST, SEGMENTS};

/// Longest playlist: a line of 40 bytes for each of 100,000 segments, and room.
const MAX_PLAYLIST: usize = 16 << 20;
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
    let Some(version) = published(&app, &session, now).await? else {
        return Err(why_not(&session.recording));
    };
    let file = version.files.iter().find(|file| file.name == PLAYLIST);
    if file.is_none() {
        let detail = "this recording has no archive, and is one MP4 only: see its video";
        return Err(Problem::new(Code::NotFound, detail));
    }
    let folder: ObjectPath = version.folder.parse()?;
    let bytes = app.objects.get(&folder.join(PLAYLIST)?, MAX_PLAYLIST).await?;
    let expires = media::expiry_within(now, signature.map(|signature| signature.expires));
    let segments = media::url(&app, version.video, version.number, SEGMENTS, expires);
    let text = String::from_utf8_lossy(&bytes).replace(SEGMENTS, &segments);
    let kind = [(CONTENT_TYPE, media::kind(PLAYLIST)), (CACHE_CONTROL, media::CACHED)];
    Ok((kind, text).into_response())
}

/// What viewers may have of the recording of a session; `None`: nothing, now.
pub async fn published(
    app: &App,
    session: &Session,
    now: Timestamp,
) -> Result<Option<Version>, Problem> {
    let RecordingState::Ready { video } = session.recording else { return Ok(None) };
    let published = match app.store.video(&session.owner, video).await {
        Ok(video) => video.published,
        Err(Error::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let Some(number) = published else { return Ok(None) };
    Ok(Some(app.store.version(video, number).await?).filter(|version| version.is_public(now)))
}

/// Why viewers have nothing of it.
fn why_not(recording: &RecordingState) -> Problem {
    match recording {
        RecordingState::Ready { .. } => {
            Problem::new(Code::Gone, "the recording is public no longer")
        }
        RecordingState::Off | RecordingState::Failed { .. } => {
            Problem::new(Code::NotFound, "this session has no recording")
        }
        RecordingState::Waiting | RecordingState::Recording | RecordingState::Finishing { .. } => {
            Problem::new(Code::NotFound, "the recording is not there yet").retry_after(AGAIN)
        }
    }
}
