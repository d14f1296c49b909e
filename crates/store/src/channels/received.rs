//! What a publisher sent, where the policy keeps that: sealed with a key of its session until it is the original of the
//! session's video. When it is sure that it never will be, the key is destroyed, and its objects are swept up.

use domain::{SessionId, VideoId};
use jiff::Timestamp;
use sealed::SealKey;
use serde_json::{Value, json};
use sqlx::{Any, Row, Transaction};

use super::change::tell;
use super::channel::Channel;
use super::lease::ChannelFence;
use super::running::hold;
use super::session::Session;
use crate::audit::append;
use crate::events::{NewEvent, emit};
use crate::jobs::{End, Fence, Job, Kind, NewJob, State, add, end, shortened};
use crate::originals::{Replacement, adopt};
use crate::videos::discard;
use crate::{Action, Error, Store, Topic};

/// Folder of what is received in a session.
pub fn received_folder(session: SessionId) -> String {
    format!("received/{session}")
}

/// What seals the records of what is received in a session: see `sealed`.
pub fn received_context(session: SessionId) -> String {
    format!("received in {session}")
}

/// A key for what is received in a session that begins, sealed by the server's.
pub(super) fn new_key(store: &Store, session: SessionId) -> Result<Vec<u8>, Error> {
    store.wrap.seal_file_key(&key_context(session), &SealKey::random())
}

/// The key of what is received in a session; `None`: nothing of it is kept, or it cannot be read any more.
pub(super) async fn key(
    store: &Store,
    tx: &mut Transaction<'static, Any>,
    session: SessionId,
) -> Result<Option<SealKey>, Error> {
    let query = sqlx::query("SELECT received_key FROM sessions WHERE id = $1");
    let row = query.bind(session.to_string()).fetch_optional(&mut **tx).await?;
    let sealed = row.map(|row| row.try_get::<Option<Vec<u8>>, _>(0)).transpose()?.flatten();
    let Some(sealed) = sealed else { return Ok(None) };
    store.wrap.open_file_key(&key_context(session), &sealed, "received_key").map(Some)
}

fn key_context(session: SessionId) -> String {
    format!("key of what is received in {session}")
}

/// Destroys the key of what was received in a session; whether there was one.
pub(super) async fn destroy(
    tx: &mut Transaction<'static, Any>,
    session: SessionId,
    now: Timestamp,
) -> Result<bool, Error> {
    let update =
        "UPDATE sessions SET received_key = NULL WHERE id = $1 AND received_key IS NOT NULL";
    let update = sqlx::query(update).bind(session.to_string()).execute(&mut **tx).await?;
    let was_there = update.rows_affected() > 0;
    if was_there {
        discard(tx, &format!("{}/", received_folder(session)), now).await?;
    }
    Ok(was_there)
}

/// Whether what was received in a session cannot be read by anybody. A session that this database does not know may be
/// another one's.
pub(crate) async fn is_destroyed(
    tx: &mut Transaction<'static, Any>,
    session: SessionId,
) -> Result<bool, Error> {
    let query = sqlx::query("SELECT 1 FROM sessions WHERE id = $1 AND received_key IS NULL");
    let row = query.bind(session.to_string()).fetch_optional(&mut **tx).await?;
    Ok(row.is_some())
}

/// Has what was received made the original of the session's video, once the recording is published by the job `after`.
pub(super) async fn hand_over(
    tx: &mut Transaction<'static, Any>,
    channel: &Channel,
    session: &Session,
    after: (VideoId, domain::JobId),
    now: Timestamp,
) -> Result<(), Error> {
    if is_destroyed(tx, session.id).await? {
        return Ok(());
    }
    let (video, after) = after;
    // Who may be seen now, and not who could be at the beginning.
    let work = json!({"session": session.id, "collection": channel.collection});
    let job = NewJob::new(&session.owner, Kind::Original, work);
    let job = NewJob { video: Some(video), after: Some(after), ..job };
    add(tx, &job, now).await?;
    Ok(())
}

/// Destroys what was received of a session when the job is over that was to make an original of it, in the transaction
/// in which that ends. If it did, there is a copy.
pub(crate) async fn original_over(
    tx: &mut Transaction<'static, Any>,
    job: &Job,
    now: Timestamp,
) -> Result<(), Error> {
    let session = job.work["session"].as_str().and_then(|id| id.parse().ok());
    let session: SessionId = session.ok_or(Error::Damaged("work"))?;
    destroy(tx, session, now).await?;
    let reason = match &job.state {
        State::Done(_) => return Ok(()),
        State::Failed(failure) => shortened(&failure.message),
        _ => "it was cancelled before it was there".to_owned(),
    };
    let data = json!({"session": session, "video": job.video, "reason": reason});
    let (kind, subject) = ("recording.original_failed", session.to_string());
    emit(tx, NewEvent { owner: &job.owner, kind, subject, data }, now).await
}

impl Store {
    /// Says that what the publisher sends in the session under way cannot be kept, and why. What was kept of it is
    /// destroyed: it would be the original of a part of the broadcast.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub async fn received_lost(
        &self,
        fence: &ChannelFence,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let channel = hold(&mut tx, fence).await?;
        let session = channel.session.ok_or(Error::Damaged("session"))?;
        if !destroy(&mut tx, session, now).await? {
            return Ok(());
        }
        let detail = json!({"session": session, "reason": shortened(reason)});
        tell(&mut tx, &channel, "recording.original_failed", detail, now).await?;
        self.commit(tx, &[Topic::Channels, Topic::Events]).await?;
        self.forget().await
    }

    /// The key of what was received in a session. Whoever asks reads it: that goes into the log.
    ///
    /// # Errors
    /// [`Error::NotFound`]: nothing of it was kept, or it was destroyed.
    pub async fn received(
        &self,
        session: SessionId,
        actor: &str,
        now: Timestamp,
    ) -> Result<SealKey, Error> {
        let mut tx = self.begin().await?;
        let missing =
            || Error::NotFound { kind: "what was received in session", name: session.to_string() };
        let key = key(self, &mut tx, session).await?.ok_or_else(missing)?;
        let (action, subject) = (Action::ReadOriginal, session.to_string());
        append(self, &mut tx, actor, action, &subject, "received live", now).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Makes `new` the original of a video that was recorded of a live session, ends the job with `result`, and has
    /// `then` done. What was received is destroyed with that: this is it, in another form.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the job is somebody else's by now, or was cancelled and is over with that;
    /// [`Error::NotFound`] when the video was deleted, or has an original; [`Error::Quota`]; [`Error::OutOfPlace`] or
    /// [`Error::Invalid`] for parts that do not make up a file. Then nothing was changed, and the new objects are for
    /// [`Store::discard_replacement`].
    pub async fn adopt_original(
        &self,
        fence: &Fence,
        new: &Replacement,
        then: &NewJob,
        result: &Value,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin_as(fence, now).await?;
        let (name, bytes) = adopt(self, &mut tx, new).await?;
        self.check_quota(&mut tx, &then.owner, 0).await?;
        let subject = new.video.to_string();
        let detail = format!("{bytes} bytes, received live");
        append(self, &mut tx, actor, Action::KeepOriginal, &subject, &detail, now).await?;
        end(&mut tx, fence, End::Done(result), now).await?;
        let data = json!({"video": new.video, "name": name, "bytes": bytes});
        let event = NewEvent { owner: &then.owner, kind: "video.stored", subject, data };
        emit(&mut tx, event, now).await?;
        add(&mut tx, then, now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        self.forget().await
    }
}
