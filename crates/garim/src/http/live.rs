//! `/v1/live`: going live and ending it, each with one call.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use domain::{ChannelId, SessionId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Channel, Error, NewLive, Playback, Session, StreamKey, Topic};
use tokio::time::{Instant, timeout, timeout_at};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Caller, Operate};
use super::extract::Body;
use super::problem::{Code, Problem, ProblemBody};
use super::{App, Shared, media};

/// How often a channel is looked at while it is waited for: with SQLite, other processes are not heard.
const LOOK: Duration = Duration::from_millis(250);

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(start_live)).routes(routes!(stop_live)).routes(routes!(act))
}

/// Somebody who wants to go live.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StartLive {
    /// The key's own user; another needs the scope admin.
    user: String,
    /// The user's collection whose people may be seen, if they agree to it. Without: that of the user's channel, or
    /// everybody is covered.
    collection: Option<String>,
}

/// Which channel to stop.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StopLive {
    #[schema(value_type = String, format = Uuid)]
    channel_id: ChannelId,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = LiveActionName)]
enum Action {
    Start,
    Stop,
}

/// Both in one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LiveAction {
    action: Action,
    /// Needed to start.
    user: Option<String>,
    /// Needed to stop.
    channel_id: Option<String>,
    /// As in `StartLive`.
    collection: Option<String>,
}

/// Whether a channel was there.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StartedName {
    /// It was.
    Exist,
    /// It was made.
    Create,
}

/// Where viewers find it.
#[derive(Serialize, ToSchema)]
pub struct Destination {
    /// The live playlist.
    pub live: String,
    /// The playlist of the recording, once there is one.
    pub vod: String,
}

/// A channel that takes a publisher.
#[derive(Serialize, ToSchema)]
struct StartedLive {
    state: StartedName,
    #[schema(value_type = String, format = Uuid)]
    channel_id: ChannelId,
    /// Where to publish to. It holds the stream key: whoever has it can publish.
    source_url: String,
    destination_url: Destination,
}

#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StoppedName {
    Stopped,
}

/// A channel whose session is over.
#[derive(Serialize, ToSchema)]
struct StoppedLive {
    state: StoppedName,
    #[schema(value_type = String, format = Uuid)]
    channel_id: ChannelId,
}

/// What came of one action or the other.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Acted {
    Started(StartedLive),
    Stopped(StoppedLive),
}

/// Go live: answers once the channel takes a publisher.
///
/// A user whose channel runs gets that one, unchanged. Else a free channel, which may have been another user's, with
/// a new stream key and new addresses; else a new one. Scope: operate.
#[utoipa::path(
    post,
    path = "/v1/live/start",
    operation_id = "start_live",
    tag = "live",
    security(("key" = ["operate"])),
    request_body = StartLive,
    responses(
        (status = 200, description = "Where to publish, and where to watch", body = StartedLive),
        (status = 409, description = "All channels are in use (`channel_limit_reached`), or a request with this \
            idempotency key is in the way", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The servers cannot run another channel (`no_capacity`), or it was not ready in \
            time (`not_ready`)", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn start_live(
    State(app): Shared,
    Operate(caller): Operate,
    Body(new): Body<StartLive>,
) -> Result<Json<StartedLive>, Problem> {
    start(&app, &caller, new).await.map(Json)
}

/// End a session: answers once the playlist is ended and the recording finished. Of a channel that is stopped: at once.
///
/// Scope: operate.
#[utoipa::path(
    post,
    path = "/v1/live/stop",
    operation_id = "stop_live",
    tag = "live",
    security(("key" = ["operate"])),
    request_body = StopLive,
    responses(
        (status = 200, description = "It is stopped", body = StoppedLive),
        (status = 409, description = "It is starting or being deleted (`channel_busy`), or a request with this \
            idempotency key is in the way", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "It is still stopping (`not_ready`): ask again", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
async fn stop_live(
    State(app): Shared,
    Operate(caller): Operate,
    Body(which): Body<StopLive>,
) -> Result<Json<StoppedLive>, Problem> {
    stop(&app, &caller, which.channel_id, None).await.map(Json)
}

/// Go live or end it, as `action` says: for clients that have one address for both.
///
/// Scope: operate.
#[utoipa::path(
    post,
    path = "/v1/live",
    operation_id = "live",
    tag = "live",
    security(("key" = ["operate"])),
    request_body = LiveAction,
    responses((status = 200, description = "As of `/v1/live/start` or `/v1/live/stop`", body = Acted)),
)]
async fn act(
    State(app): Shared,
    Operate(caller): Operate,
    Body(LiveAction { action, user, channel_id, collection }): Body<LiveAction>,
) -> Result<Json<Acted>, Problem> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let missing = |what| Problem::new(Code::InvalidValue, format!("{what} is missing"));
    let (user, channel) = (given(user), given(channel_id));
    Ok(Json(match action {
        Action::Start => {
            let user = user.ok_or_else(|| missing("user"))?;
            let new = StartLive { user, collection: given(collection) };
            Acted::Started(start(&app, &caller, new).await?)
        }
        Action::Stop => {
            let id = channel.ok_or_else(|| missing("channel_id"))?;
            let channel = id.parse().map_err(|_| Problem::not_found("channel", id))?;
            Acted::Stopped(stop(&app, &caller, channel, user.as_deref()).await?)
        }
    }))
}

