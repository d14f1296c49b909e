//! An original is replaced by another form of the same video.
//!
//! That happens only while nothing else depends on the old one: a plan is good for the bytes it was made of, so there
//! is no version whose plan may be edited or carried over, and nobody works on the video. Both are asked again in the
//! transaction that replaces it.

use domain::{JobId, VideoId};
use jiff::Timestamp;
use sealed::SealKey;
use serde_json::{Value, json};
use sqlx::{Any, Row, Transaction};

use super::{contiguous, discard_records, insert_part, key_context};
use crate::audit::append;
use crate::db::id;
use crate::events::{NewEvent, emit};
use crate::jobs::{End, Fence, Kind, NewJob, add, end};
use crate::videos::{discard, missing, signed, unsigned};
use crate::{Action, Error, Part, Store, Topic};

/// What takes the place of an original.
#[derive(Clone)]
pub struct Replacement {
    /// The video.
    pub video: VideoId,
    /// The key that its records are sealed with: a new one, so that records of the old original and of this one cannot
    /// be exchanged, and the old one is destroyed with its key.
    pub key: SealKey,
    /// Its records in order, from byte 0.
    pub parts: Vec<Part>,
    /// What a probe said of it.
    pub info: Value,
}

impl Store {
    /// Adds a job that converts a video's original. It starts when the video has been taken up.
    ///
    /// # Errors
    /// [`Error::Covered`], [`Error::Busy`], and those of [`Store::enqueue`].
    pub async fn enqueue_conversion(&self, new: &NewJob, now: Timestamp) -> Result<JobId, Error> {
        let Some(video) = new.video else {
            return Err(Error::Invalid { what: "the job", why: "names no video" });
        };
        let mut tx = self.begin().await?;
        uncovered(&mut tx, video).await?;
        let query = "SELECT id, kind FROM jobs WHERE video = $1 \
             AND state IN ('running', 'queued', 'waiting') ORDER BY id";
        let mut after = None;
        for row in sqlx::query(query).bind(video.to_string()).fetch_all(&mut *tx).await? {
            let job: JobId = id(&row, "id")?;
            if row.try_get::<String, _>("kind")? != Kind::Ingest.name() {
                return Err(Error::Busy { video, job });
            }
            after = Some(job);
        }
        let job = add(&mut tx, &NewJob { after, ..new.clone() }, now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        Ok(job)
    }

    /// Asks whether a video's original stays as it is: other work on it must wait until it was converted.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub async fn not_converting(&self, video: VideoId) -> Result<(), Error> {
        let query = "SELECT id FROM jobs WHERE video = $1 AND kind = $2 \
             AND state IN ('running', 'queued', 'waiting') ORDER BY id LIMIT 1";
        let query = sqlx::query(query).bind(video.to_string()).bind(Kind::Convert.name());
        match query.fetch_optional(&self.pool).await? {
            Some(row) => Err(Error::Busy { video, job: id(&row, "id")? }),
            None => Ok(()),
        }
    }

