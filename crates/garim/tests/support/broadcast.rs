//! A publisher and a viewer of a live channel: what the one sends, and what the other gets to see.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Scratch;
use super::live::{HER_FACE, HIS_FACE, Service, until};
use super::pixels::{COVERED, Luma, Rect, SHOWN, fine, left_of};

/// What is published: two people side by side for ten seconds, 640x240, again and again.
pub const CLIP: &str = "clip.mp4";

pub fn make_clip(s: &Scratch) {
    s.ffmpeg(&format!(
        "-ss 6 -t 10 -i @made/two_people.mp4 -vf scale=640:240 -c:v libx264 -preset ultrafast -crf 14 \
         -pix_fmt yuv420p -g 24 -bf 0 -c:a aac {CLIP}"
    ));
}

/// An encoder that publishes until it is dropped.
pub struct Publisher(Child);

impl Publisher {
    pub fn start(s: &Scratch, url: &str) -> Self {
        Self::of(s, &format!("-re -stream_loop -1 -i {CLIP}"), url)
    }

    /// Sends what `inputs` of ffmpeg are, as they are.
    pub fn of(s: &Scratch, inputs: &str, url: &str) -> Self {
        let mut command =
            s.command("ffmpeg", &format!("-v error -nostdin {inputs} -c copy -f flv {url}"));
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Publisher {
    /// By SIGKILL: nothing is said to the server.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What an encoder that is turned away says.
pub fn turned_away(s: &Scratch, url: &str) -> String {
    let args = format!("-v error -nostdin -re -i {CLIP} -c copy -f flv {url}");
    let ran = s.command("ffmpeg", &args).output().unwrap();
    assert!(!ran.status.success(), "it was let in");
    String::from_utf8_lossy(&ran.stderr).into_owned()
}

/// Starts a channel; gives what the server says.
pub fn start(service: &Service<'_>, collection: Option<&str>) -> Value {
    let body = json!({"user": "admin", "collection": collection});
    service.post("/v1/live/start", &body).is(200).json()
}

/// Stops a channel, as soon as the server can.
pub fn stop(service: &Service<'_>, started: &Value) {
    let stop = json!({"channel_id": started["channel_id"]});
    until(|| match service.post("/v1/live/stop", &stop) {
        answer if answer.status == 200 => Ok(()),
        answer => Err(answer.body),
    });
}

/// Watches until `is` says so of what was seen since the call.
pub fn watch_until(service: &Service<'_>, viewer: &mut Viewer<'_>, is: impl Fn(&[Seen]) -> bool) {
    let from = viewer.pictures.len();
    until(|| {
        viewer.look(service);
        let seen = &viewer.pictures[from..];
        if is(seen) {
            return Ok(());
        }
        let published = seen.iter().filter(|picture| picture.published).count();
        let channels = service.get("/v1/channels").body;
        Err(format!("{} pictures, {published} of them published: {channels}", seen.len()))
    });
}

/// Settings of a server for two channels.
pub const LIVE: &str = "[live]\nlisten = \"127.0.0.1:0\"\nslots = 2\n";

/// Six seconds of what is published.
pub fn is_published(seen: &[Seen]) -> bool {
    seen.iter().filter(|picture| picture.published).count() >= 144
}

/// He is seen for a second.
pub fn shows_him(seen: &[Seen]) -> bool {
    seen.iter().filter(|picture| picture.him == Sight::Face).count() >= 24
}

/// A picture that a viewer got.
pub struct Seen {
    /// When it was taken, by the server's clock.
    pub at: Timestamp,
    /// Whether it is as large as the publisher's: a slate before that is not.
    pub published: bool,
    pub her: Sight,
    pub him: Sight,
    /// Which of the spots are bright.
    pub bright: Vec<bool>,
}

/// What can be seen of a face, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    Nothing,
    /// Something of it, or of another picture.
    Doubtful,
    Face,
}

/// Somebody who watches a session, segment by segment.
pub struct Viewer<'a> {
    s: &'a Scratch,
    /// Fine structure of her face and of his, in pictures of the clip.
    her: Vec<Vec<f64>>,
    him: Vec<Vec<f64>>,
    folder: String,
    /// Segments that were looked at, by name.
    seen: BTreeMap<String, ()>,
    pub pictures: Vec<Seen>,
    pub ended: bool,
    headers: BTreeMap<String, Vec<u8>>,
    /// Changes of the header, of all that was watched.
    pub discontinuities: usize,
    /// How far to the right of where they are in the clip faces may be, besides.
    pub moved: Vec<isize>,
    /// Where something may light up.
    pub spots: Vec<Rect>,
    /// The segments that came since the test took them away, behind their header.
    pub tape: Vec<u8>,
}

impl<'a> Viewer<'a> {
    pub fn of(s: &'a Scratch, started: &Value) -> Self {
        let live = started["destination_url"]["live"].as_str().unwrap();
        let folder = live[live.find("/live/").unwrap()..].strip_suffix("index.m3u8").unwrap();
        // Neighbours look alike: every fourth is enough to know it again.
        let clip: Vec<Luma> = s.luma(CLIP).into_iter().step_by(4).collect();
        let of = |face: Rect| clip.iter().map(|picture| fine(picture, face)).collect();
        Self {
            s,
            her: of(HER_FACE),
            him: of(HIS_FACE),
            folder: folder.to_owned(),
            seen: BTreeMap::new(),
            pictures: Vec::new(),
            ended: false,
            headers: BTreeMap::new(),
            discontinuities: 0,
            moved: Vec::new(),
            spots: Vec::new(),
            tape: Vec::new(),
        }
    }

