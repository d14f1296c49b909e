/// Takes the wrap of 32-bit timestamps out. One for audio and video together, so that both wrap alike.
#[derive(Default)]
pub(crate) struct Timeline {
    last: Option<u64>,
}

impl Timeline {
    /// The time nearest to the last one whose low 32 bits are `timestamp` (RTMP 5.3.1.1: serial numbers as in
    /// RFC 1982); what would be before 0 is after it.
    pub(crate) fn unwrap(&mut self, timestamp: u32) -> u64 {
        let last = self.last.unwrap_or(u64::from(timestamp));
        let forward = timestamp.wrapping_sub(last as u32);
        let back = u64::from(forward.wrapping_neg());
        let time = if forward > u32::MAX / 2 && back <= last {
            last - back
        } else {
            last.saturating_add(u64::from(forward))
        };
        self.last = Some(time);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::Timeline;

    #[test]
    fn time_goes_on_over_the_wrap_and_back() {
        let mut timeline = Timeline::default();
        let wrap = 1_u64 << 32;
        for (timestamp, expected) in [
            (0xffff_fff0, wrap - 16),
            (5, wrap + 5),
            (0xffff_ffff, wrap - 1),
            (0x7000_0000, wrap + 0x7000_0000),
            (10, wrap + 10),
        ] {
            assert_eq!(timeline.unwrap(timestamp), expected, "{timestamp:#x}");
        }
    }

    #[test]
    fn nothing_is_before_zero_and_the_low_bits_are_kept() {
        let mut timeline = Timeline::default();
        for (timestamp, expected) in
            [(5, 5), (0xffff_ffff, 0xffff_ffff), (6, 0x1_0000_0006), (0, 1 << 32)]
        {
            assert_eq!(timeline.unwrap(timestamp), expected, "{timestamp:#x}");
        }
    }
}
