//! What a publisher sends, kept sealed: the original that a recording is covered from once more when there is time.
//!
//! Pictures and sound are written down as they come, as the tags of an FLV file (FLV annex E), which is how RTMP carries
//! them. The file is sealed in this process and goes to the store in pieces; nothing of it is ever plain on a disk. A
//! *take* is one such file: it ends where the format changes. Its clock is the broadcast's, from where it begins.
//!
//! What is covered as a whole by hand is not kept at all, from what viewers had not seen yet when somebody pressed the
//! key: so everything waits for a moment before it is sealed.

mod piece;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use pipeline::live::Timeline;
use sealed::{MAX_RECORD, SealKey};
use sha2::{Digest, Sha256};
use store::{ObjectPath, Objects};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use crate::recorder::all;
use piece::{Piece, end_name};
pub use piece::{Take, takes};

/// Pictures that came this long before somebody covered everything were not shown uncovered: a live picture is shown
/// .85 s after it came.
const UNSEEN: Duration = Duration::from_millis(1250);
/// How long everything waits before it is sealed: longer than that.
const HELD: Duration = Duration::from_millis(1500);
/// A piece is stored when it is this large, in bytes, ...
const PIECE: usize = MAX_RECORD;
/// ... or this old: a server that is killed loses that, and what waits.
const PIECE_AGE: Duration = Duration::from_secs(2);
/// What waits or is not stored yet, in bytes, at most.
const MOST: usize = 32 << 20;
/// Pieces that wait to be stored, at most.
const MAX_WAITING: usize = 8;
/// Milliseconds that FLV can say (E.4.1: signed, of 32 bits): 24 days.
const LAST_MS: u64 = i32::MAX as u64;
/// Ticks of 1/90000 s a millisecond.
const TICKS: i64 = 90;

/// Signature, version 1, picture and sound, length of this header, and that no tag is before the first (FLV E.2, E.3).
const HEADER: &[u8] = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";
/// What the object holds that says that all was stored: only its name counts.
const END: &[u8] = b"end";
/// Tag types (FLV E.4.1).
const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
/// Bytes of a tag's own header, and of the length behind it.
const TAG: usize = 11;
const TAIL: usize = 4;

/// A tag that waits to be sealed.
struct Tag {
    /// When it came.
    came: Duration,
    /// Which take it belongs to, and how that is coded, as in [`Piece`].
    take: u32,
    format: (u64, u64),
    ms: u64,
    what: What,
    /// Its own header, and its beginning.
    head: Vec<u8>,
    data: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// How pictures are coded that follow.
    PictureFormat,
    Picture,
    /// How sound is coded that follows.
    SoundFormat,
    Sound,
}

impl What {
    fn tag_type(self) -> u8 {
        match self {
            Self::PictureFormat | Self::Picture => VIDEO,
            Self::SoundFormat | Self::Sound => AUDIO,
        }
    }
}

impl Tag {
    fn len(&self) -> usize {
        self.head.len() + self.data.len() + TAIL
    }
}

/// A piece that is to be stored.
struct Sealing {
    piece: Piece,
    plain: Zeroizing<Vec<u8>>,
}

/// What is to be stored next.
enum Next {
    Piece(Sealing),
    /// The session is over: there is no more.
    End,
}

/// Keeps what one publisher after the other sends in a session. It is in the way of nothing: what cannot be stored ends
/// this, not the broadcast.
pub(crate) struct Received {
    /// `None`: it failed.
    to: Option<mpsc::Sender<Next>>,
    failed: watch::Receiver<Option<String>>,
    claim: u64,
    clock: Timeline,
    /// How pictures and sound are coded that come now.
    video: Option<Bytes>,
    sound: Option<Bytes>,
    /// The take under way, 0: none yet; and how its pictures and its sound are coded, as in [`Piece`].
    take: u32,
    format: (u64, u64),
    /// When it began, in milliseconds of the broadcast: its own clock starts there.
    from_ms: u64,
    /// Nothing more goes into it.
    is_over: bool,
    last_video: u64,
    last_sound: u64,
    /// Pictures are left out up to the next key frame.
    skipping: bool,
    /// Everything is covered by hand.
    hidden: bool,
    waiting: VecDeque<Tag>,
    waiting_bytes: usize,
    /// What the next piece holds.
    open: Option<Sealing>,
    opened: Duration,
    /// Where the take goes on of which the last piece is.
    end: (u32, u64),
    /// Why it failed here.
    broken: Option<&'static str>,
}

