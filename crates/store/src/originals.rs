//! Originals: they arrive in records, are read, and are destroyed.
//!
//! An original is sealed or gone: it arrives in parts that are encrypted with a key of its own before they are
//! stored, and is destroyed by forgetting that key, in one transaction; its objects are swept up afterwards.

mod replace;

use domain::VideoId;
use jiff::Timestamp;
use sealed::{SealKey, Sealed};
use serde_json::json;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use crate::audit::append;
use crate::events::{NewEvent, emit};
use crate::jobs::{NewJob, add};
use crate::videos::{MAX_LENGTH, discard, missing, signed, unsigned};
use crate::{Action, Error, Store, Topic};
pub use replace::Replacement;
pub(crate) use replace::adopt;

/// One sealed record of an original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where in the original it begins, in bytes.
    pub start: u64,
    /// How many bytes of the original it holds.
    pub length: u64,
    /// Its object.
    pub object: String,
}

impl Store {
    /// Notes parts that are stored, the first of which begins where the last ended. When all are there, the video
    /// is stored, and the job `then` is to be done. Gives how many bytes are there.
    ///
    /// # Errors
    /// [`Error::OutOfPlace`] when somebody else brought that part meanwhile, or one does not begin where the one
    /// before it ends; [`Error::Invalid`] when they go past the end; [`Error::NoOriginal`] when it was
    /// destroyed; [`Error::NotFound`].
    pub async fn add_parts(
        &self,
        owner: &str,
        video: VideoId,
        parts: &[Part],
        then: Option<&NewJob>,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let start = parts.first().map_or(0, |first| first.start);
        let end = contiguous(parts, start)?;
        let mut tx = self.begin().await?;
        let update = "UPDATE videos SET received = $1, heard_at = $5, \
             state = CASE WHEN length = $1 THEN 'stored' ELSE state END \
             WHERE id = $2 AND owner = $3 AND state = 'uploading' AND received = $4 AND length >= $1 \
             AND sealed_key IS NOT NULL RETURNING received, length, name";
        let row = sqlx::query(update)
            .bind(signed(end))
            .bind(video.to_string())
            .bind(owner)
            .bind(signed(start))
            .bind(now.as_millisecond())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else {
            drop(tx);
            let there = self.video(owner, video).await?;
            return Err(if !there.has_original {
                Error::NoOriginal(video)
            } else if there.received() == start {
                Error::Invalid { what: "the parts", why: "go past the end of the video" }
            } else {
                Error::OutOfPlace { expected: there.received() }
            });
        };
        for part in parts {
            insert_part(&mut tx, video, part).await?;
        }
        let (received, length): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if received == length {
            let name: String = row.try_get(2)?;
            let data = json!({"video": video, "name": name, "bytes": length});
            let event = NewEvent { owner, kind: "video.stored", subject: video.to_string(), data };
            emit(&mut tx, event, now).await?;
            if let Some(job) = then {
                add(&mut tx, job, now).await?;
            }
        }
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        Ok(unsigned(received))
    }

    /// Sets how long an original is that was taken from an object.
    ///
    /// # Errors
    /// [`Error::Quota`]; [`Error::Invalid`] for an object that is empty or too long; [`Error::NotFound`] when nothing
    /// of it may be taken up any more.
    pub async fn set_length(&self, owner: &str, video: VideoId, length: u64) -> Result<(), Error> {
        if length == 0 || length > MAX_LENGTH {
            return Err(Error::Invalid {
                what: "the object",
                why: "is empty, or longer than 1 TiB",
            });
        }
        let mut tx = self.begin().await?;
        // Without what an earlier attempt said of the same object.
        let update = "UPDATE videos SET length = $1 WHERE id = $2 AND owner = $3 AND state = 'uploading' \
             AND object IS NOT NULL AND received = 0";
        let update = sqlx::query(update).bind(signed(length)).bind(video.to_string()).bind(owner);
        if update.execute(&mut *tx).await?.rows_affected() == 0 {
            return Err(missing(video));
        }
        self.check_quota(&mut tx, owner, 0).await?;
        Ok(tx.commit().await?)
    }

