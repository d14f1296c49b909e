//! Names of stored things that never change and are never given twice.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{NoContext, Timestamp, Uuid};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new one. Sorts after those made in earlier milliseconds (RFC 9562, version 7).
            pub fn new(unix_millis: i64) -> Self {
                let millis = u64::try_from(unix_millis).unwrap_or(0);
                let nanos = (millis % 1000) as u32 * 1_000_000;
                Self(Uuid::new_v7(Timestamp::from_unix(NoContext, millis / 1000, nanos)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id! {
    /// People of one streamer or organisation.
    CollectionId
}
id! {
    /// Somebody who was enrolled.
    PersonId
}
id! {
    /// A photo that somebody was enrolled by.
    PhotoId
}
id! {
    /// One time that somebody agreed to be seen.
    ConsentId
}
id! {
    /// A stored video, whatever became of its original.
    VideoId
}
id! {
    /// A job.
    JobId
}
id! {
    /// Something that happened.
    EventId
}
id! {
    /// An address that is told what happens.
    WebhookId
}
id! {
    /// One event on its way to one webhook.
    DeliveryId
}
id! {
    /// A key to the HTTP API. Tells nothing of its secret.
    KeyId
}
id! {
    /// A live channel. It may have been another user's before.
    ChannelId
}
id! {
    /// One time that a channel was live, from its start to its stop. Live and stored addresses hold it.
    SessionId
}
id! {
    /// A process that runs live channels.
    ServerId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_survive_text() {
        let (earlier, later) = (PersonId::new(1_700_000_000_000), PersonId::new(1_700_000_000_001));
        assert!(earlier < later);
        assert_ne!(PersonId::new(0), PersonId::new(0));
        assert_eq!(later.to_string().parse::<PersonId>().unwrap(), later);
        assert!("mina".parse::<PersonId>().is_err());
    }
}
