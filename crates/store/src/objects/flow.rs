//! Bytes on their way between files and the storage.

use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt, try_unfold};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Contents, ObjectPath, failure};
use crate::Error;

/// At most `length` bytes; fewer only at the end of the file.
pub(super) async fn read(file: &mut File, length: u64) -> std::io::Result<Bytes> {
    let mut part = Vec::new();
    file.take(length).read_to_end(&mut part).await?;
    Ok(part.into())
}

/// Refuses a file that grew or shrank since its size was read.
pub(super) fn check_size(stored: u64, size: u64) -> Result<(), Error> {
    if stored == size {
        return Ok(());
    }
    Err(Error::Invalid { what: "a file", why: "changed while it was stored" })
}

/// Writes all of it to a file.
pub(super) async fn copy(mut contents: Contents, to: &mut File) -> Result<(), Error> {
    let failed = |error| failure::of_io("the downloaded file", error);
    while let Some(bytes) = contents.bytes.try_next().await? {
        to.write_all(&bytes).await.map_err(failed)?;
    }
    // Otherwise an error of the last write would be lost.
    to.flush().await.map_err(failed)
}

/// The stream, with an error at its end when it was not as long as `range`.
pub(super) fn exactly(
    range: Range<u64>,
    path: &ObjectPath,
    bytes: BoxStream<'static, Result<Bytes, Error>>,
) -> BoxStream<'static, Result<Bytes, Error>> {
    let (left, path) = (range.end - range.start, path.to_string());
    let pieces = try_unfold((bytes, left, path), async |(mut bytes, left, path)| {
        let piece = bytes.try_next().await?.unwrap_or_default();
        // An empty piece is taken for the end: a stream of them would have none.
        match left.checked_sub(piece.len() as u64) {
            Some(0) if piece.is_empty() => Ok(None),
            Some(left) if !piece.is_empty() => Ok(Some((piece, (bytes, left, path)))),
            _ => Err(Error::Unavailable { why: format!("{path} was not sent as long as it is") }),
        }
    });
    pieces.boxed()
}
