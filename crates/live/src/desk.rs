//! The channels that run on this server: claimed from the database, found by their stream keys and sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{ChannelId, ServerId, SessionId};
use jiff::{SignedDuration, Timestamp};
use rtmp::Rejection;
use store::{Asked, Error, Lease, Playback, ServerAddress, Topic};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::channel::{Admitted, Channel, Command, Handle, Shared};
use crate::origin::Origin;

/// How long a server has its channels without saying that it lives.
const LEASE: SignedDuration = SignedDuration::from_secs(10);
/// How often it says so, and follows what the database says of its channels.
const BEAT: Duration = Duration::from_millis(500);
/// How long the end of a session can be watched here.
const ENDED: Duration = Duration::from_secs(120);

/// The channels of this server.
pub struct Desk {
    shared: Shared,
    server: ServerId,
    address: ServerAddress,
    slots: u32,
    running: Mutex<HashMap<ChannelId, Handle>>,
    sessions: Mutex<HashMap<SessionId, Shown>>,
}

/// What viewers find here of a session.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What they read from.
    pub origin: Arc<Origin>,
    /// Who may: decided when the session began.
    pub playback: Playback,
}

struct Shown {
    watched: Watched,
    ended: Option<Instant>,
}

impl Desk {
    /// `address`: where this server is found. `slots`: how many channels may run here at once.
    pub fn new(shared: Shared, server: ServerId, address: ServerAddress, slots: u32) -> Self {
        Self {
            shared,
            server,
            address,
            slots,
            running: Mutex::default(),
            sessions: Mutex::default(),
        }
    }

    /// What viewers find of a session; `None`: it does not run here, and did not of late.
    pub fn watched(&self, session: SessionId) -> Option<Watched> {
        lock(&self.sessions).get(&session).map(|shown| shown.watched.clone())
    }

    /// Lets viewers find a session.
    pub fn show(&self, session: SessionId, watched: Watched) {
        lock(&self.sessions).insert(session, Shown { watched, ended: None });
    }

    /// Lets somebody publish.
    pub(crate) async fn publish(&self, key: &str) -> Result<(ChannelId, Admitted), Rejection> {
        let channel = match self.shared.store.channel_by_stream_key(key).await {
            Ok(Some(channel)) => channel,
            Ok(None) => return Err(Rejection::WrongKey),
            Err(error) => {
                tracing::warn!(%error, "nobody can say whose a stream key is");
                return Err(Rejection::NotReady);
            }
        };
        let Some(handle) = lock(&self.running).get(&channel.id).cloned() else {
            let now = Timestamp::now();
            let elsewhere = |lease: &Lease| lease.server != self.server && lease.until > now;
            // Or it was not taken up yet.
            return Err(if channel.lease.as_ref().is_some_and(elsewhere) {
                Rejection::Elsewhere
            } else {
                Rejection::NotReady
            });
        };
        let (reply, answer) = oneshot::channel();
        let command = Command::Publish { admission: channel.admission, reply };
        handle.commands.send(command).await.map_err(|_| Rejection::NotReady)?;
        let admitted = answer.await.map_err(|_| Rejection::NotReady)??;
        Ok((channel.id, admitted))
    }

    /// Runs channels until `stop` is done; then lets go of them, so that other servers take them over.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let mut changes = self.shared.store.changes(Topic::Channels);
        tokio::pin!(stop);
        loop {
            if let Err(error) = self.beat().await {
                tracing::warn!(%error, "the channels of this server cannot be looked after");
            }
            self.sweep();
            tokio::select! {
                () = &mut stop => break,
                // What was changed is followed at once.
                _ = timeout(BEAT, changes.changed()) => {}
            }
        }
        for handle in self.handles() {
            let _ = handle.commands.send(Command::Lost).await;
        }
        if let Err(error) = self.shared.store.release_channels(self.server).await {
            tracing::warn!(%error, "channels cannot be let go of: others take them over in 10 s");
        }
    }

    fn handles(&self) -> Vec<Handle> {
        lock(&self.running).values().cloned().collect()
    }

    async fn beat(&self) -> Result<(), Error> {
        let (store, now) = (&self.shared.store, Timestamp::now());
        store.offer_capacity(self.server, self.slots, &self.address, LEASE, now).await?;
        let handles = self.handles();
        let fences: Vec<_> = handles.iter().map(|handle| handle.fence).collect();
        let asked = store.beat_channels(&fences, LEASE, now).await?;
        for (handle, asked) in handles.iter().zip(asked) {
            let command = match asked {
                Asked::Continue(orders) => Command::Orders(orders),
                Asked::Stop => Command::Stop,
                Asked::Lost => Command::Lost,
            };
            // When it has too much to do to listen, it is told the next time.
            let _ = handle.commands.try_send(command);
        }
        let free = self.slots.saturating_sub(u32::try_from(handles.len()).unwrap_or(u32::MAX));
        if free > 0 {
            for claimed in store.claim_channels(self.server, LEASE, now, free).await? {
                let id = claimed.channel.id;
                let handle = Channel::start(self.shared.clone(), claimed)?;
                let (session, origin) = (&handle.session, Arc::clone(&handle.origin));
                self.show(session.id, Watched { origin, playback: session.playback });
                lock(&self.running).insert(id, handle);
            }
        }
        Ok(())
    }

    /// Forgets channels whose tasks are done, and after a while their sessions.
    fn sweep(&self) {
        let mut running = lock(&self.running);
        let mut sessions = lock(&self.sessions);
        for handle in running.values().filter(|handle| handle.commands.is_closed()) {
            if let Some(shown) = sessions.get_mut(&handle.session.id) {
                shown.ended.get_or_insert_with(Instant::now);
            }
        }
        running.retain(|_, handle| !handle.commands.is_closed());
        sessions.retain(|_, shown| shown.ended.is_none_or(|at| at.elapsed() < ENDED));
    }
}

/// A panic elsewhere is no reason to stop: both maps are whole at any time.
fn lock<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}
