//! Looking for faces in a stored video.

use jiff::Timestamp;
use pipeline::{KeepSpec, KnownBy, SearchSpec, Searched, Templates};
use serde_json::json;
use store::{Error, ObjectPath, Scope};

use super::{Attempt, Trouble};
use crate::child::Task;
use crate::work::SearchWork;

/// Name in the room.
const LINES: &str = "faces.jsonl";

/// Stores the lines that a search gives as an object, and says where they are.
pub async fn run(attempt: &Attempt) -> Result<(), Trouble> {
    let work: SearchWork = attempt.work()?;
    let video = attempt.video().await?;
    let people = match &work.collection {
        Some(collection) => people(attempt, collection).await?,
        None => Vec::new(),
    };
    let input = attempt.original(&video, "search").await?;
    let output = attempt.room.file(LINES);
    let SearchWork { threshold, every_ms, .. } = work;
    let spec = SearchSpec { input, people, threshold, every_ms, output, to_8bit: true };
    let searched: Searched = attempt.child(Task::Search(spec)).await?;
    let folder: ObjectPath =
        format!("searches/{}.{}", attempt.fence.job, attempt.fence.attempt).parse()?;
    let file = attempt.store(&folder, LINES, false).await?;
    let result = json!({
        "video": video.id,
        "object": folder.join(LINES)?.as_str(),
        "bytes": file.bytes,
        "searched": searched,
    });
    Ok(attempt.service.store.complete(&attempt.fence, &result, Timestamp::now()).await?)
}

/// Everybody in a collection who agrees to be recognised in videos, by their ids.
async fn people(attempt: &Attempt, collection: &str) -> Result<Vec<KeepSpec>, Trouble> {
    let store = &attempt.service.store;
    let mut people = Vec::new();
    for person in store.people(Some(&attempt.job.owner), Some(collection)).await? {
        match store.to_keep(&person, Scope::Videos, Timestamp::now()).await {
            Ok(templates) => {
                let numbers = templates.iter().map(|t| t.values().to_vec()).collect();
                let by = KnownBy::Templates(Templates(numbers));
                people.push(KeepSpec { name: person.id.to_string(), by });
            }
            Err(Error::NoConsent { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(people)
}
