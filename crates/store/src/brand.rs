//! Brands: how the instance presents itself under a host name (CO-502, CO-503).

use portcullis_core::id::{ApplicationId, BrandId, CertificateId, FlowId};

use crate::db::{Conn, on};
use crate::error::StoreError;
use crate::row::{Columns, Record, many, maybe};
use crate::select::{Listed, Select, Slice};

/// A brand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brand {
    /// Key.
    pub pk: BrandId,
    /// The host name that it is for, with all names below it; as it was given.
    pub domain: String,
    /// Whether it is for all other host names.
    pub is_default: bool,
    /// What the instance calls itself.
    pub title: String,
    /// Path or URL of a picture; empty is ours.
    pub logo: String,
    /// Path or URL of the browser tab's icon; empty is ours.
    pub favicon: String,
    /// A stylesheet of the administrator's.
    pub custom_css: String,
    /// Path or URL of a picture behind flows.
    pub flow_background: String,
    /// Its flows.
    pub flows: Flows,
    /// Where external users are sent.
    pub default_application: Option<ApplicationId>,
    /// Certificate of the sign-in pages.
    pub web_certificate: Option<CertificateId>,
    /// Its attributes, a JSON object sealed for `brand:<pk>:attributes`.
    pub attributes_sealed: Vec<u8>,
}

/// The flows of a brand, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub struct Flows {
    pub authentication: Option<FlowId>,
    pub invalidation: Option<FlowId>,
    pub recovery: Option<FlowId>,
    pub unenrollment: Option<FlowId>,
    pub user_settings: Option<FlowId>,
    pub device_code: Option<FlowId>,
}

impl Record for Brand {
    fn read(row: &impl Columns) -> sqlx::Result<Self> {
        Ok(Self {
            pk: row.parsed("pk")?,
            domain: row.text("domain")?,
            is_default: row.flag("is_default")?,
            title: row.text("title")?,
            logo: row.text("logo")?,
            favicon: row.text("favicon")?,
            custom_css: row.text("custom_css")?,
            flow_background: row.text("flow_background")?,
            flows: Flows {
                authentication: row.parsed_or_null("flow_authentication")?,
                invalidation: row.parsed_or_null("flow_invalidation")?,
                recovery: row.parsed_or_null("flow_recovery")?,
                unenrollment: row.parsed_or_null("flow_unenrollment")?,
                user_settings: row.parsed_or_null("flow_user_settings")?,
                device_code: row.parsed_or_null("flow_device_code")?,
            },
            default_application: row.parsed_or_null("default_application")?,
            web_certificate: row.parsed_or_null("web_certificate")?,
            attributes_sealed: row.bytes("attributes_sealed")?,
        })
    }
}

/// The brand with this key.
///
/// # Errors
/// When the database fails.
pub async fn by_pk(conn: &mut Conn, pk: BrandId) -> Result<Option<Brand>, StoreError> {
    let pk = pk.to_string();
    maybe(on!(conn, c => sqlx::query("SELECT * FROM brand WHERE pk = $1").bind(pk).fetch_optional(c).await))
}

/// All brands: there are few.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut Conn) -> Result<Vec<Brand>, StoreError> {
    many(on!(conn, c => sqlx::query("SELECT * FROM brand ORDER BY domain").fetch_all(c).await))
}

/// Keeps a new brand.
///
/// # Errors
/// [`StoreError::Taken`] when there is one for this domain, or another default; else when the database fails.
pub async fn insert(conn: &mut Conn, brand: &Brand) -> Result<(), StoreError> {
    write(
        conn,
        brand,
        "INSERT INTO brand (pk, domain, is_default, title, logo, favicon, custom_css, flow_background,
             flow_authentication, flow_invalidation, flow_recovery, flow_unenrollment, flow_user_settings,
             flow_device_code, default_application, web_certificate, attributes_sealed)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .await
}

/// Stores every field of a brand.
///
/// # Errors
/// As [`insert`].
pub async fn update(conn: &mut Conn, brand: &Brand) -> Result<(), StoreError> {
    write(
        conn,
        brand,
        "UPDATE brand SET domain = $2, is_default = $3, title = $4, logo = $5, favicon = $6, custom_css = $7,
             flow_background = $8, flow_authentication = $9, flow_invalidation = $10, flow_recovery = $11,
             flow_unenrollment = $12, flow_user_settings = $13, flow_device_code = $14, default_application = $15,
             web_certificate = $16, attributes_sealed = $17 WHERE pk = $1",
    )
    .await
}

