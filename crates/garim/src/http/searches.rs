//! `/v1/searches`: faces in stored videos, and whose they are.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bytes::BytesMut;
use domain::{JobId, VideoId};
use futures_util::StreamExt;
use jiff::Timestamp;
use pipeline::FaceLine;
use serde::{Deserialize, Serialize};
use store::{Kind, ObjectPath, State as JobState};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Operate, Read};
use super::extract::{Body, Path, Query};
use super::faces::FoundFace;
use super::jobs::{JobView, accepted};
use super::page::{PageQuery, cursor};
use super::problem::{Code, Problem};
use super::videos::{job, needs_original};
use super::{App, Shared};
use crate::work::{SearchWork, default_every_ms, default_similarity};

/// Longest line of a result, in bytes.
const MAX_LINE: usize = 16 << 10;

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(show))
}

/// Which faces to look for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateSearch {
    #[schema(value_type = String, format = Uuid)]
    video: VideoId,
    /// Compare with the people in this collection who agree to it. Without: faces are found and followed, nobody
    /// is recognised.
    #[schema(max_length = 200)]
    collection: Option<String>,
    /// Least similarity of a match.
    #[serde(default = "default_similarity")]
    #[schema(minimum = 0.0, maximum = 100.0, default = 80.0)]
    threshold: f32,
    /// Milliseconds from one sample to the next; 0: every frame.
    #[serde(default = "default_every_ms")]
    #[schema(maximum = 500, default = 500)]
    every_ms: u32,
    /// What to call the job; in messages it is `JobTag`.
    #[schema(max_length = 200)]
    tag: Option<String>,
}

/// Look for faces in a video.
///
/// Scope: operate. The id of the job is that of the search.
#[utoipa::path(
    post,
    path = "/v1/searches",
    operation_id = "create_search",
    tag = "searches",
    security(("key" = ["operate"])),
    request_body = CreateSearch,
    responses(
        (status = 202, description = "The job", body = JobView, headers(("Location" = String, description = "Path of the job"))),
    ),
)]
async fn create(
    State(app): Shared,
    Operate(caller): Operate,
    Body(new): Body<CreateSearch>,
) -> Result<Response, Problem> {
    let owner = caller.owner();
    if !(0.0..=100.0).contains(&new.threshold) || new.every_ms > 500 {
        let detail = "threshold must lie between 0 and 100, every_ms between 0 and 500";
        return Err(Problem::new(Code::InvalidValue, detail));
    }
    let video = app.store.video(owner, new.video).await?;
    needs_original(&video)?;
    app.store.not_converting(video.id).await?;
    if let Some(collection) = &new.collection {
        app.store.check_collection(owner, collection).await?;
    }
    let CreateSearch { collection, threshold, every_ms, .. } = new;
    let work = serde_json::to_value(SearchWork { collection, threshold, every_ms });
    let work = work.map_err(Problem::internal)?;
    let job = job(owner, Kind::Search, video.id, work, new.tag, 0)?;
    let job = app.store.enqueue(&job, Timestamp::now()).await?;
    accepted(&app, owner, job).await
}

/// In which order faces are listed.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SearchSort)]
enum Sort {
    /// By time.
    #[default]
    Time,
    /// By person index, then by time.
    Index,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct How {
    #[param(inline)]
    sort: Option<Sort>,
}

/// How a search goes, and what it found.
#[derive(Serialize, ToSchema)]
#[schema(as = Search)]
struct SearchView {
    job: JobView,
    /// Once it is done.
    video: Option<SearchedVideo>,
    items: Vec<FoundFace>,
    /// Given as `cursor`, gives the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// The video that was searched.
#[derive(Serialize, Deserialize, ToSchema)]
struct SearchedVideo {
    /// `h264`, `hevc`, `vp8`, `vp9`, `av1` or `mpeg4`.
    codec: String,
    duration_millis: u64,
    /// FFmpeg's name of the container.
    format: String,
    /// Average frames per second; null when unknown.
    frame_rate: Option<f64>,
    /// Width in pixels, upright.
    width: u32,
    /// Height in pixels, upright.
    height: u32,
}

/// Show a search and a page of what it found.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/searches/{id}",
    operation_id = "show_search",
    tag = "searches",
    security(("key" = ["read"])),
    params(("id" = String, Path, format = Uuid), How, PageQuery),
    responses(
        (status = 200, description = "The search", body = SearchView),
    ),
)]
async fn show(
    State(app): Shared,
    Read(caller): Read,
    Path(id): Path<JobId>,
    Query(how): Query<How>,
    Query(page): Query<PageQuery>,
) -> Result<Json<SearchView>, Problem> {
    let (limit, from) = (page.limit()?, page.after::<u64>()?.unwrap_or(0));
    let job = app.store.job(caller.owner(), id).await?;
    if job.kind != Kind::Search {
        return Err(Problem::not_found("search", id));
    }
    let found = match &job.state {
        JobState::Done(result) => Some(result.clone()),
        _ => None,
    };
    let mut view =
        SearchView { job: job.into(), video: None, items: Vec::new(), next_cursor: None };
    let Some(result) = found else { return Ok(Json(view)) };
    let video = SearchedVideo::deserialize(&result["searched"]["video"]);
    view.video = Some(video.map_err(Problem::internal)?);
    let folder: ObjectPath = result["folder"].as_str().unwrap_or_default().parse()?;
    let name = match how.sort.unwrap_or_default() {
        Sort::Time => crate::worker::BY_TIME,
        Sort::Index => crate::worker::BY_INDEX,
    };
    let (items, next) = lines(&app, &folder.join(name)?, from, limit as usize).await?;
    view.items = items;
    view.next_cursor = next.map(|at| cursor(&at.to_string()));
    Ok(Json(view))
}

/// Up to `limit` lines of an object from byte `from` on, and where the next one begins.
async fn lines(
    app: &App,
    object: &ObjectPath,
    from: u64,
    limit: usize,
) -> Result<(Vec<FoundFace>, Option<u64>), Problem> {
    let size = app.objects.head(object).await?.size;
    let (mut items, mut at) = (Vec::new(), from);
    if from >= size {
        return Ok((items, None));
    }
    let mut contents = app.objects.stream(object, Some(from..size)).await?;
    let mut buffer = BytesMut::new();
    while let Some(bytes) = contents.bytes.next().await {
        buffer.extend_from_slice(&bytes?);
        while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
            let line = buffer.split_to(end + 1);
            at += line.len() as u64;
            // A cursor that points into a line is none that was given out.
            let bad = |_| Problem::new(Code::InvalidCursor, "give next_cursor of the page before");
            let face: FaceLine = serde_json::from_slice(&line).map_err(bad)?;
            items.push(face.into());
            if items.len() == limit {
                return Ok((items, (at < size).then_some(at)));
            }
        }
        if buffer.len() > MAX_LINE {
            return Err(Problem::internal("a line of a search is too long"));
        }
    }
    Ok((items, None))
}
