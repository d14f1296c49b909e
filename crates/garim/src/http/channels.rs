//! `/v1/channels` and `/v1/sessions`: live channels as things that are made, looked at, changed and deleted.

mod policy;
mod views;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::{ChannelId, SessionId};
use jiff::Timestamp;
use store::{Changes, Channel, NewChannel, Policy};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Operate, Read};
use super::extract::{Body, Path, Query};
use super::page::{Page, PageQuery};
use super::problem::{Problem, ProblemBody};
use super::{App, Shared, etag, live};
use views::{ChannelView, CreateChannel, PatchChannel, RotatedKey, SessionView};

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, patch, remove))
        .routes(routes!(rotate_key))
        .routes(routes!(disconnect))
        .routes(routes!(cover_all, release))
        .routes(routes!(sessions))
        .routes(routes!(recordings))
        .routes(routes!(session))
}

/// Make a channel.
///
/// Nobody uses it until somebody goes live (`/v1/live/start`): its user first, but another user may get it too. Scope:
/// operate.
#[utoipa::path(
    post,
    path = "/v1/channels",
    operation_id = "create_channel",
    tag = "live",
    security(("key" = ["operate"])),
    request_body = CreateChannel,
    responses(
        (status = 201, description = "The channel", body = ChannelView,
            headers(("Location" = String, description = "Path of the channel"))),
        (status = 409, description = "There are as many as there may be (`channel_limit_reached`), or a request with \
            this idempotency key is in the way", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn create(
    State(app): Shared,
    Operate(caller): Operate,
    Body(CreateChannel { name, collection, policy }): Body<CreateChannel>,
) -> Result<Response, Problem> {
    let new = NewChannel::of(caller.owner(), app.config.live.channels);
    let name = name.unwrap_or_else(|| new.name.clone());
    let policy = policy.on(Policy::default());
    let new = NewChannel { name, collection, policy, ..new };
    let made = app.store.create_channel(&new, Timestamp::now()).await?;
    let location = format!("/v1/channels/{}", made.id);
    let view = ChannelView::from(made);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(view)).into_response())
}

/// List channels, newest first.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/channels",
    operation_id = "list_channels",
    tag = "live",
    security(("key" = ["read"])),
    params(PageQuery),
    responses((status = 200, description = "A page of channels", body = Page<ChannelView>)),
)]
async fn list(
    State(app): Shared,
    Read(caller): Read,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<ChannelView>>, Problem> {
    let limit = page.limit()?;
    let found = app.store.channels(caller.owner(), page.after()?, limit + 1).await?;
    let views = found.into_iter().map(ChannelView::from).collect();
    Ok(Json(Page::of(views, limit, |channel| channel.id.to_string())))
}

/// A channel that the user has.
async fn find(app: &App, owner: &str, id: ChannelId) -> Result<Channel, Problem> {
    let found = app.store.channel(id).await?;
    if found.owner == owner { Ok(found) } else { Err(Problem::not_found("channel", id)) }
}

/// Show a channel.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/channels/{id}",
    operation_id = "show_channel",
    tag = "live",
    security(("key" = ["read"])),
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, description = "The channel", body = ChannelView)),
)]
async fn show(
    State(app): Shared,
    Read(caller): Read,
    Path(id): Path<ChannelId>,
) -> Result<Json<ChannelView>, Problem> {
    Ok(Json(find(&app, caller.owner(), id).await?.into()))
}

/// Change a channel. Another collection holds at once, another policy from the next session on.
///
/// Scope: operate. With `If-Match`, only if the channel is still as it was read.
#[utoipa::path(
    patch,
    path = "/v1/channels/{id}",
    operation_id = "change_channel",
    tag = "live",
    security(("key" = ["operate"])),
    params(
        ("id" = String, Path, format = Uuid),
        ("If-Match" = Option<String>, Header, description = "ETag that a GET gave"),
    ),
    request_body = PatchChannel,
    responses(
        (status = 200, description = "The channel as it is now", body = ChannelView),
        (status = 412, description = "It was changed since", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
async fn patch(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<ChannelId>,
    headers: HeaderMap,
    Body(PatchChannel { name, collection, policy }): Body<PatchChannel>,
) -> Result<Json<ChannelView>, Problem> {
    let now = find(&app, caller.owner(), id).await?;
    let policy = policy.map(|policy| policy.on(now.policy.clone()));
    etag::check(&headers, &ChannelView::from(now))?;
    let changes = Changes { name, collection, policy };
    let changed = app.store.change_channel(caller.owner(), id, &changes, Timestamp::now()).await?;
    Ok(Json(changed.into()))
}

/// Delete a channel: at once, or as soon as its session is ended, which begins at once. Recordings stay.
///
/// Scope: operate.
#[utoipa::path(
    delete,
    path = "/v1/channels/{id}",
    operation_id = "delete_channel",
    tag = "live",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 204, description = "It is gone, or is about to be"),
        (status = 409, description = "It is starting (`channel_busy`)", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
async fn remove(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<ChannelId>,
) -> Result<StatusCode, Problem> {
    let (owner, actor) = (caller.owner(), caller.actor());
    app.store.delete_channel(owner, id, &actor, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a channel a new stream key. The old one opens nothing any more, and who publishes with it is cut off.
///
/// Scope: operate.
#[utoipa::path(
    post,
    path = "/v1/channels/{id}/rotate-key",
    operation_id = "rotate_stream_key",
    tag = "live",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, description = "The new key", body = RotatedKey)),
)]
async fn rotate_key(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<ChannelId>,
) -> Result<Json<RotatedKey>, Problem> {
    let (owner, actor) = (caller.owner(), caller.actor());
    let key = app.store.rotate_stream_key(owner, id, &actor, Timestamp::now()).await?;
    let source_url = live::source_url(&app, id, &key).await?;
    Ok(Json(RotatedKey { stream_key: key.reveal().to_owned(), source_url }))
}

