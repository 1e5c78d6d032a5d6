//! Tables of both engines, held against each other.

use std::collections::BTreeMap;

use super::*;

/// Columns by table and name: type and whether there may be nothing; and the names of indexes.
type Schema = (BTreeMap<(String, String), (String, bool)>, Vec<String>);

/// CO-004: both engines have the same tables, columns and indexes; text compares by its bytes.
#[tokio::test]
async fn co_004_both_engines_have_the_same_tables() {
    let directory = tempfile::tempdir().expect("a directory");
    let sqlite = Place::new(Database::File { path: directory.path().join("p.db"), directory }).await;
    let postgres = Place::new(Database::Postgres { url: postgres::server().database() }).await;
    let (ours, theirs) = (of_sqlite(&sqlite.db).await, of_postgres(&postgres.db).await);
    for (column, kind) in &ours.0 {
        let same = theirs.0.get(column);
        // A number that is read as a large one is a large one there; here they all are.
        let large = same == Some(&("BIGINT".to_owned(), kind.1)) && kind.0 == "INTEGER";
        assert!(
            same == Some(kind) || large,
            "{column:?} of migrations/sqlite is {kind:?}, of migrations/postgres {same:?}"
        );
    }
    for column in theirs.0.keys() {
        assert!(ours.0.contains_key(column), "{column:?} is in migrations/postgres only");
    }
    assert_eq!(ours.1, theirs.1, "indexes");
}

async fn of_sqlite(db: &Db) -> Schema {
    let mut conn = db.read().await.expect("reads");
    let columns: Vec<(String, String, String, bool)> = on!(&mut conn, c => sqlx::query_as(
        "SELECT m.name, c.name, c.type, c.\"notnull\" OR c.pk > 0 FROM sqlite_master m, pragma_table_info(m.name) c
         WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%'",
    ).fetch_all(c).await)
    .expect("reads");
    let indexes = on!(&mut conn, c => sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name",
    ).fetch_all(c).await)
    .expect("reads");
    (columns.into_iter().map(|(table, name, kind, some)| ((table, name), (kind, some))).collect(), indexes)
}

async fn of_postgres(db: &Db) -> Schema {
    let mut conn = db.read().await.expect("reads");
    let columns: Vec<(String, String, String, bool)> = on!(&mut conn, c => sqlx::query_as(
        "SELECT table_name::text, column_name::text, upper(data_type) || coalesce(' ' || collation_name, ''), is_nullable = 'NO'
         FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'",
    ).fetch_all(c).await).expect("reads");
    let indexes = on!(&mut conn, c => sqlx::query_scalar(
        "SELECT indexname::text COLLATE \"C\" FROM pg_indexes WHERE schemaname = 'public'
             AND indexname NOT IN (SELECT conname FROM pg_constraint) ORDER BY 1",
    ).fetch_all(c).await)
    .expect("reads");
    let kind = |kind: &str| {
        match kind {
            "TEXT C" => "TEXT",
            "BYTEA" => "BLOB",
            other => other,
        }
        .to_owned()
    };
    (columns.into_iter().map(|(table, name, of, some)| ((table, name), (kind(&of), some))).collect(), indexes)
}
