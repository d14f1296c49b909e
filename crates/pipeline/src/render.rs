//! The second pass: groups of pictures that need no cover are copied, every other frame is painted
//! by the plan and encoded, and all is joined with the untouched sound.

use std::path::Path;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use domain::Frame;
use media::{
    ChunkWriter, Copied, Decoded, EncodeSettings, Encoded, Item, MediaError, MediaInfo, NotCopied,
    Pass, ReadStats, Reader, Section, Splice, Streams, VideoEncoder, Writer,
};
use redact::{Cover, Painter, Reason, Redacted, RedactionPlan};
use sealed::Sealed;

use crate::analyse::next_frame;
use crate::poster::Poster;
use crate::report::Rendering;
use crate::sheet::Sheet;
use crate::threads::spawn;
use crate::{Input, JobError, SealTo};

/// Decoded frames, groups and audio packets waiting to be painted and written, at most.
const WAITING: usize = 4;
/// Below this share of frames in groups that can be copied, encoding all costs no more: every run
/// that is encoded starts an encoder, which compresses worse at its start.
const LEAST_COPIED: f64 = 0.3;

/// What is rendered, from what, how.
pub(crate) struct Order<'a> {
    pub(crate) input: &'a Input,
    pub(crate) to_8bit: bool,
    pub(crate) plan: &'a RedactionPlan,
    pub(crate) settings: &'a EncodeSettings,
    /// Whether packets may be copied.
    pub(crate) smart: bool,
    /// Why they cannot be, if the analysis said so.
    pub(crate) not_copied: Option<NotCopied>,
    pub(crate) output: &'a Path,
    /// Where the picture that stands for the video goes.
    pub(crate) poster: Option<&'a Path>,
}

/// What came of a render.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rendered {
    /// Frames written.
    pub(crate) frames: u64,
    /// Frames covered whole because this pass could not trust them although the plan did.
    pub(crate) distrusted: u64,
    /// Whether the sound was carried bit-exact; `None`: there is none.
    pub(crate) audio_copied: Option<bool>,
    /// What the reader went through.
    pub(crate) stats: ReadStats,
    /// Seconds added to all time stamps.
    pub(crate) clock_offset: f64,
    /// Whether the poster was written, if one was asked for.
    pub(crate) poster: bool,
    /// What was encoded; `None` for a photo.
    pub(crate) rendering: Option<Rendering>,
}

/// Writes the covered video. `kept`: its frames, if the first pass kept them. `sheet` gets to see the frames it wants before they are painted, if
/// the user asked for a contact sheet.
pub(crate) fn render(
    order: &Order<'_>,
    kept: Option<(Vec<Decoded>, ReadStats)>,
    mut sheet: Option<&mut Sheet>,
    progress: &mut dyn FnMut(u64),
) -> Result<Rendered, JobError> {
    let why = match sections(order) {
        Err(why) => why,
        Ok(sections) => match render_spliced(order, sections, sheet.as_deref_mut(), progress) {
            Err(JobError::Media(e @ MediaError::NotSpliced(_))) => e.to_string(),
            other => return other,
        },
    };
    let mut reader = Reader::open(order.input.open()?, Streams::VideoAndAudio, order.to_8bit)?;
    if let Some((frames, stats)) = kept {
        reader.replay(frames, stats);
    }
    let mut track = Track::open(order, &reader, None)?;
    let mut done = run(order, reader, &mut track, sheet, progress)?;
    track.finish()?;
    if order.poster.is_some() && !done.poster {
        return Err(changed(order));
    }
    done.rendering = Some(Rendering::Full { why });
    Ok(done)
}

