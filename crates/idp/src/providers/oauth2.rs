//! OAuth2 clients of their own: made, changed, shown (OA section 2, CO-558).

mod check;
mod preview;

use portcullis_core::attributes::MASK;
use portcullis_core::clock::Timestamp;
use portcullis_core::id::{CertificateId, FlowId, MappingId, ProviderPk};
use portcullis_core::permission::{Model, Verb};
use portcullis_store::provider::{self, Provider};
use serde_json::{Value, json};
use uuid::Uuid;

use super::secrets::{seal_second, second_secret};
use super::{Kind, View, blank, get, named, place, set, warn};
use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::event::{add, diff};
use crate::{mappings, oauth, signing};

pub use preview::preview;

/// What is to be stored of a client; absent members stay as they are, or have their default on creation.
#[derive(Clone, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (OA section 2)")]
pub struct Fields {
    pub name: Option<String>,
    pub authentication_flow: Option<Option<FlowId>>,
    pub authorization_flow: Option<FlowId>,
    pub invalidation_flow: Option<FlowId>,
    pub property_mappings: Option<Vec<MappingId>>,
    pub client_type: Option<String>,
    pub client_id: Option<String>,
    pub client_secret: Option<String>,
    pub client_secret_expires: Option<Option<Timestamp>>,
    pub second_client_secret: Option<String>,
    pub second_client_secret_expires: Option<Option<Timestamp>>,
    pub client_jwks: Option<Value>,
    pub grant_types: Option<Vec<String>>,
    pub redirect_uris: Option<Vec<RedirectUri>>,
    pub access_code_validity: Option<String>,
    pub access_token_validity: Option<String>,
    pub refresh_token_validity: Option<String>,
    pub refresh_token_threshold: Option<String>,
    pub refresh_family_max_age: Option<String>,
    pub include_claims_in_id_token: Option<bool>,
    pub signing_key: Option<Option<CertificateId>>,
    pub encryption_key: Option<Option<CertificateId>>,
    pub logout_uri: Option<String>,
    pub logout_method: Option<String>,
    pub sub_mode: Option<String>,
    pub issuer_mode: Option<String>,
    pub jwt_federation_sources: Option<Vec<Uuid>>,
    pub jwt_federation_providers: Option<Vec<ProviderPk>>,
    pub federation_audiences: Option<Vec<String>>,
    pub cap_to_assertion_exp: Option<bool>,
    pub token_exchange_without_actor: Option<bool>,
    pub require_pkce: Option<bool>,
    pub m2m_require_client_auth: Option<bool>,
    pub allow_pkce_plain: Option<bool>,
    pub device_code_validity: Option<String>,
    pub device_require_client_auth: Option<bool>,
    pub allowed_origins: Option<Vec<String>>,
    pub allow_query_token: Option<bool>,
    pub allow_broad_redirect_uris: Option<bool>,
}

/// Where browsers may be sent (OA-025).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri {
    /// `strict` or `regex`.
    pub matching_mode: String,
    /// The URI, or a pattern of URIs.
    pub url: String,
    /// `authorization` or `logout`.
    pub kind: String,
}

/// Makes a client; what it is not told it draws itself: id and secret.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<ProviderPk, Error> {
    actor.need(Verb::Add, Model::OAUTH2_PROVIDER)?;
    let mut change = Change::begin(ctx, actor).await?;
    let made = create_in(&mut change, fields).await?;
    change.commit().await?;
    Ok(made)
}

/// Makes a client as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`create`], except for rights.
pub async fn create_in(change: &mut Change<'_>, fields: Fields) -> Result<ProviderPk, Error> {
    let ctx = change.context();
    let mut made = Provider {
        kind: "oauth2".to_owned(),
        mode: String::new(),
        grant_types: json!(["authorization_code", "refresh_token", "client_credentials"]),
        ..blank(ctx)
    };
    let mut problems = Problems::default();
    check::required(&fields, &mut problems);
    let warnings = settle(ctx, change, &mut made, &fields, problems).await?;
    made.pk = provider::insert(change.conn(), &made).await.map_err(check::taken)?;
    let mappings = fields.property_mappings.unwrap_or_default();
    provider::set_mappings(change.conn(), made.pk, &mappings).await?;
    change.event("model_created", json!({"model": named(&made)})).await?;
    warn(change, &made, warnings).await?;
    Ok(made.pk)
}