/// What is to be kept, and where.
pub(crate) struct Place {
    /// The store.
    pub(crate) objects: Objects,
    /// The folder of the session ([`store::received_folder`]).
    pub(crate) folder: ObjectPath,
    /// Seals it, as this ([`store::received_context`]).
    pub(crate) key: SealKey,
    /// See `key`.
    pub(crate) context: String,
}

impl Received {
    /// Goes on behind what is there. `claim`: that of the channel; `hidden`: everything is covered by hand.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) async fn open(place: Place, claim: i64, hidden: bool) -> Result<Self, store::Error> {
        let claim = claim.unsigned_abs();
        let there = all(&place.objects, &place.folder).await?;
        let there: Vec<_> = there.iter().filter_map(|o| Piece::parse(o.path.base())).collect();
        let last = there.iter().max_by_key(|piece| (piece.take, piece.start + piece.length));
        let first = last.and_then(|last| there.iter().find(|piece| piece.take == last.take));
        let (to, waiting) = mpsc::channel(MAX_WAITING);
        let (told, failed) = watch::channel(None);
        tokio::spawn(store_all(place, claim, waiting, told));
        let (take, format, ms) = last.map_or((0, (0, 0), 0), |piece| {
            (piece.take, (piece.picture, piece.sound), piece.to_ms)
        });
        Ok(Self {
            to: Some(to),
            failed,
            claim,
            clock: Timeline::new(0),
            video: None,
            sound: None,
            take,
            format,
            from_ms: first.map_or(0, |piece| piece.from_ms),
            is_over: take == 0,
            last_video: ms,
            last_sound: ms,
            skipping: true,
            hidden,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            open: None,
            opened: Duration::ZERO,
            end: last.map_or((0, 0), |piece| (piece.take, piece.start + piece.length)),
            broken: None,
        })
    }

    /// The publisher is gone: the next one has another clock.
    pub(crate) fn gone(&mut self) {
        self.clock.reset();
        (self.video, self.sound, self.skipping) = (None, None, true);
    }

    /// Pictures that follow are coded like this.
    pub(crate) fn video_format(&mut self, avcc: &Bytes) {
        self.video = Some(avcc.clone());
        if hash(avcc) != self.format.0 {
            self.is_over = true;
        }
    }

    /// Sound that follows is coded like this. `now`: of the broadcast.
    pub(crate) fn sound_format(&mut self, asc: &Bytes, now: Duration) {
        self.sound = Some(asc.clone());
        match self.format.1 {
            _ if self.is_over => {}
            0 => self.push_sound_format(asc.clone(), now, self.last_sound),
            before => self.is_over = before != hash(asc),
        }
    }

    /// A picture: when it is decoded, by the publisher's clock, how much later it is shown, whether it is a key frame.
    pub(crate) fn picture(
        &mut self,
        (ms, composition_ms, is_key): (u64, i32, bool),
        data: &Bytes,
        now: Duration,
    ) {
        let is_decodable = self.video.is_some() && (is_key || !(self.skipping || self.is_over));
        if self.hidden || !is_decodable {
            return;
        }
        let at = self.place(ms, now).max(self.last_video + 1);
        if self.is_over {
            self.begin_take(now, at);
        }
        self.skipping = false;
        self.last_video = at;
        let frame_type = if is_key { 0x17 } else { 0x27 };
        let composition = composition_ms.to_be_bytes();
        let head = [frame_type, 1, composition[1], composition[2], composition[3]];
        self.push(What::Picture, at, now, &head, data.clone());
    }

    /// A frame of sound.
    pub(crate) fn sound(&mut self, ms: u64, data: &Bytes, now: Duration) {
        let at = self.place(ms, now).max(self.last_sound + 1);
        if self.is_over || self.format.1 == 0 {
            return;
        }
        self.last_sound = at;
        self.push(What::Sound, at, now, &[0xaf, 1], data.clone());
    }

    /// Covers everything by hand, or no longer. What was not shown yet when that begins is forgotten.
    pub(crate) fn hide(&mut self, hidden: bool, now: Duration) {
        self.hidden = hidden;
        if !hidden {
            return;
        }
        self.skipping = true;
        self.waiting.retain(|tag| tag.what != What::Picture || now >= tag.came + UNSEEN);
        self.waiting_bytes = self.waiting.iter().map(Tag::len).sum();
    }

    /// Seals what waited long enough. To be called a few times a second.
    pub(crate) fn look_after(&mut self, now: Duration) {
        while self.waiting.front().is_some_and(|tag| now >= tag.came + HELD) {
            self.write_first(now);
        }
        if self.open.is_some() && now >= self.opened + PIECE_AGE {
            self.store();
        }
    }

    /// Why it does not go on, if so.
    pub(crate) fn failed(&self) -> Option<String> {
        let failed = self.failed.borrow().clone();
        failed.or_else(|| self.broken.map(str::to_owned))
    }

    /// Waits until all is stored. `is_end`: the session is over; else it goes on elsewhere.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) async fn finish(mut self, is_end: bool) -> Result<(), String> {
        let now = self.waiting.back().map_or(Duration::ZERO, |tag| tag.came);
        while !self.waiting.is_empty() {
            self.room().await;
            self.write_first(now);
        }
        self.room().await;
        self.store();
        if let Some(to) = self.to.take().filter(|_| is_end) {
            // If nobody takes it, that failed.
            let _ = to.send(Next::End).await;
        }
        // Its sender goes when all is done.
        while self.failed.changed().await.is_ok() {}
        self.failed().map_or(Ok(()), Err)
    }

    /// Waits until one more piece can wait to be stored.
    async fn room(&self) {
        if let Some(to) = &self.to {
            // If nobody takes it, that failed.
            let _ = to.reserve().await;
        }
    }

    /// When that is, in milliseconds of the broadcast, which has the publisher's time `ms` and comes now.
    fn place(&mut self, ms: u64, now: Duration) -> u64 {
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX / TICKS) * TICKS;
        u64::try_from(self.clock.place(ms, now) / TICKS).unwrap_or(0)
    }

    /// Begins a take with a key frame that comes now.
    fn begin_take(&mut self, now: Duration, ms: u64) {
        let Some(avcc) = self.video.clone() else { return };
        self.take += 1;
        self.format = (hash(&avcc), 0);
        // Sound that comes now may be a little older.
        (self.from_ms, self.last_sound) = (ms, self.last_sound.max(ms.saturating_sub(1)));
        self.is_over = false;
        self.push(What::PictureFormat, ms, now, &[0x17, 0, 0, 0, 0], avcc);
        if let Some(asc) = self.sound.clone() {
            self.push_sound_format(asc, now, ms);
        }
    }

    fn push_sound_format(&mut self, asc: Bytes, now: Duration, ms: u64) {
        self.format.1 = hash(&asc);
        self.push(What::SoundFormat, ms, now, &[0xaf, 0], asc);
    }

    /// Puts a tag behind those that wait. `begin`: the first bytes of what it holds.
    fn push(&mut self, what: What, ms: u64, now: Duration, begin: &[u8], data: Bytes) {
        if self.to.is_none() {
            return;
        }
        let size = (begin.len() + data.len()) as u32; // Messages are 4 MiB at most.
        let Some(time) = ms.checked_sub(self.from_ms).filter(|ms| *ms <= LAST_MS) else {
            return self.fail("what is kept is longer than 24 days");
        };
        let time = (time as u32).to_be_bytes();
        let mut head = Vec::with_capacity(TAG + begin.len());
        head.push(what.tag_type());
        head.extend_from_slice(&size.to_be_bytes()[1..]);
        head.extend_from_slice(&[time[1], time[2], time[3], time[0], 0, 0, 0]);
        head.extend_from_slice(begin);
        let (take, format) = (self.take, self.format);
        let tag = Tag { came: now, take, format, ms, what, head, data };
        self.waiting_bytes += tag.len();
        self.waiting.push_back(tag);
        let open = self.open.as_ref().map_or(0, |open| open.plain.len());
        if self.waiting_bytes + open > MOST {
            self.fail("the publisher sends more than can be kept");
        }
    }

    /// Writes the first tag that waits into the piece that is open.
    fn write_first(&mut self, now: Duration) {
        let Some(tag) = self.waiting.pop_front() else { return };
        self.waiting_bytes -= tag.len();
        if self.open.as_ref().is_some_and(|open| open.piece.take != tag.take) {
            self.store();
        }
        let start = if self.end.0 == tag.take { self.end.1 } else { 0 };
        let open = self.open.get_or_insert_with(|| {
            self.opened = now;
            let (from_ms, to_ms, length) = (tag.ms, tag.ms, 0);
            let (take, claim, (picture, sound)) = (tag.take, self.claim, tag.format);
            let piece = Piece { take, start, claim, length, from_ms, to_ms, picture, sound };
            Sealing { piece, plain: Zeroizing::new(Vec::with_capacity(PIECE)) }
        });
        let size = (tag.len() - TAIL) as u32;
        if open.piece.start == 0 && open.plain.is_empty() {
            open.plain.extend_from_slice(HEADER);
        }
        for bytes in [&tag.head[..], &tag.data[..], &size.to_be_bytes()] {
            open.plain.extend_from_slice(bytes);
        }
        open.piece.to_ms = open.piece.to_ms.max(tag.ms);
        open.piece.sound = tag.format.1;
        if open.plain.len() >= PIECE {
            self.store();
        }
    }

    /// Has the open piece stored.
    fn store(&mut self) {
        let Some(mut sealing) = self.open.take() else { return };
        sealing.piece.length = sealing.plain.len() as u64;
        self.end = (sealing.piece.take, sealing.piece.start + sealing.piece.length);
        if let Some(to) = &self.to
            && to.try_send(Next::Piece(sealing)).is_err()
        {
            self.fail("the store does not keep up with the publisher");
        }
    }

    fn fail(&mut self, why: &'static str) {
        self.to = None;
        self.broken.get_or_insert(why);
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.open = None;
    }
}

