//! Opening the database: SQLite in a folder, or Postgres by URL. One SQL text for both.
//!
//! Both have one writer at a time: SQLite by nature, Postgres because every transaction that changes more than
//! one row takes the same lock first ([`Store::begin`]). So nothing is decided by what another transaction is
//! just changing, and no two wait for each other. Transactions are short, and those that tell what happened
//! would wait for each other all the same: events have one order.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::postgres::PgListener;
use sqlx::{Any, AnyPool, AssertSqlSafe, Executor, Row, Transaction};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::key::SecretKey;
use crate::{Error, KeySource};

/// Connections that read, at most. One more writes.
const CONNECTIONS: u32 = 8;
/// How long somebody waits for a connection, at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// What writers of the same Postgres database lock: any number that nobody else there locks.
const WRITER: i64 = 0x67_61_72_69_6d;
/// Longest name, description or other text that is stored, in bytes.
const MAX_TEXT: usize = 200;
/// Postgres channel on which processes wake each other (`NOTIFY`).
const CHANNEL: &str = "garim";

/// Where the database is.
#[derive(Clone)]
pub enum Location {
    /// SQLite: `garim.db` in this folder, which is made if it is missing.
    Folder(PathBuf),
    /// Postgres, 15 or later: `postgres://user:password@host/database`.
    Postgres(Zeroizing<String>),
}

/// The database, opened.
#[derive(Clone)]
pub struct Store {
    /// Connections that only read.
    pub(crate) pool: AnyPool,
    /// The connection that writes: whoever wants to waits in line here, and not in the database, where SQLite
    /// has no line and may let somebody wait forever.
    pub(crate) writer: AnyPool,
    /// Seals people's keys.
    pub(crate) wrap: SecretKey,
    /// Makes the audit log's MACs.
    pub(crate) audit: SecretKey,
    /// Signs addresses of media.
    pub(crate) media: SecretKey,
    /// Times a job is tried.
    pub(crate) tries: i64,
    /// Days after which recordings are deleted.
    pub(crate) days: Option<u32>,
    location: Location,
    woken: Arc<Topics>,
}

/// What somebody may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A job was queued, cancelled, or ended.
    Jobs,
    /// Something happened.
    Events,
    /// A channel was started, stopped, or changed in another way.
    Channels,
}

impl Topic {
    const ALL: [Self; 3] = [Self::Jobs, Self::Events, Self::Channels];
}

/// Counters that go up when something changes.
struct Topics {
    jobs: watch::Sender<u64>,
    events: watch::Sender<u64>,
    channels: watch::Sender<u64>,
}

impl Topics {
    fn of(&self, topic: Topic) -> &watch::Sender<u64> {
        match topic {
            Topic::Jobs => &self.jobs,
            Topic::Events => &self.events,
            Topic::Channels => &self.channels,
        }
    }

    fn bump(&self, topic: Topic) {
        self.of(topic).send_modify(|n| *n += 1);
    }
}

impl Topic {
    fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Events => "events",
            Self::Channels => "channels",
        }
    }
}

