//! People, consent and the audit log on a real database.

#![allow(clippy::unwrap_used)] // In helpers of tests too: a panic is a failure with a place.

use std::path::Path;

use jiff::{Span, Timestamp};
use sqlx::{AnyPool, Executor};
use store::{
    Chain, Error, KeySource, Location, NewConsent, NewPerson, NewPhoto, Scope, Standing, Store,
    Template,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

async fn open(dir: &Path) -> Result<Store, Error> {
    Store::open(&Location::Folder(dir.join("db")), &KeySource::File(dir.join("server.key"))).await
}

/// The database without the rules of [`Store`].
async fn raw(dir: &Path) -> AnyPool {
    AnyPool::connect(&format!("sqlite://{}", dir.join("db/garim.db").display())).await.unwrap()
}

fn template(start: f32) -> Vec<f32> {
    (0..128).map(|i| start + i as f32 / 1000.0).collect()
}

fn consent(scope: Scope, expires_at: Option<Timestamp>) -> NewConsent {
    NewConsent { given_by: "Mina".to_owned(), how: "signed form".to_owned(), scope, expires_at }
}

fn new(name: &str, collection: &str) -> NewPerson {
    let photo = |start| NewPhoto {
        picture: b"this is what she looks like".repeat(20),
        template: Template::new(template(start)),
    };
    NewPerson {
        owner: "default".to_owned(),
        collection: collection.to_owned(),
        name: name.to_owned(),
        photos: vec![photo(0.5), photo(0.25)],
        consent: consent(Scope::Videos, None),
    }
}

#[tokio::test]
async fn who_agreed_is_kept_by_the_same_numbers_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let id = store.add_person(&new("Mina", "shop"), "test", at(0)).await.unwrap();
    drop(store);
    let store = open(dir.path()).await.unwrap();
    let mina = store.person("Mina").await.unwrap();
    assert_eq!((mina.id, mina.photos, mina.collection.as_str()), (id, 2, "shop"));
    assert_eq!(store.person(&id.to_string()).await.unwrap(), mina);
    let templates = store.to_keep(&mina, Scope::Videos, at(1)).await.unwrap();
    let mut values: Vec<&[f32]> = templates.iter().map(Template::values).collect();
    values.sort_by(|a, b| a[0].total_cmp(&b[0])); // Photos of one moment have no order.
    assert_eq!(values, [template(0.25), template(0.5)]);
    let live = store.to_keep(&mina, Scope::Live, at(1)).await.err().unwrap().to_string();
    assert_eq!(live, "Mina is not kept: no consent");
}

#[tokio::test]
async fn without_consent_nobody_is_kept_from_that_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let id = store.add_person(&new("Mina", "shop"), "test", at(0)).await.unwrap();
    let mina = store.person("Mina").await.unwrap();
    let standing = async |second| match store.to_keep(&mina, Scope::Videos, at(second)).await {
        Ok(_) => None,
        Err(Error::NoConsent { standing, .. }) => Some(standing),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(standing(10).await, None);
    assert_eq!(store.withdraw(id, "Mina", "test", at(10)).await.unwrap(), 1);
    assert_eq!(standing(10).await, Some(Standing::Withdrawn(at(10))));
    assert_eq!(store.withdraw(id, "Mina", "test", at(11)).await.unwrap(), 0);
    store.grant(id, &consent(Scope::All, Some(at(30))), "test", at(20)).await.unwrap();
    assert_eq!(standing(29).await, None);
    assert_eq!(standing(30).await, Some(Standing::Expired(at(30))));
    let past = consent(Scope::All, Some(at(30)));
    let error = store.grant(id, &past, "test", at(31)).await.err().unwrap().to_string();
    assert_eq!(error, "the end of the consent is in the past");
    assert_eq!(store.consents(id).await.unwrap().len(), 2);
}

#[tokio::test]
async fn names_are_unique_in_a_collection_and_may_be_ambiguous_across_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    store.add_person(&new("Mina", "shop"), "test", at(0)).await.unwrap();
    let taken = store.add_person(&new("Mina", "shop"), "test", at(0)).await.err().unwrap();
    assert_eq!(taken.to_string(), "\"shop\" has a person \"Mina\" already");
    store.add_person(&new("Mina", "café"), "test", at(0)).await.unwrap();
    let ambiguous = store.person("Mina").await.err().unwrap().to_string();
    assert!(ambiguous.contains("several collections"), "{ambiguous}");
    assert_eq!(store.people(None, Some("shop")).await.unwrap().len(), 1);
    assert!(matches!(store.people(None, Some("bar")).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.person("Jun").await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_nothing_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let long = "m".repeat(201);
    for name in ["", "  ", "Mi\nna", &long] {
        assert!(store.add_person(&new(name, "shop"), "test", at(0)).await.is_err(), "{name:?}");
    }
    let nobody = NewPerson { photos: Vec::new(), ..new("Mina", "shop") };
    let nothing = NewPhoto { picture: Vec::new(), template: Template::new(vec![f32::NAN]) };
    let broken = NewPerson { photos: vec![nothing], ..new("Mina", "shop") };
    let mut unasked = new("Mina", "shop");
    unasked.consent.given_by.clear();
    for person in [nobody, broken, unasked] {
        assert!(store.add_person(&person, "test", at(0)).await.is_err());
    }
    assert!(store.people(None, None).await.unwrap().is_empty());
    assert_eq!(store.entries(0).await.unwrap(), []);
}

#[tokio::test]
async fn nothing_secret_is_on_disk_and_nothing_at_all_after_a_removal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let id = store.add_person(&new("Mina of the shop", "shop"), "test", at(0)).await.unwrap();
    let contains = |needle: &[u8]| {
        let files = dir.path().join("db").read_dir().unwrap();
        let all: Vec<u8> = files.flat_map(|f| std::fs::read(f.unwrap().path()).unwrap()).collect();
        all.windows(needle.len()).any(|window| window == needle)
    };
    let numbers: Vec<u8> = template(0.5)[..4].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert!(contains(b"Mina of the shop"), "the test looks at the right files");
    assert!(!contains(b"this is what she looks like"));
    assert!(!contains(&numbers));
    let pool = raw(dir.path()).await;
    let row = sqlx::query("SELECT sealed_key FROM people").fetch_one(&pool).await;
    pool.close().await; // A reader would keep the log.
    let key: Vec<u8> = sqlx::Row::get(&row.unwrap(), 0);
    assert!(contains(&key));
    store.remove_person(id, "test", at(1)).await.unwrap();
    assert!(!contains(&key) && !contains(b"Mina of the shop"));
    assert!(matches!(store.remove_person(id, "test", at(1)).await, Err(Error::NotFound { .. })));
    assert!(store.enrolled("default", "shop").await.unwrap().is_empty());
    let actions: Vec<String> =
        store.entries(0).await.unwrap().into_iter().map(|e| e.action).collect();
    assert_eq!(actions, ["enrol", "grant", "delete"]);
}

