//! What every change of a channel does with its row, and whom it tells.

use domain::ChannelId;
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::NewChannel;
use super::channel::{COLUMNS, Channel, ChannelState, channel};
use super::stream_key::StreamKey;
use crate::events::{NewEvent, emit};
use crate::jobs::shortened;
use crate::{Error, Store};

pub(super) fn missing(id: ChannelId) -> Error {
    Error::NotFound { kind: "channel", name: id.to_string() }
}

/// A user's channel, which nobody changes until the transaction ends.
pub(super) async fn find(
    tx: &mut Transaction<'static, Any>,
    owner: &str,
    id: ChannelId,
) -> Result<Channel, Error> {
    let query = format!("SELECT {COLUMNS} FROM channels WHERE id = $1 AND owner = $2");
    let row = sqlx::query(AssertSqlSafe(query)).bind(id.to_string()).bind(owner);
    channel(&row.fetch_optional(&mut **tx).await?.ok_or_else(|| missing(id))?)
}

/// How many channels there are, and how many of them are used.
pub(super) async fn totals(tx: &mut Transaction<'static, Any>) -> Result<(u32, u32), Error> {
    let query = "SELECT COUNT(*), COUNT(CASE WHEN state IN ('idle', 'create_failed') THEN NULL ELSE 1 END) \
         FROM channels";
    let row = sqlx::query(query).fetch_one(&mut **tx).await?;
    let count = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    Ok((count(row.try_get(0)?), count(row.try_get(1)?)))
}

pub(super) async fn check_collection(
    tx: &mut Transaction<'static, Any>,
    owner: &str,
    name: Option<&str>,
) -> Result<(), Error> {
    let Some(name) = name else { return Ok(()) };
    let query = sqlx::query("SELECT 1 FROM collections WHERE owner = $1 AND name = $2");
    let row = query.bind(owner).bind(name).fetch_optional(&mut **tx).await?;
    let missing = || Error::NotFound { kind: "collection", name: name.to_owned() };
    row.map(|_| ()).ok_or_else(missing)
}

/// Makes the row of a channel. Its state, `creating`, is for the caller to tell, or to change.
pub(super) async fn insert(
    store: &Store,
    tx: &mut Transaction<'static, Any>,
    new: &NewChannel,
    key: &StreamKey,
    now: Timestamp,
) -> Result<Channel, Error> {
    let millis = now.as_millisecond();
    let id = ChannelId::new(millis);
    let insert = format!(
        "INSERT INTO channels (id, owner, name, state, state_since, ingest, protection, collection, policy, \
         cover_all, key_hash, sealed_key, admission, claim, created_at) VALUES ($1, $2, $3, 'creating', $4, \
         'waiting', 'ok', $5, $6, 0, $7, $8, 0, 0, $4) RETURNING {COLUMNS}"
    );
    let row = sqlx::query(AssertSqlSafe(insert))
        .bind(id.to_string())
        .bind(&new.owner)
        .bind(&new.name)
        .bind(millis)
        .bind(new.collection.clone())
        .bind(new.policy.to_json()?)
        .bind(key.hash())
        .bind(key.seal(store, id)?)
        .fetch_one(&mut **tx)
        .await?;
    channel(&row)
}

/// Deletes the row of a channel that nobody uses.
pub(super) async fn remove(
    tx: &mut Transaction<'static, Any>,
    channel: &Channel,
    now: Timestamp,
) -> Result<(), Error> {
    let delete = sqlx::query("DELETE FROM channels WHERE id = $1").bind(channel.id.to_string());
    delete.execute(&mut **tx).await?;
    tell(tx, channel, "channel.deleted", json!({}), now).await
}

/// Changes the state of a channel, and tells it. The session, where one begins or ends, is the caller's to change.
pub(super) async fn enter(
    tx: &mut Transaction<'static, Any>,
    channel: Channel,
    state: ChannelState,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<Channel, Error> {
    let reason = reason.map(shortened);
    let update = "UPDATE channels SET state = $1, state_since = $2, reason = $3 WHERE id = $4";
    sqlx::query(update)
        .bind(state.name())
        .bind(now.as_millisecond())
        .bind(reason.clone())
        .bind(channel.id.to_string())
        .execute(&mut **tx)
        .await?;
    let was = (channel.state != state).then_some(channel.state);
    let detail = json!({"state": state, "was": was, "reason": reason});
    tell(tx, &channel, "channel.state_changed", detail, now).await?;
    let since = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    Ok(Channel { state, state_since: since, reason, ..channel })
}

/// Tells the user of a channel something of it.
pub(super) async fn tell(
    tx: &mut Transaction<'static, Any>,
    channel: &Channel,
    kind: &str,
    detail: Value,
    now: Timestamp,
) -> Result<(), Error> {
    let mut data = json!({"channel": channel.id, "session": channel.session});
    if let (Value::Object(data), Value::Object(detail)) = (&mut data, detail) {
        data.extend(detail);
    }
    let subject = channel.id.to_string();
    emit(tx, NewEvent { owner: &channel.owner, kind, subject, data }, now).await
}

pub(super) async fn tell_updated(
    tx: &mut Transaction<'static, Any>,
    channel: &Channel,
    changed: &[&str],
    now: Timestamp,
) -> Result<(), Error> {
    tell(tx, channel, "channel.updated", json!({"changed": changed}), now).await
}

/// Tells a user who did not get a channel.
pub(super) async fn limit_reached(
    tx: &mut Transaction<'static, Any>,
    owner: &str,
    full: &Error,
    now: Timestamp,
) -> Result<(), Error> {
    let data = match full {
        Error::ChannelLimit { limit, in_use } => json!({"limit": limit, "in_use": in_use}),
        Error::NoCapacity { capacity, in_use } => json!({"capacity": capacity, "in_use": in_use}),
        _ => json!({}),
    };
    let subject = owner.to_owned();
    emit(tx, NewEvent { owner, kind: "limit.reached", subject, data }, now).await
}
