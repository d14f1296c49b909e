//! `garim people`: who is enrolled.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use pipeline::{EnrolSpec, Examined, Refusal};
use serde_json::json;
use store::{
    Consent, Error, KeySource, Location, NewConsent, NewPerson, NewPhoto, Person, Scope, Standing,
    Store, Template,
};

use super::{INTERRUPTED, print, stop_flag, success};
use crate::child::{self, Ended, Task};
use crate::cli::{AddArgs, GivenArgs, PeopleArgs, PeopleCommand, StoreArgs, StoreOutArgs};
use crate::enrol::refuse_known;
use crate::inputs;

/// Largest photo that is read, in bytes.
const MAX_PHOTO: u64 = 32 << 20;

pub fn run(args: &PeopleArgs) -> Result<ExitCode> {
    match &args.command {
        PeopleCommand::Add(args) => add(args),
        PeopleCommand::List { user, collection, common } => {
            list(user.as_deref(), collection.as_deref(), common)
        }
        PeopleCommand::Show { person, common } => show(person, common),
        PeopleCommand::Remove { person, store } => {
            let opened = Opened::there(store)?;
            let person = opened.run(opened.store.person(person))?;
            let now = Timestamp::now();
            opened.run(opened.store.remove_person(person.id, &opened.actor, now))?;
            print(format_args!(
                "{} ({}) is removed: key, photos and templates are destroyed",
                person.name, person.id
            ));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The database, and the runtime that it needs.
pub struct Opened {
    runtime: tokio::runtime::Runtime,
    pub store: Store,
    /// Who is doing things, for the log.
    pub actor: String,
}

impl Opened {
    /// Opens the database, or makes it.
    pub fn new(args: &StoreArgs) -> Result<Self> {
        Self::open(&folder(args)?)
    }

    /// Opens the database that must be there: only enrolling somebody makes one.
    pub fn there(args: &StoreArgs) -> Result<Self> {
        let folder = folder(args)?;
        let none =
            || format!("{}: nobody was enrolled here yet: garim people add", folder.display());
        Self::existing(args)?.with_context(none)
    }

    /// Opens the database if there is one.
    pub fn existing(args: &StoreArgs) -> Result<Option<Self>> {
        let folder = folder(args)?;
        if folder.join("garim.db").exists() { Self::open(&folder).map(Some) } else { Ok(None) }
    }

    fn open(folder: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let location = Location::Folder(folder.to_owned());
        let store = runtime.block_on(Store::open(&location, &server_key(folder)));
        let store = store.with_context(|| folder.display().to_string())?;
        Ok(Self { runtime, store, actor: actor() })
    }

    /// Waits for an answer of the database.
    pub fn run<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.runtime.block_on(answer)
    }
}

fn folder(args: &StoreArgs) -> Result<PathBuf> {
    args.store.clone().map_or_else(default_folder, Ok)
}

/// Where the database is when nothing says another place.
pub fn default_folder() -> Result<PathBuf> {
    let set = std::env::var_os("GARIM_STORE").filter(|value| !value.is_empty());
    let default = || vision::models::fetch_dir().map(|dir| dir.join("store"));
    let folder = set.map(PathBuf::from).or_else(default);
    folder.context("no place for the database: set GARIM_STORE or HOME")
}

/// Where the server's key of the database in `folder` is.
pub fn server_key(folder: &Path) -> KeySource {
    match std::env::var("GARIM_SERVER_KEY") {
        Ok(key) if !key.is_empty() => KeySource::Given(key.into()),
        _ => KeySource::File(folder.join("server.key")),
    }
}

/// Who runs this command, for the log.
pub fn actor() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}

/// Consent as it was given on the command line.
pub fn consent(given: &GivenArgs) -> NewConsent {
    NewConsent {
        given_by: given.by.clone(),
        how: given.how.clone(),
        scope: given.scope.into(),
        expires_at: given.until,
    }
}

fn add(args: &AddArgs) -> Result<ExitCode> {
    let mut photos = Vec::new();
    for path in &args.photos {
        photos.extend(inputs::photos(path)?);
    }
    let opened = Opened::new(&args.common.store)?;
    let task = Task::Examine(EnrolSpec {
        photos: photos.iter().map(|photo| photo.as_path().into()).collect(),
    });
    let answers = match child::run(&task, &*stop_flag()?, &mut |_| {}) {
        Ok(answers) => answers,
        Err(Ended::Interrupted) => return Ok(ExitCode::from(INTERRUPTED)),
        Err(Ended::Failed(error) | Ended::Died(error)) => return Err(error),
    };
    let mut answers: Vec<Examined> = serde_json::from_value(answers)?;
    if answers.len() != photos.len() {
        bail!("{} of {} photos were looked at", answers.len(), photos.len());
    }
    let known = opened.run(opened.store.enrolled(&args.user, &args.collection))?;
    for (photo, answer) in photos.iter().zip(&mut answers) {
        refuse_known(&photo.display().to_string(), answer, &known)?;
    }
    let refused: Vec<&Refusal> = answers.iter().filter_map(refusal).collect();
    if !refused.is_empty() {
        return Ok(tell_refused(&refused, photos.len(), args.common.json));
    }
    let mut enrolled = Vec::new();
    for (path, answer) in photos.iter().zip(answers) {
        let Examined::Good(templates) = answer else { continue };
        for values in templates.0.clone() {
            enrolled.push(NewPhoto { picture: read(path)?, template: Template::new(values) });
        }
    }
    let new = NewPerson {
        owner: args.user.clone(),
        collection: args.collection.clone(),
        name: args.name.clone(),
        photos: enrolled,
        consent: consent(&args.consent),
    };
    let id = opened.run(opened.store.add_person(&new, &opened.actor, Timestamp::now()))?;
    let count = new.photos.len();
    if args.common.json {
        print(
            json!({"event": "enrolled", "id": id, "name": new.name, "collection": new.collection, "photos": count}),
        );
    } else {
        print(format_args!(
            "{} ({id}) is enrolled by {count} photos; garim mosaic --keep {:?} shows them",
            new.name, new.name
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let name = || path.display().to_string();
    if std::fs::metadata(path).with_context(name)?.len() > MAX_PHOTO {
        bail!("{}: is larger than {} MiB", path.display(), MAX_PHOTO >> 20);
    }
    std::fs::read(path).with_context(name)
}

fn refusal(answer: &Examined) -> Option<&Refusal> {
    match answer {
        Examined::Refused(refusal) => Some(refusal),
        Examined::Good(_) => None,
    }
}

fn tell_refused(refused: &[&Refusal], photos: usize, json: bool) -> ExitCode {
    for Refusal { code, message } in refused {
        if json {
            print(json!({"event": "refused", "code": code, "message": message}));
        }
        eprintln!("error: {message} [{}]", json!(code).as_str().unwrap_or_default());
    }
    eprintln!("nobody was enrolled: {} of {photos} photos do not do", refused.len());
    success(false)
}

fn list(user: Option<&str>, collection: Option<&str>, common: &StoreOutArgs) -> Result<ExitCode> {
    let opened = Opened::there(&common.store)?;
    let people = opened.run(opened.store.people(user, collection))?;
    for person in &people {
        let consents = opened.run(opened.store.consents(person.id))?;
        tell(person, &consents, common.json);
    }
    if people.is_empty() && !common.json {
        eprintln!("nobody is enrolled");
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(person: &Person, consents: &[Consent], json: bool) {
    let now = Timestamp::now();
    let videos = Standing::of(consents, Scope::Videos, now);
    let live = Standing::of(consents, Scope::Live, now);
    let Person { id, owner, collection, name, photos, created_at } = person;
    if json {
        print(json!({
            "id": id, "name": name, "user": owner, "collection": collection, "photos": photos, "enrolled_at": created_at,
            "kept_in": {"videos": videos.is_given(), "live": live.is_given()},
        }));
    } else {
        print(format_args!(
            "{id}  {name} ({owner}/{collection}), {photos} photos; videos: {videos}; live: {live}"
        ));
    }
}

fn show(name: &str, common: &StoreOutArgs) -> Result<ExitCode> {
    let opened = Opened::there(&common.store)?;
    let person = opened.run(opened.store.person(name))?;
    let consents = opened.run(opened.store.consents(person.id))?;
    tell(&person, &consents, common.json);
    for consent in &consents {
        super::consent::tell(&person, consent, common.json);
    }
    Ok(ExitCode::SUCCESS)
}
