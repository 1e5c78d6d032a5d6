//! Where users come from: the directory of the instance itself, and other identity providers, which are made, changed
//! and deleted (CO-566, CO-567). What those vouch for is the business of [`oauth::machine`](crate::oauth::machine).

pub mod built_in;
mod check;
pub mod jwks;
pub mod kinds;

use portcullis_core::id::{FlowId, MappingId, SourceId};
use portcullis_core::permission::{Model, Verb};
use portcullis_store::grant::descent::Ended;
use portcullis_store::{Conn, provider, source};
use serde_json::{Value, json};

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::event::{add, diff, model};
use crate::list::{Listed, Slice};

pub use portcullis_store::source::{Filter, Order, Source};

/// How often a change is tried anew when somebody else was quicker.
const TRIES: usize = 8;

/// What is to be stored of a source; absent members stay as they are, or have their default on creation.
#[derive(Clone, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (CO-567)")]
pub struct Fields {
    pub name: Option<String>,
    pub slug: Option<String>,
    pub enabled: Option<bool>,
    pub promoted: Option<bool>,
    pub authentication_flow: Option<Option<FlowId>>,
    pub enrollment_flow: Option<Option<FlowId>>,
    pub user_property_mappings: Option<Vec<MappingId>>,
    pub group_property_mappings: Option<Vec<MappingId>>,
    pub policy_engine_mode: Option<String>,
    pub user_matching_mode: Option<String>,
    pub group_matching_mode: Option<String>,
    pub user_path_template: Option<String>,
    pub icon: Option<String>,
    pub provider_type: Option<String>,
    pub request_token_url: Option<Option<String>>,
    pub authorization_url: Option<Option<String>>,
    pub access_token_url: Option<Option<String>>,
    pub profile_url: Option<Option<String>>,
    pub pkce: Option<String>,
    pub consumer_key: Option<String>,
    pub consumer_secret: Option<String>,
    pub additional_scopes: Option<String>,
    pub oidc_well_known_url: Option<String>,
    pub oidc_jwks_url: Option<String>,
    pub oidc_jwks: Option<Value>,
    pub authorization_code_auth_method: Option<String>,
    pub expected_issuers: Option<Vec<String>>,
    pub expected_audiences: Option<Vec<String>>,
    pub allowed_algorithms: Option<Vec<String>>,
    pub max_assertion_lifetime: Option<String>,
    pub assertion_leeway: Option<String>,
    pub audience_check: Option<bool>,
    pub require_exp: Option<bool>,
    pub single_use: Option<bool>,
}

/// The sources that meet conditions.
///
/// # Errors
/// [`Error::Forbidden`] for those who may see none; else when the store fails.
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<Source>, Error> {
    let slice = slice.of(actor.sees(Model::OAUTH_SOURCE)?);
    let mut conn = ctx.db.read().await?;
    Ok(source::list(&mut conn, filter, slice).await?)
}

/// The source with this slug.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], or when the store fails.
pub async fn get(ctx: &Context, actor: &Actor, slug: &str, kind: Model) -> Result<Source, Error> {
    let mut conn = ctx.db.read().await?;
    permitted(&mut conn, actor, Verb::View, slug, kind).await
}

/// The source with this slug, if the actor may do this to it as one of this kind of objects.
async fn permitted(conn: &mut Conn, actor: &Actor, verb: Verb, slug: &str, kind: Model) -> Result<Source, Error> {
    if !actor.may_somewhere(verb, kind) && actor.serving().is_none() {
        return Err(Error::Forbidden);
    }
    let found = source::by_slug(conn, slug).await?.ok_or(Error::NotFound(kind.kind))?;
    actor.need_on(verb, kind, &found.pk)?;
    Ok(found)
}

/// Makes a source. Its keys are fetched first if it says where from.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules, and when what it names
/// cannot be fetched.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<Source, Error> {
    actor.need(Verb::Add, Model::OAUTH_SOURCE)?;
    let mut made = blank(ctx);
    let mut problems = Problems::default();
    check::required(&fields, &mut problems);
    settle(ctx, &mut made, &fields, problems).await?;
    let mut change = Change::begin(ctx, actor).await?;
    insert(&mut change, &made).await?;
    change.commit().await?;
    Ok(made)
}