/// What becomes of each group of pictures, or why all are encoded.
pub(crate) fn sections(order: &Order<'_>) -> Result<Vec<Section>, String> {
    let plan = order.plan;
    if !order.smart {
        return Err("asked for".to_owned());
    }
    if let Some(why) = order.not_copied {
        return Err(why.to_string());
    }
    if plan.gops().len() == 0 {
        return Err("the plan lists no groups of pictures".to_owned());
    }
    let section = |(at, (start, first))| {
        let pass = if plan.is_clear(at) { Pass::Copy } else { Pass::Decode };
        Section { start, first, pass }
    };
    let sections: Vec<Section> = plan.gops().enumerate().map(section).collect();
    let copied: u64 = (0..)
        .zip(&sections)
        .filter(|(_, s)| s.pass == Pass::Copy)
        .map(|(at, _)| plan.gop_frames(at))
        .sum();
    if (copied as f64) < LEAST_COPIED * plan.len() as f64 || copied == 0 {
        return Err("most groups of pictures hold something to cover".to_owned());
    }
    Ok(sections)
}

fn render_spliced(
    order: &Order<'_>,
    sections: Vec<Section>,
    sheet: Option<&mut Sheet>,
    progress: &mut dyn FnMut(u64),
) -> Result<Rendered, JobError> {
    let mut reader = Reader::open(order.input.open()?, Streams::VideoAndAudio, order.to_8bit)?;
    let groups = sections.len() as u64;
    let copied: Vec<usize> =
        (0..sections.len()).filter(|&at| sections[at].pass == Pass::Copy).collect();
    let splice = open_splice(&mut reader, sections.clone(), order.plan)?;
    let mut track = Track::open(order, &reader, Some(splice))?;
    let mut done = run(order, reader, &mut track, None, progress)?;
    track.finish()?;
    if order.poster.is_some() && !done.poster {
        poster_of_copied(order, sections.clone())?;
    }
    if let Some(sheet) = sheet {
        show(order, sections, sheet)?;
    }
    done.rendering = Some(Rendering::Smart {
        groups,
        copied_groups: copied.len() as u64,
        copied_frames: copied.iter().map(|&at| order.plan.gop_frames(at)).sum(),
    });
    Ok(done)
}

fn open_splice(
    reader: &mut Reader,
    sections: Vec<Section>,
    plan: &RedactionPlan,
) -> Result<Splice, MediaError> {
    // What the analysis found possible is so still, or the file is another.
    let splice = reader.splice(sections, plan.reorder());
    splice.map_err(|_| MediaError::NotSpliced("parameter sets"))
}

/// A further pass for the contact sheet alone, over the groups that hold a frame it wants: in the
/// copied ones nobody has decoded them.
fn show(order: &Order<'_>, mut sections: Vec<Section>, sheet: &mut Sheet) -> Result<(), JobError> {
    for (at, section) in sections.iter_mut().enumerate() {
        let frames = section.first..section.first + order.plan.gop_frames(at);
        section.pass = if sheet.wants(frames) { Pass::Decode } else { Pass::Skip };
    }
    let mut reader = Reader::open(order.input.open()?, Streams::Video, order.to_8bit)?;
    open_splice(&mut reader, sections, order.plan)?;
    sheet.fill(reader)
}

/// A further pass for the poster alone, if its frame is in a group that was copied.
pub(crate) fn poster_of_copied(
    order: &Order<'_>,
    mut sections: Vec<Section>,
) -> Result<(), JobError> {
    let mut reader = Reader::open(order.input.open()?, Streams::Video, order.to_8bit)?;
    let info = reader.info().clone();
    let Some(mut poster) = Poster::new(order.poster, order.plan, &info) else { return Ok(()) };
    for (at, section) in sections.iter_mut().enumerate() {
        let frames = section.first..section.first + order.plan.gop_frames(at);
        section.pass = if frames.contains(&poster.seq()) { Pass::Decode } else { Pass::Skip };
    }
    open_splice(&mut reader, sections, order.plan)?;
    let mut painter = Painter::new();
    while let Some(decoded) = next_frame(&mut reader)? {
        if decoded.frame.seq == poster.seq() {
            let painted = cover(order.plan, decoded.frame, decoded.intact, &mut painter, &mut 0);
            return poster.see(&painted);
        }
    }
    Err(changed(order))
}

pub(crate) fn changed(order: &Order<'_>) -> JobError {
    let why = "changed while it was read; run the job again".to_owned();
    MediaError::Input { path: order.input.path.clone(), why }.into()
}

/// Where a track goes.
enum Sink {
    File(Writer),
    /// Encoded pictures only.
    Chunk(ChunkWriter),
}

