//! What happened: the outbox. An event is written in the transaction of what it tells, with a delivery for
//! every webhook that wants it; so nothing is told that did not happen, and nothing that happened is not told.

use domain::{DeliveryId, EventId};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use crate::db::{id, time};
use crate::{Error, Format, Kind, Store};

/// How long events can be read again.
pub const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Events that are forgotten in one go.
const PRUNED: i64 = 1000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number: later events have greater ones.
    pub seq: i64,
    /// Its id, the same for everybody who is told.
    pub id: EventId,
    /// The user it concerns.
    pub owner: String,
    /// What kind of thing: `job.done`, `video.unpublished`.
    pub kind: String,
    /// What it happened to: the id of a video, job, or person.
    pub subject: String,
    /// When.
    pub at: Timestamp,
    /// What else there is to know.
    pub data: Value,
}

/// An event to be written.
pub(crate) struct NewEvent<'a> {
    pub owner: &'a str,
    pub kind: &'a str,
    pub subject: String,
    pub data: Value,
}

/// Writes an event and its deliveries, in the transaction of what it tells. Numbers have no gaps and are seen in
/// order: there is one writer at a time ([`Store::begin`]).
pub(crate) async fn emit(
    tx: &mut Transaction<'static, Any>,
    new: NewEvent<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let millis = now.as_millisecond();
    let is_search_end = matches!(new.kind, "job.done" | "job.failed" | "job.cancelled")
        && new.data["kind"] == Kind::Search.name();
    let next = sqlx::query("UPDATE event_head SET seq = seq + 1 WHERE id = 1 RETURNING seq");
    let seq: i64 = next.fetch_one(&mut **tx).await?.try_get(0)?;
    let insert = "INSERT INTO events (seq, id, owner, type, subject, at, data) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    sqlx::query(insert)
        .bind(seq)
        .bind(EventId::new(millis).to_string())
        .bind(new.owner)
        .bind(new.kind)
        .bind(new.subject)
        .bind(millis)
        .bind(new.data.to_string())
        .execute(&mut **tx)
        .await?;
    let hooks = sqlx::query("SELECT id, types, format FROM webhooks WHERE owner = $1 ORDER BY id");
    for row in hooks.bind(new.owner).fetch_all(&mut **tx).await? {
        let (webhook, types): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let is_told = row.try_get::<String, _>(2)? != Format::Sns.name() || is_search_end;
        if is_told && (types.is_empty() || types.split(' ').any(|t| t == new.kind)) {
            let insert = "INSERT INTO deliveries (id, webhook, event, state, attempt, next_at, created_at) \
                 VALUES ($1, $2, $3, 'due', 0, $4, $4)";
            let delivery = DeliveryId::new(millis).to_string();
            let insert = sqlx::query(insert).bind(delivery).bind(webhook).bind(seq).bind(millis);
            insert.execute(&mut **tx).await?;
        }
    }
    Ok(())
}

impl Store {
    /// At most `limit` events of a user after number `after`, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events(&self, owner: &str, after: i64, limit: u32) -> Result<Vec<Event>, Error> {
        let query = "SELECT seq, id, owner, type, subject, at, data FROM events \
             WHERE owner = $1 AND seq > $2 ORDER BY seq LIMIT $3";
        let rows = sqlx::query(query).bind(owner).bind(after).bind(i64::from(limit));
        rows.fetch_all(&self.pool).await?.iter().map(event).collect()
    }

    /// The number of the last event of anybody.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_event(&self) -> Result<i64, Error> {
        let row = sqlx::query("SELECT seq FROM event_head WHERE id = 1").fetch_one(&self.pool);
        Ok(row.await?.try_get(0)?)
    }

    /// Forgets events that are older than 30 days, with their deliveries.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune_events(&self, now: Timestamp) -> Result<(), Error> {
        let before = (now - KEPT).as_millisecond();
        loop {
            // In pieces, so that other writers get their turn.
            let mut tx = self.begin().await?;
            let query = "SELECT MAX(seq) FROM (SELECT seq FROM events WHERE at < $1 ORDER BY seq LIMIT $2) old";
            let row = sqlx::query(query).bind(before).bind(PRUNED).fetch_one(&mut *tx).await?;
            let Some(last) = row.try_get::<Option<i64>, _>(0)? else { return Ok(()) };
            let old = "DELETE FROM deliveries WHERE event IN (SELECT seq FROM events WHERE at < $1 AND seq <= $2)";
            sqlx::query(old).bind(before).bind(last).execute(&mut *tx).await?;
            let old = "DELETE FROM events WHERE at < $1 AND seq <= $2";
            sqlx::query(old).bind(before).bind(last).execute(&mut *tx).await?;
            tx.commit().await?;
        }
    }
}

pub(crate) fn event(row: &AnyRow) -> Result<Event, Error> {
    let data: String = row.try_get("data")?;
    Ok(Event {
        seq: row.try_get("seq")?,
        id: id(row, "id")?,
        owner: row.try_get("owner")?,
        kind: row.try_get("type")?,
        subject: row.try_get("subject")?,
        at: time(row, "at")?.ok_or(Error::Damaged("at"))?,
        data: serde_json::from_str(&data).map_err(|_| Error::Damaged("data"))?,
    })
}
