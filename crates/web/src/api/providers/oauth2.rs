//! `providers/oauth2/` (CO-558).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_core::attributes::MASK;
use portcullis_core::id::{ProviderPk, UserPk};
use portcullis_idp::providers::oauth2::{self, Fields, RedirectUri, preview};
use portcullis_idp::providers::secrets::{second_secret, shown_to};
use portcullis_idp::providers::{self, Filter, Kind, Order, View, client_secret};
use portcullis_idp::{Actor, Context, Error};
use serde_json::{Value, json};

use super::{base_map, parse};
use crate::api::Routes;
use crate::api::answer::{ApiError, created, no_content};
use crate::api::body::Body;
use crate::api::caller::Key;
use crate::api::needs::{MayAdd, MayChange, MayDelete, MayView, on};
use crate::api::params::Params;
use crate::api::users::instant;
use crate::asked::Asked;

const KIND: Kind = Kind::OAuth2;
const CLIENT_TYPES: [&str; 2] = ["confidential", "public"];
const GRANTS: [&str; 8] = [
    "authorization_code",
    "implicit",
    "hybrid",
    "refresh_token",
    "client_credentials",
    "password",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
];
const SUB_MODES: [&str; 6] = ["hashed_user_id", "user_id", "user_uuid", "user_username", "user_email", "user_upn"];
const ISSUER_MODES: [&str; 2] = ["global", "per_provider"];
const LOGOUT_METHODS: [&str; 2] = ["backchannel", "frontchannel"];
const MATCHING_MODES: [&str; 2] = ["strict", "regex"];
const URI_TYPES: [&str; 2] = ["authorization", "logout"];
const ORDERS: [(&str, Order); 25] = [
    ("pk", Order::Pk),
    ("id", Order::Pk),
    ("name", Order::Name),
    ("client_id", Order::ClientId),
    ("client_type", Order::ClientType),
    ("sub_mode", Order::SubMode),
    ("issuer_mode", Order::IssuerMode),
    ("component", Order::Kind),
    ("verbose_name", Order::Kind),
    ("verbose_name_plural", Order::Kind),
    ("meta_model_name", Order::Kind),
    ("authentication_flow", Order::AuthenticationFlow),
    ("authorization_flow", Order::AuthorizationFlow),
    ("invalidation_flow", Order::InvalidationFlow),
    ("assigned_application_slug", Order::ApplicationSlug),
    ("assigned_application_name", Order::ApplicationName),
    ("access_token_validity", Order::AccessTokenValidity),
    ("refresh_token_validity", Order::RefreshTokenValidity),
    ("access_code_validity", Order::AccessCodeValidity),
    ("refresh_token_threshold", Order::RefreshTokenThreshold),
    ("include_claims_in_id_token", Order::IncludeClaims),
    ("signing_key", Order::SigningKey),
    ("encryption_key", Order::EncryptionKey),
    ("logout_uri", Order::LogoutUri),
    ("logout_method", Order::LogoutMethod),
];

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/providers/oauth2/", get(list).post(create))
        .route("/providers/oauth2/{id}/", get(retrieve).put(replace).patch(change).delete(remove))
        .route("/providers/oauth2/{id}/setup_urls/", get(setup_urls))
        .route("/providers/oauth2/{id}/preview_user/", get(preview_user))
}

async fn list(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::OAuth2Provider>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        exact_name: params.text("name"),
        client_id: params.text("client_id"),
        client_type: params.choice("client_type", &CLIENT_TYPES),
        application: params.uuid("application"),
        authorization_flow_pk: params.uuid("authorization_flow"),
        mappings: params.uuids("property_mappings"),
        signing_key: params.uuid("signing_key"),
        sub_mode: params.choice("sub_mode", &SUB_MODES),
        issuer_mode: params.choice("issuer_mode", &ISSUER_MODES),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
        ..Filter::default()
    };
    params.finish()?;
    let found = providers::list(&ctx, &caller.actor, KIND, &filter, paging.slice()).await?;
    let keys: Vec<_> = found.rows.iter().map(|view| view.provider.pk).collect();
    let shown = shown_to(&ctx, &caller.actor, KIND, &keys).await?;
    let row = |view: &View| object(&ctx, view, shown.contains(&view.provider.pk));
    paging.answer(found.count, found.rows.iter().map(row).collect::<Result<_, _>>()?)
}

async fn create(
    State(ctx): State<Arc<Context>>,
    MayAdd(caller, ..): MayAdd<on::OAuth2Provider>,
    mut body: Body,
) -> Result<Response, ApiError> {
    let fields = read(&mut body, false)?;
    let pk = oauth2::create(&ctx, &caller.actor, fields).await?;
    let maker = caller.actor.maker_of(KIND.model(), &pk);
    Ok(created(one(&ctx, &maker, pk).await?))
}

async fn retrieve(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::OAuth2Provider>,
    key: Key,
) -> Result<Response, ApiError> {
    Ok(Json(one(&ctx, &caller.actor, parse(&key, KIND)?).await?).into_response())
}

async fn replace(
    ctx: State<Arc<Context>>,
    may: MayChange<on::OAuth2Provider>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, false).await
}

