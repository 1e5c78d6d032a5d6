//! Brands: how the instance presents itself under a host name (CO-502 … CO-504).

mod change;
mod check;

use portcullis_core::attributes::Attributes;
use portcullis_core::host::Host;
use portcullis_core::id::{BrandId, CertificateId};
use portcullis_core::origin::Scheme;
use portcullis_core::permission::{Model, Verb};
use portcullis_store::{Conn, brand};
use serde_json::{Value, json};

use crate::context::{Actor, Context};
use crate::directory::secret_keys;
use crate::error::Error;
use crate::event::model;
use crate::flows;
use crate::list::{Listed, Slice};

pub use change::{Fields, FlowFields, bootstrap, create, create_in, delete, delete_in, update, update_in};
pub use portcullis_store::brand::{Brand, Filter, Flows, Order};

/// Domain of the brand that comes with the installation.
pub const DEFAULT: &str = "authentik-default";
/// What the instance calls itself unless a brand says otherwise.
pub const TITLE: &str = "Portcullis";

/// A brand with what belongs to it.
#[derive(Clone, Debug)]
pub struct View {
    /// The record.
    pub brand: Brand,
    /// Its attributes.
    pub attributes: Attributes,
    /// The certificates that its clients may show.
    pub client_certificates: Vec<CertificateId>,
}

