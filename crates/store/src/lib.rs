//! What outlives a process of Garim: people, their consent, sealed templates, the audit log, objects, live channels.
//!
//! What belongs here: tables and the rules that must hold in one transaction (no template without
//! consent, no change without its entry in the log), and the sealing of what is secret.
//! What never does: pictures being decoded, faces being compared, HTTP, command lines, or a secret that leaves
//! in the clear except to be used ([`Template`]).

mod audit;
mod backup;
mod channels;
mod consent;
mod db;
mod error;
mod events;
mod idempotency;
mod jobs;
mod key;
mod keys;
mod leftovers;
mod objects;
mod originals;
mod people;
mod users;
mod versions;
mod videos;
mod webhooks;

pub use audit::{Action, Chain, Entry};
pub use backup::{BackedUp, BackupKey, Restored, restore};
pub use channels::{
    Asked, Changes, Channel, ChannelFence, ChannelState, Claimed, Ingest, Lease, NewChannel,
    NewLive, Orders, Playback, Policy, Protection, Recorded, RecordingPolicy, RecordingState,
    ServerAddress, Session, Started, StreamKey, received_context, received_folder,
    recording_folder,
};
pub use consent::{Consent, NewConsent, Scope, Standing};
pub use db::{Location, Store, Topic};
pub use error::Error;
pub use events::Event;
pub use idempotency::Before;
pub use jobs::{Beat, Failure, Fence, Job, Kind, NewJob, Retry, State, parts_folder};
pub use key::KeySource;
pub use keys::{ApiKey, KeyScope, NewKey, Secret};
pub use objects::{Contents, Object, ObjectPath, Objects, Place, S3Config};
pub use originals::{Part, Replacement, seal_context};
pub use people::{Face, NewPerson, NewPhoto, Person, Template};
pub use users::{User, check_user_name};
pub use versions::{NewVersion, Version, VersionFile, VersionState, video_folder};
pub use videos::{MAX_LENGTH, NewVideo, Original, Source, UPLOAD_PATIENCE, Video, VideoState};
pub use webhooks::{Answer, Delivery, DeliveryReport, Format, Webhook, WebhookSecret};
