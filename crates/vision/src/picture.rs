//! A frame made small and upright, as networks want it, straight from its planes.

use domain::{Color, Frame, Matrix, Orientation, PixelFormat, Plane, Range, Rect, Size};
use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::Error;

/// In which order a network takes the colours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Rgb,
    Bgr,
}

/// A part of a scaled picture, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

/// Side of a close-up, in pixels.
pub(crate) const CELL: usize = 64;
/// Close-ups side by side.
pub(crate) const COLUMNS: usize = 10;

/// The planes of a frame scaled to one size and turned upright. Its memory is used again.
pub(crate) struct Picture {
    resizer: Resizer,
    planes: [Vec<u8>; 3],
    /// Where a plane is scaled before it is turned.
    unturned: Vec<u8>,
    /// Where a close-up is turned before it is put in its place.
    turned: Vec<u8>,
    size: Size,
    format: PixelFormat,
    color: Color,
}

impl Picture {
    pub fn new() -> Self {
        Self {
            resizer: Resizer::new(),
            planes: Default::default(),
            unturned: Vec::new(),
            turned: Vec::new(),
            size: Size { width: 0, height: 0 },
            format: PixelFormat::Gray,
            color: Color { range: Range::Full, matrix: Matrix::Bt601 },
        }
    }

    /// Takes `frame`, turned by `orientation`, at `size` (upright). Chroma is brought to full size.
    pub fn take(
        &mut self,
        frame: &Frame,
        orientation: Orientation,
        size: Size,
    ) -> Result<(), Error> {
        check(frame)?;
        // Turning is its own inverse as far as the size goes.
        let coded = orientation.upright_size(size);
        for (plane, out) in frame.planes.iter().zip(&mut self.planes) {
            if orientation == Orientation::default() {
                scale(&mut self.resizer, plane, coded, out)?;
            } else {
                scale(&mut self.resizer, plane, coded, &mut self.unturned)?;
                turn(&self.unturned, coded, orientation, out);
            }
        }
        (self.size, self.format, self.color) = (size, frame.format, frame.color);
        Ok(())
    }

    /// Takes squares out of `frame`, turned by `orientation`, each at [`CELL`] by [`CELL`] pixels,
    /// [`COLUMNS`] in a row. `squares` are in upright pixels; what lies outside the frame is black.
    pub fn take_cells(
        &mut self,
        frame: &Frame,
        orientation: Orientation,
        squares: &[Rect],
    ) -> Result<Tile, Error> {
        check(frame)?;
        let (columns, rows) =
            (squares.len().clamp(1, COLUMNS), squares.len().div_ceil(COLUMNS).max(1));
        let (width, height) = (columns * CELL, rows * CELL);
        let cell = Size { width: CELL as u32, height: CELL as u32 };
        for (i, (plane, out)) in frame.planes.iter().zip(&mut self.planes).enumerate() {
            let black = black(frame.format, frame.color, i);
            out.clear();
            out.resize(width * height, black);
            for (n, square) in squares.iter().enumerate() {
                let square = orientation.rect_to_coded(*square, frame.size);
                let (sx, sy) = frame.format.subsampling(i);
                let (sx, sy) = ((1 << sx) as f32, (1 << sy) as f32);
                let own = Rect::new(square.x0 / sx, square.y0 / sy, square.x1 / sx, square.y1 / sy);
                cut_out(&mut self.resizer, plane, own, black, &mut self.unturned)?;
                turn(&self.unturned, cell, orientation, &mut self.turned);
                let start = n / COLUMNS * CELL * width + n % COLUMNS * CELL;
                for (y, row) in self.turned.chunks_exact(CELL).enumerate() {
                    out[start + y * width..][..CELL].copy_from_slice(row);
                }
            }
        }
        self.size = Size { width: width as u32, height: height as u32 };
        (self.format, self.color) = (frame.format, frame.color);
        Ok(Tile { x: 0, y: 0, width, height })
    }