async fn change(
    ctx: State<Arc<Context>>,
    may: MayChange<on::OAuth2Provider>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, true).await
}

async fn update(
    State(ctx): State<Arc<Context>>,
    MayChange(caller, ..): MayChange<on::OAuth2Provider>,
    key: Key,
    mut body: Body,
    partial: bool,
) -> Result<Response, ApiError> {
    let pk = parse(&key, KIND)?;
    // Whether it exists comes before what is wrong with the body.
    providers::get(&ctx, &caller.actor, pk, KIND).await?;
    let fields = read(&mut body, partial)?;
    oauth2::update(&ctx, &caller.actor, pk, fields).await?;
    Ok(Json(one(&ctx, &caller.actor, pk).await?).into_response())
}

async fn one(ctx: &Context, actor: &Actor, pk: ProviderPk) -> Result<Value, Error> {
    let view = providers::get(ctx, actor, pk, KIND).await?;
    let shown = shown_to(ctx, actor, KIND, &[pk]).await?;
    object(ctx, &view, shown.contains(&pk))
}

async fn remove(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<on::OAuth2Provider>,
    key: Key,
) -> Result<Response, ApiError> {
    providers::delete(&ctx, &caller.actor, parse(&key, KIND)?, KIND).await?;
    Ok(no_content())
}

async fn setup_urls(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::OAuth2Provider>,
    key: Key,
) -> Result<Response, ApiError> {
    let urls = oauth2::setup_urls(&ctx, &caller.actor, parse(&key, KIND)?).await?;
    let answer = json!({
        "issuer": urls.issuer,
        "authorize": urls.authorize,
        "token": urls.token,
        "user_info": urls.user_info,
        "provider_info": urls.provider_info,
        "logout": urls.logout,
        "jwks": urls.jwks,
        "dcr_registration": null,
    });
    Ok(Json(answer).into_response())
}

async fn preview_user(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::OAuth2Provider>,
    asked: Asked,
    key: Key,
    mut params: Params,
) -> Result<Response, ApiError> {
    let user = params.integer("for_user").map_or(caller.person.account.pk, UserPk);
    params.finish()?;
    let said = preview(&ctx, &caller.actor, &asked.0, parse(&key, KIND)?, user).await?;
    Ok(Json(json!({"preview": said})).into_response())
}

pub(in crate::api) fn read(body: &mut Body, partial: bool) -> Result<Fields, ApiError> {
    body.require(&["name", "authorization_flow", "invalidation_flow", "redirect_uris"], partial);
    let fields = Fields {
        name: body.filled_text("name"),
        authentication_flow: body.uuid_or_null("authentication_flow"),
        authorization_flow: body.uuid("authorization_flow"),
        invalidation_flow: body.uuid("invalidation_flow"),
        property_mappings: body.uuids("property_mappings"),
        client_type: body.choice("client_type", &CLIENT_TYPES),
        client_id: body.text("client_id"),
        client_secret: body.exact_text("client_secret"),
        client_secret_expires: body.instant_or_null("client_secret_expires"),
        second_client_secret: body.exact_text("second_client_secret"),
        second_client_secret_expires: body.instant_or_null("second_client_secret_expires"),
        client_jwks: body.json("client_jwks"),
        grant_types: grants(body),
        redirect_uris: redirects(body),
        access_code_validity: body.filled_text("access_code_validity"),
        access_token_validity: body.filled_text("access_token_validity"),
        refresh_token_validity: body.filled_text("refresh_token_validity"),
        refresh_token_threshold: body.filled_text("refresh_token_threshold"),
        refresh_family_max_age: body.text("refresh_family_max_age"),
        include_claims_in_id_token: body.flag("include_claims_in_id_token"),
        signing_key: body.uuid_or_null("signing_key"),
        encryption_key: body.uuid_or_null("encryption_key"),
        logout_uri: body.text("logout_uri"),
        logout_method: body.choice("logout_method", &LOGOUT_METHODS),
        sub_mode: body.choice("sub_mode", &SUB_MODES),
        issuer_mode: body.choice("issuer_mode", &ISSUER_MODES),
        jwt_federation_sources: body.uuids("jwt_federation_sources"),
        jwt_federation_providers: body
            .integers("jwt_federation_providers")
            .map(|keys| keys.into_iter().map(ProviderPk).collect()),
        federation_audiences: body.texts("federation_audiences"),
        cap_to_assertion_exp: body.flag("cap_to_assertion_exp"),
        token_exchange_without_actor: body.flag("token_exchange_without_actor"),
        require_pkce: body.flag("require_pkce"),
        m2m_require_client_auth: body.flag("m2m_require_client_auth"),
        allow_pkce_plain: body.flag("allow_pkce_plain"),
        device_code_validity: body.filled_text("device_code_validity"),
        device_require_client_auth: body.flag("device_require_client_auth"),
        allowed_origins: body.texts("allowed_origins"),
        allow_query_token: body.flag("allow_query_token"),
        allow_broad_redirect_uris: body.flag("allow_broad_redirect_uris"),
    };
    body.finish()?;
    Ok(fields)
}

