//! The service while its processes are killed: nothing is lost, nothing is published twice, nothing is left behind.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::{Instant, SystemTime};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::live::{HER_FACE, HIS_FACE, Service, until};
use crate::support::pixels::assert_all_covered;
use crate::support::processes::{Worker, children, runs};
use crate::support::server::signal;
use crate::support::servers;
use crate::support::site::{Seeded, Site};
use crate::support::{FACE, Scratch};

/// Clients at once, each with one job after the other: more than there are workers, because some wait for a lease.
const CLIENTS: usize = 6;

#[test]
fn nothing_is_lost_or_done_twice_while_processes_are_killed_with_sqlite() {
    jobs_under_fire(&Scratch::new(), "");
}

#[test]
fn nothing_is_lost_or_done_twice_while_processes_are_killed_with_postgres() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(url) = runtime.block_on(servers::postgres()) else { return };
    let s = Scratch::new();
    s.write("database", url);
    let file = s.path("database");
    jobs_under_fire(&s, &format!("database_file = '{}'\n", file.display()));
}

/// `GARIM_CHAOS_JOBS` short videos are covered while the server and two workers are killed in turns as
/// `GARIM_CHAOS_SEED` says.
fn jobs_under_fire(s: &Scratch, settings: &str) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let count = u32::try_from(number("GARIM_CHAOS_JOBS").unwrap_or(40)).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("GARIM_CHAOS_SEED").unwrap_or(now.as_secs());
    eprintln!("GARIM_CHAOS_SEED={seed} GARIM_CHAOS_JOBS={count}");
    s.clip("", "-frames:v 8 in.mp4");
    let file = s.read("in.mp4");
    let site = Site::start(s, settings);
    let begun = Instant::now();
    let (running, over) = channel::<()>();
    let next = AtomicU32::new(0);
    let killed = std::thread::scope(|threads| {
        let killer = threads.spawn(|| site.kill(Seeded(seed), over));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                threads.spawn(|| {
                    let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                    for number in numbers.take_while(|number| *number < count) {
                        let job = site.cover(number, &file);
                        assert_eq!(job["state"]["name"], "done", "{job:#}");
                    }
                })
            })
            .collect();
        let ended: Vec<_> = clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        // Also when a client failed: the scope waits for the killer.
        drop(running);
        assert!(ended.iter().all(Result::is_ok), "a client failed");
        killer.join().unwrap()
    });
    eprintln!("{killed} processes killed in {:.1} s", begun.elapsed().as_secs_f64());
    assert!(killed > 0);
    every_job_is_done_once(&site, count);
    every_video_is_published_once(&site, s, count);
    nothing_is_left_of_other_attempts(s, count);
    site.stop();
    assert_eq!(files_below(&s.path("data/staging")), BTreeSet::new());
}

