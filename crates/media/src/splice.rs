//! Smart rendering: groups of pictures that nothing is covered in are copied, packet by packet; the
//! runs between them are encoded again, here or elsewhere ([`crate::ChunkReader`]). Both kinds share one H.264 track.
//!
//! The encoder numbers its parameter sets as the source does not, so that the track's header holds
//! both. Decoding times are computed anew for the whole track, because a run encoded here has other
//! ones than the packets it replaces; presentation times stay as they are.

use std::collections::VecDeque;

use domain::Pts;
use ffmpeg_sys_the_third as ff;

use crate::MediaError;
use crate::gops::{self, Facts, GopHash, NotCopied};
use crate::h264::{self, Avcc};
use crate::info::{Codec, VideoInfo};
use crate::sys::{self, Packet};

/// A group of pictures on its way through a [`crate::Reader`] that splices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// When its first picture is shown.
    pub start: Pts,
    /// `seq` of its first frame.
    pub first: u64,
    /// What becomes of it.
    pub pass: Pass,
}

/// What a reader does with a group of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Its pictures are decoded.
    Decode,
    /// Its packets are handed on as they are.
    Copy,
    /// It is passed over.
    Skip,
}

/// The packets of one group, as they are in the file. A [`crate::Writer`] takes them only with leave
/// ([`redact::Cleared`]).
pub struct Copied {
    /// Which group.
    pub at: usize,
    /// Hash over the packets, as in [`domain::Gop::sha256`].
    pub sha256: [u8; 32],
    pub(crate) packets: Vec<Packet>,
}

impl Copied {
    /// Number of pictures.
    pub fn frames(&self) -> u64 {
        self.packets.len() as u64
    }
}

/// How encoded and copied packets share a track.
pub struct Splice {
    avcc: Avcc,
    id: u32,
    reorder: usize,
}

impl Splice {
    pub(crate) fn new(avcc: Avcc, reorder: usize) -> Result<Self, NotCopied> {
        let id = avcc.free_id().ok_or(NotCopied::ParameterSets)?;
        Ok(Self { avcc, id, reorder })
    }

    /// What x264 is told so that its pictures fit: its own ids, and no deeper reordering than the
    /// source's (it reorders by two pictures at most, by one without a pyramid).
    pub(crate) fn x264_params(&self) -> String {
        let order = match self.reorder {
            0 => ":bframes=0",
            1 => ":b-pyramid=none",
            _ => "",
        };
        format!("sps-id={}:open-gop=0{order}", self.id)
    }

    /// The header of the common track; `encoder` holds the encoder's parameter sets (annex B).
    pub(crate) fn header(&self, encoder: &[u8]) -> Option<Vec<u8>> {
        self.avcc.joined(encoder, self.id)?.write()
    }

    pub(crate) fn reorder(&self) -> usize {
        self.reorder
    }
}

/// The parameter sets of a track whose packets could be copied.
pub(crate) fn parameter_sets(
    par: &ff::AVCodecParameters,
    info: &VideoInfo,
) -> Result<Avcc, NotCopied> {
    if info.codec != Codec::H264 {
        return Err(NotCopied::Codec);
    }
    let plain = ["yuv420p", "yuvj420p"].contains(&info.pixel_format.as_str());
    if !plain || [info.size.width, info.size.height].iter().any(|side| side % 2 != 0) {
        return Err(NotCopied::Samples);
    }
    // SAFETY: extradata has `extradata_size` readable bytes while the parameters live.
    let bytes = unsafe { sys::slice(par.extradata, par.extradata_size) };
    Avcc::parse(bytes).ok_or(NotCopied::ParameterSets)
}

/// Sorts the packets of a file into those to decode and groups to copy.
pub(crate) struct Router {
    sections: Vec<Section>,
    /// The group that packets belong to now; none before the first.
    at: Option<usize>,
    /// Pictures of it that are shown, so far.
    shown: usize,
    held: Vec<Packet>,
    hash: GopHash,
    /// The section of the last frame that came out, and how many of it did.
    numbered: Option<(usize, u64)>,
    /// Groups from here on are all passed over.
    end: usize,
}

/// A group that was not decoded and is at its end.
pub(crate) enum Passed {
    Copied(Copied),
    /// The group of this place.
    Skipped(usize),
}

impl Router {
    pub(crate) fn new(sections: Vec<Section>) -> Self {
        let hash = GopHash::new();
        // Where nothing is decoded at all, it is the marks of the groups that somebody wants.
        let decodes = sections.iter().any(|section| section.pass == Pass::Decode);
        let wanted = sections.iter().rposition(|section| !decodes || section.pass != Pass::Skip);
        let end = wanted.map_or(0, |at| at + 1);
        Self { sections, at: None, shown: 0, held: Vec::new(), hash, numbered: None, end }
    }

