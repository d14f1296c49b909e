//! Long videos are covered in parts, by as many workers as there are.

use serde_json::{Value, json};

use crate::support::live::{HER_FACE, HIS_FACE, Service, until};
use crate::support::processes::Worker;
use crate::support::{Scratch, tool};

/// Of the server: it does no jobs itself. Parts are two seconds long.
const PARTS: &str = "workers = 0\npart_seconds = 2\n";
/// Pictures in a group, and the groups in which nobody is: 3 of 8 seconds at 24 frames a second.
const GROUP: usize = 12;
const EMPTY: std::ops::Range<usize> = 6..12;

/// Eight seconds in groups of half a second: the two people for three, a wall with nobody for three, the two
/// people again for two; with a tone. One cut of the parts (at 2 s) is within a scene that shows them.
fn visit(s: &Scratch, name: &str) -> Vec<u8> {
    s.ffmpeg(&format!(
        "-ss 10 -t 5 -i @made/two_people.mp4 -f lavfi -t 3 -i testsrc2=s=640x240:r=24 -f lavfi -t 8 -i \
         sine=440:sample_rate=48000 -filter_complex \
         [0:v]fps=24,scale=640:240,setsar=1,split[x][y];[x]trim=end_frame=72[a];\
         [y]trim=start_frame=72:end_frame=120,setpts=PTS-STARTPTS[c];[1:v]setsar=1,format=yuv420p[b];\
         [a][b][c]concat=n=3,format=yuv420p[v] -map [v] -map 2:a -c:a aac -c:v libx264 -preset superfast \
         -crf 16 -x264-params keyint={GROUP}:min-keyint={GROUP}:scenecut=0:bframes=2 {name}"
    ));
    s.read(name)
}

/// How many parts a worker has begun.
fn begun(s: &Scratch, worker: &str) -> usize {
    let log = String::from_utf8(s.read(&format!("{worker}.log"))).unwrap();
    log.lines().filter(|line| line.contains("job started") && line.contains("_part")).count()
}

/// Whether a worker gave up doing it in parts.
fn did_it_alone(s: &Scratch, worker: &str) -> bool {
    String::from_utf8(s.read(&format!("{worker}.log"))).unwrap().contains("covered by one")
}

/// Hashes of the packets of the video in the groups with nobody.
fn untouched(s: &Scratch, file: &str) -> Vec<String> {
    let packets = s.packets(file, "v:0");
    let empty = EMPTY.start * GROUP..EMPTY.end * GROUP;
    packets[empty].iter().map(|packet| packet.hash.clone()).collect()
}

/// What goes from step to step is deleted with the job.
fn until_nothing_is_left(s: &Scratch) {
    let folder = s.path("data/objects/parts");
    until(|| {
        let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("these stayed: {left:?}")) }
    });
}

fn assert_as_one(s: &Scratch, file: &str) {
    assert_eq!(s.times(file), s.times("in.mp4"));
    let sound = |file| {
        let packets = s.packets(file, "a:0").into_iter();
        packets.map(|packet| (packet.pts, packet.hash)).collect::<Vec<_>>()
    };
    assert!(sound(file) == sound("in.mp4"), "the sound differs");
    assert_eq!(untouched(s, file), untouched(s, "in.mp4"), "not bit-exact");
    s.assert_plays(file);
}

/// The scenes with the two people, one after the other, as a file of their own.
fn scenes(s: &Scratch, file: &str) -> String {
    let name = format!("scenes-{file}");
    s.ffmpeg(&format!(
        "-i {file} -an -vf select=lt(n\\,72)+gte(n\\,144),setpts=N/24/TB -c:v libx264 -preset ultrafast -crf 8 {name}"
    ));
    name
}

