//! What jobs leave behind: objects of attempts that came to nothing, of recordings that became a version, plans that were
//! rendered, and rows of jobs that were over long ago.
//!
//! An attempt whose worker was killed, or lost its job, tells nobody what it stored. Its objects are found by their
//! names, and are leftovers only where this database says so: it knows the video (another installation may use the
//! same bucket), nothing refers to them, and the fence keeps the attempt from ever publishing them.

use std::collections::BTreeSet;

use domain::{JobId, SessionId, VideoId};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use crate::channels::{is_destroyed, is_over, received_folder};
use crate::videos::discard;
use crate::{Error, ObjectPath, Store};

/// How long jobs that are over are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Jobs that are deleted in one transaction.
const PRUNED: i64 = 500;
/// A plan is stored before the job that renders it is made: one that is older than this has none.
const PLAN_PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// What somebody may have left, by the name of an object.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Made {
    /// By an attempt at a job, into a folder of its own.
    Attempt { folder: String, video: VideoId, job: JobId, attempt: i64 },
    /// By the server that a session ran on.
    Recording { folder: String, session: SessionId },
    /// By the server that a session ran on, of what its publisher sent.
    Received { folder: String, session: SessionId },
    /// A plan that somebody edited.
    Plan { object: String, video: VideoId },
}

impl Made {
    fn of(name: &str) -> Option<Self> {
        let segments: Vec<&str> = name.split('/').collect();
        let (depth, video, attempt) = match *segments.as_slice() {
            ["vod", _, folder, attempt, _, ..] => (4, folder.split_once('-')?.1, attempt),
            ["searches", video, attempt, _, ..] => (3, video, attempt),
            ["plans", video, _] => {
                return Some(Self::Plan { object: name.to_owned(), video: video.parse().ok()? });
            }
            ["received", session, _] => {
                let session = session.parse().ok()?;
                return Some(Self::Received { folder: received_folder(session), session });
            }
            ["vod", user, folder, _] => {
                let session = folder.split_once('-')?.1.parse().ok()?;
                return Some(Self::Recording { folder: format!("vod/{user}/{folder}"), session });
            }
            _ => return None,
        };
        let folder = segments.get(..depth)?.join("/");
        let (job, attempt) = attempt.rsplit_once('.')?;
        let (video, job, attempt) = (video.parse().ok()?, job.parse().ok()?, attempt.parse().ok()?);
        Some(Self::Attempt { folder, video, job, attempt })
    }

    /// As [`discard`] takes it.
    fn garbage(&self) -> String {
        match self {
            Self::Attempt { folder, .. }
            | Self::Recording { folder, .. }
            | Self::Received { folder, .. } => format!("{folder}/"),
            Self::Plan { object, .. } => object.clone(),
        }
    }
}

impl Store {
    /// Marks those of `objects` to be deleted that nothing refers to and nothing ever will: of attempts that lost
    /// their job, or ended without a result, recordings that became a version or cannot, and plans that nobody is to
    /// render. Gives how many folders and plans that were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn discard_leftovers(
        &self,
        objects: &[ObjectPath],
        now: Timestamp,
    ) -> Result<usize, Error> {
        let made: BTreeSet<Made> = objects.iter().filter_map(|o| Made::of(o.as_str())).collect();
        // Looked at first without keeping anybody out: mostly there is nothing.
        let mut tx = self.pool.begin().await?;
        let mut suspects = Vec::new();
        for made in made {
            if is_leftover(&mut tx, &made, now).await? {
                suspects.push(made);
            }
        }
        drop(tx);
        if suspects.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        let mut discarded = 0;
        for made in &suspects {
            if is_leftover(&mut tx, made, now).await? {
                discard(&mut tx, &made.garbage(), now).await?;
                discarded += 1;
            }
        }
        tx.commit().await?;
        Ok(discarded)
    }

    /// Deletes jobs that were over 90 days ago. A search stays as long as its video: what it found is asked for by
    /// its job. Gives how many, at most 500.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune_jobs(&self, now: Timestamp) -> Result<usize, Error> {
        let mut tx = self.begin().await?;
        let query = "SELECT id, result FROM jobs WHERE state IN ('done', 'failed', 'cancelled') AND ended_at < $1 \
             AND NOT (kind = 'search' AND state = 'done' AND EXISTS \
             (SELECT 1 FROM videos v WHERE v.id = jobs.video AND v.state <> 'deleted')) ORDER BY id LIMIT $2";
        let before = (now - KEPT).as_millisecond();
        let rows = sqlx::query(query).bind(before).bind(PRUNED).fetch_all(&mut *tx).await?;
        for row in &rows {
            if let Some(folder) = result_folder(row)? {
                discard(&mut tx, &format!("{folder}/"), now).await?;
            }
            let delete = sqlx::query("DELETE FROM jobs WHERE id = $1");
            delete.bind(row.try_get::<String, _>("id")?).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(rows.len())
    }
}

/// The folder that the result in a job's row names.
fn result_folder(row: &AnyRow) -> Result<Option<String>, Error> {
    let Some(result) = row.try_get::<Option<String>, _>("result")? else { return Ok(None) };
    let result: Value = serde_json::from_str(&result).map_err(|_| Error::Damaged("result"))?;
    Ok(result["folder"].as_str().map(str::to_owned))
}