async fn write(conn: &mut Conn, brand: &Brand, text: &'static str) -> Result<(), StoreError> {
    let flow = |flow: Option<FlowId>| flow.map(|flow| flow.to_string());
    on!(conn, c => sqlx::query(text)
        .bind(brand.pk.to_string())
        .bind(&brand.domain)
        .bind(brand.is_default)
        .bind(&brand.title)
        .bind(&brand.logo)
        .bind(&brand.favicon)
        .bind(&brand.custom_css)
        .bind(&brand.flow_background)
        .bind(flow(brand.flows.authentication))
        .bind(flow(brand.flows.invalidation))
        .bind(flow(brand.flows.recovery))
        .bind(flow(brand.flows.unenrollment))
        .bind(flow(brand.flows.user_settings))
        .bind(flow(brand.flows.device_code))
        .bind(brand.default_application.map(|application| application.to_string()))
        .bind(brand.web_certificate.map(|certificate| certificate.to_string()))
        .bind(&brand.attributes_sealed)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Deletes a brand.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, pk: BrandId) -> Result<(), StoreError> {
    let pk = pk.to_string();
    on!(conn, c => sqlx::query("DELETE FROM brand WHERE pk = $1").bind(pk).execute(c).await.map(drop))?;
    Ok(())
}

/// The certificates that clients of a brand may show, in order.
///
/// # Errors
/// When the database fails.
pub async fn client_certificates(conn: &mut Conn, pk: BrandId) -> Result<Vec<CertificateId>, StoreError> {
    let pk = pk.to_string();
    let found: Vec<String> = on!(conn, c => sqlx::query_scalar(
        "SELECT certificate FROM brand_client_certificate WHERE brand = $1 ORDER BY position",
    ).bind(pk).fetch_all(c).await)?;
    Ok(found.iter().filter_map(|text| text.parse().ok()).collect())
}

/// Stores the certificates that clients of a brand may show.
///
/// # Errors
/// When the database fails, or there is no such certificate.
pub async fn set_client_certificates(
    conn: &mut Conn,
    pk: BrandId,
    certificates: &[CertificateId],
) -> Result<(), StoreError> {
    let pk = pk.to_string();
    on!(&mut *conn, c => sqlx::query("DELETE FROM brand_client_certificate WHERE brand = $1")
        .bind(&pk).execute(c).await.map(drop))?;
    for (position, certificate) in (0_i32..).zip(certificates) {
        on!(&mut *conn, c => sqlx::query(
            "INSERT INTO brand_client_certificate (brand, certificate, position) VALUES ($1, $2, $3)
             ON CONFLICT (brand, certificate) DO NOTHING",
        ).bind(&pk).bind(certificate.to_string()).bind(position).execute(c).await.map(drop))?;
    }
    Ok(())
}

/// Conditions on a list of brands (CO-556). Absent and empty conditions hold for every brand.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Key.
    pub pk: Option<BrandId>,
    /// Domain.
    pub domain: Option<String>,
    /// Whether it is the default.
    pub is_default: Option<bool>,
    /// Title.
    pub title: Option<String>,
    /// Certificate of the sign-in pages.
    pub web_certificate: Option<CertificateId>,
    /// Flows; those that are named must be the brand's.
    pub flows: Flows,
    /// Terms that must occur in domain or title (CO-525).
    pub search: String,
    /// Order; `true` for descending. Ties are broken by key.
    pub order: Vec<(Order, bool)>,
}

/// What brands can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of the same name")]
pub enum Order {
    Pk,
    Domain,
    Default,
    Title,
    Logo,
    Favicon,
    CustomCss,
    FlowBackground,
    FlowAuthentication,
    FlowInvalidation,
    FlowRecovery,
    FlowUnenrollment,
    FlowUserSettings,
    FlowDeviceCode,
    DefaultApplication,
    WebCertificate,
}

/// The brands that meet conditions.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, filter: &Filter, slice: Slice) -> Result<Listed<Brand>, StoreError> {
    let mut select = Select::default();
    if let Some(pk) = filter.pk {
        select.text("pk = ?", pk.to_string());
    }
    if let Some(domain) = &filter.domain {
        select.same("domain", domain);
    }
    if let Some(is_default) = filter.is_default {
        select.flag("is_default = ?", is_default);
    }
    if let Some(title) = &filter.title {
        select.text("title = ?", title);
    }
    if let Some(certificate) = filter.web_certificate {
        select.text("web_certificate = ?", certificate.to_string());
    }
    let flows = &filter.flows;
    for (condition, flow) in [
        ("flow_authentication = ?", flows.authentication),
        ("flow_invalidation = ?", flows.invalidation),
        ("flow_recovery = ?", flows.recovery),
        ("flow_unenrollment = ?", flows.unenrollment),
        ("flow_user_settings = ?", flows.user_settings),
        ("flow_device_code = ?", flows.device_code),
    ] {
        if let Some(flow) = flow {
            select.text(condition, flow.to_string());
        }
    }
    select.search(&["domain", "title"], &filter.search);
    for (order, descending) in &filter.order {
        let column = match order {
            Order::Pk => "pk",
            Order::Domain => "domain",
            Order::Default => "is_default",
            Order::Title => "title",
            Order::Logo => "logo",
            Order::Favicon => "favicon",
            Order::CustomCss => "custom_css",
            Order::FlowBackground => "flow_background",
            Order::FlowAuthentication => "flow_authentication",
            Order::FlowInvalidation => "flow_invalidation",
            Order::FlowRecovery => "flow_recovery",
            Order::FlowUnenrollment => "flow_unenrollment",
            Order::FlowUserSettings => "flow_user_settings",
            Order::FlowDeviceCode => "flow_device_code",
            Order::DefaultApplication => "default_application",
            Order::WebCertificate => "web_certificate",
        };
        select.order(column, *descending);
    }
    select.order("brand.pk", false);
    select.list(conn, "brand", slice).await
}