impl Store {
    /// Opens the database, and makes or updates its tables.
    ///
    /// # Errors
    /// [`Error::Key`] and [`Error::WrongKey`] when the server's key is not the one that the database was made
    /// with, and whatever keeps it from being opened.
    pub async fn open(location: &Location, key: &KeySource) -> Result<Self, Error> {
        let (writer, pool) = connect(location, None).await?;
        let server = SecretKey::of_server(key, key_check(&pool).await?.is_none())?;
        let check = check_of(&server);
        // Where two processes make the database at once, both must have the same key.
        sqlx::query(
            "INSERT INTO settings (name, value) VALUES ('key_check', $1) ON CONFLICT (name) DO NOTHING",
        )
        .bind(&check)
        .execute(&writer)
        .await?;
        if key_check(&pool).await? != Some(check) {
            return Err(Error::WrongKey);
        }
        let counter = || watch::Sender::new(0);
        let topics = Topics { jobs: counter(), events: counter(), channels: counter() };
        Ok(Self {
            pool,
            writer,
            wrap: server.derive("garim wrap v1"),
            audit: server.derive("garim audit v1"),
            media: server.derive("garim media v1"),
            tries: crate::jobs::ATTEMPTS,
            days: None,
            location: location.clone(),
            woken: Arc::new(topics),
        })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ready(&self) -> Result<(), Error> {
        self.pool.execute("SELECT 1").await?;
        Ok(())
    }

    /// Waits for running queries and closes the database.
    pub async fn close(&self) {
        self.writer.close().await;
        self.pool.close().await;
    }

    /// A counter that goes up whenever something of `topic` changed in this process, and where [`Store::listen`]
    /// runs, in any. With SQLite, other processes are not heard: look now and then as well.
    pub fn changes(&self, topic: Topic) -> watch::Receiver<u64> {
        self.woken.of(topic).subscribe()
    }

    /// Hears what other processes change. Ends only with an error, and at once without Postgres.
    ///
    /// # Errors
    /// The connection was lost: call it again.
    pub async fn listen(&self) -> Result<(), Error> {
        let Location::Postgres(url) = &self.location else { return Ok(()) };
        let mut listener = PgListener::connect(url).await?;
        listener.listen(CHANNEL).await?;
        // What was missed while nobody listened.
        Topic::ALL.into_iter().for_each(|topic| self.woken.bump(topic));
        loop {
            // `None`: the connection was lost and made again, and nobody knows what was said meanwhile.
            let heard = listener.try_recv().await?;
            let is_meant =
                |topic: &Topic| heard.as_ref().is_none_or(|h| h.payload() == topic.name());
            let topics = Topic::ALL.into_iter().filter(is_meant);
            topics.for_each(|topic| self.woken.bump(topic));
        }
    }

    /// Commits, and wakes whoever waits for `topics`.
    pub(crate) async fn commit(
        &self,
        mut tx: Transaction<'static, Any>,
        topics: &[Topic],
    ) -> Result<(), Error> {
        if matches!(self.location, Location::Postgres(_)) {
            for topic in topics {
                // Sent when the transaction commits, and not at all when it does not.
                sqlx::query("SELECT CAST(pg_notify($1, $2) AS TEXT)")
                    .bind(CHANNEL)
                    .bind(topic.name())
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
        topics.iter().for_each(|topic| self.woken.bump(*topic));
        Ok(())
    }

    /// A transaction that may write. There is one at a time: what it reads stays as it is until it ends.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, Error> {
        begin(&self.writer, self.is_postgres()).await
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.location, Location::Postgres(_))
    }

    /// `sql` whose `{skip}` takes rows that nobody else is changing, instead of waiting: a beat changes a job
    /// without being the writer. In SQLite nobody else can.
    pub(crate) fn skipping(&self, sql: &str) -> AssertSqlSafe<String> {
        let skip = match self.location {
            Location::Folder(_) => "",
            Location::Postgres(_) => "FOR UPDATE SKIP LOCKED",
        };
        // The text is a constant of this crate.
        AssertSqlSafe(sql.replace("{skip}", skip))
    }

    /// Lets nothing that was deleted stay in the write-ahead log. Where another process reads for longer than the
    /// time-out, it stays until the last connection is closed, which deletes the log.
    pub(crate) async fn forget(&self) -> Result<(), Error> {
        if matches!(self.location, Location::Folder(_)) {
            self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        }
        Ok(())
    }

    /// A setting, if it was made.
    pub(crate) async fn setting(
        tx: &mut Transaction<'static, Any>,
        name: &str,
    ) -> Result<Option<String>, Error> {
        let row = sqlx::query("SELECT value FROM settings WHERE name = $1").bind(name);
        let row = row.fetch_optional(&mut **tx).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Makes or changes a setting.
    pub(crate) async fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        let insert = "INSERT INTO settings (name, value) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET value = $2";
        sqlx::query(insert).bind(name).bind(value).execute(&self.writer).await?;
        Ok(())
    }
}

/// What the server's key must give; `None` in a new database.
async fn key_check(pool: &AnyPool) -> Result<Option<String>, Error> {
    let value = sqlx::query("SELECT value FROM settings WHERE name = 'key_check'");
    let row = value.fetch_optional(pool).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// What the database keeps of the server's key, to know it by.
pub(crate) fn check_of(server: &SecretKey) -> String {
    hex(&server.mac(&[b"garim key check v1"]))
}

/// Whether this version can make and update the tables of migration number `migration`.
pub(crate) fn knows(migration: i64) -> bool {
    sqlx::migrate!().version_exists(migration)
}

/// Number of the last migration that the database went through.
pub(crate) async fn migration(tx: &mut Transaction<'static, Any>) -> Result<i64, Error> {
    Ok(tx.fetch_one("SELECT MAX(version) FROM _sqlx_migrations").await?.try_get(0)?)
}

/// Names of all tables.
pub(crate) async fn tables(
    tx: &mut Transaction<'static, Any>,
    postgres: bool,
) -> Result<Vec<String>, Error> {
    let query = if postgres {
        "SELECT CAST(table_name AS TEXT) FROM information_schema.tables \
             WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
    } else {
        "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_'"
    };
    let rows = tx.fetch_all(query).await?;
    let names = rows.iter().map(|row| row.try_get::<String, _>(0));
    let ours = names.filter(|name| name.as_ref().map_or(true, |name| name != "_sqlx_migrations"));
    Ok(ours.collect::<Result<_, _>>()?)
}

/// A transaction that may write, the only one at a time.
pub(crate) async fn begin(
    writer: &AnyPool,
    postgres: bool,
) -> Result<Transaction<'static, Any>, Error> {
    if !postgres {
        // Otherwise it would find out half-way that another process writes too.
        return Ok(writer.begin_with("BEGIN IMMEDIATE").await?);
    }
    let mut tx = writer.begin().await?;
    let lock = sqlx::query("SELECT CAST(pg_advisory_xact_lock($1) AS TEXT)");
    lock.bind(WRITER).execute(&mut *tx).await?;
    Ok(tx)
}

/// Connections that write and read. The tables are made or updated, up to migration number `migration` if there
/// is one.
pub(crate) async fn connect(
    location: &Location,
    migration: Option<i64>,
) -> Result<(AnyPool, AnyPool), Error> {
    static DRIVERS: Once = Once::new();
    DRIVERS.call_once(sqlx::any::install_default_drivers);
    match location {
        Location::Folder(folder) => sqlite(folder, migration).await,
        Location::Postgres(url) => postgres(url, migration).await,
    }
}

async fn migrate(writer: &AnyPool, migration: Option<i64>) -> Result<(), Error> {
    let migrator = sqlx::migrate!();
    match migration {
        Some(number) => migrator.run_to(number, writer).await?,
        None => migrator.run(writer).await?,
    }
    Ok(())
}

async fn sqlite(folder: &Path, migration: Option<i64>) -> Result<(AnyPool, AnyPool), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(Error::io(folder))?;
    let file = folder.join("garim.db");
    let path =
        file.to_str().ok_or(Error::Invalid { what: "the data folder", why: "must be UTF-8" })?;
    let encoded: String = path.bytes().map(escaped).collect();
    let options = || {
        let options = AnyPoolOptions::new().acquire_timeout(PATIENCE);
        options.after_connect(|connection, _| {
            Box::pin(async move {
                // FULL: what was answered with success survives a power cut. secure_delete: so does a deletion.
                let settings = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; \
                     PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON";
                connection.execute(settings).await?;
                Ok(())
            })
        })
    };
    // Until the tables are there: SQLite lets two processes make them at once, and one fails.
    let _making = alone(folder.to_owned()).await?;
    let url = format!("sqlite://{encoded}?mode=rwc");
    let writer = options().max_connections(1).connect(&url).await?;
    migrate(&writer, migration).await?;
    Ok((writer, options().max_connections(CONNECTIONS).connect(&url).await?))
}

