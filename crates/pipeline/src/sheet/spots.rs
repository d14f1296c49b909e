//! The contact sheet of a verification: every leak and suspect, before and after.

use std::collections::HashMap;
use std::path::Path;

use domain::{Frame, Orientation, Rect};

use super::draw::{self, BAD, PLAIN, Tile, crop};
use crate::JobError;
use crate::verify::{Spot, Why};

/// Leaks and suspects on a sheet, at most; leaks first. The report lists them all.
const MAX_SPOTS: usize = 64;

/// Collects the pictures while the frames of both files go by, one file after the other.
pub(crate) struct SpotSheet {
    tiles: Vec<Tile>,
    /// Tiles that wait for a frame, by file and `seq`, and where in it.
    wanted: [HashMap<u64, Vec<(usize, Rect)>>; 2],
    left_out: usize,
}

impl SpotSheet {
    pub(crate) fn new(leaks: &[Spot], suspects: &[Spot]) -> Self {
        let left_out = (leaks.len() + suspects.len()).saturating_sub(MAX_SPOTS);
        let mut sheet =
            Self { tiles: Vec::new(), wanted: [HashMap::new(), HashMap::new()], left_out };
        let all = leaks.iter().map(|s| (s, true)).chain(suspects.iter().map(|s| (s, false)));
        for (spot, leak) in all.take(MAX_SPOTS) {
            let [x0, y0, x1, y1] = spot.rect;
            let place = (sheet.tiles.len(), Rect::new(x0, y0, x1, y1));
            for (wanted, seq) in sheet.wanted.iter_mut().zip([spot.frame.0, spot.frame.1]) {
                wanted.entry(seq).or_default().push(place);
            }
            let ink = if leak { BAD } else { PLAIN };
            sheet.tiles.push(Tile { crops: vec![None, None], lines: label(spot, leak), ink });
        }
        sheet
    }

    /// Takes what it wants out of a frame of the original (`side` 0) or the output (1). Whether
    /// there is more to come of that file.
    pub(crate) fn see(&mut self, side: usize, frame: &Frame, orientation: Orientation) -> bool {
        let Some(wanted) = self.wanted.get_mut(side) else { return false };
        for (index, rect) in wanted.remove(&frame.seq).unwrap_or_default() {
            let crops = self.tiles.get_mut(index).map(|tile| &mut tile.crops);
            if let Some(place) = crops.and_then(|crops| crops.get_mut(side)) {
                *place = Some(crop(frame, orientation, rect.grown(0.35)));
            }
        }
        !wanted.is_empty()
    }

    /// Writes the sheet as PNG.
    pub(crate) fn write(&self, path: &Path) -> Result<(), JobError> {
        draw::write(path, &self.tiles, 2, self.left_out as u64)
    }
}

fn label(spot: &Spot, leak: bool) -> [String; 4] {
    let left = spot.detail_left * 100.0;
    let what = match (spot.why, spot.similarity, spot.kept_similarity) {
        (Why::Recognised, Some(s), _) => format!("RECOGNISABLE, SIMILARITY {s:.2}"),
        (Why::NotKept, _, Some(s)) => format!("{left:.0} % VISIBLE, LIKE KEPT {s:.2}"),
        _ => format!("{left:.0} % VISIBLE"),
    };
    let found = spot.found;
    [
        format!("BEFORE, AFTER AT {:.2} S", spot.at),
        format!("{}: {what}", if leak { "LEAK" } else { "SUSPECT" }),
        format!("{:.2}-{:.2} S, {} FRAMES", spot.from, spot.to, spot.frames),
        format!(
            "BOTH {}, YUNET {}, CENTERFACE {}, ? {}",
            found.both, found.yunet, found.centerface, found.doubtful
        ),
    ]
}
