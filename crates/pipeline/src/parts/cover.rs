//! The second pass, part by part, and the file that they make.

use std::fs::File;
use std::ops::Range;
use std::time::{Duration, Instant};

use media::{
    ChunkReader, EncodeSettings, Item, MediaError, Pass, Reader, Splice, Streams, VideoEncoder,
    Writer,
};
use redact::{PlanDocument, PlanError, RedactionPlan};

use super::look::{ending, put_together, time};
use super::{PartRendered, SealTo, SeenParts, Split, Stepped, bytes, sealed_of};
use crate::job::Teller;
use crate::render::{self, Order, Rendered, Track};
use crate::report::{Rendering, Times};
use crate::{Input, JobError, JobSpec, Phase, Progress};

/// What becomes of every group of pictures; the same in every part, and when they are joined.
struct Layout {
    copied: Vec<bool>,
    /// Why nothing is copied, if so.
    why: Option<String>,
}

impl Layout {
    fn of(order: &Order<'_>, split: &Split) -> Result<Self, JobError> {
        let (copied, why) = match render::sections(order) {
            Ok(sections) => (sections.iter().map(|s| s.pass == Pass::Copy).collect(), None),
            Err(why) => (vec![false; split.gops.len()], Some(why)),
        };
        if copied.len() == split.gops.len() {
            Ok(Self { copied, why })
        } else {
            Err(render::changed(order))
        }
    }

    fn is_copied(&self, at: usize) -> bool {
        self.copied.get(at).is_some_and(|&copied| copied)
    }
}

fn order<'a>(job: &'a JobSpec, plan: &'a RedactionPlan, settings: &'a EncodeSettings) -> Order<'a> {
    Order {
        input: &job.input,
        to_8bit: job.to_8bit,
        plan,
        settings,
        smart: job.smart,
        not_copied: None,
        output: job.output.as_deref().unwrap_or("".as_ref()),
        poster: job.poster.as_deref(),
    }
}

fn settings(job: &JobSpec) -> EncodeSettings {
    EncodeSettings { preset: job.preset.clone(), crf: job.crf }
}

/// Makes a reader pass over groups, and says how what is encoded goes beside them.
fn splice(
    reader: &mut Reader,
    split: &Split,
    pass: impl Fn(usize) -> Pass,
) -> Result<Splice, MediaError> {
    let splice = reader.splice(split.sections(pass), split.reorder());
    splice.map_err(|_| MediaError::NotSpliced("parameter sets"))
}

