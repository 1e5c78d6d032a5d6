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
    /// When it failed last.
    pub last: Timestamp,
    /// When the window ends and counting starts again.
    pub window_ends: Timestamp,
}

impl Record for Failures {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            count: row.integer("failures")?,
            last: row.instant("last")?,
            window_ends: row.instant("window_ends")?,
        })
    }
}

/// The failures of a bucket in its present window, if there are any.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn, bucket: &Digest, now: Timestamp) -> Result<Option<Failures>, StoreError> {
    maybe(on!(conn, c => sqlx::query(
        "SELECT failures, last, window_ends FROM failure WHERE bucket = $1 AND window_ends > $2",
    ).bind(bucket.as_slice()).bind(now.0).fetch_optional(c).await))
}

/// Buckets that are asked about together; of none there are no failures.
pub type Buckets<'a> = [Option<&'a Digest>; 4];

/// What was tried before, and when that is enough.
#[derive(Clone, Copy, Debug)]
pub struct Tried<'a> {
    /// Where it was counted.
    pub buckets: Buckets<'a>,
    /// From so many failures in a bucket on, nothing is told but that.
    pub enough: [i64; 4],
    /// The present instant.
    pub now: Timestamp,
}

impl Tried<'_> {
    /// Nobody wants to know.
    pub const NOTHING: Self = Self { buckets: [None; 4], enough: [i64::MAX; 4], now: Timestamp(0) };
}

/// The failures of up to four buckets, in their order, with one question.
///
/// # Errors
/// When the database fails.
pub async fn get_each(
    conn: &mut Conn,
    buckets: Buckets<'_>,
    now: Timestamp,
) -> Result<[Option<Failures>; 4], StoreError> {
    struct Of(Vec<u8>, Failures);
    impl Record for Of {
        fn read(row: &impl Columns) -> sqlx::Result<Self> {
            Ok(Self(row.bytes("bucket")?, Failures::read(row)?))
        }
    }
    let [first, second, third, fourth] = buckets.map(|bucket| bucket.map(Digest::as_slice));
    let found: Vec<Of> = many(on!(conn, c => sqlx::query(
        "SELECT bucket, failures, last, window_ends FROM failure
         WHERE bucket IN ($1, $2, $3, $4) AND window_ends > $5",
    ).bind(first).bind(second).bind(third).bind(fourth).bind(now.0).fetch_all(c).await))?;
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
    let counted = Counted { bucket, subject: None, limit: i64::MAX };
    add_up_to(conn, &counted, now, window_ends).await
}

/// What a failure counts for.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// The counter.
    pub bucket: &'a Digest,
    /// Keyed digest of the user name that it is about.
    pub subject: Option<&'a Digest>,
    /// From this failure on, each one moves the end of the window.
    pub limit: i64,
}

/// Counts one failure more, as [`add`] does. From the failure on that reaches the limit, the window ends at
/// `window_ends`, however long it has been open.
///
/// # Errors
/// When the database fails.
pub async fn add_up_to(
    conn: &mut Conn,
    counted: &Counted<'_>,
    now: Timestamp,
    window_ends: Timestamp,
) -> Result<Failures, StoreError> {
    let row = on!(conn, c => sqlx::query(
        "INSERT INTO failure (bucket, subject, failures, last, window_ends) VALUES ($1, $5, 1, $2, $3)
         ON CONFLICT (bucket) DO UPDATE SET
             failures = CASE WHEN failure.window_ends > $2 THEN failure.failures + 1 ELSE 1 END,
             last = $2,
             window_ends = CASE WHEN failure.window_ends > $2 AND failure.failures + 1 < $4
                 THEN failure.window_ends ELSE $3 END
         RETURNING failures, last, window_ends",
    )
    .bind(counted.bucket.as_slice())
    .bind(now.0)
    .bind(window_ends.0)
    .bind(counted.limit)
    .bind(counted.subject.map(|subject| subject.as_slice()))
    .fetch_one(c)
    .await
    .and_then(|row| Failures::read(&row)))?;
    Ok(row)
}

/// Forgets all failures that are about a user name. Tells how many counters there were.
///
/// # Errors
/// When the database fails.
pub async fn clear_subject(conn: &mut Conn, subject: &Digest) -> Result<u64, StoreError> {
    Ok(on!(conn, c => sqlx::query("DELETE FROM failure WHERE subject = $1")
        .bind(subject.as_slice()).execute(c).await.map(|done| done.rows_affected()))?)
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
