//! The sound of a broadcast: frames of AAC without a hole. What does not come is silence, because players stop
//! at a hole in one of two tracks.
//!
//! Frame number `n` of the track begins `n * 1024` samples after the broadcast did. Time stamps of publishers
//! are milliseconds and shake, so a frame follows the one before it as long as it is near enough.

use std::collections::VecDeque;

use media::{AacFrame, SoundConfig};

/// A frame this far from where its time stamp wants it is moved: time stamps shake, but not by that much.
const MOST_OFF: i64 = 90 * 35;
/// And so are frames that are this far off on average: sound and picture are to be within 40 ms, of which a picture's own
/// place takes up to half of its length, which is 20 at 25 frames a second.
const MOST_DRIFT: i64 = 90 * 15;
/// The average is over about so many frames: a third of a second.
const AVERAGED: i64 = 16;
/// Frames that wait, at most: 10 s of 48 kHz.
const WAITING: usize = 470;
const TICKS: i64 = 90_000;

/// The sound that waits for the picture it belongs to. Times are ticks of 1/90000 s since the broadcast began.
pub(crate) struct Sound {
    config: SoundConfig,
    silence: AacFrame,
    /// Number of the next frame of the track.
    next: u64,
    /// Whether the last frame was of the publisher's.
    flowing: bool,
    /// How far behind their places the publisher's frames are, on average.
    drift: i64,
    waiting: VecDeque<(i64, AacFrame)>,
}

impl Sound {
    /// A track that begins at `start`.
    pub(crate) fn new(config: SoundConfig, silence: AacFrame, start: i64) -> Self {
        let waiting = VecDeque::new();
        let mut sound = Self { config, silence, next: 0, flowing: false, drift: 0, waiting };
        sound.next = sound.first_from(start);
        sound
    }

    pub(crate) fn config(&self) -> &SoundConfig {
        &self.config
    }

    /// A frame that is heard at `at`.
    pub(crate) fn put(&mut self, at: i64, frame: AacFrame) {
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((at, frame));
    }

    /// The publisher is gone: its sound ends with its picture.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The frames that begin before `end` and were not taken yet; gives the number of the first.
    pub(crate) fn until(&mut self, end: i64) -> (u64, Vec<AacFrame>) {
        let (first, last) = (self.next, self.first_from(end));
        let frames = (first..last).map(|n| self.frame(n)).collect();
        self.next = last.max(first);
        (first, frames)
    }

    fn frame(&mut self, n: u64) -> AacFrame {
        let (start, length) = (self.start(n), self.start(n + 1) - self.start(n));
        while let Some((at, _)) = self.waiting.front() {
            // Behind a frame of the publisher's comes the next one, if it is anywhere near.
            let settled = self.flowing && self.drift.abs() <= MOST_DRIFT;
            let off = if settled { MOST_OFF } else { length / 2 };
            if *at < start - off {
                self.waiting.pop_front();
            } else if *at <= start + off {
                let late = *at - start;
                self.drift =
                    if settled { self.drift + (late - self.drift) / AVERAGED } else { late };
                self.flowing = true;
                return self.waiting.pop_front().map_or_else(|| self.silence.clone(), |f| f.1);
            } else {
                break;
            }
        }
        self.flowing = false;
        self.silence.clone()
    }

    /// When frame number `n` begins.
    fn start(&self, n: u64) -> i64 {
        let samples = n.saturating_mul(SoundConfig::FRAME_SAMPLES.into());
        let ticks = u128::from(samples) * TICKS as u128 / u128::from(self.config.rate().max(1));
        i64::try_from(ticks).unwrap_or(i64::MAX)
    }

    /// The first frame that begins at `at` or later.
    fn first_from(&self, at: i64) -> u64 {
        let samples = u128::from(u64::try_from(at).unwrap_or(0)) * u128::from(self.config.rate());
        let frame = u128::from(SoundConfig::FRAME_SAMPLES) * TICKS as u128;
        u64::try_from(samples.div_ceil(frame)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of frames: 0 is silence.
    fn run(puts: impl IntoIterator<Item = (i64, u8)>, ends: &[i64]) -> Vec<u8> {
        let config = SoundConfig::parse(&SoundConfig::USUAL).unwrap();
        let mut sound = Sound::new(config, AacFrame(vec![0]), 0);
        for (ms, name) in puts {
            sound.put(ms * 90, AacFrame(vec![name]));
        }
        let mut heard = Vec::new();
        let mut next = 0;
        for end in ends {
            let (first, frames) = sound.until(end * 90);
            assert_eq!(first, next, "no hole");
            next = first + frames.len() as u64;
            heard.extend(frames.iter().map(|frame| frame.0[0]));
        }
        heard
    }

    /// Time stamps as publishers have them: 1024 samples of 48 kHz are 21.33 ms.
    fn stamp(n: i64) -> i64 {
        n * 64 / 3
    }

    #[test]
    fn frames_follow_one_another_whatever_their_time_stamps_round_to() {
        let shaking = (0..40).map(|n| (stamp(n) + [0, 9, -8, 20][n as usize % 4], n as u8 + 1));
        let heard = run(shaking, &[100, 300, 853]);
        assert_eq!(heard, (1..=40).collect::<Vec<u8>>());
    }

    #[test]
    fn what_does_not_come_is_silence_and_what_comes_after_is_in_its_place() {
        let hole = (0..40).filter(|n| !(10..20).contains(n)).map(|n| (stamp(n), n as u8 + 1));
        let heard = run(hole, &[853]);
        let want: Vec<u8> = (1..=40).map(|n| if (11..=20).contains(&n) { 0 } else { n }).collect();
        assert_eq!(heard, want);
    }

    #[test]
    fn sound_that_stays_a_little_off_is_put_in_its_place_once() {
        for by in [30, -30] {
            let stamps = (0..120).map(|n| (stamp(n) + if n < 40 { 0 } else { by }, n as u8 + 1));
            let heard = run(stamps, &[2600]);
            let last = heard.iter().rposition(|name| *name == 120).unwrap() as i64;
            let off = last * 64 / 3 - (stamp(119) + by);
            assert!(off.abs() <= 15, "the last frame is {off} ms off");
            let silences = heard[..last as usize].iter().filter(|name| **name == 0).count();
            let lost = (1..=120).filter(|name| !heard.contains(name)).count();
            let want = if by > 0 { (1, 0) } else { (0, 1) };
            assert_eq!((silences, lost), want, "{heard:?}");
        }
    }

    #[test]
    fn what_comes_too_late_is_not_heard() {
        let late = (0..10).map(|n| (stamp(n) - 500, n as u8 + 1));
        assert_eq!(run(late, &[213]), [0; 10]);
    }

    #[test]
    fn a_track_that_begins_later_begins_on_a_frame() {
        let config = SoundConfig::parse(&SoundConfig::USUAL).unwrap();
        let mut sound = Sound::new(config, AacFrame(vec![0]), 90_000);
        assert_eq!(sound.until(90_000).1.len(), 0);
        let (first, frames) = sound.until(180_000);
        assert_eq!((first, frames.len()), (47, 47));
    }

    #[test]
    fn what_waits_is_bounded() {
        let config = SoundConfig::parse(&SoundConfig::USUAL).unwrap();
        let mut sound = Sound::new(config, AacFrame(vec![0]), 0);
        (0..10_000).for_each(|n| sound.put(stamp(n) * 90, AacFrame(vec![1])));
        assert_eq!(sound.waiting.len(), WAITING);
    }
}
