//! Time stamps that carry their time base, so that ticks of two streams cannot be mixed up.

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// The length of one tick as a fraction of a second, e.g. 1/90000 or 1001/24000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeBase {
    num: NonZeroU32,
    den: NonZeroU32,
}

impl TimeBase {
    /// 1/90000 s: the clock of MPEG systems (ISO/IEC 13818-1), and of everything live.
    pub const MPEG: Self = match (NonZeroU32::new(1), NonZeroU32::new(90_000)) {
        (Some(num), Some(den)) => Self { num, den },
        _ => panic!("neither is zero"),
    };

    /// `None` when either part is zero: such a base measures nothing.
    pub fn new(num: u32, den: u32) -> Option<Self> {
        Some(Self { num: NonZeroU32::new(num)?, den: NonZeroU32::new(den)? })
    }

    /// Numerator of the tick length in seconds.
    pub fn num(self) -> u32 {
        self.num.get()
    }

    /// Denominator of the tick length in seconds.
    pub fn den(self) -> u32 {
        self.den.get()
    }

    /// Length of `ticks` ticks in seconds.
    pub fn seconds(self, ticks: i64) -> f64 {
        ticks as f64 * f64::from(self.num.get()) / f64::from(self.den.get())
    }
}

/// A presentation time stamp: a number of ticks of its stream's own time base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pts {
    /// Ticks since the stream's zero; may be negative.
    pub ticks: i64,
    /// What one tick is worth.
    pub base: TimeBase,
}

impl Pts {
    /// A time stamp of `ticks` ticks of `base`.
    pub fn new(ticks: i64, base: TimeBase) -> Self {
        Self { ticks, base }
    }

    /// Seconds since the stream's zero.
    pub fn seconds(self) -> f64 {
        self.base.seconds(self.ticks)
    }

    /// Seconds from `earlier` to `self`; negative when `self` comes first.
    pub fn seconds_since(self, earlier: Pts) -> f64 {
        if self.base == earlier.base {
            self.base.seconds(self.ticks.saturating_sub(earlier.ticks))
        } else {
            self.seconds() - earlier.seconds()
        }
    }
}

impl PartialOrd for Pts {
    /// Exact: compares the fractions by cross-multiplication, never through floats.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let value = |p: &Pts, q: &Pts| {
            i128::from(p.ticks) * i128::from(p.base.num()) * i128::from(q.base.den())
        };
        let ordering = value(self, other).cmp(&value(other, self));
        // Equal instants in different bases are not equal values, so they have no order.
        (ordering != Ordering::Equal || self == other).then_some(ordering)
    }
}

impl fmt::Display for Pts {
    /// `h:mm:ss.mmm`, for people; machines read the ticks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = (self.seconds() * 1000.0).round() as i64;
        let (sign, ms) = if ms < 0 { ("-", -ms) } else { ("", ms) };
        write!(
            f,
            "{sign}{}:{:02}:{:02}.{:03}",
            ms / 3_600_000,
            ms / 60_000 % 60,
            ms / 1000 % 60,
            ms % 1000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_base_of_zero_does_not_exist() {
        assert_eq!(TimeBase::new(0, 1), None);
        assert_eq!(TimeBase::new(1, 0), None);
    }

    #[test]
    fn order_is_exact_across_time_bases() {
        let film = TimeBase::new(1001, 24000).unwrap();
        let mpeg = TimeBase::new(1, 90000).unwrap();
        let a = Pts::new(1, film); // 41.7083.. ms
        assert!(a > Pts::new(3753, mpeg));
        assert!(a < Pts::new(3754, mpeg));
    }

    #[test]
    fn prints_for_people() {
        let base = TimeBase::new(1, 1000).unwrap();
        assert_eq!(Pts::new(3_723_004, base).to_string(), "1:02:03.004");
        assert_eq!(Pts::new(-40, base).to_string(), "-0:00:00.040");
    }
}