impl Sink {
    fn video(&mut self, packet: Encoded) -> Result<(), MediaError> {
        match self {
            Self::File(writer) => writer.video(packet),
            Self::Chunk(chunk) => chunk.write(&packet),
        }
    }

    fn use_encoder(&mut self, encoder: &VideoEncoder) -> Result<(), MediaError> {
        match self {
            Self::File(writer) => writer.use_encoder(encoder),
            Self::Chunk(chunk) => chunk.use_encoder(encoder),
        }
    }
}

/// The video track that is being written.
pub(crate) struct Track<'a> {
    settings: &'a EncodeSettings,
    info: MediaInfo,
    format: domain::PixelFormat,
    range: domain::Range,
    splice: Option<Splice>,
    sink: Sink,
    /// For the run that is being encoded.
    encoder: Option<VideoEncoder>,
}

impl<'a> Track<'a> {
    fn open(
        order: &'a Order<'_>,
        reader: &Reader,
        splice: Option<Splice>,
    ) -> Result<Self, JobError> {
        let audio = reader.audio_plan()?;
        Self::into(order, reader, splice, |encoder, splice, info| {
            Ok(Sink::File(match splice {
                None => Writer::create(order.output, encoder, &info.video, audio)?,
                Some(splice) => {
                    let times = order.plan.iter().map(|frame| frame.ticks).collect();
                    let (output, video) = (order.output, &info.video);
                    Writer::create_spliced(output, encoder, splice, times, video, audio)?
                }
            }))
        })
    }

    /// A track of which only what is encoded is written, for another process to put together.
    pub(crate) fn chunk(
        order: &'a Order<'_>,
        reader: &Reader,
        splice: Splice,
        to: &SealTo,
    ) -> Result<Self, JobError> {
        Self::into(order, reader, Some(splice), |encoder, _, _| {
            let (key, context) = (to.key.clone(), to.context.clone());
            Ok(Sink::Chunk(ChunkWriter::create(&to.path, key, context, encoder)?))
        })
    }

    fn into(
        order: &'a Order<'_>,
        reader: &Reader,
        splice: Option<Splice>,
        sink: impl FnOnce(&VideoEncoder, Option<&Splice>, &MediaInfo) -> Result<Sink, MediaError>,
    ) -> Result<Self, JobError> {
        let (info, settings) = (reader.info().clone(), order.settings);
        let (format, range) = (reader.pixel_format(), reader.color().range);
        let encoder = VideoEncoder::open(&info.video, format, range, settings, splice.as_ref())?;
        let sink = sink(&encoder, splice.as_ref(), &info)?;
        Ok(Self { settings, info, format, range, splice, sink, encoder: Some(encoder) })
    }

    /// The encoder of the run, a new one at the start of a run.
    fn encoder(&mut self) -> Result<&mut VideoEncoder, MediaError> {
        let encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => {
                let (video, splice) = (&self.info.video, self.splice.as_ref());
                let encoder =
                    VideoEncoder::open(video, self.format, self.range, self.settings, splice)?;
                self.sink.use_encoder(&encoder)?;
                encoder
            }
        };
        Ok(self.encoder.insert(encoder))
    }

    fn encode(
        &mut self,
        frame: Redacted,
        duration: i64,
        starts_group: bool,
    ) -> Result<(), MediaError> {
        let encoder = self.encoder()?;
        if starts_group {
            encoder.start_group();
        }
        for packet in encoder.encode(frame, duration)? {
            self.sink.video(packet)?;
        }
        Ok(())
    }

    /// Writes what the encoder still holds: the run is at its end.
    fn end_run(&mut self) -> Result<(), MediaError> {
        if let Some(encoder) = self.encoder.take() {
            for packet in encoder.finish()? {
                self.sink.video(packet)?;
            }
        }
        Ok(())
    }

    /// Completes a file; gives how many pictures are in a chunk, and how to read it.
    pub(crate) fn finish(mut self) -> Result<Option<(u64, Sealed)>, MediaError> {
        self.end_run()?;
        match self.sink {
            Sink::File(writer) => writer.finish().map(|()| None),
            Sink::Chunk(chunk) => {
                let packets = chunk.packets();
                chunk.finish().map(|sealed| Some((packets, sealed)))
            }
        }
    }
}

