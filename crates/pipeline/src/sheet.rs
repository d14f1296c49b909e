//! The contact sheet: one picture of every followed face, with its number, times and verdict.
//! It shows faces uncovered, so it is made only when asked for, and says so on itself.

mod draw;
mod spots;

use std::collections::HashMap;
use std::ops;
use std::path::Path;

use domain::{BoxKind, Frame, Orientation, Rect, Track};
use media::Reader;

use crate::JobError;
use crate::analyse::{Analysed, next_frame};
use draw::{GOOD, PLAIN, Tile, crop};
pub(crate) use spots::SpotSheet;

/// Faces on a sheet, at most; the report lists them all.
const MAX_FACES: usize = 240;

/// Collects the faces while the frames go by.
pub(crate) struct Sheet {
    tiles: Vec<Tile>,
    /// Tiles that wait for a frame, by its `seq`, and where in it.
    wanted: HashMap<u64, Vec<(usize, Rect)>>,
    left_out: usize,
}

impl Sheet {
    /// A sheet for the tracks of an analysis.
    pub(crate) fn new(analysed: &Analysed, people: &[String]) -> Self {
        let tracks = &analysed.followed.tracks;
        let mut sheet = Self {
            tiles: Vec::new(),
            wanted: HashMap::new(),
            left_out: tracks.len().saturating_sub(MAX_FACES),
        };
        for track in tracks.iter().take(MAX_FACES) {
            let Some((seq, rect)) = clearest(track) else { continue };
            sheet.wanted.entry(seq).or_default().push((sheet.tiles.len(), rect));
            let shown = analysed.shown.iter().find(|s| s.track == track.id);
            let who = shown.and_then(|s| people.get(s.person.0));
            let ink = if who.is_some() { GOOD } else { PLAIN };
            sheet.tiles.push(Tile { crops: vec![None], lines: label(track, who), ink });
        }
        sheet
    }

    /// Takes all faces it wants out of a video.
    pub(crate) fn fill(&mut self, mut reader: Reader) -> Result<(), JobError> {
        let orientation = reader.info().video.orientation;
        while !self.wanted.is_empty() {
            let Some(decoded) = next_frame(&mut reader)? else { break };
            self.see(&decoded.frame, orientation);
        }
        Ok(())
    }

    /// Takes the faces it wants out of a frame, before the frame is painted.
    pub(crate) fn see(&mut self, frame: &Frame, orientation: Orientation) {
        for (index, rect) in self.wanted.remove(&frame.seq).unwrap_or_default() {
            if let Some(tile) = self.tiles.get_mut(index) {
                tile.crops = vec![Some(crop(frame, orientation, rect.grown(0.35)))];
            }
        }
    }

    /// Whether it waits for one of these frames (`seq`).
    pub(crate) fn wants(&self, frames: ops::Range<u64>) -> bool {
        self.wanted.keys().any(|seq| frames.contains(seq))
    }

    /// Writes the sheet as PNG.
    pub(crate) fn write(&self, path: &Path) -> Result<(), JobError> {
        draw::write(path, &self.tiles, 1, self.left_out as u64)
    }
}

/// The frame in which a track is seen best: sure, and large.
fn clearest(track: &Track) -> Option<(u64, Rect)> {
    let worth = |b: &&domain::TrackBox| b.score * b.rect.area().sqrt();
    let seen = track.boxes.iter().filter(|b| b.kind == BoxKind::Detected);
    seen.max_by(|a, b| worth(a).total_cmp(&worth(b))).map(|b| (b.frame as u64, b.rect))
}

fn label(track: &Track, who: Option<&String>) -> [String; 4] {
    let like = vision::identify::closest(track);
    [
        format!("FACE {}", track.id.0),
        who.map_or("COVERED".to_owned(), |name| format!("KEPT {name}")),
        format!("{:.1}-{:.1} S", track.first.1.seconds(), track.last.1.seconds()),
        like.map_or(String::new(), |(_, similarity)| format!("SIMILARITY {similarity:.2}")),
    ]
}
