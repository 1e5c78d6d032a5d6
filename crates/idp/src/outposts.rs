//! Outposts: the embedded one and those elsewhere; their settings, and the providers that they serve.
//!
//! The one in this process needs nothing to reach us. Every other one has an account of its own ([`service`]).

pub mod channel;
pub mod service;

use std::collections::BTreeSet;

use portcullis_core::duration;
use portcullis_core::id::{OutpostId, ProviderPk};
use portcullis_core::permission::{Model, Verb};
use portcullis_store::outpost::Outpost;
use portcullis_store::{Conn, outpost, provider};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use crate::change::{Change, Touched};
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};
use crate::event::{diff, model};
use crate::list::{Listed, Slice};
use crate::{mappings, providers};

pub use portcullis_store::outpost::{Filter, Order};

/// Permanent name of the outpost in this process.
pub const EMBEDDED: &str = "goauthentik.io/outposts/embedded";
const TAKEN: &str = "Outpost with this name already exists.";
const EMBEDDED_NAME: &str = "authentik Embedded Outpost";
const REFRESH_SECONDS: i64 = 300;

/// Settings of an outpost that were never changed (CO-593). An empty host means the base URL.
pub fn default_config() -> Value {
    json!({
        "authentik_host": "",
        "authentik_host_insecure": false,
        "authentik_host_browser": "",
        "log_level": "info",
        "refresh_interval": "minutes=5",
        "object_naming_template": "ak-outpost-%(name)s",
    })
}

/// An outpost with the providers that it serves.
#[derive(Clone, Debug)]
pub struct View {
    /// The record.
    pub outpost: Outpost,
    /// Its providers, by name.
    pub providers: Vec<providers::Brief>,
}

/// The outposts that meet conditions.
///
/// # Errors
/// When the store fails.
pub async fn list(ctx: &Context, actor: &Actor, filter: &Filter, slice: Slice) -> Result<Listed<View>, Error> {
    let slice = slice.of(actor.sees(Model::OUTPOST)?);
    let mut conn = ctx.db.read().await?;
    let Listed { rows, count } = outpost::list(&mut conn, filter, slice).await?;
    let mut views = Vec::with_capacity(rows.len());
    for outpost in rows {
        views.push(View { providers: providers::of_outpost(&mut conn, outpost.pk).await?, outpost });
    }
    Ok(Listed { rows: views, count })
}

/// The outpost with this key.
///
/// # Errors
/// [`Error::NotFound`], or when the store fails.
pub async fn get(ctx: &Context, actor: &Actor, pk: OutpostId) -> Result<View, Error> {
    actor.need_on(Verb::View, Model::OUTPOST, &pk)?;
    let mut conn = ctx.db.read().await?;
    let outpost = outpost::by_pk(&mut conn, pk).await?.ok_or(Error::NotFound("Outpost"))?;
    Ok(View { providers: providers::of_outpost(&mut conn, pk).await?, outpost })
}

/// The outposts that meet conditions, as part of a larger change.
///
/// # Errors
/// When the store fails.
pub async fn all_in(change: &mut Change<'_>, filter: &Filter) -> Result<Vec<View>, Error> {
    let conn = change.conn();
    let mut views = Vec::new();
    for outpost in outpost::list(conn, filter, Slice::ALL).await?.rows {
        views.push(View { providers: providers::of_outpost(conn, outpost.pk).await?, outpost });
    }
    Ok(views)
}

/// How often an outpost is to fetch its configuration without being told, in seconds.
pub fn refresh_interval(outpost: &Outpost) -> i64 {
    let text = outpost.config.get("refresh_interval").and_then(Value::as_str);
    text.map_or(REFRESH_SECONDS, |text| duration::seconds_or(text, REFRESH_SECONDS))
}

