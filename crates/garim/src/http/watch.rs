//! `/watch`: a page that plays a channel, or one of its sessions, live and afterwards.
//!
//! Everything it needs is in the binary. What it plays it asks at `/watch/{id}/state`, which names addresses and
//! nothing of a channel that is not for everybody: no name, no user, no key.

use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use domain::{ChannelId, SessionId};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use store::{Error, Playback, RecordingState, Session};
use tower_http::catch_panic::CatchPanicLayer;

use super::extract::Path;
use super::live_media::{Signature, check, for_every_page, takes_gzip, wrong_method};
use super::problem::Problem;
use super::{App, Shared, media, vod};
use crate::config::Config;

/// hls.js, as `make setup` fetched it.
const HLS_JS: &[u8] = include_bytes!(env!("GARIM_HLS_JS"));
const HLS_JS_GZIP: &[u8] = include_bytes!(env!("GARIM_HLS_JS_GZIP"));
/// Its licence goes where it goes (Apache-2.0, section 4).
const HLS_LICENCE: &str = concat!(
    include_str!(env!("GARIM_HLS_LICENSE")),
    "\n\n",
    include_str!("../../../../LICENSE-APACHE")
);
const HLS_JS_PATH: &str = concat!("/watch/hls-", env!("GARIM_HLS_VERSION"), ".js");
const HLS_LICENCE_PATH: &str = concat!("/watch/hls-", env!("GARIM_HLS_VERSION"), ".txt");
/// The version is in the path.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// After an upgrade the old page goes on for so long.
const PAGE_CACHED: &str = "public, max-age=60";

const STYLE: &str = include_str!("watch/page.css");
const SCRIPT: &str = include_str!("watch/page.js");

static PAGE: LazyLock<String> = LazyLock::new(|| {
    let page = include_str!("watch/page.html").replace("HLS_VERSION", env!("GARIM_HLS_VERSION"));
    page.replace("PAGE_CSS", STYLE).replace("PAGE_JS", SCRIPT)
});

pub fn routes(config: &Config) -> Router<Arc<App>> {
    let policy: Arc<str> = policy(config).into();
    let page = Router::new()
        .route("/watch/{id}", get(async move || page(&policy)))
        .route(HLS_JS_PATH, get(hls_js))
        .route(HLS_LICENCE_PATH, get(async || ([(CACHE_CONTROL, FOR_EVER)], HLS_LICENCE)));
    Router::new()
        .route("/watch/{id}/state", get(state))
        .method_not_allowed_fallback(wrong_method)
        .layer(for_every_page())
        .merge(page.method_not_allowed_fallback(wrong_method))
        .layer(CatchPanicLayer::custom(super::panicked))
}

/// What the page may do: its own script and style by their hashes, hls.js, and media of this server. hls.js plays out
/// of a `blob:`. Any page may frame it: there is nothing to click that matters.
fn policy(config: &Config) -> String {
    let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
    let server = match &config.public_url {
        Some(url) => format!("'self' {}", url.origin().ascii_serialization()),
        None => "'self'".to_owned(),
    };
    format!(
        "default-src 'none'; script-src 'sha256-{}' 'self'; style-src 'sha256-{}'; connect-src {server}; \
         media-src {server} blob:; base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE),
    )
}

/// The page is the same for everything: what it shows it asks for.
fn page(policy: &str) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, PAGE_CACHED),
        (CONTENT_SECURITY_POLICY, policy),
        // Its address may be signed.
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, PAGE.as_str()).into_response()
}

async fn hls_js(headers: HeaderMap) -> Response {
    let kind = [
        (CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (CACHE_CONTROL, FOR_EVER),
        (VARY, "accept-encoding"),
    ];
    if takes_gzip(&headers) {
        return (kind, [(CONTENT_ENCODING, "gzip")], HLS_JS_GZIP).into_response();
    }
    (kind, HLS_JS).into_response()
}

/// Where a channel or session is, for viewers.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// Nobody has published yet.
    Waiting,
    /// It is live.
    Live,
    /// It is over.
    Ended,
}

/// What the page is told.
#[derive(Serialize)]
struct View {
    state: Stage,
    session: Option<SessionId>,
    /// Address of the live playlist, until the session is over.
    live: Option<String>,
    /// Address of the recording, once there is one.
    vod: Option<String>,
    /// Whether there will be a recording that is not there yet.
    recording: bool,
    /// The server's clock in milliseconds since 1970, to tell how late pictures are where the viewer's is wrong.
    now: i64,
}

async fn state(
    State(app): Shared,
    Path(id): Path<String>,
    address: Uri,
) -> Result<Json<View>, Problem> {
    let now = Timestamp::now();
    let millis = now.as_millisecond();
    let Some(session) = find(&app, &id).await? else {
        let (live, vod) = (None, None);
        let state = Stage::Waiting;
        return Ok(Json(View { state, session: None, live, vod, recording: false, now: millis }));
    };
    let signature = Signature::of_query(&address);
    check(&app, session.id, session.playback, signature.as_ref(), now)?;
    let state = match (session.ended_at, session.first_publish_at) {
        (Some(_), _) => Stage::Ended,
        (None, Some(_)) => Stage::Live,
        (None, None) => Stage::Waiting,
    };
    let signed = signature.filter(|_| session.playback == Playback::Signed);
    let base = base(&app.config);
    let live = session.ended_at.is_none().then(|| {
        let query = signed.as_ref().map_or(String::new(), Signature::query);
        format!("{base}/live/{}/index.m3u8{query}", session.id)
    });
    let vod = recording(&app, &session, signed.map(|signed| signed.expires), now).await?;
    let none = matches!(
        session.recording,
        RecordingState::Off | RecordingState::Failed { .. } | RecordingState::Ready { .. }
    );
    let recording = !none;
    Ok(Json(View { state, session: Some(session.id), live, vod, recording, now: millis }))
}

/// What addresses of this server begin with.
fn base(config: &Config) -> &str {
    config.public_url.as_ref().map_or("", |url| url.as_str().trim_end_matches('/'))
}

/// The session of this id; or of the channel of this id, the one under way, or else the last one of its user.
async fn find(app: &App, id: &str) -> Result<Option<Session>, Problem> {
    let unknown = |_| Problem::not_found("channel", id);
    let channel: ChannelId = id.parse().map_err(unknown)?;
    let channel = match app.store.channel(channel).await {
        Ok(channel) => channel,
        Err(Error::NotFound { .. }) => {
            let session: SessionId = id.parse().map_err(unknown)?;
            return Ok(Some(app.store.session(None, session).await?));
        }
        Err(error) => return Err(error.into()),
    };
    match channel.session {
        Some(session) => Ok(Some(app.store.session(None, session).await?)),
        None => Ok(app.store.sessions(&channel.owner, channel.id, false, None, 1).await?.pop()),
    }
}

/// The signed address of what was recorded of a session, if it can be watched: good until `until`, in seconds since
/// 1970, if that is given, and not longer than others.
pub async fn recording(
    app: &App,
    session: &Session,
    until: Option<i64>,
    now: Timestamp,
) -> Result<Option<String>, Problem> {
    let expires = media::expiry_within(now, until);
    let version = vod::published(app, session, now).await?;
    Ok(version.map(|v| media::url(app, v.video, v.number, "video.mp4", expires)))
}
