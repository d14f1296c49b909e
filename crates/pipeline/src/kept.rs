//! The decoded frames of a short video, so that the second pass need not decode them again.

use std::sync::Arc;

use domain::Frame;
use media::Decoded;

/// Frames kept as long as there is room for all.
pub(crate) struct Kept {
    /// Frames, whether they are intact, and their durations; `None` once there was no room.
    frames: Option<Vec<(Arc<Frame>, bool, i64)>>,
    /// Bytes left.
    room: usize,
}

impl Kept {
    pub(crate) fn new(room: usize) -> Self {
        Self { frames: Some(Vec::new()), room }
    }

    /// Keeps the frame of `decoded`, and lends it to the detectors.
    pub(crate) fn lend(&mut self, decoded: Decoded) -> Arc<Frame> {
        let frame = Arc::new(decoded.frame);
        let size: usize = frame.planes.iter().map(|plane| plane.data.capacity()).sum();
        match (&mut self.frames, self.room.checked_sub(size)) {
            (Some(frames), Some(left)) => {
                self.room = left;
                frames.push((Arc::clone(&frame), decoded.intact, decoded.duration));
            }
            _ => self.frames = None,
        }
        frame
    }

    /// All frames of the video, once nobody has one any more.
    pub(crate) fn all(self) -> Option<Vec<Decoded>> {
        let own = |(frame, intact, duration)| {
            let frame = Arc::try_unwrap(frame).ok()?;
            Some(Decoded { frame, intact, duration, starts_group: false })
        };
        self.frames?.into_iter().map(own).collect()
    }
}

#[cfg(test)]
mod tests {
    use domain::{Color, Matrix, PixelFormat, Pts, Range, Size, TimeBase};

    use super::*;

    fn decoded(seq: u64) -> Decoded {
        let color = Color { range: Range::Limited, matrix: Matrix::Bt709 };
        let pts = Pts::new(seq as i64, TimeBase::new(1, 25).unwrap());
        let size = Size { width: 10, height: 10 };
        let frame = Frame::new(seq, pts, size, PixelFormat::Gray, color, None);
        Decoded { frame, intact: seq != 1, duration: 7, starts_group: false }
    }

    fn size() -> usize {
        decoded(0).frame.planes.iter().map(|plane| plane.data.capacity()).sum()
    }

    #[test]
    fn frames_that_fit_come_back_in_order() {
        let mut kept = Kept::new(3 * size());
        let lent: Vec<_> = (0..3).map(|seq| kept.lend(decoded(seq))).collect();
        drop(lent);
        let all = kept.all().unwrap();
        let seen: Vec<_> = all.iter().map(|d| (d.frame.seq, d.intact, d.duration)).collect();
        assert_eq!(seen, [(0, true, 7), (1, false, 7), (2, true, 7)]);
    }

    #[test]
    fn a_video_that_does_not_fit_is_not_kept_at_all() {
        let mut kept = Kept::new(3 * size() - 1);
        let lent: Vec<_> = (0..3).map(|seq| kept.lend(decoded(seq))).collect();
        assert_eq!(Arc::strong_count(&lent[0]), 1, "what was kept is let go");
        assert!(kept.all().is_none());
    }
}
