//! What was received, as objects: pieces, whose names say what they are, and takes, which are made of them.

use std::cmp::Reverse;

use store::{Object, ObjectPath};

/// A piece of a take: an object, whose name says all this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    /// Which take, from 1.
    pub(super) take: u32,
    /// Where in it the piece begins, in bytes.
    pub(super) start: u64,
    /// Number of the claim that it was received under.
    pub(super) claim: u64,
    /// How many bytes of the take it holds.
    pub(super) length: u64,
    /// Times of the broadcast between which it lies, in milliseconds.
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    /// Hashes of how its pictures are coded, and its sound; 0: it has none.
    pub(super) picture: u64,
    pub(super) sound: u64,
}

impl Piece {
    /// Name of its object.
    pub(super) fn name(&self) -> String {
        let Self { take, start, claim, length, from_ms, to_ms, picture, sound } = self;
        let place = format!("{take:06}-{start:015}-{claim:010}-{length}-{from_ms}-{to_ms}");
        format!("{place}-{picture:016x}-{sound:016x}.flv")
    }

    /// Reads the name of an object; `None`: it is no piece.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".flv")?.split('-');
        let mut number = |radix| u64::from_str_radix(parts.next()?, radix).ok();
        let (take, start, claim) = (number(10)?.try_into().ok()?, number(10)?, number(10)?);
        let (length, from_ms, to_ms) = (number(10)?, number(10)?, number(10)?);
        let (picture, sound) = (number(16)?, number(16)?);
        let piece = Self { take, start, claim, length, from_ms, to_ms, picture, sound };
        (piece.name() == name).then_some(piece)
    }
}

/// Name of the object that says that the session is over and all of it was stored, under this claim.
pub(super) fn end_name(claim: u64) -> String {
    format!("end-{claim:010}")
}

/// A take that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// Its objects, in order: the records of a sealed FLV file.
    pub pieces: Vec<ObjectPath>,
    /// Bytes of that file.
    pub bytes: u64,
    /// Times of the broadcast between which it lies, in milliseconds.
    pub from_ms: u64,
    /// See `from_ms`.
    pub to_ms: u64,
}

impl Take {
    /// How long it is, in milliseconds.
    pub fn duration_ms(&self) -> u64 {
        self.to_ms.saturating_sub(self.from_ms)
    }
}

/// The takes among the objects of what was received in a session, in order; `None`: some of it was not stored. Pieces that
/// do not follow what is there are a take of their own, which cannot be read.
pub fn takes(objects: &[Object]) -> Option<Vec<Take>> {
    let named = |object: &Object| Some((Piece::parse(object.path.base())?, object.path.clone()));
    let mut pieces: Vec<_> = objects.iter().filter_map(named).collect();
    let last = pieces.iter().map(|(piece, _)| piece.claim).max().unwrap_or(0);
    let ended = |object: &Object| {
        let claim = object.path.base().strip_prefix("end-")?.parse::<u64>().ok()?;
        (claim >= last).then_some(())
    };
    objects.iter().find_map(ended)?;
    // Of two servers that both believed to have the channel, the later one is believed.
    pieces.sort_by_key(|(piece, _)| (piece.take, piece.start, Reverse(piece.claim)));
    let mut takes: Vec<(u32, Take)> = Vec::new();
    for (piece, path) in pieces {
        match takes.last_mut() {
            Some((number, take)) if *number == piece.take && piece.start < take.bytes => {}
            Some((number, take)) if *number == piece.take && piece.start == take.bytes => {
                take.pieces.push(path);
                take.bytes += piece.length;
                take.to_ms = piece.to_ms;
            }
            _ => {
                let Piece { take, start, length, from_ms, to_ms, .. } = piece;
                let bytes = start + length;
                takes.push((take, Take { pieces: vec![path], bytes, from_ms, to_ms }));
            }
        }
    }
    Some(takes.into_iter().map(|(_, take)| take).collect())
}