/// Makes a source as part of a larger change. The actor's right to do so is the caller's business. Nothing is fetched
/// while the store is locked: its keys are when they are first needed.
///
/// # Errors
/// As [`create`], except for rights and for what cannot be fetched.
pub async fn create_in(change: &mut Change<'_>, fields: Fields) -> Result<Source, Error> {
    let ctx = change.context();
    let mut made = blank(ctx);
    let mut problems = Problems::default();
    check::required(&fields, &mut problems);
    if settle_in(ctx, change.conn(), &mut made, &fields, problems).await? {
        jwks::forget(&mut made);
    }
    insert(change, &made).await?;
    Ok(made)
}

async fn insert(change: &mut Change<'_>, made: &Source) -> Result<(), Error> {
    source::insert(change.conn(), made).await.map_err(check::taken)?;
    change.event("model_created", json!({"model": named(made)})).await
}

/// Changes a source; what rests on it is looked at again.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken rules, and
/// when what it names cannot be fetched.
pub async fn update(ctx: &Context, actor: &Actor, slug: &str, fields: Fields) -> Result<Source, Error> {
    for _ in 0..TRIES {
        let before = permitted(&mut ctx.db.read().await?, actor, Verb::Change, slug, Model::OAUTH_SOURCE).await?;
        let mut changed = before.clone();
        // Whatever is fetched is fetched before the store is locked.
        settle(ctx, &mut changed, &fields, Problems::default()).await?;
        let mut change = Change::begin(ctx, actor).await?;
        let present = source::by_pk(change.conn(), before.pk).await?.ok_or(Error::NotFound("OAuthSource"))?;
        // Fetching takes its time: what somebody else has changed meanwhile is not undone, but added to.
        let same_secret = present.consumer_secret_sealed == before.consumer_secret_sealed;
        if same_secret && snapshot(&present) == snapshot(&before) {
            store(&mut change, &before, &changed, &fields).await?;
            change.commit().await?;
            return Ok(changed);
        }
    }
    Err(Error::Busy)
}

/// Changes a source as part of a larger change. The actor's right to do so is the caller's business. Nothing is fetched
/// while the store is locked: its keys are when they are next needed.
///
/// # Errors
/// As [`update`], except for rights and for what cannot be fetched.
pub async fn update_in(change: &mut Change<'_>, pk: SourceId, fields: Fields) -> Result<(), Error> {
    let ctx = change.context();
    let before = source::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("OAuthSource"))?;
    let mut changed = before.clone();
    if settle_in(ctx, change.conn(), &mut changed, &fields, Problems::default()).await? {
        jwks::forget(&mut changed);
    }
    store(change, &before, &changed, &fields).await
}

async fn store(change: &mut Change<'_>, before: &Source, changed: &Source, fields: &Fields) -> Result<(), Error> {
    check::vouching(change, before, changed).await?;
    source::update(change.conn(), changed).await.map_err(check::taken)?;
    touch(change, changed.pk).await?;
    if before.enabled && !changed.enabled {
        change.end_tokens(&Ended::Source(changed.pk)).await?;
    }
    let mut difference = diff(&snapshot(before), &snapshot(changed));
    if fields.consumer_secret.is_some() {
        add(&mut difference, "consumer_secret", json!({"previous": "", "new": ""}));
    }
    change.event("model_updated", json!({"model": named(changed), "diff": difference})).await
}

/// The sources that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails.
pub async fn all_in(change: &mut Change<'_>, filter: &Filter) -> Result<Vec<Source>, Error> {
    Ok(source::list(change.conn(), filter, Slice::ALL).await?.rows)
}

/// Deletes a source; providers trust it no more, and what it vouched for ends.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`].
pub async fn delete(ctx: &Context, actor: &Actor, slug: &str, kind: Model) -> Result<(), Error> {
    let mut change = Change::begin(ctx, actor).await?;
    permitted(change.conn(), actor, Verb::Delete, slug, kind).await?;
    delete_in(&mut change, slug, kind.kind).await?;
    change.commit().await
}

