//! One channel while its session runs: the task that its publisher, its child, its viewers and the database meet in.
//!
//! The broadcast outlives its publisher and its child. A publisher may come back for a while; a child that dies is
//! followed by another one that goes on where it left off, and what it should have sent meanwhile is a slate.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::Size;
use jiff::{SignedDuration, Timestamp};
use pipeline::KeepSpec;
use pipeline::live::wire::{self, FromChild, Header, Part, ToChild};
use pipeline::live::{LiveEncoding, LiveSpec, Resume};
use rtmp::{AudioMessage, Rejection, VideoMessage};
use store::{
    ChannelFence, ChannelState, Claimed, Ingest, Objects, Orders, Protection, Recorded,
    RecordingPolicy, RecordingState, Session, Store, recording_folder,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::child::{Child, Spawn};
use crate::hls::{self, Duration90k, Playlist, Rendition};
use crate::origin::{Origin, WAITING_LIMIT};
use crate::people::people_to_keep;
use crate::recorder::{Progress, Recorder};

/// Longest part, and longest segment, in ticks of 1/90000 s: parts are about a third of a second whatever the frame
/// rate is, segments two.
const PART_TARGET: Duration90k = Duration90k(31_500);
const SEGMENT_TARGET: Duration90k = Duration90k(189_000);
/// How often the database is asked who may be seen. What it says is followed at once.
const CONSENT_EVERY: Duration = Duration::from_millis(400);
/// When it could not be asked for this long, nobody may be seen.
const CONSENT_GOOD_FOR: Duration = Duration::from_secs(10);
/// A publisher that sends no picture for this long is starved. As long as it sends anything, sound alone too, it stays:
/// viewers see the slate, and pictures may come back.
const STARVED: Duration = Duration::from_secs(3);
/// That somebody wants to publish where another one does is told this often at most, however often they try.
const REJECTED_EVERY: Duration = Duration::from_secs(10);
/// What a publisher sent and was not looked at, at most: messages of 4 MiB ([`rtmp::Limits::media`]) or less. When there
/// are as many, nothing is read from its socket.
const MEDIA: usize = 16;
/// A child that says nothing for this long hangs.
const CHILD_SILENCE: Duration = Duration::from_secs(10);
/// The first child after one that lived for a while starts at once, others after so long, times how many died.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const LONGEST_AGAIN: Duration = Duration::from_secs(10);
/// A child that lived for this long did not die of how it was started.
const LIVED: Duration = Duration::from_secs(20);
/// How long a child may take to end a broadcast.
const LAST_PARTS: Duration = Duration::from_secs(5);
/// Most memory that a child may use, in KiB.
const MAX_RESIDENT_KIB: u64 = 2 << 20;

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
    Video { message: VideoMessage, frame_rate: Option<f64> },
    Audio(AudioMessage),
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
    origin: Arc<Origin>,
    recorder: Option<Recorder>,
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
    keep: Vec<KeepSpec>,
    asked: Instant,
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
    /// When the recording's folder cannot be read.
    pub(crate) async fn start(shared: Shared, claimed: Claimed) -> Result<Handle, store::Error> {
        let Claimed { fence, channel, session } = claimed;
        let now = Timestamp::now();
        let settings = hls::Settings::new(SEGMENT_TARGET, PART_TARGET);
        // Who takes over numbers segments from 0 again: caches keep what is under a name for ever.
        let playlist = Playlist::new(settings, &format!("{}-", fence.claim))
            .map_err(|_| store::Error::Invalid { what: "playlist", why: "has unusable targets" })?;
        let origin = Arc::new(Origin::new(playlist, WAITING_LIMIT));
        let records = channel.policy.recording != RecordingPolicy::None;
        let recorder = if records {
            let folder =
                recording_folder(&session.owner, session.id, session.started_at).parse()?;
            Some(Recorder::open(shared.objects.clone(), folder).await?)
        } else {
            None
        };
        // A session that another server began goes on by the same clock.
        let elapsed = now.duration_since(session.started_at).max(SignedDuration::ZERO);
        let elapsed = Duration::try_from(elapsed).unwrap_or_default();
        let (commands, received) = mpsc::channel(32);
        let instant = Instant::now();
        let orders = Orders {
            cover_all: channel.cover_all,
            collection: channel.collection.clone(),
            admission: channel.admission,
        };
        let task = Self {
            fence,
            session: session.clone(),
            reconnect: Duration::from_secs(channel.policy.reconnect_seconds.into()),
            max_frame_rate: channel.policy.max_frame_rate,
            orders,
            origin: Arc::clone(&origin),
            recorder,
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
            keep: Vec::new(),
            asked: instant,
            running: false,
            recording: session.recording.clone(),
            shared,
        };
        let is_over = matches!(channel.state, ChannelState::Stopping | ChannelState::Deleting);
        if is_over {
            tokio::spawn(task.end(Over::Stopped));
        } else {
            tokio::spawn(task.run(received));
        }
        Ok(Handle { fence, session, origin, commands })
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut consent = interval(CONSENT_EVERY);
        consent.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let over = loop {
            let again_at = self.again_at;
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => if let Some(over) = self.take(command).await { break over },
                    None => break Over::Lost,
                },
                media = receive(&mut self.publisher) => match media {
                    Some(media) => self.media(media).await,
                    None => self.gone().await,
                },
                heard = hear(&mut self.child) => match heard {
                    Some((message, bytes)) => self.heard(message, bytes).await,
                    None => self.child_died().await,
                },
                () = sleep_until(again_at), if self.child.is_none() => self.start_child(),
                _ = consent.tick() => if let Some(over) = self.look_after().await { break over },
            }
        };
        self.end(over).await;
    }

    async fn take(&mut self, command: Command) -> Option<Over> {
        match command {
            Command::Publish { admission, reply } => {
                // If nobody hears that they are let in, they are gone again.
                let _ = reply.send(self.admit(admission).await);
            }
            Command::Orders(orders) => self.follow(orders).await,
            Command::Stop => return Some(Over::Stopped),
            Command::Lost => return Some(Over::Lost),
        }
        None
    }

    async fn admit(&mut self, admission: i64) -> Result<Admitted, Rejection> {
        if admission < self.orders.admission {
            return Err(Rejection::WrongKey);
        }
        match &self.publisher {
            // It is gone, and was not missed yet.
            Some(publisher) if publisher.media.is_closed() => self.gone().await,
            Some(_) => {
                self.tell_rejected(&Rejection::Busy).await;
                return Err(Rejection::Busy);
            }
            None => {}
        }
        let (admitted, media) = mpsc::channel(MEDIA);
        self.publisher = Some(Publisher { admission, media, last_picture: Instant::now() });
        (self.video_config, self.sound_config, self.skipping) = (None, None, true);
        self.gone = None;
        self.set_ingest(Ingest::Connected).await;
        if self.recorder.is_some() && self.recording == RecordingState::Waiting {
            self.set_recording(RecordingState::Recording).await;
        }
        Ok(admitted)
    }

    /// The publisher is gone, or cut off.
    async fn gone(&mut self) {
        self.publisher = None;
        self.say(ToChild::Away, Bytes::new());
        self.gone = Some(Instant::now());
        self.set_ingest(Ingest::Reconnecting).await;
    }

    /// Somebody with the right key was sent away while another one publishes, who goes on.
    async fn tell_rejected(&mut self, why: &Rejection) {
        let now = Instant::now();
        if self.rejected.is_some_and(|at| now - at < REJECTED_EVERY) {
            return;
        }
        self.rejected = Some(now);
        let rejected = Ingest::Rejected(why.to_string());
        let told = self.shared.store.set_ingest(&self.fence, &rejected, Timestamp::now()).await;
        self.note("ingest", told);
    }

    async fn follow(&mut self, orders: Orders) {
        let before = std::mem::replace(&mut self.orders, orders);
        if before.cover_all != self.orders.cover_all {
            self.say(ToChild::CoverAll { on: self.orders.cover_all }, Bytes::new());
        }
        if before.collection != self.orders.collection {
            self.ask_consent().await;
        }
        let admission = self.orders.admission;
        if self.publisher.as_ref().is_some_and(|publisher| publisher.admission < admission) {
            self.gone().await;
        }
    }

    /// Passes on what the publisher sent. What the child does not take is left out up to the next key frame.
    async fn media(&mut self, media: Media) {
        match media {
            Media::Video { message: VideoMessage::Config { avcc }, frame_rate } => {
                self.video_config = Some((avcc.clone(), frame_rate));
                self.skipping = true;
                self.say(ToChild::VideoConfig { frame_rate }, avcc);
            }
            Media::Video {
                message: VideoMessage::Frame { timestamp_ms, composition_ms, keyframe, data },
                ..
            } => {
                if let Some(publisher) = &mut self.publisher {
                    publisher.last_picture = Instant::now();
                }
                if self.ingest == Ingest::Starved {
                    self.set_ingest(Ingest::Connected).await;
                }
                let Some(child) = &self.child else { return };
                if keyframe && child.is_ready() {
                    self.skipping = false;
                }
                if self.skipping {
                    return;
                }
                let (ms, key) = (timestamp_ms, keyframe);
                let said = child.say(ToChild::Video { ms, composition_ms, key }, data);
                self.skipping = said.is_err();
            }
            Media::Video { message: VideoMessage::EndOfSequence, .. } => {}
            Media::Audio(AudioMessage::Config { asc }) => {
                self.sound_config = Some(asc.clone());
                self.say(ToChild::SoundConfig, asc);
            }
            Media::Audio(AudioMessage::Frame { timestamp_ms, data }) => {
                self.say(ToChild::Sound { ms: timestamp_ms }, data);
            }
        }
    }

    fn say(&self, message: ToChild, bytes: Bytes) {
        if let Some(child) = &self.child {
            // One that takes nothing hangs, and is killed for that.
            let _ = child.say(message, bytes);
        }
    }

    fn start_child(&mut self) {
        let resume = self.header.as_ref().map(|(header, _)| Resume {
            format: wire::Format { origin: self.end, ..header.format.clone() },
            published: header.published,
        });
        let spec = LiveSpec {
            encoding: self.shared.encoding.clone(),
            largest: self.shared.largest,
            max_frame_rate: self.max_frame_rate,
            workers: 0,
            elapsed: ticks(self.began.elapsed()),
            resume,
            cover_all: self.orders.cover_all,
        };
        let now = Instant::now();
        match Child::start(&self.shared.spawn, &spec) {
            Ok(child) => {
                self.child = Some(child);
                (self.started, self.heard, self.skipping) = (now, now, true);
                self.say(ToChild::Keep { keep: self.keep.clone() }, Bytes::new());
                if let Some((avcc, frame_rate)) = self.video_config.clone() {
                    self.say(ToChild::VideoConfig { frame_rate }, avcc);
                }
                if let Some(asc) = self.sound_config.clone() {
                    self.say(ToChild::SoundConfig, asc);
                }
            }
            Err(error) => {
                tracing::error!(channel = %self.fence.channel, %error, "no live child can be started");
                self.again_at = now + LONGEST_AGAIN;
            }
        }
    }

    async fn child_died(&mut self) {
        let Some(child) = self.child.take() else { return };
        child.kill().await;
        let lived = self.started.elapsed() >= LIVED;
        let wait = if lived { Duration::ZERO } else { AGAIN_AFTER * self.died };
        self.died = if lived { 0 } else { self.died.saturating_add(1) };
        self.again_at = Instant::now() + wait.min(LONGEST_AGAIN);
        tracing::warn!(channel = %self.fence.channel, died = self.died, "a live child died");
        self.set_protection(Protection::Blocked("child".to_owned())).await;
    }

    async fn heard(&mut self, message: FromChild, bytes: Bytes) {
        self.heard = Instant::now();
        match message {
            FromChild::Ready => self.ready().await,
            FromChild::Header(header) => self.take_header(header, bytes),
            FromChild::Part(part) => self.take_part(part, bytes),
            FromChild::Protection(protection) => self.set_protection(stored(protection)).await,
            FromChild::Pace(_) => {}
            FromChild::Failed { message } => {
                tracing::error!(channel = %self.fence.channel, message, "a live child failed");
            }
        }
    }

    async fn ready(&mut self) {
        self.set_protection(Protection::Ok).await;
        if self.running {
            return;
        }
        let now = Timestamp::now();
        match self.shared.store.channel_running(&self.fence, now).await {
            Ok(_) => self.running = true,
            // Stopped or lost meanwhile: the next beat says so.
            Err(error) => tracing::warn!(channel = %self.fence.channel, %error, "not running"),
        }
    }

    fn take_header(&mut self, header: Header, bytes: Bytes) {
        // A child that took over says the same again.
        let same = self.header.as_ref().is_some_and(|(_, before)| *before == bytes);
        if !same {
            let segment = Duration90k(header.segment_ticks.into());
            self.tell("codecs", self.origin.describe(rendition(&header)));
            self.tell("header", self.origin.map(bytes.clone(), segment));
            if let Some(recorder) = self.recorder.as_mut().filter(|_| header.published) {
                recorder.header(bytes.clone());
            }
        }
        self.header = Some((header, bytes));
    }

    fn take_part(&mut self, part: Part, bytes: Bytes) {
        let Part { start, ticks, starts_segment, .. } = part;
        self.end = start + i64::from(ticks);
        let millis = SignedDuration::from_millis(start / 90);
        let sent = self.origin.part(hls::Part {
            media: bytes.clone(),
            duration: Duration90k(ticks.into()),
            independent: starts_segment,
            starts_segment,
            program_date_time: self.began_at + millis,
        });
        self.tell("part", sent);
        let published = self.header.as_ref().is_some_and(|(header, _)| header.published);
        if let Some(recorder) = self.recorder.as_mut().filter(|_| published) {
            recorder.part(starts_segment, ticks.into(), &bytes);
        }
    }

    fn tell(&self, what: &str, result: Result<(), hls::PlaylistError>) {
        if let Err(error) = result {
            tracing::error!(channel = %self.fence.channel, %error, what, "not in the playlist");
        }
    }

    /// What is looked after a few times a second.
    async fn look_after(&mut self) -> Option<Over> {
        self.ask_consent().await;
        self.watch_child().await;
        self.watch_recorder().await;
        let now = Instant::now();
        if self.ingest == Ingest::Connected
            && self.publisher.as_ref().is_some_and(|p| now - p.last_picture > STARVED)
        {
            self.set_ingest(Ingest::Starved).await;
        }
        let over = self.gone.is_some_and(|since| now - since > self.reconnect);
        (over && self.publisher.is_none()).then_some(Over::PublisherGone)
    }

    /// Follows who agrees to be seen. When nobody can say, nobody is.
    async fn ask_consent(&mut self) {
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

    async fn watch_child(&mut self) {
        let Some(child) = &self.child else { return };
        let hangs = self.heard.elapsed() > CHILD_SILENCE;
        let swells = child.pid().and_then(resident_kib).is_some_and(|kib| kib > MAX_RESIDENT_KIB);
        if hangs || swells {
            tracing::error!(channel = %self.fence.channel, hangs, swells, "a live child is stopped");
            self.child_died().await;
        }
    }

    async fn watch_recorder(&mut self) {
        let Some(recorder) = &self.recorder else { return };
        let progress = recorder.progress();
        let recorded = counted(&progress);
        if recorded != self.session.recorded {
            let told = self.shared.store.set_recorded(&self.fence, &recorded).await;
            self.session.recorded = if told.is_ok() { recorded } else { return };
        }
        if let Some(reason) = self.recorder.as_ref().and_then(Recorder::failed) {
            tracing::error!(channel = %self.fence.channel, reason, "the recording failed");
            self.recorder = None;
            self.set_recording(RecordingState::Failed { reason }).await;
        }
    }

    async fn set_ingest(&mut self, ingest: Ingest) {
        if self.ingest == ingest {
            return;
        }
        let told = self.shared.store.set_ingest(&self.fence, &ingest, Timestamp::now()).await;
        self.note("ingest", told);
        self.ingest = ingest;
    }

    async fn set_protection(&mut self, protection: Protection) {
        let now = Timestamp::now();
        let told = self.shared.store.set_protection(&self.fence, &protection, now).await;
        self.note("protection", told);
    }

    async fn set_recording(&mut self, recording: RecordingState) {
        let now = Timestamp::now();
        let told = self.shared.store.set_recording(&self.fence, &recording, now).await;
        self.note("recording", told);
        self.recording = recording;
    }

    fn note(&self, what: &str, told: Result<(), store::Error>) {
        if let Err(error) = told {
            tracing::warn!(channel = %self.fence.channel, %error, what, "could not be told");
        }
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
        if over == Over::Lost {
            return;
        }
        let recorded = match self.recorder.take() {
            Some(recorder) => Some(recorder.finish().await),
            None => None,
        };
        self.finish(over, recorded).await;
    }

    /// Says that the session is over. When that fails, it is done again by whoever claims the channel next.
    async fn finish(&mut self, over: Over, recorded: Option<Progress>) {
        let (store, now) = (&self.shared.store, Timestamp::now());
        let channel = self.fence.channel;
        if over == Over::PublisherGone {
            let stopped = store.stop_live(&self.session.owner, channel, "live", now).await;
            self.note("stop", stopped.map(|_| ()));
        }
        if let Some(progress) = recorded {
            let told = store.set_recorded(&self.fence, &counted(&progress)).await;
            self.note("recorded", told);
            if let Some(reason) = progress.failed {
                let failed = RecordingState::Failed { reason };
                self.note("recording", store.set_recording(&self.fence, &failed, now).await);
            }
        }
        let finished = store.finish_recording(&self.fence, now).await;
        self.note("recording", finished.map(|_| ()));
        let stopped = self.shared.store.channel_stopped(&self.fence, now).await;
        self.note("stopped", stopped);
    }

    /// What the child has still to say.
    async fn last_parts(&mut self) {
        if self.child.is_none() {
            return;
        }
        self.say(ToChild::Stop, Bytes::new());
        let last = async {
            while let Some((message, bytes)) = hear(&mut self.child).await {
                match message {
                    FromChild::Header(header) => self.take_header(header, bytes),
                    FromChild::Part(part) => self.take_part(part, bytes),
                    _ => {}
                }
            }
        };
        let _ = tokio::time::timeout(LAST_PARTS, last).await;
    }
}

