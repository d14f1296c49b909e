//! Addresses that are told what happens, and what is on its way to them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use domain::{DeliveryId, WebhookId};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;
use zeroize::Zeroizing;

use crate::db::{id, time};
use crate::events::{Event, event};
use crate::jobs::shortened;
use crate::key::SecretKey;
use crate::{Error, Store, Topic};

/// Webhooks of one user, at most.
const MAX_WEBHOOKS: i64 = 20;
/// Longest address, in bytes.
const MAX_URL: usize = 2000;
/// What a secret begins with (Standard Webhooks, "Signature scheme").
const PREFIX: &str = "whsec_";
/// Messages on their way to one webhook at once.
const AT_ONCE: i64 = 4;
/// Waits between attempts, in seconds: the last is about a day after the first.
const WAITS: [i64; 9] = [5, 30, 120, 600, 1800, 3600, 3 * 3600, 7 * 3600, 12 * 3600];

/// What a webhook is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// CloudEvents 1.0, structured JSON.
    #[default]
    Cloudevents,
    /// What a cloud's face search sends: `{JobId, Status, API, JobTag, Timestamp, Video}`. Only for searches that
    /// ended.
    Sns,
}

impl Format {
    /// As it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cloudevents => "cloudevents",
            Self::Sns => "sns",
        }
    }
}

/// An address that is told what happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose events it is told.
    pub owner: String,
    /// Where to.
    pub url: String,
    /// Types of events; empty: all.
    pub types: Vec<String>,
    /// How it is told.
    pub format: Format,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What signs messages to one webhook: `whsec_` and base64. Cannot be printed; overwritten when dropped.
pub struct WebhookSecret(Zeroizing<String>);

impl WebhookSecret {
    /// The text. To be shown once, to who made the webhook.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The key in it.
    ///
    /// # Errors
    /// When it is none.
    pub fn key(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let coded = self.0.strip_prefix(PREFIX).ok_or(Error::Damaged("secret"))?;
        BASE64_STANDARD.decode(coded).map(Zeroizing::new).map_err(|_| Error::Damaged("secret"))
    }
}

/// An event on its way to a webhook.
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// How often it was tried, with this time.
    pub attempt: i64,
    /// Where to.
    pub webhook: Webhook,
    /// What signs it.
    pub secret: WebhookSecret,
    /// What happened.
    pub event: Event,
}

/// How an attempt to deliver went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The target has it.
    Taken(u16),
    /// It has not: its HTTP status, if it gave one, and what went wrong.
    Refused(Option<u16>, String),
}

/// A delivery, for who asks how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryReport {
    /// Its id.
    pub id: DeliveryId,
    /// Number of the event.
    pub event: i64,
    /// Type of the event.
    pub kind: String,
    /// `due`, `sending`, `delivered` or `dead`.
    pub state: String,
    /// How often it was tried.
    pub attempt: i64,
    /// When it is tried next, while it is due.
    pub next_at: Option<Timestamp>,
    /// The last answer's HTTP status.
    pub status: Option<i64>,
    /// What went wrong last.
    pub error: Option<String>,
}

impl Store {
    /// Makes a webhook. Its secret is shown this once.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that is none, or too many webhooks.
    pub async fn add_webhook(
        &self,
        owner: &str,
        address: &str,
        types: &[String],
        format: Format,
        now: Timestamp,
    ) -> Result<(WebhookId, WebhookSecret), Error> {
        check(address, types)?;
        let webhook = WebhookId::new(now.as_millisecond());
        let key = SecretKey::random();
        let text = Zeroizing::new(format!("{PREFIX}{}", BASE64_STANDARD.encode(key.bytes())));
        let mut tx = self.begin().await?;
        let insert = "INSERT INTO webhooks (id, owner, url, types, format, sealed_secret, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)";
        sqlx::query(insert)
            .bind(webhook.to_string())
            .bind(owner)
            .bind(address)
            .bind(types.join(" "))
            .bind(format.name())
            .bind(self.wrap.seal(&secret_context(webhook), text.as_bytes())?)
            .bind(now.as_millisecond())
            .execute(&mut *tx)
            .await?;
        let count = sqlx::query("SELECT COUNT(*) FROM webhooks WHERE owner = $1").bind(owner);
        if count.fetch_one(&mut *tx).await?.try_get::<i64, _>(0)? > MAX_WEBHOOKS {
            return Err(Error::Invalid { what: "the number of webhooks", why: "is more than 20" });
        }
        tx.commit().await?;
        Ok((webhook, WebhookSecret(text)))
    }

