//! What depends on the instance's root secret, column by column, for its replacement (CO-460).
//!
//! Whoever adds a column that is sealed or a keyed digest names it here; a test finds those that are missing.

use sqlx::AssertSqlSafe;

use crate::db::{Conn, on};
use crate::error::StoreError;

/// A sealed column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The table.
    pub table: &'static str,
    /// The column by which its rows are named in places.
    pub key: &'static str,
    /// The sealed column.
    pub column: &'static str,
    /// What the place of a value ends with, after table and key.
    pub part: &'static str,
}

impl Sealed {
    /// The place that the value of a row is sealed for.
    pub fn place(&self, key: &str) -> String {
        format!("{}:{key}:{}", self.table, self.part)
    }
}

const fn sealed(table: &'static str, key: &'static str, column: &'static str, part: &'static str) -> Sealed {
    Sealed { table, key, column, part }
}

/// What is opened with the old keys and sealed again.
pub const SEALED: [Sealed; 15] = [
    sealed("instance", "id", "key_check", "key_check"),
    sealed("account", "pk", "attributes_sealed", "attributes"),
    sealed("team", "pk", "attributes_sealed", "attributes"),
    sealed("token", "uuid", "key_sealed", "key"),
    sealed("certificate", "pk", "private_key_sealed", "private_key"),
    sealed("provider", "uuid", "client_secret_sealed", "client_secret"),
    sealed("provider", "uuid", "second_secret_sealed", "second_secret"),
    sealed("provider", "uuid", "cookie_secret_sealed", "cookie_secret"),
    sealed("oauth_source", "pk", "consumer_secret_sealed", "consumer_secret"),
    sealed("entitlement", "uuid", "attributes_sealed", "attributes"),
    sealed("brand", "pk", "attributes_sealed", "attributes"),
    sealed("authenticator", "pk", "seed_sealed", "seed"),
    sealed("signing_key", "kid", "private_key_sealed", "private_key"),
    sealed("blueprint", "pk", "content_sealed", "content"),
    sealed("blueprint", "pk", "context_sealed", "context"),
];

/// Tables whose rows are found by a digest of something that is stored nowhere: they end with the old keys.
pub const ENDED: [&str; 10] = [
    "login_session",
    "authorization_code",
    "access_token",
    "refresh_token",
    "device_code",
    "proxy_session",
    "failure",
    "flow_run",
    "recovery_code",
    "recovery_link",
];

/// The values of a sealed column, each with the key of its row. Rows without a value are left out.
///
/// # Errors
/// When the database fails.
pub async fn read(conn: &mut Conn, of: &Sealed) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let Sealed { table, key, column, .. } = of;
    let text = format!("SELECT CAST({key} AS TEXT), {column} FROM {table} WHERE length({column}) > 0 ORDER BY {key}");
    Ok(on!(conn, c => sqlx::query_as(AssertSqlSafe(text)).fetch_all(c).await)?)
}

/// Stores a value of a sealed column.
///
/// # Errors
/// When the database fails.
pub async fn write(conn: &mut Conn, of: &Sealed, key: &str, value: &[u8]) -> Result<(), StoreError> {
    let Sealed { table, key: name, column, .. } = of;
    let text = format!("UPDATE {table} SET {column} = $2 WHERE CAST({name} AS TEXT) = $1");
    on!(conn, c => sqlx::query(AssertSqlSafe(text)).bind(key).bind(value).execute(c).await.map(drop))?;
    Ok(())
}

/// Stores the digest that a token is found by. Its old key, which is a digest only, ends. Digests of attributes are
/// [`crate::account::set_attribute_digests`]'s.
///
/// # Errors
/// When the database fails.
pub async fn set_token_digest(conn: &mut Conn, uuid: &str, digest: &[u8]) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "UPDATE token SET key_digest = $2, old_key_digest = NULL, old_key_ends = NULL, old_key_used = NULL
         WHERE uuid = $1",
    ).bind(uuid).bind(digest).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes every row of the tables that end; tells how many.
///
/// # Errors
/// When the database fails.
pub async fn end(conn: &mut Conn) -> Result<u64, StoreError> {
    let mut removed = 0;
    // What clients know of sessions goes with the sessions.
    for table in ENDED.into_iter().chain(["rp_session"]) {
        let text = format!("DELETE FROM {table}");
        removed +=
            on!(&mut *conn, c => sqlx::query(AssertSqlSafe(text)).execute(c).await.map(|done| done.rows_affected()))?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    /// Binary columns that do not depend on the root secret.
    const PLAIN: [(&str, &str); 1] = [("signing_key", "certificate")];
    /// Digests of what is sealed beside them, or removed with them.
    const RECOMPUTED: [(&str, &str); 3] =
        [("token", "key_digest"), ("token", "old_key_digest"), ("account_attribute", "digest")];

    /// CO-460, CO-464: every column that is sealed or a keyed digest has its part in a replacement of the root
    /// secret; none is named that is not there.
    #[tokio::test]
    async fn co_460_no_sealed_column_is_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let db = Db::open_sqlite(&directory.path().join("portcullis.db")).await.expect("a database");
        let mut conn = db.read().await.expect("reads");
        let columns: Vec<(String, String)> = on!(&mut conn, c => sqlx::query_as(
            "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c
             WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\'
                 AND (c.type = 'BLOB' OR c.name LIKE '%\\_sealed' ESCAPE '\\')",
        ).fetch_all(c).await)
        .expect("reads");
        assert!(columns.len() > SEALED.len(), "{columns:?}");
        for (table, column) in &columns {
            let named = (table.as_str(), column.as_str());
            let known = SEALED.iter().any(|sealed| (sealed.table, sealed.column) == named)
                || ENDED.contains(&named.0)
                || PLAIN.contains(&named)
                || RECOMPUTED.contains(&named);
            assert!(known, "{table}.{column} is named nowhere in store::sealed");
        }
        for named in SEALED.iter().map(|sealed| (sealed.table, sealed.column)) {
            assert!(columns.iter().any(|(table, column)| (table.as_str(), column.as_str()) == named), "{named:?}");
        }
        for table in ENDED {
            assert!(columns.iter().any(|(known, _)| known == table), "{table}");
        }
    }
}
