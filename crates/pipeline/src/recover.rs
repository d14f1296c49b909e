//! A published video is covered again, because somebody who is shown in it withdrew their consent and the
//! original is gone.
//!
//! What is left is the published video, whose frames and time stamps are the original's, and the plan,
//! which says where that person is. Everybody whom the plan covered is covered in it already, and again
//! where its groups of pictures are encoded anew; who else was shown stays shown.

use media::{Reader, Streams};
use redact::{PlanDocument, PlanError, Published, RedactionPlan};

use crate::{JobError, RenderSpec};

/// The plan by which `spec.input` is rendered. `input_sha256` is its hash; `refused` names the document.
///
/// # Errors
/// The plan is not this input's; a published video that cannot be read.
pub(crate) fn plan(
    spec: &RenderSpec,
    document: &PlanDocument,
    input_sha256: &str,
    refused: impl Fn(PlanError) -> JobError,
) -> Result<RedactionPlan, JobError> {
    let Some(published) = &spec.published else {
        return document.for_input(input_sha256).map_err(refused);
    };
    if spec.still {
        return for_photo(document, published, input_sha256).map_err(refused);
    }
    let reader = Reader::open(spec.input.open()?, Streams::Video, spec.to_8bit)?;
    let base = Some(reader.info().video.time_base);
    // Where packets cannot be copied at all, everything is encoded.
    let gops = if spec.smart { reader.index()?.unwrap_or_default() } else { Vec::new() };
    document.for_published(published, input_sha256, base, &gops).map_err(refused)
}

/// A photo's one frame has the same time in every file.
fn for_photo(
    document: &PlanDocument,
    published: &Published,
    sha256: &str,
) -> Result<RedactionPlan, PlanError> {
    let base = document.times().first().map(|pts| pts.base);
    document.for_published(published, sha256, base, &[])
}
