//! Packets of both files: is the sound the same, and which groups of pictures were copied?

use std::collections::{HashMap, HashSet};

use domain::Pts;
use media::{Kind, PacketInfo, Packets};

use super::report::{Failure, FailureKind, Sound};
use crate::{Input, JobError};

/// Re-encoded sound may begin and end this much earlier or later, in seconds: codecs pad.
const PADDING: f64 = 0.15;

/// What the packets say.
pub(super) struct Streams {
    pub sound: Sound,
    pub failures: Vec<Failure>,
    pub notes: Vec<String>,
    /// Times of pictures whose packets were copied with the rest of their group.
    pub copied: HashSet<Instant>,
    pub copied_groups: u64,
}

/// A time without its time base: seconds as a fraction in lowest terms, so that equal times in
/// different bases are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Instant(i128, i128);

impl Instant {
    pub(super) fn of(pts: Pts) -> Self {
        let num = i128::from(pts.ticks) * i128::from(pts.base.num());
        let den = i128::from(pts.base.den());
        let by = gcd(num.unsigned_abs(), den.unsigned_abs()).max(1) as i128;
        Self(num / by, den / by)
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Compares the packets of two files.
pub(super) fn compare(original: &Input, output: &Input) -> Result<Streams, JobError> {
    let (mut before, mut after) =
        (Packets::open(original.open()?)?, Packets::open(output.open()?)?);
    let codecs = (before.info().audio.clone(), after.info().audio.clone());
    let before = Lanes::read(&mut before)?;
    let after = Lanes::read(&mut after)?;
    let (copied, copied_groups) = copied(&before.video, &after.video);
    let mut streams = Streams {
        sound: Sound::Wrong,
        failures: Vec::new(),
        notes: Vec::new(),
        copied,
        copied_groups,
    };
    let mut fail = |kind, at, message: String| streams.failures.push(Failure { kind, at, message });
    match codecs {
        (None, None) => streams.sound = Sound::None,
        (Some(was), None) => {
            fail(FailureKind::Sound, None, format!("the {} sound is missing", was.codec))
        }
        (None, Some(is)) => fail(
            FailureKind::Sound,
            None,
            format!("there is {} sound, and the original has none", is.codec),
        ),
        (Some(was), Some(is)) if was.codec != is.codec => {
            let what = format!("the sound was re-encoded from {} to {}", was.codec, is.codec);
            if was.copyable {
                fail(FailureKind::Sound, None, format!("{what}, though MP4 can carry it"));
            } else if let Some(message) = moved_ends(&before.audio, &after.audio) {
                fail(FailureKind::SoundMoved, None, message);
            } else {
                streams.sound = Sound::Reencoded;
                streams.notes.push(format!("{what}: MP4 cannot carry it"));
            }
        }
        _ => match sound_differs(&before.audio, &after.audio) {
            Some(failure) => streams.failures.push(failure),
            None => streams.sound = Sound::Identical,
        },
    }
    Ok(streams)
}

/// The packets of both main streams; some 60 bytes each.
#[derive(Default)]
struct Lanes {
    video: Vec<PacketInfo>,
    audio: Vec<PacketInfo>,
}

impl Lanes {
    fn read(packets: &mut Packets) -> Result<Self, JobError> {
        let mut lanes = Self::default();
        while let Some(packet) = packets.next()? {
            match packet.kind {
                Kind::Video => lanes.video.push(packet),
                Kind::Audio => lanes.audio.push(packet),
            }
        }
        Ok(lanes)
    }
}

fn sound_differs(before: &[PacketInfo], after: &[PacketInfo]) -> Option<Failure> {
    let same_content = before.iter().zip(after).position(|(a, b)| a.hash != b.hash);
    if let Some(at) =
        same_content.or((before.len() != after.len()).then(|| before.len().min(after.len())))
    {
        let time = before.get(at).or(after.get(at)).and_then(|p| p.at).map(Pts::seconds);
        return Some(Failure {
            kind: FailureKind::SoundChanged,
            at: time,
            message: format!(
                "sound differs from {:.2} s on ({} packets, {} in the original)",
                time.unwrap_or(0.0),
                after.len(),
                before.len()
            ),
        });
    }
    let moved: Vec<(f64, f64)> =
        before.iter().zip(after).filter_map(|(a, b)| moved_by(a, b)).collect();
    let (first, worst) =
        (moved.first()?, moved.iter().map(|m| m.1).max_by(|a, b| a.abs().total_cmp(&b.abs()))?);
    Some(Failure {
        kind: FailureKind::SoundMoved,
        at: Some(first.0),
        message: format!(
            "{} sound packets come at another time, from {:.2} s on, by up to {:.1} ms",
            moved.len(),
            first.0,
            worst * 1000.0
        ),
    })
}

/// When a packet comes, and how much later in the other file, if by a whole tick or more: time
/// bases differ between containers, so times are rounded to one of them.
fn moved_by(a: &PacketInfo, b: &PacketInfo) -> Option<(f64, f64)> {
    let (Some(p), Some(q)) = (a.at, b.at) else {
        return (a.at.is_some() != b.at.is_some()).then_some((a.at.map_or(0.0, Pts::seconds), 0.0));
    };
    let by = q.seconds_since(p);
    let tick = p.base.seconds(1).max(q.base.seconds(1));
    let moved = if p.base == q.base { p.ticks != q.ticks } else { by.abs() >= tick };
    moved.then(|| (p.seconds(), by))
}

/// What is wrong with where re-encoded sound begins and ends.
fn moved_ends(before: &[PacketInfo], after: &[PacketInfo]) -> Option<String> {
    let ends = |lane: &[PacketInfo]| {
        let first = lane.iter().find_map(|p| p.at)?.seconds();
        let last = lane.iter().rev().find_map(|p| Some((p.at?, p.duration)))?;
        Some((first, last.0.seconds() + last.0.base.seconds(last.1)))
    };
    match (ends(before), ends(after)) {
        (Some(a), Some(b)) => {
            let by = (b.0 - a.0, b.1 - a.1);
            (by.0.abs() > PADDING || by.1.abs() > PADDING).then(|| {
                format!(
                    "sound begins {:.2} s and ends {:.2} s later than in the original",
                    by.0, by.1
                )
            })
        }
        (Some(_), None) => Some("the re-encoded sound is empty".to_owned()),
        _ => None,
    }
}

/// The pictures that were copied with their whole group, and how many groups.
fn copied(before: &[PacketInfo], after: &[PacketInfo]) -> (HashSet<Instant>, u64) {
    let instant = |p: &PacketInfo| p.at.map(Instant::of);
    let there: HashMap<Instant, u128> =
        after.iter().filter_map(|p| Some((instant(p)?, p.hash))).collect();
    let mut times = HashSet::new();
    let mut groups = 0;
    for group in before.chunk_by(|_, next| !next.key) {
        let found: Option<Vec<Instant>> =
            group.iter().map(|p| instant(p).filter(|at| there.get(at) == Some(&p.hash))).collect();
        if let (Some(found), Some(true)) = (found, group.first().map(|p| p.key)) {
            times.extend(found);
            groups += 1;
        }
    }
    (times, groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::TimeBase;

    fn packet(ms: i64, hash: u128, key: bool) -> PacketInfo {
        let at = Some(Pts::new(ms, TimeBase::new(1, 1000).unwrap()));
        PacketInfo { kind: Kind::Video, at, duration: 40, size: 1, hash, key }
    }

    #[test]
    fn a_group_is_copied_only_with_all_its_packets() {
        let before =
            [packet(0, 1, true), packet(40, 2, false), packet(80, 3, true), packet(120, 4, false)];
        let mut after = before;
        after[1].hash = 9;
        let (times, groups) = copied(&before, &after);
        assert_eq!((times.len(), groups), (2, 1));
        let ticks = TimeBase::new(1, 90_000).unwrap();
        assert!(times.contains(&Instant::of(Pts::new(7200, ticks))), "80 ms in another base");
    }

    #[test]
    fn sound_is_the_same_only_with_content_number_and_times() {
        let before = [packet(0, 1, true), packet(20, 2, true), packet(40, 3, true)];
        assert_eq!(sound_differs(&before, &before), None);
        let kind = |after: &[PacketInfo]| sound_differs(&before, after).map(|f| f.kind);
        assert_eq!(kind(&before[..2]), Some(FailureKind::SoundChanged));
        let mut after = before;
        after[2].hash = 7;
        assert_eq!(kind(&after), Some(FailureKind::SoundChanged));
        let mut after = before;
        after[2].at = packet(41, 3, true).at;
        assert_eq!(kind(&after), Some(FailureKind::SoundMoved));
    }

    #[test]
    fn rounding_to_another_time_base_is_not_moving() {
        let before = [packet(21, 1, true)];
        let mut after = before;
        after[0].at = Some(Pts::new(926, TimeBase::new(1, 44_100).unwrap())); // 20.998 ms
        assert_eq!(sound_differs(&before, &after), None);
    }
}
