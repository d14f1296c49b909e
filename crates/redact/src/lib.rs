//! Analysis and policy become a plan; the plan becomes covered pixels.
//!
//! What belongs here: how strong a cover must be, which frames count as analysed, what is covered
//! in each, its document that people may edit, and the painting. What never does: finding or
//! recognising faces, decoding, encoding, files, threads, or a way to obtain a [`Redacted`] without
//! [`Painter::paint`].
//!
//! ```text
//! Analysis --finish(tracks, shown, policy)--> RedactionPlan --for_frame--> FramePlan
//! RedactionPlan --document--> JSON --PlanDocument::parse, for_input(SHA-256)--> RedactionPlan
//! Frame + FramePlan --Painter::paint--> Redacted
//! packets of a GOP --RedactionPlan::clear--> Cleared
//! ```
//!
//! # What cannot be written by hand
//!
//! "This frame needs no cover" is a claim about every pixel of it, so it only comes out of a
//! finished analysis, or of the document of one together with the input it was made of, or with the
//! video that was rendered from that by it. Each example below that must not compile stands next to
//! one that does and differs in that one thing.
//!
//! A [`FramePlan`] comes from a [`RedactionPlan`]:
//! ```
//! # use domain::*;
//! # use redact::*;
//! # let pts = Pts::new(0, TimeBase::new(1, 25).unwrap());
//! # let size = Size { width: 64, height: 64 };
//! let mut analysis = Analysis::new(size);
//! analysis.frame(pts, Seen::Detected, false);
//! let plan: FramePlan = analysis.finish(&[], &[], &Policy::default()).for_frame(0, pts, size);
//! assert_eq!(*plan.cover(), Cover::Regions(Vec::new()));
//! ```
//! and is not written down:
//! ```compile_fail,E0451
//! # use domain::*;
//! # use redact::*;
//! # let pts = Pts::new(0, TimeBase::new(1, 25).unwrap());
//! # let size = Size { width: 64, height: 64 };
//! let plan = FramePlan { seq: 0, pts, size, cover: Cover::Regions(Vec::new()) };
//! ```
//! nor changed, nor defaulted:
//! ```compile_fail,E0616
//! # use redact::*;
//! fn empty(plan: &mut FramePlan) {
//!     plan.cover = Cover::Regions(Vec::new());
//! }
//! ```
//! ```
//! # use redact::*;
//! fn read(plan: &mut FramePlan) -> &Cover {
//!     plan.cover()
//! }
//! ```
//! ```compile_fail,E0599
//! # use redact::*;
//! let plan = FramePlan::default();
//! ```
//!
//! A [`RedactionPlan`] is written down for people and tools ([`RedactionPlan::document`]), but what
//! is read back is not one before it was checked and the input is known to be the same:
//! ```
//! # use redact::*;
//! fn read(json: &[u8], sha256: &str) -> Result<RedactionPlan, PlanError> {
//!     PlanDocument::parse(json)?.for_input(sha256)
//! }
//! let value: serde_json::Value = serde_json::from_str("{}").unwrap();
//! ```
//! ```compile_fail,E0277
//! let document: redact::PlanDocument = serde_json::from_str("{}").unwrap();
//! ```
//! ```compile_fail,E0277
//! let plan: redact::RedactionPlan = serde_json::from_str("{}").unwrap();
//! ```
//! ```compile_fail,E0277
//! let plan: redact::FramePlan = serde_json::from_str("{}").unwrap();
//! ```
//! nor is it written down:
//! ```compile_fail,E0451
//! # use redact::*;
//! # fn f(plan: RedactionPlan) {
//! let plan = RedactionPlan { frames: Vec::new(), ..plan };
//! # }
//! ```
//! ```
//! # use redact::*;
//! # fn f(plan: RedactionPlan) {
//! let plan: RedactionPlan = plan;
//! # }
//! ```
//!
//! A [`Redacted`] comes from [`Painter::paint`]:
//! ```
//! # use domain::Frame;
//! # use redact::*;
//! fn cover(frame: Frame, plan: &FramePlan) -> Redacted {
//!     Painter::new().paint(frame, plan)
//! }
//! ```
//! ```compile_fail,E0451
//! # use domain::Frame;
//! # use redact::*;
//! fn cover(frame: Frame, plan: &FramePlan) -> Redacted {
//!     Redacted { frame }
//! }
//! ```
//! and its pixels are read, not replaced:
//! ```
//! # use redact::*;
//! fn first(redacted: &mut Redacted) -> u8 {
//!     redacted.frame().planes[0].data[0]
//! }
//! ```
//! ```compile_fail,E0596
//! # use redact::*;
//! fn first(redacted: &mut Redacted) {
//!     redacted.frame().planes[0].data[0] = 0;
//! }
//! ```
//!
//! A [`Cleared`] comes from [`RedactionPlan::clear`], which knows the packets' hash:
//! ```
//! # use redact::*;
//! fn copy(plan: &RedactionPlan) -> Option<Cleared> {
//!     plan.clear(0, [0; 32])
//! }
//! ```
//! ```compile_fail,E0451
//! # use redact::*;
//! fn copy(plan: &RedactionPlan) -> Option<Cleared> {
//!     Some(Cleared { sha256: [0; 32] })
//! }
//! ```

mod analysis;
mod cleared;
mod document;
mod mask;
mod paint;
mod plan;
mod policy;
mod slate;
mod tile;

pub use analysis::{Analysis, Seen, ShownSpan};
pub use cleared::Cleared;
pub use document::{
    Edit, FORMAT, MAX_BYTES, Model, PlanDocument, PlanError, PlanHeader, Published, VERSION,
};
pub use paint::{Painter, Redacted};
pub use plan::{Cover, Covered, FramePlan, FrameSummary, Reason, RedactionPlan, Region, Summary};
pub use policy::{Effect, EffectKind, Policy, PolicyError, Shape};
pub use slate::{Slate, slate};
