//! Devices that wait for somebody to let them in (OA section 12). Both codes are kept as keyed digests.

use portcullis_core::clock::Timestamp;
use portcullis_core::id::{ProviderPk, UserPk};
use portcullis_core::keys::Digest;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, maybe};

/// A device that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCode {
    /// Keyed digest of the code that the device has, `Purpose::GrantLookup`.
    pub digest: Vec<u8>,
    /// Keyed digest of the code that people type, `Purpose::GrantLookup`.
    pub user_code: Vec<u8>,
    /// The client.
    pub provider: ProviderPk,
    /// Scopes to be granted, joined by spaces.
    pub scope: String,
    /// When it ends.
    pub expires: Timestamp,
    /// Time between two questions of the device, in seconds.
    pub pause_seconds: i64,
    /// When it asked last.
    pub asked: Option<Timestamp>,
    /// Who answered for it.
    pub account: Option<UserPk>,
    /// Whether that was a no.
    pub denied: bool,
    /// How they had proved who they are.
    pub auth_method: Option<String>,
    /// Whether they had shown a second factor.
    pub second_factor: bool,
    /// When they had.
    pub auth_time: Option<Timestamp>,
}

impl Record for DeviceCode {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            digest: row.bytes("digest")?,
            user_code: row.bytes("user_code")?,
            provider: ProviderPk(row.small("provider")?),
            scope: row.text("scope")?,
            expires: row.instant("expires")?,
            pause_seconds: row.integer("pause_seconds")?,
            asked: row.instant_or_null("asked")?,
            account: row.small_or_null("account")?.map(UserPk),
            denied: row.flag("denied")?,
            auth_method: row.text_or_null("auth_method")?,
            second_factor: row.flag("second_factor")?,
            auth_time: row.instant_or_null("auth_time")?,
        })
    }
}

/// Keeps a new code. Tells whether it could be: nobody else may have the same one to type.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, code: &DeviceCode) -> Result<bool, StoreError> {
    Ok(on!(conn, c => sqlx::query(
        "INSERT INTO device_code (digest, user_code, provider, scope, expires, pause_seconds, denied, second_factor)
         VALUES ($1, $2, $3, $4, $5, $6, FALSE, FALSE) ON CONFLICT DO NOTHING",
    )
    .bind(&code.digest)
    .bind(&code.user_code)
    .bind(code.provider.0)
    .bind(&code.scope)
    .bind(code.expires.0)
    .bind(code.pause_seconds)
    .execute(c).await.map(|done| done.rows_affected() == 1))?)
}

/// The device with this code, ended or not.
///
/// # Errors
/// When the database fails.
pub async fn by_digest(conn: &mut Conn, digest: &Digest) -> Result<Option<DeviceCode>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM device_code WHERE digest = $1")
        .bind(digest.as_slice()).fetch_optional(c).await))
}

/// The device whose code somebody typed, if it still waits for an answer.
///
/// # Errors
/// When the database fails.
pub async fn by_user_code(conn: &mut Conn, digest: &Digest, now: Timestamp) -> Result<Option<DeviceCode>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "SELECT * FROM device_code WHERE user_code = $1 AND expires > $2 AND account IS NULL",
    ).bind(digest.as_slice()).bind(now.0).fetch_optional(c).await))
}

/// Notes that a device asked, and how long it is to wait now.
///
/// # Errors
/// When the database fails.
pub async fn asked(conn: &mut Conn, digest: &[u8], now: Timestamp, pause_seconds: i64) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE device_code SET asked = $2, pause_seconds = $3 WHERE digest = $1")
        .bind(digest).bind(now.0).bind(pause_seconds).execute(c).await.map(drop))?;
    Ok(())
}

/// An answer to a device.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Who answers.
    pub account: UserPk,
    /// Whether it is a no.
    pub denied: bool,
    /// How they proved who they are.
    pub auth_method: &'a str,
    /// Whether they showed a second factor.
    pub second_factor: bool,
    /// When they did.
    pub auth_time: Timestamp,
}

/// Answers a device that still waits: exactly one of several answers counts. Tells whether this one does.
///
/// # Errors
/// When the database fails.
pub async fn answer(conn: &mut Conn, digest: &[u8], now: Timestamp, answer: &Answer<'_>) -> Result<bool, StoreError> {
    Ok(on!(conn, c => sqlx::query(
        "UPDATE device_code SET account = $2, denied = $3, auth_method = $4, auth_time = $5, second_factor = $6
         WHERE digest = $1 AND account IS NULL AND expires > $7",
    )
    .bind(digest)
    .bind(answer.account.0)
    .bind(answer.denied)
    .bind(answer.auth_method)
    .bind(answer.auth_time.0)
    .bind(answer.second_factor)
    .bind(now.0)
    .execute(c).await.map(|done| done.rows_affected() == 1))?)
}

/// Uses a code up: exactly one of several callers is told that it was there (OA-376).
///
/// # Errors
/// When the database fails.
pub async fn take(conn: &mut Conn, digest: &[u8]) -> Result<bool, StoreError> {
    Ok(on!(conn, c => sqlx::query("DELETE FROM device_code WHERE digest = $1")
        .bind(digest).execute(c).await.map(|done| done.rows_affected() == 1))?)
}

/// Removes codes that had ended by `before`, at most `limit`; tells how many.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
    Ok(on!(conn, c => sqlx::query(
        "DELETE FROM device_code WHERE digest IN (SELECT digest FROM device_code WHERE expires <= $1 LIMIT $2)",
    ).bind(before.0).bind(limit).execute(c).await.map(|done| done.rows_affected()))?)
}
