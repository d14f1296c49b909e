//! Whether the process lives, and whether it can work. For everybody: load balancers have no key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Problem;
use super::{App, Shared};

/// How long an answer is given again: who asks often does not ask what is behind it often.
const FRESH: Duration = Duration::from_secs(1);
/// After this long the database, or the storage of objects, counts as gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// The last answer of [`readyz`].
#[derive(Default)]
pub struct Ready(Mutex<Option<(Instant, Result<(), String>)>>);

/// How the server is.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok`.
    status: &'static str,
}

const OK: Health = Health { status: "ok" };

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz))
}

/// The process answers.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "service",
    security(()),
    responses((status = 200, description = "It does", body = Health)),
)]
async fn healthz() -> Json<Health> {
    Json(OK)
}

/// The server can work: its database and its objects answer.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "service",
    security(()),
    responses((status = 200, description = "It can", body = Health)),
)]
async fn readyz(State(app): Shared) -> Result<Json<Health>, Problem> {
    let mut last = app.ready.0.lock().await;
    let fresh = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH);
    let answer = match fresh {
        Some((_, answer)) => answer.clone(),
        None => {
            let answer = look(&app).await;
            *last = Some((Instant::now(), answer.clone()));
            answer
        }
    };
    answer.map(|()| Json(OK)).map_err(Problem::unavailable)
}

async fn look(app: &App) -> Result<(), String> {
    let database = timeout(PATIENCE, app.store.users("", 1));
    let objects = timeout(PATIENCE, app.objects.ready());
    let (database, objects) = tokio::join!(database, objects);
    match database {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("the database does not answer".to_owned()),
    }
    match objects {
        // A full storage is said where something is to be stored; what is there can be watched.
        Ok(Ok(()) | Err(store::Error::Full { .. })) => Ok(()),
        Ok(Err(error)) => Err(format!("objects: {error}")),
        Err(_) => Err("objects: the storage does not answer".to_owned()),
    }
}
