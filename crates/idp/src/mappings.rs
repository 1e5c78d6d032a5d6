//! Scope mappings: made, changed, deleted, tried out; and those that come with the installation (CO section 11).

pub mod engine;
pub(crate) mod native;
mod test;

use std::collections::HashSet;

use portcullis_core::id::{MappingId, ProviderPk};
use portcullis_core::permission::{Model, Verb};
use portcullis_store::{Conn, mapping, provider, source};
use serde_json::{Value, json};

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::event::{self, diff, model};
use crate::expressions;
use crate::list::{Listed, Slice};
use crate::policies::{self, Noted};

use native::Native;
pub use test::{Trial, Tried, test};

pub use portcullis_store::mapping::{Filter, Order, ScopeMapping};

/// Permanent names of the mappings that every proxy provider has (PX-025, OA-070), in the order in which
/// their scopes are asked for.
pub const OF_PROXIES: [&str; 5] = [
    "goauthentik.io/providers/oauth2/scope-openid",
    "goauthentik.io/providers/oauth2/scope-profile",
    "goauthentik.io/providers/oauth2/scope-email",
    "goauthentik.io/providers/oauth2/scope-entitlements",
    "goauthentik.io/providers/proxy/scope-proxy",
];

/// The scope with which a client may use the API on behalf of its users (CO-521). Clients get it from superusers alone,
/// who are among these users (CO-705).
pub const API_SCOPE: &str = "goauthentik.io/api";
const API_SCOPE_REFUSED: &str = "Only superusers may give this scope.";

/// A mapping that comes with the installation.
struct Managed {
    managed: &'static str,
    name: &'static str,
    scope_name: &'static str,
    description: &'static str,
    expression: &'static str,
}

const MANAGED: [Managed; 7] = [
    Managed {
        managed: OF_PROXIES[0],
        name: "authentik default OAuth Mapping: OpenID 'openid'",
        scope_name: "openid",
        description: "",
        expression: "# This scope is required by the OpenID-spec, and must as such exist.\nreturn {}\n",
    },
    Managed {
        managed: OF_PROXIES[1],
        name: "authentik default OAuth Mapping: OpenID 'profile'",
        scope_name: "profile",
        description: "General Profile Information",
        expression: r#"return {
    "name": request.user.name,
    "given_name": request.user.name,
    "preferred_username": request.user.username,
    "nickname": request.user.username,
    "groups": [group.name for group in request.user.groups.order_by("name")],
}
"#,
    },
    Managed {
        managed: OF_PROXIES[2],
        name: "authentik default OAuth Mapping: OpenID 'email'",
        scope_name: "email",
        description: "Email address",
        expression: "return {\n    \"email\": request.user.email,\n    \"email_verified\": False,\n}\n",
    },
    Managed {
        managed: OF_PROXIES[3],
        name: "authentik default OAuth Mapping: Application Entitlements",
        scope_name: "entitlements",
        description: "Application entitlements",
        expression: r#"entitlements = [
    entitlement.name for entitlement in request.user.app_entitlements(provider.application)
]
return {
    "entitlements": entitlements,
    "roles": entitlements,
}
"#,
    },
    Managed {
        managed: OF_PROXIES[4],
        name: "authentik default OAuth Mapping: Proxy outpost",
        scope_name: "ak_proxy",
        description: "What the application needs to sign you in",
        expression: r#"# Attributes are narrowed to what the provider needs before the claim is issued.
return {
    "ak_proxy": {
        "user_attributes": request.user.group_attributes(request),
        "is_superuser": request.user.is_superuser,
        "user_uuid": str(request.user.uuid),
    }
}
"#,
    },
    Managed {
        managed: "goauthentik.io/providers/oauth2/scope-offline_access",
        name: "authentik default OAuth Mapping: OpenID 'offline_access'",
        scope_name: "offline_access",
        description: "Access to request new tokens without interaction",
        expression: "return {}\n",
    },
    Managed {
        managed: "goauthentik.io/providers/oauth2/scope-authentik_api",
        name: "authentik default OAuth Mapping: authentik API access",
        scope_name: API_SCOPE,
        description: "authentik API Access on behalf of your user",
        expression: "return {}\n",
    },
];

/// The expression that a mapping came with.
#[cfg(test)]
pub(crate) fn shipped(managed: &str) -> Option<&'static str> {
    MANAGED.iter().find(|shipped| shipped.managed == managed).map(|shipped| shipped.expression)
}