/// Paints, encodes and copies all that `reader` gives.
pub(crate) fn run(
    order: &Order<'_>,
    mut reader: Reader,
    track: &mut Track<'_>,
    sheet: Option<&mut Sheet>,
    progress: &mut dyn FnMut(u64),
) -> Result<Rendered, JobError> {
    let audio_copied = reader.audio_plan()?.map(|plan| plan.copies());
    let clock_offset = reader.clock_offset();
    let mut done = Rendered { audio_copied, clock_offset, ..Rendered::default() };
    let (items_in, items_out) = bounded::<Item>(WAITING);
    thread::scope(|scope| {
        let decoder = spawn(scope, "decode", move || {
            decode(&mut reader, &items_in).map(|()| reader.stats())
        })?;
        write(order, items_out, track, sheet, &mut done, progress)?;
        done.stats = decoder.join().map_err(|_| JobError::Panicked("decode"))??;
        Ok(done)
    })
}

/// Feeds the painter until the end, or until it is gone (its error is the one to report).
fn decode(reader: &mut Reader, items: &Sender<Item>) -> Result<(), JobError> {
    while let Some(item) = reader.next()? {
        if items.send(item).is_err() {
            break;
        }
    }
    Ok(())
}

fn write(
    order: &Order<'_>,
    items: Receiver<Item>,
    track: &mut Track<'_>,
    mut sheet: Option<&mut Sheet>,
    done: &mut Rendered,
    progress: &mut dyn FnMut(u64),
) -> Result<(), JobError> {
    let mut painter = Painter::new();
    let mut poster = Poster::new(order.poster, order.plan, &track.info);
    for item in items {
        match item {
            Item::Audio(audio) => {
                // A chunk has none.
                if let Sink::File(writer) = &mut track.sink {
                    writer.audio(audio)?;
                }
                continue;
            }
            Item::Skipped(_) => track.end_run()?,
            Item::Copied(group) => {
                done.frames += group.frames();
                copy(order, group, track)?;
            }
            Item::Frame(decoded) => {
                if let Some(sheet) = sheet.as_deref_mut() {
                    sheet.see(&decoded.frame, track.info.video.orientation);
                }
                let Decoded { frame, intact, duration, starts_group } = decoded;
                let painted = cover(order.plan, frame, intact, &mut painter, &mut done.distrusted);
                if let Some(poster) = &mut poster {
                    poster.see(&painted)?;
                }
                track.encode(painted, duration, starts_group)?;
                done.frames += 1;
            }
        }
        progress(done.frames);
    }
    done.poster = poster.is_some_and(|poster| poster.is_written());
    Ok(())
}

fn copy(order: &Order<'_>, group: Copied, track: &mut Track<'_>) -> Result<(), JobError> {
    let leave = order.plan.clear(group.at, group.sha256).ok_or_else(|| changed(order))?;
    track.end_run()?;
    match &mut track.sink {
        Sink::File(writer) => Ok(writer.copy(group, leave)?),
        Sink::Chunk(_) => Err(changed(order)),
    }
}

/// Paints a frame by the plan, or all of it where the plan was made for another.
fn cover(
    plan: &RedactionPlan,
    frame: Frame,
    intact: bool,
    painter: &mut Painter,
    distrusted: &mut u64,
) -> Redacted {
    let mut cover = plan.for_frame(frame.seq, frame.pts, frame.size);
    if !intact && !matches!(cover.cover(), Cover::All(_)) {
        // It decoded cleanly when it was analysed and does not now: what is in the picture is not
        // what was looked at. A sequence number no plan holds covers everything.
        cover = plan.for_frame(u64::MAX, frame.pts, frame.size);
        *distrusted += 1;
    } else if matches!(cover.cover(), Cover::All(Reason::Mismatch)) {
        *distrusted += 1; // The plan has another frame at this place.
    }
    painter.paint(frame, &cover)
}
