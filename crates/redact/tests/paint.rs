//! Every planned pixel changes, in every format, for any boxes; a keep never widens.

mod scene;

use domain::{PixelFormat, Rect, Size};
use proptest::prelude::*;
use redact::{EffectKind, Painter, Policy, Redacted, Shape};
use scene::{FORMATS, frame, noise, paint, plan, plan_one, pts};

const GREY: u8 = 110;

fn sizes() -> impl Strategy<Value = Size> {
    (1u32..90, 1u32..70).prop_map(|(width, height)| Size { width, height })
}

fn boxes() -> impl Strategy<Value = Vec<Rect>> {
    let one = (-40f32..110.0, -40f32..90.0, 0f32..90.0, 0f32..90.0);
    let one = one.prop_map(|(x, y, w, h)| Rect::new(x, y, x + w, y + h));
    prop::collection::vec(one, 1..5)
}

fn policies(kinds: &'static [EffectKind]) -> impl Strategy<Value = Policy> {
    let shape = prop::sample::select(vec![Shape::Rounded, Shape::Box]);
    (prop::sample::select(kinds), 3u8..=8, shape, 0.2f32..1.0).prop_map(
        |(kind, cells, shape, pad)| {
            Policy::new(kind, cells, shape, Some(pad)).expect("a safe policy")
        },
    )
}

fn formats() -> impl Strategy<Value = PixelFormat> {
    prop::sample::select(&FORMATS[..])
}

/// Values no cover paints, so that what stays uncovered is seen: 3 above a multiple of 16.
fn marked(p: usize, x: usize, y: usize) -> u8 {
    noise(p, x, y) / 16 * 16 + 3
}

fn is_marked(v: u8) -> bool {
    v % 16 == 3
}

/// Whether the pixel at (x, y) is covered in the luma (or only) plane, and in the others.
fn covered(redacted: &Redacted, x: usize, y: usize) -> (bool, bool) {
    let frame = redacted.frame();
    let at = |p: usize| {
        let (sx, sy) = frame.format.subsampling(p);
        !is_marked(frame.planes[p].row(y >> sy)[x >> sx])
    };
    let others: Vec<bool> = (1..frame.planes.len()).map(at).collect();
    assert!(others.iter().all(|c| *c == others[0]), "chroma planes differ at {x},{y}");
    (at(0), others.first().copied().unwrap_or(at(0)))
}

/// Whether the pixel (x, y) has a part in `rect`.
fn touches(rect: Rect, x: usize, y: usize) -> bool {
    let (x, y) = (x as f32, y as f32);
    rect.x0 < x + 1.0 && rect.x1 > x && rect.y0 < y + 1.0 && rect.y1 > y
}

