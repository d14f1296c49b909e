//! `garim serve`: the HTTP server.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use jiff::{SignedDuration, Timestamp};
use store::{Location, Place, S3Config, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use super::people::{default_folder, server_key};
use super::{INTERRUPTED, print};
use crate::cli::{ConfigArgs, ServeArgs, WorkerArgs};
use crate::config::{Config, Database, Objects, Overrides};
use crate::housekeeping;
use crate::http::{self, App};
use crate::service::{Service, Staging};
use crate::watched::Watch;
use crate::{channels, notify, worker};

/// A client has this long for the headers of its next request, and for its TLS handshake.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of a connection that are read and not yet taken, at most: a hundred uploads have a hundred of these.
const READ_AT_ONCE: usize = 128 << 10;
/// Streams of one HTTP/2 connection at once.
const STREAMS: u32 = 64;
/// How long S3 may be silent until an operation fails.
const S3_PATIENCE: Duration = Duration::from_secs(30);
/// After losing the connection that hears other processes.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);
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
    let (location, name) = location(config)?;
    let store = Store::open(&location, &server_key(&config.data)).await.with_context(|| name)?;
    Ok(store.trying(config.jobs.attempts).keeping(config.retention.days))
}

/// Where the database is, and what to call it in messages. Makes the data folder.
pub fn location(config: &Config) -> Result<(Location, String)> {
    let named = match &config.database {
        Database::Sqlite => {
            (Location::Folder(config.data.clone()), config.data.display().to_string())
        }
        // The URL may hold a password.
        Database::Postgres(url) => {
            let url = Zeroizing::new(url.reveal().to_owned());
            (Location::Postgres(url), "Postgres".to_owned())
        }
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data)
        .with_context(|| config.data.display().to_string())?;
    Ok(named)
}

/// Opens everything that work needs.
pub async fn service(config: &Config) -> Result<Service> {
    let place = match &config.objects {
        Objects::Folder(folder) => Place::Folder(folder.clone()),
        Objects::S3 { bucket, region, endpoint } => {
            let secret = |name: &str| {
                let value = std::env::var(name).ok().filter(|value| !value.is_empty());
                value.map(Zeroizing::new).with_context(|| format!("objects in S3 need ${name}"))
            };
            Place::S3(S3Config {
                bucket: bucket.clone(),
                region: region.clone(),
                allow_http: endpoint.as_ref().is_some_and(|url| url.scheme() == "http"),
                endpoint: endpoint
                    .as_ref()
                    .map(|url| url.as_str().trim_end_matches('/').to_owned()),
                access_key: secret("AWS_ACCESS_KEY_ID")?,
                secret_key: secret("AWS_SECRET_ACCESS_KEY")?,
                prefix: None,
                give_up_after: S3_PATIENCE,
            })
        }
    };
    let store = open(config).await?;
    let objects = store::Objects::open(&place)?;
    let staging = Arc::new(Staging::open(&config.data)?);
    Ok(Service { store, objects, staging })
}

/// How jobs are done, as the settings say.
pub fn jobs(config: &Config) -> worker::Settings {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    worker::Settings {
        slots: config.jobs.workers as usize,
        lease: SignedDuration::try_from(config.jobs.lease).unwrap_or(SignedDuration::from_secs(30)),
        name: format!("{}-{}", host.trim(), std::process::id()),
        part_seconds: config.jobs.part_seconds,
    }
}

fn watch(config: &Config) -> Result<Option<Watch>> {
    let Some(prefix) = &config.watch else { return Ok(None) };
    let prefix = prefix.parse().with_context(|| format!("watch.prefix: {prefix:?}"))?;
    let original = config.retention.original();
    Ok(Some(Watch { prefix, original, days: config.retention.days }))
}