/// The outpost in this process.
///
/// # Errors
/// [`Error::NotFound`] before the first start is complete; else when the store fails.
pub async fn embedded(conn: &mut Conn) -> Result<Outpost, Error> {
    outpost::by_managed(conn, EMBEDDED).await?.ok_or(Error::NotFound("Outpost"))
}

/// Adds the embedded outpost if it is missing (CO-480).
///
/// # Errors
/// When the store fails.
pub async fn bootstrap(ctx: &Context, conn: &mut Conn) -> Result<(), Error> {
    if outpost::by_managed(conn, EMBEDDED).await?.is_none() {
        let missing = Outpost {
            pk: OutpostId(ctx.entropy.uuid()),
            name: EMBEDDED_NAME.to_owned(),
            kind: "proxy".to_owned(),
            config: default_config(),
            managed: Some(EMBEDDED.to_owned()),
        };
        outpost::insert(conn, &missing).await?;
    }
    Ok(())
}

/// Has the embedded outpost serve a provider. Our own pages and the demonstration do so; clients of the API
/// say which providers an outpost serves.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission; else when the store fails.
pub async fn attach(ctx: &Context, actor: &Actor, provider: ProviderPk) -> Result<(), Error> {
    let mut change = Change::begin(ctx, actor).await?;
    let embedded = embedded(change.conn()).await?;
    actor.need_on(Verb::Change, Model::OUTPOST, &embedded.pk)?;
    let mut providers = outpost::provider_keys(change.conn(), embedded.pk).await?;
    providers.push(provider);
    update_in(&mut change, embedded.pk, Fields { providers: Some(providers), ..Fields::default() }).await?;
    change.commit().await
}

/// What is to be stored of an outpost; absent members stay as they are.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the field of the same name (CO-569)")]
pub struct Fields {
    pub name: Option<String>,
    pub kind: Option<String>,
    pub providers: Option<Vec<ProviderPk>>,
    pub service_connection: Option<Option<Uuid>>,
    pub config: Option<Value>,
}

/// Makes an outpost that runs elsewhere, with a service account and the token that it signs in with (PX-400).
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators, [`Error::Invalid`] for broken rules.
pub async fn create(ctx: &Context, actor: &Actor, fields: Fields) -> Result<OutpostId, Error> {
    actor.need(Verb::Add, Model::OUTPOST)?;
    let mut change = Change::begin(ctx, actor).await?;
    let pk = create_in(&mut change, fields).await?;
    change.commit().await?;
    Ok(pk)
}

/// Makes an outpost as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// [`Error::Invalid`] for broken rules.
pub async fn create_in(change: &mut Change<'_>, fields: Fields) -> Result<OutpostId, Error> {
    let ctx = change.context();
    let made = Outpost {
        pk: OutpostId(ctx.entropy.uuid()),
        name: fields.name.clone().unwrap_or_default(),
        kind: "proxy".to_owned(),
        config: fields.config.clone().unwrap_or_else(default_config),
        managed: None,
    };
    let wanted: BTreeSet<_> = fields.providers.iter().flatten().copied().collect();
    let mut problems = Problems::default();
    for (name, is_missing) in [
        ("name", fields.name.is_none()),
        ("type", fields.kind.is_none()),
        ("providers", fields.providers.is_none()),
        ("config", fields.config.is_none()),
    ] {
        if is_missing {
            problems.add(name, "This field is required.");
        }
    }
    check(&made, &fields, &mut problems);
    check_hosts(change, &Value::Null, &fields, &mut problems);
    check_providers(change, &made, &wanted, &wanted, &mut problems).await?;
    problems.check()?;
    outpost::insert(change.conn(), &made).await.map_err(|error| Error::taken(error, "outpost.name", "name", TAKEN))?;
    outpost::set_providers(change.conn(), made.pk, &Vec::from_iter(wanted.iter().copied())).await?;
    for key in &wanted {
        change.touch(Touched::Provider(*key));
    }
    change.touch(Touched::Configuration);
    change.event("model_created", json!({"model": named(&made)})).await?;
    service::ensure(change, &made).await?;
    Ok(made.pk)
}

