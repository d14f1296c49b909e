//! The playlist of one live session, and its media in memory: low-latency HLS after
//! draft-pantos-hls-rfc8216bis ("the draft"), which older players read as plain HLS.
//!
//! Nothing here waits, reads a clock or does I/O. What is not there yet is [`Decision::Wait`] or
//! [`Media::Wait`]; [`crate::origin`] waits for it.
//!
//! There is one rendition, with picture and sound in the same fragments. A segment is one group of
//! pictures; it is complete when it is as long as the segment target, and its bytes are those of
//! its parts. Numbers of segments (media sequence numbers) never go back.

mod duration;
mod error;
mod media;
mod query;
mod text;
mod variant;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

pub use duration::Duration90k;
pub use error::PlaylistError;
pub use media::Media;
pub use query::{Decision, InvalidQuery, PlaylistQuery};
pub use variant::{Rendition, Variant};

/// Complete segments that stay listed even when memory runs short. With the one that is being
/// filled they are more than the three target durations that must be listed (section 6.2.2).
const MIN_LISTED: usize = 4;
/// Most segments in the playlist, and most behind it.
const MAX_SEGMENTS: usize = 1000;
/// Longest segment.
const MAX_SEGMENT: Duration90k = Duration90k(60 * Duration90k::SECOND.0);
/// How short a part may be that is not the last of its segment: this much of the part target, in
/// percent (section 4.4.4.9).
const MIN_PART_PERCENT: u64 = 85;
/// A segment is complete when no more than this is missing: a frame is longer, and times that are
/// no whole ticks were rounded.
const ROUNDING: Duration90k = Duration90k(90);

/// What a playlist promises.
#[derive(Debug, Clone)]
pub struct Settings {
    /// No segment is longer. At least half a second, at most a minute.
    pub segment_target: Duration90k,
    /// No part is longer (`PART-TARGET`). At most the segment target.
    pub part_target: Duration90k,
    /// Complete segments that are listed, 4 to 1000.
    pub window: usize,
    /// Segments that can still be read after they left the list, up to 1000. The draft asks for as
    /// long as a playlist and a segment together (section 6.2.2): one more than `window`.
    pub grace: usize,
    /// Most bytes of media that are kept. When there are more, segments leave early. While a
    /// segment is completed, its bytes are there twice; what readers still hold is not counted.
    pub max_bytes: usize,
}

impl Settings {
    /// Settings for these targets: 21 segments are listed, 22 more can be read, all in at most
    /// 256 MiB (a minute and a half of 20 Mbit/s, for segments of two seconds).
    pub fn new(segment_target: Duration90k, part_target: Duration90k) -> Self {
        Self { segment_target, part_target, window: 21, grace: 22, max_bytes: 256 << 20 }
    }

    fn check(&self) -> Result<(), PlaylistError> {
        let Self { segment_target, part_target, window, grace, .. } = self;
        let half = Duration90k(Duration90k::SECOND.0 / 2);
        if *segment_target < half || *segment_target > MAX_SEGMENT {
            return Err(PlaylistError::Settings("segments of 0.5 to 60 s"));
        }
        if *part_target == Duration90k::ZERO || part_target > segment_target {
            return Err(PlaylistError::Settings("a part target above 0, up to the segment target"));
        }
        if !(MIN_LISTED..=MAX_SEGMENTS).contains(window) || *grace > MAX_SEGMENTS {
            return Err(PlaylistError::Settings("a window of 4 to 1000, a grace of up to 1000"));
        }
        Ok(())
    }
}

/// A fragment (`moof`, `mdat`): a whole number of frames and the sound beside them.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its bytes, as they are sent.
    pub media: Bytes,
    /// How long its pictures are shown.
    pub duration: Duration90k,
    /// Whether its first picture can be decoded without any before it.
    pub independent: bool,
    /// Whether it is the first of a segment.
    pub starts_segment: bool,
    /// When its first picture was taken, by the server's clock.
    pub program_date_time: Timestamp,
}

/// The segments of a session, of which the latest are listed.
#[derive(Debug)]
pub struct Playlist {
    settings: Settings,
    /// Stands before every name in the playlist.
    prefix: String,
    /// What the parts are, for [`Playlist::multivariant`].
    rendition: Option<Rendition>,
    /// Those that kept segments need, and the current one at the end.
    inits: VecDeque<(u64, Bytes)>,
    next_init: u64,
    /// How long a segment is before another one starts.
    segment: Duration90k,
    /// All that are kept. Only the last may be open.
    segments: VecDeque<Segment>,
    /// Number of the first kept segment.
    first: u64,
    /// How many of the kept segments have left the list.
    unlisted: usize,
    /// Discontinuities that have left the list.
    discontinuity_sequence: u64,
    /// Bytes of `inits` and `segments`.
    bytes: usize,
    ended: bool,
}

