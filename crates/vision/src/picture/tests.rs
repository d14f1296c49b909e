use domain::{Point, Pts, TimeBase};

use super::*;

fn frame(width: u32, height: u32, format: PixelFormat, color: Color) -> Frame {
    let pts = Pts::new(0, TimeBase::new(1, 25).unwrap());
    Frame::new(7, pts, Size { width, height }, format, color, None)
}

fn color(range: Range, matrix: Matrix) -> Color {
    Color { range, matrix }
}

/// A frame of one colour; the bytes between the rows are `junk`.
fn flat(format: PixelFormat, color: Color, samples: [u8; 3], junk: u8) -> Frame {
    let mut frame = frame(75, 51, format, color);
    for (plane, sample) in frame.planes.iter_mut().zip(samples) {
        plane.data.fill(junk);
        for y in 0..plane.height {
            plane.row_mut(y).fill(sample);
        }
    }
    frame
}

fn tensor(frame: &Frame, orientation: Orientation, size: Size, order: Order) -> Vec<f32> {
    let mut picture = Picture::new();
    let mut out = vec![9.0; 5];
    picture.take(frame, orientation, size).unwrap();
    let tile = Tile { x: 0, y: 0, width: size.width as usize, height: size.height as usize };
    picture.tensor(tile, 64, 64, order, &mut out);
    out
}

