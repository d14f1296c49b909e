//! Durable jobs: claimed with a lease, beaten while they run, ended once.
//!
//! Work is done at least once: a worker that is killed, or too slow to beat, loses its job to another. What keeps
//! a result from being published twice is the [`Fence`]: every claim has a number of its own, and only the
//! latest may change the job.

mod job;
mod split;

use domain::{JobId, VideoId};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use crate::channels::{finished, original_over};
use crate::db::{check_text, flag, id, time};
use crate::events::{NewEvent, emit};
use crate::videos::discard;
use crate::{Error, Store, Topic};
use job::{COLUMNS, job};
pub use job::{Failure, Job, Kind, NewJob, State};
pub use split::parts_folder;

/// Times a job is tried, unless [`Store::trying`] says otherwise.
pub(crate) const ATTEMPTS: i64 = 3;
/// Wait before the second attempt; it doubles with each.
const FIRST_BACKOFF: SignedDuration = SignedDuration::from_secs(5);
/// Longest wait before another attempt.
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_mins(10);
/// The same where what a job needs was away: it may be back any time.
const LONGEST_AWAY: SignedDuration = SignedDuration::from_mins(1);
/// How long after it was made a job is not given up for what is away.
const AWAY: SignedDuration = SignedDuration::from_hours(24);
/// Longest description of work, or of what came of it, in bytes.
const MAX_WORK: usize = 256 << 10;
/// Longest message about a failure, in bytes; the rest is cut off.
const MAX_MESSAGE: usize = 2000;
/// Expired jobs that are looked at in one go.
const SWEEP: i64 = 100;

/// The right to change a job, until somebody else claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The job.
    pub job: JobId,
    /// The claim.
    pub attempt: i64,
}

/// What a worker is told when it says that it is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Go on.
    Continue,
    /// Stop: somebody cancelled it. Then call [`Store::cancelled`].
    Cancel,
    /// Stop: the job is somebody else's now.
    Lost,
}

/// Whether another attempt makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Perhaps: something was missing or died.
    Later,
    /// At once: something changed meanwhile. Counts as an attempt all the same.
    Now,
    /// Yes: what it needs is away, which says nothing of the job. For a day that uses up no try.
    Away,
    /// No: it would fail the same way.
    Never,
}

impl Store {
    /// The same, giving a job up after this many tries.
    #[must_use]
    pub fn trying(mut self, tries: u32) -> Self {
        self.tries = tries.into();
        self
    }

