//! Exact durations.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

/// A duration in ticks of 1/90000 s, the clock in which frame rates such as 30000/1001 are whole
/// numbers. Shown as seconds with six decimals, rounded to the nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration90k(pub u64);

impl Duration90k {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One second.
    pub const SECOND: Self = Self(90_000);

    /// Millionths of a second, rounded to the nearest. What is shown adds up to within one of them
    /// for each number added.
    pub fn micros(self) -> u64 {
        // 1_000_000 / 90_000 = 100 / 9.
        (self.0.saturating_mul(100).saturating_add(4)) / 9
    }

    /// Whole seconds, rounded to the nearest.
    pub(super) fn rounded_seconds(self) -> u64 {
        self.0.saturating_add(Self::SECOND.0 / 2) / Self::SECOND.0
    }
}

impl fmt::Display for Duration90k {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.micros();
        write!(f, "{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// Saturates; the end of the range is six million years away.
impl Add for Duration90k {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Nothing, if it would be less.
impl Sub for Duration90k {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Duration90k {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_to_the_nearest_millionth() {
        for (ticks, shown) in [
            (0, "0.000000"),
            (1, "0.000011"),
            (5, "0.000056"),
            (30_000, "0.333333"),
            (30_030, "0.333667"),
            (180_180, "2.002000"),
            (179_999, "1.999989"),
            (5_400_000, "60.000000"),
        ] {
            assert_eq!(Duration90k(ticks).to_string(), shown, "{ticks}");
        }
    }

    #[test]
    fn half_a_second_is_rounded_up() {
        for (ticks, seconds) in [(44_999, 0), (45_000, 1), (180_180, 2), (225_000, 3)] {
            assert_eq!(Duration90k(ticks).rounded_seconds(), seconds, "{ticks}");
        }
    }
}
