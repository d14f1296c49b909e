//! Silence as AAC, for where a publisher sends no sound: players stop at a hole in one of two tracks.

use std::ptr;

use ffmpeg_sys_the_third as ff;

use crate::aac::open_encoder;
use crate::fragments::SoundConfig;
use crate::sys::{self, AGAIN, AvFrame, Packet, check};
use crate::{AacFrame, MediaError};

/// Frames encoded until the encoder's own start is over and all further ones are alike.
const SETTLED: i64 = 8;

/// One frame of silence for a track of this kind, to be repeated as often as needed.
///
/// # Errors
/// [`MediaError::Ffmpeg`] when FFmpeg's AAC encoder does not take the rate or the channels.
pub fn silence(config: &SoundConfig) -> Result<AacFrame, MediaError> {
    sys::init();
    // SAFETY: an all-zero layout is a blank one, which the call fills.
    let layout = unsafe {
        let mut layout: ff::AVChannelLayout = std::mem::zeroed();
        ff::av_channel_layout_default(&mut layout, config.channels().into());
        layout
    };
    let encoder = open_encoder(config.rate() as i32, &layout)?;
    let e = encoder.get();
    let mut last = Vec::new();
    for n in 0..SETTLED {
        let mut frame = AvFrame::new()?;
        let f = frame.get_mut();
        (f.nb_samples, f.format, f.sample_rate) = (e.frame_size, e.sample_fmt.0, e.sample_rate);
        f.pts = n * i64::from(e.frame_size);
        // SAFETY: copies a valid layout into a blank one, allocates the planes, and fills them.
        unsafe {
            check("audio", ff::av_channel_layout_copy(&mut f.ch_layout, &e.ch_layout))?;
            check("audio", ff::av_frame_get_buffer(ptr::from_mut(f), 0))?;
            let channels = f.ch_layout.nb_channels;
            ff::av_samples_set_silence(f.extended_data, 0, f.nb_samples, channels, e.sample_fmt);
        }
        // SAFETY: valid encoder and frame.
        check("AAC", unsafe { ff::avcodec_send_frame(encoder.as_ptr(), frame.as_ptr()) })?;
        loop {
            let packet = Packet::new()?;
            // SAFETY: valid encoder, blank packet.
            match unsafe { ff::avcodec_receive_packet(encoder.as_ptr(), packet.as_ptr()) } {
                AGAIN | ff::AVERROR_EOF => break,
                code => check("AAC", code)?,
            };
            last = packet.data().to_vec();
        }
    }
    Ok(AacFrame(last))
}
