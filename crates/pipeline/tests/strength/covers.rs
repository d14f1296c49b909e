//! What the attacker sees of a covered face: a few colours per frame, and how each came about.

use domain::{BoxKind, Rect, Track, TrackBox, TrackId};
use redact::{Analysis, Painter, Policy, Seen};

use crate::attack::{Canvas, Observation};
use crate::scene::{SIZE, View, pts};

/// Padding per side and cells on the short side, of both covers.
const PAD: f32 = 0.25;
const CELLS: f32 = 8.0;

/// Samples per cell and direction of the attacker's model of an area average.
const FINE: usize = 4;

/// A plain mosaic, as video tools make it: area averages over cells of one size, fixed to the
/// picture, rounded to 8 bits.
pub fn plain(views: &[View], canvas: Canvas) -> Vec<Observation> {
    let cell = short_side(views[0].face.grown(PAD)) / CELLS;
    views.iter().map(|view| plain_view(view, cell, canvas)).collect()
}

fn plain_view(view: &View, cell: f32, canvas: Canvas) -> Observation {
    let rect = view.face.grown(PAD);
    let (xs, ys) = (pixels(rect.x0, rect.x1), pixels(rect.y0, rect.y1));
    let cell_of = |v: f32, first: f32| ((v / cell).floor() - (first / cell).floor()) as usize;
    let of_x: Vec<usize> = xs.iter().map(|x| cell_of(*x, xs[0])).collect();
    let of_y: Vec<usize> = ys.iter().map(|y| cell_of(*y, ys[0])).collect();
    let count = |of: &[usize]| of.last().map_or(0, |last| last + 1);
    let (columns, rows) = (count(&of_x), count(&of_y));
    let mut cells = vec![[0.0f32; 3]; columns * rows];
    let mut sizes = vec![0.0f32; columns * rows];
    for (y, row) in ys.iter().zip(&of_y) {
        for (x, column) in xs.iter().zip(&of_x) {
            let at = *y as usize * SIZE.width as usize + *x as usize;
            for (sum, plane) in cells[row * columns + column].iter_mut().zip(&view.planes) {
                *sum += f32::from(plane[at]);
            }
            sizes[row * columns + column] += 1.0;
        }
    }
    for (cell, size) in cells.iter_mut().zip(&sizes) {
        *cell = cell.map(|v| (v / size).round());
    }
    let ((xs, across), (ys, down)) = (means(&xs, &of_x), means(&ys, &of_y));
    let largest = sizes.iter().copied().fold(0.0, f32::max);
    let trust = sizes.iter().map(|size| size / largest).collect();
    Observation::new(canvas.of(view), &xs, &ys, across, down, cells, trust)
}

/// Every second place, and for each cell the weights of its mean over them.
fn means(places: &[f32], cell_of: &[usize]) -> (Vec<f32>, Vec<f32>) {
    let kept: Vec<(f32, usize)> =
        places.iter().copied().zip(cell_of.iter().copied()).step_by(2).collect();
    let cells = cell_of.last().map_or(0, |last| last + 1);
    let mut weights = Vec::with_capacity(cells * kept.len());
    for cell in 0..cells {
        let own = kept.iter().filter(|(_, of)| *of == cell).count().max(1);
        weights.extend(kept.iter().map(|(_, of)| if *of == cell { 1.0 / own as f32 } else { 0.0 }));
    }
    (kept.iter().map(|(place, _)| *place).collect(), weights)
}

