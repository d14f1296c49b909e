//! What a channel tells the database: written by a task of its own, so that a database that is slow or away holds up
//! no broadcast.

use std::time::Duration;

use jiff::Timestamp;
use store::{ChannelFence, Error, Ingest, Protection, Recorded, RecordingState, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Channel;

/// What is not written yet, at most.
const WAITING: usize = 64;
/// What could not be written is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long the end of a session waits for what is not written yet.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// A change of a channel.
#[derive(Debug)]
enum Told {
    /// It can take a publisher.
    Running,
    Ingest(Ingest),
    Protection(Protection),
    Recording(RecordingState),
    Recorded(Recorded),
    /// What the publisher sends cannot be kept.
    ReceivedLost(String),
}

/// Writes what it is told, in order.
pub(super) struct Clerk {
    to: mpsc::Sender<(Timestamp, Told)>,
    task: JoinHandle<()>,
    /// Something did not fit, so what is written last may not be how things are.
    is_behind: bool,
}

impl Clerk {
    pub(super) fn new(store: Store, fence: ChannelFence) -> Self {
        let (to, told) = mpsc::channel(WAITING);
        Self { to, task: tokio::spawn(write_all(store, fence, told)), is_behind: false }
    }

    fn tell(&mut self, told: Told) {
        self.is_behind |= self.to.try_send((Timestamp::now(), told)).is_err();
    }

    /// Whether something was left out, and there is room to say how things are.
    fn catches_up(&mut self) -> bool {
        let is_idle = self.to.capacity() == WAITING;
        is_idle && std::mem::take(&mut self.is_behind)
    }

    /// Waits until all is written, but not for ever: a session can be ended by another server too.
    pub(super) async fn finish(self) {
        drop(self.to);
        let stop = self.task.abort_handle();
        if timeout(LAST_WORDS, self.task).await.is_err() {
            stop.abort();
        }
    }
}

impl Channel {
    pub(super) fn tell_running(&mut self) {
        self.running = true;
        self.clerk.tell(Told::Running);
    }

    pub(super) fn set_ingest(&mut self, ingest: Ingest) {
        if self.ingest != ingest {
            self.clerk.tell(Told::Ingest(ingest.clone()));
            self.ingest = ingest;
        }
    }

    /// Somebody was sent away while another one publishes, who goes on.
    pub(super) fn tell_rejected(&mut self, why: String) {
        self.clerk.tell(Told::Ingest(Ingest::Rejected(why)));
    }

    pub(super) fn set_protection(&mut self, protection: Protection) {
        self.clerk.tell(Told::Protection(protection.clone()));
        if protection != self.protection {
            self.measured.protection(&protection);
        }
        self.protection = protection;
    }

    pub(super) fn set_recording(&mut self, recording: RecordingState) {
        self.clerk.tell(Told::Recording(recording.clone()));
        self.recording = recording;
    }

    pub(super) fn tell_received_lost(&mut self, reason: String) {
        self.clerk.tell(Told::ReceivedLost(reason.clone()));
        self.received_lost = Some(reason);
    }

    pub(super) fn set_recorded(&mut self, recorded: Recorded) {
        self.clerk.tell(Told::Recorded(recorded));
        self.session.recorded = recorded;
    }

    /// Says once more how things are, where that did not fit.
    pub(super) fn catch_up(&mut self) {
        if !self.clerk.catches_up() {
            return;
        }
        if self.running {
            self.tell_running();
        }
        self.clerk.tell(Told::Ingest(self.ingest.clone()));
        self.set_protection(self.protection.clone());
        if matches!(self.recording, RecordingState::Recording | RecordingState::Failed { .. }) {
            self.set_recording(self.recording.clone());
        }
        self.set_recorded(self.session.recorded);
        if let Some(reason) = self.received_lost.clone() {
            self.tell_received_lost(reason);
        }
    }
}

async fn write_all(store: Store, fence: ChannelFence, mut told: mpsc::Receiver<(Timestamp, Told)>) {
    while let Some((at, told)) = told.recv().await {
        while let Err(error) = write(&store, &fence, &told, at).await {
            tracing::warn!(channel = %fence.channel, %error, ?told, "could not be told");
            // Nothing else changes by trying again. A channel that was stopped or lost meanwhile: the next beat says so.
            if !matches!(error, Error::Unavailable { .. }) {
                break;
            }
            sleep(AGAIN_AFTER).await;
        }
    }
}

async fn write(
    store: &Store,
    fence: &ChannelFence,
    told: &Told,
    now: Timestamp,
) -> Result<(), Error> {
    match told {
        Told::Running => store.channel_running(fence, now).await.map(drop),
        Told::Ingest(ingest) => store.set_ingest(fence, ingest, now).await,
        Told::Protection(protection) => store.set_protection(fence, protection, now).await,
        Told::Recording(recording) => store.set_recording(fence, recording, now).await,
        Told::Recorded(recorded) => store.set_recorded(fence, recorded).await,
        Told::ReceivedLost(reason) => store.received_lost(fence, reason, now).await,
    }
}
