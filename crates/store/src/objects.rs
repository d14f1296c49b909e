//! Objects: sealed originals, results, searches; files in a folder, or objects in an S3 bucket.
//!
//! What belongs here: whole values under a name, written at once or not at all. What never does: what has to
//! change together with a row (that is the database's), or contents in a log or an error.

mod failure;
mod flow;
mod folder;
mod path;
mod s3;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, SeekFrom};

use crate::Error;

pub use path::ObjectPath;
pub use s3::S3Config;

/// Bytes of a part of a large object, and so of memory while a file is stored.
const PART: u64 = 8 << 20;
/// Parts at most of one object (S3's limit). Beyond `PART` times this (80 GiB) parts grow.
const MAX_PARTS: u64 = 10_000;
/// Longest that [`Objects::ready`] takes.
const READY: Duration = Duration::from_secs(5);

/// Where objects are kept.
#[derive(Clone)]
pub enum Place {
    /// A folder, made with mode 0700 if it is missing.
    Folder(PathBuf),
    /// A bucket of S3 or of a server that speaks like it.
    S3(S3Config),
}

/// The objects, opened. Clones are the same objects.
///
/// An object is never seen half-written: it appears under its name complete and, in a folder, synced to the disk.
/// Symbolic links inside the folder are refused, because they may lead out of it; whoever may write in the folder
/// while the server runs can get around that, so it must be the server's own.
///
/// After [`Error::Unavailable`] from something that writes, it may have happened all the same.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The folder, where it is one.
    folder: Option<Arc<Path>>,
}

/// An object as a listing shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its name.
    pub path: ObjectPath,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the storage's clock.
    pub modified: Timestamp,
}

/// What is read out of an object.
pub struct Contents {
    /// Bytes of the whole object.
    pub size: u64,
    /// The bytes that come: all, or what was asked for as far as the object goes.
    pub range: Range<u64>,
    /// They come in pieces, exactly as many as `range` says; an error is the last item.
    pub bytes: BoxStream<'static, Result<Bytes, Error>>,
}

impl Objects {
    /// Opens the folder or makes a client of the bucket. Does not ask the S3 server: [`Objects::ready`] does.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the configuration makes no sense; what keeps the folder from being opened.
    pub fn open(place: &Place) -> Result<Self, Error> {
        match place {
            Place::Folder(path) => {
                let root = folder::make(path)?;
                let store = LocalFileSystem::new_with_prefix(&root)
                    .map_err(|error| failure::of_store(&root.display(), error))?
                    .with_fsync(true);
                Ok(Self { store: Arc::new(store), folder: Some(root.into()) })
            }
            Place::S3(config) => Ok(Self { store: s3::open(config)?, folder: None }),
        }
    }

    /// Stores a new object. Of many callers at once, in any process, one succeeds.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is one of this name.
    pub async fn put_new(&self, path: &ObjectPath, bytes: Bytes) -> Result<(), Error> {
        self.put_as(path, bytes, PutMode::Create).await
    }

    /// Stores an object, in place of one that may be there.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Denied`], [`Error::Unavailable`]: the object is as it was before, or not there.
    pub async fn put(&self, path: &ObjectPath, bytes: Bytes) -> Result<(), Error> {
        self.put_as(path, bytes, PutMode::Overwrite).await
    }

    async fn put_as(&self, path: &ObjectPath, bytes: Bytes, mode: PutMode) -> Result<(), Error> {
        self.refuse_links(path).await?;
        let put = self.store.put_opts(&path.key(), bytes.into(), mode.into()).await;
        put.map(drop).map_err(|error| failure::of_store(path, error))
    }

    /// Stores a file of any size and returns its size in bytes. Holds one part of it in memory.
    ///
    /// A process that is killed meanwhile leaves parts behind: [`Objects::sweep`] deletes those of a folder; a
    /// bucket needs a lifecycle rule that aborts incomplete multipart uploads.
    ///
    /// # Errors
    /// As [`Objects::put`]; [`Error::Invalid`] when the file changes meanwhile.
    pub async fn put_file(&self, path: &ObjectPath, file: &Path) -> Result<u64, Error> {
        let mut source = File::open(file).await.map_err(Error::io(file))?;
        let size = source.metadata().await.map_err(Error::io(file))?.len();
        let part = PART.max(size.div_ceil(MAX_PARTS));
        let mut next = flow::read(&mut source, part).await.map_err(Error::io(file))?;
        let mut stored = next.len() as u64;
        if stored < part {
            flow::check_size(stored, size)?;
            self.put(path, next).await?;
            return Ok(size);
        }
        self.refuse_links(path).await?;
        let failed = |error| failure::of_store(path, error);
        let mut upload = self.store.put_multipart(&path.key()).await.map_err(failed)?;
        let sent = async {
            while !next.is_empty() {
                upload.put_part(next.into()).await.map_err(failed)?;
                next = flow::read(&mut source, part).await.map_err(Error::io(file))?;
                stored += next.len() as u64;
            }
            flow::check_size(stored, size)?;
            upload.complete().await.map_err(failed)
        };
        if let Err(error) = sent.await {
            // What it leaves when this fails too is what a killed process leaves.
            let _ = upload.abort().await;
            return Err(error);
        }
        Ok(size)
    }

