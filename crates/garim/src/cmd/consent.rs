//! `garim consent`: who agreed to be seen.

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;
use store::{Consent, Person};

use super::people::{self, Opened};
use super::print;
use crate::cli::{ConsentArgs, ConsentCommand, StoreOutArgs};

pub fn run(args: &ConsentArgs) -> Result<ExitCode> {
    match &args.command {
        ConsentCommand::Grant { person, consent, store } => {
            let opened = Opened::there(store)?;
            let person = opened.run(opened.store.person(person))?;
            let (new, now) = (people::consent(consent), Timestamp::now());
            let id = opened.run(opened.store.grant(person.id, &new, &opened.actor, now))?;
            print(format_args!("{}: consent {id} is recorded", person.name));
        }
        ConsentCommand::Withdraw { person, by, store } => {
            let opened = Opened::there(store)?;
            let person = opened.run(opened.store.person(person))?;
            let now = Timestamp::now();
            let count = opened.run(opened.store.withdraw(person.id, by, &opened.actor, now))?;
            let name = &person.name;
            if count == 0 {
                print(format_args!("{name}: there was no consent to withdraw"));
            } else {
                print(format_args!(
                    "{name} is covered from now on; what a server published is taken back, other files still show them"
                ));
            }
        }
        ConsentCommand::List { person, common } => list(person.as_deref(), common)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(person: Option<&str>, common: &StoreOutArgs) -> Result<()> {
    let opened = Opened::there(&common.store)?;
    let people = match person {
        Some(name) => vec![opened.run(opened.store.person(name))?],
        None => opened.run(opened.store.people(None, None))?,
    };
    for person in &people {
        for consent in opened.run(opened.store.consents(person.id))? {
            tell(person, &consent, common.json);
        }
    }
    Ok(())
}

/// Prints one record.
pub fn tell(person: &Person, consent: &Consent, json: bool) {
    let Consent { id, given_by, how, scope, given_at, expires_at, withdrawn, .. } = consent;
    let scope = scope.name();
    if json {
        let withdrawn = withdrawn.as_ref().map(|(at, by)| json!({"at": at, "by": by}));
        print(json!({
            "id": id, "person": person.id, "given_by": given_by, "how": how, "scope": scope,
            "given_at": given_at, "expires_at": expires_at, "withdrawn": withdrawn,
        }));
        return;
    }
    let end = expires_at.map_or(String::new(), |end| format!(", until {end:.0}"));
    let over =
        withdrawn.as_ref().map_or(String::new(), |(at, by)| format!(", withdrawn {at:.0} by {by}"));
    print(format_args!(
        "{id}  {}: {scope}, given {given_at:.0} by {given_by} ({how}){end}{over}",
        person.name
    ));
}