#[derive(Debug)]
struct Segment {
    /// Which initialisation section it needs.
    init: u64,
    /// Whether that is another one than that of the segment before.
    discontinuity: bool,
    /// Never empty.
    parts: Vec<Part>,
    /// The sum of its parts.
    duration: Duration90k,
    /// Its bytes, once it is complete; those of its parts are slices of them then.
    whole: Option<Bytes>,
}

impl Playlist {
    /// An empty playlist. `prefix` stands before every name in it, such as `a/` if media is one
    /// folder down; it is empty if media is beside the playlist.
    ///
    /// # Errors
    /// [`PlaylistError::Settings`] and [`PlaylistError::Text`].
    pub fn new(settings: Settings, prefix: &str) -> Result<Self, PlaylistError> {
        settings.check()?;
        Ok(Self {
            settings,
            prefix: text::quotable(prefix)?.to_owned(),
            rendition: None,
            inits: VecDeque::new(),
            next_init: 0,
            segment: Duration90k::ZERO,
            segments: VecDeque::new(),
            first: 0,
            unlisted: 0,
            discontinuity_sequence: 0,
            bytes: 0,
            ended: false,
        })
    }

    /// Goes on behind a playlist that another server had: as if so many segments and discontinuities had come and gone.
    /// More than there were are fine (sections 4.4.3.2 and 4.4.3.3), fewer are not.
    #[must_use]
    pub fn behind(mut self, segments: u64, discontinuities: u64) -> Self {
        self.first += segments;
        self.discontinuity_sequence += discontinuities;
        self
    }

    /// Says what parts are from here on, for [`Playlist::multivariant`].
    ///
    /// # Errors
    /// [`PlaylistError::Text`].
    pub fn describe(&mut self, rendition: Rendition) -> Result<(), PlaylistError> {
        text::quotable(&rendition.codecs)?;
        self.rendition = Some(rendition);
        Ok(())
    }

    /// From here on parts need this initialisation section (`ftyp`, `moov`), and a segment is complete
    /// when it is as long as `segment`. Except for the first, that is a discontinuity, and the segment
    /// that is open is complete as it is.
    ///
    /// # Errors
    /// [`PlaylistError::Ended`], [`PlaylistError::Empty`] and [`PlaylistError::Full`].
    pub fn map(&mut self, init: Bytes, segment: Duration90k) -> Result<(), PlaylistError> {
        let name = media::init_name(self.next_init);
        if self.ended {
            return Err(PlaylistError::Ended);
        }
        if init.is_empty() {
            return Err(PlaylistError::Empty { name });
        }
        self.make_room(init.len(), name)?;
        self.complete_segment();
        self.segment = segment;
        // One that no segment needed was never listed.
        let used = self.segments.back().map(|segment| segment.init);
        if let Some((_, unused)) = self.inits.pop_back_if(|(number, _)| used != Some(*number)) {
            self.bytes -= unused.len();
        }
        self.bytes += init.len();
        self.inits.push_back((self.next_init, init));
        self.next_init += 1;
        Ok(())
    }

    /// Adds the part that comes next.
    ///
    /// # Errors
    /// All but [`PlaylistError::Settings`] and [`PlaylistError::Text`].
    pub fn part(&mut self, part: Part) -> Result<(), PlaylistError> {
        let init = self.check(&part)?;
        self.make_room(part.media.len(), self.next_part_name(part.starts_segment))?;
        if part.starts_segment {
            self.complete_segment();
            let before = self.segments.back().map(|segment| segment.init);
            self.segments.push_back(Segment {
                init,
                discontinuity: before.is_some_and(|before| before != init),
                parts: Vec::new(),
                duration: Duration90k::ZERO,
                whole: None,
            });
        }
        self.bytes += part.media.len();
        if let Some(segment) = self.segments.back_mut() {
            segment.duration = segment.duration + part.duration;
            segment.parts.push(part);
            if segment.duration + ROUNDING >= self.segment {
                self.complete_segment();
            }
        }
        Ok(())
    }

    /// Nothing more comes: the open segment is complete, and the playlist says that it is the last.
    pub fn end(&mut self) {
        self.complete_segment();
        self.ended = true;
    }

    /// Whether [`Playlist::end`] was called.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// `EXT-X-TARGETDURATION` in seconds: no segment, rounded to whole seconds, is longer.
    pub fn target_duration(&self) -> u64 {
        self.settings.segment_target.rounded_seconds()
    }

