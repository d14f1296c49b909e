//! `/v1/users`: what each user may use.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::User;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, Read};
use super::extract::{Body, Path, Query};
use super::page::{Page, PageQuery};
use super::problem::Problem;
use super::{App, Shared, etag};

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, put))
}

/// Somebody who uses the service.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
struct UserView {
    name: String,
    /// Bytes that their videos may take; `null`: as much as the server allows everybody.
    quota_bytes: Option<i64>,
    /// Days after which their videos are deleted; `null`: the server's own rule.
    retention_days: Option<i64>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        let User { name, quota_bytes, retention_days, created_at } = user;
        Self { name, quota_bytes, retention_days, created_at }
    }
}

/// What a user may use.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutUser {
    #[schema(minimum = 0)]
    quota_bytes: Option<i64>,
    #[schema(minimum = 1, maximum = 36500)]
    retention_days: Option<i64>,
}

/// List users, by name.
///
/// Scope: admin.
#[utoipa::path(
    get,
    path = "/v1/users",
    operation_id = "list_users",
    tag = "users",
    security(("key" = ["admin"])),
    params(PageQuery),
    responses((status = 200, description = "A page of users", body = Page<UserView>)),
)]
async fn list(
    State(app): Shared,
    _: Admin,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<UserView>>, Problem> {
    let (limit, after) = (page.limit()?, page.after::<String>()?.unwrap_or_default());
    let users = app.store.users(&after, limit + 1).await?;
    let users = users.into_iter().map(UserView::from).collect();
    Ok(Json(Page::of(users, limit, |user| user.name.clone())))
}

/// Show a user. Without the scope admin: oneself only.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/users/{user}",
    operation_id = "show_user",
    tag = "users",
    security(("key" = ["read"])),
    params(("user" = String, Path, description = "Name")),
    responses(
        (status = 200, description = "The user", body = UserView),
    ),
)]
async fn show(
    State(app): Shared,
    Read(caller): Read,
    Path(name): Path<String>,
) -> Result<Json<UserView>, Problem> {
    if !caller.acts_for(&name) {
        return Err(Problem::not_found("user", name));
    }
    Ok(Json(app.store.user(&name).await?.into()))
}

/// Make a user, or change what they may use.
///
/// Scope: admin. With `If-Match`, only if the user is still as it was read.
#[utoipa::path(
    put,
    path = "/v1/users/{user}",
    operation_id = "put_user",
    tag = "users",
    security(("key" = ["admin"])),
    params(
        ("user" = String, Path, description = "Name: `[a-z0-9][a-z0-9._-]{0,62}`"),
        ("If-Match" = Option<String>, Header, description = "ETag that a GET gave"),
    ),
    request_body = PutUser,
    responses(
        (status = 200, description = "The user as it is now", body = UserView),
        (status = 412, description = "It was changed since", body = super::problem::ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
async fn put(
    State(app): Shared,
    _: Admin,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(new): Body<PutUser>,
) -> Result<Json<UserView>, Problem> {
    if headers.contains_key(axum::http::header::IF_MATCH) {
        etag::check(&headers, &UserView::from(app.store.user(&name).await?))?;
    }
    let now = Timestamp::now();
    let user = app.store.put_user(&name, new.quota_bytes, new.retention_days, now).await?;
    Ok(Json(user.into()))
}
