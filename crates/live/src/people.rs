//! Whom a broadcast may show.

use jiff::Timestamp;
use pipeline::{KeepSpec, KnownBy, Templates};
use store::{Error, Person, Scope, Store};

/// People that one channel shows, at most.
const MAX_PEOPLE: usize = 64;

/// What those of `people` are recognised by who agree to `scope`, now. They are called by their ids.
///
/// # Errors
/// Those of the store, but not that somebody does not agree.
pub async fn recognisable(
    store: &Store,
    people: &[Person],
    scope: Scope,
    now: Timestamp,
) -> Result<Vec<KeepSpec>, Error> {
    let mut known = Vec::new();
    for person in people {
        match store.to_keep(person, scope, now).await {
            Ok(templates) => {
                let numbers = templates.iter().map(|template| template.values().to_vec()).collect();
                let by = KnownBy::Templates(Templates(numbers));
                known.push(KeepSpec { name: person.id.to_string(), by });
            }
            Err(Error::NoConsent { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(known)
}

/// What those of a collection are recognised by who agree to be seen live, now. They are called by their ids. A
/// collection that is gone has nobody.
///
/// # Errors
/// When the database fails, or a template was changed.
pub(crate) async fn people_to_keep(
    store: &Store,
    owner: &str,
    collection: Option<&str>,
    now: Timestamp,
) -> Result<Vec<KeepSpec>, Error> {
    let Some(collection) = collection else { return Ok(Vec::new()) };
    let people = match store.people(Some(owner), Some(collection)).await {
        Err(Error::NotFound { .. }) => return Ok(Vec::new()),
        people => people?,
    };
    let mut keep = recognisable(store, &people, Scope::Live, now).await?;
    // Nobody can be known by nothing.
    keep.retain(
        |person| !matches!(&person.by, KnownBy::Templates(Templates(all)) if all.is_empty()),
    );
    keep.truncate(MAX_PEOPLE);
    Ok(keep)
}
