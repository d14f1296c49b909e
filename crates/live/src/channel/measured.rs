//! Live channels in the numbers of `/metrics`. Without ids: there would be a series for each session.

use metrics::{counter, gauge};
use pipeline::live::wire::Pace;
use store::Protection;

/// Channels that this process runs now, by how well they are protected.
const CHANNELS: &str = "garim_live_channels";
/// Changes of that: each step of what is left out, and back, and why.
const CHANGES: &str = "garim_live_protection_changes_total";
/// Pictures, by what became of them.
const PICTURES: &str = "garim_live_pictures_total";

/// A channel, for as long as this is there.
pub(super) struct Measured {
    state: &'static str,
    /// What its child said last.
    pace: Pace,
}

impl Measured {
    pub(super) fn new(protection: &Protection) -> Self {
        for state in ["ok", "degraded", "blocked"] {
            // None is a number too.
            gauge!(CHANNELS, "protection" => state).increment(0);
        }
        let state = protection.name();
        gauge!(CHANNELS, "protection" => state).increment(1);
        Self { state, pace: Pace::default() }
    }

    /// How well it is protected from now on. The reasons are those of the child, which are few.
    pub(super) fn protection(&mut self, now: &Protection) {
        gauge!(CHANNELS, "protection" => self.state).decrement(1);
        self.state = now.name();
        gauge!(CHANNELS, "protection" => self.state).increment(1);
        let reason = now.reason().unwrap_or_default().to_owned();
        counter!(CHANGES, "protection" => self.state, "reason" => reason).increment(1);
    }

    /// Another child counts from the beginning.
    pub(super) fn new_child(&mut self) {
        self.pace = Pace::default();
    }

    pub(super) fn pace(&mut self, now: Pace) {
        let before = std::mem::replace(&mut self.pace, now);
        for (kind, before, now) in [
            ("decoded", before.decoded, now.decoded),
            ("dropped", before.dropped, now.dropped),
            ("sent", before.sent, now.sent),
            ("slate", before.slates, now.slates),
            ("repeated", before.repeated, now.repeated),
        ] {
            counter!(PICTURES, "kind" => kind).increment(now.saturating_sub(before));
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        gauge!(CHANNELS, "protection" => self.state).decrement(1);
    }
}