/// Deletes an outpost with its service account, token and role. The one in this process stays.
///
/// # Errors
/// [`Error::Forbidden`] for anyone but administrators, [`Error::NotFound`], [`Error::Invalid`] for the embedded one.
pub async fn delete(ctx: &Context, actor: &Actor, pk: OutpostId) -> Result<(), Error> {
    actor.need_on(Verb::Delete, Model::OUTPOST, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    delete_in(&mut change, pk).await?;
    change.commit().await
}

/// Deletes an outpost as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] for the embedded one.
pub async fn delete_in(change: &mut Change<'_>, pk: OutpostId) -> Result<(), Error> {
    let gone = outpost::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Outpost"))?;
    if is_embedded(&gone) {
        return Err(Error::whole("Embedded outpost cannot be deleted"));
    }
    for key in outpost::provider_keys(change.conn(), pk).await? {
        change.touch(Touched::Provider(key));
    }
    service::remove(change, &gone).await?;
    outpost::delete(change.conn(), pk).await?;
    change.touch(Touched::Configuration);
    change.event("model_deleted", json!({"model": named(&gone)})).await
}

/// Whether this is the outpost in this process.
pub fn is_embedded(outpost: &Outpost) -> bool {
    outpost.managed.as_deref() == Some(EMBEDDED)
}

/// Changes an outpost.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::NotFound`], [`Error::Invalid`] for broken
/// rules.
pub async fn update(ctx: &Context, actor: &Actor, pk: OutpostId, fields: Fields) -> Result<(), Error> {
    actor.need_on(Verb::Change, Model::OUTPOST, &pk)?;
    let mut change = Change::begin(ctx, actor).await?;
    update_in(&mut change, pk, fields).await?;
    change.commit().await
}

/// Changes an outpost as part of a larger change. The actor's right to do so is the caller's business.
///
/// # Errors
/// As [`update`], except for rights.
pub async fn update_in(change: &mut Change<'_>, pk: OutpostId, fields: Fields) -> Result<(), Error> {
    let mut changed = outpost::by_pk(change.conn(), pk).await?.ok_or(Error::NotFound("Outpost"))?;
    let served: BTreeSet<_> = outpost::provider_keys(change.conn(), pk).await?.into_iter().collect();
    let before = snapshot(&changed, &served);
    let wanted: BTreeSet<_> = fields.providers.clone().map_or_else(|| served.clone(), BTreeSet::from_iter);
    let mut problems = Problems::default();
    check(&changed, &fields, &mut problems);
    check_hosts(change, &changed.config, &fields, &mut problems);
    let fresh = wanted.difference(&served).copied().collect();
    if fields.providers.is_some() {
        check_providers(change, &changed, &wanted, &fresh, &mut problems).await?;
    }
    problems.check()?;
    changed.name = fields.name.unwrap_or(changed.name);
    changed.config = fields.config.unwrap_or(changed.config);
    outpost::update(change.conn(), &changed)
        .await
        .map_err(|error| Error::taken(error, "outpost.name", "name", TAKEN))?;
    outpost::set_providers(change.conn(), pk, &Vec::from_iter(wanted.iter().copied())).await?;
    for key in wanted.symmetric_difference(&served) {
        change.touch(Touched::Provider(*key));
    }
    change.touch(Touched::Configuration);
    let after = snapshot(&changed, &wanted);
    change.event("model_updated", json!({"model": named(&changed), "diff": diff(&before, &after)})).await?;
    service::ensure(change, &changed).await
}

/// Every outpost but the embedded one serves something, and only what there is.
async fn check_providers(
    change: &mut Change<'_>,
    outpost: &Outpost,
    wanted: &BTreeSet<ProviderPk>,
    fresh: &BTreeSet<ProviderPk>,
    problems: &mut Problems,
) -> Result<(), Error> {
    if wanted.is_empty() && !is_embedded(outpost) && !problems.has("providers") {
        problems.add("providers", "This list may not be empty.");
    }
    for key in fresh {
        if provider::by_pk(change.conn(), *key).await?.is_none_or(|provider| !provider.is_proxy()) {
            problems.add("providers", format!("Invalid pk \"{key}\" - object does not exist."));
        } else if !change.actor().may_on(Verb::Change, Model::PROXY_PROVIDER, key) {
            // An outpost has the secrets of what it serves (CO-704).
            problems.add("providers", "User does not have access to provider.");
        } else if opens_more(change, *key).await? {
            let message = format!(
                "An outpost has the secrets and tokens of what it serves, and those of the provider \"{key}\" open more than \
                 you may: have a superuser do this."
            );
            problems.add("providers", message);
        }
    }
    Ok(())
}

/// Whether who has a provider's secrets and tokens may do what the actor may not: what its account may, or, by the API, what
/// its users may (CO-705).
async fn opens_more(change: &mut Change<'_>, key: ProviderPk) -> Result<bool, Error> {
    let actor = change.actor();
    Ok(!actor.is_superuser
        && (mappings::reaches_api(change.conn(), key).await?
            || providers::secrets::is_beyond(change.conn(), actor, key).await?))
}

/// Where an outpost sends people to sign in is for superusers to change: who answers there gets everybody's passwords. The
/// origin that it was, and that of the base URL, are no change.
fn check_hosts(change: &Change<'_>, former: &Value, fields: &Fields, problems: &mut Problems) {
    let Some(config) = fields.config.as_ref().filter(|_| !change.actor().is_superuser) else { return };
    let origin = |url: &str| Url::parse(url).ok().map(|url| url.origin());
    let home = origin(&change.context().base_url);
    for key in ["authentik_host", "authentik_host_browser"] {
        let (before, now) = (former.get(key), config.get(key));
        // Nothing means the base URL.
        let Some(host) = now.and_then(Value::as_str).filter(|host| !host.is_empty() && now != before) else { continue };
        let known = [home.clone(), before.and_then(Value::as_str).and_then(origin)];
        if !known.iter().flatten().any(|known| origin(host).as_ref() == Some(known)) {
            problems.add("config", format!("{key}: Only superusers may name another origin than that of base_url."));
        }
    }
}

pub(crate) fn named(outpost: &Outpost) -> Value {
    model("authentik_outposts", "outpost", outpost.pk, &outpost.name)
}

fn check(outpost: &Outpost, fields: &Fields, problems: &mut Problems) {
    if let Some(name) = &fields.name {
        if is_embedded(outpost) && name != &outpost.name {
            problems.add("name", "Embedded outpost's name cannot be changed");
        }
        problems.limit_indexed("name", name);
    }
    if let Some(kind) = fields.kind.as_ref().filter(|kind| *kind != &outpost.kind) {
        problems.add("type", format!("\"{kind}\" is not a valid choice."));
    }
    if let Some(Some(pk)) = fields.service_connection {
        problems.add("service_connection", format!("Invalid pk \"{pk}\" - object does not exist."));
    }
    match &fields.config {
        Some(Value::Object(config)) => {
            for key in ["authentik_host", "authentik_host_browser", "log_level", "refresh_interval"] {
                if config.get(key).is_some_and(|value| !value.is_string()) {
                    problems.add("config", format!("{key}: Not a valid string."));
                }
            }
            if let Some(Err(error)) = config.get("refresh_interval").and_then(Value::as_str).map(duration::parse) {
                problems.add("config", error.to_string());
            }
        }
        Some(_) => problems.add("config", "Value must be an object."),
        None => {}
    }
}

fn snapshot(outpost: &Outpost, providers: &BTreeSet<ProviderPk>) -> Value {
    json!({"name": outpost.name, "config": outpost.config, "providers": providers})
}
