//! The installation itself: one row.

use portcullis_core::clock::Timestamp;
use serde_json::Value;

use crate::db::{Conn, Db, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, maybe};

/// The installation.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Permanent id, random (CO-007).
    pub install_id: String,
    /// A constant sealed for `instance:1:key_check`: tells a wrong secret key.
    pub key_check: Vec<u8>,
    /// The administrator's settings: a JSON object.
    pub settings: Value,
    /// When the store was first used.
    pub created: Timestamp,
}

impl Record for Instance {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            install_id: row.text("install_id")?,
            key_check: row.bytes("key_check")?,
            settings: row.json("settings")?,
            created: row.instant("created")?,
        })
    }
}

/// The installation, unless the store is new.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn) -> Result<Option<Instance>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM instance WHERE id = 1").fetch_optional(c).await))
}

/// The sealed constant by which a wrong secret key is noticed, in the database of any release.
///
/// # Errors
/// When the database fails.
pub async fn key_check(db: &Db) -> Result<Option<Vec<u8>>, StoreError> {
    if !db.has_table("instance").await? {
        return Ok(None);
    }
    Ok(on!(&mut db.read().await?, c =>
        sqlx::query_scalar("SELECT key_check FROM instance WHERE id = 1").fetch_optional(c).await)?)
}

/// Makes a new store an installation.
///
/// # Errors
/// [`StoreError::Taken`] when it is one; else when the database fails.
pub async fn insert(conn: &mut Conn, instance: &Instance) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO instance (id, install_id, key_check, settings, created) VALUES (1, $1, $2, $3, $4)",
    )
    .bind(&instance.install_id)
    .bind(&instance.key_check)
    .bind(instance.settings.to_string())
    .bind(instance.created.0)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// How many changes other processes have announced.
///
/// # Errors
/// When the database fails.
pub async fn announced(conn: &mut Conn) -> Result<i64, StoreError> {
    let found =
        on!(conn, c => sqlx::query_scalar("SELECT announced FROM instance WHERE id = 1").fetch_optional(c).await)?;
    Ok(found.unwrap_or_default())
}

/// Announces a change to the process that serves the instance.
///
/// # Errors
/// When the database fails.
pub async fn announce(conn: &mut Conn) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE instance SET announced = announced + 1 WHERE id = 1").execute(c).await.map(drop))?;
    Ok(())
}

/// Stores the permanent id.
///
/// # Errors
/// When the database fails.
pub async fn set_install_id(conn: &mut Conn, install_id: &str) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE instance SET install_id = $1 WHERE id = 1")
        .bind(install_id).execute(c).await.map(drop))?;
    Ok(())
}

/// Stores the administrator's settings.
///
/// # Errors
/// When the database fails.
pub async fn set_settings(conn: &mut Conn, settings: &Value) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE instance SET settings = $1 WHERE id = 1")
        .bind(settings.to_string()).execute(c).await.map(drop))?;
    Ok(())
}
