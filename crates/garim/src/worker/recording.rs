//! What was recorded of a live session becomes a video that can be watched: one MP4, packet for packet, and an HLS
//! archive of the segments.
//!
//! The segments are covered already, for those who agreed to be seen live. If somebody who may be seen in them does not
//! agree to be seen in videos, the MP4 is covered again before anybody gets it, and the archive is made of that.

mod archive;

use std::collections::BTreeSet;

use domain::PersonId;
use pipeline::{ArchiveMade, ArchiveSpec, Input, JobSpec, RecordingMade, RecordingSpec, Report};
use serde_json::{Map, Value, json};
use store::{NewVersion, ObjectPath, Session, VersionFile, Video, recording_folder};
use tokio::io::AsyncWriteExt;

use super::cover::{self, POSTER, VIDEO};
use super::{Attempt, Trouble};
use crate::child::Task;
use crate::work::{MAX_PEOPLE, MosaicOptions, RecordingWork};
use archive::{Archive, Taken};

/// The segments, one behind the other, with their headers; and the playlist that says where each is.
pub const SEGMENTS: &str = "segments.mp4";
pub const PLAYLIST: &str = "media.m3u8";
/// In the room: what the MP4 is made of, the MP4 where that is to be covered again, and the archive of that.
const SOURCE: &str = "recorded.m3u8";
const ARCHIVE: &str = "archive.mp4";
const RECORDED: &str = "recorded.mp4";
/// Longest header of segments, and longest list of people, in bytes.
const MAX_SMALL: usize = 1 << 20;

/// Publishes what was recorded of a session.
pub async fn run(attempt: &Attempt) -> Result<(), Trouble> {
    let work: RecordingWork = attempt.work()?;
    let video = attempt.video().await?;
    let store = &attempt.service.store;
    let session = store.session(Some(&attempt.job.owner), work.session).await?;
    let taken = take(attempt, &session).await?;
    let people = people(attempt, &taken.lists).await?;
    let mut agreeing = Vec::new();
    for person in &people {
        if cover::agrees(attempt, *person).await? {
            agreeing.push(*person);
        }
    }
    let archive = fetch(attempt, &taken).await?;
    let is_public = agreeing.len() == people.len();
    let made = make(attempt, &archive, is_public).await?;
    store.set_info(video.id, &made.info).await?;
    let told = told(&video, &session, &taken, &archive, work.broken, &made);
    if is_public {
        publish(attempt, &video, &archive, agreeing, told).await
    } else {
        cover_again(attempt, &video, agreeing, told).await
    }
}

/// What there is of the recording.
async fn take(attempt: &Attempt, session: &Session) -> Result<Taken, Trouble> {
    let folder = recording_folder(&session.owner, session.id, session.started_at);
    let objects = live::all(&attempt.service.objects, &folder.parse()?).await?;
    Taken::of(objects)
}

/// Who may be seen in it.
async fn people(attempt: &Attempt, lists: &[ObjectPath]) -> Result<BTreeSet<PersonId>, Trouble> {
    let mut people = BTreeSet::new();
    for list in lists {
        let bytes = attempt.service.objects.get(list, MAX_SMALL).await?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            let person = line.parse().map_err(|_| {
                Trouble::never("damaged", format!("{list}: {line:?} is nobody's id"))
            })?;
            people.insert(person);
        }
    }
    Ok(people)
}

/// Brings the segments into the room, one behind the other.
async fn fetch(attempt: &Attempt, taken: &Taken) -> Result<Archive, Trouble> {
    let objects = &attempt.service.objects;
    let mut file = tokio::fs::File::create_new(attempt.room.file(SEGMENTS)).await?;
    let mut archive = Archive::default();
    let mut header = None;
    let count = taken.segments.len() as u64;
    for ((segment, object), done) in taken.segments.iter().zip(0..) {
        attempt.go_on()?;
        attempt.tell("fetch", done, Some(count));
        if header != Some(segment.header) {
            header = Some(segment.header);
            let bytes = objects.get(taken.header(segment.header)?, MAX_SMALL).await?;
            if archive.header(&bytes) {
                file.write_all(&bytes).await?;
                file.flush().await?;
            }
        }
        archive.segment(objects.download(object, &mut file).await?, segment.ticks);
    }
    file.flush().await?;
    Ok(archive)
}

