//! A bucket whose server refuses, is down, says nothing, or stops in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use store::{Error, ObjectPath, Objects, Place, S3Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::servers;

/// No operation below may take longer; the storage gives up after one.
const BOUND: Duration = Duration::from_secs(20);

fn open(config: S3Config) -> Objects {
    Objects::open(&Place::S3(config)).unwrap()
}

fn path(name: &str) -> ObjectPath {
    name.parse().unwrap()
}

/// A line to the S3 server that can be cut.
#[derive(Clone)]
struct Line {
    /// Bytes that the server may still say; at zero connections are closed.
    left: Arc<AtomicU64>,
}

impl Line {
    /// Makes `config` lead through a line, and give up after a second.
    async fn lay(config: &mut S3Config) -> Self {
        let line = Self { left: Arc::new(AtomicU64::new(u64::MAX)) };
        let server = config.endpoint.take().unwrap().replace("http://", "");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        config.endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
        config.give_up_after = Duration::from_secs(1);
        let opened = line.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(opened.clone().carry(client, server.clone()));
            }
        });
        line
    }

    async fn carry(self, client: TcpStream, server: String) {
        let server = TcpStream::connect(server).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let asking =
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
        let mut piece = vec![0; 16 << 10];
        while self.left.load(Ordering::SeqCst) > 0 {
            let Ok(length) = from_server.read(&mut piece).await else { break };
            let left = self.left.load(Ordering::SeqCst).saturating_sub(length as u64);
            if self.left.load(Ordering::SeqCst) != u64::MAX {
                self.left.store(left, Ordering::SeqCst);
            }
            if length == 0 || left == 0 || to_client.write_all(&piece[..length]).await.is_err() {
                break;
            }
        }
        asking.abort();
    }

    fn cut_after(&self, bytes: u64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    fn mend(&self) {
        self.left.store(u64::MAX, Ordering::SeqCst);
    }
}

async fn is_unavailable<T>(operation: impl Future<Output = Result<T, Error>>) -> bool {
    let result = tokio::time::timeout(BOUND, operation).await.expect("takes too long");
    matches!(result, Err(Error::Unavailable { .. }))
}

/// Everything that asks the server says so in time.
async fn everything_is_unavailable(objects: &Objects, name: &ObjectPath) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![1; 9 << 20]).unwrap();
    assert!(is_unavailable(objects.put(name, Bytes::from_static(b"x"))).await);
    assert!(is_unavailable(objects.put_new(name, Bytes::from_static(b"x"))).await);
    assert!(is_unavailable(objects.put_file(name, file.path())).await);
    assert!(is_unavailable(objects.get(name, 9)).await);
    assert!(is_unavailable(objects.stream(name, Some(0..1))).await);
    assert!(is_unavailable(objects.head(name)).await);
    assert!(is_unavailable(objects.list(None, None, 9)).await);
    assert!(is_unavailable(objects.delete(name)).await);
    assert!(is_unavailable(objects.delete_all(name)).await);
    assert!(is_unavailable(objects.ready()).await);
}

#[tokio::test]
async fn a_server_that_is_down_is_said_so_and_used_again_when_it_is_up() {
    let Some(mut config) = servers::s3() else { return };
    let line = Line::lay(&mut config).await;
    let (objects, name) = (open(config), path("a/b"));
    objects.put(&name, Bytes::from_static(b"before")).await.unwrap();
    line.cut_after(0);
    everything_is_unavailable(&objects, &name).await;
    line.mend();
    // What was cut may have been done: it was not seen to be.
    objects.ready().await.unwrap();
    objects.put(&name, Bytes::from_static(b"after")).await.unwrap();
    assert_eq!(objects.get(&name, 9).await.unwrap(), "after");
}

