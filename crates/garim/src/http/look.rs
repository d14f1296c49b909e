//! Looking at pictures for a request: in a child process, with what is on the disk sealed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::JobId;
use jiff::Timestamp;
use pipeline::Input;
use sealed::{MAX_RECORD, SealKey, Sealed};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::App;
use super::problem::{Code, Problem};
use crate::child::{self, Ended, Task};
use crate::service::Room;

/// Waits this long for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// One look: its turn, and a folder of its own, which goes with it. There are few at once, so this also bounds what
/// is on the disk for requests.
pub struct Look {
    pub room: Room,
    /// Seals pictures; only this look has it.
    key: SealKey,
    pictures: usize,
    /// Given back when the child is gone too.
    turn: Arc<OwnedSemaphorePermit>,
}

impl Look {
    /// Waits for its turn.
    pub async fn begin(app: &App) -> Result<Self, Problem> {
        let turn = timeout(PATIENCE, Arc::clone(&app.looking).acquire_owned()).await;
        let turn = turn.map_err(|_| {
            Problem::new(Code::TooManyAtOnce, "other pictures are being looked at").retry_after(5)
        })?;
        let turn = Arc::new(turn.map_err(Problem::internal)?);
        let id = JobId::new(Timestamp::now().as_millisecond());
        let room = app.service.staging.room(id, 0);
        let room = room.map_err(|e| Problem::unavailable(format!("{e:#}")))?;
        Ok(Self { room, key: SealKey::random(), pictures: 0, turn })
    }

    /// Puts a picture where a child can read it. It is called `name` in messages.
    pub async fn add(&mut self, name: &str, bytes: &[u8]) -> Result<Input, Problem> {
        let context = format!("picture {}", self.pictures);
        self.pictures += 1;
        let mut sealed = Vec::with_capacity(bytes.len() + 64);
        for (index, record) in bytes.chunks(MAX_RECORD).enumerate() {
            let offset = (index * MAX_RECORD) as u64;
            let record = sealed::seal(&self.key, &context, offset, record);
            sealed.extend(record.map_err(Problem::internal)?);
        }
        let path = self.room.file(name);
        tokio::fs::write(&path, sealed).await.map_err(Problem::unavailable)?;
        let (key, len) = (self.key.clone(), bytes.len() as u64);
        Ok(Input { path, sealed: Some(Sealed { key, context, len }) })
    }

    /// Has a child do `task`. It is stopped when the request is over, also when its client went away.
    pub async fn child<T: DeserializeOwned>(&self, task: Task) -> Result<T, Problem> {
        // What is wrong with a photo to enrol by is in the answer: if there is none, it is the server's fault.
        let is_ours = matches!(task, Task::Examine(_));
        let halt = Halt(Arc::default());
        let (stop, turn) = (Arc::clone(&halt.0), Arc::clone(&self.turn));
        let ran = tokio::task::spawn_blocking(move || {
            let _held = turn;
            child::run(&task, &stop, &mut |_| {})
        });
        match ran.await.map_err(Problem::internal)? {
            Ok(answer) => serde_json::from_value(answer).map_err(Problem::internal),
            Err(Ended::Failed(error)) if is_ours => Err(Problem::internal(format!("{error:#}"))),
            Err(Ended::Failed(error) | Ended::Died(error)) => {
                Err(Problem::new(Code::InputRefused, self.room.nameless(&format!("{error:#}"))))
            }
            Err(Ended::Interrupted) => Err(Problem::unavailable("the request was given up")),
        }
    }
}

struct Halt(Arc<AtomicBool>);

impl Drop for Halt {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
