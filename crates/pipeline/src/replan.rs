//! Rendering by a plan that was written earlier, and perhaps edited since. Nothing is looked at
//! again.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use media::{EncodeSettings, MediaError};
use redact::{Edit, MAX_BYTES, PlanDocument, PlanError, Published};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vision::track::Followed;

use crate::analyse::Analysed;
use crate::input::sha256;
use crate::job::{Teller, hex, write_json};
use crate::render::{Order, Rendered, render};
use crate::report::{ByHand, FileHash, Report, Times};
use crate::{Input, JobError, Phase, Progress, photo, recover};

/// Everything that rendering by a plan needs to know. `output` is a temporary name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenderSpec {
    /// The video or photo that was analysed.
    pub input: Input,
    /// Whether `input` is a still picture.
    pub still: bool,
    /// The plan.
    pub plan: PathBuf,
    /// Where to write the covered file.
    pub output: PathBuf,
    /// Where to write a JPEG of one covered frame that stands for the video.
    #[serde(default)]
    pub poster: Option<PathBuf>,
    /// x264 preset.
    pub preset: String,
    /// x264 constant rate factor.
    pub crf: f32,
    /// Convert deeper samples to 8 bits instead of refusing them.
    pub to_8bit: bool,
    /// Copy groups of pictures that need no cover instead of encoding them again.
    pub smart: bool,
    /// People, by their names in the plan, who are covered whatever the plan says of them: see
    /// [`PlanDocument::cover_people`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cover_people: Vec<String>,
    /// `input` is not what was analysed, but the video or photo that was published of it, and this was
    /// written down when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
    /// Where to write the plan as it was rendered, people who are to be covered edited into it. It is of the
    /// original still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_plan: Option<PathBuf>,
}

/// Covers `spec.input` as its plan says. `emit` gets the progress.
///
/// # Errors
/// A plan that is malformed or of another input; any failure of rendering. What was written so far
/// is incomplete and must not be used.
pub fn render_plan(spec: &RenderSpec, emit: &mut dyn FnMut(Progress)) -> Result<Report, JobError> {
    let started = Instant::now();
    spec.input.refuse_playlist()?;
    let refused = |why: PlanError| JobError::Plan { path: spec.plan.clone(), why };
    let bytes = read(&spec.plan)?;
    let plan_sha256 = hex(Sha256::new_with_prefix(&bytes));
    let mut document = PlanDocument::parse(&bytes).map_err(refused)?;
    drop(bytes); // Up to a GiB.
    document.cover_people(&spec.cover_people);
    let input = FileHash { path: spec.input.path.clone(), sha256: spec.input.sha256()? };
    let plan = recover::plan(spec, &document, &input.sha256, refused)?;

    let rendered = if spec.still {
        photo::render(photo::read(&spec.input)?, &plan, &spec.output, spec.poster.as_deref())?;
        emit(Progress { phase: Phase::Render, frames: 1, total: Some(1) });
        Rendered { frames: 1, ..Rendered::default() }
    } else {
        let settings = EncodeSettings { preset: spec.preset.clone(), crf: spec.crf };
        let mut told = Teller::new(Phase::Render, Some(plan.len() as u64));
        let order = Order {
            input: &spec.input,
            to_8bit: spec.to_8bit,
            plan: &plan,
            settings: &settings,
            smart: spec.smart,
            not_copied: None, // Then the plan has no groups.
            output: &spec.output,
            poster: spec.poster.as_deref(),
        };
        render(&order, None, None, &mut |n| told.tell(n, emit))?
    };

    let analysed = Analysed {
        shown: plan.shown().to_vec(),
        plan,
        followed: Followed { tracks: document.tracks(), dropped: Vec::new() },
        times: document.times(),
        cuts: Vec::new(),
        not_copied: None,
        stats: rendered.stats,
        kept: None,
    };
    if let Some(path) = &spec.edited_plan {
        write_json(path, &document)?;
    }
    let output = FileHash { path: spec.output.clone(), sha256: sha256(&spec.output)? };
    let plan = Some(FileHash { path: spec.plan.clone(), sha256: plan_sha256 });
    let times = Times { render: started.elapsed(), ..Times::default() };
    let (people, models) = (document.people(), document.models().to_vec());
    let report = Report::new(&analysed, &rendered, &people, &input, output, plan, models, &times);
    Ok(with_edits(report, &document))
}

/// Says in a report what people decided.
fn with_edits(mut report: Report, document: &PlanDocument) -> Report {
    let mut by_hand = ByHand { areas: document.manual_areas() as u64, ..ByHand::default() };
    for (id, edit) in document.edits() {
        match edit {
            Edit::Keep => by_hand.kept += 1,
            Edit::Cover => by_hand.covered += 1,
        }
        // They are in the same order.
        if let Ok(at) = report.tracks.binary_search_by_key(&id, |track| track.id)
            && let Some(track) = report.tracks.get_mut(at)
        {
            track.edit = Some(edit);
        }
    }
    report.by_hand = Some(by_hand);
    report
}

/// The bytes of a plan, or more than any plan has.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, JobError> {
    let input = |e: std::io::Error| MediaError::Input { path: path.to_owned(), why: e.to_string() };
    let mut bytes = Vec::new();
    // One byte more than allowed tells that it is too long.
    let file = File::open(path).map_err(input)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(input)?;
    Ok(bytes)
}