#[test]
fn two_workers_make_the_same_file_as_one_and_leave_the_same_groups_untouched() {
    let s = Scratch::new();
    let file = visit(&s, "in.mp4");
    let service = Service::start_jobs(&s, PARTS);
    service.enrol_man();
    let id = service.upload(&file, "original c2VhbA==");
    let _first = Worker::start(&s, "first");
    let asked = json!({"collection": "shop", "crf": 12.0});
    let video = service.cover(&id, asked.clone());
    service.watch(&video, "one.mp4");
    assert_eq!(begun(&s, "first"), 8, "four parts were looked at and covered");
    let _second = Worker::start(&s, "second");
    until(|| match s.read("second.log").is_empty() {
        true => Err("the second worker did not start".to_owned()),
        false => Ok(()),
    });
    let video = service.cover(&id, asked);
    assert_eq!(video["published"]["version"], 2);
    service.watch(&video, "two.mp4");
    assert!(!did_it_alone(&s, "first") && !did_it_alone(&s, "second"));
    let begun = [begun(&s, "first"), begun(&s, "second")];
    assert!(begun[0] > 8 && begun[1] > 0 && begun[0] + begun[1] == 16, "{begun:?}");
    assert!(s.read("one.mp4") == s.read("two.mp4"), "two workers made another file");
    assert_as_one(&s, "one.mp4");
    let (before, after) = (scenes(&s, "in.mp4"), scenes(&s, "one.mp4"));
    s.assert_covered(&before, &after, HER_FACE);
    s.assert_shown(&before, &after, HIS_FACE);
    let report =
        service.get(&format!("/v1/videos/{id}/versions/2/files/report.json")).is(200).json();
    assert_eq!(report["rendering"]["mode"], "smart", "{report:#}");
    assert_eq!(report["frames"]["total"], 192);
    // They are followed over the seam at 2 s: two people before the wall and two after it.
    assert_eq!(report["tracks"].as_array().unwrap().len(), 4, "{report:#}");
    until_nothing_is_left(&s);
}

#[test]
fn one_process_makes_the_same_of_the_untouched_groups() {
    let s = Scratch::new();
    visit(&s, "in.mp4");
    s.mosaic("in.mp4", "");
    assert_as_one(&s, "out.mp4");
}

#[test]
fn who_withdraws_while_parts_are_covered_is_covered_in_the_end() {
    let s = Scratch::new();
    let file = visit(&s, "in.mp4");
    let service = Service::start_jobs(&s, PARTS);
    let man = service.enrol_man();
    let id = service.upload(&file, "original c2VhbA==");
    let _worker = Worker::start(&s, "worker");
    let work = json!({"options": {"people": [man]}});
    let job = service.post(&format!("/v1/videos/{id}/mosaic"), &work).is(202).json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    // Its second claim planned, and had the parts covered by a plan that shows him.
    service.wait(&path, |job| job["attempt"] == 2 && job["state"]["name"] == "waiting");
    service.post(&format!("/v1/people/{man}/withdraw"), &json!({"by": "Man"})).is(200);
    let job: Value = service.over(&job);
    assert_eq!(job["state"]["name"], "done", "{job:#}");
    assert!(!did_it_alone(&s, "worker"), "what was seen was still good");
    let video = service.get(&format!("/v1/videos/{id}")).is(200).json();
    assert_eq!(video["published"]["version"], 1);
    service.watch(&video, "out.mp4");
    let (before, after) = (scenes(&s, "in.mp4"), scenes(&s, "out.mp4"));
    s.assert_covered(&before, &after, HIS_FACE);
    s.assert_covered(&before, &after, HER_FACE);
    assert_as_one(&s, "out.mp4");
}

#[test]
fn cancelling_stops_the_parts_and_a_damaged_video_is_covered_by_one() {
    let s = Scratch::new();
    let mut file = visit(&s, "in.mp4");
    let service = Service::start_jobs(&s, PARTS);
    let id = service.upload(&file, "original c2VhbA==");
    let job = service.post(&format!("/v1/videos/{id}/mosaic"), &json!({})).is(202).json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let _worker = Worker::start(&s, "worker");
    service.wait(&path, |job| job["state"]["name"] == "waiting");
    service.post(&format!("{path}/cancel"), &json!({})).is(200);
    assert_eq!(service.over(&job)["state"]["name"], "cancelled");
    until_nothing_is_left(&s);
    assert_eq!(service.get("/v1/jobs?state=running").is(200).json()["items"], json!([]));

    // A slice of a picture is overwritten.
    let args = "-v error -select_streams v -show_entries packet=pos -of csv=p=0 in.mp4";
    let places = String::from_utf8(tool(s.command("ffprobe", args))).unwrap();
    let at: usize = places.lines().nth(30).unwrap().trim_matches(',').parse().unwrap();
    file[at + 20..at + 60].fill(0x55);
    let id = service.upload(&file, "original c2VhbA==");
    let video = service.cover(&id, json!({}));
    assert!(did_it_alone(&s, "worker"));
    service.watch(&video, "out.mp4");
    s.write("damaged.mp4", &file);
    assert_eq!(s.times("out.mp4"), s.times("in.mp4"));
    let report =
        service.get(&format!("/v1/videos/{id}/versions/1/files/report.json")).is(200).json();
    assert!(report["frames"]["covered_whole"].as_u64().unwrap() > 0, "{report:#}");
}
