//! Whatever is sent, every playlist keeps what it promises. The streams are random; what must be in
//! a playlist is told by a model that forgets nothing.
#![allow(clippy::unwrap_used)]

mod parsed;
mod stream;

use std::collections::BTreeSet;

use bytes::Bytes;
use live::hls::{
    Decision, Duration90k, Media, Part, Playlist, PlaylistError, PlaylistQuery, Settings,
};
use parsed::{Parsed, parse};
use proptest::prelude::*;

/// What a channel does next.
#[derive(Debug, Clone)]
enum Step {
    /// A part as long as it may be.
    Next,
    /// A shorter one; if it is too short for the middle of a segment, the next starts another.
    Short(u64),
    /// The next part starts a segment.
    Cut,
    /// Another initialisation section.
    Map,
}

/// The shape of a stream, in frames.
#[derive(Debug, Clone)]
struct Shape {
    frame: u64,
    part: u64,
    segment: u64,
    window: usize,
    grace: usize,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let frame = prop::sample::select(vec![1500u64, 1502, 3000, 3003, 3600]);
    (frame, 3u64..16, 0u64..40, 4usize..10, 0usize..4).prop_map(
        |(frame, part, more, window, grace)| {
            let segment = part.max(45_000u64.div_ceil(frame)) + more;
            Shape { frame, part, segment, window, grace }
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        40 => Just(Step::Next),
        3 => (0u64..16).prop_map(Step::Short),
        1 => Just(Step::Cut),
        1 => Just(Step::Map),
    ];
    prop::collection::vec(step, 1..150)
}

/// Everything that was ever sent.
struct Model {
    shape: Shape,
    inits: u64,
    segments: Vec<Sent>,
    frames: u64,
}

struct Sent {
    init: u64,
    complete: bool,
    parts: Vec<Part>,
}

impl Sent {
    fn ticks(&self) -> u64 {
        self.parts.iter().map(|part| part.duration.0).sum()
    }

    fn bytes(&self) -> Vec<u8> {
        self.parts.iter().flat_map(|part| part.media.to_vec()).collect()
    }
}

impl Model {
    fn new(shape: &Shape) -> (Self, Playlist) {
        let ticks = |frames| Duration90k(frames * shape.frame);
        let settings = Settings {
            window: shape.window,
            grace: shape.grace,
            ..Settings::new(ticks(shape.segment), ticks(shape.part))
        };
        let mut playlist = Playlist::new(settings, "").unwrap();
        playlist.map(Bytes::from_static(b"init 0"), ticks(shape.segment)).unwrap();
        (Self { shape: shape.clone(), inits: 1, segments: Vec::new(), frames: 0 }, playlist)
    }

    fn open(&self) -> Option<&Sent> {
        self.segments.last().filter(|last| !last.complete)
    }

    fn complete(&self) -> usize {
        self.segments.iter().filter(|segment| segment.complete).count()
    }

    fn first_listed(&self) -> usize {
        self.complete().saturating_sub(self.shape.window)
    }

    fn discontinuity(&self, msn: usize) -> bool {
        msn > 0 && self.segments[msn].init != self.segments[msn - 1].init
    }

    fn cut(&mut self) {
        if let Some(last) = self.segments.last_mut() {
            last.complete = true;
        }
    }

