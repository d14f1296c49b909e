//! Any bytes: no panic, and no more memory than the limits say. [`script::feed_any`] looks after both; the fuzz target
//! does the same for longer.

mod script;

use proptest::prelude::*;
use script::{Script, feed_any};

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        feed_any(&bytes);
    }

    /// Bytes that look like chunks get further.
    #[test]
    fn any_chunks_are_survived(
        first in any::<u8>(),
        chunks in prop::collection::vec(
            (
                0..4_u8,
                2..8_u8,
                prop_oneof![0..100_u32, Just(0xff_ffff), any::<u32>()],
                0..600_usize,
                prop_oneof![Just(1_u8), Just(2), Just(8), Just(9), Just(17), Just(18), Just(20), 0..23_u8],
                prop::collection::vec(prop_oneof![Just(0_u8), Just(2), Just(3), any::<u8>()], 0..300),
            ),
            0..40,
        ),
    ) {
        let mut script = Script::empty().raw(&[first]);
        for (format, stream, time, length, kind, payload) in chunks {
            script = match format {
                3 => script.raw(&[0xc0 | stream]),
                2 => script.header(2, stream, time, None),
                format => script.header(format, stream, time, Some((length, kind))),
            };
            script = script.raw(&payload[..payload.len().min(length).min(128)]);
        }
        feed_any(&script.bytes);
    }

    /// A session in which some bytes were changed.
    #[test]
    fn any_changed_session_is_survived(
        first in any::<u8>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let session = Script::empty()
            .raw(&[first])
            .connect("live")
            .command("createStream", &[])
            .publish(script::KEY)
            .video(0, &[0x17, 0, 0, 0, 0, 1, 2, 3])
            .video(40, &[0x17; 700])
            .audio(0x100_0000, &[0xaf; 500])
            .command("deleteStream", &[]);
        let mut bytes = session.bytes;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        feed_any(&bytes);
    }
}
