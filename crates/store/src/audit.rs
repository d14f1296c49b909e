//! The log of everything that concerns people: appended to in the transaction of what it says, never changed.
//!
//! Every entry holds a MAC over itself and the MAC before it, by a key that is not in the database. Who can
//! write to the database but has no key cannot change, add, or take out an entry unseen. Taking back the whole
//! database to an earlier state can only be seen by somebody who noted the last hash: [`Chain::head`].

use std::fmt;

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use crate::db::{hex, time};
use crate::key::SecretKey;
use crate::{Error, Store};

/// Entries read at once.
const PAGE: i64 = 500;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Somebody was enrolled.
    Enrol,
    /// Consent was recorded.
    Grant,
    /// Consent was withdrawn.
    Withdraw,
    /// A person, with key, photos and templates, was destroyed.
    Delete,
    /// A person was shown in a covered file.
    Keep,
    /// An original was read, to work with it.
    ReadOriginal,
    /// An original was replaced by another form of the same video.
    ReplaceOriginal,
    /// What a live session received became the original of its recording.
    KeepOriginal,
    /// An original was destroyed.
    DestroyOriginal,
    /// A video was deleted: its original and everything that was made of it.
    DeleteVideo,
    /// An API key was made.
    CreateKey,
    /// An API key was taken back.
    RevokeKey,
    /// A session of a channel was started.
    StartLive,
    /// It was stopped.
    StopLive,
    /// A channel has a new stream key.
    RotateStreamKey,
    /// The whole picture of a channel is covered, or is so no longer.
    CoverAll,
    /// A channel was deleted.
    DeleteChannel,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Enrol => "enrol",
            Self::Grant => "grant",
            Self::Withdraw => "withdraw",
            Self::Delete => "delete",
            Self::Keep => "keep",
            Self::ReadOriginal => "read_original",
            Self::ReplaceOriginal => "replace_original",
            Self::KeepOriginal => "keep_original",
            Self::DestroyOriginal => "destroy_original",
            Self::DeleteVideo => "delete_video",
            Self::CreateKey => "create_key",
            Self::RevokeKey => "revoke_key",
            Self::StartLive => "start_live",
            Self::StopLive => "stop_live",
            Self::RotateStreamKey => "rotate_stream_key",
            Self::CoverAll => "cover_all",
            Self::DeleteChannel => "delete_channel",
        }
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number, from 1, without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who did it: a system user or an API key.
    pub actor: String,
    /// What, as it is stored: actions of later versions are entries too.
    pub action: String,
    /// To whom or what: an id.
    pub subject: String,
    /// What else there is to know.
    pub detail: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, at, actor, action, subject, detail } = self;
        write!(f, "{seq} {at:.3} {actor} {action} {subject} {detail}")
    }
}

/// What a check of the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chain {
    /// Every entry is as it was written, and none is missing.
    Whole {
        /// How many there are.
        entries: i64,
        /// Hash of the last: noted elsewhere, it also shows when the end was cut off.
        head: String,
    },
    /// The log was changed.
    Broken {
        /// The first entry that is not as it was written, or missing.
        seq: i64,
    },
}

impl Store {
    /// Adds an entry that stands by itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log(
        &self,
        actor: &str,
        action: Action,
        subject: &str,
        detail: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        append(self, &mut tx, actor, action, subject, detail, now).await?;
        Ok(tx.commit().await?)
    }

    /// Entries after number `after`, in order, at most 500 of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn entries(&self, after: i64) -> Result<Vec<Entry>, Error> {
        Ok(self.page(after).await?.into_iter().map(|(entry, _)| entry).collect())
    }

    /// Checks every entry of the log.
    ///
    /// # Errors
    /// When the database fails; a log that was changed is no error here, see [`Chain`].
    pub async fn check_log(&self) -> Result<Chain, Error> {
        let (mut seq, mut head) = (0, String::new());
        loop {
            let page = self.page(seq).await?;
            if page.is_empty() {
                break;
            }
            for (entry, hash) in page {
                if entry.seq != seq + 1 || hash != mac(&self.audit, &head, &entry) {
                    return Ok(Chain::Broken { seq: seq + 1 });
                }
                (seq, head) = (entry.seq, hash);
            }
        }
        let last = sqlx::query("SELECT seq, hash FROM audit_head WHERE id = 1");
        let last = last.fetch_optional(&self.pool).await?;
        let last = last.map(|r| Ok::<(i64, String), sqlx::Error>((r.try_get(0)?, r.try_get(1)?)));
        if last.transpose()? == Some((seq, head.clone())) {
            Ok(Chain::Whole { entries: seq, head })
        } else {
            Ok(Chain::Broken { seq: seq + 1 })
        }
    }

    async fn page(&self, after: i64) -> Result<Vec<(Entry, String)>, Error> {
        let query = "SELECT seq, at, actor, action, subject, detail, hash FROM audit \
             WHERE seq > $1 ORDER BY seq LIMIT $2";
        let rows = sqlx::query(query).bind(after).bind(PAGE).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((entry(row)?, row.try_get("hash")?))).collect()
    }
}

fn entry(row: &AnyRow) -> Result<Entry, Error> {
    Ok(Entry {
        seq: row.try_get("seq")?,
        at: time(row, "at")?.ok_or(Error::Damaged("at"))?,
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        detail: row.try_get("detail")?,
    })
}

/// Adds an entry in the transaction of what it is about.
pub(crate) async fn append(
    store: &Store,
    tx: &mut Transaction<'static, Any>,
    actor: &str,
    action: Action,
    subject: &str,
    detail: &str,
    now: Timestamp,
) -> Result<(), Error> {
    // The update comes first: it keeps other writers out until this transaction ends.
    let next = sqlx::query("UPDATE audit_head SET seq = seq + 1 WHERE id = 1 RETURNING seq, hash");
    let row = next.fetch_one(&mut **tx).await?;
    let before: String = row.try_get("hash")?;
    let [actor, subject, detail] = [actor, subject, detail].map(str::to_owned);
    let at = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    let action = action.name().to_owned();
    let entry = Entry { seq: row.try_get("seq")?, at, actor, action, subject, detail };
    let hash = mac(&store.audit, &before, &entry);
    let insert = "INSERT INTO audit (seq, at, actor, action, subject, detail, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    sqlx::query(insert)
        .bind(entry.seq)
        .bind(at.as_millisecond())
        .bind(entry.actor)
        .bind(entry.action)
        .bind(entry.subject)
        .bind(entry.detail)
        .bind(&hash)
        .execute(&mut **tx)
        .await?;
    let head = sqlx::query("UPDATE audit_head SET hash = $1 WHERE id = 1");
    head.bind(hash).execute(&mut **tx).await?;
    Ok(())
}

fn mac(key: &SecretKey, before: &str, entry: &Entry) -> String {
    let Entry { seq, at, actor, action, subject, detail } = entry;
    hex(&key.mac(&[
        before.as_bytes(),
        &seq.to_be_bytes(),
        &at.as_millisecond().to_be_bytes(),
        actor.as_bytes(),
        action.as_bytes(),
        subject.as_bytes(),
        detail.as_bytes(),
    ]))
}
