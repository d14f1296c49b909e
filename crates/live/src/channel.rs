//! One channel while its session runs: the task that its publisher, its child, its viewers and the database meet in.
//!
//! The broadcast outlives its publisher and its child. A publisher may come back for a while; a child that dies is
//! followed by another one that goes on where it left off, and what it should have sent meanwhile is a slate.

mod consent;
mod covering;
mod kept;
mod measured;
mod publisher;
mod told;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::Size;
use jiff::{SignedDuration, Timestamp};
use pipeline::KeepSpec;
use pipeline::live::LiveEncoding;
use pipeline::live::wire::{Header, ToChild};
use rtmp::{AudioMessage, Rejection, VideoMessage};
use store::{
    ChannelFence, Claimed, Ingest, Objects, Orders, Protection, RecordingPolicy, RecordingState,
    Session, Store,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::child::{Child, Spawn};
use crate::hls::{self, Duration90k, Playlist};
use crate::origin::{Origin, WAITING_LIMIT};
use crate::received::Received;
use crate::recorder::Recorder;
use consent::Consent;
use covering::hear;
use measured::Measured;
use publisher::receive;
use told::Clerk;

/// Longest part, and longest segment, in ticks of 1/90000 s: parts are about a third of a second whatever the frame
/// rate is, segments two.
const PART_TARGET: Duration90k = Duration90k(31_500);
const SEGMENT_TARGET: Duration90k = Duration90k(189_000);
/// What counts segments and discontinuities that a server before this one may have sent: no fewer than it did, as there
/// is a segment every two seconds, and a discontinuity when the first publisher comes.
const SHORTEST_SEGMENT: u64 = 1;
const CHANGES: u64 = 10;
/// How often a channel looks after its child, its publisher and its recording.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// A publisher that sends no picture for this long is starved. As long as it sends anything, sound alone too, it stays:
/// viewers see the slate, and pictures may come back.
const STARVED: Duration = Duration::from_secs(3);

/// What all channels of a server share.
#[derive(Clone)]
pub struct Shared {
    /// The database.
    pub store: Store,
    /// Where recordings go.
    pub objects: Objects,
    /// How to start a child.
    pub spawn: Spawn,
    /// How pictures are compressed.
    pub encoding: LiveEncoding,
    /// Largest pictures; larger ones are made smaller.
    pub largest: Size,
}

/// What a channel is asked.
pub(crate) enum Command {
    /// Somebody with the right key, let in at this count of [`store::Channel::admission`], wants to publish.
    Publish {
        /// See [`store::Channel::admission`].
        admission: i64,
        /// What to say to them.
        reply: oneshot::Sender<Result<Admitted, Rejection>>,
    },
    /// What the database says is to be done.
    Orders(Orders),
    /// End the session.
    Stop,
    /// Another server has the channel.
    Lost,
}

/// What a publisher sends.
pub(crate) enum Media {
    Video {
        message: VideoMessage,
        frame_rate: Option<f64>,
    },
    Audio(AudioMessage),
    /// It sends what is not taken, and was told so.
    Refused(Rejection),
}

/// Leave to publish: what is sent goes here. Closed when the publisher is to be cut off; dropped when it is gone.
pub(crate) type Admitted = mpsc::Sender<Media>;

/// A channel that runs here.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) fence: ChannelFence,
    pub(crate) session: Session,
    pub(crate) origin: Arc<Origin>,
    pub(crate) commands: mpsc::Sender<Command>,
}

/// Somebody who publishes.
struct Publisher {
    admission: i64,
    /// Dropped to cut them off.
    media: mpsc::Receiver<Media>,
    last_picture: Instant,
}

