//! What clients send and are shown of channels and sessions.

use domain::{ChannelId, SessionId, VideoId};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use store::{Channel, Ingest, Protection, RecordingState, Session};
use utoipa::ToSchema;

use super::policy::{PlaybackName, PolicyChange, PolicyView};
use crate::http::App;
use crate::http::live::{Destination, destination};

/// A channel to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateChannel {
    /// The user's name where it is left out.
    #[schema(max_length = 200)]
    pub name: Option<String>,
    /// The user's collection whose people may be seen, if they agree to it; nobody where it is left out.
    pub collection: Option<String>,
    #[serde(default)]
    pub policy: PolicyChange,
}

/// What to change of a channel. What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchChannel {
    #[schema(max_length = 200)]
    pub name: Option<String>,
    /// `null`: everybody is covered.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub collection: Option<Option<String>>,
    pub policy: Option<PolicyChange>,
}

/// Tells a value that is `null` from one that is not there.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// A new stream key.
#[derive(Serialize, ToSchema)]
pub struct RotatedKey {
    pub stream_key: String,
    /// Where to publish to, with the key in it.
    pub source_url: String,
}

/// Where a channel is.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ChannelState)]
enum StateName {
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
    /// Its server is gone, and another makes it ready for the publisher to come back.
    Recovering,
    /// It never became ready; who starts it tries again.
    CreateFailed,
    /// As stopping; then it is gone.
    Deleting,
}

impl From<store::ChannelState> for StateName {
    fn from(state: store::ChannelState) -> Self {
        use store::ChannelState as S;
        match state {
            S::Creating => Self::Creating,
            S::Idle => Self::Idle,
            S::Starting => Self::Starting,
            S::Running => Self::Running,
            S::Stopping => Self::Stopping,
            S::Recovering => Self::Recovering,
            S::CreateFailed => Self::CreateFailed,
            S::Deleting => Self::Deleting,
        }
    }
}

/// What is known of the publisher.
#[derive(Serialize, ToSchema)]
#[schema(as = Ingest)]
struct IngestView {
    /// `waiting`, `connected`, `starved` (the connection brings no pictures), `reconnecting` or `rejected`.
    state: &'static str,
    /// Why somebody was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<Ingest> for IngestView {
    fn from(ingest: Ingest) -> Self {
        Self { state: ingest.name(), reason: ingest.reason().map(str::to_owned) }
    }
}

/// Whether everybody who must be covered is.
#[derive(Serialize, ToSchema)]
#[schema(as = Protection)]
struct ProtectionView {
    /// `ok`, `degraded` (more is covered than has to be) or `blocked` (nothing of the picture is sent).
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<Protection> for ProtectionView {
    fn from(protection: Protection) -> Self {
        Self { state: protection.name(), reason: protection.reason().map(str::to_owned) }
    }
}

/// Something to publish to.
#[derive(Serialize, ToSchema)]
#[schema(as = Channel)]
pub struct ChannelView {
    #[schema(value_type = String, format = Uuid)]
    pub id: ChannelId,
    user: String,
    name: String,
    state: StateName,
    #[schema(value_type = String, format = DateTime)]
    state_since: Timestamp,
    /// Why it is in this state, where that needs a reason.
    reason: Option<String>,
    ingest: IngestView,
    protection: ProtectionView,
    /// The collection whose people may be seen, if they agree to it; `null`: everybody is covered.
    collection: Option<String>,
    policy: PolicyView,
    /// Whether the whole picture is covered until somebody releases it.
    cover_all: bool,
    /// The session that is under way.
    #[schema(value_type = Option<String>, format = Uuid)]
    session: Option<SessionId>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Channel> for ChannelView {
    fn from(channel: Channel) -> Self {
        Self {
            id: channel.id,
            user: channel.owner,
            name: channel.name,
            state: channel.state.into(),
            state_since: channel.state_since,
            reason: channel.reason,
            ingest: channel.ingest.into(),
            protection: channel.protection.into(),
            collection: channel.collection,
            policy: channel.policy.into(),
            cover_all: channel.cover_all,
            session: channel.session,
            created_at: channel.created_at,
        }
    }
}

/// What was recorded.
#[derive(Serialize, ToSchema)]
#[schema(as = Recording)]
struct RecordingView {
    /// `off`, `waiting` (for a publisher), `recording`, `finishing`, `ready` or `failed`.
    state: &'static str,
    /// What it became.
    #[schema(value_type = Option<String>, format = Uuid)]
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<VideoId>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How much of it there is so far.
    segments: u64,
    bytes: u64,
    duration_ms: u64,
}

/// One time that a channel was live, from its start to its stop.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView {
    #[schema(value_type = String, format = Uuid)]
    pub id: SessionId,
    /// It may be gone, or another user's, meanwhile.
    #[schema(value_type = String, format = Uuid)]
    channel: ChannelId,
    /// The collection whose people could be seen when it started.
    collection: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// Why it ended, where nobody stopped it.
    reason: Option<String>,
    /// When somebody published for the first time.
    #[schema(value_type = Option<String>, format = DateTime)]
    first_publish_at: Option<Timestamp>,
    playback: PlaybackName,
    destination_url: Destination,
    recording: RecordingView,
}

impl SessionView {
    pub fn new(app: &App, session: Session) -> Self {
        let destination_url = destination(app, &session);
        let state = session.recording.name();
        let (video, reason) = match session.recording {
            RecordingState::Ready { video } => (Some(video), None),
            RecordingState::Failed { reason } => (None, Some(reason)),
            _ => (None, None),
        };
        let store::Recorded { segments, bytes, duration_ms } = session.recorded;
        Self {
            id: session.id,
            channel: session.channel,
            collection: session.collection,
            started_at: session.started_at,
            ended_at: session.ended_at,
            reason: session.reason,
            first_publish_at: session.first_publish_at,
            playback: session.playback.into(),
            destination_url,
            recording: RecordingView { state, video, reason, segments, bytes, duration_ms },
        }
    }
}
