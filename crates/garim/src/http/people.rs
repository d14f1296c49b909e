//! `/v1/people`: who is enrolled, and what they agreed to.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::{ConsentId, PersonId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Consent, NewConsent, Person, Scope, Standing};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{People, Read};
use super::extract::{Body, Path, Query};
use super::page::{Page, PageQuery};
use super::problem::Problem;
use super::{App, Shared};

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, remove))
        .routes(routes!(consents, grant))
        .routes(routes!(withdraw))
}

/// In what somebody may be seen.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ConsentScope)]
pub enum ScopeName {
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
pub struct ConsentBody {
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
pub struct PersonView {
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

/// Somebody as clients see them.
pub async fn view(app: &App, person: Person) -> Result<PersonView, Problem> {
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
    if let Some(collection) = collection {
        app.store.check_collection(caller.owner(), collection).await?;
    }
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
