//! What a channel is, and how a row holds it.

use domain::{ChannelId, ServerId, SessionId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::lease::Orders;
use crate::Error;
use crate::db::{flag, id, time};

/// Seconds that a publisher who is gone may take to come back.
const RECONNECT_SECONDS: std::ops::RangeInclusive<u32> = 5..=600;
/// Frames a second that are covered and sent on.
const FRAME_RATE: std::ops::RangeInclusive<u32> = 1..=60;

/// Where a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelState {
    /// New, and being made ready for its first publisher.
    Creating,
    /// Nobody uses it.
    Idle,
    /// Being made ready for a publisher.
    Starting,
    /// A publisher may come, or is there.
    Running,
    /// What was received is being sent, the playlist ended, the recording finished.
    Stopping,
    /// Its server is gone and another makes it ready for the publisher to come back.
    Recovering,
    /// It never became ready. Who starts it tries again.
    CreateFailed,
    /// As `Stopping`; then it is gone.
    Deleting,
}

impl ChannelState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Creating,
        Self::Idle,
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Recovering,
        Self::CreateFailed,
        Self::Deleting,
    ];

    /// As it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Recovering => "recovering",
            Self::CreateFailed => "create_failed",
            Self::Deleting => "deleting",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nobody uses the channel, so that it may be started.
    pub fn is_free(self) -> bool {
        matches!(self, Self::Idle | Self::CreateFailed)
    }
}

/// What is known of the publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ingest {
    /// Nobody has come yet.
    Waiting,
    /// Pictures arrive.
    Connected,
    /// The connection stands and brings no pictures.
    Starved,
    /// The publisher is gone, and may come back for as long as [`Policy::reconnect_seconds`] says.
    Reconnecting,
    /// Somebody with the right key was sent away, and why.
    Rejected(String),
}

impl Ingest {
    /// As it is stored and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Connected => "connected",
            Self::Starved => "starved",
            Self::Reconnecting => "reconnecting",
            Self::Rejected(_) => "rejected",
        }
    }

    /// Why it is so, where that needs a reason.
    pub fn reason(&self) -> Option<&str> {
        if let Self::Rejected(why) = self { Some(why) } else { None }
    }

    /// Whether somebody publishes, or did a moment ago.
    pub fn has_publisher(&self) -> bool {
        matches!(self, Self::Connected | Self::Starved | Self::Reconnecting)
    }
}

/// Whether everybody who must be covered is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Faces are found and covered.
    Ok,
    /// Faces cannot be found fast enough: more is covered than has to be. And why.
    Degraded(String),
    /// Nothing of the picture is sent. And why.
    Blocked(String),
}

impl Protection {
    /// As it is stored and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded(_) => "degraded",
            Self::Blocked(_) => "blocked",
        }
    }

    /// Why it is so, where that needs a reason.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Ok => None,
            Self::Degraded(why) | Self::Blocked(why) => Some(why),
        }
    }
}

/// What is kept of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingPolicy {
    /// Nothing.
    None,
    /// What viewers see.
    #[default]
    Covered,
    /// The same, and what the publisher sent, sealed, from which the recording is covered once more with more time.
    CoveredAndSealedOriginal,
}

/// Who may watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Playback {
    /// Whoever has the address. What is sent is covered, and viewers have no keys.
    #[default]
    Public,
    /// Whoever has an address that the server signed ([`crate::Store::sign_session`]).
    Signed,
}

impl Playback {
    /// As it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Signed => "signed",
        }
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        [Self::Public, Self::Signed].into_iter().find(|playback| playback.name() == name)
    }
}

/// What a channel's user decides. What is changed while a session is under way holds from the next one on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// What is kept.
    pub recording: RecordingPolicy,
    /// Who may watch.
    pub playback: Playback,
    /// Seconds that a publisher who is gone may take to come back, 5 to 600.
    pub reconnect_seconds: u32,
    /// Frames a second at most, 1 to 60; of more, some are left out.
    pub max_frame_rate: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            recording: RecordingPolicy::default(),
            playback: Playback::default(),
            reconnect_seconds: 60,
            max_frame_rate: 30,
        }
    }
}

impl Policy {
    pub(super) fn check(&self) -> Result<(), Error> {
        let (what, why) = if !RECONNECT_SECONDS.contains(&self.reconnect_seconds) {
            ("reconnect_seconds", "must lie between 5 and 600")
        } else if !FRAME_RATE.contains(&self.max_frame_rate) {
            ("max_frame_rate", "must lie between 1 and 60")
        } else {
            return Ok(());
        };
        Err(Error::Invalid { what, why })
    }

