//! Certificates, perhaps with their private keys: brought, made, shown, deleted (CO-568, CO-464, CO-466).

mod generate;
mod material;

use portcullis_core::clock::Timestamp;
use portcullis_core::id::CertificateId;
use portcullis_core::permission::{Model, Verb, special};
use portcullis_store::{brand, certificate, provider};
use serde_json::{Value, json};
use url::Url;
use zeroize::Zeroizing;

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::event::{diff, model};
use crate::list::{Listed, Slice};
use crate::signing;

pub(crate) use generate::ours;
pub use generate::{Algorithm, OURS, Wanted, generate};
pub use portcullis_store::certificate::{Certificate, Filter, Order};

const TAKEN: &str = "Certificate-Key Pair with this name already exists.";
const FOREIGN_KEY: &str = "Providers sign with the key of this certificate, or encrypt to it: bringing another one takes the \
     right to view its private key.";

/// What is to be stored of a certificate; absent members stay as they are, or are empty on creation.
#[derive(Clone, Default)]
pub struct Fields {
    /// Unique name.
    pub name: Option<String>,
    /// The certificate and what it is signed with, PEM, leaf first.
    pub certificate_data: Option<String>,
    /// The private key, PEM; empty for none.
    pub key_data: Option<Zeroizing<String>>,
}

/// The certificates that meet conditions.
///
/// # Errors
/// When the store fails.
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<Certificate>, Error> {
    let slice = slice.of(actor.sees(Model::CERTIFICATE)?);
    let mut conn = ctx.db.read().await?;
    Ok(certificate::list(&mut conn, filter, slice).await?)
}

/// The certificate with this key.
///
/// # Errors
/// [`Error::NotFound`], or when the store fails.
pub async fn get(ctx: &Context, actor: &Actor, pk: CertificateId) -> Result<Certificate, Error> {
    actor.need_on(Verb::View, Model::CERTIFICATE, &pk)?;
    let mut conn = ctx.db.read().await?;
    certificate::by_pk(&mut conn, pk).await?.ok_or(Error::NotFound("CertificateKeyPair"))
}

/// The certificates that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails.
pub async fn all_in(change: &mut Change<'_>, filter: &Filter) -> Result<Vec<Certificate>, Error> {
    Ok(certificate::list(change.conn(), filter, Slice::ALL).await?.rows)
}

/// Keeps a certificate that somebody brings.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<CertificateId, Error> {
    actor.need(Verb::Add, Model::CERTIFICATE)?;
    let mut change = Change::begin(ctx, actor).await?;
    let made = create_in(&mut change, fields).await?;
    change.commit().await?;
    Ok(made)
}

/// Keeps a certificate as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`create`], except for rights.
pub async fn create_in(change: &mut Change<'_>, fields: Fields) -> Result<CertificateId, Error> {
    let ctx = change.context();
    let mut made = blank(ctx);
    settle(ctx, &mut made, fields)?;
    check_host(ctx, change.actor(), &made, "certificate_data")?;
    insert_in(change, &made, "name", TAKEN).await
}

