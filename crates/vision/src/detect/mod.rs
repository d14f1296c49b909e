//! Finds faces in one frame: two networks at several sizes, merged into one list.

mod centerface;
mod closeup;
mod found;
mod merge;
mod tile;
mod yunet;

use domain::{Detection, Finding, Frame, Orientation, Point, Rect, Size};
use ort::session::Session;

use crate::Error;
use crate::engine::run;
use crate::picture::{Order, Picture, Tile};
use found::{CENTERFACE_GAIN, Found};
use merge::Candidate;

/// Lowest score of a face in a [`Finding`].
pub const MIN_SCORE: f32 = 0.1;
/// The same for YuNet passes of `FINE` pixels and more, which see faces in textures.
const MIN_SCORE_FINE: f32 = 0.15;
const FINE: u32 = 1280;
/// YuNet's score from which on it has noticed something. Of faces 20 px wide at its input and tilted by
/// 35 degrees it gives .3 to six in ten and this to all; of other things, to 5 to 120 in a picture.
const FAINT: f32 = 0.02;
/// Side at YuNet's input, in pixels, from which on it notices every upright face and nineteen in twenty
/// tilted ones.
const MIN_NOTICED: f32 = 16.0;
/// Lowest score of CenterFace (after the gain) that counts as agreeing that a face is there, when it
/// looks at the whole picture.
const MIN_AGREEMENT: f32 = 0.15;
/// Faces narrower than this at a network's input, in pixels, are beyond its judgement.
const MIN_JUDGED: f32 = 18.0;
/// Small pictures are enlarged up to this, or to twice their size if that is more.
const ENLARGE_TO: u32 = 640;
/// Longest side a picture is scaled to, whatever is asked.
const MAX_LONG_SIDE: u32 = 5120;

/// Which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DetectorModel {
    /// Fast, finds faces from 9 px at its input on, but misses small ones that are tilted.
    YuNet,
    /// Slower, fails on other faces than YuNet, rarely takes a thing for a face.
    CenterFace,
}

/// One look at the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// A network looks at the whole picture.
    Whole {
        /// The network.
        model: DetectorModel,
        /// The longer side of what it sees, in pixels; 32..=5120. Pictures are enlarged at most to
        /// 640 or to twice their size. Above 1280 it looks at overlapping tiles.
        long_side: u32,
    },
    /// CenterFace looks at close-ups of what the passes over the whole picture were not sure of.
    CloseUps {
        /// Of what.
        of: Suspects,
        /// How many at most, the likeliest first; 60 take as long as the whole picture at 640.
        most: usize,
    },
}

/// What is worth a close-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suspects {
    /// What may or may not be a face.
    Doubtful,
    /// Also what probably is none, but goes on a track if there is one.
    Weak,
    /// Also what YuNet hardly noticed: three in four small tilted faces are among that.
    Faint,
}

impl Pass {
    /// A pass over the whole picture.
    pub const fn new(model: DetectorModel, long_side: u32) -> Self {
        Self::Whole { model, long_side }
    }

    /// Whether CenterFace looks, at anything.
    pub fn asks_second(&self) -> bool {
        !matches!(self, Self::Whole { model: DetectorModel::YuNet, .. })
    }
}

/// Finds the faces of one frame. For one thread.
pub trait Detector: Send {
    /// Looks at `frame`, seen as `orientation` turns it, once per pass. Boxes are in coded pixels,
    /// scores at least 0.1, at most 1000, best first.
    ///
    /// # Errors
    /// When the frame cannot be looked at; it must then be covered whole.
    fn find(
        &mut self,
        frame: &Frame,
        orientation: Orientation,
        passes: &[Pass],
    ) -> Result<Finding, Error>;
}

/// YuNet and CenterFace.
pub struct FaceDetector {
    yunet: Session,
    centerface: Session,
    picture: Picture,
    /// What size `picture` has, once it is taken of the frame at hand.
    at_hand: Option<Size>,
    input: Vec<f32>,
}

