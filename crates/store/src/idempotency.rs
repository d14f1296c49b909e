//! Answers that are kept for a day, so that a request that is repeated with the same `Idempotency-Key` gets the
//! same answer and does nothing twice.

use std::fmt;

use domain::KeyId;
use jiff::{SignedDuration, Timestamp};
use sqlx::Row;

use crate::{Error, Store};

/// How long answers are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// After this long without an answer, the process that worked on it is gone: no request takes that long.
const ABANDONED: SignedDuration = SignedDuration::from_mins(10);

/// What is known of a request.
#[derive(PartialEq, Eq)]
pub enum Before {
    /// It is new, and now the caller's to work on: [`Store::keep_answer`] or [`Store::forget_request`] ends that.
    New,
    /// It is being worked on.
    Underway,
    /// Whoever worked on it is gone. Perhaps it was done, so nobody is to do it again under this name.
    Abandoned,
    /// It was answered.
    Answered(Vec<u8>),
    /// The name was used for another request.
    Other,
}

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An answer may hold a new key.
        f.write_str(match self {
            Self::New => "New",
            Self::Underway => "Underway",
            Self::Abandoned => "Abandoned",
            Self::Answered(_) => "Answered(..)",
            Self::Other => "Other",
        })
    }
}

impl Store {
    /// Looks up the request that `key` calls `name`, and takes it on if it is new. `request` is a hash of it.
    ///
    /// # Errors
    /// When the database fails, or the answer cannot be unsealed.
    pub async fn take_request(
        &self,
        key: KeyId,
        name: &str,
        request: &str,
        now: Timestamp,
    ) -> Result<Before, Error> {
        // An old one makes room first.
        let millis = now.as_millisecond();
        let over = "DELETE FROM idempotency WHERE api_key = $1 AND name = $2 AND created_at < $3";
        let mut tx = self.begin().await?;
        sqlx::query(over)
            .bind(key.to_string())
            .bind(name)
            .bind(millis - KEPT.as_millis() as i64)
            .execute(&mut *tx)
            .await?;
        let insert = "INSERT INTO idempotency (api_key, name, request, created_at) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (api_key, name) DO NOTHING";
        let insert = sqlx::query(insert).bind(key.to_string()).bind(name).bind(request);
        if insert.bind(millis).execute(&mut *tx).await?.rows_affected() == 1 {
            tx.commit().await?;
            return Ok(Before::New);
        }
        let query = "SELECT request, sealed_answer, created_at FROM idempotency WHERE api_key = $1 AND name = $2";
        let query = sqlx::query(query).bind(key.to_string()).bind(name);
        let row = query.fetch_one(&mut *tx).await?;
        tx.commit().await?;
        if row.try_get::<String, _>("request")? != request {
            return Ok(Before::Other);
        }
        let patience = ABANDONED.as_millis() as i64;
        let is_old = row.try_get::<i64, _>("created_at")? < millis - patience;
        match row.try_get::<Option<Vec<u8>>, _>("sealed_answer")? {
            None if is_old => Ok(Before::Abandoned),
            None => Ok(Before::Underway),
            Some(sealed) => {
                let plain = self.answers().open(&context(key, name), &sealed)?;
                Ok(Before::Answered(plain.to_vec()))
            }
        }
    }

    /// Keeps the answer to a request that was [`Before::New`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_answer(&self, key: KeyId, name: &str, answer: &[u8]) -> Result<(), Error> {
        let update = "UPDATE idempotency SET sealed_answer = $1 WHERE api_key = $2 AND name = $3";
        let sealed = self.answers().seal(&context(key, name), answer)?;
        let update = sqlx::query(update).bind(sealed).bind(key.to_string()).bind(name);
        update.execute(&self.writer).await?;
        Ok(())
    }

    /// Lets a request that was [`Before::New`], and failed, be tried again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_request(&self, key: KeyId, name: &str) -> Result<(), Error> {
        let delete = "DELETE FROM idempotency WHERE api_key = $1 AND name = $2";
        let delete = sqlx::query(delete).bind(key.to_string()).bind(name);
        delete.execute(&self.writer).await?;
        Ok(())
    }

    /// Deletes answers older than a day.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep_answers(&self, now: Timestamp) -> Result<(), Error> {
        let delete = sqlx::query("DELETE FROM idempotency WHERE created_at < $1");
        let before = now.as_millisecond() - KEPT.as_millis() as i64;
        delete.bind(before).execute(&self.writer).await?;
        Ok(())
    }

    fn answers(&self) -> crate::key::SecretKey {
        self.wrap.derive("garim answers v1")
    }
}

fn context(key: KeyId, name: &str) -> String {
    format!("answer to {key} {name}")
}