/// What Garim paints: the real painter on real frames. Every frame gets a painter of its own, so
/// that its colours are its own: 48 such frames tell as much as 48 * `Painter::HOLD` frames do
/// when colours are held.
pub fn garim(views: &[View], canvas: Canvas) -> Vec<Observation> {
    let policy = Policy::default();
    assert_eq!(policy.pad(), PAD);
    let mut analysis = Analysis::new(SIZE);
    (0..views.len()).for_each(|t| analysis.frame(pts(t), Seen::Detected, false));
    let kind = BoxKind::Detected;
    let boxes = views.iter().enumerate();
    let track = Track {
        id: TrackId(1),
        boxes: boxes
            .map(|(frame, view)| TrackBox { frame, rect: view.face, kind, score: 1.0 })
            .collect(),
        sightings: Vec::new(),
        best_score: 1.0,
        first: (0, pts(0)),
        last: (views.len() - 1, pts(views.len() - 1)),
    };
    let plan = analysis.finish(&[track], &[], &policy);
    let views = views.iter().enumerate();
    views
        .map(|(t, view)| {
            let plan = plan.for_frame(t as u64, pts(t), SIZE);
            let redacted = Painter::new().paint(view.frame(t), &plan);
            let planes = &redacted.frame().planes;
            read_cells(view, canvas, |x, y| std::array::from_fn(|p| planes[p].row(y)[x]))
        })
        .collect()
}

/// The colours of the cells whose centres are covered, and the painter's arithmetic as the attacker
/// knows it: Gaussian of one cell with the region's border repeated, then the mean of each cell.
fn read_cells(view: &View, canvas: Canvas, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Observation {
    let rect = view.face.grown(PAD);
    let cell = short_side(rect) / CELLS;
    let count = |length: f32| ((length / cell + 1e-3).floor() as usize).max(1);
    let (columns, rows) = (count(rect.width()), count(rect.height()));
    let middle =
        |start: f32, length: f32, i: usize, n: usize| start + length * (i as f32 + 0.5) / n as f32;
    let (mut cells, mut trust) = (Vec::new(), Vec::new());
    for row in 0..rows {
        for column in 0..columns {
            let x = middle(rect.x0, rect.width(), column, columns);
            let y = middle(rect.y0, rect.height(), row, rows);
            let seen = is_covered(rect, x, y);
            cells.push(if seen {
                pixel(x as usize, y as usize).map(f32::from)
            } else {
                [128.0; 3]
            });
            trust.push(if seen { 1.0 } else { 0.0 });
        }
    }
    let places = |start, length, n: usize| -> Vec<f32> {
        (0..n * FINE).map(|i| middle(start, length, i, n * FINE)).collect()
    };
    let (xs, ys) = (places(rect.x0, rect.width(), columns), places(rect.y0, rect.height(), rows));
    Observation::new(
        canvas.of(view),
        &xs,
        &ys,
        blurred_means(columns),
        blurred_means(rows),
        cells,
        trust,
    )
}

/// `count` rows of weights over `count * FINE` samples.
fn blurred_means(count: usize) -> Vec<f32> {
    let length = count * FINE;
    let mut weights = vec![0.0; count * length];
    for (cell, row) in weights.chunks_exact_mut(length).enumerate() {
        for from in cell * FINE..(cell + 1) * FINE {
            for to in -3 * FINE as i64..=3 * FINE as i64 {
                let distance = to as f32 / FINE as f32;
                let at = (from as i64 + to).clamp(0, length as i64 - 1) as usize;
                row[at] += (-0.5 * distance * distance).exp();
            }
        }
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|w| *w /= sum);
    }
    weights
}

/// Whether (x, y) is inside the rounded box.
fn is_covered(rect: Rect, x: f32, y: f32) -> bool {
    let radius = 0.35 * short_side(rect);
    let into =
        |v: f32, middle: f32, length: f32| ((v - middle).abs() - (length / 2.0 - radius)).max(0.0);
    let center = rect.center();
    into(x, center.x, rect.width()).hypot(into(y, center.y, rect.height())) <= radius
}

fn short_side(rect: Rect) -> f32 {
    rect.width().min(rect.height())
}

/// Middles of the pixels between two edges.
fn pixels(from: f32, to: f32) -> Vec<f32> {
    let (from, to) =
        (from.round().max(0.0) as usize, (to.round() as usize).min(SIZE.width as usize));
    (from..to).map(|v| v as f32 + 0.5).collect()
}
