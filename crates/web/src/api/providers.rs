//! `providers/proxy/` and `providers/all/` (CO-557, CO-559); `providers/oauth2/` is in [`oauth2`].

pub(super) mod oauth2;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_core::id::{FlowId, MappingId, ProviderPk};
use portcullis_idp::Context;
use portcullis_idp::providers::{self, Brief, Fields, Filter, Kind, Order, View};
use serde_json::{Map, Value, json};

use super::Routes;
use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::Key;
use super::needs::{MayAdd, MayChange, MayDelete, MayView, on};
use super::params::Params;

const MODES: [&str; 3] = ["proxy", "forward_single", "forward_domain"];
const ORDERS: [(&str, Order); 26] = [
    ("pk", Order::Pk),
    ("id", Order::Pk),
    ("name", Order::Name),
    ("external_host", Order::ExternalHost),
    ("internal_host", Order::InternalHost),
    ("mode", Order::Mode),
    ("component", Order::Kind),
    ("verbose_name", Order::Kind),
    ("verbose_name_plural", Order::Kind),
    ("meta_model_name", Order::Kind),
    ("authentication_flow", Order::AuthenticationFlow),
    ("authorization_flow", Order::AuthorizationFlow),
    ("invalidation_flow", Order::InvalidationFlow),
    ("assigned_application_slug", Order::ApplicationSlug),
    ("assigned_application_name", Order::ApplicationName),
    ("client_id", Order::ClientId),
    ("access_token_validity", Order::AccessTokenValidity),
    ("refresh_token_validity", Order::RefreshTokenValidity),
    ("internal_host_ssl_validation", Order::SslValidation),
    ("certificate", Order::Certificate),
    ("skip_path_regex", Order::SkipPathRegex),
    ("basic_auth_enabled", Order::BasicAuthEnabled),
    ("basic_auth_user_attribute", Order::BasicAuthUserAttribute),
    ("basic_auth_password_attribute", Order::BasicAuthPasswordAttribute),
    ("intercept_header_auth", Order::InterceptHeaderAuth),
    ("cookie_domain", Order::CookieDomain),
];

/// The routes of all three resources.
pub(super) fn routes() -> Routes {
    oauth2::routes()
        .route("/providers/proxy/", get(list).post(create))
        .route("/providers/proxy/{id}/", get(retrieve).put(replace).patch(change).delete(remove))
        .route("/providers/all/", get(list_all))
        .route("/providers/all/types/", get(types))
        .route("/providers/all/{id}/", get(retrieve_any).delete(remove_any))
}

async fn list(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::ProxyProvider>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        name: params.text("name__iexact"),
        external_host: params.text("external_host__iexact"),
        internal_host: params.text("internal_host__iexact"),
        mode: params.text("mode__iexact"),
        cookie_domain: params.text("cookie_domain__iexact"),
        authorization_flow: params.text("authorization_flow__slug__iexact"),
        without_application: params.flag("application__isnull"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
        ..Filter::default()
    };
    params.finish()?;
    let found = providers::list(&ctx, &caller.actor, Kind::Proxy, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(proxy).collect())
}

async fn create(
    State(ctx): State<Arc<Context>>,
    MayAdd(caller, ..): MayAdd<on::ProxyProvider>,
    mut body: Body,
) -> Result<Response, ApiError> {
    let fields = read(&mut body, false)?;
    let pk = providers::create(&ctx, &caller.actor, fields).await?;
    let maker = caller.actor.maker_of(Kind::Proxy.model(), &pk);
    Ok(created(proxy(&providers::get(&ctx, &maker, pk, Kind::Proxy).await?)))
}

async fn retrieve(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::ProxyProvider>,
    key: Key,
) -> Result<Response, ApiError> {
    Ok(Json(proxy(&providers::get(&ctx, &caller.actor, parse(&key, Kind::Proxy)?, Kind::Proxy).await?)).into_response())
}

async fn replace(
    ctx: State<Arc<Context>>,
    may: MayChange<on::ProxyProvider>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, false).await
}

async fn change(
    ctx: State<Arc<Context>>,
    may: MayChange<on::ProxyProvider>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, true).await
}

