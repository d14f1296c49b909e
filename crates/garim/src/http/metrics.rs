//! Counters and times of requests, by the template of the route: ids are no labels. And how many jobs there are.

use std::time::Instant;

use anyhow::{Context, Result};
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::problem::Problem;
use super::{App, Shared};

const SECONDS: &str = "garim_http_request_seconds";
/// Jobs that are not over, by their state, in the whole installation.
const JOBS: &str = "garim_jobs";
/// Upper bounds of the histogram, in seconds.
const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Starts counting, for the whole process.
pub fn install() -> Result<PrometheusHandle> {
    let matcher = Matcher::Full(SECONDS.to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(matcher, &BUCKETS);
    builder.and_then(PrometheusBuilder::install_recorder).context("metrics")
}

pub fn routes() -> OpenApiRouter<std::sync::Arc<App>> {
    OpenApiRouter::new().routes(routes!(render))
}

/// Counters and times for Prometheus.
///
/// Scope: admin.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "service",
    security(("key" = ["admin"])),
    responses((status = 200, description = "Text format 0.0.4", body = String, content_type = "text/plain")),
)]
async fn render(State(app): Shared, _: Admin) -> Result<Response, Problem> {
    let counts = app.store.job_counts().await?;
    for state in ["waiting", "queued", "running"] {
        // None is a number too.
        let count = counts.iter().find(|(name, _)| name == state).map_or(0, |(_, count)| *count);
        gauge!(JOBS, "state" => state).set(count as f64);
    }
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], app.prometheus.render()).into_response())
}

/// Counts a request and its time until the answer's headers.
pub async fn count(request: Request, next: Next) -> Response {
    // Whoever makes up methods and paths makes no new time series.
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str).to_owned();
    let start = Instant::now();
    gauge!("garim_http_requests_underway").increment(1);
    let _underway = Underway;
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    let labels = [("method", method.to_owned()), ("route", route), ("status", status)];
    counter!("garim_http_requests_total", &labels).increment(1);
    histogram!(SECONDS, &labels[..2]).record(start.elapsed().as_secs_f64());
    response
}

/// Counted down also when the client goes away.
struct Underway;

impl Drop for Underway {
    fn drop(&mut self) {
        gauge!("garim_http_requests_underway").decrement(1);
    }
}
