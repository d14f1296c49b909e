//! A publisher and a viewer of a live channel: what the one sends, and what the other gets to see.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::process::{Child, Stdio};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::live::{HER_FACE, HIS_FACE, Service};
use crate::support::Scratch;
use crate::support::pixels::{COVERED, Luma, Rect, SHOWN, fine, left_of};

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
        let args = format!("-v error -nostdin -re -stream_loop -1 -i {CLIP} -c copy -f flv {url}");
        let mut command = s.command("ffmpeg", &args);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
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

/// A picture that a viewer got.
pub struct Seen {
    /// When it was taken, by the server's clock.
    pub at: Timestamp,
    pub her: Sight,
    pub him: Sight,
}

/// What can be seen of a face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    Face,
    /// Something of it, or of another picture.
    Doubtful,
    Nothing,
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
        }
        let file = [self.headers[header].as_slice(), &get(name)].concat();
        self.s.write("segment.mp4", file);
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
            let sight = |originals: &[Vec<f64>], face| {
                if is_clip { sight(originals, picture, face) } else { Sight::Nothing }
            };
            let (her, him) = (sight(&self.her, HER_FACE), sight(&self.him, HIS_FACE));
            self.pictures.push(Seen { at: at + each * n, her, him });
        }
    }

    /// How often she could be seen, which she never may.
    pub fn leaks(&self) -> usize {
        self.pictures.iter().filter(|seen| seen.her == Sight::Face).count()
    }
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
