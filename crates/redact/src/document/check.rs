//! What a document must be so that a plan can be made of it.

use super::{Document, Manual, PlanError, Row, TrackForm};
use crate::Reason;
use crate::analysis::usable;

/// Longest side of a picture: that of a photo.
const MAX_SIDE: u32 = 20_000;
/// Frames, at most: a day at 60 a second fits.
const MAX_FRAMES: usize = 8 << 20;
/// Boxes, at most, those of manual areas counted in every frame they cover.
const MAX_BOXES: usize = 16 << 20;
/// Tracks, and spans in which they are shown, at most.
const MAX_TRACKS: usize = 100_000;
/// ITU-T H.264, E.2.1: `max_num_reorder_frames` is at most the size of the picture buffer.
const MAX_REORDER: u8 = 16;

/// # Errors
/// The first thing that is wrong, in the order of the document.
pub(super) fn check(document: &Document) -> Result<(), PlanError> {
    check_input(document)?;
    document.policy.policy().map_err(|e| {
        // Its messages speak of flags.
        invalid("policy".to_owned(), e.to_string().replace("--", ""))
    })?;
    check_frames(document)?;
    for (i, span) in document.covered_whole.iter().enumerate() {
        holds_a_frame(document, span.from, span.to, || format!("covered_whole[{i}]"))?;
    }
    check_gops(document)?;
    let spans: usize = document.tracks.iter().map(|track| track.shown.len()).sum();
    if document.tracks.len().max(spans) > MAX_TRACKS {
        return Err(invalid(
            "tracks".to_owned(),
            format!("more than {MAX_TRACKS}, or so often shown"),
        ));
    }
    let whole = document.whole();
    let mut boxes = 0;
    for (i, track) in document.tracks.iter().enumerate() {
        check_track(document, &whole, i, track)?;
        boxes += track.boxes.len();
    }
    let rising = document.tracks.windows(2).position(|pair| pair[0].id >= pair[1].id);
    if let Some(i) = rising {
        return Err(invalid(format!("tracks[{}].id", i + 1), "does not rise"));
    }
    for (i, manual) in document.manual.iter().enumerate() {
        check_manual(document, i, manual)?;
        boxes = boxes.saturating_add(document.between(manual.from, manual.to).len());
    }
    // Manual areas are numbered after the tracks.
    let last = document.tracks.last().map_or(0, |track| track.id.0);
    if boxes > MAX_BOXES || u32::MAX - last <= document.manual.len() as u32 {
        let why = format!("the plan has {boxes} boxes, and at most {MAX_BOXES} are taken");
        return Err(invalid(".".to_owned(), why));
    }
    Ok(())
}

fn invalid(place: String, why: impl Into<String>) -> PlanError {
    PlanError::Invalid { place, why: why.into() }
}

fn check_input(document: &Document) -> Result<(), PlanError> {
    let input = &document.input;
    // Of a folder with several playlists there is no hash; `for_input` takes no such plan.
    if !input.sha256.is_empty() {
        check_hash(&input.sha256, || "input.sha256".to_owned())?;
    }
    for (name, side) in [("width", input.width), ("height", input.height)] {
        if !(1..=MAX_SIDE).contains(&side) {
            let why = format!("{side} pixels; at least 1 and at most {MAX_SIDE} are possible");
            return Err(invalid(format!("input.{name}"), why));
        }
    }
    let mut models = document.models.iter().enumerate();
    models.try_for_each(|(i, m)| check_hash(&m.sha256, || format!("models[{i}].sha256")))
}

fn check_hash(text: &str, place: impl Fn() -> String) -> Result<(), PlanError> {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != 64 || !text.bytes().all(hex) {
        return Err(invalid(place(), "is not a SHA-256 (64 digits of lower-case hex)"));
    }
    Ok(())
}

fn check_frames(document: &Document) -> Result<(), PlanError> {
    let frames = &document.frames;
    if frames.len() > MAX_FRAMES {
        let why = format!("{} frames; at most {MAX_FRAMES} are taken", frames.len());
        return Err(invalid("frames".to_owned(), why));
    }
    if document.time_base.is_none() && !frames.is_empty() {
        return Err(invalid("time_base".to_owned(), "is null, but there are frames"));
    }
    match frames.windows(2).position(|pair| pair[0] >= pair[1]) {
        Some(i) => Err(invalid(format!("frames[{}]", i + 1), "does not rise")),
        None => Ok(()),
    }
}

