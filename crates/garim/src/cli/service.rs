//! Arguments of the commands that serve, work, and look after a server.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::time;

/// Serve videos, people and jobs over HTTP.
///
/// Without settings: on 127.0.0.1:8080, with SQLite and files in one folder. A new database gets an
/// admin key, which is printed to stdout once. SIGTERM ends it after the requests that are underway.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Address and port; port 0 is any free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<std::net::SocketAddr>,
}

/// Do the jobs of a server, in a process of its own.
///
/// With the server's settings: the same database and the same store. As many as there is work for, on as
/// many machines, with Postgres and S3; on one machine also with SQLite and a folder. SIGTERM ends it after
/// its jobs were handed back.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Jobs at once [default: jobs.workers of the settings, at least 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub slots: Option<u8>,
}

// No doc comment: clap would take it for that of the command.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Settings, as TOML [default: $GARIM_CONFIG, else none].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Folder of the database and the server's key [default: `data` of the settings, else the folder
    /// that `garim people` uses].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Write the database to one sealed file, while the server runs.
///
/// People, templates, consents, the log, videos, jobs, API keys: every row, as it is at one moment. Not in it:
/// the objects (originals and covered videos), and the server's key unless asked for.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["file", "new_key"])))]
pub struct BackupArgs {
    /// The backup.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Make a key for backups instead, in a new file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["with_server_key", "overwrite", "key_file"])]
    pub new_key: Option<PathBuf>,

    /// Put the server's key in: then the backup and its key alone are enough to restore everything.
    #[arg(long)]
    pub with_server_key: bool,

    /// Replace a file that is there.
    #[arg(long)]
    pub overwrite: bool,

    #[command(flatten)]
    pub key: BackupKeyArgs,

    #[command(flatten)]
    pub config: ConfigArgs,
}

// No doc comment: clap would take it for that of the command.
#[derive(Debug, Args)]
pub struct BackupKeyArgs {
    /// Key of the backup, as `garim backup --new-key` makes it [default: $GARIM_BACKUP_KEY, which holds the key
    /// itself].
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// Put a backup into an empty database, all of it or nothing, and check its log.
///
/// Into SQLite or Postgres, whichever the settings name and wherever it came from. Exit code 1 also if the
/// log in the backup was changed.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    #[command(flatten)]
    pub key: BackupKeyArgs,

    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Make, list and revoke API keys of the server.
#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    pub command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    Create(CreateKeyArgs),
    /// List every key, without secrets.
    List {
        /// Only keys of this user.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Take a key back. From now on it opens nothing.
    Revoke {
        /// Id of the key.
        id: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

/// Make a key and print it. It is not shown again.
#[derive(Debug, Args)]
pub struct CreateKeyArgs {
    /// Whose: a-z, 0-9, '.', '_', '-'. Made if there is no user of that name.
    #[arg(long, value_name = "NAME")]
    pub user: String,

    /// What it may do: read, operate, people, originals, admin. None includes another.
    #[arg(long, value_name = "SCOPE", value_delimiter = ',', required = true)]
    pub scope: Vec<store::KeyScope>,

    /// What it is for.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub label: String,

    /// When it ends by itself: 2027-06-30 (the start of that day, UTC) or 2027-06-30T18:00:00+09:00.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<jiff::Timestamp>,

    #[command(flatten)]
    pub config: ConfigArgs,
}