async fn update(
    State(ctx): State<Arc<Context>>,
    MayChange(caller, ..): MayChange<on::ProxyProvider>,
    key: Key,
    mut body: Body,
    partial: bool,
) -> Result<Response, ApiError> {
    let pk = parse(&key, Kind::Proxy)?;
    // Whether it exists comes before what is wrong with the body.
    providers::get(&ctx, &caller.actor, pk, Kind::Proxy).await?;
    let fields = read(&mut body, partial)?;
    providers::update(&ctx, &caller.actor, pk, fields).await?;
    Ok(Json(proxy(&providers::get(&ctx, &caller.actor, pk, Kind::Proxy).await?)).into_response())
}

async fn remove(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<on::ProxyProvider>,
    key: Key,
) -> Result<Response, ApiError> {
    providers::delete(&ctx, &caller.actor, parse(&key, Kind::Proxy)?, Kind::Proxy).await?;
    Ok(no_content())
}

async fn remove_any(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<on::AnyProvider>,
    key: Key,
) -> Result<Response, ApiError> {
    providers::delete(&ctx, &caller.actor, parse(&key, Kind::Any)?, Kind::Any).await?;
    Ok(no_content())
}

async fn list_all(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::AnyProvider>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let backchannel = params.flag("backchannel");
    let filter = Filter {
        without_application: params.flag("application__isnull"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
        ..Filter::default()
    };
    params.finish()?;
    if backchannel == Some(true) {
        return paging.answer(0, Vec::new());
    }
    let found = providers::list(&ctx, &caller.actor, Kind::Any, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(base).collect())
}

async fn retrieve_any(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::AnyProvider>,
    key: Key,
) -> Result<Response, ApiError> {
    Ok(Json(base(&providers::get(&ctx, &caller.actor, parse(&key, Kind::Any)?, Kind::Any).await?)).into_response())
}

async fn types(_: MayView<on::AnyProvider>) -> Json<Value> {
    Json(json!([
        {
            "name": "OAuth2/OpenID Provider",
            "description": "Sign people and machines in to an application that speaks OAuth2 or OpenID Connect.",
            "component": "ak-provider-oauth2-form",
            "model_name": "oauth2provider",
            "requires_enterprise": false,
            "deprecated": false,
        },
        {
            "name": "Proxy Provider",
            "description": "Protect an application by putting an identity-aware proxy in front of it.",
            "component": "ak-provider-proxy-form",
            "model_name": "proxyprovider",
            "requires_enterprise": false,
            "deprecated": false,
        },
    ]))
}

fn parse(key: &Key, kind: Kind) -> Result<ProviderPk, ApiError> {
    key.parse(kind.name()).map(ProviderPk)
}

pub(super) fn read(body: &mut Body, partial: bool) -> Result<Fields, ApiError> {
    body.require(&["name", "authorization_flow", "invalidation_flow", "external_host"], partial);
    let fields = Fields {
        name: body.filled_text("name"),
        authentication_flow: body.uuid_or_null("authentication_flow"),
        authorization_flow: body.uuid("authorization_flow"),
        invalidation_flow: body.uuid("invalidation_flow"),
        property_mappings: body.uuids("property_mappings"),
        mode: body.choice("mode", &MODES),
        external_host: body.filled_text("external_host"),
        internal_host: body.text("internal_host"),
        internal_host_ssl_validation: body.flag("internal_host_ssl_validation"),
        certificate: body.uuid_or_null("certificate"),
        skip_path_regex: body.text("skip_path_regex"),
        intercept_header_auth: body.flag("intercept_header_auth"),
        basic_auth_enabled: body.flag("basic_auth_enabled"),
        basic_auth_user_attribute: body.text("basic_auth_user_attribute"),
        basic_auth_password_attribute: body.text("basic_auth_password_attribute"),
        cookie_domain: body.text("cookie_domain"),
        jwt_federation_sources: body.uuids("jwt_federation_sources"),
        jwt_federation_providers: body
            .integers("jwt_federation_providers")
            .map(|keys| keys.into_iter().map(ProviderPk).collect()),
        federation_audiences: body.texts("federation_audiences"),
        cap_to_assertion_exp: body.flag("cap_to_assertion_exp"),
        access_token_validity: body.filled_text("access_token_validity"),
        refresh_token_validity: body.filled_text("refresh_token_validity"),
    };
    body.finish()?;
    Ok(fields)
}

/// A provider of any kind.
pub(super) fn base(view: &View) -> Value {
    Value::Object(base_map(view))
}

/// The provider of a grant: clients of 2026.2 take it for an OAuth2 provider, which has redirect URIs (CO-596).
pub(super) fn of_grant(view: &View) -> Value {
    let mut object = base_map(view);
    object.insert("redirect_uris".to_owned(), view.provider.redirect_uris.clone());
    Value::Object(object)
}

/// The same, of which little is known.
pub(super) fn brief(brief: &Brief) -> Value {
    let Brief { summary, mappings } = brief;
    let application = summary.application.as_ref().map(|(slug, name)| (slug.as_str(), name.as_str()));
    Value::Object(described(&Described {
        pk: summary.pk,
        name: &summary.name,
        is_proxy: summary.kind == "proxy",
        flows: [summary.authentication_flow, Some(summary.authorization_flow), Some(summary.invalidation_flow)],
        mappings,
        application,
    }))
}

fn base_map(view: &View) -> Map<String, Value> {
    let provider = &view.provider;
    let application = view.application.as_ref();
    described(&Described {
        pk: provider.pk,
        name: &provider.name,
        is_proxy: provider.is_proxy(),
        flows: [provider.authentication_flow, Some(provider.authorization_flow), Some(provider.invalidation_flow)],
        mappings: &view.mappings,
        application: application.map(|application| (application.slug.as_str(), application.name.as_str())),
    })
}

/// What every provider shows.
struct Described<'a> {
    pk: ProviderPk,
    name: &'a str,
    is_proxy: bool,
    /// For signing in, for consent, for signing out.
    flows: [Option<FlowId>; 3],
    mappings: &'a [MappingId],
    /// Slug and name.
    application: Option<(&'a str, &'a str)>,
}

