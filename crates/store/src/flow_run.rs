//! Browsers on their way through a flow (CO-304).

use portcullis_core::clock::Timestamp;
use portcullis_core::keys::Digest;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, maybe};

/// How far a browser has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRun {
    /// Versioned JSON, sealed for `flow_run:<digest in hex>:state`.
    pub state_sealed: Vec<u8>,
    /// Counts the changes.
    pub revision: i64,
}

impl Record for FlowRun {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self { state_sealed: row.bytes("state_sealed")?, revision: row.integer("revision")? })
    }
}

/// The run of the browser with this cookie, unless it has expired by `now`.
///
/// # Errors
/// When the database fails.
pub async fn by_digest(conn: &mut Conn, digest: &Digest, now: Timestamp) -> Result<Option<FlowRun>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT state_sealed, revision FROM flow_run WHERE digest = $1 AND expires > $2")
        .bind(digest.as_slice()).bind(now.0).fetch_optional(c).await))
}

/// Keeps a run of a browser that was at none.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, digest: &Digest, state: &[u8], expires: Timestamp) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("INSERT INTO flow_run (digest, state_sealed, revision, expires) VALUES ($1, $2, 1, $3)")
        .bind(digest.as_slice()).bind(state).bind(expires.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Keeps a run in place of the one that is there. Tells whether that was still at `revision`: of two answers at once, one
/// counts.
///
/// # Errors
/// When the database fails.
pub async fn replace(
    conn: &mut Conn,
    digest: &Digest,
    revision: i64,
    state: &[u8],
    expires: Timestamp,
) -> Result<bool, StoreError> {
    let replaced = on!(conn, c => sqlx::query(
        "UPDATE flow_run SET state_sealed = $3, revision = revision + 1, expires = $4 WHERE digest = $1 AND revision = $2",
    ).bind(digest.as_slice()).bind(revision).bind(state).bind(expires.0).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(replaced > 0)
}

/// Removes a run. Tells whether it was there and still at `revision`: of two answers at once, one counts.
///
/// # Errors
/// When the database fails.
pub async fn take(conn: &mut Conn, digest: &Digest, revision: i64) -> Result<bool, StoreError> {
    let taken = on!(conn, c => sqlx::query("DELETE FROM flow_run WHERE digest = $1 AND revision = $2")
        .bind(digest.as_slice()).bind(revision).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(taken > 0)
}

/// Removes a run, however far it is.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, digest: &Digest) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM flow_run WHERE digest = $1")
        .bind(digest.as_slice()).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes runs that have expired by `now`, at most `limit`; tells how many.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
    Ok(on!(conn, c => sqlx::query(
        "DELETE FROM flow_run WHERE digest IN (SELECT digest FROM flow_run WHERE expires <= $1 LIMIT $2)",
    ).bind(now.0).bind(limit).execute(c).await.map(|done| done.rows_affected()))?)
}