#[test]
fn colours_are_right_at_every_size_and_never_taken_from_between_the_rows() {
    let red709 = ([63, 102, 240], color(Range::Limited, Matrix::Bt709));
    let red601 = ([76, 85, 255], color(Range::Full, Matrix::Bt601));
    let cases = [
        (PixelFormat::Yuv420, red709, [255.0, 0.0, 0.0]),
        (PixelFormat::Yuv422, red601, [255.0, 0.0, 0.0]),
        (PixelFormat::Yuv444, ([126, 128, 128], red709.1), [128.0; 3]),
        (PixelFormat::Rgb, ([10, 20, 30], red601.1), [10.0, 20.0, 30.0]),
        (PixelFormat::Gray, ([235, 0, 0], red709.1), [255.0; 3]),
    ];
    for (format, (samples, color), expected) in cases {
        for junk in [0, 255] {
            let frame = flat(format, color, samples, junk);
            for (width, height) in [(32, 21), (64, 43), (11, 50), (1, 1)] {
                let out =
                    tensor(&frame, Orientation::default(), Size { width, height }, Order::Rgb);
                for (plane, expected) in out.chunks(64 * 64).zip(expected) {
                    for (i, value) in plane.iter().enumerate() {
                        let inside = i % 64 < width as usize && i / 64 < height as usize;
                        let expected = if inside { expected } else { 0.0 };
                        assert!(
                            (value - expected).abs() < 2.5,
                            "{format:?} {width}x{height} {i}: {value}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn order_of_colours() {
    let frame = flat(PixelFormat::Rgb, color(Range::Full, Matrix::Bt601), [1, 2, 3], 0);
    let size = Size { width: 64, height: 64 };
    let out = tensor(&frame, Orientation::default(), size, Order::Bgr);
    assert_eq!([out[0], out[64 * 64], out[2 * 64 * 64]], [3.0, 2.0, 1.0]);
}

#[test]
fn every_orientation_shows_the_picture_upright() {
    for (turns, mirror) in (0..4).flat_map(|t| [(t, false), (t, true)]) {
        let o = Orientation::new(turns, mirror);
        let upright = Size { width: 40, height: 24 };
        let coded = o.upright_size(upright);
        let format = PixelFormat::Gray;
        let mut frame = frame(coded.width, coded.height, format, color(Range::Full, Matrix::Bt601));
        for y in 0..coded.height as usize {
            for x in 0..coded.width as usize {
                let p = o.to_upright(Point { x: x as f32 + 0.5, y: y as f32 + 0.5 }, coded);
                frame.planes[0].row_mut(y)[x] = (p.x as u8) + 40 * (p.y as u8 % 5);
            }
        }
        let out = tensor(&frame, o, upright, Order::Rgb);
        for (x, y) in [(0, 0), (39, 0), (0, 23), (39, 23), (11, 7)] {
            assert_eq!(out[y * 64 + x], (x + 40 * (y % 5)) as f32, "{o:?} {x},{y}");
        }
    }
}

#[test]
fn shrinking_averages() {
    let mut frame = frame(128, 128, PixelFormat::Gray, color(Range::Full, Matrix::Bt601));
    for y in 0..128 {
        for (x, v) in frame.planes[0].row_mut(y).iter_mut().enumerate() {
            *v = if (x + y) % 2 == 0 { 200 } else { 0 };
        }
    }
    let out = tensor(&frame, Orientation::default(), Size { width: 64, height: 64 }, Order::Rgb);
    assert!(out[..64 * 64].iter().all(|v| (v - 100.0).abs() <= 1.0));
}

#[test]
fn close_ups_show_their_squares_upright_and_black_beyond_the_picture() {
    for (turns, mirror) in (0..4).flat_map(|t| [(t, false), (t, true)]) {
        let o = Orientation::new(turns, mirror);
        let upright = Size { width: 200, height: 120 };
        let coded = o.upright_size(upright);
        let full = color(Range::Full, Matrix::Bt601);
        let mut frame = frame(coded.width, coded.height, PixelFormat::Yuv420, full);
        for plane in &mut frame.planes[1..] {
            plane.data.fill(128);
        }
        for y in 0..coded.height as usize {
            for x in 0..coded.width as usize {
                let p = o.to_upright(Point { x: x as f32 + 0.5, y: y as f32 + 0.5 }, coded);
                // Rises to the right and, less, downwards.
                frame.planes[0].row_mut(y)[x] = (p.x + p.y / 2.0) as u8;
            }
        }
        // One as large as a close-up, one half as large, one half outside; the rest of two rows.
        let mut squares = vec![
            Rect::new(40.0, 30.0, 104.0, 94.0),
            Rect::new(100.0, 50.0, 132.0, 82.0),
            Rect::new(-32.0, 0.0, 32.0, 64.0),
        ];
        squares.resize(12, Rect::new(0.0, 0.0, 64.0, 64.0));
        let mut picture = Picture::new();
        let sheet = picture.take_cells(&frame, o, &squares).unwrap();
        assert_eq!((sheet.width, sheet.height), (640, 128));
        let mut out = Vec::new();
        picture.tensor(sheet, 640, 128, Order::Rgb, &mut out);
        let near = |x: usize, y: usize, want: f32| {
            let got = out[y * 640 + x];
            assert!((got - want).abs() <= 2.0, "{o:?} {x},{y}: {got}, not {want}");
        };
        near(0, 0, 55.0);
        near(63, 63, 103.0 + 46.5);
        near(64 + 10, 32, 105.0 + 33.0);
        near(2 * 64 + 16, 20, 0.0);
        near(2 * 64 + 48, 20, 16.0 + 10.0);
        near(64 + 20, 64 + 10, 20.0 + 5.0);
        near(3 * 64 + 20, 64 + 10, 0.0);
    }
}

#[test]
fn a_tile_is_its_part_of_the_picture() {
    let mut frame = frame(64, 64, PixelFormat::Gray, color(Range::Full, Matrix::Bt601));
    for y in 0..64 {
        for (x, v) in frame.planes[0].row_mut(y).iter_mut().enumerate() {
            *v = (x + y) as u8;
        }
    }
    let mut picture = Picture::new();
    picture.take(&frame, Orientation::default(), frame.size).unwrap();
    assert_eq!(picture.size, frame.size);
    let mut out = Vec::new();
    picture.tensor(Tile { x: 32, y: 40, width: 32, height: 24 }, 32, 32, Order::Rgb, &mut out);
    assert_eq!((out[0], out[31], out[23 * 32]), (72.0, 103.0, 95.0));
    assert_eq!(out[24 * 32], 0.0, "padding");
}

#[test]
fn planes_that_do_not_fit_are_refused() {
    let whole = || flat(PixelFormat::Yuv420, color(Range::Full, Matrix::Bt601), [0; 3], 0);
    check(&whole()).unwrap();
    let mut frames = [whole(), whole(), whole(), whole()];
    frames[0].planes.pop();
    frames[1].planes[1].width += 1;
    frames[2].planes[2].data.truncate(10);
    frames[3].size.height = 0;
    for frame in &frames {
        let error = check(frame).unwrap_err().to_string();
        assert!(error.starts_with("frame 7 cannot be looked at"), "{error}");
    }
}
