//! `docs/reference/plan.schema.json` is what the types say.

use std::path::Path;

use super::Document;

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let schema = schemars::schema_for!(Document);
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/plan.schema.json");
    if std::env::var_os("GARIM_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{} is not what the types of a plan say; if the change is meant, run the tests with \
         GARIM_UPDATE_SNAPSHOTS=1",
        path.display()
    );
}
