//! Stored videos: made, listed, and deleted with everything that was made of them.

use domain::{JobId, VideoId};
use jiff::{SignedDuration, Timestamp};
use sealed::SealKey;
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use crate::audit::append;
use crate::channels::discard_recording;
use crate::db::{check_text, id, time};
use crate::events::{NewEvent, emit};
use crate::jobs::{NewJob, add, stop_all};
use crate::originals::{discard_original, key_context, shred};
use crate::versions::{end_all, video_folder};
use crate::{Action, Error, Store, Topic};

/// Largest original, in bytes.
pub const MAX_LENGTH: u64 = 1 << 40;
/// An upload that brings nothing for this long is given up.
pub const UPLOAD_PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// A video to be stored.
#[derive(Clone, Debug)]
pub struct NewVideo {
    /// The user it belongs to.
    pub owner: String,
    /// What the user calls it.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// What becomes of the original.
    pub original: Original,
    /// When all of it is to be deleted; `None`: when the user's videos are.
    pub expires_at: Option<Timestamp>,
    /// Days after which it is deleted where neither that nor the user's own number says otherwise.
    pub days: Option<u32>,
}

/// Where an original comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An upload of this many bytes.
    Upload(u64),
    /// An object in the store that somebody else wrote: its name.
    Object(String),
    /// What was recorded of a live session, covered: there is no original.
    Recording,
}

/// What becomes of an original once a version is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Original {
    /// It stays, sealed.
    Keep,
    /// It is destroyed after this time.
    DeleteAfter(SignedDuration),
}

/// Whether a video can be worked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoState {
    /// Its original is still arriving.
    Uploading {
        /// Bytes that are sealed and stored.
        received: u64,
    },
    /// Its original is there, unless it was destroyed since, or it is a recording, which has none.
    Stored,
}

/// A stored video.
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    /// Its id.
    pub id: VideoId,
    /// The user it belongs to.
    pub owner: String,
    /// What the user calls it.
    pub name: String,
    /// Whether it can be worked with.
    pub state: VideoState,
    /// Bytes of the original.
    pub length: u64,
    /// Whether the original is there.
    pub has_original: bool,
    /// The object it was taken from.
    pub object: Option<String>,
    /// What becomes of the original.
    pub original: Original,
    /// When the original will be destroyed, if that is decided.
    pub original_delete_at: Option<Timestamp>,
    /// What a probe said of it.
    pub info: Option<Value>,
    /// The version that is public.
    pub published: Option<i64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When all of it is deleted.
    pub expires_at: Option<Timestamp>,
}

const COLUMNS: &str = "id, owner, name, state, length, received, CASE WHEN sealed_key IS NULL THEN 0 ELSE 1 END AS has_key, object, \
     original_grace, original_delete_at, info, published, created_at, expires_at";

/// Withdrawn versions stay until something takes their place.
const USED: &str = "SELECT CAST(COALESCE((SELECT SUM(length) FROM videos WHERE owner = $1 AND sealed_key IS NOT NULL), 0) \
     + COALESCE((SELECT SUM(v.bytes) FROM versions v JOIN videos o ON o.id = v.video \
     WHERE o.owner = $1 AND v.state IN ('published', 'withdrawn')), 0) AS BIGINT)";

impl Store {
    /// Stores a video: its original is to be brought by [`Store::add_parts`], or is an object already.
    ///
    /// # Errors
    /// [`Error::Quota`] when the user's space does not suffice, [`Error::Invalid`] for what makes no sense.
    pub async fn add_video(&self, new: &NewVideo, now: Timestamp) -> Result<VideoId, Error> {
        Ok(self.add_video_and_jobs(new, &[], now).await?.0)
    }

