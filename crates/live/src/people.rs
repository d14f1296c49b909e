//! Whom a broadcast may show.

use jiff::Timestamp;
use pipeline::{KeepSpec, KnownBy, Templates};
use store::{Error, Scope, Store};

/// People that one channel shows, at most.
const MAX_PEOPLE: usize = 64;

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
    let mut keep = Vec::new();
    for person in people {
        match store.to_keep(&person, Scope::Live, now).await {
            Ok(templates) if !templates.is_empty() => {
                let numbers = templates.iter().map(|template| template.values().to_vec()).collect();
                let by = KnownBy::Templates(Templates(numbers));
                keep.push(KeepSpec { name: person.id.to_string(), by });
            }
            Ok(_) | Err(Error::NoConsent { .. }) => {}
            Err(error) => return Err(error),
        }
        if keep.len() == MAX_PEOPLE {
            break;
        }
    }
    Ok(keep)
}