    /// Adds a job.
    ///
    /// # Errors
    /// [`Error::Invalid`] for work that is described at too great length, or a job before it that did not succeed;
    /// [`Error::NotFound`] when there is no such job before it.
    pub async fn enqueue(&self, new: &NewJob, now: Timestamp) -> Result<JobId, Error> {
        let mut tx = self.begin().await?;
        let job = add(&mut tx, new, now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        Ok(job)
    }

    /// Takes the most urgent job for `lease`; `None`: there is none to do.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim(
        &self,
        worker: &str,
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<Option<(Fence, Job)>, Error> {
        let millis = now.as_millisecond();
        // Looked at first without keeping anybody out: mostly there is nothing.
        let next = "SELECT id FROM jobs WHERE tries < $2 AND cancel = 0 \
             AND ((state = 'queued' AND run_at <= $1) OR (state = 'running' AND lease_until < $1)) \
             ORDER BY priority DESC, run_at, id LIMIT 1";
        let idle = sqlx::query(next).bind(millis).bind(self.tries);
        let idle = idle.fetch_optional(&self.pool).await?.is_none();
        if idle {
            return Ok(None);
        }
        let mut tx = self.begin().await?;
        let claim = format!(
            "UPDATE jobs SET state = 'running', attempt = attempt + 1, tries = tries + 1, worker = $3, \
             lease_until = $4, started_at = $1, progress = 0, phase = NULL WHERE id = ({next} {{skip}}) RETURNING {COLUMNS}"
        );
        let row = sqlx::query(self.skipping(&claim))
            .bind(millis)
            .bind(self.tries)
            .bind(worker)
            .bind((now + lease).as_millisecond())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let job = job(&row)?;
        told(&mut tx, &job, "job.started", json!({"attempt": job.attempt}), now).await?;
        self.commit(tx, &[Topic::Events]).await?;
        Ok(Some((Fence { job: job.id, attempt: job.attempt }, job)))
    }

    /// Says that a job is still being done, and how far it is: `progress` is in thousandths.
    ///
    /// # Errors
    /// When the database fails: the job may be lost when the lease ends.
    pub async fn beat(
        &self,
        fence: &Fence,
        phase: Option<&str>,
        progress: i64,
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<Beat, Error> {
        let update = "UPDATE jobs SET lease_until = $1, progress = $2, phase = $3 \
             WHERE id = $4 AND attempt = $5 AND state = 'running' RETURNING cancel";
        // All of them, though it is one: SQLite has not committed before it said that there are no more.
        let rows = sqlx::query(update)
            .bind((now + lease).as_millisecond())
            .bind(progress.clamp(0, 1000))
            .bind(phase.map(str::to_owned))
            .bind(fence.job.to_string())
            .bind(fence.attempt)
            .fetch_all(&self.writer)
            .await?;
        Ok(match rows.first() {
            None => Beat::Lost,
            Some(row) if row.try_get::<i64, _>(0)? == 0 => Beat::Continue,
            Some(_) => Beat::Cancel,
        })
    }

    /// Ends an attempt that did not succeed: for good, or until another.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the job is somebody else's by now.
    pub async fn fail(
        &self,
        fence: &Fence,
        failure: &Failure,
        retry: Retry,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let held = hold(&mut tx, fence).await?;
        let is_free = retry == Retry::Away && now < held.created_at + AWAY;
        if held.cancel {
            over(&mut tx, fence.job, End::Cancelled, now).await?;
        } else if retry == Retry::Never || (held.tries >= self.tries && !is_free) {
            over(&mut tx, fence.job, End::Failed(failure), now).await?;
        } else {
            let wait = match retry {
                Retry::Now => SignedDuration::ZERO,
                Retry::Away => backoff(fence.attempt).min(LONGEST_AWAY),
                _ => backoff(held.tries),
            };
            let update = "UPDATE jobs SET state = 'queued', run_at = $1, code = $2, message = $3, tries = $4, \
                 worker = NULL, lease_until = NULL WHERE id = $5";
            sqlx::query(update)
                .bind((now + wait).as_millisecond())
                .bind(&failure.code)
                .bind(shortened(&failure.message))
                .bind(held.tries - i64::from(is_free))
                .bind(fence.job.to_string())
                .execute(&mut *tx)
                .await?;
        }
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await
    }

    /// Ends a job that its worker stopped because it was cancelled.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the job is somebody else's by now.
    pub async fn cancelled(&self, fence: &Fence, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        end(&mut tx, fence, End::Cancelled, now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await
    }

    /// Gives a job back as if it had not been begun: the worker is shut down. A job that was cancelled ends.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the job is somebody else's by now. When the database fails, the job goes on when the
    /// lease ends.
    pub async fn hand_back(&self, fence: &Fence, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        if hold(&mut tx, fence).await?.cancel {
            over(&mut tx, fence.job, End::Cancelled, now).await?;
        } else {
            // The number of the claim is not given back: the fence would let two workers through.
            let update = "UPDATE jobs SET state = 'queued', run_at = $1, tries = tries - 1, \
                 worker = NULL, lease_until = NULL WHERE id = $2";
            let update = sqlx::query(update).bind(now.as_millisecond()).bind(fence.job.to_string());
            update.execute(&mut *tx).await?;
        }
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await
    }

    /// Ends a job with what came of it, where nothing else is to be changed with it.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the job is somebody else's by now.
    pub async fn complete(
        &self,
        fence: &Fence,
        result: &Value,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.complete_discarding(fence, result, &[], now).await
    }

    /// Ends a job with what came of it; objects that it has used up are deleted.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the job is somebody else's by now.
    pub async fn complete_discarding(
        &self,
        fence: &Fence,
        result: &Value,
        objects: &[String],
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        for object in objects {
            discard(&mut tx, object, now).await?;
        }
        end(&mut tx, fence, End::Done(result), now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await
    }

    /// Stops a user's job: at once, or where it is being done, when its worker next says that it is alive. A
    /// job that is over stays as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for jobs of other users.
    pub async fn cancel(&self, owner: &str, job: JobId, now: Timestamp) -> Result<Job, Error> {
        let mut tx = self.begin().await?;
        let query = "SELECT state FROM jobs WHERE id = $1 AND owner = $2";
        let row = sqlx::query(query).bind(job.to_string()).bind(owner);
        let row = row.fetch_optional(&mut *tx).await?.ok_or_else(|| missing(job))?;
        stop(&mut tx, job, &row.try_get::<String, _>(0)?, now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        self.job(owner, job).await
    }

    /// Ends jobs whose worker is lost and that nobody is to do again: those that lost it in every attempt, as what
    /// kills its process again and again would go on doing so, and those that were cancelled. Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn give_up(&self, now: Timestamp) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let query = "SELECT id, cancel FROM jobs WHERE state = 'running' AND lease_until < $1 \
             AND (tries >= $2 OR cancel = 1) ORDER BY id LIMIT $3 {skip}";
        let rows = sqlx::query(self.skipping(query)).bind(now.as_millisecond());
        let rows = rows.bind(self.tries).bind(SWEEP);
        let rows = rows.fetch_all(&mut *tx).await?;
        if rows.is_empty() {
            return Ok(0); // Wakes nobody.
        }
        let failure = Failure {
            code: "worker_lost".to_owned(),
            message: "every attempt lost its worker: the process that did it was killed, or could not reach \
                      the database"
                .to_owned(),
        };
        for row in &rows {
            let is_cancelled = row.try_get::<i64, _>("cancel")? != 0;
            let how = if is_cancelled { End::Cancelled } else { End::Failed(&failure) };
            over(&mut tx, id(row, "id")?, how, now).await?;
        }
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        Ok(rows.len() as u64)
    }

    /// A user's job.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for jobs of other users.
    pub async fn job(&self, owner: &str, id: JobId) -> Result<Job, Error> {
        let query =
            AssertSqlSafe(format!("SELECT {COLUMNS} FROM jobs WHERE id = $1 AND owner = $2"));
        let row = sqlx::query(query).bind(id.to_string()).bind(owner);
        job(&row.fetch_optional(&self.pool).await?.ok_or_else(|| missing(id))?)
    }

    /// At most `limit` jobs of a user before id `before`, newest first: all, or of one video. Parts of others are
    /// not among them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn jobs(
        &self,
        owner: &str,
        video: Option<VideoId>,
        state: Option<&str>,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Job>, Error> {
        let query = AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM jobs WHERE owner = $1 AND part_of IS NULL AND ($2 = '' OR video = $2) \
             AND ($3 = '' OR state = $3) AND ($4 = '' OR id < $4) ORDER BY id DESC LIMIT $5"
        ));
        let rows = sqlx::query(query)
            .bind(owner)
            .bind(video.map_or(String::new(), |id| id.to_string()))
            .bind(state.unwrap_or(""))
            .bind(before.map_or(String::new(), |id| id.to_string()))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(job).collect()
    }

    /// How many jobs are in each state that is not over, for metrics.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn job_counts(&self) -> Result<Vec<(String, i64)>, Error> {
        let query = "SELECT state, COUNT(*) FROM jobs WHERE state IN ('waiting', 'queued', 'running') \
             GROUP BY state";
        let rows = sqlx::query(query).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}

/// Adds a job in the transaction of what makes it necessary.
pub(crate) async fn add(
    tx: &mut Transaction<'static, Any>,
    new: &NewJob,
    now: Timestamp,
) -> Result<JobId, Error> {
    let job = insert(tx, new, None, now).await?;
    let data = json!({"job": job, "kind": new.kind, "video": new.video, "tag": new.tag});
    let subject = job.to_string();
    emit(tx, NewEvent { owner: &new.owner, kind: "job.queued", subject, data }, now).await?;
    Ok(job)
}

/// The same without telling anybody; `part_of`: the claim of the job that is split.
async fn insert(
    tx: &mut Transaction<'static, Any>,
    new: &NewJob,
    part_of: Option<&Fence>,
    now: Timestamp,
) -> Result<JobId, Error> {
    if let Some(tag) = &new.tag {
        check_text("the tag", tag)?;
    }
    let work = new.work.to_string();
    if work.len() > MAX_WORK {
        return Err(Error::Invalid { what: "the job", why: "is described in more than 256 KiB" });
    }
    let millis = now.as_millisecond();
    let job = JobId::new(millis);
    let mut pending = 0;
    if let Some(before) = new.after {
        let query = "SELECT state FROM jobs WHERE id = $1 AND owner = $2";
        let row = sqlx::query(query).bind(before.to_string()).bind(&new.owner);
        let row = row.fetch_optional(&mut **tx).await?;
        let state: String = row.ok_or_else(|| missing(before))?.try_get(0)?;
        match state.as_str() {
            "done" => {}
            "failed" | "cancelled" => {
                return Err(Error::Invalid { what: "the job before it", why: "did not succeed" });
            }
            _ => pending = 1,
        }
    }
    let insert = "INSERT INTO jobs (id, owner, kind, video, work, tag, priority, state, run_at, attempt, \
         tries, progress, cancel, parent, pending, part_of, round, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 0, 0, $10, $11, $12, $13, $9)";
    sqlx::query(insert)
        .bind(job.to_string())
        .bind(&new.owner)
        .bind(new.kind.name())
        .bind(new.video.map(|id| id.to_string()))
        .bind(work)
        .bind(new.tag.clone())
        .bind(new.priority)
        .bind(if pending == 0 { "queued" } else { "waiting" })
        .bind(millis)
        .bind(new.after.map(|id| id.to_string()))
        .bind(pending)
        .bind(part_of.map(|fence| fence.job.to_string()))
        .bind(part_of.map(|fence| fence.attempt))
        .execute(&mut **tx)
        .await?;
    Ok(job)
}

impl Store {
    /// A transaction for what a job's worker changes: it still has the job, until that ends.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the job is somebody else's by now, or was cancelled and is over with that.
    pub(crate) async fn begin_as(
        &self,
        fence: &Fence,
        now: Timestamp,
    ) -> Result<Transaction<'static, Any>, Error> {
        let mut tx = self.begin().await?;
        if hold(&mut tx, fence).await?.cancel {
            over(&mut tx, fence.job, End::Cancelled, now).await?;
            self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
            return Err(Error::Fenced);
        }
        Ok(tx)
    }
}

/// How a job ends.
pub(crate) enum End<'a> {
    Done(&'a Value),
    Failed(&'a Failure),
    Cancelled,
}

/// A job whose worker still has it.
struct Held {
    /// Whether it is to be stopped.
    cancel: bool,
    /// How often it was tried, with this time.
    tries: i64,
    created_at: Timestamp,
}

/// Asks whether a worker still has a job; it does until the transaction ends.
async fn hold(tx: &mut Transaction<'static, Any>, fence: &Fence) -> Result<Held, Error> {
    // Changed, because a lease may be prolonged and so the row is not the writer's alone.
    let query = "UPDATE jobs SET progress = progress WHERE id = $1 AND attempt = $2 AND state = 'running' \
         RETURNING cancel, tries, created_at";
    let row = sqlx::query(query).bind(fence.job.to_string()).bind(fence.attempt);
    let row = row.fetch_optional(&mut **tx).await?.ok_or(Error::Fenced)?;
    Ok(Held {
        cancel: flag(&row, "cancel")?,
        tries: row.try_get("tries")?,
        created_at: time(&row, "created_at")?.ok_or(Error::Damaged("created_at"))?,
    })
}

/// Ends a job in the transaction of what it changes, unless its worker lost it. Jobs that wait for it start, or
/// fail with it.
pub(crate) async fn end(
    tx: &mut Transaction<'static, Any>,
    fence: &Fence,
    how: End<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    hold(tx, fence).await?;
    over(tx, fence.job, how, now).await
}

/// Stops a job that is in `state`: at once, or by telling its worker.
async fn stop(
    tx: &mut Transaction<'static, Any>,
    job: JobId,
    state: &str,
    now: Timestamp,
) -> Result<(), Error> {
    match state {
        "queued" | "waiting" => over(tx, job, End::Cancelled, now).await,
        "running" => {
            let update = sqlx::query("UPDATE jobs SET cancel = 1 WHERE id = $1");
            update.bind(job.to_string()).execute(&mut **tx).await?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Stops everything that is done with a video.
pub(crate) async fn stop_all(
    tx: &mut Transaction<'static, Any>,
    video: VideoId,
    now: Timestamp,
) -> Result<(), Error> {
    let query = "SELECT id FROM jobs WHERE video = $1 AND state IN ('running', 'queued', 'waiting') ORDER BY id";
    for row in sqlx::query(query).bind(video.to_string()).fetch_all(&mut **tx).await? {
        let job: JobId = id(&row, "id")?;
        // Asked again: one may have ended with the one before.
        let query = sqlx::query("SELECT state FROM jobs WHERE id = $1").bind(job.to_string());
        let state: String = query.fetch_one(&mut **tx).await?.try_get(0)?;
        stop(tx, job, &state, now).await?;
    }
    Ok(())
}

/// Ends a job that is not over yet, whoever has it.
async fn over(
    tx: &mut Transaction<'static, Any>,
    which: JobId,
    how: End<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let (state, result, failure) = match how {
        End::Done(result) => ("done", Some(result.to_string()), None),
        End::Failed(failure) => ("failed", None, Some(failure)),
        End::Cancelled => ("cancelled", None, None),
    };
    if result.as_ref().is_some_and(|text| text.len() > MAX_WORK) {
        return Err(Error::Invalid { what: "the job's result", why: "is longer than 256 KiB" });
    }
    let update = AssertSqlSafe(format!(
        "UPDATE jobs SET state = $1, result = $2, code = $3, message = $4, ended_at = $5, worker = NULL, \
         lease_until = NULL WHERE id = $6 AND state IN ('running', 'queued', 'waiting') RETURNING {COLUMNS}"
    ));
    let row = sqlx::query(update)
        .bind(state)
        .bind(result)
        .bind(failure.map(|f| f.code.clone()))
        .bind(failure.map(|f| shortened(&f.message)))
        .bind(now.as_millisecond())
        .bind(which.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    let job = job(&row.ok_or(Error::Fenced)?)?;
    let (kind, detail) = match &job.state {
        State::Done(result) => ("job.done", json!({"result": result})),
        State::Failed(f) => ("job.failed", json!({"code": f.code, "message": f.message})),
        _ => ("job.cancelled", json!({})),
    };
    told(tx, &job, kind, detail, now).await?;
    match job.kind {
        Kind::Recording => finished(tx, &job, now).await?,
        Kind::Original => original_over(tx, &job, now).await?,
        _ => {}
    }
    split::whole_over(tx, &job, now).await?;
    if let Some(whole) = job.part_of {
        return split::part_over(tx, &job, whole, failure_of(&job), now).await;
    }
    if matches!(job.state, State::Done(_)) {
        let ready = "UPDATE jobs SET pending = pending - 1, state = CASE WHEN pending <= 1 THEN 'queued' \
             ELSE state END WHERE parent = $1 AND state = 'waiting'";
        sqlx::query(ready).bind(job.id.to_string()).execute(&mut **tx).await?;
    } else {
        let query = "SELECT id FROM jobs WHERE parent = $1 AND state = 'waiting' ORDER BY id";
        let waiting = sqlx::query(query).bind(job.id.to_string()).fetch_all(&mut **tx).await?;
        let failure = Failure {
            code: "dependency_failed".to_owned(),
            message: format!("job {} did not succeed, and this one needs it", job.id),
        };
        for row in &waiting {
            Box::pin(over(tx, id(row, "id")?, End::Failed(&failure), now)).await?;
        }
    }
    Ok(())
}

/// Why a job that is over did not succeed.
fn failure_of(job: &Job) -> Option<Failure> {
    match &job.state {
        State::Done(_) => None,
        State::Failed(failure) => Some(failure.clone()),
        _ => Some(Failure {
            code: "part_cancelled".to_owned(),
            message: format!("part {} of it was cancelled", job.id),
        }),
    }
}

/// Tells what became of a job; of parts of one, nobody is told.
async fn told(
    tx: &mut Transaction<'static, Any>,
    job: &Job,
    kind: &str,
    detail: Value,
    now: Timestamp,
) -> Result<(), Error> {
    if job.part_of.is_some() {
        return Ok(());
    }
    let mut data = json!({"job": job.id, "kind": job.kind, "video": job.video, "tag": job.tag});
    if let (Value::Object(data), Value::Object(detail)) = (&mut data, detail) {
        data.extend(detail);
    }
    let subject = job.id.to_string();
    emit(tx, NewEvent { owner: &job.owner, kind, subject, data }, now).await
}

fn backoff(tries: i64) -> SignedDuration {
    let doubled = FIRST_BACKOFF * (1 << tries.clamp(1, 16).saturating_sub(1));
    doubled.min(LONGEST_BACKOFF)
}

/// `text` as it can be stored: of a bounded length, without what PostgreSQL does not take.
pub(crate) fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_MESSAGE.min(text.len()));
    text[..end].replace('\0', " ")
}

fn missing(job: JobId) -> Error {
    Error::NotFound { kind: "job", name: job.to_string() }
}
