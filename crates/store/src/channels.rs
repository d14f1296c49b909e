//! Live channels: who may publish where, and which server runs it.
//!
//! A channel goes from `idle` over `starting` to `running` and over `stopping` back; every time it runs is a session
//! with addresses of its own. Users ask for changes here; the server that has the channel by its lease is told with
//! its next beat, does them, and says so with its fence. So a change that was answered survives every process.

mod change;
mod channel;
mod lease;
mod received;
mod recording;
mod running;
mod session;
mod start;
mod stream_key;

use domain::ChannelId;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use change::{
    check_collection, enter, find, insert, limit_reached, missing, remove, tell_updated, totals,
};
use channel::{COLUMNS, channel};
pub use channel::{
    Channel, ChannelState, Ingest, Lease, Playback, Policy, Protection, RecordingPolicy,
};
pub use lease::{Asked, ChannelFence, Claimed, Orders, ServerAddress};
pub(crate) use received::{is_destroyed, original_over};
pub use received::{received_context, received_folder};
pub(crate) use recording::{discard_recording, finished, is_over};
pub use session::{Recorded, RecordingState, Session, recording_folder};
pub use start::{NewLive, Started};
pub use stream_key::StreamKey;

use crate::audit::append;
use crate::db::check_text;
use crate::users::ensure;
use crate::{Action, Error, Store, Topic};

/// A channel to be made.
#[derive(Clone, Debug)]
pub struct NewChannel {
    /// The user.
    pub owner: String,
    /// What the user calls it.
    pub name: String,
    /// The user's collection whose people may be seen.
    pub collection: Option<String>,
    /// What the user decides.
    pub policy: Policy,
    /// Channels that there may be, of all users.
    pub limit: u32,
}

impl NewChannel {
    /// One as it is made where nothing else was said.
    pub fn of(owner: &str, limit: u32) -> Self {
        let (owner, name) = (owner.to_owned(), owner.to_owned());
        Self { owner, name, collection: None, policy: Policy::default(), limit }
    }
}

/// What is to be changed of a channel; `None`: it stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What the user calls it.
    pub name: Option<String>,
    /// The user's collection whose people may be seen from now on; `Some(None)`: nobody may.
    pub collection: Option<Option<String>>,
    /// What the user decides, from the next session on.
    pub policy: Option<Policy>,
}

impl Store {
    /// Makes a channel that nobody uses yet.
    ///
    /// # Errors
    /// [`Error::ChannelLimit`], of which the user is told by an event; [`Error::Invalid`] for a name or policy that
    /// makes no sense; [`Error::NotFound`] for the collection.
    pub async fn create_channel(&self, new: &NewChannel, now: Timestamp) -> Result<Channel, Error> {
        check_text("the name of the channel", &new.name)?;
        new.policy.check()?;
        let mut tx = self.begin().await?;
        ensure(&mut tx, &new.owner, now).await?;
        check_collection(&mut tx, &new.owner, new.collection.as_deref()).await?;
        let (all, _) = totals(&mut tx).await?;
        if all >= new.limit {
            let full = Error::ChannelLimit { limit: new.limit, in_use: all };
            limit_reached(&mut tx, &new.owner, &full, now).await?;
            self.commit(tx, &[Topic::Events]).await?;
            return Err(full);
        }
        let made = insert(self, &mut tx, new, &StreamKey::random(), now).await?;
        let made = enter(&mut tx, made, ChannelState::Idle, None, now).await?;
        self.commit(tx, &[Topic::Channels, Topic::Events]).await?;
        Ok(made)
    }

