//! All rows of the database in one sealed file, and back, into SQLite or Postgres alike.
//!
//! The plaintext is JSON, one value a line: a [`Head`]; then for each table its name and columns and after it
//! its rows, each an array; at the end how many rows there were. Times, ids and everything else stand as they
//! do in the database, which holds the same in both kinds. What was sealed in the database stays sealed by
//! the server's key, which is in the backup only if that was asked for.
//!
//! Files are read and written where the caller runs: for commands, not for a server that answers others.

mod frames;

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Executor, Row, Transaction};
use zeroize::{Zeroize, Zeroizing};

pub use frames::BackupKey;
use frames::{Reader, Writer, backup};

use crate::db::{self, Store};
use crate::key::{self, SecretKey};
use crate::{Chain, Error, KeySource, Location};

/// Every table; those that others refer to come first. A table that is missing here makes no backup.
const TABLES: &[&str] = &[
    "settings",
    "users",
    "api_keys",
    "idempotency",
    "collections",
    "people",
    "photos",
    "consents",
    "audit",
    "audit_head",
    "videos",
    "parts",
    "versions",
    "shown",
    "watched",
    "garbage",
    "jobs",
    "events",
    "event_head",
    "webhooks",
    "deliveries",
    "channels",
    "sessions",
    "live_servers",
];

/// Tables that a new database has rows in, and how many of them say that something happened.
const BORN_WITH_ROWS: &[(&str, &str)] =
    &[("settings", "name <> 'key_check'"), ("audit_head", "seq > 0"), ("event_head", "seq > 0")];

/// First line.
#[derive(Serialize, Deserialize)]
struct Head {
    /// Number of the last migration of the database that was backed up.
    migration: i64,
    made_at: Timestamp,
    /// Which server key the rows belong to: it must be there where they are restored.
    key_check: String,
    /// The server key itself.
    server_key: Option<String>,
}

impl Drop for Head {
    fn drop(&mut self) {
        self.server_key.zeroize();
    }
}

/// Any other line.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Row(Vec<Cell>),
    Table { table: String, columns: Vec<String> },
    End { rows: u64 },
}

/// A value of a row.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Cell {
    Null,
    Number(i64),
    Text(String),
    Bytes { base64: String },
}

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
    Bytes,
}

struct Column {
    name: String,
    kind: Kind,
}

/// What was backed up.
#[derive(Debug)]
pub struct BackedUp {
    /// Rows of all tables.
    pub rows: u64,
}

/// What was restored.
pub struct Restored {
    /// The database, opened.
    pub store: Store,
    /// When the backup was made.
    pub made_at: Timestamp,
    /// Rows of all tables.
    pub rows: u64,
    /// What a check of the audit log found, after everything was there.
    pub log: Chain,
}

impl Store {
    /// Writes all rows, as they are at one moment, to the file `path`; others may go on writing to the
    /// database. `server_key`: puts it in too.
    ///
    /// # Errors
    /// When the database or the file fails. The file is of no use then.
    pub async fn back_up(
        &self,
        path: &Path,
        key: &BackupKey,
        server_key: Option<&KeySource>,
        now: Timestamp,
    ) -> Result<BackedUp, Error> {
        let server_key =
            server_key.map(|source| SecretKey::of_server(source, false)).transpose()?;
        let mut out = Writer::new(path, key)?;
        let mut tx = self.snapshot().await?;
        let key_check = Self::setting(&mut tx, "key_check").await?;
        let head = Head {
            migration: db::migration(&mut tx).await?,
            made_at: now,
            key_check: key_check.ok_or(Error::Damaged("key_check"))?,
            server_key: server_key.map(|key| key.to_hex().to_string()),
        };
        write(&mut out, &head)?;
        let mut there = db::tables(&mut tx, self.is_postgres()).await?;
        there.sort();
        let mut known = TABLES.to_vec();
        known.sort_unstable();
        if there != known {
            return Err(backup("the database has other tables than this version of Garim"));
        }
        let mut rows = 0;
        for table in TABLES {
            rows += self.table(&mut tx, table, &mut out).await?;
        }
        write(&mut out, &Line::End { rows })?;
        out.finish()?;
        Ok(BackedUp { rows })
    }

