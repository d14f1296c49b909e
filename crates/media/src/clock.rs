//! The clocks of MPEG-TS and HLS: they start anywhere, and start again where recordings were joined.
//! MP4 has one that starts at zero and only rises.
//!
//! Both passes over a file must see the same times, so a clock sees every packet of both main
//! streams, in the order of the file, also in a pass that uses the pictures alone.

use domain::TimeBase;
use ffmpeg_sys_the_third as ff;

use crate::MediaError;
use crate::source::Source;
use crate::sys::rational;

const MICROSECONDS: ff::AVRational = ff::AVRational { num: 1, den: 1_000_000 };
/// A step back of more than this is another recording's clock; less is a sloppy one's. In µs.
const BACK: i64 = 100_000;
/// A step forward of more than this is another recording's clock; less is a pause. In µs.
const FORWARD: i64 = 10_000_000;
/// The same where there are no pauses.
const FORWARD_WITHOUT_PAUSES: i64 = BACK;

/// Straightens the clock of a source that has a free one; leaves the others alone.
#[derive(Debug)]
pub(crate) struct Clock {
    free: bool,
    /// Longest step forward that is a pause, in µs.
    forward: i64,
    /// What was added at the start of the file, in µs.
    first: i64,
    /// What was added last, by the stream that first saw a new clock.
    latest: i64,
    streams: Vec<Stream>,
}

#[derive(Debug)]
struct Stream {
    index: usize,
    offset: i64,
    /// When its next packet should come, straightened; none before the first.
    due: Option<i64>,
}

impl Clock {
    /// For the main streams of `source`. The sound counts even where it is not used.
    pub(crate) fn of(source: &Source, video: usize) -> Result<Self, MediaError> {
        let audio = source.best(ff::AVMediaType::AUDIO, video as i32);
        let streams: Vec<usize> = [Some(video), audio].into_iter().flatten().collect();
        let mut earliest = None;
        for &index in streams.iter().filter(|_| source.free_clock) {
            let stream = source.stream(index)?;
            if stream.start_time != ff::AV_NOPTS_VALUE {
                // SAFETY: arithmetic on plain values.
                let start =
                    unsafe { ff::av_rescale_q(stream.start_time, stream.time_base, MICROSECONDS) };
                earliest = Some(earliest.map_or(start, |e: i64| e.min(start)));
            }
        }
        Ok(Self::new(source.free_clock, earliest.map_or(0, |e| -e), &streams))
    }

    fn new(free: bool, first: i64, streams: &[usize]) -> Self {
        let stream = |&index| Stream { index, offset: first, due: None };
        let streams = streams.iter().map(stream).collect();
        Self { free, forward: FORWARD, first, latest: first, streams }
    }

    /// The same for a source in which a pause is where nobody recorded: it is left out.
    pub(crate) fn without_pauses(self) -> Self {
        Self { forward: FORWARD_WITHOUT_PAUSES, ..self }
    }

    /// Seconds added at the start of the file.
    pub(crate) fn first(&self) -> f64 {
        self.first as f64 / 1e6
    }

    /// Whether it must see the packets of this stream.
    pub(crate) fn minds(&self, index: usize) -> bool {
        self.free && self.streams.iter().any(|s| s.index == index)
    }

    /// Straightens the time stamps of a packet of stream `index`, which are in `base`.
    pub(crate) fn straighten(&mut self, packet: &mut ff::AVPacket, index: usize, base: TimeBase) {
        if !self.minds(index) {
            return;
        }
        let known = |stamp: i64| (stamp != ff::AV_NOPTS_VALUE).then_some(stamp);
        // SAFETY: arithmetic on plain values.
        let micros = |ticks: i64| unsafe { ff::av_rescale_q(ticks, rational(base), MICROSECONDS) };
        let offset =
            self.offset(index, known(packet.dts).map(micros), micros(packet.duration.max(0)));
        // SAFETY: arithmetic on plain values.
        let by = unsafe { ff::av_rescale_q(offset, MICROSECONDS, rational(base)) };
        for stamp in [&mut packet.pts, &mut packet.dts] {
            *stamp = known(*stamp).map_or(*stamp, |s| s.saturating_add(by));
        }
    }