    /// A channel, whose ever it is.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn channel(&self, id: ChannelId) -> Result<Channel, Error> {
        let query = AssertSqlSafe(format!("SELECT {COLUMNS} FROM channels WHERE id = $1"));
        let row = sqlx::query(query).bind(id.to_string()).fetch_optional(&self.pool).await?;
        channel(&row.ok_or_else(|| missing(id))?)
    }

    /// At most `limit` channels that a user has, before id `before`, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn channels(
        &self,
        owner: &str,
        before: Option<ChannelId>,
        limit: u32,
    ) -> Result<Vec<Channel>, Error> {
        let query = format!(
            "SELECT {COLUMNS} FROM channels WHERE owner = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3"
        );
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(owner)
            .bind(before.map_or(String::new(), |id| id.to_string()))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(channel).collect()
    }

    /// Changes a channel. Where a session is under way, a new collection holds for it at once.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for channels of other users, and for the collection; [`Error::Invalid`].
    pub async fn change_channel(
        &self,
        owner: &str,
        id: ChannelId,
        changes: &Changes,
        now: Timestamp,
    ) -> Result<Channel, Error> {
        let mut tx = self.begin().await?;
        let before = find(&mut tx, owner, id).await?;
        let mut after = before.clone();
        if let Some(name) = &changes.name {
            check_text("the name of the channel", name)?;
            after.name.clone_from(name);
        }
        if let Some(collection) = &changes.collection {
            check_collection(&mut tx, owner, collection.as_deref()).await?;
            after.collection.clone_from(collection);
        }
        if let Some(policy) = &changes.policy {
            policy.check()?;
            after.policy = policy.clone();
        }
        let changed = [
            (before.name != after.name, "name"),
            (before.collection != after.collection, "collection"),
            (before.policy != after.policy, "policy"),
        ];
        let changed: Vec<&str> = changed.into_iter().filter(|c| c.0).map(|c| c.1).collect();
        if changed.is_empty() {
            return Ok(before);
        }
        let update = "UPDATE channels SET name = $1, collection = $2, policy = $3 WHERE id = $4";
        sqlx::query(update)
            .bind(&after.name)
            .bind(after.collection.clone())
            .bind(after.policy.to_json()?)
            .bind(id.to_string())
            .execute(&mut *tx)
            .await?;
        tell_updated(&mut tx, &after, &changed, now).await?;
        self.commit(tx, &[Topic::Channels, Topic::Events]).await?;
        Ok(after)
    }

    /// Covers the whole picture of a channel, or does so no longer. It stays so over sessions and restarts, until
    /// it is changed again or another user gets the channel.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for channels of other users.
    pub async fn set_cover_all(
        &self,
        owner: &str,
        id: ChannelId,
        on: bool,
        actor: &str,
        now: Timestamp,
    ) -> Result<Channel, Error> {
        let mut tx = self.begin().await?;
        let before = find(&mut tx, owner, id).await?;
        if before.cover_all == on {
            return Ok(before);
        }
        let update = sqlx::query("UPDATE channels SET cover_all = $1 WHERE id = $2");
        update.bind(i64::from(on)).bind(id.to_string()).execute(&mut *tx).await?;
        let after = Channel { cover_all: on, ..before };
        let detail = if on { "on" } else { "off" };
        append(self, &mut tx, actor, Action::CoverAll, &id.to_string(), detail, now).await?;
        tell_updated(&mut tx, &after, &["cover_all"], now).await?;
        self.commit(tx, &[Topic::Channels, Topic::Events]).await?;
        Ok(after)
    }

    /// Deletes a channel: at once if nobody uses it, else as soon as its session is ended. Sessions and recordings
    /// stay.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for channels of other users; [`Error::ChannelBusy`] while it starts.
    pub async fn delete_channel(
        &self,
        owner: &str,
        id: ChannelId,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let channel = find(&mut tx, owner, id).await?;
        match channel.state {
            ChannelState::Deleting => return Ok(()),
            state @ (ChannelState::Creating | ChannelState::Starting) => {
                return Err(Error::ChannelBusy { channel: id, state });
            }
            _ => {}
        }
        append(self, &mut tx, actor, Action::DeleteChannel, &id.to_string(), "", now).await?;
        let is_free = channel.state.is_free();
        let channel = enter(&mut tx, channel, ChannelState::Deleting, None, now).await?;
        if is_free {
            remove(&mut tx, &channel, now).await?;
        }
        self.commit(tx, &[Topic::Channels, Topic::Events]).await
    }
}
