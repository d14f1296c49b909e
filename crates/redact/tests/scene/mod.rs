//! Frames and plans to paint.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod oracle;

use domain::{
    BoxKind, Color, Frame, Matrix, PersonIx, PixelFormat, Pts, Range, Rect, Size, TimeBase, Track,
    TrackBox, TrackId,
};
use redact::{Analysis, FramePlan, Painter, Policy, Redacted, RedactionPlan, Seen, ShownSpan};

pub const FORMATS: [PixelFormat; 5] = [
    PixelFormat::Gray,
    PixelFormat::Yuv420,
    PixelFormat::Yuv422,
    PixelFormat::Yuv444,
    PixelFormat::Rgb,
];

pub fn pts(ticks: i64) -> Pts {
    Pts::new(ticks, TimeBase::new(1, 25).expect("not zero"))
}

/// A frame whose sample at (x, y) of plane p is `f(p, x, y)`.
pub fn frame(
    seq: u64,
    size: Size,
    format: PixelFormat,
    f: impl Fn(usize, usize, usize) -> u8,
) -> Frame {
    let color = Color { range: Range::Limited, matrix: Matrix::Bt709 };
    let mut frame = Frame::new(seq, pts(seq as i64), size, format, color, None);
    for (p, plane) in frame.planes.iter_mut().enumerate() {
        for y in 0..plane.height {
            for (x, v) in plane.row_mut(y).iter_mut().enumerate() {
                *v = f(p, x, y);
            }
        }
    }
    frame
}

/// Noise that is the same for the same place.
pub fn noise(p: usize, x: usize, y: usize) -> u8 {
    let mut h = (p * 7919 + x * 104_729 + y * 1_299_709 + 12_345) as u32;
    h ^= h >> 15;
    h = h.wrapping_mul(0x2c1b_3c6d);
    h ^= h >> 12;
    h = h.wrapping_mul(0x297a_2d39);
    (h >> 15) as u8
}

/// A plan for `frames` frames of which every one holds `rects`, box i of track i + 1.
pub fn plan(
    size: Size,
    frames: usize,
    rects: &[Rect],
    shown: &[u32],
    policy: &Policy,
) -> RedactionPlan {
    let mut analysis = Analysis::new(size);
    (0..frames).for_each(|i| analysis.frame(pts(i as i64), Seen::Detected, false));
    let tracks = tracks(frames, rects);
    let span =
        |id: &u32| ShownSpan { track: TrackId(*id), person: PersonIx(0), first: 0, last: frames };
    let shown: Vec<ShownSpan> = shown.iter().map(span).collect();
    analysis.finish(&tracks, &shown, policy)
}

/// A track for each of `rects`, numbered from 1, that stays there for `frames` frames.
pub fn tracks(frames: usize, rects: &[Rect]) -> Vec<Track> {
    let kind = BoxKind::Detected;
    let track = |(i, rect): (usize, &Rect)| Track {
        id: TrackId(i as u32 + 1),
        boxes: (0..frames).map(|frame| TrackBox { frame, rect: *rect, kind, score: 0.9 }).collect(),
        sightings: Vec::new(),
        best_score: 0.9,
        first: (0, pts(0)),
        last: (frames, pts(frames as i64)),
    };
    rects.iter().enumerate().map(track).collect()
}

/// The plan for frame 0 of a video of one frame.
pub fn plan_one(size: Size, rects: &[Rect], shown: &[u32], policy: &Policy) -> FramePlan {
    plan(size, 1, rects, shown, policy).for_frame(0, pts(0), size)
}

pub fn paint(frame: Frame, plan: &FramePlan) -> Redacted {
    Painter::new().paint(frame, plan)
}
