//! What enrolling has in common on the command line, over HTTP, and in jobs.

use anyhow::{Context, Result};
use pipeline::{Examined, Reason, Refusal};
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
