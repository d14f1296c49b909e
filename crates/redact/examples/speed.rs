//! Milliseconds to paint a 1080p frame: `cargo run --release -p garim-redact --example speed`.

use std::time::Instant;

use domain::{
    BoxKind, Color, Frame, FramePool, Matrix, PixelFormat, Pts, Range, Rect, Size, TimeBase, Track,
    TrackBox, TrackId,
};
use redact::{Analysis, EffectKind, Painter, Policy, Seen, Shape};

const SIZE: Size = Size { width: 1920, height: 1080 };
const FRAMES: usize = 300;

fn main() {
    let grid = |n: usize, side: f32| -> Vec<Rect> {
        let at = |i: usize| ((i % 5) as f32 * 380.0 + 41.3, (i / 5) as f32 * 260.0 + 33.7);
        (0..n).map(at).map(|(x, y)| Rect::new(x, y, x + side, y + side)).collect()
    };
    let cases = [
        ("1 region of 200x200", grid(1, 200.0 / 1.5)),
        ("20 regions of 100x100", grid(20, 100.0 / 1.5)),
        ("1 region of 1920x1080", vec![Rect::new(320.0, 180.0, 1600.0, 900.0)]),
    ];
    for kind in [EffectKind::Mosaic, EffectKind::Blur, EffectKind::Fill] {
        for (name, rects) in &cases {
            let policy = Policy::new(kind, 8, Shape::Rounded, Some(0.25)).expect("a safe policy");
            let (mean, worst) = measure(rects, &policy);
            println!("{kind:6} {name:22} mean {mean:.3} ms, when colours are taken {worst:.3} ms");
        }
    }
}

/// Mean per frame, and the median of the frames in which colours are taken.
fn measure(rects: &[Rect], policy: &Policy) -> (f64, f64) {
    let pts = |i: usize| Pts::new(i as i64, TimeBase::new(1, 25).expect("not zero"));
    let mut analysis = Analysis::new(SIZE);
    (0..FRAMES).for_each(|i| analysis.frame(pts(i), Seen::Detected, false));
    let kind = BoxKind::Detected;
    let tracks: Vec<Track> = rects
        .iter()
        .enumerate()
        .map(|(i, rect)| Track {
            id: TrackId(i as u32),
            boxes: (0..FRAMES)
                .map(|frame| TrackBox { frame, rect: *rect, kind, score: 1.0 })
                .collect(),
            sightings: Vec::new(),
            best_score: 1.0,
            first: (0, pts(0)),
            last: (FRAMES, pts(FRAMES)),
        })
        .collect();
    let plan = analysis.finish(&tracks, &[], policy);
    let pool = FramePool::default();
    let color = Color { range: Range::Limited, matrix: Matrix::Bt709 };
    let mut painter = Painter::new();
    let mut all = Vec::new();
    for i in 0..FRAMES {
        let mut frame = Frame::new(i as u64, pts(i), SIZE, PixelFormat::Yuv420, color, Some(&pool));
        for plane in &mut frame.planes {
            plane.data.iter_mut().enumerate().for_each(|(i, v)| *v = ((i * 31) >> 3) as u8);
        }
        let plan = plan.for_frame(i as u64, pts(i), SIZE);
        let start = Instant::now();
        let redacted = painter.paint(frame, &plan);
        all.push(start.elapsed().as_secs_f64() * 1000.0);
        std::hint::black_box(redacted.frame());
    }
    let mut taken: Vec<f64> = all.iter().copied().step_by(Painter::HOLD as usize).collect();
    taken.sort_by(f64::total_cmp);
    (all.iter().sum::<f64>() / all.len() as f64, taken[taken.len() / 2])
}