async fn start(app: &App, caller: &Caller, new: StartLive) -> Result<StartedLive, Problem> {
    if !caller.acts_for(&new.user) {
        let detail = "user names another user, which needs the scope admin";
        return Err(Problem::new(Code::MissingScope, detail));
    }
    let limit = app.config.live.channels;
    let new = NewLive { owner: new.user, collection: new.collection, limit };
    let started = app.store.start_live(&new, &caller.actor(), Timestamp::now()).await?;
    let (id, session) = (started.channel.id, started.session);
    let over = |channel: Option<&Channel>| channel.is_none_or(|c| c.session != Some(session));
    let seen = wait(app, id, |channel| {
        over(channel) || channel.is_some_and(|c| c.is_ready(Timestamp::now()))
    })
    .await?;
    if seen.timed_out || over(seen.channel.as_ref()) {
        return Err(not_ready(app, seen.channel).await?);
    }
    let session = app.store.session(None, session).await?;
    Ok(StartedLive {
        state: if started.existed { StartedName::Exist } else { StartedName::Create },
        channel_id: id,
        source_url: source_url(app, id, &started.key).await?,
        destination_url: destination(app, &session),
    })
}

/// Why a channel did not become ready. One that no server has is free again.
async fn not_ready(app: &App, channel: Option<Channel>) -> Result<Problem, Problem> {
    let patience = SignedDuration::try_from(app.config.live.wait).unwrap_or(SignedDuration::MAX);
    app.store.give_up_starts(patience, Timestamp::now()).await?;
    let why = channel.and_then(|channel| channel.reason);
    let detail = why.unwrap_or_else(|| "no server made it ready in time".to_owned());
    let detail = format!("{detail}; start it again");
    Ok(Problem::new(Code::NotReady, detail).retry_after(2))
}

/// `user`: whose it must be, where that was said.
async fn stop(
    app: &App,
    caller: &Caller,
    id: ChannelId,
    user: Option<&str>,
) -> Result<StoppedLive, Problem> {
    let owner = app.store.channel(id).await?.owner;
    if !caller.acts_for(&owner) || user.is_some_and(|user| user != owner) {
        return Err(Problem::not_found("channel", id));
    }
    let channel = app.store.stop_live(&owner, id, &caller.actor(), Timestamp::now()).await?;
    let (stopped, session) =
        (StoppedLive { state: StoppedName::Stopped, channel_id: id }, channel.session);
    if channel.state.is_free() {
        return Ok(stopped);
    }
    // It may be gone, or used again, when it is looked at next.
    let over = |channel: Option<&Channel>| channel.is_none_or(|c| c.session != session);
    if wait(app, id, over).await?.timed_out {
        let detail = "it is still being stopped, and will be; ask again to hear when that is done";
        return Err(Problem::new(Code::NotReady, detail).retry_after(2));
    }
    Ok(stopped)
}

/// A channel as it was seen last.
struct Seen {
    /// `None`: it is gone.
    channel: Option<Channel>,
    timed_out: bool,
}

/// Waits until `is` takes the channel, but not for ever.
async fn wait(
    app: &App,
    id: ChannelId,
    is: impl Fn(Option<&Channel>) -> bool,
) -> Result<Seen, Problem> {
    let end = Instant::now() + app.config.live.wait;
    let mut changes = app.store.changes(Topic::Channels);
    loop {
        changes.mark_unchanged();
        let channel = match app.store.channel(id).await {
            Ok(channel) => Some(channel),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let timed_out = Instant::now() >= end;
        if timed_out || is(channel.as_ref()) {
            let timed_out = !is(channel.as_ref());
            return Ok(Seen { channel, timed_out });
        }
        let _ = timeout_at(end, timeout(LOOK, changes.changed())).await;
    }
}

/// Where the holder of `key` publishes to: the server that has the channel.
pub async fn source_url(app: &App, channel: ChannelId, key: &StreamKey) -> Result<String, Problem> {
    let server = app.store.server_of(channel, Timestamp::now()).await?;
    let url = server.and_then(|server| server.rtmp);
    let url = url.as_deref().unwrap_or(&app.config.live.rtmp_url);
    Ok(format!("{url}/live/{}", key.reveal()))
}

/// Where viewers find a session; with a signature where only those who were given one may watch.
pub fn destination(app: &App, session: &Session) -> Destination {
    let base = app.config.public_url.as_ref().map_or("", |url| url.as_str().trim_end_matches('/'));
    let signed = match session.playback {
        Playback::Public => String::new(),
        Playback::Signed => {
            let expires = media::expiry(Timestamp::now()).as_second();
            let signature = app.store.sign_session(session.id, expires);
            format!("?expires={expires}&signature={signature}")
        }
    };
    let address = |what: &str, id: SessionId| format!("{base}/{what}/{id}/index.m3u8{signed}");
    Destination { live: address("live", session.id), vod: address("vod", session.id) }
}
