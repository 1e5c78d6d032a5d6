//! Failed attempts, counted in windows (OA-680, OA-681). A bucket is a keyed digest: it names nobody.

use portcullis_core::clock::Timestamp;
use portcullis_core::keys::Digest;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};

/// How often something failed in the present window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// So often.
    pub count: i64,
    /// When the window ends and counting starts again.
    pub window_ends: Timestamp,
}

impl Record for Failures {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self { count: row.integer("failures")?, window_ends: row.instant("window_ends")? })
    }
}

/// The failures of a bucket in its present window, if there are any.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn, bucket: &Digest, now: Timestamp) -> Result<Option<Failures>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "SELECT failures, window_ends FROM failure WHERE bucket = $1 AND window_ends > $2",
    ).bind(bucket.as_slice()).bind(now.0).fetch_optional(c).await))
}

/// The failures of up to three buckets, in their order, with one question.
///
/// # Errors
/// When the database fails.
pub async fn get_each(
    conn: &mut Conn,
    buckets: [Option<&Digest>; 3],
    now: Timestamp,
) -> Result<[Option<Failures>; 3], StoreError> {
    struct Of(Vec<u8>, Failures);
    impl Record for Of {
        fn read(row: &impl Columns) -> sqlx::Result<Self> {
            Ok(Self(row.bytes("bucket")?, Failures::read(row)?))
        }
    }
    let [first, second, third] = buckets.map(|bucket| bucket.map(Digest::as_slice));
    let found: Vec<Of> = many(on!(conn, c => sqlx::query(
        "SELECT bucket, failures, window_ends FROM failure WHERE bucket IN ($1, $2, $3) AND window_ends > $4",
    ).bind(first).bind(second).bind(third).bind(now.0).fetch_all(c).await))?;
    Ok(buckets.map(|bucket| {
        let bucket = bucket?;
        found.iter().find(|of| of.0 == bucket).map(|of| of.1)
    }))
}

/// Counts one failure more; a window that is over starts again and ends at `window_ends`.
///
/// # Errors
/// When the database fails.
pub async fn add(
    conn: &mut Conn,
    bucket: &Digest,
    now: Timestamp,
    window_ends: Timestamp,
) -> Result<Failures, StoreError> {
    let row = on!(conn, c => sqlx::query(
        "INSERT INTO failure (bucket, failures, window_ends) VALUES ($1, 1, $3)
         ON CONFLICT (bucket) DO UPDATE SET
             failures = CASE WHEN failure.window_ends > $2 THEN failure.failures + 1 ELSE 1 END,
             window_ends = CASE WHEN failure.window_ends > $2 THEN failure.window_ends ELSE $3 END
         RETURNING failures, window_ends",
    ).bind(bucket.as_slice()).bind(now.0).bind(window_ends.0).fetch_one(c).await.and_then(|row| Failures::read(&row)))?;
    Ok(row)
}

/// Forgets a bucket's failures.
///
/// # Errors
/// When the database fails.
pub async fn clear(conn: &mut Conn, bucket: &Digest) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM failure WHERE bucket = $1")
        .bind(bucket.as_slice()).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes windows that are over, at most `limit`; tells how many.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
    Ok(on!(conn, c => sqlx::query(
        "DELETE FROM failure WHERE bucket IN (SELECT bucket FROM failure WHERE window_ends <= $1 LIMIT $2)",
    ).bind(now.0).bind(limit).execute(c).await.map(|done| done.rows_affected()))?)
}
