//! Still pictures: JPEG, PNG and WebP. Turned upright, covered, and written without their metadata.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use domain::{
    BoxKind, Color, Detection, Frame, Matrix, Orientation, PixelFormat, Pts, Range, Size, TimeBase,
    Track, TrackBox, TrackId,
};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits,
    RgbImage,
};
use media::{Bytes, ReadStats};
use redact::{Analysis, Painter, Redacted, RedactionPlan, Seen, ShownSpan};
use vision::track::Followed;
use vision::{Detector, DetectorModel, Pass, Suspects};

use crate::analyse::{Analysed, Analyst, compare};
use crate::poster::{self, View};
use crate::{Input, JobError, schedule};

/// Longest side of a photo, in pixels.
const MAX_SIDE: u32 = 20_000;
/// Memory for decoding one photo, in bytes.
const MAX_MEMORY: u64 = 1 << 30;
/// A detection in a still picture counts as a face from this score on: there are no other frames
/// that could confirm a weaker one.
const FACE_SCORE: f32 = 0.3;
/// Quality of written JPEGs.
pub(crate) const JPEG_QUALITY: u8 = 92;

/// A photo in memory, upright.
pub(crate) struct Photo {
    frame: Frame,
    /// Opacity of every pixel, where the file has it.
    alpha: Option<Vec<u8>>,
    format: ImageFormat,
}

impl Photo {
    pub(crate) fn frame(&self) -> &Frame {
        &self.frame
    }

    /// `jpeg`, `png` or `webp`.
    pub(crate) fn format_name(&self) -> &'static str {
        match self.format {
            ImageFormat::Png => "png",
            ImageFormat::WebP => "webp",
            _ => "jpeg", // No other is read.
        }
    }
}

/// Reads a photo; its orientation tag is applied, all other metadata forgotten.
pub(crate) fn read(input: &Input) -> Result<Photo, JobError> {
    let bad = |why: String| JobError::Picture { path: input.path.clone(), why };
    let mut bytes = input.bytes().map_err(|e| bad(e.to_string()))?;
    let animated = is_animated(&mut bytes).map_err(|e| bad(e.to_string()))?;
    let mut reader = ImageReader::new(BufReader::new(bytes))
        .with_guessed_format()
        .map_err(|e| bad(e.to_string()))?;
    let format = match reader.format() {
        Some(f @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)) => f,
        _ => return Err(bad("is not a JPEG, PNG or WebP picture".to_owned())),
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    let decoded = (|| {
        let mut decoder = reader.into_decoder()?;
        let orientation = decoder.orientation()?;
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        Ok(image)
    })();
    let image = decoded.map_err(|e: image::ImageError| bad(format!("cannot be decoded: {e}")))?;
    if format == ImageFormat::WebP && animated {
        return Err(bad("is animated; only still pictures are taken".to_owned()));
    }
    let base = TimeBase::new(1, 1).ok_or(JobError::Panicked("time base"))?;
    Ok(to_frame(&image, Pts::new(0, base), format))
}

/// Whether the header of an extended WebP announces animation (RFC 9649, section 2.7).
fn is_animated(bytes: &mut dyn Bytes) -> io::Result<bool> {
    let mut head = Vec::new();
    bytes.take(21).read_to_end(&mut head)?;
    bytes.rewind()?;
    Ok(head.get(12..16) == Some(b"VP8X") && head.get(20).is_some_and(|flags| flags & 2 != 0))
}

/// A picture that was made here, upright.
pub(crate) fn of(image: RgbImage) -> Result<Photo, JobError> {
    let base = TimeBase::new(1, 1).ok_or(JobError::Panicked("time base"))?;
    Ok(to_frame(&DynamicImage::ImageRgb8(image), Pts::new(0, base), ImageFormat::Jpeg))
}

fn to_frame(image: &DynamicImage, pts: Pts, format: ImageFormat) -> Photo {
    let size = Size { width: image.width(), height: image.height() };
    let color = Color { range: Range::Full, matrix: Matrix::Bt601 };
    let mut frame = Frame::new(0, pts, size, PixelFormat::Rgb, color, None);
    let rgba = image.to_rgba8();
    for (y, row) in rgba.rows().enumerate() {
        for (x, pixel) in row.enumerate() {
            for (plane, value) in frame.planes.iter_mut().zip(pixel.0) {
                plane.data[y * plane.stride + x] = value;
            }
        }
    }
    let alpha = image.color().has_alpha().then(|| rgba.pixels().map(|p| p.0[3]).collect());
    Photo { frame, alpha, format }
}

