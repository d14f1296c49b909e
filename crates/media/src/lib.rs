//! FFmpeg for Garim: probing, demuxing, decoding, encoding what is redacted, muxing.
//!
//! What belongs here: every call into FFmpeg and every `unsafe` block of the file path, behind a
//! safe interface that keeps the chain `Packet -> Frame -> Redacted -> Encoded`: the encoder takes
//! only [`redact::Redacted`], the writer takes only [`Encoded`], [`Audio`], and [`Copied`] packets
//! together with the [`redact::Cleared`] that is good for them. Encoded pictures go from process to
//! process sealed ([`ChunkWriter`], [`ChunkReader`]). What a live channel sent is covered, and is copied as it was
//! recorded ([`Recording`]). The exceptions are [`convert`] and [`remux`], which cover nothing and say so.
//! What never does: deciding what is covered, detectors, threads of the pipeline, the network.

#![allow(unsafe_code)]
// The FFI crate: each block gives its reason.
// Integer types of FFmpeg's constants and enums differ between its versions.
#![allow(clippy::unnecessary_cast)]

mod aac;
mod avio;
mod boxes;
mod canvas;
mod chunk;
mod clock;
mod convert;
mod damage;
mod encoder;
mod error;
mod fragments;
mod gops;
mod h264;
mod info;
mod muxer;
mod packets;
mod picture;
mod playlist;
mod reader;
mod recording;
mod scaler;
mod silence;
mod source;
mod splice;
mod stream_decoder;
mod sys;
mod writer;

pub use avio::{Bytes, Input, Target};
pub use boxes::{fragment_lengths, is_whole_mp4};
pub use canvas::Canvas;
pub use chunk::{ChunkReader, ChunkWriter};
pub use convert::{Converted, convert, remux};
pub use encoder::{EncodeSettings, Encoded, LiveSettings, VideoEncoder};
pub use error::MediaError;
pub use fragments::{AacFrame, Fragments, SoundConfig};
pub use gops::NotCopied;
pub use info::{AudioInfo, Codec, MediaInfo, VideoInfo};
pub use packets::{Kind, PacketInfo, Packets};
pub use reader::{Audio, Decoded, Item, ReadStats, Reader, Streams};
pub use recording::{RecordedFrame, Recording};
pub use silence::silence;
pub use source::probe;
pub use splice::{Copied, Pass, Section, Splice};
pub use stream_decoder::{AccessUnit, StreamDecoder};
pub use sys::{ffmpeg_version, has_x264, init};
pub use writer::{AudioPlan, Writer};
