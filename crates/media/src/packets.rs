//! The packets of a file's main video and sound, by time stamp and hash: what a check needs to say
//! that two files carry the same ones. Nothing is decoded.

use domain::{Pts, TimeBase};
use ffmpeg_sys_the_third as ff;
use sha2::{Digest, Sha256};

use crate::avio::Input;
use crate::clock::Clock;
use crate::source::Source;
use crate::sys::{self, Packet};
use crate::{MediaError, MediaInfo};

/// Which main stream a packet is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// One packet, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketInfo {
    /// Which stream.
    pub kind: Kind,
    /// When it is shown or heard; that of its decoding where it has none. MPEG-TS and HLS clocks are
    /// straightened as [`crate::Reader`] does.
    pub at: Option<Pts>,
    /// How long, in ticks of its time base; 0 when unknown.
    pub duration: i64,
    /// Bytes.
    pub size: usize,
    /// The first half of the SHA-256 of its content; of H.264 and HEVC, of its picture data only, and
    /// of AAC without ADTS header: the same may be stored with other headers beside it.
    pub hash: u128,
    /// Whether decoding can start here.
    pub key: bool,
}

/// Reads the packets of a file. See the module.
pub struct Packets {
    source: Source,
    info: MediaInfo,
    video: usize,
    audio: Option<usize>,
    clock: Clock,
    nal: Option<Nal>,
    packet: Packet,
}

impl Packets {
    /// Opens a file or a folder with an HLS playlist.
    ///
    /// # Errors
    /// As [`crate::Reader::open`].
    pub fn open<'a>(input: impl Into<Input<'a>>) -> Result<Self, MediaError> {
        let source = Source::open(input.into())?;
        let (info, video) = (source.info()?, source.main_video()?);
        let audio = source.best(ff::AVMediaType::AUDIO, video as i32);
        let clock = Clock::of(&source, video)?;
        let nal = Nal::of(source.parameters(video)?);
        Ok(Self { source, info, video, audio, clock, nal, packet: Packet::new()? })
    }

    /// What the file says of itself.
    pub fn info(&self) -> &MediaInfo {
        &self.info
    }

    /// The next packet of a main stream, in order of the file; `None` at its end, and where
    /// a file cannot be read on.
    ///
    /// # Errors
    /// A stream without a time base; an input of bytes that cannot be read on.
    #[allow(clippy::should_implement_trait)] // Fallible, and not worth an iterator's contract.
    pub fn next(&mut self) -> Result<Option<PacketInfo>, MediaError> {
        loop {
            self.packet.reset();
            // SAFETY: open context, blank packet.
            let code = unsafe { ff::av_read_frame(self.source.as_ptr(), self.packet.as_ptr()) };
            self.source.intact()?;
            if code < 0 {
                // As in `Reader`: what was read so far counts.
                return Ok(None);
            }
            let Ok(index) = usize::try_from(self.packet.get().stream_index) else { continue };
            let kind = if index == self.video {
                Kind::Video
            } else if Some(index) == self.audio {
                Kind::Audio
            } else {
                continue;
            };
            let base = sys::time_base(self.source.stream(index)?.time_base)
                .ok_or_else(|| self.source.input("has no time base"))?;
            self.clock.straighten(self.packet.get_mut(), index, base);
            return Ok(Some(self.describe(kind, base)));
        }
    }

    fn describe(&self, kind: Kind, base: TimeBase) -> PacketInfo {
        let p = self.packet.get();
        let stamp = if p.pts == ff::AV_NOPTS_VALUE { p.dts } else { p.pts };
        let content = self.packet.data();
        let mut hasher = Sha256::new();
        match (&self.nal, kind) {
            (Some(nal), Kind::Video) => nal.pictures(content, |part| hasher.update(part)),
            (_, Kind::Audio) => hasher.update(without_adts(content)),
            _ => hasher.update(content),
        }
        let mut half = [0; 16];
        half.iter_mut().zip(hasher.finalize()).for_each(|(to, from)| *to = from);
        PacketInfo {
            kind,
            at: (stamp != ff::AV_NOPTS_VALUE).then(|| Pts::new(stamp, base)),
            duration: p.duration,
            size: content.len(),
            hash: u128::from_be_bytes(half),
            key: p.flags & ff::AV_PKT_FLAG_KEY as i32 != 0,
        }
    }
}

/// An AAC packet without the header that MPEG-TS has on each and MP4 on none (ISO/IEC 13818-7, 6.2).
/// Only what is one for sure is cut off: it says the packet's own length.
fn without_adts(content: &[u8]) -> &[u8] {
    let [0xff, second, _, a, b, c, _, ..] = *content else { return content };
    let length = usize::from(a & 3) << 11 | usize::from(b) << 3 | usize::from(c >> 5);
    let header = if second & 1 == 1 { 7 } else { 9 };
    if second & 0xf6 == 0xf0 && length == content.len() {
        content.get(header..).unwrap_or(content)
    } else {
        content
    }
}

