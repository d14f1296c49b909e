//! Looking at pictures for a request: in a child process, with what is on the disk sealed.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::JobId;
use jiff::Timestamp;
use pipeline::{Input, KeepSpec, KnownBy, Templates};
use sealed::{MAX_RECORD, SealKey, Sealed};
use serde::de::DeserializeOwned;
use store::{Error, Scope};
use tokio::time::timeout;

use super::App;
use super::problem::{Code, Problem};
use crate::child::{self, Ended, Task};
use crate::service::Room;

/// Waits this long for room.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pictures of one request, sealed with a key that only this request has.
pub struct Pictures {
    pub room: Room,
    key: SealKey,
    count: usize,
}

impl Pictures {
    pub fn new(app: &App) -> Result<Self, Problem> {
        let id = JobId::new(Timestamp::now().as_millisecond());
        let room =
            app.service.staging.room(id, 0).map_err(|e| Problem::unavailable(format!("{e:#}")))?;
        Ok(Self { room, key: SealKey::random(), count: 0 })
    }

    /// Puts a picture where a child can read it. It is called `name` in messages.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<Input, Problem> {
        let context = format!("picture {}", self.count);
        self.count += 1;
        let mut sealed = Vec::with_capacity(bytes.len() + 64);
        for (index, record) in bytes.chunks(MAX_RECORD).enumerate() {
            let offset = (index * MAX_RECORD) as u64;
            let record = sealed::seal(&self.key, &context, offset, record);
            sealed.extend(record.map_err(Problem::internal)?);
        }
        let path = self.room.file(name);
        fs::write(&path, sealed).map_err(Problem::unavailable)?;
        let (key, len) = (self.key.clone(), bytes.len() as u64);
        Ok(Input { path, sealed: Some(Sealed { key, context, len }) })
    }
}

/// Stops the child when the request is over, also when its client went away.
struct Halt(Arc<AtomicBool>);

impl Drop for Halt {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Has a child do `task`; `room` is left out of its messages.
pub async fn child<T: DeserializeOwned>(app: &App, room: &Room, task: Task) -> Result<T, Problem> {
    let looking = Arc::clone(&app.looking).acquire_owned();
    let permit = timeout(PATIENCE, looking).await.map_err(|_| {
        Problem::new(Code::TooManyAtOnce, "other pictures are being looked at").retry_after(5)
    })?;
    let halt = Halt(Arc::default());
    let stop = Arc::clone(&halt.0);
    let ran = tokio::task::spawn_blocking(move || {
        let _held = permit;
        child::run(&task, &stop, &mut |_| {})
    });
    let folder = room.file("").display().to_string();
    let nameless = |error: &anyhow::Error| format!("{error:#}").replace(&folder, "");
    match ran.await.map_err(Problem::internal)? {
        Ok(answer) => serde_json::from_value(answer).map_err(Problem::internal),
        Err(Ended::Failed(error) | Ended::Died(error)) => {
            Err(Problem::new(Code::InputRefused, nameless(&error)))
        }
        Err(Ended::Interrupted) => Err(Problem::unavailable("the request was given up")),
    }
}

/// Everybody in a collection who agrees to be recognised in videos, by their ids.
pub async fn people(app: &App, owner: &str, collection: &str) -> Result<Vec<KeepSpec>, Problem> {
    let mut people = Vec::new();
    for person in app.store.people(Some(owner), Some(collection)).await? {
        match app.store.to_keep(&person, Scope::Videos, Timestamp::now()).await {
            Ok(templates) => {
                let numbers = templates.iter().map(|t| t.values().to_vec()).collect();
                let by = KnownBy::Templates(Templates(numbers));
                people.push(KeepSpec { name: person.id.to_string(), by });
            }
            Err(Error::NoConsent { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(people)
}
