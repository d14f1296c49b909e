//! The first pass with detectors that do what a test says: whatever goes wrong in them, there is no
//! plan; and a plan covers what they found, and whole frames where nobody could look.

#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use domain::{Detection, Finding, Frame, Orientation, Point, Rect};
use media::{Reader, Streams};
use pipeline::{Analysed, Analyst, JobError, Speed, analyse};
use redact::{Cover, Covered, Policy, Reason};
use vision::gallery::{Group, Person};
use vision::scripted::{self, ScriptedDetector, ScriptedRecognizer};
use vision::{Detector, Gallery, Pass, Recognizer, identify};

/// Frames of [`clip`].
const FRAMES: u64 = 45;

/// A moving test picture, 320x180, in a folder that lives as long as the first value.
fn clip(args: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    ffmpeg(&format!("-f lavfi -i testsrc2=s=320x180:r=30:d=1.5 {args}"), &path);
    (dir, path)
}

fn ffmpeg(args: &str, path: &Path) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin"]).args(args.split_whitespace());
    command.args(["-c:v", "libx264", "-preset", "ultrafast"]).arg(path);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn analysed_with(
    path: &Path,
    detectors: Vec<Box<dyn Detector>>,
    speed: Speed,
    kept: Option<(&Gallery, Box<dyn Recognizer>)>,
) -> Result<Analysed, JobError> {
    let reader = Reader::open(path, Streams::Video, false).unwrap();
    let nobody = Gallery::default();
    let (gallery, recognizer) = match kept {
        Some((gallery, recognizer)) => (gallery, Some(Mutex::new(recognizer))),
        None => (&nobody, None),
    };
    let (rules, policy) = (identify::Rules::default(), Policy::default());
    let (rules, policy) = (&rules, &policy);
    let analyst = Analyst { speed, gallery, recognizer, ranked: 1, rules, policy, memory: 0 };
    analyse(reader, detectors, &analyst, &mut |_| {})
}

fn analysed(detectors: Vec<Box<dyn Detector>>) -> Result<Analysed, JobError> {
    let (_dir, path) = clip("");
    analysed_with(&path, detectors, Speed::Balanced, None)
}

fn why(result: Result<Analysed, JobError>) -> String {
    match result {
        Ok(analysed) => panic!("there is a plan of {} frames", analysed.plan.len()),
        Err(error) => error.to_string(),
    }
}

/// A face that is seen for certain, 60 pixels wide.
fn face(x: f32) -> Detection {
    let rect = Rect::new(x, 50.0, x + 60.0, 130.0);
    let points = [(15.0, 30.0), (45.0, 30.0), (30.0, 48.0), (18.0, 62.0), (42.0, 62.0)];
    let landmarks = points.map(|(dx, dy)| Point { x: rect.x0 + dx, y: rect.y0 + dy });
    Detection::new(rect, 0.95, landmarks)
}

/// Finds the face at `x`, but in frame `at` does `instead`.
fn except(
    at: u64,
    instead: impl Fn() -> Result<Finding, vision::Error> + Send + 'static,
) -> Box<dyn Detector> {
    Box::new(ScriptedDetector(
        move |frame: &Frame, _: Orientation, _: &[Pass]| {
            if frame.seq == at { instead() } else { Ok(Finding::default()) }
        },
    ))
}

fn failure() -> vision::Error {
    vision::Error::Engine("scripted failure".to_owned())
}

#[test]
fn a_detector_that_fails_gives_no_plan() {
    let error = why(analysed(vec![Box::new(scripted::failing_detector())]));
    assert!(error.contains("scripted failure"), "{error}");
}

#[test]
fn a_detector_that_fails_on_one_frame_gives_no_plan() {
    for at in [0, 20, FRAMES - 1] {
        let error = why(analysed(vec![except(at, || Err(failure()))]));
        assert!(error.contains("scripted failure"), "frame {at}: {error}");
    }
}

