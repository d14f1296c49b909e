//! API keys, users, and answers that are given again.

use std::path::Path;

use domain::KeyId;
use jiff::{SignedDuration, Timestamp};
use store::{Before, Chain, Error, KeyScope, KeySource, NewKey, Store};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

async fn open(dir: &Path) -> Store {
    Store::open(&store::Location::Folder(dir.join("db")), &KeySource::File(dir.join("server.key")))
        .await
        .unwrap()
}

fn new(owner: &str) -> NewKey {
    NewKey {
        owner: owner.to_owned(),
        scopes: vec![KeyScope::Operate, KeyScope::Read, KeyScope::Read],
        label: "phone".to_owned(),
        expires_at: None,
    }
}

fn files_hold(dir: &Path, needle: &[u8]) -> bool {
    let files = dir.join("db").read_dir().unwrap();
    let all: Vec<u8> = files.flat_map(|f| std::fs::read(f.unwrap().path()).unwrap()).collect();
    all.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn a_key_opens_what_it_may_until_it_is_revoked_and_its_secret_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (key, secret) = store.create_key(&new("mina"), "test", at(0)).await.unwrap();
    assert_eq!(key.scopes, [KeyScope::Read, KeyScope::Operate]);
    assert!(secret.reveal().starts_with("garim_") && secret.reveal().len() == 49);
    let found = store.key_by_secret(secret.reveal(), at(1)).await.unwrap();
    assert_eq!(found.as_ref(), Some(&key));
    assert_eq!(store.user("mina").await.unwrap().created_at, at(0));
    for bad in ["", "garim_", &secret.reveal()[6..], &secret.reveal()[..48], "garim_'--", "é"] {
        assert_eq!(store.key_by_secret(bad, at(1)).await.unwrap(), None, "{bad}");
    }
    let (_, other) = store.create_key(&new("mina"), "test", at(0)).await.unwrap();
    assert_ne!(secret.reveal(), other.reveal());
    store.revoke_key(key.id, "test", at(2)).await.unwrap();
    store.revoke_key(key.id, "test", at(3)).await.unwrap();
    assert_eq!(store.key_by_secret(secret.reveal(), at(2)).await.unwrap(), None);
    assert_eq!(store.key(key.id).await.unwrap().revoked_at, Some(at(2)));
    assert!(store.key_by_secret(other.reveal(), at(2)).await.unwrap().is_some());
    assert!(files_hold(dir.path(), b"phone"), "the test looks at the right files");
    assert!(!files_hold(dir.path(), &secret.reveal().as_bytes()[6..]));
    let entries = store.entries(0).await.unwrap();
    let actions: Vec<&str> = entries.iter().map(|e| e.action.as_str()).collect();
    assert_eq!(actions, ["create_key", "create_key", "revoke_key"]);
    assert!(matches!(store.check_log().await.unwrap(), Chain::Whole { entries: 3, .. }));
}

