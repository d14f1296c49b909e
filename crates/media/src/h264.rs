//! As much of H.264 as copying packets needs: NAL units (ITU-T H.264, 7.3.1 and annex B), parameter
//! set ids (7.3.2), and the `avcC` box that MP4 keeps parameter sets in (ISO/IEC 14496-15, 5.3.3.1).

/// Types of NAL units (ITU-T H.264, table 7-1).
pub(crate) mod nal {
    pub(crate) const SLICE: u8 = 1;
    pub(crate) const IDR_SLICE: u8 = 5;
    pub(crate) const SEI: u8 = 6;
    pub(crate) const SPS: u8 = 7;
    pub(crate) const PPS: u8 = 8;
    pub(crate) const DELIMITER: u8 = 9;
    pub(crate) const FILLER: u8 = 12;

    /// The type of a NAL unit; 0, which is unspecified, for an empty one.
    pub(crate) fn kind(unit: &[u8]) -> u8 {
        unit.first().map_or(0, |byte| byte & 31)
    }
}

/// Bytes of the lengths before NAL units in packets that are copied or written here.
const LENGTH: usize = 4;

/// The largest id a sequence parameter set can have.
const MAX_SPS_ID: u32 = 31;

/// The parameter sets of an H.264 track, as its `avcC` box has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Avcc {
    profile: u8,
    /// `constraint_set` flags: what the stream promises beside its profile.
    constraints: u8,
    level: u8,
    sps: Vec<Vec<u8>>,
    pps: Vec<Vec<u8>>,
    /// Chroma format and depths, which the box has from the High profile on.
    tail: Vec<u8>,
}

impl Avcc {
    /// The box of an encoder with these parameter sets (annex B) that makes 4:2:0 with 8 bits. `None` if it has
    /// none, or a set that is too short.
    pub(crate) fn of(encoder: &[u8]) -> Option<Self> {
        let of_kind = |kind| {
            let units = annex_b(encoder).filter(move |unit| nal::kind(unit) == kind);
            units.map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        let (sps, pps) = (of_kind(nal::SPS), of_kind(nal::PPS));
        let &[_, profile, constraints, level, ..] = sps.first()?.as_slice() else { return None };
        // From the High profile on: 4:2:0, 8 bits, no extensions.
        let tail = if profile >= 100 { vec![0xfd, 0xf8, 0xf8, 0] } else { Vec::new() };
        (!pps.is_empty()).then_some(Self { profile, constraints, level, sps, pps, tail })
    }

    /// The name of this kind of video (RFC 6381, 3.3).
    pub(crate) fn codec(&self) -> String {
        format!("avc1.{:02x}{:02x}{:02x}", self.profile, self.constraints, self.level)
    }

    /// Reads a box. `None` if it is none, or if its packets have lengths of other than four bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_at_checked(5)?;
        if head[0] != 1 || usize::from(head[4] & 3) + 1 != LENGTH {
            return None;
        }
        let mut sets = |mask: u8| {
            let (&count, mut at) = rest.split_first()?;
            let mut units = Vec::new();
            for _ in 0..count & mask {
                let (length, after) = at.split_at_checked(2)?;
                let length = u16::from_be_bytes([length[0], length[1]]).into();
                let (unit, after) = after.split_at_checked(length)?;
                units.push(unit.to_vec());
                at = after;
            }
            rest = at;
            Some(units)
        };
        let (sps, pps) = (sets(31)?, sets(255)?);
        Some(Self {
            profile: head[1],
            constraints: head[2],
            level: head[3],
            sps,
            pps,
            tail: rest.to_vec(),
        })
    }

    /// The box. `None` if there are more or longer parameter sets than it can hold.
    pub(crate) fn write(&self) -> Option<Vec<u8>> {
        let mut out =
            vec![1, self.profile, self.constraints, self.level, 0xfc | (LENGTH as u8 - 1)];
        for (sets, most, marker) in [(&self.sps, 31, 0xe0), (&self.pps, 255, 0)] {
            let count = u8::try_from(sets.len()).ok().filter(|&n| n <= most)?;
            out.push(marker | count);
            for set in sets {
                out.extend(u16::try_from(set.len()).ok()?.to_be_bytes());
                out.extend(set);
            }
        }
        out.extend(&self.tail);
        Some(out)
    }

