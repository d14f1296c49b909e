//! Live video and sound as fragments of one MP4 (ISO/IEC 14496-12, CMAF: ISO/IEC 23000-19): a header, and then
//! parts that a player appends one after the other.
//!
//! Nothing but [`Encoded`] pictures goes in, and sound.
//!
//! ```compile_fail,E0308
//! fn leak(fragments: &mut media::Fragments, frame: domain::Frame) {
//!     let _ = fragments.part(&[frame], 0, &[]); // expected `Encoded`, found `Frame`
//! }
//! ```
//! ```
//! fn fine(fragments: &mut media::Fragments, picture: media::Encoded) {
//!     let _ = fragments.part(&[picture], 0, &[]);
//! }
//! ```

use domain::Size;
use ffmpeg_sys_the_third as ff;

use crate::h264::{self, Avcc};
use crate::{Encoded, MediaError, VideoEncoder};

/// Samples of an AAC frame (ISO/IEC 14496-3, 4.5.1.1).
const FRAME_SAMPLES: u32 = 1024;
/// Sampling rates by their index in an AudioSpecificConfig (ISO/IEC 14496-3, table 1.18).
const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];
const VIDEO: u32 = 1;
const SOUND: u32 = 2;
/// Ticks a second of the video track.
const VIDEO_SCALE: u32 = 90_000;

/// One compressed frame of sound, 1024 samples a channel. Sound carries no faces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AacFrame(pub Vec<u8>);

/// What an AAC track is: its AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1), read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoundConfig {
    bytes: Vec<u8>,
    object_type: u8,
    rate: u32,
    channels: u8,
}

impl SoundConfig {
    /// Samples of one frame.
    pub const FRAME_SAMPLES: u32 = FRAME_SAMPLES;
    /// 48 kHz, two channels, AAC-LC: for a broadcast whose publisher is not there yet, or sends no sound.
    pub const USUAL: [u8; 2] = [0x11, 0x90];

    /// Reads a configuration. `None` for what is not AAC with 1024 samples a frame and 1 to 8 channels.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let &[a, b, ..] = bytes else { return None };
        let object_type = a >> 3;
        let rate = *RATES.get(usize::from((a & 7) << 1 | b >> 7))?;
        let channels = match b >> 3 & 15 {
            count @ 1..=6 => count,
            7 => 8,
            _ => return None,
        };
        // frame_length_flag: frames of 960 samples.
        let is_short = b & 4 != 0;
        // Main, LC, SSR, LTP, SBR and PS; the last two have the rate of their core here.
        let known = matches!(object_type, 1..=5 | 29);
        (known && !is_short && bytes.len() <= 64).then(|| Self {
            bytes: bytes.to_vec(),
            object_type,
            rate,
            channels,
        })
    }

    /// As it came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Samples a second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Channels.
    pub fn channels(&self) -> u8 {
        self.channels
    }

    /// The name of this kind of sound (RFC 6381, 3.3).
    fn codec(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }
}

/// Makes the header and the parts of one broadcast.
pub struct Fragments {
    avcc: Avcc,
    size: Size,
    sound: SoundConfig,
    sequence: u32,
}

impl Fragments {
    /// For the pictures of `encoder`, which must give each picture at once, in 1/90000 s.
    ///
    /// # Errors
    /// [`MediaError::Ffmpeg`] when the encoder has no parameter sets.
    pub fn new(encoder: &VideoEncoder, sound: SoundConfig) -> Result<Self, MediaError> {
        let avcc = Avcc::of(encoder.parameter_sets()).ok_or_else(|| MediaError::Ffmpeg {
            what: "libx264",
            why: "gave no parameter sets".to_owned(),
        })?;
        let context = encoder.context().get();
        let size = Size { width: context.width as u32, height: context.height as u32 };
        Ok(Self { avcc, size, sound, sequence: 0 })
    }

    /// What players are told of both tracks (RFC 6381).
    pub fn codecs(&self) -> String {
        format!("{},{}", self.avcc.codec(), self.sound.codec())
    }

    /// The header of the file.
    ///
    /// # Errors
    /// [`MediaError::Ffmpeg`] when the parameter sets are too long for it.
    pub fn header(&self) -> Result<Vec<u8>, MediaError> {
        let avcc = self.avcc.write().ok_or_else(too_long)?;
        let mut out = Vec::with_capacity(1024);
        boxed(&mut out, b"ftyp", |o| o.extend(b"iso6\0\0\0\x01iso6cmfcmp41"));
        boxed(&mut out, b"moov", |o| {
            full(o, b"mvhd", 0, 0, |o| {
                words(o, &[0, 0, 1000, 0, 0x1_0000, 0x100_0000, 0, 0]);
                words(o, &MATRIX);
                words(o, &[0, 0, 0, 0, 0, 0, 3]);
            });
            self.video_track(o, &avcc);
            self.sound_track(o);
            boxed(o, b"mvex", |o| {
                for track in [VIDEO, SOUND] {
                    full(o, b"trex", 0, 0, |o| words(o, &[track, 1, 0, 0, 0]));
                }
            });
        });
        Ok(out)
    }

