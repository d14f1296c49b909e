//! Who agreed to be seen, in what, and until when.
//!
//! A record is never changed but to say that it was withdrawn. What holds is read from the records for a time
//! and a scope; everything but [`Standing::Given`] means: not shown.

use std::fmt;

use domain::{ConsentId, PersonId};
use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use crate::audit::append;
use crate::db::{check_text, id, time};
use crate::{Action, Error, Store, Topic};

/// In what somebody may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Live channels and stored videos.
    All,
    /// Live channels only.
    Live,
    /// Stored videos only.
    Videos,
}

impl Scope {
    /// As it is stored and given on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Live => "live",
            Self::Videos => "videos",
        }
    }

    /// The scope of this name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::All, Self::Live, Self::Videos].into_iter().find(|scope| scope.name() == name)
    }

    fn holds(self, wanted: Self) -> bool {
        self == Self::All || self == wanted
    }
}

/// Consent to be recorded.
#[derive(Clone, Debug)]
pub struct NewConsent {
    /// Who gave it: the person, or a guardian.
    pub given_by: String,
    /// How: "signed form 12", "told me on 3 May".
    pub how: String,
    /// For what.
    pub scope: Scope,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// Consent as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// Its id.
    pub id: ConsentId,
    /// Whose.
    pub person: PersonId,
    /// Who gave it.
    pub given_by: String,
    /// How.
    pub how: String,
    /// For what.
    pub scope: Scope,
    /// When it was recorded; it holds from then on.
    pub given_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When, and by whom it was taken back.
    pub withdrawn: Option<(Timestamp, String)>,
}

/// Whether somebody agrees to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Yes, until then if there is a time.
    Given(Option<Timestamp>),
    /// Never, or not to this.
    Never,
    /// No longer: it ended then.
    Expired(Timestamp),
    /// No longer: it was taken back then.
    Withdrawn(Timestamp),
}

impl Standing {
    /// What `records` say of `scope` at `now`.
    pub fn of(records: &[Consent], scope: Scope, now: Timestamp) -> Self {
        let mut standing = Self::Never;
        for record in records.iter().filter(|r| r.scope.holds(scope) && r.given_at <= now) {
            let one = record.standing(now);
            standing = match (standing, one) {
                (Self::Given(None), _) => standing,
                (Self::Given(Some(a)), Self::Given(Some(b))) => Self::Given(Some(a.max(b))),
                (Self::Given(_), Self::Given(None)) => one,
                (Self::Given(_), _) => standing,
                // The latest record speaks for all that are over.
                _ => one,
            };
        }
        standing
    }

    /// Whether that is a yes.
    pub fn is_given(self) -> bool {
        matches!(self, Self::Given(_))
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(None) => write!(f, "consent given"),
            Self::Given(Some(until)) => write!(f, "consent until {until:.0}"),
            Self::Never => write!(f, "no consent"),
            Self::Expired(at) => write!(f, "consent expired {at:.0}"),
            Self::Withdrawn(at) => write!(f, "consent withdrawn {at:.0}"),
        }
    }
}

impl Consent {
    fn standing(&self, now: Timestamp) -> Standing {
        match (&self.withdrawn, self.expires_at) {
            // A record of the future is believed too: clocks go back, withdrawals must not.
            (Some((at, _)), _) => Standing::Withdrawn(*at),
            (None, Some(until)) if until <= now => Standing::Expired(until),
            (None, until) => Standing::Given(until),
        }
    }
}

impl Store {
    /// Records that somebody agrees to be seen.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Invalid`] for empty words or an end in the past.
    pub async fn grant(
        &self,
        person: PersonId,
        consent: &NewConsent,
        actor: &str,
        now: Timestamp,
    ) -> Result<ConsentId, Error> {
        let mut tx = self.begin().await?;
        exists(&mut tx, person).await?;
        let id = record(self, &mut tx, person, consent, actor, now).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Takes back everything that somebody agreed to; stored videos that show them are public no longer, and are to
    /// be covered again. Gives the number of records that held until now.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn withdraw(
        &self,
        person: PersonId,
        by: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<u64, Error> {
        check_text("the name of who withdraws", by)?;
        let mut tx = self.begin().await?;
        exists(&mut tx, person).await?;
        let update = "UPDATE consents SET withdrawn_at = $1, withdrawn_by = $2 \
             WHERE person = $3 AND withdrawn_at IS NULL";
        let update =
            sqlx::query(update).bind(now.as_millisecond()).bind(by).bind(person.to_string());
        let count = update.execute(&mut *tx).await?.rows_affected();
        let detail = format!("{count} records, by {by}");
        append(self, &mut tx, actor, Action::Withdraw, &person.to_string(), &detail, now).await?;
        self.unpublish_person(&mut tx, person, "consent_withdrawn", now).await?;
        self.commit(tx, &[Topic::Jobs, Topic::Events]).await?;
        Ok(count)
    }

    /// Everything that somebody agreed to, in order of time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn consents(&self, person: PersonId) -> Result<Vec<Consent>, Error> {
        let query = "SELECT id, person, given_by, how, scope, given_at, expires_at, withdrawn_at, \
             withdrawn_by FROM consents WHERE person = $1 ORDER BY given_at, id";
        let rows = sqlx::query(query).bind(person.to_string()).fetch_all(&self.pool).await?;
        rows.iter().map(consent).collect()
    }

    /// Whether somebody agrees to be seen. Nobody agrees who is not enrolled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn standing(
        &self,
        person: PersonId,
        scope: Scope,
        now: Timestamp,
    ) -> Result<Standing, Error> {
        Ok(Standing::of(&self.consents(person).await?, scope, now))
    }
}

