//! Covering a long video in parts: one job splits it, and puts together what others did.
//!
//! ```text
//! mosaic: split -> waits -> plan -> waits -> join, publish
//!                  analyse_part *       render_part *
//! ```
//!
//! Each arrow is a transaction; whoever dies in between does its step again. What goes from step to step is sealed
//! with the key of the original, in a folder that goes with the job.

use jiff::Timestamp;
use pipeline::{
    Input, JobSpec, KeepSpec, PartRendered, PartSpec, SealTo, SeenParts, Step, Stepped,
};
use sealed::Sealed;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Job, Kind, ObjectPath, State, Video, parts_folder};
use uuid::Uuid;

use super::{Attempt, Trouble, cover};
use crate::child::Task;
use crate::service::{ORIGINAL, Original};
use crate::work::MosaicOptions;

/// Something that a step made for another.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Made {
    /// Its object.
    object: String,
    /// What it was sealed as.
    context: String,
    /// Bytes of plaintext.
    len: u64,
}

/// Where a job is that was split; its parts have done what is next.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
enum Stage {
    /// All parts were looked at.
    Analysed(Cut),
    /// All parts were covered.
    Rendered {
        #[serde(flatten)]
        cut: Cut,
        /// At which claim the parts were made that looked.
        analysed: i64,
        plan: Made,
        /// Who may be shown by the plan.
        people: Vec<String>,
    },
}

/// How a video was cut.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cut {
    /// Which original it was.
    source: String,
    split: Made,
    parts: usize,
}

/// What a part is told to do.
#[derive(Debug, Serialize, Deserialize)]
struct PartWork {
    options: MosaicOptions,
    cut: Cut,
    part: usize,
    /// To cover it by; `None`: it is only looked at.
    plan: Option<Made>,
}

/// What came of a part.
#[derive(Debug, Serialize, Deserialize)]
struct PartDone {
    /// Why the whole has to be done by one.
    whole: Option<String>,
    made: Option<Made>,
    seconds: f64,
    rendered: PartRendered,
}

/// Goes on with covering a video, from wherever the job is.
pub async fn cover(
    attempt: &Attempt,
    video: &Video,
    options: &MosaicOptions,
) -> Result<(), Trouble> {
    let Some((round, stage)) = &attempt.job.stage else {
        return split(attempt, video, options).await;
    };
    let stage = Stage::deserialize(stage)
        .map_err(|e| Trouble::never("bad_work", format!("where the job is: {e}")))?;
    match stage {
        Stage::Analysed(cut) => plan(attempt, video, options, cut, *round).await,
        Stage::Rendered { cut, analysed, plan: made, people } => {
            if cover::agree(attempt, &people).await? {
                join(
                    attempt,
                    video,
                    options,
                    Rendered { cut, analysed, plan: made, people },
                    *round,
                )
                .await
            } else {
                // Somebody withdrew. What was seen is still good.
                plan(attempt, video, options, cut, analysed).await
            }
        }
    }
}

/// Splits a video if it is long; covers one that is not.
async fn split(attempt: &Attempt, video: &Video, options: &MosaicOptions) -> Result<(), Trouble> {
    let original = original(attempt, video).await?;
    let seconds = attempt.part_seconds;
    if seconds == 0 || duration(video).is_some_and(|length| length < 2.0 * f64::from(seconds)) {
        return cover::cover(attempt, video, original.input, options).await;
    }
    let output = seal_to(attempt, video, "split", "how it is cut").await?;
    let step = Step::Split { seconds, output: output.clone() };
    let (parts, len) = match run(attempt, options, &original.input, Vec::new(), step).await? {
        Stepped::Split { parts, len } => (parts, len),
        other => return by_one(attempt, video, original.input, options, why(other)).await,
    };
    let split = store(attempt, &output, len).await?;
    let cut = Cut { source: original.source, split, parts };
    let stage = Stage::Analysed(cut.clone());
    send_out(attempt, Kind::AnalysePart, options, &cut, None, &stage).await
}

/// Seconds that a video lasts, if somebody asked already.
fn duration(video: &Video) -> Option<f64> {
    video.info.as_ref()?.get("duration")?.as_f64()
}

/// Plans by what all parts saw, and has them covered.
async fn plan(
    attempt: &Attempt,
    video: &Video,
    options: &MosaicOptions,
    cut: Cut,
    analysed: i64,
) -> Result<(), Trouble> {
    let done = done(attempt, analysed).await?;
    if let Some(why) = done.iter().find_map(|part| part.whole.clone()) {
        return alone(attempt, video, options, why).await;
    }
    let people: Vec<String> =
        cover::kept(attempt, options).await?.into_iter().map(|person| person.name).collect();
    let seen = seen(attempt, video, &cut, &done, people.clone()).await?;
    let output = seal_to(attempt, video, "plan", "plan").await?;
    let step = Step::Plan { seen, output: output.clone() };
    let len = match run(attempt, options, &unread(attempt), Vec::new(), step).await? {
        Stepped::Planned { len } => len,
        other => return alone(attempt, video, options, why(other)).await,
    };
    let plan = store(attempt, &output, len).await?;
    let stage = Stage::Rendered { cut: cut.clone(), analysed, plan: plan.clone(), people };
    send_out(attempt, Kind::RenderPart, options, &cut, Some(plan), &stage).await
}

