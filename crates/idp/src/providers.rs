//! Proxy providers: made, changed, deleted (PX-020 … PX-026, OA-070 … OA-073, CO-559). OAuth2 clients of their own are
//! in [`oauth2`]; what is the same for both is here.

mod check;
pub mod oauth2;
pub mod secrets;
mod view;

use portcullis_core::id::{CertificateId, FlowId, MappingId, ProviderPk};
use portcullis_core::outpost::Mode;
use portcullis_core::permission::{Model, Verb};
use portcullis_core::redirect::RedirectRule;
use portcullis_store::grant::descent::Ended;
use portcullis_store::provider::Provider;
use portcullis_store::{application, mapping, provider};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::event::{diff, model};
use crate::mappings;

pub use portcullis_store::provider::{Filter, Order};
pub use view::{Brief, View, all_in, get, list};
pub(crate) use view::{of_outpost, view_of, views};

/// Which providers are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All.
    Any,
    /// Clients of outposts.
    Proxy,
    /// OAuth2 clients of their own.
    OAuth2,
}

impl Kind {
    /// The kind, as permissions name it.
    pub const fn model(self) -> Model {
        match self {
            Self::Any => Model::PROVIDER,
            Self::Proxy => Model::PROXY_PROVIDER,
            Self::OAuth2 => Model::OAUTH2_PROVIDER,
        }
    }

    /// What one is called where there is none.
    pub const fn name(self) -> &'static str {
        let Model { kind, .. } = self.model();
        kind
    }

    /// Whether a provider is meant.
    pub fn includes(self, provider: &Provider) -> bool {
        match self {
            Self::Any => true,
            Self::Proxy => provider.is_proxy(),
            Self::OAuth2 => !provider.is_proxy(),
        }
    }

    /// As a condition on lists.
    pub const fn filter(self) -> Option<&'static str> {
        match self {
            Self::Any => None,
            Self::Proxy => Some("proxy"),
            Self::OAuth2 => Some("oauth2"),
        }
    }
}

/// What is to be stored of a provider; absent members stay as they are, or have their default on creation.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (PX-020)")]
pub struct Fields {
    pub name: Option<String>,
    pub authentication_flow: Option<Option<FlowId>>,
    pub authorization_flow: Option<FlowId>,
    pub invalidation_flow: Option<FlowId>,
    pub property_mappings: Option<Vec<MappingId>>,
    pub mode: Option<String>,
    pub external_host: Option<String>,
    pub internal_host: Option<String>,
    pub internal_host_ssl_validation: Option<bool>,
    pub certificate: Option<Option<CertificateId>>,
    pub skip_path_regex: Option<String>,
    pub intercept_header_auth: Option<bool>,
    pub basic_auth_enabled: Option<bool>,
    pub basic_auth_user_attribute: Option<String>,
    pub basic_auth_password_attribute: Option<String>,
    pub cookie_domain: Option<String>,
    pub jwt_federation_sources: Option<Vec<Uuid>>,
    pub jwt_federation_providers: Option<Vec<ProviderPk>>,
    pub federation_audiences: Option<Vec<String>>,
    pub cap_to_assertion_exp: Option<bool>,
    pub access_token_validity: Option<String>,
    pub refresh_token_validity: Option<String>,
}

/// Reads a provider's mode.
pub fn mode(text: &str) -> Option<Mode> {
    match text {
        "proxy" => Some(Mode::Proxy),
        "forward_single" => Some(Mode::ForwardSingle),
        "forward_domain" => Some(Mode::ForwardDomain),
        _ => None,
    }
}

/// The OAuth client secret.
///
/// # Errors
/// [`Error::Sealed`] when it cannot be opened.
pub fn client_secret(ctx: &Context, provider: &Provider) -> Result<String, Error> {
    open(ctx, provider, "client_secret", &provider.client_secret_sealed)
}

