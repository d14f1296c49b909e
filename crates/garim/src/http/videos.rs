//! `/v1/videos`: stored videos, covering them, and their versions.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as AxumBody;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::{PersonId, VideoId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{
    Kind, NewJob, NewVideo, ObjectPath, Original, Source, Version, VersionState, Video, VideoState,
};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Caller, Operate, Originals, Read};
use super::extract::{Body, Path, Query};
use super::jobs::{JobView, accepted};
use super::page::{Page, PageQuery};
use super::problem::{Code, Problem, ProblemBody};
use super::{App, Shared, media};
use crate::work::{MAX_PEOPLE, MosaicOptions, RenderWork};

/// Largest priority of a job that a user asks for.
const MAX_PRIORITY: i64 = 10;

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, delete))
        .routes(routes!(destroy_original))
        .routes(routes!(mosaic))
        .routes(routes!(convert))
        .routes(routes!(versions))
        .routes(routes!(file))
}

/// Routes whose bodies hold plans.
pub fn large_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(render))
}

/// What becomes of an original once it was covered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OriginalPolicy {
    /// It stays, sealed, until its video is deleted: who consents later can be shown.
    Seal,
    /// It is destroyed after this many seconds.
    DeleteAfterSeconds(u32),
}

impl From<OriginalPolicy> for Original {
    fn from(policy: OriginalPolicy) -> Self {
        match policy {
            OriginalPolicy::Seal => Self::Keep,
            OriginalPolicy::DeleteAfterSeconds(seconds) => {
                Self::DeleteAfter(SignedDuration::from_secs(seconds.into()))
            }
        }
    }
}

/// A video to take up that lies in the store already. To send one, see `/v1/uploads`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateVideo {
    /// Name of the object, below `incoming/{user}/`; an HLS archive by its playlist.
    #[schema(max_length = 512)]
    object: String,
    /// What to call it; its object's name if missing.
    #[schema(max_length = 200)]
    name: Option<String>,
    /// The server's own rule if missing.
    original: Option<OriginalPolicy>,
    /// When all of it is deleted; by the user's or the server's rule if missing.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Cover it as soon as it is there.
    mosaic: Option<MosaicOptions>,
}

/// A stored video.
#[derive(Serialize, ToSchema)]
#[schema(as = Video)]
pub struct VideoView {
    #[schema(value_type = String, format = Uuid)]
    pub id: VideoId,
    pub user: String,
    pub name: String,
    state: VideoStateName,
    /// Bytes of the original.
    bytes: u64,
    /// Of these, how many have arrived.
    received: u64,
    /// Whether the original is there, sealed.
    has_original: bool,
    original: OriginalPolicy,
    /// When the original will be destroyed.
    #[schema(value_type = Option<String>, format = DateTime)]
    original_delete_at: Option<Timestamp>,
    /// What a probe said of it: streams, duration, frame rate.
    info: Option<Value>,
    /// What is public of it: the number of a version, and signed addresses.
    published: Option<PublishedView>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = VideoState)]
enum VideoStateName {
    Uploading,
    Stored,
}

/// What viewers can have.
#[derive(Serialize, ToSchema)]
#[schema(as = PublishedVersion)]
struct PublishedView {
    version: i64,
    /// Good for a while: ask again for new ones.
    urls: Vec<String>,
    /// Until when the addresses are good.
    #[schema(value_type = String, format = DateTime)]
    urls_expire_at: Timestamp,
}

/// A covered file that was made of a video.
#[derive(Serialize, ToSchema)]
#[schema(as = Version)]
struct VersionView {
    number: i64,
    state: VersionStateName,
    /// Since when it is public no longer.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// `consent_withdrawn`, `consent_expired`, `person_removed` or `deleted`.
    reason: Option<String>,
    files: Vec<FileView>,
    /// What was asked for.
    options: Value,
    /// Whom it shows.
    #[schema(value_type = Vec<uuid::Uuid>)]
    shows: Vec<PersonId>,
    /// When the first consent of those it shows ends by itself; then it is public no longer.
    #[schema(value_type = Option<String>, format = DateTime)]
    consent_until: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = VersionState)]
enum VersionStateName {
    Published,
    Superseded,
    Withdrawn,
}