/// Changes a client. Rules hold for what results, not for what is sent.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken
/// rules.
pub async fn update(ctx: &Context, actor: &Actor, pk: ProviderPk, fields: Fields) -> Result<(), Error> {
    actor.need_on(Verb::Change, Model::OAUTH2_PROVIDER, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    update_in(&mut change, pk, fields).await?;
    change.commit().await
}

/// Changes a client as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`update`], except for rights.
pub async fn update_in(change: &mut Change<'_>, pk: ProviderPk, fields: Fields) -> Result<(), Error> {
    let ctx = change.context();
    let found = provider::by_pk(change.conn(), pk).await?.filter(|found| Kind::OAuth2.includes(found));
    let before = found.ok_or(Error::NotFound(Kind::OAuth2.name()))?;
    let told_before = snapshot(change, &before).await?;
    let mut changed = before.clone();
    let mut warnings = settle(ctx, change, &mut changed, &fields, Problems::default()).await?;
    if changed.client_id != before.client_id || changed.sub_mode != before.sub_mode {
        // Whoever knows its users by what was issued so far takes them for others now (OA-052).
        warnings.push("Client id or subject mode was changed: the client sees other subjects or audiences.".to_owned());
    }
    provider::update(change.conn(), &changed).await.map_err(check::taken)?;
    signing::retire(change, &before, &changed).await?;
    super::end_distrusted(change, &before, &changed).await?;
    if let Some(mappings) = &fields.property_mappings {
        provider::set_mappings(change.conn(), pk, mappings).await?;
    }
    let mut difference = diff(&told_before, &snapshot(change, &changed).await?);
    for (field, differs) in [
        ("client_secret", changed.client_secret_sealed != before.client_secret_sealed),
        ("second_client_secret", changed.second_secret_sealed != before.second_secret_sealed),
    ] {
        if differs {
            add(&mut difference, field, json!({"previous": "", "new": ""}));
        }
    }
    change.touch(Touched::Provider(pk));
    change.event("model_updated", json!({"model": named(&changed), "diff": difference})).await?;
    warn(change, &changed, warnings).await
}

/// Brings a client to what was asked for, and checks the result. Gives what an administrator should be warned of.
async fn settle(
    ctx: &Context,
    change: &mut Change<'_>,
    provider: &mut Provider,
    fields: &Fields,
    mut problems: Problems,
) -> Result<Vec<String>, Error> {
    let before = provider.clone();
    let named_before = [before.signing_key, before.encryption_key];
    apply(provider, fields);
    let secrets = settle_secrets(ctx, provider, fields)?;
    let actor = change.actor();
    let may_use = |pk| named_before.contains(&Some(pk)) || actor.may_use(pk);
    check::references(ctx, change.conn(), fields, may_use, &mut problems).await?;
    mappings::check_scopes(change, provider.pk, fields.property_mappings.as_deref(), &mut problems).await?;
    super::check::moves(change, &before, provider, &mut problems).await?;
    super::secrets::check(change, &before, provider, &mut problems).await?;
    let warnings = check::rules(provider, fields, &secrets, &mut problems);
    problems.check()?;
    Ok(warnings)
}

/// Seals the secrets that were sent, and gives both as they are then. Of a new one nobody knows a use yet. A mask is what
/// somebody was shown in the place of one, and changes nothing.
fn settle_secrets(ctx: &Context, provider: &mut Provider, fields: &Fields) -> Result<[String; 2], Error> {
    let (first, second) = (super::client_secret(ctx, provider)?, second_secret(ctx, provider)?);
    let sent = |secret: &Option<String>| secret.clone().filter(|secret| secret != MASK);
    let first = match sent(&fields.client_secret) {
        Some(sent) if sent != first || provider.client_secret_sealed.is_empty() => {
            if sent != first {
                provider.client_secret_used = None;
            }
            let place = place(provider.uuid, "client_secret");
            provider.client_secret_sealed = ctx.keys.seal(&place, sent.as_bytes(), &*ctx.entropy);
            sent
        }
        _ => first,
    };
    let second = match sent(&fields.second_client_secret) {
        Some(sent) if sent != second => {
            provider.second_secret_used = None;
            provider.second_secret_sealed = seal_second(ctx, provider, &sent);
            sent
        }
        _ => second,
    };
    if second.is_empty() {
        provider.second_secret_expires = None;
    }
    Ok([first, second])
}

fn apply(provider: &mut Provider, fields: &Fields) {
    let was_public = provider.is_public();
    set(&mut provider.name, &fields.name);
    set(&mut provider.authentication_flow, &fields.authentication_flow);
    set(&mut provider.authorization_flow, &fields.authorization_flow);
    set(&mut provider.invalidation_flow, &fields.invalidation_flow);
    set(&mut provider.client_type, &fields.client_type);
    set(&mut provider.client_id, &fields.client_id);
    set(&mut provider.client_secret_expires, &fields.client_secret_expires);
    set(&mut provider.second_secret_expires, &fields.second_client_secret_expires);
    set(&mut provider.client_jwks, &fields.client_jwks);
    set(&mut provider.grant_types, &fields.grant_types.as_ref().map(|list| json!(list)));
    let listed = |list: &Vec<RedirectUri>| {
        let entry = |uri: &RedirectUri| json!({"matching_mode": uri.matching_mode, "url": uri.url, "redirect_uri_type": uri.kind});
        list.iter().map(entry).collect::<Value>()
    };
    set(&mut provider.redirect_uris, &fields.redirect_uris.as_ref().map(listed));
    set(&mut provider.access_code_validity, &fields.access_code_validity);
    set(&mut provider.access_token_validity, &fields.access_token_validity);
    set(&mut provider.refresh_token_validity, &fields.refresh_token_validity);
    set(&mut provider.refresh_token_threshold, &fields.refresh_token_threshold);
    set(&mut provider.refresh_family_max_age, &fields.refresh_family_max_age);
    set(&mut provider.include_claims_in_id_token, &fields.include_claims_in_id_token);
    set(&mut provider.signing_key, &fields.signing_key);
    set(&mut provider.encryption_key, &fields.encryption_key);
    set(&mut provider.logout_uri, &fields.logout_uri);
    set(&mut provider.logout_method, &fields.logout_method);
    set(&mut provider.sub_mode, &fields.sub_mode);
    set(&mut provider.issuer_mode, &fields.issuer_mode);
    set(&mut provider.jwt_federation_sources, &fields.jwt_federation_sources.as_ref().map(|list| json!(list)));
    set(&mut provider.jwt_federation_providers, &fields.jwt_federation_providers.as_ref().map(|list| json!(list)));
    set(&mut provider.federation_audiences, &fields.federation_audiences.as_ref().map(|list| json!(list)));
    set(&mut provider.cap_to_assertion_exp, &fields.cap_to_assertion_exp);
    set(&mut provider.exchange_without_actor, &fields.token_exchange_without_actor);
    set(&mut provider.require_pkce, &fields.require_pkce);
    if fields.require_pkce.is_none() && (was_public || provider.is_public()) {
        // It stays so for a client that gets a secret later, until somebody says otherwise (OA-041).
        provider.require_pkce = true;
    }
    set(&mut provider.m2m_require_client_auth, &fields.m2m_require_client_auth);
    set(&mut provider.allow_pkce_plain, &fields.allow_pkce_plain);
    set(&mut provider.device_code_validity, &fields.device_code_validity);
    set(&mut provider.device_require_client_auth, &fields.device_require_client_auth);
    set(&mut provider.allowed_origins, &fields.allowed_origins.as_ref().map(|list| json!(list)));
    set(&mut provider.allow_query_token, &fields.allow_query_token);
    set(&mut provider.allow_broad_redirect_uris, &fields.allow_broad_redirect_uris);
}

/// What events tell of a client: everything but its secret.
async fn snapshot(change: &mut Change<'_>, provider: &Provider) -> Result<Value, Error> {
    let mappings = provider::mapping_keys(change.conn(), provider.pk).await?;
    Ok(json!({
        "name": provider.name,
        "authentication_flow": provider.authentication_flow,
        "authorization_flow": provider.authorization_flow,
        "invalidation_flow": provider.invalidation_flow,
        "property_mappings": mappings,
        "client_type": provider.client_type,
        "client_id": provider.client_id,
        "grant_types": provider.grant_types,
        "redirect_uris": provider.redirect_uris,
        "access_code_validity": provider.access_code_validity,
        "access_token_validity": provider.access_token_validity,
        "refresh_token_validity": provider.refresh_token_validity,
        "refresh_token_threshold": provider.refresh_token_threshold,
        "include_claims_in_id_token": provider.include_claims_in_id_token,
        "signing_key": provider.signing_key,
        "logout_uri": provider.logout_uri,
        "logout_method": provider.logout_method,
        "sub_mode": provider.sub_mode,
        "issuer_mode": provider.issuer_mode,
        "jwt_federation_sources": provider.jwt_federation_sources,
        "jwt_federation_providers": provider.jwt_federation_providers,
        "federation_audiences": provider.federation_audiences,
        "cap_to_assertion_exp": provider.cap_to_assertion_exp,
        "encryption_key": provider.encryption_key,
        "client_jwks": provider.client_jwks,
        "refresh_family_max_age": provider.refresh_family_max_age,
        "exchange_without_actor": provider.exchange_without_actor,
        "require_pkce": provider.require_pkce,
        "m2m_require_client_auth": provider.m2m_require_client_auth,
        "allow_pkce_plain": provider.allow_pkce_plain,
        "device_code_validity": provider.device_code_validity,
        "device_require_client_auth": provider.device_require_client_auth,
        "allowed_origins": provider.allowed_origins,
        "allow_in_query": provider.allow_query_token,
        "allow_broad_redirect_uris": provider.allow_broad_redirect_uris,
        "first_ends": provider.client_secret_expires.map(|at| at.to_string()),
        "second_ends": provider.second_secret_expires.map(|at| at.to_string()),
    }))
}

/// The addresses that somebody needs who sets the client up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the key of the same name (CO-558)")]
pub struct SetupUrls {
    pub issuer: String,
    pub authorize: String,
    pub token: String,
    pub user_info: String,
    pub provider_info: String,
    pub logout: String,
    pub jwks: String,
}

/// The addresses of a client.
///
/// # Errors
/// [`Error::NotFound`], also without an application: there are none then (OA-049).
pub async fn setup_urls(ctx: &Context, actor: &Actor, pk: ProviderPk) -> Result<SetupUrls, Error> {
    let View { provider, application, .. } = get(ctx, actor, pk, Kind::OAuth2).await?;
    let slug = application.ok_or(Error::NotFound("Application"))?.slug;
    let at = |path: &str| format!("{}/application/o/{path}/", ctx.base_url);
    let place = oauth::place(ctx, &slug);
    Ok(SetupUrls {
        issuer: oauth::issuer(ctx, &provider, &slug),
        authorize: at("authorize"),
        token: at("token"),
        user_info: at("userinfo"),
        provider_info: format!("{place}.well-known/openid-configuration"),
        logout: format!("{place}end-session/"),
        jwks: format!("{place}jwks/"),
    })
}
