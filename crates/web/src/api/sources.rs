//! `sources/oauth/` and `sources/all/` (CO-566, CO-567).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_core::permission::Model;
use portcullis_idp::Context;
use portcullis_idp::sources::built_in::{self, Any};
use portcullis_idp::sources::kinds::{self, Kind};
use portcullis_idp::sources::{self, Fields, Filter, Order, Source};
use serde_json::{Map, Value, json};

use super::Routes;
use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::Key;
use super::needs::{MayAdd, MayChange, MayDelete, MayView, on};
use super::params::Params;

const OAUTH: Model = Model::OAUTH_SOURCE;
const ENGINE_MODES: [&str; 2] = ["all", "any"];
const USER_MATCHING: [&str; 5] = ["identifier", "email_link", "email_deny", "username_link", "username_deny"];
const GROUP_MATCHING: [&str; 3] = ["identifier", "name_link", "name_deny"];
const PKCE: [&str; 3] = ["none", "plain", "S256"];
const AUTH_METHODS: [&str; 2] = ["basic_auth", "post_body"];
const ORDERS: [(&str, Order); 28] = [
    ("pk", Order::Pk),
    ("name", Order::Name),
    ("slug", Order::Slug),
    ("enabled", Order::Enabled),
    ("provider_type", Order::ProviderType),
    ("promoted", Order::Promoted),
    ("authentication_flow", Order::AuthenticationFlow),
    ("enrollment_flow", Order::EnrollmentFlow),
    ("policy_engine_mode", Order::PolicyEngineMode),
    ("user_matching_mode", Order::UserMatchingMode),
    ("group_matching_mode", Order::GroupMatchingMode),
    ("user_path_template", Order::UserPathTemplate),
    ("icon", Order::Icon),
    ("request_token_url", Order::RequestTokenUrl),
    ("authorization_url", Order::AuthorizationUrl),
    ("access_token_url", Order::AccessTokenUrl),
    ("profile_url", Order::ProfileUrl),
    ("pkce", Order::Pkce),
    ("consumer_key", Order::ConsumerKey),
    ("additional_scopes", Order::AdditionalScopes),
    ("oidc_well_known_url", Order::OidcWellKnownUrl),
    ("oidc_jwks_url", Order::OidcJwksUrl),
    ("authorization_code_auth_method", Order::AuthorizationCodeAuthMethod),
    ("component", Order::Component),
    ("meta_model_name", Order::Component),
    ("managed", Order::Managed),
    // The built-in one is called last, too.
    ("verbose_name", Order::Managed),
    ("verbose_name_plural", Order::Managed),
];

/// The routes of both resources.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/sources/oauth/", get(list).post(create))
        .route("/sources/oauth/source_types/", get(source_types))
        .route("/sources/oauth/{slug}/", get(retrieve).put(replace).patch(change).delete(remove))
        .route("/sources/all/", get(list_all))
        .route("/sources/all/types/", get(types))
        .route("/sources/all/{slug}/", get(retrieve_any).delete(remove_any))
}

async fn list(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::OAuthSource>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        name: params.text("name"),
        slug: params.text("slug"),
        enabled: params.flag("enabled"),
        provider_type: params.text("provider_type"),
        consumer_key: params.text("consumer_key"),
        has_jwks: params.flag("has_jwks"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
        ..Filter::default()
    };
    params.finish()?;
    let found = sources::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(|source| object(&ctx, source)).collect())
}

async fn list_all(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::AnySource>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let managed = params.text("managed");
    let filter = Filter {
        pk: params.uuid("pbm_uuid"),
        name: params.text("name"),
        slug: params.text("slug"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
        ..Filter::default()
    };
    params.finish()?;
    let found = built_in::all(&ctx, &caller.actor, &filter, managed.as_deref(), paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(any).collect())
}

async fn create(
    State(ctx): State<Arc<Context>>,
    MayAdd(caller, ..): MayAdd<on::OAuthSource>,
    mut body: Body,
) -> Result<Response, ApiError> {
    let fields = read(&mut body, false)?;
    let made = sources::create(&ctx, &caller.actor, fields).await?;
    Ok(created(object(&ctx, &made)))
}

async fn retrieve(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::OAuthSource>,
    key: Key,
) -> Result<Response, ApiError> {
    Ok(Json(object(&ctx, &sources::get(&ctx, &caller.actor, &key.0, OAUTH).await?)).into_response())
}

async fn retrieve_any(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::AnySource>,
    key: Key,
) -> Result<Response, ApiError> {
    Ok(Json(any(&built_in::get(&ctx, &caller.actor, &key.0).await?)).into_response())
}

async fn replace(
    ctx: State<Arc<Context>>,
    may: MayChange<on::OAuthSource>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, false).await
}

