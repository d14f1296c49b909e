//! The sockets that publishers connect to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rtmp::{Connection, Event, Limits, Publish, Rejection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::channel::{Admitted, Media};
use crate::desk::Desk;
use crate::door::{Door, Guest};

/// Bytes read at once.
const READ: usize = 64 << 10;
/// How long a publisher is given to read why it is sent away: some look only when they send again, and an encoder
/// may hold that back.
const FAREWELL: Duration = Duration::from_secs(5);
/// After the listener failed: it has no more sockets, mostly.
const AGAIN: Duration = Duration::from_millis(200);

/// Where publishers come to.
pub struct Socket {
    /// It listens already.
    pub listener: TcpListener,
    /// For RTMPS: the certificate, and what else there is to say about TLS. `None`: RTMP.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Takes publishers until dropped. The limits of `Door` are those of all sockets together.
pub async fn listen(sockets: Vec<Socket>, desk: Arc<Desk>) {
    let door = Arc::new(Door::default());
    let mut tasks = JoinSet::new();
    for socket in sockets {
        tasks.spawn(accept(socket, Arc::clone(&door), Arc::clone(&desk)));
    }
    while tasks.join_next().await.is_some() {}
}

async fn accept(Socket { listener, tls }: Socket, door: Arc<Door>, desk: Arc<Desk>) {
    let tls = tls.map(TlsAcceptor::from);
    loop {
        match listener.accept().await {
            Ok((socket, address)) => {
                let guest = door.meet(address.ip());
                tokio::spawn(serve(socket, address, tls.clone(), guest, Arc::clone(&desk)));
            }
            Err(error) => {
                tracing::warn!(%error, "no publisher can be accepted");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn serve(
    socket: TcpStream,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    guest: Guest,
    desk: Arc<Desk>,
) {
    // Answers are small, and waited for.
    let _ = socket.set_nodelay(true);
    let began = Instant::now();
    let conversation = async {
        let Some(tls) = tls else { return converse(socket, began, &guest, &desk).await };
        let due = began + Limits::default().publish_within;
        let socket = timeout_at(due, tls.accept(socket)).await.map_err(|_| Ended::Deaf)?;
        converse(socket.map_err(Ended::Tls)?, began, &guest, &desk).await
    };
    let ended = tokio::select! {
        ended = conversation => ended,
        () = guest.sent_away() => return tracing::debug!(%address, "a connection made way for another"),
    };
    match ended {
        Ok(()) => tracing::info!(%address, "a publisher is gone"),
        Err(error) => tracing::info!(%address, %error, "a publisher is gone"),
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Rtmp(#[from] rtmp::Error),
    #[error("the socket: {0}")]
    Io(#[from] io::Error),
    #[error("no TLS, which this port speaks (use an rtmps:// address): {0}")]
    Tls(io::Error),
    #[error("it does not read, or does not finish its TLS handshake")]
    Deaf,
    #[error("it was cut off")]
    Cut,
}

/// Everything that is said on one connection.
async fn converse(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    began: Instant,
    guest: &Guest,
    desk: &Desk,
) -> Result<(), Ended> {
    let mut connection = Connection::new(Limits::default());
    let ended = exchange(&mut socket, &mut connection, began, guest, desk).await;
    if let Err(Ended::Deaf) = ended {
        return ended;
    }
    // Whoever was let in is as any other from here on.
    guest.wait();
    // Why, for a publisher that listens.
    let farewell = async {
        socket.write_all(&connection.take_output()).await?;
        socket.shutdown().await?;
        let mut buffer = vec![0; READ];
        while socket.read(&mut buffer).await? > 0 {}
        Ok::<(), io::Error>(())
    };
    let _ = timeout(FAREWELL, farewell).await;
    ended
}

async fn exchange(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    connection: &mut Connection,
    began: Instant,
    guest: &Guest,
    desk: &Desk,
) -> Result<(), Ended> {
    let mut buffer = vec![0; READ];
    let mut publishing: Option<Admitted> = None;
    let mut frame_rate = None;
    loop {
        let read = timeout_at(began + connection.deadline(), socket.read(&mut buffer));
        let read = tokio::select! {
            read = read => read,
            () = cut(publishing.as_ref()) => return Err(Ended::Cut),
        };
        match read {
            Err(_) => connection.tick(began.elapsed())?,
            Ok(read) => match read? {
                0 => return Ok(()),
                n => connection.receive(&buffer[..n], began.elapsed())?,
            },
        }
        while let Some(event) = event(connection, publishing.as_ref()).await? {
            let media = match event {
                Event::Publish(publish) => {
                    publishing = ask(connection, began, desk, &publish).await;
                    if publishing.is_some() {
                        guest.enter();
                    }
                    continue;
                }
                Event::Metadata(metadata) => {
                    frame_rate = metadata.frame_rate;
                    continue;
                }
                Event::Video(message) => Media::Video { message, frame_rate },
                Event::Audio(message) => Media::Audio(message),
                Event::Unpublish => continue,
            };
            if let Some(publishing) = &publishing {
                publishing.send(media).await.map_err(|_| Ended::Cut)?;
            }
        }
        let due = began + connection.deadline();
        let output = connection.take_output();
        let answer = async {
            socket.write_all(&output).await?;
            // TLS may hold back what is not flushed.
            socket.flush().await
        };
        timeout_at(due, answer).await.map_err(|_| Ended::Deaf)??;
        if connection.is_closing() {
            return Ok(());
        }
    }
}

/// What comes next of a connection. What is sent that is not taken, its channel is told of.
async fn event(
    connection: &mut Connection,
    publishing: Option<&Admitted>,
) -> Result<Option<Event>, rtmp::Error> {
    let event = connection.next_event();
    if let (Err(rtmp::Error::Refused(why)), Some(publishing)) = (&event, publishing) {
        // A channel that does not listen cuts them off, whatever they send.
        let _ = publishing.send(Media::Refused(why.clone())).await;
    }
    event
}

/// Asks whether somebody may publish, and tells them.
async fn ask(
    connection: &mut Connection,
    began: Instant,
    desk: &Desk,
    publish: &Publish,
) -> Option<Admitted> {
    let asked = desk.publish(publish.key.reveal());
    let answer = timeout_at(began + connection.deadline(), asked).await;
    match answer.unwrap_or(Err(Rejection::NotReady)) {
        Ok((channel, admitted)) => {
            tracing::info!(%channel, "a publisher is let in");
            connection.accept_publish(began.elapsed());
            Some(admitted)
        }
        Err(rejection) => {
            tracing::info!(?rejection, "a publisher is sent away");
            connection.reject_publish(&rejection);
            None
        }
    }
}

/// Returns when somebody who publishes is cut off.
async fn cut(publishing: Option<&Admitted>) {
    match publishing {
        Some(publishing) => publishing.closed().await,
        None => std::future::pending().await,
    }
}
