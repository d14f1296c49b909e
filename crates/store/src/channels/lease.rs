//! Which server runs a channel: claimed with a lease, kept by beats, taken over when they stop.
//!
//! As with jobs, every claim has a number of its own, and only the latest may change the channel.

use domain::{ChannelId, ServerId};
use jiff::{SignedDuration, Timestamp};
use sealed::SealKey;
use sqlx::{AssertSqlSafe, Row};

use super::change::enter;
use super::channel::{COLUMNS, Channel, ChannelState, Ingest, channel};
use super::received;
use super::running::enter_ingest;
use super::session::{Session, under_way};
use crate::{Error, Store, Topic};

/// What lets a channel be claimed.
const CLAIMABLE: &str = "state IN ('creating', 'starting', 'running', 'stopping', 'recovering', 'deleting') \
     AND (lease_until IS NULL OR lease_until < $1)";

/// The right to run a channel, until another server claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelFence {
    /// The channel.
    pub channel: ChannelId,
    /// The claim.
    pub claim: i64,
}

/// A channel that a server is to run from now on.
#[derive(Clone)]
pub struct Claimed {
    /// The right to do so.
    pub fence: ChannelFence,
    /// The channel. Its state says what is to be done: make it ready, or end its session.
    pub channel: Channel,
    /// The session that is under way.
    pub session: Session,
    /// Seals what its publisher sends ([`crate::received_context`]); `None`: that is not kept.
    pub received: Option<SealKey>,
}

/// Where a server is found, as itself and not as one of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerAddress {
    /// For publishers: `rtmp://host:port`, without a path.
    pub rtmp: Option<String>,
    /// For viewers: `https://host:port`, without a slash at its end.
    pub http: Option<String>,
}

/// What is wanted of a channel that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    /// Cover the whole picture.
    pub cover_all: bool,
    /// The collection whose people may be seen.
    pub collection: Option<String>,
    /// Cut off a publisher who was let in ([`Store::channel_by_stream_key`]) while [`Channel::admission`] was less.
    pub admission: i64,
}

/// What a server is asked when it says that it is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Go on, like this.
    Continue(Orders),
    /// End the session; then call [`Store::channel_stopped`].
    Stop,
    /// Let go of it at once: another server has it, or it is over.
    Lost,
}

impl Store {
    /// Says that a server is alive until `lease` is over, how many channels it can run, with those that it runs, and
    /// where it is found.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn offer_capacity(
        &self,
        server: ServerId,
        slots: u32,
        address: &ServerAddress,
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<(), Error> {
        let upsert = "INSERT INTO live_servers (id, slots, lease_until, rtmp_url, url) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (id) DO UPDATE SET slots = excluded.slots, lease_until = excluded.lease_until, \
             rtmp_url = excluded.rtmp_url, url = excluded.url";
        let upsert = sqlx::query(upsert).bind(server.to_string()).bind(i64::from(slots));
        let upsert = upsert.bind((now + lease).as_millisecond());
        let upsert = upsert.bind(address.rtmp.as_deref()).bind(address.http.as_deref());
        upsert.execute(&self.writer).await?;
        Ok(())
    }

