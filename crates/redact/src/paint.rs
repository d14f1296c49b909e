//! Covers pixels.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use domain::{Frame, PixelFormat, Plane, TrackId};

use crate::mask::{Area, Mask};
use crate::tile::{Scratch, Tile, grey, tile};
use crate::{Cover, Effect, FramePlan, Region};

/// A frame whose plan has been carried out. Only [`Painter::paint`] makes one, and
/// [`crate::slate`], which draws one of text. Its pixels cannot be changed any more, so that a clone
/// shares them.
#[derive(Clone, Debug)]
pub struct Redacted {
    pub(crate) frame: Arc<Frame>,
}

impl Redacted {
    /// The covered frame.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }
}

/// Paints the frames of one video, in order. Remembers the colours of each track's mosaic: they are
/// held for a while so that the cells do not flicker.
#[derive(Debug, Default)]
pub struct Painter {
    held: HashMap<(TrackId, usize), Held>,
    mask: Mask,
    line: Line,
    scratch: Scratch,
}

/// Colours and when they were taken.
#[derive(Debug)]
struct Held {
    since: u64,
    format: PixelFormat,
    effect: Effect,
    tile: Arc<Tile>,
}

impl Painter {
    /// Frames for which the colours of a track are held, from the one they were taken from.
    pub const HOLD: u64 = 15;

    /// With no colours held.
    pub fn new() -> Self {
        Self::default()
    }

    /// Covers what `plan` says. Covers everything when the time or the size of `frame` is not the
    /// plan's, or when its planes are not what its format says.
    pub fn paint(&mut self, mut frame: Frame, plan: &FramePlan) -> Redacted {
        let meant = frame.pts == plan.pts && frame.size == plan.size && is_well_formed(&frame);
        match &plan.cover {
            Cover::Regions(regions) if meant => self.cover_regions(&mut frame, plan.seq, regions),
            _ => cover_all(&mut frame),
        }
        Redacted { frame: Arc::new(frame) }
    }

    fn cover_regions(&mut self, frame: &mut Frame, seq: u64, regions: &[Region]) {
        self.held.retain(|_, held| seq.checked_sub(held.since).is_some_and(|n| n < Self::HOLD));
        let last = frame.format.planes() - 1;
        let blocks = frame.format.subsampling(last);
        // All colours are taken before anything is painted: whether a region is covered changes
        // nothing about the colours of the regions it overlaps.
        let mut of_track: HashMap<TrackId, usize> = HashMap::new();
        let mut tiles = Vec::with_capacity(regions.len());
        for region in regions {
            let nth = of_track.entry(region.track).or_default();
            self.mask.set(region, frame.size, blocks);
            if !self.mask.is_empty() {
                tiles.push((region, self.colours(frame, seq, region, *nth)));
            }
            *nth += 1;
        }
        for (region, tile) in tiles {
            self.mask.set(region, frame.size, blocks);
            let area = Area::new(region.rect);
            let format = frame.format;
            for (p, plane) in frame.planes.iter_mut().enumerate() {
                let shifts = format.subsampling(p);
                let colours = Colours { tile: &tile, plane: p, area: area.subsampled(shifts) };
                put(plane, shifts, &self.mask, colours, &mut self.line);
            }
        }
    }

    /// The colours for the `nth` region of its track in this frame: held ones, or new ones.
    fn colours(&mut self, frame: &Frame, seq: u64, region: &Region, nth: usize) -> Arc<Tile> {
        let area = Area::new(region.rect);
        if !matches!(region.effect, Effect::Mosaic { .. }) {
            return Arc::new(tile(frame, area, region.effect, &mut self.scratch));
        }
        let (format, effect) = (frame.format, region.effect);
        if let Some(held) = self.held.get(&(region.track, nth))
            && (held.format, held.effect) == (format, effect)
        {
            return Arc::clone(&held.tile);
        }
        let tile = Arc::new(tile(frame, area, effect, &mut self.scratch));
        let held = Held { since: seq, format, effect, tile: Arc::clone(&tile) };
        self.held.insert((region.track, nth), held);
        tile
    }
}

/// Plain grey: nothing of a picture that nobody understood is shown, not even its colours.
fn cover_all(frame: &mut Frame) {
    let format = frame.format;
    for (p, plane) in frame.planes.iter_mut().enumerate() {
        plane.data.fill(grey(format, p));
    }
}