    /// Whether `part` may come next; the number of the initialisation section it needs.
    fn check(&self, part: &Part) -> Result<u64, PlaylistError> {
        let name = || self.next_part_name(part.starts_segment);
        let Settings { part_target, segment_target, .. } = self.settings;
        if self.ended {
            return Err(PlaylistError::Ended);
        }
        let Some((init, _)) = self.inits.back() else {
            return Err(PlaylistError::NoInit { name: name() });
        };
        if part.media.is_empty() {
            return Err(PlaylistError::Empty { name: name() });
        }
        let duration = part.duration;
        if duration == Duration90k::ZERO || duration > part_target {
            return Err(PlaylistError::PartDuration {
                name: name(),
                duration,
                target: part_target,
            });
        }
        if part.starts_segment {
            let independent = part.independent;
            return independent
                .then_some(*init)
                .ok_or(PlaylistError::NotIndependent { name: name() });
        }
        let open = self.open_segment().and_then(|open| Some((open, open.parts.last()?.duration)));
        let Some((open, before)) = open else {
            return Err(PlaylistError::NoSegment { name: name() });
        };
        if before.0 * 100 < part_target.0 * MIN_PART_PERCENT {
            return Err(PlaylistError::ShortPart { name: name(), before, target: part_target });
        }
        if open.duration + duration > segment_target {
            return Err(PlaylistError::SegmentDuration { name: name(), target: segment_target });
        }
        Ok(*init)
    }

    /// The name of the part that comes next, if the open segment goes on or another starts.
    fn next_part_name(&self, starts_segment: bool) -> String {
        match self.open_segment() {
            Some(open) if !starts_segment => media::part_name(self.complete(), open.parts.len()),
            Some(_) => media::part_name(self.complete() + 1, 0),
            None => media::part_name(self.complete(), 0),
        }
    }

    /// The segment that is being filled.
    fn open_segment(&self) -> Option<&Segment> {
        self.segments.back().filter(|segment| segment.whole.is_none())
    }

    /// How many segments were completed: the number of the one that is open or comes next.
    fn complete(&self) -> u64 {
        let open = usize::from(self.open_segment().is_some());
        self.first + (self.segments.len() - open) as u64
    }

    /// Segments in the playlist with their numbers, the oldest first.
    fn listed(&self) -> impl Iterator<Item = (u64, &Segment)> {
        (self.first..).zip(&self.segments).skip(self.unlisted)
    }

    fn complete_segment(&mut self) {
        let Some(segment) = self.segments.back_mut().filter(|s| s.whole.is_none()) else {
            return;
        };
        segment.put_together();
        while self.segments.len() - self.unlisted > self.settings.window {
            self.unlist();
        }
        while self.unlisted > self.settings.grace {
            self.forget();
        }
    }

    /// Lets old segments go until `more` bytes fit.
    fn make_room(&mut self, more: usize, name: String) -> Result<(), PlaylistError> {
        let max = self.settings.max_bytes;
        while self.bytes.saturating_add(more) > max {
            if self.unlisted == 0 {
                if self.segments.len() <= MIN_LISTED + 1 {
                    return Err(PlaylistError::Full { name, bytes: more, max });
                }
                self.unlist();
            }
            self.forget();
        }
        Ok(())
    }

    /// The oldest listed segment leaves the list.
    fn unlist(&mut self) {
        let discontinuity = self.segments.get(self.unlisted).is_some_and(|s| s.discontinuity);
        self.discontinuity_sequence += u64::from(discontinuity);
        self.unlisted += 1;
    }

    /// The oldest segment, which is not listed, can no longer be read.
    fn forget(&mut self) {
        let Some(segment) = self.segments.pop_front() else { return };
        self.bytes -= segment.parts.iter().map(|part| part.media.len()).sum::<usize>();
        self.first += 1;
        self.unlisted -= 1;
        let needed = self.segments.front().map_or(self.next_init, |segment| segment.init);
        while let Some((_, init)) = self.inits.pop_front_if(|(number, _)| *number < needed) {
            self.bytes -= init.len();
        }
    }
}

impl Segment {
    /// Copies the bytes of the parts into one piece; from then on the parts are slices of it.
    fn put_together(&mut self) {
        let length = self.parts.iter().map(|part| part.media.len()).sum();
        let mut whole = BytesMut::with_capacity(length);
        for part in &self.parts {
            whole.extend_from_slice(&part.media);
        }
        let whole = whole.freeze();
        let mut at = 0;
        for part in &mut self.parts {
            let end = at + part.media.len();
            part.media = whole.slice(at..end);
            at = end;
        }
        self.whole = Some(whole);
    }
}
