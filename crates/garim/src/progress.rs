//! Progress on stderr: a bar on a terminal, a plain line every few seconds elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pipeline::{Phase, Progress};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far one file is.
pub struct Display {
    name: String,
    bar: Option<ProgressBar>,
    phase: Option<(Phase, Instant)>,
    line: Instant,
}

/// A rate and what is left, for one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Frames a second in this phase.
    pub fps: f64,
    /// Seconds left in this phase, where the total is known.
    pub eta: Option<f64>,
}

impl Display {
    /// For the file `name`. `quiet`: nothing is drawn (events go to stdout instead).
    pub fn new(name: String, quiet: bool) -> Self {
        let bar = (!quiet && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
            bar.set_prefix(name.clone());
            bar
        });
        Self { name, bar, phase: None, line: Instant::now() }
    }

    /// Shows `progress`; gives the pace.
    pub fn show(&mut self, progress: &Progress, quiet: bool) -> Pace {
        let fresh = self.phase.is_none_or(|(phase, _)| phase != progress.phase);
        if fresh {
            self.phase = Some((progress.phase, Instant::now()));
            if let Some(bar) = &self.bar {
                bar.set_style(style(progress));
                bar.reset();
            }
        }
        let since = self.phase.map_or(0.0, |(_, start)| start.elapsed().as_secs_f64());
        let pace = pace(progress, since);
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total.unwrap_or(progress.frames));
            bar.set_position(progress.frames);
        } else if !quiet && pace.fps > 0.0 && self.line.elapsed() >= LINE_EVERY {
            self.line = Instant::now();
            eprintln!("{}: {}", self.name, line(progress, pace));
        }
        pace
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn pace(progress: &Progress, seconds: f64) -> Pace {
    // The first instant says nothing of the rate.
    let fps = if seconds > 0.1 { progress.frames as f64 / seconds } else { 0.0 };
    let left = progress.total.map(|total| total.saturating_sub(progress.frames) as f64);
    Pace { fps, eta: left.filter(|_| fps > 0.0).map(|left| left / fps) }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Analyse => "finding faces",
        Phase::Render => "covering",
        Phase::Convert => "copying",
        Phase::Verify => "verifying",
    }
}

fn style(progress: &Progress) -> ProgressStyle {
    let what = name(progress.phase);
    let template = match (progress.phase, progress.total) {
        (Phase::Convert, _) => format!("{{prefix}} {what} {{bar:30}} {{percent}} %"),
        (_, Some(_)) => format!(
            "{{prefix}} {what} {{bar:30}} {{pos}}/{{len}} frames, {{per_sec}}, {{eta}} left"
        ),
        (_, None) => format!("{{prefix}} {what} {{spinner}} {{pos}} frames, {{per_sec}}"),
    };
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn line(progress: &Progress, pace: Pace) -> String {
    let what = name(progress.phase);
    let share =
        progress.total.filter(|&t| t > 0).map(|t| progress.frames as f64 * 100.0 / t as f64);
    match (progress.phase, progress.total) {
        (Phase::Convert, _) => format!("{what} {:.0} %", share.unwrap_or(0.0)),
        (_, Some(total)) => format!(
            "{what}, {}/{total} frames, {:.0} fps, ETA {:.0} s",
            progress.frames,
            pace.fps,
            pace.eta.unwrap_or(0.0)
        ),
        (_, None) => format!("{what}, {} frames, {:.0} fps", progress.frames, pace.fps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_says_phase_frames_rate_and_what_is_left() {
        let progress = Progress { phase: Phase::Analyse, frames: 50, total: Some(200) };
        let pace = pace(&progress, 2.0);
        assert_eq!(pace, Pace { fps: 25.0, eta: Some(6.0) });
        assert_eq!(line(&progress, pace), "finding faces, 50/200 frames, 25 fps, ETA 6 s");
    }
}