    /// Looks at all segments that came since the last time.
    pub fn look(&mut self, service: &Service<'_>) {
        let url = format!("{}media.m3u8", self.folder);
        let (status, text) = service.fetch(&url, None);
        if status == 404 {
            return; // Nothing was sent yet.
        }
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&text));
        let text = String::from_utf8(text).unwrap();
        self.ended = text.contains("#EXT-X-ENDLIST");
        let (mut header, mut at) = (String::new(), None);
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("#EXT-X-MAP:URI=\"") {
                header = rest.split('"').next().unwrap().to_owned();
            } else if let Some(rest) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
                at = Some(rest.parse().unwrap());
            } else if !line.starts_with('#') && !line.is_empty() && !self.seen.contains_key(line) {
                self.seen.insert(line.to_owned(), ());
                self.segment(service, &header, line, at.unwrap());
            }
        }
    }

    fn segment(&mut self, service: &Service<'_>, header: &str, name: &str, at: Timestamp) {
        let get = |name: &str| {
            let (status, bytes) = service.fetch(&format!("{}{name}", self.folder), None);
            assert_eq!(status, 200, "{name}");
            bytes
        };
        if !self.headers.contains_key(header) {
            self.discontinuities += usize::from(!self.headers.is_empty());
            self.headers.insert(header.to_owned(), get(header));
            self.tape.clear();
        }
        let media = get(name);
        if self.tape.is_empty() {
            self.tape.clone_from(&self.headers[header]);
        }
        self.tape.extend(&media);
        self.s.write("segment.mp4", [self.headers[header].as_slice(), &media].concat());
        self.pictures_of("segment.mp4", at);
    }

    /// Looks at all pictures of a file.
    pub fn watch_file(&mut self, name: &str) {
        self.pictures_of(name, Timestamp::UNIX_EPOCH);
    }

    fn pictures_of(&mut self, name: &str, at: Timestamp) {
        let pictures = self.s.luma(name);
        let each = jiff::SignedDuration::from_millis(2000 / pictures.len().max(1) as i64);
        for (n, picture) in (0..).zip(&pictures) {
            let is_clip = (picture.width, picture.height) == (640, 240);
            let (her, him) = if is_clip {
                (self.sight(&self.her, picture, HER_FACE), self.sight(&self.him, picture, HIS_FACE))
            } else {
                (Sight::Nothing, Sight::Nothing)
            };
            let bright =
                self.spots.iter().map(|spot| is_clip && is_bright(picture, *spot)).collect();
            self.pictures.push(Seen { at: at + each * n, published: is_clip, her, him, bright });
        }
    }

    /// The most that is left of a face wherever it may be.
    fn sight(&self, originals: &[Vec<f64>], picture: &Luma, face: Rect) -> Sight {
        let places = [0].iter().chain(&self.moved);
        let faces = places.map(|by| Rect { x: face.x.saturating_add_signed(*by), ..face });
        faces.map(|face| sight(originals, picture, face)).max().unwrap()
    }

    /// How often she could be seen, which she never may.
    pub fn leaks(&self) -> usize {
        self.pictures.iter().filter(|seen| seen.her == Sight::Face).count()
    }
}

fn is_bright(picture: &Luma, spot: Rect) -> bool {
    let rows = spot.y..spot.y + spot.height;
    let row = |y: usize| &picture.data[y * picture.width + spot.x..][..spot.width];
    let sum: usize = rows.flat_map(row).map(|pixel| usize::from(*pixel)).sum();
    sum > 128 * spot.width * spot.height
}

/// What is left of a face that is in one of `originals`.
fn sight(originals: &[Vec<f64>], picture: &Luma, face: Rect) -> Sight {
    let now = fine(picture, face);
    let left = originals.iter().map(|original| left_of(original, &now));
    let most = left.fold(f64::MIN, f64::max);
    if most > SHOWN {
        Sight::Face
    } else if most > COVERED {
        Sight::Doubtful
    } else {
        Sight::Nothing
    }
}
