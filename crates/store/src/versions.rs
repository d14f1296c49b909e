//! Covered files and whether they are public.
//!
//! A version is public while everybody it shows agrees to that. It becomes public, and stops being so, in the
//! transaction of what decides it; its address holds its number, so that nobody gets another version by it.

use std::fmt::Display;

use domain::{PersonId, VideoId};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use crate::audit::append;
use crate::consent::standing;
use crate::db::{hex, id, time};
use crate::events::{NewEvent, emit};
use crate::jobs::{End, Fence, Kind, NewJob, add, end};
use crate::videos::{discard, missing, signed};
use crate::{Action, Error, Scope, Standing, Store, Topic};

/// Setting that holds what public addresses begin with.
const PUBLIC_URL: &str = "public_url";
/// Jobs that cover somebody again go before others.
const RECOVER_PRIORITY: i64 = 100;

/// One file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionFile {
    /// Its name: `video.mp4`, `poster.jpg`.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether viewers may have it; if not, it is for the video's user only.
    pub public: bool,
}

/// A covered file to be published.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The video it was made of.
    pub video: VideoId,
    /// Folder of its objects; belongs to this attempt alone.
    pub folder: String,
    /// Its objects.
    pub files: Vec<VersionFile>,
    /// What was asked for.
    pub options: Value,
    /// SHA-256 of the file that its plan is good for, in hexadecimal.
    pub plan_of: Option<String>,
    /// Whom it shows.
    pub shows: Vec<PersonId>,
}

/// Whether a version is public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// It is.
    Published,
    /// Another one took its place.
    Superseded(Timestamp),
    /// Somebody it shows does not agree any more, or it was deleted: since when, and why.
    Withdrawn(Timestamp, String),
}

/// A covered file.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// The video it was made of.
    pub video: VideoId,
    /// Its number, from 1.
    pub number: i64,
    /// Whether it is public.
    pub state: VersionState,
    /// Folder of its objects.
    pub folder: String,
    /// Its objects.
    pub files: Vec<VersionFile>,
    /// What was asked for.
    pub options: Value,
    /// SHA-256 of the file that its plan is good for.
    pub plan_of: Option<String>,
    /// When the first consent of those it shows ends by itself.
    pub consent_until: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Version {
    /// Whether viewers may have it at `now`.
    pub fn is_public(&self, now: Timestamp) -> bool {
        self.state == VersionState::Published && self.consent_until.is_none_or(|end| now < end)
    }
}

/// Folder of all objects that were made of a video: `vod/{user}/{yyyyMMddHHmm}-{video}`, the video's time in UTC. Each
/// attempt has a folder of its own in it.
pub fn video_folder(user: &str, video: VideoId, created: Timestamp) -> String {
    began_folder(user, video, created)
}

/// A folder of what viewers may have one day, by when it began, in UTC.
pub(crate) fn began_folder(user: &str, id: impl Display, began: Timestamp) -> String {
    let stamp = began.to_zoned(TimeZone::UTC).strftime("%Y%m%d%H%M");
    format!("vod/{user}/{stamp}-{id}")
}

const COLUMNS: &str = "video, number, state, folder, files, options, plan_of, consent_until, created_at, \
     ended_at, reason";

impl Store {
    /// Publishes what a job made, and ends the job. Everybody it shows must agree to it at `now`; the log says
    /// who they are. Versions before it are over.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the job is somebody else's by now, or was cancelled and is over with that;
    /// [`Error::NoConsent`]; [`Error::NotFound`] when the video was deleted meanwhile. Then nothing became
    /// public, and the objects are for [`Store::discard_folder`].
    pub async fn publish(
        &self,
        fence: &Fence,
        new: &NewVersion,
        result: &Value,
        actor: &str,
        now: Timestamp,
    ) -> Result<i64, Error> {
        let mut tx = self.begin_as(fence, now).await?;
        let number = next_number(&mut tx, new.video).await?;
        for person in &new.shows {
            let detail = format!("video {}, version {number}", new.video);
            append(self, &mut tx, actor, Action::Keep, &person.to_string(), &detail, now).await?;
        }
        let until = shown_until(&mut tx, &new.shows, now).await?;
        let purge = end_all(&mut tx, new.video, "superseded", now).await?;
        insert(&mut tx, fence, new, number, until, now).await?;
        for folder in earlier_folders(&new.folder, fence) {
            discard(&mut tx, &folder, now).await?;
        }
        let update = "UPDATE videos SET published = $1, original_delete_at = CASE WHEN original_grace IS NULL \
             OR sealed_key IS NULL THEN NULL ELSE original_grace + $2 END \
             WHERE id = $3 AND state = 'stored' RETURNING owner";
        let row =
            sqlx::query(update).bind(number).bind(now.as_millisecond()).bind(new.video.to_string());
        let row = row.fetch_optional(&mut *tx).await?.ok_or_else(|| missing(new.video))?;
        let owner: String = row.try_get(0)?;
        let mut result = result.clone();
        if let Value::Object(result) = &mut result {
            result.insert("version".to_owned(), number.into());
        }
        end(&mut tx, fence, End::Done(&result), now).await?;
        let urls = urls(&mut tx, new.video, number, &new.files).await?;
        let data = json!({"video": new.video, "version": number, "urls": urls, "purge": purge});
        let subject = new.video.to_string();
        emit(&mut tx, NewEvent { owner: &owner, kind: "video.published", subject, data }, now)
            .await?;
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        Ok(number)
    }

