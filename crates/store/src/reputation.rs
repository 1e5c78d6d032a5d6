//! How those who tried to sign in under a name from an address have done (CO-440).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::ReputationId;
use serde_json::Value;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, maybe, storable};
use crate::select::{Listed, Select, Slice};

/// What is known of a name and an address.
#[derive(Clone, Debug, PartialEq)]
pub struct Reputation {
    /// Key.
    pub pk: ReputationId,
    /// The name that was given, existing or not.
    pub identifier: String,
    /// The client's address.
    pub ip: String,
    /// Successes less failures, within limits.
    pub score: i64,
    /// Where the address is; an empty object when that is not known.
    pub ip_geo_data: Value,
    /// Whose network the address is of; an empty object when that is not known.
    pub ip_asn_data: Value,
    /// When the score last changed.
    pub updated: Timestamp,
    /// When it is forgotten.
    pub expires: Timestamp,
}

impl Record for Reputation {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.parsed("pk")?,
            identifier: row.text("identifier")?,
            ip: row.text("ip")?,
            score: row.integer("score")?,
            ip_geo_data: row.json("ip_geo_data")?,
            ip_asn_data: row.json("ip_asn_data")?,
            updated: row.instant("updated")?,
            expires: row.instant("expires")?,
        })
    }
}

/// A change of a score.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// What is added.
    pub by: i64,
    /// The score is never below.
    pub lowest: i64,
    /// The score is never above.
    pub highest: i64,
}

/// Adds to the score of a name and an address, in one statement. A score that has expired starts again from
/// nothing. `row` is stored as it is where there was none, and gives the new instants.
///
/// # Errors
/// When the database fails.
pub async fn add(conn: &mut Conn, row: &Reputation, change: Change) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO reputation (pk, identifier, ip, score, ip_geo_data, ip_asn_data, updated, expires)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (identifier, ip) DO UPDATE SET
             score = CASE
                 WHEN reputation.expires <= $7 THEN $4
                 WHEN reputation.score + $9 < $10 THEN $10
                 WHEN reputation.score + $9 > $11 THEN $11
                 ELSE reputation.score + $9 END,
             ip_geo_data = $5, ip_asn_data = $6, updated = $7, expires = $8",
    )
    .bind(row.pk.to_string())
    .bind(storable(&row.identifier))
    .bind(&row.ip)
    .bind(row.score)
    .bind(row.ip_geo_data.to_string())
    .bind(row.ip_asn_data.to_string())
    .bind(row.updated.0)
    .bind(row.expires.0)
    .bind(change.by)
    .bind(change.lowest)
    .bind(change.highest)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// The sum of the scores of an address or a name; each row counts once.
///
/// # Errors
/// When the database fails.
pub async fn sum(
    conn: &mut Conn,
    ip: Option<&str>,
    identifier: Option<&str>,
    now: Timestamp,
) -> Result<i64, StoreError> {
    Ok(on!(conn, c => sqlx::query_scalar::<_, Option<i64>>(
        "SELECT CAST(sum(score) AS BIGINT) FROM reputation WHERE expires > $1 AND (ip = $2 OR identifier = $3)",
    )
    .bind(now.0)
    .bind(ip)
    .bind(identifier.map(storable))
    .fetch_one(c)
    .await)?
    .unwrap_or_default())
}

/// The row with this key, unless its time is over.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: ReputationId, now: Timestamp) -> Result<Option<Reputation>, StoreError> {
    let pk = pk.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM reputation WHERE pk = $1 AND expires > $2")
        .bind(pk).bind(now.0).fetch_optional(c).await))
}

/// Deletes a row.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: ReputationId) -> Result<(), StoreError> {
    let pk = pk.to_string();
    on!(conn, c => sqlx::query("DELETE FROM reputation WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}

/// Deletes the rows of a name; tells how many.
///
/// # Errors
/// When the database fails.
pub async fn delete_of(conn: &mut Conn, identifier: &str) -> Result<u64, StoreError> {
    Ok(on!(conn, c => sqlx::query("DELETE FROM reputation WHERE identifier = $1")
        .bind(identifier).execute(c).await.map(|done| done.rows_affected()))?)
}

/// Removes rows whose time is over, at most `limit`; tells how many.
///
/// # Errors
/// When the database fails.
pub async fn sweep(conn: &mut Conn, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
    Ok(on!(conn, c => sqlx::query(
        "DELETE FROM reputation WHERE pk IN (SELECT pk FROM reputation WHERE expires <= $1 LIMIT $2)",
    ).bind(now.0).bind(limit).execute(c).await.map(|done| done.rows_affected()))?)
}

/// Conditions on a list of rows (CO-563). Absent and empty conditions hold for every row.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name.
    pub identifier: Option<String>,
    /// One of these names.
    pub identifiers: Vec<String>,
    /// Address.
    pub ip: Option<String>,
    /// Score.
    pub score: Option<i32>,
    /// Terms that must occur in name or address (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What rows can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Identifier,
    Ip,
    Score,
    Updated,
}

/// The rows that meet conditions and whose time is not over.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    slice: Slice,
    now: Timestamp,
) -> Result<Listed<Reputation>, StoreError> {
    let mut select = Select::default();
    select.integer("expires > ?", now.0);
    if let Some(identifier) = &filter.identifier {
        select.text("identifier = ?", identifier);
    }
    select.any_text("identifier IN (?)", &filter.identifiers);
    if let Some(ip) = &filter.ip {
        select.text("ip = ?", ip);
    }
    if let Some(score) = filter.score {
        select.integer("score = ?", score.into());
    }
    select.search(&["identifier", "ip"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Identifier => "identifier",
            Order::Ip => "ip",
            Order::Score => "score",
            Order::Updated => "updated",
        };
        select.order(column, *descending);
    }
    select.order("reputation.pk", false);
    select.list(conn, "reputation", slice).await
}
