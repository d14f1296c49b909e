//! What is left out when the machine does not keep up, step by step, and back. Covering never is.

use serde::{Deserialize, Serialize};

use super::wire::{Protection, Why};
use crate::Speed;

/// Ticks a millisecond.
const MS: i64 = 90;
/// Waiting longer than this for a second is too slow.
const SLOW: i64 = 120 * MS;
/// Waiting longer than this, what waits is left out up to the next key frame.
const FAR_BEHIND: i64 = 300 * MS;
/// How long it must be too slow for a step down.
const DOWN_AFTER: i64 = 1000 * MS;
/// How long it must be quick for a step up; doubled each time that it did not last.
const UP_AFTER: i64 = 5000 * MS;
const LONGEST_UP: i64 = 120_000 * MS;
/// Waiting less than this is quick.
const QUICK: i64 = 40 * MS;

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// Detectors look at every frame.
    Every,
    /// Detectors look at every second frame.
    Second,
    /// Frames are left out, up to the next key frame, whenever they are late.
    Dropping,
    /// Nothing is decoded for a while: all is covered.
    Nothing,
}

impl Level {
    pub(crate) fn speed(self) -> Speed {
        if self == Self::Every { Speed::Balanced } else { Speed::Fast }
    }

    /// What viewers get of it.
    pub(crate) fn protection(self) -> Protection {
        match self {
            Self::Every => Protection::Ok,
            Self::Second => Protection::Degraded { why: Why::EverySecondFrame },
            Self::Dropping => Protection::Degraded { why: Why::FramesDropped },
            Self::Nothing => Protection::Blocked { why: Why::Overload },
        }
    }
}

/// Watches how long pictures wait. All times are ticks of 1/90000 s.
#[derive(Debug)]
pub(crate) struct Ladder {
    level: Level,
    /// The level that it starts from and comes back to.
    best: Level,
    /// Since when it is too slow, and since when it is quick.
    slow: Option<i64>,
    quick: Option<i64>,
    up_after: i64,
    waited: i64,
    /// When the last step up was.
    up_at: Option<i64>,
}

impl Ladder {
    /// `best`: the highest step that is tried.
    pub(crate) fn new(best: Level) -> Self {
        Self {
            level: best,
            best,
            slow: None,
            quick: None,
            up_after: UP_AFTER,
            waited: 0,
            up_at: None,
        }
    }

    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// Whether the picture that was observed last is left out.
    pub(crate) fn must_skip(&self) -> bool {
        match self.level {
            Level::Every | Level::Second => false,
            Level::Dropping => self.waited > FAR_BEHIND,
            Level::Nothing => true,
        }
    }

    /// A picture that came at `now` had to wait so long. Gives the level if it changed.
    pub(crate) fn observe(&mut self, now: i64, waited: i64) -> Option<Level> {
        self.waited = waited;
        if waited > SLOW {
            self.quick = None;
            let since = *self.slow.get_or_insert(now);
            if now - since >= DOWN_AFTER {
                return self.step(now, down(self.level));
            }
        } else if waited < QUICK {
            self.slow = None;
            let since = *self.quick.get_or_insert(now);
            if now - since >= self.up_after && self.level > self.best {
                return self.step(now, up(self.level));
            }
        } else {
            (self.slow, self.quick) = (None, None);
        }
        None
    }

    fn step(&mut self, now: i64, to: Level) -> Option<Level> {
        (self.slow, self.quick) = (None, None);
        if to == self.level {
            return None;
        }
        if to > self.level {
            // A step up that was taken of late was taken too early.
            let of_late = self.up_at.take().is_some_and(|at| now - at < 2 * self.up_after);
            self.up_after =
                if of_late { (self.up_after * 2).min(LONGEST_UP) } else { self.up_after };
        } else {
            let lasted = self.up_at.is_some_and(|at| now - at >= 2 * self.up_after);
            self.up_after = if lasted { UP_AFTER } else { self.up_after };
            self.up_at = Some(now);
        }
        self.level = to;
        Some(to)
    }
}

fn down(level: Level) -> Level {
    match level {
        Level::Every => Level::Second,
        Level::Second => Level::Dropping,
        Level::Dropping | Level::Nothing => Level::Nothing,
    }
}

fn up(level: Level) -> Level {
    match level {
        Level::Nothing => Level::Dropping,
        Level::Dropping => Level::Second,
        Level::Second | Level::Every => Level::Every,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels and the milliseconds at which they began, while pictures come every 33 ms.
    fn levels(seconds: i64, waited_ms: impl Fn(i64, Level) -> i64) -> Vec<(i64, Level)> {
        let mut ladder = Ladder::new(Level::Every);
        let pictures = (0..seconds * 30).map(|n| n * 33);
        let level = |ms| {
            let waited = waited_ms(ms, ladder.level()) * MS;
            ladder.observe(ms * MS, waited).map(|level| (ms, level))
        };
        pictures.filter_map(level).collect()
    }

    #[test]
    fn a_machine_that_keeps_up_does_all() {
        assert_eq!(levels(60, |_, _| 30), []);
        assert_eq!(levels(60, |ms, _| if ms % 5000 < 500 { 400 } else { 20 }), [], "a hiccup");
    }

    #[test]
    fn too_slow_is_a_step_down_a_second() {
        let steps = levels(10, |_, _| 200);
        let want = [(1023, Level::Second), (2079, Level::Dropping), (3135, Level::Nothing)];
        assert_eq!(steps, want);
    }

    #[test]
    fn it_climbs_back_by_itself_and_tries_less_often_when_that_was_too_early() {
        let steps = levels(60, |_, level| if level == Level::Every { 200 } else { 10 });
        let ups: Vec<i64> = steps.iter().filter(|s| s.1 == Level::Every).map(|s| s.0).collect();
        assert!(ups.len() >= 2, "{steps:?}");
        assert!(ups.windows(3).all(|w| w[2] - w[1] > w[1] - w[0]), "{ups:?}");
        let once = levels(60, |ms, _| if ms < 3500 { 200 } else { 10 });
        assert_eq!(once.last().map(|step| step.1), Some(Level::Every), "{once:?}");
    }

    #[test]
    fn what_is_late_is_left_out_on_the_third_step_only() {
        let mut ladder = Ladder::new(Level::Every);
        ladder.observe(0, 1000 * MS);
        assert!(!ladder.must_skip());
        ladder.level = Level::Dropping;
        assert!(ladder.must_skip());
        ladder.observe(33 * MS, 100 * MS);
        assert!(!ladder.must_skip());
        ladder.level = Level::Nothing;
        assert!(ladder.must_skip());
    }
}