#[derive(Serialize, ToSchema)]
#[schema(as = VersionFile)]
struct FileView {
    name: String,
    bytes: u64,
    /// Whether viewers may have it.
    public: bool,
}

/// A video as clients see it.
pub async fn view(app: &App, video: Video) -> Result<VideoView, Problem> {
    let published = match video.published {
        None => None,
        Some(number) => {
            let version = app.store.version(video.id, number).await?;
            let expires = media::expiry(Timestamp::now());
            let public = version.files.iter().filter(|f| f.public);
            let urls =
                public.map(|f| media::url(app, video.id, number, &f.name, expires)).collect();
            Some(PublishedView { version: number, urls, urls_expire_at: expires })
        }
    };
    let received = video.received();
    Ok(VideoView {
        id: video.id,
        user: video.owner,
        name: video.name,
        state: match video.state {
            VideoState::Uploading { .. } => VideoStateName::Uploading,
            VideoState::Stored => VideoStateName::Stored,
        },
        bytes: video.length,
        received,
        has_original: video.has_original,
        original: match video.original {
            Original::Keep => OriginalPolicy::Seal,
            Original::DeleteAfter(time) => OriginalPolicy::DeleteAfterSeconds(
                u32::try_from(time.as_secs()).unwrap_or(u32::MAX),
            ),
        },
        original_delete_at: video.original_delete_at,
        info: video.info,
        published,
        created_at: video.created_at,
        expires_at: video.expires_at,
    })
}

async fn version_view(app: &App, version: Version) -> Result<VersionView, Problem> {
    let (state, ended_at, reason) = match version.state {
        VersionState::Published => (VersionStateName::Published, None, None),
        VersionState::Superseded(at) => (VersionStateName::Superseded, Some(at), None),
        VersionState::Withdrawn(at, why) => (VersionStateName::Withdrawn, Some(at), Some(why)),
    };
    let files = version.files.into_iter();
    Ok(VersionView {
        number: version.number,
        state,
        ended_at,
        reason,
        files: files.map(|f| FileView { name: f.name, bytes: f.bytes, public: f.public }).collect(),
        options: version.options,
        shows: app.store.shown(version.video, version.number).await?,
        consent_until: version.consent_until,
        created_at: version.created_at,
    })
}

/// What becomes of a new original: as asked for, or by the server's rule.
pub fn original(app: &App, asked: Option<OriginalPolicy>) -> Original {
    asked.map_or_else(|| app.config.retention.original(), Original::from)
}

/// Take up a video that lies in the store.
///
/// Scope: operate. A job seals it; then it can be covered.
#[utoipa::path(
    post,
    path = "/v1/videos",
    operation_id = "create_video",
    tag = "videos",
    security(("key" = ["operate"])),
    request_body = CreateVideo,
    responses(
        (status = 202, description = "The job that takes it up", body = JobView,
            headers(("Location" = String, description = "Path of the job"))),
    ),
)]
async fn create(
    State(app): Shared,
    Operate(caller): Operate,
    Body(new): Body<CreateVideo>,
) -> Result<Response, Problem> {
    let owner = caller.owner();
    let object: ObjectPath =
        new.object.parse().map_err(|e| Problem::new(Code::InvalidValue, format!("object: {e}")))?;
    if !object.as_str().starts_with(&format!("incoming/{owner}/")) {
        return Err(Problem::not_found("object of yours", object.as_str()));
    }
    if let Some(options) = &new.mosaic {
        check(&app, &caller, options).await?;
    }
    let now = Timestamp::now();
    if new.expires_at.is_some_and(|at| at <= now) {
        return Err(Problem::new(Code::InvalidValue, "expires_at: is in the past"));
    }
    app.objects.head(&object).await?;
    let base = object.as_str().rsplit('/').next().unwrap_or_default();
    let video = NewVideo {
        owner: owner.to_owned(),
        name: new.name.unwrap_or_else(|| base.chars().take(50).collect()),
        source: Source::Object(object.as_str().to_owned()),
        original: original(&app, new.original),
        expires_at: new.expires_at,
        days: app.config.retention.days,
    };
    let mut jobs = vec![NewJob::new(owner, Kind::Ingest, json!({}))];
    if let Some(options) = new.mosaic {
        let work = serde_json::to_value(options).map_err(Problem::internal)?;
        jobs.push(NewJob::new(owner, Kind::Mosaic, work));
    }
    let (_, jobs) = app.store.add_video_and_jobs(&video, &jobs, now).await?;
    let ingest = jobs.first().ok_or_else(|| Problem::internal("no job was added"))?;
    accepted(&app, owner, *ingest).await
}

