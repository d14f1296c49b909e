//! Jobs that are done in parts: by whoever has time, and put together by one.

use domain::JobId;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::job::{COLUMNS, job};
use super::{End, Failure, Fence, Job, Kind, NewJob, insert, over, stop};
use crate::db::id;
use crate::videos::discard;
use crate::{Error, Store, Topic};

/// Parts of a job at most: a day in minutes.
const MAX_PARTS: usize = 24 * 60;
/// Longest description of where a job is, in bytes.
const MAX_STAGE: usize = 64 << 10;

impl Store {
    /// Splits a job: `parts` are done first, in any order and side by side, and then it is claimed again, with
    /// [`Job::stage`] saying `stage`. When one of them fails, it fails with that one's reason; when it ends, so do
    /// they. That uses up no try of it.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the job is somebody else's by now, or was cancelled and is over with that;
    /// [`Error::Invalid`] for none or too many parts.
    pub async fn split(
        &self,
        fence: &Fence,
        stage: &Value,
        parts: &[(Kind, Value)],
        now: Timestamp,
    ) -> Result<(), Error> {
        let stage = stage.to_string();
        if parts.is_empty() || parts.len() > MAX_PARTS || stage.len() > MAX_STAGE {
            let why = "has no parts, or too many, or is described at too great length";
            return Err(Error::Invalid { what: "the job", why });
        }
        let mut tx = self.begin_as(fence, now).await?;
        let update = format!(
            "UPDATE jobs SET state = 'waiting', pending = $1, round = attempt, stage = $2, tries = tries - 1, \
             worker = NULL, lease_until = NULL, progress = 0, phase = NULL WHERE id = $3 RETURNING {COLUMNS}"
        );
        let update = sqlx::query(AssertSqlSafe(update)).bind(parts.len() as i64).bind(stage);
        let whole = job(&update.bind(fence.job.to_string()).fetch_one(&mut *tx).await?)?;
        for (kind, work) in parts {
            let part = NewJob {
                video: whole.video,
                tag: whole.tag.clone(),
                priority: whole.priority,
                ..NewJob::new(&whole.owner, *kind, work.clone())
            };
            insert(&mut tx, &part, Some(fence), now).await?;
        }
        self.commit(tx, &[Topic::Jobs]).await
    }

    /// The parts into which a job was split at its claim number `round`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn parts(&self, whole: JobId, round: i64) -> Result<Vec<Job>, Error> {
        let query =
            format!("SELECT {COLUMNS} FROM jobs WHERE part_of = $1 AND round = $2 ORDER BY id");
        let rows = sqlx::query(AssertSqlSafe(query)).bind(whole.to_string()).bind(round);
        rows.fetch_all(&self.pool).await?.iter().map(job).collect()
    }
}

/// Folder of the objects that a job's parts make for it. It goes when the job ends.
pub fn parts_folder(whole: JobId) -> String {
    format!("parts/{whole}")
}

/// A part is over: the job that waits for it goes on when it was the last, or fails with it.
pub(super) async fn part_over(
    tx: &mut Transaction<'static, Any>,
    part: &Job,
    whole: JobId,
    failure: Option<Failure>,
    now: Timestamp,
) -> Result<(), Error> {
    // Only if it still waits for the parts of that round: one that was stopped may end later.
    let waits = "id = $1 AND state = 'waiting' AND round = (SELECT round FROM jobs WHERE id = $2)";
    let Some(failure) = failure else {
        let ready = format!(
            "UPDATE jobs SET pending = pending - 1, \
             state = CASE WHEN pending <= 1 THEN 'queued' ELSE state END WHERE {waits}"
        );
        let ready = sqlx::query(AssertSqlSafe(ready)).bind(whole.to_string());
        ready.bind(part.id.to_string()).execute(&mut **tx).await?;
        return Ok(());
    };
    let query = AssertSqlSafe(format!("SELECT id FROM jobs WHERE {waits}"));
    let query = sqlx::query(query).bind(whole.to_string()).bind(part.id.to_string());
    if query.fetch_optional(&mut **tx).await?.is_some() {
        Box::pin(over(tx, whole, End::Failed(&failure), now)).await?;
    }
    Ok(())
}

/// A job that may have been split is over: what is left of its parts is stopped, and what they made is deleted.
pub(super) async fn whole_over(
    tx: &mut Transaction<'static, Any>,
    whole: &Job,
    now: Timestamp,
) -> Result<(), Error> {
    if whole.stage.is_none() {
        return Ok(());
    }
    let query = "SELECT id, state FROM jobs WHERE part_of = $1 AND state IN ('running', 'queued') ORDER BY id";
    for row in sqlx::query(query).bind(whole.id.to_string()).fetch_all(&mut **tx).await? {
        let state: String = row.try_get("state")?;
        Box::pin(stop(tx, id(&row, "id")?, &state, now)).await?;
    }
    discard(tx, &format!("{}/", parts_folder(whole.id)), now).await
}
