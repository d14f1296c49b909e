//! Covering a stored video, and publishing the result.

use std::collections::BTreeSet;

use domain::PersonId;
use jiff::Timestamp;
use pipeline::{Input, JobSpec, KeepSpec, RenderSpec, Report, Verdict};
use redact::{Published, Shape};
use serde_json::{Map, Value, json};
use store::{Error, NewVersion, ObjectPath, Scope, Version, VersionState, Video};

use super::{Attempt, Trouble, parts, recording};
use crate::child::Task;
use crate::work::{MosaicOptions, RecoverWork, RenderWork};

/// Names in the room and among the objects of a version.
pub const VIDEO: &str = "video.mp4";
pub const POSTER: &str = "poster.jpg";
const PLAN: &str = "plan.json";
const REPORT: &str = "report.json";

/// Finds faces in a video's original and covers them.
pub async fn mosaic(attempt: &Attempt) -> Result<(), Trouble> {
    let options: MosaicOptions = attempt.work()?;
    let video = attempt.video().await?;
    parts::cover(attempt, &video, &options).await
}

/// Covers somebody in a published video who does not agree any more: from the original, else by the plan on what
/// was published, else by covering everybody in that.
pub async fn recover(attempt: &Attempt) -> Result<(), Trouble> {
    let work: RecoverWork = attempt.work()?;
    let video = attempt.video().await?;
    let store = &attempt.service.store;
    let version = store.version(video.id, work.version).await?;
    if !matches!(version.state, VersionState::Withdrawn(..)) {
        // Another version took its place meanwhile.
        let result = json!({"video": video.id, "superseded": true});
        return Ok(store.complete(&attempt.fence, &result, Timestamp::now()).await?);
    }
    let options = options(&version)?;
    if video.has_original {
        return parts::cover(attempt, &video, &options).await;
    }
    let folder: ObjectPath = version.folder.parse()?;
    let path = attempt.fetch(&folder.join(VIDEO)?, "published.mp4").await?;
    let input = Input { path, sealed: None };
    match published(attempt, &version, &folder).await? {
        Some(published) => {
            cover_by_plan(attempt, &video, &version, input, &options, published).await
        }
        None => {
            let nobody = MosaicOptions { collection: None, people: Vec::new(), ..options };
            cover(attempt, &video, input, &nobody).await
        }
    }
}

/// How a version was made.
fn options(version: &Version) -> Result<MosaicOptions, Trouble> {
    serde_json::from_value(version.options.clone())
        .map_err(|e| Trouble::never("bad_work", format!("options of the version: {e}")))
}

/// Whether somebody agrees to be seen in videos, now.
pub async fn agrees(attempt: &Attempt, person: PersonId) -> Result<bool, Trouble> {
    let store = &attempt.service.store;
    Ok(store.standing(person, Scope::Videos, Timestamp::now()).await?.is_given())
}

/// What is needed to render the plan of an original on what was published of it; `None`: there is no plan.
async fn published(
    attempt: &Attempt,
    version: &Version,
    folder: &ObjectPath,
) -> Result<Option<Published>, Trouble> {
    let has = |name: &str| version.files.iter().any(|f| f.name == name);
    let Some(original_sha256) = version.plan_of.clone().filter(|_| has(PLAN) && has(REPORT)) else {
        return Ok(None);
    };
    let fetched = async {
        attempt.fetch(&folder.join(PLAN)?, "retained.json").await?;
        attempt.fetch(&folder.join(REPORT)?, "retained-report.json").await
    };
    let path = match fetched.await {
        // Somebody deleted them. Then nobody knows who is where.
        Err(Trouble::Failed { code: "not_found", .. }) => return Ok(None),
        fetched => fetched?,
    };
    let report: Report = serde_json::from_slice(&super::attempt::read(&path)?)
        .map_err(|e| Trouble::never("damaged", format!("the report of the version: {e}")))?;
    Ok(Some(Published { sha256: report.output.sha256, original_sha256 }))
}

