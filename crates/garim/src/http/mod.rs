//! The HTTP API: routes, who may call them, and how they answer.
//!
//! What belongs here: requests and answers. What never does: SQL, media, rules about consent. A handler reads its
//! input, asks the store, and gives JSON; everything else that all routes share is a layer of [`router`].

mod audit;
mod auth;
mod channels;
mod collections;
mod enrolling;
mod etag;
mod events;
mod extract;
mod faces;
mod health;
mod idempotency;
mod jobs;
mod keys;
mod limits;
mod linger;
mod live;
mod live_media;
pub mod logging;
mod look;
mod media;
pub mod metrics;
mod openapi;
mod page;
mod people;
mod problem;
mod searches;
mod uploads;
mod users;
mod videos;
mod vod;
mod watch;
mod webhooks;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use metrics_exporter_prometheus::PrometheusHandle;
use store::{Objects, Store};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::config::Config;
use crate::service::Service;
use limits::Bounds;
pub use linger::Lingering;
use problem::{Code, Problem};

/// For pictures and plans: models are loaded, originals read.
const LARGE: Bounds = Bounds { body: 64 << 20, time: Duration::from_secs(120), at_once: 8 };
/// Other requests at once: so many bodies as take a gigabyte if they are as large as they may be.
const AT_ONCE: usize = 1024;
/// Pictures that are looked at at once, on behalf of requests; each takes a process of its own.
const LOOKING: usize = 2;

/// What handlers share.
pub struct App {
    pub store: Store,
    pub objects: Objects,
    service: Service,
    pub config: Config,
    pub limits: limits::Limits,
    /// Renders `/metrics`.
    pub prometheus: PrometheusHandle,
    /// Cancelled when the server is told to stop: streams that would go on for ever end then.
    pub stopping: CancellationToken,
    /// Room for processes that look at pictures.
    looking: Arc<Semaphore>,
    ready: health::Ready,
    /// The live channels that run here.
    desk: Option<Arc<::live::Desk>>,
}

impl App {
    pub fn new(config: Config, service: Service, prometheus: PrometheusHandle) -> Self {
        let limits = limits::Limits::new(&config.limits);
        let (stopping, ready) = (CancellationToken::new(), health::Ready::default());
        let (store, objects) = (service.store.clone(), service.objects.clone());
        let looking = Arc::new(Semaphore::new(LOOKING));
        let desk = None;
        Self { store, objects, service, config, limits, prometheus, stopping, looking, ready, desk }
    }

    /// The same, whose viewers find what runs at `desk`.
    pub fn showing(self, desk: Arc<::live::Desk>) -> Self {
        Self { desk: Some(desk), ..self }
    }

    /// What work needs.
    pub fn service(&self) -> Service {
        self.service.clone()
    }
}

/// First argument of a handler.
pub type Shared = State<Arc<App>>;

/// Routes for callers with a key that take and give JSON: bounded body, bounded time, `ETag`, `Idempotency-Key`.
fn json_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .merge(keys::routes())
        .merge(users::routes())
        .merge(videos::routes())
        .merge(jobs::routes())
        .merge(people::routes())
        .merge(collections::routes())
        .merge(searches::routes())
        .merge(events::routes())
        .merge(webhooks::routes())
        .merge(channels::routes())
        .merge(live::routes())
        .merge(audit::routes())
        .merge(metrics::routes())
}

/// As [`json_routes`], for bodies that hold pictures or plans.
fn large_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .merge(enrolling::routes())
        .merge(faces::routes())
        .merge(videos::large_routes())
}

/// Routes for callers with a key whose bodies are streams: they bound size and time themselves.
fn stream_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().merge(uploads::routes()).merge(events::stream_routes())
}

/// Routes for everybody.
fn open_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().merge(health::routes()).merge(openapi::routes()).merge(media::routes())
}

/// The layers of routes whose bodies and answers are wholes.
fn whole(
    routes: OpenApiRouter<Arc<App>>,
    app: &Arc<App>,
    bounds: Bounds,
) -> OpenApiRouter<Arc<App>> {
    routes
        // The bound is `limits::whole_body`'s; extractors have one of 2 MB of their own.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Arc::clone(app), idempotency::replay))
        .layer(from_fn(etag::answer))
        .layer(from_fn_with_state(bounds, limits::in_time))
        .layer(from_fn_with_state(bounds, limits::whole_body))
        .layer(from_fn_with_state(Arc::new(Semaphore::new(bounds.at_once)), limits::a_few))
        .layer(from_fn_with_state(Arc::clone(app), auth::authenticate))
}

/// Everything, in layers. Of two `layer` calls the later is the outer one.
pub fn router(app: &Arc<App>) -> Router {
    let limits = &app.config.limits;
    let small = Bounds { body: limits.body_bytes, time: limits.timeout, at_once: AT_ONCE };
    let json = whole(json_routes(), app, small);
    let large = whole(large_routes(), app, LARGE);
    let streams = stream_routes().layer(from_fn_with_state(Arc::clone(app), auth::authenticate));
    let (routes, document) =
        open_routes().merge(json).merge(large).merge(streams).split_for_parts();
    let document = openapi::Document::new(&document);
    let router = routes
        .layer(axum::Extension(document))
        .fallback(async || Problem::new(Code::NotFound, "there is no such path"))
        .method_not_allowed_fallback(async || {
            Problem::new(Code::MethodNotAllowed, "this path has other methods: see Allow")
        })
        .layer(CatchPanicLayer::custom(panicked));
    let router = match cors(&app.config.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router
        // For viewers on any page: what `cors` says of the API is not for these.
        .merge(live_media::routes())
        .merge(watch::routes(&app.config))
        .merge(vod::routes())
        .layer(from_fn(headers))
        .layer(from_fn(linger::say_close))
        .layer(from_fn(metrics::count))
        .layer(from_fn(logging::request))
        .with_state(Arc::clone(app))
}

/// A handler that panicked has logged where, by the panic hook.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    use axum::response::IntoResponse;
    Problem::internal("a handler panicked").into_response()
}

/// Nothing guesses what an answer is, and nothing keeps JSON.
async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let json = response.headers().get(CONTENT_TYPE).is_none_or(|kind| {
        kind.to_str().is_ok_and(|kind| kind.ends_with("json") || kind.starts_with("text/"))
    });
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if json {
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    response
}

/// Lets pages of these origins call the API; `None`: of none.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origins: Vec<_> = origins.iter().filter_map(|o| HeaderValue::from_str(o).ok()).collect();
    let names = |names: &[&'static str]| -> Vec<HeaderName> {
        names.iter().copied().map(HeaderName::from_static).collect()
    };
    let methods =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let mut allowed = names(&["idempotency-key", "last-event-id", "x-request-id"]);
    allowed.extend([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_MATCH]);
    allowed.extend([header::IF_NONE_MATCH, header::RANGE]);
    allowed.extend(names(&["garim-user"]));
    allowed.extend(names(&["tus-resumable", "upload-length", "upload-offset", "upload-metadata"]));
    let mut exposed = names(&["x-request-id", "tus-resumable", "upload-offset", "upload-length"]);
    exposed.extend([header::ETAG, header::LOCATION, header::RETRY_AFTER]);
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods(methods)
            .allow_headers(allowed)
            .expose_headers(exposed),
    )
}
