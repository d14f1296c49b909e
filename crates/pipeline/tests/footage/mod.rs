//! Small clips cut from fetched footage (`cargo xtask fixtures`), in a folder of their own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Centres of the faces in [`Clips::two_people`], as shares of the picture.
pub const HER_X: f32 = 190.0 / 640.0;
pub const HIS_X: f32 = 482.0 / 640.0;
pub const HIS_Y: f32 = 130.0 / 240.0;

/// A folder that is gone afterwards.
pub struct Clips(tempfile::TempDir);

impl Clips {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Two people side by side, 640x240: she left of the middle, he right of it.
    pub fn two_people(&self, seconds: u32) -> PathBuf {
        let path = self.path("in.mp4");
        let input = fixture("made/two_people.mp4");
        let filter = "scale=640:240";
        self.ffmpeg(&["-ss", "10", "-t", &seconds.to_string()], &input, filter, &path);
        path
    }

    /// The same to a viewer, but coded turned back by `degrees` and shown by a display matrix.
    pub fn turned(&self, straight: &Path, degrees: u32) -> PathBuf {
        let path = self.path("turned.mp4");
        let (back, matrix) = match degrees {
            90 => ("transpose=cclock", [0, 1, -1, 0]),
            180 => ("hflip,vflip", [-1, 0, 0, -1]),
            _ => ("transpose=clock", [0, -1, 1, 0]),
        };
        self.ffmpeg(&[], straight, back, &path);
        turn(&path, matrix);
        path
    }

    pub fn ffmpeg(&self, before: &[&str], input: &Path, filter: &str, output: &Path) {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin", "-y"]).args(before).arg("-i").arg(input);
        command.args(["-vf", filter, "-an", "-c:v", "libx264", "-preset", "ultrafast"]);
        command.args(["-crf", "14"]).arg(output);
        run(command);
    }
}

/// Writes the display matrix of the first track of an MP4 (ISO/IEC 14496-12, 8.3.2).
fn turn(path: &Path, matrix: [i32; 4]) {
    let mut bytes = std::fs::read(path).unwrap();
    let header = bytes.windows(4).position(|w| w == b"tkhd").unwrap() + 4;
    let [a, b, c, d] = matrix.map(|v| v << 16);
    for (i, value) in [a, b, 0, c, d, 0, 0, 0, 1 << 30].into_iter().enumerate() {
        let at = header + 40 + 4 * i;
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

pub fn fixture(name: &str) -> PathBuf {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.garim/fixtures")).join(name);
    assert!(path.exists(), "{} is missing: run `cargo xtask fixtures`", path.display());
    path
}