    fn video_track(&self, o: &mut Vec<u8>, avcc: &[u8]) {
        let Size { width, height } = self.size;
        let head = TrackHead { id: VIDEO, volume: 0, size: (width << 16, height << 16) };
        let media = Media { scale: VIDEO_SCALE, handler: b"vide", name: b"video\0" };
        track(
            o,
            head,
            media,
            |o| full(o, b"vmhd", 0, 1, |o| words(o, &[0, 0])),
            |o| {
                boxed(o, b"avc1", |o| {
                    words(o, &[0, 1, 0, 0, 0, 0]);
                    words(o, &[width << 16 | height & 0xffff, 0x48_0000, 0x48_0000, 0]);
                    o.extend([0, 1]); // frames a sample
                    o.extend([0; 32]); // compressor name
                    o.extend([0, 0x18, 0xff, 0xff]); // depth
                    boxed(o, b"avcC", |o| o.extend(avcc));
                });
            },
        );
    }

    fn sound_track(&self, o: &mut Vec<u8>) {
        let sound = &self.sound;
        let head = TrackHead { id: SOUND, volume: 0x100, size: (0, 0) };
        let media = Media { scale: sound.rate, handler: b"soun", name: b"sound\0" };
        track(
            o,
            head,
            media,
            |o| full(o, b"smhd", 0, 0, |o| words(o, &[0])),
            |o| {
                boxed(o, b"mp4a", |o| {
                    words(o, &[0, 1, 0, 0]);
                    // 16.16 fixed point; rates beyond that are in the configuration only.
                    let rate = if sound.rate >> 16 == 0 { sound.rate << 16 } else { 0 };
                    words(o, &[u32::from(sound.channels) << 16 | 16, 0, rate]);
                    full(o, b"esds", 0, 0, |o| descriptors(o, &sound.bytes));
                });
            },
        );
    }

    /// The next part: `pictures` in order, one after the other from the first one's time stamp, and `sound`
    /// from frame number `first_sound` of its track on. Either may be empty.
    ///
    /// # Errors
    /// [`MediaError::Ffmpeg`] when it grew too long for the format.
    pub fn part(
        &mut self,
        pictures: &[Encoded],
        first_sound: u64,
        sound: &[AacFrame],
    ) -> Result<Vec<u8>, MediaError> {
        self.sequence = self.sequence.wrapping_add(1);
        let shown: Vec<Picture> = pictures.iter().map(Picture::of).collect();
        let (video, audio) =
            (sizes(shown.iter().map(|p| &p.data)), sizes(sound.iter().map(|f| &f.0)));
        let (video, audio) = (video.ok_or_else(too_long)?, audio.ok_or_else(too_long)?);
        let mut out = Vec::with_capacity((video + audio) as usize + 512 + 16 * pictures.len());
        let mut places = (None, None);
        boxed(&mut out, b"moof", |o| {
            full(o, b"mfhd", 0, 0, |o| words(o, &[self.sequence]));
            places.0 = shown.first().map(|first| pictures_run(o, first.start, &shown));
            let start = first_sound * u64::from(FRAME_SAMPLES);
            places.1 = (!sound.is_empty()).then(|| sound_run(o, start, sound));
        });
        // What the runs hold begins behind the head of the box after this one.
        let data = out.len() as u32 + 8;
        for (place, offset) in [(places.0, data), (places.1, data + video)] {
            if let Some(four) = place.and_then(|place: usize| out.get_mut(place..place + 4)) {
                four.copy_from_slice(&offset.to_be_bytes());
            }
        }
        boxed(&mut out, b"mdat", |o| {
            shown.iter().for_each(|picture| o.extend(&picture.data));
            sound.iter().for_each(|frame| o.extend(&frame.0));
        });
        Ok(out)
    }
}

/// A picture as a fragment holds it.
struct Picture {
    start: u64,
    duration: u32,
    key: bool,
    data: Vec<u8>,
}

impl Picture {
    fn of(encoded: &Encoded) -> Self {
        let p = encoded.packet.get();
        Self {
            start: u64::try_from(p.pts).unwrap_or(0),
            duration: u32::try_from(p.duration).unwrap_or(0),
            key: p.flags & ff::AV_PKT_FLAG_KEY as i32 != 0,
            data: h264::without_sets(encoded.packet.data()),
        }
    }
}

/// Bytes of all together, if that is a number of 31 bits.
fn sizes<'a>(all: impl Iterator<Item = &'a Vec<u8>>) -> Option<u32> {
    let sum: usize = all.map(Vec::len).sum();
    u32::try_from(sum).ok().filter(|sum| *sum < 1 << 31)
}

fn too_long() -> MediaError {
    MediaError::Ffmpeg { what: "fragment", why: "is too long".to_owned() }
}

/// The identity.
const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

struct TrackHead {
    id: u32,
    volume: u32,
    /// 16.16 fixed point.
    size: (u32, u32),
}

struct Media {
    scale: u32,
    handler: &'static [u8; 4],
    name: &'static [u8],
}