/// List videos, newest first.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/videos",
    operation_id = "list_videos",
    tag = "videos",
    security(("key" = ["read"])),
    params(PageQuery),
    responses((status = 200, description = "A page of videos", body = Page<VideoView>)),
)]
async fn list(
    State(app): Shared,
    Read(caller): Read,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<VideoView>>, Problem> {
    let limit = page.limit()?;
    let videos = app.store.videos(caller.owner(), page.after()?, limit + 1).await?;
    let mut views = Vec::with_capacity(videos.len());
    for video in videos {
        views.push(view(&app, video).await?);
    }
    Ok(Json(Page::of(views, limit, |video| video.id.to_string())))
}

/// Show a video.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/videos/{id}",
    operation_id = "show_video",
    tag = "videos",
    security(("key" = ["read"])),
    params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 200, description = "The video", body = VideoView),
    ),
)]
async fn show(
    State(app): Shared,
    Read(caller): Read,
    Path(id): Path<VideoId>,
) -> Result<Json<VideoView>, Problem> {
    let video = app.store.video(caller.owner(), id).await?;
    Ok(Json(view(&app, video).await?))
}

/// Delete a video: its original and everything that was made of it.
///
/// Scope: operate.
#[utoipa::path(
    delete,
    path = "/v1/videos/{id}",
    operation_id = "delete_video",
    tag = "videos",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 204, description = "It is gone; its public addresses answer 410"),
    ),
)]
async fn delete(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<VideoId>,
) -> Result<StatusCode, Problem> {
    app.store.delete_video(caller.owner(), id, &caller.actor(), Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Destroy a video's original and keep what was made of it.
///
/// Scope: originals.
#[utoipa::path(
    delete,
    path = "/v1/videos/{id}/original",
    operation_id = "destroy_original",
    tag = "videos",
    security(("key" = ["originals"])),
    params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 204, description = "Its key is destroyed"),
        (status = 409, description = "It is gone already", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn destroy_original(
    State(app): Shared,
    Originals(caller): Originals,
    Path(id): Path<VideoId>,
) -> Result<StatusCode, Problem> {
    let now = Timestamp::now();
    app.store.destroy_original(caller.owner(), id, &caller.actor(), now).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How to cover a video.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Mosaic {
    #[serde(default)]
    options: MosaicOptions,
    /// What to call the job.
    #[schema(max_length = 200)]
    tag: Option<String>,
    /// Greater ones go first.
    #[serde(default)]
    #[schema(minimum = -10, maximum = 10)]
    priority: i64,
}

/// Cover a video and publish the result.
///
/// Scope: operate. What was published before is public no longer once this is done.
#[utoipa::path(
    post,
    path = "/v1/videos/{id}/mosaic",
    operation_id = "mosaic_video",
    tag = "videos",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid)),
    request_body = Mosaic,
    responses(
        (status = 202, description = "The job", body = JobView, headers(("Location" = String, description = "Path of the job"))),
    ),
)]
async fn mosaic(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<VideoId>,
    Body(Mosaic { options, tag, priority }): Body<Mosaic>,
) -> Result<Response, Problem> {
    let owner = caller.owner();
    let video = app.store.video(owner, id).await?;
    check(&app, &caller, &options).await?;
    needs_original(&video)?;
    app.store.not_converting(id).await?;
    let work = serde_json::to_value(options).map_err(Problem::internal)?;
    let job = job(owner, Kind::Mosaic, id, work, tag, priority)?;
    let job = app.store.enqueue(&job, Timestamp::now()).await?;
    accepted(&app, owner, job).await
}

/// What to call a conversion, and when to do it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Convert {
    /// What to call the job.
    #[schema(max_length = 200)]
    tag: Option<String>,
    /// Greater ones go first.
    #[serde(default)]
    #[schema(minimum = -10, maximum = 10)]
    priority: i64,
}

