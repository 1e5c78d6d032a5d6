//! `outposts/instances/` (CO-569, CO-593): outposts here and elsewhere; `outposts/proxy/` (CO-570): what they serve.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_core::attributes::MASK;
use portcullis_core::channel::Hello;
use portcullis_core::id::ProviderPk;
use portcullis_core::outpost::{Mode, Provider};
use portcullis_core::permission::Model;
use portcullis_idp::list::{Slice, Visible};
use portcullis_idp::outposts::channel::{Instance, is_older};
use portcullis_idp::outposts::{self, Fields, Filter, Order, View};
use portcullis_idp::providers::Kind;
use portcullis_idp::providers::secrets::shown_to;
use portcullis_idp::{Actor, Context};
use serde_json::{Value, json};

use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::Key;
use super::needs::{MayAdd, MayChange, MayDelete, MayView, on};
use super::params::Params;
use super::{Routes, providers};

/// What outposts of this release call themselves.
const VERSION: &str = env!("CARGO_PKG_VERSION");

const ORDERS: [(&str, Order); 5] = [
    ("pk", Order::Pk),
    ("name", Order::Name),
    ("type", Order::Type),
    ("managed", Order::Managed),
    ("token_identifier", Order::Pk),
];

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/outposts/instances/", get(list).post(create))
        .route("/outposts/instances/default_settings/", get(default_settings))
        .route("/outposts/instances/{uuid}/", get(retrieve).put(replace).patch(change).delete(remove))
        .route("/outposts/instances/{uuid}/health/", get(health))
        .route("/outposts/proxy/", get(served))
}

async fn list(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Outpost>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        name: params.text("name__iexact"),
        name_part: params.text("name__icontains"),
        managed: params.text("managed__iexact"),
        managed_part: params.text("managed__icontains"),
        without_providers: params.flag("providers__isnull"),
        providers: params.integers("providers_by_pk").into_iter().map(ProviderPk).collect(),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
    };
    params.finish()?;
    let found = outposts::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(|view| object_for(&caller.actor, view)).collect())
}

async fn retrieve(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Outpost>,
    key: Key,
) -> Result<Response, ApiError> {
    let found = outposts::get(&ctx, &caller.actor, key.parse("Outpost")?).await?;
    Ok(Json(object_for(&caller.actor, &found)).into_response())
}

async fn replace(
    ctx: State<Arc<Context>>,
    may: MayChange<on::Outpost>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, false).await
}

async fn change(
    ctx: State<Arc<Context>>,
    may: MayChange<on::Outpost>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, true).await
}

async fn update(
    State(ctx): State<Arc<Context>>,
    MayChange(caller, ..): MayChange<on::Outpost>,
    key: Key,
    mut body: Body,
    partial: bool,
) -> Result<Response, ApiError> {
    let pk = key.parse("Outpost")?;
    outposts::get(&ctx, &caller.actor, pk).await?;
    let fields = read(&mut body, partial)?;
    outposts::update(&ctx, &caller.actor, pk, fields).await?;
    Ok(Json(object(&outposts::get(&ctx, &caller.actor, pk).await?)).into_response())
}

async fn create(
    State(ctx): State<Arc<Context>>,
    MayAdd(caller, ..): MayAdd<on::Outpost>,
    mut body: Body,
) -> Result<Response, ApiError> {
    let fields = read(&mut body, false)?;
    let pk = outposts::create(&ctx, &caller.actor, fields).await?;
    let maker = caller.actor.maker_of(Model::OUTPOST, &pk);
    Ok(created(object(&outposts::get(&ctx, &maker, pk).await?)))
}

async fn remove(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<on::Outpost>,
    key: Key,
) -> Result<Response, ApiError> {
    outposts::delete(&ctx, &caller.actor, key.parse("Outpost")?).await?;
    Ok(no_content())
}

pub(super) fn read(body: &mut Body, partial: bool) -> Result<Fields, ApiError> {
    body.require(&["name", "type", "providers", "config"], partial);
    let fields = Fields {
        name: body.filled_text("name"),
        kind: body.filled_text("type"),
        providers: body.integers("providers").map(|keys| keys.into_iter().map(ProviderPk).collect()),
        service_connection: body.uuid_or_null("service_connection"),
        config: body.json("config"),
    };
    body.finish()?;
    Ok(fields)
}

async fn default_settings(_: MayView<on::Outpost>) -> Json<Value> {
    Json(json!({"config": outposts::default_config()}))
}

/// The instances that were heard of lately (PX-405). The embedded outpost is as well as this process.
async fn health(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Outpost>,
    key: Key,
) -> Result<Response, ApiError> {
    let outpost = outposts::get(&ctx, &caller.actor, key.parse("Outpost")?).await?.outpost;
    let present = match outposts::is_embedded(&outpost) {
        true => vec![own_instance(&ctx)],
        false => ctx.channels.instances(outpost.pk, ctx.now()),
    };
    Ok(Json(present.iter().map(instance_object).collect::<Value>()).into_response())
}

/// This process, as the outpost in it.
fn own_instance(ctx: &Context) -> Instance {
    let host = ctx.base_url.split_once("://").map_or("", |(_, host)| host);
    let hello = Hello {
        version: VERSION.to_owned(),
        golang_version: concat!("rust ", env!("CARGO_PKG_RUST_VERSION")).to_owned(),
        hostname: host.to_owned(),
        ..Hello::default()
    };
    Instance { uid: ctx.channels.own_uid(&*ctx.entropy), last_seen: ctx.now(), hello }
}

