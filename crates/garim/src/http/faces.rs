//! `/v1/faces`: faces on one picture, at once. Nothing of it is stored.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use pipeline::{PhotoSearchSpec, PhotoSearched};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Operate;
use super::extract::Query;
use super::look::{Pictures, child, people};
use super::problem::{Code, Problem};
use super::{App, Shared};
use crate::child::Task;

/// Largest picture, in bytes.
const MAX_PICTURE: usize = 32 << 20;

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(find))
}

/// What to compare with.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct With {
    /// Compare with the people in this collection who agree to it.
    #[param(max_length = 200)]
    collection: Option<String>,
    /// Least similarity of a match, 0 to 100; 80 if missing.
    #[param(minimum = 0.0, maximum = 100.0)]
    threshold: Option<f32>,
}

/// What is on a picture.
#[derive(Serialize, ToSchema)]
#[schema(as = Faces)]
struct FacesView {
    width: u32,
    height: u32,
    /// Box in shares of the upright picture, confidence, and matches with similarity 0 to 100.
    faces: Vec<Value>,
}

/// Find faces on a picture, and say whose they are.
///
/// Scope: operate. The body is a JPEG, PNG or WebP file of at most 32 MiB.
#[utoipa::path(
    post,
    path = "/v1/faces",
    operation_id = "find_faces",
    tag = "searches",
    security(("key" = ["operate"])),
    params(With),
    request_body(content((Vec<u8> = "image/jpeg"), (Vec<u8> = "image/png"), (Vec<u8> = "image/webp"))),
    responses((status = 200, description = "What is on it", body = FacesView)),
)]
async fn find(
    State(app): Shared,
    Operate(caller): Operate,
    Query(with): Query<With>,
    request: Request,
) -> Result<Json<FacesView>, Problem> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !matches!(kind, Some("image/jpeg" | "image/png" | "image/webp")) {
        let detail = "send Content-Type: image/jpeg, image/png or image/webp";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let threshold = with.threshold.unwrap_or(80.0);
    if !(0.0..=100.0).contains(&threshold) {
        return Err(Problem::new(Code::InvalidQuery, "threshold must lie between 0 and 100"));
    }
    let bytes = axum::body::to_bytes(request.into_body(), MAX_PICTURE).await;
    let bytes = bytes.map_err(|_| Problem::new(Code::TooLarge, "at most 32 MiB are taken here"))?;
    let people = match &with.collection {
        Some(collection) => people(&app, caller.owner(), collection).await?,
        None => Vec::new(),
    };
    let mut pictures = Pictures::new(&app)?;
    let input = pictures.add("picture", &bytes)?;
    let task = Task::SearchPhoto(PhotoSearchSpec { input, people, threshold });
    let found: PhotoSearched = child(&app, &pictures.room, task).await?;
    let faces = found.faces.iter().map(serde_json::to_value).collect::<Result<_, _>>();
    let faces = faces.map_err(Problem::internal)?;
    Ok(Json(FacesView { width: found.width, height: found.height, faces }))
}
