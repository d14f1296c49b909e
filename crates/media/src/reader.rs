//! Demuxing and decoding, in one pass over the file, in decoding output order.

use std::collections::VecDeque;
use std::ptr;

use domain::{Frame, Gop, Pts, TimeBase};
use ffmpeg_sys_the_third as ff;
use serde::{Deserialize, Serialize};

use crate::avio::Input;
use crate::clock::Clock;
use crate::damage::Damage;
use crate::gops::{Facts, Indexer, NotCopied};
use crate::muxer::Parameters;
use crate::picture::{self, Copier};
use crate::source::{MAX_PIXELS, Source};
use crate::splice::{self, Copied, Pass, Passed, Router, Section, Splice};
use crate::sys::{self, AGAIN, AvFrame, CodecContext, Packet, check};
use crate::writer::AudioPlan;
use crate::{MediaError, MediaInfo};

/// Read errors in a row after which a file is given up as unreadable from there on.
const MAX_ERRORS: u32 = 1000;

/// H.264 codes pictures in blocks of this many pixels; a larger border than that hides something.
const MACROBLOCK: i32 = 16;

/// Which streams a [`Reader`] hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Frames only; sound is skipped in the demuxer.
    Video,
    /// Frames and the main audio's packets.
    VideoAndAudio,
}

/// What comes next in the file.
pub enum Item {
    /// A decoded picture.
    Frame(Decoded),
    /// A packet of the main audio, as it is in the file.
    Audio(Audio),
    /// A group of pictures, as it is in the file; only from a reader that splices.
    Copied(Copied),
    /// A group of pictures was passed over: its place. Only from a reader that splices.
    Skipped(usize),
}

/// A decoded picture and what the decoder thinks of it.
pub struct Decoded {
    /// The picture.
    pub frame: Frame,
    /// Whether it, and all it was predicted from, decoded without complaint.
    pub intact: bool,
    /// How long it is shown, in ticks of its time base; 0 when unknown.
    pub duration: i64,
    /// Whether it is the first of a group; only from a reader that splices.
    pub starts_group: bool,
}

/// A packet of the main audio. Sound carries no faces, so it needs no covering.
pub struct Audio {
    pub(crate) packet: Packet,
    pub(crate) base: TimeBase,
}

/// What happened while reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadStats {
    /// Pictures the file should hold: its index's count, or the packets seen.
    pub expected: u64,
    /// Pictures decoded.
    pub frames: u64,
    /// Of these, not intact.
    pub damaged: u64,
    /// Errors of demuxer and decoder.
    pub errors: u64,
    /// Pictures whose time stamp was missing or not after the one before, moved by a tick or more.
    pub retimed: u64,
}

impl ReadStats {
    /// Adds those of another part of the same file.
    pub fn add(&mut self, other: Self) {
        let Self { expected, frames, damaged, errors, retimed } = other;
        self.expected += expected;
        self.frames += frames;
        self.damaged += damaged;
        self.errors += errors;
        self.retimed += retimed;
    }
}

/// A packet that was read.
enum Read {
    /// Of the video; it is in the reader.
    Video,
    Audio(Audio),
    /// Of no stream that is wanted, or none yet.
    Other,
    /// There are no more.
    End,
}

enum State {
    Reading,
    /// Between a run that is decoded and a group that is copied.
    Switching,
    Draining,
    Done,
}

/// Reads a video file. See the module.
pub struct Reader {
    source: Source,
    info: MediaInfo,
    decoder: CodecContext,
    video: usize,
    audio: Option<usize>,
    packet: Packet,
    decoded: AvFrame,
    copier: Copier,
    damage: Damage,
    /// Whether the demuxer called the packet before the next one corrupt.
    marked: bool,
    complaints: u64,
    state: State,
    errors_in_a_row: u32,
    last: Option<i64>,
    clock: Clock,
    packets: u64,
    stats: ReadStats,
    indexer: Result<Indexer, NotCopied>,
    router: Option<Router>,
    /// The decoder holds packets of a run that is not at its end.
    decoding: bool,
    /// Frames of an earlier pass that are handed out instead of decoding them again.
    kept: Option<VecDeque<Decoded>>,
}