#[test]
fn a_detector_that_panics_on_one_frame_gives_no_plan() {
    for at in [0, 20, FRAMES - 1] {
        let error = why(analysed(vec![except(at, || panic!("scripted panic"))]));
        assert!(error.contains("detect thread panicked"), "frame {at}: {error}");
    }
}

#[test]
fn one_failing_worker_among_several_gives_no_plan() {
    let fine = || Box::new(scripted::detector(|_| Vec::new())) as Box<dyn Detector>;
    let error = why(analysed(vec![fine(), Box::new(scripted::failing_detector()), fine()]));
    assert!(error.contains("scripted failure"), "{error}");
}

#[test]
fn nothing_found_is_not_the_same_as_nobody_looked() {
    let plan = analysed(vec![Box::new(scripted::detector(|_| Vec::new()))]).unwrap().plan;
    assert_eq!(plan.len() as u64, FRAMES);
    assert!(plan.iter().all(|frame| frame.covered == Covered::Regions(0)));
    let nobody = analysed(Vec::new()).unwrap().plan;
    assert!(nobody.iter().all(|frame| frame.covered == Covered::All(Reason::NotAnalysed)));
    let next = nobody.len() as u64;
    let size = nobody.size();
    let late = analysed(vec![Box::new(scripted::detector(|_| Vec::new()))]).unwrap().times[5];
    let cover = nobody.for_frame(next, late, size);
    assert!(matches!(cover.cover(), Cover::All(_)), "beyond the plan");
}

#[test]
fn a_face_found_in_some_frames_is_covered_in_those_between() {
    // Every third frame only, as when a head turns away and back.
    let detector = scripted::detector(|seq| if seq % 3 == 0 { vec![face(100.0)] } else { vec![] });
    let plan = analysed(vec![Box::new(detector)]).unwrap().plan;
    let bare: Vec<usize> = (0..plan.len())
        .filter(|&i| plan.iter().nth(i).unwrap().covered == Covered::Regions(0))
        .collect();
    assert_eq!(bare, Vec::<usize>::new(), "frames without a cover");
}

#[test]
fn several_workers_find_what_one_finds() {
    let moving = || {
        Box::new(scripted::detector(|seq| vec![face(60.0 + seq as f32 * 2.0)])) as Box<dyn Detector>
    };
    let boxes = |workers: usize| -> Vec<(usize, Rect)> {
        let analysed = analysed((0..workers).map(|_| moving()).collect()).unwrap();
        let boxes = analysed.followed.tracks.iter().flat_map(|t| &t.boxes);
        boxes.map(|b| (b.frame, b.rect)).collect()
    };
    let one = boxes(1);
    assert_eq!(one.len() as u64, FRAMES);
    assert_eq!(boxes(3), one);
}

/// How often a detector was asked, by what it was asked with.
fn looks(path: &Path, speed: Speed) -> (u64, u64, Analysed) {
    let (asked, second) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (asked_in, second_in) = (Arc::clone(&asked), Arc::clone(&second));
    let detector = ScriptedDetector(move |_: &Frame, _: Orientation, passes: &[Pass]| {
        asked_in.fetch_add(1, Ordering::Relaxed);
        let looked = passes.iter().any(Pass::asks_second);
        second_in.fetch_add(u64::from(looked), Ordering::Relaxed);
        Ok(Finding::default())
    });
    let analysed = analysed_with(path, vec![Box::new(detector)], speed, None).unwrap();
    (asked.load(Ordering::Relaxed), second.load(Ordering::Relaxed), analysed)
}

#[test]
fn fast_skips_frames_at_most_100_ms_apart_and_they_count_as_analysed() {
    let (_dir, path) = clip("");
    let (asked, second, fast) = looks(&path, Speed::Fast);
    assert!(asked < FRAMES * 3 / 4, "{asked} frames were looked at");
    assert!(second >= 1);
    assert!(fast.plan.iter().all(|frame| frame.covered == Covered::Regions(0)));
    let (_dir, slow) = clip("-r 12");
    let (asked, _, analysed) = looks(&slow, Speed::Fast);
    assert_eq!(asked, analysed.times.len() as u64, "at 12 frames a second all are looked at");
}

