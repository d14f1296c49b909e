//! Backups: everything in one sealed file, and back into an empty database of either kind, or nothing.

use std::path::PathBuf;

use sqlx::{AnyPool, AssertSqlSafe, Row};
use store::{BackupKey, Chain, KeySource, Kind, Location, Restored, Scope, Store, restore};
use tempfile::TempDir;

use crate::support::{
    self, Db, USER, at, databases, enqueue, new_folder, new_job, on_both, person, published,
};

/// Where a backup, its key, and what is restored from it are.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("backup")
    }

    fn key(&self) -> BackupKey {
        let path = self.dir.path().join("backup.key");
        if !path.exists() {
            BackupKey::create(&path).unwrap();
        }
        BackupKey::from_file(&path).unwrap()
    }

    /// Where the server's key of what is restored is.
    fn server_key(&self) -> KeySource {
        KeySource::File(self.dir.path().join("server.key"))
    }

    fn folder(&self) -> Location {
        Location::Folder(new_folder(&self.dir))
    }

    async fn back_up(&self, db: &Db) {
        db.store.back_up(&self.file(), &self.key(), Some(&db.key), at(5)).await.unwrap();
    }

    async fn restore_to(&self, location: &Location) -> Result<Restored, String> {
        let restored = restore(&self.file(), &self.key(), location, &self.server_key()).await;
        restored.map_err(|error| error.to_string())
    }
}

/// A new database of each kind.
async fn targets(place: &Place) -> Vec<Location> {
    let postgres = support::servers::postgres().await.map(|url| Location::Postgres(url.into()));
    [Some(place.folder()), postgres].into_iter().flatten().collect()
}

/// Somebody who is shown in a video, a job, and a key.
async fn fill(store: &Store) {
    let mina = person(store, Some(at(9000))).await;
    published(store, &[mina]).await;
    enqueue(store, new_job(Kind::Search)).await;
    let new = store::NewKey {
        owner: USER.into(),
        scopes: vec![store::KeyScope::Read],
        label: "ä \"x\"".into(),
        expires_at: None,
    };
    store.create_key(&new, "test", at(0)).await.unwrap();
    let hour = jiff::SignedDuration::from_hours(1);
    store
        .offer_capacity(domain::ServerId::new(0), 1, &Default::default(), hour, at(0))
        .await
        .unwrap();
    let live = store::NewLive { owner: USER.into(), collection: None, limit: 5 };
    store.start_live(&live, "test", at(0)).await.unwrap();
}

/// Every row of every table as text that is the same in both kinds of database.
async fn contents(raw: &AnyPool) -> Vec<String> {
    let mut all = Vec::new();
    for (table, columns) in [
        ("people", "id, collection, name, sealed_key, created_at"),
        ("photos", "id, person, sealed_picture, sealed_template, created_at"),
        ("consents", "id, person, given_by, how, scope, given_at, expires_at, withdrawn_at"),
        ("audit", "seq, at, actor, action, subject, detail, hash"),
        ("audit_head", "id, seq, hash"),
        ("settings", "name, value"),
        ("videos", "id, owner, name, state, length, received, sealed_key, object, published"),
        ("parts", "video, start, length, object"),
        ("versions", "video, number, state, job, folder, files, options, plan_of, consent_until"),
        ("shown", "video, number, person"),
        ("jobs", "id, owner, kind, video, work, state, attempt, worker, lease_until, progress"),
        ("events", "seq, id, owner, type, subject, at, data"),
        ("event_head", "id, seq"),
        ("channels", "id, owner, state, policy, key_hash, sealed_key, session, claim, lease_until"),
        ("sessions", "id, channel, owner, started_at, playback, recording, segments"),
        ("live_servers", "id, slots, lease_until"),
        ("users", "name, quota_bytes, retention_days, created_at"),
        ("api_keys", "id, hash, owner, scopes, label, created_at, expires_at, revoked_at"),
    ] {
        let query = format!("SELECT {columns} FROM {table} ORDER BY 1, 2");
        let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(raw).await.unwrap();
        for row in rows {
            let values = (0..row.len()).map(|n| value(&row, n));
            all.push(format!("{table}: {}", values.collect::<Vec<_>>().join(" | ")));
        }
    }
    all
}

