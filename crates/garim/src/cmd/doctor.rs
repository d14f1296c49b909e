//! `garim doctor`: what is missing on this machine, and the command that mends it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use vision::models;

use super::{print, success};

/// Free disk below this is worth a word, in bytes.
const LITTLE_DISK: u64 = 2 << 30;

pub fn run() -> Result<ExitCode> {
    let mut well = true;
    let mut line = |ok: bool, what: &str, detail: String| {
        well &= ok;
        print(format_args!("{} {what:<33} {detail}", if ok { "ok  " } else { "FAIL" }));
    };
    line(true, "FFmpeg", media::ffmpeg_version());
    if media::has_x264() {
        line(true, "x264", "encoder libx264".to_owned());
    } else {
        let mend = "this FFmpeg has no libx264: apt-get install libavcodec-extra ffmpeg";
        line(false, "x264", mend.to_owned());
    }
    for status in models::status() {
        let name = status.model.pinned().name;
        match (status.state, status.path) {
            (Ok(()), path) => {
                line(true, name, path.map_or(String::new(), |p| p.display().to_string()))
            }
            (Err(e), _) => line(false, name, e.to_string()),
        }
    }
    match models::locate().and_then(|installed| vision::Engine::load(&installed)) {
        Ok(_) => line(true, "ONNX Runtime", "loads".to_owned()),
        Err(e) => line(false, "ONNX Runtime", e.to_string()),
    }
    let (disk_ok, disk) = disk();
    line(disk_ok, "disk", disk);
    line(true, "CPU", cpu());
    Ok(success(well))
}

fn disk() -> (bool, String) {
    match rustix::fs::statvfs(Path::new(".")) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let text = format!("{:.1} GB free here", free as f64 / 1e9);
            if free < LITTLE_DISK {
                return (false, format!("{text}: make room, outputs are about as large as inputs"));
            }
            (true, text)
        }
        Err(e) => (false, format!("unknown: {e}")),
    }
}

/// Features that the detectors run faster with; none is needed.
fn cpu() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let features = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = features.lines().find(|l| l.starts_with("flags")).unwrap_or_default();
    let have: Vec<&str> = ["avx2", "fma", "avx512f", "avx512_vnni", "sha_ni"]
        .into_iter()
        .filter(|flag| flags.split_whitespace().any(|f| f == *flag))
        .collect();
    let slow = if have.contains(&"avx2") { "" } else { "; without AVX2 it will be slow" };
    format!("{cores} cores, {}{slow}", have.join(" "))
}
