//! One session to which one publisher after the other comes, each with something that encoders and networks do. The
//! broadcast goes on, in one piece, with sound and picture together, and no stranger in any picture.

use serde_json::{Value, json};

use crate::support::broadcast::{CLIP, LIVE, Publisher, Seen, Sight, Viewer, start};
use crate::support::live::{Service, until};
use crate::support::pixels::Rect;
use crate::support::rtmp::{Sender, Tag, tags};
use crate::support::server::signal;
use crate::support::{Scratch, tool};

/// Farther apart sound and picture are not together (ITU-R BT.1359: 45 ms), in seconds.
const TOGETHER: f64 = 0.040;
/// Samples of sound a second.
const RATE: usize = 48_000;

/// How a picture lies in the pictures of the broadcast, which are those of the clip.
#[derive(Clone, Copy)]
enum Shape {
    /// The same size.
    Same,
    /// Less wide, with both of them.
    Narrow,
    /// Upright, with him alone: a phone that was turned.
    Upright,
}

impl Shape {
    /// Width, and what is cut off at the left of the clip, as the filters of ffmpeg want it.
    const fn cut(self) -> (usize, usize) {
        match self {
            Self::Same => (640, 0),
            Self::Narrow => (400, 130),
            Self::Upright => (160, 400),
        }
    }

    const fn left(self) -> usize {
        (640 - self.cut().0) / 2
    }

    /// How far to the right of where it is in the clip something is then.
    const fn moved(self) -> isize {
        self.left() as isize - self.cut().1 as isize
    }

    /// Where the light is that flashes with each tone: on his side, where no cover stays.
    fn spot(self) -> Rect {
        Rect::new(self.left() + self.cut().0 - 24, 8, 16, 16)
    }
}

/// Two people side by side. Each second there is a tone for a quarter of it, and a light in the corner.
fn make_clip(s: &Scratch, name: &str, shape: Shape, encoding: &str) {
    let (width, x) = shape.cut();
    let now = "lt(mod(t\\,1)\\,0.25)";
    s.ffmpeg(&format!(
        "-ss 6 -t 12 -i @made/two_people.mp4 \
         -f lavfi -t 12 -i aevalsrc=exprs=0.5*sin(2*PI*1000*t)*{now}:sample_rate={RATE} \
         -vf scale=640:240,fps=25,crop={width}:240:{x}:0,setpts=PTS-STARTPTS,\
         drawbox=x=iw-32:w=32:h=32:color=black:t=fill,\
         drawbox=x=iw-32:w=32:h=32:color=white:t=fill:enable={now} \
         -map 0:v -map 1:a -c:v libx264 -preset ultrafast -crf 14 -pix_fmt yuv420p -g 25 {encoding} \
         -c:a aac {name}"
    ));
}

/// The session, who watches it, and how it has to look to them.
struct Show<'a> {
    s: &'a Scratch,
    service: &'a Service<'a>,
    channel: String,
    url: String,
    viewer: Viewer<'a>,
}

/// What is done to a publisher in the middle.
type Fault<'a, P> = dyn Fn(&mut Show<'a>, &P);

impl<'a> Show<'a> {
    fn channel(&self) -> Value {
        self.service.get(&self.channel).is(200).json()
    }

    /// What the picture was blocked by so far.
    fn blocked(&self) -> Vec<String> {
        let events = self.service.get("/v1/events?limit=100").is(200).json();
        let events = events["items"].as_array().unwrap().iter();
        let blocked = events.filter(|event| event["type"] == "garim.protection.blocked");
        blocked.map(|event| event["data"]["reason"].as_str().unwrap().to_owned()).collect()
    }

    /// Watches until `is` takes what was seen from picture `from` on.
    fn watch(&mut self, from: usize, is: impl Fn(&[Seen]) -> bool) {
        until(|| {
            self.viewer.look(self.service);
            let seen = &self.viewer.pictures[from..];
            if is(seen) { Ok(()) } else { Err(self.wrong(seen)) }
        });
    }

    fn wrong(&self, seen: &[Seen]) -> String {
        let of = |is: &dyn Fn(&Seen) -> bool| seen.iter().filter(|picture| is(picture)).count();
        let him = of(&|picture| picture.him == Sight::Face);
        let lit: Vec<_> = (0..3).map(|n| flashes(seen, n)).collect();
        format!("{} pictures, he is in {him}, flashes {lit:?}: {}", seen.len(), self.channel())
    }

    /// Waits until the database says so of the channel, while it is watched.
    fn until_channel(&mut self, what: &str, state: &str) {
        until(|| {
            self.viewer.look(self.service);
            let channel = self.channel();
            if channel[what]["state"] == state { Ok(()) } else { Err(format!("{channel:#}")) }
        });
    }