    /// A user's webhooks.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks(&self, owner: &str) -> Result<Vec<Webhook>, Error> {
        let query = "SELECT id AS webhook, owner AS hook_owner, url, types, format, created_at AS hook_created_at \
             FROM webhooks WHERE owner = $1 ORDER BY id";
        let rows = sqlx::query(query).bind(owner).fetch_all(&self.pool).await?;
        rows.iter().map(webhook).collect()
    }

    /// Whether a user has this webhook.
    ///
    /// # Errors
    /// [`Error::NotFound`] if not.
    pub async fn check_webhook(&self, owner: &str, id: WebhookId) -> Result<(), Error> {
        let query = "SELECT 1 FROM webhooks WHERE id = $1 AND owner = $2";
        let row = sqlx::query(query).bind(id.to_string()).bind(owner);
        row.fetch_optional(&self.pool).await?.map(|_| ()).ok_or_else(|| missing(id))
    }

    /// Removes a webhook and what is on its way to it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove_webhook(&self, owner: &str, webhook: WebhookId) -> Result<(), Error> {
        let delete = sqlx::query("DELETE FROM webhooks WHERE id = $1 AND owner = $2");
        let mut tx = self.begin().await?;
        let delete = delete.bind(webhook.to_string()).bind(owner).execute(&mut *tx).await?;
        if delete.rows_affected() == 0 {
            return Err(missing(webhook));
        }
        Ok(tx.commit().await?)
    }

    /// Takes the delivery that is due longest, for `lease`.
    ///
    /// One webhook has few of them at once, so that a target that does not answer holds up its own only.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_delivery(
        &self,
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<Option<Delivery>, Error> {
        let millis = now.as_millisecond();
        // Looked at first without keeping anybody out: mostly there is nothing.
        let next = "SELECT d.id FROM deliveries d WHERE ((d.state = 'due' AND d.next_at <= $1) \
             OR (d.state = 'sending' AND d.lease_until < $1)) \
             AND (SELECT COUNT(*) FROM deliveries o WHERE o.webhook = d.webhook AND o.state = 'sending' \
             AND o.lease_until >= $1) < $2 ORDER BY d.next_at, d.id LIMIT 1";
        let there = sqlx::query(next).bind(millis).bind(AT_ONCE);
        if there.fetch_optional(&self.pool).await?.is_none() {
            return Ok(None);
        }
        let claim = format!(
            "UPDATE deliveries SET state = 'sending', attempt = attempt + 1, lease_until = $3 \
             WHERE id = ({next} {{skip}}) RETURNING id, attempt"
        );
        let claimed = sqlx::query(self.skipping(&claim))
            .bind(millis)
            .bind(AT_ONCE)
            .bind((now + lease).as_millisecond())
            .fetch_all(&self.writer)
            .await?;
        let Some(claimed) = claimed.first() else { return Ok(None) };
        let delivery: DeliveryId = id(claimed, "id")?;
        let query = "SELECT w.id AS webhook, w.owner AS hook_owner, w.url, w.types, w.format, \
             w.created_at AS hook_created_at, w.sealed_secret, e.seq, e.id, e.owner, e.type, e.subject, e.at, \
             e.data FROM deliveries d JOIN webhooks w ON w.id = d.webhook JOIN events e ON e.seq = d.event \
             WHERE d.id = $1";
        let row = sqlx::query(query).bind(delivery.to_string()).fetch_optional(&self.pool).await?;
        let Some(row) = row else { return Ok(None) };
        let webhook = webhook(&row)?;
        let sealed: Vec<u8> = row.try_get("sealed_secret")?;
        let plain = self.wrap.open(&secret_context(webhook.id), &sealed)?;
        let text = String::from_utf8(plain.to_vec()).map_err(|_| Error::Damaged("secret"))?;
        let secret = WebhookSecret(Zeroizing::new(text));
        let attempt = claimed.try_get("attempt")?;
        Ok(Some(Delivery { id: delivery, attempt, webhook, secret, event: event(&row)? }))
    }

    /// Says how an attempt went: it is over, tried again later, or given up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delivered(
        &self,
        delivery: DeliveryId,
        attempt: i64,
        answer: &Answer,
        now: Timestamp,
    ) -> Result<(), Error> {
        let millis = now.as_millisecond();
        let wait = usize::try_from(attempt - 1).ok().and_then(|i| WAITS.get(i));
        let (state, next, status, error) = match (answer, wait) {
            (Answer::Taken(status), _) => ("delivered", millis, Some(*status), None),
            (Answer::Refused(status, why), Some(wait)) => {
                ("due", millis + wait * 1000, *status, Some(shortened(why)))
            }
            (Answer::Refused(status, why), None) => ("dead", millis, *status, Some(shortened(why))),
        };
        let ended = (state != "due").then_some(millis);
        let update = "UPDATE deliveries SET state = $1, next_at = $2, status = $3, error = $4, ended_at = $5, \
             lease_until = NULL WHERE id = $6 AND attempt = $7 AND state = 'sending'";
        sqlx::query(update)
            .bind(state)
            .bind(next)
            .bind(status.map(i64::from))
            .bind(error)
            .bind(ended)
            .bind(delivery.to_string())
            .bind(attempt)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// At most `limit` deliveries to a user's webhook before id `before`, newest first: all, or those in a state.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries(
        &self,
        owner: &str,
        webhook: WebhookId,
        state: Option<&str>,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<DeliveryReport>, Error> {
        let query = "SELECT d.id, d.event, e.type, d.state, d.attempt, d.next_at, d.status, d.error \
             FROM deliveries d JOIN webhooks w ON w.id = d.webhook JOIN events e ON e.seq = d.event \
             WHERE w.owner = $1 AND w.id = $2 AND ($3 = '' OR d.state = $3) AND ($4 = '' OR d.id < $4) \
             ORDER BY d.id DESC LIMIT $5";
        let rows = sqlx::query(query)
            .bind(owner)
            .bind(webhook.to_string())
            .bind(state.unwrap_or(""))
            .bind(before.map_or(String::new(), |id| id.to_string()))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(report).collect()
    }

    /// Sends a delivery that is over once more, from the first attempt on.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for one that is under way.
    pub async fn redeliver(
        &self,
        owner: &str,
        webhook: WebhookId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let update = "UPDATE deliveries SET state = 'due', attempt = 0, next_at = $1, ended_at = NULL \
             WHERE id = $2 AND webhook = $3 AND state IN ('dead', 'delivered') \
             AND webhook IN (SELECT id FROM webhooks WHERE owner = $4)";
        let update = sqlx::query(update).bind(now.as_millisecond()).bind(delivery.to_string());
        let update = update.bind(webhook.to_string()).bind(owner).execute(&mut *tx).await?;
        if update.rows_affected() == 0 {
            return Err(Error::NotFound {
                kind: "delivery that is over",
                name: delivery.to_string(),
            });
        }
        self.commit(tx, &[Topic::Events]).await
    }
}

