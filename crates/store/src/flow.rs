//! The fixed flows (CO-300). They are made at first start; what they are called and look like may
//! change, and what becomes of whom their policies refuse.

use portcullis_core::id::FlowId;

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, maybe};
use crate::select::{Listed, Select, Slice};

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Key, stable per installation.
    pub pk: FlowId,
    /// Unique name in URLs.
    pub slug: String,
    /// Name for administrators.
    pub name: String,
    /// Title for users.
    pub title: String,
    /// What it is for, as in `authentication`.
    pub designation: String,
    /// Who may run it, as in `require_authenticated`.
    pub authentication: String,
    /// Picture behind its pages, or nothing.
    pub background: String,
    /// How clients arrange its pages, as in `stacked`.
    pub layout: String,
    /// What becomes of whom its policies refuse: `message_continue`, `message` or `continue`.
    pub denied_action: String,
    /// How its bindings are combined: `any` or `all`.
    pub policy_engine_mode: String,
}

impl Record for Flow {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.parsed("pk")?,
            slug: row.text("slug")?,
            name: row.text("name")?,
            title: row.text("title")?,
            designation: row.text("designation")?,
            authentication: row.text("authentication")?,
            background: row.text("background")?,
            layout: row.text("layout")?,
            denied_action: row.text("denied_action")?,
            policy_engine_mode: row.text("policy_engine_mode")?,
        })
    }
}

/// The flow with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: FlowId) -> Result<Option<Flow>, StoreError> {
    let pk = pk.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM flow WHERE pk = $1").bind(pk).fetch_optional(c).await))
}

/// The flow with this slug.
///
/// # Errors
/// When the database fails.
pub async fn by_slug(conn: &mut Conn, slug: &str) -> Result<Option<Flow>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM flow WHERE slug = $1").bind(slug).fetch_optional(c).await))
}

/// Keeps a new flow.
///
/// # Errors
/// [`StoreError::Taken`] when the slug exists; else when the database fails.
pub async fn insert(conn: &mut Conn, flow: &Flow) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO flow (pk, slug, name, title, designation, authentication, background, layout, denied_action,
             policy_engine_mode)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(flow.pk.to_string())
    .bind(&flow.slug)
    .bind(&flow.name)
    .bind(&flow.title)
    .bind(&flow.designation)
    .bind(&flow.authentication)
    .bind(&flow.background)
    .bind(&flow.layout)
    .bind(&flow.denied_action)
    .bind(&flow.policy_engine_mode)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Stores what can be set about a flow: everything but slug, designation and authentication.
///
/// # Errors
/// When the database fails.
pub async fn update(conn: &mut Conn, flow: &Flow) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "UPDATE flow SET name = $2, title = $3, background = $4, layout = $5, denied_action = $6,
             policy_engine_mode = $7 WHERE pk = $1",
    )
    .bind(flow.pk.to_string())
    .bind(&flow.name)
    .bind(&flow.title)
    .bind(&flow.background)
    .bind(&flow.layout)
    .bind(&flow.denied_action)
    .bind(&flow.policy_engine_mode)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Conditions on a list of flows (CO-571). Absent and empty conditions hold for every flow.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Key.
    pub pk: Option<FlowId>,
    /// Slug.
    pub slug: Option<String>,
    /// Designation.
    pub designation: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// What becomes of whom policies refuse.
    pub denied_action: Option<String>,
    /// Terms that must occur in name, slug, designation or title (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What flows can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    /// Who may run them once the first administrator is set up: that flow is for superusers then.
    AuthenticationSinceSetup,
    Pk,
    Slug,
    Name,
    Title,
    Designation,
    Authentication,
    Background,
    Layout,
    DeniedAction,
    PolicyEngineMode,
}

/// The flows that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Flow>, StoreError> {
    let mut select = Select::default();
    if let Some(pk) = filter.pk {
        select.text("pk = ?", pk.to_string());
    }
    for (column, value) in [
        ("slug", &filter.slug),
        ("designation", &filter.designation),
        ("name", &filter.name),
        ("denied_action", &filter.denied_action),
    ] {
        if let Some(value) = value {
            select.text(&format!("{column} = ?"), value);
        }
    }
    select.search(&["name", "slug", "designation", "title"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Slug => "slug",
            Order::Name => "name",
            Order::Title => "title",
            Order::Designation => "designation",
            Order::Authentication => "authentication",
            Order::AuthenticationSinceSetup => {
                "CASE slug WHEN 'initial-setup' THEN 'require_superuser' ELSE authentication END"
            }
            Order::Background => "background",
            Order::Layout => "layout",
            Order::DeniedAction => "denied_action",
            Order::PolicyEngineMode => "policy_engine_mode",
        };
        select.order(column, *descending);
    }
    select.order("flow.pk", false);
    select.list(conn, "flow", slice).await
}
