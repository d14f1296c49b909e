//! What becomes of a recording when its session is over: a video, which a job makes of what was recorded.
//!
//! The job, the video and what the session says of its recording change in one transaction each time: a recording
//! that is being finished has a job that is not over, whatever dies in between.

use domain::VideoId;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::channel::Channel;
use super::lease::ChannelFence;
use super::received;
use super::running::hold;
use super::session::{COLUMNS, RecordingState, Session, recording_folder, session, under_way};
use crate::events::{NewEvent, emit};
use crate::jobs::{Job, Kind, NewJob, State, add, shortened};
use crate::versions::published_urls;
use crate::videos::discard;
use crate::{Error, NewVideo, Original, Source, Store, Topic};

/// Longest name of a channel in that of a video, in bytes: a date follows.
const MAX_NAME: usize = 180;

impl Store {
    /// The same, deleting what recordings become after this many days where the user's own number does not say
    /// otherwise.
    #[must_use]
    pub fn keeping(mut self, days: Option<u32>) -> Self {
        self.days = days;
        self
    }

    /// Whether a video was recorded of a live session.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_recording(&self, video: VideoId) -> Result<bool, Error> {
        let query = sqlx::query("SELECT 1 FROM sessions WHERE video = $1").bind(video.to_string());
        Ok(query.fetch_optional(&self.pool).await?.is_some())
    }

    /// Has what was recorded of the session under way made a video, and gives its id; `None`: nothing was recorded.
    /// Doing so again changes nothing. What was recorded before a recording failed is made one too.
    ///
    /// Call [`Store::set_recorded`] before: what nobody counted is not there.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub async fn finish_recording(
        &self,
        fence: &ChannelFence,
        now: Timestamp,
    ) -> Result<Option<VideoId>, Error> {
        let mut tx = self.begin().await?;
        let channel = hold(&mut tx, fence).await?;
        let session = under_way(&mut tx, &channel).await?;
        let video = hand_over(self, &mut tx, &channel, &session, now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Channels, Topic::Events]).await?;
        Ok(video)
    }
}

/// What the recording of a session that ends is to become; `None`: nothing, because there is none.
pub(super) async fn hand_over(
    store: &Store,
    tx: &mut Transaction<'static, Any>,
    channel: &Channel,
    session: &Session,
    now: Timestamp,
) -> Result<Option<VideoId>, Error> {
    let broken = match &session.recording {
        RecordingState::Finishing { video } | RecordingState::Ready { video } => {
            return Ok(Some(*video));
        }
        RecordingState::Off | RecordingState::Waiting => return Ok(None),
        RecordingState::Recording => None,
        RecordingState::Failed { reason } => Some(reason),
    };
    if session.recorded.segments == 0 || has_video(tx, session).await? {
        return Ok(None);
    }
    let new = NewVideo {
        owner: session.owner.clone(),
        name: video_name(&channel.name, session.started_at),
        source: Source::Recording,
        original: Original::Keep,
        expires_at: None,
        days: store.days,
    };
    let video = store.insert_video(tx, &new, now).await?;
    let work = json!({"session": session.id, "broken": broken});
    let job = NewJob { video: Some(video), ..NewJob::new(&session.owner, Kind::Recording, work) };
    let job = add(tx, &job, now).await?;
    received::hand_over(tx, channel, session, (video, job), now).await?;
    let update =
        "UPDATE sessions SET recording = $1, recording_reason = NULL, video = $2 WHERE id = $3";
    sqlx::query(update)
        .bind(RecordingState::Finishing { video }.name())
        .bind(video.to_string())
        .bind(session.id.to_string())
        .execute(&mut **tx)
        .await?;
    Ok(Some(video))
}

/// Whether a job was to make a video of it already, and failed.
async fn has_video(tx: &mut Transaction<'static, Any>, session: &Session) -> Result<bool, Error> {
    let query = sqlx::query("SELECT 1 FROM sessions WHERE id = $1 AND video IS NOT NULL");
    let row = query.bind(session.id.to_string()).fetch_optional(&mut **tx).await?;
    Ok(row.is_some())
}

/// The channel and when the session began, in UTC.
fn video_name(channel: &str, started: Timestamp) -> String {
    let end = channel.floor_char_boundary(MAX_NAME.min(channel.len()));
    let at = started.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M");
    format!("{} {at}", &channel[..end])
}

