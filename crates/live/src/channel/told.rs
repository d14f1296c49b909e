//! What a channel asks the database, and tells it.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use pipeline::live::wire::ToChild;
use store::{Ingest, Protection, RecordingState};
use tokio::time::Instant;

use super::Channel;
use crate::people::people_to_keep;

/// When it could not be asked for this long, nobody may be seen.
const CONSENT_GOOD_FOR: Duration = Duration::from_secs(10);

impl Channel {
    /// Follows who agrees to be seen. When nobody can say, nobody is.
    pub(super) async fn ask_consent(&mut self) {
        let collection = self.orders.collection.as_deref();
        let now = Timestamp::now();
        let keep = match people_to_keep(&self.shared.store, &self.session.owner, collection, now)
            .await
        {
            Ok(keep) => {
                self.asked = Instant::now();
                keep
            }
            Err(error) => {
                if self.asked.elapsed() < CONSENT_GOOD_FOR {
                    return;
                }
                tracing::warn!(channel = %self.fence.channel, %error, "nobody can say who agrees");
                Vec::new()
            }
        };
        if keep == self.keep {
            return;
        }
        self.keep = keep;
        let ids: Vec<String> = self.keep.iter().map(|person| person.name.clone()).collect();
        if let Some(recorder) = &mut self.recorder {
            recorder.people(&ids);
        }
        self.say(ToChild::Keep { keep: self.keep.clone() }, Bytes::new());
    }

    pub(super) async fn set_ingest(&mut self, ingest: Ingest) {
        if self.ingest == ingest {
            return;
        }
        let told = self.shared.store.set_ingest(&self.fence, &ingest, Timestamp::now()).await;
        self.note("ingest", told);
        self.ingest = ingest;
    }

    pub(super) async fn set_protection(&mut self, protection: Protection) {
        let now = Timestamp::now();
        let told = self.shared.store.set_protection(&self.fence, &protection, now).await;
        self.note("protection", told);
    }

    pub(super) async fn set_recording(&mut self, recording: RecordingState) {
        let now = Timestamp::now();
        let told = self.shared.store.set_recording(&self.fence, &recording, now).await;
        self.note("recording", told);
        self.recording = recording;
    }

    pub(super) fn note(&self, what: &str, told: Result<(), store::Error>) {
        if let Err(error) = told {
            tracing::warn!(channel = %self.fence.channel, %error, what, "could not be told");
        }
    }
}