/// The key of the state token (PX-144).
///
/// # Errors
/// [`Error::Sealed`] when it cannot be opened.
pub fn cookie_secret(ctx: &Context, provider: &Provider) -> Result<String, Error> {
    open(ctx, provider, "cookie_secret", &provider.cookie_secret_sealed)
}

fn open(ctx: &Context, provider: &Provider, column: &str, sealed: &[u8]) -> Result<String, Error> {
    let place = place(provider.uuid, column);
    match ctx.keys.open(&place, sealed) {
        Ok(plain) => String::from_utf8(plain).map_err(|_| Error::Unreadable(place)),
        Err(source) => Err(Error::Sealed { place, source }),
    }
}

/// Sealed columns are named by the UUID: it is known before the row has a key.
fn place(uuid: Uuid, column: &str) -> String {
    format!("provider:{uuid}:{column}")
}

/// Makes a proxy provider with a fresh client id and fresh secrets. No outpost serves it yet.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<ProviderPk, Error> {
    actor.need(Verb::Add, Model::PROXY_PROVIDER)?;
    let mut change = Change::begin(ctx, actor).await?;
    let pk = create_in(ctx, &mut change, fields).await?;
    change.commit().await?;
    Ok(pk)
}

/// Makes a proxy provider as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// [`Error::Invalid`] for broken rules.
pub async fn create_in(ctx: &Context, change: &mut Change<'_>, fields: Fields) -> Result<ProviderPk, Error> {
    let mut problems = Problems::default();
    check::required(&fields, &mut problems);
    let mut made = blank(ctx);
    let warnings = settle(change, &mut made, &fields, None, &mut problems).await?;
    let taken = |error| Error::taken(error, "provider.name", "name", check::TAKEN);
    made.pk = provider::insert(change.conn(), &made).await.map_err(taken)?;
    set_mappings(change, made.pk, fields.property_mappings.unwrap_or_default()).await?;
    change.event("model_created", json!({"model": named(&made)})).await?;
    warn(change, &made, warnings).await?;
    Ok(made.pk)
}

/// Changes a proxy provider. Rules hold for what results, not for what is sent (PX-021).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken
/// rules.
pub async fn update(ctx: &Context, actor: &Actor, pk: ProviderPk, fields: Fields) -> Result<(), Error> {
    actor.need_on(Verb::Change, Model::PROXY_PROVIDER, &pk)?;
    let unused = check::unused(ctx, actor, pk, fields.basic_auth_password_attribute.as_deref()).await?;
    let mut change = Change::begin(ctx, actor).await?;
    update_in(&mut change, pk, fields, unused.as_deref()).await?;
    change.commit().await
}

/// Changes a provider as part of a larger change. The actor's right to do so is the caller's business; superusers need not know
/// of an attribute that it is `unused`.
///
/// # Errors
/// As [`update`], except for rights.
pub async fn update_in(
    change: &mut Change<'_>,
    pk: ProviderPk,
    fields: Fields,
    unused: Option<&str>,
) -> Result<(), Error> {
    let found = provider::by_pk(change.conn(), pk).await?.filter(Provider::is_proxy);
    let mut changed = found.ok_or(Error::NotFound("ProxyProvider"))?;
    let found = changed.clone();
    let before = snapshot(change, &changed).await?;
    let warnings = settle(change, &mut changed, &fields, unused, &mut Problems::default()).await?;
    let taken = |error| Error::taken(error, "provider.name", "name", check::TAKEN);
    provider::update(change.conn(), &changed).await.map_err(taken)?;
    end_distrusted(change, &found, &changed).await?;
    let mappings = match fields.property_mappings {
        Some(mappings) => mappings,
        None => provider::mapping_keys(change.conn(), pk).await?,
    };
    set_mappings(change, pk, mappings).await?;
    let after = snapshot(change, &changed).await?;
    change.touch(Touched::Provider(pk));
    change.event("model_updated", json!({"model": named(&changed), "diff": diff(&before, &after)})).await?;
    warn(change, &changed, warnings).await
}

