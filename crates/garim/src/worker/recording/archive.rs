//! What is taken of the objects of a recording, and the playlist of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use live::{Recorded, Segment};
use pipeline::ArchiveMade;
use store::{Object, ObjectPath};

use crate::worker::Trouble;

/// Segments at most: two days and more. A playlist of them is as long as one may be.
const MAX_SEGMENTS: usize = 100_000;
/// Ticks of a second, by which segments are measured.
const TICKS: u64 = 90_000;

/// The objects of a recording that fit together.
#[derive(Debug)]
pub struct Taken {
    /// One after the other, without a hole.
    pub segments: Vec<(Segment, ObjectPath)>,
    headers: BTreeMap<u64, ObjectPath>,
    /// Who may be seen: all lists there are.
    pub lists: Vec<ObjectPath>,
    /// What is not there, for people.
    pub missing: Option<String>,
}

impl Taken {
    /// Of everything in the folder of a recording: the segments up to the first hole.
    ///
    /// # Errors
    /// There are none, or too many.
    pub fn of(objects: Vec<Object>) -> Result<Self, Trouble> {
        let (mut headers, mut lists) = (BTreeMap::new(), Vec::new());
        let mut numbered: BTreeMap<u64, (Segment, ObjectPath)> = BTreeMap::new();
        for Object { path, .. } in objects {
            match Recorded::parse(path.base()) {
                Some(Recorded::Header(number)) => drop(headers.insert(number, path)),
                Some(Recorded::People { .. }) => lists.push(path),
                // A server that had lost the channel may have gone on for a moment: the later header is that of
                // the one that had it.
                Some(Recorded::Segment(segment)) => {
                    let known = numbered.get(&segment.number);
                    if known.is_none_or(|(known, _)| known.header < segment.header) {
                        numbered.insert(segment.number, (segment, path));
                    }
                }
                None => {}
            }
        }
        let count = numbered.len();
        if count > MAX_SEGMENTS {
            let why =
                format!("has {count} segments, more than {MAX_SEGMENTS}; they stay where they are");
            return Err(Trouble::never("recording_too_long", why));
        }
        let first = numbered.keys().next().copied().unwrap_or_default();
        let segments: Vec<_> = numbered
            .into_values()
            .zip(first..)
            .take_while(|((segment, _), number)| {
                segment.number == *number && headers.contains_key(&segment.header)
            })
            .map(|(segment, _)| segment)
            .collect();
        if segments.is_empty() {
            return Err(Trouble::never(
                "nothing_recorded",
                "there is no segment that can be played",
            ));
        }
        let next = first + segments.len() as u64;
        let missing = if first > 0 {
            Some(format!("the first {first} segments are missing"))
        } else if segments.len() < count {
            Some(format!(
                "segment {next} is missing: {} after it are left out",
                count - segments.len()
            ))
        } else {
            None
        };
        Ok(Self { segments, headers, lists, missing })
    }

    /// The object of a header.
    ///
    /// # Errors
    /// There is none, which no segment in [`Taken::segments`] has.
    pub fn header(&self, number: u64) -> Result<&ObjectPath, Trouble> {
        let none = || Trouble::never("damaged", format!("header {number} is missing"));
        self.headers.get(&number).ok_or_else(none)
    }
}

/// A range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    at: u64,
    bytes: u64,
}

/// A segment in the file.
#[derive(Clone, Copy, Debug)]
struct Placed {
    place: Place,
    ticks: u64,
    /// Where its header is.
    header: Place,
    /// Whether the clock, or the format, is another than before.
    is_break: bool,
}

/// Segments and headers in one file, and where each is.
#[derive(Default)]
pub struct Archive {
    /// Bytes of the file.
    end: u64,
    headers: Vec<(Bytes, Place)>,
    /// That of the next segment, and whether it is the first behind it.
    header: Option<(Place, bool)>,
    segments: Vec<Placed>,
}

impl From<ArchiveMade> for Archive {
    fn from(made: ArchiveMade) -> Self {
        let header = Place { at: 0, bytes: made.header };
        let mut archive =
            Self { end: made.header, header: Some((header, true)), ..Self::default() };
        for (bytes, ticks) in made.segments {
            archive.segment(bytes, ticks);
        }
        archive
    }
}

impl Archive {
    /// What follows needs this header. Whether it is new, so that it is to be written at the end of the file.
    pub fn header(&mut self, header: &Bytes) -> bool {
        let known = self.headers.iter().find(|(bytes, _)| bytes == header);
        if let Some((_, place)) = known {
            self.header = Some((*place, true));
            return false;
        }
        let place = Place { at: self.end, bytes: header.len() as u64 };
        self.end += place.bytes;
        self.headers.push((header.clone(), place));
        self.header = Some((place, true));
        true
    }

    /// A segment was written at the end of the file. One without a header before it is left out.
    pub fn segment(&mut self, bytes: u64, ticks: u64) {
        let place = Place { at: self.end, bytes };
        self.end += bytes;
        if let Some((header, is_first)) = &mut self.header {
            let is_break = std::mem::take(is_first) && !self.segments.is_empty();
            self.segments.push(Placed { place, ticks, header: *header, is_break });
        }
    }

