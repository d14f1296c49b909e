//! Finds faces in one frame: two networks at several sizes, merged into one list.

mod centerface;
mod merge;
mod tile;
mod yunet;

use domain::{Detection, Finding, Frame, Orientation, Point, Rect, Size};
use ort::session::Session;

use crate::Error;
use crate::engine::run;
use crate::picture::{Order, Picture, Tile};
use merge::Candidate;

/// Lowest score of a face in a [`Finding`].
pub const MIN_SCORE: f32 = 0.1;
/// The same for YuNet passes of `FINE` pixels and more, which see faces in textures.
const MIN_SCORE_FINE: f32 = 0.15;
const FINE: u32 = 1280;
/// CenterFace is more modest than YuNet: its score is multiplied by this, up to 1.
const CENTERFACE_GAIN: f32 = 1.5;
/// Lowest score of CenterFace alone (before the gain) that counts as agreeing that a face is there.
const MIN_AGREEMENT: f32 = 0.1;
/// Scores between which a second look pays: below, little is covered; above, it is a face.
const DOUBTFUL: std::ops::Range<f32> = 0.3..0.9;
/// Faces narrower than this at a network's input, in pixels, are beyond its judgement.
const MIN_JUDGED: f32 = 18.0;
/// Faces kept per frame, best first.
const MAX_FACES: usize = 1000;
/// Small pictures are enlarged up to this, or to twice their size if that is more.
const ENLARGE_TO: u32 = 640;
/// Longest side a picture is scaled to, whatever is asked.
const MAX_LONG_SIDE: u32 = 4096;

/// Which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DetectorModel {
    /// Fast, finds faces from 9 px at its input on.
    YuNet,
    /// Slower, fails on other faces than YuNet, rarely takes a thing for a face.
    CenterFace,
}

/// Whether a pass is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum When {
    /// In any case.
    #[default]
    Always,
    /// Only when the passes made in any case found something that may or may not be a face, and
    /// this pass could see it.
    IfDoubtful,
}

/// One look at the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pass {
    /// The network that looks.
    pub model: DetectorModel,
    /// The longer side of what it sees, in pixels; 32..=4096. Pictures are enlarged at most to 640
    /// or to twice their size. Above 1280 it looks at overlapping tiles.
    pub long_side: u32,
    /// Whether it is made at all.
    pub when: When,
}

impl Pass {
    /// A pass that is made in any case.
    pub const fn new(model: DetectorModel, long_side: u32) -> Self {
        Self { model, long_side, when: When::Always }
    }

    /// The same pass, made only when the others leave a doubt.
    pub const fn if_doubtful(self) -> Self {
        Self { when: When::IfDoubtful, ..self }
    }
}

/// Finds the faces of one frame. For one thread.
pub trait Detector: Send {
    /// Looks at `frame`, seen as `orientation` turns it, once per pass. Boxes are in coded pixels,
    /// scores at least 0.1, at most 1000, best first. `second_opinion` is there if and only if a
    /// CenterFace pass was made.
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

impl FaceDetector {
    pub(crate) fn new(yunet: Session, centerface: Session) -> Self {
        Self { yunet, centerface, picture: Picture::new(), at_hand: None, input: Vec::new() }
    }

    /// Makes one pass and adds what it found.
    fn pass(
        &mut self,
        pass: Pass,
        frame: &Frame,
        orientation: Orientation,
        found: &mut Found,
    ) -> Result<(), Error> {
        let upright = orientation.upright_size(frame.size);
        let size = scaled(upright, pass.long_side);
        if self.at_hand.replace(size) != Some(size) {
            self.picture.take(frame, orientation, size)?;
        }
        let faces = self.look(pass.model, min_score(pass))?;
        let faces = faces.into_iter().map(|f| to_coded(f, size, upright, orientation, frame.size));
        if pass.model == DetectorModel::YuNet {
            found.candidates.extend(faces.map(|face| Candidate { face, model: pass.model }));
            return Ok(());
        }
        let opinion = found.second_opinion.get_or_insert_default();
        for mut face in faces {
            if face.score >= MIN_AGREEMENT {
                opinion.push(face.rect);
            }
            face.score = (face.score * CENTERFACE_GAIN).min(1.0);
            // Asked about a doubt, it must not raise new ones: its weak finds are textures.
            if pass.when == When::IfDoubtful && face.score < DOUBTFUL.start {
                continue;
            }
            found.candidates.push(Candidate { face, model: pass.model });
        }
        Ok(())
    }

    /// The faces one network sees in the scaled picture at hand, in pixels of it.
    fn look(&mut self, model: DetectorModel, min_score: f32) -> Result<Vec<Detection>, Error> {
        let size = self.picture.size();
        let mut found = Vec::new();
        for tile in tile::tiles(size) {
            let faces = self.look_at(model, tile, min_score)?;
            found.extend(faces.into_iter().map(|face| tile::placed(face, tile, size)));
        }
        Ok(tile::joined(found))
    }

    fn look_at(
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
        let mut passes = passes.to_vec();
        passes.sort_by_key(|p| (p.long_side, p.model));
        passes.dedup();
        let mut found = Found::default();
        self.at_hand = None;
        for pass in passes.iter().filter(|p| p.when == When::Always) {
            self.pass(*pass, frame, orientation, &mut found)?;
        }
        for pass in passes.iter().filter(|p| p.when == When::IfDoubtful) {
            if found.is_doubtful(frame.size, pass.long_side) {
                self.pass(*pass, frame, orientation, &mut found)?;
            }
        }
        let mut faces = merge::merge(found.candidates);
        faces.truncate(MAX_FACES);
        Ok(Finding { faces, second_opinion: found.second_opinion, sightings: Vec::new() })
    }
}

/// What the passes over one frame found so far.
#[derive(Default)]
struct Found {
    candidates: Vec<Candidate>,
    second_opinion: Option<Vec<Rect>>,
}

impl Found {
    /// Whether something was found that is neither surely a face nor surely none, and large enough
    /// for a pass of `long_side` to judge it.
    fn is_doubtful(&self, coded: Size, long_side: u32) -> bool {
        let scale = long_side as f32 / coded.width.max(coded.height).max(1) as f32;
        self.candidates
            .iter()
            .any(|c| DOUBTFUL.contains(&c.face.score) && c.face.rect.width() * scale >= MIN_JUDGED)
    }
}

/// The network's own score from which on a box of `pass` is kept.
fn min_score(pass: Pass) -> f32 {
    match pass.model {
        DetectorModel::CenterFace => MIN_SCORE / CENTERFACE_GAIN,
        DetectorModel::YuNet if pass.long_side >= FINE => MIN_SCORE_FINE,
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

/// From pixels of the scaled upright picture to coded pixels of the frame.
fn to_coded(
    face: Detection,
    scaled: Size,
    upright: Size,
    orientation: Orientation,
    coded: Size,
) -> Detection {
    let sx = upright.width as f32 / scaled.width as f32;
    let sy = upright.height as f32 / scaled.height as f32;
    let rect =
        Rect::new(face.rect.x0 * sx, face.rect.y0 * sy, face.rect.x1 * sx, face.rect.y1 * sy);
    let point = |p: Point| orientation.to_coded(Point { x: p.x * sx, y: p.y * sy }, coded);
    Detection {
        rect: orientation.rect_to_coded(rect, coded),
        score: face.score,
        landmarks: face.landmarks.map(point),
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
