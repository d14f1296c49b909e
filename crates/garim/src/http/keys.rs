//! `/v1/keys`: who may ask for what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use domain::KeyId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::{ApiKey, KeyScope, NewKey};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::extract::{Body, Path, Query};
use super::page::{Page, PageQuery};
use super::problem::Problem;
use super::{App, Shared};

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(show, revoke))
}

/// What a key may do. None includes another; `admin` also lets a key act for every user.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Scope)]
enum ScopeName {
    Read,
    Operate,
    People,
    Originals,
    Admin,
}

impl From<ScopeName> for KeyScope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::Read => Self::Read,
            ScopeName::Operate => Self::Operate,
            ScopeName::People => Self::People,
            ScopeName::Originals => Self::Originals,
            ScopeName::Admin => Self::Admin,
        }
    }
}

impl From<KeyScope> for ScopeName {
    fn from(scope: KeyScope) -> Self {
        match scope {
            KeyScope::Read => Self::Read,
            KeyScope::Operate => Self::Operate,
            KeyScope::People => Self::People,
            KeyScope::Originals => Self::Originals,
            KeyScope::Admin => Self::Admin,
        }
    }
}

/// A key to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateKey {
    /// Whose; made if there is no user of that name.
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,62}$")]
    user: String,
    #[schema(min_items = 1, max_items = 5)]
    scopes: Vec<ScopeName>,
    /// What it is for.
    #[serde(default)]
    #[schema(max_length = 200)]
    label: String,
    /// When it ends by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
struct KeyView {
    #[schema(value_type = String, format = Uuid)]
    id: KeyId,
    user: String,
    scopes: Vec<ScopeName>,
    label: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// From then on it opens nothing.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        let ApiKey { id, owner, scopes, label, created_at, expires_at, revoked_at } = key;
        let scopes = scopes.into_iter().map(ScopeName::from).collect();
        Self { id, user: owner, scopes, label, created_at, expires_at, revoked_at }
    }
}

/// A new API key.
#[derive(Serialize, ToSchema)]
struct CreatedKey {
    #[serde(flatten)]
    key: KeyView,
    /// Send it as `Authorization: Bearer`. It is not shown again.
    secret: String,
}

/// Make a key.
///
/// Scope: admin.
#[utoipa::path(
    post,
    path = "/v1/keys",
    operation_id = "create_key",
    tag = "keys",
    security(("key" = ["admin"])),
    request_body = CreateKey,
    responses((status = 201, description = "The key, with its secret", body = CreatedKey,
        headers(("Location" = String, description = "Path of the key")))),
)]
async fn create(
    State(app): Shared,
    Admin(caller): Admin,
    Body(new): Body<CreateKey>,
) -> Result<impl IntoResponse, Problem> {
    let scopes = new.scopes.into_iter().map(KeyScope::from).collect();
    let CreateKey { user: owner, label, expires_at, .. } = new;
    let new = NewKey { owner, scopes, label, expires_at };
    let (key, secret) = app.store.create_key(&new, &caller.actor(), Timestamp::now()).await?;
    let location = format!("/v1/keys/{}", key.id);
    let created = CreatedKey { key: key.into(), secret: secret.reveal().to_owned() };
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(created)))
}

/// Which keys.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only keys of this user.
    user: Option<String>,
}

/// List keys, oldest first, also those that were revoked.
///
/// Scope: admin.
#[utoipa::path(
    get,
    path = "/v1/keys",
    operation_id = "list_keys",
    tag = "keys",
    security(("key" = ["admin"])),
    params(Which, PageQuery),
    responses((status = 200, description = "A page of keys", body = Page<KeyView>)),
)]
async fn list(
    State(app): Shared,
    _: Admin,
    Query(which): Query<Which>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<KeyView>>, Problem> {
    let limit = page.limit()?;
    let keys = app.store.keys(which.user.as_deref(), page.after()?, limit + 1).await?;
    let keys = keys.into_iter().map(KeyView::from).collect();
    Ok(Json(Page::of(keys, limit, |key| key.id.to_string())))
}

/// Show a key.
///
/// Scope: admin.
#[utoipa::path(
    get,
    path = "/v1/keys/{id}",
    operation_id = "show_key",
    tag = "keys",
    security(("key" = ["admin"])),
    params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 200, description = "The key", body = KeyView),
    ),
)]
async fn show(
    State(app): Shared,
    _: Admin,
    Path(id): Path<KeyId>,
) -> Result<Json<KeyView>, Problem> {
    Ok(Json(app.store.key(id).await?.into()))
}

/// Take a key back. From now on it opens nothing.
///
/// Scope: admin.
#[utoipa::path(
    delete,
    path = "/v1/keys/{id}",
    operation_id = "revoke_key",
    tag = "keys",
    security(("key" = ["admin"])),
    params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 204, description = "It is revoked"),
    ),
)]
async fn revoke(
    State(app): Shared,
    Admin(caller): Admin,
    Path(id): Path<KeyId>,
) -> Result<StatusCode, Problem> {
    app.store.revoke_key(id, &caller.actor(), Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