    /// A transaction that sees the database as it is now until it ends.
    async fn snapshot(&self) -> Result<Transaction<'static, Any>, Error> {
        if !self.is_postgres() {
            return Ok(self.pool.begin().await?);
        }
        let mut tx =
            self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // A disk may be slow.
        let patience = "SET LOCAL statement_timeout = '1h'; \
             SET LOCAL idle_in_transaction_session_timeout = '10min'";
        tx.execute(patience).await?;
        Ok(tx)
    }

    async fn table(
        &self,
        tx: &mut Transaction<'static, Any>,
        table: &str,
        out: &mut Writer,
    ) -> Result<u64, Error> {
        let columns = columns(tx, table, self.is_postgres()).await?;
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let query = format!("SELECT {} FROM {table}", names.join(", "));
        write(out, &Line::Table { table: table.to_owned(), columns: names })?;
        let mut rows = sqlx::query(AssertSqlSafe(query)).fetch(&mut **tx);
        let mut count = 0;
        while let Some(row) = rows.try_next().await? {
            let cells = columns.iter().enumerate().map(|(n, column)| cell(&row, n, column.kind));
            write(out, &Line::Row(cells.collect::<Result<_, _>>()?))?;
            count += 1;
        }
        Ok(count)
    }
}

/// Puts what [`Store::back_up`] wrote into an empty database, all of it or nothing. The server's key must be
/// where `server_key` says, unless the backup holds it: then it is put there.
///
/// # Errors
/// [`Error::Backup`] when the file is not whole, the key is another, the database is not empty, or the backup is of a
/// newer version; and whatever the database and the file fail with.
pub async fn restore(
    path: &Path,
    key: &BackupKey,
    location: &Location,
    server_key: &KeySource,
) -> Result<Restored, Error> {
    // All of it is opened once before anything is touched.
    let mut reader = Reader::new(path, key)?;
    while reader.line(&mut Vec::new())? {}
    let mut reader = Reader::new(path, key)?;
    let head: Head = read(&mut reader)?;
    if !db::knows(head.migration) {
        let newer = format!("it is of a newer Garim (tables {})", head.migration);
        return Err(backup(newer));
    }
    let missing = server_key_for(&head, server_key)?;
    let (writer, pool) = db::connect(location, Some(head.migration)).await?;
    let restored = async {
        let postgres = matches!(location, Location::Postgres(_));
        let mut tx = db::begin(&writer, postgres).await?;
        clear(&mut tx, postgres).await?;
        let rows = insert(&mut tx, postgres, &mut reader).await?;
        if let (KeySource::File(path), Some(key)) = (server_key, &missing) {
            key::write(path, key)?;
        }
        tx.commit().await?;
        Ok::<_, Error>(rows)
    };
    let restored = restored.await;
    writer.close().await;
    pool.close().await;
    let rows = restored?;
    // Brings tables of an older version up to date.
    let store = Store::open(location, server_key).await?;
    let log = store.check_log().await?;
    Ok(Restored { store, made_at: head.made_at, rows, log })
}

/// The server's key out of the backup, if it is not there yet.
fn server_key_for(head: &Head, source: &KeySource) -> Result<Option<SecretKey>, Error> {
    let there = match source {
        KeySource::Given(_) => true,
        KeySource::File(path) => path.symlink_metadata().is_ok(),
    };
    let key = if there {
        SecretKey::of_server(source, false)?
    } else {
        let text = head.server_key.as_ref().ok_or_else(|| {
            backup("it holds no server key: put server.key into the data folder, or set GARIM_SERVER_KEY")
        })?;
        key::parse(text).ok_or(Error::Damaged("server_key"))?
    };
    if db::check_of(&key) != head.key_check {
        return Err(backup("the server key that is there is not the one of the backup"));
    }
    Ok((!there).then_some(key))
}

/// Makes sure that nothing is in the database, and takes out what a new one is born with.
async fn clear(tx: &mut Transaction<'static, Any>, postgres: bool) -> Result<(), Error> {
    for table in db::tables(tx, postgres).await? {
        let born = BORN_WITH_ROWS.iter().find(|(name, _)| *name == table);
        let which = born.map_or(String::new(), |(_, which)| format!(" WHERE {which}"));
        let count = format!("SELECT COUNT(*) FROM {table}{which}");
        let count: i64 = tx.fetch_one(AssertSqlSafe(count)).await?.try_get(0)?;
        if count > 0 {
            let why = format!("the database is not empty ({table}): restore into a new one");
            return Err(backup(why));
        }
        if born.is_some() {
            tx.execute(AssertSqlSafe(format!("DELETE FROM {table}"))).await?;
        }
    }
    Ok(())
}