fn value(row: &sqlx::any::AnyRow, n: usize) -> String {
    row.try_get::<Option<i64>, _>(n)
        .map(|number| format!("{number:?}"))
        .or_else(|_| row.try_get::<Option<String>, _>(n).map(|text| format!("{text:?}")))
        .or_else(|_| row.try_get::<Option<Vec<u8>>, _>(n).map(|bytes| format!("{bytes:?}")))
        .unwrap()
        .replace("Some(", "")
        .replace(')', "")
}

async fn raw(location: &Location) -> AnyPool {
    let url = match location {
        Location::Folder(folder) => format!("sqlite://{}", folder.join("garim.db").display()),
        Location::Postgres(url) => url.to_string(),
    };
    AnyPool::connect(&url).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back_in_either_kind_of_database() {
    on_both(async |db| {
        fill(&db.store).await;
        let before = contents(&db.raw).await;
        assert!(before.len() > 15, "{before:#?}");
        for kind in 0..2 {
            let place = Place::new();
            place.back_up(db).await;
            let Some(target) = targets(&place).await.into_iter().nth(kind) else { continue };
            let restored = place.restore_to(&target).await.unwrap();
            assert!(restored.rows >= before.len() as u64, "{} rows", restored.rows);
            assert_eq!(restored.made_at, at(5));
            assert!(matches!(restored.log, Chain::Whole { entries, .. } if entries > 2));
            assert_eq!(contents(&raw(&target).await).await, before);
            let people = restored.store.people(None, None).await.unwrap();
            let kept = restored.store.to_keep(&people[0], Scope::Videos, at(6)).await.unwrap();
            assert_eq!(kept[0].values(), [0.5; 8]);
            // It goes on where it was.
            fill(&restored.store).await;
            assert!(matches!(restored.store.check_log().await.unwrap(), Chain::Whole { .. }));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_of_one_moment_while_others_write() {
    on_both(async |db| {
        let store = db.another().await;
        let writing = tokio::spawn(async move {
            for _ in 0..60 {
                fill(&store).await;
            }
        });
        let mut taken = 0;
        while !writing.is_finished() {
            let place = Place::new();
            place.back_up(db).await;
            taken += 1;
            let restored = place.restore_to(&place.folder()).await.unwrap();
            // The log's last hash and its entries, and events and their head, are of the same moment.
            assert!(matches!(restored.log, Chain::Whole { .. }), "backup {taken}");
            let head = raw(&place.folder()).await;
            let row = "SELECT COUNT(*) - (SELECT seq FROM event_head) FROM events";
            let row = sqlx::query(row).fetch_one(&head).await.unwrap();
            assert_eq!(row.try_get::<i64, _>(0).unwrap(), 0, "backup {taken}");
        }
        writing.await.unwrap();
        assert!(taken > 1, "only {taken} backups were made while somebody wrote");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_changed_or_cut_off_restores_nothing() {
    let db = databases().await.remove(0);
    // More than one piece.
    for _ in 0..4 {
        fill(&db.store).await;
    }
    db.change("UPDATE events SET data = (SELECT '\"' || hex(zeroblob(400000)) || '\"')").await;
    let place = Place::new();
    place.back_up(&db).await;
    let whole = std::fs::read(place.file()).unwrap();
    assert!(whole.len() > 3 << 20, "{} bytes", whole.len());
    let places = [0, 14, 15, 46, 47, 78, 79, 82, 83, 100, 1 << 20, (1 << 20) + 120, 2 << 20];
    for at in places.into_iter().chain([whole.len() - 1]) {
        let mut changed = whole.clone();
        changed[at] ^= 4;
        std::fs::write(place.file(), &changed).unwrap();
        let error = place.restore_to(&place.folder()).await.err().unwrap();
        let known = ["changed", "another version", "cut off"];
        assert!(known.iter().any(|word| error.contains(word)), "byte {at}: {error}");
    }
    // The first piece is all of it, or two of them: whole pieces are missing, nothing else.
    let piece = u32::from_le_bytes(whole[79..83].try_into().unwrap()) as usize + 4;
    for length in [0, 20, 79, 81, 200, 79 + piece, 79 + 2 * piece, whole.len() - 1] {
        std::fs::write(place.file(), &whole[..length]).unwrap();
        let error = place.restore_to(&place.folder()).await.err().unwrap();
        assert!(error.contains("cut off"), "{length} bytes: {error}");
    }
    let swapped = [&whole[..79], &whole[79 + piece..79 + 2 * piece], &whole[79..79 + piece]];
    for other in [swapped.concat(), [&whole[..], &whole[79..79 + piece]].concat()] {
        std::fs::write(place.file(), other).unwrap();
        let error = place.restore_to(&place.folder()).await.err().unwrap();
        assert!(error.contains("changed"), "{error}");
    }
    assert!(!new_folder(&place.dir).exists(), "nothing was made");
    std::fs::write(place.file(), whole).unwrap();
    place.restore_to(&place.folder()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_keys_are_needed() {
    let db = databases().await.remove(0);
    fill(&db.store).await;
    let place = Place::new();
    place.back_up(&db).await;
    let other = BackupKey::from_text(&"ab".repeat(32)).unwrap();
    let error = restore(&place.file(), &other, &place.folder(), &place.server_key()).await;
    assert!(error.err().unwrap().to_string().contains("another key"));
    // Another server key is there.
    let there = KeySource::Given("cd".repeat(32).into());
    let error = restore(&place.file(), &place.key(), &place.folder(), &there).await;
    assert!(error.err().unwrap().to_string().contains("is not the one of the backup"));
    // The backup has none, and none is there.
    db.store.back_up(&place.file(), &place.key(), None, at(5)).await.unwrap();
    let error = place.restore_to(&place.folder()).await.err().unwrap();
    assert!(error.contains("holds no server key"), "{error}");
    assert!(!new_folder(&place.dir).exists(), "nothing was made");
    restore(&place.file(), &place.key(), &place.folder(), &db.key).await.unwrap();
    let key = db.key.clone();
    let KeySource::File(path) = key else { panic!() };
    let secret = std::fs::read(path).unwrap();
    let backup = std::fs::read(place.file()).unwrap();
    let leaked = |what: &[u8]| backup.windows(what.len()).any(|window| window == what);
    assert!(!leaked(&secret[..64]) && !leaked(b"person ") && !leaked(b"Mina"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_empty_stays_as_it_is() {
    on_both(async |db| {
        fill(&db.store).await;
        let place = Place::new();
        place.back_up(db).await;
        fill(&db.store).await;
        let before = contents(&db.raw).await;
        let error = restore(&place.file(), &place.key(), &db.location, &db.key).await;
        let error = error.err().unwrap().to_string();
        assert!(error.contains("is not empty"), "{error}");
        assert_eq!(contents(&db.raw).await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_fit_takes_all_others_back() {
    let db = databases().await.remove(0);
    fill(&db.store).await;
    // The last table to be restored holds what only SQLite takes, so everything else is in by then.
    db.change(
        "PRAGMA foreign_keys = OFF; INSERT INTO deliveries (id, webhook, event, state, attempt, next_at, created_at) \
         VALUES ('d', 'no such webhook', 1, 'due', 0, 0, 0)",
    )
    .await;
    let place = Place::new();
    place.back_up(&db).await;
    for target in targets(&place).await {
        place.restore_to(&target).await.err().unwrap();
        let pool = raw(&target).await;
        let row = sqlx::query("SELECT COUNT(*) FROM people").fetch_one(&pool).await.unwrap();
        assert_eq!(row.try_get::<i64, _>(0).unwrap(), 0);
        let row = sqlx::query("SELECT COUNT(*) FROM audit").fetch_one(&pool).await.unwrap();
        assert_eq!(row.try_get::<i64, _>(0).unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_changed_is_told() {
    let db = databases().await.remove(0);
    fill(&db.store).await;
    db.change("UPDATE audit SET detail = 'nothing' WHERE seq = 2").await;
    let place = Place::new();
    place.back_up(&db).await;
    let restored = place.restore_to(&place.folder()).await.unwrap();
    assert_eq!(restored.log, Chain::Broken { seq: 2 });
}
