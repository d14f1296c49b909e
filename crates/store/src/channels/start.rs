//! Starting and stopping: which channel a user gets, and what a stop has to wait for.

use domain::{ChannelId, SessionId};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::change::{check_collection, enter, find, insert, limit_reached, tell, totals};
use super::channel::{COLUMNS, Channel, ChannelState, Ingest, Policy, Protection, channel};
use super::running::end_session;
use super::stream_key::StreamKey;
use super::{NewChannel, session};
use crate::audit::append;
use crate::users::ensure;
use crate::{Action, Error, Store, Topic};

/// Starts that are given up in one go.
const SWEEP: i64 = 100;

/// Somebody who wants to go live.
#[derive(Clone, Debug)]
pub struct NewLive {
    /// The user.
    pub owner: String,
    /// The user's collection whose people may be seen. `None`: the one that the user's channel has, or nobody's.
    pub collection: Option<String>,
    /// Channels that there may be, of all users.
    pub limit: u32,
}

/// What somebody got who wanted to go live.
#[derive(Clone, Debug)]
pub struct Started {
    /// The channel. A publisher is taken once it [`Channel::is_ready`].
    pub channel: Channel,
    /// The session, which live and stored addresses hold.
    pub session: SessionId,
    /// What the publisher must know.
    pub key: StreamKey,
    /// Whether the channel was there before.
    pub existed: bool,
}

impl Store {
    /// Gives a user a channel to publish to: the one that the user has under way, unchanged; else one that is free,
    /// with a new key and a new session; else a new one.
    ///
    /// It is one transaction, and there is one at a time: whoever asks at the same time, no channel goes to two
    /// users, and there are never more than the limit.
    ///
    /// # Errors
    /// [`Error::ChannelLimit`] and [`Error::NoCapacity`], of which the user is told by an event;
    /// [`Error::NotFound`] for the collection.
    pub async fn start_live(
        &self,
        new: &NewLive,
        actor: &str,
        now: Timestamp,
    ) -> Result<Started, Error> {
        let mut tx = self.begin().await?;
        ensure(&mut tx, &new.owner, now).await?;
        if let Some(channel) = used_by(&mut tx, &new.owner).await? {
            let key = StreamKey::read(self, &mut tx, channel.id).await?;
            let session = channel.session.ok_or(Error::Damaged("session"))?;
            return Ok(Started { channel, session, key, existed: true });
        }
        check_collection(&mut tx, &new.owner, new.collection.as_deref()).await?;
        if let Err(full) = check_room(&mut tx, new.limit, now).await? {
            limit_reached(&mut tx, &new.owner, &full, now).await?;
            self.commit(tx, &[Topic::Events]).await?;
            return Err(full);
        }
        let key = StreamKey::random();
        let (channel, existed) = match free_for(&mut tx, &new.owner).await? {
            Some(free) => (self.take(&mut tx, free, new, &key, now).await?, true),
            None => {
                let made = NewChannel {
                    collection: new.collection.clone(),
                    ..NewChannel::of(&new.owner, new.limit)
                };
                (insert(self, &mut tx, &made, &key, now).await?, false)
            }
        };
        let session = SessionId::new(now.as_millisecond());
        session::begin(self, &mut tx, session, &channel, now).await?;
        let update = sqlx::query("UPDATE channels SET session = $1 WHERE id = $2");
        let update = update.bind(session.to_string()).bind(channel.id.to_string());
        update.execute(&mut *tx).await?;
        let channel = Channel { session: Some(session), ..channel };
        let state = match channel.state {
            ChannelState::Idle if existed => ChannelState::Starting,
            _ => ChannelState::Creating,
        };
        let channel = enter(&mut tx, channel, state, None, now).await?;
        let collection = channel.collection.as_deref().map_or(String::new(), |c| format!(", {c}"));
        let detail = format!("session {session} of {}{collection}", channel.owner);
        let subject = channel.id.to_string();
        append(self, &mut tx, actor, Action::StartLive, &subject, &detail, now).await?;
        self.commit(tx, &[Topic::Channels, Topic::Events]).await?;
        Ok(Started { channel, session, key, existed })
    }

    /// Makes a free channel the user's, with a new key. What another user decided about it is forgotten.
    async fn take(
        &self,
        tx: &mut Transaction<'static, Any>,
        free: Channel,
        new: &NewLive,
        key: &StreamKey,
        now: Timestamp,
    ) -> Result<Channel, Error> {
        let before = if free.owner == new.owner {
            free
        } else {
            tell(tx, &free, "channel.released", json!({}), now).await?;
            let (name, policy) = (new.owner.clone(), Policy::default());
            let owner = new.owner.clone();
            Channel { owner, name, policy, collection: None, cover_all: false, ..free }
        };
        let taken = Channel {
            collection: new.collection.clone().or(before.collection),
            ingest: Ingest::Waiting,
            protection: Protection::Ok,
            admission: before.admission + 1,
            lease: None,
            ..before
        };
        let update = "UPDATE channels SET owner = $1, name = $2, policy = $3, cover_all = $4, collection = $5, \
             ingest = 'waiting', ingest_reason = NULL, protection = 'ok', protection_reason = NULL, \
             admission = $6, server = NULL, lease_until = NULL, key_hash = $7, sealed_key = $8 WHERE id = $9";
        sqlx::query(update)
            .bind(&taken.owner)
            .bind(&taken.name)
            .bind(taken.policy.to_json()?)
            .bind(i64::from(taken.cover_all))
            .bind(taken.collection.clone())
            .bind(taken.admission)
            .bind(key.hash())
            .bind(key.seal(self, taken.id)?)
            .bind(taken.id.to_string())
            .execute(&mut **tx)
            .await?;
        Ok(taken)
    }

