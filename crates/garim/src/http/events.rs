//! `/v1/events`: what happened, as a list and as a stream.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Error, Event, Topic};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Caller, Read};
use super::extract::Query;
use super::problem::{Code, Problem};
use super::{App, Shared};
use crate::notify::CloudEvent;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Events read at once.
const PAGE: u32 = 100;
/// Looks at least this often: other processes on SQLite are not heard.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A silent stream says this often that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Streams that go on for as long as the client likes.
pub fn stream_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(follow))
}

/// Where to begin.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct After {
    /// Only events after this number; the list begins with the oldest that is kept if missing.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Events at most.
    #[param(minimum = 1, maximum = 100, default = 100)]
    limit: Option<u32>,
}

/// Events in the order in which they happened.
#[derive(Serialize, ToSchema)]
#[schema(as = Events)]
struct EventsView {
    items: Vec<CloudEvent>,
    /// Give this as `after` for what comes next.
    last: i64,
}

/// List events, oldest first. They are kept for 30 days.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "list_events",
    tag = "events",
    security(("key" = ["read"])),
    params(After),
    responses((status = 200, description = "Events", body = EventsView)),
)]
async fn list(
    State(app): Shared,
    Read(caller): Read,
    Query(After { after, limit }): Query<After>,
) -> Result<Json<EventsView>, Problem> {
    let (after, limit) = (after.unwrap_or(0), limit.unwrap_or(PAGE));
    if after < 0 || !(1..=PAGE).contains(&limit) {
        let detail = "after must not be negative, limit must lie between 1 and 100";
        return Err(Problem::new(Code::InvalidQuery, detail));
    }
    let events = app.store.events(caller.owner(), after, limit).await?;
    let last = events.last().map_or(after, |event| event.seq);
    Ok(Json(EventsView { items: events.iter().map(CloudEvent::from).collect(), last }))
}

/// Follow events as they happen: server-sent events, whose data are CloudEvents.
///
/// Scope: read. Begins after `Last-Event-ID`, or `after`, else with what happens next.
#[utoipa::path(
    get,
    path = "/v1/events/stream",
    operation_id = "follow_events",
    tag = "events",
    security(("key" = ["read"])),
    params(
        ("after" = Option<i64>, Query, minimum = 0),
        ("Last-Event-ID" = Option<String>, Header, description = "The last `id` that the client has seen"),
    ),
    responses((status = 200, description = "Events, for ever", body = String, content_type = "text/event-stream")),
)]
async fn follow(
    State(app): Shared,
    Read(caller): Read,
    Query(query): Query<After>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let seen = match headers.get(&LAST_EVENT_ID) {
        Some(id) => {
            let number = id.to_str().ok().and_then(|id| id.parse().ok());
            let bad = || Problem::new(Code::InvalidHeader, "Last-Event-ID must be a number");
            Some(number.ok_or_else(bad)?)
        }
        None => query.after,
    };
    let after = match seen {
        Some(after) => after,
        None => app.store.last_event().await?,
    };
    let stopping = app.stopping.clone();
    let events = events(app, caller, after).take_until(stopping.cancelled_owned());
    let alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(axum::response::Sse::new(events).keep_alive(alive).into_response())
}

/// Events for a caller after number `after`, until the caller's key is good no longer. One page at a time is in
/// memory: a client that reads slowly is not read ahead for.
fn events(
    app: Arc<App>,
    caller: Caller,
    after: i64,
) -> impl Stream<Item = Result<Sse, serde_json::Error>> + Send {
    let changes = app.store.changes(Topic::Events);
    let pages = stream::unfold(
        (app, caller, after, changes),
        |(app, caller, after, mut changes)| async move {
            loop {
                changes.mark_unchanged();
                match page(&app, &caller, after).await {
                    Ok(Some(page)) => {
                        if let Some(last) = page.last().map(|event| event.seq) {
                            return Some((page, (app, caller, last, changes)));
                        }
                    }
                    Ok(None) => return None,
                    Err(error) => tracing::warn!(%error, "events cannot be read; trying again"),
                }
                // A sender that is gone is the store's: the server is about to stop.
                let _ = tokio::time::timeout(LOOK_EVERY, changes.changed()).await;
            }
        },
    );
    pages.flat_map(|page| stream::iter(page.into_iter().map(|event| sse(&event))))
}

/// The next events; `None`: the key was revoked or has ended since the stream began.
async fn page(app: &App, caller: &Caller, after: i64) -> Result<Option<Vec<Event>>, Error> {
    match app.store.key(caller.key().id).await {
        Ok(key) if key.is_good(Timestamp::now()) => {
            app.store.events(caller.owner(), after, PAGE).await.map(Some)
        }
        Ok(_) | Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn sse(event: &Event) -> Result<Sse, serde_json::Error> {
    let data = serde_json::to_string(&CloudEvent::from(event))?;
    let kind = format!("garim.{}", event.kind);
    Ok(Sse::default().id(event.seq.to_string()).event(kind).data(data))
}
