//! A sealed original becomes a sealed MP4: packet for packet, and never plain on a disk.

use std::fmt;
use std::fs::OpenOptions;
use std::path::PathBuf;

use media::{Kind, MediaError, MediaInfo, Packets};
use sealed::{SealKey, Sealed};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::job::{Teller, hex};
use crate::{Input, JobError, Phase, Progress};

/// What becomes an MP4.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemuxSpec {
    /// A sealed original.
    pub input: Input,
    /// Where the sealed MP4 is written; there is no such file yet.
    pub output: PathBuf,
    /// Seals the MP4. Another key than the input's: else records of both could be exchanged unseen.
    pub key: SealKey,
    /// What the MP4 is sealed as; `None`: as the input is.
    pub context: Option<String>,
}

impl fmt::Debug for RemuxSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, output, key: _, context } = self;
        let mut f = f.debug_struct("RemuxSpec");
        f.field("input", input).field("output", output).field("context", context).finish()
    }
}

/// The sealed MP4.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Remuxed {
    /// Bytes of plaintext.
    pub bytes: u64,
    /// Streams of the input that are not in it: all but the main video and sound.
    pub left_out: usize,
    /// What the MP4 says of itself ([`MediaInfo`]).
    pub info: serde_json::Value,
}

/// Makes an MP4 of a sealed original; `None` when it is one already, and nothing was written. The MP4 was read again
/// and holds the packets of the original.
///
/// # Errors
/// Any failure; what was written so far must not be used. Packets that MP4 cannot carry as they are, an input that is
/// not sealed, or another one of the same key are refused.
pub fn remux(
    spec: &RemuxSpec,
    emit: &mut dyn FnMut(Progress),
) -> Result<Option<Remuxed>, JobError> {
    let RemuxSpec { input, output, key, context } = spec;
    let Some(of) = &input.sealed else {
        return Err(refused(input, "is not sealed; `garim convert` takes plain files").into());
    };
    if *of.key.to_bytes() == *key.to_bytes() {
        return Err(refused(input, "is sealed with the key that is for its MP4").into());
    }
    let mut bytes = input.bytes().map_err(|e| input.unreadable(&e))?;
    if media::is_whole_mp4(&mut *bytes).map_err(|e| input.unreadable(&e))? {
        return Ok(None);
    }
    drop(bytes);
    let context = context.as_ref().unwrap_or(&of.context);
    let (sealed, left_out) = write(spec, context, emit)?;
    let made = Input { path: output.clone(), sealed: Some(sealed.clone()) };
    let (_, info) = compare(input, &made, emit)?;
    let info = serde_json::to_value(info).map_err(|e| made.unreadable(&e))?;
    Ok(Some(Remuxed { bytes: sealed.len, left_out, info }))
}

/// Writes the MP4; gives how to read it, and how many streams are not in it.
fn write(
    spec: &RemuxSpec,
    context: &str,
    emit: &mut dyn FnMut(Progress),
) -> Result<(Sealed, usize), JobError> {
    let RemuxSpec { input, output, key, context: _ } = spec;
    let unwritten = |e: std::io::Error| MediaError::Output {
        path: output.clone(),
        why: format!("cannot be written: {e}"),
    };
    let file = OpenOptions::new().write(true).create_new(true).open(output).map_err(unwritten)?;
    let writer = sealed::Writer::new(file, key.clone(), context.to_owned());
    let mut writer = writer.map_err(unwritten)?;
    let left_out = media::remux(input.open()?, output, &mut writer, &mut copying(emit))?;
    Ok((writer.finish().map_err(unwritten)?, left_out))
}

/// Tells of seconds that are copied, of so many.
pub(crate) fn copying(emit: &mut dyn FnMut(Progress)) -> impl FnMut(f64, Option<f64>) {
    let mut teller = None;
    move |done, total| {
        let teller = teller.get_or_insert_with(|| Teller::new(Phase::Convert, total.map(millis)));
        teller.tell(millis(done), emit);
    }
}

fn millis(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1000.0) as u64
}

/// What one stream holds, so that two are compared.
#[derive(Default)]
struct Content {
    packets: u64,
    hash: Sha256,
}

/// Whether the MP4 holds the packets of the original: that is thrown away for it. Gives how many pictures that are, and
/// what the MP4 says of itself.
///
/// # Errors
/// It does not, or one of both cannot be read.
pub(crate) fn compare(
    original: &Input,
    made: &Input,
    emit: &mut dyn FnMut(Progress),
) -> Result<(u64, MediaInfo), JobError> {
    let mut contents = [original, made].map(|_| [Content::default(), Content::default()]);
    let mut info = None;
    for (input, [video, audio]) in [original, made].into_iter().zip(&mut contents) {
        let mut packets = Packets::open(input.open()?)?;
        let total = packets.info().duration.map(millis);
        let mut teller = Teller::new(Phase::Verify, total);
        while let Some(packet) = packets.next()? {
            let content = match packet.kind {
                Kind::Video => &mut *video,
                Kind::Audio => &mut *audio,
            };
            content.packets += 1;
            content.hash.update(packet.hash.to_be_bytes());
            teller.tell(packet.at.map_or(0, |at| millis(at.seconds())), emit);
        }
        info = Some(packets.info().clone());
    }
    let [of_original, of_made] = contents.map(|streams| streams.map(Content::finish));
    match info {
        Some(info) if of_original == of_made => Ok((of_made[0].0, info)),
        _ => {
            let why = format!(
                "an MP4 of it would not hold the same packets ({} and {} of video, {} and {} of sound), so it stays \
                 as it is",
                of_original[0].0, of_made[0].0, of_original[1].0, of_made[1].0
            );
            Err(refused(original, why).into())
        }
    }
}

impl Content {
    fn finish(self) -> (u64, String) {
        (self.packets, hex(self.hash))
    }
}

fn refused(input: &Input, why: impl Into<String>) -> MediaError {
    MediaError::Refused { path: input.path.clone(), why: why.into() }
}
