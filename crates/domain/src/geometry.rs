//! Points and rectangles in pixels, and how a coded picture is turned to be seen.

use serde::{Deserialize, Serialize};

/// Width and height in pixels, both at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A point in pixels; (0, 0) is the top left corner of the top left pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// To the right.
    pub x: f32,
    /// Down.
    pub y: f32,
}

/// An axis-aligned rectangle in pixels; may reach outside the picture. `x1 >= x0`, `y1 >= y0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rect {
    /// Left edge.
    pub x0: f32,
    /// Top edge.
    pub y0: f32,
    /// Right edge.
    pub x1: f32,
    /// Bottom edge.
    pub y1: f32,
}

impl Rect {
    /// From the left, top, right and bottom edges.
    pub fn new(x0: f32, y0: f32, x1: f32, y1: f32) -> Self {
        Self { x0, y0, x1, y1 }
    }

    /// From a centre and a size.
    pub fn centred(center: Point, width: f32, height: f32) -> Self {
        let (w, h) = (width / 2.0, height / 2.0);
        Self::new(center.x - w, center.y - h, center.x + w, center.y + h)
    }

    /// Width in pixels.
    pub fn width(self) -> f32 {
        self.x1 - self.x0
    }

    /// Height in pixels.
    pub fn height(self) -> f32 {
        self.y1 - self.y0
    }

    /// Area in square pixels.
    pub fn area(self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Centre.
    pub fn center(self) -> Point {
        Point { x: (self.x0 + self.x1) / 2.0, y: (self.y0 + self.y1) / 2.0 }
    }

    /// Moved by (`dx`, `dy`).
    pub fn shifted(self, dx: f32, dy: f32) -> Self {
        Self::new(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)
    }

    /// Grown on every side by `share` of the width (left, right) and of the height (top, bottom).
    pub fn grown(self, share: f32) -> Self {
        let (w, h) = (self.width() * share, self.height() * share);
        Self::new(self.x0 - w, self.y0 - h, self.x1 + w, self.y1 + h)
    }

    /// The smallest rectangle that holds both.
    pub fn union(self, other: Self) -> Self {
        Self::new(
            self.x0.min(other.x0),
            self.y0.min(other.y0),
            self.x1.max(other.x1),
            self.y1.max(other.y1),
        )
    }

    /// What both share; an empty rectangle (area 0) when they do not meet.
    pub fn intersection(self, other: Self) -> Self {
        let (x0, y0) = (self.x0.max(other.x0), self.y0.max(other.y0));
        Self::new(x0, y0, self.x1.min(other.x1).max(x0), self.y1.min(other.y1).max(y0))
    }

    /// Intersection over union, 0..=1; 0 when either is empty.
    pub fn iou(self, other: Self) -> f32 {
        let both = self.intersection(other).area();
        let all = self.area() + other.area() - both;
        if all > 0.0 { both / all } else { 0.0 }
    }

    /// `self` at `t = 0`, `other` at `t = 1`, every edge in proportion between.
    pub fn lerp(self, other: Self, t: f32) -> Self {
        let mix = |a: f32, b: f32| a + (b - a) * t;
        Self::new(
            mix(self.x0, other.x0),
            mix(self.y0, other.y0),
            mix(self.x1, other.x1),
            mix(self.y1, other.y1),
        )
    }

    /// Whether every edge is a finite number and the edges are in order.
    pub fn is_sane(self) -> bool {
        [self.x0, self.y0, self.x1, self.y1].iter().all(|v| v.is_finite())
            && self.x1 >= self.x0
            && self.y1 >= self.y0
    }
}

/// How the coded picture is turned so that a viewer sees it upright: mirrored left to right first
/// if `mirror`, then turned clockwise by `quarter_turns` quarter turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orientation {
    quarter_turns: u8,
    mirror: bool,
}

impl Orientation {
    /// `quarter_turns` clockwise (taken modulo 4), after a left-right mirror if `mirror`.
    pub fn new(quarter_turns: u8, mirror: bool) -> Self {
        Self { quarter_turns: quarter_turns % 4, mirror }
    }