/// Tells one format from another; never 0.
fn hash(format: &Bytes) -> u64 {
    let digest = Sha256::digest(format);
    let first = digest.iter().take(8);
    first.fold(0, |number, byte| number << 8 | u64::from(*byte)).max(1)
}

async fn store_all(
    place: Place,
    claim: u64,
    mut waiting: mpsc::Receiver<Next>,
    told: watch::Sender<Option<String>>,
) {
    while let Some(next) = waiting.recv().await {
        let object = match &next {
            Next::Piece(Sealing { piece, plain }) => {
                seal(&place, piece, plain).map(|sealed| (piece.name(), sealed))
            }
            Next::End => Ok((end_name(claim), END.to_vec())),
        };
        let stored = match object {
            Ok((name, bytes)) => put(&place, &name, bytes).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = stored {
            told.send_replace(Some(why));
            return;
        }
    }
}

fn seal(place: &Place, piece: &Piece, plain: &[u8]) -> Result<Vec<u8>, sealed::Error> {
    let mut sealed = Vec::with_capacity(plain.len() + plain.len() / 1024);
    let starts = (piece.start..).step_by(MAX_RECORD);
    for (record, start) in plain.chunks(MAX_RECORD).zip(starts) {
        let record = sealed::seal(&place.key, &place.context, start, record);
        sealed.extend_from_slice(&record?);
    }
    Ok(sealed)
}

async fn put(place: &Place, name: &str, bytes: Vec<u8>) -> Result<(), String> {
    let path = place.folder.join(name).map_err(|error| error.to_string())?;
    let stored = place.objects.put_new(&path, bytes.into()).await;
    stored.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