/// Refuses spans in which nothing lies: seconds written for ticks, most likely.
fn holds_a_frame(
    document: &Document,
    from: i64,
    to: i64,
    place: impl Fn() -> String,
) -> Result<(), PlanError> {
    if from > to {
        return Err(invalid(place(), format!("ends ({to}) before it starts ({from})")));
    }
    if document.between(from, to).is_empty() {
        let tick =
            document.time_base.map_or(String::new(), |b| format!(" of {}/{} s", b.num, b.den));
        let why = format!("no frame lies between {from} and {to}; times are ticks{tick}");
        return Err(invalid(place(), why));
    }
    Ok(())
}

fn check_gops(document: &Document) -> Result<(), PlanError> {
    for (i, gop) in document.gops.iter().enumerate() {
        check_hash(&gop.sha256, || format!("gops[{i}].sha256"))?;
        if gop.reorder > MAX_REORDER {
            let why = format!("{}; at most {MAX_REORDER} is possible", gop.reorder);
            return Err(invalid(format!("gops[{i}].reorder"), why));
        }
    }
    match document.gops.windows(2).position(|pair| pair[0].from >= pair[1].from) {
        Some(i) => Err(invalid(format!("gops[{}].from", i + 1), "does not rise")),
        None => Ok(()),
    }
}

fn check_track(
    document: &Document,
    whole: &[Option<Reason>],
    i: usize,
    track: &TrackForm,
) -> Result<(), PlanError> {
    let at = |field: &str| format!("tracks[{i}].{field}");
    let like = track.most_like.as_ref().map(|like| like.similarity);
    let similar = track.shown.iter().filter_map(|shown| shown.similarity);
    if !similar.chain(like).chain([track.best_score]).all(f32::is_finite) {
        return Err(invalid(at("best_score"), "scores and similarities must be numbers"));
    }
    if let Some(n) = track.shown.iter().position(|shown| shown.from > shown.to) {
        return Err(invalid(at(&format!("shown[{n}]")), "ends before it starts"));
    }
    for (n, row) in track.boxes.iter().enumerate() {
        if let Err(why) = check_row(document, whole, row) {
            return Err(invalid(at(&format!("boxes[{n}]")), why));
        }
    }
    match track.boxes.windows(2).position(|pair| pair[0].0 > pair[1].0) {
        Some(n) => Err(invalid(at(&format!("boxes[{}]", n + 1)), "is earlier than the one before")),
        None => Ok(()),
    }
}

fn check_row(document: &Document, whole: &[Option<Reason>], row: &Row) -> Result<(), String> {
    let Ok(frame) = document.frames.binary_search(&row.0) else {
        return Err(format!("{} is the time of no frame", row.0));
    };
    if !usable(row.rect()) && whole.get(frame).is_none_or(Option::is_none) {
        return Err(
            "left, top, right, bottom must be numbers in this order, or the frame must be \
                    in covered_whole"
                .to_owned(),
        );
    }
    Ok(())
}

fn check_manual(document: &Document, i: usize, manual: &Manual) -> Result<(), PlanError> {
    let place = || format!("manual[{i}]");
    holds_a_frame(document, manual.from, manual.to, place)?;
    if manual.keys.is_empty() {
        return Err(invalid(format!("manual[{i}].keys"), "is empty; give one box at least"));
    }
    for (n, key) in manual.keys.iter().enumerate() {
        let rect = key.rect();
        // Shares of the picture instead of pixels would be smaller, and cover nothing.
        if !usable(rect) || rect.width() < 1.0 || rect.height() < 1.0 {
            let why = "must be [time, left, top, right, bottom], at least one pixel wide and high";
            return Err(invalid(format!("manual[{i}].keys[{n}]"), why));
        }
    }
    match manual.keys.windows(2).position(|pair| pair[0].0 >= pair[1].0) {
        Some(n) => Err(invalid(format!("manual[{i}].keys[{}]", n + 1), "does not rise in time")),
        None => Ok(()),
    }
}