/// Deletes a provider with everything that was granted through it; its application stays (CO-130).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] when what people have would
/// be secret no more.
pub async fn delete(ctx: &Context, actor: &Actor, pk: ProviderPk, kind: Kind) -> Result<(), Error> {
    actor.need_on(Verb::Delete, kind.model(), &pk)?;
    let unused = check::unused(ctx, actor, pk, Some("")).await?;
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, pk, kind, unused.as_deref()).await?;
    change.commit().await
}

/// Deletes a provider as part of a larger change, as [`update_in`] changes one.
///
/// # Errors
/// As [`delete`], except for rights.
pub async fn delete_in(change: &mut Change<'_>, pk: ProviderPk, kind: Kind, unused: Option<&str>) -> Result<(), Error> {
    let found = provider::by_pk(change.conn(), pk).await?.filter(|found| kind.includes(found));
    let gone = found.ok_or(Error::NotFound(kind.name()))?;
    let mut problems = Problems::default();
    check::gives_up(change, &gone, "", unused, "non_field_errors", &mut problems).await?;
    problems.check()?;
    change.end_tokens(&Ended::MadeOf(pk)).await?;
    provider::delete(change.conn(), pk).await?;
    forget(change, pk).await?;
    change.touch(Touched::Provider(pk));
    change.event("model_deleted", json!({"model": named(&gone)})).await
}

/// Ends what a provider issued because it trusted somebody whom it trusts no more, and what was made of that.
pub(crate) async fn end_distrusted(change: &mut Change<'_>, before: &Provider, now: &Provider) -> Result<(), Error> {
    fn left<'a>(before: &'a Value, now: &'a Value) -> impl Iterator<Item = &'a Value> {
        let kept = |gone: &&Value| now.as_array().is_none_or(|now| !now.contains(gone));
        before.as_array().into_iter().flatten().filter(kept)
    }
    for source in left(&before.jwt_federation_sources, &now.jwt_federation_sources) {
        if let Some(source) = source.as_str().and_then(|source| source.parse().ok()) {
            change.end_tokens(&Ended::SourceAt(source, now.pk)).await?;
        }
    }
    for other in left(&before.jwt_federation_providers, &now.jwt_federation_providers) {
        if let Some(other) = other.as_i64().and_then(|other| i32::try_from(other).ok()) {
            change.end_tokens(&Ended::MadeAt(ProviderPk(other), now.pk)).await?;
        }
    }
    Ok(())
}

/// Takes a provider that is gone out of the lists of those whose tokens others accept.
async fn forget(change: &mut Change<'_>, gone: ProviderPk) -> Result<(), Error> {
    for mut other in provider::federating(change.conn()).await? {
        let Some(federated) = other.jwt_federation_providers.as_array_mut() else { continue };
        let before = federated.len();
        federated.retain(|pk| pk.as_i64() != Some(gone.0.into()));
        if federated.len() < before {
            provider::update(change.conn(), &other).await?;
            change.touch(Touched::Provider(other.pk));
        }
    }
    Ok(())
}

/// A new provider with its identifiers and secrets.
fn blank(ctx: &Context) -> Provider {
    let uuid = ctx.entropy.uuid();
    let seal = |column: &str, plain: String| ctx.keys.seal(&place(uuid, column), plain.as_bytes(), &*ctx.entropy);
    Provider {
        client_id: ctx.entropy.alphanumeric(40),
        client_secret_sealed: seal("client_secret", ctx.entropy.alphanumeric(128)),
        cookie_secret_sealed: seal("cookie_secret", ctx.entropy.upper_alphanumeric(32)),
        ..without_secrets(uuid)
    }
}