    pub(super) fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|_| Error::Damaged("policy"))
    }
}

/// Which server has a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The server.
    pub server: ServerId,
    /// Number of its claim.
    pub claim: i64,
    /// When another may take the channel over, unless the server says that it is alive.
    pub until: Timestamp,
}

/// Something to publish to, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// The user who has it.
    pub owner: String,
    /// What the user calls it.
    pub name: String,
    /// Where it is.
    pub state: ChannelState,
    /// Since when.
    pub state_since: Timestamp,
    /// Why, where that needs a reason.
    pub reason: Option<String>,
    /// What is known of the publisher.
    pub ingest: Ingest,
    /// Whether everybody who must be covered is.
    pub protection: Protection,
    /// The user's collection whose people may be seen; `None`: everybody is covered.
    pub collection: Option<String>,
    /// What the user decided.
    pub policy: Policy,
    /// Whether the whole picture is covered until somebody releases it.
    pub cover_all: bool,
    /// Goes up when whoever publishes is to be cut off. See [`crate::Orders`].
    pub admission: i64,
    /// The session that is under way.
    pub session: Option<SessionId>,
    /// Which server has it.
    pub lease: Option<Lease>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Channel {
    /// Whether a publisher is taken at `now`: the channel runs, on a server that is alive.
    pub fn is_ready(&self, now: Timestamp) -> bool {
        let is_held = self.lease.as_ref().is_some_and(|lease| now < lease.until);
        self.state == ChannelState::Running && is_held
    }

    /// How it is to be run.
    pub fn orders(&self) -> Orders {
        let Self { cover_all, admission, .. } = *self;
        Orders { cover_all, collection: self.collection.clone(), admission }
    }

    /// Whether its session is to be ended, not to go on.
    pub fn is_ending(&self) -> bool {
        matches!(self.state, ChannelState::Stopping | ChannelState::Deleting)
    }
}

/// What is read of a row.
pub(super) const COLUMNS: &str = "id, owner, name, state, state_since, reason, ingest, ingest_reason, protection, \
     protection_reason, collection, policy, cover_all, admission, session, claim, server, lease_until, created_at";

/// The channel in a row of [`COLUMNS`].
pub(super) fn channel(row: &AnyRow) -> Result<Channel, Error> {
    let text = |name| row.try_get::<Option<String>, _>(name);
    let known = |name| time(row, name)?.ok_or(Error::Damaged(name));
    let policy: String = row.try_get("policy")?;
    let session = text("session")?.map(|id| id.parse().map_err(|_| Error::Damaged("session")));
    let server = text("server")?.map(|id| id.parse().map_err(|_| Error::Damaged("server")));
    let lease = match (server.transpose()?, time(row, "lease_until")?) {
        (Some(server), Some(until)) => Some(Lease { server, claim: row.try_get("claim")?, until }),
        _ => None,
    };
    let state = ChannelState::of(&row.try_get::<String, _>("state")?);
    Ok(Channel {
        id: id(row, "id")?,
        owner: row.try_get("owner")?,
        name: row.try_get("name")?,
        state: state.ok_or(Error::Damaged("state"))?,
        state_since: known("state_since")?,
        reason: text("reason")?,
        ingest: ingest(&row.try_get::<String, _>("ingest")?, text("ingest_reason")?)?,
        protection: protection(
            &row.try_get::<String, _>("protection")?,
            text("protection_reason")?,
        )?,
        collection: text("collection")?,
        policy: serde_json::from_str(&policy).map_err(|_| Error::Damaged("policy"))?,
        cover_all: flag(row, "cover_all")?,
        admission: row.try_get("admission")?,
        session: session.transpose()?,
        lease,
        created_at: known("created_at")?,
    })
}

fn ingest(name: &str, reason: Option<String>) -> Result<Ingest, Error> {
    Ok(match name {
        "waiting" => Ingest::Waiting,
        "connected" => Ingest::Connected,
        "starved" => Ingest::Starved,
        "reconnecting" => Ingest::Reconnecting,
        "rejected" => Ingest::Rejected(reason.unwrap_or_default()),
        _ => return Err(Error::Damaged("ingest")),
    })
}

fn protection(name: &str, reason: Option<String>) -> Result<Protection, Error> {
    Ok(match name {
        "ok" => Protection::Ok,
        "degraded" => Protection::Degraded(reason.unwrap_or_default()),
        "blocked" => Protection::Blocked(reason.unwrap_or_default()),
        _ => return Err(Error::Damaged("protection")),
    })
}
