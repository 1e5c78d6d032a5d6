//! What was revoked lately: for outposts elsewhere, and for other processes that serve the same database (PX-409).
//!
//! Rows are written in the transaction of the change that they tell of, as its last statement. `seq` grows in the order
//! in which they can be read, because every transaction that writes has its turn ([`Db::write`](crate::Db::write)).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::ProviderPk;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many};

/// Something that identities may have rested on, and no longer may without another look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its number. There may be gaps.
    pub seq: i64,
    /// When it happened.
    pub created: Timestamp,
    /// What was touched: a word of the services.
    pub kind: String,
    /// Which one: an id; empty when there is only one.
    pub value: String,
    /// The only provider that it concerns, if that is so.
    pub provider: Option<ProviderPk>,
}

impl Record for Revocation {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            seq: row.integer("seq")?,
            created: row.instant("created")?,
            kind: row.text("kind")?,
            value: row.text("value")?,
            provider: row.small_or_null("provider")?.map(ProviderPk),
        })
    }
}

/// Adds one.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    conn: &mut Conn,
    created: Timestamp,
    kind: &str,
    value: &str,
    provider: Option<ProviderPk>,
) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("INSERT INTO revocation (created, kind, value, provider) VALUES ($1, $2, $3, $4)")
        .bind(created.0).bind(kind).bind(value).bind(provider.map(|pk| pk.0)).execute(c).await.map(drop))?;
    Ok(())
}

/// Those after `seq`, oldest first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn since(conn: &mut Conn, seq: i64, limit: i64) -> Result<Vec<Revocation>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM revocation WHERE seq > $1 ORDER BY seq LIMIT $2")
        .bind(seq).bind(limit).fetch_all(c).await))
}

/// The number of the latest one; 0 when there never was any.
///
/// # Errors
/// When the database fails.
pub async fn latest(conn: &mut Conn) -> Result<i64, StoreError> {
    let latest: Option<i64> = on!(conn, c => sqlx::query_scalar("SELECT max(seq) FROM revocation").fetch_one(c).await)?;
    Ok(latest.unwrap_or_default())
}

/// The number of the oldest one that is kept; 0 when there never was any.
///
/// # Errors
/// When the database fails.
pub async fn earliest(conn: &mut Conn) -> Result<i64, StoreError> {
    let earliest: Option<i64> =
        on!(conn, c => sqlx::query_scalar("SELECT min(seq) FROM revocation").fetch_one(c).await)?;
    Ok(earliest.unwrap_or_default())
}

/// Removes those that happened before `before`, at most `limit`; tells how many. The latest one stays, so that numbers
/// go on from it.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
    Ok(on!(conn, c => sqlx::query(
        "DELETE FROM revocation WHERE seq IN (
             SELECT seq FROM revocation WHERE created < $1 AND seq < (SELECT max(seq) FROM revocation)
             ORDER BY seq LIMIT $2)",
    ).bind(before.0).bind(limit).execute(c).await.map(|done| done.rows_affected()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    /// PX-409: numbers only grow, also when everything old is removed.
    #[tokio::test]
    async fn px_409_numbers_only_grow() {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&directory.path().join("test.db")).await.unwrap();
        let mut tx = db.write().await.unwrap();
        assert_eq!((earliest(&mut tx).await.unwrap(), latest(&mut tx).await.unwrap()), (0, 0));
        for second in 1..=3 {
            insert(&mut tx, Timestamp::from_seconds(second), "session", &second.to_string(), None).await.unwrap();
        }
        let last = latest(&mut tx).await.unwrap();
        let missed = since(&mut tx, last - 2, 10).await.unwrap();
        assert_eq!(missed.iter().map(|row| row.value.as_str()).collect::<Vec<_>>(), ["2", "3"]);
        assert_eq!(since(&mut tx, 0, 1).await.unwrap().len(), 1);
        assert_eq!(sweep(&mut tx, Timestamp::from_seconds(100), 10).await.unwrap(), 2);
        assert_eq!((earliest(&mut tx).await.unwrap(), latest(&mut tx).await.unwrap()), (last, last));
        insert(&mut tx, Timestamp::from_seconds(101), "provider", "7", Some(ProviderPk(7))).await.unwrap();
        assert!(latest(&mut tx).await.unwrap() > last);
    }
}
