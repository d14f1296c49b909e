//! API keys: who may ask the server for what.
//!
//! A key is `garim_` and 256 random bits. Only its SHA-256 is stored, so who reads the database cannot use it,
//! and it is looked up by that hash: how long that takes tells nothing of the secrets that exist.

use std::fmt;
use std::str::FromStr;

use domain::KeyId;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};
use zeroize::Zeroizing;

use crate::audit::append;
use crate::db::{check_text, hex, id, time};
use crate::key::SecretKey;
use crate::users::ensure;
use crate::{Action, Error, Store};

/// What every key starts with, so that one that was leaked is found by a search.
const PREFIX: &str = "garim_";
/// Characters after it: 32 bytes in base64url without padding (RFC 4648, section 5).
const DIGITS: usize = 43;
/// Columns of [`ApiKey`].
const COLUMNS: &str = "id, owner, scopes, label, created_at, expires_at, revoked_at";

/// What a key may do. None includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyScope {
    /// Look at videos, jobs, collections.
    Read,
    /// Upload, start, cancel, delete.
    Operate,
    /// Enrol people, record and withdraw consent.
    People,
    /// See originals and crops of faces; every access is logged.
    Originals,
    /// Make keys and users, and act for every user.
    Admin,
}

impl KeyScope {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Read, Self::Operate, Self::People, Self::Originals, Self::Admin];

    /// As it is written in requests and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::People => "people",
            Self::Originals => "originals",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for KeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyScope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let why = "must be one of read, operate, people, originals, admin";
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text);
        found.ok_or(Error::Invalid { what: "a scope", why })
    }
}

/// A key to make.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Whose; the user is made if there is none of that name.
    pub owner: String,
    /// What it may do; at least one.
    pub scopes: Vec<KeyScope>,
    /// What it is for, in the owner's words; may be empty.
    pub label: String,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name in logs and requests.
    pub id: KeyId,
    /// Whose it is.
    pub owner: String,
    /// What it may do.
    pub scopes: Vec<KeyScope>,
    /// What it is for.
    pub label: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it opens anything.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// A key's secret, to be given to its owner once. Cannot be printed; overwritten when dropped.
pub struct Secret(Zeroizing<String>);

impl Secret {
    fn random() -> Self {
        Self(SecretKey::random().to_base64url(PREFIX))
    }

    /// The text. Never log it, never store it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Store {
    /// Makes a key.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad name, no scope, or an end in the past.
    pub async fn create_key(
        &self,
        new: &NewKey,
        actor: &str,
        now: Timestamp,
    ) -> Result<(ApiKey, Secret), Error> {
        check(new, now)?;
        let mut tx = self.begin().await?;
        claim_first(&mut tx).await?;
        let made = insert(self, &mut tx, new, actor, now).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// Makes the first key of a database, with every scope, for the user `admin`. `None` if this database has,
    /// or had, a key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn create_first_key(
        &self,
        actor: &str,
        now: Timestamp,
    ) -> Result<Option<(ApiKey, Secret)>, Error> {
        let mut tx = self.begin().await?;
        if !claim_first(&mut tx).await? {
            return Ok(None);
        }
        let (owner, label) = ("admin".to_owned(), "first key".to_owned());
        let new = NewKey { owner, scopes: KeyScope::ALL.to_vec(), label, expires_at: None };
        let made = insert(self, &mut tx, &new, actor, now).await?;
        tx.commit().await?;
        Ok(Some(made))
    }