/// Looks at a photo with every detector at every size that may help.
pub(crate) fn analyse(
    photo: &Photo,
    detector: &mut dyn Detector,
    analyst: &Analyst<'_>,
) -> Result<Analysed, JobError> {
    let frame = &photo.frame;
    let upright = Orientation::default();
    let mut passes = vec![
        Pass::new(DetectorModel::YuNet, 640),
        Pass::new(DetectorModel::YuNet, 1280),
        Pass::new(DetectorModel::CenterFace, schedule::second_long_side(frame.size)),
        Pass::CloseUps { of: Suspects::Faint, most: 240 },
    ];
    if frame.size.width.max(frame.size.height) > 2048 {
        passes.push(Pass::new(DetectorModel::YuNet, 3840));
    }
    let mut finding = detector.find(frame, upright, &passes)?;
    finding.faces.retain(|face| face.score >= FACE_SCORE);
    finding.sightings = compare(analyst.known(), upright, frame, &finding)?;
    let mut tracks: Vec<Track> = Vec::new();
    for (i, face) in finding.faces.iter().enumerate() {
        let sightings = finding.sightings.iter().filter(|s| s.face == i);
        tracks.push(still_track(i, face, frame.pts, sightings));
    }
    let shown = shown_in_still(&tracks, analyst.rules.threshold);
    let mut analysis = Analysis::new(frame.size);
    analysis.frame(frame.pts, Seen::Detected, false);
    let plan = analysis.finish(&tracks, &shown, analyst.policy);
    Ok(Analysed {
        plan,
        followed: Followed { tracks, dropped: Vec::new() },
        shown,
        times: vec![frame.pts],
        cuts: Vec::new(),
        stats: ReadStats { expected: 1, frames: 1, ..ReadStats::default() },
        not_copied: None,
        kept: None,
    })
}

fn still_track<'a>(
    index: usize,
    face: &Detection,
    pts: Pts,
    sightings: impl Iterator<Item = &'a domain::Sighting>,
) -> Track {
    let seen = TrackBox { frame: 0, rect: face.rect, kind: BoxKind::Detected, score: face.score };
    Track {
        id: TrackId(u32::try_from(index + 1).unwrap_or(u32::MAX)),
        boxes: vec![seen],
        sightings: sightings.map(|s| (0, s.person, s.similarity)).collect(),
        best_score: face.score,
        first: (0, pts),
        last: (0, pts),
    }
}

/// In a still picture there are no votes: the one face most like a kept person is shown, if it is
/// like enough and nobody else's box touches it.
fn shown_in_still(tracks: &[Track], threshold: f32) -> Vec<ShownSpan> {
    let mut best: Vec<(f32, ShownSpan)> = Vec::new();
    for track in tracks {
        let Some(&(_, person, similarity)) = track.sightings.first() else { continue };
        let own = track.boxes[0].rect;
        let alone = tracks
            .iter()
            .filter(|other| other.id != track.id)
            .all(|other| own.iou(other.boxes[0].rect) <= 0.05);
        if similarity < threshold || !alone {
            continue;
        }
        let span = ShownSpan { track: track.id, person, first: 0, last: 0 };
        match best.iter_mut().find(|(_, b)| b.person == person) {
            Some(other) if other.0 < similarity => *other = (similarity, span),
            Some(_) => {}
            None => best.push((similarity, span)),
        }
    }
    best.into_iter().map(|(_, span)| span).collect()
}

/// Paints a photo by the plan and writes it in its own format, and smaller as its poster.
pub(crate) fn render(
    photo: Photo,
    plan: &RedactionPlan,
    output: &Path,
    poster: Option<&Path>,
) -> Result<(), JobError> {
    let Photo { frame, alpha, format } = photo;
    let cover = plan.for_frame(frame.seq, frame.pts, frame.size);
    let covered = Painter::new().paint(frame, &cover);
    if let Some(path) = poster {
        let view = View { orientation: Orientation::default(), aspect: (1, 1) };
        poster::write(&covered, alpha.as_deref(), view, path)?;
    }
    write(&covered, alpha.as_deref(), format, output)
}

fn write(
    covered: &Redacted,
    alpha: Option<&[u8]>,
    format: ImageFormat,
    output: &Path,
) -> Result<(), JobError> {
    let frame = covered.frame();
    let Size { width, height } = frame.size;
    let channels = if alpha.is_some() { 4 } else { 3 };
    let mut pixels = Vec::with_capacity(width as usize * height as usize * channels);
    for y in 0..height as usize {
        for x in 0..width as usize {
            pixels.extend(frame.planes.iter().map(|p| p.data[y * p.stride + x]));
            pixels.extend(alpha.and_then(|a| a.get(y * width as usize + x)));
        }
    }
    let color = if alpha.is_some() { ExtendedColorType::Rgba8 } else { ExtendedColorType::Rgb8 };
    let bad = |why: String| JobError::Picture { path: PathBuf::from(output), why };
    let file = File::create(output).map_err(|e| bad(e.to_string()))?;
    let mut out = BufWriter::new(file);
    match format {
        ImageFormat::Png => PngEncoder::new(&mut out).write_image(&pixels, width, height, color),
        ImageFormat::WebP => {
            WebPEncoder::new_lossless(&mut out).write_image(&pixels, width, height, color)
        }
        _ => JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY)
            .write_image(&pixels, width, height, color),
    }
    .map_err(|e| bad(format!("cannot be written: {e}")))?;
    out.flush().map_err(|e| bad(format!("cannot be written: {e}")))
}