/// A track that has no samples of its own: they come in fragments.
fn track(
    o: &mut Vec<u8>,
    head: TrackHead,
    media: Media,
    kind: impl FnOnce(&mut Vec<u8>),
    entry: impl FnOnce(&mut Vec<u8>),
) {
    boxed(o, b"trak", |o| {
        full(o, b"tkhd", 0, 3, |o| {
            words(o, &[0, 0, head.id, 0, 0, 0, 0, 0, head.volume << 16]);
            words(o, &MATRIX);
            words(o, &[head.size.0, head.size.1]);
        });
        boxed(o, b"mdia", |o| {
            full(o, b"mdhd", 0, 0, |o| words(o, &[0, 0, media.scale, 0, UNDETERMINED]));
            full(o, b"hdlr", 0, 0, |o| {
                words(o, &[0]);
                o.extend(media.handler);
                words(o, &[0, 0, 0]);
                o.extend(media.name);
            });
            boxed(o, b"minf", |o| {
                kind(o);
                boxed(o, b"dinf", |o| {
                    full(o, b"dref", 0, 0, |o| {
                        words(o, &[1]);
                        full(o, b"url ", 0, 1, |_| {});
                    });
                });
                boxed(o, b"stbl", |o| {
                    full(o, b"stsd", 0, 0, |o| {
                        words(o, &[1]);
                        entry(o);
                    });
                    for table in [b"stts", b"stsc", b"stco"] {
                        full(o, table, 0, 0, |o| words(o, &[0]));
                    }
                    full(o, b"stsz", 0, 0, |o| words(o, &[0, 0]));
                });
            });
        });
    });
}

/// The language `und`, three times five bits.
const UNDETERMINED: u32 = 0x55c4_0000;

/// The descriptors around an AudioSpecificConfig (ISO/IEC 14496-1, 7.2.6); at most 64 bytes, so that lengths are one byte.
fn descriptors(o: &mut Vec<u8>, config: &[u8]) {
    let n = config.len() as u8;
    o.extend([3, 23 + n, 0, SOUND as u8, 0]); // ES_Descriptor
    o.extend([4, 15 + n, 0x40, 0x15, 0, 0, 0]); // DecoderConfigDescriptor: AAC, a stream of sound
    words(o, &[0, 0]); // bit rates: unknown
    o.extend([5, n]); // DecoderSpecificInfo
    o.extend(config);
    o.extend([6, 1, 2]); // SLConfigDescriptor: as MP4 has it
}

/// Flags of samples: a key frame depends on nothing, another picture on others.
const KEY: u32 = 0x0200_0000;
const NOT_KEY: u32 = 0x0101_0000;
/// Times and places count from the fragment's own start.
const BASE_IS_MOOF: u32 = 0x2_0000;

/// Gives the place of the offset of its data, which is not known yet.
fn pictures_run(o: &mut Vec<u8>, start: u64, pictures: &[Picture]) -> usize {
    let mut place = 0;
    boxed(o, b"traf", |o| {
        full(o, b"tfhd", 0, BASE_IS_MOOF, |o| words(o, &[VIDEO]));
        full(o, b"tfdt", 1, 0, |o| o.extend(start.to_be_bytes()));
        // Offset; and for each its duration, size and flags.
        full(o, b"trun", 0, 0x001 | 0x100 | 0x200 | 0x400, |o| {
            words(o, &[pictures.len() as u32]);
            place = o.len();
            words(o, &[0]);
            for p in pictures {
                words(o, &[p.duration, p.data.len() as u32, if p.key { KEY } else { NOT_KEY }]);
            }
        });
    });
    place
}

fn sound_run(o: &mut Vec<u8>, start: u64, frames: &[AacFrame]) -> usize {
    let mut place = 0;
    boxed(o, b"traf", |o| {
        // The same duration and flags for all.
        full(o, b"tfhd", 0, BASE_IS_MOOF | 0x08 | 0x20, |o| words(o, &[SOUND, FRAME_SAMPLES, KEY]));
        full(o, b"tfdt", 1, 0, |o| o.extend(start.to_be_bytes()));
        full(o, b"trun", 0, 0x001 | 0x200, |o| {
            words(o, &[frames.len() as u32]);
            place = o.len();
            words(o, &[0]);
            frames.iter().for_each(|frame| words(o, &[frame.0.len() as u32]));
        });
    });
    place
}

fn boxed(o: &mut Vec<u8>, kind: &[u8; 4], content: impl FnOnce(&mut Vec<u8>)) {
    let start = o.len();
    words(o, &[0]);
    o.extend(kind);
    content(o);
    let length = (o.len() - start) as u32;
    o[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// A box with version and flags.
fn full(
    o: &mut Vec<u8>,
    kind: &[u8; 4],
    version: u8,
    flags: u32,
    content: impl FnOnce(&mut Vec<u8>),
) {
    boxed(o, kind, |o| {
        words(o, &[u32::from(version) << 24 | flags]);
        content(o);
    });
}

fn words(o: &mut Vec<u8>, all: &[u32]) {
    all.iter().for_each(|word| o.extend(word.to_be_bytes()));
}
