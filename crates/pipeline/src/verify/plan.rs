//! What a plan says needs no cover, and which faces a person decided to show. The pixels are judged
//! without it otherwise.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use domain::{Pts, Rect, TimeBase};
use media::MediaError;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Times;
use super::streams::Instant;
use crate::JobError;

/// Longest plan read, in bytes: about twenty hours of four faces.
const MAX_BYTES: u64 = 1 << 30;

#[derive(Deserialize)]
struct Document {
    format: String,
    version: u32,
    input: Input,
    time_base: Option<Base>,
    frames: Vec<i64>,
    covered_whole: Vec<Span>,
    tracks: Vec<Track>,
    #[serde(default)]
    manual: Vec<Span>,
}

#[derive(Deserialize)]
struct Input {
    sha256: String,
}

#[derive(Deserialize)]
struct Base {
    num: u32,
    den: u32,
}

#[derive(Deserialize)]
struct Span {
    from: i64,
    to: i64,
}

#[derive(Deserialize)]
struct Track {
    #[serde(default)]
    edit: Option<Edit>,
    shown: Vec<Span>,
    boxes: Vec<Box>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Edit {
    Keep,
    Cover,
}

/// `[time, left, top, right, bottom, kind]`; what is no number is null.
#[derive(Deserialize)]
struct Box(i64, Option<f32>, Option<f32>, Option<f32>, Option<f32>, IgnoredAny);

/// What a plan says that matters here.
pub(super) struct Hints {
    /// Times of the frames that need no cover.
    pub clear: Times,
    /// Where faces are that a person decided to show, by time; boxes in coded pixels.
    pub by_hand: HashMap<Instant, Vec<Rect>>,
}

/// What the plan at `path` says of the original with `sha256`.
pub(super) fn hints(path: &Path, sha256: &str) -> Result<Hints, JobError> {
    let bad = |why: String| MediaError::Input { path: path.to_owned(), why };
    let file = File::open(path).map_err(|e| bad(e.to_string()))?;
    let document: Document = serde_json::from_reader(BufReader::new(file.take(MAX_BYTES)))
        .map_err(|e| bad(format!("is not a plan that can be read: {e}")))?;
    if (document.format.as_str(), document.version) != ("garim-plan", 1) {
        return Err(bad("is not a garim-plan of version 1".to_owned()).into());
    }
    if document.input.sha256 != sha256 {
        return Err(bad(
            "is the plan of another file: its input has another SHA-256 than ORIGINAL; give the \
             plan that --plan-out wrote for it, or leave --plan out"
                .to_owned(),
        )
        .into());
    }
    let base = document.time_base.as_ref().and_then(|base| TimeBase::new(base.num, base.den));
    let nothing = Hints { clear: Times::new(), by_hand: HashMap::new() };
    Ok(base.map_or(nothing, |base| document.hints(base)))
}

impl Document {
    fn hints(&self, base: TimeBase) -> Hints {
        let at = |t: i64| Instant::of(Pts::new(t, base));
        let within = |spans: &[Span], t: i64| spans.iter().any(|s| (s.from..=s.to).contains(&t));
        let mut covered: HashSet<i64> = HashSet::new();
        let mut by_hand: HashMap<Instant, Vec<Rect>> = HashMap::new();
        for track in &self.tracks {
            for b in &track.boxes {
                match track.edit {
                    Some(Edit::Keep) => by_hand.entry(at(b.0)).or_default().extend(b.rect()),
                    None if within(&track.shown, b.0) => {}
                    None | Some(Edit::Cover) => {
                        covered.insert(b.0);
                    }
                }
            }
        }
        let covered_anyway = |t| within(&self.covered_whole, t) || within(&self.manual, t);
        let clear = |t: &&i64| !covered.contains(t) && !covered_anyway(**t);
        let clear = self.frames.iter().filter(clear).map(|&t| at(t)).collect();
        Hints { clear, by_hand }
    }
}

impl Box {
    fn rect(&self) -> Option<Rect> {
        Some(Rect::new(self.1?, self.2?, self.3?, self.4?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = r#"{"format":"garim-plan","version":1,"input":{"sha256":"ab","name":null},
        "later": 1, "time_base":{"num":1,"den":10},"frames":[0,1,2,3,4,5],
        "covered_whole":[{"from":4,"to":4,"frames":1,"reason":"damaged"}],
        "tracks":[{"id":1,"shown":[{"person":"x","from":2,"to":2}],
        "boxes":[[1,0,0,null,1,"detected"],[2,0,0,1,1,"detected"]]}],
        "manual":[{"from":5,"to":5,"keys":[[5,0,0,1,1]]}]}"#;

    fn read(text: &str, sha256: &str) -> Result<Hints, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        std::fs::write(&path, text).unwrap();
        hints(&path, sha256).map_err(|e| e.to_string())
    }

    fn clear(text: &str, sha256: &str) -> Result<Times, String> {
        read(text, sha256).map(|hints| hints.clear)
    }

    fn at(t: i64) -> Instant {
        Instant::of(Pts::new(t, TimeBase::new(1, 10).unwrap()))
    }

    #[test]
    fn frames_without_a_box_and_kept_ones_are_clear() {
        assert_eq!(clear(PLAN, "ab").unwrap(), Times::from([at(0), at(2), at(3)]));
    }

    #[test]
    fn what_a_person_edited_counts() {
        let edited =
            |edit: &str| PLAN.replace("\"id\":1", &format!("\"id\":1,\"edit\":\"{edit}\""));
        let kept = read(&edited("keep"), "ab").unwrap();
        assert_eq!(kept.clear, Times::from([at(0), at(1), at(2), at(3)]));
        assert_eq!(kept.by_hand.len(), 2);
        assert_eq!(kept.by_hand[&at(1)], [], "a box that is no rectangle shows nothing");
        assert_eq!(kept.by_hand[&at(2)], [Rect::new(0.0, 0.0, 1.0, 1.0)]);
        let covered = read(&edited("cover"), "ab").unwrap();
        assert_eq!(covered.clear, Times::from([at(0), at(3)]));
        assert!(covered.by_hand.is_empty());
        assert!(clear(&edited("later"), "ab").unwrap_err().contains("not a plan"));
    }

    #[test]
    fn another_files_plan_and_other_documents_are_refused() {
        assert!(clear(PLAN, "cd").unwrap_err().contains("another file"));
        assert!(clear("{}", "ab").unwrap_err().contains("not a plan"));
        let later = PLAN.replace("\"version\":1", "\"version\":2");
        assert!(clear(&later, "ab").unwrap_err().contains("version 1"));
    }
}
