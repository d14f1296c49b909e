//! `/v1/collections`: the people of one streamer or organisation.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::{PersonId, PhotoId};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Read;
use super::extract::{Path, Query};
use super::page::{Page, PageQuery};
use super::problem::Problem;
use super::{App, Shared};

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(collections)).routes(routes!(faces))
}

/// People of one streamer or organisation.
#[derive(Serialize, ToSchema)]
#[schema(as = Collection)]
struct CollectionView {
    name: String,
    people: i64,
}

/// List collections, by name.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/collections",
    operation_id = "list_collections",
    tag = "people",
    security(("key" = ["read"])),
    params(PageQuery),
    responses((status = 200, description = "A page of collections", body = Page<CollectionView>)),
)]
async fn collections(
    State(app): Shared,
    Read(caller): Read,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<CollectionView>>, Problem> {
    let (limit, after) = (page.limit()?, page.after::<String>()?.unwrap_or_default());
    let found = app.store.collections(caller.owner(), &after, limit + 1).await?;
    let views = found.into_iter().map(|(name, people)| CollectionView { name, people }).collect();
    Ok(Json(Page::of(views, limit, |collection| collection.name.clone())))
}

/// A face that somebody is known by.
#[derive(Serialize, ToSchema)]
#[schema(as = Face)]
struct FaceView {
    #[schema(value_type = String, format = Uuid)]
    id: PhotoId,
    #[schema(value_type = String, format = Uuid)]
    person: PersonId,
    name: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// List the faces of a collection: one for each photo. Never the pictures.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/collections/{name}/faces",
    operation_id = "list_faces",
    tag = "people",
    security(("key" = ["read"])),
    params(("name" = String, Path), PageQuery),
    responses(
        (status = 200, description = "A page of faces", body = Page<FaceView>),
    ),
)]
async fn faces(
    State(app): Shared,
    Read(caller): Read,
    Path(name): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<FaceView>>, Problem> {
    let limit = page.limit()?;
    app.store.check_collection(caller.owner(), &name).await?;
    let found = app.store.faces(caller.owner(), &name, page.after()?, limit + 1).await?;
    let view = |(id, person, name, created_at)| FaceView { id, person, name, created_at };
    let views = found.into_iter().map(view).collect();
    Ok(Json(Page::of(views, limit, |face| face.id.to_string())))
}