pub(super) fn render_part(
    job: &JobSpec,
    split: &Split,
    plan: &Input,
    part: usize,
    output: &SealTo,
    emit: &mut dyn FnMut(Progress),
) -> Result<Stepped, JobError> {
    let started = Instant::now();
    let refused = |why: PlanError| JobError::Plan { path: plan.path.clone(), why };
    let document = PlanDocument::parse(&bytes(plan)?).map_err(refused)?;
    let plan = document.for_input(&split.sha256).map_err(refused)?;
    let settings = settings(job);
    // The poster is made when all is there.
    let order = Order { poster: None, ..order(job, &plan, &settings) };
    let layout = Layout::of(&order, split)?;
    let gops = split.part(part)?;
    let is_ours = |at| gops.contains(&at) && !layout.is_copied(at);
    let expected = frames(split, gops.clone(), is_ours);
    if expected == 0 {
        return Ok(Stepped::Rendered { len: None, rendered: PartRendered::default() });
    }
    let mut reader = Reader::open(job.input.open()?, Streams::Video, job.to_8bit)?;
    let pass = |at| if is_ours(at) { Pass::Decode } else { Pass::Skip };
    let splice = splice(&mut reader, split, pass)?;
    let mut track = Track::chunk(&order, &reader, splice, output)?;
    let mut told = Teller::new(Phase::Render, Some(expected));
    let done = render::run(&order, reader, &mut track, None, &mut |n| told.tell(n, emit))?;
    let (packets, sealed) = track.finish()?.ok_or_else(|| render::changed(&order))?;
    if packets != expected || done.frames != expected {
        return Err(render::changed(&order));
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(Stepped::Rendered {
        len: Some(sealed.len),
        rendered: PartRendered { frames: expected, distrusted: done.distrusted, seconds },
    })
}

/// Frames in those of `gops` that are `wanted`.
fn frames(split: &Split, gops: Range<usize>, wanted: impl Fn(usize) -> bool) -> u64 {
    let gops = gops.filter(|&at| wanted(at));
    gops.filter_map(|at| split.gops.get(at)).map(|gop| u64::from(gop.packets)).sum()
}

pub(super) fn join(
    job: &JobSpec,
    seen: &SeenParts,
    plan: &Input,
    chunks: &[Option<Input>],
    parts: &PartRendered,
    emit: &mut dyn FnMut(Progress),
) -> Result<Stepped, JobError> {
    let started = Instant::now();
    let (split, analysed) = put_together(job, seen)?;
    let ending = ending(job, seen, &split)?;
    let document = ending.document(&analysed);
    let same = serde_json::to_vec(&document).is_ok_and(|text| bytes(plan).is_ok_and(|p| p == text));
    if !same || chunks.len() != split.parts.len() {
        // Another version of Garim did the other steps, or other models.
        return Ok(Stepped::Whole { why: "its parts were covered by another plan".to_owned() });
    }
    let settings = settings(job);
    let order = order(job, &analysed.plan, &settings);
    let layout = Layout::of(&order, &split)?;
    let mut told = Teller::new(Phase::Render, Some(analysed.plan.len() as u64));
    let rendered = put_into_file(&order, &split, &layout, chunks, &mut |n| told.tell(n, emit))?;
    let rendered = Rendered { distrusted: parts.distrusted, stats: analysed.stats, ..rendered };
    let render = Duration::try_from_secs_f64(parts.seconds).unwrap_or_default() + started.elapsed();
    let times = Times { analyse: time(seen), render };
    let plan = ending.write(&document)?;
    Ok(Stepped::Joined(Box::new(ending.finish(&analysed, &rendered, plan, None, times)?)))
}

/// Copies what needs no cover, and puts the encoded pictures of all parts between, with the sound of the input.
fn put_into_file(
    order: &Order<'_>,
    split: &Split,
    layout: &Layout,
    chunks: &[Option<Input>],
    progress: &mut dyn FnMut(u64),
) -> Result<Rendered, JobError> {
    let mut reader = Reader::open(order.input.open()?, Streams::VideoAndAudio, order.to_8bit)?;
    let pass = |at| if layout.is_copied(at) { Pass::Copy } else { Pass::Skip };
    let splice = splice(&mut reader, split, pass)?;
    let info = reader.info().clone();
    let (format, range) = (reader.pixel_format(), reader.color().range);
    // Encodes nothing: says what the track's header has to be, and each chunk is compared with that.
    let encoder = VideoEncoder::open(&info.video, format, range, order.settings, Some(&splice))?;
    let times = order.plan.iter().map(|frame| frame.ticks).collect();
    let audio = reader.audio_plan()?;
    let mut done = Rendered {
        audio_copied: audio.as_ref().map(media::AudioPlan::copies),
        clock_offset: reader.clock_offset(),
        rendering: Some(rendering(split, layout)),
        ..Rendered::default()
    };
    let writer =
        Writer::create_spliced(order.output, &encoder, &splice, times, &info.video, audio)?;
    let mut file = Joining { writer, split, chunks, part: None };
    while let Some(item) = reader.next()? {
        match item {
            Item::Audio(audio) => file.writer.audio(audio)?,
            Item::Copied(group) => {
                let leave = order.plan.clear(group.at, group.sha256);
                done.frames += group.frames();
                file.writer.copy(group, leave.ok_or_else(|| render::changed(order))?)?;
            }
            Item::Skipped(at) => done.frames += file.encoded(at)?,
            Item::Frame(_) => return Err(render::changed(order)),
        }
        progress(done.frames);
    }
    file.writer.finish()?;
    if order.poster.is_some() {
        let sections = split.sections(|_| Pass::Skip);
        render::poster_of_copied(order, sections)?;
        done.poster = true;
    }
    Ok(done)
}

fn rendering(split: &Split, layout: &Layout) -> Rendering {
    match &layout.why {
        Some(why) => Rendering::Full { why: why.clone() },
        None => Rendering::Smart {
            groups: split.gops.len() as u64,
            copied_groups: layout.copied.iter().filter(|&&copied| copied).count() as u64,
            copied_frames: frames(split, 0..split.gops.len(), |at| layout.is_copied(at)),
        },
    }
}

/// The file that is put together.
struct Joining<'a> {
    writer: Writer,
    split: &'a Split,
    chunks: &'a [Option<Input>],
    /// The part that is read, and its encoded pictures.
    part: Option<(usize, ChunkReader<File>)>,
}

impl Joining<'_> {
    /// Writes the encoded pictures of group `at`; gives how many.
    fn encoded(&mut self, at: usize) -> Result<u64, JobError> {
        let part = self.split.parts.iter().position(|gops| gops.contains(&at));
        let part = part.ok_or(JobError::NoPart(at))?;
        let mut chunk = match self.part.take() {
            Some((open, chunk)) if open == part => chunk,
            _ => {
                let chunk = self.open(part)?;
                self.writer.use_chunk(&chunk)?;
                chunk
            }
        };
        let count = self.split.gops.get(at).map_or(0, |gop| gop.packets);
        for _ in 0..count {
            self.writer.video(chunk.next_picture()?)?;
        }
        self.part = Some((part, chunk));
        Ok(count.into())
    }

    fn open(&self, part: usize) -> Result<ChunkReader<File>, JobError> {
        let input = self.chunks.get(part).and_then(Option::as_ref).ok_or(JobError::NoPart(part))?;
        let of = sealed_of(input)?;
        let bytes = File::open(&input.path)
            .map_err(sealed::Error::from)
            .and_then(|file| sealed::Reader::new(file, of))
            .map_err(|e| input.unreadable(&e))?;
        Ok(ChunkReader::open(&input.path, bytes)?)
    }
}
