//! What the server that has a channel says of it. Every call holds its fence: of two servers that both believe to
//! have a channel, only the later one is heard.

use jiff::Timestamp;
use serde_json::json;
use sqlx::{Any, AssertSqlSafe, Transaction};

use super::change::{enter, remove, tell};
use super::channel::{COLUMNS, Channel, ChannelState, Ingest, Protection, channel};
use super::lease::ChannelFence;
use super::received;
use super::recording::hand_over;
use super::session::{Recorded, RecordingState, under_way};
use crate::jobs::shortened;
use crate::videos::signed;
use crate::{Error, Store, Topic};

impl Store {
    /// Says that a channel can take a publisher.
    ///
    /// # Errors
    /// [`Error::Fenced`]; [`Error::ChannelBusy`] when it is to be stopped meanwhile.
    pub async fn channel_running(
        &self,
        fence: &ChannelFence,
        now: Timestamp,
    ) -> Result<Channel, Error> {
        let mut tx = self.begin().await?;
        let channel = hold(&mut tx, fence).await?;
        match channel.state {
            ChannelState::Running => return Ok(channel),
            ChannelState::Creating | ChannelState::Starting | ChannelState::Recovering => {}
            state => return Err(Error::ChannelBusy { channel: channel.id, state }),
        }
        let channel = enter(&mut tx, channel, ChannelState::Running, None, now).await?;
        self.commit(tx, &[Topic::Channels, Topic::Events]).await?;
        Ok(channel)
    }

    /// Says that a session that was to be stopped is over: everything was sent, the playlist ended, the recording
    /// handed over ([`Store::finish_recording`]), which is done here otherwise. The channel is free, or gone if it was
    /// to be deleted.
    ///
    /// # Errors
    /// [`Error::Fenced`]; [`Error::ChannelBusy`] when nobody asked for it.
    pub async fn channel_stopped(&self, fence: &ChannelFence, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let channel = hold(&mut tx, fence).await?;
        if !matches!(channel.state, ChannelState::Stopping | ChannelState::Deleting) {
            return Err(Error::ChannelBusy { channel: channel.id, state: channel.state });
        }
        end_session(self, &mut tx, channel, None, now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Channels, Topic::Events]).await
    }

    /// Ends a session that cannot go on. The channel is free again. What was recorded is handed over.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub async fn channel_failed(
        &self,
        fence: &ChannelFence,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let channel = hold(&mut tx, fence).await?;
        end_session(self, &mut tx, channel, Some(reason), now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Channels, Topic::Events]).await
    }

    /// Says what became of the publisher. Somebody who was rejected while another one publishes is told of, and
    /// changes nothing.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub async fn set_ingest(
        &self,
        fence: &ChannelFence,
        ingest: &Ingest,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let channel = hold(&mut tx, fence).await?;
        if *ingest == Ingest::Connected {
            let first = "UPDATE sessions SET first_publish_at = $1 WHERE id = $2 AND first_publish_at IS NULL";
            let first = sqlx::query(first).bind(now.as_millisecond());
            first.bind(session_of(&channel)?).execute(&mut *tx).await?;
        }
        enter_ingest(&mut tx, channel, ingest, now).await?;
        self.commit(tx, &[Topic::Channels, Topic::Events]).await
    }

    /// Says whether everybody who must be covered is.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub async fn set_protection(
        &self,
        fence: &ChannelFence,
        protection: &Protection,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let channel = hold(&mut tx, fence).await?;
        if channel.protection == *protection {
            return Ok(());
        }
        let reason = protection.reason().map(shortened);
        let update = "UPDATE channels SET protection = $1, protection_reason = $2 WHERE id = $3";
        let update = sqlx::query(update).bind(protection.name()).bind(reason.clone());
        update.bind(channel.id.to_string()).execute(&mut *tx).await?;
        let kind = match protection {
            Protection::Ok => "protection.restored",
            Protection::Degraded(_) => "protection.degraded",
            Protection::Blocked(_) => "protection.blocked",
        };
        let detail = json!({"was": channel.protection.name(), "reason": reason});
        tell(&mut tx, &channel, kind, detail, now).await?;
        self.commit(tx, &[Topic::Channels, Topic::Events]).await
    }

    /// Says that the session under way is being recorded, or no longer, and why. What comes after that says itself:
    /// [`Store::finish_recording`].
    ///
    /// # Errors
    /// [`Error::Fenced`]; [`Error::Invalid`] for other states.
    pub async fn set_recording(
        &self,
        fence: &ChannelFence,
        recording: &RecordingState,
        now: Timestamp,
    ) -> Result<(), Error> {
        if !matches!(recording, RecordingState::Recording | RecordingState::Failed { .. }) {
            return Err(Error::Invalid { what: "the recording", why: "is not for servers to say" });
        }
        let mut tx = self.begin().await?;
        let channel = hold(&mut tx, fence).await?;
        let before = under_way(&mut tx, &channel).await?.recording;
        let is_late =
            matches!(before, RecordingState::Finishing { .. } | RecordingState::Ready { .. });
        if before == *recording || is_late {
            return Ok(());
        }
        record(&mut tx, &channel, recording, now).await?;
        self.commit(tx, &[Topic::Channels, Topic::Events]).await
    }

    /// Says how much of the session under way was recorded so far. Nobody is told.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub async fn set_recorded(
        &self,
        fence: &ChannelFence,
        recorded: &Recorded,
    ) -> Result<(), Error> {
        let update = "UPDATE sessions SET segments = $1, bytes = $2, duration_ms = $3 WHERE id = \
             (SELECT session FROM channels WHERE id = $4 AND claim = $5 AND server IS NOT NULL)";
        let done = sqlx::query(update)
            .bind(signed(recorded.segments))
            .bind(signed(recorded.bytes))
            .bind(signed(recorded.duration_ms))
            .bind(fence.channel.to_string())
            .bind(fence.claim)
            .execute(&self.writer)
            .await?;
        if done.rows_affected() == 0 { Err(Error::Fenced) } else { Ok(()) }
    }
}

