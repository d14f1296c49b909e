//! Looking for faces in a stored video.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use jiff::Timestamp;
use pipeline::{FaceLine, SearchSpec, Searched};
use serde_json::json;
use store::{ObjectPath, Scope};

use super::{Attempt, Trouble};
use crate::child::Task;
use crate::work::SearchWork;

/// What the child writes: a line for the video, then a line for each face.
const FOUND: &str = "found.jsonl";
/// Object with a line for each face, by time.
pub const BY_TIME: &str = "by-time.jsonl";
/// The same lines by person index, then by time.
pub const BY_INDEX: &str = "by-index.jsonl";

/// Stores the lines that a search gives as an object, and says where they are.
pub async fn run(attempt: &Attempt) -> Result<(), Trouble> {
    let work: SearchWork = attempt.work()?;
    let video = attempt.video().await?;
    let people = match &work.collection {
        Some(collection) => {
            let people = attempt.members(collection).await?;
            let now = Timestamp::now();
            live::recognisable(&attempt.service.store, &people, Scope::Videos, now).await?
        }
        None => Vec::new(),
    };
    let input = attempt.original(&video, "search").await?;
    let output = attempt.room.file(FOUND);
    let SearchWork { threshold, every_ms, .. } = work;
    let spec = SearchSpec { input, people, threshold, every_ms, output, to_8bit: true };
    let searched: Searched = attempt.child(Task::Search(spec)).await?;
    let folder: ObjectPath =
        format!("searches/{}/{}.{}", video.id, attempt.fence.job, attempt.fence.attempt).parse()?;
    sort(attempt)?;
    attempt.store(&folder, BY_TIME, false).await?;
    attempt.store(&folder, BY_INDEX, false).await?;
    let result = json!({"video": video.id, "folder": folder.as_str(), "searched": searched});
    Ok(attempt.service.store.complete(&attempt.fence, &result, Timestamp::now()).await?)
}

/// Writes what was found in both orders. Lines are moved by their places: no more than 24 bytes of each is in
/// memory.
fn sort(attempt: &Attempt) -> Result<(), Trouble> {
    let (found, by_time, by_index) =
        (attempt.room.file(FOUND), attempt.room.file(BY_TIME), attempt.room.file(BY_INDEX));
    let sorted = || -> std::io::Result<()> {
        let mut lines = BufReader::new(File::open(&found)?);
        let mut line = String::new();
        let mut at = lines.read_line(&mut line)? as u64; // The video.
        let mut out = BufWriter::new(File::create_new(by_time)?);
        let mut places: Vec<(u32, u64, u32)> = Vec::new();
        loop {
            line.clear();
            let length = lines.read_line(&mut line)?;
            if length == 0 {
                break;
            }
            out.write_all(line.as_bytes())?;
            let face: FaceLine = serde_json::from_str(&line)?;
            places.push((face.index, at, length as u32));
            at += length as u64;
        }
        out.flush()?;
        places.sort_unstable();
        let mut found = File::open(&found)?;
        let mut out = BufWriter::new(File::create_new(by_index)?);
        for (_, at, length) in places {
            let mut line = vec![0; length as usize];
            found.seek(SeekFrom::Start(at))?;
            found.read_exact(&mut line)?;
            out.write_all(&line)?;
        }
        out.flush()
    };
    sorted().map_err(|e| Trouble::later("staging_unavailable", format!("what was found: {e}")))
}
