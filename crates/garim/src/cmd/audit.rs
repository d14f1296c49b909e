//! `garim audit`: the log of what concerns people.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use store::{Chain, Entry};

use super::people::Opened;
use super::{print, success};
use crate::cli::{AuditArgs, AuditCommand};

pub fn run(args: &AuditArgs) -> Result<ExitCode> {
    match &args.command {
        AuditCommand::List(common) => {
            let opened = Opened::there(&common.store)?;
            let mut last = 0;
            loop {
                let page = opened.run(opened.store.entries(last))?;
                let Some(end) = page.last() else { break };
                last = end.seq;
                page.iter().for_each(|entry| tell(entry, common.json));
            }
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Verify(store) => {
            let opened = Opened::there(store)?;
            match opened.run(opened.store.check_log())? {
                Chain::Whole { entries, head } => {
                    print(format_args!(
                        "{entries} entries, none changed or missing; last hash {head}"
                    ));
                    Ok(ExitCode::SUCCESS)
                }
                Chain::Broken { seq } => {
                    eprintln!(
                        "error: the log was changed: entry {seq} is not as it was written, or missing"
                    );
                    Ok(success(false))
                }
            }
        }
    }
}

fn tell(entry: &Entry, json: bool) {
    if json {
        let Entry { seq, at, actor, action, subject, detail } = entry;
        print(json!({
            "seq": seq, "at": at, "actor": actor, "action": action, "subject": subject, "detail": detail,
        }));
    } else {
        print(entry);
    }
}
