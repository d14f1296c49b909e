//! Objects in a folder and in a bucket of a real S3 server: what holds in both.

use std::path::Path;

use bytes::Bytes;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use store::{Contents, Error, ObjectPath, Objects, Place};

use crate::servers;

/// Every test below, once in a folder and once in a bucket.
macro_rules! in_both {
    ($($test:ident),* $(,)?) => {
        mod in_a_folder {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let dir = tempfile::tempdir().unwrap();
                let place = super::Place::Folder(dir.path().join("objects"));
                super::$test(super::Objects::open(&place).unwrap()).await;
            })*
        }
        mod in_a_bucket {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(config) = super::servers::s3() {
                    super::$test(super::Objects::open(&super::Place::S3(config)).unwrap()).await;
                }
            })*
        }
    };
}

in_both!(
    of_many_who_create_an_object_at_once_one_succeeds,
    an_object_is_replaced_and_deleted,
    a_range_gives_those_bytes_and_the_size_of_all,
    a_file_of_24_mib_comes_back_as_it_was,
    a_file_as_large_as_parts_or_empty_comes_back_as_it_was,
    a_download_is_appended,
    a_missing_object_is_not_found_whatever_is_done_with_it,
    an_object_larger_than_asked_for_is_not_read,
    a_listing_comes_in_pages_that_have_every_object_once,
    a_folder_is_deleted_without_its_neighbours,
    any_valid_name_can_be_stored_and_listed,
    what_works_is_ready,
);

fn path(name: &str) -> ObjectPath {
    name.parse().unwrap()
}

async fn put(objects: &Objects, name: &str) {
    objects.put(&path(name), Bytes::from(name.to_owned())).await.unwrap();
}

async fn all(contents: Contents) -> Vec<u8> {
    contents.bytes.try_collect::<Vec<_>>().await.unwrap().concat()
}

async fn names(
    objects: &Objects,
    prefix: Option<&str>,
    after: Option<&str>,
    limit: usize,
) -> Vec<String> {
    let (prefix, after) = (prefix.map(path), after.map(path));
    let listed = objects.list(prefix.as_ref(), after.as_ref(), limit).await.unwrap();
    listed.into_iter().map(|object| object.path.to_string()).collect()
}

