//! The publisher of a channel: let in, listened to, missed.

use std::time::Duration;

use bytes::Bytes;
use pipeline::live::wire::ToChild;
use rtmp::{AudioMessage, Rejection, VideoMessage};
use store::{Ingest, RecordingState};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Admitted, Channel, Media, Publisher};

/// That somebody is rejected is told this often at most, however often they try.
const REJECTED_EVERY: Duration = Duration::from_secs(10);
/// What a publisher sent and was not looked at, at most: messages of 4 MiB ([`rtmp::Limits::media`]) or less. When there
/// are as many, nothing is read from its socket.
const MEDIA: usize = 16;

impl Channel {
    pub(super) fn admit(&mut self, admission: i64) -> Result<Admitted, Rejection> {
        if admission < self.orders.admission {
            return Err(Rejection::WrongKey);
        }
        match &self.publisher {
            // It is gone, and was not missed yet.
            Some(publisher) if publisher.media.is_closed() => self.gone(),
            Some(_) => {
                self.turned_away(&Rejection::Busy);
                return Err(Rejection::Busy);
            }
            None => {}
        }
        let (admitted, media) = mpsc::channel(MEDIA);
        self.publisher = Some(Publisher { admission, media, last_picture: Instant::now() });
        (self.video_config, self.sound_config, self.skipping) = (None, None, true);
        self.gone = None;
        self.set_ingest(Ingest::Connected);
        if self.recorder.is_some() && self.recording == RecordingState::Waiting {
            self.set_recording(RecordingState::Recording);
        }
        Ok(admitted)
    }

    /// The publisher is gone, or cut off.
    pub(super) fn gone(&mut self) {
        self.publisher = None;
        if let Some(received) = &mut self.received {
            received.gone();
        }
        self.say(ToChild::Away, Bytes::new());
        self.gone = Some(Instant::now());
        self.set_ingest(Ingest::Reconnecting);
    }

    /// Somebody with the right key was sent away: for what they send, or because another one publishes, who goes on.
    fn turned_away(&mut self, why: &Rejection) {
        let now = Instant::now();
        if self.rejected.is_some_and(|at| now - at < REJECTED_EVERY) {
            return;
        }
        self.rejected = Some(now);
        self.tell_rejected(why.to_string());
    }

    /// Passes on what the publisher sent. What the child does not take is left out up to the next key frame.
    pub(super) fn media(&mut self, media: Media) {
        self.keep(&media);
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
                    self.set_ingest(Ingest::Connected);
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
            Media::Refused(why) => self.turned_away(&why),
        }
    }

    /// Keeps what the publisher sent, where the policy says so.
    fn keep(&mut self, media: &Media) {
        let now = self.began.elapsed();
        let Some(received) = &mut self.received else { return };
        match media {
            Media::Video { message: VideoMessage::Config { avcc }, .. } => {
                received.video_format(avcc);
            }
            Media::Video {
                message: VideoMessage::Frame { timestamp_ms, composition_ms, keyframe, data },
                ..
            } => received.picture((*timestamp_ms, *composition_ms, *keyframe), data, now),
            Media::Audio(AudioMessage::Config { asc }) => received.sound_format(asc, now),
            Media::Audio(AudioMessage::Frame { timestamp_ms, data }) => {
                received.sound(*timestamp_ms, data, now);
            }
            Media::Video { message: VideoMessage::EndOfSequence, .. } | Media::Refused(_) => {}
        }
    }
}

/// What the publisher sends next, `None` when it is gone; nothing ever, when there is none.
pub(super) async fn receive(publisher: &mut Option<Publisher>) -> Option<Media> {
    match publisher {
        Some(publisher) => publisher.media.recv().await,
        None => std::future::pending().await,
    }
}