    /// Forgets what was taken up of an object, to begin again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_parts(&self, video: VideoId, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let update =
            "UPDATE videos SET received = 0, heard_at = $1 WHERE id = $2 AND state = 'uploading'";
        let update = sqlx::query(update).bind(now.as_millisecond()).bind(video.to_string());
        if update.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(());
        }
        discard_records(&mut tx, video, now).await?;
        Ok(tx.commit().await?)
    }

    /// The key of an original, while it arrives or while it is there, and its parts in order. Whoever asks reads it:
    /// reading what arrived goes into the log.
    ///
    /// # Errors
    /// [`Error::NoOriginal`] when it was destroyed or is not there yet, [`Error::NotFound`].
    pub async fn original(
        &self,
        owner: &str,
        video: VideoId,
        actor: &str,
        why: &str,
        now: Timestamp,
    ) -> Result<(Sealed, Vec<Part>), Error> {
        let mut tx = self.begin().await?;
        let query = "SELECT length, state, sealed_key FROM videos \
             WHERE id = $1 AND owner = $2 AND state <> 'deleted'";
        let row = sqlx::query(query).bind(video.to_string()).bind(owner);
        let row = row.fetch_optional(&mut *tx).await?.ok_or_else(|| missing(video))?;
        if row.try_get::<String, _>("state")? != "stored" {
            return Err(Error::NoOriginal(video));
        }
        let key = self.open_key(video, &row)?;
        let query = "SELECT start, length, object FROM parts WHERE video = $1 ORDER BY start";
        let rows = sqlx::query(query).bind(video.to_string()).fetch_all(&mut *tx).await?;
        let parts: Vec<Part> = rows.iter().map(part).collect::<Result<_, _>>()?;
        append(self, &mut tx, actor, Action::ReadOriginal, &video.to_string(), why, now).await?;
        tx.commit().await?;
        let len = unsigned(row.try_get("length")?);
        Ok((Sealed { key, context: seal_context(video), len }, parts))
    }

    /// The key that seals a video's original, to seal what arrives.
    ///
    /// # Errors
    /// [`Error::NoOriginal`] when it was destroyed, [`Error::NotFound`].
    pub async fn original_key(&self, owner: &str, video: VideoId) -> Result<SealKey, Error> {
        let query =
            "SELECT sealed_key FROM videos WHERE id = $1 AND owner = $2 AND state <> 'deleted'";
        let row = sqlx::query(query).bind(video.to_string()).bind(owner);
        let row = row.fetch_optional(&self.pool).await?.ok_or_else(|| missing(video))?;
        self.open_key(video, &row)
    }

    fn open_key(&self, video: VideoId, row: &AnyRow) -> Result<SealKey, Error> {
        let sealed: Option<Vec<u8>> = row.try_get("sealed_key")?;
        let sealed = sealed.ok_or(Error::NoOriginal(video))?;
        self.wrap.open_file_key(&key_context(video), &sealed, "sealed_key")
    }

    /// Destroys a video's original and keeps what was made of it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoOriginal`] when it is gone already.
    pub async fn destroy_original(
        &self,
        owner: &str,
        id: VideoId,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let query = "SELECT 1 FROM videos WHERE id = $1 AND owner = $2 AND state <> 'deleted'";
        let there = sqlx::query(query).bind(id.to_string()).bind(owner);
        if there.fetch_optional(&mut *tx).await?.is_none() {
            return Err(missing(id));
        }
        let subject = id.to_string();
        append(self, &mut tx, actor, Action::DestroyOriginal, &subject, "", now).await?;
        if !shred(&mut tx, owner, id, now).await? {
            return Err(Error::NoOriginal(id));
        }
        self.commit(tx, &[Topic::Events]).await?;
        self.forget().await
    }
}

/// What seals the records of a video's original: see `sealed`.
pub fn seal_context(video: VideoId) -> String {
    format!("original of {video}")
}

pub(crate) fn key_context(video: VideoId) -> String {
    format!("key of the original of {video}")
}

/// Where parts end that follow one another from byte `start` on.
fn contiguous(parts: &[Part], start: u64) -> Result<u64, Error> {
    if parts.is_empty() {
        return Err(Error::Invalid { what: "the parts", why: "are none" });
    }
    let mut end = start;
    for part in parts {
        if part.start != end {
            return Err(Error::OutOfPlace { expected: end });
        }
        if part.length == 0 || part.length > MAX_LENGTH || end > MAX_LENGTH {
            return Err(Error::Invalid { what: "a part", why: "is empty, or too long" });
        }
        end += part.length;
    }
    Ok(end)
}

async fn insert_part(
    tx: &mut Transaction<'static, Any>,
    video: VideoId,
    part: &Part,
) -> Result<(), Error> {
    let insert = "INSERT INTO parts (video, start, length, object) VALUES ($1, $2, $3, $4)";
    let insert = sqlx::query(insert).bind(video.to_string()).bind(signed(part.start));
    insert.bind(signed(part.length)).bind(&part.object).execute(&mut **tx).await?;
    Ok(())
}

/// Marks an original's records one by one: others are, or will be, in the same folder.
async fn discard_records(
    tx: &mut Transaction<'static, Any>,
    video: VideoId,
    now: Timestamp,
) -> Result<(), Error> {
    let discard = "INSERT INTO garbage (object, since) SELECT object, $1 FROM parts WHERE video = $2 \
         ON CONFLICT (object) DO NOTHING";
    let discard = sqlx::query(discard).bind(now.as_millisecond()).bind(video.to_string());
    discard.execute(&mut **tx).await?;
    let delete = sqlx::query("DELETE FROM parts WHERE video = $1").bind(video.to_string());
    delete.execute(&mut **tx).await?;
    Ok(())
}

/// Marks an original's records, and the plans that were edited to render it once more.
pub(crate) async fn discard_original(
    tx: &mut Transaction<'static, Any>,
    video: VideoId,
    now: Timestamp,
) -> Result<(), Error> {
    let delete = sqlx::query("DELETE FROM parts WHERE video = $1").bind(video.to_string());
    delete.execute(&mut **tx).await?;
    discard(tx, &format!("originals/{video}/"), now).await?;
    discard(tx, &format!("plans/{video}/"), now).await
}

/// Destroys an original's key; whether there was one.
pub(crate) async fn shred(
    tx: &mut Transaction<'static, Any>,
    owner: &str,
    video: VideoId,
    now: Timestamp,
) -> Result<bool, Error> {
    let update = "UPDATE videos SET sealed_key = NULL, original_delete_at = NULL \
         WHERE id = $1 AND sealed_key IS NOT NULL";
    let update = sqlx::query(update).bind(video.to_string()).execute(&mut **tx).await?;
    if update.rows_affected() == 0 {
        return Ok(false);
    }
    discard_original(tx, video, now).await?;
    let data = json!({"video": video});
    let event =
        NewEvent { owner, kind: "video.original_destroyed", subject: video.to_string(), data };
    emit(tx, event, now).await?;
    Ok(true)
}

fn part(row: &AnyRow) -> Result<Part, Error> {
    Ok(Part {
        start: unsigned(row.try_get("start")?),
        length: unsigned(row.try_get("length")?),
        object: row.try_get("object")?,
    })
}
