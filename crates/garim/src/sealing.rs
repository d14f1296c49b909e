//! Sealing an original while it arrives: 1 MiB of it at a time is in memory, and what is stored is encrypted.

use bytes::Bytes;
use domain::VideoId;
use jiff::Timestamp;
use sealed::{MAX_RECORD, SealKey};
use store::{Error, NewJob, ObjectPath, Part, seal_context};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::service::Service;

/// Parts that are noted together: the database is asked for less often, and an upload that stops loses none of
/// these, because it notes what it has when it stops.
const NOTED_TOGETHER: usize = 8;
/// Records that are sealed and stored at the same time. Each takes twice its size meanwhile, and a hundred uploads
/// would all be at it at once; this many keep the cores and the storage busy.
static STORING: Semaphore = Semaphore::const_new(16);

/// Takes the bytes of one original in order, from where the last ones ended.
pub struct Sealer {
    service: Service,
    owner: String,
    video: VideoId,
    key: SealKey,
    /// What has arrived and is not sealed yet.
    buffer: Zeroizing<Vec<u8>>,
    /// Where `buffer` begins in the original.
    start: u64,
    /// Stored, and not noted yet.
    parts: Vec<Part>,
    /// What is to be done when all is there.
    then: Option<NewJob>,
}

impl Sealer {
    /// Goes on at byte `start`. When all of the original is there, `then` is to be done.
    ///
    /// # Errors
    /// When there is no such video, or its original was destroyed.
    pub async fn open(
        service: &Service,
        owner: &str,
        video: VideoId,
        start: u64,
        then: Option<NewJob>,
    ) -> Result<Self, Error> {
        let key = service.store.original_key(owner, video).await?;
        Ok(Self {
            service: service.clone(),
            owner: owner.to_owned(),
            video,
            key,
            buffer: Zeroizing::new(Vec::with_capacity(MAX_RECORD)),
            start,
            parts: Vec::new(),
            then,
        })
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// When they cannot be stored, or somebody else brought the same part of the original.
    pub async fn push(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let room = MAX_RECORD - self.buffer.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == MAX_RECORD {
                self.seal().await?;
            }
        }
        Ok(())
    }

    /// Seals and notes what is left; gives how many bytes of the original are there.
    ///
    /// # Errors
    /// As [`Sealer::push`].
    pub async fn finish(mut self) -> Result<u64, Error> {
        let sealed = if self.buffer.is_empty() { Ok(()) } else { self.seal().await };
        // What is stored is kept, also where the rest does not fit any more.
        self.note().await?;
        sealed.map(|()| self.start)
    }

    async fn seal(&mut self) -> Result<(), Error> {
        // Never closed.
        let turn = STORING.acquire().await.map_err(|e| Error::Sealed(e.to_string()))?;
        let context = seal_context(self.video);
        let record = sealed::seal(&self.key, &context, self.start, &self.buffer)
            .map_err(|e| Error::Sealed(e.to_string()))?;
        // The name is never used twice: another try at the same bytes is another record with another nonce.
        let object =
            format!("originals/{}/{:014}-{}", self.video, self.start, uuid::Uuid::now_v7());
        let path: ObjectPath = object.parse()?;
        self.service.objects.put_new(&path, Bytes::from(record)).await?;
        drop(turn);
        let length = self.buffer.len() as u64;
        self.parts.push(Part { start: self.start, length, object });
        self.start += length;
        // Overwritten before it is used again.
        self.buffer.fill(0);
        self.buffer.clear();
        if self.parts.len() == NOTED_TOGETHER { self.note().await } else { Ok(()) }
    }

    async fn note(&mut self) -> Result<(), Error> {
        if self.parts.is_empty() {
            return Ok(());
        }
        let parts = std::mem::take(&mut self.parts);
        let (store, then) = (&self.service.store, self.then.as_ref());
        store.add_parts(&self.owner, self.video, &parts, then, Timestamp::now()).await?;
        Ok(())
    }
}