/// Frames that detectors looked at, when `faces` says where there are any.
fn looked_at(
    speed: Speed,
    faces: impl Fn(u64) -> Vec<f32> + Clone + Send + 'static,
) -> (Vec<u64>, Analysed) {
    let (_dir, path) = clip("");
    let looked = Arc::new(Mutex::new(Vec::new()));
    let detectors = (0..2).map(|_| {
        let (looked, faces) = (Arc::clone(&looked), faces.clone());
        Box::new(ScriptedDetector(move |frame: &Frame, _: Orientation, _: &[Pass]| {
            looked.lock().unwrap().push(frame.seq);
            let faces = faces(frame.seq).into_iter().map(face).collect();
            Ok(Finding { faces, ..Finding::default() })
        })) as Box<dyn Detector>
    });
    let analysed = analysed_with(&path, detectors.collect(), speed, None).unwrap();
    let mut looked = looked.lock().unwrap().clone();
    looked.sort_unstable();
    (looked, analysed)
}

#[test]
fn balanced_looks_at_every_frame_where_anything_moves() {
    let walks = |seq| vec![100.0 + 8.0 * seq as f32];
    assert_eq!(looked_at(Speed::Balanced, walks).0, (0..FRAMES).collect::<Vec<_>>());
}

#[test]
fn where_nothing_changes_every_second_frame_is_held_until_something_does() {
    for stays in [vec![], vec![100.0]] {
        let others = stays.clone();
        let come = move |seq| {
            let more = (seq >= 39).then_some(250.0);
            others.iter().copied().chain(more).collect::<Vec<f32>>()
        };
        let (looked, analysed) = looked_at(Speed::Balanced, come.clone());
        // 32 frames in which nothing changes, some with every second one held, and from the new face on
        // (and the frame before, which was held) all again.
        let want: Vec<u64> = (0..32).chain([33, 35, 37]).chain(38..FRAMES).collect();
        assert_eq!(looked, want, "{stays:?}");
        assert!(analysed.plan.iter().all(|frame| !matches!(frame.covered, Covered::All(_))));
        let (looked, _) = looked_at(Speed::Thorough, come);
        assert_eq!(looked.len() as u64, FRAMES, "thorough looks at all");
    }
}

#[test]
fn a_short_video_is_kept_and_a_long_one_is_not() {
    let (_dir, path) = clip("");
    let kept = |memory| {
        let reader = Reader::open(&path, Streams::Video, false).unwrap();
        let (gallery, rules, policy) =
            (Gallery::default(), identify::Rules::default(), Policy::default());
        let analyst = Analyst {
            speed: Speed::Balanced,
            gallery: &gallery,
            recognizer: None,
            ranked: 1,
            rules: &rules,
            policy: &policy,
            memory,
        };
        let detector: Box<dyn Detector> = Box::new(scripted::detector(|_| vec![]));
        analyse(reader, vec![detector], &analyst, &mut |_| {}).unwrap().kept
    };
    let frames = kept(1 << 30).expect("there is room");
    assert!(frames.iter().map(|d| d.frame.seq).eq(0..FRAMES), "all of them, in order");
    assert!(kept(1 << 20).is_none());
}

#[test]
fn frames_that_did_not_decode_are_not_looked_at_and_covered_whole() {
    let (dir, path) = clip("-g 15 -bf 0");
    let mut bytes = std::fs::read(&path).unwrap();
    // The middle of the picture data, which comes first in the file.
    let end = bytes.windows(4).position(|w| w == b"moov").unwrap();
    bytes[end * 4 / 10..end * 5 / 10].fill(0);
    let hole = dir.path().join("hole.mp4");
    std::fs::write(&hole, bytes).unwrap();
    let (asked, _, analysed) = looks(&hole, Speed::Balanced);
    let whole =
        analysed.plan.iter().filter(|f| f.covered == Covered::All(Reason::Damaged)).count() as u64;
    assert!(whole > 0 && whole < FRAMES / 2, "{whole} frames");
    assert_eq!(asked + whole, analysed.times.len() as u64);
    assert_eq!(analysed.stats.damaged, whole);
}