/// Whether somebody agrees, read in a transaction. Nobody agrees who is not enrolled.
pub(crate) async fn standing(
    tx: &mut Transaction<'static, Any>,
    person: &str,
    scope: Scope,
    now: Timestamp,
) -> Result<Standing, Error> {
    let query = "SELECT id, person, given_by, how, scope, given_at, expires_at, withdrawn_at, \
         withdrawn_by FROM consents WHERE person = $1";
    let rows = sqlx::query(query).bind(person).fetch_all(&mut **tx).await?;
    let records: Vec<Consent> = rows.iter().map(consent).collect::<Result<_, _>>()?;
    Ok(Standing::of(&records, scope, now))
}

/// Records consent in the transaction of something else.
pub(crate) async fn record(
    store: &Store,
    tx: &mut Transaction<'static, Any>,
    person: PersonId,
    consent: &NewConsent,
    actor: &str,
    now: Timestamp,
) -> Result<ConsentId, Error> {
    check_text("the name of who gives consent", &consent.given_by)?;
    check_text("how consent was given", &consent.how)?;
    if consent.expires_at.is_some_and(|end| end <= now) {
        return Err(Error::Invalid { what: "the end of the consent", why: "is in the past" });
    }
    let id = ConsentId::new(now.as_millisecond());
    let insert = "INSERT INTO consents (id, person, given_by, how, scope, given_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    sqlx::query(insert)
        .bind(id.to_string())
        .bind(person.to_string())
        .bind(&consent.given_by)
        .bind(&consent.how)
        .bind(consent.scope.name())
        .bind(now.as_millisecond())
        .bind(consent.expires_at.map(|end| end.as_millisecond()))
        .execute(&mut **tx)
        .await?;
    let end = consent.expires_at.map_or(String::new(), |end| format!(", until {end:.0}"));
    let detail = format!("consent {id} for {}{end}", consent.scope.name());
    append(store, tx, actor, Action::Grant, &person.to_string(), &detail, now).await?;
    Ok(id)
}

async fn exists(tx: &mut Transaction<'static, Any>, person: PersonId) -> Result<(), Error> {
    let row = sqlx::query("SELECT 1 FROM people WHERE id = $1").bind(person.to_string());
    match row.fetch_optional(&mut **tx).await? {
        Some(_) => Ok(()),
        None => Err(Error::NotFound { kind: "person", name: person.to_string() }),
    }
}

fn consent(row: &AnyRow) -> Result<Consent, Error> {
    let by: Option<String> = row.try_get("withdrawn_by")?;
    Ok(Consent {
        id: id(row, "id")?,
        person: id(row, "person")?,
        given_by: row.try_get("given_by")?,
        how: row.try_get("how")?,
        scope: Scope::of(&row.try_get::<String, _>("scope")?).ok_or(Error::Damaged("scope"))?,
        given_at: time(row, "given_at")?.ok_or(Error::Damaged("given_at"))?,
        expires_at: time(row, "expires_at")?,
        withdrawn: time(row, "withdrawn_at")?.map(|at| (at, by.unwrap_or_default())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn given(second: i64, scope: Scope, ends: Option<i64>, withdrawn: Option<i64>) -> Consent {
        Consent {
            id: ConsentId::new(0),
            person: PersonId::new(0),
            given_by: "Mina".to_owned(),
            how: "told me".to_owned(),
            scope,
            given_at: at(second),
            expires_at: ends.map(at),
            withdrawn: withdrawn.map(|s| (at(s), "Mina".to_owned())),
        }
    }

    #[test]
    fn nobody_agrees_who_was_not_asked_or_only_to_something_else() {
        assert_eq!(Standing::of(&[], Scope::Videos, at(0)), Standing::Never);
        let live = [given(0, Scope::Live, None, None)];
        assert_eq!(Standing::of(&live, Scope::Videos, at(1)), Standing::Never);
        assert_eq!(Standing::of(&live, Scope::All, at(1)), Standing::Never);
        assert!(Standing::of(&live, Scope::Live, at(1)).is_given());
        let later = [given(10, Scope::All, None, None)];
        assert_eq!(Standing::of(&later, Scope::Live, at(9)), Standing::Never);
        assert_eq!(Standing::of(&later, Scope::Live, at(10)), Standing::Given(None));
    }

    #[test]
    fn consent_ends_by_time_and_by_withdrawal_from_that_moment_on() {
        let ends = [given(0, Scope::All, Some(100), None)];
        assert_eq!(Standing::of(&ends, Scope::Videos, at(99)), Standing::Given(Some(at(100))));
        assert_eq!(Standing::of(&ends, Scope::Videos, at(100)), Standing::Expired(at(100)));
        let withdrawn = [given(0, Scope::All, None, Some(50))];
        assert_eq!(Standing::of(&withdrawn, Scope::Videos, at(50)), Standing::Withdrawn(at(50)));
        // A clock that was set back brings no consent back.
        assert_eq!(Standing::of(&withdrawn, Scope::Videos, at(20)), Standing::Withdrawn(at(50)));
    }

    #[test]
    fn any_record_that_holds_is_enough_and_the_longest_counts() {
        let records = [
            given(0, Scope::All, None, Some(50)),
            given(60, Scope::Videos, Some(100), None),
            given(61, Scope::All, Some(90), None),
            given(62, Scope::All, None, Some(63)),
        ];
        assert_eq!(Standing::of(&records, Scope::Videos, at(70)), Standing::Given(Some(at(100))));
        assert_eq!(Standing::of(&records, Scope::Live, at(95)), Standing::Withdrawn(at(63)));
    }
}
