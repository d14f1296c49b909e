//! Finds hls.js, which is built in: `make setup` fetched it.

use std::path::Path;

/// Also in scripts/fetch-player.sh, with its hash.
const HLS_JS: &str = "1.7.4";

fn main() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.garim/web");
    println!("cargo::rerun-if-changed=build.rs");
    for (variable, end) in
        [("JS", "light.min.js"), ("JS_GZIP", "light.min.js.gz"), ("LICENSE", "LICENSE")]
    {
        let file = web.join(format!("hls-{HLS_JS}.{end}"));
        println!("cargo::rerun-if-changed={}", file.display());
        if !file.is_file() {
            let file = file.display();
            println!(
                "cargo::error=the player hls.js {HLS_JS} is missing ({file}): run `make setup`"
            );
        }
        println!("cargo::rustc-env=GARIM_HLS_{variable}={}", file.display());
    }
    println!("cargo::rustc-env=GARIM_HLS_VERSION={HLS_JS}");
}
