//! Users: whose videos, keys and collections things are.

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use crate::db::time;
use crate::{Error, Store};

/// Longest name of a user, in bytes.
const MAX_NAME: usize = 63;
/// Longest time that videos are kept for, in days.
const MAX_RETENTION: i64 = 36_500;

/// Somebody who uses the service: a streamer, an organisation, an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// How they are called: part of paths of stored videos.
    pub name: String,
    /// Bytes that their videos may take; `None` for as much as the server allows everybody.
    pub quota_bytes: Option<i64>,
    /// Days after which their videos are deleted; `None` for the server's own rule.
    pub retention_days: Option<i64>,
    /// When they were first heard of.
    pub created_at: Timestamp,
}

/// Whether `name` may be a user's: `[a-z0-9][a-z0-9._-]{0,62}`, so that it is safe in paths and URLs.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_user_name(name: &str) -> Result<(), Error> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut bytes = name.bytes();
    let well = bytes.next().is_some_and(plain) && bytes.all(|b| plain(b) || b"._-".contains(&b));
    if well && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(Error::Invalid {
        what: "a user's name",
        why: "must be 1 to 63 of a-z, 0-9, '.', '_', '-', and start with a letter or digit",
    })
}

impl Store {
    /// Makes a user, or changes what they may use.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name or number that makes no sense.
    pub async fn put_user(
        &self,
        name: &str,
        quota_bytes: Option<i64>,
        retention_days: Option<i64>,
        now: Timestamp,
    ) -> Result<User, Error> {
        check_user_name(name)?;
        if quota_bytes.is_some_and(|bytes| bytes < 0) {
            return Err(Error::Invalid { what: "quota_bytes", why: "must not be negative" });
        }
        if retention_days.is_some_and(|days| !(1..=MAX_RETENTION).contains(&days)) {
            return Err(Error::Invalid {
                what: "retention_days",
                why: "must lie between 1 and 36500",
            });
        }
        let upsert = "INSERT INTO users (name, quota_bytes, retention_days, created_at) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE \
             SET quota_bytes = excluded.quota_bytes, retention_days = excluded.retention_days";
        sqlx::query(upsert)
            .bind(name)
            .bind(quota_bytes)
            .bind(retention_days)
            .bind(now.as_millisecond())
            .execute(&self.writer)
            .await?;
        self.user(name).await
    }

    /// A user.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn user(&self, name: &str) -> Result<User, Error> {
        let query =
            "SELECT name, quota_bytes, retention_days, created_at FROM users WHERE name = $1";
        let row = sqlx::query(query).bind(name).fetch_optional(&self.pool).await?;
        let row = row.ok_or_else(|| Error::NotFound { kind: "user", name: name.to_owned() })?;
        user(&row)
    }

    /// At most `limit` users by name, those after the name `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users(&self, after: &str, limit: u32) -> Result<Vec<User>, Error> {
        let query = "SELECT name, quota_bytes, retention_days, created_at FROM users \
             WHERE name > $1 ORDER BY name LIMIT $2";
        let rows = sqlx::query(query).bind(after).bind(i64::from(limit));
        rows.fetch_all(&self.pool).await?.iter().map(user).collect()
    }
}

fn user(row: &AnyRow) -> Result<User, Error> {
    Ok(User {
        name: row.try_get("name")?,
        quota_bytes: row.try_get("quota_bytes")?,
        retention_days: row.try_get("retention_days")?,
        created_at: time(row, "created_at")?.ok_or(Error::Damaged("created_at"))?,
    })
}

/// Makes a user who is not there yet.
pub(crate) async fn ensure(
    tx: &mut Transaction<'static, Any>,
    name: &str,
    now: Timestamp,
) -> Result<(), Error> {
    check_user_name(name)?;
    let insert =
        "INSERT INTO users (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    sqlx::query(insert).bind(name).bind(now.as_millisecond()).execute(&mut **tx).await?;
    Ok(())
}