/// Changes a certificate; who shows it shows the new one from the next handshake on (PX-029).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken
/// rules.
pub async fn update(ctx: &Context, actor: &Actor, pk: CertificateId, fields: Fields) -> Result<(), Error> {
    actor.need_on(Verb::Change, Model::CERTIFICATE, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    update_in(&mut change, pk, fields).await?;
    change.commit().await
}

/// Changes a certificate as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`update`], except for rights.
pub async fn update_in(change: &mut Change<'_>, pk: CertificateId, fields: Fields) -> Result<(), Error> {
    let ctx = change.context();
    let replaced = found(change, pk).await?;
    let mut changed = replaced.clone();
    let (before, had_key) = (snapshot(&changed), changed.private_key_sealed.is_some());
    let brings = fields.certificate_data.is_some() || fields.key_data.is_some();
    let is_known = |key: &str| private_key(ctx, &replaced).is_ok_and(|known| known.trim() == key.trim());
    if fields.key_data.as_ref().is_some_and(|key| !is_known(key)) {
        // Another key has another name.
        changed.kid = None;
    }
    settle(ctx, &mut changed, fields)?;
    if brings {
        check_host(ctx, change.actor(), &changed, "certificate_data")?;
        check_uses(change, &replaced, &changed).await?;
        if had_key && changed.private_key_sealed.is_none() {
            check_shown(change, pk).await?;
        }
    }
    let taken = |error| Error::taken(error, "certificate.name", "name", TAKEN);
    certificate::update(change.conn(), &changed).await.map_err(taken)?;
    if brings {
        signing::replace(change, &replaced, &changed).await?;
    }
    let diff = diff(&before, &snapshot(&changed));
    change.touch(Touched::Configuration);
    change.event("model_updated", json!({"model": named(&changed), "diff": diff})).await
}

/// What tokens are encrypted to, or signed with, stays good for that: otherwise nothing would be issued any more (OA-034,
/// OA-125). Whose key it is says whoever may use that one: it speaks, or listens, in the provider's name (CO-705).
async fn check_uses(change: &mut Change<'_>, replaced: &Certificate, changed: &Certificate) -> Result<(), Error> {
    let mut problems = Problems::default();
    let encrypts = !provider::encrypted_to(change.conn(), changed.pk).await?.is_empty();
    let signs = !provider::signed_by(change.conn(), changed.pk).await?.is_empty();
    if encrypts && let Err(problem) = signing::check_recipient(&changed.chain) {
        problems.add("certificate_data", problem);
    }
    if signs && let Err(problem) = signing::check(&private_key(change.context(), changed)?, &changed.chain) {
        problems.add("certificate_data", problem);
    }
    let is_another = || material::public_key(&changed.chain) != material::public_key(&replaced.chain);
    if (encrypts || signs) && is_another() && !change.actor().may_use(changed.pk) {
        problems.add("certificate_data", FOREIGN_KEY);
    }
    problems.check()
}

/// A certificate that a brand shows keeps its private key: without one, the sign-in pages would show another, and nobody
/// would have said so (CO-502, PX-303).
async fn check_shown(change: &mut Change<'_>, pk: CertificateId) -> Result<(), Error> {
    let shows = brand::Filter { web_certificate: Some(pk), ..brand::Filter::default() };
    match brand::list(change.conn(), &shows, Slice::ALL).await?.rows.first() {
        Some(brand) => Err(Error::field("key_data", format!("The brand {:?} shows this certificate.", brand.domain))),
        None => Ok(()),
    }
}

/// Deletes a certificate; providers that sign with it or show it name none then (CO-594). One that tokens are encrypted to
/// stays (OA-034).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn delete(ctx: &Context, actor: &Actor, pk: CertificateId) -> Result<(), Error> {
    actor.need_on(Verb::Delete, Model::CERTIFICATE, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, pk).await?;
    change.commit().await
}

/// Deletes a certificate as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`delete`], except for rights.
pub async fn delete_in(change: &mut Change<'_>, pk: CertificateId) -> Result<(), Error> {
    let gone = found(change, pk).await?;
    if let Some(provider) = provider::encrypted_to(change.conn(), pk).await?.first() {
        // Its tokens would be readable from then on, and nobody would have said so.
        let message = format!("Tokens of the provider {:?} are encrypted to this certificate.", provider.name);
        return Err(Error::whole(message));
    }
    certificate::delete(change.conn(), pk).await?;
    change.touch(Touched::Configuration);
    change.event("model_deleted", json!({"model": named(&gone)})).await
}

/// Shows a certificate with what it is signed with, and records that.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn view_chain(ctx: &Context, actor: &Actor, pk: CertificateId) -> Result<Certificate, Error> {
    actor.need_right_on(special::VIEW_CERTIFICATEKEYPAIR_CERTIFICATE, Model::CERTIFICATE, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    let shown = found(&mut change, pk).await?;
    note_view(&mut change, &shown, "certificate").await?;
    change.commit().await?;
    Ok(shown)
}

/// Shows a private key, empty if there is none, and records that (CO-466).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Sealed`] when it cannot be
/// opened.
pub async fn view_private_key(
    ctx: &Context,
    actor: &Actor,
    pk: CertificateId,
) -> Result<(Certificate, Zeroizing<String>), Error> {
    actor.need_right_on(special::VIEW_CERTIFICATEKEYPAIR_KEY, Model::CERTIFICATE, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    let shown = found(&mut change, pk).await?;
    let key = private_key(ctx, &shown)?;
    note_view(&mut change, &shown, "private_key").await?;
    change.commit().await?;
    Ok((shown, key))
}

/// The private key of a certificate, opened; empty if there is none. Showing it to anybody is
/// [`view_private_key`]'s business.
///
/// # Errors
/// [`Error::Sealed`] when it cannot be opened.
pub(crate) fn private_key(ctx: &Context, certificate: &Certificate) -> Result<Zeroizing<String>, Error> {
    let Some(sealed) = &certificate.private_key_sealed else { return Ok(Zeroizing::default()) };
    let place = place(certificate.pk);
    match ctx.keys.open(&place, sealed) {
        Ok(plain) => String::from_utf8(plain).map(Zeroizing::new).map_err(|_| Error::Unreadable(place)),
        Err(source) => Err(Error::Sealed { place, source }),
    }
}

/// Whether a certificate is for a host, as a client would judge.
pub(crate) fn is_for(certificate: &Certificate, host: &str) -> bool {
    material::is_for(&certificate.chain, host)
}

fn place(pk: CertificateId) -> String {
    format!("certificate:{pk}:private_key")
}

async fn found(change: &mut Change<'_>, pk: CertificateId) -> Result<Certificate, Error> {
    certificate::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("CertificateKeyPair"))
}