/// Deletes a source as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`delete`], except for rights.
pub async fn delete_in(change: &mut Change<'_>, slug: &str, kind: &'static str) -> Result<(), Error> {
    let gone = source::by_slug(change.conn(), slug).await?.ok_or(Error::NotFound(kind))?;
    for mut other in touch(change, gone.pk).await? {
        if let Some(list) = other.jwt_federation_sources.as_array_mut() {
            let pk = gone.pk.to_string();
            list.retain(|known| *known != *pk);
            provider::update(change.conn(), &other).await?;
        }
    }
    source::delete(change.conn(), gone.pk).await?;
    change.end_tokens(&Ended::Source(gone.pk)).await?;
    change.event("model_deleted", json!({"model": named(&gone)})).await
}

async fn touch(change: &mut Change<'_>, pk: SourceId) -> Result<Vec<provider::Provider>, Error> {
    let trusting = provider::trusting(change.conn(), pk).await?;
    for provider in &trusting {
        change.touch(Touched::Provider(provider.pk));
    }
    Ok(trusting)
}

async fn settle(ctx: &Context, source: &mut Source, fields: &Fields, problems: Problems) -> Result<(), Error> {
    let mut conn = ctx.db.read().await?;
    let led_elsewhere = settle_in(ctx, &mut conn, source, fields, problems).await?;
    drop(conn);
    if led_elsewhere {
        jwks::begin_anew(ctx, source).await?;
    }
    Ok(())
}

/// Brings a source to what was asked for, and checks the result. Tells whether its keys are somewhere else now.
async fn settle_in(
    ctx: &Context,
    conn: &mut Conn,
    source: &mut Source,
    fields: &Fields,
    mut problems: Problems,
) -> Result<bool, Error> {
    let (well_known, keys) = (source.oidc_well_known_url.clone(), source.oidc_jwks_url.clone());
    apply(source, fields);
    if let Some(secret) = &fields.consumer_secret {
        source.consumer_secret_sealed = ctx.keys.seal(&place(source.pk), secret.as_bytes(), &*ctx.entropy);
    }
    check::references(conn, fields, &mut problems).await?;
    check::rules(source, fields, &mut problems);
    problems.check()?;
    Ok(source.oidc_well_known_url != well_known || source.oidc_jwks_url != keys)
}

fn place(pk: SourceId) -> String {
    format!("oauth_source:{pk}:consumer_secret")
}

fn apply(source: &mut Source, fields: &Fields) {
    fn set<T: Clone>(stored: &mut T, written: &Option<T>) {
        if let Some(written) = written {
            stored.clone_from(written);
        }
    }
    fn set_list<T: serde::Serialize>(stored: &mut Value, written: Option<&Vec<T>>) {
        if let Some(written) = written {
            *stored = json!(written);
        }
    }
    set(&mut source.name, &fields.name);
    set(&mut source.slug, &fields.slug);
    set(&mut source.enabled, &fields.enabled);
    set(&mut source.promoted, &fields.promoted);
    set(&mut source.authentication_flow, &fields.authentication_flow);
    set(&mut source.enrollment_flow, &fields.enrollment_flow);
    set_list(&mut source.user_property_mappings, fields.user_property_mappings.as_ref());
    set_list(&mut source.group_property_mappings, fields.group_property_mappings.as_ref());
    set(&mut source.policy_engine_mode, &fields.policy_engine_mode);
    set(&mut source.user_matching_mode, &fields.user_matching_mode);
    set(&mut source.group_matching_mode, &fields.group_matching_mode);
    set(&mut source.user_path_template, &fields.user_path_template);
    set(&mut source.icon, &fields.icon);
    set(&mut source.provider_type, &fields.provider_type);
    set(&mut source.request_token_url, &fields.request_token_url);
    set(&mut source.authorization_url, &fields.authorization_url);
    set(&mut source.access_token_url, &fields.access_token_url);
    set(&mut source.profile_url, &fields.profile_url);
    set(&mut source.pkce, &fields.pkce);
    set(&mut source.consumer_key, &fields.consumer_key);
    set(&mut source.additional_scopes, &fields.additional_scopes);
    set(&mut source.oidc_well_known_url, &fields.oidc_well_known_url);
    set(&mut source.oidc_jwks_url, &fields.oidc_jwks_url);
    set(&mut source.oidc_jwks, &fields.oidc_jwks);
    set(&mut source.authorization_code_auth_method, &fields.authorization_code_auth_method);
    set_list(&mut source.expected_issuers, fields.expected_issuers.as_ref());
    set_list(&mut source.expected_audiences, fields.expected_audiences.as_ref());
    set_list(&mut source.allowed_algorithms, fields.allowed_algorithms.as_ref());
    set(&mut source.max_assertion_lifetime, &fields.max_assertion_lifetime);
    set(&mut source.assertion_leeway, &fields.assertion_leeway);
    set(&mut source.audience_check, &fields.audience_check);
    set(&mut source.require_exp, &fields.require_exp);
    set(&mut source.single_use, &fields.single_use);
}