    /// What is to be done with `packet`; with it the group that ended before it, if that was not decoded.
    pub(crate) fn route(&mut self, packet: &Packet) -> (Pass, Option<Passed>) {
        let facts = Facts::of(packet.get());
        let mut ended = None;
        let open = self.at.map(|_| self.shown);
        if gops::starts_group(gops::is_idr(packet.data()), open) {
            ended = self.end();
            self.at = Some(self.at.map_or(0, |at| at + 1));
            self.shown = 0;
        }
        self.shown += usize::from(!facts.hidden);
        (self.pass(), ended)
    }

    /// Whether all packets from here on are passed over.
    pub(crate) fn is_done(&self) -> bool {
        self.at.is_some_and(|at| at >= self.end)
    }

    /// What is to be done with the packets of the group that is open.
    fn pass(&self) -> Pass {
        let section = self.at.and_then(|at| self.sections.get(at));
        section.map_or(Pass::Decode, |section| section.pass)
    }

    /// Takes a packet that is not decoded: keeps it until its group is complete, or passes it over.
    /// `None`: the group is larger than the analysis can have seen it.
    pub(crate) fn take(&mut self, packet: Packet) -> Option<()> {
        if self.pass() == Pass::Skip {
            return Some(());
        }
        self.hash.add(packet.data());
        self.held.push(packet);
        (!gops::is_too_large(self.held.len(), &self.hash)).then_some(())
    }

    /// Ends the group that is open; gives it if it was not decoded.
    pub(crate) fn end(&mut self) -> Option<Passed> {
        let at = self.at?;
        match self.pass() {
            Pass::Decode => None,
            Pass::Skip => Some(Passed::Skipped(at)),
            Pass::Copy => {
                let packets = std::mem::take(&mut self.held);
                let sha256 = std::mem::replace(&mut self.hash, GopHash::new()).finish();
                Some(Passed::Copied(Copied { at, sha256, packets }))
            }
        }
    }

    /// The `seq` of the next frame that came out of the decoder, by its time, and whether it is the
    /// first of its group.
    pub(crate) fn number(&mut self, ticks: i64) -> (u64, bool) {
        let section = self.sections.partition_point(|s| s.start.ticks <= ticks).saturating_sub(1);
        let nth = match self.numbered {
            Some((last, frames)) if last == section => frames,
            _ => 0,
        };
        self.numbered = Some((section, nth + 1));
        let first = self.sections.get(section).map_or(u64::MAX, |s| s.first);
        (first.saturating_add(nth), nth == 0)
    }
}

/// Decoding times of a track in order: those of its presentation, as much later as it reorders.
pub(crate) struct DecodingTimes {
    /// Presentation times to come, sorted.
    next: VecDeque<i64>,
    /// Decoding times before the first presentation time.
    lead: Vec<i64>,
    reorder: usize,
}

impl DecodingTimes {
    /// For pictures shown at `times`, rising, of which up to `reorder` are decoded early.
    pub(crate) fn new(times: Vec<i64>, reorder: usize) -> Self {
        let step = match (times.first(), times.get(1)) {
            (Some(a), Some(b)) => b.saturating_sub(*a).max(1),
            _ => 1,
        };
        let first = times.first().copied().unwrap_or(0);
        let lead = (1..=reorder as i64).map(|n| first.saturating_sub(n * step)).collect();
        Self { next: times.into(), lead, reorder }
    }

    /// The decoding time of the next packet, which is shown at `pts`. `None` if it would be shown
    /// before it is decoded, or there are more packets than times.
    pub(crate) fn next(&mut self, pts: i64) -> Option<i64> {
        let dts = self.lead.pop().or_else(|| self.next.pop_front())?;
        (dts <= pts).then_some(dts)
    }

    /// Whether as many packets came as there are times.
    pub(crate) fn is_done(&self) -> bool {
        self.next.len() + self.lead.len() == self.reorder
    }
}

/// A packet of the encoder beside copied ones.
pub(crate) fn adapt(packet: &mut Packet) -> Result<(), MediaError> {
    let data = h264::without_sets(packet.data());
    packet.set_data(&data)
}

#[cfg(test)]
mod tests {
    use domain::TimeBase;

    use super::*;

    #[test]
    fn decoding_times_keep_variable_gaps_and_precede_presentation() {
        let shown = vec![0, 40, 80, 200, 240];
        let mut times = DecodingTimes::new(shown, 2);
        let decoded: Vec<_> = [0, 200, 80, 40, 240].map(|pts| times.next(pts)).into();
        assert_eq!(decoded, [-80, -40, 0, 40, 80].map(Some));
        assert!(times.is_done());
        assert_eq!(times.next(0), None, "no sixth picture: it would be shown too early");
    }

    #[test]
    fn frames_are_numbered_by_their_group() {
        let base = TimeBase::new(1, 25).unwrap();
        let section =
            |ticks, first| Section { start: Pts::new(ticks, base), first, pass: Pass::Decode };
        let mut router = Router::new(vec![section(0, 0), section(10, 7), section(20, 9)]);
        let numbers: Vec<_> = [0, 1, 10, 11, 12, 25].map(|ticks| router.number(ticks)).into();
        let want = [(0, true), (1, false), (7, true), (8, false), (9, false), (9, true)];
        assert_eq!(numbers, want);
    }
}
