//! What a job is, and how a row holds it.

use domain::{JobId, VideoId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Error;
use crate::db::{id, time};

/// What kind of work a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Find faces and cover them.
    Mosaic,
    /// Cover by a plan that was written earlier.
    Render,
    /// Find faces and say where and whose.
    Search,
    /// Cover somebody in a published video who may no longer be seen.
    Recover,
    /// Take up an object as a sealed original.
    Ingest,
    /// Make an MP4 of an original.
    Convert,
    /// Publish what was recorded of a live session.
    Recording,
    /// Make a sealed original of what a live session received.
    Original,
    /// Find faces in a part of a long video.
    AnalysePart,
    /// Cover a part of a long video.
    RenderPart,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Mosaic,
        Self::Render,
        Self::Search,
        Self::Recover,
        Self::Ingest,
        Self::Convert,
        Self::Recording,
        Self::Original,
        Self::AnalysePart,
        Self::RenderPart,
    ];

    /// As it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mosaic => "mosaic",
            Self::Render => "render",
            Self::Search => "search",
            Self::Recover => "recover",
            Self::Ingest => "ingest",
            Self::Convert => "convert",
            Self::Recording => "recording",
            Self::Original => "original",
            Self::AnalysePart => "analyse_part",
            Self::RenderPart => "render_part",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A job to be done.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The user it is done for.
    pub owner: String,
    /// What kind of work it is.
    pub kind: Kind,
    /// The video it is about.
    pub video: Option<VideoId>,
    /// What is to be done; whoever does it knows how to read it.
    pub work: Value,
    /// What the user calls it.
    pub tag: Option<String>,
    /// Greater ones go first.
    pub priority: i64,
    /// After which job it may start.
    pub after: Option<JobId>,
}

impl NewJob {
    /// A job of no video yet, as urgent as any, that waits for none.
    pub fn new(owner: &str, kind: Kind, work: Value) -> Self {
        let owner = owner.to_owned();
        Self { owner, kind, video: None, work, tag: None, priority: 0, after: None }
    }
}

/// Why an attempt did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For programs; never changes its meaning.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Where a job is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Other jobs must be done first: so many, the one before it or its parts.
    Waiting(i64),
    /// To be done at that time or later; after an attempt that failed, with the reason.
    Queued {
        /// Not earlier than this.
        run_at: Timestamp,
        /// Why the last attempt failed.
        last: Option<Failure>,
    },
    /// Being done.
    Running {
        /// Who does it.
        worker: String,
        /// Until when nobody else takes it.
        lease_until: Timestamp,
        /// What part of it.
        phase: Option<String>,
        /// Thousandths of that part.
        progress: i64,
        /// Whether it is to be stopped.
        cancelling: bool,
    },
    /// Done, with what came of it.
    Done(Value),
    /// Given up.
    Failed(Failure),
    /// Stopped because somebody said so.
    Cancelled,
}

impl State {
    /// As it is stored and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting(_) => "waiting",
            Self::Queued { .. } => "queued",
            Self::Running { .. } => "running",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing will change any more.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed(_) | Self::Cancelled)
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The user it is done for.
    pub owner: String,
    /// What kind of work it is.
    pub kind: Kind,
    /// The video it is about.
    pub video: Option<VideoId>,
    /// What is to be done.
    pub work: Value,
    /// What the user calls it.
    pub tag: Option<String>,
    /// Greater ones go first.
    pub priority: i64,
    /// Where it is.
    pub state: State,
    /// How often it was begun.
    pub attempt: i64,
    /// The job that it is a part of.
    pub part_of: Option<JobId>,
    /// Where a job is that was split, and at which claim it was: see [`crate::Store::split`].
    pub stage: Option<(i64, Value)>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
}

/// What is read of a row.
pub(super) const COLUMNS: &str = "id, owner, kind, video, work, tag, priority, state, run_at, attempt, worker, \
     lease_until, progress, phase, cancel, result, code, message, part_of, round, stage, pending, \
     created_at, started_at, ended_at";

/// The job in a row of [`COLUMNS`].
pub(super) fn job(row: &AnyRow) -> Result<Job, Error> {
    let text = |name| row.try_get::<Option<String>, _>(name);
    let json = |name, text: String| serde_json::from_str(&text).map_err(|_| Error::Damaged(name));
    let video = text("video")?.map(|id| id.parse().map_err(|_| Error::Damaged("video")));
    let part_of = text("part_of")?.map(|id| id.parse().map_err(|_| Error::Damaged("part_of")));
    let stage = match (row.try_get::<Option<i64>, _>("round")?, text("stage")?) {
        (Some(round), Some(stage)) => Some((round, json("stage", stage)?)),
        _ => None,
    };
    Ok(Job {
        id: id(row, "id")?,
        owner: row.try_get("owner")?,
        kind: Kind::of(&row.try_get::<String, _>("kind")?).ok_or(Error::Damaged("kind"))?,
        video: video.transpose()?,
        work: json("work", row.try_get("work")?)?,
        tag: text("tag")?,
        priority: row.try_get("priority")?,
        state: state(row)?,
        attempt: row.try_get("attempt")?,
        part_of: part_of.transpose()?,
        stage,
        created_at: time(row, "created_at")?.ok_or(Error::Damaged("created_at"))?,
        started_at: time(row, "started_at")?,
        ended_at: time(row, "ended_at")?,
    })
}

fn state(row: &AnyRow) -> Result<State, Error> {
    let text = |name| row.try_get::<Option<String>, _>(name);
    let failure = || -> Result<Option<Failure>, Error> {
        let (code, message) = (text("code")?, text("message")?);
        Ok(code.map(|code| Failure { code, message: message.unwrap_or_default() }))
    };
    Ok(match row.try_get::<String, _>("state")?.as_str() {
        "waiting" => State::Waiting(row.try_get("pending")?),
        "queued" => State::Queued {
            run_at: time(row, "run_at")?.ok_or(Error::Damaged("run_at"))?,
            last: failure()?,
        },
        "running" => State::Running {
            worker: text("worker")?.ok_or(Error::Damaged("worker"))?,
            lease_until: time(row, "lease_until")?.ok_or(Error::Damaged("lease_until"))?,
            phase: text("phase")?,
            progress: row.try_get("progress")?,
            cancelling: row.try_get::<i64, _>("cancel")? != 0,
        },
        "done" => {
            let result = text("result")?.ok_or(Error::Damaged("result"))?;
            State::Done(serde_json::from_str(&result).map_err(|_| Error::Damaged("result"))?)
        }
        "failed" => State::Failed(failure()?.ok_or(Error::Damaged("code"))?),
        "cancelled" => State::Cancelled,
        _ => return Err(Error::Damaged("state")),
    })
}