    /// A publisher that is watched until it was seen for long enough, and again after `fault`.
    fn stage<P>(
        &mut self,
        name: &str,
        shape: Shape,
        publish: impl FnOnce(&Scratch, &str) -> P,
        fault: Option<&Fault<'a, P>>,
    ) {
        let begun = std::time::Instant::now();
        self.viewer.tape.clear();
        let from = self.viewer.pictures.len();
        let publisher = publish(self.s, &self.url);
        self.watch(from, |seen| is_shown(seen, shape, 3));
        if let Some(fault) = fault {
            fault(self, &publisher);
            let from = self.viewer.pictures.len();
            self.watch(from, |seen| is_shown(seen, shape, 2));
        }
        self.until_channel("ingest", "connected");
        self.until_channel("protection", "ok");
        assert_eq!(self.viewer.leaks(), 0, "{name}: she can be seen");
        assert_eq!(self.viewer.discontinuities, 1, "{name}: the header changed");
        if name != "no sound" {
            self.assert_together(name, shape, from);
        }
        let pictures = self.viewer.pictures[from..].len();
        eprintln!("{name}: {pictures} pictures, {:.1} s", begun.elapsed().as_secs_f64());
        // By SIGKILL, or without a word.
        drop(publisher);
    }

    /// Tones and flashes are together, of what is watched since picture `from` until there are two pairs of them.
    fn assert_together(&mut self, name: &str, shape: Shape, from: usize) {
        let mut off = self.apart(shape);
        while off.len() < 2 {
            let often = flashes(&self.viewer.pictures[from..], shape as usize) + 1;
            self.watch(from, |seen| is_shown(seen, shape, often));
            off = self.apart(shape);
        }
        eprintln!("{name}: sound is late by {off:.3?} s");
        // A picture that a busy machine leaves out makes one flash late. Clocks that are apart make all of them so.
        off.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        let middle = off[(off.len() - 1) / 2];
        assert!(middle.abs() <= TOGETHER, "{name}: {off:?}");
    }

    /// By how many seconds tones are late, for each flash since the stage began that has one.
    fn apart(&self, shape: Shape) -> Vec<f64> {
        self.s.write("tape.mp4", &self.viewer.tape);
        self.s.assert_plays("tape.mp4");
        let times: Vec<f64> = self.s.times("tape.mp4").iter().map(|at| at.as_f64()).collect();
        let seen = &self.viewer.pictures[self.viewer.pictures.len() - times.len()..];
        let lit: Vec<bool> = seen.iter().map(|picture| picture.bright[shape as usize]).collect();
        let begins = |n: &usize| !lit[*n] && lit[n + 1];
        let flashes = (0..lit.len() - 1).filter(begins).map(|n| times[n + 1]);
        let tones = tones(self.s, "tape.mp4");
        let mut off = Vec::new();
        for flash in flashes {
            let nearest = tones.iter().map(|tone| tone - flash);
            let nearest = nearest.min_by(|a, b| a.abs().total_cmp(&b.abs()));
            // Not the half of a pair that the change of publishers cut in two.
            off.extend(nearest.filter(|off| off.abs() < 0.3));
        }
        off
    }
}

/// How often the light of a shape went on.
fn flashes(seen: &[Seen], shape: usize) -> usize {
    seen.windows(2).filter(|two| !two[0].bright[shape] && two[1].bright[shape]).count()
}

fn is_shown(seen: &[Seen], shape: Shape, often: usize) -> bool {
    let him = seen.iter().filter(|picture| picture.him == Sight::Face).count();
    // He is seen where faces are looked for, so she would be, too.
    him >= 24 && flashes(seen, shape as usize) >= often
}

/// When tones begin in a file, in seconds of its clock.
fn tones(s: &Scratch, file: &str) -> Vec<f64> {
    let raw = tool(s.command(
        "ffmpeg",
        &format!("-v error -nostdin -i {file} -map 0:a -f s16le -ac 1 -ar {RATE} -"),
    ));
    let begin = s.packets(file, "a:0")[0].pts.as_f64();
    let samples = raw.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]]));
    let loud: Vec<usize> =
        samples.enumerate().filter(|(_, level)| level.abs() > 4000).map(|(n, _)| n).collect();
    // Ten periods of silence are none of a tone.
    let begins = |two: &[usize]| (two[1] - two[0] > RATE / 100).then_some(two[1]);
    let begins = loud.windows(2).filter_map(begins);
    begins.map(|n| begin + n as f64 / RATE as f64).collect()
}

/// Tags with what comes at `from` ms or later changed.
fn after(tags: &[Tag], from: u32, change: impl Fn(&mut Tag)) -> Vec<Tag> {
    let mut tags = tags.to_vec();
    tags.iter_mut().filter(|tag| tag.due >= from).for_each(change);
    tags
}