async fn change(
    ctx: State<Arc<Context>>,
    may: MayChange<on::OAuthSource>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, true).await
}

async fn update(
    State(ctx): State<Arc<Context>>,
    MayChange(caller, ..): MayChange<on::OAuthSource>,
    key: Key,
    mut body: Body,
    partial: bool,
) -> Result<Response, ApiError> {
    // Whether it exists comes before what is wrong with the body.
    sources::get(&ctx, &caller.actor, &key.0, OAUTH).await?;
    // The secret is never shown, so nobody can send it back: required when a source is made, and then no more.
    let fields = read(&mut body, true)?;
    if !partial {
        let missing = [
            ("name", fields.name.is_none()),
            ("slug", fields.slug.is_none()),
            ("provider_type", fields.provider_type.is_none()),
            ("consumer_key", fields.consumer_key.is_none()),
        ];
        for (field, _) in missing.into_iter().filter(|(_, missing)| *missing) {
            body.problem(field, "This field is required.");
        }
        body.finish()?;
    }
    let changed = sources::update(&ctx, &caller.actor, &key.0, fields).await?;
    Ok(Json(object(&ctx, &changed)).into_response())
}

async fn remove(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<on::OAuthSource>,
    key: Key,
) -> Result<Response, ApiError> {
    sources::delete(&ctx, &caller.actor, &key.0, OAUTH).await?;
    Ok(no_content())
}

async fn remove_any(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<on::AnySource>,
    key: Key,
) -> Result<Response, ApiError> {
    built_in::delete(&ctx, &caller.actor, &key.0).await?;
    Ok(no_content())
}

async fn source_types(_: MayView<on::OAuthSource>, params: Params) -> Json<Value> {
    let name = params.text("name");
    let wanted = kinds::ALL.iter().filter(|kind| name.as_ref().is_none_or(|name| kind.name == name));
    Json(wanted.map(kind_json).collect())
}

async fn types(_: MayView<on::AnySource>) -> Json<Value> {
    let kind = |kind: &Kind| {
        json!({
            "name": kind.verbose_name,
            "description": format!("Trust what {} says about people and machines.", kind.verbose_name),
            "component": "ak-source-oauth-form",
            "model_name": "oauthsource",
            "requires_enterprise": false,
            "deprecated": false,
        })
    };
    Json(kinds::ALL.iter().map(kind).collect())
}

fn kind_json(kind: &Kind) -> Value {
    json!({
        "name": kind.name,
        "verbose_name": kind.verbose_name,
        "urls_customizable": kind.urls_customizable,
        "request_token_url": null,
        "authorization_url": kind.authorization_url,
        "access_token_url": kind.access_token_url,
        "profile_url": kind.profile_url,
        "oidc_well_known_url": kind.oidc_well_known_url,
        "oidc_jwks_url": kind.oidc_jwks_url,
    })
}

pub(super) fn read(body: &mut Body, partial: bool) -> Result<Fields, ApiError> {
    body.require(&["name", "slug", "provider_type", "consumer_key", "consumer_secret"], partial);
    let fields = Fields {
        name: body.filled_text("name"),
        slug: body.filled_text("slug"),
        enabled: body.flag("enabled"),
        promoted: body.flag("promoted"),
        authentication_flow: body.uuid_or_null("authentication_flow"),
        enrollment_flow: body.uuid_or_null("enrollment_flow"),
        user_property_mappings: body.uuids("user_property_mappings"),
        group_property_mappings: body.uuids("group_property_mappings"),
        policy_engine_mode: body.choice("policy_engine_mode", &ENGINE_MODES),
        user_matching_mode: body.choice("user_matching_mode", &USER_MATCHING),
        group_matching_mode: body.choice("group_matching_mode", &GROUP_MATCHING),
        user_path_template: body.filled_text("user_path_template"),
        icon: body.text("icon"),
        provider_type: body.filled_text("provider_type"),
        request_token_url: body.text_or_null("request_token_url"),
        authorization_url: body.text_or_null("authorization_url"),
        access_token_url: body.text_or_null("access_token_url"),
        profile_url: body.text_or_null("profile_url"),
        pkce: body.choice("pkce", &PKCE),
        consumer_key: body.filled_text("consumer_key"),
        consumer_secret: body.exact_text("consumer_secret"),
        additional_scopes: body.text("additional_scopes"),
        oidc_well_known_url: body.text("oidc_well_known_url"),
        oidc_jwks_url: body.text("oidc_jwks_url"),
        oidc_jwks: body.json("oidc_jwks"),
        authorization_code_auth_method: body.choice("authorization_code_auth_method", &AUTH_METHODS),
        expected_issuers: body.texts("expected_issuers"),
        expected_audiences: body.texts("expected_audiences"),
        allowed_algorithms: body.texts("allowed_algs"),
        max_assertion_lifetime: body.filled_text("max_assertion_lifetime"),
        assertion_leeway: body.filled_text("assertion_leeway"),
        audience_check: body.flag("audience_check"),
        require_exp: body.flag("require_exp"),
        single_use: body.flag("single_use"),
    };
    body.finish()?;
    Ok(fields)
}