    /// A small object, whole.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::TooLarge`] when it has more than `max_bytes`.
    pub async fn get(&self, path: &ObjectPath, max_bytes: usize) -> Result<Bytes, Error> {
        let mut contents = self.stream(path, None).await?;
        let size = usize::try_from(contents.size).ok().filter(|size| *size <= max_bytes);
        let Some(size) = size else {
            return Err(Error::TooLarge { what: path.to_string(), limit: max_bytes as u64 });
        };
        let mut all = BytesMut::with_capacity(size);
        while let Some(bytes) = contents.bytes.try_next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }

    /// Reads an object, or of it the bytes in `range`, which may end beyond its end.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Range`] when `range` is empty or starts at the end or beyond it.
    pub async fn stream(
        &self,
        path: &ObjectPath,
        range: Option<Range<u64>>,
    ) -> Result<Contents, Error> {
        if range.as_ref().is_some_and(Range::is_empty) {
            return Err(Error::Range { size: self.head(path).await?.size });
        }
        if let Some(root) = &self.folder {
            return folder::stream(root.clone(), path.clone(), range).await;
        }
        s3::stream(&*self.store, path, range).await
    }

    /// Appends an object to a file and returns how many bytes that were. The file is not synced.
    ///
    /// # Errors
    /// As [`Objects::stream`], and of writing the file, which then is as long as it was before.
    pub async fn download(&self, path: &ObjectPath, to: &mut File) -> Result<u64, Error> {
        let contents = self.stream(path, None).await?;
        let failed = |error| failure::of_io("the downloaded file", error);
        let before = to.seek(SeekFrom::End(0)).await.map_err(failed)?;
        let size = contents.size;
        let copied = flow::copy(contents, to).await;
        if copied.is_err() {
            // The first error says more than one of these would.
            let _ = to.flush().await;
            let _ = to.set_len(before).await;
            let _ = to.seek(SeekFrom::End(0)).await;
        }
        copied.map(|()| size)
    }

    /// Size and time of an object.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn head(&self, path: &ObjectPath) -> Result<Object, Error> {
        if let Some(root) = self.folder.clone() {
            let path = path.clone();
            return folder::blocking(move || folder::head(&root, &path)).await;
        }
        s3::head(&*self.store, path).await
    }

    /// The first `limit` objects in folder `prefix` and the folders in it (`None`: everywhere) that come after
    /// `after`, the last one of the page before. Objects that have no valid [`ObjectPath`] are left out.
    ///
    /// They are sorted by the names' bytes, in a folder and in AWS. Servers that keep objects in folders, such as
    /// SeaweedFS, have `a/b` before `a.b`; their pages are complete all the same.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Denied`].
    pub async fn list(
        &self,
        prefix: Option<&ObjectPath>,
        after: Option<&ObjectPath>,
        limit: usize,
    ) -> Result<Vec<Object>, Error> {
        let (prefix, after) = (prefix.cloned(), after.cloned());
        match self.folder.clone() {
            Some(root) => {
                let list = move || folder::list(&root, prefix.as_ref(), after.as_ref(), limit);
                folder::blocking(list).await
            }
            None => s3::list(&*self.store, prefix.as_ref(), after.as_ref(), limit).await,
        }
    }

    /// Deletes an object; that there is none is no error.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Denied`].
    pub async fn delete(&self, path: &ObjectPath) -> Result<(), Error> {
        if let Some(root) = self.folder.clone() {
            let path = path.clone();
            return folder::blocking(move || folder::delete(&root, &path)).await;
        }
        match self.store.delete(&path.key()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failure::of_store(path, error)),
        }
    }

    /// Deletes everything in folder `prefix`, and the folder.
    ///
    /// # Errors
    /// As [`Objects::delete`]; a part may be deleted then.
    pub async fn delete_all(&self, prefix: &ObjectPath) -> Result<(), Error> {
        if let Some(root) = self.folder.clone() {
            let prefix = prefix.clone();
            return folder::blocking(move || folder::delete_all(&root, &prefix)).await;
        }
        let listed = self.store.list(Some(&prefix.key())).map_ok(|meta| meta.location).boxed();
        let mut deleted = self.store.delete_stream(listed);
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(failure::of_store(prefix, error)),
            }
        }
        Ok(())
    }

    /// Deletes what killed processes left half-written in a folder, where it was last written more than
    /// `older_than` ago, and returns how many files that were. Of a bucket its lifecycle rule takes care.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Io`].
    pub async fn sweep(&self, now: Timestamp, older_than: SignedDuration) -> Result<u64, Error> {
        let Some(root) = self.folder.clone() else { return Ok(0) };
        let before = now.saturating_sub(older_than).map_err(|_| Error::Invalid {
            what: "the age of unfinished files",
            why: "is not a time",
        })?;
        folder::blocking(move || folder::sweep(&root, before.into())).await
    }

    /// Whether objects can be used now: the folder can be written, the bucket can be listed. Takes five seconds
    /// at most.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Denied`], [`Error::Unavailable`]; [`Error::Invalid`] where there is no such bucket,
    /// [`Error::NotFound`] where the folder is gone.
    pub async fn ready(&self) -> Result<(), Error> {
        let asked = async {
            match self.folder.clone() {
                Some(root) => folder::blocking(move || folder::ready(&root)).await,
                None => s3::ready(&*self.store).await,
            }
        };
        let late = |_| Error::Unavailable { why: "no answer within five seconds".into() };
        tokio::time::timeout(READY, asked).await.map_err(late)?
    }

    /// Refuses to write through a symbolic link.
    async fn refuse_links(&self, path: &ObjectPath) -> Result<(), Error> {
        let Some(root) = self.folder.clone() else { return Ok(()) };
        let path = path.clone();
        folder::blocking(move || match folder::find(&root, &path) {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }
}
