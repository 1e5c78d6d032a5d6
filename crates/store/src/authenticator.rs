//! What proves who somebody is besides the password: TOTP devices, recovery codes, security keys (CO-314, CO-315).

use std::collections::HashMap;

use portcullis_core::clock::Timestamp;
use portcullis_core::id::UserPk;
use portcullis_core::keys::Digest;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};

/// A second factor of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticator {
    /// Integer key, unique over all classes; never used again.
    pub pk: i32,
    /// Whose it is.
    pub account: UserPk,
    /// `totp`, `static` or `webauthn`.
    pub class: String,
    /// What its owner calls it.
    pub name: String,
    /// The seed of a TOTP device, sealed for `authenticator:<pk>:seed`; empty for others.
    pub seed_sealed: Vec<u8>,
    /// Digits of a TOTP code.
    pub digits: i32,
    /// Steps by which the device's clock was ahead when it was used last.
    pub drift: i32,
    /// The newest time step that was accepted.
    pub last_step: i64,
    /// When it was enrolled.
    pub created: Timestamp,
    /// When it was used last.
    pub last_used: Option<Timestamp>,
}

impl Record for Authenticator {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.small("pk")?,
            account: UserPk(row.small("account")?),
            class: row.text("class")?,
            name: row.text("name")?,
            seed_sealed: row.bytes("seed_sealed")?,
            digits: row.small("digits")?,
            drift: row.small("drift")?,
            last_step: row.integer("last_step")?,
            created: row.instant("created")?,
            last_used: row.instant_or_null("last_used")?,
        })
    }
}

/// A recovery code that has not been used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryCode {
    /// Random, of this code alone.
    pub salt: Vec<u8>,
    /// Keyed digest of salt and code.
    pub digest: Digest,
}

/// A user's second factors, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn of_account(conn: &mut Conn, account: UserPk) -> Result<Vec<Authenticator>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM authenticator WHERE account = $1 ORDER BY pk")
        .bind(account.0).fetch_all(c).await))
}

/// Everybody's second factors, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut Conn) -> Result<Vec<Authenticator>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM authenticator ORDER BY pk").fetch_all(c).await))
}

/// The second factor with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: i32) -> Result<Option<Authenticator>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM authenticator WHERE pk = $1").bind(pk).fetch_optional(c).await))
}

/// Keeps a new second factor under a fresh key, which it returns. Set its seed with [`set_seed`] afterwards: that is
/// sealed for a place that names the key.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, new: &Authenticator) -> Result<i32, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar(
        "INSERT INTO authenticator (account, class, name, seed_sealed, digits, drift, last_step, created, last_used)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING pk",
    )
    .bind(new.account.0)
    .bind(&new.class)
    .bind(&new.name)
    .bind(&new.seed_sealed)
    .bind(new.digits)
    .bind(new.drift)
    .bind(new.last_step)
    .bind(new.created.0)
    .bind(new.last_used.map(|at| at.0))
    .fetch_one(c)
    .await)?)
}

/// Stores the sealed seed of a TOTP device.
///
/// # Errors
/// When the database fails.
pub async fn set_seed(conn: &mut Conn, pk: i32, seed_sealed: &[u8]) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE authenticator SET seed_sealed = $2 WHERE pk = $1")
        .bind(pk).bind(seed_sealed).execute(c).await.map(drop))?;
    Ok(())
}

/// Accepts a time step of a TOTP device. Tells whether it is newer than every one that was accepted before.
///
/// # Errors
/// When the database fails.
pub async fn accept_step(conn: &mut Conn, pk: i32, step: i64, drift: i32, now: Timestamp) -> Result<bool, StoreError> {
    let done = on!(conn, c => sqlx::query(
        "UPDATE authenticator SET last_step = $2, drift = $3, last_used = $4 WHERE pk = $1 AND last_step < $2",
    ).bind(pk).bind(step).bind(drift).bind(now.0).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(done > 0)
}

/// Notes a use.
///
/// # Errors
/// When the database fails.
pub async fn used(conn: &mut Conn, pk: i32, now: Timestamp) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE authenticator SET last_used = $2 WHERE pk = $1")
        .bind(pk).bind(now.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Gives a user's second factor another name. Tells whether there is one.
///
/// # Errors
/// When the database fails.
pub async fn rename(conn: &mut Conn, account: UserPk, pk: i32, name: &str) -> Result<bool, StoreError> {
    let done = on!(conn, c => sqlx::query("UPDATE authenticator SET name = $3 WHERE pk = $1 AND account = $2")
        .bind(pk).bind(account.0).bind(name).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(done > 0)
}

/// Removes a user's second factor. Tells whether there was one.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, account: UserPk, pk: i32) -> Result<bool, StoreError> {
    let done = on!(conn, c => sqlx::query("DELETE FROM authenticator WHERE pk = $1 AND account = $2")
        .bind(pk).bind(account.0).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(done > 0)
}

/// Keeps the recovery codes of a second factor.
///
/// # Errors
/// When the database fails.
pub async fn insert_codes(conn: &mut Conn, pk: i32, codes: &[RecoveryCode]) -> Result<(), StoreError> {
    for code in codes {
        on!(conn, c => sqlx::query("INSERT INTO recovery_code (authenticator, salt, digest) VALUES ($1, $2, $3)")
            .bind(pk).bind(&code.salt).bind(code.digest.as_slice()).execute(c).await.map(drop))?;
    }
    Ok(())
}

/// Salts of the recovery codes that are left.
///
/// # Errors
/// When the database fails.
pub async fn code_salts(conn: &mut Conn, pk: i32) -> Result<Vec<Vec<u8>>, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar("SELECT salt FROM recovery_code WHERE authenticator = $1")
        .bind(pk).fetch_all(c).await)?)
}

/// How many recovery codes are left, by the second factor that they are.
///
/// # Errors
/// When the database fails.
pub async fn codes_left(conn: &mut Conn) -> Result<HashMap<i32, usize>, StoreError> {
    let codes: Vec<i32> = on!(conn, c => sqlx::query_scalar("SELECT authenticator FROM recovery_code")
        .fetch_all(c).await)?;
    let mut left = HashMap::new();
    codes.into_iter().for_each(|pk| *left.entry(pk).or_default() += 1);
    Ok(left)
}

/// Uses a recovery code up. Tells whether it was there.
///
/// # Errors
/// When the database fails.
pub async fn take_code(conn: &mut Conn, pk: i32, digest: &Digest) -> Result<bool, StoreError> {
    let done = on!(conn, c => sqlx::query("DELETE FROM recovery_code WHERE authenticator = $1 AND digest = $2")
        .bind(pk).bind(digest.as_slice()).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(done > 0)
}