/// A brand in force for somebody who has no rights at all.
#[derive(Clone, Debug)]
pub struct Current {
    /// The record.
    pub brand: Brand,
    /// `automatic`, `light` or `dark`.
    pub theme: &'static str,
    /// Language, or empty for the browser's.
    pub locale: String,
    /// Slugs of its flows by what they are for; those that it has.
    pub flows: Vec<(&'static str, String)>,
}

/// The brand for a host, with a port or without: the longest domain that is the host or around it, else the
/// default, else what the installation began with (CO-502).
///
/// # Errors
/// When the store fails.
pub async fn of_host(conn: &mut Conn, host: &str) -> Result<Brand, Error> {
    let mut brands = brand::all(conn).await?;
    brands.retain(|brand| is_of(brand, host) || brand.is_default);
    let best = brands.into_iter().max_by_key(|brand| (is_of(brand, host), brand.domain.len()));
    match best {
        Some(best) => Ok(best),
        None => built_in(conn).await,
    }
}

/// Whether a brand is for a host by its domain.
pub(crate) fn is_of(brand: &Brand, host: &str) -> bool {
    let host = Host::parse(host, Scheme::Https);
    host.is_some_and(|host| host.is_within(&domain(brand).unwrap_or_default()))
}

/// A brand's domain in the form in which hosts are compared; none if it is no host name.
pub(crate) fn domain(brand: &Brand) -> Option<String> {
    check::normal(&brand.domain)
}

/// The brand for a host, as anybody sees it.
///
/// # Errors
/// When the store fails or attributes cannot be opened.
pub async fn current(ctx: &Context, conn: &mut Conn, host: &str) -> Result<Current, Error> {
    let brand = of_host(conn, host).await?;
    let attributes = attributes(ctx, &brand)?;
    let setting = |pointer: &str| {
        let settings = attributes.get("settings")?;
        settings.pointer(pointer)?.as_str()
    };
    let theme = match setting("/theme/base") {
        Some("light") => "light",
        Some("dark") => "dark",
        _ => "automatic",
    };
    let locale = setting("/locale").unwrap_or_default().to_owned();
    let mut flows = Vec::new();
    for (purpose, flow) in by_purpose(&brand.flows) {
        if let Some(flow) = flow
            && let Some(flow) = portcullis_store::flow::by_pk(conn, flow).await?
        {
            flows.push((purpose, flow.slug));
        }
    }
    Ok(Current { brand, theme, locale, flows })
}

/// Checks where a picture is: nowhere, on this server, on the web, or in the text itself.
pub(crate) fn check_picture(field: &str, text: &str, problems: &mut crate::Problems) {
    check::picture(field, text, problems);
}

/// A picture that pages can show without asking anybody else (CO-504).
pub fn local_picture(picture: &str) -> Option<&str> {
    Some(picture).filter(|picture| check::is_local(picture))
}

/// The flows of a brand with their names in the API.
pub fn by_purpose(flows: &Flows) -> [(&'static str, Option<portcullis_core::id::FlowId>); 6] {
    [
        ("flow_authentication", flows.authentication),
        ("flow_invalidation", flows.invalidation),
        ("flow_recovery", flows.recovery),
        ("flow_unenrollment", flows.unenrollment),
        ("flow_user_settings", flows.user_settings),
        ("flow_device_code", flows.device_code),
    ]
}

/// The brand as an object in events (CO-410).
pub(crate) fn named(brand: &Brand) -> Value {
    model("authentik_brands", "brand", brand.pk, &brand.domain)
}

/// The brand with this key, for what everybody may see of it.
///
/// # Errors
/// When the store fails.
pub async fn public(conn: &mut Conn, pk: BrandId) -> Result<Option<Brand>, Error> {
    Ok(brand::by_pk(conn, pk).await?)
}

/// The brands that meet conditions.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission.
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<View>, Error> {
    let slice = slice.of(actor.sees(Model::BRAND)?);
    let mut conn = ctx.db.read().await?;
    let listed = brand::list(&mut conn, filter, slice).await?;
    let mut rows = Vec::with_capacity(listed.rows.len());
    for brand in listed.rows {
        let view = view(ctx, &mut conn, brand).await?;
        rows.push(shown(ctx, &mut conn, actor, view).await?);
    }
    Ok(Listed { rows, count: listed.count })
}

/// One brand.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn get(ctx: &Context, actor: &Actor, pk: BrandId) -> Result<View, Error> {
    actor.need_on(Verb::View, Model::BRAND, &pk)?;
    let mut conn = ctx.db.read().await?;
    let brand = brand::by_pk(&mut conn, pk).await?.ok_or(Error::NotFound("Brand"))?;
    let view = view(ctx, &mut conn, brand).await?;
    shown(ctx, &mut conn, actor, view).await
}

/// A brand for somebody's eyes: secrets are for those who may change it (CO-472).
async fn shown(ctx: &Context, conn: &mut Conn, actor: &Actor, mut view: View) -> Result<View, Error> {
    if !actor.may_on(Verb::Change, Model::BRAND, &view.brand.pk) {
        view.attributes = secret_keys(ctx, conn).await?.masked(&view.attributes);
    }
    Ok(view)
}

/// The brands that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails or attributes cannot be opened.
pub async fn all_in(change: &mut crate::Change<'_>, filter: &Filter) -> Result<Vec<View>, Error> {
    let ctx = change.context();
    let mut views = Vec::new();
    for brand in brand::list(change.conn(), filter, Slice::ALL).await?.rows {
        views.push(view(ctx, change.conn(), brand).await?);
    }
    Ok(views)
}

async fn view(ctx: &Context, conn: &mut Conn, brand: Brand) -> Result<View, Error> {
    let client_certificates = brand::client_certificates(conn, brand.pk).await?;
    Ok(View { attributes: attributes(ctx, &brand)?, client_certificates, brand })
}

/// A brand's attributes.
///
/// # Errors
/// When they cannot be opened.
pub fn attributes(ctx: &Context, brand: &Brand) -> Result<Attributes, Error> {
    crate::directory::open(ctx, &place(brand.pk), &brand.attributes_sealed)
}

fn place(pk: BrandId) -> String {
    format!("brand:{pk}:attributes")
}

/// What is in force when there is no default.
async fn built_in(conn: &mut Conn) -> Result<Brand, Error> {
    Ok(Brand {
        pk: BrandId(uuid::Uuid::nil()),
        domain: DEFAULT.to_owned(),
        is_default: true,
        title: TITLE.to_owned(),
        logo: String::new(),
        favicon: String::new(),
        custom_css: String::new(),
        flow_background: String::new(),
        flows: shipped(conn).await?,
        default_application: None,
        web_certificate: None,
        attributes_sealed: Vec::new(),
    })
}

/// The flows that come with the installation; there is none for recovery until somebody says so (CO-502).
async fn shipped(conn: &mut Conn) -> Result<Flows, Error> {
    let mut by_slug =
        async |slug| -> Result<_, Error> { Ok(portcullis_store::flow::by_slug(conn, slug).await?.map(|flow| flow.pk)) };
    Ok(Flows {
        authentication: by_slug(flows::AUTHENTICATION).await?,
        invalidation: by_slug(flows::INVALIDATION).await?,
        user_settings: by_slug(flows::USER_SETTINGS).await?,
        ..Flows::default()
    })
}

/// What a diff compares, attributes apart.
fn snapshot(view: &View) -> Value {
    let brand = &view.brand;
    let mut snapshot = json!({
        "domain": brand.domain, "default": brand.is_default, "branding_title": brand.title,
        "branding_logo": brand.logo, "branding_favicon": brand.favicon, "branding_custom_css": brand.custom_css,
        "branding_default_flow_background": brand.flow_background, "default_application": brand.default_application,
        "web_certificate": brand.web_certificate, "client_certificates": view.client_certificates,
    });
    if let Some(snapshot) = snapshot.as_object_mut() {
        snapshot.extend(by_purpose(&brand.flows).map(|(purpose, flow)| (purpose.to_owned(), json!(flow))));
    }
    snapshot
}
