//! Brands are made, changed and deleted.

use portcullis_core::attributes::{self, Attributes};
use portcullis_core::id::{ApplicationId, BrandId, CertificateId, FlowId};
use portcullis_core::permission::{Model, Verb};
use portcullis_store::brand::{self, Brand, Flows};
use portcullis_store::{Conn, application, certificate, flow};
use serde_json::{Value, json};

use super::{TITLE, View, built_in, check, named, place, snapshot, view};
use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::directory::{seal, secret_keys};
use crate::error::{Error, Problems};
use crate::event::{attributes_diff, diff};

const TAKEN: &str = "Brand with this domain already exists.";

/// What is to be stored of a brand; absent members stay as they are, or have their default on creation.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (CO-556)")]
pub struct Fields {
    pub domain: Option<String>,
    pub is_default: Option<bool>,
    pub title: Option<String>,
    pub logo: Option<String>,
    pub favicon: Option<String>,
    pub custom_css: Option<String>,
    pub flow_background: Option<String>,
    pub flows: FlowFields,
    /// Some(None) is an explicit null.
    pub default_application: Option<Option<ApplicationId>>,
    /// Some(None) is an explicit null.
    pub web_certificate: Option<Option<CertificateId>>,
    pub client_certificates: Option<Vec<CertificateId>>,
    pub attributes: Option<Value>,
}

/// The flows that are to be stored; Some(None) is an explicit null.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (CO-556)")]
pub struct FlowFields {
    pub authentication: Option<Option<FlowId>>,
    pub invalidation: Option<Option<FlowId>>,
    pub recovery: Option<Option<FlowId>>,
    pub unenrollment: Option<Option<FlowId>>,
    pub user_settings: Option<Option<FlowId>>,
    pub device_code: Option<Option<FlowId>>,
}

/// Adds the brand that comes with the installation.
///
/// # Errors
/// When the store fails.
pub async fn bootstrap(ctx: &Context, conn: &mut Conn) -> Result<(), Error> {
    if brand::all(conn).await?.is_empty() {
        let pk = BrandId(ctx.entropy.uuid());
        let sealed = seal(ctx, &place(pk), &Attributes::new());
        let first = Brand { pk, attributes_sealed: sealed, ..built_in(conn).await? };
        brand::insert(conn, &first).await?;
    }
    Ok(())
}

/// Makes a brand.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<BrandId, Error> {
    actor.need(Verb::Add, Model::BRAND)?;
    let mut change = Change::begin(ctx, actor).await?;
    let made = create_in(&mut change, fields).await?;
    change.commit().await?;
    Ok(made)
}

/// Makes a brand as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`create`], except for rights.
pub async fn create_in(change: &mut Change<'_>, fields: Fields) -> Result<BrandId, Error> {
    let ctx = change.context();
    let pk = BrandId(ctx.entropy.uuid());
    let blank = Brand {
        pk,
        domain: String::new(),
        is_default: false,
        flows: Flows::default(),
        title: TITLE.to_owned(),
        ..built_in(change.conn()).await?
    };
    let mut made = View { brand: blank, attributes: Attributes::new(), client_certificates: Vec::new() };
    let mut problems = Problems::default();
    if fields.domain.is_none() {
        problems.add("domain", "This field is required.");
    }
    apply(change, &mut made, &fields, &mut problems).await?;
    problems.check()?;
    made.brand.attributes_sealed = seal(ctx, &place(pk), &made.attributes);
    brand::insert(change.conn(), &made.brand).await.map_err(taken)?;
    brand::set_client_certificates(change.conn(), pk, &made.client_certificates).await?;
    // Who records events has the brand at hand.
    change.touch(Touched::Everyone);
    if made.brand.web_certificate.is_some() {
        change.touch(Touched::Configuration);
    }
    change.event("model_created", json!({"model": named(&made.brand)})).await?;
    Ok(pk)
}

/// Changes a brand.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken
/// rules.
pub async fn update(ctx: &Context, actor: &Actor, pk: BrandId, fields: Fields) -> Result<(), Error> {
    actor.need_on(Verb::Change, Model::BRAND, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    update_in(&mut change, pk, fields).await?;
    change.commit().await
}

/// Changes a brand as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`update`], except for rights.
pub async fn update_in(change: &mut Change<'_>, pk: BrandId, fields: Fields) -> Result<(), Error> {
    let ctx = change.context();
    let found = brand::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Brand"))?;
    let before = view(ctx, change.conn(), found).await?;
    let mut changed = before.clone();
    let mut problems = Problems::default();
    apply(change, &mut changed, &fields, &mut problems).await?;
    problems.check()?;
    if changed.attributes != before.attributes {
        changed.brand.attributes_sealed = seal(ctx, &place(pk), &changed.attributes);
    }
    brand::update(change.conn(), &changed.brand).await.map_err(taken)?;
    if changed.client_certificates != before.client_certificates {
        brand::set_client_certificates(change.conn(), pk, &changed.client_certificates).await?;
    }
    let mut difference = diff(&snapshot(&before), &snapshot(&changed));
    attributes_diff(&mut difference, &before.attributes, &changed.attributes);
    // Who records events has the brand at hand.
    change.touch(Touched::Everyone);
    if shows(&before.brand) != shows(&changed.brand) {
        change.touch(Touched::Configuration);
    }
    change.event("model_updated", json!({"model": named(&changed.brand), "diff": difference})).await
}

/// Deletes a brand. Without a default, what the installation began with is in force.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn delete(ctx: &Context, actor: &Actor, pk: BrandId) -> Result<(), Error> {
    actor.need_on(Verb::Delete, Model::BRAND, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, pk).await?;
    change.commit().await
}