    /// What to add to the time stamps of a packet that is decoded at `dts`. All in µs.
    fn offset(&mut self, index: usize, dts: Option<i64>, duration: i64) -> i64 {
        let (latest, forward) = (self.latest, self.forward);
        let last_due = self.streams.iter().filter_map(|s| s.due).max();
        let Some(stream) = self.streams.iter_mut().find(|s| s.index == index) else { return 0 };
        let Some(dts) = dts else { return stream.offset };
        let fits = |due: i64, offset: i64| {
            let step = dts.saturating_add(offset).saturating_sub(due);
            (-BACK..=forward).contains(&step)
        };
        if let (Some(due), Some(last_due)) = (stream.due, last_due)
            && !fits(due, stream.offset)
        {
            // Where the other stream has seen the new clock before, both keep step. Otherwise what
            // follows starts where the longer stream ended: neither runs back.
            let known = latest != stream.offset && fits(due, latest);
            stream.offset = if known { latest } else { last_due.saturating_sub(dts) };
            self.latest = stream.offset;
        }
        stream.due = Some(dts.saturating_add(stream.offset).saturating_add(duration));
        stream.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: usize = 0;
    const SOUND: usize = 1;

    /// Packets (stream, milliseconds, length) and when they come on the straight clock.
    fn straight(packets: &[(usize, i64, i64)]) -> Vec<i64> {
        let first = packets.iter().map(|p| p.1).next().unwrap();
        let mut clock = Clock::new(true, -first * 1000, &[VIDEO, SOUND]);
        packets
            .iter()
            .map(|&(index, ms, length)| {
                (ms * 1000 + clock.offset(index, Some(ms * 1000), length * 1000)) / 1000
            })
            .collect()
    }

    #[test]
    fn it_starts_at_zero_and_keeps_pauses() {
        let packets = [(VIDEO, 1400, 40), (SOUND, 1410, 20), (VIDEO, 1440, 40), (VIDEO, 5000, 40)];
        assert_eq!(straight(&packets), [0, 10, 40, 3600]);
    }

    #[test]
    fn a_new_recording_follows_the_old_one_with_picture_and_sound_in_step() {
        let packets = [
            (VIDEO, 1000, 40),
            (SOUND, 1000, 60),
            (VIDEO, 700, 40), // starts again; its sound 10 ms later
            (SOUND, 710, 60),
            (VIDEO, 740, 40),
        ];
        assert_eq!(straight(&packets), [0, 0, 60, 70, 100]);
    }

    #[test]
    fn what_is_left_of_the_old_recording_stays_on_its_clock() {
        let packets = [
            (VIDEO, 90_000, 40),
            (SOUND, 90_000, 20),
            (VIDEO, 0, 40),
            (SOUND, 90_020, 20),
            (SOUND, 0, 20),
        ];
        assert_eq!(straight(&packets), [0, 0, 40, 20, 40]);
    }

    #[test]
    fn a_leap_forward_is_a_new_recording_too() {
        let packets = [(VIDEO, 0, 40), (SOUND, 0, 40), (SOUND, 500_000, 40), (VIDEO, 500_000, 40)];
        assert_eq!(straight(&packets), [0, 0, 40, 40]);
    }

    #[test]
    fn where_nobody_recorded_is_no_pause_and_picture_and_sound_stay_in_step() {
        let packets = [
            (VIDEO, 1000, 40),
            (SOUND, 1010, 20),
            (VIDEO, 1040, 40),
            (SOUND, 1030, 20),
            (VIDEO, 6000, 40),
            (SOUND, 6005, 20),
            (VIDEO, 6040, 40),
        ];
        let mut clock = Clock::new(true, -1_000_000, &[VIDEO, SOUND]).without_pauses();
        let straight = packets.map(|(index, ms, length)| {
            ms + clock.offset(index, Some(ms * 1000), length * 1000) / 1000
        });
        assert_eq!(straight, [0, 10, 40, 30, 80, 85, 120]);
    }

    #[test]
    fn a_clock_that_is_not_free_is_left_alone() {
        let mut clock = Clock::new(false, 0, &[VIDEO]);
        assert!(!clock.minds(VIDEO));
        let base = TimeBase::new(1, 1000).unwrap();
        let mut packet = crate::sys::Packet::new().unwrap();
        packet.get_mut().dts = 5;
        clock.straighten(packet.get_mut(), VIDEO, base);
        assert_eq!(packet.get().dts, 5);
    }
}
