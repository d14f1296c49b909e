//! `garim backup` and `garim restore`: the database as one sealed file, and back.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use store::{BackupKey, Chain, KeySource, Location, Restored, Store};
use zeroize::Zeroizing;

use super::people::server_key;
use super::serve::{config, location};
use super::{print, success};
use crate::cli::{BackupArgs, BackupKeyArgs, RestoreArgs};
use crate::output::Partial;

pub fn back_up(args: &BackupArgs) -> Result<ExitCode> {
    if let Some(path) = &args.new_key {
        BackupKey::create(path)?;
        eprintln!("{}: keep it away from the backups; without it they are noise", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    let file = args.file.as_ref().context("no FILE")?;
    let key = key(&args.key)?;
    let config = config(&args.config, None)?;
    let (location, name) = location(&config)?;
    // Opening one would make one.
    if let Location::Folder(folder) = &location
        && !folder.join("garim.db").exists()
    {
        bail!("{name}: there is no database here");
    }
    let source = server_key(&config.data);
    let with_key: Option<&KeySource> = args.with_server_key.then_some(&source);
    let output = Partial::create(file, args.overwrite)?;
    let done = runtime()?.block_on(async {
        let store = Store::open(&location, &source).await.with_context(|| name)?;
        let done = store.back_up(output.path(), &key, with_key, Timestamp::now()).await?;
        store.close().await;
        anyhow::Ok(done)
    });
    let done = done.map_err(|error| output.explain(&error))?;
    output.commit()?;
    let without = if args.with_server_key { "" } else { "; keep the server's key too" };
    print(format_args!("{}: {} rows, without objects{without}", file.display(), done.rows));
    Ok(ExitCode::SUCCESS)
}

pub fn restore(args: &RestoreArgs) -> Result<ExitCode> {
    let key = key(&args.key)?;
    let config = config(&args.config, None)?;
    let (location, name) = location(&config)?;
    let source = server_key(&config.data);
    let restored = runtime()?.block_on(async {
        let restored = store::restore(&args.file, &key, &location, &source).await?;
        restored.store.close().await;
        anyhow::Ok(restored)
    });
    let Restored { made_at, rows, log, .. } = restored?;
    print(format_args!("{name}: {rows} rows, as they were at {made_at:.0}"));
    match log {
        Chain::Whole { entries, head } => {
            print(format_args!(
                "log: {entries} entries, none changed or missing; last hash {head}"
            ));
            Ok(ExitCode::SUCCESS)
        }
        Chain::Broken { seq } => {
            eprintln!(
                "error: the log in the backup was changed: entry {seq} is not as it was written, or missing"
            );
            Ok(success(false))
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn key(args: &BackupKeyArgs) -> Result<BackupKey> {
    if let Some(path) = &args.key_file {
        return Ok(BackupKey::from_file(path)?);
    }
    match std::env::var("GARIM_BACKUP_KEY").map(Zeroizing::new) {
        Ok(text) if !text.is_empty() => BackupKey::from_text(&text).context("GARIM_BACKUP_KEY"),
        _ => bail!(
            "a backup needs a key: --key-file, which garim backup --new-key makes, or GARIM_BACKUP_KEY"
        ),
    }
}