    /// Marks the folder of an attempt that came to nothing, so that its objects are deleted; not one that was
    /// published after all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn discard_folder(&self, folder: &str, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let query = sqlx::query("SELECT 1 FROM versions WHERE folder = $1").bind(folder);
        if query.fetch_optional(&mut *tx).await?.is_none() {
            discard(&mut tx, &format!("{folder}/"), now).await?;
        }
        Ok(tx.commit().await?)
    }

    /// A version of a user's video.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn version(&self, video: VideoId, number: i64) -> Result<Version, Error> {
        let query = format!("SELECT {COLUMNS} FROM versions WHERE video = $1 AND number = $2");
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(video.to_string()).bind(number);
        let missing = || Error::NotFound { kind: "version", name: format!("{video}/v{number}") };
        version(&row.fetch_optional(&self.pool).await?.ok_or_else(missing)?)
    }

    /// The last 100 versions of a video, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn versions(&self, video: VideoId) -> Result<Vec<Version>, Error> {
        let query = format!(
            "SELECT {COLUMNS} FROM versions WHERE video = $1 ORDER BY number DESC LIMIT 100"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(video.to_string());
        rows.fetch_all(&self.pool).await?.iter().map(version).collect()
    }

    /// Whom a version shows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn shown(&self, video: VideoId, number: i64) -> Result<Vec<PersonId>, Error> {
        let query = "SELECT person FROM shown WHERE video = $1 AND number = $2 ORDER BY person";
        let rows = sqlx::query(query).bind(video.to_string()).bind(number);
        rows.fetch_all(&self.pool).await?.iter().map(|row| id(row, "person")).collect()
    }

    /// Takes back versions that show somebody whose consent ended by itself. Gives how many were looked at, at
    /// most 100.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire_consents(&self, now: Timestamp) -> Result<usize, Error> {
        let mut tx = self.begin().await?;
        let query = "SELECT v.video, v.number, v.files, o.owner FROM versions v JOIN videos o ON o.id = v.video \
             WHERE v.state = 'published' AND v.consent_until <= $1 ORDER BY v.video LIMIT 100";
        let rows = sqlx::query(query).bind(now.as_millisecond()).fetch_all(&mut *tx).await?;
        if rows.is_empty() {
            return Ok(0); // Wakes nobody.
        }
        for row in &rows {
            let (video, number): (VideoId, i64) = (id(row, "video")?, row.try_get("number")?);
            let people = "SELECT person FROM shown WHERE video = $1 AND number = $2";
            let people = sqlx::query(people).bind(video.to_string()).bind(number);
            let people = people.fetch_all(&mut *tx).await?;
            let people: Vec<PersonId> =
                people.iter().map(|row| id(row, "person")).collect::<Result<_, _>>()?;
            match shown_until(&mut tx, &people, now).await {
                Ok(until) => {
                    // Longer consent was given meanwhile.
                    let update =
                        "UPDATE versions SET consent_until = $1 WHERE video = $2 AND number = $3";
                    let update = sqlx::query(update).bind(until.map(|t| t.as_millisecond()));
                    update.bind(video.to_string()).bind(number).execute(&mut *tx).await?;
                }
                Err(Error::NoConsent { .. }) => {
                    unpublish(&mut tx, row, "consent_expired", now).await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        Ok(rows.len())
    }

    /// Takes back every version that shows `person`, in the transaction of why.
    pub(crate) async fn unpublish_person(
        &self,
        tx: &mut Transaction<'static, Any>,
        person: PersonId,
        reason: &'static str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let query = "SELECT v.video, v.number, v.files, o.owner FROM shown s \
             JOIN versions v ON v.video = s.video AND v.number = s.number JOIN videos o ON o.id = v.video \
             WHERE s.person = $1 AND v.state = 'published' ORDER BY v.video";
        let rows = sqlx::query(query).bind(person.to_string()).fetch_all(&mut **tx).await?;
        for row in &rows {
            unpublish(tx, row, reason, now).await?;
        }
        Ok(())
    }

    /// Says what public addresses begin with (`https://video.example.org`), for events.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_public_url(&self, url: &str) -> Result<(), Error> {
        self.set(PUBLIC_URL, url.trim_end_matches('/')).await
    }

    /// What makes an address of media good until `expires`, in seconds since 1970: a MAC by the server's key.
    pub fn sign_media(&self, video: VideoId, number: i64, file: &str, expires: i64) -> String {
        let (video, number) = (video.to_string(), number.to_be_bytes());
        hex(&self.media.mac(&[video.as_bytes(), &number, file.as_bytes(), &expires.to_be_bytes()]))
    }

    /// Whether `signature` is that of [`Store::sign_media`]; takes the same time for every wrong one.
    pub fn is_signed(
        &self,
        video: VideoId,
        number: i64,
        file: &str,
        expires: i64,
        signature: &str,
    ) -> bool {
        is_same(&self.sign_media(video, number, file, expires), signature)
    }
}