/// What a provider is when nothing is said about it.
pub(crate) fn without_secrets(uuid: Uuid) -> Provider {
    Provider {
        pk: ProviderPk(0),
        uuid,
        kind: "proxy".to_owned(),
        name: String::new(),
        authentication_flow: None,
        authorization_flow: FlowId(Uuid::nil()),
        invalidation_flow: FlowId(Uuid::nil()),
        client_id: String::new(),
        client_type: "confidential".to_owned(),
        grant_types: json!(["authorization_code", "refresh_token", "client_credentials", "password"]),
        client_secret_sealed: Vec::new(),
        redirect_uris: json!([]),
        access_code_validity: "minutes=1".to_owned(),
        access_token_validity: "hours=1".to_owned(),
        refresh_token_validity: "days=30".to_owned(),
        refresh_token_threshold: "seconds=0".to_owned(),
        include_claims_in_id_token: true,
        signing_key: None,
        sub_mode: "hashed_user_id".to_owned(),
        issuer_mode: "per_provider".to_owned(),
        logout_uri: String::new(),
        logout_method: "backchannel".to_owned(),
        jwt_federation_sources: json!([]),
        jwt_federation_providers: json!([]),
        federation_audiences: json!([]),
        cap_to_assertion_exp: true,
        client_secret_expires: None,
        client_secret_used: None,
        second_secret_sealed: Vec::new(),
        second_secret_expires: None,
        second_secret_used: None,
        client_jwks: json!({}),
        encryption_key: None,
        refresh_family_max_age: String::new(),
        exchange_without_actor: false,
        require_pkce: false,
        m2m_require_client_auth: false,
        allow_pkce_plain: false,
        device_code_validity: "minutes=10".to_owned(),
        device_require_client_auth: true,
        allowed_origins: json!([]),
        allow_query_token: false,
        allow_broad_redirect_uris: false,
        mode: "proxy".to_owned(),
        external_host: String::new(),
        internal_host: String::new(),
        internal_host_ssl_validation: true,
        certificate: None,
        skip_path_regex: String::new(),
        intercept_header_auth: true,
        basic_auth_enabled: false,
        basic_auth_user_attribute: String::new(),
        basic_auth_password_attribute: String::new(),
        cookie_domain: String::new(),
        cookie_secret_sealed: Vec::new(),
    }
}

/// Brings a provider to what was asked for, checks the result, and forces what proxy providers must have.
/// Gives what an administrator should be warned of.
async fn settle(
    change: &mut Change<'_>,
    provider: &mut Provider,
    fields: &Fields,
    unused: Option<&str>,
    problems: &mut Problems,
) -> Result<Vec<String>, Error> {
    let before = provider.clone();
    apply(provider, fields);
    let actor = change.actor();
    let may_show = |pk| before.certificate == Some(pk) || actor.may_use(pk);
    check::references(change.conn(), fields, may_show, problems).await?;
    mappings::check_scopes(change, provider.pk, fields.property_mappings.as_deref(), problems).await?;
    check::moves(change, &before, provider, problems).await?;
    check::credentials(change, &before, provider, unused, problems).await?;
    let mut warnings = check::rules(provider, fields, problems);
    check::other_host(&change.context().base_url, provider, problems);
    std::mem::take(problems).check()?;
    if provider.external_host != before.external_host {
        warnings.extend(check::shared_host(change.conn(), provider).await?);
    }
    let rule = RedirectRule::new(&provider.external_host, Mode::Proxy, "");
    let rule = rule.map_err(|error| Error::field("external_host", error.to_string()))?;
    let strict = |url| json!({"matching_mode": "strict", "url": url, "redirect_uri_type": "authorization"});
    provider.redirect_uris = rule.redirect_uris().into_iter().map(strict).collect();
    Ok(warnings)
}

fn set<T: Clone>(stored: &mut T, written: &Option<T>) {
    if let Some(written) = written {
        stored.clone_from(written);
    }
}