/// Whoever was shown and does not agree any more is covered, by their tracks; nothing is looked at again.
async fn cover_by_plan(
    attempt: &Attempt,
    video: &Video,
    version: &Version,
    input: Input,
    options: &MosaicOptions,
    published: Published,
) -> Result<(), Trouble> {
    let store = &attempt.service.store;
    let mut cover_people = Vec::new();
    for person in store.shown(video.id, version.number).await? {
        if !agrees(attempt, person).await? {
            cover_people.push(person.to_string());
        }
    }
    let spec = RenderSpec {
        plan: attempt.room.file("retained.json"),
        cover_people,
        edited_plan: Some(attempt.room.file(PLAN)),
        published: Some(published.clone()),
        ..render_spec(attempt, input, options)
    };
    let report: Report = attempt.child(Task::Render(spec)).await?;
    let plan_of = Some(published.original_sha256);
    publish(attempt, video, options, plan_of, &report, &[], Map::new()).await
}

/// Renders a plan that a person has edited.
pub async fn render(attempt: &Attempt) -> Result<(), Trouble> {
    let work: RenderWork = attempt.work()?;
    let video = attempt.video().await?;
    let store = &attempt.service.store;
    let version = store.version(video.id, work.version).await?;
    let options = options(&version)?;
    let plan = attempt.fetch(&work.plan.parse()?, "edited.json").await?;
    let document = redact::PlanDocument::parse(&super::attempt::read(&plan)?)
        .map_err(|e| Trouble::never("bad_plan", e.to_string()))?;
    let mut cover_people = Vec::new();
    for name in document.people() {
        let agrees = match name.parse::<PersonId>() {
            Ok(person) => agrees(attempt, person).await?,
            Err(_) => false,
        };
        if !agrees {
            cover_people.push(name.clone());
        }
    }
    let input = attempt.original(&video, "render").await?;
    let spec = RenderSpec {
        plan,
        cover_people,
        edited_plan: Some(attempt.room.file(PLAN)),
        ..render_spec(attempt, input, &options)
    };
    let report: Report = attempt.child(Task::Render(spec)).await?;
    let plan_of = Some(report.input.sha256.clone());
    publish(attempt, &video, &options, plan_of, &report, &work.people, Map::new()).await
}

fn render_spec(attempt: &Attempt, input: Input, options: &MosaicOptions) -> RenderSpec {
    RenderSpec {
        input,
        still: false,
        plan: attempt.room.file(PLAN),
        output: attempt.room.file(VIDEO),
        poster: Some(attempt.room.file(POSTER)),
        preset: options.preset.name().to_owned(),
        crf: options.crf,
        to_8bit: options.to_8bit,
        smart: true,
        cover_people: Vec::new(),
        published: None,
        edited_plan: None,
    }
}

/// Looks for faces in `input`, covers all but those of who agrees, and publishes.
pub async fn cover(
    attempt: &Attempt,
    video: &Video,
    input: Input,
    options: &MosaicOptions,
) -> Result<(), Trouble> {
    let keep = kept(attempt, options).await?;
    let spec = JobSpec { keep, ..job_spec(attempt, input, options) };
    let report: Report = attempt.child(Task::Mosaic(spec)).await?;
    publish_covered(attempt, video, options, &report).await
}

/// What is to be done to cover everybody.
pub fn job_spec(attempt: &Attempt, input: Input, options: &MosaicOptions) -> JobSpec {
    JobSpec {
        input,
        still: false,
        output: Some(attempt.room.file(VIDEO)),
        plan: Some(attempt.room.file(PLAN)),
        poster: Some(attempt.room.file(POSTER)),
        contact_sheet: None,
        keep: Vec::new(),
        keep_threshold: options.keep_threshold,
        effect: options.effect.kind(),
        cells: options.cells,
        shape: Shape::default(),
        pad: None,
        speed: options.speed.into(),
        preset: options.preset.name().to_owned(),
        crf: options.crf,
        to_8bit: options.to_8bit,
        smart: true,
    }
}

/// Publishes what was covered of an original, or of all there is left of it.
pub async fn publish_covered(
    attempt: &Attempt,
    video: &Video,
    options: &MosaicOptions,
    report: &Report,
) -> Result<(), Trouble> {
    publish_recording(attempt, video, options, report, Map::new()).await
}

