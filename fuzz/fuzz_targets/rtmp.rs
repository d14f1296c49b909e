//! What comes over a publisher's connection, of any bytes: no panic, and no more memory than the limits say.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/rtmp/tests/script/mod.rs"]
mod script;

fuzz_target!(|bytes: &[u8]| {
    script::feed_any(bytes);
});