fn described(provider: &Described<'_>) -> Map<String, Value> {
    let [authentication_flow, authorization_flow, invalidation_flow] = provider.flows;
    let application = provider.application;
    let (component, name, plural, model) = if provider.is_proxy {
        let model = "authentik_providers_proxy.proxyprovider";
        ("ak-provider-proxy-form", "Proxy Provider", "Proxy Providers", model)
    } else {
        let model = "authentik_providers_oauth2.oauth2provider";
        ("ak-provider-oauth2-form", "OAuth2/OpenID Provider", "OAuth2/OpenID Providers", model)
    };
    let object = json!({
        "pk": provider.pk,
        "name": provider.name,
        "authentication_flow": authentication_flow,
        "authorization_flow": authorization_flow,
        "invalidation_flow": invalidation_flow,
        "property_mappings": provider.mappings,
        "component": component,
        "assigned_application_slug": application.map(|(slug, _)| slug),
        "assigned_application_name": application.map(|(_, name)| name),
        "assigned_backchannel_application_slug": null,
        "assigned_backchannel_application_name": null,
        "verbose_name": name,
        "verbose_name_plural": plural,
        "meta_model_name": model,
    });
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(super) fn proxy(view: &View) -> Value {
    let provider = &view.provider;
    let mut object = base_map(view);
    let own = [
        ("client_id", json!(provider.client_id)),
        ("internal_host", json!(provider.internal_host)),
        ("external_host", json!(provider.external_host)),
        ("internal_host_ssl_validation", json!(provider.internal_host_ssl_validation)),
        ("certificate", json!(provider.certificate)),
        ("skip_path_regex", json!(provider.skip_path_regex)),
        ("basic_auth_enabled", json!(provider.basic_auth_enabled)),
        ("basic_auth_password_attribute", json!(provider.basic_auth_password_attribute)),
        ("basic_auth_user_attribute", json!(provider.basic_auth_user_attribute)),
        ("mode", json!(provider.mode)),
        ("intercept_header_auth", json!(provider.intercept_header_auth)),
        ("redirect_uris", provider.redirect_uris.clone()),
        ("cookie_domain", json!(provider.cookie_domain)),
        ("jwt_federation_sources", provider.jwt_federation_sources.clone()),
        ("jwt_federation_providers", provider.jwt_federation_providers.clone()),
        // Our own (OA-044, OA-336).
        ("federation_audiences", provider.federation_audiences.clone()),
        ("cap_to_assertion_exp", json!(provider.cap_to_assertion_exp)),
        ("access_token_validity", json!(provider.access_token_validity)),
        ("refresh_token_validity", json!(provider.refresh_token_validity)),
        ("outpost_set", json!(view.outposts)),
    ];
    object.extend(own.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(object)
}
