//! Runs live channels in the server: the socket that publishers connect to, and the desk.

use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use domain::{ServerId, Size};
use jiff::Timestamp;
use live::{Desk, Shared, Spawn};
use pipeline::live::{LiveEncoding, LiveSpec};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::child::{self, Task};
use crate::config::Config;
use crate::service::Service;

/// Largest pictures of a broadcast.
const LARGEST: Size = Size { width: 1920, height: 1080 };

/// The socket that publishers connect to, if this server runs channels. Port 0 is any free one, which publishers are
/// told then.
pub async fn bind(config: &mut Config) -> Result<Option<TcpListener>> {
    let Some(address) = config.live.listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("live.listen: {address}"))?;
    if let Some(host) = config.live.rtmp_url.strip_suffix(":0") {
        config.live.rtmp_url = format!("{host}:{}", listener.local_addr()?.port());
    }
    Ok(Some(listener))
}

/// What runs channels.
pub fn desk(config: &Config, service: &Service) -> Desk {
    let cores = available_parallelism().map_or(1, |cores| cores.get() as u32);
    let slots = if config.live.slots == 0 { cores } else { config.live.slots };
    let shared = Shared {
        store: service.store.clone(),
        objects: service.objects.clone(),
        spawn: Spawn { command: Arc::new(child::command), task: Arc::new(task) },
        encoding: LiveEncoding::default(),
        largest: LARGEST,
    };
    Desk::new(shared, ServerId::new(Timestamp::now().as_millisecond()), slots)
}

fn task(spec: &LiveSpec) -> Vec<u8> {
    // Numbers and names: it cannot fail.
    child::line(&Task::Live(spec.clone())).map_or_else(|_| Vec::new(), |line| line.to_vec())
}

/// Takes publishers and runs channels until the server stops.
pub async fn run(listener: TcpListener, desk: Arc<Desk>, stopping: CancellationToken) {
    if let Ok(address) = listener.local_addr() {
        info!("publishers may come to rtmp://{address}");
    }
    let publishers = live::listen(listener, Arc::clone(&desk));
    let channels = Arc::clone(&desk).run(stopping.clone().cancelled_owned());
    tokio::pin!(publishers, channels);
    tokio::select! {
        () = publishers => {}
        () = channels => {}
    }
}
