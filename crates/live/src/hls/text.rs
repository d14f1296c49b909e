//! A playlist as text (section 4.4 of the draft).

use std::fmt::{self, Write};

use super::{Duration90k, Playlist, PlaylistError, Segment, media};

/// `EXT-X-SKIP` came with version 9; version 10 only adds date ranges to it.
const VERSION: u32 = 9;
/// Skip boundary in target durations; at least six.
const SKIP_UNTIL: u64 = 6;
/// How far from the end players without parts begin, in target durations; at least three.
const HOLD_BACK: u64 = 3;
/// How far from the end players begin, in part targets; at least two, should be three.
const PART_HOLD_BACK: u64 = 3;
/// Parts are listed in so many last target durations only (section 6.2.2).
const PARTS_UNTIL: u64 = 3;

/// `text`, if it may stand between quotes in a playlist.
pub(super) fn quotable(text: &str) -> Result<&str, PlaylistError> {
    if text.chars().any(|c| c == '"' || c.is_control()) {
        return Err(PlaylistError::Text(text.to_owned()));
    }
    Ok(text)
}

impl Playlist {
    /// The playlist as it is now: all of it, or with `skip` only what is new since the skip
    /// boundary (a delta update), as far as that leaves something out.
    pub fn text(&self, skip: bool) -> String {
        let mut text = String::with_capacity(16 << 10);
        // Writing into a string cannot fail.
        let _ = self.write(&mut text, skip);
        text
    }

    fn write(&self, out: &mut String, skip: bool) -> fmt::Result {
        let target = self.target_duration();
        self.write_head(out, target)?;
        let skipped = if skip { self.skippable(target) } else { 0 };
        if skipped > 0 {
            writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")?;
        }
        let mut left: Duration90k = self.listed().map(|(_, segment)| segment.duration).sum();
        let mut init = None;
        for (index, (msn, segment)) in self.listed().enumerate() {
            if index >= skipped {
                if segment.discontinuity {
                    out.push_str("#EXT-X-DISCONTINUITY\n");
                }
                if init != Some(segment.init) {
                    let name = media::init_name(segment.init);
                    writeln!(out, "#EXT-X-MAP:URI=\"{}{name}\"", self.prefix)?;
                }
                self.write_segment(out, msn, segment, left < seconds(PARTS_UNTIL * target))?;
            }
            left = left - segment.duration;
            init = Some(segment.init);
        }
        if self.ended {
            out.push_str("#EXT-X-ENDLIST\n");
        } else {
            let name = self.next_part_name(false);
            writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}{name}\"", self.prefix)?;
        }
        Ok(())
    }

    fn write_head(&self, out: &mut String, target: u64) -> fmt::Result {
        let part_target = self.settings.part_target;
        // Of the rounded target, so that it is three of what is written there.
        let hold = part_target.micros() * PART_HOLD_BACK;
        let msn = self.first + self.unlisted as u64;
        writeln!(out, "#EXTM3U")?;
        writeln!(out, "#EXT-X-VERSION:{VERSION}")?;
        writeln!(out, "#EXT-X-TARGETDURATION:{target}")?;
        writeln!(
            out,
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={}.{:06},\
             HOLD-BACK={}.0,CAN-SKIP-UNTIL={}.0",
            hold / 1_000_000,
            hold % 1_000_000,
            HOLD_BACK * target,
            SKIP_UNTIL * target,
        )?;
        writeln!(out, "#EXT-X-PART-INF:PART-TARGET={part_target}")?;
        writeln!(out, "#EXT-X-INDEPENDENT-SEGMENTS")?;
        writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{msn}")?;
        if self.discontinuity_sequence > 0 {
            writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuity_sequence)?;
        }
        Ok(())
    }

    fn write_segment(
        &self,
        out: &mut String,
        msn: u64,
        segment: &Segment,
        parts: bool,
    ) -> fmt::Result {
        let prefix = &self.prefix;
        if let Some(first) = segment.parts.first() {
            writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{:.3}", first.program_date_time)?;
        }
        // Of a segment all or none, because players count them.
        for (index, part) in segment.parts.iter().enumerate().filter(|_| parts) {
            let name = media::part_name(msn, index);
            let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
            let duration = part.duration;
            writeln!(out, "#EXT-X-PART:DURATION={duration},URI=\"{prefix}{name}\"{independent}")?;
        }
        if segment.whole.is_some() {
            let name = media::segment_name(msn);
            writeln!(out, "#EXTINF:{},\n{prefix}{name}", segment.duration)?;
        }
        Ok(())
    }

    /// How many segments are before the skip boundary. None from the first discontinuity on: that
    /// is allowed, and players that join old and new count discontinuities right.
    fn skippable(&self, target: u64) -> usize {
        let boundary = seconds(SKIP_UNTIL * target);
        let mut left: Duration90k = self.listed().map(|(_, segment)| segment.duration).sum();
        self.listed()
            .take_while(|(_, segment)| {
                left = left - segment.duration;
                left > boundary && !segment.discontinuity
            })
            .count()
    }
}

fn seconds(count: u64) -> Duration90k {
    Duration90k(count * Duration90k::SECOND.0)
}