    /// Clockwise quarter turns, 0..=3.
    pub fn quarter_turns(self) -> u8 {
        self.quarter_turns
    }

    /// Whether the picture is mirrored left to right before it is turned.
    pub fn mirror(self) -> bool {
        self.mirror
    }

    /// The size a viewer sees, of a picture coded with `coded`.
    pub fn upright_size(self, coded: Size) -> Size {
        if self.quarter_turns % 2 == 1 {
            Size { width: coded.height, height: coded.width }
        } else {
            coded
        }
    }

    /// Where the coded point `p` is seen, in a picture coded with `coded`.
    pub fn to_upright(self, p: Point, coded: Size) -> Point {
        let (w, h) = (coded.width as f32, coded.height as f32);
        let x = if self.mirror { w - p.x } else { p.x };
        let y = p.y;
        match self.quarter_turns {
            0 => Point { x, y },
            1 => Point { x: h - y, y: x },
            2 => Point { x: w - x, y: h - y },
            _ => Point { x: y, y: w - x },
        }
    }

    /// The coded point that is seen at `p`; undoes [`Orientation::to_upright`].
    pub fn to_coded(self, p: Point, coded: Size) -> Point {
        let (w, h) = (coded.width as f32, coded.height as f32);
        let (x, y) = match self.quarter_turns {
            0 => (p.x, p.y),
            1 => (p.y, h - p.x),
            2 => (w - p.x, h - p.y),
            _ => (w - p.y, p.x),
        };
        Point { x: if self.mirror { w - x } else { x }, y }
    }

    /// The coded rectangle that is seen as `r`.
    pub fn rect_to_coded(self, r: Rect, coded: Size) -> Rect {
        let a = self.to_coded(Point { x: r.x0, y: r.y0 }, coded);
        let b = self.to_coded(Point { x: r.x1, y: r.y1 }, coded);
        Rect::new(a.x.min(b.x), a.y.min(b.y), a.x.max(b.x), a.y.max(b.y))
    }

    /// Where the coded rectangle `r` is seen; undoes [`Orientation::rect_to_coded`].
    pub fn rect_to_upright(self, r: Rect, coded: Size) -> Rect {
        let a = self.to_upright(Point { x: r.x0, y: r.y0 }, coded);
        let b = self.to_upright(Point { x: r.x1, y: r.y1 }, coded);
        Rect::new(a.x.min(b.x), a.y.min(b.y), a.x.max(b.x), a.y.max(b.y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_there_and_back_is_exact_for_all_eight_orientations() {
        let coded = Size { width: 1280, height: 720 };
        for turns in 0..4 {
            for mirror in [false, true] {
                let o = Orientation::new(turns, mirror);
                let p = Point { x: 100.0, y: 30.0 };
                assert_eq!(o.to_coded(o.to_upright(p, coded), coded), p, "{o:?}");
                let r = Rect::new(100.0, 30.0, 160.0, 110.0);
                assert_eq!(o.rect_to_coded(o.rect_to_upright(r, coded), coded), r, "{o:?}");
            }
        }
    }

    #[test]
    fn a_clockwise_quarter_turn_takes_the_top_left_to_the_top_right() {
        let o = Orientation::new(1, false);
        let seen = o.to_upright(Point { x: 0.0, y: 0.0 }, Size { width: 4, height: 2 });
        assert_eq!(seen, Point { x: 2.0, y: 0.0 });
        assert_eq!(o.upright_size(Size { width: 4, height: 2 }), Size { width: 2, height: 4 });
    }

    #[test]
    fn iou_of_half_overlap() {
        let a = Rect::new(0.0, 0.0, 2.0, 1.0);
        let b = Rect::new(1.0, 0.0, 3.0, 1.0);
        assert!((a.iou(b) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(a.iou(Rect::new(5.0, 5.0, 6.0, 6.0)), 0.0);
    }
}