/// The same, with `told` in the result of the job.
pub async fn publish_recording(
    attempt: &Attempt,
    video: &Video,
    options: &MosaicOptions,
    report: &Report,
    told: Map<String, Value>,
) -> Result<(), Trouble> {
    let plan_of = Some(report.input.sha256.clone());
    publish(attempt, video, options, plan_of, report, &[], told).await
}

/// Whether all of these people agree to be seen in videos, now.
pub async fn agree(attempt: &Attempt, people: &[String]) -> Result<bool, Trouble> {
    for person in people {
        let person = person.parse().map_err(|_| Trouble::never("bad_plan", person.clone()))?;
        if !agrees(attempt, person).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The people to show who agree to it now, by their templates. In plans and reports they are called by their ids.
pub async fn kept(attempt: &Attempt, options: &MosaicOptions) -> Result<Vec<KeepSpec>, Trouble> {
    let store = &attempt.service.store;
    let owner = &attempt.job.owner;
    let mut people = Vec::new();
    if let Some(collection) = &options.collection {
        people.extend(attempt.members(collection).await?);
    }
    for person in &options.people {
        match store.person_of(owner, *person).await {
            Ok(person) => people.push(person),
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    people.sort_by_key(|p| p.id);
    people.dedup_by_key(|p| p.id);
    Ok(live::recognisable(store, &people, Scope::Videos, Timestamp::now()).await?)
}

/// Stores what the child made and publishes it; `by_hand` are shown besides those who were recognised, and `told` is for
/// the result of the job.
async fn publish(
    attempt: &Attempt,
    video: &Video,
    options: &MosaicOptions,
    plan_of: Option<String>,
    report: &Report,
    by_hand: &[PersonId],
    mut told: Map<String, Value>,
) -> Result<(), Trouble> {
    let mut shows = shown(report)?;
    shows.extend(by_hand);
    let folder = attempt.folder(video)?;
    let mut files = vec![attempt.store(&folder, VIDEO, true).await?];
    files.push(attempt.store(&folder, POSTER, true).await?);
    files.push(attempt.store(&folder, PLAN, false).await?);
    if attempt.service.store.is_recording(video.id).await? {
        files.extend(recording::archive_covered(attempt, &folder).await?);
    }
    let text = report.clone().renamed(VIDEO.as_ref(), Some(PLAN.as_ref()));
    let text = text.to_json().map_err(|e| Trouble::never("bad_answer", e.to_string()))?;
    // The last object, and by conditional create: it is there only when all others are.
    files.push(attempt.store_bytes(&folder, REPORT, text.into()).await?);
    let new = NewVersion {
        video: video.id,
        folder: folder.as_str().to_owned(),
        files,
        options: serde_json::to_value(options).unwrap_or(Value::Null),
        plan_of,
        shows: shows.into_iter().collect(),
    };
    told.extend([
        ("video".to_owned(), json!(video.id)),
        ("frames".to_owned(), json!(report.frames)),
        ("tracks".to_owned(), json!(report.tracks.len())),
        ("warnings".to_owned(), json!(report.warnings)),
    ]);
    put_out(attempt, &new, &told.into()).await
}

/// Publishes a version whose objects are stored, and ends the job.
pub async fn put_out(attempt: &Attempt, new: &NewVersion, result: &Value) -> Result<(), Trouble> {
    let store = &attempt.service.store;
    let now = Timestamp::now();
    let published = store.publish(&attempt.fence, new, result, &attempt.actor(), now).await;
    if published.is_err() {
        // Nobody refers to the objects. If this fails as well, they take room and are not public.
        let _ = store.discard_folder(&new.folder, now).await;
    }
    published?;
    Ok(())
}

/// Whom a finished file shows.
fn shown(report: &Report) -> Result<BTreeSet<PersonId>, Trouble> {
    let mut shows = BTreeSet::new();
    for track in &report.tracks {
        if let Verdict::Kept { person, .. } = &track.verdict {
            let id = person.parse().map_err(|_| {
                Trouble::never("bad_plan", format!("{person:?} is shown, who is nobody's id"))
            })?;
            shows.insert(id);
        }
    }
    Ok(shows)
}