/// The mappings that meet conditions, to somebody who asks for this kind of objects.
///
/// # Errors
/// [`Error::Forbidden`] for those who may see none; else when the store fails.
pub async fn list(
    ctx: &Context,
    actor: &Actor,
    kind: Model,
    filter: &Filter,
    slice: Slice,
) -> Result<Listed<ScopeMapping>, Error> {
    let slice = slice.of(actor.sees(kind)?);
    let mut conn = ctx.db.read().await?;
    Ok(mapping::list(&mut conn, filter, slice).await?)
}

/// The mapping with this key.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], or when the store fails.
pub async fn get(ctx: &Context, actor: &Actor, pk: MappingId, kind: Model) -> Result<ScopeMapping, Error> {
    actor.need_on(Verb::View, kind, &pk)?;
    let mut conn = ctx.db.read().await?;
    mapping::by_pk(&mut conn, pk).await?.ok_or(Error::NotFound(kind.kind))
}

/// The mappings that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails.
pub async fn all_in(change: &mut Change<'_>, filter: &Filter) -> Result<Vec<ScopeMapping>, Error> {
    Ok(mapping::list(change.conn(), filter, Slice::ALL).await?.rows)
}

/// Whether this is the permanent name of a mapping that comes with the installation.
pub fn is_shipped(managed: &str) -> bool {
    MANAGED.iter().any(|shipped| shipped.managed == managed)
}

/// What is to be stored of a mapping; absent members stay as they are, or are empty on creation.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (CO-565)")]
pub struct Fields {
    pub name: Option<String>,
    pub scope_name: Option<String>,
    pub description: Option<String>,
    pub expression: Option<String>,
}

const TAKEN: &str = "Scope Mapping with this name already exists.";

/// Makes a mapping. No provider has it yet.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<MappingId, Error> {
    actor.need(Verb::Add, Model::SCOPE_MAPPING)?;
    let mut change = Change::begin(ctx, actor).await?;
    let made = create_in(&mut change, fields).await?;
    change.commit().await?;
    Ok(made)
}

/// Makes a mapping as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`create`], except for rights.
pub async fn create_in(change: &mut Change<'_>, fields: Fields) -> Result<MappingId, Error> {
    let ctx = change.context();
    let mut made = ScopeMapping {
        pk: MappingId(ctx.entropy.uuid()),
        name: String::new(),
        scope_name: String::new(),
        description: String::new(),
        expression: String::new(),
        managed: None,
    };
    settle(ctx, change.actor(), &mut made, fields)?;
    let taken = |error| Error::taken(error, "scope_mapping.name", "name", TAKEN);
    mapping::insert(change.conn(), &made).await.map_err(taken)?;
    change.event("model_created", json!({"model": named(&made)})).await?;
    Ok(made.pk)
}

/// Changes a mapping; identities that its claims are part of are made again.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken
/// rules.
pub async fn update(ctx: &Context, actor: &Actor, pk: MappingId, fields: Fields) -> Result<(), Error> {
    actor.need_on(Verb::Change, Model::SCOPE_MAPPING, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    update_in(&mut change, pk, fields).await?;
    change.commit().await
}

/// Changes a mapping as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`update`], except for rights.
pub async fn update_in(change: &mut Change<'_>, pk: MappingId, fields: Fields) -> Result<(), Error> {
    let ctx = change.context();
    let before = mapping::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("ScopeMapping"))?;
    let mut changed = before.clone();
    settle(ctx, change.actor(), &mut changed, fields)?;
    store(change, &before, &changed).await
}

