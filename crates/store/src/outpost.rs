//! Outposts, and the providers they serve.

use portcullis_core::id::{OutpostId, ProviderPk};
use serde_json::Value;

use crate::among;
use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, maybe};
use crate::select::{Listed, Select, Slice};

/// An outpost.
#[derive(Clone, Debug, PartialEq)]
pub struct Outpost {
    /// Key.
    pub pk: OutpostId,
    /// Unique name.
    pub name: String,
    /// `proxy`.
    pub kind: String,
    /// Settings, a JSON object kept as given (CO-593).
    pub config: Value,
    /// Permanent name of the outpost that comes with the installation.
    pub managed: Option<String>,
}

impl Record for Outpost {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.parsed("pk")?,
            name: row.text("name")?,
            kind: row.text("type")?,
            config: row.json("config")?,
            managed: row.text_or_null("managed")?,
        })
    }
}

/// The outpost with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: OutpostId) -> Result<Option<Outpost>, StoreError> {
    let pk = pk.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM outpost WHERE pk = $1").bind(pk).fetch_optional(c).await))
}

/// The outpost with this permanent name.
///
/// # Errors
/// When the database fails.
pub async fn by_managed(conn: &mut Conn, managed: &str) -> Result<Option<Outpost>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM outpost WHERE managed = $1")
        .bind(managed).fetch_optional(c).await))
}

/// Keeps a new outpost.
///
/// # Errors
/// [`StoreError::Taken`] when the name exists; else when the database fails.
pub async fn insert(conn: &mut Conn, outpost: &Outpost) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("INSERT INTO outpost (pk, name, type, config, managed) VALUES ($1, $2, $3, $4, $5)")
        .bind(outpost.pk.to_string())
        .bind(&outpost.name)
        .bind(&outpost.kind)
        .bind(outpost.config.to_string())
        .bind(&outpost.managed)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Stores name and settings of an outpost.
///
/// # Errors
/// [`StoreError::Taken`] when the name is another's; else when the database fails.
pub async fn update(conn: &mut Conn, outpost: &Outpost) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE outpost SET name = $2, config = $3 WHERE pk = $1")
        .bind(outpost.pk.to_string())
        .bind(&outpost.name)
        .bind(outpost.config.to_string())
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Deletes an outpost.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: OutpostId) -> Result<(), StoreError> {
    let pk = pk.to_string();
    on!(conn, c => sqlx::query("DELETE FROM outpost WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}

/// Keys of the providers that an outpost serves, ascending.
///
/// # Errors
/// When the database fails.
pub async fn provider_keys(conn: &mut Conn, pk: OutpostId) -> Result<Vec<ProviderPk>, StoreError> {
    let pk = pk.to_string();
    let keys: Vec<i32> = on!(conn, c => sqlx::query_scalar(
        "SELECT provider FROM outpost_provider WHERE outpost = $1 ORDER BY provider",
    ).bind(pk).fetch_all(c).await)?;
    Ok(keys.into_iter().map(ProviderPk).collect())
}

/// Replaces the providers that an outpost serves.
///
/// # Errors
/// When a provider does not exist, or the database fails.
pub async fn set_providers(conn: &mut Conn, pk: OutpostId, providers: &[ProviderPk]) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("DELETE FROM outpost_provider WHERE outpost = $1")
        .bind(pk.to_string()).execute(c).await.map(drop))?;
    for provider in providers {
        attach(conn, pk, *provider).await?;
    }
    Ok(())
}

/// Adds a provider to those that an outpost serves; nothing happens when it is one.
///
/// # Errors
/// When the provider does not exist, or the database fails.
pub async fn attach(conn: &mut Conn, pk: OutpostId, provider: ProviderPk) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("INSERT INTO outpost_provider (outpost, provider) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(pk.to_string()).bind(provider.0).execute(c).await.map(drop))?;
    Ok(())
}

/// Which outposts serve these providers: names by key of the provider, names of each ascending.
///
/// # Errors
/// When the database fails.
pub async fn names_by_provider(conn: &mut Conn, keys: &[ProviderPk]) -> Result<Vec<(ProviderPk, String)>, StoreError> {
    struct Link(ProviderPk, String);
    impl Record for Link {
        fn read(row: &impl Columns) -> sqlx::Result<Self> {
            Ok(Self(ProviderPk(row.small("provider")?), row.text("name")?))
        }
    }
    let statement = "SELECT outpost_provider.provider, outpost.name FROM outpost_provider
         JOIN outpost ON outpost.pk = outpost_provider.outpost
         WHERE outpost_provider.provider IN (?) ORDER BY outpost.name";
    let links: Vec<Link> = among::of(conn, statement, &[], keys.iter().map(|key| key.0)).await?;
    Ok(links.into_iter().map(|Link(provider, name)| (provider, name)).collect())
}

/// Whether any outpost but the one of this permanent name serves a provider.
///
/// # Errors
/// When the database fails.
pub async fn serves_besides(conn: &mut Conn, provider: ProviderPk, managed: &str) -> Result<bool, StoreError> {
    let others: i64 = on!(conn, c => sqlx::query_scalar(
        "SELECT count(*) FROM outpost_provider JOIN outpost ON outpost.pk = outpost_provider.outpost
         WHERE outpost_provider.provider = $1 AND (outpost.managed IS NULL OR outpost.managed <> $2)",
    ).bind(provider.0).bind(managed).fetch_one(c).await)?;
    Ok(others > 0)
}

/// Conditions on a list of outposts (CO-569). Absent and empty conditions hold for every outpost.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name, whatever its case.
    pub name: Option<String>,
    /// Part of the name, whatever its case.
    pub name_part: Option<String>,
    /// Permanent name, whatever its case.
    pub managed: Option<String>,
    /// Part of the permanent name, whatever its case.
    pub managed_part: Option<String>,
    /// Whether it serves no provider.
    pub without_providers: Option<bool>,
    /// It serves one of these providers.
    pub providers: Vec<ProviderPk>,
    /// Terms that must occur in the name (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What outposts can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Name,
    Type,
    Managed,
}

/// The outposts that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Outpost>, StoreError> {
    let mut select = Select::default();
    for (column, value) in [("name", &filter.name), ("managed", &filter.managed)] {
        if let Some(value) = value {
            select.same(column, value);
        }
    }
    for (column, value) in [("name", &filter.name_part), ("managed", &filter.managed_part)] {
        if let Some(value) = value {
            select.part(column, value);
        }
    }
    let serves = "EXISTS (SELECT 1 FROM outpost_provider WHERE outpost_provider.outpost = outpost.pk)";
    match filter.without_providers {
        Some(true) => select.always(&format!("NOT {serves}")),
        Some(false) => select.always(serves),
        None => {}
    }
    if !filter.providers.is_empty() {
        let keys: Vec<_> = filter.providers.iter().map(|pk| pk.0.to_string()).collect();
        // The keys are integers: they may stand in the text.
        select.always(&format!(
            "EXISTS (SELECT 1 FROM outpost_provider
                     WHERE outpost_provider.outpost = outpost.pk AND outpost_provider.provider IN ({}))",
            keys.join(", ")
        ));
    }
    select.search(&["name"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Name => "name",
            Order::Type => "type",
            Order::Managed => "managed",
        };
        select.order(column, *descending);
    }
    select.order("outpost.pk", false);
    select.list(conn, "outpost", slice).await
}
