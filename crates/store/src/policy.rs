//! Policies (CO section 9).

use portcullis_core::id::PolicyId;
use serde_json::Value;
use uuid::Uuid;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};
use crate::select::{Select, Slice, Visible};

/// A policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Key.
    pub pk: PolicyId,
    /// Unique name.
    pub name: String,
    /// Which kind: `expression`, `password` and so on.
    pub kind: String,
    /// Whether every evaluation is recorded (CO-178).
    pub execution_logging: bool,
    /// JSON object of the kind's own fields.
    pub settings: Value,
}

impl Record for Policy {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.parsed("pk")?,
            name: row.text("name")?,
            kind: row.text("kind")?,
            execution_logging: row.flag("execution_logging")?,
            settings: row.json("settings")?,
        })
    }
}

/// The policy with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: PolicyId) -> Result<Option<Policy>, StoreError> {
    let pk = pk.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM policy WHERE pk = $1").bind(pk).fetch_optional(c).await))
}

/// The policy with this name.
///
/// # Errors
/// When the database fails.
pub async fn by_name(conn: &mut Conn, name: &str) -> Result<Option<Policy>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM policy WHERE name = $1").bind(name).fetch_optional(c).await))
}

/// The policies that enabled bindings of a target name.
///
/// # Errors
/// When the database fails.
pub async fn bound_to(conn: &mut Conn, target: Uuid) -> Result<Vec<Policy>, StoreError> {
    let target = target.to_string();
    many(on!(conn, c => sqlx::query(
        "SELECT * FROM policy WHERE pk IN (SELECT policy FROM binding WHERE target = $1 AND enabled)",
    ).bind(target).fetch_all(c).await))
}

/// The policies that any enabled binding names: for decisions on many targets at once.
///
/// # Errors
/// When the database fails.
pub async fn bound(conn: &mut Conn) -> Result<Vec<Policy>, StoreError> {
    many(on!(conn, c => sqlx::query(
        "SELECT * FROM policy WHERE pk IN (SELECT policy FROM binding WHERE enabled)",
    ).fetch_all(c).await))
}

/// Keeps a new policy.
///
/// # Errors
/// [`StoreError::Taken`] when the name exists; else when the database fails.
pub async fn insert(conn: &mut Conn, policy: &Policy) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO policy (pk, name, kind, execution_logging, settings) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(policy.pk.to_string())
    .bind(&policy.name)
    .bind(&policy.kind)
    .bind(policy.execution_logging)
    .bind(policy.settings.to_string())
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Stores every field of a policy but its kind.
///
/// # Errors
/// [`StoreError::Taken`] when the name is another's; else when the database fails.
pub async fn update(conn: &mut Conn, policy: &Policy) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query("UPDATE policy SET name = $2, execution_logging = $3, settings = $4 WHERE pk = $1")
        .bind(policy.pk.to_string())
        .bind(&policy.name)
        .bind(policy.execution_logging)
        .bind(policy.settings.to_string())
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Deletes a policy. Bindings that name it become orphans (CO-180).
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: PolicyId) -> Result<(), StoreError> {
    let pk = pk.to_string();
    on!(conn, c => sqlx::query("DELETE FROM policy WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}

/// Conditions on a list of policies (CO-560, CO-562). Absent and empty conditions hold for every policy.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Kind.
    pub kind: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Key.
    pub pk: Option<PolicyId>,
    /// Whether evaluations are recorded.
    pub execution_logging: Option<bool>,
    /// Whether no binding names it.
    pub unbound: Option<bool>,
    /// Terms that must occur in the name (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What policies can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Name,
    ExecutionLogging,
    VerboseName,
    MetaModelName,
    BoundTo,
}

/// All policies that meet conditions. Not in slices: what a kind has of its own is looked at before pages are
/// made.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, visible: Visible) -> Result<Vec<Policy>, StoreError> {
    const BOUND: &str = "EXISTS (SELECT 1 FROM binding WHERE binding.policy = policy.pk)";
    let mut select = Select::default();
    if let Some(kind) = &filter.kind {
        select.text("kind = ?", kind);
    }
    if let Some(name) = &filter.name {
        select.text("name = ?", name);
    }
    if let Some(pk) = filter.pk {
        select.text("pk = ?", pk.to_string());
    }
    if let Some(execution_logging) = filter.execution_logging {
        select.flag("execution_logging = ?", execution_logging);
    }
    match filter.unbound {
        Some(true) => select.always(&format!("NOT {BOUND}")),
        Some(false) => select.always(BOUND),
        None => {}
    }
    select.search(&["name"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Name => "name",
            Order::ExecutionLogging => "execution_logging",
            // Names of kinds are in another order than what they are shown as, component and plural like the name.
            Order::VerboseName => {
                "CASE kind WHEN 'dummy' THEN 0 WHEN 'event_matcher' THEN 1 WHEN 'expression' THEN 2
                     WHEN 'password_expiry' THEN 3 WHEN 'password' THEN 4 ELSE 5 END"
            }
            Order::MetaModelName => {
                "CASE kind WHEN 'dummy' THEN 0 WHEN 'event_matcher' THEN 1 WHEN 'password_expiry' THEN 2
                     WHEN 'expression' THEN 3 WHEN 'password' THEN 4 ELSE 5 END"
            }
            Order::BoundTo => "(SELECT count(*) FROM binding WHERE binding.policy = policy.pk)",
        };
        select.order(column, *descending);
    }
    select.order("policy.pk", false);
    Ok(select.list(conn, "policy", Slice::ALL.of(visible)).await?.rows)
}
