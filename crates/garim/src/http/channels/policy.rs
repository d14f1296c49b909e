//! What clients send and are shown of a channel's policy.

use serde::{Deserialize, Serialize};
use store::Policy;
use utoipa::ToSchema;

/// What is kept of a session: nothing; what viewers see; or besides, sealed, what the publisher sends, from which the
/// recording is covered once more, thoroughly, when the session is over.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RecordingPolicy)]
enum RecordingName {
    /// Nothing.
    None,
    /// What viewers see.
    Covered,
    /// The same, and, sealed, what the publisher sends: when the session is over, the recording is covered once more from
    /// that, more thoroughly. A recording then has an original like an upload. What was covered as a whole by hand is not
    /// in it.
    CoveredAndSealedOriginal,
}

impl From<store::RecordingPolicy> for RecordingName {
    fn from(policy: store::RecordingPolicy) -> Self {
        use store::RecordingPolicy as P;
        match policy {
            P::None => Self::None,
            P::Covered => Self::Covered,
            P::CoveredAndSealedOriginal => Self::CoveredAndSealedOriginal,
        }
    }
}

impl From<RecordingName> for store::RecordingPolicy {
    fn from(name: RecordingName) -> Self {
        match name {
            RecordingName::None => Self::None,
            RecordingName::Covered => Self::Covered,
            RecordingName::CoveredAndSealedOriginal => Self::CoveredAndSealedOriginal,
        }
    }
}

/// Who may watch.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Playback)]
pub enum PlaybackName {
    /// Whoever has the address.
    Public,
    /// Whoever has an address with a signature, which expires.
    Signed,
}

impl From<store::Playback> for PlaybackName {
    fn from(playback: store::Playback) -> Self {
        match playback {
            store::Playback::Public => Self::Public,
            store::Playback::Signed => Self::Signed,
        }
    }
}

impl From<PlaybackName> for store::Playback {
    fn from(name: PlaybackName) -> Self {
        match name {
            PlaybackName::Public => Self::Public,
            PlaybackName::Signed => Self::Signed,
        }
    }
}

/// What the user decides. What is left out stays as it is; in a new channel: `covered`, `public`, 60, 30.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChangePolicy)]
pub struct PolicyChange {
    recording: Option<RecordingName>,
    playback: Option<PlaybackName>,
    /// Seconds that a publisher who is gone may take to come back.
    #[schema(minimum = 5, maximum = 600)]
    reconnect_seconds: Option<u32>,
    /// Frames a second at most.
    #[schema(minimum = 1, maximum = 60)]
    max_frame_rate: Option<u32>,
}

impl PolicyChange {
    /// `policy` with these changes.
    pub fn on(self, policy: Policy) -> Policy {
        Policy {
            recording: self.recording.map_or(policy.recording, Into::into),
            playback: self.playback.map_or(policy.playback, Into::into),
            reconnect_seconds: self.reconnect_seconds.unwrap_or(policy.reconnect_seconds),
            max_frame_rate: self.max_frame_rate.unwrap_or(policy.max_frame_rate),
        }
    }
}

/// What the user decided. Changes hold from the next session on.
#[derive(Serialize, ToSchema)]
#[schema(as = Policy)]
pub struct PolicyView {
    recording: RecordingName,
    playback: PlaybackName,
    /// Seconds that a publisher who is gone may take to come back.
    reconnect_seconds: u32,
    /// Frames a second at most; of more, some are left out.
    max_frame_rate: u32,
}

impl From<Policy> for PolicyView {
    fn from(policy: Policy) -> Self {
        Self {
            recording: policy.recording.into(),
            playback: policy.playback.into(),
            reconnect_seconds: policy.reconnect_seconds,
            max_frame_rate: policy.max_frame_rate,
        }
    }
}