/// Says what became of the recording that a job was to finish, in the transaction in which the job is over. What was
/// recorded is no longer needed once there is a version of it.
pub(crate) async fn finished(
    tx: &mut Transaction<'static, Any>,
    job: &Job,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(video) = job.video else { return Ok(()) };
    let query =
        format!("SELECT {COLUMNS} FROM sessions WHERE video = $1 AND recording = 'finishing'");
    let query = sqlx::query(AssertSqlSafe(query)).bind(video.to_string());
    let Some(row) = query.fetch_optional(&mut **tx).await? else { return Ok(()) };
    let session = session(&row)?;
    let published = published_urls(tx, video).await?;
    let (recording, detail) = match (&job.state, published) {
        (State::Done(result), Some((version, urls))) => {
            let folder = recording_folder(&session.owner, session.id, session.started_at);
            discard(tx, &format!("{folder}/"), now).await?;
            (RecordingState::Ready { video }, ready(video, version, &urls, result))
        }
        (State::Failed(failure), _) => failed(&failure.message),
        (State::Cancelled, _) => failed("it was cancelled before it was finished"),
        _ => failed("nothing was published of it"),
    };
    let reason =
        if let RecordingState::Failed { reason } = &recording { Some(reason) } else { None };
    let update = "UPDATE sessions SET recording = $1, recording_reason = $2 WHERE id = $3";
    let update = sqlx::query(update).bind(recording.name()).bind(reason.cloned());
    update.bind(session.id.to_string()).execute(&mut **tx).await?;
    let kind = format!("recording.{}", recording.name());
    let mut data = json!({"channel": session.channel, "session": session.id});
    if let (Value::Object(data), Value::Object(detail)) = (&mut data, detail) {
        data.extend(detail);
    }
    let subject = session.channel.to_string();
    emit(tx, NewEvent { owner: &session.owner, kind: &kind, subject, data }, now).await
}

/// What is told of a recording that can be watched. Addresses are without signatures.
fn ready(video: VideoId, version: i64, urls: &[String], result: &Value) -> Value {
    let url = |end: &str| urls.iter().find(|url| url.ends_with(end));
    json!({
        "video": video,
        "version": version,
        "duration_ms": result["duration_ms"],
        "url": url("/video.mp4"),
        "poster": url("/poster.jpg"),
        "playlist": url("/media.m3u8"),
    })
}

fn failed(reason: &str) -> (RecordingState, Value) {
    let reason = shortened(reason);
    let detail = json!({"reason": reason});
    (RecordingState::Failed { reason }, detail)
}

/// Forgets what was recorded of a video that is deleted.
pub(crate) async fn discard_recording(
    tx: &mut Transaction<'static, Any>,
    video: VideoId,
    now: Timestamp,
) -> Result<(), Error> {
    let query = format!("SELECT {COLUMNS} FROM sessions WHERE video = $1");
    let query = sqlx::query(AssertSqlSafe(query)).bind(video.to_string());
    let Some(row) = query.fetch_optional(&mut **tx).await? else { return Ok(()) };
    let session = session(&row)?;
    let folder = recording_folder(&session.owner, session.id, session.started_at);
    discard(tx, &format!("{folder}/"), now).await?;
    received::destroy(tx, session.id, now).await?;
    let update = "UPDATE sessions SET recording = 'failed', recording_reason = 'its video was deleted' \
         WHERE id = $1 AND recording = 'ready'";
    sqlx::query(update).bind(session.id.to_string()).execute(&mut **tx).await?;
    Ok(())
}

/// Whether nobody needs what was recorded of a session any more, and nobody ever will. What could not be made a video
/// stays as long as that.
pub(crate) async fn is_over(
    tx: &mut Transaction<'static, Any>,
    session: &str,
) -> Result<bool, Error> {
    let query = "SELECT s.recording, v.state FROM sessions s LEFT JOIN videos v ON v.id = s.video \
         WHERE s.id = $1 AND s.ended_at IS NOT NULL";
    let row = sqlx::query(query).bind(session.to_owned()).fetch_optional(&mut **tx).await?;
    let Some(row) = row else { return Ok(false) };
    let recording: String = row.try_get("recording")?;
    let video: Option<String> = row.try_get("state")?;
    Ok(match recording.as_str() {
        "off" | "ready" => true,
        "failed" => video.is_none_or(|state| state == "deleted"),
        _ => false,
    })
}
