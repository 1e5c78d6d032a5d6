//! Blueprints that are applied: of a file in the watched folder, or kept here (CO-733).

use portcullis_core::clock::Timestamp;
use portcullis_core::id::BlueprintId;
use serde_json::Value;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};
use crate::select::{Listed, Select, Slice};

/// A blueprint.
#[derive(Clone, Debug, PartialEq)]
pub struct Blueprint {
    /// Key.
    pub pk: BlueprintId,
    /// Unique name.
    pub name: String,
    /// Its file, relative to the watched folder; empty when its text is kept here.
    pub path: String,
    /// Its text, sealed; empty when it is in a file.
    pub content_sealed: Vec<u8>,
    /// What it is told besides, a JSON object, sealed.
    pub context_sealed: Vec<u8>,
    /// Whether it is applied when it changes.
    pub enabled: bool,
    /// What it says of itself: name and labels.
    pub metadata: Value,
    /// Models of what it touched, a JSON list.
    pub managed_models: Value,
    /// `successful`, `warning`, `error`, `orphaned` or `unknown`.
    pub status: String,
    /// When it was last applied; before the first time, when it was made.
    pub last_applied: Timestamp,
    /// Digest of the text that was last applied; empty before the first time.
    pub last_applied_hash: String,
}

impl Record for Blueprint {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.parsed("pk")?,
            name: row.text("name")?,
            path: row.text("path")?,
            content_sealed: row.bytes("content_sealed")?,
            context_sealed: row.bytes("context_sealed")?,
            enabled: row.flag("enabled")?,
            metadata: row.json("metadata")?,
            managed_models: row.json("managed_models")?,
            status: row.text("status")?,
            last_applied: row.instant("last_applied")?,
            last_applied_hash: row.text("last_applied_hash")?,
        })
    }
}

/// The blueprint with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: BlueprintId) -> Result<Option<Blueprint>, StoreError> {
    let pk = pk.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM blueprint WHERE pk = $1").bind(pk).fetch_optional(c).await))
}

/// All blueprints, by name.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut Conn) -> Result<Vec<Blueprint>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM blueprint ORDER BY name").fetch_all(c).await))
}

/// Keeps a new blueprint.
///
/// # Errors
/// [`StoreError::Taken`] when the name exists; else when the database fails.
pub async fn insert(conn: &mut Conn, blueprint: &Blueprint) -> Result<(), StoreError> {
    write(
        conn,
        "INSERT INTO blueprint (pk, name, path, content_sealed, context_sealed, enabled, metadata, managed_models,
             status, last_applied, last_applied_hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        blueprint,
    )
    .await
}

/// Stores every field of a blueprint; nothing happens when it is gone.
///
/// # Errors
/// [`StoreError::Taken`] when the name is another's; else when the database fails.
pub async fn update(conn: &mut Conn, blueprint: &Blueprint) -> Result<(), StoreError> {
    write(
        conn,
        "UPDATE blueprint SET name = $2, path = $3, content_sealed = $4, context_sealed = $5, enabled = $6,
             metadata = $7, managed_models = $8, status = $9, last_applied = $10, last_applied_hash = $11
         WHERE pk = $1",
        blueprint,
    )
    .await
}

async fn write(conn: &mut Conn, text: &'static str, blueprint: &Blueprint) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(text)
        .bind(blueprint.pk.to_string())
        .bind(&blueprint.name)
        .bind(&blueprint.path)
        .bind(&blueprint.content_sealed)
        .bind(&blueprint.context_sealed)
        .bind(blueprint.enabled)
        .bind(blueprint.metadata.to_string())
        .bind(blueprint.managed_models.to_string())
        .bind(&blueprint.status)
        .bind(blueprint.last_applied.0)
        .bind(&blueprint.last_applied_hash)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Deletes a blueprint. What it made stays.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: BlueprintId) -> Result<(), StoreError> {
    let pk = pk.to_string();
    on!(conn, c => sqlx::query("DELETE FROM blueprint WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}

/// Conditions on a list of blueprints (CO-576). Absent and empty conditions hold for every blueprint.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name, exactly.
    pub name: Option<String>,
    /// Path, exactly.
    pub path: Option<String>,
    /// Terms that must occur in the name or the path (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What blueprints can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Name,
    Path,
    Enabled,
    Status,
    LastApplied,
    LastAppliedHash,
}

/// The blueprints that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Blueprint>, StoreError> {
    let mut select = Select::default();
    if let Some(name) = &filter.name {
        select.text("name = ?", name);
    }
    if let Some(path) = &filter.path {
        select.text("path = ?", path);
    }
    select.search(&["name", "path"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Name => "name",
            Order::Path => "path",
            Order::Enabled => "enabled",
            Order::Status => "status",
            Order::LastApplied => "last_applied",
            Order::LastAppliedHash => "last_applied_hash",
        };
        select.order(column, *descending);
    }
    select.order("blueprint.pk", false);
    select.list(conn, "blueprint", slice).await
}
