//! What a player asks of a playlist: the delivery directives (section 6.2.5 of the draft).

use super::{Duration90k, Playlist};

/// Delivery directives. Without any, the playlist as it is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlaylistQuery {
    /// `_HLS_msn`: only when it has this segment.
    pub msn: Option<u64>,
    /// `_HLS_part`: or as soon as it has this part of it. Only with `msn`.
    pub part: Option<u64>,
    /// `_HLS_skip`: what the player knows may be left out. `v2` is answered like `YES`, because
    /// there are no date ranges.
    pub skip: bool,
}

/// Why a query is no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuery {
    /// The value of a directive is wrong.
    #[error("{directive} must be {allowed}")]
    Value {
        /// Which.
        directive: &'static str,
        /// What it may be.
        allowed: &'static str,
    },
    /// A part without its segment.
    #[error("_HLS_part needs _HLS_msn")]
    PartWithoutMsn,
    /// What is asked for is too far in the future.
    #[error("_HLS_msn={msn} is too far in the future: {complete} segments were completed")]
    TooFar {
        /// Which segment was asked for.
        msn: u64,
        /// How many were completed since the session began.
        complete: u64,
    },
}

/// What to do with a query now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Answer with the playlist as it is.
    Ready,
    /// It does not have yet what was asked for: decide again after its next change.
    Wait,
    /// Refuse it (400).
    Refuse(InvalidQuery),
}

impl PlaylistQuery {
    /// Reads the query of an address, without the `?`. What is no directive is left alone: others
    /// may need it.
    ///
    /// # Errors
    /// All but [`InvalidQuery::TooFar`].
    pub fn parse(query: &str) -> Result<Self, InvalidQuery> {
        let mut found = Self::default();
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "_HLS_msn" => found.msn = Some(number("_HLS_msn", value)?),
                "_HLS_part" => found.part = Some(number("_HLS_part", value)?),
                "_HLS_skip" => {
                    let allowed = "YES or v2";
                    if !matches!(value, "YES" | "v2") {
                        return Err(InvalidQuery::Value { directive: "_HLS_skip", allowed });
                    }
                    found.skip = true;
                }
                _ => {}
            }
        }
        match found {
            Self { msn: None, part: Some(_), .. } => Err(InvalidQuery::PartWithoutMsn),
            _ => Ok(found),
        }
    }
}

fn number(directive: &'static str, value: &str) -> Result<u64, InvalidQuery> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { value.parse().ok() } else { None };
    number.ok_or(InvalidQuery::Value { directive, allowed: "a whole number" })
}

impl Playlist {
    /// Whether the playlist can be sent now. One without anything in it cannot, unless it ended.
    pub fn decide(&self, query: &PlaylistQuery) -> Decision {
        let have = |ready| if ready { Decision::Ready } else { Decision::Wait };
        if self.ended {
            return Decision::Ready;
        }
        let Some(msn) = query.msn else { return have(!self.segments.is_empty()) };
        let open = self.complete();
        let refused = Decision::Refuse(InvalidQuery::TooFar { msn, complete: open });
        // More than two after the last complete segment.
        if msn > open.saturating_add(1) {
            return refused;
        }
        let Some(part) = query.part else { return have(msn < open) };
        let open_parts = self.open_segment().map_or(0, |segment| segment.parts.len()) as u64;
        if msn >= open {
            let parts = if msn == open { open_parts } else { 0 };
            if part >= parts.saturating_add(self.advance_part_limit()) {
                return refused;
            }
            return have(part < parts);
        }
        // Beyond the last part of a segment means the first of the next, which only the last
        // complete segment may still lack.
        let last = self.segments.iter().rev().find(|segment| segment.whole.is_some());
        let beyond = last.is_some_and(|last| part >= last.parts.len() as u64);
        have(msn + 1 < open || !beyond || open_parts > 0)
    }

    /// How many parts ahead may be asked for: three seconds of them, at least three.
    fn advance_part_limit(&self) -> u64 {
        let part = self.settings.part_target.0.clamp(1, Duration90k::SECOND.0);
        (3 * Duration90k::SECOND.0).div_ceil(part)
    }
}
