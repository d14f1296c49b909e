//! What a plan says needs no cover. Only a hint: the pixels are judged without it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use domain::{Pts, TimeBase};
use media::MediaError;
use serde::Deserialize;
use serde::de::IgnoredAny;

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
    shown: Vec<Span>,
    boxes: Vec<Box>,
}

/// `[time, left, top, right, bottom, kind]`, of which only the time matters here.
#[derive(Deserialize)]
struct Box(i64, IgnoredAny, IgnoredAny, IgnoredAny, IgnoredAny, IgnoredAny);

/// Times of the frames that need no cover, by the plan at `path` for the original with `sha256`.
pub(super) fn clear_frames(path: &Path, sha256: &str) -> Result<HashSet<Instant>, JobError> {
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
    Ok(base.map(|base| document.clear(base)).unwrap_or_default())
}

impl Document {
    fn clear(&self, base: TimeBase) -> HashSet<Instant> {
        let within = |spans: &[Span], t: i64| spans.iter().any(|s| (s.from..=s.to).contains(&t));
        let mut covered: HashSet<i64> = HashSet::new();
        for track in &self.tracks {
            let times = track.boxes.iter().map(|b| b.0);
            covered.extend(times.filter(|&t| !within(&track.shown, t)));
        }
        let clear = |t: &&i64| !covered.contains(t) && !within(&self.covered_whole, **t);
        self.frames.iter().filter(clear).map(|&t| Instant::of(Pts::new(t, base))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = r#"{"format":"garim-plan","version":1,"input":{"sha256":"ab","name":null},
        "later": 1, "time_base":{"num":1,"den":10},"frames":[0,1,2,3,4],
        "covered_whole":[{"from":4,"to":4,"frames":1,"reason":"damaged"}],
        "tracks":[{"id":1,"shown":[{"person":"x","from":2,"to":2}],
        "boxes":[[1,0,0,null,1,"detected"],[2,0,0,1,1,"detected"]]}]}"#;

    fn clear(text: &str, sha256: &str) -> Result<HashSet<Instant>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        std::fs::write(&path, text).unwrap();
        clear_frames(&path, sha256).map_err(|e| e.to_string())
    }

    #[test]
    fn frames_without_a_box_and_kept_ones_are_clear() {
        let at = |t| Instant::of(Pts::new(t, TimeBase::new(1, 10).unwrap()));
        assert_eq!(clear(PLAN, "ab").unwrap(), HashSet::from([at(0), at(2), at(3)]));
    }

    #[test]
    fn another_files_plan_and_other_documents_are_refused() {
        assert!(clear(PLAN, "cd").unwrap_err().contains("another file"));
        assert!(clear("{}", "ab").unwrap_err().contains("not a plan"));
        let later = PLAN.replace("\"version\":1", "\"version\":2");
        assert!(clear(&later, "ab").unwrap_err().contains("version 1"));
    }
}
