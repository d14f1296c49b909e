//! `/v1/webhooks`: addresses that are told what happens, and how that went.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use domain::{DeliveryId, WebhookId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::{DeliveryReport, Format, Webhook};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Operate, Read};
use super::extract::{Body, Path, Query};
use super::page::{Page, PageQuery};
use super::problem::Problem;
use super::{App, Shared};

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(remove))
        .routes(routes!(deliveries))
        .routes(routes!(redeliver))
}

/// What a webhook is sent.
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = WebhookFormat)]
enum FormatName {
    /// CloudEvents 1.0 in JSON.
    #[default]
    Cloudevents,
    /// `{JobId, Status, API, JobTag, Timestamp, Video: {S3ObjectName, S3Bucket}}` when a search is over.
    Sns,
}

/// An address to tell what happens.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateWebhook {
    /// http or https.
    #[schema(max_length = 2000)]
    url: String,
    /// Types of events, like `job.done`; all if empty.
    #[serde(default)]
    #[schema(max_items = 32)]
    types: Vec<String>,
    #[serde(default)]
    format: FormatName,
}

/// An address that is told what happens.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
struct WebhookView {
    #[schema(value_type = String, format = Uuid)]
    id: WebhookId,
    url: String,
    types: Vec<String>,
    format: FormatName,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Webhook> for WebhookView {
    fn from(webhook: Webhook) -> Self {
        let Webhook { id, url, types, format, created_at, .. } = webhook;
        let format = match format {
            Format::Cloudevents => FormatName::Cloudevents,
            Format::Sns => FormatName::Sns,
        };
        Self { id, url, types, format, created_at }
    }
}

/// A new webhook.
#[derive(Serialize, ToSchema)]
struct CreatedWebhook {
    #[schema(value_type = String, format = Uuid)]
    id: WebhookId,
    /// `whsec_` and base64: what signs messages (Standard Webhooks). It is not shown again.
    secret: String,
}

/// Make a webhook.
///
/// Scope: operate.
#[utoipa::path(
    post,
    path = "/v1/webhooks",
    operation_id = "create_webhook",
    tag = "events",
    security(("key" = ["operate"])),
    request_body = CreateWebhook,
    responses((status = 201, description = "The webhook, with its secret", body = CreatedWebhook,
        headers(("Location" = String, description = "Path of the webhook")))),
)]
async fn create(
    State(app): Shared,
    Operate(caller): Operate,
    Body(new): Body<CreateWebhook>,
) -> Result<Response, Problem> {
    let format = match new.format {
        FormatName::Cloudevents => Format::Cloudevents,
        FormatName::Sns => Format::Sns,
    };
    let (owner, now) = (caller.owner(), Timestamp::now());
    let (id, secret) = app.store.add_webhook(owner, &new.url, &new.types, format, now).await?;
    let created = CreatedWebhook { id, secret: secret.text().to_owned() };
    Ok((StatusCode::CREATED, [(LOCATION, format!("/v1/webhooks/{id}"))], Json(created))
        .into_response())
}

/// List webhooks.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    operation_id = "list_webhooks",
    tag = "events",
    security(("key" = ["read"])),
    responses((status = 200, description = "All of them: there are 20 at most", body = Page<WebhookView>)),
)]
async fn list(State(app): Shared, Read(caller): Read) -> Result<Json<Page<WebhookView>>, Problem> {
    let webhooks = app.store.webhooks(caller.owner()).await?;
    let items = webhooks.into_iter().map(WebhookView::from).collect();
    Ok(Json(Page { items, next_cursor: None }))
}

/// Remove a webhook, and what is on its way to it.
///
/// Scope: operate.
#[utoipa::path(
    delete,
    path = "/v1/webhooks/{id}",
    operation_id = "remove_webhook",
    tag = "events",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 204, description = "It is gone"),
    ),
)]
async fn remove(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<WebhookId>,
) -> Result<StatusCode, Problem> {
    app.store.remove_webhook(caller.owner(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where a message is.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DeliveryStateName)]
enum StateName {
    /// To be sent, at `next_at` or later.
    Due,
    /// Being sent.
    Sending,
    /// Taken.
    Delivered,
    /// Given up after about a day.
    Dead,
}

impl StateName {
    fn name(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only messages in this state.
    #[param(inline)]
    state: Option<StateName>,
}

/// A message on its way, or at its end.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
struct DeliveryView {
    #[schema(value_type = String, format = Uuid)]
    id: DeliveryId,
    /// Number of the event.
    event: i64,
    /// Type of the event.
    event_type: String,
    state: String,
    /// How often it was sent.
    attempt: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
    /// The last answer's HTTP status.
    status: Option<i64>,
    /// What went wrong last.
    error: Option<String>,
}

impl From<DeliveryReport> for DeliveryView {
    fn from(report: DeliveryReport) -> Self {
        let DeliveryReport { id, event, kind, state, attempt, next_at, status, error } = report;
        Self { id, event, event_type: kind, state, attempt, next_at, status, error }
    }
}

/// List messages to a webhook, newest first.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}/deliveries",
    operation_id = "list_deliveries",
    tag = "events",
    security(("key" = ["read"])),
    params(("id" = String, Path, format = Uuid), Which, PageQuery),
    responses(
        (status = 200, description = "A page of messages", body = Page<DeliveryView>),
    ),
)]
async fn deliveries(
    State(app): Shared,
    Read(caller): Read,
    Path(id): Path<WebhookId>,
    Query(which): Query<Which>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<DeliveryView>>, Problem> {
    let (limit, state) = (page.limit()?, which.state.map(StateName::name));
    app.store.check_webhook(caller.owner(), id).await?;
    let found = app.store.deliveries(caller.owner(), id, state, page.after()?, limit + 1).await?;
    let views = found.into_iter().map(DeliveryView::from).collect();
    Ok(Json(Page::of(views, limit, |delivery| delivery.id.to_string())))
}

/// Send a message once more that was given up, or taken.
///
/// Scope: operate.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/deliveries/{delivery}/redeliver",
    operation_id = "redeliver",
    tag = "events",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid), ("delivery" = String, Path, format = Uuid)),
    responses(
        (status = 204, description = "It is due"),
    ),
)]
async fn redeliver(
    State(app): Shared,
    Operate(caller): Operate,
    Path((id, delivery)): Path<(WebhookId, DeliveryId)>,
) -> Result<StatusCode, Problem> {
    app.store.redeliver(caller.owner(), id, delivery, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
