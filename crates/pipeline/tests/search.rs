//! Face search in real clips: who is found where and when, and that nobody is taken for somebody else.

#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

mod footage;

use std::path::Path;

use footage::{Clips, HER_X, HIS_X};
use pipeline::{
    FaceLine, KeepSpec, KnownBy, PhotoSearchSpec, SearchSpec, Searched, VideoLine, search,
    search_photo,
};

fn him() -> Vec<KeepSpec> {
    let by = KnownBy::Photos(vec![footage::fixture("made/keep_man.jpg")]);
    vec![KeepSpec { name: "him".to_owned(), by }]
}

struct Found {
    answer: Searched,
    video: VideoLine,
    faces: Vec<FaceLine>,
}

fn searched(clips: &Clips, input: &Path, people: Vec<KeepSpec>, every_ms: u32) -> Found {
    let output = clips.path("found.jsonl");
    let (input, threshold, to_8bit) = (input.into(), 80.0, false);
    let spec = SearchSpec { input, people, threshold, every_ms, output, to_8bit };
    let answer = search(&spec, &mut |_| {}).unwrap();
    let text = std::fs::read_to_string(clips.path("found.jsonl")).unwrap();
    let mut lines = text.lines();
    let video = serde_json::from_str(lines.next().unwrap()).unwrap();
    let faces: Vec<FaceLine> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answer.faces, faces.len() as u64);
    assert_eq!(answer.video, video);
    assert!(faces.windows(2).all(|pair| pair[0].timestamp_ms <= pair[1].timestamp_ms));
    for face in &faces {
        let b = face.place;
        assert!(b.left >= 0.0 && b.top >= 0.0 && b.width > 0.0 && b.height > 0.0, "{face:?}");
        assert!(b.left + b.width <= 1.0 && b.top + b.height <= 1.0, "{face:?}");
        assert!((0.0..=100.0).contains(&face.confidence), "{face:?}");
    }
    Found { answer, video, faces }
}

fn center(face: &FaceLine) -> f32 {
    face.place.left + face.place.width / 2.0
}

/// Times of the different samples with a face.
fn times(faces: &[FaceLine]) -> Vec<i64> {
    let mut times: Vec<i64> = faces.iter().map(|face| face.timestamp_ms).collect();
    times.dedup();
    times
}

#[test]
fn he_is_found_in_nearly_all_samples_under_one_number_and_nobody_else_is_taken_for_him() {
    let clips = Clips::new();
    let input = clips.two_people(4);
    let found = searched(&clips, &input, him(), 0);
    let (his, hers): (Vec<&FaceLine>, Vec<_>) = found.faces.iter().partition(|f| center(f) > 0.5);
    assert!(his.len() as u64 >= found.answer.samples * 95 / 100, "{}", his.len());
    assert!(his.iter().all(|face| (center(face) - HIS_X).abs() < 0.05));
    assert!(hers.iter().all(|face| (center(face) - HER_X).abs() < 0.08));
    let known = his.iter().filter(|f| f.matches.len() == 1 && f.matches[0].person == "him");
    let known: Vec<_> = known.collect();
    assert!(known.len() * 100 >= his.len() * 95, "{} of {}", known.len(), his.len());
    assert!(known.iter().all(|face| face.matches[0].similarity >= 80.0));
    assert!(hers.iter().all(|face| face.matches.is_empty()));
    assert!(his.iter().all(|face| face.index == his[0].index));
    assert!(hers.iter().all(|face| face.index != his[0].index));
    assert_eq!(found.answer.people, 2);
}

#[test]
fn the_first_line_says_what_the_video_is() {
    let clips = Clips::new();
    let input = clips.two_people(1);
    let video = searched(&clips, &input, Vec::new(), 500).video;
    assert_eq!((video.codec.as_str(), video.width, video.height), ("h264", 640, 240));
    assert!(video.format.contains("mp4"), "{video:?}");
    assert!((900..=1100).contains(&video.duration_millis), "{video:?}");
    assert!(video.frame_rate.is_some_and(|rate| (20.0..=31.0).contains(&rate)), "{video:?}");
}

