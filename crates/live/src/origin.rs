//! One live session for many viewers: the [`Playlist`], and the requests that wait for what comes.
//!
//! One writer adds parts; each change wakes those who wait. What they get is rendered and
//! compressed once for all of them. Who goes away while waiting leaves nothing behind.
//!
//! HTTP is elsewhere: it maps a [`Response`], and adds what every answer needs (CORS, also for
//! errors; `Vary: Accept-Encoding` for playlists).

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::{Semaphore, watch};

use crate::hls::{
    Decision, Duration90k, Media, Part, Playlist, PlaylistError, PlaylistQuery, Rendition,
};

/// A usual limit of requests that wait at once in one session.
pub const WAITING_LIMIT: usize = 2000;
/// How long a request may wait, in target durations (sections 6.2.5.2 and 6.2.6 of the draft).
const PATIENCE: u64 = 3;
/// What a playlist is.
const PLAYLIST: &str = "application/vnd.apple.mpegurl";
/// Seconds for which a playlist may be kept whose address says what must be in it: other players
/// ask for the same one within moments.
const BLOCKED_MAX_AGE: u32 = 6;
/// Seconds for which one may be kept that was asked for without that.
const LATEST_MAX_AGE: u32 = 1;
/// Seconds for which one may be kept that does not change any more.
const ENDED_MAX_AGE: u32 = 60;