    /// Writes `tile` as three planes of floats 0..=255 of `width` x `height`, zeroes right of it and
    /// below it (the padding the detectors were measured with).
    pub fn tensor(
        &self,
        tile: Tile,
        width: usize,
        height: usize,
        order: Order,
        out: &mut Vec<f32>,
    ) {
        let area = width * height;
        out.resize(3 * area, 0.0);
        let (first, rest) = out.split_at_mut(area);
        let (second, third) = rest.split_at_mut(area);
        let (red, green, blue) = match order {
            Order::Rgb => (first, second, third),
            Order::Bgr => (third, second, first),
        };
        let mix = Mix::new(self.color);
        let mut rows = red
            .chunks_exact_mut(width)
            .zip(green.chunks_exact_mut(width).zip(blue.chunks_exact_mut(width)));
        for (y, (red, (green, blue))) in rows.by_ref().take(tile.height).enumerate() {
            let row = |plane: usize| {
                let start = (tile.y + y) * self.size.width as usize + tile.x;
                self.planes[plane].get(start..start + tile.width).unwrap_or_default()
            };
            let (r, g, b) =
                (&mut red[..tile.width], &mut green[..tile.width], &mut blue[..tile.width]);
            match self.format {
                PixelFormat::Gray => mix.gray_row(row(0), r, g, b),
                PixelFormat::Rgb => copy_row([row(0), row(1), row(2)], r, g, b),
                _ => mix.yuv_row([row(0), row(1), row(2)], r, g, b),
            }
            for padding in
                [&mut red[tile.width..], &mut green[tile.width..], &mut blue[tile.width..]]
            {
                padding.fill(0.0);
            }
        }
        for (red, (green, blue)) in rows {
            red.fill(0.0);
            green.fill(0.0);
            blue.fill(0.0);
        }
    }
}

/// Whether the planes of `frame` are what its size and format say.
pub(crate) fn check(frame: &Frame) -> Result<(), Error> {
    let bad = |why| Err(Error::BadFrame { seq: frame.seq, why });
    if frame.size.width == 0 || frame.size.height == 0 {
        return bad("it is empty");
    }
    if frame.planes.len() != frame.format.planes() {
        return bad("its number of planes is not that of its format");
    }
    for (i, plane) in frame.planes.iter().enumerate() {
        let size = frame.format.plane_size(frame.size, i);
        let fits = (plane.width, plane.height) == (size.width as usize, size.height as usize)
            && plane.stride >= plane.width
            && plane.data.len() >= plane.stride * plane.height;
        if !fits {
            return bad("a plane does not fit its size");
        }
    }
    Ok(())
}

/// Area average when it shrinks, bilinear when it grows by other than two.
fn scale(resizer: &mut Resizer, plane: &Plane, to: Size, out: &mut Vec<u8>) -> Result<(), Error> {
    let (width, height) = (to.width as usize, to.height as usize);
    out.resize(width * height, 0);
    if (plane.width, plane.height) == (width, height) {
        for (y, row) in out.chunks_exact_mut(width).enumerate() {
            row.copy_from_slice(plane.row(y));
        }
        return Ok(());
    }
    if (plane.width, plane.height) == (2 * width, 2 * height) {
        halve(plane, out);
        return Ok(());
    }
    if (2 * plane.width, 2 * plane.height) == (width, height) {
        double(plane, out);
        return Ok(());
    }
    resize(resizer, plane, 1, to, out)
}

/// The same in general, out of every `nth` row only.
pub(crate) fn resize(
    resizer: &mut Resizer,
    plane: &Plane,
    nth: usize,
    to: Size,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let (width, height) = (to.width as usize, to.height as usize);
    out.resize(width * height, 0);
    let grows = width > plane.width || height > plane.height;
    let filter = if grows { FilterType::Bilinear } else { FilterType::Box };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
    convolve(resizer, plane, nth, to, &options, out)
}

