//! Runs live channels in the server: the sockets that publishers connect to, and the desk.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use axum_server::tls_rustls::RustlsConfig;
use domain::{ServerId, Size};
use jiff::Timestamp;
use live::{Desk, Shared, Socket, Spawn};
use pipeline::live::{Gauge, LiveEncoding, LiveSpec};
use rustls::ServerConfig;
use store::ServerAddress;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::child::{self, Ended, Task};
use crate::config::Config;
use crate::service::Service;

/// Largest pictures of a broadcast.
const LARGEST: Size = Size { width: 1920, height: 1080 };

/// The sockets that publishers connect to; none, if this server runs no channels. Port 0 is any free one, which
/// publishers are told then.
pub async fn bind(config: &mut Config, tls: Option<&RustlsConfig>) -> Result<Vec<Socket>> {
    let live = &mut config.live;
    let tls = tls.map(|tls| {
        let mut tls = ServerConfig::clone(&tls.get_inner());
        // Those are of HTTP.
        tls.alpn_protocols.clear();
        Arc::new(tls)
    });
    let told = if live.rtmp_url.starts_with("rtmps:") { "live.tls_listen" } else { "live.listen" };
    let mut sockets = Vec::new();
    for (name, address, tls) in
        [("live.listen", live.listen, None), ("live.tls_listen", live.tls_listen, tls)]
    {
        let Some(address) = address else { continue };
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("{name}: {address}"))?;
        if let Some(host) = live.rtmp_url.strip_suffix(":0").filter(|_| name == told) {
            live.rtmp_url = format!("{host}:{}", listener.local_addr()?.port());
        }
        sockets.push(Socket { listener, tls });
    }
    Ok(sockets)
}

/// What runs channels: as many as the settings say, or as this machine is fast enough for.
///
/// # Errors
/// When it cannot be tried how fast it is: no channel could run.
pub async fn desk(config: &Config, service: &Service) -> Result<Desk> {
    let usual = LiveEncoding::default();
    let (slots, encoding) = match config.live.slots {
        0 => try_out(usual).await.context("live channels cannot run on this machine")?,
        slots => (slots, usual),
    };
    info!(slots, preset = encoding.preset, "live channels can run");
    let shared = Shared {
        store: service.store.clone(),
        objects: service.objects.clone(),
        spawn: Spawn { command: Arc::new(child::command), task: Arc::new(task) },
        encoding,
        largest: LARGEST,
    };
    let address = ServerAddress {
        rtmp: Some(config.live.rtmp_url.clone()),
        http: config.live.server_url.clone(),
    };
    let server = ServerId::new(Timestamp::now().as_millisecond());
    Ok(Desk::new(shared, server, address, slots))
}

/// How many channels the machine can run, and how it should compress their pictures.
async fn try_out(usual: LiveEncoding) -> Result<(u32, LiveEncoding)> {
    let cores = available_parallelism().map_or(1, |cores| cores.get() as u32);
    let task = Task::Gauge(usual.clone());
    let ended = spawn_blocking(move || child::run(&task, &AtomicBool::new(false), &mut |_| {}));
    let gauge = match ended.await? {
        Ok(result) => serde_json::from_value::<Gauge>(result)?,
        Err(Ended::Failed(error) | Ended::Died(error)) => return Err(error),
        Err(Ended::Interrupted) => bail!("it was interrupted"),
    };
    info!(cores = gauge.cores, "a live channel takes so much of a core");
    Ok((gauge.channels(cores), gauge.encoding(usual)))
}

fn task(spec: &LiveSpec) -> Vec<u8> {
    // Numbers and names: it cannot fail.
    child::line(&Task::Live(spec.clone())).map_or_else(|_| Vec::new(), |line| line.to_vec())
}

/// Takes publishers and runs channels until the server stops.
pub async fn run(sockets: Vec<Socket>, desk: Arc<Desk>, stopping: CancellationToken) {
    for Socket { listener, tls } in &sockets {
        let scheme = if tls.is_some() { "rtmps" } else { "rtmp" };
        if let Ok(address) = listener.local_addr() {
            info!("publishers may come to {scheme}://{address}");
        }
    }
    let publishers = live::listen(sockets, Arc::clone(&desk));
    let channels = Arc::clone(&desk).run(stopping.clone().cancelled_owned());
    tokio::pin!(publishers, channels);
    tokio::select! {
        () = publishers => {}
        () = channels => {}
    }
}
