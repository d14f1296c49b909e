//! Stream keys: who may publish to a channel.
//!
//! A key is `live_` and 256 random bits. It is looked up by its SHA-256, as API keys are; and kept sealed by the
//! server's key as well, because a start that is repeated gives it again.

use std::fmt;

use domain::ChannelId;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::{Any, AssertSqlSafe, Row, Transaction};
use zeroize::Zeroizing;

use super::change::{find, tell_updated};
use super::channel::{COLUMNS, Channel, channel};
use crate::audit::append;
use crate::db::hex;
use crate::key::SecretKey;
use crate::{Action, Error, Store, Topic};

/// What every key starts with, so that one that was leaked is found by a search.
const PREFIX: &str = "live_";
/// Characters after it: 32 bytes in base64url without padding (RFC 4648, section 5).
const DIGITS: usize = 43;

/// What a publisher must know. It is a secret: overwritten when dropped, and not printed.
#[derive(Clone)]
pub struct StreamKey(Zeroizing<String>);

impl StreamKey {
    pub(super) fn random() -> Self {
        Self(SecretKey::random().to_base64url(PREFIX))
    }

    /// The text, safe in URLs. Never log it, never store it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> String {
        hash(&self.0)
    }

    pub(super) fn seal(&self, store: &Store, channel: ChannelId) -> Result<Vec<u8>, Error> {
        store.wrap.seal(&context(channel), self.0.as_bytes())
    }

    /// The key that a channel has.
    pub(super) async fn read(
        store: &Store,
        tx: &mut Transaction<'static, Any>,
        channel: ChannelId,
    ) -> Result<Self, Error> {
        let query = sqlx::query("SELECT sealed_key FROM channels WHERE id = $1");
        let row = query.bind(channel.to_string()).fetch_one(&mut **tx).await?;
        let plain = store.wrap.open(&context(channel), &row.try_get::<Vec<u8>, _>(0)?)?;
        let text = std::str::from_utf8(&plain).map_err(|_| Error::Damaged("sealed_key"))?;
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamKey")
    }
}

impl Store {
    /// The channel that may be published to with this key; `None`: there is none, or it is not to be published to
    /// now. Whether the caller's server has the channel is for the caller to look at ([`Channel::lease`]).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn channel_by_stream_key(&self, key: &str) -> Result<Option<Channel>, Error> {
        if key.strip_prefix(PREFIX).is_none_or(|rest| rest.len() != DIGITS) {
            return Ok(None);
        }
        let query = format!(
            "SELECT {COLUMNS} FROM channels WHERE key_hash = $1 \
             AND state IN ('creating', 'starting', 'running', 'recovering')"
        );
        let row = sqlx::query(AssertSqlSafe(query)).bind(hash(key));
        row.fetch_optional(&self.pool).await?.as_ref().map(channel).transpose()
    }

    /// Gives a channel a new key. The old one opens nothing from now on, and who publishes with it is cut off.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for channels of other users.
    pub async fn rotate_stream_key(
        &self,
        owner: &str,
        id: ChannelId,
        actor: &str,
        now: Timestamp,
    ) -> Result<StreamKey, Error> {
        let mut tx = self.begin().await?;
        let channel = find(&mut tx, owner, id).await?;
        let key = StreamKey::random();
        let update = "UPDATE channels SET key_hash = $1, sealed_key = $2, admission = admission + 1 WHERE id = $3";
        let update = sqlx::query(update).bind(key.hash()).bind(key.seal(self, id)?);
        update.bind(id.to_string()).execute(&mut *tx).await?;
        append(self, &mut tx, actor, Action::RotateStreamKey, &id.to_string(), "", now).await?;
        tell_updated(&mut tx, &channel, &["stream_key"], now).await?;
        self.commit(tx, &[Topic::Channels, Topic::Events]).await?;
        Ok(key)
    }

    /// Cuts off whoever publishes to a channel. With the key, they may come back.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for channels of other users.
    pub async fn disconnect(&self, owner: &str, id: ChannelId) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        find(&mut tx, owner, id).await?;
        let update = "UPDATE channels SET admission = admission + 1 WHERE id = $1";
        sqlx::query(update).bind(id.to_string()).execute(&mut *tx).await?;
        self.commit(tx, &[Topic::Channels]).await
    }
}

fn hash(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

fn context(channel: ChannelId) -> String {
    format!("stream key of {channel}")
}