/// Cut off whoever publishes to a channel. With the stream key, they may come back.
///
/// Scope: operate.
#[utoipa::path(
    post,
    path = "/v1/channels/{id}/disconnect",
    operation_id = "disconnect_channel",
    tag = "live",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid)),
    responses((status = 204, description = "It is being done")),
)]
async fn disconnect(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<ChannelId>,
) -> Result<StatusCode, Problem> {
    app.store.disconnect(caller.owner(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cover the whole live picture until it is released, over restarts too.
///
/// Scope: operate.
#[utoipa::path(
    put,
    path = "/v1/channels/{id}/cover-all",
    operation_id = "cover_all",
    tag = "live",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, description = "The channel as it is now", body = ChannelView)),
)]
async fn cover_all(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<ChannelId>,
) -> Result<Json<ChannelView>, Problem> {
    let (owner, actor) = (caller.owner(), caller.actor());
    let now = app.store.set_cover_all(owner, id, true, &actor, Timestamp::now()).await?;
    Ok(Json(now.into()))
}

/// Cover faces only again.
///
/// Scope: operate.
#[utoipa::path(
    delete,
    path = "/v1/channels/{id}/cover-all",
    operation_id = "release_cover_all",
    tag = "live",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, description = "The channel as it is now", body = ChannelView)),
)]
async fn release(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<ChannelId>,
) -> Result<Json<ChannelView>, Problem> {
    let (owner, actor) = (caller.owner(), caller.actor());
    let now = app.store.set_cover_all(owner, id, false, &actor, Timestamp::now()).await?;
    Ok(Json(now.into()))
}

/// List the user's sessions of a channel, newest first; also of one that has gone to another user since.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/channels/{id}/sessions",
    operation_id = "list_sessions",
    tag = "live",
    security(("key" = ["read"])),
    params(("id" = String, Path, format = Uuid), PageQuery),
    responses((status = 200, description = "A page of sessions", body = Page<SessionView>)),
)]
async fn sessions(
    State(app): Shared,
    Read(caller): Read,
    Path(id): Path<ChannelId>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<SessionView>>, Problem> {
    sessions_of(&app, caller.owner(), id, false, &page).await
}

/// List the sessions of a channel of which something was, is, or is to be recorded, newest first.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/channels/{id}/recordings",
    operation_id = "list_recordings",
    tag = "live",
    security(("key" = ["read"])),
    params(("id" = String, Path, format = Uuid), PageQuery),
    responses((status = 200, description = "A page of sessions", body = Page<SessionView>)),
)]
async fn recordings(
    State(app): Shared,
    Read(caller): Read,
    Path(id): Path<ChannelId>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<SessionView>>, Problem> {
    sessions_of(&app, caller.owner(), id, true, &page).await
}

async fn sessions_of(
    app: &App,
    owner: &str,
    id: ChannelId,
    recorded: bool,
    page: &PageQuery,
) -> Result<Json<Page<SessionView>>, Problem> {
    let limit = page.limit()?;
    let found = app.store.sessions(owner, id, recorded, page.after()?, limit + 1).await?;
    if found.is_empty() && app.store.sessions(owner, id, false, None, 1).await?.is_empty() {
        find(app, owner, id).await?;
    }
    let views = found.into_iter().map(|session| SessionView::new(app, session)).collect();
    Ok(Json(Page::of(views, limit, |session| session.id.to_string())))
}

/// Show a session.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/sessions/{id}",
    operation_id = "show_session",
    tag = "live",
    security(("key" = ["read"])),
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, description = "The session", body = SessionView)),
)]
async fn session(
    State(app): Shared,
    Read(caller): Read,
    Path(id): Path<SessionId>,
) -> Result<Json<SessionView>, Problem> {
    let session = app.store.session(Some(caller.owner()), id).await?;
    Ok(Json(SessionView::new(&app, session)))
}