/// A channel and what it is made of.
pub(crate) struct Channel {
    shared: Shared,
    fence: ChannelFence,
    session: Session,
    reconnect: Duration,
    max_frame_rate: u32,
    orders: Orders,
    consent: Consent,
    clerk: Clerk,
    origin: Arc<Origin>,
    recorder: Option<Recorder>,
    /// What the publisher sends, where that is kept.
    received: Option<Received>,
    /// Why that is kept no longer.
    received_lost: Option<String>,
    /// When the broadcast began, by both clocks.
    began: Instant,
    began_at: Timestamp,
    child: Option<Child>,
    /// When the next child is started, when there is none; and how many died young.
    again_at: Instant,
    died: u32,
    started: Instant,
    heard: Instant,
    header: Option<(Header, Bytes)>,
    /// End of what was sent, in ticks since the broadcast began.
    end: i64,
    publisher: Option<Publisher>,
    /// When somebody was last said to be rejected.
    rejected: Option<Instant>,
    /// How the pictures and the sound are coded: a new child has to be told.
    video_config: Option<(Bytes, Option<f64>)>,
    sound_config: Option<Bytes>,
    /// Pictures are left out up to the next key frame.
    skipping: bool,
    /// Until when a publisher may come back; `None`: none came yet.
    gone: Option<Instant>,
    ingest: Ingest,
    protection: Protection,
    measured: Measured,
    keep: Vec<KeepSpec>,
    running: bool,
    recording: RecordingState,
}

/// How a channel's task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Its session is to be ended, because somebody asked or the publisher did not come back.
    Stopped,
    PublisherGone,
    /// Another server has it.
    Lost,
}