/// Has a child make the MP4.
async fn make(
    attempt: &Attempt,
    archive: &Archive,
    is_public: bool,
) -> Result<RecordingMade, Trouble> {
    let playlist = attempt.room.file(SOURCE);
    tokio::fs::write(&playlist, archive.longest().playlist(SEGMENTS)).await?;
    let spec = RecordingSpec {
        playlist,
        output: attempt.room.file(if is_public { VIDEO } else { RECORDED }),
        poster: is_public.then(|| attempt.room.file(POSTER)),
    };
    attempt.child(Task::Recording(spec)).await
}

/// What came of it, for the result of the job. `broken`: why the recording stopped before the broadcast did.
fn told(
    video: &Video,
    session: &Session,
    taken: &Taken,
    archive: &Archive,
    broken: Option<String>,
    made: &RecordingMade,
) -> Map<String, Value> {
    let (all, one) = (archive.ticks(), archive.longest().ticks());
    let mut incomplete: Vec<String> = broken.into_iter().collect();
    incomplete.extend(taken.missing.clone());
    if one < all {
        incomplete.push(format!(
            "the format changed: video.mp4 holds the longest part, {} of {} ms",
            one / 90,
            all / 90
        ));
    }
    let told = json!({
        "video": video.id,
        "session": session.id,
        "duration_ms": one / 90,
        "recorded_ms": all / 90,
        "segments": taken.segments.len(),
        "pictures": made.frames,
        "incomplete": incomplete,
    });
    if let Value::Object(told) = told { told } else { Map::new() }
}

/// Publishes the MP4 and the archive as they are.
async fn publish(
    attempt: &Attempt,
    video: &Video,
    archive: &Archive,
    shows: Vec<PersonId>,
    mut told: Map<String, Value>,
) -> Result<(), Trouble> {
    let folder = attempt.folder(video)?;
    let mut files = Vec::new();
    for name in [VIDEO, POSTER, SEGMENTS] {
        files.push(attempt.store(&folder, name, true).await?);
    }
    // The last object: it is there only when all others are.
    files.push(store_playlist(attempt, &folder, archive).await?);
    told.insert("covered_again".to_owned(), false.into());
    let new = NewVersion {
        video: video.id,
        folder: folder.as_str().to_owned(),
        files,
        // Those of covering it again are the usual ones.
        options: json!({}),
        plan_of: None,
        shows,
    };
    cover::put_out(attempt, &new, &told.into()).await
}

async fn store_playlist(
    attempt: &Attempt,
    folder: &ObjectPath,
    archive: &Archive,
) -> Result<VersionFile, Trouble> {
    let playlist = archive.playlist(SEGMENTS).into_bytes();
    let playlist = attempt.store_bytes(folder, PLAYLIST, playlist).await?;
    Ok(VersionFile { public: true, ..playlist })
}

/// Makes an archive of a recording that was covered once more, from the MP4 in the room, and stores it: what viewers of a
/// session were told stays good. Gives its files.
pub async fn archive_covered(
    attempt: &Attempt,
    folder: &ObjectPath,
) -> Result<Vec<VersionFile>, Trouble> {
    let (covered, output) = (attempt.room.file(VIDEO), attempt.room.file(ARCHIVE));
    let spec = ArchiveSpec { covered, output };
    let made: Option<ArchiveMade> = attempt.child(Task::Archive(spec)).await?;
    let Some(made) = made else { return Ok(Vec::new()) };
    let segments = attempt.store_as(folder, ARCHIVE, SEGMENTS, true).await?;
    Ok(vec![segments, store_playlist(attempt, folder, &made.into()).await?])
}

/// Publishes the MP4 with all covered but those who agree.
async fn cover_again(
    attempt: &Attempt,
    video: &Video,
    mut people: Vec<PersonId>,
    mut told: Map<String, Value>,
) -> Result<(), Trouble> {
    people.truncate(MAX_PEOPLE);
    let options = MosaicOptions { people, ..MosaicOptions::default() };
    let input = Input { path: attempt.room.file(RECORDED), sealed: None };
    let keep = cover::kept(attempt, &options).await?;
    let spec = JobSpec { keep, ..cover::job_spec(attempt, input, &options) };
    let report: Report = attempt.child(Task::Mosaic(spec)).await?;
    told.insert("covered_again".to_owned(), true.into());
    cover::publish_recording(attempt, video, &options, &report, told).await
}
