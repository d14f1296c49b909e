//! What enrolling and recognising have in common on the command line, over HTTP, and in jobs.

use anyhow::{Context, Result};
use jiff::Timestamp;
use pipeline::{Examined, KeepSpec, KnownBy, Reason, Refusal, Templates};
use store::{Error, Person, Scope, Store};
use vision::Embedding;

/// Refuses a photo, called `photo`, of somebody who is enrolled already: one of `known`.
///
/// # Errors
/// A template that is none of this model's.
pub fn refuse_known(photo: &str, answer: &mut Examined, known: &[store::Face]) -> Result<()> {
    let Examined::Good(templates) = answer else { return Ok(()) };
    for values in &templates.0 {
        let face = embedding(values)?;
        for other in known {
            let similarity = face.cosine(&embedding(other.template.values())?);
            if similarity >= vision::identify::Rules::default().threshold {
                let message = format!(
                    "{photo}: looks like {} ({}), who is enrolled already (similarity {similarity:.2})",
                    other.name, other.person
                );
                *answer = Examined::Refused(Refusal { code: Reason::NearDuplicate, message });
                return Ok(());
            }
        }
    }
    Ok(())
}

fn embedding(values: &[f32]) -> Result<Embedding> {
    values.try_into().ok().and_then(Embedding::new).context("a template is none of this model's")
}

/// What those of `people` are recognised by who agree to that in stored videos, now. They are called by their ids.
///
/// # Errors
/// Those of the store, but not that somebody does not agree.
pub async fn recognisable(store: &Store, people: &[Person]) -> Result<Vec<KeepSpec>, Error> {
    let mut known = Vec::new();
    for person in people {
        match store.to_keep(person, Scope::Videos, Timestamp::now()).await {
            Ok(templates) => {
                let numbers = templates.iter().map(|t| t.values().to_vec()).collect();
                let by = KnownBy::Templates(Templates(numbers));
                known.push(KeepSpec { name: person.id.to_string(), by });
            }
            Err(Error::NoConsent { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(known)
}