/// Gives a mapping that came with the installation the scope and expression that it came with (CO-283).
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`] for every other mapping,
/// [`Error::Invalid`] when its scope would be for superusers to give.
pub async fn restore(ctx: &Context, actor: &Actor, pk: MappingId) -> Result<(), Error> {
    actor.need_on(Verb::Change, Model::SCOPE_MAPPING, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    let before = mapping::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("ScopeMapping"))?;
    let shipped = MANAGED.iter().find(|shipped| Some(shipped.managed) == before.managed.as_deref());
    let shipped = shipped.ok_or(Error::NotFound("ScopeMapping"))?;
    let changed = ScopeMapping {
        scope_name: shipped.scope_name.to_owned(),
        expression: shipped.expression.trim().to_owned(),
        ..before.clone()
    };
    if !actor.is_superuser && changed.scope_name == API_SCOPE && before.scope_name != API_SCOPE {
        return Err(Error::field("scope_name", API_SCOPE_REFUSED));
    }
    store(&mut change, &before, &changed).await?;
    change.commit().await
}

async fn store(change: &mut Change<'_>, before: &ScopeMapping, changed: &ScopeMapping) -> Result<(), Error> {
    let taken = |error| Error::taken(error, "scope_mapping.name", "name", TAKEN);
    mapping::update(change.conn(), changed).await.map_err(taken)?;
    touch(change, changed.pk).await?;
    let difference = diff(&snapshot(before), &snapshot(changed));
    change.event("model_updated", json!({"model": named(changed), "diff": difference})).await
}

/// Deletes a mapping; providers lose it (CO-594). Those that came with the installation stay: proxies rest on them.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for one that stays.
pub async fn delete(ctx: &Context, actor: &Actor, pk: MappingId, kind: Model) -> Result<(), Error> {
    actor.need_on(Verb::Delete, kind, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, pk, kind.kind).await?;
    change.commit().await
}

/// Deletes a mapping as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`delete`], except for rights.
pub async fn delete_in(change: &mut Change<'_>, pk: MappingId, kind: &'static str) -> Result<(), Error> {
    let gone = mapping::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound(kind))?;
    if gone.managed.as_deref().is_some_and(is_shipped) {
        return Err(Error::whole("A mapping that came with the installation cannot be deleted."));
    }
    touch(change, pk).await?;
    for mut source in source::all(change.conn()).await? {
        if detach(&mut source, pk) {
            source::update(change.conn(), &source).await?;
        }
    }
    mapping::delete(change.conn(), pk).await?;
    change.event("model_deleted", json!({"model": named(&gone)})).await
}

/// Takes a mapping that is gone out of a source's lists (CO-594); says whether it was in one.
fn detach(source: &mut source::Source, pk: MappingId) -> bool {
    let pk = pk.to_string();
    let mut found = false;
    for list in [&mut source.user_property_mappings, &mut source.group_property_mappings] {
        let Some(list) = list.as_array_mut() else { continue };
        let before = list.len();
        list.retain(|known| *known != *pk);
        found |= list.len() < before;
    }
    found
}

async fn touch(change: &mut Change<'_>, pk: MappingId) -> Result<(), Error> {
    for provider in mapping::providers(change.conn(), pk).await? {
        change.touch(Touched::Provider(provider));
    }
    Ok(())
}

/// Has identities made again whose claims rest on a policy of one of these names; tells the writer's refusal if there is a mapping
/// among those that ask for one which the actor may not change (CO-242, CO-705).
///
/// # Errors
/// When the store fails.
pub(crate) async fn callers_say_anew(
    change: &mut Change<'_>,
    names: &HashSet<String>,
) -> Result<Option<&'static str>, Error> {
    let engine = &change.context().mapping_engine;
    let mut refusal = None;
    for mapping in all_in(change, &Filter::default()).await? {
        if Native::of(&mapping.expression).is_some() {
            continue;
        }
        let calls = engine.calls(&mapping.expression);
        if calls.meets(names) {
            if !change.actor().may_on(Verb::Change, Model::SCOPE_MAPPING, &mapping.pk) {
                refusal = Some(policies::called_by(&calls));
            }
            touch(change, mapping.pk).await?;
        }
    }
    Ok(refusal)
}

/// Refuses to let a client have, besides what it has, a mapping whose scope is for superusers to give.
///
/// # Errors
/// When the store fails.
pub(crate) async fn check_scopes(
    change: &mut Change<'_>,
    client: ProviderPk,
    wanted: Option<&[MappingId]>,
    problems: &mut Problems,
) -> Result<(), Error> {
    let Some(wanted) = wanted.filter(|_| !change.actor().is_superuser) else { return Ok(()) };
    let kept = provider::mapping_keys(change.conn(), client).await?;
    for pk in wanted.iter().filter(|pk| !kept.contains(pk)) {
        if mapping::by_pk(change.conn(), *pk).await?.is_some_and(|mapping| mapping.scope_name == API_SCOPE) {
            problems.add("property_mappings", API_SCOPE_REFUSED);
        }
    }
    Ok(())
}

/// Whether a client's tokens lead to the scope that is for superusers to give: because it may have that, or because they are
/// traded at one that may, in however many steps.
///
/// # Errors
/// When the store fails.
pub(crate) async fn reaches_api(conn: &mut Conn, client: ProviderPk) -> Result<bool, Error> {
    let federating = provider::federating(conn).await?;
    let (mut reached, mut looked_at) = (vec![client], 0);
    while let Some(pk) = reached.get(looked_at).copied() {
        if has_api_scope(conn, pk).await? {
            return Ok(true);
        }
        looked_at += 1;
        for other in federating.iter().filter(|other| other.accepts_tokens_of(pk)) {
            if !reached.contains(&other.pk) {
                reached.push(other.pk);
            }
        }
    }
    Ok(false)
}

async fn has_api_scope(conn: &mut Conn, client: ProviderPk) -> Result<bool, Error> {
    for pk in provider::mapping_keys(conn, client).await? {
        if mapping::by_pk(conn, pk).await?.is_some_and(|mapping| mapping.scope_name == API_SCOPE) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn settle(ctx: &Context, actor: &Actor, mapping: &mut ScopeMapping, fields: Fields) -> Result<(), Error> {
    let mut problems = Problems::default();
    if let Some(name) = fields.name {
        problems.limit_indexed("name", &name);
        mapping.name = name;
    }
    if let Some(scope_name) = fields.scope_name {
        // RFC 6749 §3.3: a scope is one word of printable ASCII.
        if scope_name.contains(char::is_whitespace) {
            problems.add("scope_name", "Spaces are not allowed in scope names.");
        } else if !scope_name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
            problems.add("scope_name", "Only printable ASCII without quotes and backslashes is allowed.");
        }
        problems.limit("scope_name", &scope_name);
        if !actor.is_superuser && scope_name == API_SCOPE && mapping.scope_name != API_SCOPE {
            problems.add("scope_name", API_SCOPE_REFUSED);
        }
        mapping.scope_name = scope_name;
    }
    if let Some(description) = fields.description {
        problems.limit("description", &description);
        mapping.description = description;
    }
    if let Some(expression) = fields.expression {
        // Those that come with the installation read whom they are about, and nobody else.
        if Native::of(&expression).is_none() {
            if mapping.expression != expression {
                expressions::check_writer(actor, &mut problems);
            }
            if let Err(problem) = ctx.mapping_engine.check(&expression) {
                problems.add("expression", problem);
            }
        }
        mapping.expression = expression;
    }
    problems.check()
}

/// Records the events that a mapping's expression asked for (CO-243), in a transaction of their own.
///
/// # Errors
/// When the store fails.
pub(crate) async fn record(ctx: &Context, actor: &Actor, name: &str, events: &[Noted]) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let mut tx = ctx.db.write().await?;
    let mut recorded = Vec::with_capacity(events.len());
    for Noted { action, context } in events {
        recorded.push(event::record_of(ctx, &mut tx, actor, name, action, context.clone()).await?);
    }
    tx.commit().await?;
    recorded.iter().for_each(event::log);
    Ok(())
}

pub(crate) fn named(mapping: &ScopeMapping) -> Value {
    model("authentik_providers_oauth2", "scopemapping", mapping.pk, &mapping.name)
}

fn snapshot(mapping: &ScopeMapping) -> Value {
    json!({
        "name": mapping.name,
        "scope_name": mapping.scope_name,
        "description": mapping.description,
        "expression": mapping.expression,
    })
}

/// Adds the mappings that are missing; those that exist stay as they are (CO-283, CO-484).
///
/// # Errors
/// When the store fails.
pub async fn bootstrap(ctx: &Context, conn: &mut Conn) -> Result<(), Error> {
    for Managed { managed, name, scope_name, description, expression } in MANAGED {
        if mapping::by_managed(conn, managed).await?.is_none() {
            let missing = ScopeMapping {
                pk: MappingId(ctx.entropy.uuid()),
                name: name.to_owned(),
                scope_name: scope_name.to_owned(),
                description: description.to_owned(),
                expression: expression.trim().to_owned(),
                managed: Some(managed.to_owned()),
            };
            mapping::insert(conn, &missing).await?;
        }
    }
    Ok(())
}