/// Resizes `plane`, or every `nth` row of it, to a picture of size `to`.
fn convolve(
    resizer: &mut Resizer,
    plane: &Plane,
    nth: usize,
    to: Size,
    options: &ResizeOptions,
    out: &mut [u8],
) -> Result<(), Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Engine(format!("scaling failed: {e}"));
    // The view leaves out the bytes between the rows, which are no part of the picture.
    let (stride, rows) = ((plane.stride * nth) as u32, (plane.height / nth) as u32);
    let whole =
        TypedImageRef::<U8>::from_buffer(stride, rows, &plane.data).map_err(|e| failed(&e))?;
    let view = TypedCroppedImage::from_ref(&whole, 0, 0, plane.width as u32, rows)
        .map_err(|e| failed(&e))?;
    let mut target =
        TypedImage::<U8>::from_buffer(to.width, to.height, out).map_err(|e| failed(&e))?;
    resizer.resize_typed(&view, &mut target, options).map_err(|e| failed(&e))
}

/// The average of each two by two samples: what the library gives, and HD frames cost a third of it.
fn halve(plane: &Plane, out: &mut [u8]) {
    let width = plane.width / 2;
    for (y, row) in out.chunks_exact_mut(width).enumerate() {
        let (above, below) = (plane.row(2 * y), plane.row(2 * y + 1));
        let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
        for (sample, (a, b)) in row.iter_mut().zip(pairs) {
            let sum = u16::from(a[0]) + u16::from(a[1]) + u16::from(b[0]) + u16::from(b[1]);
            *sample = ((sum + 2) >> 2) as u8;
        }
    }
}

/// Each sample four times. This is chroma in the fine passes: bilinear costs three times as much there
/// and finds no more.
fn double(plane: &Plane, out: &mut [u8]) {
    let width = 2 * plane.width;
    for (y, rows) in out.chunks_exact_mut(2 * width).enumerate() {
        let (above, below) = rows.split_at_mut(width);
        for (pair, &sample) in above.as_chunks_mut::<2>().0.iter_mut().zip(plane.row(y)) {
            *pair = [sample; 2];
        }
        below.copy_from_slice(above);
    }
}

/// The sample of plane `plane` that means black.
fn black(format: PixelFormat, color: Color, plane: usize) -> u8 {
    match (format, color.range, plane) {
        (PixelFormat::Rgb, _, _) | (_, Range::Full, 0) => 0,
        (_, Range::Limited, 0) => 16,
        _ => 128,
    }
}

/// Scales the part of `plane` under `square` (in its samples) to [`CELL`] by [`CELL`]; what is outside
/// the plane is `black`.
fn cut_out(
    resizer: &mut Resizer,
    plane: &Plane,
    square: Rect,
    black: u8,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    out.clear();
    out.resize(CELL * CELL, black);
    // Where the plane begins and ends, in samples and in whole pixels of the close-up.
    let span = |from: f32, to: f32, length: usize| {
        let scale = CELL as f32 / (to - from);
        let at =
            |v: f32| ((v.clamp(0.0, length as f32) - from) * scale).round().clamp(0.0, CELL as f32);
        let (first, last) = (at(from), at(to));
        let back = |v: f32| f64::from((from + v / scale).clamp(0.0, length as f32));
        (first as usize, last as usize, back(first), back(last))
    };
    let (left, right, x0, x1) = span(square.x0, square.x1, plane.width);
    let (top, bottom, y0, y1) = span(square.y0, square.y1, plane.height);
    if left >= right || top >= bottom || x1 <= x0 || y1 <= y0 {
        return Ok(());
    }
    let (width, height) = (right - left, bottom - top);
    let mut part = vec![0; width * height];
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(x0, y0, x1 - x0, y1 - y0)
        .use_alpha(false);
    let to = Size { width: width as u32, height: height as u32 };
    convolve(resizer, plane, 1, to, &options, &mut part)?;
    for (y, row) in part.chunks_exact(width).enumerate() {
        out[(top + y) * CELL + left..][..width].copy_from_slice(row);
    }
    Ok(())
}