fn same(a: &Redacted, b: &Redacted) -> bool {
    a.frame().planes == b.frame().planes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_pixel_of_every_box_is_covered_and_none_far_from_it(
        size in sizes(), format in formats(), rects in boxes(),
        policy in policies(&[EffectKind::Mosaic, EffectKind::Fill]),
    ) {
        let redacted = paint(frame(0, size, format, marked), &plan_one(size, &rects, &[], &policy));
        for y in 0..size.height as usize {
            for x in 0..size.width as usize {
                let (luma, chroma) = covered(&redacted, x, y);
                prop_assert_eq!(luma, chroma, "luma and chroma differ at {},{}", x, y);
                // The corners of the padding may be round, the box in it never shows.
                let whole = |r: &Rect| match policy.shape() {
                    Shape::Rounded => *r,
                    Shape::Box => r.grown(policy.pad() - 1e-3),
                };
                let planned = rects.iter().any(|r| touches(whole(r), x, y));
                prop_assert!(luma || !planned, "{},{} shows", x, y);
                // Alignment to chroma and whole pixels: 2 px at most; a box of no size covers one.
                let near = |r: &Rect| {
                    let r = r.grown(policy.pad());
                    touches(Rect::new(r.x0 - 3.0, r.y0 - 3.0, r.x1 + 3.0, r.y1 + 3.0), x, y)
                };
                prop_assert!(!luma || rects.iter().any(near), "{},{} is far from any box", x, y);
            }
        }
    }

    #[test]
    fn a_blur_leaves_no_detail_in_any_box(
        format in formats(), rects in boxes(), policy in policies(&[EffectKind::Blur]),
    ) {
        let size = Size { width: 89, height: 67 };
        let stripes = |_, x: usize, y: usize| if (x + y).is_multiple_of(2) { 0 } else { 255 };
        // From boxes large enough that a blur reaches over many stripes.
        let rects: Vec<Rect> = rects.into_iter().map(|r| Rect::new(r.x0, r.y0, r.x1 + 40.0, r.y1 + 40.0)).collect();
        let redacted = paint(frame(0, size, format, stripes), &plan_one(size, &rects, &[], &policy));
        for y in 0..67 {
            for x in 0..89 {
                if rects.iter().any(|r| touches(*r, x, y)) {
                    let v = redacted.frame().planes[0].row(y)[x];
                    prop_assert!((100..=155).contains(&v), "{} at {},{}", v, x, y);
                }
            }
        }
    }

    #[test]
    fn a_mosaic_has_16_values_per_channel(size in sizes(), format in formats(), rects in boxes(), cells in 3u8..=8) {
        let policy = Policy::new(EffectKind::Mosaic, cells, Shape::Box, None).unwrap();
        let redacted = paint(frame(0, size, format, marked), &plan_one(size, &rects, &[], &policy));
        for plane in &redacted.frame().planes {
            let mut values: Vec<u8> = (0..plane.height).flat_map(|y| plane.row(y)).copied().filter(|v| !is_marked(*v)).collect();
            values.sort_unstable();
            values.dedup();
            prop_assert!(values.len() <= 16, "{:?}", values);
        }
    }

    #[test]
    fn a_keep_never_widens(
        size in sizes(), format in formats(), rects in boxes(), kept in 0usize..5,
        policy in policies(&[EffectKind::Mosaic, EffectKind::Blur, EffectKind::Fill]),
    ) {
        let kept = kept % rects.len();
        let shown = plan_one(size, &rects, &[kept as u32 + 1], &policy);
        let with_keep = paint(frame(0, size, format, marked), &shown);
        // As if the kept face had never been found: nothing but its own regions goes.
        let mut painter = Painter::new();
        let nowhere = Rect::new(-900.0, -900.0, -890.0, -890.0);
        let mut others = rects.clone();
        others[kept] = nowhere;
        let without_face = painter.paint(frame(0, size, format, marked), &plan_one(size, &others, &[], &policy));
        prop_assert!(same(&with_keep, &without_face));
        // And where the kept face does not reach, nothing changes at all.
        let none_kept = paint(frame(0, size, format, marked), &plan_one(size, &rects, &[], &policy));
        let kept = rects[kept].grown(policy.pad());
        let kept = Rect::new(kept.x0 - 3.0, kept.y0 - 3.0, kept.x1 + 3.0, kept.y1 + 3.0);
        for y in 0..size.height as usize {
            for x in (0..size.width as usize).filter(|x| !touches(kept, *x, y)) {
                let at = |r: &Redacted| r.frame().planes[0].row(y)[x];
                prop_assert_eq!(at(&with_keep), at(&none_kept));
            }
        }
    }

    #[test]
    fn any_box_at_all_is_painted_or_covers_everything(
        size in sizes(), format in formats(), edges in prop::array::uniform4(prop::num::f32::ANY),
        policy in policies(&[EffectKind::Mosaic, EffectKind::Blur, EffectKind::Fill]),
    ) {
        let [x0, y0, x1, y1] = edges;
        let rect = Rect::new(x0, y0, x1, y1);
        let redacted = paint(frame(0, size, format, marked), &plan_one(size, &[rect], &[], &policy));
        if !rect.is_sane() {
            prop_assert!(redacted.frame().planes[0].data.iter().all(|v| *v == GREY));
        }
    }

    #[test]
    fn large_boxes_cover_the_picture(
        size in sizes(), format in formats(), grow in 0f32..9e5,
        policy in policies(&[EffectKind::Mosaic, EffectKind::Fill]),
    ) {
        let rect = Rect::new(-grow, -grow, size.width as f32 + grow, size.height as f32 + grow);
        let redacted = paint(frame(0, size, format, marked), &plan_one(size, &[rect], &[], &policy));
        for y in 0..size.height as usize {
            for x in 0..size.width as usize {
                prop_assert_eq!(covered(&redacted, x, y), (true, true));
            }
        }
    }
}

/// Padded by .5 this is 64 x 64 from (32, 32): 8 cells of 8 px, samples of 2 px.
const EVEN: Rect = Rect { x0: 48.0, y0: 48.0, x1: 80.0, y1: 80.0 };
const EVEN_SIZE: Size = Size { width: 128, height: 128 };

fn even_policy(kind: EffectKind) -> Policy {
    Policy::new(kind, 8, Shape::Box, Some(0.5)).expect("a safe policy")
}

#[test]
fn detail_finer_than_the_samples_leaves_no_trace() {
    let picture = |turned: bool| {
        move |p: usize, x: usize, y: usize| {
            let texture = if (x + y).is_multiple_of(2) == turned { 40 } else { 0 };
            noise(p, x / 2, y / 2) / 2 + 40 + texture
        }
    };
    for kind in [EffectKind::Mosaic, EffectKind::Fill] {
        for format in
            FORMATS.into_iter().filter(|f| *f != PixelFormat::Yuv420 && *f != PixelFormat::Yuv422)
        {
            let plan = plan_one(EVEN_SIZE, &[EVEN], &[], &even_policy(kind));
            let [a, b] =
                [false, true].map(|t| paint(frame(0, EVEN_SIZE, format, picture(t)), &plan));
            for y in 32..96 {
                assert_eq!(a.frame().planes[0].row(y)[32..96], b.frame().planes[0].row(y)[32..96]);
            }
            assert!(!same(&a, &b), "the pictures do differ outside");
        }
    }
}