    /// Stores a video, and jobs that follow one another on it; gives their ids.
    ///
    /// # Errors
    /// As [`Store::add_video`] and [`Store::enqueue`].
    pub async fn add_video_and_jobs(
        &self,
        new: &NewVideo,
        jobs: &[NewJob],
        now: Timestamp,
    ) -> Result<(VideoId, Vec<JobId>), Error> {
        let mut tx = self.begin().await?;
        let video = self.insert_video(&mut tx, new, now).await?;
        let jobs = add_chain(&mut tx, video, jobs, now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        Ok((video, jobs))
    }

    /// Takes up an object of the watched folder, unless it was taken up already: a video, and jobs that follow
    /// one another on it. `mark` tells this content from another of the same name. `None`: it was, or it was used
    /// up and is about to be deleted.
    ///
    /// # Errors
    /// As [`Store::add_video`].
    pub async fn take_up(
        &self,
        object: &str,
        mark: &str,
        new: &NewVideo,
        jobs: &[NewJob],
        now: Timestamp,
    ) -> Result<Option<VideoId>, Error> {
        let known =
            sqlx::query("SELECT 1 FROM watched WHERE object = $1 AND mark = $2").bind(object);
        if known.bind(mark).fetch_optional(&self.pool).await?.is_some() {
            return Ok(None);
        }
        let mut tx = self.begin().await?;
        // A part of an archive whose playlist was taken up, and may be deleted already.
        let used = sqlx::query("SELECT 1 FROM garbage WHERE object = $1").bind(object);
        if used.fetch_optional(&mut *tx).await?.is_some() {
            return Ok(None);
        }
        let insert = "INSERT INTO watched (object, mark, video, taken_at) VALUES ($1, $2, '', $3) \
             ON CONFLICT (object) DO UPDATE SET mark = $2, taken_at = $3 WHERE watched.mark <> $2";
        let insert = sqlx::query(insert).bind(object).bind(mark).bind(now.as_millisecond());
        if insert.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(None);
        }
        let video = self.insert_video(&mut tx, new, now).await?;
        let update = sqlx::query("UPDATE watched SET video = $1 WHERE object = $2");
        update.bind(video.to_string()).bind(object).execute(&mut *tx).await?;
        add_chain(&mut tx, video, jobs, now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        Ok(Some(video))
    }

    pub(crate) async fn insert_video(
        &self,
        tx: &mut Transaction<'static, Any>,
        new: &NewVideo,
        now: Timestamp,
    ) -> Result<VideoId, Error> {
        check_text("the name of the video", &new.name)?;
        let (length, object) = match &new.source {
            Source::Upload(0) => {
                let why = "is 0: there is nothing to store";
                return Err(Error::Invalid { what: "the length", why });
            }
            Source::Upload(length) if *length > MAX_LENGTH => {
                return Err(Error::Invalid { what: "the length", why: "is more than 1 TiB" });
            }
            Source::Upload(length) => (*length, None),
            Source::Object(name) => (0, Some(name.clone())),
            Source::Recording => (0, None),
        };
        let has_original = new.source != Source::Recording;
        let millis = now.as_millisecond();
        let id = VideoId::new(millis);
        let key = has_original.then(SealKey::random);
        let seal = |key| self.wrap.seal_file_key(&key_context(id), &key);
        let sealed = key.map(seal).transpose()?;
        let grace = match new.original {
            Original::Keep => None,
            Original::DeleteAfter(time) => Some(millis_of(time)),
        };
        // Of what was broadcast already nothing is lost because the user has no space left.
        if has_original {
            self.check_quota(tx, &new.owner, length).await?;
        }
        let expires_at = match new.expires_at {
            Some(at) => Some(at.as_millisecond()),
            None => retention(tx, new).await?.map(|time| millis.saturating_add(time)),
        };
        let insert = "INSERT INTO videos (id, owner, name, state, length, received, sealed_key, object, \
             original_grace, created_at, heard_at, expires_at) \
             VALUES ($1, $2, $3, $10, $4, 0, $5, $6, $7, $8, $8, $9)";
        sqlx::query(insert)
            .bind(id.to_string())
            .bind(&new.owner)
            .bind(&new.name)
            .bind(signed(length))
            .bind(sealed)
            .bind(object)
            .bind(grace)
            .bind(millis)
            .bind(expires_at)
            .bind(if has_original { "uploading" } else { "stored" })
            .execute(&mut **tx)
            .await?;
        let data = json!({"video": id, "name": new.name});
        let event =
            NewEvent { owner: &new.owner, kind: "video.created", subject: id.to_string(), data };
        emit(tx, event, now).await?;
        Ok(id)
    }

    /// Keeps what a probe said.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_info(&self, video: VideoId, info: &Value) -> Result<(), Error> {
        let update = "UPDATE videos SET info = $1 WHERE id = $2 AND state <> 'deleted'";
        let update = sqlx::query(update).bind(info.to_string()).bind(video.to_string());
        update.execute(&self.writer).await?;
        Ok(())
    }

    /// A user's video.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for videos of other users and deleted ones.
    pub async fn video(&self, owner: &str, id: VideoId) -> Result<Video, Error> {
        let query = format!(
            "SELECT {COLUMNS} FROM videos WHERE id = $1 AND owner = $2 AND state <> 'deleted'"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id.to_string()).bind(owner);
        video(&row.fetch_optional(&self.pool).await?.ok_or_else(|| missing(id))?)
    }

