//! Opening the database: SQLite in a folder.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Once;

use jiff::Timestamp;
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::{Any, AnyPool, Executor, Row, Transaction};

use crate::key::SecretKey;
use crate::{Error, KeySource};

/// Connections at most. SQLite has one writer anyway.
const CONNECTIONS: u32 = 8;
/// Longest name, description or other text that is stored, in bytes.
const MAX_TEXT: usize = 200;

/// The database, opened.
#[derive(Clone)]
pub struct Store {
    pub(crate) pool: AnyPool,
    /// Seals people's keys.
    pub(crate) wrap: SecretKey,
    /// Makes the audit log's MACs.
    pub(crate) audit: SecretKey,
}

impl Store {
    /// Opens the database in `folder`, which is made if it is missing, and makes or updates its tables.
    ///
    /// # Errors
    /// [`Error::Key`] and [`Error::WrongKey`] when the server's key is not the one that the database was made
    /// with, and whatever keeps it from being opened.
    pub async fn open(folder: &Path, key: &KeySource) -> Result<Self, Error> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let pool = sqlite(folder).await?;
        sqlx::migrate!().run(&pool).await?;
        let server = SecretKey::of_server(key, key_check(&pool).await?.is_none())?;
        let check = hex(&server.mac(&[b"garim key check v1"]));
        // Where two processes make the database at once, both must have the same key.
        sqlx::query(
            "INSERT INTO settings (name, value) VALUES ('key_check', $1) ON CONFLICT (name) DO NOTHING",
        )
        .bind(&check)
        .execute(&pool)
        .await?;
        if key_check(&pool).await? != Some(check) {
            return Err(Error::WrongKey);
        }
        let (wrap, audit) = (server.derive("garim wrap v1"), server.derive("garim audit v1"));
        Ok(Self { pool, wrap, audit })
    }

    /// A transaction that may write.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, Error> {
        // Otherwise it would find out half-way that another process writes too.
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Lets nothing that was deleted stay in the write-ahead log. Where another process reads for longer than the
    /// time-out, it stays until the last connection is closed, which deletes the log.
    pub(crate) async fn forget(&self) -> Result<(), Error> {
        self.pool.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        Ok(())
    }
}

/// What the server's key must give; `None` in a new database.
async fn key_check(pool: &AnyPool) -> Result<Option<String>, Error> {
    let value = sqlx::query("SELECT value FROM settings WHERE name = 'key_check'");
    let row = value.fetch_optional(pool).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

async fn sqlite(folder: &Path) -> Result<AnyPool, Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(Error::io(folder))?;
    let file = folder.join("garim.db");
    let path =
        file.to_str().ok_or(Error::Invalid { what: "the data folder", why: "must be UTF-8" })?;
    let encoded: String = path.bytes().map(escaped).collect();
    let pool = AnyPoolOptions::new().max_connections(CONNECTIONS).after_connect(|connection, _| {
        Box::pin(async move {
            // FULL: what was answered with success survives a power cut. secure_delete: so does a deletion.
            let settings = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; \
                 PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON";
            connection.execute(settings).await?;
            Ok(())
        })
    });
    Ok(pool.connect(&format!("sqlite://{encoded}?mode=rwc")).await?)
}

/// A byte of a path as it stands in a URL (RFC 3986, section 2.1).
fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The time in column `name`; `None` for NULL.
pub(crate) fn time(row: &AnyRow, name: &'static str) -> Result<Option<Timestamp>, Error> {
    let millis: Option<i64> = row.try_get(name)?;
    millis.map(|m| Timestamp::from_millisecond(m).map_err(|_| Error::Damaged(name))).transpose()
}

/// The id in column `name`.
pub(crate) fn id<T: std::str::FromStr>(row: &AnyRow, name: &'static str) -> Result<T, Error> {
    row.try_get::<String, _>(name)?.parse().map_err(|_| Error::Damaged(name))
}

/// Refuses text that is empty, too long, or would break a line.
pub(crate) fn check_text(what: &'static str, text: &str) -> Result<(), Error> {
    let why = if text.trim().is_empty() {
        "is empty"
    } else if text.len() > MAX_TEXT {
        "is longer than 200 bytes"
    } else if text.chars().any(char::is_control) {
        "holds control characters"
    } else {
        return Ok(());
    };
    Err(Error::Invalid { what, why })
}