    /// Whether `unit` is one of its parameter sets, byte for byte.
    pub(crate) fn holds(&self, unit: &[u8]) -> bool {
        self.sps.iter().chain(&self.pps).any(|set| set == unit)
    }

    /// An id that none of its parameter sets has. The encoder numbers both kinds alike.
    pub(crate) fn free_id(&self) -> Option<u32> {
        let sps: Option<Vec<u32>> = self.sps.iter().map(|set| sps_id(set)).collect();
        let pps: Option<Vec<u32>> = self.pps.iter().map(|set| pps_id(set)).collect();
        let (sps, pps) = (sps?, pps?);
        (1..=MAX_SPS_ID).rev().find(|id| !sps.contains(id) && !pps.contains(id))
    }

    /// A box for a track that also holds pictures of an encoder with these parameter sets (annex
    /// B), numbered `id`. It promises no more than both do.
    pub(crate) fn joined(&self, encoder: &[u8], id: u32) -> Option<Self> {
        let mut both = self.clone();
        for unit in annex_b(encoder) {
            match nal::kind(unit) {
                nal::SPS if sps_id(unit)? == id => {
                    let &[_, profile, constraints, level, ..] = unit else { return None };
                    if profile > both.profile && both.tail.is_empty() {
                        both.tail = vec![0xfd, 0xf8, 0xf8, 0]; // 4:2:0, 8 bits, no extensions
                    }
                    both.profile = both.profile.max(profile);
                    both.constraints &= constraints;
                    both.level = both.level.max(level);
                    both.sps.push(unit.to_vec());
                }
                nal::PPS if pps_id(unit)? == id => both.pps.push(unit.to_vec()),
                nal::SPS | nal::PPS => return None,
                _ => {}
            }
        }
        let grown = (both.sps.len(), both.pps.len()) == (self.sps.len() + 1, self.pps.len() + 1);
        grown.then_some(both)
    }
}

/// The NAL units of a packet with four-byte lengths; an error in place of what does not fit.
pub(crate) fn units(mut data: &[u8]) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let unit = data.split_first_chunk::<LENGTH>().and_then(|(length, rest)| {
            rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
        });
        let Some((unit, rest)) = unit.filter(|(unit, _)| !unit.is_empty()) else {
            data = &[];
            return Some(Err(Malformed));
        };
        data = rest;
        Some(Ok(unit))
    })
}

/// A packet is not a row of NAL units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The NAL units of a byte stream (annex B).
pub(crate) fn annex_b(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let code =
        |from: usize| data.get(from..)?.windows(3).position(|w| w == [0, 0, 1]).map(|at| from + at);
    let mut next = code(0);
    std::iter::from_fn(move || {
        let start = next? + 3;
        next = code(start);
        let unit = data.get(start..next.unwrap_or(data.len()))?;
        // Zeros before a start code belong to it: a unit never ends with one (7.4.1).
        let end = unit.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        Some(&unit[..end])
    })
}

/// A packet of the encoder (annex B) as it goes beside copied ones: lengths instead of start codes,
/// and no parameter sets, which are in the box.
pub(crate) fn without_sets(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 16);
    for unit in annex_b(data) {
        if !matches!(nal::kind(unit), nal::SPS | nal::PPS) {
            out.extend((unit.len() as u32).to_be_bytes());
            out.extend(unit);
        }
    }
    out
}

/// Whether a slice is the first of its picture: `first_mb_in_slice` is 0, coded as a single 1 bit.
pub(crate) fn is_first_slice(unit: &[u8]) -> bool {
    unit.get(1).is_some_and(|byte| byte & 0x80 != 0)
}

fn sps_id(unit: &[u8]) -> Option<u32> {
    exp_golomb(unit.get(4..)?) // after header, profile, constraints, level
}

fn pps_id(unit: &[u8]) -> Option<u32> {
    exp_golomb(unit.get(1..)?)
}