#[tokio::test]
async fn a_server_that_is_not_there_or_says_nothing_is_given_up() {
    // Needs no server: the one that accepts and says nothing is a listener nobody serves.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [silent.local_addr().unwrap(), gone.local_addr().unwrap()];
    drop(gone);
    let everything = addresses.map(|address| async move {
        let objects = open(S3Config {
            bucket: "b".to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: Some(format!("http://{address}")),
            access_key: "garim".to_owned().into(),
            secret_key: "secret".to_owned().into(),
            allow_http: true,
            prefix: None,
            give_up_after: Duration::from_secs(1),
        });
        everything_is_unavailable(&objects, &path("a/b")).await;
    });
    futures_util::future::join_all(everything).await;
}

#[tokio::test]
async fn a_download_that_breaks_leaves_the_file_as_it_was() {
    let Some(mut config) = servers::s3() else { return };
    let line = Line::lay(&mut config).await;
    let (objects, name) = (open(config), path("a/b"));
    let bytes = Bytes::from(vec![7; 4 << 20]);
    objects.put(&name, bytes.clone()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let back = dir.path().join("back");
    std::fs::write(&back, "start").unwrap();
    let mut file = tokio::fs::File::options().append(true).open(&back).await.unwrap();
    line.cut_after(1 << 20);
    assert!(is_unavailable(objects.download(&name, &mut file)).await);
    assert_eq!(std::fs::read(&back).unwrap(), b"start");
    line.mend();
    objects.download(&name, &mut file).await.unwrap();
    assert!(std::fs::read(&back).unwrap() == [b"start", &bytes[..]].concat());
}

#[tokio::test]
async fn an_upload_that_breaks_leaves_no_object() {
    let Some(mut config) = servers::s3() else { return };
    let direct = open(config.clone());
    let line = Line::lay(&mut config).await;
    let (objects, name) = (open(config), path("a/b"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![1; 40 << 20]).unwrap();
    // Enough for the server to say that it began, and not that the last part is there.
    line.cut_after(1200);
    assert!(is_unavailable(objects.put_file(&name, file.path())).await);
    assert!(matches!(direct.head(&name).await, Err(Error::NotFound { .. })));
    assert!(direct.list(None, None, 9).await.unwrap().is_empty());
    line.mend();
    assert_eq!(objects.put_file(&name, file.path()).await.unwrap(), 40 << 20);
    assert_eq!(direct.head(&name).await.unwrap().size, 40 << 20);
}

#[tokio::test]
async fn a_wrong_key_is_denied_and_stands_in_no_error() {
    let Some(mut config) = servers::s3() else { return };
    config.secret_key = "a-secret-that-is-wrong".to_owned().into();
    let objects = open(config);
    let name = path("a/b");
    for result in [
        objects.put(&name, Bytes::new()).await,
        objects.get(&name, 9).await.map(drop),
        objects.list(None, None, 9).await.map(drop),
        objects.delete(&name).await,
        objects.ready().await,
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error}");
        let said = format!("{error} {error:?}");
        assert!(!said.contains("a-secret") && !said.contains("Signature"), "{said}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_not_ready() {
    let Some(mut config) = servers::s3() else { return };
    config.bucket = "no-such-bucket".to_owned();
    let ready = open(config).ready().await;
    assert_eq!(ready.unwrap_err().to_string(), "the bucket does not exist");
}

#[test]
fn an_endpoint_without_tls_has_to_be_allowed() {
    let config = |endpoint: &str, allow_http| S3Config {
        bucket: "b".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        access_key: "garim".to_owned().into(),
        secret_key: "secret".to_owned().into(),
        allow_http,
        prefix: None,
        give_up_after: Duration::from_secs(30),
    };
    for (endpoint, allow_http, opens) in [
        ("http://127.0.0.1:1", true, true),
        ("https://s3.example.org/", false, true),
        ("http://127.0.0.1:1", false, false),
        ("s3.example.org", true, false),
        ("ftp://s3.example.org", true, false),
        ("", true, false),
    ] {
        let opened = Objects::open(&Place::S3(config(endpoint, allow_http)));
        assert_eq!(opened.is_ok(), opens, "{endpoint}");
    }
}