    /// Asks for a session to be ended. A free channel stays as it is; one that stops already goes on stopping. Who
    /// has the channel is told, ends it, and says so with [`Store::channel_stopped`]; where nobody has, whoever
    /// claims it next does.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for channels of other users; [`Error::ChannelBusy`] while it starts or is deleted.
    pub async fn stop_live(
        &self,
        owner: &str,
        id: ChannelId,
        actor: &str,
        now: Timestamp,
    ) -> Result<Channel, Error> {
        let mut tx = self.begin().await?;
        let channel = find(&mut tx, owner, id).await?;
        match channel.state {
            ChannelState::Idle | ChannelState::CreateFailed | ChannelState::Stopping => {
                return Ok(channel);
            }
            ChannelState::Running | ChannelState::Recovering => {}
            state @ (ChannelState::Creating | ChannelState::Starting | ChannelState::Deleting) => {
                return Err(Error::ChannelBusy { channel: id, state });
            }
        }
        let channel = enter(&mut tx, channel, ChannelState::Stopping, None, now).await?;
        let detail = channel.session.map_or(String::new(), |session| format!("session {session}"));
        append(self, &mut tx, actor, Action::StopLive, &id.to_string(), &detail, now).await?;
        self.commit(tx, &[Topic::Channels, Topic::Events]).await?;
        Ok(channel)
    }

    /// Gives up starts that are older than `patience` and that no server is at work on: their channels are free
    /// again. Gives how many, at most 100.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn give_up_starts(
        &self,
        patience: SignedDuration,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let query = format!(
            "SELECT {COLUMNS} FROM channels WHERE state IN ('creating', 'starting') AND state_since <= $1 \
             AND (lease_until IS NULL OR lease_until < $2) ORDER BY id LIMIT $3"
        );
        let query = || {
            let query = sqlx::query(AssertSqlSafe(query.clone()));
            let query = query.bind((now - patience).as_millisecond());
            query.bind(now.as_millisecond()).bind(SWEEP)
        };
        // Looked at first without keeping anybody out: mostly there is nothing.
        if query().fetch_optional(&self.pool).await?.is_none() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        let rows = query().fetch_all(&mut *tx).await?;
        for row in &rows {
            let late = channel(row)?;
            let reason = Some("no server made it ready in time");
            end_session(self, &mut tx, late, reason, now).await?;
        }
        self.commit(tx, &[Topic::Jobs, Topic::Channels, Topic::Events]).await?;
        Ok(rows.len())
    }
}

/// The channel that a user has under way.
async fn used_by(
    tx: &mut Transaction<'static, Any>,
    owner: &str,
) -> Result<Option<Channel>, Error> {
    let query = format!(
        "SELECT {COLUMNS} FROM channels WHERE owner = $1 \
         AND state IN ('creating', 'starting', 'running', 'recovering') ORDER BY id LIMIT 1"
    );
    let row = sqlx::query(AssertSqlSafe(query)).bind(owner).fetch_optional(&mut **tx).await?;
    row.as_ref().map(channel).transpose()
}

/// A channel that nobody uses: one that the user had last, if there is one, or else the one that was free longest.
async fn free_for(
    tx: &mut Transaction<'static, Any>,
    owner: &str,
) -> Result<Option<Channel>, Error> {
    let query = format!(
        "SELECT {COLUMNS} FROM channels WHERE state IN ('idle', 'create_failed') \
         ORDER BY CASE WHEN owner = $1 THEN 0 ELSE 1 END, state_since, id LIMIT 1"
    );
    let row = sqlx::query(AssertSqlSafe(query)).bind(owner).fetch_optional(&mut **tx).await?;
    row.as_ref().map(channel).transpose()
}

/// Whether another channel may be used. The inner error is for the user.
async fn check_room(
    tx: &mut Transaction<'static, Any>,
    limit: u32,
    now: Timestamp,
) -> Result<Result<(), Error>, Error> {
    let (_, in_use) = totals(tx).await?;
    if in_use >= limit {
        return Ok(Err(Error::ChannelLimit { limit, in_use }));
    }
    let query =
        "SELECT CAST(COALESCE(SUM(slots), 0) AS BIGINT) FROM live_servers WHERE lease_until > $1";
    let row = sqlx::query(query).bind(now.as_millisecond()).fetch_one(&mut **tx).await?;
    let capacity = u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(u32::MAX);
    Ok(if in_use >= capacity { Err(Error::NoCapacity { capacity, in_use }) } else { Ok(()) })
}