/// What a viewer is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// How it went.
    pub status: Status,
    /// What was asked for, or a sentence on why not.
    pub body: Bytes,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Cache-Control`.
    pub cache: CacheControl,
    /// Whether `body` is compressed (`Content-Encoding: gzip`).
    pub gzip: bool,
}

/// How a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
    /// 400: the query is wrong, or too far in the future.
    BadRequest,
    /// 404: there is no such thing, and it does not come next.
    NotFound,
    /// 410: it was there, and too long ago.
    Gone,
    /// 503: it did not come in time, or too many wait already.
    Unavailable,
}

/// Who may keep an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheControl {
    /// Everybody, for ever: `public, max-age=31536000, immutable`.
    Immutable,
    /// Everybody, for so many seconds: `public, max-age=…`.
    MaxAge(u32),
    /// Nobody: `no-store`.
    NoStore,
}

/// A session that viewers read from.
#[derive(Debug)]
pub struct Origin {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    waiting: Semaphore,
    waiting_limit: usize,
    patience: Duration,
}

#[derive(Debug)]
struct State {
    playlist: Playlist,
    /// What `playlist` was rendered as since it changed.
    full: Option<Rendered>,
    delta: Option<Rendered>,
}

#[derive(Debug)]
struct Rendered {
    plain: Bytes,
    gzip: Option<Bytes>,
}

impl Origin {
    /// An origin for `playlist`, at which at most `waiting_limit` requests wait at once.
    pub fn new(playlist: Playlist, waiting_limit: usize) -> Self {
        let waiting_limit = waiting_limit.min(Semaphore::MAX_PERMITS);
        Self {
            patience: Duration::from_secs(PATIENCE * playlist.target_duration()),
            state: Mutex::new(State { playlist, full: None, delta: None }),
            changed: watch::Sender::new(()),
            waiting: Semaphore::new(waiting_limit),
            waiting_limit,
        }
    }

    /// [`Playlist::describe`].
    ///
    /// # Errors
    /// Those of [`Playlist::describe`].
    pub fn describe(&self, rendition: Rendition) -> Result<(), PlaylistError> {
        self.change(|playlist| playlist.describe(rendition))
    }

    /// [`Playlist::map`].
    ///
    /// # Errors
    /// Those of [`Playlist::map`].
    pub fn map(&self, init: Bytes, segment: Duration90k) -> Result<(), PlaylistError> {
        self.change(|playlist| playlist.map(init, segment))
    }

    /// [`Playlist::part`], for everybody who waits for it.
    ///
    /// # Errors
    /// Those of [`Playlist::part`].
    pub fn part(&self, part: Part) -> Result<(), PlaylistError> {
        self.change(|playlist| playlist.part(part))
    }

    /// [`Playlist::end`]. Nobody waits any more.
    pub fn end(&self) {
        self.change(Playlist::end);
    }

    /// Answers a request for the playlist. `query` is that of its address, without the `?`; `gzip`
    /// says whether the viewer takes a compressed one. It may take three target durations.
    pub async fn playlist(&self, query: &str, gzip: bool) -> Response {
        let query = match PlaylistQuery::parse(query) {
            Ok(query) => query,
            Err(invalid) => return Response::refusal(Status::BadRequest, invalid.to_string()),
        };
        self.answer(|state| match state.playlist.decide(&query) {
            Decision::Ready => Some(state.playlist_response(&query, gzip)),
            Decision::Wait => None,
            Decision::Refuse(why) => Some(Response::refusal(Status::BadRequest, why.to_string())),
        })
        .await
    }

    /// Answers a request for the playlist above, from which this one is at `uri`. It may take three
    /// target durations, until there is a part.
    pub async fn multivariant(&self, uri: &str) -> Response {
        self.answer(|state| match state.playlist.multivariant(uri) {
            Ok(Some(text)) => Some(Response {
                status: Status::Ok,
                body: text.into(),
                content_type: PLAYLIST,
                cache: CacheControl::MaxAge(LATEST_MAX_AGE),
                gzip: false,
            }),
            Ok(None) if state.playlist.ended() => {
                Some(Response::refusal(Status::NotFound, "it ended before it began"))
            }
            Ok(None) => None,
            Err(error) => Some(Response::refusal(Status::NotFound, error.to_string())),
        })
        .await
    }

    /// Answers a request for media by a name as it stands in the playlist. If that is the part that
    /// comes next it may take three target durations.
    pub async fn media(&self, name: &str) -> Response {
        self.answer(|state| match state.playlist.media(name) {
            Media::Ready(media) => Some(Response {
                status: Status::Ok,
                body: media,
                content_type: "video/mp4",
                cache: CacheControl::Immutable,
                gzip: false,
            }),
            Media::Wait => None,
            Media::Gone => Some(Response::refusal(Status::Gone, "no longer kept")),
            Media::NotFound => Some(Response::refusal(Status::NotFound, "no such media")),
        })
        .await
    }

    /// How many requests wait now.
    pub fn waiting(&self) -> usize {
        self.waiting_limit - self.waiting.available_permits()
    }

    /// What `look` finds, now or after a change.
    async fn answer(&self, mut look: impl FnMut(&mut State) -> Option<Response>) -> Response {
        if let Some(response) = look(&mut self.lock()) {
            return response;
        }
        // Given back when the viewer goes away, and this future is dropped.
        let Ok(_waits) = self.waiting.try_acquire() else {
            return Response::refusal(Status::Unavailable, "too many requests wait: try again");
        };
        // Before the next look, so that no change is missed between looking and waiting.
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                if let Some(response) = look(&mut self.lock()) {
                    return response;
                }
                // Cannot fail: the sender is in `self`.
                let _ = changed.changed().await;
            }
        };
        let found = tokio::time::timeout(self.patience, found).await;
        found.unwrap_or_else(|_| {
            Response::refusal(Status::Unavailable, "it did not come in time: try again")
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Playlist) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state.playlist);
        (state.full, state.delta) = (None, None);
        drop(state);
        self.changed.send_replace(());
        result
    }

    /// A panic elsewhere is no reason to stop: every change leaves a playlist that can be read.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The playlist as it is now. It is rendered and compressed under the lock, so that all who
    /// come at once wait for one that does it: a tenth of a millisecond.
    fn playlist_response(&mut self, query: &PlaylistQuery, gzip: bool) -> Response {
        let rendered = if query.skip { &mut self.delta } else { &mut self.full };
        let rendered = rendered.get_or_insert_with(|| Rendered {
            plain: self.playlist.text(query.skip).into(),
            gzip: None,
        });
        let body = if gzip {
            rendered.gzip.get_or_insert_with(|| compress(&rendered.plain)).clone()
        } else {
            rendered.plain.clone()
        };
        let cache = match query.msn {
            _ if self.playlist.ended() => ENDED_MAX_AGE,
            Some(_) => BLOCKED_MAX_AGE,
            None => LATEST_MAX_AGE,
        };
        Response {
            status: Status::Ok,
            body,
            content_type: PLAYLIST,
            cache: CacheControl::MaxAge(cache),
            gzip,
        }
    }
}

impl Response {
    fn refusal(status: Status, why: impl Into<Bytes>) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self { status, body: why.into(), content_type, cache: CacheControl::NoStore, gzip: false }
    }
}

fn compress(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::default());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default().into()
}