#[test]
fn the_background_does_not_bleed_into_the_cells() {
    let plan = plan_one(EVEN_SIZE, &[EVEN], &[], &even_policy(EffectKind::Mosaic));
    let inside = |x: usize, y: usize| (32..96).contains(&x) && (32..96).contains(&y);
    let picture = |outside: u8| move |_, x, y| if inside(x, y) { 100 } else { outside };
    let redacted = paint(frame(0, EVEN_SIZE, PixelFormat::Gray, picture(255)), &plan);
    assert!(redacted.frame().planes[0].row(32)[32..96].iter().all(|v| *v == 104));
}

#[test]
fn a_mosaic_is_blurred_by_one_cell_first() {
    // An edge in the middle of 8 cells. Cell i from the edge is 236 times the mean of the normal
    // distribution's Phi over i..i+1: 0, 2, 18, 74, 162, 218, 234, 236; then 4 bits.
    let picture = |_, x: usize, _| if x < 64 { 0 } else { 236 };
    let plan = plan_one(EVEN_SIZE, &[EVEN], &[], &even_policy(EffectKind::Mosaic));
    let redacted = paint(frame(0, EVEN_SIZE, PixelFormat::Gray, picture), &plan);
    for y in [32, 64, 95] {
        let row = redacted.frame().planes[0].row(y);
        let cells: [u8; 8] = std::array::from_fn(|i| row[32 + 8 * i + 4]);
        assert_eq!(cells, [16, 16, 24, 72, 168, 216, 232, 232]);
    }
}

#[test]
fn grey_stays_grey_and_legal() {
    let picture = |p, x, y| if p > 0 { 128 } else { 16 + noise(p, x, y) % 219 };
    for format in [PixelFormat::Yuv420, PixelFormat::Yuv422, PixelFormat::Yuv444] {
        let plan = plan_one(EVEN_SIZE, &[EVEN], &[], &Policy::default());
        let redacted = paint(frame(0, EVEN_SIZE, format, picture), &plan);
        let [luma, cb, cr] = &redacted.frame().planes[..] else { panic!("three planes") };
        assert!(cb.data[..cb.width].iter().chain(&cr.data[..cr.width]).all(|v| *v == 128));
        assert!((0..luma.height).flat_map(|y| luma.row(y)).all(|v| (16..=235).contains(v)));
    }
    for (black, expected) in [(0, 16), (255, 235)] {
        let plan = plan_one(EVEN_SIZE, &[EVEN], &[], &Policy::default());
        let redacted = paint(frame(0, EVEN_SIZE, PixelFormat::Yuv444, |_, _, _| black), &plan);
        assert_eq!(redacted.frame().planes[0].row(64)[64], expected);
    }
}

#[test]
fn colours_are_held_for_15_frames_while_the_grid_follows() {
    let plan = plan(EVEN_SIZE, 40, &[EVEN], &[], &Policy::default());
    let mut painter = Painter::new();
    let mut colour = |seq: u64| {
        let light = if seq == 0 { 200 } else { 40 };
        let frame = frame(seq, EVEN_SIZE, PixelFormat::Yuv420, |_, _, _| light);
        let redacted = painter.paint(frame, &plan.for_frame(seq, pts(seq as i64), EVEN_SIZE));
        redacted.frame().planes[0].row(64)[64]
    };
    assert_eq!([0, 1, 14, 15, 29].map(&mut colour), [200, 200, 200, 40, 40]);
    // A jump back takes new colours.
    assert_eq!(colour(0), 200);
}

#[test]
fn a_frame_that_is_not_the_plans_is_covered_whole() {
    let plan = plan(EVEN_SIZE, 2, &[], &[], &Policy::default());
    let plan = plan.for_frame(1, pts(1), EVEN_SIZE);
    assert!(plan.is_clear());
    let all_grey = |redacted: Redacted| {
        let planes = &redacted.frame().planes;
        planes[0].data.iter().all(|v| *v == GREY) && planes[1].data.iter().all(|v| *v == 128)
    };
    let make = |seq, size| frame(seq, size, PixelFormat::Yuv420, marked);
    assert!(!all_grey(paint(make(1, EVEN_SIZE), &plan)), "the plan's own frame");
    assert!(all_grey(paint(make(0, EVEN_SIZE), &plan)), "another time");
    assert!(all_grey(paint(make(1, Size { width: 128, height: 126 }), &plan)), "another size");
    let mut broken = make(1, EVEN_SIZE);
    broken.planes[2].data.truncate(100);
    assert!(all_grey(paint(broken, &plan)), "planes that are not what the format says");
}

#[test]
fn a_frame_without_regions_is_not_touched() {
    for format in FORMATS {
        let plan = plan_one(EVEN_SIZE, &[], &[], &Policy::default());
        let redacted = paint(frame(0, EVEN_SIZE, format, noise), &plan);
        assert_eq!(redacted.frame().planes, frame(0, EVEN_SIZE, format, noise).planes);
    }
}