    /// At most `limit` videos of a user before id `before`, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn videos(
        &self,
        owner: &str,
        before: Option<VideoId>,
        limit: u32,
    ) -> Result<Vec<Video>, Error> {
        let query = format!(
            "SELECT {COLUMNS} FROM videos WHERE owner = $1 AND state <> 'deleted' \
             AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(owner)
            .bind(before.map_or(String::new(), |id| id.to_string()))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(video).collect()
    }

    /// Deletes a video: its original's key is destroyed and nothing of it is public from now on; the objects
    /// follow. Jobs that work on it are stopped. The log says so.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_video(
        &self,
        owner: &str,
        id: VideoId,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        self.remove(&mut tx, owner, id, (actor, ""), now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        self.forget().await
    }

    /// Does what time has come for: destroys originals after their grace, deletes videos that expired and uploads
    /// that were given up. Gives how many videos changed, at most 100.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire_videos(&self, now: Timestamp) -> Result<usize, Error> {
        let millis = now.as_millisecond();
        let mut tx = self.begin().await?;
        let query = "SELECT id, owner, state, CASE WHEN expires_at <= $1 OR state = 'uploading' THEN 1 ELSE 0 END \
             AS whole FROM videos WHERE state <> 'deleted' AND (expires_at <= $1 OR original_delete_at <= $1 \
             OR (state = 'uploading' AND object IS NULL AND heard_at <= $2)) ORDER BY id LIMIT 100";
        let patience = (now - UPLOAD_PATIENCE).as_millisecond();
        let rows = sqlx::query(query).bind(millis).bind(patience).fetch_all(&mut *tx).await?;
        if rows.is_empty() {
            return Ok(0); // Wakes nobody.
        }
        for row in &rows {
            let (video, owner): (VideoId, String) = (id(row, "id")?, row.try_get("owner")?);
            if crate::db::flag(row, "whole")? {
                let is_there = row.try_get::<String, _>("state")? == "stored";
                let why = if is_there { "its time is over" } else { "it did not arrive in time" };
                self.remove(&mut tx, &owner, video, ("garim", why), now).await?;
            } else {
                let (detail, subject) = ("the grace period is over", video.to_string());
                let action = Action::DestroyOriginal;
                append(self, &mut tx, "garim", action, &subject, detail, now).await?;
                shred(&mut tx, &owner, video, now).await?;
            }
        }
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        self.forget().await?;
        Ok(rows.len())
    }

    /// `by`: who deletes it, and why, for the log.
    async fn remove(
        &self,
        tx: &mut Transaction<'static, Any>,
        owner: &str,
        video: VideoId,
        by: (&str, &str),
        now: Timestamp,
    ) -> Result<(), Error> {
        // The row stays: its addresses answer 410, and its id is not given again.
        let update = "UPDATE videos SET state = 'deleted', sealed_key = NULL, original_delete_at = NULL, \
             published = NULL, info = NULL WHERE id = $1 AND owner = $2 AND state <> 'deleted' \
             RETURNING created_at";
        let row = sqlx::query(update).bind(video.to_string()).bind(owner);
        let row = row.fetch_optional(&mut **tx).await?.ok_or_else(|| missing(video))?;
        let created = time(&row, "created_at")?.ok_or(Error::Damaged("created_at"))?;
        let (actor, why) = by;
        append(self, tx, actor, Action::DeleteVideo, &video.to_string(), why, now).await?;
        discard_original(tx, video, now).await?;
        discard_recording(tx, video, now).await?;
        // What searches found in it, and everything that attempts made of it, also those that came to nothing.
        discard(tx, &format!("searches/{video}/"), now).await?;
        discard(tx, &format!("{}/", video_folder(owner, video, created)), now).await?;
        let purge = end_all(tx, video, "deleted", now).await?;
        stop_all(tx, video, now).await?;
        let data = json!({"video": video, "purge": purge});
        let event = NewEvent { owner, kind: "video.deleted", subject: video.to_string(), data };
        emit(tx, event, now).await
    }

    /// Bytes that a user's originals and versions take.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn used(&self, owner: &str) -> Result<u64, Error> {
        let row = sqlx::query(USED).bind(owner).fetch_one(&self.pool).await?;
        Ok(unsigned(row.try_get(0)?))
    }

    pub(crate) async fn check_quota(
        &self,
        tx: &mut Transaction<'static, Any>,
        owner: &str,
        more: u64,
    ) -> Result<(), Error> {
        let row = sqlx::query("SELECT quota_bytes FROM users WHERE name = $1").bind(owner);
        let quota = match row.fetch_optional(&mut **tx).await? {
            Some(row) => row.try_get::<Option<i64>, _>(0)?.map(unsigned),
            None => None,
        };
        let Some(quota) = quota else { return Ok(()) };
        let row = sqlx::query(USED).bind(owner).fetch_one(&mut **tx).await?;
        let used = unsigned(row.try_get(0)?);
        if used.saturating_add(more) > quota { Err(Error::Quota { quota, used }) } else { Ok(()) }
    }

    /// Objects that nothing refers to any more, at most `limit`. A slash at the end means everything below.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn garbage(&self, limit: u32) -> Result<Vec<String>, Error> {
        let query = "SELECT object FROM garbage ORDER BY since LIMIT $1";
        let rows = sqlx::query(query).bind(i64::from(limit)).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Says that an object of [`Store::garbage`] is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn swept(&self, object: &str) -> Result<(), Error> {
        let delete = sqlx::query("DELETE FROM garbage WHERE object = $1").bind(object);
        delete.execute(&self.writer).await?;
        Ok(())
    }
}

