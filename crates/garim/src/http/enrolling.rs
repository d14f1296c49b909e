//! Enrolling somebody over HTTP: by photos in a form, or by a track of a covered video.
//!
//! No photo is on the disk but sealed, and photos are overwritten in memory when they are done with.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::response::{IntoResponse, Response};
use domain::{PersonId, VideoId};
use jiff::Timestamp;
use pipeline::{EnrolSpec, Examined, Refusal, TrackExamined, TrackSpec};
use serde::Deserialize;
use store::{Face, NewConsent, NewPerson, NewPhoto, ObjectPath, Scope, Template};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::auth::{Caller, Originals, People};
use super::extract::{Body, Path};
use super::look::Look;
use super::people::{ConsentBody, PersonView, ScopeName, view};
use super::problem::{Code, Problem, RefusedPhoto};
use super::{App, Shared};
use crate::child::Task;
use crate::enrol::refuse_known;
use crate::service::{Access, Original};
use crate::work::default_collection;

/// Photos of one request, at most.
const MAX_PHOTOS: usize = 64;
/// Largest photo, in bytes.
const MAX_PHOTO: usize = 32 << 20;
/// Longest text of a form, in bytes.
const MAX_TEXT: usize = 1024;
/// Fields of the form that are texts.
const TEXTS: [&str; 6] = ["collection", "name", "given_by", "how", "scope", "expires_at"];

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(enrol))
        .routes(routes!(add_photos))
        .routes(routes!(enrol_track))
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
    photos: Vec<Zeroizing<Vec<u8>>>,
}

impl Form {
    async fn read(request: Request, app: &App) -> Result<Self, Problem> {
        let bad = |why: String| Problem::new(Code::InvalidForm, why);
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("multipart/form-data")) {
            let detail = "send Content-Type: multipart/form-data";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        let parts = Multipart::from_request(request, app).await;
        let mut parts = parts.map_err(|e| bad(e.body_text()))?;
        let mut form = Self::default();
        while let Some(field) = parts.next_field().await.map_err(|e| bad(e.body_text()))? {
            let name = field.name().unwrap_or_default().to_owned();
            let bytes = field.bytes().await.map_err(|e| bad(e.body_text()))?;
            if name == "photo" {
                form.add_photo(&bytes)?;
                continue;
            }
            let is_new = TEXTS.contains(&&*name) && form.texts.iter().all(|(n, _)| *n != name);
            let text = Some(bytes).filter(|text| is_new && text.len() <= MAX_TEXT);
            let text = text.and_then(|text| String::from_utf8(text.into()).ok());
            let refuse =
                || bad(format!("{name:?}: is unknown, twice there, too long or not UTF-8"));
            let text = text.ok_or_else(refuse)?;
            form.texts.push((name, text));
        }
        if form.photos.is_empty() {
            return Err(Problem::new(Code::InvalidValue, "photo: there is none"));
        }
        Ok(form)
    }

    fn add_photo(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        if bytes.len() > MAX_PHOTO {
            return Err(Problem::new(Code::TooLarge, "photo: one has more than 32 MiB"));
        }
        if self.photos.len() == MAX_PHOTOS {
            return Err(Problem::new(Code::InvalidValue, "photo: are more than 64"));
        }
        self.photos.push(Zeroizing::new(bytes.to_vec()));
        Ok(())
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
        let bad = || Problem::new(Code::InvalidValue, "scope: must be all, live or videos");
        let scope = self.text("scope").map_or(Some(Scope::All), |text| Scope::of(&text));
        let scope = scope.ok_or_else(bad)?;
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
    let collection = form.text("collection").unwrap_or_else(default_collection);
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
    photos: Vec<Zeroizing<Vec<u8>>>,
) -> Result<Vec<NewPhoto>, Problem> {
    let mut look = Look::begin(app).await?;
    let mut inputs = Vec::with_capacity(photos.len());
    for (photo, number) in photos.iter().zip(1..) {
        inputs.push(look.add(&format!("photo {number}"), photo).await?);
    }
    let answers: Vec<Examined> = look.child(Task::Examine(EnrolSpec { photos: inputs })).await?;
    if answers.len() != photos.len() {
        return Err(Problem::internal("not every photo was looked at"));
    }
    let mut known = app.store.enrolled(owner, collection).await?;
    known.retain(|face| Some(face.person) != same);
    let (count, mut good, mut refused) = (photos.len(), Vec::new(), Vec::new());
    for (index, (mut picture, answer)) in photos.into_iter().zip(answers).enumerate() {
        match taken(&format!("photo {}", index + 1), answer, &known)? {
            Ok(template) => {
                good.push(NewPhoto { picture: std::mem::take(&mut *picture), template });
            }
            Err(Refusal { code, message }) => {
                let message = look.room.nameless(&message);
                refused.push(RefusedPhoto { index, code, message });
            }
        }
    }
    if refused.is_empty() { Ok(good) } else { Err(Problem::photos(refused, count)) }
}

/// The template of a photo that was looked at, unless it is of one of `known`.
fn taken(
    photo: &str,
    mut answer: Examined,
    known: &[Face],
) -> Result<Result<Template, Refusal>, Problem> {
    refuse_known(photo, &mut answer, known).map_err(Problem::internal)?;
    match answer {
        Examined::Refused(refusal) => Ok(Err(refusal)),
        Examined::Good(mut templates) => {
            let template = templates.0.pop().filter(|_| templates.0.is_empty());
            let template = template.ok_or_else(|| Problem::internal("not one template a photo"))?;
            Ok(Ok(Template::new(template)))
        }
    }
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
    ),
)]
async fn enrol_track(
    State(app): Shared,
    People(caller): People,
    _: Originals,
    Body(new): Body<EnrolTrack>,
) -> Result<Response, Problem> {
    let owner = caller.owner();
    app.store.video(owner, new.video).await?;
    let version = app.store.version(new.video, new.version).await?;
    let look = Look::begin(&app).await?;
    let why = &*format!("face crops of track {} of version {}", new.track, new.version);
    let access = Access { owner, actor: &caller.actor(), why };
    let fetched = |_, _| Ok::<_, Problem>(());
    let Original { input, .. } =
        app.service.original(new.video, access, &look.room, fetched).await?;
    let folder: ObjectPath = version.folder.parse()?;
    let object = folder.join("plan.json")?;
    let plan = app.service.fetch::<Problem>(&object, &look.room, "plan.json").await?;
    let task = Task::ExamineTrack(TrackSpec { input, plan, track: new.track, to_8bit: true });
    let examined: TrackExamined = look.child(task).await?;
    let refused = |Refusal { code, message }| {
        let photo = RefusedPhoto { index: 0, code, message: look.room.nameless(&message) };
        Problem::photos(vec![photo], 1)
    };
    if let Some(refusal) = examined.refused {
        return Err(refused(refusal));
    }
    let known = app.store.enrolled(owner, &new.collection).await?;
    let mut photos = Vec::with_capacity(examined.good.len());
    for mut sighted in examined.good {
        let name = format!("face {} at {} ms", new.track, sighted.timestamp_ms);
        let template = taken(&name, Examined::Good(sighted.templates), &known)?;
        let picture = std::mem::take(&mut sighted.photo.0);
        photos.push(NewPhoto { picture, template: template.map_err(refused)? });
    }
    let EnrolTrack { collection, name, consent, .. } = new;
    let owner = owner.to_owned();
    let new = NewPerson { owner, collection, name, photos, consent: consent.into() };
    add(&app, &caller, new).await
}
