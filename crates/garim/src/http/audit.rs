//! `/v1/audit`: the log of everything that concerns people and originals.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use store::{Chain, Entry};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::extract::Query;
use super::page::{Page, PageQuery};
use super::problem::Problem;
use super::{App, Shared};

pub fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(verify))
}

/// An entry of the log.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct EntryView {
    /// From 1, without gaps.
    seq: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who: an API key, a job, a system user.
    actor: String,
    /// What: `enrol`, `grant`, `withdraw`, `delete`, `keep`, `read_original`, `replace_original`, `destroy_original`, `create_key` ...
    action: String,
    /// To whom or what.
    subject: String,
    detail: String,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        let Entry { seq, at, actor, action, subject, detail } = entry;
        Self { seq, at, actor, action, subject, detail }
    }
}

/// List the log, oldest first.
///
/// Scope: admin.
#[utoipa::path(
    get,
    path = "/v1/audit",
    operation_id = "list_audit",
    tag = "audit",
    security(("key" = ["admin"])),
    params(PageQuery),
    responses((status = 200, description = "A page of entries", body = Page<EntryView>)),
)]
async fn list(
    State(app): Shared,
    _: Admin,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<EntryView>>, Problem> {
    let (limit, after) = (page.limit()?, page.after::<i64>()?.unwrap_or(0));
    let entries = app.store.entries(after).await?;
    let entries = entries.into_iter().take(limit as usize + 1).map(EntryView::from).collect();
    Ok(Json(Page::of(entries, limit, |entry| entry.seq.to_string())))
}

/// Whether the log is as it was written.
#[derive(Serialize, ToSchema)]
struct AuditCheck {
    /// Whether no entry was changed, added or taken out.
    whole: bool,
    /// How many entries there are; of a log that is not whole, how many are as they were written.
    entries: i64,
    /// Hash of the last entry: noted elsewhere, it also shows when the end was cut off.
    head: Option<String>,
}

/// Check the log.
///
/// Scope: admin.
#[utoipa::path(
    get,
    path = "/v1/audit/verify",
    operation_id = "verify_audit",
    tag = "audit",
    security(("key" = ["admin"])),
    responses((status = 200, description = "What was found", body = AuditCheck)),
)]
async fn verify(State(app): Shared, _: Admin) -> Result<Json<AuditCheck>, Problem> {
    Ok(Json(match app.store.check_log().await? {
        Chain::Whole { entries, head } => AuditCheck { whole: true, entries, head: Some(head) },
        Chain::Broken { seq } => AuditCheck { whole: false, entries: seq - 1, head: None },
    }))
}
