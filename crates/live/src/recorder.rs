//! The recording of a session: every segment is an object as soon as it is complete, so that a server that dies
//! loses at most the one under way. What they are put together to is made later, of the objects alone.

use bytes::{Bytes, BytesMut};
use store::{Object, ObjectPath, Objects};
use tokio::sync::{mpsc, watch};

/// Objects that wait to be stored, at most: a minute of segments.
const MAX_WAITING: usize = 30;
/// Largest segment.
const MOST: usize = 64 << 20;

/// Name of a header: `init-{number}.mp4`, by ten digits.
fn header_name(number: u64) -> String {
    format!("init-{number:010}.mp4")
}

/// Name of a segment: its number, that of its header, and how many ticks of 1/90000 s it is long. The names alone
/// tell how a recording goes.
fn segment_name(segment: Segment) -> String {
    let Segment { number, header, ticks } = segment;
    format!("seg-{number:010}-{header:010}-{ticks}.m4s")
}

/// What the name of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// Its place in the recording.
    pub number: u64,
    /// The header that it needs: `init-{header}.mp4`, by ten digits.
    pub header: u64,
    /// How long it is, in ticks of 1/90000 s.
    pub ticks: u64,
}

impl Segment {
    /// Reads the name of an object of a recording; `None`: it is no segment.
    pub fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("seg-")?.strip_suffix(".m4s")?;
        let mut numbers = rest.split('-').map(|number| number.parse::<u64>().ok());
        let segment =
            Self { number: numbers.next()??, header: numbers.next()??, ticks: numbers.next()?? };
        (numbers.next().is_none() && segment_name(segment) == name).then_some(segment)
    }

    /// The object of its header.
    pub fn header_name(&self) -> String {
        header_name(self.header)
    }

    /// Its object.
    pub fn name(&self) -> String {
        segment_name(*self)
    }
}

/// Name of a list of people: `people-{segment}-{number}.txt`, from which segment on it is good.
fn people_name(segment: u64, number: u64) -> String {
    format!("people-{segment:010}-{number:010}.txt")
}

/// What an object of a recording is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// A header, by its number.
    Header(u64),
    /// A segment.
    Segment(Segment),
    /// Ids of people who may be seen, one a line.
    People {
        /// From this segment on.
        segment: u64,
        /// Its place among the lists.
        number: u64,
    },
}

impl Recorded {
    /// Reads the name of an object; `None`: it is none of a recording.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(segment) = Segment::parse(name) {
            return Some(Self::Segment(segment));
        }
        if let Some(number) = name.strip_prefix("init-").and_then(|n| n.strip_suffix(".mp4")) {
            let number = number.parse().ok()?;
            return (header_name(number) == name).then_some(Self::Header(number));
        }
        let rest = name.strip_prefix("people-")?.strip_suffix(".txt")?;
        let (segment, number) = rest.split_once('-')?;
        let (segment, number) = (segment.parse().ok()?, number.parse().ok()?);
        (people_name(segment, number) == name).then_some(Self::People { segment, number })
    }
}

/// An object that is to be stored.
struct Waiting {
    name: String,
    bytes: Bytes,
    /// Of a segment; 0: it is none.
    ticks: u64,
}

/// How much was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long they are, in ticks of 1/90000 s.
    pub ticks: u64,
    /// Why it does not go on.
    pub failed: Option<String>,
}

/// Records one session. It is in the way of nothing: what cannot be stored ends the recording, not the broadcast.
pub(crate) struct Recorder {
    /// `None`: it failed.
    to: Option<mpsc::Sender<Waiting>>,
    progress: watch::Receiver<Progress>,
    next: u64,
    headers: u64,
    lists: u64,
    open: BytesMut,
    ticks: u64,
}