/// What is there when all parts are covered.
struct Rendered {
    cut: Cut,
    analysed: i64,
    plan: Made,
    people: Vec<String>,
}

/// Puts the file together, and publishes it.
async fn join(
    attempt: &Attempt,
    video: &Video,
    options: &MosaicOptions,
    Rendered { cut, analysed, plan, people }: Rendered,
    round: i64,
) -> Result<(), Trouble> {
    let parts = done(attempt, round).await?;
    if let Some(why) = parts.iter().find_map(|part| part.whole.clone()) {
        return alone(attempt, video, options, why).await;
    }
    let original = same_original(attempt, video, &cut).await?;
    let seen = seen(attempt, video, &cut, &done(attempt, analysed).await?, people).await?;
    let plan = fetch(attempt, video, &plan, "plan-of-parts").await?;
    let (mut chunks, mut rendered) = (Vec::new(), PartRendered::default());
    for (at, part) in parts.iter().enumerate() {
        chunks.push(match &part.made {
            Some(made) => Some(fetch(attempt, video, made, &format!("chunk-{at}")).await?),
            None => None,
        });
        rendered.frames += part.rendered.frames;
        rendered.distrusted += part.rendered.distrusted;
        rendered.seconds += part.rendered.seconds;
    }
    let step = Step::Join { seen, plan, chunks, rendered };
    match run(attempt, options, &original, Vec::new(), step).await? {
        Stepped::Joined(report) => cover::publish_covered(attempt, video, options, &report).await,
        other => by_one(attempt, video, original, options, why(other)).await,
    }
}

/// Does one part: of a video, and of the job that was split.
pub async fn part(attempt: &Attempt) -> Result<(), Trouble> {
    let PartWork { options, cut, part, plan } = attempt.work()?;
    let video = attempt.video().await?;
    let original = same_original(attempt, &video, &cut).await?;
    let split = fetch(attempt, &video, &cut.split, "split").await?;
    let name = if plan.is_some() { "chunk" } else { "seen" };
    let output = seal_to(attempt, &video, name, &format!("{name} {part}")).await?;
    let (step, keep) = match &plan {
        None => {
            let keep = cover::kept(attempt, &options).await?;
            (Step::Analyse { split, part, output: output.clone() }, keep)
        }
        Some(plan) => {
            let plan = fetch(attempt, &video, plan, "plan-of-parts").await?;
            (Step::Render { split, plan, part, output: output.clone() }, Vec::new())
        }
    };
    let stepped = run(attempt, &options, &original, keep, step).await?;
    let (whole, len, seconds, rendered) = match stepped {
        Stepped::Analysed { len, seconds } => (None, Some(len), seconds, PartRendered::default()),
        Stepped::Rendered { len, rendered } => (None, len, rendered.seconds, rendered),
        other => (Some(why(other)), None, 0.0, PartRendered::default()),
    };
    let made = match len {
        Some(len) => Some(store(attempt, &output, len).await?),
        None => None,
    };
    let result = json(&PartDone { whole, made: made.clone(), seconds, rendered })?;
    let ended = attempt.service.store.complete(&attempt.fence, &result, Timestamp::now()).await;
    if let (Err(_), Some(made)) = (&ended, &made) {
        // Nobody will ask for it. If this fails as well, it takes room until the video goes, sealed.
        let _ = attempt.service.objects.delete(&made.object.parse()?).await;
    }
    Ok(ended?)
}

/// Has parts done, and waits for them.
async fn send_out(
    attempt: &Attempt,
    kind: Kind,
    options: &MosaicOptions,
    cut: &Cut,
    plan: Option<Made>,
    stage: &Stage,
) -> Result<(), Trouble> {
    let work = |part| {
        let (options, cut, plan) = (options.clone(), cut.clone(), plan.clone());
        Ok((kind, json(&PartWork { options, cut, part, plan })?))
    };
    let parts = (0..cut.parts).map(work).collect::<Result<Vec<_>, Trouble>>()?;
    let store = &attempt.service.store;
    store.split(&attempt.fence, &json(stage)?, &parts, Timestamp::now()).await?;
    tracing::info!(job = %attempt.job.id, parts = cut.parts, kind = kind.name(), "job split");
    Ok(())
}

