//! Making an MP4 of a stored video's original, for what does not take an HLS archive: sealed from the first byte on, and
//! put in the place of the original.

use bytes::Bytes;
use jiff::Timestamp;
use pipeline::{RemuxSpec, Remuxed};
use sealed::{MAX_RECORD, SealKey, sealed_len};
use serde_json::json;
use store::{ObjectPath, Part, Replacement, Video};
use tokio::io::AsyncReadExt;

use super::{Attempt, Trouble};
use crate::child::Task;

/// The sealed MP4 in the room.
pub const CONVERTED: &str = "converted";

/// Replaces the original by an MP4 of it, unless it is one.
pub async fn run(attempt: &Attempt) -> Result<(), Trouble> {
    let video = attempt.video().await?;
    let store = &attempt.service.store;
    // Asked now, before hours of work, and again when the work is done.
    store.replaceable(&attempt.fence, video.id).await?;
    discard_earlier(attempt, &video).await?;
    let key = SealKey::random();
    let input = attempt.original(&video, "convert").await?;
    let output = attempt.room.file(CONVERTED);
    let spec = RemuxSpec { input, output, key: key.clone(), context: None };
    let made: Option<Remuxed> = attempt.child(Task::Remux(spec)).await?;
    let Some(made) = made else {
        let result = json!({"video": video.id, "converted": false});
        return Ok(store.complete(&attempt.fence, &result, Timestamp::now()).await?);
    };
    let folder = folder(attempt, &video, attempt.fence.attempt)?;
    let replaced = replace(attempt, &video, &folder, key, made).await;
    if replaced.is_err() {
        discard(attempt, &video, &folder).await;
    }
    replaced
}

/// Where the records of an attempt go: no name is used twice.
pub fn folder(attempt: &Attempt, video: &Video, number: i64) -> Result<ObjectPath, Trouble> {
    Ok(format!("originals/{}/{}.{number}", video.id, attempt.fence.job).parse()?)
}

/// Has the records of attempts that were killed deleted: nobody else knows of them.
pub async fn discard_earlier(attempt: &Attempt, video: &Video) -> Result<(), Trouble> {
    let store = &attempt.service.store;
    for earlier in 1..attempt.fence.attempt {
        let folder = folder(attempt, video, earlier)?;
        store.discard_replacement(video.id, folder.as_str(), Timestamp::now()).await?;
    }
    Ok(())
}

/// Has the records of this attempt deleted, to which nobody refers. If that fails as well, they take room until the video
/// is deleted.
pub async fn discard(attempt: &Attempt, video: &Video, folder: &ObjectPath) {
    let store = &attempt.service.store;
    let _ = store.discard_replacement(video.id, folder.as_str(), Timestamp::now()).await;
}

async fn replace(
    attempt: &Attempt,
    video: &Video,
    folder: &ObjectPath,
    key: SealKey,
    made: Remuxed,
) -> Result<(), Trouble> {
    let parts = store_records(attempt, folder, made.bytes).await?;
    let result = json!({
        "video": video.id,
        "converted": true,
        "bytes": made.bytes,
        "left_out": made.left_out,
        "info": &made.info,
    });
    let new = Replacement { video: video.id, key, parts, info: made.info };
    let store = &attempt.service.store;
    let (actor, now) = (attempt.actor(), Timestamp::now());
    Ok(store.replace_original(&attempt.fence, &new, &result, &actor, now).await?)
}

/// Stores the sealed MP4 record by record, as an upload is stored: each is an object.
pub async fn store_records(
    attempt: &Attempt,
    folder: &ObjectPath,
    bytes: u64,
) -> Result<Vec<Part>, Trouble> {
    let mut file = tokio::fs::File::open(attempt.room.file(CONVERTED)).await?;
    let mut parts = Vec::new();
    for start in (0..bytes).step_by(MAX_RECORD) {
        attempt.go_on()?;
        attempt.tell("store", start, Some(bytes));
        let length = (bytes - start).min(MAX_RECORD as u64);
        let sealed = usize::try_from(sealed_len(length)).map_err(std::io::Error::other)?;
        let mut record = vec![0; sealed];
        file.read_exact(&mut record).await?;
        let object = folder.join(&format!("{start:014}"))?;
        attempt.service.objects.put_new(&object, Bytes::from(record)).await?;
        parts.push(Part { start, length, object: object.as_str().to_owned() });
    }
    Ok(parts)
}
