//! Entitlements of applications (CO section 7).

use portcullis_core::id::{ApplicationId, EntitlementId};

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};
use crate::select::{Listed, Select, Slice};

/// An entitlement. Its key is also what bindings are bound to (CO-005).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    /// Key.
    pub uuid: EntitlementId,
    /// The application.
    pub application: ApplicationId,
    /// Name, which no other entitlement of the application has.
    pub name: String,
    /// JSON object, sealed.
    pub attributes_sealed: Vec<u8>,
}

impl Record for Entitlement {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            uuid: row.parsed("uuid")?,
            application: row.parsed("application")?,
            name: row.text("name")?,
            attributes_sealed: row.bytes("attributes_sealed")?,
        })
    }
}

/// The entitlement with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_uuid(conn: &mut Conn, uuid: EntitlementId) -> Result<Option<Entitlement>, StoreError> {
    let uuid = uuid.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM entitlement WHERE uuid = $1").bind(uuid).fetch_optional(c).await))
}

/// The entitlements of an application, by name.
///
/// # Errors
/// When the database fails.
pub async fn of_application(conn: &mut Conn, application: ApplicationId) -> Result<Vec<Entitlement>, StoreError> {
    let application = application.to_string();
    let mut found: Vec<Entitlement> = many(on!(conn, c => sqlx::query(
        "SELECT * FROM entitlement WHERE application = $1",
    ).bind(application).fetch_all(c).await))?;
    // Here and not in SQL: collations differ between engines.
    found.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(found)
}

/// Keeps a new entitlement.
///
/// # Errors
/// [`StoreError::Taken`] when the application has one of this name; else when the database fails.
pub async fn insert(conn: &mut Conn, entitlement: &Entitlement) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO entitlement (uuid, application, name, attributes_sealed) VALUES ($1, $2, $3, $4)",
    )
    .bind(entitlement.uuid.to_string())
    .bind(entitlement.application.to_string())
    .bind(&entitlement.name)
    .bind(&entitlement.attributes_sealed)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Stores every field of an entitlement.
///
/// # Errors
/// [`StoreError::Taken`] when the application has another one of this name; else when the database fails.
pub async fn update(conn: &mut Conn, entitlement: &Entitlement) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "UPDATE entitlement SET application = $2, name = $3, attributes_sealed = $4 WHERE uuid = $1",
    )
    .bind(entitlement.uuid.to_string())
    .bind(entitlement.application.to_string())
    .bind(&entitlement.name)
    .bind(&entitlement.attributes_sealed)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Deletes an entitlement. Its bindings are for the caller to delete.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, uuid: EntitlementId) -> Result<(), StoreError> {
    let uuid = uuid.to_string();
    on!(conn, c => sqlx::query("DELETE FROM entitlement WHERE uuid = $1").bind(uuid).execute(c).await.map(drop))?;
    Ok(())
}

/// Conditions on a list of entitlements (CO-553). Absent and empty conditions hold for every one.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Key.
    pub uuid: Option<EntitlementId>,
    /// Name.
    pub name: Option<String>,
    /// Application.
    pub application: Option<ApplicationId>,
    /// Terms that must occur in the name (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What entitlements can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Name,
    Application,
}

/// The entitlements that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Entitlement>, StoreError> {
    let mut select = Select::keyed("uuid");
    if let Some(uuid) = filter.uuid {
        select.text("uuid = ?", uuid.to_string());
    }
    if let Some(name) = &filter.name {
        select.text("name = ?", name);
    }
    if let Some(application) = filter.application {
        select.text("application = ?", application.to_string());
    }
    select.search(&["name"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "uuid",
            Order::Name => "name",
            Order::Application => "application",
        };
        select.order(column, *descending);
    }
    select.order("entitlement.uuid", false);
    select.list(conn, "entitlement", slice).await
}
