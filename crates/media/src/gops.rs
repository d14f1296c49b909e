//! Which groups of pictures a file has, and whether their packets could be copied as they are.
//!
//! The analysis looks at decoded pictures. A copy hands on packets. So packets may be copied only
//! if what was decoded is all there is in them: what a decoder passes over (further views, redundant
//! pictures, pictures that an edit list hides) was not looked at.

use std::fmt;

use domain::{Gop, Pts, TimeBase};
use ffmpeg_sys_the_third as ff;
use sha2::{Digest, Sha256};

use crate::h264::{self, Avcc, nal};
use crate::sys;

/// Most pictures of a group whose packets are copied; it is held in memory before.
const MAX_PACKETS: usize = 2000;
/// Most bytes of a group whose packets are copied.
const MAX_BYTES: usize = 32 << 20;

/// Why no packet of a file can be copied, so that all of it is encoded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCopied {
    /// It is not H.264.
    Codec,
    /// Its samples are not 8-bit 4:2:0, or its sides not even.
    Samples,
    /// Its parameter sets are not in the container's header (MPEG-TS, HLS), are too many, or change.
    ParameterSets,
    /// It does not begin with an IDR picture.
    Start,
    /// Time stamps are missing, repeated, or out of order from one group to the next.
    Times,
    /// It is coded larger than it is shown: what lies beyond the edge was not looked at.
    Cropped,
}

impl fmt::Display for NotCopied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Codec => "the video is not H.264",
            Self::Samples => "the samples are not 8-bit 4:2:0",
            Self::ParameterSets => "the parameter sets are not in the container's header alone",
            Self::Start => "the video does not begin with an IDR picture",
            Self::Times => "time stamps are missing, repeated or out of order",
            Self::Cropped => "the video is coded larger than it is shown",
        })
    }
}

/// What a packet is, beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) pts: Option<i64>,
    /// Behind an edit list: decoded, and not shown.
    pub(crate) hidden: bool,
    /// The demuxer called it corrupt.
    pub(crate) corrupt: bool,
    /// It brings new parameter sets with it.
    pub(crate) new_sets: bool,
}

impl Facts {
    pub(crate) fn of(packet: &ff::AVPacket) -> Self {
        let flag = |f: i32| packet.flags & f != 0;
        // SAFETY: the packet has `side_data_elems` entries.
        let side_data = unsafe { sys::slice(packet.side_data, packet.side_data_elems) };
        let changes =
            [ff::AVPacketSideDataType::NEW_EXTRADATA, ff::AVPacketSideDataType::PARAM_CHANGE];
        Self {
            pts: (packet.pts != ff::AV_NOPTS_VALUE).then_some(packet.pts),
            hidden: flag(ff::AV_PKT_FLAG_DISCARD as i32),
            corrupt: flag(ff::AV_PKT_FLAG_CORRUPT as i32),
            new_sets: side_data.iter().any(|entry| changes.contains(&entry.type_)),
        }
    }
}

/// Finds the groups while the packets of a file go by in decoding order.
pub(crate) struct Indexer {
    avcc: Avcc,
    base: TimeBase,
    done: Vec<Gop>,
    open: Option<Open>,
    /// The latest time of a picture in the groups before.
    latest: Option<i64>,
    refused: Option<NotCopied>,
}

/// The group that packets go into.
struct Open {
    hash: GopHash,
    /// Times of its shown pictures, in decoding order.
    times: Vec<i64>,
    plain: bool,
}

impl Indexer {
    pub(crate) fn new(avcc: Avcc, base: TimeBase) -> Self {
        Self { avcc, base, done: Vec::new(), open: None, latest: None, refused: None }
    }

    /// The next packet of the video.
    pub(crate) fn packet(&mut self, data: &[u8], facts: Facts) {
        if self.refused.is_some() {
            return;
        }
        let content = Content::of(data, &self.avcc);
        if content.other_sets || facts.new_sets {
            self.refused = Some(NotCopied::ParameterSets);
            return;
        }
        let shown = self.open.as_ref().map(|open| open.times.len());
        if starts_group(content.idr, shown) {
            self.close();
            self.open = Some(Open { hash: GopHash::new(), times: Vec::new(), plain: true });
        }
        let Some(open) = &mut self.open else {
            self.refused = Some(NotCopied::Start);
            return;
        };
        open.hash.add(data);
        let room = open.times.len() < MAX_PACKETS && open.hash.bytes <= MAX_BYTES;
        open.plain &= content.plain && room && !facts.hidden && !facts.corrupt;
        match facts.pts {
            Some(pts) if !facts.hidden => open.times.push(pts),
            None => self.refused = Some(NotCopied::Times),
            _ => {}
        }
    }

