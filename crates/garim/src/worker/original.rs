//! What a live session received becomes the sealed original of its recording, and the recording is covered once more from
//! that, with all the time that there is.

use jiff::Timestamp;
use live::Take;
use pipeline::{Input, RemuxSpec, Remuxed};
use sealed::{SealKey, Sealed};
use serde_json::json;
use store::{
    Kind, NewJob, ObjectPath, Replacement, Video, received_context, received_folder, seal_context,
};
use tokio::io::AsyncWriteExt;

use super::convert::{self, CONVERTED};
use super::{Attempt, Trouble};
use crate::child::Task;
use crate::work::{MosaicOptions, OriginalWork, Thoroughness};

/// In the room: what was received, sealed.
const RECEIVED: &str = "received";
/// Takes that are shorter than this together may be missing in the original, in milliseconds: somebody began in one format
/// and went over to another at once.
const SHORT: u64 = 2000;

/// Makes the original, and asks for the recording to be covered once more.
pub async fn run(attempt: &Attempt) -> Result<(), Trouble> {
    let work: OriginalWork = attempt.work()?;
    let video = attempt.video().await?;
    convert::discard_earlier(attempt, &video).await?;
    let take = take(attempt, &work).await?;
    let key = SealKey::random();
    let spec = RemuxSpec {
        input: fetch(attempt, &work, &take).await?,
        output: attempt.room.file(CONVERTED),
        key: key.clone(),
        context: Some(seal_context(video.id)),
    };
    let made: Option<Remuxed> = attempt.child(Task::Remux(spec)).await?;
    let made = made.ok_or_else(|| Trouble::never("damaged", "what was received is no FLV file"))?;
    let folder = convert::folder(attempt, &video, attempt.fence.attempt)?;
    let adopted = adopt(attempt, &video, &folder, work, key, made).await;
    if adopted.is_err() {
        convert::discard(attempt, &video, &folder).await;
    }
    adopted
}

/// The one take that is the original.
async fn take(attempt: &Attempt, work: &OriginalWork) -> Result<Take, Trouble> {
    let folder = received_folder(work.session).parse()?;
    let objects = live::all(&attempt.service.objects, &folder).await?;
    let mut takes = live::takes(&objects).ok_or_else(|| {
        Trouble::never(
            "incomplete",
            "not all that the publisher sent was kept: a server died over it",
        )
    })?;
    takes.sort_by_key(Take::duration_ms);
    let longest = takes.pop();
    let longest =
        longest.ok_or_else(|| Trouble::never("no_original", "no picture was received"))?;
    let others: u64 = takes.iter().map(Take::duration_ms).sum();
    if others > SHORT {
        let why = format!(
            "the publisher changed the format of its pictures, and no one original holds them all (the longest part is \
             {} ms, the others are {others} ms): the covered recording stays as it is",
            longest.duration_ms()
        );
        return Err(Trouble::never("format_changed", why));
    }
    Ok(longest)
}

/// Brings what was received, sealed as it is, into the room.
async fn fetch(attempt: &Attempt, work: &OriginalWork, take: &Take) -> Result<Input, Trouble> {
    let store = &attempt.service.store;
    let key = store.received(work.session, &attempt.actor(), Timestamp::now()).await?;
    let path = attempt.room.file(RECEIVED);
    let mut file = tokio::fs::File::create_new(&path).await?;
    let count = take.pieces.len() as u64;
    for (piece, done) in take.pieces.iter().zip(0..) {
        attempt.go_on()?;
        attempt.tell("fetch", done, Some(count));
        attempt.service.objects.download(piece, &mut file).await?;
    }
    file.flush().await?;
    let sealed = Sealed { key, context: received_context(work.session), len: take.bytes };
    Ok(Input { path, sealed: Some(sealed) })
}

async fn adopt(
    attempt: &Attempt,
    video: &Video,
    folder: &ObjectPath,
    work: OriginalWork,
    key: SealKey,
    made: Remuxed,
) -> Result<(), Trouble> {
    let parts = convert::store_records(attempt, folder, made.bytes).await?;
    let result = json!({"video": video.id, "bytes": made.bytes, "info": &made.info});
    let new = Replacement { video: video.id, key, parts, info: made.info };
    let OriginalWork { session: _, collection } = work;
    let speed = Thoroughness::Thorough;
    let options = MosaicOptions { collection, speed, ..MosaicOptions::default() };
    let options = serde_json::to_value(options).map_err(std::io::Error::other)?;
    let then = NewJob::new(&attempt.job.owner, Kind::Mosaic, options);
    let then = NewJob { video: Some(video.id), ..then };
    let (store, actor) = (&attempt.service.store, attempt.actor());
    let now = Timestamp::now();
    Ok(store.adopt_original(&attempt.fence, &new, &then, &result, &actor, now).await?)
}