/// Compares signatures; takes the same time for every wrong one of the right length.
pub(crate) fn is_same(right: &str, given: &str) -> bool {
    let differ = right.bytes().zip(given.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    right.len() == given.len() && differ == 0
}

/// Until when everybody in `people` agrees to be seen in videos; `None`: without an end.
async fn shown_until(
    tx: &mut Transaction<'static, Any>,
    people: &[PersonId],
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let mut until: Option<Timestamp> = None;
    for person in people {
        let name = person.to_string();
        match standing(tx, &name, Scope::Videos, now).await? {
            Standing::Given(None) => {}
            Standing::Given(Some(end)) => until = Some(until.map_or(end, |u| u.min(end))),
            standing => return Err(Error::NoConsent { name, standing }),
        }
    }
    Ok(until)
}

/// Folders of the attempts before this one: who was killed over storing objects could not discard them.
fn earlier_folders(folder: &str, fence: &Fence) -> impl Iterator<Item = String> {
    let base = folder.strip_suffix(&format!(".{}", fence.attempt));
    let numbers = 1..fence.attempt;
    base.into_iter().flat_map(move |base| numbers.clone().map(move |n| format!("{base}.{n}/")))
}

async fn next_number(tx: &mut Transaction<'static, Any>, video: VideoId) -> Result<i64, Error> {
    let query =
        "SELECT CAST(COALESCE(MAX(number), 0) + 1 AS BIGINT) FROM versions WHERE video = $1";
    let row = sqlx::query(query).bind(video.to_string()).fetch_one(&mut **tx).await?;
    Ok(row.try_get(0)?)
}

async fn insert(
    tx: &mut Transaction<'static, Any>,
    fence: &Fence,
    new: &NewVersion,
    number: i64,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Error> {
    let bytes = new.files.iter().map(|f| f.bytes).sum();
    let files = serde_json::to_string(&new.files).map_err(|_| Error::Damaged("files"))?;
    let insert = "INSERT INTO versions (video, number, state, job, folder, files, bytes, options, plan_of, \
         consent_until, created_at) VALUES ($1, $2, 'published', $3, $4, $5, $6, $7, $8, $9, $10)";
    sqlx::query(insert)
        .bind(new.video.to_string())
        .bind(number)
        .bind(fence.job.to_string())
        .bind(&new.folder)
        .bind(files)
        .bind(signed(bytes))
        .bind(new.options.to_string())
        .bind(new.plan_of.clone())
        .bind(until.map(|t| t.as_millisecond()))
        .bind(now.as_millisecond())
        .execute(&mut **tx)
        .await?;
    for person in &new.shows {
        let insert =
            "INSERT INTO shown (video, number, person) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let insert = sqlx::query(insert).bind(new.video.to_string()).bind(number);
        insert.bind(person.to_string()).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Takes back the version in `row` (video, number, files, owner) and has it covered again.
async fn unpublish(
    tx: &mut Transaction<'static, Any>,
    row: &AnyRow,
    reason: &'static str,
    now: Timestamp,
) -> Result<(), Error> {
    let (video, number): (VideoId, i64) = (id(row, "video")?, row.try_get("number")?);
    let owner: String = row.try_get("owner")?;
    let update = "UPDATE versions SET state = 'withdrawn', ended_at = $1, reason = $2 \
         WHERE video = $3 AND number = $4";
    let update = sqlx::query(update).bind(now.as_millisecond()).bind(reason);
    update.bind(video.to_string()).bind(number).execute(&mut **tx).await?;
    // An original that was to be destroyed is needed once more: the new version starts its grace again.
    let update = "UPDATE videos SET published = NULL, original_delete_at = NULL WHERE id = $1";
    sqlx::query(update).bind(video.to_string()).execute(&mut **tx).await?;
    let purge = urls(tx, video, number, &files(row)?).await?;
    let job = NewJob {
        video: Some(video),
        priority: RECOVER_PRIORITY,
        ..NewJob::new(&owner, Kind::Recover, json!({"version": number}))
    };
    let job = add(tx, &job, now).await?;
    let data =
        json!({"video": video, "version": number, "reason": reason, "purge": purge, "job": job});
    let subject = video.to_string();
    emit(tx, NewEvent { owner: &owner, kind: "video.unpublished", subject, data }, now).await
}

/// Ends all versions of a video and discards their objects. Gives the addresses that were public.
pub(crate) async fn end_all(
    tx: &mut Transaction<'static, Any>,
    video: VideoId,
    state: &'static str,
    now: Timestamp,
) -> Result<Vec<String>, Error> {
    let query = "SELECT number, state, folder, files FROM versions WHERE video = $1 \
         AND state IN ('published', 'withdrawn') ORDER BY number";
    let rows = sqlx::query(query).bind(video.to_string()).fetch_all(&mut **tx).await?;
    let mut purge = Vec::new();
    for row in &rows {
        if row.try_get::<String, _>("state")? == "published" {
            purge.extend(urls(tx, video, row.try_get("number")?, &files(row)?).await?);
        }
        discard(tx, &format!("{}/", row.try_get::<String, _>("folder")?), now).await?;
    }
    let update = "UPDATE versions SET state = $1, ended_at = $2 WHERE video = $3 \
         AND state IN ('published', 'withdrawn')";
    let update = sqlx::query(update).bind(state).bind(now.as_millisecond());
    update.bind(video.to_string()).execute(&mut **tx).await?;
    Ok(purge)
}

/// The public version of a video, by its number and the addresses of its files, without signatures.
pub(crate) async fn published_urls(
    tx: &mut Transaction<'static, Any>,
    video: VideoId,
) -> Result<Option<(i64, Vec<String>)>, Error> {
    let query = "SELECT number, files FROM versions WHERE video = $1 AND state = 'published'";
    let row = sqlx::query(query).bind(video.to_string()).fetch_optional(&mut **tx).await?;
    let Some(row) = row else { return Ok(None) };
    let number = row.try_get("number")?;
    Ok(Some((number, urls(tx, video, number, &files(&row)?).await?)))
}

/// Public addresses of a version's files, without signatures.
async fn urls(
    tx: &mut Transaction<'static, Any>,
    video: VideoId,
    number: i64,
    files: &[VersionFile],
) -> Result<Vec<String>, Error> {
    let base = Store::setting(tx, PUBLIC_URL).await?.unwrap_or_default();
    let public = files.iter().filter(|f| f.public);
    Ok(public.map(|f| format!("{base}/media/{video}/v{number}/{}", f.name)).collect())
}

fn files(row: &AnyRow) -> Result<Vec<VersionFile>, Error> {
    let text: String = row.try_get("files")?;
    serde_json::from_str(&text).map_err(|_| Error::Damaged("files"))
}

fn version(row: &AnyRow) -> Result<Version, Error> {
    let options: String = row.try_get("options")?;
    let ended = time(row, "ended_at")?;
    let reason: Option<String> = row.try_get("reason")?;
    let state = match (row.try_get::<String, _>("state")?.as_str(), ended) {
        ("published", _) => VersionState::Published,
        ("superseded", Some(at)) => VersionState::Superseded(at),
        ("withdrawn", Some(at)) => VersionState::Withdrawn(at, reason.unwrap_or_default()),
        ("deleted", Some(at)) => VersionState::Withdrawn(at, "deleted".to_owned()),
        _ => return Err(Error::Damaged("state")),
    };
    Ok(Version {
        video: id(row, "video")?,
        number: row.try_get("number")?,
        state,
        folder: row.try_get("folder")?,
        files: files(row)?,
        options: serde_json::from_str(&options).map_err(|_| Error::Damaged("options"))?,
        plan_of: row.try_get("plan_of")?,
        consent_until: time(row, "consent_until")?,
        created_at: time(row, "created_at")?.ok_or(Error::Damaged("created_at"))?,
    })
}