/// A frame and how it is to be seen.
#[derive(Clone, Copy)]
struct View<'a> {
    frame: &'a Frame,
    orientation: Orientation,
}

impl View<'_> {
    fn upright(&self) -> Size {
        self.orientation.upright_size(self.frame.size)
    }

    /// From pixels of the upright picture to coded ones.
    fn coded(&self, face: Detection) -> Detection {
        let coded = self.frame.size;
        Detection {
            rect: self.orientation.rect_to_coded(face.rect, coded),
            landmarks: face.landmarks.map(|p| self.orientation.to_coded(p, coded)),
            ..face
        }
    }
}

impl FaceDetector {
    pub(crate) fn new(yunet: Session, centerface: Session) -> Self {
        Self { yunet, centerface, picture: Picture::new(), at_hand: None, input: Vec::new() }
    }

    /// One network looks at the whole picture.
    fn whole(
        &mut self,
        model: DetectorModel,
        long_side: u32,
        view: View<'_>,
        found: &mut Found,
    ) -> Result<(), Error> {
        let upright = view.upright();
        let size = scaled(upright, long_side);
        if self.at_hand.replace(size) != Some(size) {
            self.picture.take(view.frame, view.orientation, size)?;
        }
        let min_score = min_score(model, long_side);
        let least = if model == DetectorModel::YuNet { FAINT } else { min_score };
        let (sx, sy) =
            (upright.width as f32 / size.width as f32, upright.height as f32 / size.height as f32);
        let coded = |face| view.coded(enlarged(face, sx, sy));
        let mut clear = Vec::new();
        for tile in tile::tiles(size) {
            for face in self.look(model, tile, least)? {
                let face = tile::placed(face, tile, size);
                match face.face.score >= min_score {
                    true => clear.push(face),
                    false => found.faint.push(coded(face.face)),
                }
            }
        }
        for face in tile::joined(clear) {
            match model {
                DetectorModel::CenterFace => found.second(coded(face), MIN_AGREEMENT, 0.0),
                DetectorModel::YuNet => {
                    found.candidates.push(Candidate { face: coded(face), model });
                }
            }
        }
        let scale = sx.max(sy);
        match model {
            DetectorModel::CenterFace => found.judged_from = Some(MIN_JUDGED * scale),
            DetectorModel::YuNet => {
                let from = found.noticed_from.unwrap_or(f32::INFINITY);
                found.noticed_from = Some(from.min(MIN_NOTICED * scale));
            }
        }
        Ok(())
    }

    /// CenterFace looks at close-ups.
    fn close_ups(
        &mut self,
        of: Suspects,
        most: usize,
        view: View<'_>,
        found: &mut Found,
    ) -> Result<(), Error> {
        let suspects = closeup::suspects(found, of, most);
        for suspects in suspects.chunks(closeup::AT_ONCE) {
            let squares: Vec<Rect> =
                suspects.iter().map(|face| closeup::square(face.rect, view)).collect();
            self.at_hand = None;
            let sheet = self.picture.take_cells(view.frame, view.orientation, &squares)?;
            let seen =
                self.look(DetectorModel::CenterFace, sheet, closeup::AGREES / CENTERFACE_GAIN)?;
            for closeup::Placed { face, of } in closeup::placed(seen, &squares) {
                let face = view.coded(face);
                if !closeup::is_piece(face.rect, suspects[of].rect, found) {
                    found.second(face, closeup::AGREES, closeup::BELIEVED);
                }
            }
            found.asked.extend(suspects.iter().map(|face| face.rect));
        }
        Ok(())
    }