impl Reader {
    /// Opens a file (or a folder holding an HLS playlist), or bytes. `to_8bit`: convert deeper samples
    /// instead of refusing them.
    ///
    /// # Errors
    /// [`MediaError::Input`] when it is not a readable video, [`MediaError::Refused`] when its kind
    /// is not taken.
    pub fn open<'a>(
        input: impl Into<Input<'a>>,
        streams: Streams,
        to_8bit: bool,
    ) -> Result<Self, MediaError> {
        let source = Source::open(input.into())?;
        let info = source.info()?;
        let video = source.main_video()?;
        refuse_kinds(&source, &info, to_8bit)?;
        let par = source.parameters(video)?;
        let layout = picture::layout(ff::AVPixelFormat(par.format)).ok_or_else(|| {
            source.refused(format!(
                "has {} samples, which H.264 video in MP4 cannot carry unchanged; convert it first \
                 (ffmpeg -i IN -pix_fmt yuv420p -crf 16 OUT.mp4)",
                info.video.pixel_format
            ))
        })?;
        let audio = match streams {
            Streams::Video => None,
            Streams::VideoAndAudio => source.best(ff::AVMediaType::AUDIO, video as i32),
        };
        let clock = Clock::of(&source, video)?;
        for (index, &stream) in source.streams().iter().enumerate() {
            let wanted = index == video || Some(index) == audio || clock.minds(index);
            // SAFETY: streams live as long as the source; discard is a plain setting of ours.
            unsafe {
                (*stream).discard =
                    if wanted { ff::AVDiscard::DEFAULT } else { ff::AVDiscard::ALL };
            }
        }
        let decoder = open_decoder(&source, video)?;
        let indexer = splice::parameter_sets(par, &info.video)
            .map(|avcc| Indexer::new(avcc, info.video.time_base));
        Ok(Self {
            decoder,
            copier: Copier::new(layout, picture::color(&info.video)),
            packet: Packet::new()?,
            decoded: AvFrame::new()?,
            damage: Damage::new(),
            marked: false,
            complaints: sys::complaints(),
            state: State::Reading,
            errors_in_a_row: 0,
            last: None,
            clock,
            packets: 0,
            stats: ReadStats::default(),
            indexer,
            router: None,
            decoding: false,
            kept: None,
            source,
            info,
            video,
            audio,
        })
    }

    /// Hands on the packets of some groups as they are, or passes them over, from the start; the others are decoded.
    /// `reorder`: the most pictures that one in a copied group is decoded early by.
    pub fn splice(&mut self, sections: Vec<Section>, reorder: usize) -> Result<Splice, NotCopied> {
        let par = self.source.parameters(self.video).map_err(|_| NotCopied::Codec)?;
        let splice = Splice::new(splice::parameter_sets(par, &self.info.video)?, reorder)?;
        self.router = Some(Router::new(sections));
        Ok(splice)
    }

    /// Hands out all the frames of an earlier pass over the same file, and its statistics, instead of
    /// decoding them again; from the start, and not with [`Reader::splice`].
    pub fn replay(&mut self, frames: Vec<Decoded>, stats: ReadStats) {
        self.kept = Some(frames.into());
        self.stats = stats;
    }

    /// The groups of pictures of the whole file, once [`Reader::next`] returned `None`.
    pub fn gops(self) -> Result<Vec<Gop>, NotCopied> {
        let context = self.decoder.get();
        let beyond = |coded: i32, shown: i32| coded.saturating_sub(shown) >= MACROBLOCK;
        if beyond(context.coded_width, context.width)
            || beyond(context.coded_height, context.height)
        {
            return Err(NotCopied::Cropped);
        }
        if self.stats.retimed > 0 {
            return Err(NotCopied::Times);
        }
        self.indexer?.finish()
    }

    /// The groups of pictures of the whole file by its packets alone, from the start: nothing is
    /// decoded. Says less than [`Reader::gops`] of what a decoder makes of them; their hashes are the same.
    ///
    /// # Errors
    /// A stream without a time base.
    pub fn index(mut self) -> Result<Result<Vec<Gop>, NotCopied>, MediaError> {
        loop {
            match (self.read()?, &mut self.indexer) {
                (Read::Video, Ok(indexer)) => {
                    indexer.packet(self.packet.data(), Facts::of(self.packet.get()));
                }
                (Read::End, _) | (_, Err(_)) => break,
                _ => {}
            }
        }
        Ok(self.indexer.and_then(Indexer::finish))
    }

    /// What the file says of itself.
    pub fn info(&self) -> &MediaInfo {
        &self.info
    }

    /// The layout of the frames handed out.
    pub fn pixel_format(&self) -> domain::PixelFormat {
        self.copier.layout.format
    }

    /// What the samples of the frames mean.
    pub fn color(&self) -> domain::Color {
        picture::color(&self.info.video)
    }

    /// How many frames may be shown before one they were predicted from: as many frames before a
    /// damaged one may be damaged too.
    pub fn reorder_depth(&self) -> usize {
        // H.264 and HEVC know no more than 16 (their decoded picture buffers' size).
        usize::try_from(self.decoder.get().has_b_frames).map_or(16, |n| n.min(16))
    }

    /// What happened so far; `expected` is final once [`Reader::next`] returned `None`.
    pub fn stats(&self) -> ReadStats {
        self.stats
    }

    /// Seconds by which the time stamps were moved so that an MPEG-TS clock starts at zero.
    pub fn clock_offset(&self) -> f64 {
        self.clock.first()
    }

    /// How the main audio is to be carried, if this reader hands it out.
    pub fn audio_plan(&self) -> Result<Option<AudioPlan>, MediaError> {
        let Some(index) = self.audio else {
            return Ok(None);
        };
        let stream = self.source.stream(index)?;
        let base = sys::time_base(stream.time_base)
            .ok_or_else(|| self.source.input("has an audio stream without a time base"))?;
        AudioPlan::new(Parameters::copy(self.source.parameters(index)?)?, base, stream).map(Some)
    }

    /// The next frame or audio packet; `None` at the end.
    ///
    /// # Errors
    /// Damage is not an error (it is counted, and shows in [`Decoded::intact`]); a picture size
    /// that changes is, and an input of bytes that cannot be read on.
    #[allow(clippy::should_implement_trait)] // Fallible, and not worth an iterator's contract.
    pub fn next(&mut self) -> Result<Option<Item>, MediaError> {
        loop {
            if let State::Done = self.state {
                return Ok(None);
            }
            if self.kept.is_some() {
                return self.next_kept();
            }
            // SAFETY: decoder and frame are valid; the frame is blank or holds an old reference,
            // which the call drops.
            let code =
                unsafe { ff::avcodec_receive_frame(self.decoder.as_ptr(), self.decoded.as_ptr()) };
            self.listen();
            match code {
                0 => return self.take_frame().map(|d| Some(Item::Frame(d))),
                ff::AVERROR_EOF if matches!(self.state, State::Switching) => self.switch()?,
                ff::AVERROR_EOF => self.finish()?,
                AGAIN => {
                    if let Some(item) = self.feed()? {
                        return Ok(Some(item));
                    }
                }
                _ => {
                    self.damage.complained();
                    self.error()?;
                }
            }
        }
    }

    /// A kept frame for every packet of video, so that the sound comes between them as it does in the
    /// file; what is left of them at its end.
    fn next_kept(&mut self) -> Result<Option<Item>, MediaError> {
        loop {
            let read = self.read()?;
            let ended = matches!(read, Read::End);
            match read {
                Read::Video | Read::End => match self.kept.as_mut().and_then(VecDeque::pop_front) {
                    Some(frame) => return Ok(Some(Item::Frame(frame))),
                    None if ended => {
                        self.state = State::Done;
                        return Ok(None);
                    }
                    None => {} // A packet without a picture of its own.
                },
                Read::Audio(audio) => return Ok(Some(Item::Audio(audio))),
                Read::Other => {}
            }
        }
    }

    /// Notes complaints of the decoder since the last look.
    fn listen(&mut self) {
        let complaints = sys::complaints();
        if complaints != self.complaints {
            self.complaints = complaints;
            self.damage.complained();
        }
    }

    fn error(&mut self) -> Result<(), MediaError> {
        self.stats.errors += 1;
        self.errors_in_a_row += 1;
        if self.errors_in_a_row >= MAX_ERRORS { self.finish() } else { Ok(()) }
    }

    /// Reads one packet: video goes to the decoder or is kept to be copied, audio goes to the caller.
    fn feed(&mut self) -> Result<Option<Item>, MediaError> {
        match self.read()? {
            Read::End => {
                self.drain()?;
                let ended = self.router.as_mut().and_then(Router::end);
                Ok(ended.map(|group| self.passed(group)))
            }
            Read::Video if self.router.is_some() => self.route(),
            Read::Video => {
                if let Ok(indexer) = &mut self.indexer {
                    indexer.packet(self.packet.data(), Facts::of(self.packet.get()));
                }
                self.send()?;
                Ok(None)
            }
            Read::Audio(audio) => Ok(Some(Item::Audio(audio))),
            Read::Other => Ok(None),
        }
    }

    /// The next packet of the file, its clock straightened.
    fn read(&mut self) -> Result<Read, MediaError> {
        self.packet.reset();
        // SAFETY: open context, blank packet.
        let code = unsafe { ff::av_read_frame(self.source.as_ptr(), self.packet.as_ptr()) };
        self.source.intact()?;
        if code == AGAIN {
            return Ok(Read::Other);
        }
        if code < 0 {
            if code != ff::AVERROR_EOF {
                // Demuxers that fail keep failing at the same place; what was read so far counts.
                self.error()?;
            }
            return Ok(Read::End);
        }
        let index = usize::try_from(self.packet.get().stream_index).ok();
        if let Some(index) = index.filter(|&index| self.clock.minds(index)) {
            let base = self.stream_base(Some(index))?;
            self.clock.straighten(self.packet.get_mut(), index, base);
        }
        if index == Some(self.video) {
            Ok(Read::Video)
        } else if index.is_some() && index == self.audio {
            let base = self.stream_base(self.audio)?;
            Ok(Read::Audio(Audio { packet: self.packet.take()?, base }))
        } else {
            Ok(Read::Other)
        }
    }

    /// Sends a packet on its way; gives the group that ended before it, if it is to be copied.
    fn route(&mut self) -> Result<Option<Item>, MediaError> {
        let Some(router) = &mut self.router else { return Ok(None) };
        let (pass, ended) = router.route(&self.packet);
        match pass {
            // Nothing that anybody wants comes any more, unless it is sound.
            Pass::Skip if router.is_done() && self.audio.is_none() => self.drain()?,
            Pass::Decode => {
                self.decoding = true;
                self.send()?;
            }
            // Its frames come before this packet, which waits where it is.
            Pass::Copy | Pass::Skip if self.decoding => self.drain_into(State::Switching)?,
            Pass::Copy | Pass::Skip => self.pass()?,
        }
        Ok(ended.map(|group| self.passed(group)))
    }

    fn passed(&mut self, group: Passed) -> Item {
        match group {
            Passed::Skipped(at) => Item::Skipped(at),
            Passed::Copied(group) => {
                self.stats.frames += group.frames();
                Item::Copied(group)
            }
        }
    }

    /// Does not decode the packet.
    fn pass(&mut self) -> Result<(), MediaError> {
        let packet = self.packet.take()?;
        self.packets += 1;
        let taken = self.router.as_mut().and_then(|router| router.take(packet));
        taken.ok_or_else(|| self.source.input("changed while it was read"))
    }

    /// The decoder gave all it had of a run: makes it ready for another, and goes on with the
    /// packet that waited.
    fn switch(&mut self) -> Result<(), MediaError> {
        // SAFETY: an open decoder.
        unsafe { ff::avcodec_flush_buffers(self.decoder.as_ptr()) };
        self.damage = Damage::new();
        self.decoding = false;
        self.state = State::Reading;
        self.pass()
    }

    fn send(&mut self) -> Result<(), MediaError> {
        let p = self.packet.get();
        let key = if p.pts == ff::AV_NOPTS_VALUE { p.dts } else { p.pts };
        let flag = |f: i32| p.flags & f != 0;
        // Where FFmpeg cuts a stream into pictures itself (MPEG-TS), it hangs the mark on the picture
        // before the one it means.
        let marked = flag(ff::AV_PKT_FLAG_CORRUPT as i32);
        let corrupt = marked || self.marked;
        self.marked = marked;
        let sync = flag(ff::AV_PKT_FLAG_KEY as i32);
        if !flag(ff::AV_PKT_FLAG_DISCARD as i32) {
            self.packets += 1;
        }
        self.damage.sent(key, p.duration, sync, corrupt);
        // SAFETY: valid decoder and packet; the decoder takes its own reference.
        let code = unsafe { ff::avcodec_send_packet(self.decoder.as_ptr(), self.packet.as_ptr()) };
        self.listen();
        if code < 0 {
            self.damage.complained();
            self.error()
        } else {
            self.errors_in_a_row = 0;
            Ok(())
        }
    }

    fn drain(&mut self) -> Result<(), MediaError> {
        self.drain_into(State::Draining)
    }

    /// Asks the decoder for what it still holds.
    fn drain_into(&mut self, state: State) -> Result<(), MediaError> {
        if let State::Reading = self.state {
            self.state = state;
            // SAFETY: a null packet asks the decoder for what it still holds.
            let code = unsafe { ff::avcodec_send_packet(self.decoder.as_ptr(), ptr::null()) };
            self.listen();
            if code < 0 {
                // Of a packet sent before, as for any other: threads report late.
                self.damage.complained();
                self.error()?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), MediaError> {
        self.state = State::Done;
        self.stats.expected = self.packets.max(self.indexed()?).max(self.stats.frames);
        Ok(())
    }

    /// Pictures in the index of an MP4: those behind an edit list or beyond the end of a cut-off
    /// file never become packets.
    fn indexed(&self) -> Result<u64, MediaError> {
        if !self.info.container.contains("mov") {
            return Ok(0);
        }
        let stream = ptr::from_ref(self.source.stream(self.video)?).cast_mut();
        // SAFETY: the stream is alive; entries are only read, and the index is not out of range.
        let count = unsafe {
            (0..ff::avformat_index_get_entries_count(stream))
                .filter_map(|i| ff::avformat_index_get_entry(stream, i).as_ref())
                .filter(|entry| entry.flags() & ff::AVINDEX_DISCARD_FRAME as i32 == 0)
                .count()
        };
        Ok(count as u64)
    }

    fn take_frame(&mut self) -> Result<Decoded, MediaError> {
        let av = self.decoded.get();
        let size = self.info.video.size;
        if (av.width, av.height) != (size.width as i32, size.height as i32)
            || picture::layout(ff::AVPixelFormat(av.format)) != Some(self.copier.layout)
        {
            return Err(self.changed_size());
        }
        if av.interlaced_frame != 0 {
            return Err(self.source.refused(INTERLACED));
        }
        let own = if av.pts == ff::AV_NOPTS_VALUE { av.pkt_dts } else { av.pts };
        let clean = av.flags & ff::AV_FRAME_FLAG_CORRUPT as i32 == 0 && av.decode_error_flags == 0;
        let origin = self.damage.received(own, clean);
        let base = self.info.video.time_base;
        let stamp = av.best_effort_timestamp;
        let ticks = self.next_ticks(stamp);
        let (seq, starts_group) = match &mut self.router {
            Some(router) => router.number(ticks),
            None => (self.stats.frames, false),
        };
        let frame = self.copier.copy(&self.decoded, seq, Pts::new(ticks, base))?;
        self.errors_in_a_row = 0;
        self.stats.frames += 1;
        let intact = origin.intact;
        self.stats.damaged += u64::from(!intact);
        Ok(Decoded { frame, intact, duration: origin.duration, starts_group })
    }

    /// The frame's own time stamp, or the next tick where it has none or repeats the last.
    fn next_ticks(&mut self, stamp: i64) -> i64 {
        let wanted = (stamp != ff::AV_NOPTS_VALUE).then_some(stamp);
        let ticks = match (wanted, self.last) {
            (Some(t), Some(last)) if t > last => t,
            (Some(t), None) => t,
            (_, last) => {
                self.stats.retimed += 1;
                last.map_or(0, |l| l.saturating_add(1))
            }
        };
        self.last = Some(ticks);
        ticks
    }

    fn changed_size(&self) -> MediaError {
        let av = self.decoded.get();
        let was = self.info.video.size;
        let at = self.last.map_or(0.0, |t| self.info.video.time_base.seconds(t));
        self.source.refused(format!(
            "changes from {}x{} to {}x{} at {at:.1} s; one output has one picture size, so split it \
             there, or scale it to one size first (ffmpeg -i IN -vf scale={}:{} OUT.mp4)",
            was.width, was.height, av.width, av.height, was.width, was.height
        ))
    }

    fn stream_base(&self, index: Option<usize>) -> Result<TimeBase, MediaError> {
        let stream = self.source.stream(index.unwrap_or(self.video))?;
        sys::time_base(stream.time_base).ok_or_else(|| self.source.input("has no time base"))
    }
}

const INTERLACED: &str = "is interlaced (each picture holds two moments), which is not covered \
     safely yet; deinterlace it first (ffmpeg -i IN -vf bwdif -c:v libx264 -crf 16 OUT.mp4)";

fn refuse_kinds(source: &Source, info: &MediaInfo, to_8bit: bool) -> Result<(), MediaError> {
    let video = &info.video;
    if video.interlaced {
        return Err(source.refused(INTERLACED));
    }
    if !to_8bit && (video.depth > 8 || video.hdr) {
        let what = if video.hdr { "HDR video" } else { "video" };
        return Err(source.refused(format!(
            "is {what} with {} bits a sample and the output has 8; pass --to-8bit to convert it",
            video.depth
        )));
    }
    Ok(())
}

fn open_decoder(source: &Source, video: usize) -> Result<CodecContext, MediaError> {
    let par = source.parameters(video)?;
    // SAFETY: searches a static table.
    let codec = unsafe { ff::avcodec_find_decoder(par.codec_id) };
    if codec.is_null() {
        return Err(source.input("needs a decoder that this FFmpeg was built without"));
    }
    let mut decoder = CodecContext::new(codec)?;
    // SAFETY: both objects are valid; the call copies.
    check("decoder parameters", unsafe {
        ff::avcodec_parameters_to_context(decoder.as_ptr(), par)
    })?;
    let context = decoder.get_mut();
    context.pkt_timebase = source.stream(video)?.time_base;
    context.max_pixels = MAX_PIXELS;
    // Frames with holes come out marked instead of vanishing: they are covered, and counted.
    context.flags |= ff::AV_CODEC_FLAG_OUTPUT_CORRUPT as i32;
    context.thread_type = ff::FF_THREAD_FRAME as i32 | ff::FF_THREAD_SLICE as i32;
    context.thread_count =
        std::thread::available_parallelism().map_or(2, |n| n.get().min(4)) as i32;
    // SAFETY: the context was allocated for this codec.
    let code = unsafe { ff::avcodec_open2(decoder.as_ptr(), codec, ptr::null_mut()) };
    if code < 0 {
        return Err(source.input(format!("has video that cannot be decoded: {}", sys::why(code))));
    }
    Ok(decoder)
}