/// The number at the start of `data`, coded as ue(v) (9.1). Ids are so small that no emulation
/// prevention byte can come before their end.
fn exp_golomb(data: &[u8]) -> Option<u32> {
    let bit = |at: usize| data.get(at / 8).map(|byte| u32::from(byte >> (7 - at % 8) & 1));
    let mut zeros = 0;
    while bit(zeros)? == 0 {
        zeros += 1;
        if zeros > 16 {
            return None;
        }
    }
    let mut value = 1;
    for at in zeros + 1..=2 * zeros {
        value = value << 1 | bit(at)?;
    }
    Some(value - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sps(id_bits: u8) -> Vec<u8> {
        vec![0x67, 66, 0xc0, 30, id_bits]
    }

    fn source() -> Avcc {
        Avcc {
            profile: 66,
            constraints: 0xc0,
            level: 30,
            sps: vec![sps(0b1000_0000)],        // id 0
            pps: vec![vec![0x68, 0b0100_0000]], // id 1
            tail: Vec::new(),
        }
    }

    #[test]
    fn a_box_survives_reading_and_writing() {
        let bytes = source().write().unwrap();
        assert_eq!(Avcc::parse(&bytes).unwrap(), source());
        for end in 0..bytes.len() {
            assert!(Avcc::parse(&bytes[..end]).is_none(), "cut off at {end}");
        }
    }

    #[test]
    fn other_lengths_are_not_taken() {
        let mut bytes = source().write().unwrap();
        bytes[4] = 0xfd;
        assert!(Avcc::parse(&bytes).is_none());
    }

    #[test]
    fn ids_are_read_and_a_free_one_found() {
        assert_eq!(
            [&[0x80][..], &[0x40], &[0x60], &[0x20]].map(exp_golomb),
            [0, 1, 2, 3].map(Some)
        );
        assert_eq!(exp_golomb(&[0, 0, 0]), None);
        assert_eq!(exp_golomb(&[]), None);
        assert_eq!(source().free_id(), Some(31));
        let mut full = source();
        full.pps = (0..=31u32)
            .map(|id| {
                let code = id + 1;
                let zeros = 31 - code.leading_zeros();
                let bits = code << (15 - 2 * zeros);
                vec![0x68, (bits >> 8) as u8, bits as u8]
            })
            .collect();
        assert_eq!(full.free_id(), None);
    }

    #[test]
    fn a_joined_box_promises_no_more_than_both() {
        // id 31 is 00000100000 in ue(v).
        let encoder =
            [&[0, 0, 0, 1, 0x67, 100, 0x00, 40, 0x04, 0x01][..], &[0, 0, 1, 0x68, 0x04, 0x10, 1]]
                .concat();
        let both = source().joined(&encoder, 31).unwrap();
        assert_eq!((both.profile, both.constraints, both.level), (100, 0, 40));
        assert_eq!((both.sps.len(), both.pps.len(), both.tail.len()), (2, 2, 4));
        assert!(both.holds(&sps(0b1000_0000)));
        assert!(source().joined(&encoder, 30).is_none(), "another id");
    }

    #[test]
    fn start_codes_become_lengths() {
        let stream =
            [&[0, 0, 0, 1, 0x67, 1, 0][..], &[0, 0, 1, 0x65, 0x88, 2], &[0, 0, 1, 6, 5]].concat();
        assert_eq!(annex_b(&stream).count(), 3);
        let packet = without_sets(&stream);
        assert_eq!(packet, [0, 0, 0, 3, 0x65, 0x88, 2, 0, 0, 0, 2, 6, 5]);
        let read: Vec<_> = units(&packet).map(Result::unwrap).collect();
        assert_eq!(read, [&[0x65, 0x88, 2][..], &[6, 5]]);
    }

    #[test]
    fn packets_that_are_not_units_are_told_apart() {
        for bad in [&[0, 0, 0][..], &[0, 0, 0, 0], &[0, 0, 0, 9, 1], &[255, 255, 255, 255, 1]] {
            assert_eq!(units(bad).collect::<Vec<_>>(), [Err(Malformed)]);
        }
        assert_eq!(units(&[]).count(), 0);
        assert_eq!(annex_b(&[0, 0]).count() + annex_b(&[]).count(), 0);
    }
}