/// What the parts say that were made at a claim, in order.
async fn done(attempt: &Attempt, round: i64) -> Result<Vec<PartDone>, Trouble> {
    let parts = attempt.service.store.parts(attempt.job.id, round).await?;
    let bad = |what: String| Trouble::never("bad_answer", format!("a part of the job: {what}"));
    let mut done = Vec::new();
    for Job { work, state, .. } in parts {
        let work: PartWork = serde_json::from_value(work).map_err(|e| bad(e.to_string()))?;
        let State::Done(result) = state else { return Err(bad("is not done".to_owned())) };
        let result: PartDone = serde_json::from_value(result).map_err(|e| bad(e.to_string()))?;
        done.push((work.part, result));
    }
    done.sort_by_key(|(part, _)| *part);
    Ok(done.into_iter().map(|(_, done)| done).collect())
}

/// What all parts saw, in the room.
async fn seen(
    attempt: &Attempt,
    video: &Video,
    cut: &Cut,
    done: &[PartDone],
    people: Vec<String>,
) -> Result<SeenParts, Trouble> {
    let split = fetch(attempt, video, &cut.split, "split").await?;
    let mut parts = Vec::new();
    for (at, part) in done.iter().enumerate() {
        let none = || Trouble::never("bad_answer", "a part of the job made nothing");
        let made = part.made.as_ref().ok_or_else(none)?;
        parts.push(fetch(attempt, video, made, &format!("seen-{at}")).await?);
    }
    let seconds = done.iter().map(|part| part.seconds).sum();
    Ok(SeenParts { split, parts, people, seconds })
}

/// Has a child do a step.
async fn run(
    attempt: &Attempt,
    options: &MosaicOptions,
    input: &Input,
    keep: Vec<KeepSpec>,
    step: Step,
) -> Result<Stepped, Trouble> {
    let job = JobSpec { keep, ..cover::job_spec(attempt, input.clone(), options) };
    attempt.child(Task::Part(Box::new(PartSpec { job, step }))).await
}

/// The original's name, for a step that does not read it.
fn unread(attempt: &Attempt) -> Input {
    Input { path: attempt.room.file(ORIGINAL), sealed: None }
}

/// Brings the original into the room; the log says what for.
async fn original(attempt: &Attempt, video: &Video) -> Result<Original, Trouble> {
    attempt.shared_original(video, attempt.job.kind.name()).await
}

/// The original, if it is the one that was cut.
async fn same_original(attempt: &Attempt, video: &Video, cut: &Cut) -> Result<Input, Trouble> {
    let Original { input, source } = original(attempt, video).await?;
    if source == cut.source {
        return Ok(input);
    }
    Err(Trouble::never("original_changed", "the original was replaced while it was covered"))
}

fn why(stepped: Stepped) -> String {
    match stepped {
        Stepped::Whole { why } => why,
        other => format!("a step was answered with {other:?}"),
    }
}

/// Covers a video without splitting it, for the reason that a step gave.
async fn by_one(
    attempt: &Attempt,
    video: &Video,
    input: Input,
    options: &MosaicOptions,
    why: String,
) -> Result<(), Trouble> {
    tracing::info!(job = %attempt.job.id, why, "covered by one");
    cover::cover(attempt, video, input, options).await
}

/// The same where the original is not at hand.
async fn alone(
    attempt: &Attempt,
    video: &Video,
    options: &MosaicOptions,
    why: String,
) -> Result<(), Trouble> {
    let Original { input, .. } = original(attempt, video).await?;
    by_one(attempt, video, input, options, why).await
}

/// Where a child writes something for another step. `what` it is goes into its seal, with the job.
async fn seal_to(
    attempt: &Attempt,
    video: &Video,
    name: &str,
    what: &str,
) -> Result<SealTo, Trouble> {
    let key = attempt.service.store.original_key(&attempt.job.owner, video.id).await?;
    let context = format!("{what} of {} of {}", attempt.job.id, video.id);
    Ok(SealTo { path: attempt.room.file(&format!("new-{name}")), key, context })
}

/// Stores what a child wrote.
async fn store(attempt: &Attempt, from: &SealTo, len: u64) -> Result<Made, Trouble> {
    attempt.go_on()?;
    let whole = attempt.job.part_of.unwrap_or(attempt.job.id);
    let object = format!("{}/{}", parts_folder(whole), Uuid::now_v7());
    let path: ObjectPath = object.parse()?;
    attempt.service.objects.put_file(&path, &from.path).await?;
    Ok(Made { object, context: from.context.clone(), len })
}

/// Brings what another step made into the room.
async fn fetch(
    attempt: &Attempt,
    video: &Video,
    made: &Made,
    name: &str,
) -> Result<Input, Trouble> {
    attempt.go_on()?;
    let path = attempt.fetch(&made.object.parse()?, name).await?;
    let key = attempt.service.store.original_key(&attempt.job.owner, video.id).await?;
    let sealed = Sealed { key, context: made.context.clone(), len: made.len };
    Ok(Input { path, sealed: Some(sealed) })
}

fn json(value: &impl Serialize) -> Result<Value, Trouble> {
    serde_json::to_value(value).map_err(|e| Trouble::never("bad_answer", e.to_string()))
}
