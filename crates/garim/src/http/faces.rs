//! `/v1/faces`: faces on one picture, at once. Nothing of it is stored.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use jiff::Timestamp;
use pipeline::{FaceLine, PhotoSearchSpec, PhotoSearched, RatioBox};
use serde::{Deserialize, Serialize};
use store::Scope;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Operate;
use super::extract::Query;
use super::look::Look;
use super::problem::{Code, Problem};
use super::{App, Shared};
use crate::child::Task;
use crate::work::default_similarity;

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
    /// Width in pixels, upright.
    width: u32,
    /// Height in pixels, upright.
    height: u32,
    faces: Vec<FoundFace>,
}

/// A face at one time.
#[derive(Serialize, ToSchema)]
pub struct FoundFace {
    /// Time of the frame in milliseconds of the video's clock; 0 on a picture.
    timestamp_ms: i64,
    /// Whose face it is: one number for each person in the video. On a picture every face has its own.
    index: u32,
    #[serde(rename = "box")]
    place: FaceBox,
    /// How sure the detector is, 0 to 100.
    confidence: f32,
    /// Whom it is like, most similar first; five at most.
    matches: Vec<FaceMatch>,
}

/// Where a face is, in shares of the upright picture's width and height.
#[derive(Serialize, ToSchema)]
struct FaceBox {
    left: f32,
    top: f32,
    width: f32,
    height: f32,
}

/// Somebody whom a face is like.
#[derive(Serialize, ToSchema)]
struct FaceMatch {
    /// The person's id.
    #[schema(format = Uuid)]
    person: String,
    /// 0 to 100.
    similarity: f32,
}

impl From<FaceLine> for FoundFace {
    fn from(line: FaceLine) -> Self {
        let FaceLine { timestamp_ms, index, place, confidence, matches } = line;
        let RatioBox { left, top, width, height } = place;
        let place = FaceBox { left, top, width, height };
        let matches = matches.into_iter();
        let matches = matches.map(|m| FaceMatch { person: m.person, similarity: m.similarity });
        Self { timestamp_ms, index, place, confidence, matches: matches.collect() }
    }
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
    responses(
        (status = 200, description = "What is on it", body = FacesView),
    ),
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
    let threshold = with.threshold.unwrap_or_else(default_similarity);
    if !(0.0..=100.0).contains(&threshold) {
        return Err(Problem::new(Code::InvalidQuery, "threshold must lie between 0 and 100"));
    }
    let bytes = axum::body::to_bytes(request.into_body(), MAX_PICTURE).await;
    let bytes = bytes.map_err(|_| Problem::new(Code::TooLarge, "at most 32 MiB are taken here"))?;
    let people = match &with.collection {
        Some(collection) => app.store.people(Some(caller.owner()), Some(collection)).await?,
        None => Vec::new(),
    };
    let mut look = Look::begin(&app).await?;
    let now = Timestamp::now();
    let people = ::live::recognisable(&app.store, &people, Scope::Videos, now).await?;
    let input = look.add("picture", &bytes).await?;
    let task = Task::SearchPhoto(PhotoSearchSpec { input, people, threshold });
    let PhotoSearched { width, height, faces, .. } = look.child(task).await?;
    let faces = faces.into_iter().map(FoundFace::from).collect();
    Ok(Json(FacesView { width, height, faces }))
}