/// Inserts every row; gives how many.
async fn insert(
    tx: &mut Transaction<'static, Any>,
    postgres: bool,
    reader: &mut Reader,
) -> Result<u64, Error> {
    let mut count = 0;
    let mut into: Option<(String, Vec<Kind>)> = None;
    loop {
        match read(reader)? {
            Line::Table { table, columns } => {
                into = Some(target(tx, postgres, &table, &columns).await?);
            }
            Line::Row(cells) => {
                let (query, kinds) = into.as_ref().ok_or_else(|| reader.changed())?;
                if cells.len() != kinds.len() {
                    return Err(reader.changed());
                }
                put(tx, query, kinds, cells).await?;
                count += 1;
            }
            Line::End { rows } if rows == count => return Ok(count),
            Line::End { .. } => return Err(reader.changed()),
        }
    }
}

/// The statement that inserts a row of a table, and what its columns hold.
async fn target(
    tx: &mut Transaction<'static, Any>,
    postgres: bool,
    table: &str,
    names: &[String],
) -> Result<(String, Vec<Kind>), Error> {
    if !TABLES.contains(&table) {
        return Err(backup("it has a table that this version of Garim does not know"));
    }
    let there = columns(tx, table, postgres).await?;
    let kind = |name: &String| {
        let found = there.iter().find(|column| column.name == *name);
        found.map(|column| column.kind).ok_or_else(|| backup("a column of it is not known here"))
    };
    let kinds = names.iter().map(kind).collect::<Result<Vec<_>, _>>()?;
    let values: Vec<String> = (1..=names.len()).map(|n| format!("${n}")).collect();
    let columns = names.join(", ");
    Ok((format!("INSERT INTO {table} ({columns}) VALUES ({})", values.join(", ")), kinds))
}

async fn put(
    tx: &mut Transaction<'static, Any>,
    query: &str,
    kinds: &[Kind],
    cells: Vec<Cell>,
) -> Result<(), Error> {
    let mut insert = sqlx::query(AssertSqlSafe(query.to_owned()));
    for (cell, kind) in cells.into_iter().zip(kinds) {
        insert = match (cell, kind) {
            // Postgres asks what kind of nothing it is.
            (Cell::Null, Kind::Number) => insert.bind(None::<i64>),
            (Cell::Null, Kind::Text) => insert.bind(None::<String>),
            (Cell::Null, Kind::Bytes) => insert.bind(None::<Vec<u8>>),
            (Cell::Number(number), Kind::Number) => insert.bind(number),
            (Cell::Text(text), Kind::Text) => insert.bind(text),
            (Cell::Bytes { base64 }, Kind::Bytes) => {
                let bytes = BASE64_STANDARD.decode(base64);
                insert.bind(bytes.map_err(|_| Error::Damaged("bytes of a backup"))?)
            }
            _ => return Err(backup("a value of it does not fit its column")),
        };
    }
    insert.execute(&mut **tx).await?;
    Ok(())
}

async fn columns(
    tx: &mut Transaction<'static, Any>,
    table: &str,
    postgres: bool,
) -> Result<Vec<Column>, Error> {
    let query = if postgres {
        "SELECT CAST(column_name AS TEXT), CAST(data_type AS TEXT) FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position"
    } else {
        "SELECT CAST(name AS TEXT), CAST(type AS TEXT) FROM pragma_table_info($1) ORDER BY cid"
    };
    let rows = sqlx::query(query).bind(table).fetch_all(&mut **tx).await?;
    let column = |row: &AnyRow| {
        let kind: String = row.try_get(1)?;
        let kind = match kind.to_ascii_lowercase().as_str() {
            "bigint" => Kind::Number,
            "text" => Kind::Text,
            "bytea" => Kind::Bytes,
            _ => return Err(Error::Damaged("a column's type")),
        };
        Ok(Column { name: row.try_get(0)?, kind })
    };
    rows.iter().map(column).collect()
}

fn cell(row: &AnyRow, n: usize, kind: Kind) -> Result<Cell, Error> {
    let cell = match kind {
        Kind::Number => row.try_get::<Option<i64>, _>(n)?.map(Cell::Number),
        Kind::Text => row.try_get::<Option<String>, _>(n)?.map(Cell::Text),
        Kind::Bytes => {
            let bytes = row.try_get::<Option<Vec<u8>>, _>(n)?;
            bytes.map(|bytes| Cell::Bytes { base64: BASE64_STANDARD.encode(bytes) })
        }
    };
    Ok(cell.unwrap_or(Cell::Null))
}

fn write(out: &mut Writer, line: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_vec(line).map_err(|_| backup("a row cannot be written"))?;
    out.line(&Zeroizing::new(text))
}

fn read<T: for<'de> Deserialize<'de>>(reader: &mut Reader) -> Result<T, Error> {
    let mut line = Zeroizing::new(Vec::new());
    if !reader.line(&mut line)? {
        return Err(reader.changed());
    }
    // What serde says would repeat what stands there.
    serde_json::from_slice(&line).map_err(|_| reader.changed())
}