impl Video {
    /// Bytes of the original that are there.
    pub fn received(&self) -> u64 {
        match self.state {
            VideoState::Uploading { received } => received,
            VideoState::Stored => self.length,
        }
    }
}

/// Adds jobs that follow one another on a video.
async fn add_chain(
    tx: &mut Transaction<'static, Any>,
    video: VideoId,
    jobs: &[NewJob],
    now: Timestamp,
) -> Result<Vec<JobId>, Error> {
    let mut added = Vec::new();
    for job in jobs {
        let job = NewJob { video: Some(video), after: added.last().copied(), ..job.clone() };
        added.push(add(tx, &job, now).await?);
    }
    Ok(added)
}

/// Marks objects, to be deleted when there is time.
pub(crate) async fn discard(
    tx: &mut Transaction<'static, Any>,
    object: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let insert =
        "INSERT INTO garbage (object, since) VALUES ($1, $2) ON CONFLICT (object) DO NOTHING";
    sqlx::query(insert).bind(object).bind(now.as_millisecond()).execute(&mut **tx).await?;
    Ok(())
}

/// How long a video is kept if its request does not say, in milliseconds; `None`: forever. The user's own number
/// comes before the server's.
async fn retention(
    tx: &mut Transaction<'static, Any>,
    new: &NewVideo,
) -> Result<Option<i64>, Error> {
    let row = sqlx::query("SELECT retention_days FROM users WHERE name = $1").bind(&new.owner);
    let row = row.fetch_optional(&mut **tx).await?;
    let own = row.map(|row| row.try_get::<Option<i64>, _>(0)).transpose()?.flatten();
    let days = own.or(new.days.map(i64::from));
    Ok(days.map(|days| days.saturating_mul(24 * 60 * 60 * 1000)))
}

pub(crate) fn missing(video: VideoId) -> Error {
    Error::NotFound { kind: "video", name: video.to_string() }
}

pub(crate) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}

fn millis_of(time: SignedDuration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn video(row: &AnyRow) -> Result<Video, Error> {
    let info: Option<String> = row.try_get("info")?;
    let info = info.map(|text| serde_json::from_str(&text).map_err(|_| Error::Damaged("info")));
    let grace: Option<i64> = row.try_get("original_grace")?;
    Ok(Video {
        id: id(row, "id")?,
        owner: row.try_get("owner")?,
        name: row.try_get("name")?,
        state: match row.try_get::<String, _>("state")?.as_str() {
            "uploading" => VideoState::Uploading { received: unsigned(row.try_get("received")?) },
            "stored" => VideoState::Stored,
            _ => return Err(Error::Damaged("state")),
        },
        length: unsigned(row.try_get("length")?),
        has_original: crate::db::flag(row, "has_key")?,
        object: row.try_get("object")?,
        original: grace
            .map_or(Original::Keep, |g| Original::DeleteAfter(SignedDuration::from_millis(g))),
        original_delete_at: time(row, "original_delete_at")?,
        info: info.transpose()?,
        published: row.try_get("published")?,
        created_at: time(row, "created_at")?.ok_or(Error::Damaged("created_at"))?,
        expires_at: time(row, "expires_at")?,
    })
}