    /// The faces one network sees in a part of the picture at hand, in pixels of that part.
    fn look(
        &mut self,
        model: DetectorModel,
        tile: Tile,
        min_score: f32,
    ) -> Result<Vec<Detection>, Error> {
        let (width, height) = (tile.width.next_multiple_of(32), tile.height.next_multiple_of(32));
        let (session, order) = match model {
            DetectorModel::YuNet => (&mut self.yunet, Order::Bgr),
            DetectorModel::CenterFace => (&mut self.centerface, Order::Rgb),
        };
        self.picture.tensor(tile, width, height, order, &mut self.input);
        let outputs = run(session, &self.input, width, height)?;
        let mut faces = match model {
            DetectorModel::YuNet => yunet::decode(&outputs, width, height, min_score)?,
            DetectorModel::CenterFace => centerface::decode(&outputs, width, height, min_score)?,
        };
        faces.retain(|face| is_possible(face, tile.width as f32, tile.height as f32));
        Ok(merge::suppress(faces, merge::SAME_SOURCE_IOU))
    }
}

impl Detector for FaceDetector {
    fn find(
        &mut self,
        frame: &Frame,
        orientation: Orientation,
        passes: &[Pass],
    ) -> Result<Finding, Error> {
        let view = View { frame, orientation };
        let closely = passes.iter().filter_map(|pass| match *pass {
            Pass::CloseUps { of, most } => Some((of, most)),
            Pass::Whole { .. } => None,
        });
        let closely = closely.max();
        let mut whole: Vec<(u32, DetectorModel)> = Vec::new();
        for pass in passes {
            if let Pass::Whole { model, long_side } = *pass {
                whole.push((long_side, model));
            }
        }
        whole.sort_unstable();
        whole.dedup();
        let mut found = Found::default();
        self.at_hand = None;
        for (long_side, model) in whole {
            self.whole(model, long_side, view, &mut found)?;
        }
        if let Some((of, most)) = closely {
            self.close_ups(of, most, view, &mut found)?;
        }
        Ok(found.finding(frame.size))
    }
}

/// The network's own score from which on a box is a candidate.
fn min_score(model: DetectorModel, long_side: u32) -> f32 {
    match model {
        DetectorModel::CenterFace => MIN_SCORE / CENTERFACE_GAIN,
        DetectorModel::YuNet if long_side >= FINE => MIN_SCORE_FINE,
        DetectorModel::YuNet => MIN_SCORE,
    }
}

/// The size at which a picture of size `upright` is looked at.
fn scaled(upright: Size, long_side: u32) -> Size {
    let long = upright.width.max(upright.height).max(1);
    let enlarged = long.saturating_mul(2).max(ENLARGE_TO);
    let target = long_side.min(enlarged).clamp(32, MAX_LONG_SIDE);
    let scale = |v: u32| {
        ((u64::from(v) * u64::from(target) + u64::from(long) / 2) / u64::from(long)).max(1) as u32
    };
    Size { width: scale(upright.width), height: scale(upright.height) }
}

/// The same face in a picture that is so many times as large.
fn enlarged(face: Detection, sx: f32, sy: f32) -> Detection {
    let r = face.rect;
    Detection {
        rect: Rect::new(r.x0 * sx, r.y0 * sy, r.x1 * sx, r.y1 * sy),
        landmarks: face.landmarks.map(|p| Point { x: p.x * sx, y: p.y * sy }),
        ..face
    }
}

/// Whether a network's box can be a face in its picture: numbers, not larger than twice the picture,
/// at least partly in it.
fn is_possible(face: &Detection, width: f32, height: f32) -> bool {
    let rect = face.rect;
    let numbers = rect.is_sane()
        && face.score.is_finite()
        && face.landmarks.iter().all(|p| p.x.is_finite() && p.y.is_finite());
    numbers
        && (1.0..=2.0 * width.max(32.0)).contains(&rect.width())
        && (1.0..=2.0 * height.max(32.0)).contains(&rect.height())
        && rect.intersection(Rect::new(0.0, 0.0, width, height)).area() > 0.0
}

#[cfg(test)]
mod tests;
