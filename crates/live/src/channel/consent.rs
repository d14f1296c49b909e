//! Who may be seen, asked again and again by a task of its own: a database that is slow or away holds up no broadcast.

use std::time::Duration;

use domain::ChannelId;
use jiff::Timestamp;
use pipeline::KeepSpec;
use store::Store;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::people::people_to_keep;

/// How often the database is asked who may be seen. What it says is followed at once.
const ASK_EVERY: Duration = Duration::from_millis(400);
/// When it could not be asked for this long, nobody may be seen.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// Who may be seen in one channel.
pub(super) struct Consent {
    collection: watch::Sender<Option<String>>,
    people: watch::Receiver<Vec<KeepSpec>>,
}

impl Consent {
    /// Asks for those of `collection`. Nobody may be seen before there is an answer.
    pub(super) fn ask(
        store: Store,
        channel: ChannelId,
        owner: String,
        collection: Option<String>,
    ) -> Self {
        let (collection, which) = watch::channel(collection);
        let (told, people) = watch::channel(Vec::new());
        tokio::spawn(ask(store, channel, owner, which, told));
        Self { collection, people }
    }

    /// Asks for those of another collection from now on.
    pub(super) fn of(&self, collection: Option<String>) {
        self.collection.send_replace(collection);
    }

    /// Waits until it is not the same people any more. `None`: nobody can say so ever again.
    pub(super) async fn changed(&mut self) -> Option<Vec<KeepSpec>> {
        self.people.changed().await.ok()?;
        Some(self.people.borrow_and_update().clone())
    }
}

async fn ask(
    store: Store,
    channel: ChannelId,
    owner: String,
    mut collection: watch::Receiver<Option<String>>,
    told: watch::Sender<Vec<KeepSpec>>,
) {
    // Until when what was said last is believed.
    let mut good_until = Instant::now() + GOOD_FOR;
    loop {
        let which = collection.borrow_and_update().clone();
        let people = people_to_keep(&store, &owner, which.as_deref(), Timestamp::now());
        let people = match timeout_at(good_until, people).await {
            Ok(Ok(people)) => {
                good_until = Instant::now() + GOOD_FOR;
                Some(people)
            }
            Ok(Err(error)) if Instant::now() < good_until => {
                tracing::warn!(%channel, %error, "nobody can say who agrees to be seen");
                None
            }
            Ok(Err(_)) | Err(_) => {
                tracing::error!(%channel, "nobody can say who agrees to be seen: nobody is shown");
                // The next question may take its time again.
                good_until = Instant::now() + GOOD_FOR;
                Some(Vec::new())
            }
        };
        if let Some(people) = people {
            told.send_if_modified(|before| {
                let other = *before != people;
                *before = people;
                other
            });
        }
        // Whoever wanted to know is gone.
        if matches!(timeout(ASK_EVERY, collection.changed()).await, Ok(Err(_))) {
            return;
        }
    }
}
