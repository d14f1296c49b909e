//! Arguments of the commands about people, their consent, and the log.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ConsentScope, StoreArgs, time};

/// Enrol people who agreed to be seen, list them, and remove them.
///
/// What they are known by is stored encrypted, each with a key of their own. Nobody is enrolled without
/// a record of their consent.
#[derive(Debug, Args)]
pub struct PeopleArgs {
    #[command(subcommand)]
    pub command: PeopleCommand,
}

#[derive(Debug, Subcommand)]
pub enum PeopleCommand {
    Add(AddArgs),
    /// List everybody, and whether they agree to be seen.
    List {
        /// Only people of this user.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only people of this collection.
        #[arg(long, value_name = "NAME")]
        collection: Option<String>,
        #[command(flatten)]
        common: StoreOutArgs,
    },
    /// Show one person and every consent they gave.
    Show {
        /// Name or id.
        person: String,
        #[command(flatten)]
        common: StoreOutArgs,
    },
    /// Destroy a person's key, photos and templates. Cannot be undone.
    Remove {
        /// Name or id.
        person: String,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// Enrol somebody by photos, with their consent.
///
/// Each photo must show their face alone, sharp, lit, and from the front; one that does not is refused
/// with the reason, and nobody is enrolled.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// What to call them.
    pub name: String,

    /// Photos of them, or folders of photos.
    #[arg(required = true, value_name = "PHOTO|DIR")]
    pub photos: Vec<PathBuf>,

    /// The user whose collection it is; the server's keys are for one user each.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub user: String,
    /// Whose people they belong to: a streamer, an organisation.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub collection: String,

    #[command(flatten)]
    pub consent: GivenArgs,

    #[command(flatten)]
    pub common: StoreOutArgs,
}

#[derive(Debug, Args)]
pub struct GivenArgs {
    /// Who gave consent: the person, or a guardian.
    #[arg(long, value_name = "WHO")]
    pub by: String,

    /// How it was given: "signed form 12".
    #[arg(long, value_name = "TEXT")]
    pub how: String,

    /// For what.
    #[arg(long, value_enum, default_value_t = ConsentScope::All)]
    pub scope: ConsentScope,

    /// When it ends by itself: 2027-06-30 (the start of that day, UTC) or 2027-06-30T18:00:00+09:00.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<jiff::Timestamp>,
}

#[derive(Debug, Args)]
pub struct StoreOutArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// Record, withdraw and list people's consent to be seen.
#[derive(Debug, Args)]
pub struct ConsentArgs {
    #[command(subcommand)]
    pub command: ConsentCommand,
}

#[derive(Debug, Subcommand)]
pub enum ConsentCommand {
    /// Record that somebody agrees.
    Grant {
        /// Name or id.
        person: String,
        #[command(flatten)]
        consent: GivenArgs,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Take back everything that somebody agreed to. From now on they are covered.
    Withdraw {
        /// Name or id.
        person: String,
        /// Who withdraws it: the person, or a guardian.
        #[arg(long, value_name = "WHO")]
        by: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List every consent that was recorded.
    List {
        /// Only of this person (name or id).
        person: Option<String>,
        #[command(flatten)]
        common: StoreOutArgs,
    },
}

/// Read and check the log of enrolments, consent, removals, and of people who were shown.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    pub command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Print every entry.
    List(StoreOutArgs),
    /// Check that no entry was changed, added or taken out. Exit code 1 if one was.
    ///
    /// Prints the hash of the last entry. Kept elsewhere, it also shows whether the whole database
    /// was put back to an earlier state.
    Verify(StoreArgs),
}