#[tokio::test]
async fn a_key_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let ends = NewKey { expires_at: Some(at(10)), ..new("mina") };
    let (_, secret) = store.create_key(&ends, "test", at(0)).await.unwrap();
    assert!(store.key_by_secret(secret.reveal(), at(9)).await.unwrap().is_some());
    assert!(store.key_by_secret(secret.reveal(), at(10)).await.unwrap().is_none());
    assert!(matches!(store.create_key(&ends, "test", at(10)).await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn keys_that_make_no_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for owner in ["", "Mina", "-a", ".", "..", "a/b", "a b", "é", &"a".repeat(64)] {
        let made = store.create_key(&new(owner), "test", at(0)).await;
        assert!(matches!(made, Err(Error::Invalid { .. })), "{owner}");
    }
    for bad in [
        NewKey { scopes: Vec::new(), ..new("mina") },
        NewKey { label: "a\nb".to_owned(), ..new("mina") },
        NewKey { label: "a".repeat(201), ..new("mina") },
    ] {
        assert!(matches!(store.create_key(&bad, "test", at(0)).await, Err(Error::Invalid { .. })));
    }
    assert!(store.keys(None, None, 10).await.unwrap().is_empty());
    assert!(store.users("", 10).await.unwrap().is_empty());
    assert!(matches!(
        store.revoke_key(KeyId::new(0), "t", at(0)).await,
        Err(Error::NotFound { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_key_is_made_once_whoever_asks() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()).await, open(dir.path()).await];
    let tasks: Vec<_> = (0..10)
        .map(|i| {
            let store = stores[i % 2].clone();
            tokio::spawn(
                async move { store.create_first_key("serve", at(0)).await.unwrap().is_some() },
            )
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += usize::from(task.await.unwrap());
    }
    assert_eq!(made, 1);
    let keys = stores[0].keys(None, None, 10).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!((keys[0].owner.as_str(), keys[0].scopes.as_slice()), ("admin", &KeyScope::ALL[..]));

    let other = tempfile::tempdir().unwrap();
    let store = open(other.path()).await;
    store.create_key(&new("mina"), "test", at(0)).await.unwrap();
    assert!(store.create_first_key("serve", at(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn keys_come_in_pages_of_one_user_or_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut made = Vec::new();
    for second in 0..6 {
        let owner = if second % 2 == 0 { "mina" } else { "jun" };
        made.push(store.create_key(&new(owner), "test", at(second)).await.unwrap().0);
    }
    let first = store.keys(None, None, 4).await.unwrap();
    assert_eq!(first, made[..4]);
    assert_eq!(store.keys(None, Some(first[3].id), 4).await.unwrap(), made[4..]);
    let jun = store.keys(Some("jun"), Some(made[1].id), 4).await.unwrap();
    assert_eq!(jun, [made[3].clone(), made[5].clone()]);
}

#[tokio::test]
async fn a_user_is_made_and_changed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let made = store.put_user("mina", Some(1 << 40), None, at(0)).await.unwrap();
    assert_eq!((made.quota_bytes, made.retention_days), (Some(1 << 40), None));
    let changed = store.put_user("mina", None, Some(30), at(5)).await.unwrap();
    assert_eq!((changed.quota_bytes, changed.retention_days), (None, Some(30)));
    assert_eq!(changed.created_at, at(0));
    for (quota, days) in [(Some(-1), None), (None, Some(0)), (None, Some(36_501))] {
        let put = store.put_user("mina", quota, days, at(0)).await;
        assert!(matches!(put, Err(Error::Invalid { .. })), "{quota:?} {days:?}");
    }
    assert!(matches!(store.user("jun").await, Err(Error::NotFound { .. })));
    store.put_user("jun", None, None, at(0)).await.unwrap();
    let names = |users: Vec<store::User>| users.into_iter().map(|u| u.name).collect::<Vec<_>>();
    assert_eq!(names(store.users("", 10).await.unwrap()), ["jun", "mina"]);
    assert_eq!(names(store.users("jun", 10).await.unwrap()), ["mina"]);
}

#[tokio::test]
async fn a_request_is_worked_on_once_and_answered_alike_for_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (key, _) = store.create_key(&new("mina"), "test", at(0)).await.unwrap();
    let (other, _) = store.create_key(&new("mina"), "test", at(0)).await.unwrap();
    let take = async |key: KeyId, request: &str, now| {
        store.take_request(key, "upload 1", request, now).await.unwrap()
    };
    assert_eq!(take(key.id, "a", at(0)).await, Before::New);
    assert_eq!(take(key.id, "a", at(1)).await, Before::Underway);
    assert_eq!(take(key.id, "b", at(1)).await, Before::Other);
    assert_eq!(take(other.id, "a", at(1)).await, Before::New);
    store.keep_answer(key.id, "upload 1", b"the answer holds a secret").await.unwrap();
    let answer = Before::Answered(b"the answer holds a secret".to_vec());
    assert_eq!(take(key.id, "a", at(2)).await, answer);
    assert_eq!(take(key.id, "b", at(2)).await, Before::Other);
    assert!(!files_hold(dir.path(), b"the answer holds"));
    let day = at(0) + SignedDuration::from_hours(24);
    store.sweep_answers(day).await.unwrap();
    assert_eq!(take(key.id, "a", day).await, answer);
    let later = day + SignedDuration::from_secs(1);
    assert_eq!(take(key.id, "b", later).await, Before::New);
    let later = later + SignedDuration::from_secs(1);
    store.sweep_answers(later).await.unwrap();
    assert_eq!(take(other.id, "b", later).await, Before::New);
}

#[tokio::test]
async fn a_request_that_failed_may_be_tried_again_and_one_that_was_abandoned_may_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (key, _) = store.create_key(&new("mina"), "test", at(0)).await.unwrap();
    let take = async |now| store.take_request(key.id, "r", "a", now).await.unwrap();
    assert_eq!(take(at(0)).await, Before::New);
    store.forget_request(key.id, "r").await.unwrap();
    assert_eq!(take(at(0)).await, Before::New);
    assert_eq!(take(at(600)).await, Before::Underway);
    assert_eq!(take(at(601)).await, Before::Abandoned, "perhaps it was done");
    assert_eq!(take(at(86_400)).await, Before::Abandoned);
    assert_eq!(take(at(86_401)).await, Before::New);
}