/// Make an MP4 of a video's original, for one that is an HLS archive or of another kind.
///
/// Scope: operate. Nothing is covered or encoded again: the MP4 holds the packets of the main video and sound, is sealed
/// with a new key, and takes the place of the original, whose key is destroyed. An MP4 stays as it is. Plans are good for
/// the original that they were made of, so a video is converted before it is covered; meanwhile nothing else is done
/// with it.
#[utoipa::path(
    post,
    path = "/v1/videos/{id}/convert",
    operation_id = "convert_video",
    tag = "videos",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid)),
    request_body = Convert,
    responses(
        (status = 202, description = "The job", body = JobView, headers(("Location" = String, description = "Path of the job"))),
        (status = 409, description = "It was covered already, other jobs work on it, or its original is not there",
            body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn convert(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<VideoId>,
    Body(Convert { tag, priority }): Body<Convert>,
) -> Result<Response, Problem> {
    let owner = caller.owner();
    let video = app.store.video(owner, id).await?;
    needs_original(&video)?;
    let job = job(owner, Kind::Convert, id, json!({}), tag, priority)?;
    let job = app.store.enqueue_conversion(&job, Timestamp::now()).await?;
    accepted(&app, owner, job).await
}

/// A job that a user asks for.
pub fn job(
    owner: &str,
    kind: Kind,
    video: VideoId,
    work: Value,
    tag: Option<String>,
    priority: i64,
) -> Result<NewJob, Problem> {
    if tag.as_ref().is_some_and(|t| t.len() > 200 || t.chars().any(char::is_control)) {
        let detail = "tag: must have at most 200 bytes and no control characters";
        return Err(Problem::new(Code::InvalidValue, detail));
    }
    if priority.abs() > MAX_PRIORITY {
        return Err(Problem::new(Code::InvalidValue, "priority: must lie between -10 and 10"));
    }
    Ok(NewJob { video: Some(video), tag, priority, ..NewJob::new(owner, kind, work) })
}

/// # Errors
/// The original is still arriving, or was destroyed.
pub fn needs_original(video: &Video) -> Result<(), Problem> {
    match video.state {
        VideoState::Stored if video.has_original => Ok(()),
        VideoState::Stored => Err(store::Error::NoOriginal(video.id).into()),
        VideoState::Uploading { received } => {
            let detail = format!("{received} of {} bytes have arrived", video.length);
            Err(Problem::new(Code::Conflict, detail))
        }
    }
}

/// Whether a cover is strong enough, and whether everybody it names is the caller's and agrees.
async fn check(app: &App, caller: &Caller, options: &MosaicOptions) -> Result<(), Problem> {
    options.check().map_err(|e| Problem::new(Code::InvalidValue, e.to_string()))?;
    if let Some(collection) = &options.collection {
        app.store.check_collection(caller.owner(), collection).await?;
    }
    agrees(app, caller.owner(), &options.people).await
}

/// # Errors
/// Somebody is none of the user's people, or does not agree.
async fn agrees(app: &App, owner: &str, people: &[PersonId]) -> Result<(), Problem> {
    for person in people {
        let person = app.store.person_of(owner, *person).await?;
        let (scope, now) = (store::Scope::Videos, Timestamp::now());
        let standing = app.store.standing(person.id, scope, now).await?;
        if !standing.is_given() {
            return Err(store::Error::NoConsent { name: person.name, standing }.into());
        }
    }
    Ok(())
}

/// An edited plan to render.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Render {
    /// The plan of this version, as GET gave it and as it was edited since: docs/reference/plan.md.
    #[schema(value_type = Object)]
    plan: Value,
    /// The version whose plan it was.
    version: i64,
    /// Who is shown in tracks that the edits keep. Each must agree. Needed where anything is kept by hand.
    #[serde(default)]
    #[schema(value_type = Vec<uuid::Uuid>, max_items = 64)]
    people: Vec<PersonId>,
    /// What to call the job.
    #[schema(max_length = 200)]
    tag: Option<String>,
}

/// Cover a video by an edited plan, without looking for faces again.
///
/// Scope: operate.
#[utoipa::path(
    post,
    path = "/v1/videos/{id}/render",
    operation_id = "render_video",
    tag = "videos",
    security(("key" = ["operate"])),
    params(("id" = String, Path, format = Uuid)),
    request_body = Render,
    responses(
        (status = 202, description = "The job", body = JobView, headers(("Location" = String, description = "Path of the job"))),
    ),
)]
async fn render(
    State(app): Shared,
    Operate(caller): Operate,
    Path(id): Path<VideoId>,
    Body(new): Body<Render>,
) -> Result<Response, Problem> {
    let owner = caller.owner();
    let video = app.store.video(owner, id).await?;
    let version = app.store.version(id, new.version).await?;
    needs_original(&video)?;
    app.store.not_converting(id).await?;
    if new.people.len() > MAX_PEOPLE {
        return Err(Problem::new(Code::InvalidValue, "people: are more than 64"));
    }
    agrees(&app, owner, &new.people).await?;
    let bytes = serde_json::to_vec(&new.plan).map_err(Problem::internal)?;
    let plan = redact::PlanDocument::parse(&bytes)
        .map_err(|e| Problem::new(Code::InvalidValue, format!("plan: {e}")))?;
    let kept = plan.edits().any(|(_, edit)| edit == redact::Edit::Keep);
    if kept && new.people.is_empty() {
        let detail = "the plan keeps tracks by hand: name in `people` who is shown, so that their consent is known";
        return Err(Problem::new(Code::NoConsent, detail));
    }
    if version.plan_of.as_deref().is_none_or(|sha256| plan.for_input(sha256).is_err()) {
        let detail = format!("plan: is none of version {}", new.version);
        return Err(Problem::new(Code::InvalidValue, detail));
    }
    let now = Timestamp::now();
    let object = format!("plans/{id}/{}.json", uuid::Uuid::now_v7());
    app.objects.put_new(&object.parse()?, Bytes::from(bytes)).await?;
    let work = RenderWork { plan: object, people: new.people, version: new.version };
    let work = serde_json::to_value(work).map_err(Problem::internal)?;
    let job = app.store.enqueue(&job(owner, Kind::Render, id, work, new.tag, 0)?, now).await?;
    accepted(&app, owner, job).await
}