/// Keeps other processes, and other callers in this one, waiting here until what it gives is dropped.
async fn alone(folder: PathBuf) -> Result<fs::File, Error> {
    let locked = tokio::task::spawn_blocking(move || {
        // SQLite says of a disk that is read-only that it cannot open the file, after ten seconds of trying.
        let probe = folder.join(format!("writable.{}", uuid::Uuid::now_v7()));
        let written = fs::File::create(&probe).and_then(|_| fs::remove_file(&probe));
        written.map_err(Error::io(&folder))?;
        let file = fs::File::open(&folder).map_err(Error::io(&folder))?;
        file.lock().map_err(Error::io(&folder))?;
        Ok(file)
    });
    locked.await.map_err(|_| Error::Unavailable { why: "it is being shut down".to_owned() })?
}

async fn postgres(url: &str, migration: Option<i64>) -> Result<(AnyPool, AnyPool), Error> {
    let options = || {
        // A database that is down is an error soon, not a wait.
        let options = AnyPoolOptions::new().acquire_timeout(PATIENCE);
        options.after_connect(|connection, _| {
            Box::pin(async move {
                // A process that stops half-way through a transaction must not stop all others.
                let settings = "SET lock_timeout = '10s'; SET statement_timeout = '60s'; \
                     SET idle_in_transaction_session_timeout = '20s'";
                connection.execute(settings).await?;
                Ok(())
            })
        })
    };
    let writer = options().max_connections(1).connect(url).await?;
    // One process at a time, by a lock of the database's.
    migrate(&writer, migration).await?;
    Ok((writer, options().max_connections(CONNECTIONS).connect(url).await?))
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

/// Whether the number in column `name` is not 0. Databases differ in how wide a number of no column is.
pub(crate) fn flag(row: &AnyRow, name: &'static str) -> Result<bool, Error> {
    let wide = row.try_get::<i64, _>(name);
    Ok(wide.or_else(|_| row.try_get::<i32, _>(name).map(i64::from))? != 0)
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
