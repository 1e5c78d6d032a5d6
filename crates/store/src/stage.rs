//! What can be set about the steps of the flows (CO-306).

use serde_json::Value;
use uuid::Uuid;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many};

/// A step of the flows, by its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Key, stable per installation.
    pub pk: Uuid,
    /// Unique name, by which blueprints address it.
    pub name: String,
    /// Its kind, as in `authentik_stages_password.passwordstage`.
    pub model: String,
    /// What is set: a JSON object.
    pub tunables: Value,
}

impl Record for Stage {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.parsed("pk")?,
            name: row.text("name")?,
            model: row.text("model")?,
            tunables: row.json("tunables")?,
        })
    }
}

/// All stages, by name.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut Conn) -> Result<Vec<Stage>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM stage ORDER BY name").fetch_all(c).await))
}

/// Keeps a new stage.
///
/// # Errors
/// [`StoreError::Taken`] when the name exists; else when the database fails.
pub async fn insert(conn: &mut Conn, stage: &Stage) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("INSERT INTO stage (pk, name, model, tunables) VALUES ($1, $2, $3, $4)")
        .bind(stage.pk.to_string())
        .bind(&stage.name)
        .bind(&stage.model)
        .bind(stage.tunables.to_string())
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Stores what is set about a stage.
///
/// # Errors
/// When the database fails.
pub async fn set_tunables(conn: &mut Conn, pk: Uuid, tunables: &Value) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE stage SET tunables = $2 WHERE pk = $1")
        .bind(pk.to_string()).bind(tunables.to_string()).execute(c).await.map(drop))?;
    Ok(())
}
