//! Attributes of users: sealed, and found by digests.

use portcullis_core::id::UserPk;
use sqlx::AssertSqlSafe;

use super::Account;
use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::many;

/// Digests that are stored with one statement: engines limit what it may have bound.
const DIGESTS_AT_ONCE: usize = 100;

/// Stores a user's sealed attributes, and the digests that the user is found by ([`super::Filter::attributes`]).
///
/// # Errors
/// When the database fails.
pub async fn set_attributes(conn: &mut Conn, pk: UserPk, sealed: &[u8], digests: &[Vec<u8>]) -> Result<(), StoreError> {
    on!(&mut *conn, c => sqlx::query("UPDATE account SET attributes_sealed = $2 WHERE pk = $1")
        .bind(pk.0).bind(sealed).execute(c).await.map(drop))?;
    set_attribute_digests(conn, pk, digests).await
}

/// Stores the digests of attributes that a user is found by.
///
/// # Errors
/// When the database fails.
pub async fn set_attribute_digests(conn: &mut Conn, pk: UserPk, digests: &[Vec<u8>]) -> Result<(), StoreError> {
    on!(&mut *conn, c => sqlx::query("DELETE FROM account_attribute WHERE account = $1")
        .bind(pk.0).execute(c).await.map(drop))?;
    for some in digests.chunks(DIGESTS_AT_ONCE) {
        let rows: Vec<_> = (2..some.len() + 2).map(|place| format!("($1, ${place})")).collect();
        let text = format!("INSERT INTO account_attribute (account, digest) VALUES {}", rows.join(", "));
        on!(&mut *conn, c => {
            let mut query = sqlx::query(AssertSqlSafe(text)).bind(pk.0);
            for digest in some {
                query = query.bind(digest);
            }
            query.execute(c).await.map(drop)
        })?;
    }
    Ok(())
}

/// Whether anybody has one of these digests of attributes.
///
/// # Errors
/// When the database fails.
pub async fn any_attribute(conn: &mut Conn, digests: &[Vec<u8>]) -> Result<bool, StoreError> {
    for digest in digests {
        let found: Option<i32> = on!(&mut *conn, c => sqlx::query_scalar(
            "SELECT account FROM account_attribute WHERE digest = $1 LIMIT 1",
        ).bind(digest).fetch_optional(c).await)?;
        if found.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The people who have this digest of attributes, two at most.
///
/// # Errors
/// When the database fails.
pub async fn with_attribute(conn: &mut Conn, digest: &[u8]) -> Result<Vec<Account>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT account.* FROM account_attribute JOIN account ON account.pk = account_attribute.account
         WHERE account_attribute.digest = $1 AND account.type IN ('internal', 'external') LIMIT 2",
    ).bind(digest).fetch_all(c).await))
}
