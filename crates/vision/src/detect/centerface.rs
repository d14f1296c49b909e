//! Reads what CenterFace puts out (Xu, Yan, Sun, Yang, Luo: "CenterFace: Joint Face Detection and
//! Alignment Using Face as Point", 2019).

use domain::{Detection, Point, Rect};
use ort::session::SessionOutputs;

use crate::Error;
use crate::engine::output;

/// Pixels from one cell to the next.
const STRIDE: f32 = 4.0;

/// The maps, each row by row, all of the same size.
pub(super) struct Maps<'a> {
    /// One map: how much the cell looks like the centre of a face.
    pub heat: &'a [f32],
    /// Two maps: logarithm of height, of width, in strides.
    pub scale: &'a [f32],
    /// Two maps: offset of the centre in cells, y, x.
    pub offset: &'a [f32],
    /// Ten maps: y, x of five points in parts of the box.
    pub points: &'a [f32],
}

pub(super) fn decode(
    outputs: &SessionOutputs<'_>,
    width: usize,
    height: usize,
    min_score: f32,
) -> Result<Vec<Detection>, Error> {
    let maps = Maps {
        heat: output(outputs, "537")?,
        scale: output(outputs, "538")?,
        offset: output(outputs, "539")?,
        points: output(outputs, "540")?,
    };
    decode_maps(&maps, width / 4, height / 4, min_score)
}

/// The faces that score at least `min_score`, in pixels of the input. Maps are `columns` x `rows`.
pub(super) fn decode_maps(
    maps: &Maps<'_>,
    columns: usize,
    rows: usize,
    min_score: f32,
) -> Result<Vec<Detection>, Error> {
    let cells = columns * rows;
    let lengths = [maps.heat.len(), maps.scale.len(), maps.offset.len(), maps.points.len()];
    if lengths != [cells, 2 * cells, 2 * cells, 10 * cells] {
        return Err(Error::Engine(format!("CenterFace: maps are not {columns}x{rows}")));
    }
    let mut faces = Vec::new();
    for (i, &score) in maps.heat.iter().enumerate() {
        if score.is_nan() {
            return Err(Error::Engine("CenterFace: a score is not a number".to_owned()));
        }
        if score < min_score {
            continue;
        }
        let (row, column) = ((i / columns) as f32, (i % columns) as f32);
        let height = maps.scale[i].exp() * STRIDE;
        let width = maps.scale[cells + i].exp() * STRIDE;
        let y = (row + maps.offset[i] + 0.5) * STRIDE;
        let x = (column + maps.offset[cells + i] + 0.5) * STRIDE;
        let rect = Rect::centred(Point { x, y }, width, height);
        let point = |j: usize| Point {
            x: maps.points[(2 * j + 1) * cells + i] * width + rect.x0,
            y: maps.points[2 * j * cells + i] * height + rect.y0,
        };
        faces.push(Detection::new(rect, score.min(1.0), std::array::from_fn(point)));
    }
    Ok(faces)
}
