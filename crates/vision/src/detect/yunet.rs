//! Reads what YuNet puts out (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023;
//! `libfacedetection.train`, decoding as in OpenCV's `FaceDetectorYN`).

use domain::{Detection, Point, Rect};
use ort::session::SessionOutputs;

use crate::Error;
use crate::engine::output;

/// The outputs of one resolution, one entry per cell, row by row.
pub(super) struct Level<'a> {
    /// Pixels from one cell to the next.
    pub stride: usize,
    /// How much it looks like a face, one per cell.
    pub class: &'a [f32],
    /// How well the box fits, one per cell.
    pub object: &'a [f32],
    /// Centre offset x, y and logarithmic width, height in strides, four per cell.
    pub boxes: &'a [f32],
    /// Offsets of five points in strides, x and y, ten per cell.
    pub points: &'a [f32],
}

pub(super) fn decode(
    outputs: &SessionOutputs<'_>,
    width: usize,
    height: usize,
    min_score: f32,
) -> Result<Vec<Detection>, Error> {
    let mut faces = Vec::new();
    for stride in [8, 16, 32] {
        let get = |kind: &str| output(outputs, &format!("{kind}_{stride}"));
        let (class, object, boxes, points) = (get("cls")?, get("obj")?, get("bbox")?, get("kps")?);
        let level = Level { stride, class, object, boxes, points };
        decode_level(&level, width, height, min_score, &mut faces)?;
    }
    Ok(faces)
}

/// Adds the faces of `level` that score at least `min_score`, in pixels of the input.
pub(super) fn decode_level(
    level: &Level<'_>,
    width: usize,
    height: usize,
    min_score: f32,
    faces: &mut Vec<Detection>,
) -> Result<(), Error> {
    let columns = width / level.stride;
    let cells = columns * (height / level.stride);
    let (boxes, points) = (level.boxes.as_chunks::<4>().0, level.points.as_chunks::<10>().0);
    if [level.class.len(), level.object.len(), boxes.len(), points.len()] != [cells; 4] {
        return Err(Error::Engine(format!("YuNet: not {cells} cells at stride {}", level.stride)));
    }
    let all = level.class.iter().zip(level.object).zip(boxes.iter().zip(points));
    for (i, ((class, object), (b, k))) in all.enumerate() {
        let score = (class.clamp(0.0, 1.0) * object.clamp(0.0, 1.0)).sqrt();
        if score.is_nan() {
            return Err(Error::Engine("YuNet: a score is not a number".to_owned()));
        }
        if score < min_score {
            continue;
        }
        let s = level.stride as f32;
        let (row, column) = ((i / columns) as f32, (i % columns) as f32);
        let center = Point { x: (column + b[0]) * s, y: (row + b[1]) * s };
        let rect = Rect::centred(center, b[2].exp() * s, b[3].exp() * s);
        let point = |j: usize| Point { x: (k[2 * j] + column) * s, y: (k[2 * j + 1] + row) * s };
        faces.push(Detection::new(rect, score, std::array::from_fn(point)));
    }
    Ok(())
}