fn instance_object(instance: &Instance) -> Value {
    let Instance { uid, last_seen, hello } = instance;
    json!({
        "uid": uid,
        "last_seen": last_seen.to_string(),
        "version": hello.version,
        "golang_version": hello.golang_version,
        "openssl_enabled": hello.openssl_enabled,
        "openssl_version": hello.openssl_version,
        "fips_enabled": hello.fips_enabled,
        "version_should": VERSION,
        "version_outdated": is_older(&hello.version, VERSION),
        "build_hash": hello.build_hash,
        "build_hash_should": "",
        "hostname": hello.hostname,
    })
}

/// The only place where client secrets and cookie secrets can be read (PX-020, PX-402).
async fn served(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::ProxyProvider>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let name = params.text("name");
    params.finish()?;
    let visible = match caller.actor.serving() {
        // Its own, here and nowhere else (CO-704).
        Some(serving) => {
            Visible::Only { keys: serving.providers.iter().map(ToString::to_string).collect(), owner: None }
        }
        None => caller.actor.sees(Model::PROXY_PROVIDER)?,
    };
    let mut keys = portcullis_idp::outpost::proxies(&ctx, name.as_deref()).await?;
    keys.retain(|key| visible.holds(key));
    let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
    let Slice { limit, offset, .. } = paging.slice();
    let page = keys.into_iter().skip(usize::try_from(offset).unwrap_or(usize::MAX));
    let page: Vec<_> = page.take(usize::try_from(limit).unwrap_or(0)).collect();
    let told = portcullis_idp::outpost::told(&ctx, &page).await?;
    let open = shown_to(&ctx, &caller.actor, Kind::Proxy, &page).await?;
    let shown = |provider: &Provider| served_object(provider, open.contains(&provider.pk));
    paging.answer(count, told.iter().map(shown).collect())
}

/// Secrets are for outposts, and for those who may change the provider.
fn served_object(provider: &Provider, with_secrets: bool) -> Value {
    let secret = |secret: &Value| if with_secrets { secret.clone() } else { json!(MASK) };
    let endpoints = &provider.endpoints;
    let neighbour = |name: &str| endpoints.authorization.replace("/authorize/", &format!("/{name}/"));
    json!({
        "pk": provider.pk,
        "name": provider.name,
        "mode": match provider.mode {
            Mode::Proxy => "proxy",
            Mode::ForwardSingle => "forward_single",
            Mode::ForwardDomain => "forward_domain",
        },
        "external_host": provider.external_host,
        "internal_host": provider.internal_host,
        "internal_host_ssl_validation": provider.internal_host_ssl_validation,
        "client_id": provider.client_id,
        "client_secret": secret(&json!(provider.client_secret)),
        "cookie_secret": secret(&json!(provider.cookie_secret)),
        "cookie_domain": provider.cookie_domain,
        "certificate": provider.certificate,
        "skip_path_regex": provider.skip_path_regex,
        "intercept_header_auth": provider.intercept_header_auth,
        "basic_auth_enabled": provider.basic_auth_enabled,
        "basic_auth_user_attribute": provider.basic_auth_user_attribute,
        "basic_auth_password_attribute": provider.basic_auth_password_attribute,
        "access_token_validity": provider.access_token_validity,
        "scopes_to_request": provider.scopes_to_request,
        "assigned_application_slug": provider.application_slug,
        "assigned_application_name": provider.application_name,
        "oidc_configuration": {
            "issuer": endpoints.issuer,
            "authorization_endpoint": endpoints.authorization,
            "token_endpoint": neighbour("token"),
            "userinfo_endpoint": neighbour("userinfo"),
            "end_session_endpoint": endpoints.end_session,
            "introspection_endpoint": neighbour("introspect"),
            "jwks_uri": endpoints.jwks,
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "subject_types_supported": ["public"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        },
    })
}

/// An outpost as somebody sees it. One that sees itself finds the settings that it needs, whether anybody has made them or
/// not (PX-401).
fn object_for(actor: &Actor, view: &View) -> Value {
    let mut shown = object(view);
    if actor.serving().is_some()
        && let Some(config) = shown.get_mut("config").and_then(Value::as_object_mut)
    {
        for (key, default) in [("authentik_host", ""), ("authentik_host_browser", ""), ("log_level", "info")] {
            config.entry(key).or_insert_with(|| json!(default));
        }
    }
    shown
}

pub(super) fn object(view: &View) -> Value {
    let outpost = &view.outpost;
    let mut keys: Vec<_> = view.providers.iter().map(|brief| brief.summary.pk).collect();
    keys.sort_unstable();
    json!({
        "pk": outpost.pk,
        "name": outpost.name,
        "type": outpost.kind,
        "providers": keys,
        "providers_obj": view.providers.iter().map(providers::brief).collect::<Vec<_>>(),
        "service_connection": null,
        "service_connection_obj": null,
        "refresh_interval_s": outposts::refresh_interval(outpost),
        "token_identifier": outposts::service::token_identifier(outpost.pk),
        "config": outpost.config,
        "managed": outpost.managed,
    })
}
