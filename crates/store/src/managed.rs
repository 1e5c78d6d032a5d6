//! Permanent names of objects that something else than an administrator keeps (CO-736).

use sqlx::AssertSqlSafe;

use crate::db::{Conn, on};
use crate::error::StoreError;

/// Kinds of objects that may have a permanent name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum Kind {
    Certificate,
    Role,
    ScopeMapping,
    Token,
}

/// Gives an object a permanent name.
///
/// # Errors
/// [`StoreError::Taken`] when another has it; else when the database fails.
pub async fn set(conn: &mut Conn, kind: Kind, pk: &str, managed: &str) -> Result<(), StoreError> {
    let (table, key) = match kind {
        Kind::Certificate => ("certificate", "pk"),
        Kind::Role => ("role", "pk"),
        Kind::ScopeMapping => ("scope_mapping", "pk"),
        Kind::Token => ("token", "uuid"),
    };
    let text = format!("UPDATE {table} SET managed = $2 WHERE {key} = $1");
    on!(conn, c => sqlx::query(AssertSqlSafe(text)).bind(pk).bind(managed).execute(c).await.map(drop))?;
    Ok(())
}