async fn is_leftover(
    tx: &mut Transaction<'static, Any>,
    made: &Made,
    now: Timestamp,
) -> Result<bool, Error> {
    Ok(match made {
        Made::Attempt { folder, video, job, attempt } => {
            is_known(tx, *video).await?
                && !is_version(tx, *video, folder).await?
                && is_fenced_out(tx, folder, *job, *attempt, now).await?
        }
        Made::Plan { object, video } => {
            is_known(tx, *video).await?
                && is_before(object, now - PLAN_PATIENCE)
                && !is_to_render(tx, *video, object).await?
        }
        Made::Recording { session, .. } => is_over(tx, &session.to_string()).await?,
        // Nobody can read it any more, or ever could.
        Made::Received { session, .. } => is_destroyed(tx, *session).await?,
    })
}

async fn is_known(tx: &mut Transaction<'static, Any>, video: VideoId) -> Result<bool, Error> {
    let known = sqlx::query("SELECT 1 FROM videos WHERE id = $1").bind(video.to_string());
    Ok(known.fetch_optional(&mut **tx).await?.is_some())
}

/// Whether a version is made of a folder's objects: a public one, or one that is to be covered again.
async fn is_version(
    tx: &mut Transaction<'static, Any>,
    video: VideoId,
    folder: &str,
) -> Result<bool, Error> {
    let query = "SELECT 1 FROM versions WHERE video = $1 AND folder = $2 \
         AND state IN ('published', 'withdrawn')";
    let query = sqlx::query(query).bind(video.to_string()).bind(folder);
    Ok(query.fetch_optional(&mut **tx).await?.is_some())
}

/// Whether an attempt can never end its job any more, and has not done so with what is in `folder`.
async fn is_fenced_out(
    tx: &mut Transaction<'static, Any>,
    folder: &str,
    job: JobId,
    attempt: i64,
    now: Timestamp,
) -> Result<bool, Error> {
    let query = sqlx::query("SELECT state, attempt, result FROM jobs WHERE id = $1");
    let Some(row) = query.bind(job.to_string()).fetch_optional(&mut **tx).await? else {
        // One that was pruned. A younger one was made after the backup that this database was restored from.
        return Ok(job < JobId::new((now - KEPT).as_millisecond()));
    };
    let latest: i64 = row.try_get("attempt")?;
    Ok(match row.try_get::<String, _>("state")?.as_str() {
        "running" => attempt < latest,
        "queued" | "waiting" => attempt <= latest,
        _ => result_folder(&row)?.as_deref() != Some(folder),
    })
}

/// Whether the id at the end of an object's name was made before `time`.
fn is_before(object: &str, time: Timestamp) -> bool {
    let base = object.rsplit('/').next().unwrap_or(object);
    let id = base.split('.').next().unwrap_or(base).parse::<JobId>();
    id.is_ok_and(|id| id < JobId::new(time.as_millisecond()))
}

/// Whether a job that is not over renders a plan.
async fn is_to_render(
    tx: &mut Transaction<'static, Any>,
    video: VideoId,
    plan: &str,
) -> Result<bool, Error> {
    let query = "SELECT work FROM jobs WHERE video = $1 AND kind = 'render' \
         AND state IN ('waiting', 'queued', 'running')";
    let rows = sqlx::query(query).bind(video.to_string()).fetch_all(&mut **tx).await?;
    for row in &rows {
        let work: Value = serde_json::from_str(&row.try_get::<String, _>("work")?)
            .map_err(|_| Error::Damaged("work"))?;
        if work["plan"] == plan {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whose_an_object_is() {
        let (video, job) = (VideoId::new(1), JobId::new(2));
        let attempt = |folder: String| Some(Made::Attempt { folder, video, job, attempt: 3 });
        let vod = format!("vod/mina/202611251405-{video}/{job}.3");
        assert_eq!(Made::of(&format!("{vod}/video.mp4")), attempt(vod));
        let search = format!("searches/{video}/{job}.3");
        assert_eq!(Made::of(&format!("{search}/by-time.jsonl")), attempt(search));
        let session = SessionId::new(4);
        let folder = format!("vod/mina/202611251405-{session}");
        let segment = format!("{folder}/seg-0000000000-0000000000-180000.m4s");
        assert_eq!(Made::of(&segment), Some(Made::Recording { folder, session }));
        let folder = received_folder(session);
        let piece = format!("{folder}/0000000001-0.flv");
        assert_eq!(Made::of(&piece), Some(Made::Received { folder, session }));
        let plan = format!("plans/{video}/{job}.json");
        assert_eq!(Made::of(&plan), Some(Made::Plan { object: plan.clone(), video }));
        for name in [
            format!("originals/{video}/0-1"),
            format!("vod/mina/{video}/{job}.3/video.mp4"),
            format!("vod/mina/202611251405-{video}/{job}/video.mp4"),
            format!("vod/mina/202611251405-{video}/{job}.x/video.mp4"),
            format!("searches/{video}/by-time.jsonl"),
            "plans/mine/a.json".to_owned(),
            "incoming/mina/a.mp4".to_owned(),
        ] {
            assert_eq!(Made::of(&name), None, "{name}");
        }
    }
}