fn grants(body: &mut Body) -> Option<Vec<String>> {
    let mut grants = Vec::new();
    for item in body.items("grant_types")? {
        match item.as_str() {
            Some(grant) if GRANTS.contains(&grant) => grants.push(grant.to_owned()),
            Some(other) => body.problem("grant_types", format!("\"{other}\" is not a valid choice.")),
            None => body.problem("grant_types", format!("\"{item}\" is not a valid choice.")),
        }
    }
    Some(grants)
}

fn redirects(body: &mut Body) -> Option<Vec<RedirectUri>> {
    const FIELD: &str = "redirect_uris";
    let mut uris = Vec::new();
    for item in body.items(FIELD)? {
        if !item.is_object() {
            body.problem(FIELD, "Invalid data. Expected a dictionary.");
            continue;
        }
        let text = |name: &str| item.get(name).and_then(Value::as_str).map(|text| text.trim().to_owned());
        let kind = match item.get("redirect_uri_type") {
            None => Some("authorization".to_owned()),
            Some(_) => text("redirect_uri_type"),
        };
        let (matching_mode, url) = (text("matching_mode"), text("url"));
        let chosen =
            |choice: Option<String>, choices: &[&str]| choice.filter(|choice| choices.contains(&choice.as_str()));
        match (chosen(matching_mode, &MATCHING_MODES), url, chosen(kind, &URI_TYPES)) {
            (Some(matching_mode), Some(url), Some(kind)) if !url.is_empty() => {
                uris.push(RedirectUri { matching_mode, url, kind });
            }
            (None, _, _) => body.problem(FIELD, "matching_mode: Choose strict or regex."),
            (_, _, None) => body.problem(FIELD, "redirect_uri_type: Choose authorization or logout."),
            _ => body.problem(FIELD, "url: This field may not be blank."),
        }
    }
    Some(uris)
}

/// A client, with its secrets or with masks in their place.
pub(in crate::api) fn object(ctx: &Context, view: &View, with_secrets: bool) -> Result<Value, Error> {
    let provider = &view.provider;
    let (secret, second) = match with_secrets {
        true => (client_secret(ctx, provider)?, second_secret(ctx, provider)?),
        false if provider.second_secret_sealed.is_empty() => (MASK.to_owned(), String::new()),
        false => (MASK.to_owned(), MASK.to_owned()),
    };
    let mut object = base_map(view);
    let own = [
        ("client_type", json!(provider.client_type)),
        ("grant_types", provider.grant_types.clone()),
        ("client_id", json!(provider.client_id)),
        ("client_secret", json!(secret)),
        ("access_code_validity", json!(provider.access_code_validity)),
        ("access_token_validity", json!(provider.access_token_validity)),
        ("refresh_token_validity", json!(provider.refresh_token_validity)),
        ("refresh_token_threshold", json!(provider.refresh_token_threshold)),
        ("include_claims_in_id_token", json!(provider.include_claims_in_id_token)),
        ("signing_key", json!(provider.signing_key)),
        ("encryption_key", json!(provider.encryption_key)),
        ("redirect_uris", provider.redirect_uris.clone()),
        ("logout_uri", json!(provider.logout_uri)),
        ("logout_method", json!(provider.logout_method)),
        ("sub_mode", json!(provider.sub_mode)),
        ("issuer_mode", json!(provider.issuer_mode)),
        ("jwt_federation_sources", provider.jwt_federation_sources.clone()),
        ("jwt_federation_providers", provider.jwt_federation_providers.clone()),
        // Our own (OA-041 to OA-044, OA-268, OA-336, OA-580, OA-710, OA-738, OA-807, OA-841, OA-884).
        ("federation_audiences", provider.federation_audiences.clone()),
        ("cap_to_assertion_exp", json!(provider.cap_to_assertion_exp)),
        ("client_secret_expires", json!(instant(provider.client_secret_expires))),
        ("client_secret_last_used", json!(instant(provider.client_secret_used))),
        ("second_client_secret", json!(second)),
        ("second_client_secret_expires", json!(instant(provider.second_secret_expires))),
        ("second_client_secret_last_used", json!(instant(provider.second_secret_used))),
        ("client_jwks", provider.client_jwks.clone()),
        ("refresh_family_max_age", json!(provider.refresh_family_max_age)),
        ("token_exchange_without_actor", json!(provider.exchange_without_actor)),
        ("require_pkce", json!(provider.needs_pkce())),
        ("m2m_require_client_auth", json!(provider.m2m_require_client_auth)),
        ("allow_pkce_plain", json!(provider.allow_pkce_plain)),
        ("device_code_validity", json!(provider.device_code_validity)),
        ("device_require_client_auth", json!(provider.proves_devices())),
        ("allowed_origins", provider.allowed_origins.clone()),
        ("allow_query_token", json!(provider.allow_query_token)),
        ("allow_broad_redirect_uris", json!(provider.allow_broad_redirect_uris)),
    ];
    object.extend(own.map(|(key, value)| (key.to_owned(), value)));
    Ok(Value::Object(object))
}
