//! `garim key`: API keys of the server, made on its own machine.

use std::process::ExitCode;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::json;
use store::{ApiKey, NewKey, Store};

use super::people::actor;
use super::print;
use super::serve::{config, open};
use crate::cli::{ConfigArgs, CreateKeyArgs, KeyArgs, KeyCommand};

/// Keys read at once.
const PAGE: u32 = 500;

pub fn run(args: &KeyArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &args.command {
            KeyCommand::Create(args) => create(args).await,
            KeyCommand::List { user, json, config } => list(user.as_deref(), *json, config).await,
            KeyCommand::Revoke { id, config } => revoke(id, config).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn opened(args: &ConfigArgs) -> Result<Store> {
    open(&config(args, None)?).await
}

async fn create(args: &CreateKeyArgs) -> Result<()> {
    let store = opened(&args.config).await?;
    let CreateKeyArgs { user, scope, label, until, .. } = args;
    let new = NewKey {
        owner: user.clone(),
        scopes: scope.clone(),
        label: label.clone(),
        expires_at: *until,
    };
    let (key, secret) = store.create_key(&new, &actor(), Timestamp::now()).await?;
    eprintln!("key {} of {user}; it is not shown again:", key.id);
    print(secret.reveal());
    Ok(())
}

async fn list(user: Option<&str>, json: bool, args: &ConfigArgs) -> Result<()> {
    let store = opened(args).await?;
    let mut last = None;
    loop {
        let page = store.keys(user, last, PAGE).await?;
        let Some(end) = page.last() else { return Ok(()) };
        last = Some(end.id);
        page.iter().for_each(|key| tell(key, json));
    }
}

fn tell(key: &ApiKey, json: bool) {
    let ApiKey { id, owner, scopes, label, created_at, expires_at, revoked_at } = key;
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
    if json {
        print(json!({
            "id": id, "user": owner, "scopes": scopes, "label": label, "created_at": created_at,
            "expires_at": expires_at, "revoked_at": revoked_at,
        }));
        return;
    }
    let end = expires_at.map_or(String::new(), |end| format!(", until {end:.0}"));
    let over = revoked_at.map_or(String::new(), |at| format!(", revoked {at:.0}"));
    let label = if label.is_empty() { String::new() } else { format!(" ({label})") };
    print(format_args!(
        "{id}  {owner}{label}: {}, made {created_at:.0}{end}{over}",
        scopes.join(",")
    ));
}

async fn revoke(id: &str, args: &ConfigArgs) -> Result<()> {
    let id = id.parse().with_context(|| format!("{id:?} is no id of a key: garim key list"))?;
    opened(args).await?.revoke_key(id, &actor(), Timestamp::now()).await?;
    print(format_args!("{id} is revoked"));
    Ok(())
}
