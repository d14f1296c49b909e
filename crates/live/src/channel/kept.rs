//! What is kept of a channel's session: its recording, and what its publisher sends. What cannot be kept ends that, and
//! not the broadcast.

use std::time::Duration;

use sealed::SealKey;
use store::{
    Recorded, RecordingState, Session, received_context, received_folder, recording_folder,
};
use tokio::time::timeout;

use super::Channel;
use crate::received::{Place, Received};
use crate::recorder::{Progress, Recorder};

/// How long the store may take to say what is there of a session.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

impl Channel {
    /// Goes on behind what is recorded of the session already.
    pub(super) async fn open_recorder(&mut self) {
        let Session { owner, id, started_at, .. } = &self.session;
        let opened = async {
            let folder = recording_folder(owner, *id, *started_at).parse()?;
            Recorder::open(self.shared.objects.clone(), folder).await
        };
        let reason = match timeout(OPEN_WITHIN, opened).await {
            Ok(Ok(recorder)) => return self.recorder = Some(recorder),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the store of recordings does not answer".to_owned(),
        };
        self.recording_failed(reason);
    }

    /// Goes on behind what is kept of what publishers sent in the session already.
    pub(super) async fn open_received(&mut self, key: SealKey) {
        let session = self.session.id;
        let opened = async {
            let folder = received_folder(session).parse()?;
            let (objects, context) = (self.shared.objects.clone(), received_context(session));
            let place = Place { objects, folder, key, context };
            Received::open(place, self.fence.claim, self.orders.cover_all).await
        };
        let reason = match timeout(OPEN_WITHIN, opened).await {
            Ok(Ok(received)) => return self.received = Some(received),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the store of originals does not answer".to_owned(),
        };
        self.received_failed(reason);
    }

    pub(super) fn watch_recorder(&mut self) {
        let Some(recorder) = &self.recorder else { return };
        let (recorded, failed) = (counted(&recorder.progress()), recorder.failed());
        if recorded != self.session.recorded {
            self.set_recorded(recorded);
        }
        if let Some(reason) = failed {
            self.recording_failed(reason);
        }
    }

    /// The broadcast goes on without.
    fn recording_failed(&mut self, reason: String) {
        tracing::error!(channel = %self.fence.channel, reason, "the recording failed");
        self.recorder = None;
        self.set_recording(RecordingState::Failed { reason });
    }

    pub(super) fn watch_received(&mut self) {
        let now = self.began.elapsed();
        let Some(received) = &mut self.received else { return };
        received.look_after(now);
        if let Some(reason) = received.failed() {
            self.received_failed(reason);
        }
    }

    /// The broadcast and its recording go on without.
    fn received_failed(&mut self, reason: String) {
        tracing::error!(channel = %self.fence.channel, reason, "what the publisher sends cannot be kept");
        self.received = None;
        self.tell_received_lost(reason);
    }

    /// Waits until all is stored that was received. `is_end`: the session is over.
    pub(super) async fn finish_received(&mut self, is_end: bool) {
        if let Some(received) = self.received.take()
            && let Err(reason) = received.finish(is_end).await
        {
            self.received_failed(reason);
        }
    }

    /// Waits until all is stored that was recorded.
    pub(super) async fn finish_recorder(&mut self) {
        let Some(recorder) = self.recorder.take() else { return };
        let progress = recorder.finish().await;
        self.set_recorded(counted(&progress));
        if let Some(reason) = progress.failed {
            self.set_recording(RecordingState::Failed { reason });
        }
    }
}

fn counted(progress: &Progress) -> Recorded {
    let Progress { segments, bytes, ticks, .. } = *progress;
    Recorded { segments, bytes, duration_ms: ticks / 90 }
}
