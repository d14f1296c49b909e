//! Databases for tests: each test runs on SQLite and on a PostgreSQL that has a new database for it.
//!
//! PostgreSQL is where GARIM_TEST_POSTGRES says. Without that, tests run on SQLite alone; where
//! GARIM_TEST_REQUIRED is set as well they fail, so that no check is left out silently.

#![allow(dead_code)] // Not every test that has this module needs all of it.
#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

#[path = "../servers/mod.rs"]
pub mod servers;

use std::path::PathBuf;

use domain::{JobId, PersonId, VideoId};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sqlx::{AnyPool, AssertSqlSafe, Executor, Row};
use store::{
    Fence, KeySource, Kind, Location, NewConsent, NewJob, NewPerson, NewPhoto, NewVersion,
    NewVideo, Original, Part, Scope, Source, Store, Template, VersionFile,
};
use tempfile::TempDir;
use uuid::Uuid;

/// The user that everything belongs to, unless a test is about others.
pub const USER: &str = "studio";
/// How long workers keep jobs in tests.
pub const LEASE: SignedDuration = SignedDuration::from_secs(30);

/// A new database.
pub struct Db {
    /// A process that has it open.
    pub store: Store,
    /// The database without the rules of [`Store`].
    pub raw: AnyPool,
    pub location: Location,
    pub key: KeySource,
    _dir: TempDir,
}

impl Db {
    /// Another process that has it open.
    pub async fn another(&self) -> Store {
        Store::open(&self.location, &self.key).await.unwrap()
    }

    /// The number that `query` gives.
    pub async fn number(&self, query: &str) -> i64 {
        let row = sqlx::query(AssertSqlSafe(query)).fetch_one(&self.raw).await.unwrap();
        row.try_get(0).unwrap()
    }

    /// Does what no [`Store`] does.
    pub async fn change(&self, sql: &str) {
        self.raw.execute(AssertSqlSafe(sql)).await.unwrap();
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.location, Location::Postgres(_))
    }
}

/// Runs `test` with a new database of each kind, one after the other.
pub async fn on_both(test: impl AsyncFn(&Db)) {
    for db in databases().await {
        eprintln!("on {}", if db.is_postgres() { "PostgreSQL" } else { "SQLite" });
        test(&db).await;
    }
}

/// A new database of each kind.
pub async fn databases() -> Vec<Db> {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("db");
    let url = format!("sqlite://{}", folder.join("garim.db").display());
    let mut databases = vec![open(Location::Folder(folder), &url, dir).await];
    if let Some(url) = servers::postgres().await {
        let location = Location::Postgres(url.clone().into());
        databases.push(open(location, &url, tempfile::tempdir().unwrap()).await);
    }
    databases
}

async fn open(location: Location, url: &str, dir: TempDir) -> Db {
    let key = KeySource::File(dir.path().join("server.key"));
    let store = Store::open(&location, &key).await.unwrap();
    let raw = AnyPool::connect(url).await.unwrap();
    Db { store, raw, location, key, _dir: dir }
}

/// A folder for a SQLite database that nobody opened yet.
pub fn new_folder(dir: &TempDir) -> PathBuf {
    dir.path().join("db")
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub fn new_job(kind: Kind) -> NewJob {
    NewJob {
        owner: USER.to_owned(),
        kind,
        video: None,
        work: json!({}),
        tag: None,
        priority: 0,
        after: None,
    }
}

pub async fn enqueue(store: &Store, new: NewJob) -> JobId {
    store.enqueue(&new, at(0)).await.unwrap()
}

/// Takes the next job, which there must be.
pub async fn claim(store: &Store, second: i64) -> Fence {
    store.claim("w", LEASE, at(second)).await.unwrap().unwrap().0
}

pub fn new_video(length: u64) -> NewVideo {
    NewVideo {
        owner: USER.to_owned(),
        name: "walk.mp4".to_owned(),
        source: Source::Upload(length),
        original: Original::Keep,
        expires_at: None,
        days: None,
    }
}

pub fn part(video: VideoId, start: u64, length: u64) -> Part {
    let random = Uuid::now_v7().simple();
    Part { start, length, object: format!("originals/{video}/{start:012}-{random}") }
}

/// A video whose original of 100 bytes is there.
pub async fn stored(store: &Store) -> VideoId {
    let video = store.add_video(&new_video(100), at(0)).await.unwrap();
    store.add_parts(USER, video, &[part(video, 0, 100)], None, at(0)).await.unwrap();
    video
}

/// A video, and a job that covers it and is being done.
pub async fn covering(store: &Store) -> (VideoId, Fence) {
    let video = stored(store).await;
    let job = NewJob { video: Some(video), priority: 1000, ..new_job(Kind::Mosaic) };
    enqueue(store, job).await;
    (video, claim(store, 0).await)
}

pub fn new_version(video: VideoId, fence: Fence, shows: &[PersonId]) -> NewVersion {
    let file = |name: &str, public| VersionFile { name: name.to_owned(), bytes: 10, public };
    NewVersion {
        video,
        folder: format!("vod/studio/202701150800-{video}/{}.{}", fence.job, fence.attempt),
        files: vec![file("video.mp4", true), file("poster.jpg", true), file("plan.json", false)],
        options: json!({"effect": "mosaic"}),
        plan_of: Some("ab".repeat(32)),
        shows: shows.to_vec(),
    }
}

/// A video with a version that is public and shows `people`.
pub async fn published(store: &Store, people: &[PersonId]) -> VideoId {
    let (video, fence) = covering(store).await;
    let new = new_version(video, fence, people);
    store.publish(&fence, &new, &json!({}), "w", at(0)).await.unwrap();
    video
}

pub fn consent(expires_at: Option<Timestamp>) -> NewConsent {
    NewConsent {
        given_by: "Mina".to_owned(),
        how: "signed form".to_owned(),
        scope: Scope::Videos,
        expires_at,
    }
}

/// Somebody new who agrees to be seen in videos, until then if there is a time.
pub async fn person(store: &Store, until: Option<Timestamp>) -> PersonId {
    let new = NewPerson {
        owner: USER.to_owned(),
        collection: "shop".to_owned(),
        name: format!("person {}", Uuid::now_v7()),
        photos: vec![NewPhoto {
            picture: b"a picture".to_vec(),
            template: Template::new(vec![0.5; 8]),
        }],
        consent: consent(until),
    };
    store.add_person(&new, "test", at(0)).await.unwrap()
}

/// Types of a user's events after number `after`, in order.
pub async fn told(store: &Store, after: i64) -> Vec<String> {
    let events = store.events(USER, after, 1000).await.unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

/// The data of the last event of a type.
pub async fn last(store: &Store, kind: &str) -> Value {
    let events = store.events(USER, 0, 1000).await.unwrap();
    events.into_iter().rfind(|event| event.kind == kind).unwrap().data
}