/// Turns a packed plane of `coded` size upright.
fn turn(coded_plane: &[u8], coded: Size, orientation: Orientation, out: &mut Vec<u8>) {
    let (w, h) = (coded.width as usize, coded.height as usize);
    out.resize(w * h, 0);
    // Upright pixel (x, y) is coded_plane[start + x * step_x + y * step_y]; found by turning three
    // corners, so that this cannot disagree with `Orientation`.
    let at = |x: f32, y: f32| {
        let p = orientation.to_coded(domain::Point { x: x + 0.5, y: y + 0.5 }, coded);
        p.y as isize * w as isize + p.x as isize
    };
    let start = at(0.0, 0.0);
    let upright = orientation.upright_size(coded);
    let step_x = if upright.width > 1 { at(1.0, 0.0) - start } else { 0 };
    let step_y = if upright.height > 1 { at(0.0, 1.0) - start } else { 0 };
    for (y, row) in out.chunks_exact_mut(upright.width as usize).enumerate() {
        let mut from = start + y as isize * step_y;
        for pixel in row {
            *pixel = coded_plane.get(from as usize).copied().unwrap_or_default();
            from += step_x;
        }
    }
}

/// From Y'CbCr to R'G'B' 0..=255 (ITU-R BT.601, BT.709, BT.2020).
pub(crate) struct Mix {
    black: f32,
    luma: f32,
    red_cr: f32,
    green_cb: f32,
    green_cr: f32,
    blue_cb: f32,
}

impl Mix {
    pub fn new(color: Color) -> Self {
        let (kr, kb) = match color.matrix {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
            Matrix::Bt2020 => (0.2627, 0.0593),
        };
        let kg = 1.0 - kr - kb;
        let (black, luma, chroma) = match color.range {
            Range::Limited => (16.0, 255.0 / 219.0, 255.0 / 224.0),
            Range::Full => (0.0, 1.0, 1.0),
        };
        Self {
            black,
            luma,
            red_cr: 2.0 * (1.0 - kr) * chroma,
            green_cb: 2.0 * (1.0 - kb) * kb / kg * chroma,
            green_cr: 2.0 * (1.0 - kr) * kr / kg * chroma,
            blue_cb: 2.0 * (1.0 - kb) * chroma,
        }
    }

    /// Samples 0..=255 to colours 0..=255.
    #[inline(always)]
    pub fn rgb(&self, y: f32, cb: f32, cr: f32) -> [f32; 3] {
        let (y, cb, cr) = (self.gray(y), cb - 128.0, cr - 128.0);
        let limit = |v: f32| v.clamp(0.0, 255.0);
        [
            limit(y + self.red_cr * cr),
            limit(y - self.green_cb * cb - self.green_cr * cr),
            limit(y + self.blue_cb * cb),
        ]
    }

    /// A luma sample at full range, not limited.
    #[inline(always)]
    pub fn gray(&self, y: f32) -> f32 {
        (y - self.black) * self.luma
    }

    fn yuv_row(&self, planes: [&[u8]; 3], red: &mut [f32], green: &mut [f32], blue: &mut [f32]) {
        let samples = planes[0].iter().zip(planes[1].iter().zip(planes[2]));
        let colours = red.iter_mut().zip(green.iter_mut().zip(blue));
        for ((&y, (&cb, &cr)), (r, (g, b))) in samples.zip(colours) {
            [*r, *g, *b] = self.rgb(f32::from(y), f32::from(cb), f32::from(cr));
        }
    }

    fn gray_row(&self, plane: &[u8], red: &mut [f32], green: &mut [f32], blue: &mut [f32]) {
        for (&y, (r, (g, b))) in plane.iter().zip(red.iter_mut().zip(green.iter_mut().zip(blue))) {
            let gray = self.gray(f32::from(y)).clamp(0.0, 255.0);
            [*r, *g, *b] = [gray; 3];
        }
    }
}

fn copy_row(planes: [&[u8]; 3], red: &mut [f32], green: &mut [f32], blue: &mut [f32]) {
    for (plane, out) in planes.into_iter().zip([red, green, blue]) {
        for (&sample, value) in plane.iter().zip(out) {
            *value = f32::from(sample);
        }
    }
}

#[cfg(test)]
mod tests;