    /// The part that comes next, with at most so many frames.
    fn send(&mut self, frames: u64, starts: bool) -> Part {
        let starts = starts || self.open().is_none();
        if starts {
            self.cut();
            self.segments.push(Sent { init: self.inits - 1, complete: false, parts: Vec::new() });
        }
        let Shape { frame, segment, .. } = self.shape;
        let (msn, last) = (self.segments.len() - 1, self.segments.last_mut().unwrap());
        let frames = frames.min(segment - last.ticks() / frame);
        let part = Part {
            media: format!("<{msn}.{}>", last.parts.len()).into(),
            duration: Duration90k(frames * frame),
            independent: starts || frames % 2 == 0,
            starts_segment: starts,
            program_date_time: stream::at(Duration90k(self.frames * frame)),
        };
        self.frames += frames;
        last.parts.push(part.clone());
        last.complete = last.ticks() == segment * frame;
        part
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_playlist_keeps_its_promises(shape in shapes(), steps in steps()) {
        let (mut model, mut playlist) = Model::new(&shape);
        let mut before: Option<Parsed> = None;
        let mut starts = false;
        for step in steps {
            let hint = before.as_ref().and_then(|before| before.hint.clone());
            let frames = match step {
                Step::Next => shape.part,
                Step::Short(n) => 1 + n % shape.part,
                Step::Cut => { starts = true; continue }
                Step::Map => {
                    let init = format!("init {}", model.inits);
                    let segment = Duration90k(shape.segment * shape.frame);
                    playlist.map(init.into(), segment).unwrap();
                    model.inits += 1;
                    model.cut();
                    if before.is_some() {
                        before = Some(check(&model, &playlist, before.as_ref()));
                    }
                    continue;
                }
            };
            let cuts = starts && model.open().is_some();
            let part = model.send(frames, starts);
            if let Some(hint) = &hint {
                prop_assert_eq!(playlist.media(hint), Media::Wait);
            }
            playlist.part(part.clone()).unwrap();
            if let Some(hint) = &hint {
                let found = playlist.media(hint);
                // A hint is wrong only if its segment was cut short.
                let expected = if cuts { Media::NotFound } else { Media::Ready(part.media.clone()) };
                prop_assert_eq!(found, expected, "{}", hint);
            }
            starts = part.duration.0 * 100 < shape.part * shape.frame * 85;
            before = Some(check(&model, &playlist, before.as_ref()));
        }
        if before.is_some() {
            playlist.end();
            model.cut();
            let parsed = check(&model, &playlist, before.as_ref());
            prop_assert!(parsed.ended && parsed.hint.is_none());
        }
    }
}

/// Compares everything that can be asked with the model; the full playlist.
fn check(model: &Model, playlist: &Playlist, before: Option<&Parsed>) -> Parsed {
    let full = parse(&playlist.text(false));
    check_head(model, &full);
    check_segments(model, &full);
    check_delta(&full, &parse(&playlist.text(true)), before);
    check_media(model, playlist, &full);
    if !full.ended {
        check_decisions(model, playlist);
    }
    full
}

fn check_head(model: &Model, full: &Parsed) {
    let Shape { frame, part, segment, .. } = model.shape;
    nearest(full.part_target, part * frame);
    assert!(full.part_hold_back >= 3 * full.part_target);
    assert!(full.hold_back >= 3 * full.target * 1_000_000);
    assert!(full.skip_until >= 6 * full.target * 1_000_000);
    assert!(segment * frame < (full.target * 2 + 1) * 45_000, "rounded: no segment is longer");
    assert_eq!(full.skipped, 0);
    let first = model.first_listed();
    assert_eq!(full.media_sequence, first as u64);
    let left = (0..first).filter(|msn| model.discontinuity(*msn)).count();
    assert_eq!(full.discontinuity_sequence, left as u64);
    assert_eq!(full.segments.len(), model.segments.len() - first);
}

fn check_segments(model: &Model, full: &Parsed) {
    let target = full.target * 90_000;
    let mut left: u64 = model.segments[model.first_listed()..].iter().map(Sent::ticks).sum();
    for (msn, listed) in (model.first_listed()..).zip(&full.segments) {
        let sent = &model.segments[msn];
        let from_end = left;
        left -= sent.ticks();
        assert_eq!(listed.discontinuity, model.discontinuity(msn));
        assert_eq!(listed.map, Some(format!("init-{}.mp4", sent.init)));
        let time: jiff::Timestamp = listed.time.parse().unwrap();
        let off = sent.parts[0].program_date_time.duration_since(time);
        assert!(off.as_millis() == 0, "{}", listed.time);
        assert_eq!(listed.whole.is_some(), sent.complete);
        if let Some((duration, uri)) = &listed.whole {
            nearest(*duration, sent.ticks());
            assert_eq!(*uri, format!("seg-{msn}.m4s"));
        }
        // Parts: of all segments that begin in the last three target durations, and no others.
        if from_end >= 3 * target {
            assert!(listed.parts.is_empty());
            continue;
        }
        assert_eq!(listed.parts.len(), sent.parts.len());
        for (index, (part, sent)) in listed.parts.iter().zip(&sent.parts).enumerate() {
            nearest(part.duration, sent.duration.0);
            assert_eq!(part.uri, format!("part-{msn}.{index}.m4s"));
            assert_eq!(part.independent, sent.independent);
            assert!(part.duration <= full.part_target);
            let last = index + 1 == listed.parts.len();
            assert!(last || part.duration * 100 >= full.part_target * 85 - 100);
        }
        if let Some((duration, _)) = &listed.whole {
            let sum: u64 = listed.parts.iter().map(|part| part.duration).sum();
            assert!(sum.abs_diff(*duration) <= listed.parts.len() as u64, "only rounded");
        }
    }
}

/// `delta` and the playlist before it are the full playlist.
fn check_delta(full: &Parsed, delta: &Parsed, before: Option<&Parsed>) {
    let Some(before) = before else { return };
    let mut joined = delta.clone();
    joined.skipped = 0;
    let from = usize::try_from(full.media_sequence - before.media_sequence).unwrap();
    let skipped = usize::try_from(delta.skipped).unwrap();
    let mut segments = before.segments[from..from + skipped].to_vec();
    let map = segments.last().and_then(|last| last.map.clone());
    for mut segment in delta.segments.clone() {
        segment.map = segment.map.or_else(|| map.clone());
        segments.push(segment);
    }
    joined.segments = segments;
    assert_eq!(joined, *full);
    // No more is left out than the skip boundary allows.
    let seen = |segment: &parsed::Segment| match &segment.whole {
        Some((duration, _)) => *duration,
        None => segment.parts.iter().map(|part| part.duration).sum(),
    };
    let rest: u64 = delta.segments.iter().map(seen).sum();
    assert!(delta.skipped == 0 || rest + full.segments.len() as u64 >= full.skip_until);
}

fn check_media(model: &Model, playlist: &Playlist, full: &Parsed) {
    for segment in &full.segments {
        for part in &segment.parts {
            assert!(matches!(playlist.media(&part.uri), Media::Ready(_)), "{}", part.uri);
        }
    }
    let first = model.first_listed().saturating_sub(model.shape.grace);
    let mut needed = BTreeSet::from([model.inits - 1]);
    for (msn, sent) in model.segments.iter().enumerate() {
        let found = playlist.media(&format!("seg-{msn}.m4s"));
        let expected = match () {
            () if msn < first => Media::Gone,
            () if sent.complete => Media::Ready(sent.bytes().into()),
            () => Media::NotFound,
        };
        assert_eq!(found, expected, "segment {msn}");
        for (index, part) in sent.parts.iter().enumerate() {
            let found = playlist.media(&format!("part-{msn}.{index}.m4s"));
            let kept = Media::Ready(part.media.clone());
            assert_eq!(found, if msn < first { Media::Gone } else { kept }, "part {msn}.{index}");
        }
        if msn >= first {
            needed.insert(sent.init);
        }
    }
    for init in 0..model.inits {
        let found = playlist.media(&format!("init-{init}.mp4"));
        if needed.contains(&init) {
            assert_eq!(found, Media::Ready(format!("init {init}").into()));
        }
    }
}

fn check_decisions(model: &Model, playlist: &Playlist) {
    let open = model.complete();
    let limit = (3 * 90_000u64).div_ceil((model.shape.part * model.shape.frame).min(90_000));
    let parts = |msn: usize| model.segments.get(msn).map_or(0, |sent| sent.parts.len() as u64);
    for msn in open.saturating_sub(2)..open + 4 {
        for part in std::iter::once(None).chain((0..limit + 40).map(Some)) {
            let query = PlaylistQuery { msn: Some(msn as u64), part, skip: false };
            let refused = msn > open + 1
                || msn >= open && part.is_some_and(|part| part >= parts(msn) + limit);
            let there = match part {
                None => msn < open,
                Some(part) if part < parts(msn) => true,
                Some(_) => msn < open && parts(msn + 1) > 0,
            };
            match playlist.decide(&query) {
                Decision::Refuse(_) => assert!(refused, "{query:?}"),
                Decision::Ready => assert!(there && !refused, "{query:?}"),
                Decision::Wait => assert!(!there && !refused, "{query:?}"),
            }
        }
    }
}

/// Millionths of a second are these ticks, rounded to the nearest.
fn nearest(micros: u64, ticks: u64) {
    assert!((micros * 9).abs_diff(ticks * 100) <= 4, "{micros} is not {ticks} ticks");
}

fn any_part() -> impl Strategy<Value = Part> {
    let duration = prop_oneof![
        20 => 25_000u64..30_031,
        2 => 0u64..100_000,
        1 => Just(u64::MAX),
    ];
    (duration, 0usize..60, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(duration, length, independent, starts)| Part {
            media: Bytes::from(vec![b'x'; length]),
            duration: Duration90k(duration),
            independent: independent || starts,
            starts_segment: starts,
            program_date_time: stream::at(Duration90k::ZERO),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Parts that a broken channel might send.
    #[test]
    fn broken_parts_change_nothing_and_memory_is_bounded(
        parts in prop::collection::vec((any_part(), prop::bool::weighted(0.05)), 1..200),
        max_bytes in 200usize..4000,
    ) {
        let settings = Settings { max_bytes, ..stream::settings() };
        let mut playlist = Playlist::new(settings, "").unwrap();
        let mut inits = 0;
        for (part, map) in parts {
            let before = playlist.text(false);
            let result = if map {
                inits += 1;
                playlist.map(part.media, stream::settings().segment_target)
            } else {
                playlist.part(part)
            };
            match result {
                Ok(()) | Err(PlaylistError::Full { .. }) => {}
                Err(_) => prop_assert_eq!(playlist.text(false), before),
            }
            let parsed = parse(&playlist.text(false));
            let mut last_map = None;
            for segment in &parsed.segments {
                let duration = segment.whole.as_ref().map_or(0, |(duration, _)| *duration);
                prop_assert!(duration <= 2_002_000);
                prop_assert!(segment.parts.first().is_none_or(|part| part.independent));
                for (index, part) in segment.parts.iter().enumerate() {
                    prop_assert!(part.duration <= parsed.part_target);
                    let last = index + 1 == segment.parts.len();
                    prop_assert!(last || part.duration * 100 >= parsed.part_target * 85 - 100);
                }
                if last_map.is_some() {
                    prop_assert_eq!(segment.discontinuity, last_map != segment.map);
                }
                last_map.clone_from(&segment.map);
            }
            prop_assert!(kept(&playlist, &parsed, inits) <= max_bytes);
        }
    }

    #[test]
    fn names_and_queries_never_panic(text in "\\PC{0,40}", numbers in any::<[u64; 2]>()) {
        let mut playlist = stream::playlist();
        for part in stream::parts(20) {
            playlist.part(part).unwrap();
        }
        let [msn, part] = numbers;
        for name in [
            text.clone(), format!("init-{text}.mp4"), format!("part-{text}.m4s"),
            format!("seg-{msn}.m4s"), format!("part-{msn}.{part}.m4s"),
        ] {
            let _ = playlist.media(&name);
        }
        for query in [text.clone(), format!("_HLS_msn={text}"), format!("_HLS_msn={msn}&_HLS_part={part}")] {
            if let Ok(query) = PlaylistQuery::parse(&query) {
                let _ = playlist.decide(&query);
            }
        }
    }
}

/// All bytes that can be read under some name.
fn kept(playlist: &Playlist, parsed: &Parsed, inits: u64) -> usize {
    let length = |name: String| match playlist.media(&name) {
        Media::Ready(bytes) => bytes.len(),
        _ => 0,
    };
    let end = parsed.media_sequence + parsed.segments.len() as u64;
    let segments = (0..end).map(|msn| match length(format!("seg-{msn}.m4s")) {
        0 => (0..20).map(|index| length(format!("part-{msn}.{index}.m4s"))).sum(),
        whole => whole,
    });
    segments.sum::<usize>()
        + (0..inits).map(|init| length(format!("init-{init}.mp4"))).sum::<usize>()
}