    /// The groups, once the file is at its end.
    pub(crate) fn finish(mut self) -> Result<Vec<Gop>, NotCopied> {
        self.close();
        self.refused.map_or(Ok(self.done), Err)
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let mut sorted = open.times.clone();
        sorted.sort_unstable();
        // The file ends with pictures that are all behind an edit list.
        let (Some(&start), Some(&end)) = (sorted.first(), sorted.last()) else { return };
        let repeated = sorted.windows(2).any(|pair| pair[0] == pair[1]);
        if repeated || self.latest.is_some_and(|latest| start <= latest) {
            self.refused = Some(NotCopied::Times);
            return;
        }
        self.latest = Some(end);
        let reorder = reorder(&open.times, &sorted);
        self.done.push(Gop {
            start: Pts::new(start, self.base),
            packets: u32::try_from(open.times.len()).unwrap_or(u32::MAX),
            reorder: u8::try_from(reorder).unwrap_or(u8::MAX),
            sha256: open.hash.finish(),
            plain: open.plain && reorder <= MAX_REORDER,
        });
    }
}

/// Whether a packet starts a group: an IDR picture does, unless the group that is open shows
/// nothing (`shown` pictures), being all behind an edit list: that becomes part of the next.
pub(crate) fn starts_group(idr: bool, shown: Option<usize>) -> bool {
    idr && shown != Some(0)
}

/// H.264 reorders no further (its decoded picture buffer's size, A.3.1).
const MAX_REORDER: usize = 16;

/// How many pictures at most are decoded before one and shown after it.
fn reorder(decoded: &[i64], shown: &[i64]) -> usize {
    let early = |(at, pts)| usize::saturating_sub(at, shown.partition_point(|t| t < pts));
    decoded.iter().enumerate().map(early).max().unwrap_or(0)
}

/// The hash of a group's packets: their lengths (4 bytes, big endian) and bytes.
pub(crate) struct GopHash {
    hasher: Sha256,
    pub(crate) bytes: usize,
}

impl GopHash {
    pub(crate) fn new() -> Self {
        Self { hasher: Sha256::new(), bytes: 0 }
    }

    pub(crate) fn add(&mut self, data: &[u8]) {
        self.hasher.update((data.len() as u32).to_be_bytes());
        self.hasher.update(data);
        self.bytes = self.bytes.saturating_add(data.len());
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.hasher.finalize().into()
    }
}

/// Whether a packet holds an IDR picture.
pub(crate) fn is_idr(data: &[u8]) -> bool {
    h264::units(data).any(|unit| unit.is_ok_and(|unit| nal::kind(unit) == nal::IDR_SLICE))
}

/// Whether a group grows beyond what is held in memory.
pub(crate) fn is_too_large(packets: usize, hash: &GopHash) -> bool {
    packets > MAX_PACKETS || hash.bytes > MAX_BYTES
}

/// What a packet holds.
struct Content {
    idr: bool,
    /// One picture, and nothing that is passed over.
    plain: bool,
    /// Parameter sets that the container's header does not have.
    other_sets: bool,
}

