//! Sessions: what a channel was used for, from a start to a stop, and what was recorded of it.

use domain::{ChannelId, SessionId, VideoId};
use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::channel::{Channel, Playback, RecordingPolicy};
use super::received;
use crate::db::{hex, id, time};
use crate::versions::{began_folder, is_same};
use crate::{Error, Store};

/// What was recorded of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingState {
    /// Nothing: that was not asked for, or nobody published.
    Off,
    /// Nothing yet: nobody has published.
    Waiting,
    /// It is being recorded.
    Recording,
    /// What was recorded is being made whole.
    Finishing {
        /// What it becomes.
        video: VideoId,
    },
    /// It can be watched.
    Ready {
        /// What it became.
        video: VideoId,
    },
    /// It cannot.
    Failed {
        /// Why not.
        reason: String,
    },
}

impl RecordingState {
    /// As it is stored and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Waiting => "waiting",
            Self::Recording => "recording",
            Self::Finishing { .. } => "finishing",
            Self::Ready { .. } => "ready",
            Self::Failed { .. } => "failed",
        }
    }
}

/// How much was recorded of a session so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What they play for, in milliseconds.
    pub duration_ms: u64,
}

/// One time that a channel was live, from its start to its stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The channel. It may be gone, or another user's, meanwhile.
    pub channel: ChannelId,
    /// Whose it is.
    pub owner: String,
    /// The collection whose people could be seen when it started.
    pub collection: Option<String>,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// Why it ended, where nobody stopped it.
    pub reason: Option<String>,
    /// When somebody published for the first time.
    pub first_publish_at: Option<Timestamp>,
    /// Who may watch it.
    pub playback: Playback,
    /// What was recorded.
    pub recording: RecordingState,
    /// How much of it.
    pub recorded: Recorded,
}

/// Folder of what is recorded of a session: `vod/{user}/{yyyyMMddHHmm}-{session}`, the session's start in UTC. It is gone
/// once a version was made of it.
pub fn recording_folder(user: &str, session: SessionId, started: Timestamp) -> String {
    began_folder(user, session, started)
}

pub(super) const COLUMNS: &str = "id, channel, owner, collection, started_at, ended_at, reason, first_publish_at, playback, \
     recording, recording_reason, video, segments, bytes, duration_ms";

impl Store {
    /// A session: a user's, or whose ever it is.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for sessions of other users.
    pub async fn session(&self, owner: Option<&str>, id: SessionId) -> Result<Session, Error> {
        let query =
            format!("SELECT {COLUMNS} FROM sessions WHERE id = $1 AND ($2 = '' OR owner = $2)");
        let row = sqlx::query(AssertSqlSafe(query)).bind(id.to_string());
        let row = row.bind(owner.unwrap_or_default());
        let row = row.fetch_optional(&self.pool).await?;
        session(&row.ok_or_else(|| Error::NotFound { kind: "session", name: id.to_string() })?)
    }

    /// At most `limit` of a user's sessions of a channel before id `before`, newest first: all, or those of which
    /// something was, is, or was to be recorded.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sessions(
        &self,
        owner: &str,
        channel: ChannelId,
        recorded: bool,
        before: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<Session>, Error> {
        let query = format!(
            "SELECT {COLUMNS} FROM sessions WHERE owner = $1 AND channel = $2 \
             AND ($3 = 0 OR recording <> 'off') AND ($4 = '' OR id < $4) ORDER BY id DESC LIMIT $5"
        );
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(owner)
            .bind(channel.to_string())
            .bind(i64::from(recorded))
            .bind(before.map_or(String::new(), |id| id.to_string()))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(session).collect()
    }

    /// What makes an address of a session good until `expires`, in seconds since 1970: a MAC by the server's key.
    pub fn sign_session(&self, session: SessionId, expires: i64) -> String {
        let session = session.to_string();
        hex(&self.media.mac(&[b"session", session.as_bytes(), &expires.to_be_bytes()]))
    }

    /// Whether `signature` is that of [`Store::sign_session`]; takes the same time for every wrong one.
    pub fn is_signed_session(&self, session: SessionId, expires: i64, signature: &str) -> bool {
        is_same(&self.sign_session(session, expires), signature)
    }
}

/// Begins a session of a channel.
pub(super) async fn begin(
    store: &Store,
    tx: &mut Transaction<'static, Any>,
    session: SessionId,
    channel: &Channel,
    now: Timestamp,
) -> Result<(), Error> {
    let recording = match channel.policy.recording {
        RecordingPolicy::None => RecordingState::Off,
        _ => RecordingState::Waiting,
    };
    let key = match channel.policy.recording {
        RecordingPolicy::CoveredAndSealedOriginal => Some(received::new_key(store, session)?),
        RecordingPolicy::None | RecordingPolicy::Covered => None,
    };
    let insert = "INSERT INTO sessions (id, channel, owner, collection, started_at, playback, recording, \
         received_key, segments, bytes, duration_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, 0)";
    sqlx::query(insert)
        .bind(session.to_string())
        .bind(channel.id.to_string())
        .bind(&channel.owner)
        .bind(channel.collection.clone())
        .bind(now.as_millisecond())
        .bind(channel.policy.playback.name())
        .bind(recording.name())
        .bind(key)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The session of a channel that is under way.
pub(super) async fn under_way(
    tx: &mut Transaction<'static, Any>,
    channel: &Channel,
) -> Result<Session, Error> {
    let id = channel.session.ok_or(Error::Damaged("session"))?;
    let query = AssertSqlSafe(format!("SELECT {COLUMNS} FROM sessions WHERE id = $1"));
    let row = sqlx::query(query).bind(id.to_string()).fetch_optional(&mut **tx).await?;
    session(&row.ok_or(Error::Damaged("session"))?)
}

/// The session in a row of [`COLUMNS`].
pub(super) fn session(row: &AnyRow) -> Result<Session, Error> {
    let text = |name| row.try_get::<Option<String>, _>(name);
    let count = |name| -> Result<u64, Error> {
        u64::try_from(row.try_get::<i64, _>(name)?).map_err(|_| Error::Damaged(name))
    };
    let recording = match row.try_get::<String, _>("recording")?.as_str() {
        "off" => RecordingState::Off,
        "waiting" => RecordingState::Waiting,
        "recording" => RecordingState::Recording,
        "finishing" => RecordingState::Finishing { video: id(row, "video")? },
        "ready" => RecordingState::Ready { video: id(row, "video")? },
        "failed" => {
            RecordingState::Failed { reason: text("recording_reason")?.unwrap_or_default() }
        }
        _ => return Err(Error::Damaged("recording")),
    };
    let playback = Playback::of(&row.try_get::<String, _>("playback")?);
    Ok(Session {
        id: id(row, "id")?,
        channel: id(row, "channel")?,
        owner: row.try_get("owner")?,
        collection: text("collection")?,
        started_at: time(row, "started_at")?.ok_or(Error::Damaged("started_at"))?,
        ended_at: time(row, "ended_at")?,
        reason: text("reason")?,
        first_publish_at: time(row, "first_publish_at")?,
        playback: playback.ok_or(Error::Damaged("playback"))?,
        recording,
        recorded: Recorded {
            segments: count("segments")?,
            bytes: count("bytes")?,
            duration_ms: count("duration_ms")?,
        },
    })
}
