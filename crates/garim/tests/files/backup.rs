//! Backups on the command line: somebody who was enrolled is known where the backup was restored.

use crate::support::Scratch;

fn same(s: &Scratch, a: &str, b: &str) -> bool {
    s.read(a) == s.read(b)
}

#[test]
fn who_was_enrolled_is_kept_where_the_backup_was_restored() {
    let s = Scratch::new();
    s.clip("", "in.mp4");
    s.garim("people add Franck @clm/franck_02159.jpg --by Franck --how form").ok();
    s.garim("backup --new-key backup.key").ok();
    let again = s.garim("backup --new-key backup.key").error();
    assert!(again.contains("already"), "{again}");
    let made = s.garim("backup b --with-server-key --key-file backup.key --data store").ok().stdout;
    assert!(made.starts_with("b: ") && made.contains("without objects"), "{made}");
    let taken = s.garim("backup b --key-file backup.key --data store").error();
    assert!(taken.contains("exists"), "{taken}");

    // Into the place that it came from: it is not empty.
    let full = s.garim("restore b --key-file backup.key --data store").error();
    assert!(full.contains("not empty"), "{full}");
    // Everything there is lost but the backup and its key.
    std::fs::rename(s.path("store"), s.path("lost")).unwrap();
    let restored = s.garim("restore b --key-file backup.key --data store").ok().stdout;
    assert!(restored.contains("none changed or missing"), "{restored}");
    assert!(same(&s, "store/server.key", "lost/server.key"));
    s.mosaic("in.mp4", "--keep Franck");
    let checked = s.garim("audit verify").ok().stdout;
    assert!(checked.contains("none changed or missing"), "{checked}");
}

#[test]
fn a_backup_without_the_right_key_or_cut_off_restores_nothing() {
    let s = Scratch::new();
    s.garim("people add Franck @clm/franck_02159.jpg --by Franck --how form").ok();
    for key in ["a.key", "b.key"] {
        s.garim(&format!("backup --new-key {key}")).ok();
    }
    s.garim("backup b --with-server-key --key-file a.key --data store").ok();
    let without = s.garim("restore b --data new").error();
    assert!(without.contains("GARIM_BACKUP_KEY"), "{without}");
    let wrong = s.garim("restore b --key-file b.key --data new").error();
    assert!(wrong.contains("another key"), "{wrong}");
    let none = s.garim("backup c --key-file a.key --data nowhere").error();
    assert!(none.contains("there is no database"), "{none}");
    let whole = s.read("b");
    s.write("b", &whole[..whole.len() - 1]);
    let cut = s.garim("restore b --key-file a.key --data new").error();
    assert!(cut.contains("cut off"), "{cut}");
    assert!(!s.path("new/garim.db").exists() && !s.path("new/server.key").exists());
}