fn blank(ctx: &Context) -> Source {
    Source {
        pk: SourceId(ctx.entropy.uuid()),
        name: String::new(),
        slug: String::new(),
        enabled: true,
        promoted: false,
        authentication_flow: None,
        enrollment_flow: None,
        user_property_mappings: json!([]),
        group_property_mappings: json!([]),
        policy_engine_mode: "any".to_owned(),
        user_matching_mode: "identifier".to_owned(),
        group_matching_mode: "identifier".to_owned(),
        user_path_template: "goauthentik.io/sources/%(slug)s".to_owned(),
        icon: String::new(),
        provider_type: String::new(),
        request_token_url: None,
        authorization_url: None,
        access_token_url: None,
        profile_url: None,
        pkce: "none".to_owned(),
        consumer_key: String::new(),
        consumer_secret_sealed: Vec::new(),
        additional_scopes: String::new(),
        oidc_well_known_url: String::new(),
        oidc_jwks_url: String::new(),
        oidc_jwks: json!({}),
        authorization_code_auth_method: "basic_auth".to_owned(),
        expected_issuers: json!([]),
        expected_audiences: json!([]),
        allowed_algorithms: json!([]),
        max_assertion_lifetime: "days=1".to_owned(),
        assertion_leeway: "seconds=30".to_owned(),
        audience_check: true,
        require_exp: true,
        single_use: false,
        discovered_issuer: String::new(),
        fetched_jwks: json!({}),
        fetched_at: None,
        fresh_until: None,
    }
}

pub(crate) fn named(source: &Source) -> Value {
    model("authentik_sources_oauth", "oauthsource", source.pk, &source.name)
}

/// What events tell of a source: everything but its secret. Names avoid words that would have them cleansed.
fn snapshot(source: &Source) -> Value {
    json!({
        "name": source.name,
        "slug": source.slug,
        "enabled": source.enabled,
        "promoted": source.promoted,
        "authentication_flow": source.authentication_flow,
        "enrollment_flow": source.enrollment_flow,
        "user_property_mappings": source.user_property_mappings,
        "group_property_mappings": source.group_property_mappings,
        "policy_engine_mode": source.policy_engine_mode,
        "user_matching_mode": source.user_matching_mode,
        "group_matching_mode": source.group_matching_mode,
        "user_path_template": source.user_path_template,
        "provider_type": source.provider_type,
        "authorization_url": source.authorization_url,
        "profile_url": source.profile_url,
        "pkce": source.pkce,
        "client": source.consumer_key,
        "additional_scopes": source.additional_scopes,
        "oidc_well_known_url": source.oidc_well_known_url,
        "oidc_jwks_url": source.oidc_jwks_url,
        "oidc_jwks": source.oidc_jwks,
        "expected_issuers": source.expected_issuers,
        "expected_audiences": source.expected_audiences,
        "allowed_algorithms": source.allowed_algorithms,
        "max_assertion_lifetime": source.max_assertion_lifetime,
        "assertion_leeway": source.assertion_leeway,
        "audience_check": source.audience_check,
        "require_exp": source.require_exp,
        "single_use": source.single_use,
    })
}

/// The texts of a stored list.
pub(crate) fn texts(list: &Value) -> Vec<&str> {
    list.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str).collect()
}
