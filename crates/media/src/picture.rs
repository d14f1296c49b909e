//! Pictures out of the decoder: copied once into memory that Garim owns, 8 bits a sample.
//!
//! Painting in the decoder's own memory would corrupt its reference frames.

use domain::{Color, Frame, FramePool, Matrix, PixelFormat, Pts, Range, Size};
use ffmpeg_sys_the_third as ff;

use crate::scaler::{Scaler, Side};
use crate::sys::{self, AvFrame, out_of_memory};
use crate::{MediaError, VideoInfo};

/// What the 8-bit layout of a stream is, and whether samples must be converted to get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) format: PixelFormat,
    pub(crate) reduce: bool,
}

/// The layout for FFmpeg's pixel format, or `None` when there is no faithful one (RGB, palettes,
/// 4:1:1).
pub(crate) fn layout(format: ff::AVPixelFormat) -> Option<Layout> {
    // SAFETY: returns null for an unknown format, else a static descriptor.
    let d = unsafe { ff::av_pix_fmt_desc_get(format).as_ref() }?;
    let has = |flag: u64| d.flags & flag != 0;
    if has(ff::AV_PIX_FMT_FLAG_RGB as u64)
        || has(ff::AV_PIX_FMT_FLAG_PAL as u64)
        || has(ff::AV_PIX_FMT_FLAG_HWACCEL as u64)
        || (d.nb_components > 1 && !has(ff::AV_PIX_FMT_FLAG_PLANAR as u64))
    {
        return None;
    }
    let format = match (d.nb_components, d.log2_chroma_w, d.log2_chroma_h) {
        (1, ..) => PixelFormat::Gray,
        (3 | 4, 1, 1) => PixelFormat::Yuv420,
        (3 | 4, 1, 0) => PixelFormat::Yuv422,
        (3 | 4, 0, 0) => PixelFormat::Yuv444,
        _ => return None,
    };
    // Semi-planar layouts (NV12) have a step of 2 in their chroma plane; no software decoder here
    // puts them out.
    let stepped = d.comp.iter().take(d.nb_components.into()).any(|c| c.step > 1 && c.depth <= 8);
    (!stepped).then_some(Layout { format, reduce: d.comp[0].depth > 8 })
}

pub(crate) fn av_format(format: PixelFormat) -> ff::AVPixelFormat {
    match format {
        PixelFormat::Gray => ff::AVPixelFormat::GRAY8,
        PixelFormat::Yuv420 => ff::AVPixelFormat::YUV420P,
        PixelFormat::Yuv422 => ff::AVPixelFormat::YUV422P,
        PixelFormat::Yuv444 => ff::AVPixelFormat::YUV444P,
        PixelFormat::Rgb => ff::AVPixelFormat::GBRP,
    }
}

/// What the samples of a stream mean. Untagged streams are read as players do: BT.709 from 720
/// lines up.
pub(crate) fn color(info: &VideoInfo) -> Color {
    let full = info.color_range == 2 || info.pixel_format.starts_with("yuvj");
    Color {
        range: if full { Range::Full } else { Range::Limited },
        matrix: matrix(info.color_matrix, info.size),
    }
}

/// The luma weights of MatrixCoefficients `number` (ITU-T H.273), or the usual ones of pictures of this size.
pub(crate) fn matrix(number: u32, size: Size) -> Matrix {
    match number {
        1 => Matrix::Bt709,
        4..=6 => Matrix::Bt601,
        9 | 10 => Matrix::Bt2020,
        _ if size.height.min(size.width) >= 720 => Matrix::Bt709,
        _ => Matrix::Bt601,
    }
}

/// Copies decoder frames into [`Frame`]s of one layout.
pub(crate) struct Copier {
    pub(crate) layout: Layout,
    color: Color,
    pool: FramePool,
    scaler: Option<Scaler>,
}

impl Copier {
    pub(crate) fn new(layout: Layout, color: Color) -> Self {
        Self { layout, color, pool: FramePool::default(), scaler: None }
    }

    /// Whether it copies pictures of this kind.
    pub(crate) fn is_for(&self, layout: Layout, color: Color) -> bool {
        (self.layout, self.color) == (layout, color)
    }

    /// The picture in `from`, which has the stream's size and pixel format.
    pub(crate) fn copy(&mut self, from: &AvFrame, seq: u64, pts: Pts) -> Result<Frame, MediaError> {
        let av = from.get();
        let (Ok(width), Ok(height)) = (u32::try_from(av.width), u32::try_from(av.height)) else {
            return Err(out_of_memory());
        };
        let size = Size { width, height };
        let mut to = Frame::new(seq, pts, size, self.layout.format, self.color, Some(&self.pool));
        if self.layout.reduce {
            // The same size and range, so that only depth changes.
            let coefficients = ff::SWS_CS_DEFAULT as i32;
            let (width, height, range) = (av.width, av.height, self.color.range);
            let format = ff::AVPixelFormat(av.format);
            let from = Side { width, height, format, range, coefficients };
            let scaler = match self.scaler.take().filter(|scaler| scaler.fits(from)) {
                Some(scaler) => scaler,
                None => {
                    let reduced = Side { format: av_format(self.layout.format), ..from };
                    Scaler::new(from, reduced, ff::SWS_ACCURATE_RND as i32).ok_or_else(|| {
                        let why = format!("cannot read {}", unsafe_name(av.format));
                        MediaError::Ffmpeg { what: "conversion to 8 bits", why }
                    })?
                }
            };
            let (data, strides) = (av.data.as_ptr().cast(), av.linesize.as_ptr());
            // SAFETY: the planes belong to the decoder's frame, of the kind that the scaler was made for; `to` has
            // its size.
            unsafe { self.scaler.insert(scaler).convert(data, strides, &mut to) };
        } else {
            copy_planes(av, &mut to)?;
        }
        Ok(to)
    }
}

fn copy_planes(av: &ff::AVFrame, to: &mut Frame) -> Result<(), MediaError> {
    for (i, plane) in to.planes.iter_mut().enumerate() {
        let (data, stride) = (av.data[i], av.linesize[i] as isize);
        if data.is_null() || stride.unsigned_abs() < plane.width {
            return Err(MediaError::Ffmpeg { what: "decoded frame", why: "has no plane".into() });
        }
        for y in 0..plane.height {
            // SAFETY: the decoder keeps `height` rows of at least `width` samples, `stride` bytes
            // apart (upwards where negative); the frame is referenced while `av` is borrowed.
            let row = unsafe {
                std::slice::from_raw_parts(data.offset(stride * y as isize), plane.width)
            };
            plane.row_mut(y).copy_from_slice(row);
        }
    }
    Ok(())
}

fn unsafe_name(format: i32) -> String {
    // SAFETY: static string or null.
    unsafe { sys::text(ff::av_get_pix_fmt_name(ff::AVPixelFormat(format))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_keep_their_chroma() {
        let same = |format| Some(Layout { format, reduce: false });
        assert_eq!(layout(ff::AVPixelFormat::YUVJ420P), same(PixelFormat::Yuv420));
        assert_eq!(layout(ff::AVPixelFormat::YUV444P), same(PixelFormat::Yuv444));
        assert_eq!(
            layout(ff::AVPixelFormat::YUV420P10LE),
            Some(Layout { format: PixelFormat::Yuv420, reduce: true })
        );
        assert_eq!(layout(ff::AVPixelFormat::GBRP), None);
        assert_eq!(layout(ff::AVPixelFormat::NV12), None);
        assert_eq!(layout(ff::AVPixelFormat(-1)), None);
    }
}