#[tokio::test]
async fn templates_that_were_moved_to_somebody_else_do_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    store.add_person(&new("Mina", "shop"), "test", at(0)).await.unwrap();
    store.add_person(&new("Jun", "shop"), "test", at(0)).await.unwrap();
    let jun = store.person("Jun").await.unwrap();
    let pool = raw(dir.path()).await;
    let swap = "UPDATE photos SET sealed_template = (SELECT sealed_template FROM photos f JOIN people p \
         ON p.id = f.person WHERE p.name = 'Mina' LIMIT 1)";
    pool.execute(swap).await.unwrap();
    assert!(matches!(store.to_keep(&jun, Scope::Videos, at(1)).await, Err(Error::Sealed(_))));
    pool.execute(
        "UPDATE people SET sealed_key = (SELECT sealed_key FROM people WHERE name = 'Mina')",
    )
    .await
    .unwrap();
    assert!(matches!(store.to_keep(&jun, Scope::Videos, at(1)).await, Err(Error::Sealed(_))));
}

#[tokio::test]
async fn another_key_does_not_open_the_database_and_a_lost_one_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).await.unwrap());
    let folder = dir.path().join("db");
    let given = KeySource::Given("ab".repeat(32).into());
    assert!(matches!(
        Store::open(&Location::Folder(folder.clone()), &given).await,
        Err(Error::WrongKey)
    ));
    std::fs::remove_file(dir.path().join("server.key")).unwrap();
    assert!(matches!(open(dir.path()).await, Err(Error::Key { .. })));
    assert!(!dir.path().join("server.key").exists());
}

#[tokio::test]
async fn every_change_to_the_log_is_seen() {
    let changes = [
        ("UPDATE audit SET at = at + 1 WHERE seq = 2", 2),
        ("UPDATE audit SET actor = 'nobody' WHERE seq = 3", 3),
        ("UPDATE audit SET action = 'grant' WHERE seq = 1", 1),
        ("UPDATE audit SET subject = 'x' WHERE seq = 1", 1),
        ("UPDATE audit SET detail = 'x' WHERE seq = 4", 4),
        ("DELETE FROM audit WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 4", 4),
        ("DELETE FROM audit", 1),
        ("DELETE FROM audit_head", 5),
        ("UPDATE audit_head SET seq = 3, hash = (SELECT hash FROM audit WHERE seq = 3)", 5),
        (
            "INSERT INTO audit SELECT 5, at, actor, action, subject, detail, hash FROM audit WHERE seq = 4",
            5,
        ),
    ];
    for (change, seq) in changes {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await.unwrap();
        let id = store.add_person(&new("Mina", "shop"), "test", at(0)).await.unwrap();
        store.withdraw(id, "Mina", "test", at(1)).await.unwrap();
        store.grant(id, &consent(Scope::All, None), "test", at(2)).await.unwrap();
        let Chain::Whole { entries: 4, head } = store.check_log().await.unwrap() else { panic!() };
        assert_eq!(head.len(), 64);
        raw(dir.path()).await.execute(change).await.unwrap();
        assert_eq!(store.check_log().await.unwrap(), Chain::Broken { seq }, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // Two processes, as far as the database can tell.
    let stores = [open(dir.path()).await.unwrap(), open(dir.path()).await.unwrap()];
    let tasks = (0..40).map(|i| {
        let store = stores[i % 2].clone();
        tokio::spawn(async move {
            let later = at(0).checked_add(Span::new().seconds(i as i64)).unwrap();
            store
                .add_person(&new(&format!("person {}", i / 2), "shop"), "test", later)
                .await
                .is_ok()
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut added = 0;
    for task in tasks {
        added += usize::from(task.await.unwrap());
    }
    assert_eq!(added, 20, "each name once");
    assert_eq!(stores[0].people(None, Some("shop")).await.unwrap().len(), 20);
    assert!(matches!(stores[1].check_log().await.unwrap(), Chain::Whole { entries: 40, .. }));
}