    /// All segments.
    fn all(&self) -> Stretch<'_> {
        Stretch(&self.segments)
    }

    /// How long it plays, in ticks of 1/90000 s.
    pub fn ticks(&self) -> u64 {
        self.all().ticks()
    }

    /// The playlist of it; `file` is the name of the file.
    pub fn playlist(&self, file: &str) -> String {
        self.all().playlist(file)
    }

    /// The longest part of one format: what one MP4 can hold without being encoded again.
    pub fn longest(&self) -> Stretch<'_> {
        let parts = self.segments.chunk_by(|a, b| a.header == b.header).map(Stretch);
        // Of equal ones the first.
        parts.rev().max_by_key(Stretch::ticks).unwrap_or(Stretch(&[]))
    }
}

/// Segments one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'a>(&'a [Placed]);

impl Stretch<'_> {
    /// How long they play, in ticks of 1/90000 s.
    pub fn ticks(&self) -> u64 {
        self.0.iter().map(|segment| segment.ticks).sum()
    }

    /// A media playlist (RFC 8216, 4.3) of ranges of `file`.
    pub fn playlist(&self, file: &str) -> String {
        let target = self.0.iter().map(|segment| segment.ticks).max().unwrap_or(0).div_ceil(TICKS);
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-TARGETDURATION:{target}\n"
        );
        let mut header = None;
        for segment in self.0 {
            if segment.is_break && header.is_some() {
                text += "#EXT-X-DISCONTINUITY\n";
            }
            if header != Some(segment.header) {
                header = Some(segment.header);
                let Place { at, bytes } = segment.header;
                // Writing to a string does not fail.
                let _ = writeln!(text, "#EXT-X-MAP:URI=\"{file}\",BYTERANGE=\"{bytes}@{at}\"");
            }
            let Place { at, bytes } = segment.place;
            let seconds = segment.ticks as f64 / TICKS as f64;
            let _ = writeln!(text, "#EXTINF:{seconds:.5},\n#EXT-X-BYTERANGE:{bytes}@{at}\n{file}");
        }
        text + "#EXT-X-ENDLIST\n"
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// Objects of these names.
    fn objects(names: &[&str]) -> Vec<Object> {
        let object = |name: &&str| Object {
            path: format!("vod/mina/202611251405-x/{name}").parse().unwrap(),
            size: 1,
            modified: Timestamp::UNIX_EPOCH,
        };
        names.iter().map(object).collect()
    }

    fn segment(number: u64, header: u64) -> String {
        Segment { number, header, ticks: 180_000 }.name()
    }

    /// Number and header of the segments that are taken, and what is missing.
    fn take(names: &[String]) -> (Vec<(u64, u64)>, Option<String>) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let taken = Taken::of(objects(&names)).unwrap();
        (taken.segments.iter().map(|(s, _)| (s.number, s.header)).collect(), taken.missing)
    }

    #[test]
    fn what_is_before_a_hole_is_taken_and_the_hole_is_told() {
        let init = |number| format!("init-{number:010}.mp4");
        let (all, missing) = take(&[init(0), segment(0, 0), segment(1, 0), segment(2, 0)]);
        assert_eq!((all, missing), (vec![(0, 0), (1, 0), (2, 0)], None));
        let (some, missing) = take(&[init(0), segment(0, 0), segment(2, 0), segment(3, 0)]);
        assert_eq!(some, [(0, 0)]);
        assert_eq!(missing.unwrap(), "segment 1 is missing: 2 after it are left out");
        // Without its header a segment is none.
        let (some, missing) = take(&[init(0), segment(0, 0), segment(1, 1)]);
        assert_eq!((some, missing.is_some()), (vec![(0, 0)], true));
        let (some, missing) = take(&[init(0), segment(3, 0), segment(4, 0)]);
        assert_eq!(some, [(3, 0), (4, 0)]);
        assert_eq!(missing.unwrap(), "the first 3 segments are missing");
        // A server that lost the channel, and the one that has it.
        let (all, missing) =
            take(&[init(0), init(1), segment(0, 0), segment(1, 0), segment(1, 1), segment(2, 1)]);
        assert_eq!((all, missing), (vec![(0, 0), (1, 1), (2, 1)], None));
    }

    #[test]
    fn a_recording_without_a_segment_is_none() {
        for names in [&["init-0000000000.mp4"][..], &["seg-0000000000-0000000000-9.m4s"], &["x"]] {
            let refused = Taken::of(objects(names)).unwrap_err();
            assert!(
                matches!(refused, Trouble::Failed { code: "nothing_recorded", .. }),
                "{names:?}"
            );
        }
    }

    #[test]
    fn a_playlist_says_where_each_segment_is_and_where_the_format_changes() {
        let mut archive = Archive::default();
        let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
        assert!(archive.header(&first));
        archive.segment(100, 90_000);
        // Another server took over: the same format, another clock.
        assert!(!archive.header(&first));
        archive.segment(10, 189_000);
        assert!(archive.header(&second));
        archive.segment(1, 9_000);
        assert_eq!((archive.ticks(), archive.longest().ticks()), (288_000, 279_000));
        let want = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-TARGETDURATION:3\n#EXT-X-MAP:URI=\"a.mp4\",BYTERANGE=\"5@0\"\n\
            #EXTINF:1.00000,\n#EXT-X-BYTERANGE:100@5\na.mp4\n\
            #EXT-X-DISCONTINUITY\n#EXTINF:2.10000,\n#EXT-X-BYTERANGE:10@105\na.mp4\n\
            #EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"a.mp4\",BYTERANGE=\"6@115\"\n\
            #EXTINF:0.10000,\n#EXT-X-BYTERANGE:1@121\na.mp4\n#EXT-X-ENDLIST\n";
        assert_eq!(archive.playlist("a.mp4"), want);
        assert!(!archive.longest().playlist("a.mp4").contains("@121"));
    }
}
