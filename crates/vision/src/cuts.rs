//! Scene cuts, from how much small grey thumbnails of neighbouring frames differ.

/// Grey levels (of 255) that the picture must change by, on average, to be a cut.
const LEVEL: f32 = 12.0;
/// How far a cut stands out over its neighbours; fast motion is as different, but for many frames.
const STANDS_OUT: f32 = 2.5;
/// Neighbours looked at on each side.
const NEIGHBOURS: usize = 4;

/// Which frames are the first of a new scene.
///
/// `differences[k]` is the mean absolute difference, 0..=255, of the 64x36 grey thumbnails of
/// frames `k - 1` and `k`; the first one is not looked at. The result is as long: `true` at `k`
/// when a cut lies between `k - 1` and `k`.
pub fn find(differences: &[f32]) -> Vec<bool> {
    (0..differences.len())
        .map(|k| {
            let before = differences.get(k.saturating_sub(NEIGHBOURS).max(1)..k);
            let end = differences.len().min(k + 1 + NEIGHBOURS);
            let around = before.into_iter().chain(differences.get(k + 1..end)).flatten();
            k > 0 && differences.get(k).is_some_and(|now| stands_out(*now, around))
        })
        .collect()
}

/// Whether `now` may be a cut, judged without the frames after it: a cheap reason to look closer.
///
/// `previous` holds the differences before `now`, the latest last; at most four are looked at.
pub fn maybe(previous: &[f32], now: f32) -> bool {
    stands_out(now, previous.iter().rev().take(NEIGHBOURS))
}

fn stands_out<'a>(now: f32, around: impl Iterator<Item = &'a f32>) -> bool {
    now > LEVEL && now > STANDS_OUT * around.copied().fold(0.0, f32::max) + 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_found(differences: &[f32]) -> Vec<usize> {
        let found = find(differences);
        assert_eq!(found.len(), differences.len());
        (0..found.len()).filter(|k| found[*k]).collect()
    }

    #[test]
    fn a_lone_jump_is_a_cut() {
        assert_eq!(frames_found(&[0.0, 2.0, 3.0, 40.0, 2.0, 3.0]), [3]);
    }

    #[test]
    fn steady_fast_motion_is_no_cut() {
        assert_eq!(frames_found(&[0.0, 30.0, 34.0, 40.0, 33.0, 31.0]), []);
    }

    #[test]
    fn a_small_jump_is_no_cut() {
        assert_eq!(frames_found(&[0.0, 0.0, 12.0, 0.0, 0.0]), []);
        assert_eq!(frames_found(&[0.0, 0.0, 12.1, 0.0, 0.0]), [2]);
    }

    #[test]
    fn motion_after_the_jump_counts_as_much_as_motion_before() {
        assert_eq!(frames_found(&[0.0, 1.0, 1.0, 40.0, 20.0, 1.0]), []);
        assert_eq!(frames_found(&[0.0, 1.0, 20.0, 40.0, 1.0, 1.0]), []);
    }

    #[test]
    fn only_four_neighbours_on_each_side_count() {
        assert_eq!(frames_found(&[0.0, 50.0, 1.0, 1.0, 1.0, 1.0, 50.0, 1.0]), [1, 6]);
    }

    #[test]
    fn the_first_frame_is_never_a_cut() {
        assert_eq!(frames_found(&[99.0, 1.0, 1.0]), []);
        assert_eq!(frames_found(&[]), []);
    }

    #[test]
    fn the_hint_needs_no_future() {
        assert!(maybe(&[1.0, 2.0, 1.0, 1.0], 30.0));
        assert!(maybe(&[], 30.0));
        assert!(!maybe(&[1.0, 1.0, 20.0, 1.0], 30.0));
        assert!(!maybe(&[0.0], 5.0));
        assert!(maybe(&[99.0, 1.0, 1.0, 1.0, 1.0], 30.0), "the fifth back no longer counts");
    }
}
