//! Failed attempts, counted in windows (OA-680). Counters survive a restart (OA-681, CO-442).

use portcullis_core::clock::Timestamp;
use portcullis_core::keys::Digest;

use crate::db::{Conn, on};
use crate::error::StoreError;

/// A counter whose window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many there were.
    pub count: i64,
    /// When they are forgotten.
    pub window_ends: Timestamp,
}

/// The failures counted in one bucket, unless its window is over by `now`.
///
/// # Errors
/// When the database fails.
pub async fn of(conn: &mut Conn, bucket: &Digest, now: Timestamp) -> Result<Option<Failures>, StoreError> {
    let found: Option<(i64, i64)> = on!(conn, c => sqlx::query_as(
        "SELECT failures, window_ends FROM failure WHERE bucket = $1 AND window_ends > $2",
    ).bind(bucket.as_slice()).bind(now.0).fetch_optional(c).await)?;
    Ok(found.map(|(count, window_ends)| Failures { count, window_ends: Timestamp(window_ends) }))
}

/// Counts one more failure, in the open window or in a new one that ends at `window_ends`.
///
/// # Errors
/// When the database fails.
pub async fn add(conn: &mut Conn, bucket: &Digest, now: Timestamp, window_ends: Timestamp) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO failure (bucket, failures, window_ends) VALUES ($1, 1, $3)
         ON CONFLICT (bucket) DO UPDATE SET
             failures = CASE WHEN failure.window_ends > $2 THEN failure.failures + 1 ELSE 1 END,
             window_ends = CASE WHEN failure.window_ends > $2 THEN failure.window_ends ELSE $3 END",
    ).bind(bucket.as_slice()).bind(now.0).bind(window_ends.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Forgets the failures of one bucket.
///
/// # Errors
/// When the database fails.
pub async fn clear(conn: &mut Conn, bucket: &Digest) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM failure WHERE bucket = $1")
        .bind(bucket.as_slice()).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes counters whose window is over by `now`.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, now: Timestamp) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM failure WHERE window_ends <= $1")
        .bind(now.0).execute(c).await.map(drop))?;
    Ok(())
}
