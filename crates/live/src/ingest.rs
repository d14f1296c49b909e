//! The sockets that publishers connect to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rtmp::{Connection, Event, Limits, Rejection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::channel::{Command, Media};
use crate::desk::Desk;

/// Connections at once; those that are too many are closed at once.
const CONNECTIONS: usize = 200;
/// Bytes read at once.
const READ: usize = 64 << 10;
/// How long a write may take.
const WRITE: Duration = Duration::from_secs(10);
/// How long a publisher is given to read why it is sent away: some look only when they send again, and an encoder
/// may hold that back.
const FAREWELL: Duration = Duration::from_secs(5);
/// After the listener failed: it has no more sockets, mostly.
const AGAIN: Duration = Duration::from_millis(200);

/// Takes publishers until dropped.
pub async fn listen(listener: TcpListener, desk: Arc<Desk>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no publisher can be accepted");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else { continue };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            let _permit = permit;
            serve(socket, address, &desk).await;
        });
    }
}

async fn serve(socket: TcpStream, address: SocketAddr, desk: &Desk) {
    // Answers are small, and waited for.
    let _ = socket.set_nodelay(true);
    match converse(socket, desk).await {
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
    #[error("it does not read")]
    Deaf,
    #[error("it was cut off")]
    Cut,
}

/// Somebody who was let in.
struct Publishing {
    ticket: u64,
    commands: mpsc::Sender<Command>,
    cut: oneshot::Receiver<()>,
}

/// Everything that is said on one connection.
async fn converse(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    desk: &Desk,
) -> Result<(), Ended> {
    let mut connection = Connection::new(Limits::default());
    let mut publishing = None;
    let ended = exchange(&mut socket, &mut connection, desk, &mut publishing).await;
    if let Some(Publishing { ticket, commands, .. }) = publishing {
        let _ = commands.send(Command::Gone { ticket }).await;
    }
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
    desk: &Desk,
    publishing: &mut Option<Publishing>,
) -> Result<(), Ended> {
    let began = Instant::now();
    let mut buffer = vec![0; READ];
    let mut frame_rate = None;
    loop {
        let read = match publishing {
            Some(Publishing { cut, .. }) => tokio::select! {
                read = timeout_at(began + connection.deadline(), socket.read(&mut buffer)) => read,
                _ = cut => return Err(Ended::Cut),
            },
            None => timeout_at(began + connection.deadline(), socket.read(&mut buffer)).await,
        };
        match read {
            Err(_) => connection.tick(began.elapsed())?,
            Ok(read) => match read? {
                0 => return Ok(()),
                n => connection.receive(&buffer[..n], began.elapsed())?,
            },
        }
        while let Some(event) = connection.next_event()? {
            let media = match event {
                Event::Publish(publish) => {
                    match desk.publish(publish.key.reveal()).await {
                        Ok((handle, admitted)) => {
                            tracing::info!(channel = %handle.fence.channel, "a publisher is let in");
                            connection.accept_publish(began.elapsed());
                            let (ticket, cut) = (admitted.ticket, admitted.cut);
                            let commands = handle.commands;
                            *publishing = Some(Publishing { ticket, commands, cut });
                        }
                        Err(rejection) => reject(connection, &rejection),
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
            let Some(Publishing { ticket, commands, .. }) = publishing else { continue };
            let command = Command::Media { ticket: *ticket, media };
            if commands.send(command).await.is_err() {
                return Err(Ended::Cut);
            }
        }
        let output = connection.take_output();
        timeout(WRITE, socket.write_all(&output)).await.map_err(|_| Ended::Deaf)??;
        if connection.is_closing() {
            return Ok(());
        }
    }
}

fn reject(connection: &mut Connection, rejection: &Rejection) {
    tracing::info!(?rejection, "a publisher is sent away");
    connection.reject_publish(rejection);
}