/// List what was made of a video, newest first; the last 100.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/videos/{id}/versions",
    operation_id = "list_versions",
    tag = "videos",
    security(("key" = ["read"])),
    params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 200, description = "The versions", body = Page<VersionView>),
    ),
)]
async fn versions(
    State(app): Shared,
    Read(caller): Read,
    Path(id): Path<VideoId>,
) -> Result<Json<Page<VersionView>>, Problem> {
    app.store.video(caller.owner(), id).await?;
    let mut items = Vec::new();
    for version in app.store.versions(id).await? {
        items.push(version_view(&app, version).await?);
    }
    Ok(Json(Page { items, next_cursor: None }))
}

/// Get a file of a version: the covered video, its poster, its plan or its report.
///
/// Scope: read. Viewers use the signed addresses in the video instead.
#[utoipa::path(
    get,
    path = "/v1/videos/{id}/versions/{number}/files/{name}",
    operation_id = "get_version_file",
    tag = "videos",
    security(("key" = ["read"])),
    params(
        ("id" = String, Path, format = Uuid),
        ("number" = i64, Path),
        ("name" = String, Path, description = "`video.mp4`, `poster.jpg`, `plan.json` or `report.json`"),
    ),
    responses(
        (status = 200, description = "The file", content(
            (Object = "application/json"), (Vec<u8> = "video/mp4"), (Vec<u8> = "image/jpeg"))),
        (status = 410, description = "The version is public no longer", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
async fn file(
    State(app): Shared,
    Read(caller): Read,
    Path((id, number, name)): Path<(VideoId, i64, String)>,
) -> Result<Response, Problem> {
    app.store.video(caller.owner(), id).await?;
    let version = app.store.version(id, number).await?;
    if !version.is_public(Timestamp::now()) {
        return Err(Problem::new(Code::Gone, "the version is public no longer"));
    }
    if !version.files.iter().any(|f| f.name == name) {
        return Err(Problem::not_found("file", name));
    }
    let folder: ObjectPath = version.folder.parse()?;
    let contents = app.objects.stream(&folder.join(&name)?, None).await?;
    let headers = [
        (CONTENT_TYPE, media::kind(&name).to_owned()),
        (CONTENT_LENGTH, contents.size.to_string()),
    ];
    Ok((headers, AxumBody::from_stream(contents.bytes)).into_response())
}