impl Channel {
    /// Starts the task of a channel that was claimed. If its session is to be ended, that is all it does.
    ///
    /// # Errors
    /// None, as the targets are.
    pub(crate) fn start(shared: Shared, claimed: Claimed) -> Result<Handle, store::Error> {
        let Claimed { fence, channel, session, received: key } = claimed;
        let now = Timestamp::now();
        // A session that another server began goes on by the same clock.
        let elapsed = now.duration_since(session.started_at).max(SignedDuration::ZERO);
        let elapsed = Duration::try_from(elapsed).unwrap_or_default();
        let settings = hls::Settings::new(SEGMENT_TARGET, PART_TARGET);
        // Caches keep what is under a name for ever, and who takes over makes another segment of the same number.
        let playlist = Playlist::new(settings, &format!("{}-", fence.claim))
            .map_err(|_| store::Error::Invalid { what: "playlist", why: "has unusable targets" })?
            .behind(elapsed.as_secs() / SHORTEST_SEGMENT, fence.claim.unsigned_abs() * CHANGES);
        let origin = Arc::new(Origin::new(playlist, WAITING_LIMIT));
        let (commands, received) = mpsc::channel(32);
        let instant = Instant::now();
        let is_ending = channel.is_ending();
        let (store, owner) = (shared.store.clone(), session.owner.clone());
        let collection = channel.collection.clone();
        let mut task = Self {
            consent: Consent::ask(store.clone(), fence.channel, owner, collection),
            clerk: Clerk::new(store, fence),
            fence,
            session: session.clone(),
            reconnect: Duration::from_secs(channel.policy.reconnect_seconds.into()),
            max_frame_rate: channel.policy.max_frame_rate,
            orders: channel.orders(),
            origin: Arc::clone(&origin),
            recorder: None,
            received: None,
            received_lost: None,
            began: instant.checked_sub(elapsed).unwrap_or(instant),
            began_at: now - SignedDuration::try_from(elapsed).unwrap_or_default(),
            child: None,
            again_at: instant,
            died: 0,
            started: instant,
            heard: instant,
            header: None,
            end: 0,
            publisher: None,
            rejected: None,
            video_config: None,
            sound_config: None,
            skipping: true,
            gone: (channel.ingest == Ingest::Reconnecting).then_some(instant),
            ingest: channel.ingest,
            measured: Measured::new(&channel.protection),
            protection: channel.protection,
            keep: Vec::new(),
            running: false,
            recording: session.recording.clone(),
            shared,
        };
        let records = channel.policy.recording != RecordingPolicy::None;
        tokio::spawn(async move {
            if records {
                task.open_recorder().await;
            }
            if let Some(key) = key {
                task.open_received(key).await;
            }
            if is_ending { task.end(Over::Stopped).await } else { task.run(received).await }
        });
        Ok(Handle { fence, session, origin, commands })
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let over = loop {
            let again_at = self.again_at;
            // Nothing in here waits for the database, nor for the objects.
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => if let Some(over) = self.take(command) { break over },
                    None => break Over::Lost,
                },
                media = receive(&mut self.publisher) => match media {
                    Some(media) => self.media(media),
                    None => self.gone(),
                },
                heard = hear(&mut self.child) => match heard {
                    Some((message, bytes)) => self.heard(message, bytes),
                    None => self.child_died().await,
                },
                people = self.consent.changed() => match people {
                    Some(people) => self.show(people),
                    None => break Over::Lost,
                },
                () = sleep_until(again_at), if self.child.is_none() => self.start_child(),
                _ = look.tick() => if let Some(over) = self.look_after().await { break over },
            }
        };
        self.end(over).await;
    }

    fn take(&mut self, command: Command) -> Option<Over> {
        match command {
            Command::Publish { admission, reply } => {
                // If nobody hears that they are let in, they are gone again.
                let _ = reply.send(self.admit(admission));
            }
            Command::Orders(orders) => self.follow(orders),
            Command::Stop => return Some(Over::Stopped),
            Command::Lost => return Some(Over::Lost),
        }
        None
    }

    fn follow(&mut self, orders: Orders) {
        let before = std::mem::replace(&mut self.orders, orders);
        if before.cover_all != self.orders.cover_all {
            let (on, now) = (self.orders.cover_all, self.began.elapsed());
            if let Some(received) = &mut self.received {
                received.hide(on, now);
            }
            self.say(ToChild::CoverAll { on }, Bytes::new());
        }
        if before.collection != self.orders.collection {
            self.consent.of(self.orders.collection.clone());
        }
        let admission = self.orders.admission;
        if self.publisher.as_ref().is_some_and(|publisher| publisher.admission < admission) {
            self.gone();
        }
    }

    /// These may be seen from now on, and nobody else.
    fn show(&mut self, people: Vec<KeepSpec>) {
        self.keep = people;
        let ids: Vec<String> = self.keep.iter().map(|person| person.name.clone()).collect();
        if let Some(recorder) = &mut self.recorder {
            recorder.people(&ids);
        }
        self.say(ToChild::Keep { keep: self.keep.clone() }, Bytes::new());
    }

    fn say(&self, message: ToChild, bytes: Bytes) {
        if let Some(child) = &self.child {
            // One that takes nothing hangs, and is killed for that.
            let _ = child.say(message, bytes);
        }
    }

    /// What is looked after a few times a second.
    async fn look_after(&mut self) -> Option<Over> {
        self.catch_up();
        self.watch_child().await;
        self.watch_recorder();
        self.watch_received();
        let now = Instant::now();
        if self.ingest == Ingest::Connected
            && self.publisher.as_ref().is_some_and(|p| now - p.last_picture > STARVED)
        {
            self.set_ingest(Ingest::Starved);
        }
        let over = self.gone.is_some_and(|since| now - since > self.reconnect);
        (over && self.publisher.is_none()).then_some(Over::PublisherGone)
    }

    /// Ends the broadcast, and the session unless another server has it.
    async fn end(mut self, over: Over) {
        self.publisher = None;
        if over != Over::Lost {
            self.last_parts().await;
        }
        self.origin.end();
        if let Some(child) = self.child.take() {
            child.kill().await;
        }
        self.finish_received(over != Over::Lost).await;
        if over == Over::Lost {
            return;
        }
        self.finish_recorder().await;
        self.clerk.finish().await;
        let done = close(&self.shared.store, &self.fence, &self.session, over).await;
        if let Err(error) = done {
            // It is done again by whoever claims the channel next.
            tracing::warn!(channel = %self.fence.channel, %error, "the session is not over yet");
        }
    }
}

/// Says that the session is over.
async fn close(
    store: &Store,
    fence: &ChannelFence,
    session: &Session,
    over: Over,
) -> Result<(), store::Error> {
    let now = Timestamp::now();
    if over == Over::PublisherGone {
        store.stop_live(&session.owner, fence.channel, "live", now).await?;
    }
    store.finish_recording(fence, now).await?;
    store.channel_stopped(fence, now).await
}
