//! Plans of any bytes: reading one never panics, and what is taken covers what its JSON says.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/redact/tests/scene/oracle.rs"]
mod oracle;

fuzz_target!(|bytes: &[u8]| {
    oracle::read(bytes);
});
