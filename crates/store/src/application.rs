//! Applications (CO section 6).

use portcullis_core::id::{ApplicationId, ProviderPk};

use crate::among;
use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, maybe};

/// An application. Its key is also what bindings are bound to (CO-005).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Key.
    pub uuid: ApplicationId,
    /// Name for people.
    pub name: String,
    /// Unique name in URLs.
    pub slug: String,
    /// The provider, of which no other application may be.
    pub provider: Option<ProviderPk>,
    /// Label that the portal groups by.
    pub portal_group: String,
    /// `any` or `all`.
    pub policy_engine_mode: String,
    /// Where the portal leads; empty for the provider's own URL.
    pub meta_launch_url: String,
    /// Icon.
    pub meta_icon: String,
    /// Description.
    pub meta_description: String,
    /// Publisher.
    pub meta_publisher: String,
    /// Whether the portal hides it; never changes access.
    pub meta_hide: bool,
    /// Whether the portal opens it in a new tab.
    pub open_in_new_tab: bool,
}

impl Record for Application {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            uuid: row.parsed("uuid")?,
            name: row.text("name")?,
            slug: row.text("slug")?,
            provider: row.small_or_null("provider")?.map(ProviderPk),
            portal_group: row.text("portal_group")?,
            policy_engine_mode: row.text("policy_engine_mode")?,
            meta_launch_url: row.text("meta_launch_url")?,
            meta_icon: row.text("meta_icon")?,
            meta_description: row.text("meta_description")?,
            meta_publisher: row.text("meta_publisher")?,
            meta_hide: row.flag("meta_hide")?,
            open_in_new_tab: row.flag("open_in_new_tab")?,
        })
    }
}

/// The application with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_uuid(conn: &mut Conn, uuid: ApplicationId) -> Result<Option<Application>, StoreError> {
    let uuid = uuid.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM application WHERE uuid = $1").bind(uuid).fetch_optional(c).await))
}

/// The application with this slug.
///
/// # Errors
/// When the database fails.
pub async fn by_slug(conn: &mut Conn, slug: &str) -> Result<Option<Application>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM application WHERE slug = $1").bind(slug).fetch_optional(c).await))
}

/// The application of a provider.
///
/// # Errors
/// When the database fails.
pub async fn by_provider(conn: &mut Conn, provider: ProviderPk) -> Result<Option<Application>, StoreError> {
    maybe(on!(conn, c => sqlx::query("SELECT * FROM application WHERE provider = $1")
        .bind(provider.0).fetch_optional(c).await))
}

/// The applications of these providers, in no particular order.
///
/// # Errors
/// When the database fails.
pub async fn of_providers(conn: &mut Conn, keys: &[ProviderPk]) -> Result<Vec<Application>, StoreError> {
    among::of(conn, "SELECT * FROM application WHERE provider IN (?)", &[], keys.iter().map(|key| key.0)).await
}

/// Keeps a new application.
///
/// # Errors
/// [`StoreError::Taken`] when the slug exists or the provider has an application; else when the database fails.
pub async fn insert(conn: &mut Conn, application: &Application) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "INSERT INTO application (uuid, name, slug, provider, portal_group, policy_engine_mode, meta_launch_url,
             meta_icon, meta_description, meta_publisher, meta_hide, open_in_new_tab)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(application.uuid.to_string())
    .bind(&application.name)
    .bind(&application.slug)
    .bind(application.provider.map(|pk| pk.0))
    .bind(&application.portal_group)
    .bind(&application.policy_engine_mode)
    .bind(&application.meta_launch_url)
    .bind(&application.meta_icon)
    .bind(&application.meta_description)
    .bind(&application.meta_publisher)
    .bind(application.meta_hide)
    .bind(application.open_in_new_tab)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Stores every field of an application.
///
/// # Errors
/// [`StoreError::Taken`] when the slug or the provider is another's; else when the database fails.
pub async fn update(conn: &mut Conn, application: &Application) -> Result<(), StoreError> {
    on!(conn, c => sqlx::query(
        "UPDATE application SET name = $2, slug = $3, provider = $4, portal_group = $5, policy_engine_mode = $6,
             meta_launch_url = $7, meta_icon = $8, meta_description = $9, meta_publisher = $10, meta_hide = $11,
             open_in_new_tab = $12
         WHERE uuid = $1",
    )
    .bind(application.uuid.to_string())
    .bind(&application.name)
    .bind(&application.slug)
    .bind(application.provider.map(|pk| pk.0))
    .bind(&application.portal_group)
    .bind(&application.policy_engine_mode)
    .bind(&application.meta_launch_url)
    .bind(&application.meta_icon)
    .bind(&application.meta_description)
    .bind(&application.meta_publisher)
    .bind(application.meta_hide)
    .bind(application.open_in_new_tab)
    .execute(c)
    .await
    .map(drop))?;
    Ok(())
}

/// Deletes an application; its provider stays (CO-130). Its bindings are for the caller to delete.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, uuid: ApplicationId) -> Result<(), StoreError> {
    let uuid = uuid.to_string();
    on!(conn, c => sqlx::query("DELETE FROM application WHERE uuid = $1").bind(uuid).execute(c).await.map(drop))?;
    Ok(())
}

/// Conditions on a list of applications (CO-551). Absent and empty conditions hold for every application.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name.
    pub name: Option<String>,
    /// Slug.
    pub slug: Option<String>,
    /// Portal group.
    pub portal_group: Option<String>,
    /// Launch URL.
    pub meta_launch_url: Option<String>,
    /// Description.
    pub meta_description: Option<String>,
    /// Publisher.
    pub meta_publisher: Option<String>,
    /// Terms that must occur in name, slug, launch URL, description, publisher or group (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What applications can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Name,
    Slug,
    Provider,
    Group,
    MetaPublisher,
    MetaLaunchUrl,
    MetaIcon,
    MetaDescription,
    MetaHide,
    OpenInNewTab,
    PolicyEngineMode,
}

/// All applications that meet conditions. Not in slices: which of them the caller may see is decided
/// before pages are made (CO-137).
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter) -> Result<Vec<Application>, StoreError> {
    use crate::select::{Select, Slice};
    let mut select = Select::keyed("uuid");
    for (column, value) in [
        ("name", &filter.name),
        ("slug", &filter.slug),
        ("portal_group", &filter.portal_group),
        ("meta_launch_url", &filter.meta_launch_url),
        ("meta_description", &filter.meta_description),
        ("meta_publisher", &filter.meta_publisher),
    ] {
        if let Some(value) = value {
            select.text(&format!("{column} = ?"), value);
        }
    }
    select.search(
        &["name", "slug", "meta_launch_url", "meta_description", "meta_publisher", "portal_group"],
        &filter.search,
    );
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "uuid",
            Order::Name => "name",
            Order::Slug => "slug",
            Order::Provider => "provider",
            Order::Group => "portal_group",
            Order::MetaPublisher => "meta_publisher",
            Order::MetaLaunchUrl => "meta_launch_url",
            Order::MetaIcon => "meta_icon",
            Order::MetaDescription => "meta_description",
            Order::MetaHide => "meta_hide",
            Order::OpenInNewTab => "open_in_new_tab",
            Order::PolicyEngineMode => "policy_engine_mode",
        };
        select.order(column, *descending);
    }
    select.order("application.uuid", false);
    Ok(select.list(conn, "application", Slice::ALL).await?.rows)
}