    /// Where the server is found that has a channel; `None`: no living server has it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn server_of(
        &self,
        channel: ChannelId,
        now: Timestamp,
    ) -> Result<Option<ServerAddress>, Error> {
        let select = "SELECT live_servers.rtmp_url, live_servers.url FROM channels \
             JOIN live_servers ON live_servers.id = channels.server \
             WHERE channels.id = $1 AND channels.lease_until > $2 AND live_servers.lease_until > $2";
        let select = sqlx::query(select).bind(channel.to_string()).bind(now.as_millisecond());
        let Some(row) = select.fetch_optional(&self.pool).await? else { return Ok(None) };
        Ok(Some(ServerAddress { rtmp: row.try_get(0)?, http: row.try_get(1)? }))
    }

    /// Takes channels that are to be run or stopped and that no living server has, at most `most`. Those that ran
    /// elsewhere are recovering then.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_channels(
        &self,
        server: ServerId,
        lease: SignedDuration,
        now: Timestamp,
        most: u32,
    ) -> Result<Vec<Claimed>, Error> {
        let next =
            format!("SELECT id FROM channels WHERE {CLAIMABLE} ORDER BY state_since, id LIMIT $2");
        let next = || {
            let query = sqlx::query(AssertSqlSafe(next.clone()));
            query.bind(now.as_millisecond()).bind(i64::from(most))
        };
        // Looked at first without keeping anybody out: mostly there is nothing.
        if next().fetch_optional(&self.pool).await?.is_none() {
            return Ok(Vec::new());
        }
        let mut tx = self.begin().await?;
        // Asked again for each: a beat changes a lease without being the writer.
        let claim = format!(
            "UPDATE channels SET claim = claim + 1, server = $2, lease_until = $3 WHERE id = $4 AND {CLAIMABLE} \
             RETURNING {COLUMNS}"
        );
        let mut claimed = Vec::new();
        for row in next().fetch_all(&mut *tx).await? {
            let row = sqlx::query(AssertSqlSafe(claim.clone()))
                .bind(now.as_millisecond())
                .bind(server.to_string())
                .bind((now + lease).as_millisecond())
                .bind(row.try_get::<String, _>(0)?)
                .fetch_optional(&mut *tx)
                .await?;
            let Some(row) = row else { continue };
            let mut channel = channel(&row)?;
            if channel.state == ChannelState::Running {
                let reason = Some("its server is gone");
                channel = enter(&mut tx, channel, ChannelState::Recovering, reason, now).await?;
            }
            if matches!(channel.ingest, Ingest::Connected | Ingest::Starved) {
                channel = enter_ingest(&mut tx, channel, &Ingest::Reconnecting, now).await?;
            }
            let session = under_way(&mut tx, &channel).await?;
            let number = channel.lease.as_ref().map_or(0, |lease| lease.claim);
            let fence = ChannelFence { channel: channel.id, claim: number };
            let received = received::key(self, &mut tx, session.id).await?;
            claimed.push(Claimed { fence, channel, session, received });
        }
        self.commit(tx, &[Topic::Channels, Topic::Events]).await?;
        Ok(claimed)
    }

    /// Says that the server of these claims is alive; gives what is asked of each, in the same order.
    ///
    /// # Errors
    /// When the database fails: the channels may be lost when their leases end.
    pub async fn beat_channels(
        &self,
        fences: &[ChannelFence],
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<Vec<Asked>, Error> {
        let update = format!(
            "UPDATE channels SET lease_until = $1 WHERE id = $2 AND claim = $3 AND server IS NOT NULL \
             RETURNING {COLUMNS}"
        );
        let mut asked = Vec::with_capacity(fences.len());
        for fence in fences {
            // All of them, though it is one: SQLite has not committed before it said that there are no more.
            let rows = sqlx::query(AssertSqlSafe(update.clone()))
                .bind((now + lease).as_millisecond())
                .bind(fence.channel.to_string())
                .bind(fence.claim)
                .fetch_all(&self.writer)
                .await?;
            asked.push(match rows.first().map(channel).transpose()? {
                None => Asked::Lost,
                Some(channel) => asked_of(&channel),
            });
        }
        Ok(asked)
    }

    /// Lets go of everything that a server has: it is shut down. Others take its channels over at once.
    ///
    /// # Errors
    /// When the database fails. Then they do when the leases end.
    pub async fn release_channels(&self, server: ServerId) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let update = "UPDATE channels SET server = NULL, lease_until = NULL WHERE server = $1";
        sqlx::query(update).bind(server.to_string()).execute(&mut *tx).await?;
        let delete = sqlx::query("DELETE FROM live_servers WHERE id = $1");
        delete.bind(server.to_string()).execute(&mut *tx).await?;
        self.commit(tx, &[Topic::Channels]).await
    }

    /// Forgets servers that were not heard of for a day.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune_servers(&self, now: Timestamp) -> Result<(), Error> {
        let before = (now - SignedDuration::from_hours(24)).as_millisecond();
        let delete = sqlx::query("DELETE FROM live_servers WHERE lease_until < $1").bind(before);
        delete.execute(&self.writer).await?;
        Ok(())
    }
}

fn asked_of(channel: &Channel) -> Asked {
    if channel.is_ending() { Asked::Stop } else { Asked::Continue(channel.orders()) }
}
