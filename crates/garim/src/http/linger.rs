//! Connections that end: an answer that was given before all of a request was read reaches who asked.
//!
//! A socket that is closed while bytes wait to be read resets the connection, and the reset may overtake the answer: an
//! upload that is refused after its first bytes would see a broken connection and no reason. So only the sending side is
//! closed, and what still comes is thrown away for a while (RFC 9112, section 9.6).

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready as done};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A client that sends nothing for this long has heard the answer, or will not.
const SILENT: Duration = Duration::from_secs(1);
/// However much it sends, it is cut off after this.
const LONGEST: Duration = Duration::from_secs(10);
/// Bytes thrown away at once.
const SCRATCH: usize = 8 << 10;

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
