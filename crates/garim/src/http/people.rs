//! `/v1/people` and `/v1/collections`: who is enrolled, and what they agreed to.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use domain::{ConsentId, PersonId, PhotoId, VideoId};
use jiff::Timestamp;
use pipeline::{EnrolSpec, Examined, Input, TrackExamined, TrackSpec};
use serde::{Deserialize, Serialize};
use store::{Consent, NewConsent, NewPerson, NewPhoto, Person, Scope, Standing, Template};
use tokio::fs::File;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Caller, People, Read};
use super::extract::{Body, Path, Query};
use super::look::{Pictures, child};
use super::page::{Page, PageQuery};
use super::problem::{Code, Problem, ProblemBody, RefusedPhoto};
use super::{App, Shared};
use crate::child::Task;
use crate::enrol::refuse_known;

/// Photos of one request, at most.
const MAX_PHOTOS: usize = 64;
/// Longest text of a form, in bytes.
const MAX_TEXT: usize = 1024;

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, remove))
        .routes(routes!(consents, grant))
        .routes(routes!(withdraw))
        .routes(routes!(collections))
        .routes(routes!(faces))
}

/// Routes whose bodies hold photos, or that read originals.
pub fn large_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(enrol))
        .routes(routes!(add_photos))
        .routes(routes!(enrol_track))
}

/// In what somebody may be seen.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ConsentScope)]
enum ScopeName {
    /// Live channels and stored videos.
    #[default]
    All,
    /// Live channels only.
    Live,
    /// Stored videos only.
    Videos,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::All => Self::All,
            ScopeName::Live => Self::Live,
            ScopeName::Videos => Self::Videos,
        }
    }
}

impl From<Scope> for ScopeName {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::All => Self::All,
            Scope::Live => Self::Live,
            Scope::Videos => Self::Videos,
        }
    }
}

/// That somebody agrees to be seen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewConsent)]
struct ConsentBody {
    /// Who gave it: the person, or a guardian.
    #[schema(min_length = 1, max_length = 200)]
    given_by: String,
    /// How: "signed form 12", "told me on 3 May".
    #[schema(min_length = 1, max_length = 200)]
    how: String,
    #[serde(default)]
    scope: ScopeName,
    /// When it ends by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

impl From<ConsentBody> for NewConsent {
    fn from(body: ConsentBody) -> Self {
        let ConsentBody { given_by, how, scope, expires_at } = body;
        Self { given_by, how, scope: scope.into(), expires_at }
    }
}

/// Consent as it was recorded.
#[derive(Serialize, ToSchema)]
#[schema(as = Consent)]
struct ConsentView {
    #[schema(value_type = String, format = Uuid)]
    id: ConsentId,
    given_by: String,
    how: String,
    scope: ScopeName,
    #[schema(value_type = String, format = DateTime)]
    given_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    withdrawn_at: Option<Timestamp>,
    withdrawn_by: Option<String>,
}

impl From<Consent> for ConsentView {
    fn from(consent: Consent) -> Self {
        let (withdrawn_at, withdrawn_by) = consent.withdrawn.unzip();
        Self {
            id: consent.id,
            given_by: consent.given_by,
            how: consent.how,
            scope: consent.scope.into(),
            given_at: consent.given_at,
            expires_at: consent.expires_at,
            withdrawn_at,
            withdrawn_by,
        }
    }
}

/// Somebody who is enrolled.
#[derive(Serialize, ToSchema)]
#[schema(as = Person)]
struct PersonView {
    #[schema(value_type = String, format = Uuid)]
    id: PersonId,
    collection: String,
    name: String,
    photos: i64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    videos: StandingView,
    live: StandingView,
}

/// Whether somebody agrees to be seen in something.
#[derive(Serialize, ToSchema)]
#[schema(as = Standing)]
struct StandingView {
    /// Whether they are shown.
    shown: bool,
    /// `given`, `never`, `expired` or `withdrawn`.
    consent: &'static str,
    /// Until when it is given, or since when it is not.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
}

impl From<Standing> for StandingView {
    fn from(standing: Standing) -> Self {
        let (consent, at) = match standing {
            Standing::Given(until) => ("given", until),
            Standing::Never => ("never", None),
            Standing::Expired(at) => ("expired", Some(at)),
            Standing::Withdrawn(at) => ("withdrawn", Some(at)),
        };
        Self { shown: standing.is_given(), consent, at }
    }
}

async fn view(app: &App, person: Person) -> Result<PersonView, Problem> {
    let consents = app.store.consents(person.id).await?;
    let now = Timestamp::now();
    let Person { id, collection, name, photos, created_at, .. } = person;
    let [videos, live] =
        [Scope::Videos, Scope::Live].map(|scope| Standing::of(&consents, scope, now).into());
    Ok(PersonView { id, collection, name, photos, created_at, videos, live })
}

/// Whom to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only people of this collection.
    collection: Option<String>,
}

