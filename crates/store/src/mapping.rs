//! Scope mappings (CO section 11).

use portcullis_core::id::{MappingId, ProviderPk};

use crate::among;
use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};
use crate::select::{Listed, Select, Slice};

/// A scope mapping: what claims a scope brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeMapping {
    /// Key.
    pub pk: MappingId,
    /// Unique name.
    pub name: String,
    /// The scope.
    pub scope_name: String,
    /// Shown at consent; empty means not shown.
    pub description: String,
    /// The expression.
    pub expression: String,
    /// Permanent name of a mapping that comes with the installation (CO-283).
    pub managed: Option<String>,
}

impl Record for ScopeMapping {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.parsed("pk")?,
            name: row.text("name")?,
            scope_name: row.text("scope_name")?,
            description: row.text("description")?,
            expression: row.text("expression")?,
            managed: row.text_or_null("managed")?,
        })
    }
}

/// The mapping with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: MappingId) -> Result<Option<ScopeMapping>, StoreError> {
    let pk = pk.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM scope_mapping WHERE pk = $1").bind(pk).fetch_optional(c).await))
}

/// The mapping with this permanent name.
///
/// # Errors
/// When the database fails.
pub async fn by_managed(conn: &mut Conn, managed: &str) -> Result<Option<ScopeMapping>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM scope_mapping WHERE managed = $1")
        .bind(managed).fetch_optional(c).await))
}

/// The mappings of a provider in the order in which they are evaluated: by scope, then name (CO-280).
///
/// # Errors
/// When the database fails.
pub async fn of_provider(conn: &mut Conn, provider: ProviderPk) -> Result<Vec<ScopeMapping>, StoreError> {
    let mut mappings: Vec<ScopeMapping> = many(on!(conn, c => sqlx::query(
        "SELECT scope_mapping.* FROM scope_mapping
         JOIN provider_mapping ON provider_mapping.mapping = scope_mapping.pk WHERE provider_mapping.provider = $1",
    ).bind(provider.0).fetch_all(c).await))?;
    // Here and not in SQL: collations differ between engines.
    mappings.sort_by(|left, right| (&left.scope_name, &left.name).cmp(&(&right.scope_name, &right.name)));
    Ok(mappings)
}

/// Keeps a new mapping.
///
/// # Errors
/// [`StoreError::Taken`] when the name exists; else when the database fails.
pub async fn insert(conn: &mut Conn, mapping: &ScopeMapping) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO scope_mapping (pk, name, scope_name, description, expression, managed)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(mapping.pk.to_string())
    .bind(&mapping.name)
    .bind(&mapping.scope_name)
    .bind(&mapping.description)
    .bind(&mapping.expression)
    .bind(&mapping.managed)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Stores every field of a mapping but key and permanent name.
///
/// # Errors
/// [`StoreError::Taken`] when the name is another's; else when the database fails.
pub async fn update(conn: &mut Conn, mapping: &ScopeMapping) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "UPDATE scope_mapping SET name = $2, scope_name = $3, description = $4, expression = $5 WHERE pk = $1",
    )
    .bind(mapping.pk.to_string())
    .bind(&mapping.name)
    .bind(&mapping.scope_name)
    .bind(&mapping.description)
    .bind(&mapping.expression)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Deletes a mapping; providers lose it (CO-594).
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: MappingId) -> Result<(), StoreError> {
    let pk = pk.to_string();
    on!(conn, c => sqlx::query("DELETE FROM scope_mapping WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}

/// The providers that have a mapping.
///
/// # Errors
/// When the database fails.
pub async fn providers(conn: &mut Conn, pk: MappingId) -> Result<Vec<ProviderPk>, StoreError> {
    let pk = pk.to_string();
    let keys: Vec<i32> = on!(conn, c => sqlx::query_scalar("SELECT provider FROM provider_mapping WHERE mapping = $1")
        .bind(pk).fetch_all(c).await)?;
    Ok(keys.into_iter().map(ProviderPk).collect())
}

/// Conditions on a list of mappings (CO-564, CO-565). Absent and empty conditions hold for every mapping.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name.
    pub name: Option<String>,
    /// Scope.
    pub scope_name: Option<String>,
    /// One of these permanent names.
    pub managed: Vec<String>,
    /// Whether it has no permanent name.
    pub unmanaged: Option<bool>,
    /// Terms that must occur in name or scope (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What mappings can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Name,
    ScopeName,
    Managed,
    Description,
    Expression,
}

/// The mappings that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<ScopeMapping>, StoreError> {
    let mut select = Select::default();
    if let Some(name) = &filter.name {
        select.text("name = ?", name);
    }
    if let Some(scope_name) = &filter.scope_name {
        select.text("scope_name = ?", scope_name);
    }
    select.any_text("managed IN (?)", &filter.managed);
    match filter.unmanaged {
        Some(true) => select.always("managed IS NULL"),
        Some(false) => select.always("managed IS NOT NULL"),
        None => {}
    }
    select.search(&["name", "scope_name"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Name => "name",
            Order::ScopeName => "scope_name",
            Order::Managed => "managed",
            Order::Description => "description",
            Order::Expression => "expression",
        };
        select.order(column, *descending);
    }
    select.order("scope_mapping.pk", false);
    select.list(conn, "scope_mapping", slice).await
}

/// The scopes of these providers; those of each in the order in which its mappings were given.
///
/// # Errors
/// When the database fails.
pub async fn scopes(conn: &mut Conn, keys: &[ProviderPk]) -> Result<Vec<(ProviderPk, String)>, StoreError> {
    struct Scope(ProviderPk, String);
    impl Record for Scope {
        fn read(row: &impl Columns) -> sqlx::Result<Self> {
            Ok(Self(ProviderPk(row.small("provider")?), row.text("scope_name")?))
        }
    }
    let statement = "SELECT provider_mapping.provider, scope_mapping.scope_name FROM provider_mapping
         JOIN scope_mapping ON scope_mapping.pk = provider_mapping.mapping
         WHERE provider_mapping.provider IN (?)
         ORDER BY provider_mapping.provider, provider_mapping.position, scope_mapping.pk";
    let scopes: Vec<Scope> = among::of(conn, statement, &[], keys.iter().map(|key| key.0)).await?;
    Ok(scopes.into_iter().map(|Scope(provider, scope)| (provider, scope)).collect())
}
