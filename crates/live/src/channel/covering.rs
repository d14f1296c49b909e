//! The child of a channel: started, followed by another when it dies, and what it says passed on.

use std::time::Duration;

use bytes::Bytes;
use jiff::SignedDuration;
use pipeline::live::wire::{self, FromChild, Header, Part, ToChild};
use pipeline::live::{LiveSpec, Resume};
use store::Protection;
use tokio::time::Instant;

use super::Channel;
use crate::child::{Child, resident_kib};
use crate::hls::{self, Duration90k, Rendition};

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

impl Channel {
    pub(super) fn start_child(&mut self) {
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

    pub(super) async fn child_died(&mut self) {
        let Some(child) = self.child.take() else { return };
        child.kill().await;
        let lived = self.started.elapsed() >= LIVED;
        let wait = if lived { Duration::ZERO } else { AGAIN_AFTER * self.died };
        self.died = if lived { 0 } else { self.died.saturating_add(1) };
        self.again_at = Instant::now() + wait.min(LONGEST_AGAIN);
        tracing::warn!(channel = %self.fence.channel, died = self.died, "a live child died");
        self.set_protection(Protection::Blocked("child".to_owned()));
    }

    pub(super) fn heard(&mut self, message: FromChild, bytes: Bytes) {
        self.heard = Instant::now();
        match message {
            FromChild::Ready => self.ready(),
            FromChild::Header(header) => self.take_header(header, bytes),
            FromChild::Part(part) => self.take_part(part, bytes),
            FromChild::Protection(protection) => self.set_protection(stored(protection)),
            FromChild::Pace(pace) => self.measured.pace(pace),
            FromChild::Failed { message } => {
                tracing::error!(channel = %self.fence.channel, message, "a live child failed");
            }
        }
    }

    fn ready(&mut self) {
        self.measured.new_child();
        self.set_protection(Protection::Ok);
        if !self.running {
            self.tell_running();
        }
    }

    pub(super) fn take_header(&mut self, header: Header, bytes: Bytes) {
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

    pub(super) fn take_part(&mut self, part: Part, bytes: Bytes) {
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

    pub(super) fn tell(&self, what: &str, result: Result<(), hls::PlaylistError>) {
        if let Err(error) = result {
            tracing::error!(channel = %self.fence.channel, %error, what, "not in the playlist");
        }
    }

    pub(super) async fn watch_child(&mut self) {
        let Some(child) = &self.child else { return };
        let hangs = self.heard.elapsed() > CHILD_SILENCE;
        let swells = child.pid().and_then(resident_kib).is_some_and(|kib| kib > MAX_RESIDENT_KIB);
        if hangs || swells {
            tracing::error!(channel = %self.fence.channel, hangs, swells, "a live child is stopped");
            self.child_died().await;
        }
    }

    /// What the child has still to say.
    pub(super) async fn last_parts(&mut self) {
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

/// What the child says next; nothing ever, when there is none.
pub(super) async fn hear(child: &mut Option<Child>) -> Option<(FromChild, Bytes)> {
    match child {
        Some(child) => child.hear().await,
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