impl Content {
    fn of(data: &[u8], avcc: &Avcc) -> Self {
        let mut content = Self { idr: false, plain: true, other_sets: false };
        let (mut pictures, mut trailing) = (0, false);
        for unit in h264::units(data) {
            let Ok(unit) = unit else {
                content.plain = false;
                break;
            };
            match nal::kind(unit) {
                kind @ (nal::SLICE | nal::IDR_SLICE) => {
                    content.idr |= kind == nal::IDR_SLICE;
                    trailing |= content.idr && kind == nal::SLICE;
                    pictures += usize::from(h264::is_first_slice(unit));
                }
                nal::SPS | nal::PPS => content.other_sets |= !avcc.holds(unit),
                nal::SEI | nal::DELIMITER | nal::FILLER => {}
                _ => content.plain = false,
            }
        }
        content.plain &= pictures == 1 && !trailing;
        content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDR: &[u8] = &[0, 0, 0, 2, 0x65, 0x88];
    const SLICE: &[u8] = &[0, 0, 0, 2, 0x41, 0x9a];
    const SECOND_SLICE: &[u8] = &[0, 0, 0, 2, 0x41, 0x5a];
    const OTHER_VIEW: &[u8] = &[0, 0, 0, 2, 0x74, 0x80];
    const OTHER_SPS: &[u8] = &[0, 0, 0, 5, 0x67, 66, 0, 30, 0x60];

    fn avcc() -> Avcc {
        Avcc::parse(&[1, 66, 0, 30, 0xff, 0xe1, 0, 5, 0x67, 66, 0, 30, 0x80, 1, 0, 2, 0x68, 0x80])
            .unwrap()
    }

    fn shown(pts: i64) -> Facts {
        Facts { pts: Some(pts), hidden: false, corrupt: false, new_sets: false }
    }

    fn index(packets: &[(&[u8], Facts)]) -> Result<Vec<Gop>, NotCopied> {
        let mut indexer = Indexer::new(avcc(), TimeBase::new(1, 25).unwrap());
        packets.iter().for_each(|(data, facts)| indexer.packet(data, *facts));
        indexer.finish()
    }

    fn plain(packets: &[(&[u8], Facts)]) -> Vec<bool> {
        index(packets).unwrap().iter().map(|gop| gop.plain).collect()
    }

    #[test]
    fn groups_start_at_idr_pictures_and_know_their_order() {
        let packets =
            [(IDR, 0), (SLICE, 3), (SLICE, 1), (SLICE, 2), (IDR, 4)].map(|(d, p)| (d, shown(p)));
        let gops = index(&packets).unwrap();
        let found: Vec<_> = gops.iter().map(|g| (g.start.ticks, g.packets, g.reorder)).collect();
        assert_eq!(found, [(0, 4, 1), (4, 1, 0)]);
        assert!(gops.iter().all(|g| g.plain) && gops[0].sha256 != gops[1].sha256);
    }

    #[test]
    fn reorder_counts_pictures_shown_later() {
        assert_eq!(reorder(&[0, 1, 2], &[0, 1, 2]), 0);
        assert_eq!(reorder(&[0, 4, 2, 1, 3], &[0, 1, 2, 3, 4]), 2);
    }

    #[test]
    fn what_a_decoder_passes_over_keeps_its_group_from_being_copied() {
        let two_pictures = [SLICE, SLICE].concat();
        let two_slices = [SLICE, SECOND_SLICE].concat();
        let two_views = [SLICE, OTHER_VIEW].concat();
        for (data, want) in [
            (&two_slices[..], true),
            (&two_pictures, false),
            (&two_views, false),
            (SECOND_SLICE, false),
            (&SLICE[..5], false),
        ] {
            assert_eq!(plain(&[(IDR, shown(0)), (data, shown(1))]), [want], "{data:?}");
        }
    }

    #[test]
    fn hidden_and_corrupt_packets_keep_their_group_from_being_copied() {
        for facts in [Facts { hidden: true, ..shown(0) }, Facts { corrupt: true, ..shown(0) }] {
            let packets = [(IDR, facts), (SLICE, shown(1)), (IDR, shown(2))];
            assert_eq!(plain(&packets), [false, true], "{facts:?}");
        }
    }

    #[test]
    fn a_group_that_is_all_hidden_is_part_of_the_next() {
        let hidden = Facts { hidden: true, ..shown(-2) };
        let packets =
            [(IDR, hidden), (SLICE, hidden), (IDR, shown(0)), (IDR, shown(1)), (IDR, hidden)];
        let gops = index(&packets).unwrap();
        let found: Vec<_> = gops.iter().map(|g| (g.start.ticks, g.packets, g.plain)).collect();
        assert_eq!(found, [(0, 1, false), (1, 1, true)]);
    }

    #[test]
    fn a_group_too_long_to_hold_is_not_copied() {
        let mut packets = vec![(IDR, shown(0))];
        packets.extend((1..=MAX_PACKETS as i64).map(|pts| (SLICE, shown(pts))));
        assert_eq!(plain(&packets), [false]);
        packets.truncate(MAX_PACKETS);
        assert_eq!(plain(&packets), [true]);
    }

    #[test]
    fn files_whose_packets_cannot_be_copied() {
        let missing = Facts { pts: None, ..shown(0) };
        let sets = Facts { new_sets: true, ..shown(1) };
        let inband = [OTHER_SPS, SLICE].concat();
        type Packets<'a> = &'a [(&'a [u8], Facts)];
        let cases: [(Packets<'_>, NotCopied); 6] = [
            (&[(SLICE, shown(0))], NotCopied::Start),
            (&[(IDR, missing)], NotCopied::Times),
            (&[(IDR, shown(0)), (SLICE, shown(1)), (SLICE, shown(1))], NotCopied::Times),
            (&[(IDR, shown(0)), (SLICE, shown(2)), (IDR, shown(1))], NotCopied::Times),
            (&[(IDR, shown(0)), (SLICE, sets)], NotCopied::ParameterSets),
            (&[(IDR, shown(0)), (&inband, shown(1))], NotCopied::ParameterSets),
        ];
        for (packets, why) in cases {
            assert_eq!(index(packets).unwrap_err(), why);
        }
    }

    #[test]
    fn parameter_sets_that_the_header_has_too_change_nothing() {
        let same = [&[0, 0, 0, 5, 0x67, 66, 0, 30, 0x80][..], IDR].concat();
        assert_eq!(plain(&[(&same, shown(0)), (SLICE, shown(1))]), [true]);
    }
}