/// A frame's fields are public, so this is checked and not assumed.
fn is_well_formed(frame: &Frame) -> bool {
    let planes = frame.planes.iter().enumerate();
    frame.planes.len() == frame.format.planes()
        && planes.into_iter().all(|(p, plane)| {
            let size = frame.format.plane_size(frame.size, p);
            let len = plane.stride.checked_mul(plane.height);
            (plane.width, plane.height) == (size.width as usize, size.height as usize)
                && plane.width >= 1
                && plane.height >= 1
                && plane.stride >= plane.width
                && len.is_some_and(|len| len <= plane.data.len())
        })
}

/// One plane of a tile and where it lies.
#[derive(Clone, Copy)]
struct Colours<'a> {
    tile: &'a Tile,
    plane: usize,
    area: Area,
}

/// One line of painted samples and how it was made.
#[derive(Debug, Default)]
struct Line {
    samples: Vec<u8>,
    /// Where each sample lies between two colours, in 1/128.
    parts: Vec<i16>,
    /// Neighbouring samples that lie between the same two colours: the first of these, and how many.
    runs: Vec<(usize, usize)>,
    /// One row of colours.
    mixed: Vec<i16>,
}

/// Between colour `at` and the next one, `part` / 128 of the way.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    at: usize,
    part: i16,
}

impl Step {
    /// For the middle of sample `i`, where `count` colours lie over `start..start + length`.
    fn new(i: usize, (start, length): (f64, f64), count: usize, smooth: bool) -> Self {
        let last = (count - 1) as f64;
        let position = (i as f64 + 0.5 - start) / length * count as f64;
        if smooth {
            let position = (position - 0.5).clamp(0.0, last);
            Self { at: position as usize, part: (position.fract() * 128.0) as i16 }
        } else {
            Self { at: position.clamp(0.0, last) as usize, part: 0 }
        }
    }
}

/// `part` / 128 of the way from `a` to `b`, both 0..=255: nothing leaves 16 bits.
fn mix(a: i16, b: i16, part: i16) -> i16 {
    (a * 128 + (b - a) * part + 64) >> 7
}

fn put(plane: &mut Plane, shifts: (u32, u32), mask: &Mask, colours: Colours, line: &mut Line) {
    let Colours { tile, area, .. } = colours;
    let columns = mask.columns(shifts, plane.width);
    line.set_columns(
        columns.clone().map(|x| Step::new(x, (area.x0, area.width), tile.columns, tile.smooth)),
    );
    let mut done = None;
    for (y, Range { start, end }) in mask.rows(shifts, (plane.width, plane.height)) {
        let step = Step::new(y, (area.y0, area.height), tile.rows, tile.smooth);
        if done != Some(step) {
            line.draw(tile, colours.plane, step);
            done = Some(step);
        }
        let samples = &line.samples[start - columns.start..end - columns.start];
        plane.row_mut(y)[start..end].copy_from_slice(samples);
    }
}

impl Line {
    fn set_columns(&mut self, steps: impl Iterator<Item = Step>) {
        self.parts.clear();
        self.runs.clear();
        for Step { at, part } in steps {
            self.parts.push(part);
            match self.runs.last_mut() {
                Some((last, count)) if *last == at => *count += 1,
                _ => self.runs.push((at, 1)),
            }
        }
        self.samples.clear();
        self.samples.resize(self.parts.len(), 0);
    }

    /// The samples on the height `step` of plane `plane` of `tile`.
    fn draw(&mut self, tile: &Tile, plane: usize, step: Step) {
        let row = |at: usize| {
            let start = at.min(tile.rows - 1) * tile.columns;
            &tile.planes[plane][start..start + tile.columns]
        };
        let pairs = row(step.at).iter().zip(row(step.at + 1));
        self.mixed.clear();
        self.mixed.extend(pairs.map(|(a, b)| mix(i16::from(*a), i16::from(*b), step.part)));
        // The last colour once more: the way from it is 0.
        self.mixed.extend(self.mixed.last().copied());
        let (mut samples, mut parts) = (&mut self.samples[..], &self.parts[..]);
        for (at, count) in &self.runs {
            let (a, b) = (self.mixed[*at], self.mixed[*at + 1]);
            let (now, later) = samples.split_at_mut(*count);
            let (part, rest) = parts.split_at(*count);
            now.iter_mut().zip(part).for_each(|(v, part)| *v = mix(a, b, *part) as u8);
            (samples, parts) = (later, rest);
        }
    }
}