    /// Asks whether a video's original may be replaced by what a job makes of it.
    ///
    /// # Errors
    /// [`Error::Covered`], [`Error::Busy`].
    pub async fn replaceable(&self, fence: &Fence, video: VideoId) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        uncovered(&mut tx, video).await?;
        alone(&mut tx, fence, video).await
    }

    /// Puts another form of a video in the place of its original, ends the job with `result`, and says so in the log
    /// and to whoever listens. The key of the old original is forgotten, and its objects are deleted.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the job is somebody else's by now, or was cancelled and is over with that;
    /// [`Error::Covered`], [`Error::Busy`], [`Error::NoOriginal`] when that changed meanwhile; [`Error::Quota`];
    /// [`Error::OutOfPlace`] or [`Error::Invalid`] for parts that do not make up a file. Then nothing was changed, and
    /// the new objects are for [`Store::discard_replacement`].
    pub async fn replace_original(
        &self,
        fence: &Fence,
        new: &Replacement,
        result: &Value,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Replacement { video, key, parts, info } = new;
        let video = *video;
        let length = contiguous(parts, 0)?;
        let mut tx = self.begin_as(fence, now).await?;
        uncovered(&mut tx, video).await?;
        alone(&mut tx, fence, video).await?;
        let query = "SELECT owner, length FROM videos WHERE id = $1 AND state = 'stored' \
             AND sealed_key IS NOT NULL";
        let row = sqlx::query(query).bind(video.to_string()).fetch_optional(&mut *tx).await?;
        let row = row.ok_or(Error::NoOriginal(video))?;
        let (owner, old): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let sealed = self.wrap.seal_file_key(&key_context(video), key)?;
        let update = "UPDATE videos SET sealed_key = $1, length = $2, received = $2, info = $3 WHERE id = $4";
        let update = sqlx::query(update).bind(sealed).bind(signed(length)).bind(info.to_string());
        update.bind(video.to_string()).execute(&mut *tx).await?;
        self.check_quota(&mut tx, &owner, 0).await?;
        discard_records(&mut tx, video, now).await?;
        for part in parts {
            insert_part(&mut tx, video, part).await?;
        }
        let detail = format!("{old} bytes became {length}");
        let subject = video.to_string();
        append(self, &mut tx, actor, Action::ReplaceOriginal, &subject, &detail, now).await?;
        end(&mut tx, fence, End::Done(result), now).await?;
        let data = json!({"video": video, "bytes": length, "bytes_before": unsigned(old)});
        let event = NewEvent { owner: &owner, kind: "video.converted", subject, data };
        emit(&mut tx, event, now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        self.forget().await
    }

    /// Marks the folder of an attempt whose records did not become an original, so that they are deleted; not one
    /// whose records did after all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn discard_replacement(
        &self,
        video: VideoId,
        folder: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let folder = format!("{folder}/");
        let mut tx = self.begin().await?;
        let query =
            "SELECT 1 FROM parts WHERE video = $1 AND substr(object, 1, length($2)) = $2 LIMIT 1";
        let query = sqlx::query(query).bind(video.to_string()).bind(&folder);
        if query.fetch_optional(&mut *tx).await?.is_none() {
            discard(&mut tx, &folder, now).await?;
        }
        Ok(tx.commit().await?)
    }
}

/// Makes `new` the original of a recording, which has none. Gives the name of the video, and the bytes of its original.
///
/// # Errors
/// As [`Store::adopt_original`].
pub(crate) async fn adopt(
    store: &Store,
    tx: &mut Transaction<'static, Any>,
    new: &Replacement,
) -> Result<(String, u64), Error> {
    let Replacement { video, key, parts, info } = new;
    let length = contiguous(parts, 0)?;
    let sealed = store.wrap.seal_file_key(&key_context(*video), key)?;
    let update = "UPDATE videos SET sealed_key = $1, length = $2, received = $2, info = $3 \
         WHERE id = $4 AND state = 'stored' AND length = 0 AND sealed_key IS NULL RETURNING name";
    let row = sqlx::query(update)
        .bind(sealed)
        .bind(signed(length))
        .bind(info.to_string())
        .bind(video.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    let name: String = row.ok_or_else(|| missing(*video))?.try_get(0)?;
    for part in parts {
        insert_part(tx, *video, part).await?;
    }
    Ok((name, length))
}

/// # Errors
/// [`Error::Covered`]: something was made of the original that is public, or is to be covered again.
async fn uncovered(tx: &mut Transaction<'static, Any>, video: VideoId) -> Result<(), Error> {
    let query =
        "SELECT 1 FROM versions WHERE video = $1 AND state IN ('published', 'withdrawn') LIMIT 1";
    let query = sqlx::query(query).bind(video.to_string());
    match query.fetch_optional(&mut **tx).await? {
        Some(_) => Err(Error::Covered(video)),
        None => Ok(()),
    }
}

/// # Errors
/// [`Error::Busy`]: another job has begun with the old original. Those that have not will read the new one.
async fn alone(
    tx: &mut Transaction<'static, Any>,
    fence: &Fence,
    video: VideoId,
) -> Result<(), Error> {
    let query = "SELECT id FROM jobs WHERE video = $1 AND id <> $2 AND (state = 'running' \
         OR (state IN ('queued', 'waiting') AND stage IS NOT NULL)) ORDER BY id LIMIT 1";
    let query = sqlx::query(query).bind(video.to_string()).bind(fence.job.to_string());
    match query.fetch_optional(&mut **tx).await? {
        Some(row) => Err(Error::Busy { video, job: id(&row, "id")? }),
        None => Ok(()),
    }
}