/// How the units of an H.264 or HEVC stream are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Nal {
    hevc: bool,
    /// Bytes of the length before each unit (ISO/IEC 14496-15); 0: start codes (Annex B).
    length: usize,
}

impl Nal {
    fn of(parameters: &ff::AVCodecParameters) -> Option<Self> {
        let hevc = match parameters.codec_id {
            ff::AVCodecID::H264 => false,
            ff::AVCodecID::HEVC => true,
            _ => return None,
        };
        // SAFETY: `extradata` points to `extradata_size` bytes owned by the parameters.
        let extra = unsafe { sys::slice(parameters.extradata, parameters.extradata_size) };
        // avcC and hvcC begin with their version, 1; parameter sets with start codes begin with 0.
        let place = if hevc { 21 } else { 4 };
        let length = match (extra.first(), extra.get(place)) {
            (Some(1), Some(byte)) => usize::from(byte & 3) + 1,
            _ => 0,
        };
        Some(Self { hevc, length })
    }

    /// Gives every unit that holds picture data, in order.
    fn pictures(self, content: &[u8], mut take: impl FnMut(&[u8])) {
        let mut rest = content;
        while let Some((unit, after)) =
            if self.length == 0 { by_start_code(rest) } else { by_length(rest, self.length) }
        {
            // They belong to no unit, and what turns start codes into lengths may leave one of the next start code
            // behind.
            let unit = without_zeros(unit);
            let is_picture = unit.first().is_some_and(|&byte| match self.hevc {
                true => byte >> 1 & 0x3f < 32,             // ITU-T H.265, table 7-1
                false => (1..=5).contains(&(byte & 0x1f)), // ITU-T H.264, table 7-1
            });
            if is_picture {
                take(unit);
            }
            rest = after;
        }
    }
}

/// The first unit and what comes after it.
fn by_length(rest: &[u8], bytes: usize) -> Option<(&[u8], &[u8])> {
    let (head, tail) = rest.split_at_checked(bytes)?;
    let length = head.iter().fold(0usize, |n, &byte| n << 8 | usize::from(byte));
    Some(tail.split_at(length.min(tail.len())))
}

/// The same between start codes (00 00 01).
fn by_start_code(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let find = |bytes: &[u8]| bytes.windows(3).position(|w| w == [0, 0, 1]);
    let tail = rest.get(find(rest)? + 3..)?;
    let end = find(tail).unwrap_or(tail.len());
    Some(tail.split_at(end))
}

/// A unit without zeros at its end (ITU-T H.264 and H.265, 7.4.1: it never ends in one).
fn without_zeros(mut unit: &[u8]) -> &[u8] {
    while let [start @ .., 0] = unit {
        unit = start;
    }
    unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(nal: Nal, content: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        nal.pictures(content, |unit| found.push(unit.to_vec()));
        found
    }

    #[test]
    fn a_picture_is_the_same_with_lengths_and_with_start_codes_and_without_its_headers() {
        let avc = Nal { hevc: false, length: 4 };
        let with_length = [0, 0, 0, 2, 0x67, 9, 0, 0, 0, 3, 0x65, 7, 8];
        let annex_b = [0, 0, 0, 1, 0x67, 9, 0, 0, 1, 0x65, 7, 8, 0];
        assert_eq!(pictures(avc, &with_length), [[0x65, 7, 8]]);
        assert_eq!(pictures(Nal { hevc: false, length: 0 }, &annex_b), [[0x65, 7, 8]]);
        // As FFmpeg makes it of a packet that ends with the first zero of the next start code.
        let with_zero = [0, 0, 0, 4, 0x65, 7, 8, 0];
        assert_eq!(pictures(avc, &with_zero), [[0x65, 7, 8]]);
    }

    #[test]
    fn an_adts_header_is_cut_off_and_nothing_else() {
        let packet = [0xff, 0xf1, 0x4c, 0x80, 0x01, 0x3f, 0xfc, 1, 2];
        assert_eq!(without_adts(&packet), [1, 2]);
        assert_eq!(without_adts(&packet[..8]), &packet[..8], "not its length");
        assert_eq!(without_adts(&packet[7..]), [1, 2]);
    }

    #[test]
    fn broken_lengths_end_at_the_end() {
        let avc = Nal { hevc: false, length: 4 };
        assert_eq!(pictures(avc, &[255, 255, 255, 255, 0x65, 1]), [[0x65, 1]]);
        assert_eq!(pictures(avc, &[0, 0]), [[0u8; 0]; 0]);
        assert_eq!(pictures(avc, &[0; 64]), [[0u8; 0]; 0]);
    }
}