/// The channel, if the server still has it. Only claims change that, and there is one writer at a time.
pub(super) async fn hold(
    tx: &mut Transaction<'static, Any>,
    fence: &ChannelFence,
) -> Result<Channel, Error> {
    let query = format!(
        "SELECT {COLUMNS} FROM channels WHERE id = $1 AND claim = $2 AND server IS NOT NULL"
    );
    let query = sqlx::query(AssertSqlSafe(query)).bind(fence.channel.to_string());
    let row = query.bind(fence.claim).fetch_optional(&mut **tx).await?;
    channel(&row.ok_or(Error::Fenced)?)
}

fn session_of(channel: &Channel) -> Result<String, Error> {
    Ok(channel.session.ok_or(Error::Damaged("session"))?.to_string())
}

/// Changes what is known of the publisher, and tells it.
pub(super) async fn enter_ingest(
    tx: &mut Transaction<'static, Any>,
    channel: Channel,
    ingest: &Ingest,
    now: Timestamp,
) -> Result<Channel, Error> {
    if channel.ingest == *ingest {
        return Ok(channel);
    }
    let kind = match (ingest, &channel.ingest) {
        (Ingest::Connected, Ingest::Starved | Ingest::Reconnecting) => "ingest.reconnected",
        (Ingest::Connected, _) => "ingest.connected",
        (Ingest::Starved, _) => "ingest.starved",
        (Ingest::Waiting | Ingest::Reconnecting, _) => "ingest.disconnected",
        (Ingest::Rejected(_), _) => "ingest.rejected",
    };
    let reason = ingest.reason().map(shortened);
    let detail = json!({"ingest": ingest.name(), "was": channel.ingest.name(), "reason": reason});
    tell(tx, &channel, kind, detail, now).await?;
    if reason.is_some() && channel.ingest.has_publisher() {
        return Ok(channel);
    }
    let update = "UPDATE channels SET ingest = $1, ingest_reason = $2 WHERE id = $3";
    let update = sqlx::query(update).bind(ingest.name()).bind(reason);
    update.bind(channel.id.to_string()).execute(&mut **tx).await?;
    Ok(Channel { ingest: ingest.clone(), ..channel })
}

/// Changes where the recording of the session under way is, and tells it.
async fn record(
    tx: &mut Transaction<'static, Any>,
    channel: &Channel,
    recording: &RecordingState,
    now: Timestamp,
) -> Result<(), Error> {
    let reason = if let RecordingState::Failed { reason } = recording {
        Some(shortened(reason))
    } else {
        None
    };
    let update = "UPDATE sessions SET recording = $1, recording_reason = $2 WHERE id = $3";
    let update = sqlx::query(update).bind(recording.name()).bind(reason.clone());
    update.bind(session_of(channel)?).execute(&mut **tx).await?;
    let (kind, detail) = match recording {
        RecordingState::Recording => ("recording.started", json!({})),
        RecordingState::Failed { .. } => ("recording.failed", json!({"reason": reason})),
        _ => return Ok(()),
    };
    tell(tx, channel, kind, detail, now).await
}

/// Ends the session that is under way: the channel is free, or gone. `reason`: why, where nobody stopped it.
pub(super) async fn end_session(
    store: &Store,
    tx: &mut Transaction<'static, Any>,
    channel: Channel,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<(), Error> {
    let session = under_way(tx, &channel).await?;
    let is_handed_over = hand_over(store, tx, &channel, &session, now).await?.is_some();
    if !is_handed_over {
        received::destroy(tx, session.id, now).await?;
    }
    let recording = match session.recording {
        RecordingState::Waiting => Some(RecordingState::Off),
        RecordingState::Recording if !is_handed_over => {
            let why = reason.unwrap_or("the session ended before anything was recorded");
            Some(RecordingState::Failed { reason: why.to_owned() })
        }
        _ => None,
    };
    if let Some(recording) = recording {
        record(tx, &channel, &recording, now).await?;
    }
    let channel = if channel.ingest.has_publisher() {
        enter_ingest(tx, channel, &Ingest::Waiting, now).await?
    } else {
        channel
    };
    let reason = reason.map(shortened);
    let end = sqlx::query("UPDATE sessions SET ended_at = $1, reason = $2 WHERE id = $3");
    let end = end.bind(now.as_millisecond()).bind(reason.clone());
    end.bind(session_of(&channel)?).execute(&mut **tx).await?;
    let free = "UPDATE channels SET server = NULL, lease_until = NULL, session = NULL, ingest = 'waiting', \
         ingest_reason = NULL, protection = 'ok', protection_reason = NULL WHERE id = $1";
    sqlx::query(free).bind(channel.id.to_string()).execute(&mut **tx).await?;
    match channel.state {
        ChannelState::Deleting => remove(tx, &channel, now).await,
        ChannelState::Creating => {
            let failed = ChannelState::CreateFailed;
            enter(tx, channel, failed, reason.as_deref(), now).await.map(drop)
        }
        _ => enter(tx, channel, ChannelState::Idle, reason.as_deref(), now).await.map(drop),
    }
}