impl Recorder {
    /// Stores in `folder`, going on behind what is there.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) async fn open(objects: Objects, folder: ObjectPath) -> Result<Self, store::Error> {
        let (mut next, mut headers, mut lists) = (0, 0, 0);
        let mut done = Progress::default();
        for object in all(&objects, &folder).await? {
            // A server that died may have left a header or a list without the segment they were for.
            match Recorded::parse(object.path.base()) {
                Some(Recorded::Segment(segment)) => {
                    next = next.max(segment.number + 1);
                    done.segments += 1;
                    done.ticks += segment.ticks;
                    done.bytes += object.size;
                }
                Some(Recorded::Header(number)) => headers = headers.max(number + 1),
                Some(Recorded::People { number, .. }) => lists = lists.max(number + 1),
                None => {}
            }
        }
        let (to, waiting) = mpsc::channel(MAX_WAITING);
        let (told, progress) = watch::channel(done);
        tokio::spawn(store_all(objects, folder, waiting, told));
        Ok(Self { to: Some(to), progress, next, headers, lists, open: BytesMut::new(), ticks: 0 })
    }

    /// What follows needs this header.
    pub(crate) fn header(&mut self, bytes: Bytes) {
        self.complete();
        self.put(header_name(self.headers), bytes, 0);
        self.headers += 1;
    }

    /// A part of the broadcast.
    pub(crate) fn part(&mut self, starts_segment: bool, ticks: u64, bytes: &Bytes) {
        if starts_segment {
            self.complete();
        }
        // What does not begin with a key frame, or grows without end, is not recorded.
        let begins = starts_segment || self.ticks > 0;
        if self.headers > 0 && begins && self.open.len() + bytes.len() <= MOST {
            self.open.extend_from_slice(bytes);
            self.ticks += ticks;
        }
    }

    /// The segment under way is complete.
    pub(crate) fn complete(&mut self) {
        if self.ticks == 0 {
            return;
        }
        let segment = Segment { number: self.next, header: self.headers - 1, ticks: self.ticks };
        let bytes = self.open.split().freeze();
        self.put(segment_name(segment), bytes, self.ticks);
        self.next += 1;
        self.ticks = 0;
    }

    /// Who may be seen from here on, by their ids.
    pub(crate) fn people(&mut self, ids: &[String]) {
        let text = ids.join("\n");
        self.put(people_name(self.next, self.lists), text.into(), 0);
        self.lists += 1;
    }

    fn put(&mut self, name: String, bytes: Bytes, ticks: u64) {
        let Some(to) = &self.to else { return };
        // What comes after a hole cannot be put together with what was before.
        if to.try_send(Waiting { name, bytes, ticks }).is_err() {
            self.to = None;
        }
    }

    /// Why it does not go on, if so.
    pub(crate) fn failed(&self) -> Option<String> {
        let failed = self.progress.borrow().failed.clone();
        let slow = || "the store does not keep up with the broadcast".to_owned();
        failed.or_else(|| self.to.is_none().then(slow))
    }

    /// How much is stored.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until all is stored; says how much that is.
    pub(crate) async fn finish(mut self) -> Progress {
        self.complete();
        let failed = self.failed();
        self.to = None;
        // Its sender goes when all is done.
        while self.progress.changed().await.is_ok() {}
        let done = self.progress();
        Progress { failed: failed.or(done.failed), ..done }
    }
}

/// Objects that are listed at once.
const PAGE: usize = 1000;

/// Everything in the folder of a recording.
///
/// # Errors
/// When it cannot be read.
pub async fn all(objects: &Objects, folder: &ObjectPath) -> Result<Vec<Object>, store::Error> {
    let mut found: Vec<Object> = Vec::new();
    loop {
        let after = found.last().map(|object| &object.path);
        let page = objects.list(Some(folder), after, PAGE).await?;
        let is_last = page.len() < PAGE;
        found.extend(page);
        if is_last {
            return Ok(found);
        }
    }
}

async fn store_all(
    objects: Objects,
    folder: ObjectPath,
    mut waiting: mpsc::Receiver<Waiting>,
    told: watch::Sender<Progress>,
) {
    while let Some(Waiting { name, bytes, ticks }) = waiting.recv().await {
        let size = bytes.len() as u64;
        let stored = match folder.join(&name) {
            Ok(path) => objects.put_new(&path, bytes).await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) if ticks == 0 => {}
            Ok(()) => told.send_modify(|progress| {
                progress.segments += 1;
                progress.bytes += size;
                progress.ticks += ticks;
            }),
            Err(error) => return told.send_modify(|p| p.failed = Some(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_how_a_recording_goes() {
        let segment = Segment { number: 12, header: 1, ticks: 180_180 };
        assert_eq!(segment.name(), "seg-0000000012-0000000001-180180.m4s");
        assert_eq!(Segment::parse(&segment.name()), Some(segment));
        for no in ["seg-1-2-3.m4s", "seg-0000000012-0000000001-.m4s", "init-0000000001.mp4", ""] {
            assert_eq!(Segment::parse(no), None, "{no}");
        }
        for (name, recorded) in [
            (segment.name(), Some(Recorded::Segment(segment))),
            (segment.header_name(), Some(Recorded::Header(1))),
            (people_name(12, 3), Some(Recorded::People { segment: 12, number: 3 })),
            ("people-12-3.txt".to_owned(), None),
            ("init-1.mp4".to_owned(), None),
            ("video.mp4".to_owned(), None),
        ] {
            assert_eq!(Recorded::parse(&name), recorded, "{name}");
        }
    }

    #[tokio::test]
    async fn a_recording_goes_on_behind_what_a_server_left_that_died_before_its_first_segment() {
        let dir = std::env::temp_dir().join(format!("garim-recorder-{}", std::process::id()));
        let objects = Objects::open(&store::Place::Folder(dir.clone())).unwrap();
        let folder: ObjectPath = "vod/mina/202611251405-x".parse().unwrap();
        let mut first = Recorder::open(objects.clone(), folder.clone()).await.unwrap();
        first.people(&["a".to_owned()]);
        first.header(Bytes::from_static(b"header"));
        assert_eq!(first.finish().await, Progress::default());
        let mut second = Recorder::open(objects.clone(), folder.clone()).await.unwrap();
        second.people(&["a".to_owned()]);
        second.header(Bytes::from_static(b"header"));
        second.part(true, 100, &Bytes::from_static(b"part"));
        let done = Progress { segments: 1, bytes: 4, ticks: 100, failed: None };
        assert_eq!(second.finish().await, done);
        let names: Vec<_> = all(&objects, &folder).await.unwrap();
        let names: Vec<_> = names.iter().map(|object| object.path.base().to_owned()).collect();
        std::fs::remove_dir_all(dir).unwrap();
        let segment = Segment { number: 0, header: 1, ticks: 100 };
        let want =
            [header_name(0), header_name(1), people_name(0, 0), people_name(0, 1), segment.name()];
        assert_eq!(names, want);
    }
}