fn check(address: &str, types: &[String]) -> Result<(), Error> {
    let invalid = |what, why| Err(Error::Invalid { what, why });
    let url = url::Url::parse(address).ok();
    let good = url.is_some_and(|u| {
        let is_nobodys = u.username().is_empty() && u.password().is_none();
        matches!(u.scheme(), "http" | "https") && u.has_host() && is_nobodys
    });
    if !good || address.len() > MAX_URL {
        return invalid(
            "the address",
            "is not an http or https URL of at most 2000 bytes without a user",
        );
    }
    let is_type = |t: &String| {
        !t.is_empty()
            && t.len() <= 64
            && t.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_')
    };
    if types.len() > 32 || !types.iter().all(is_type) {
        return invalid("the types of events", "are more than 32, or not like job.done");
    }
    Ok(())
}

fn secret_context(webhook: WebhookId) -> String {
    format!("secret of webhook {webhook}")
}

fn missing(webhook: WebhookId) -> Error {
    Error::NotFound { kind: "webhook", name: webhook.to_string() }
}

fn webhook(row: &AnyRow) -> Result<Webhook, Error> {
    let types: String = row.try_get("types")?;
    let format: String = row.try_get("format")?;
    let known = [Format::Cloudevents, Format::Sns].into_iter().find(|f| f.name() == format);
    Ok(Webhook {
        id: id(row, "webhook")?,
        owner: row.try_get("hook_owner")?,
        url: row.try_get("url")?,
        types: types.split_whitespace().map(str::to_owned).collect(),
        format: known.ok_or(Error::Damaged("format"))?,
        created_at: time(row, "hook_created_at")?.ok_or(Error::Damaged("created_at"))?,
    })
}

fn report(row: &AnyRow) -> Result<DeliveryReport, Error> {
    let state: String = row.try_get("state")?;
    let next_at = if state == "due" { time(row, "next_at")? } else { None };
    Ok(DeliveryReport {
        id: id(row, "id")?,
        event: row.try_get("event")?,
        kind: row.try_get("type")?,
        next_at,
        state,
        attempt: row.try_get("attempt")?,
        status: row.try_get("status")?,
        error: row.try_get("error")?,
    })
}