/// Bytes that differ wherever a part could be put in the wrong place.
fn noise(length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn is_missing(result: Result<impl Sized, Error>) -> bool {
    matches!(result, Err(Error::NotFound { kind: "object", .. }))
}

async fn of_many_who_create_an_object_at_once_one_succeeds(objects: Objects) {
    let name = path("vod/mina/v1.json");
    let attempts = (0..20).map(|number| {
        let (objects, name) = (objects.clone(), name.clone());
        tokio::spawn(
            async move { (number, objects.put_new(&name, vec![number; 100].into()).await) },
        )
    });
    let mut winners = Vec::new();
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            (number, Ok(())) => winners.push(number),
            (_, Err(Error::Exists(found))) => assert_eq!(found, name.as_str()),
            (_, Err(error)) => panic!("{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(objects.get(&name, 100).await.unwrap(), vec![winners[0]; 100]);
    assert_eq!(names(&objects, None, None, 9).await, [name.as_str()]);
}

async fn an_object_is_replaced_and_deleted(objects: Objects) {
    let name = path("a/b");
    let before = Timestamp::now();
    objects.put(&name, Bytes::from_static(b"one")).await.unwrap();
    objects.put(&name, Bytes::from_static(b"three")).await.unwrap();
    let head = objects.head(&name).await.unwrap();
    assert_eq!((head.path, head.size), (name.clone(), 5));
    let age = head.modified.duration_since(before).as_secs();
    assert!((-2..60).contains(&age), "{age}");
    assert_eq!(objects.get(&name, 5).await.unwrap(), "three");
    objects.delete(&name).await.unwrap();
    assert!(is_missing(objects.head(&name).await));
}

async fn a_range_gives_those_bytes_and_the_size_of_all(objects: Objects) {
    let (name, bytes) = (path("video.mp4"), noise(1_000_000));
    objects.put(&name, bytes.clone().into()).await.unwrap();
    for (range, want) in [
        (0..1, 0..1),
        (0..1_000_000, 0..1_000_000),
        (123_456..654_321, 123_456..654_321),
        (999_999..1_000_000, 999_999..1_000_000),
        (999_000..u64::MAX, 999_000..1_000_000),
    ] {
        let contents = objects.stream(&name, Some(range)).await.unwrap();
        assert_eq!((contents.size, contents.range.clone()), (1_000_000, want.clone()));
        assert!(all(contents).await == bytes[want.start as usize..want.end as usize], "{want:?}");
    }
    for range in [1_000_000..1_000_001, 2_000_000..3_000_000, 5..5] {
        let read = objects.stream(&name, Some(range.clone())).await;
        assert!(matches!(read, Err(Error::Range { size: 1_000_000 })), "{range:?}");
    }
    let empty = path("empty");
    objects.put(&empty, Bytes::new()).await.unwrap();
    assert!(all(objects.stream(&empty, None).await.unwrap()).await.is_empty());
    let read = objects.stream(&empty, Some(0..1)).await;
    assert!(matches!(read, Err(Error::Range { size: 0 })));
}

async fn comes_back(objects: &Objects, length: usize) {
    let (dir, bytes) = (tempfile::tempdir().unwrap(), noise(length));
    let (there, back) = (dir.path().join("there"), dir.path().join("back"));
    std::fs::write(&there, &bytes).unwrap();
    let name = path("originals/v/0");
    assert_eq!(objects.put_file(&name, &there).await.unwrap(), length as u64);
    assert_eq!(objects.head(&name).await.unwrap().size, length as u64);
    let mut file = tokio::fs::File::create(&back).await.unwrap();
    assert_eq!(objects.download(&name, &mut file).await.unwrap(), length as u64);
    assert!(std::fs::read(&back).unwrap() == bytes);
}

async fn a_file_of_24_mib_comes_back_as_it_was(objects: Objects) {
    // Not a whole number of parts.
    comes_back(&objects, (24 << 20) + 12_345).await;
    // Across the end of a part.
    let range = (8 << 20) - 100..(8 << 20) + 100;
    let contents = objects.stream(&path("originals/v/0"), Some(range)).await.unwrap();
    let want = noise((8 << 20) + 100);
    assert!(all(contents).await == want[want.len() - 200..]);
}

async fn a_file_as_large_as_parts_or_empty_comes_back_as_it_was(objects: Objects) {
    for length in [0, 1, (8 << 20) - 1, 8 << 20, 16 << 20] {
        comes_back(&objects, length).await;
    }
}

async fn a_download_is_appended(objects: Objects) {
    put(&objects, "one").await;
    put(&objects, "two").await;
    let dir = tempfile::tempdir().unwrap();
    let back = dir.path().join("back");
    std::fs::write(&back, "zero").unwrap();
    let mut file = tokio::fs::File::options().append(true).open(&back).await.unwrap();
    for name in ["one", "two"] {
        assert_eq!(objects.download(&path(name), &mut file).await.unwrap(), 3);
    }
    assert_eq!(std::fs::read_to_string(&back).unwrap(), "zeroonetwo");
}

async fn a_missing_object_is_not_found_whatever_is_done_with_it(objects: Objects) {
    put(&objects, "folder/object").await;
    for name in ["missing", "folder", "folder/missing", "folder/object/below"] {
        let name = path(name);
        assert!(is_missing(objects.head(&name).await), "{name}");
        assert!(is_missing(objects.get(&name, 9).await), "{name}");
        assert!(is_missing(objects.stream(&name, None).await), "{name}");
        assert!(is_missing(objects.stream(&name, Some(0..1)).await), "{name}");
        objects.delete(&name).await.unwrap();
        objects.delete_all(&path("elsewhere")).await.unwrap();
    }
    assert_eq!(names(&objects, None, None, 9).await, ["folder/object"]);
    assert!(objects.put_file(&path("a"), Path::new("/nowhere")).await.is_err());
    assert!(is_missing(objects.head(&path("a")).await));
}

async fn an_object_larger_than_asked_for_is_not_read(objects: Objects) {
    put(&objects, "12345").await;
    assert_eq!(objects.get(&path("12345"), 5).await.unwrap(), "12345");
    let read = objects.get(&path("12345"), 4).await;
    assert!(matches!(read, Err(Error::TooLarge { limit: 4, .. })));
}

async fn a_listing_comes_in_pages_that_have_every_object_once(objects: Objects) {
    let mut want = vec!["a/v1.json", "a/v1/1", "a/v1/2/3", "a/v10", "a/v2", "b", "가림"];
    for name in &want {
        put(&objects, name).await;
    }
    let sorted = |mut names: Vec<String>| {
        names.sort_unstable();
        names
    };
    want.sort_unstable();
    assert_eq!(sorted(names(&objects, None, None, 100).await), want);
    assert_eq!(names(&objects, None, None, 0).await, [""; 0]);
    for limit in 1..4 {
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = names(&objects, None, after.as_deref(), limit).await;
            let Some(last) = page.last() else { break };
            assert!(page.len() <= limit);
            after = Some(last.clone());
            found.extend(page);
        }
        assert_eq!(sorted(found), want, "pages of {limit}");
    }
    assert_eq!(names(&objects, Some("a/v1"), None, 9).await, ["a/v1/1", "a/v1/2/3"]);
    assert_eq!(names(&objects, Some("a"), Some("a/v10"), 9).await, ["a/v2"]);
    assert_eq!(names(&objects, Some("b"), None, 9).await, [""; 0]);
    assert_eq!(names(&objects, Some("missing"), None, 9).await, [""; 0]);
    let listed = objects.list(Some(&path("a/v1")), None, 1).await.unwrap();
    assert_eq!(listed[0], objects.head(&path("a/v1/1")).await.unwrap());
}

async fn a_folder_is_deleted_without_its_neighbours(objects: Objects) {
    for name in ["a/b/1", "a/b/2/3", "a/bc", "a/b.json", "b"] {
        put(&objects, name).await;
    }
    objects.delete_all(&path("a/b")).await.unwrap();
    objects.delete_all(&path("a/bc")).await.unwrap();
    assert_eq!(names(&objects, None, None, 9).await, ["a/b.json", "a/bc", "b"]);
    put(&objects, "a/b/1").await;
    assert_eq!(objects.get(&path("a/b/1"), 9).await.unwrap(), "a/b/1");
}

async fn any_valid_name_can_be_stored_and_listed(objects: Objects) {
    let long = vec!["x".repeat(240); 2].join("/");
    let mut want = vec![
        "가림/얼굴 1.mp4",
        "100%/a%2Fb%",
        "a+b&c=d",
        "a?b",
        "...",
        ".hidden",
        "x'\"y",
        "n#a",
        &long,
    ];
    for name in &want {
        put(&objects, name).await;
        assert_eq!(objects.get(&path(name), 600).await.unwrap(), *name);
    }
    let mut found = names(&objects, None, None, 99).await;
    want.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, want);
}

async fn what_works_is_ready(objects: Objects) {
    objects.ready().await.unwrap();
    assert_eq!(names(&objects, None, None, 9).await, [""; 0]);
}
