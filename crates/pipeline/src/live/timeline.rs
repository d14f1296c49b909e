//! Where a publisher's clock lies on the broadcast's.
//!
//! A frame is shown a fixed time after it came, and its neighbours by its publisher's clock relative to it. A
//! network that holds frames up for a moment changes nothing, as long as they come in time for that. A clock
//! that jumps, runs slow, or stood still while the publisher did is placed anew.

use std::collections::VecDeque;

/// Ticks a millisecond.
const MS: i64 = 90;
/// Frames that all come later than this are placed anew, after ...
const LATE: i64 = 150 * MS;
/// ... this long.
const PATIENCE: i64 = 1000 * MS;
/// Frames that come earlier than this are placed anew at once: the clock jumped.
const EARLY: i64 = 700 * MS;
/// A frame this late cannot have been on its way: the clock jumped.
const LOST: i64 = 10_000 * MS;
/// Arrivals that are remembered.
const REMEMBERED: usize = 512;

/// Places the publisher's time stamps. All times are ticks of 1/90000 s; those of the broadcast count from its start.
#[derive(Debug)]
pub struct Timeline {
    /// How long after it came a frame is shown.
    delay: i64,
    /// What is added to the publisher's time.
    offset: Option<i64>,
    /// When frames came, and by how much too late, since the clock was placed.
    recent: VecDeque<(i64, i64)>,
}

impl Timeline {
    /// Frames are shown `delay` ticks after they came.
    pub fn new(delay: i64) -> Self {
        Self { delay, offset: None, recent: VecDeque::new() }
    }

    /// The publisher is gone: the next one has another clock.
    pub fn reset(&mut self) {
        self.offset = None;
        self.recent.clear();
    }

    /// When that is shown which has the publisher's time `ms` and came at `now`; `drop`: whether it is of those
    /// that place the clock (all that come regularly do).
    pub fn place(&mut self, ms: u64, now: i64) -> i64 {
        let theirs = i64::try_from(ms).unwrap_or(i64::MAX / 1000).saturating_mul(MS);
        let fresh = now.saturating_add(self.delay).saturating_sub(theirs);
        let Some(offset) = self.offset else { return self.put(fresh, theirs) };
        let late = fresh.saturating_sub(offset);
        if !(-EARLY..=LOST).contains(&late) {
            return self.put(fresh, theirs);
        }
        self.recent.push_back((now, late));
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
        while self.recent.get(1).is_some_and(|(at, _)| now - at >= PATIENCE) {
            self.recent.pop_front();
        }
        let watched = self.recent.front().is_some_and(|(at, _)| now - at >= PATIENCE);
        let least = self.recent.iter().map(|(_, late)| *late).min().unwrap_or(0);
        if watched && least > LATE {
            let offset = offset.saturating_add(least);
            return self.put(offset, theirs);
        }
        theirs.saturating_add(offset)
    }

    fn put(&mut self, offset: i64, theirs: i64) -> i64 {
        self.offset = Some(offset);
        self.recent.clear();
        theirs.saturating_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: i64 = 900 * MS;

    /// Places frames that come at `arrivals` with the publisher's times `ms`.
    fn placed(frames: impl IntoIterator<Item = (u64, i64)>) -> Vec<i64> {
        let mut timeline = Timeline::new(DELAY);
        frames.into_iter().map(|(ms, now)| timeline.place(ms, now * MS) / MS).collect()
    }

    #[test]
    fn frames_are_shown_a_fixed_time_after_they_came_by_their_own_clock() {
        let shown = placed((0..100).map(|n| (5000 + n * 33, n as i64 * 33 + (n as i64 % 3) * 20)));
        assert!(shown.iter().zip(0..).all(|(at, n)| *at == 900 + n * 33), "{shown:?}");
    }

    #[test]
    fn a_burst_after_a_pause_is_placed_where_it_belongs() {
        // Nothing for 600 ms, then all at once.
        let shown = placed((0..100).map(|n| {
            let at = n as i64 * 33;
            (n * 33, if (990..1590).contains(&at) { 1590 } else { at })
        }));
        assert!(shown.iter().zip(0..).all(|(at, n)| *at == 900 + n * 33), "{shown:?}");
    }

    #[test]
    fn a_clock_that_stood_still_is_placed_anew_after_a_second() {
        // The publisher froze for 4 s and goes on where it was.
        let late = |n: u64| n as i64 * 33 + if n >= 50 { 4000 } else { 0 };
        let shown = placed((0..200).map(|n| (n * 33, late(n))));
        assert_eq!(shown[49], 900 + 49 * 33);
        assert_eq!(shown[51], 900 + 51 * 33, "too late to be shown");
        let after = 199 * 33 + 4000 + 900;
        assert_eq!(*shown.last().unwrap(), after);
    }

    #[test]
    fn a_jump_is_followed_at_once() {
        for jump in [3_600_000_u64, 1000] {
            let ms = |n: u64| n * 33 + if n >= 50 { jump } else { 0 };
            let shown = placed((0..100).map(|n| (ms(n), n as i64 * 33)));
            assert!(shown.iter().zip(0..).all(|(at, n)| *at == 900 + n * 33), "{shown:?}");
        }
        let back = placed(
            (0..100).map(|n| (if n < 50 { 60_000 + n * 33 } else { n * 33 }, n as i64 * 33)),
        );
        assert!(back.iter().zip(0..).all(|(at, n)| *at == 900 + n * 33), "{back:?}");
    }

    #[test]
    fn no_time_is_too_large() {
        let shown = placed([(0, 0), (u64::MAX, 1), (5, i64::MAX / MS / 2)]);
        assert_eq!(shown.len(), 3);
    }
}
