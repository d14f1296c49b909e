//! `--keep`: people by photos, or by the name of somebody who is enrolled.

use std::path::Path;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use pipeline::{KeepSpec, KnownBy, Report, Templates, Verdict};
use store::{Action, Error, Person, Scope};

use super::people::Opened;
use crate::cli::KeepArgs;
use crate::inputs;

/// The people who may be seen.
pub struct Keep {
    people: Vec<Kept>,
    store: Option<Opened>,
}

enum Kept {
    ByPhotos(KeepSpec),
    Enrolled(Person),
}

impl Keep {
    /// Finds the photos and the enrolled people that `args` name.
    pub fn find(args: &KeepArgs) -> Result<Self> {
        let mut keep = Self { people: Vec::new(), store: None };
        for given in &args.keep {
            let kept = if given.exists() {
                let name =
                    given.file_stem().unwrap_or(given.as_os_str()).to_string_lossy().into_owned();
                let by = KnownBy::Photos(inputs::photos(given)?);
                Kept::ByPhotos(KeepSpec { name, by })
            } else {
                Kept::Enrolled(keep.look_up(given, args)?)
            };
            keep.people.push(kept);
        }
        keep.specs()?; // Whoever does not agree is named before anything starts.
        Ok(keep)
    }

    fn look_up(&mut self, given: &Path, args: &KeepArgs) -> Result<Person> {
        let missing = || {
            format!(
                "{}: No such file or folder, and nobody of that name is enrolled",
                given.display()
            )
        };
        let store = match self.store.take() {
            Some(store) => store,
            None => Opened::existing(&args.store)?.with_context(missing)?,
        };
        let store = self.store.insert(store);
        let name = given.to_str().with_context(missing)?;
        match store.run(store.store.person(name)) {
            Err(Error::NotFound { .. }) => bail!(missing()),
            found => Ok(found?),
        }
    }

    fn enrolled(&self) -> impl Iterator<Item = &Person> {
        self.people.iter().filter_map(|kept| match kept {
            Kept::Enrolled(person) => Some(person),
            Kept::ByPhotos(_) => None,
        })
    }

    /// What a job is told, as of now: whoever withdrew consent meanwhile is an error.
    pub fn specs(&self) -> Result<Vec<KeepSpec>> {
        let spec = |kept: &Kept| match (kept, &self.store) {
            (Kept::ByPhotos(spec), _) => Ok(spec.clone()),
            (Kept::Enrolled(person), Some(opened)) => {
                let now = Timestamp::now();
                let templates = opened.run(opened.store.to_keep(person, Scope::Videos, now))?;
                let numbers = templates.iter().map(|t| t.values().to_vec()).collect();
                let by = KnownBy::Templates(Templates(numbers));
                Ok(KeepSpec { name: person.name.clone(), by })
            }
            (Kept::Enrolled(person), None) => bail!("{}: the database is closed", person.name),
        };
        self.people.iter().map(spec).collect()
    }

    /// A plan shows people whenever it is rendered, also after they withdrew consent.
    ///
    /// # Errors
    /// If anybody is kept who is enrolled.
    pub fn refuse_plan(&self) -> Result<()> {
        match self.enrolled().next() {
            Some(person) => bail!(
                "{}: is enrolled and may withdraw consent, but a plan would still show them; make the file without \
                 a plan (garim mosaic), or keep them by photos",
                person.name
            ),
            None => Ok(()),
        }
    }

    /// Logs which enrolled people a finished file shows. To be called before it gets its name: an error means
    /// that it must not get one.
    pub fn log_shown(&self, report: &Report, output: &Path) -> Result<()> {
        let Some(opened) = &self.store else { return Ok(()) };
        let store = &opened.store;
        for person in self.enrolled() {
            let now = Timestamp::now();
            let standing = opened.run(store.standing(person.id, Scope::Videos, now))?;
            if !standing.is_given() {
                bail!(
                    "{}: {standing} while the file was being covered; nothing was written",
                    person.name
                );
            }
            if shows(report, &person.name) {
                let id = person.id.to_string();
                let detail = format!("input {}, output {}", report.input.sha256, output.display());
                opened.run(store.log(&opened.actor, Action::Keep, &id, &detail, now))?;
            }
        }
        Ok(())
    }
}

fn shows(report: &Report, name: &str) -> bool {
    report
        .tracks
        .iter()
        .any(|track| matches!(&track.verdict, Verdict::Kept { person, .. } if person == name))
}