fn damage(tag: &mut Tag) {
    if tag.is_picture() {
        // Behind the header of the message and the length and kind of the first NAL unit.
        tag.payload.iter_mut().skip(16).step_by(7).for_each(|byte| *byte ^= 0x5a);
    }
}

#[test]
fn whatever_publishers_do_viewers_have_one_broadcast_without_strangers() {
    let s = Scratch::new();
    make_clip(&s, CLIP, Shape::Same, "-bf 0");
    make_clip(&s, "bframes.mp4", Shape::Same, "-bf 3");
    make_clip(&s, "narrow.mp4", Shape::Narrow, "-bf 0");
    make_clip(&s, "upright.mp4", Shape::Upright, "-bf 0");
    let service = Service::start(&s, LIVE);
    service.enrol_man();
    let started = start(&service, Some("shop"));
    let mut viewer = Viewer::of(&s, &started);
    viewer.moved = vec![Shape::Narrow.moved(), Shape::Upright.moved()];
    viewer.spots = [Shape::Same, Shape::Narrow, Shape::Upright].map(Shape::spot).to_vec();
    let id = started["channel_id"].as_str().unwrap();
    let (channel, url) = (format!("/v1/channels/{id}"), started["source_url"].as_str().unwrap());
    let mut show = Show { s: &s, service: &service, channel, url: url.to_owned(), viewer };
    let show = &mut show;
    let flv = |name: &str| {
        s.ffmpeg(&format!("-i {name} -c copy sent.flv"));
        tags(&s.read("sent.flv"))
    };
    let clip = flv(CLIP);

    let plain = |s: &Scratch, url: &str| Publisher::start(s, url);
    show.stage("plain", Shape::Same, plain, None);
    show.stage("B-frames", Shape::Same, |s, url| Publisher::of(s, "-re -i bframes.mp4", url), None);
    show.stage(
        "sound two seconds before the picture",
        Shape::Same,
        |s, url| {
            let inputs = format!("-re -itsoffset 2 -i {CLIP} -re -i {CLIP} -map 0:v -map 1:a");
            Publisher::of(s, &inputs, url)
        },
        None,
    );
    show.stage(
        "no sound",
        Shape::Same,
        |s, url| Publisher::of(s, &format!("-re -i {CLIP} -an"), url),
        None,
    );
    let freeze = |show: &mut Show<'_>, publisher: &Publisher| {
        signal(publisher.id(), "STOP");
        show.until_channel("ingest", "starved");
        // The slate came.
        let from = show.viewer.pictures.len();
        show.watch(from, |seen| seen.iter().filter(|p| p.him != Sight::Face).count() >= 24);
        signal(publisher.id(), "CONT");
    };
    show.stage("frozen", Shape::Same, plain, Some(&freeze));
    show.stage(
        "less wide",
        Shape::Narrow,
        |s, url| Publisher::of(s, "-re -i narrow.mp4", url),
        None,
    );

    let turned = flv("upright.mp4").into_iter().map(|tag| Tag {
        due: tag.due + 2000,
        ms: tag.ms + 2000,
        ..tag
    });
    let turned: Vec<Tag> =
        clip.iter().filter(|tag| tag.due < 2000).cloned().chain(turned).collect();
    show.stage("turned while it sends", Shape::Upright, |_, url| Sender::start(url, turned), None);

    let jumps = after(&clip, 1500, |tag| tag.ms += 3_600_000);
    let jumps = after(&jumps, 2500, |tag| tag.ms -= 1_800_000);
    show.stage("jumps of time", Shape::Same, |_, url| Sender::start(url, jumps), None);

    let mut damaged = after(&clip, 3000, damage);
    let whole = clip.iter().filter(|tag| tag.due >= 5000);
    damaged.retain(|tag| tag.due < 5000);
    damaged.extend(whole.cloned());
    let blocked = |show: &mut Show<'_>, _: &Sender| {
        until(|| match show.blocked() {
            reasons if reasons.contains(&"damaged".to_owned()) => Ok(()),
            reasons => Err(format!("blocked by {reasons:?}")),
        });
    };
    show.stage("damaged", Shape::Same, |_, url| Sender::start(url, damaged), Some(&blocked));

    service.post("/v1/live/stop", &json!({"channel_id": id})).is(200);
    show.viewer.look(&service);
    assert!(show.viewer.ended);
    assert_eq!(show.viewer.leaks(), 0);
    let ready = service.event("recording.ready");
    let video = ready["video"].as_str().unwrap();
    let video = service.get(&format!("/v1/videos/{video}")).is(200).json();
    service.watch(&video, "recorded.mp4");
    s.assert_plays("recorded.mp4");
    let seconds = ready["duration_ms"].as_f64().unwrap() / 1000.0;
    eprintln!("{seconds} s were recorded");
    assert!(seconds * 25.0 >= show.viewer.pictures.iter().filter(|p| p.published).count() as f64);
}
