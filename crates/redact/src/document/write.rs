//! From a plan to its document.

use std::collections::HashMap;
use std::num::NonZeroU32;

use domain::{PersonIx, Track, TrackId};

use super::{
    Base, Document, FORMAT, GopForm, Input, Likeness, Model, PlanDocument, PolicyForm, Row, Shown,
    TrackForm, VERSION, WholeSpan,
};
use crate::{Effect, EffectKind, Policy, RedactionPlan, ShownSpan};

/// What a plan says about how it came to be.
#[derive(Clone, Debug, Default)]
pub struct PlanHeader {
    /// SHA-256 of the input's bytes, lower-case hex; empty when it has none.
    pub input_sha256: String,
    /// File name of the input, without its folder.
    pub input_name: Option<String>,
    /// Version of Garim that analysed.
    pub tool_version: String,
    /// The models that looked.
    pub models: Vec<Model>,
    /// Names of the kept people, by `PersonIx`.
    pub people: Vec<String>,
}

impl RedactionPlan {
    /// The document of an analysis of `tracks`, with nothing edited yet. Takes 32 bytes a box.
    pub fn document(&self, header: &PlanHeader, tracks: &[Track]) -> PlanDocument {
        let base = self.base.and_then(|base| {
            Some(Base { num: NonZeroU32::new(base.num())?, den: NonZeroU32::new(base.den())? })
        });
        PlanDocument(Document {
            format: FORMAT.to_owned(),
            version: VERSION,
            tool: header.tool_version.clone(),
            input: Input {
                name: header.input_name.clone(),
                sha256: header.input_sha256.clone(),
                width: self.size.width,
                height: self.size.height,
            },
            models: header.models.clone(),
            policy: PolicyForm::from(&self.policy),
            time_base: base,
            frames: self.frames.iter().map(|entry| entry.ticks).collect(),
            covered_whole: self.whole_spans(),
            gops: self.gop_forms(),
            tracks: self.track_forms(tracks, &header.people),
            manual: Vec::new(),
        })
    }

    /// Frames covered whole, neighbours with one reason together.
    fn whole_spans(&self) -> Vec<WholeSpan> {
        let runs = self.frames.chunk_by(|a, b| a.all == b.all);
        runs.filter_map(|run| {
            let (first, last) = (run.first()?, run.last()?);
            Some(WholeSpan { from: first.ticks, to: last.ticks, reason: first.all? })
        })
        .collect()
    }

    fn gop_forms(&self) -> Vec<GopForm> {
        let form = |gop: &domain::Gop| GopForm {
            from: gop.start.ticks,
            packets: gop.packets,
            reorder: gop.reorder,
            sha256: gop.sha256.iter().map(|b| format!("{b:02x}")).collect(),
            plain: gop.plain,
        };
        self.gops.iter().map(|placed| form(&placed.gop)).collect()
    }

    fn track_forms(&self, tracks: &[Track], people: &[String]) -> Vec<TrackForm> {
        let known: HashMap<TrackId, &Track> = tracks.iter().map(|t| (t.id, t)).collect();
        let mut forms: HashMap<TrackId, TrackForm> = HashMap::new();
        for (at, entry) in self.frames.iter().enumerate() {
            for face in self.faces(at) {
                let rect = face.rect;
                let form = forms.entry(face.track).or_insert_with(|| {
                    self.track_form(face.track, known.get(&face.track).copied(), people)
                });
                let row = Row(entry.ticks, rect.x0, rect.y0, rect.x1, rect.y1, face.kind);
                form.boxes.push(row);
            }
        }
        let mut forms: Vec<TrackForm> = forms.into_values().collect();
        forms.sort_by_key(|form| form.id);
        forms
    }

    /// A track, its boxes still missing.
    fn track_form(&self, id: TrackId, track: Option<&Track>, people: &[String]) -> TrackForm {
        let name = |person: PersonIx| people.get(person.0).cloned();
        let best = track.and_then(|t| t.sightings.iter().max_by(|a, b| a.2.total_cmp(&b.2)));
        let shown = self.shown.iter().filter(|span| span.track == id && span.first <= span.last);
        TrackForm {
            id,
            edit: None,
            best_score: track.map_or(0.0, |t| t.best_score),
            most_like: best.and_then(|(_, person, similarity)| {
                Some(Likeness { person: name(*person)?, similarity: *similarity })
            }),
            shown: shown
                .filter_map(|span| {
                    let last = span.last.min(self.len().saturating_sub(1));
                    Some(Shown {
                        person: name(span.person),
                        similarity: track.and_then(|t| similarity(t, span)),
                        from: self.frames.get(span.first)?.ticks,
                        to: self.frames.get(last)?.ticks,
                    })
                })
                .collect(),
            boxes: Vec::new(),
        }
    }
}

/// The best comparison with the shown person in the frames of the span.
fn similarity(track: &Track, span: &ShownSpan) -> Option<f32> {
    let within = track.sightings.iter().filter(|(frame, person, _)| {
        *person == span.person && (span.first..=span.last).contains(frame)
    });
    within.map(|(_, _, similarity)| *similarity).max_by(f32::total_cmp)
}

impl From<&Policy> for PolicyForm {
    fn from(policy: &Policy) -> Self {
        let (effect, cells) = match policy.effect() {
            Effect::Mosaic { cells } => (EffectKind::Mosaic, Some(cells)),
            Effect::Blur => (EffectKind::Blur, None),
            Effect::Fill => (EffectKind::Fill, None),
        };
        Self { effect, cells, shape: policy.shape(), pad: Some(policy.pad()) }
    }
}
