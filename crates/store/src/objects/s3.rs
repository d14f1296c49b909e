//! Objects in an S3 bucket.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt,
    RetryConfig,
};
use url::Url;
use zeroize::Zeroizing;

use super::{Contents, Object, ObjectPath, failure, flow};
use crate::Error;

/// Longest that a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// A bucket and the key to it.
#[derive(Clone)]
pub struct S3Config {
    /// The bucket's name.
    pub bucket: String,
    /// Its region; servers of one's own mostly take any.
    pub region: String,
    /// The server's address, unless it is AWS: `https://s3.example.org`.
    pub endpoint: Option<String>,
    /// The key's public half.
    pub access_key: Zeroizing<String>,
    /// The key's secret half.
    pub secret_key: Zeroizing<String>,
    /// Allows an endpoint without TLS.
    pub allow_http: bool,
    /// A folder in the bucket that all objects are in.
    pub prefix: Option<ObjectPath>,
    /// How long the server may be silent until an operation fails, with retries: 30 s is sensible. A part of
    /// 8 MiB must go through in half of it.
    pub give_up_after: Duration,
}

/// The client of a bucket.
pub(super) fn open(config: &S3Config) -> Result<Arc<dyn ObjectStore>, Error> {
    // An error says that the process has one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let half = config.give_up_after / 2;
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 10,
        // Checked before another try, which then has the other half.
        retry_timeout: half,
    };
    // No time-out for a whole request, because a viewer may take an hour over a video.
    let client = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT.min(half))
        .with_read_timeout(half)
        .with_allow_http(config.allow_http);
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        .with_access_key_id(config.access_key.as_str())
        .with_secret_access_key(config.secret_key.as_str())
        .with_client_options(client)
        .with_retry(retry);
    if let Some(endpoint) = &config.endpoint {
        check_endpoint(endpoint, config.allow_http)?;
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    let wrong = |_| Error::Invalid { what: "the bucket", why: "cannot be used: look at its name" };
    let store = builder.build().map_err(wrong)?;
    Ok(match &config.prefix {
        Some(prefix) => Arc::new(PrefixStore::new(store, prefix.key())),
        None => Arc::new(store),
    })
}

fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<(), Error> {
    let url = Url::parse(endpoint).ok().filter(Url::has_host);
    let why = match url.as_ref().map(Url::scheme) {
        Some("https") => return Ok(()),
        Some("http") if allow_http => return Ok(()),
        Some("http") => "has no TLS, which must be allowed explicitly",
        _ => "is not an address such as https://s3.example.org",
    };
    Err(Error::Invalid { what: "the S3 endpoint", why })
}

/// See [`super::Objects::stream`].
pub(super) async fn stream(
    store: &dyn ObjectStore,
    path: &ObjectPath,
    range: Option<Range<u64>>,
) -> Result<Contents, Error> {
    let options = GetOptions::default().with_range(range.clone().map(as_sent));
    let failure = match store.get_opts(&path.key(), options).await {
        Ok(got) => {
            let (size, range, name) = (got.meta.size, got.range.clone(), path.to_string());
            let bytes = got.into_stream().map_err(move |error| failure::of_store(&name, error));
            return Ok(Contents {
                size,
                bytes: flow::exactly(range.clone(), path, bytes.boxed()),
                range,
            });
        }
        Err(error) => failure::of_store(path, error),
    };
    let Some(range) = range.filter(|_| !matches!(failure, Error::NotFound { .. })) else {
        return Err(failure);
    };
    // The client does not tell that it was the range; the object's size does.
    let size = head(store, path).await?.size;
    Err(if range.start >= size { Error::Range { size } } else { failure })
}

/// Servers do not take an end beyond 63 bits.
fn as_sent(range: Range<u64>) -> GetRange {
    match i64::try_from(range.end) {
        Ok(_) => GetRange::Bounded(range),
        Err(_) => GetRange::Offset(range.start),
    }
}

/// See [`super::Objects::head`].
pub(super) async fn head(store: &dyn ObjectStore, path: &ObjectPath) -> Result<Object, Error> {
    let meta = store.head(&path.key()).await;
    let meta = meta.map_err(|error| failure::of_store(path, error))?;
    Ok(Object { path: path.clone(), size: meta.size, modified: modified(&meta)? })
}

/// See [`super::Objects::list`].
pub(super) async fn list(
    store: &dyn ObjectStore,
    prefix: Option<&ObjectPath>,
    after: Option<&ObjectPath>,
    limit: usize,
) -> Result<Vec<Object>, Error> {
    let prefix = prefix.map(ObjectPath::key);
    let mut listed = match after {
        Some(after) => store.list_with_offset(prefix.as_ref(), &after.key()),
        None => store.list(prefix.as_ref()),
    };
    let mut found = Vec::new();
    while found.len() < limit {
        let Some(meta) = listed.next().await else { break };
        let meta = meta.map_err(of_bucket)?;
        // Somebody else's, with a name that this program does not use.
        let Ok(path) = meta.location.as_ref().parse() else { continue };
        found.push(Object { path, size: meta.size, modified: modified(&meta)? });
    }
    Ok(found)
}

/// Whether the bucket is there and can be listed.
pub(super) async fn ready(store: &dyn ObjectStore) -> Result<(), Error> {
    // A folder without objects, so that the answer is short.
    match store.list(Some(&Path::from("ready"))).next().await {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(of_bucket(error)),
    }
}

/// What was said about all of it.
fn of_bucket(error: object_store::Error) -> Error {
    match failure::of_store("the bucket", error) {
        Error::NotFound { .. } => Error::Invalid { what: "the bucket", why: "does not exist" },
        error => error,
    }
}

/// When an object was written.
fn modified(meta: &ObjectMeta) -> Result<Timestamp, Error> {
    Timestamp::from_millisecond(meta.last_modified.timestamp_millis())
        .map_err(|_| Error::Damaged("an object's time"))
}