/// Work beside answering requests; it ends when `stopping` says so.
fn work(config: &Config, service: &Service, stopping: &CancellationToken) -> Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    tasks.spawn(worker::run(service.clone(), jobs(config), stopping.clone()));
    tasks.spawn(housekeeping::run(service.clone(), watch(config)?, stopping.clone()));
    let bucket = match &config.objects {
        Objects::S3 { bucket, .. } => bucket.clone(),
        Objects::Folder(_) => "garim".to_owned(),
    };
    let (store, token) = (service.store.clone(), stopping.clone());
    tasks.spawn(async move {
        if let Err(error) = notify::run(store, bucket, token).await {
            tracing::error!(%error, "webhooks are told nothing");
        }
    });
    let (store, token) = (service.store.clone(), stopping.clone());
    tasks.spawn(async move {
        token.run_until_cancelled(listen(&store)).await;
    });
    Ok(tasks)
}

/// Hears of changes that other processes make.
pub async fn listen(store: &Store) {
    loop {
        match store.listen().await {
            // Not with this database.
            Ok(()) => std::future::pending().await,
            Err(error) => tracing::warn!(%error, "other processes are not heard; trying again"),
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

async fn serve(mut config: Config) -> Result<()> {
    // The only one there is; `Err` would say that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let prometheus = http::metrics::install()?;
    let service = service(&config).await?;
    let store = service.store.clone();
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
    let scheme = if tls.is_some() { "https" } else { "http" };
    let own = format!("{scheme}://{address}");
    let public = config.public_url.as_ref().map_or(own.as_str(), |url| url.as_str());
    store.set_public_url(public).await?;
    if let Some((_, secret)) = store.create_first_key("serve", Timestamp::now()).await? {
        print(secret.reveal());
        info!("the line on stdout is the first admin key; it is not shown again");
    }
    let publishers = channels::bind(&mut config, tls.as_ref()).await?;
    let runs_channels = !publishers.is_empty();
    let desk = match runs_channels {
        true => Some(Arc::new(channels::desk(&config, &service).await?)),
        false => None,
    };
    let app = App::new(config, service.clone(), prometheus);
    let app = Arc::new(match &desk {
        Some(desk) => app.showing(Arc::clone(desk)),
        None => app,
    });
    let handle = Handle::new();
    let stop = tokio::spawn(stop(Arc::clone(&app), handle.clone()));
    let mut tasks = work(&app.config, &service, &app.stopping)?;
    tasks.spawn(sweep(Arc::clone(&app)));
    if let Some(desk) = desk {
        tasks.spawn(channels::run(publishers, desk, app.stopping.clone()));
    }
    info!("listening on {own}");
    let served = answer(listener, tls, handle, &app).await;
    stop.abort();
    app.stopping.cancel();
    // They hand back their jobs and end by themselves.
    while tasks.join_next().await.is_some() {}
    store.close().await;
    info!("stopped");
    served
}

/// `garim worker`: does the jobs of a server on another machine, or in another process.
pub fn work_only(args: &WorkerArgs) -> Result<ExitCode> {
    let config = config(&args.config, None)?;
    http::logging::init(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let service = service(&config).await?;
        let mut settings = jobs(&config);
        settings.slots = args.slots.map_or(settings.slots.max(1), usize::from);
        let stopping = CancellationToken::new();
        info!(worker = settings.name, slots = settings.slots, "working");
        let listener = service.store.clone();
        let listening = tokio::spawn(async move { listen(&listener).await });
        let (mut term, mut int) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let working = worker::run(service.clone(), settings, stopping.clone());
        tokio::pin!(working);
        loop {
            tokio::select! {
                () = &mut working => break,
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if stopping.is_cancelled() {
                std::process::exit(INTERRUPTED.into());
            }
            stopping.cancel();
            info!("stopping: jobs are handed back");
        }
        listening.abort();
        service.store.close().await;
        info!("stopped");
        anyhow::Ok(())
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended.map(|()| ExitCode::SUCCESS)
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
    builder.http1().header_read_timeout(PATIENCE).max_buf_size(READ_AT_ONCE);
    builder.http2().max_concurrent_streams(STREAMS).keep_alive_interval(PATIENCE);
    match tls {
        None => server.acceptor(http::Lingering).serve(service).await?,
        Some(tls) => {
            let acceptor = RustlsAcceptor::new(tls).handshake_timeout(PATIENCE);
            server.acceptor(acceptor.acceptor(http::Lingering)).serve(service).await?;
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
