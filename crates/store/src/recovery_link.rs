//! Links that open the recovery flow, once (CO-324).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::UserPk;
use portcullis_core::keys::Digest;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, maybe};

/// A link that has not been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryLink {
    /// Whom it is for.
    pub account: UserPk,
    /// Who made it and has it in their hands, if that is not the user alone.
    pub maker: Option<UserPk>,
    /// When their password had been changed last when the link was made.
    pub password_changed: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

impl Record for RecoveryLink {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            account: UserPk(row.small("account")?),
            maker: row.small_or_null("maker")?.map(UserPk),
            password_changed: row.instant("password_changed")?,
            expires: row.instant("expires")?,
        })
    }
}

/// Keeps a new link.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, digest: &Digest, link: &RecoveryLink) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO recovery_link (digest, account, maker, password_changed, expires) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(digest.as_slice())
    .bind(link.account.0)
    .bind(link.maker.map(|maker| maker.0))
    .bind(link.password_changed.0)
    .bind(link.expires.0)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// The link with this digest, unless it has ended by `now` or the user's password was changed since. With a change of the
/// e-mail address it is gone ([`crate::account::update`]).
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn, digest: &Digest, now: Timestamp) -> Result<Option<RecoveryLink>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "SELECT recovery_link.* FROM recovery_link JOIN account ON account.pk = recovery_link.account
         WHERE digest = $1 AND expires > $2 AND account.password_changed = recovery_link.password_changed",
    ).bind(digest.as_slice()).bind(now.0).fetch_optional(c).await))
}

/// Uses a link up. Tells whether it was there.
///
/// # Errors
/// When the database fails.
pub async fn take(conn: &mut Conn, digest: &Digest) -> Result<bool, StoreError> {
    let taken = on!(conn, c => sqlx::query("DELETE FROM recovery_link WHERE digest = $1")
        .bind(digest.as_slice()).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(taken > 0)
}

/// Removes links that have ended by `now`, at most `limit`; tells how many.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
    Ok(on!(conn, c => sqlx::query(
        "DELETE FROM recovery_link WHERE digest IN (SELECT digest FROM recovery_link WHERE expires <= $1 LIMIT $2)",
    ).bind(now.0).bind(limit).execute(c).await.map(|done| done.rows_affected()))?)
}
