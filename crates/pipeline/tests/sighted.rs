//! Enrolling from a track of a processed video: what it gives knows the person again, and what does not
//! do is refused by the reasons that photos are.

#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

mod footage;

use std::path::Path;

use footage::Clips;
use pipeline::{
    JobSpec, KeepSpec, KnownBy, Reason, Report, Speed, Templates, TrackExamined, TrackSpec,
    Verdict, examine_track, run,
};
use redact::{EffectKind, Shape};

fn analysed(clips: &Clips, input: &Path, keep: Vec<KeepSpec>) -> Report {
    let spec = JobSpec {
        input: input.into(),
        still: false,
        output: None,
        plan: Some(clips.path("plan.json")),
        contact_sheet: None,
        poster: None,
        keep,
        keep_threshold: 0.5,
        effect: EffectKind::Mosaic,
        cells: 8,
        shape: Shape::default(),
        pad: None,
        speed: Speed::Balanced,
        preset: String::new(),
        crf: 0.0,
        to_8bit: false,
        smart: false,
    };
    run(&spec, &mut |_| {}).unwrap()
}

fn him() -> Vec<KeepSpec> {
    let by = KnownBy::Photos(vec![footage::fixture("made/keep_man.jpg")]);
    vec![KeepSpec { name: "him".to_owned(), by }]
}

fn spec(clips: &Clips, input: &Path, track: u32) -> TrackSpec {
    TrackSpec { input: input.into(), plan: clips.path("plan.json"), track, to_8bit: false }
}

fn kept(report: &Report) -> Vec<u32> {
    let kept = report.tracks.iter().filter(|track| matches!(track.verdict, Verdict::Kept { .. }));
    kept.map(|track| track.id.0).collect()
}

fn refused(answer: &TrackExamined) -> Reason {
    assert!(answer.good.is_empty(), "{answer:?}");
    answer.refused.as_ref().unwrap().code
}

#[test]
fn his_sightings_know_him_again_and_show_nobody_else() {
    let clips = Clips::new();
    let input = clips.two_people(4);
    let [track] = kept(&analysed(&clips, &input, him()))[..] else { panic!("he is one track") };
    let answer = examine_track(&spec(&clips, &input, track), &mut |_| {}).unwrap();
    assert_eq!((answer.good.len(), &answer.refused), (5, &None), "{answer:?}");
    let templates = answer.good.iter().flat_map(|sighted| sighted.templates.0.clone()).collect();
    let by = KnownBy::Templates(Templates(templates));
    let enrolled = vec![KeepSpec { name: "from the track".to_owned(), by }];
    // At another time of the same clip.
    let later = clips.path("later.mp4");
    let two_people = footage::fixture("made/two_people.mp4");
    clips.ffmpeg(&["-ss", "15", "-t", "2"], &two_people, "scale=640:240", &later);
    let report = analysed(&clips, &later, enrolled);
    assert_eq!(kept(&report).len(), 1, "{report:?}");

    for sighted in &answer.good {
        let picture = image::load_from_memory(&sighted.photo.0).unwrap();
        assert!(picture.width() < 260 && picture.height() < 240, "it shows one person");
        assert!((0..4000).contains(&sighted.timestamp_ms));
    }
    let json = serde_json::to_string(&answer).unwrap();
    assert_eq!(serde_json::from_str::<TrackExamined>(&json).unwrap(), answer);
    let shown = format!("{answer:?}");
    assert!(shown.contains("1 templates") && shown.contains("JPEG of"), "{shown}");
}

#[test]
fn pictures_of_a_turned_video_are_upright() {
    let clips = Clips::new();
    let straight = clips.two_people(1);
    let input = clips.turned(&straight, 90);
    let [track] = kept(&analysed(&clips, &input, him()))[..] else { panic!("he is one track") };
    let answer = examine_track(&spec(&clips, &input, track), &mut |_| {}).unwrap();
    let picture = image::load_from_memory(&answer.good[0].photo.0).unwrap();
    assert!(picture.height() > picture.width(), "a face is higher than wide");
}

fn only_track_of(filter: &str) -> TrackExamined {
    let clips = Clips::new();
    let input = clips.path("in.mp4");
    clips.ffmpeg(&["-t", "1"], &footage::fixture("pyfeat/single_face.mp4"), filter, &input);
    let report = analysed(&clips, &input, Vec::new());
    let largest = report.tracks.iter().max_by_key(|track| track.frames).unwrap().id.0;
    examine_track(&spec(&clips, &input, largest), &mut |_| {}).unwrap()
}

#[test]
fn a_blurred_face_is_refused_as_blurred() {
    assert_eq!(refused(&only_track_of("scale=640:360,gblur=sigma=8")), Reason::Blurred);
}

#[test]
fn a_small_face_is_refused_as_too_small() {
    assert_eq!(refused(&only_track_of("scale=160:90")), Reason::TooSmall);
}

#[test]
fn a_plan_of_another_video_and_a_track_that_is_not_there_are_errors() {
    let clips = Clips::new();
    let input = clips.two_people(1);
    analysed(&clips, &input, Vec::new());
    let error = examine_track(&spec(&clips, &input, 99), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("has no face 99"), "{error}");
    let other = clips.path("other.mp4");
    clips.ffmpeg(&[], &input, "hflip", &other);
    let error = examine_track(&spec(&clips, &other, 1), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("was made of another input"), "{error}");
}