#[test]
fn samples_are_as_far_apart_as_asked_and_without_people_faces_are_only_found() {
    let clips = Clips::new();
    let input = clips.two_people(2);
    let every = |ms| searched(&clips, &input, Vec::new(), ms);
    let all = every(0);
    assert!(all.faces.iter().all(|face| face.matches.is_empty()));
    assert_eq!(all.answer.people, 2, "two tracks, two numbers");
    let frames = times(&all.faces);
    for (ms, samples) in [(100, 20..=21), (500, 4..=5)] {
        let some = every(ms);
        assert!(samples.contains(&some.answer.samples), "{ms} ms: {}", some.answer.samples);
        let seen = times(&some.faces);
        assert!(seen.iter().all(|at| frames.contains(at)), "times are those of frames");
        let gaps: Vec<i64> = seen.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let frame = 45; // The longest time from one frame to the next.
        let right = |gap: &i64| (gap - i64::from(ms)).abs() <= frame;
        assert!(gaps.iter().all(right), "{ms} ms: {gaps:?}");
        let same = |face: &&FaceLine| seen.contains(&face.timestamp_ms);
        let of_all: Vec<&FaceLine> = all.faces.iter().filter(same).collect();
        assert_eq!(some.faces.iter().collect::<Vec<_>>(), of_all, "{ms} ms");
    }
}

#[test]
fn boxes_in_a_turned_video_are_those_of_the_upright_picture() {
    let clips = Clips::new();
    let straight = clips.two_people(1);
    for turn in [90, 180, 270] {
        let turned = clips.turned(&straight, turn);
        let found = searched(&clips, &turned, him(), 500);
        assert_eq!((found.video.width, found.video.height), (640, 240), "{turn}");
        let his: Vec<&FaceLine> = found.faces.iter().filter(|f| !f.matches.is_empty()).collect();
        assert_eq!(his.len() as u64, found.answer.samples, "{turn}");
        for face in his {
            let y = face.place.top + face.place.height / 2.0;
            assert!((center(face) - HIS_X).abs() < 0.05, "{turn}: {face:?}");
            assert!((y - footage::HIS_Y).abs() < 0.08, "{turn}: {face:?}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let clips = Clips::new();
    let input = clips.path("nowhere.mp4");
    let output = clips.path("found.jsonl");
    let refused = |threshold, every_ms| {
        let (people, input, output) = (Vec::new(), input.as_path().into(), output.clone());
        let spec = SearchSpec { input, people, threshold, every_ms, output, to_8bit: false };
        search(&spec, &mut |_| {}).unwrap_err().to_string()
    };
    assert!(refused(80.0, 501).contains("at most 500"));
    for threshold in [-1.0, 100.5, f32::NAN] {
        assert!(refused(threshold, 0).contains("from 0 to 100"));
    }
    assert!(!output.exists());
}

#[test]
fn faces_on_a_photo_are_found_and_the_enrolled_one_is_named() {
    let input = footage::fixture("made/keep_man.jpg").as_path().into();
    let spec = PhotoSearchSpec { input, people: him(), threshold: 80.0 };
    let found = search_photo(&spec).unwrap();
    assert_eq!(found.format, "jpeg");
    let [face] = &found.faces[..] else { panic!("{:?}", found.faces) };
    assert_eq!((face.matches[0].person.as_str(), face.timestamp_ms), ("him", 0));
    assert!(face.matches[0].similarity > 95.0, "{face:?}");

    let input = footage::fixture("pyfeat/multi_face.jpg").as_path().into();
    let found = search_photo(&PhotoSearchSpec { input, people: him(), threshold: 80.0 }).unwrap();
    assert!(found.faces.len() >= 5, "{}", found.faces.len());
    assert!(found.faces.iter().all(|face| face.matches.is_empty()));
    let mut numbers: Vec<u32> = found.faces.iter().map(|face| face.index).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), found.faces.len(), "each has its own");
}