fn counted(progress: &Progress) -> Recorded {
    let Progress { segments, bytes, ticks, .. } = *progress;
    Recorded { segments, bytes, duration_ms: ticks / 90 }
}

/// What the child says next; nothing ever, when there is none.
async fn hear(child: &mut Option<Child>) -> Option<(FromChild, Bytes)> {
    match child {
        Some(child) => child.hear().await,
        None => std::future::pending().await,
    }
}

/// What the publisher sends next, `None` when it is gone; nothing ever, when there is none.
async fn receive(publisher: &mut Option<Publisher>) -> Option<Media> {
    match publisher {
        Some(publisher) => publisher.media.recv().await,
        None => std::future::pending().await,
    }
}

fn rendition(header: &Header) -> Rendition {
    Rendition {
        codecs: header.codecs.clone(),
        resolution: (header.size.width, header.size.height),
        frame_rate: header.frame_rate,
    }
}

fn ticks(time: Duration) -> i64 {
    i64::try_from(time.as_micros() * 9 / 100).unwrap_or(i64::MAX)
}

fn stored(protection: wire::Protection) -> Protection {
    let name = |why: wire::Why| {
        let name = match why {
            wire::Why::EverySecondFrame => "every_second_frame",
            wire::Why::FramesDropped => "frames_dropped",
            wire::Why::Overload => "overload",
            wire::Why::Detector => "detector",
            wire::Why::Damaged => "damaged",
            wire::Why::ByHand => "by_hand",
        };
        name.to_owned()
    };
    match protection {
        wire::Protection::Ok => Protection::Ok,
        wire::Protection::Degraded { why } => Protection::Degraded(name(why)),
        wire::Protection::Blocked { why } => Protection::Blocked(name(why)),
    }
}

/// Resident memory from /proc (proc(5), VmRSS).
fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