#[test]
fn a_face_is_not_followed_across_a_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.mp4");
    ffmpeg(
        "-f lavfi -i color=navy:s=320x180:r=30:d=0.7 -f lavfi -i testsrc2=s=320x180:r=30:d=0.8 \
         -filter_complex [0][1]concat=n=2",
        &path,
    );
    let detector = scripted::detector(|seq| if seq < 21 { vec![face(100.0)] } else { vec![] });
    let analysed = analysed_with(&path, vec![Box::new(detector)], Speed::Balanced, None).unwrap();
    assert!(analysed.cuts.contains(&21), "cuts at {:?}", analysed.cuts);
    let covered: Vec<bool> =
        analysed.plan.iter().map(|f| f.covered != Covered::Regions(0)).collect();
    assert!(covered[..21].iter().all(|c| *c), "up to the cut");
    assert!(covered[21..].iter().all(|c| !*c), "after the cut: {covered:?}");
}

/// The man enrolled is person 7.
fn gallery() -> Gallery {
    let person = Person { name: "me".to_owned() };
    let photos = vec![("me.jpg".to_owned(), scripted::embedding(7))];
    Gallery::enrol(vec![Group { person, photos }]).unwrap()
}

/// With two faces in view: person 7 on the left, `right` on the right.
fn with_two_people(right: usize) -> Analysed {
    let (_dir, path) = clip("");
    let detector = scripted::detector(|_| vec![face(40.0), face(220.0)]);
    let recognizer = ScriptedRecognizer(move |_: &Frame, _: Orientation, face: &Detection| {
        Ok(scripted::embedding(if face.rect.x0 < 160.0 { 7 } else { right }))
    });
    let gallery = gallery();
    let kept = Some((&gallery, Box::new(recognizer) as Box<dyn Recognizer>));
    analysed_with(&path, vec![Box::new(detector)], Speed::Balanced, kept).unwrap()
}

#[test]
fn only_the_kept_persons_face_is_left_uncovered() {
    let analysed = with_two_people(8);
    for (i, time) in analysed.times.iter().enumerate() {
        let plan = analysed.plan.for_frame(i as u64, *time, analysed.plan.size());
        let Cover::Regions(regions) = plan.cover() else { panic!("frame {i} is covered whole") };
        assert_eq!(regions.len(), 1, "frame {i}");
        assert!(regions[0].rect.x0 > 160.0, "frame {i}: the wrong one is covered");
    }
}

#[test]
fn a_recogniser_that_fails_gives_no_plan() {
    let (_dir, path) = clip("");
    let detector = scripted::detector(|_| vec![face(40.0)]);
    let recognizer = ScriptedRecognizer(|_: &Frame, _: Orientation, _: &Detection| Err(failure()));
    let gallery = gallery();
    let kept = Some((&gallery, Box::new(recognizer) as Box<dyn Recognizer>));
    let error = why(analysed_with(&path, vec![Box::new(detector)], Speed::Balanced, kept));
    assert!(error.contains("scripted failure"), "{error}");
}

#[test]
fn a_face_that_cannot_be_aligned_stays_covered() {
    let (_dir, path) = clip("");
    let detector = scripted::detector(|_| vec![face(40.0)]);
    let recognizer = ScriptedRecognizer(|_: &Frame, _: Orientation, _: &Detection| {
        Err(vision::Error::BadLandmarks)
    });
    let gallery = gallery();
    let kept = Some((&gallery, Box::new(recognizer) as Box<dyn Recognizer>));
    let analysed = analysed_with(&path, vec![Box::new(detector)], Speed::Balanced, kept).unwrap();
    assert!(analysed.plan.iter().all(|f| f.covered == Covered::Regions(1)));
}