fn any(source: &Any) -> Value {
    match source {
        Any::BuiltIn(pk) => json!({
            "pk": pk,
            "name": built_in::NAME,
            "slug": built_in::SLUG,
            "enabled": true,
            "promoted": false,
            "authentication_flow": null,
            "enrollment_flow": null,
            "user_property_mappings": [],
            "group_property_mappings": [],
            "component": "",
            "verbose_name": "source",
            "verbose_name_plural": "sources",
            "meta_model_name": "authentik_core.source",
            "policy_engine_mode": "any",
            "user_matching_mode": "identifier",
            "managed": built_in::MANAGED,
            "user_path_template": built_in::TEMPLATE,
            "icon": "",
            "icon_url": null,
            "icon_themed_urls": null,
        }),
        Any::OAuth(source) => Value::Object(base(source)),
    }
}

fn base(source: &Source) -> Map<String, Value> {
    let icon = Some(&source.icon).filter(|icon| !icon.is_empty());
    let object = json!({
        "pk": source.pk,
        "name": source.name,
        "slug": source.slug,
        "enabled": source.enabled,
        "promoted": source.promoted,
        "authentication_flow": source.authentication_flow,
        "enrollment_flow": source.enrollment_flow,
        "user_property_mappings": source.user_property_mappings,
        "group_property_mappings": source.group_property_mappings,
        "component": "ak-source-oauth-form",
        "verbose_name": "OAuth Source",
        "verbose_name_plural": "OAuth Sources",
        "meta_model_name": "authentik_sources_oauth.oauthsource",
        "policy_engine_mode": source.policy_engine_mode,
        "user_matching_mode": source.user_matching_mode,
        "managed": null,
        "user_path_template": source.user_path_template,
        "icon": source.icon,
        "icon_url": icon,
        "icon_themed_urls": null,
    });
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(super) fn object(ctx: &Context, source: &Source) -> Value {
    let mut object = base(source);
    let is_empty = |value: &Value| value.as_object().is_none_or(Map::is_empty);
    let keys = if is_empty(&source.oidc_jwks) { &source.fetched_jwks } else { &source.oidc_jwks };
    let callback = format!("{}/source/oauth/callback/{}/", ctx.base_url, source.slug);
    let kind = kinds::by_name(&source.provider_type).unwrap_or_default();
    let own = [
        ("group_matching_mode", json!(source.group_matching_mode)),
        ("provider_type", json!(source.provider_type)),
        ("request_token_url", json!(source.request_token_url)),
        ("authorization_url", json!(source.authorization_url)),
        ("access_token_url", json!(source.access_token_url)),
        ("profile_url", json!(source.profile_url)),
        ("pkce", json!(source.pkce)),
        ("consumer_key", json!(source.consumer_key)),
        ("callback_url", json!(callback)),
        ("additional_scopes", json!(source.additional_scopes)),
        ("type", kind_json(&kind)),
        ("oidc_well_known_url", json!(source.oidc_well_known_url)),
        ("oidc_jwks_url", json!(source.oidc_jwks_url)),
        ("oidc_jwks", keys.clone()),
        ("authorization_code_auth_method", json!(source.authorization_code_auth_method)),
        // Our own (OA-044, OA-349).
        ("expected_issuers", source.expected_issuers.clone()),
        ("expected_audiences", source.expected_audiences.clone()),
        ("allowed_algs", source.allowed_algorithms.clone()),
        ("max_assertion_lifetime", json!(source.max_assertion_lifetime)),
        ("assertion_leeway", json!(source.assertion_leeway)),
        ("audience_check", json!(source.audience_check)),
        ("require_exp", json!(source.require_exp)),
        ("single_use", json!(source.single_use)),
    ];
    object.extend(own.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(object)
}
