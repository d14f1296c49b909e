//! A plan carried over from the original to the video that was made of it.
//!
//! Somebody who was shown does not want to be any more, and the original is gone. What is left is
//! the published video, and the plan that says where that person is. Both are about the same
//! pictures: rendering keeps number, order, size and time stamps of all frames.
//!
//! Two videos of one length look the same to a plan, so their likeness proves nothing. What does is
//! [`Published`], written down when the video was made. Beyond that the rules are those of every
//! plan: a frame that is not exactly the plan's, by place, time and size, is covered whole.

use std::collections::HashSet;

use domain::{Gop, TimeBase};
use serde::{Deserialize, Serialize};

use super::{Edit, PlanDocument, PlanError, TrackForm};
use crate::RedactionPlan;

/// That one file was rendered from another, by a plan of that other: as its report said
/// (`output.sha256`, `input.sha256`), and as whoever published it wrote down then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// SHA-256 of the published file, lower-case hex.
    pub sha256: String,
    /// SHA-256 of the original, lower-case hex: the one in the plan.
    pub original_sha256: String,
}

impl PlanDocument {
    /// Covers these people from now on, whatever was confirmed or edited, and by the same edit that a
    /// person would write (`"edit": "cover"`).
    ///
    /// Fails closed: with somebody to cover, a track stays uncovered only where it was confirmed to be
    /// others, by name, and was most like others too. One that was kept by hand and never confirmed may
    /// be anybody, and is covered. Names that are in no track change nothing else.
    pub fn cover_people(&mut self, names: &[String]) {
        if names.is_empty() {
            return;
        }
        for track in &mut self.0.tracks {
            let uncovered = !track.shown.is_empty() || track.edit == Some(Edit::Keep);
            if uncovered && !is_confirmed_as_others(track, names) {
                track.edit = Some(Edit::Cover);
            }
        }
    }

    /// The plan, for a video that was rendered by it.
    ///
    /// `sha256` is that of the file at hand, `base` the unit of its time stamps (the container may have
    /// changed it), `gops` its own groups of pictures. Of these only the ones may be copied that the
    /// analysis saw as they are, packet by packet: those that were encoded since are encoded again.
    ///
    /// # Errors
    /// `published` is not about this file, or not about the original of this plan.
    pub fn for_published(
        &self,
        published: &Published,
        sha256: &str,
        base: Option<TimeBase>,
        gops: &[Gop],
    ) -> Result<RedactionPlan, PlanError> {
        if published.sha256.is_empty() || published.sha256 != sha256 {
            return Err(PlanError::NotPublished);
        }
        self.check_input(&published.original_sha256)?;
        let own = self.0.time_base.and_then(super::Base::time_base);
        let scale = |ticks: i64| rescale(ticks, own?, base?);
        let ticks: Option<Vec<i64>> = self.0.frames.iter().map(|t| scale(*t)).collect();
        // Times that the other unit cannot say are not its frames' times: all are covered whole.
        let Some(ticks) = ticks else { return self.plan(own, self.0.frames.clone(), &[]) };
        let analysed: HashSet<(i64, [u8; 32])> = self
            .gops(own)
            .iter()
            .filter(|gop| gop.plain)
            .filter_map(|gop| Some((scale(gop.start.ticks)?, gop.sha256)))
            .collect();
        let seen = |gop: &Gop| analysed.contains(&(gop.start.ticks, gop.sha256));
        let gops: Vec<Gop> =
            gops.iter().map(|gop| Gop { plain: gop.plain && seen(gop), ..*gop }).collect();
        self.plan(base, ticks, &gops)
    }
}

fn is_confirmed_as_others(track: &TrackForm, names: &[String]) -> bool {
    let is_other = |name: &String| !names.contains(name);
    let confirmed = track.shown.iter().all(|s| s.person.as_ref().is_some_and(is_other));
    let like = track.most_like.as_ref().is_none_or(|like| is_other(&like.person));
    !track.shown.is_empty() && confirmed && like
}

/// The same time in another unit; `None` where it is no whole number of ticks.
fn rescale(ticks: i64, from: TimeBase, to: TimeBase) -> Option<i64> {
    if from == to {
        return Some(ticks);
    }
    // At most 63 + 32 + 32 bits.
    let num = i128::from(ticks) * i128::from(from.num()) * i128::from(to.den());
    let den = i128::from(from.den()) * i128::from(to.num());
    let whole = (num % den == 0).then_some(num / den)?;
    i64::try_from(whole).ok()
}
