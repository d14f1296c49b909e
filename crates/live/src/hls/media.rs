//! Media by its name.

use bytes::Bytes;

use super::Playlist;

/// What there is under a name. Media never changes: whoever has it may keep it for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// Here it is.
    Ready(Bytes),
    /// It is the part that comes next, or the first of the next segment: ask again after the next
    /// change of the playlist.
    Wait,
    /// It was there, and too long ago.
    Gone,
    /// There is no such thing.
    NotFound,
}

/// The name of an initialisation section.
pub(super) fn init_name(number: u64) -> String {
    format!("init-{number}.mp4")
}

/// The name of a segment.
pub(super) fn segment_name(msn: u64) -> String {
    format!("seg-{msn}.m4s")
}

/// The name of a part.
pub(super) fn part_name(msn: u64, part: usize) -> String {
    format!("part-{msn}.{part}.m4s")
}

/// What a name names.
enum Name {
    Init(u64),
    Segment(u64),
    Part(u64, u64),
}

impl Playlist {
    /// What there is under `name`, as it stands in the playlist.
    pub fn media(&self, name: &str) -> Media {
        match name.strip_prefix(self.prefix.as_str()).and_then(parse) {
            Some(Name::Init(number)) => self.init(number),
            Some(Name::Segment(msn)) => self.segment(msn),
            Some(Name::Part(msn, part)) => self.part_media(msn, part),
            None => Media::NotFound,
        }
    }

    fn init(&self, number: u64) -> Media {
        match self.inits.iter().find(|(kept, _)| *kept == number) {
            Some((_, init)) => Media::Ready(init.clone()),
            None if number < self.next_init => Media::Gone,
            None => Media::NotFound,
        }
    }

    /// A segment that is not complete is not listed under its name, so nobody asks for it.
    fn segment(&self, msn: u64) -> Media {
        if msn < self.first {
            return Media::Gone;
        }
        let whole = self.kept(msn).and_then(|segment| segment.whole.clone());
        whole.map_or(Media::NotFound, Media::Ready)
    }

    fn part_media(&self, msn: u64, part: u64) -> Media {
        if msn < self.first {
            return Media::Gone;
        }
        let parts = self.kept(msn).map_or(&[][..], |segment| &segment.parts);
        let index = usize::try_from(part).unwrap_or(usize::MAX);
        if let Some(part) = parts.get(index) {
            return Media::Ready(part.media.clone());
        }
        let comes_next = msn == self.complete() && index == parts.len();
        let starts_next = msn == self.complete() + 1 && index == 0;
        if !self.ended && (comes_next || starts_next) { Media::Wait } else { Media::NotFound }
    }

    fn kept(&self, msn: u64) -> Option<&super::Segment> {
        self.segments.get(usize::try_from(msn.checked_sub(self.first)?).ok()?)
    }
}

fn parse(name: &str) -> Option<Name> {
    if let Some(rest) = name.strip_prefix("init-") {
        return Some(Name::Init(number(rest.strip_suffix(".mp4")?)?));
    }
    let (kind, rest) = name.strip_suffix(".m4s")?.split_once('-')?;
    match kind {
        "seg" => Some(Name::Segment(number(rest)?)),
        "part" => {
            let (msn, part) = rest.split_once('.')?;
            Some(Name::Part(number(msn)?, number(part)?))
        }
        _ => None,
    }
}

/// A number in the only way in which it is written: a second name for the same bytes would be
/// kept twice by every cache.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let short = text == "0" || !text.starts_with('0');
    if plain && short { text.parse().ok() } else { None }
}
