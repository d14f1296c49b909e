//! People, consent and the audit log on a real database.

use std::path::Path;

use jiff::{Span, Timestamp};
use store::{
    Chain, Error, KeySource, Location, NewConsent, NewPerson, NewPhoto, Scope, Standing, Store,
    Template,
};

use crate::support::{Db, at, on_both};

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
    on_both(async |db| {
        let store = &db.store;
        let id = store.add_person(&new("Mina", "shop"), "test", at(0)).await.unwrap();
        let store = db.another().await;
        let mina = store.person("Mina").await.unwrap();
        assert_eq!((mina.id, mina.photos, mina.collection.as_str()), (id, 2, "shop"));
        assert_eq!(store.person(&id.to_string()).await.unwrap(), mina);
        let templates = store.to_keep(&mina, Scope::Videos, at(1)).await.unwrap();
        let mut values: Vec<&[f32]> = templates.iter().map(Template::values).collect();
        values.sort_by(|a, b| a[0].total_cmp(&b[0])); // Photos of one moment have no order.
        assert_eq!(values, [template(0.25), template(0.5)]);
        let live = store.to_keep(&mina, Scope::Live, at(1)).await.err().unwrap().to_string();
        assert_eq!(live, "Mina is not kept: no consent");
    })
    .await;
}

#[tokio::test]
async fn without_consent_nobody_is_kept_from_that_moment() {
    on_both(async |db| {
        let store = &db.store;
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
    })
    .await;
}

#[tokio::test]
async fn names_are_unique_in_a_collection_and_may_be_ambiguous_across_them() {
    on_both(async |db| {
        let store = &db.store;
        store.add_person(&new("Mina", "shop"), "test", at(0)).await.unwrap();
        let taken = store.add_person(&new("Mina", "shop"), "test", at(0)).await.err().unwrap();
        assert_eq!(taken.to_string(), "\"shop\" has a person \"Mina\" already");
        store.add_person(&new("Mina", "café"), "test", at(0)).await.unwrap();
        let ambiguous = store.person("Mina").await.err().unwrap().to_string();
        assert!(ambiguous.contains("several collections"), "{ambiguous}");
        assert_eq!(store.people(None, Some("shop")).await.unwrap().len(), 1);
        assert!(matches!(store.people(None, Some("bar")).await, Err(Error::NotFound { .. })));
        assert!(matches!(store.person("Jun").await, Err(Error::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_nothing_is_stored() {
    on_both(async |db| {
        let store = &db.store;
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
    })
    .await;
}

#[tokio::test]
async fn nothing_secret_is_on_disk_and_nothing_at_all_after_a_removal() {
    on_both(async |db| match &db.location {
        Location::Folder(folder) => check_disk(db, folder).await,
        // Its files are its own business.
        Location::Postgres(_) => {}
    })
    .await;
}

async fn check_disk(db: &Db, folder: &Path) {
    let store = &db.store;
    let id = store.add_person(&new("Mina of the shop", "shop"), "test", at(0)).await.unwrap();
    let contains = |needle: &[u8]| {
        let files = folder.read_dir().unwrap();
        let all: Vec<u8> = files.flat_map(|f| std::fs::read(f.unwrap().path()).unwrap()).collect();
        all.windows(needle.len()).any(|window| window == needle)
    };
    let numbers: Vec<u8> = template(0.5)[..4].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert!(contains(b"Mina of the shop"), "the test looks at the right files");
    assert!(!contains(b"this is what she looks like"));
    assert!(!contains(&numbers));
    let row = sqlx::query("SELECT sealed_key FROM people").fetch_one(&db.raw).await;
    db.raw.close().await; // A reader would keep the log.
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
    on_both(async |db| {
    let store = &db.store;
    store.add_person(&new("Mina", "shop"), "test", at(0)).await.unwrap();
    store.add_person(&new("Jun", "shop"), "test", at(0)).await.unwrap();
    let jun = store.person("Jun").await.unwrap();
    let swap = "UPDATE photos SET sealed_template = (SELECT sealed_template FROM photos f JOIN people p \
         ON p.id = f.person WHERE p.name = 'Mina' LIMIT 1)";
    db.change(swap).await;
    assert!(matches!(store.to_keep(&jun, Scope::Videos, at(1)).await, Err(Error::Sealed(_))));
    db.change("UPDATE people SET sealed_key = (SELECT sealed_key FROM people WHERE name = 'Mina')").await;
    assert!(matches!(store.to_keep(&jun, Scope::Videos, at(1)).await, Err(Error::Sealed(_))));
    })
    .await;
}

#[tokio::test]
async fn another_key_does_not_open_the_database_and_a_lost_one_is_not_replaced() {
    on_both(async |db| {
        let given = KeySource::Given("ab".repeat(32).into());
        assert!(matches!(Store::open(&db.location, &given).await, Err(Error::WrongKey)));
        let KeySource::File(file) = &db.key else { panic!() };
        std::fs::remove_file(file).unwrap();
        assert!(matches!(Store::open(&db.location, &db.key).await, Err(Error::Key { .. })));
        assert!(!file.exists());
    })
    .await;
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
        on_both(async |db| {
            let store = &db.store;
            let id = store.add_person(&new("Mina", "shop"), "test", at(0)).await.unwrap();
            store.withdraw(id, "Mina", "test", at(1)).await.unwrap();
            store.grant(id, &consent(Scope::All, None), "test", at(2)).await.unwrap();
            let Chain::Whole { entries: 4, head } = store.check_log().await.unwrap() else {
                panic!()
            };
            assert_eq!(head.len(), 64);
            db.change(change).await;
            assert_eq!(store.check_log().await.unwrap(), Chain::Broken { seq }, "{change}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_lose_nothing() {
    on_both(async |db| {
        // Two processes, as far as the database can tell.
        let stores = [db.store.clone(), db.another().await];
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
    })
    .await;
}
