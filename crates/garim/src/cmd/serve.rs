//! `garim serve`: the HTTP server.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use jiff::Timestamp;
use store::{KeySource, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;
use tracing::{error, info, warn};

use super::people::{default_folder, server_key};
use super::{INTERRUPTED, print};
use crate::cli::{ConfigArgs, ServeArgs};
use crate::config::{Config, Database, Overrides};
use crate::http::{self, App};

/// A client has this long for the headers of its next request, and for its TLS handshake.
const PATIENCE: Duration = Duration::from_secs(20);
/// Streams of one HTTP/2 connection at once.
const STREAMS: u32 = 64;
/// How often what is no longer needed is thrown away.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

pub fn run(args: &ServeArgs) -> Result<ExitCode> {
    let config = config(&args.config, args.listen)?;
    http::logging::init(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended.map(|()| ExitCode::SUCCESS)
}

/// The settings of the server, for the other commands that use its database too.
pub fn config(args: &ConfigArgs, listen: Option<SocketAddr>) -> Result<Config> {
    let ConfigArgs { config, data } = args;
    let overrides = Overrides { config: config.clone(), listen, data: data.clone() };
    Config::load(overrides, default_folder)
}

/// Opens the database that the settings name.
pub async fn open(config: &Config) -> Result<Store> {
    match &config.database {
        Database::Sqlite => {
            let key: KeySource = server_key(&config.data);
            let store = Store::open(&config.data, &key).await;
            store.with_context(|| config.data.display().to_string())
        }
        Database::Postgres(_) => {
            bail!("this build knows no Postgres yet: unset GARIM_DATABASE_URL")
        }
    }
}

async fn serve(config: Config) -> Result<()> {
    // The only one there is; `Err` would say that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let prometheus = http::metrics::install()?;
    let store = open(&config).await?;
    let listener = TcpListener::bind(config.listen).with_context(|| config.listen.to_string())?;
    let address = listener.local_addr()?;
    let tls = match &config.tls {
        None => None,
        Some(tls) => {
            let read = RustlsConfig::from_pem_file(&tls.certificate, &tls.key).await;
            let files = || format!("{} and {}", tls.certificate.display(), tls.key.display());
            Some(read.with_context(files)?)
        }
    };
    if let Some((_, secret)) = store.create_first_key("serve", Timestamp::now()).await? {
        print(secret.reveal());
        info!("the line on stdout is the first admin key; it is not shown again");
    }
    let app = Arc::new(App::new(config, store, prometheus));
    let handle = Handle::new();
    let stop = tokio::spawn(stop(Arc::clone(&app), handle.clone()));
    let sweep = tokio::spawn(sweep(Arc::clone(&app)));
    let scheme = if tls.is_some() { "https" } else { "http" };
    info!("listening on {scheme}://{address}");
    let served = answer(listener, tls, handle, &app).await;
    stop.abort();
    app.stopping.cancel();
    // Work in the background ends by itself when `stopping` says so.
    sweep.await.context("sweeping")?;
    info!("stopped");
    served
}

/// Answers requests until the handle says stop and those underway are answered.
async fn answer(
    listener: TcpListener,
    tls: Option<RustlsConfig>,
    handle: Handle<SocketAddr>,
    app: &Arc<App>,
) -> Result<()> {
    let service = http::router(app).into_make_service_with_connect_info::<SocketAddr>();
    let mut server =
        axum_server::from_tcp(listener)?.handle(handle).first_request_timeout(PATIENCE);
    let builder = server.http_builder();
    builder.http1().header_read_timeout(PATIENCE);
    builder.http2().max_concurrent_streams(STREAMS).keep_alive_interval(PATIENCE);
    match tls {
        None => server.serve(service).await?,
        Some(tls) => {
            let acceptor = RustlsAcceptor::new(tls).handshake_timeout(PATIENCE);
            server.acceptor(acceptor).serve(service).await?;
        }
    }
    Ok(())
}

/// On the first SIGTERM or SIGINT, stops accepting and lets requests end; on the second, ends the process.
async fn stop(app: Arc<App>, handle: Handle<SocketAddr>) {
    let (term, int) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut term), Ok(mut int)) = (term, int) else {
        error!("signals cannot be listened to");
        return;
    };
    for first in [true, false] {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        if first {
            info!("stopping: {} connections", handle.connection_count());
            app.stopping.cancel();
            handle.graceful_shutdown(Some(app.config.limits.shutdown));
        } else {
            std::process::exit(INTERRUPTED.into());
        }
    }
}

/// Throws away what is no longer needed, until the server stops.
async fn sweep(app: Arc<App>) {
    let mut ticks = interval(SWEEP_EVERY);
    while app.stopping.run_until_cancelled(ticks.tick()).await.is_some() {
        app.limits.sweep();
        app.prometheus.run_upkeep();
        if let Err(error) = app.store.sweep_answers(Timestamp::now()).await {
            warn!(%error, "old answers were not deleted");
        }
    }
}
