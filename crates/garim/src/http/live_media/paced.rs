//! Bodies for viewers who may read slowly, or not at all.
//!
//! A segment is in memory once for all who read it. Who reads slowly must not keep it there when everybody else is
//! done with it: pieces are copied out of it while they are read, and who does not read is cut off.

use std::io;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes of a piece.
const PIECE: usize = 64 << 10;
/// A viewer has this long for one more piece: about 50 kbit/s, with which nobody can watch.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends `bytes`.
pub fn body(bytes: Bytes) -> Body {
    if bytes.len() <= PIECE {
        return Body::from(Bytes::copy_from_slice(&bytes));
    }
    let (to, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut rest = bytes;
        while !rest.is_empty() {
            // Gone, or too slow: what was announced does not come, which ends the connection.
            let Ok(Ok(room)) = timeout(PATIENCE, to.reserve()).await else { return };
            let piece = rest.split_to(rest.len().min(PIECE));
            room.send(Ok::<_, io::Error>(Bytes::copy_from_slice(&piece)));
        }
    });
    Body::from_stream(ReceiverStream::new(pieces))
}

/// The same body, which holds a permit until it was sent.
pub fn holding(body: Body, held: OwnedSemaphorePermit) -> Body {
    use axum::body::HttpBody;
    // Sent with its headers.
    if body.size_hint().exact().is_some() {
        return body;
    }
    Body::from_stream(body.into_data_stream().inspect(move |_| {
        let _held = &held;
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> Bytes {
        (0..300_000_u32).map(|n| n as u8).collect::<Vec<_>>().into()
    }

    #[tokio::test]
    async fn what_arrives_is_what_was_sent() {
        for length in [0, 1, PIECE, PIECE + 1, 300_000] {
            let bytes = segment().slice(..length);
            let got = axum::body::to_bytes(body(bytes.clone()), usize::MAX).await.unwrap();
            assert_eq!(got, bytes, "{length}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_keeps_no_segment() {
        let bytes = segment();
        let mut slow = body(bytes.clone()).into_data_stream();
        let first = slow.next().await.unwrap().unwrap();
        assert!(!bytes.is_unique());
        tokio::time::sleep(PATIENCE * 2).await;
        assert!(bytes.is_unique());
        let mut got = first.len();
        while let Some(piece) = slow.next().await {
            got += piece.unwrap().len();
        }
        assert!(got < bytes.len(), "it was cut off");
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_keeps_no_segment() {
        let bytes = segment();
        drop(body(bytes.clone()));
        tokio::task::yield_now().await;
        assert!(bytes.is_unique());
    }
}
