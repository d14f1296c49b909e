//! `/v1/jobs`: what is being done, and stopping it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use domain::{JobId, VideoId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Job, State as JobState};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Operate, Read};
use super::extract::{Path, Query};
use super::page::{Page, PageQuery};
use super::problem::Problem;
use super::{App, Shared};

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(cancel))
}

/// A job.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    #[schema(value_type = String, format = Uuid)]
    id: JobId,
    /// `mosaic`, `render`, `search`, `recover`, `ingest`, `convert`, `recording` or `original`; of parts of long videos `analyse_part` or `render_part`.
    kind: &'static str,
    /// The job that it is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    part_of: Option<JobId>,
    #[schema(value_type = Option<String>, format = Uuid)]
    video: Option<VideoId>,
    /// What the user calls it.
    tag: Option<String>,
    priority: i64,
    state: StateView,
    /// How often it was begun.
    attempt: i64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

/// Where a job is.
#[derive(Serialize, ToSchema)]
#[serde(tag = "name", rename_all = "snake_case")]
#[schema(as = JobState)]
enum StateView {
    /// Other jobs must be done first: the one before it, or the parts that a long video was split into.
    Waiting {
        /// How many.
        left: i64,
    },
    /// To be done at that time or later.
    Queued {
        #[schema(value_type = String, format = DateTime)]
        run_at: Timestamp,
        /// Why the last attempt failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        last_failure: Option<FailureView>,
    },
    /// Being done.
    Running {
        worker: String,
        #[schema(value_type = String, format = DateTime)]
        lease_until: Timestamp,
        /// `fetch`, `analyse`, `render`, `store` ...
        phase: Option<String>,
        /// Share of the phase that is done, 0 to 1.
        progress: f64,
        cancelling: bool,
    },
    /// Done, with what came of it.
    Done { result: Value },
    /// Given up.
    Failed { failure: FailureView },
    /// Stopped because somebody said so.
    Cancelled,
}

/// Why a job or an attempt failed.
#[derive(Serialize, ToSchema)]
#[schema(as = JobFailure)]
struct FailureView {
    /// `input_refused`, `child_died`, `worker_lost`, `storage_full` ... Never changes its meaning.
    code: String,
    message: String,
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        let failure = |f: store::Failure| FailureView { code: f.code, message: f.message };
        let state = match job.state {
            JobState::Waiting(left) => StateView::Waiting { left },
            JobState::Queued { run_at, last } => {
                StateView::Queued { run_at, last_failure: last.map(failure) }
            }
            JobState::Running { worker, lease_until, phase, progress, cancelling } => {
                let progress = progress as f64 / 1000.0;
                StateView::Running { worker, lease_until, phase, progress, cancelling }
            }
            JobState::Done(result) => StateView::Done { result },
            JobState::Failed(f) => StateView::Failed { failure: failure(f) },
            JobState::Cancelled => StateView::Cancelled,
        };
        let (kind, video, tag, priority) = (job.kind.name(), job.video, job.tag, job.priority);
        let (created_at, started_at, ended_at) = (job.created_at, job.started_at, job.ended_at);
        Self {
            id: job.id,
            kind,
            part_of: job.part_of,
            video,
            tag,
            priority,
            state,
            attempt: job.attempt,
            created_at,
            started_at,
            ended_at,
        }
    }
}

/// 202 with a job that was just made, and where to look how it goes.
pub async fn accepted(app: &App, owner: &str, job: JobId) -> Result<Response, Problem> {
    let view = JobView::from(app.store.job(owner, job).await?);
    Ok((StatusCode::ACCEPTED, [(LOCATION, format!("/v1/jobs/{job}"))], Json(view)).into_response())
}

/// Which jobs.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only jobs of this video.
    #[param(value_type = Option<String>, format = Uuid)]
    video: Option<VideoId>,
    /// Only jobs in this state.
    #[param(inline)]
    state: Option<StateName>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = JobStateName)]
enum StateName {
    Waiting,
    Queued,
    Running,
    Done,
    Failed,
    Cancelled,
}

impl StateName {
    fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// List jobs, newest first.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    operation_id = "list_jobs",
    tag = "jobs",
    security(("key" = ["read"])),
    params(Which, PageQuery),
    responses((status = 200, description = "A page of jobs", body = Page<JobView>)),
)]
async fn list(
    State(app): Shared,
    Read(caller): Read,
    Query(which): Query<Which>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<JobView>>, Problem> {
    let limit = page.limit()?;
    let state = which.state.map(StateName::name);
    let jobs = app.store.jobs(caller.owner(), which.video, state, page.after()?, limit + 1).await?;
    let jobs = jobs.into_iter().map(JobView::from).collect();
    Ok(Json(Page::of(jobs, limit, |job| job.id.to_string())))
}

/// Show a job.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    operation_id = "show_job",
    tag = "jobs",
    security(("key" = ["read"])),
    params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 200, description = "The job", body = JobView),
    ),
)]
async fn show(
    State(app): Shared,
    Read(caller): Read,
    Path(id): Path<JobId>,
) -> Result<Json<JobView>, Problem> {
    Ok(Json(app.store.job(caller.owner(), id).await?.into()))
}

/// Stop a job. One that is running stops within a few seconds; one that is over stays as it is.
///
/// Scope: operate.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/cancel",
    operation_id = "cancel_job",
    tag = "jobs",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 200, description = "The job as it is now", body = JobView),
    ),
)]
async fn cancel(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<JobId>,
) -> Result<Json<JobView>, Problem> {
    let job = app.store.cancel(caller.owner(), id, Timestamp::now()).await?;
    Ok(Json(job.into()))
}