/// List people, in the order in which they were enrolled.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/people",
    operation_id = "list_people",
    tag = "people",
    security(("key" = ["read"])),
    params(Which, PageQuery),
    responses((status = 200, description = "A page of people", body = Page<PersonView>)),
)]
async fn list(
    State(app): Shared,
    Read(caller): Read,
    Query(which): Query<Which>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<PersonView>>, Problem> {
    let limit = page.limit()?;
    let collection = which.collection.as_deref();
    let people =
        app.store.people_page(caller.owner(), collection, page.after()?, limit + 1).await?;
    let mut views = Vec::with_capacity(people.len());
    for person in people {
        views.push(view(&app, person).await?);
    }
    Ok(Json(Page::of(views, limit, |person| person.id.to_string())))
}

/// Show a person. Never their photos.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/people/{id}",
    operation_id = "show_person",
    tag = "people",
    security(("key" = ["read"])),
    params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 200, description = "The person", body = PersonView),
        (status = 404, description = "There is none", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn show(
    State(app): Shared,
    Read(caller): Read,
    Path(id): Path<PersonId>,
) -> Result<Json<PersonView>, Problem> {
    let person = app.store.person_of(caller.owner(), id).await?;
    Ok(Json(view(&app, person).await?))
}

/// Remove a person: their key, photos and templates are destroyed, and videos that show them are public no longer.
///
/// Scope: people.
#[utoipa::path(
    delete,
    path = "/v1/people/{id}",
    operation_id = "remove_person",
    tag = "people",
    security(("key" = ["people"])),
    params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 204, description = "They are removed"),
        (status = 404, description = "There is none", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn remove(
    State(app): Shared,
    People(caller): People,
    Path(id): Path<PersonId>,
) -> Result<StatusCode, Problem> {
    app.store.person_of(caller.owner(), id).await?;
    app.store.remove_person(id, &caller.actor(), Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Everything that somebody agreed to, also what is over.
///
/// Scope: read.
#[utoipa::path(
    get,
    path = "/v1/people/{id}/consents",
    operation_id = "list_consents",
    tag = "people",
    security(("key" = ["read"])),
    params(("id" = String, Path, format = Uuid)),
    responses(
        (status = 200, description = "The records", body = Page<ConsentView>),
        (status = 404, description = "There is no such person", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn consents(
    State(app): Shared,
    Read(caller): Read,
    Path(id): Path<PersonId>,
) -> Result<Json<Page<ConsentView>>, Problem> {
    app.store.person_of(caller.owner(), id).await?;
    let items = app.store.consents(id).await?.into_iter().map(ConsentView::from).collect();
    Ok(Json(Page { items, next_cursor: None }))
}

/// Record that somebody agrees to be seen.
///
/// Scope: people.
#[utoipa::path(
    post,
    path = "/v1/people/{id}/consents",
    operation_id = "grant_consent",
    tag = "people",
    security(("key" = ["people"])),
    params(("id" = String, Path, format = Uuid)),
    request_body = ConsentBody,
    responses(
        (status = 201, description = "The person as they are now", body = PersonView),
        (status = 404, description = "There is no such person", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn grant(
    State(app): Shared,
    People(caller): People,
    Path(id): Path<PersonId>,
    Body(consent): Body<ConsentBody>,
) -> Result<Response, Problem> {
    let person = app.store.person_of(caller.owner(), id).await?;
    app.store.grant(id, &consent.into(), &caller.actor(), Timestamp::now()).await?;
    Ok((StatusCode::CREATED, Json(view(&app, person).await?)).into_response())
}

/// Who takes consent back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Withdraw {
    /// The person, or a guardian.
    #[schema(min_length = 1, max_length = 200)]
    by: String,
}

/// Take back everything that somebody agreed to. Videos that show them are public no longer, from this moment, and
/// are covered again.
///
/// Scope: people.
#[utoipa::path(
    post,
    path = "/v1/people/{id}/withdraw",
    operation_id = "withdraw_consent",
    tag = "people",
    security(("key" = ["people"])),
    params(("id" = String, Path, format = Uuid)),
    request_body = Withdraw,
    responses(
        (status = 200, description = "The person as they are now", body = PersonView),
        (status = 404, description = "There is no such person", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn withdraw(
    State(app): Shared,
    People(caller): People,
    Path(id): Path<PersonId>,
    Body(Withdraw { by }): Body<Withdraw>,
) -> Result<Json<PersonView>, Problem> {
    let person = app.store.person_of(caller.owner(), id).await?;
    app.store.withdraw(id, &by, &caller.actor(), Timestamp::now()).await?;
    Ok(Json(view(&app, person).await?))
}

/// A form that enrols somebody.
#[derive(ToSchema)]
#[allow(dead_code, reason = "for the OpenAPI document: the form is read field by field")]
struct EnrolForm {
    /// `default` if missing; made if there is none of that name.
    #[schema(max_length = 200)]
    collection: Option<String>,
    /// How they are called there.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Who gives consent: the person, or a guardian.
    #[schema(min_length = 1, max_length = 200)]
    given_by: String,
    /// How it is given.
    #[schema(min_length = 1, max_length = 200)]
    how: String,
    /// For what: `all` if missing.
    scope: Option<ScopeName>,
    /// When it ends by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// JPEG, PNG or WebP, with one face each.
    #[schema(value_type = Vec<String>, format = Binary, min_items = 1, max_items = 64)]
    photo: Vec<Vec<u8>>,
}

/// A form, read.
#[derive(Default)]
struct Form {
    texts: Vec<(String, String)>,
    photos: Vec<Vec<u8>>,
}

impl Form {
    async fn read(request: Request, app: &App) -> Result<Self, Problem> {
        let bad = |e: &dyn std::fmt::Display| Problem::new(Code::InvalidForm, e.to_string());
        let kind = request.headers().get(axum::http::header::CONTENT_TYPE);
        if !kind.and_then(|k| k.to_str().ok()).is_some_and(|k| k.starts_with("multipart/form-data"))
        {
            let detail = "send Content-Type: multipart/form-data";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        let mut parts =
            Multipart::from_request(request, app).await.map_err(|e| bad(&e.body_text()))?;
        let mut form = Self::default();
        while let Some(field) = parts.next_field().await.map_err(|e| bad(&e.body_text()))? {
            let name = field.name().unwrap_or_default().to_owned();
            let bytes = field.bytes().await.map_err(|e| bad(&e.body_text()))?;
            if name == "photo" {
                form.photos.push(bytes.to_vec());
            } else {
                let known = ["collection", "name", "given_by", "how", "scope", "expires_at"]
                    .contains(&&*name);
                let text = String::from_utf8(bytes.to_vec()).ok().filter(|t| t.len() <= MAX_TEXT);
                let text = text.filter(|_| known && form.texts.iter().all(|(n, _)| *n != name));
                let refuse =
                    || bad(&format!("{name:?}: is unknown, twice there, too long or not UTF-8"));
                form.texts.push((name.clone(), text.ok_or_else(refuse)?));
            }
            if form.photos.len() > MAX_PHOTOS {
                return Err(Problem::new(Code::InvalidValue, "photo: are more than 64"));
            }
        }
        if form.photos.is_empty() {
            return Err(Problem::new(Code::InvalidValue, "photo: there is none"));
        }
        Ok(form)
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let at = self.texts.iter().position(|(n, _)| n == name)?;
        Some(self.texts.swap_remove(at).1)
    }

    fn needed(&mut self, name: &str) -> Result<String, Problem> {
        let missing = || Problem::new(Code::InvalidValue, format!("{name}: is missing"));
        self.text(name).ok_or_else(missing)
    }

    fn consent(&mut self) -> Result<NewConsent, Problem> {
        let scope = match self.text("scope").as_deref() {
            None | Some("all") => Scope::All,
            Some("live") => Scope::Live,
            Some("videos") => Scope::Videos,
            Some(_) => {
                let detail = "scope: must be all, live or videos";
                return Err(Problem::new(Code::InvalidValue, detail));
            }
        };
        let expires_at = self.text("expires_at").map(|text| text.parse()).transpose();
        let expires_at = expires_at.map_err(|_| {
            Problem::new(Code::InvalidValue, "expires_at: must be an RFC 3339 time")
        })?;
        Ok(NewConsent {
            given_by: self.needed("given_by")?,
            how: self.needed("how")?,
            scope,
            expires_at,
        })
    }
}

/// Enrol somebody who agreed to it, by photos.
///
/// Scope: people. If any photo does not do, nobody is enrolled, and the problem says which and why.
#[utoipa::path(
    post,
    path = "/v1/people",
    operation_id = "enrol_person",
    tag = "people",
    security(("key" = ["people"])),
    request_body(content = EnrolForm, content_type = "multipart/form-data"),
    responses((status = 201, description = "The person", body = PersonView,
        headers(("Location" = String, description = "Path of the person")))),
)]
async fn enrol(
    State(app): Shared,
    People(caller): People,
    request: Request,
) -> Result<Response, Problem> {
    let mut form = Form::read(request, &app).await?;
    let collection = form.text("collection").unwrap_or_else(|| "default".to_owned());
    let name = form.needed("name")?;
    let consent = form.consent()?;
    let photos = examine(&app, caller.owner(), &collection, None, form.photos).await?;
    let owner = caller.owner().to_owned();
    add(&app, &caller, NewPerson { owner, collection, name, photos, consent }).await
}

async fn add(app: &App, caller: &Caller, new: NewPerson) -> Result<Response, Problem> {
    let id = app.store.add_person(&new, &caller.actor(), Timestamp::now()).await?;
    let person = app.store.person_of(caller.owner(), id).await?;
    let location = format!("/v1/people/{id}");
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(view(app, person).await?))
        .into_response())
}

/// Add photos of somebody who is enrolled.
///
/// Scope: people. If any photo does not do, none is added.
#[utoipa::path(
    post,
    path = "/v1/people/{id}/photos",
    operation_id = "add_photos",
    tag = "people",
    security(("key" = ["people"])),
    params(("id" = String, Path, format = Uuid)),
    request_body(content = PhotosForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "The person as they are now", body = PersonView),
        (status = 404, description = "There is no such person", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn add_photos(
    State(app): Shared,
    People(caller): People,
    Path(id): Path<PersonId>,
    request: Request,
) -> Result<Response, Problem> {
    let person = app.store.person_of(caller.owner(), id).await?;
    let form = Form::read(request, &app).await?;
    let photos = examine(&app, caller.owner(), &person.collection, Some(id), form.photos).await?;
    app.store.add_photos(id, &photos, &caller.actor(), Timestamp::now()).await?;
    let person = app.store.person_of(caller.owner(), id).await?;
    Ok((StatusCode::CREATED, Json(view(&app, person).await?)).into_response())
}

/// A form with more photos of somebody.
#[derive(ToSchema)]
#[allow(dead_code, reason = "for the OpenAPI document: the form is read field by field")]
struct PhotosForm {
    /// JPEG, PNG or WebP, with one face each.
    #[schema(value_type = Vec<String>, format = Binary, min_items = 1, max_items = 64)]
    photo: Vec<Vec<u8>>,
}

/// Looks at photos; `same`: who they are of, if that is known.
async fn examine(
    app: &App,
    owner: &str,
    collection: &str,
    same: Option<PersonId>,
    photos: Vec<Vec<u8>>,
) -> Result<Vec<NewPhoto>, Problem> {
    let mut pictures = Pictures::new(app)?;
    let mut inputs = Vec::with_capacity(photos.len());
    for (index, photo) in photos.iter().enumerate() {
        inputs.push(pictures.add(&format!("photo {}", index + 1), photo)?);
    }
    let task = Task::Examine(EnrolSpec { photos: inputs });
    let mut answers: Vec<Examined> = child(app, &pictures.room, task).await?;
    let mut known = app.store.enrolled(owner, collection).await?;
    known.retain(|face| Some(face.person) != same);
    let mut refused = Vec::new();
    let folder = pictures.room.file("").display().to_string();
    for (index, answer) in answers.iter_mut().enumerate() {
        refuse_known(&format!("photo {}", index + 1), answer, &known).map_err(Problem::internal)?;
        if let Examined::Refused(refusal) = answer {
            let message = refusal.message.replace(&folder, "");
            refused.push(RefusedPhoto { index, code: refusal.code, message });
        }
    }
    if !refused.is_empty() {
        return Err(Problem::photos(refused, photos.len()));
    }
    if answers.len() != photos.len() {
        return Err(Problem::internal("not every photo was looked at"));
    }
    let mut new = Vec::new();
    for (picture, answer) in photos.into_iter().zip(&answers) {
        let Examined::Good(templates) = answer else { continue };
        for values in &templates.0 {
            new.push(NewPhoto {
                picture: picture.clone(),
                template: Template::new(values.clone()),
            });
        }
    }
    Ok(new)
}

/// Somebody to enrol, as a track of a covered video.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EnrolTrack {
    /// `default` if missing; made if there is none of that name.
    #[serde(default = "default_collection")]
    #[schema(max_length = 200)]
    collection: String,
    /// How they are called there.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    consent: ConsentBody,
    #[schema(value_type = String, format = Uuid)]
    video: VideoId,
    /// The version whose plan has the track.
    version: i64,
    /// The track's number in that plan and its report.
    track: u32,
}

fn default_collection() -> String {
    "default".to_owned()
}

/// Enrol somebody who agreed to it, by a track of a covered video whose original is there.
///
/// Scopes: people and originals.
#[utoipa::path(
    post,
    path = "/v1/people/from-track",
    operation_id = "enrol_track",
    tag = "people",
    security(("key" = ["people", "originals"])),
    request_body = EnrolTrack,
    responses(
        (status = 201, description = "The person", body = PersonView, headers(("Location" = String, description = "Path of the person"))),
        (status = 404, description = "There is no such video or version", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn enrol_track(
    State(app): Shared,
    People(caller): People,
    _: super::auth::Originals,
    Body(new): Body<EnrolTrack>,
) -> Result<Response, Problem> {
    let owner = caller.owner();
    app.store.video(owner, new.video).await?;
    let version = app.store.version(new.video, new.version).await?;
    let pictures = Pictures::new(&app)?;
    let now = Timestamp::now();
    let why = format!("face crops of track {} of version {}", new.track, new.version);
    let (sealed, parts) = app.store.original(owner, new.video, &caller.actor(), &why, now).await?;
    let path = pictures.room.file("original");
    let mut file = File::create_new(&path).await.map_err(Problem::unavailable)?;
    for part in parts {
        app.objects.download(&part.object.parse()?, &mut file).await?;
    }
    let plan = pictures.room.file("plan.json");
    let mut file = File::create_new(&plan).await.map_err(Problem::unavailable)?;
    let folder: store::ObjectPath = version.folder.parse()?;
    app.objects.download(&folder.join("plan.json")?, &mut file).await?;
    let input = Input { path, sealed: Some(sealed) };
    let task = Task::ExamineTrack(TrackSpec { input, plan, track: new.track, to_8bit: true });
    let examined: TrackExamined = child(&app, &pictures.room, task).await?;
    if let Some(refusal) = examined.refused {
        let photos = vec![RefusedPhoto { index: 0, code: refusal.code, message: refusal.message }];
        return Err(Problem::photos(photos, 1));
    }
    let known = app.store.enrolled(owner, &new.collection).await?;
    let mut photos = Vec::new();
    for (index, sighted) in examined.good.into_iter().enumerate() {
        let mut answer = Examined::Good(sighted.templates.clone());
        refuse_known(&format!("sighting {}", index + 1), &mut answer, &known)
            .map_err(Problem::internal)?;
        if let Examined::Refused(refusal) = answer {
            let photos = vec![RefusedPhoto { index, code: refusal.code, message: refusal.message }];
            return Err(Problem::photos(photos, 1));
        }
        for values in &sighted.templates.0 {
            let (picture, template) = (sighted.photo.0.clone(), Template::new(values.clone()));
            photos.push(NewPhoto { picture, template });
        }
    }
    let EnrolTrack { collection, name, consent, .. } = new;
    let owner = owner.to_owned();
    let new = NewPerson { owner, collection, name, photos, consent: consent.into() };
    add(&app, &caller, new).await
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
    responses((status = 200, description = "A page of faces", body = Page<FaceView>)),
)]
async fn faces(
    State(app): Shared,
    Read(caller): Read,
    Path(name): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<FaceView>>, Problem> {
    let limit = page.limit()?;
    let found = app.store.faces(caller.owner(), &name, page.after()?, limit + 1).await?;
    let view = |(id, person, name, created_at)| FaceView { id, person, name, created_at };
    let views = found.into_iter().map(view).collect();
    Ok(Json(Page::of(views, limit, |face| face.id.to_string())))
}