    /// The key with this secret; `None` if there is none, or it has ended or was revoked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn key_by_secret(
        &self,
        secret: &str,
        now: Timestamp,
    ) -> Result<Option<ApiKey>, Error> {
        if secret.strip_prefix(PREFIX).is_none_or(|rest| rest.len() != DIGITS) {
            return Ok(None);
        }
        let query = format!(
            "SELECT {COLUMNS} FROM api_keys WHERE hash = $1 AND revoked_at IS NULL \
             AND (expires_at IS NULL OR expires_at > $2)"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query));
        let query = query.bind(hash(secret)).bind(now.as_millisecond());
        query.fetch_optional(&self.pool).await?.as_ref().map(api_key).transpose()
    }

    /// At most `limit` keys, oldest first, those after the key `after`; of one user, or of all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys(
        &self,
        owner: Option<&str>,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Vec<ApiKey>, Error> {
        let query = format!(
            "SELECT {COLUMNS} FROM api_keys WHERE ($1 = '' OR owner = $1) AND id > $2 \
             ORDER BY id LIMIT $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(owner.unwrap_or_default())
            .bind(after.map(|id| id.to_string()).unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(api_key).collect()
    }

    /// A key, also one that has ended or was revoked.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn key(&self, id: KeyId) -> Result<ApiKey, Error> {
        let query = format!("SELECT {COLUMNS} FROM api_keys WHERE id = $1");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id.to_string());
        let row = query.fetch_optional(&self.pool).await?;
        api_key(&row.ok_or_else(|| none(id))?)
    }

    /// Takes a key back: from now on it opens nothing. Again: changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn revoke_key(&self, id: KeyId, actor: &str, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let update = "UPDATE api_keys SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
        let update = sqlx::query(update).bind(now.as_millisecond()).bind(id.to_string());
        if update.execute(&mut *tx).await?.rows_affected() == 0 {
            let there = sqlx::query("SELECT id FROM api_keys WHERE id = $1").bind(id.to_string());
            return there.fetch_optional(&mut *tx).await?.map(|_| ()).ok_or_else(|| none(id));
        }
        append(self, &mut tx, actor, Action::RevokeKey, &id.to_string(), "", now).await?;
        Ok(tx.commit().await?)
    }
}

fn none(id: KeyId) -> Error {
    Error::NotFound { kind: "key", name: id.to_string() }
}

fn check(new: &NewKey, now: Timestamp) -> Result<(), Error> {
    if new.scopes.is_empty() {
        return Err(Error::Invalid { what: "scopes", why: "must name at least one" });
    }
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(Error::Invalid { what: "the end of a key", why: "is in the past" });
    }
    if new.label.is_empty() { Ok(()) } else { check_text("a key's label", &new.label) }
}

/// Whether this is the first key ever. Of several processes that ask at once, one is told so.
async fn claim_first(tx: &mut Transaction<'static, Any>) -> Result<bool, Error> {
    let claim = "INSERT INTO settings (name, value) VALUES ('first_key', 'made') \
         ON CONFLICT (name) DO NOTHING";
    Ok(sqlx::query(claim).execute(&mut **tx).await?.rows_affected() == 1)
}

async fn insert(
    store: &Store,
    tx: &mut Transaction<'static, Any>,
    new: &NewKey,
    actor: &str,
    now: Timestamp,
) -> Result<(ApiKey, Secret), Error> {
    ensure(tx, &new.owner, now).await?;
    let (key, secret) = (KeyId::new(now.as_millisecond()), Secret::random());
    // Each once, in one order.
    let scopes = KeyScope::ALL.into_iter().filter(|scope| new.scopes.contains(scope));
    let scopes = scopes.map(KeyScope::name).collect::<Vec<_>>().join(",");
    let insert = format!(
        "INSERT INTO api_keys (id, hash, owner, scopes, label, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {COLUMNS}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(insert))
        .bind(key.to_string())
        .bind(hash(secret.reveal()))
        .bind(&new.owner)
        .bind(&scopes)
        .bind(&new.label)
        .bind(now.as_millisecond())
        .bind(new.expires_at.map(Timestamp::as_millisecond))
        .fetch_one(&mut **tx)
        .await?;
    let made = api_key(&row)?;
    let detail = format!("for {}: {scopes}", new.owner);
    append(store, tx, actor, Action::CreateKey, &key.to_string(), &detail, now).await?;
    Ok((made, secret))
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

fn api_key(row: &AnyRow) -> Result<ApiKey, Error> {
    let scopes: String = row.try_get("scopes")?;
    let scopes: Result<_, Error> = scopes.split(',').map(str::parse).collect();
    Ok(ApiKey {
        id: id(row, "id")?,
        owner: row.try_get("owner")?,
        scopes: scopes.map_err(|_| Error::Damaged("scopes"))?,
        label: row.try_get("label")?,
        created_at: time(row, "created_at")?.ok_or(Error::Damaged("created_at"))?,
        expires_at: time(row, "expires_at")?,
        revoked_at: time(row, "revoked_at")?,
    })
}
