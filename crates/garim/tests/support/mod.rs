//! What the tests of the command line share: a folder of their own, running `garim`, `ffmpeg` and
//! `ffprobe` in it, and looking at streams and pixels.
//!
//! Arguments are one string split at white space; `@x` is `x` in the folder of fixtures. Inputs
//! are cut from fetched footage (`cargo xtask fixtures`) and kept tiny.

#![allow(dead_code, reason = "each program of tests uses a part of it")]

pub mod broadcast;
pub mod live;
pub mod mounts;
pub mod pixels;
pub mod processes;
pub mod recorded;
pub mod rtmp;
pub mod server;
#[path = "../../../store/tests/servers/mod.rs"]
pub mod servers;
pub mod site;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder for one test; gone afterwards.
pub struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        if let Some(name) = name.strip_prefix('@') {
            fixture(name)
        } else {
            self.dir.path().join(name)
        }
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }

    /// Names of everything in the folder, hidden files too.
    pub fn names(&self) -> Vec<String> {
        let entries = self.dir.path().read_dir().unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// `program` with `args`, to be run in the folder.
    pub fn command(&self, program: &str, args: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("GARIM_STORE", self.path("store")).env_remove("GARIM_SERVER_KEY");
        for word in args.split_whitespace() {
            match word.strip_prefix('@') {
                Some(name) => command.arg(fixture(name)),
                None => command.arg(word),
            };
        }
        command
    }

    pub fn ffmpeg(&self, args: &str) {
        tool(self.command("ffmpeg", &format!("-v error -nostdin -y {args}")));
    }

    /// 24 frames of one man's face, 320x180 ([`FACE`]), with a tone; `filter` comes after scaling.
    pub fn clip(&self, filter: &str, args: &str) {
        let comma = if filter.is_empty() { "" } else { "," };
        self.ffmpeg(&format!(
            "-t 0.8 -i @pyfeat/single_face.mp4 -f lavfi -t 0.8 -i sine=440:sample_rate=48000 \
             -map 0:v -map 1:a -c:v libx264 -preset ultrafast -vf scale=320:180{comma}{filter} {args}"
        ));
    }

    /// Writes the display matrix of the first track of an MP4 (ISO/IEC 14496-12, 8.3.2).
    pub fn turn(&self, file: &str, matrix: [i32; 4]) {
        let mut bytes = self.read(file);
        let header = bytes.windows(4).position(|w| w == b"tkhd").unwrap() + 4;
        let [a, b, c, d] = matrix.map(|v| v << 16);
        for (i, value) in [a, b, 0, c, d, 0, 0, 0, 1 << 30].into_iter().enumerate() {
            let at = header + 40 + 4 * i;
            bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        self.write(file, bytes);
    }

    pub fn garim(&self, args: &str) -> Ran {
        let output = self.command(GARIM, args).output().unwrap();
        Ran::new(&output)
    }

    /// Covers `input` as `out.mp4`; gives the report. `args` may say more.
    pub fn mosaic(&self, input: &str, args: &str) -> Value {
        self.garim(&format!(
            "mosaic {input} -o out.mp4 --report report.json --preset ultrafast {args}"
        ))
        .ok();
        self.json("report.json")
    }

    /// Why `garim mosaic` failed with `input`; there must be no output and nothing left behind.
    pub fn refusal(&self, input: &str, args: &str) -> String {
        let before = self.names();
        let error = self.garim(&format!("mosaic {input} -o out.mp4 {args}")).error();
        assert_eq!(self.names(), before, "files were left behind");
        error
    }

    pub fn streams(&self, file: &str) -> Vec<Value> {
        let path = self.path(file);
        let mut probe = Command::new("ffprobe");
        probe.args(["-v", "error", "-of", "json", "-show_streams"]).arg(path);
        let json: Value = serde_json::from_slice(&tool(probe)).unwrap();
        json["streams"].as_array().unwrap().clone()
    }

    /// The video stream.
    pub fn video(&self, file: &str) -> Value {
        let mut streams = self.streams(file).into_iter();
        streams.find(|s| s["codec_type"] == "video").unwrap()
    }

    /// Time of every frame that a player shows, in seconds.
    pub fn times(&self, file: &str) -> Vec<Seconds> {
        let base = time_base(&self.video(file));
        let frames = self.entries(file, "v:0", "frame=best_effort_timestamp");
        frames.iter().map(|f| base * f["best_effort_timestamp"].as_i64().unwrap()).collect()
    }

    /// The packets of a stream (`v:0`, `a:0`), in order of the file.
    pub fn packets(&self, file: &str, stream: &str) -> Vec<Packet> {
        let kind = if stream.starts_with('v') { "video" } else { "audio" };
        let found = self.streams(file).into_iter().find(|s| s["codec_type"] == kind);
        let base = time_base(&found.unwrap());
        let packets = self.entries(file, stream, "packet=pts,duration,data_hash,size");
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        packets
            .iter()
            .map(|p| Packet {
                pts: base * p["pts"].as_i64().unwrap(),
                duration: base * p["duration"].as_i64().unwrap_or(0),
                hash: text(&p["data_hash"]),
                size: text(&p["size"]).parse().unwrap(),
            })
            .collect()
    }

    fn entries(&self, file: &str, stream: &str, what: &str) -> Vec<Value> {
        let mut probe = Command::new("ffprobe");
        probe.args(["-v", "error", "-of", "json", "-show_data_hash", "md5", "-select_streams"]);
        probe.args([stream, "-show_entries", what]).arg(self.path(file));
        let json: Value = serde_json::from_slice(&tool(probe)).unwrap();
        let (name, _) = what.split_once('=').unwrap();
        json[format!("{name}s")].as_array().unwrap().clone()
    }

    /// A player has nothing to complain about.
    pub fn assert_plays(&self, file: &str) {
        // The stream's own time base, or frames rounded to the same tick would be complained about.
        let args = format!(
            "-v warning -nostdin -i {file} -fps_mode passthrough -enc_time_base:v -1 -f null -"
        );
        let output = self.command("ffmpeg", &args).output().unwrap();
        assert!(output.status.success());
        // FFmpeg 7 calls `-1` deprecated; FFmpeg 5 does not know its new name `demux`.
        let complaints = String::from_utf8_lossy(&output.stderr);
        let complaints: Vec<&str> =
            complaints.lines().filter(|l| !l.contains("-enc_time_base -1 is deprecated")).collect();
        assert_eq!(complaints, [""; 0], "{file} decodes with warnings");
    }
}

pub const GARIM: &str = env!("CARGO_BIN_EXE_garim");

/// Where the man's face is in every frame of [`Scratch::clip`]: forehead to chin, temple to temple.
pub const FACE: pixels::Rect = pixels::Rect { x: 116, y: 46, width: 62, height: 92 };

pub fn fixture(name: &str) -> PathBuf {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.garim/fixtures")).join(name);
    assert!(path.exists(), "{} is missing: run `cargo xtask fixtures`", path.display());
    path
}

/// Runs a tool that must not fail; gives its stdout.
pub fn tool(mut command: Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {words}");
    output.stdout
}

/// How a run of `garim` ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// It failed with exit code 1 and one line that says why.
    pub fn error(self) -> String {
        assert_eq!(self.code, Some(1), "{self:#?}");
        let line = self.stderr.trim_end();
        assert!(line.starts_with("error: ") && !line.contains('\n'), "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        line.to_owned()
    }
}

/// An exact time: a fraction in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds {
    num: i64,
    den: i64,
}

impl Seconds {
    pub fn new(num: i64, den: i64) -> Self {
        let by = gcd(num.unsigned_abs(), den.unsigned_abs()).max(1) as i64;
        Self { num: num / by, den: den / by }
    }

    pub fn as_f64(self) -> f64 {
        self.num as f64 / self.den as f64
    }
}

impl std::ops::Mul<i64> for Seconds {
    type Output = Self;

    fn mul(self, by: i64) -> Self {
        Self::new(self.num * by, self.den)
    }
}

impl std::ops::Sub for Seconds {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self::new(self.num * other.den - other.num * self.den, self.den * other.den)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub fn time_base(stream: &Value) -> Seconds {
    let text = stream["time_base"].as_str().unwrap();
    let (num, den) = text.split_once('/').unwrap();
    Seconds::new(num.parse().unwrap(), den.parse().unwrap())
}

/// One packet as ffprobe sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub pts: Seconds,
    pub duration: Seconds,
    pub hash: String,
    pub size: usize,
}
