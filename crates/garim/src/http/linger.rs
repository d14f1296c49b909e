//! Connections that end: an answer that was given before all of a request was read reaches who asked.
//!
//! A socket that is closed while bytes wait to be read resets the connection, and the reset may overtake the answer: an
//! upload that is refused after its first bytes would see a broken connection and no reason. So only the sending side is
//! closed, and what still comes is thrown away for a while (RFC 9112, section 9.6). And the answer says that the connection
//! ends, so that nobody sends another request on it (section 9.6 as well).

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready as done};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_LENGTH};
use axum::http::{HeaderValue, Version};
use axum::middleware::Next;
use axum::response::Response;
use axum_server::accept::Accept;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A client that sends nothing for this long has heard the answer, or will not.
const SILENT: Duration = Duration::from_secs(1);
/// However much it sends, it is cut off after this.
const LONGEST: Duration = Duration::from_secs(10);
/// Bytes thrown away at once.
const SCRATCH: usize = 8 << 10;

/// Says so where a request is answered before all of it was read: the connection ends with the answer.
pub async fn say_close(request: Request, next: Next) -> Response {
    // Streams of HTTP/2 end each for itself.
    if request.version() >= Version::HTTP_2 || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let (read, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let request = request.map(|body| {
        let (read, ended) = (Arc::clone(&read), Arc::clone(&ended));
        let chunks = body.into_data_stream().inspect(move |chunk| {
            let bytes = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            read.fetch_add(bytes, Ordering::Relaxed);
        });
        let end = stream::poll_fn(move |_| {
            ended.store(true, Ordering::Relaxed);
            Poll::Ready(None)
        });
        Body::from_stream(chunks.chain(end))
    });
    let mut response = next.run(request).await;
    let is_whole = ended.load(Ordering::Relaxed) || length == Some(read.load(Ordering::Relaxed));
    if !is_whole {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Takes connections that linger.
#[derive(Clone, Copy, Debug)]
pub struct Lingering;

impl<I, S> Accept<I, S> for Lingering {
    type Stream = Linger<I>;
    type Service = S;
    type Future = Ready<io::Result<(Linger<I>, S)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        ready(Ok((Linger { stream, closing: None }, service)))
    }
}

/// A connection that, when it is shut down, waits until the other side has closed its own.
#[derive(Debug)]
pub struct Linger<I> {
    stream: I,
    closing: Option<Closing>,
}

/// When the waiting ends.
#[derive(Debug)]
struct Closing {
    silent: Pin<Box<Sleep>>,
    longest: Instant,
}

impl<I: AsyncRead + Unpin> Linger<I> {
    /// Throws away what comes, until nothing more does.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let closing = self.closing.get_or_insert_with(|| Closing {
            silent: Box::pin(sleep(SILENT)),
            longest: Instant::now() + LONGEST,
        });
        let mut scratch = [0; SCRATCH];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let until = closing.longest.min(Instant::now() + SILENT);
                    closing.silent.as_mut().reset(until);
                    if until <= Instant::now() {
                        return Poll::Ready(());
                    }
                }
                // The other side closed too, or is gone.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return closing.silent.as_mut().poll(context),
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Linger<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Linger<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            done!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        self.drain(context).map(Ok)
    }
}