fn apply(provider: &mut Provider, fields: &Fields) {
    set(&mut provider.name, &fields.name);
    set(&mut provider.authentication_flow, &fields.authentication_flow);
    set(&mut provider.authorization_flow, &fields.authorization_flow);
    set(&mut provider.invalidation_flow, &fields.invalidation_flow);
    set(&mut provider.mode, &fields.mode);
    set(&mut provider.external_host, &fields.external_host);
    set(&mut provider.internal_host, &fields.internal_host);
    set(&mut provider.internal_host_ssl_validation, &fields.internal_host_ssl_validation);
    set(&mut provider.certificate, &fields.certificate);
    set(&mut provider.skip_path_regex, &fields.skip_path_regex);
    set(&mut provider.intercept_header_auth, &fields.intercept_header_auth);
    set(&mut provider.basic_auth_enabled, &fields.basic_auth_enabled);
    set(&mut provider.basic_auth_user_attribute, &fields.basic_auth_user_attribute);
    set(&mut provider.basic_auth_password_attribute, &fields.basic_auth_password_attribute);
    set(&mut provider.cookie_domain, &fields.cookie_domain);
    set(&mut provider.access_token_validity, &fields.access_token_validity);
    set(&mut provider.refresh_token_validity, &fields.refresh_token_validity);
    set(&mut provider.jwt_federation_sources, &fields.jwt_federation_sources.as_ref().map(|list| json!(list)));
    set(&mut provider.jwt_federation_providers, &fields.jwt_federation_providers.as_ref().map(|list| json!(list)));
    set(&mut provider.federation_audiences, &fields.federation_audiences.as_ref().map(|list| json!(list)));
    set(&mut provider.cap_to_assertion_exp, &fields.cap_to_assertion_exp);
}

/// Stores the mappings that were chosen, and the managed ones that every proxy provider has (PX-025, OA-070).
async fn set_mappings(change: &mut Change<'_>, pk: ProviderPk, mut chosen: Vec<MappingId>) -> Result<(), Error> {
    for managed in mappings::OF_PROXIES {
        if let Some(managed) = mapping::by_managed(change.conn(), managed).await?
            && !chosen.contains(&managed.pk)
        {
            chosen.push(managed.pk);
        }
    }
    Ok(provider::set_mappings(change.conn(), pk, &chosen).await?)
}

async fn warn(change: &mut Change<'_>, provider: &Provider, warnings: Vec<String>) -> Result<(), Error> {
    for message in warnings {
        change.event("configuration_warning", json!({"message": message, "provider": named(provider)})).await?;
    }
    Ok(())
}

pub(crate) fn named(provider: &Provider) -> Value {
    match provider.is_proxy() {
        true => model("authentik_providers_proxy", "proxyprovider", provider.pk, &provider.name),
        false => model("authentik_providers_oauth2", "oauth2provider", provider.pk, &provider.name),
    }
}

/// What events tell of a provider: everything but its secrets.
async fn snapshot(change: &mut Change<'_>, provider: &Provider) -> Result<Value, Error> {
    let mappings = provider::mapping_keys(change.conn(), provider.pk).await?;
    let application = application::by_provider(change.conn(), provider.pk).await?;
    Ok(json!({
        "name": provider.name,
        "application": application.map(|application| application.slug),
        "authentication_flow": provider.authentication_flow,
        "authorization_flow": provider.authorization_flow,
        "invalidation_flow": provider.invalidation_flow,
        "property_mappings": mappings,
        "mode": provider.mode,
        "external_host": provider.external_host,
        "internal_host": provider.internal_host,
        "internal_host_ssl_validation": provider.internal_host_ssl_validation,
        "certificate": provider.certificate,
        "skip_path_regex": provider.skip_path_regex,
        "intercept_header_auth": provider.intercept_header_auth,
        "basic_auth_enabled": provider.basic_auth_enabled,
        "basic_auth_user_attribute": provider.basic_auth_user_attribute,
        "basic_auth_password_attribute": provider.basic_auth_password_attribute,
        "cookie_domain": provider.cookie_domain,
        "jwt_federation_sources": provider.jwt_federation_sources,
        "jwt_federation_providers": provider.jwt_federation_providers,
        "federation_audiences": provider.federation_audiences,
        "cap_to_assertion_exp": provider.cap_to_assertion_exp,
        "access_token_validity": provider.access_token_validity,
        "refresh_token_validity": provider.refresh_token_validity,
    }))
}