fn every_job_is_done_once(site: &Site, count: u32) {
    // The probes of the last uploads may be underway.
    let jobs = until(|| {
        let jobs = site.all("/v1/jobs");
        let is_over = |job: &&Value| !job["ended_at"].is_null();
        let left: Vec<_> = jobs.iter().filter(|job| !is_over(job)).cloned().collect();
        if left.is_empty() { Ok(jobs) } else { Err(format!("not over: {left:#?}")) }
    });
    let mut kinds = HashMap::<&str, u32>::new();
    let done = site.counted("job.done", "job");
    for job in &jobs {
        assert_eq!(job["state"]["name"], "done", "{job:#}");
        assert_eq!(done[job["id"].as_str().unwrap()], 1, "told twice: {job:#}");
        *kinds.entry(job["kind"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(kinds, HashMap::from([("mosaic", count), ("ingest", count)]));
    let again = jobs.iter().filter(|job| job["attempt"].as_i64().unwrap() > 1).count();
    eprintln!("{} jobs, {again} of them begun again", jobs.len());
}

fn every_video_is_published_once(site: &Site, s: &Scratch, count: u32) {
    let mut videos = site.all("/v1/videos");
    // Begun by a request that the server died over.
    videos.retain(|video| video["state"] != "uploading");
    assert_eq!(videos.len(), count as usize);
    let told = site.counted("video.published", "video");
    let (original, sound) = (s.luma("in.mp4"), s.packets("in.mp4", "a:0"));
    for video in &videos {
        let id = video["id"].as_str().unwrap();
        assert_eq!(told[id], 1, "{video:#}");
        assert!(!video["info"].is_null(), "never probed: {video:#}");
        let versions = site.get(&format!("/v1/videos/{id}/versions"));
        let [version] = &versions["items"].as_array().unwrap()[..] else { panic!("{versions:#}") };
        assert_eq!((&version["number"], &version["state"]), (&json!(1), &json!("published")));
        site.watch(video, "out.mp4");
        let covered = s.luma("out.mp4");
        assert_eq!(covered.len(), original.len());
        assert_all_covered(&original, &covered, FACE);
        assert_eq!(s.packets("out.mp4", "a:0"), sound);
    }
    let audit = site.get("/v1/audit/verify");
    assert_eq!(audit["whole"], true, "{audit:#}");
}

/// Attempts that were killed over storing their objects leave none, once they were looked for.
fn nothing_is_left_of_other_attempts(s: &Scratch, count: u32) {
    until(|| {
        let files = files_below(&s.path("data/objects/vod"));
        let folders: BTreeSet<_> = files.iter().map(|file| file.parent().unwrap()).collect();
        if folders.len() == count as usize { Ok(()) } else { Err(format!("{folders:#?}")) }
    });
}

/// Paths of the files below a folder.
fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = folder.read_dir().map(|entries| entries.map(|e| e.unwrap().path()));
    let look = |path: PathBuf| if path.is_dir() { files_below(&path) } else { [path].into() };
    entries.map(|paths| paths.flat_map(look).collect()).unwrap_or_default()
}

#[test]
fn a_job_whose_child_dies_in_every_attempt_fails_and_the_server_does_the_next() {
    let s = Scratch::new();
    let service = Service::start_as(&s, "[jobs]\nattempts = 3\n");
    let server = service.server.id();
    let path = order_long(&s, &service);
    let mut killed = BTreeSet::new();
    let job = until(|| {
        let job = service.get(&path).is(200).json();
        match job["state"]["name"].as_str().unwrap() {
            "running" => {
                killed.extend(children(server).into_iter().inspect(|c| signal(*c, "KILL")))
            }
            "failed" => return Ok(job),
            _ => {}
        }
        Err(format!("{job:#}"))
    });
    assert_eq!(job["state"]["failure"]["code"], "child_died", "{job:#}");
    let message = job["state"]["failure"]["message"].as_str().unwrap();
    assert!(message.contains("was killed by signal 9"), "{message}");
    assert_eq!((&job["attempt"], killed.len()), (&json!(3), 3), "{job:#}");
    s.clip("", "-frames:v 8 short.mp4");
    let video = service.upload(&s.read("short.mp4"), "");
    service.watch(&service.cover(&video, json!({})), "out.mp4");
    s.assert_covered("short.mp4", "out.mp4", FACE);
    assert!(children(server).is_empty());
}

#[test]
fn a_worker_that_is_stopped_hands_its_job_back_at_once_and_the_attempt_does_not_count() {
    let s = Scratch::new();
    // Nobody in this test waits until such a lease ends; and whose only attempt counted would do nothing any more.
    let settings = "[jobs]\nworkers = 0\nlease_seconds = 600\nattempts = 1\n";
    let service = Service::start_as(&s, settings);
    let first = Worker::start(&s, "first");
    let path = order_long(&s, &service);
    let child = child_at_work(&service, &path, &first);
    first.signal("TERM");
    assert_eq!(first.end(), Some(0));
    assert!(!runs(child), "the child was left behind");
    let job = service.get(&path).is(200).json();
    assert_eq!(job["state"]["name"], "queued", "{job:#}");
    assert!(time(&job["state"]["run_at"]) <= Timestamp::now(), "{job:#}");
    let _second = Worker::start(&s, "second");
    done_once(&s, &service, &path);
}

#[test]
fn a_worker_that_is_killed_takes_its_child_along_and_another_does_the_job_when_the_lease_ends() {
    let s = Scratch::new();
    let service = Service::start_as(&s, "[jobs]\nworkers = 0\nlease_seconds = 5\n");
    let first = Worker::start(&s, "first");
    let path = order_long(&s, &service);
    let child = child_at_work(&service, &path, &first);
    let _second = Worker::start(&s, "second");
    first.signal("KILL");
    until(|| {
        if runs(child) { Err("the child was left behind") } else { Ok(()) }.map_err(str::to_owned)
    });
    let job = service.get(&path).is(200).json();
    assert!(first.is(job["state"]["worker"].as_str().unwrap()), "{job:#}");
    assert_eq!(first.end(), None);
    let lease = time(&job["state"]["lease_until"]);
    let job = done_once(&s, &service, &path);
    assert!(time(&job["started_at"]) >= lease, "before {lease}: {job:#}");
}

/// Uploads a video that takes some seconds, and orders that it is covered once nothing else is done with it. Gives the
/// path of the job.
fn order_long(s: &Scratch, service: &Service) -> String {
    s.ffmpeg(
        "-ss 2 -t 16 -i @made/two_people.mp4 -vf scale=640:240 -c:v libx264 -preset ultrafast -c:a copy \
         long.mp4",
    );
    let video = service.upload(&s.read("long.mp4"), "");
    service.wait(&format!("/v1/jobs?video={video}"), |jobs| {
        jobs["items"].as_array().unwrap().iter().any(|job| job["state"]["name"] == "done")
    });
    let job = service.post(&format!("/v1/videos/{video}/mosaic"), &json!({})).is(202);
    job.header("location").to_owned()
}

/// The child of a worker that is doing a job.
fn child_at_work(service: &Service, path: &str, worker: &Worker) -> u32 {
    service.wait(path, |job| job["state"]["name"] == "running");
    until(|| match children(worker.id())[..] {
        [child] => Ok(child),
        ref children => Err(format!("children {children:?}")),
    })
}

/// A job that somebody else began ends well in its second attempt, and has published the video's first version.
fn done_once(s: &Scratch, service: &Service, path: &str) -> Value {
    let job = service.wait(path, |job| !job["ended_at"].is_null());
    assert_eq!((&job["state"]["name"], &job["attempt"]), (&json!("done"), &json!(2)), "{job:#}");
    let video = service.get(&format!("/v1/videos/{}", job["video"].as_str().unwrap())).json();
    assert_eq!(video["published"]["version"], 1, "{video:#}");
    service.watch(&video, "out.mp4");
    s.assert_covered("long.mp4", "out.mp4", HIS_FACE);
    s.assert_covered("long.mp4", "out.mp4", HER_FACE);
    job
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}