/// `shown` and not `secret`: what is named here is no secret, and must survive cleansing. Outposts read what they serve with
/// again and again, which is no news (CO-412).
async fn note_view(change: &mut Change<'_>, shown: &Certificate, what: &str) -> Result<(), Error> {
    if change.actor().serving().is_some() {
        return Ok(());
    }
    change.event("secret_view", json!({"secret": named(shown), "type": what})).await
}

async fn insert(
    ctx: &Context,
    actor: &Actor,
    made: &Certificate,
    field: &str,
    taken: &str,
) -> Result<CertificateId, Error> {
    let mut change = Change::begin(ctx, actor).await?;
    let pk = insert_in(&mut change, made, field, taken).await?;
    change.commit().await?;
    Ok(pk)
}

async fn insert_in(
    change: &mut Change<'_>,
    made: &Certificate,
    field: &str,
    taken: &str,
) -> Result<CertificateId, Error> {
    let taken = |error| Error::taken(error, "certificate.name", field, taken);
    certificate::insert(change.conn(), made).await.map_err(taken)?;
    // It may be for the host of the sign-in pages.
    change.touch(Touched::Configuration);
    change.event("model_created", json!({"model": named(made)})).await?;
    Ok(made.pk)
}

fn blank(ctx: &Context) -> Certificate {
    Certificate {
        pk: CertificateId(ctx.entropy.uuid()),
        name: String::new(),
        chain: String::new(),
        private_key_sealed: None,
        fingerprint_sha256: String::new(),
        fingerprint_sha1: String::new(),
        subject: String::new(),
        expires: Timestamp::default(),
        key_type: None,
        kid: None,
        managed: None,
    }
}

/// Brings a certificate to what was asked for, if the result holds: it can be read, and its key is its own.
fn settle(ctx: &Context, certificate: &mut Certificate, fields: Fields) -> Result<(), Error> {
    let mut problems = Problems::default();
    if let Some(name) = fields.name {
        problems.limit_indexed("name", &name);
        certificate.name = name;
    }
    if !certificate.chain.is_empty() && fields.certificate_data.is_none() && fields.key_data.is_none() {
        return problems.check();
    }
    // What is not brought along has to fit what is.
    let at_fault = if fields.key_data.is_some() { "key_data" } else { "certificate_data" };
    let chain = fields.certificate_data.unwrap_or_else(|| certificate.chain.clone());
    let key = fields.key_data.map_or_else(|| private_key(ctx, certificate), Ok)?;
    let read = material::chain(&chain).map_err(|problem| problems.add("certificate_data", problem)).ok();
    let parsed = material::key(&key).map_err(|problem| problems.add(at_fault, problem)).ok().flatten();
    if let (Some(read), Some(parsed)) = (&read, parsed)
        && let Err(problem) = material::belongs(read, parsed)
    {
        problems.add(at_fault, problem);
    }
    problems.check()?;
    let leaf = read.ok_or_else(|| Error::field("certificate_data", material::NO_CERTIFICATE))?.leaf;
    certificate.private_key_sealed =
        (!key.is_empty()).then(|| ctx.keys.seal(&place(certificate.pk), key.as_bytes(), &*ctx.entropy));
    certificate.chain = chain;
    certificate.fingerprint_sha256 = leaf.fingerprint_sha256;
    certificate.fingerprint_sha1 = leaf.fingerprint_sha1;
    certificate.subject = leaf.subject;
    certificate.expires = leaf.expires;
    certificate.key_type = leaf.key_type.map(str::to_owned);
    Ok(())
}

/// What the sign-in pages show for themselves is chosen among all certificates for their host (PX-300), and is for
/// superusers to bring.
fn check_host(ctx: &Context, actor: &Actor, certificate: &Certificate, field: &str) -> Result<(), Error> {
    let url = Url::parse(&ctx.base_url).ok();
    let host = url.as_ref().and_then(Url::host_str);
    match host.filter(|host| !actor.is_superuser && is_for(certificate, host)) {
        Some(host) => Err(Error::field(field, format!("Only superusers may bring a certificate for {host}."))),
        None => Ok(()),
    }
}

pub(crate) fn named(certificate: &Certificate) -> Value {
    model("authentik_crypto", "certificatekeypair", certificate.pk, &certificate.name)
}

/// What events tell of a certificate. The names avoid the word that would have them cleansed.
fn snapshot(certificate: &Certificate) -> Value {
    json!({
        "name": certificate.name,
        "fingerprint_sha256": certificate.fingerprint_sha256,
        "subject": certificate.subject,
        "expires": certificate.expires.to_string(),
        "has_private_part": certificate.private_key_sealed.is_some(),
    })
}
