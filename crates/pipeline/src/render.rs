//! The second pass: every frame painted by the plan, encoded, and joined with the untouched sound.

use std::path::Path;
use std::thread;

use crossbeam_channel::{Sender, bounded};
use media::{EncodeSettings, Item, ReadStats, Reader, VideoEncoder, Writer};
use redact::{Cover, Painter, RedactionPlan};

use crate::JobError;
use crate::sheet::Sheet;

/// Decoded frames and audio packets waiting to be painted and written, at most.
const WAITING: usize = 4;

/// What came of a render.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rendered {
    /// Frames written.
    pub(crate) frames: u64,
    /// Frames covered whole because this pass could not trust them although the plan did.
    pub(crate) distrusted: u64,
    /// Whether the sound was carried bit-exact; `None`: there is none.
    pub(crate) audio_copied: Option<bool>,
    /// What the reader went through.
    pub(crate) stats: ReadStats,
}

/// Writes the covered video to `output`. `sheet` gets to see frames before they are painted, if
/// the user asked for a contact sheet.
pub(crate) fn render(
    mut reader: Reader,
    plan: &RedactionPlan,
    settings: &EncodeSettings,
    output: &Path,
    mut sheet: Option<&mut Sheet>,
    progress: &mut dyn FnMut(u64),
) -> Result<Rendered, JobError> {
    let info = reader.info().clone();
    let audio = reader.audio_plan()?;
    let audio_copied = audio.as_ref().map(media::AudioPlan::copies);
    let mut encoder =
        VideoEncoder::open(&info.video, reader.pixel_format(), reader.color().range, settings)?;
    let mut writer = Writer::create(output, &encoder, &info.video, audio)?;
    let mut painter = Painter::new();
    let mut done = Rendered { audio_copied, ..Rendered::default() };
    let (items_in, items_out) = bounded::<Item>(WAITING);
    thread::scope(|scope| {
        let decoder = thread::Builder::new()
            .name("decode".to_owned())
            .spawn_scoped(scope, move || decode(&mut reader, &items_in).map(|()| reader.stats()))
            .map_err(|_| JobError::Panicked("new"))?;
        for item in items_out {
            let decoded = match item {
                Item::Audio(audio) => {
                    writer.audio(audio)?;
                    continue;
                }
                Item::Frame(decoded) => decoded,
            };
            let frame = decoded.frame;
            let mut cover = plan.for_frame(frame.seq, frame.pts, frame.size);
            if !decoded.intact && !matches!(cover.cover(), Cover::All(_)) {
                // It decoded cleanly when it was analysed and does not now: what is in the picture
                // is not what was looked at. A sequence number no plan holds covers everything.
                cover = plan.for_frame(u64::MAX, frame.pts, frame.size);
                done.distrusted += 1;
            }
            if let Some(sheet) = sheet.as_deref_mut() {
                sheet.see(&frame, info.video.orientation);
            }
            for packet in encoder.encode(painter.paint(frame, &cover), decoded.duration)? {
                writer.video(packet)?;
            }
            done.frames += 1;
            progress(done.frames);
        }
        done.stats = decoder.join().map_err(|_| JobError::Panicked("decode"))??;
        for packet in encoder.finish()? {
            writer.video(packet)?;
        }
        writer.finish()?;
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