/// Deletes a brand as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`delete`], except for rights.
pub async fn delete_in(change: &mut Change<'_>, pk: BrandId) -> Result<(), Error> {
    let gone = brand::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Brand"))?;
    brand::delete(change.conn(), pk).await?;
    // Who records events has the brand at hand.
    change.touch(Touched::Everyone);
    if gone.web_certificate.is_some() {
        change.touch(Touched::Configuration);
    }
    change.event("model_deleted", json!({"model": named(&gone)})).await
}

/// What listeners are told of a brand: its certificate, and for which names that is (PX-300).
fn shows(brand: &Brand) -> Option<(CertificateId, &str, bool)> {
    brand.web_certificate.map(|certificate| (certificate, brand.domain.as_str(), brand.is_default))
}

fn taken(error: portcullis_store::StoreError) -> Error {
    Error::taken(error, "brand.domain", "domain", TAKEN)
}

async fn apply(
    change: &mut Change<'_>,
    view: &mut View,
    fields: &Fields,
    problems: &mut Problems,
) -> Result<(), Error> {
    let brand = &mut view.brand;
    if let Some(domain) = &fields.domain {
        check::domain(domain, problems);
        let same = |other: &Brand| other.pk != brand.pk && check::normal(&other.domain) == check::normal(domain);
        if brand::all(change.conn()).await?.iter().any(same) {
            problems.add("domain", TAKEN);
        }
        brand.domain.clone_from(domain);
    }
    if let Some(is_default) = fields.is_default {
        let other = brand::all(change.conn()).await?.iter().any(|other| other.is_default && other.pk != brand.pk);
        if is_default && other {
            problems.add("default", "Only a single brand can be set as default.");
        }
        brand.is_default = is_default;
    }
    if let Some(title) = &fields.title {
        problems.limit("branding_title", title);
        brand.title.clone_from(title);
    }
    for (field, given, kept) in [
        ("branding_logo", &fields.logo, &mut brand.logo),
        ("branding_favicon", &fields.favicon, &mut brand.favicon),
        ("branding_default_flow_background", &fields.flow_background, &mut brand.flow_background),
    ] {
        if let Some(picture) = given {
            check::picture(field, picture, problems);
            kept.clone_from(picture);
        }
    }
    if let Some(css) = &fields.custom_css {
        check::css(css, problems);
        brand.custom_css.clone_from(css);
    }
    let (given, kept) = (&fields.flows, &mut brand.flows);
    for (field, given, kept) in [
        ("flow_authentication", given.authentication, &mut kept.authentication),
        ("flow_invalidation", given.invalidation, &mut kept.invalidation),
        ("flow_recovery", given.recovery, &mut kept.recovery),
        ("flow_unenrollment", given.unenrollment, &mut kept.unenrollment),
        ("flow_user_settings", given.user_settings, &mut kept.user_settings),
        ("flow_device_code", given.device_code, &mut kept.device_code),
    ] {
        let Some(given) = given else { continue };
        if let Some(pk) = given
            && flow::by_pk(change.conn(), pk).await?.is_none()
        {
            problems.add(field, absent(pk));
        }
        *kept = given;
    }
    if let Some(given) = fields.default_application {
        if let Some(pk) = given
            && application::by_uuid(change.conn(), pk).await?.is_none()
        {
            problems.add("default_application", absent(pk));
        }
        brand.default_application = given;
    }
    if let Some(given) = fields.web_certificate {
        check_certificate(change, "web_certificate", given.as_slice(), problems).await?;
        if given != brand.web_certificate && given.is_some_and(|pk| !change.actor().may_use(pk)) {
            problems.add("web_certificate", "User does not have access to certificate.");
        }
        brand.web_certificate = given;
    }
    if let Some(certificates) = &fields.client_certificates {
        check_certificate(change, "client_certificates", certificates, problems).await?;
        view.client_certificates.clear();
        for certificate in certificates {
            if !view.client_certificates.contains(certificate) {
                view.client_certificates.push(*certificate);
            }
        }
    }
    match fields.attributes.clone().map(attributes::check) {
        None => {}
        Some(Ok(given)) => {
            let secrets = secret_keys(change.context(), change.conn()).await?;
            view.attributes = secrets.restored(given, &view.attributes);
        }
        Some(Err(error)) => problems.add("attributes", error.to_string()),
    }
    Ok(())
}

async fn check_certificate(
    change: &mut Change<'_>,
    field: &str,
    given: &[CertificateId],
    problems: &mut Problems,
) -> Result<(), Error> {
    for pk in given {
        if certificate::by_pk(change.conn(), *pk).await?.is_none() {
            problems.add(field, absent(pk));
        }
    }
    Ok(())
}

fn absent(pk: impl std::fmt::Display) -> String {
    format!("Invalid pk \"{pk}\" - object does not exist.")
}
