//! What uses an object: `…/used_by/` of every resource (CO-532). Those of policies, bindings, entitlements and scores
//! are beside their resources; nothing uses what nobody names: tokens of any kind, brands, outposts, consents,
//! sessions, blueprints.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_core::id::{ProviderPk, UserPk};
use portcullis_core::permission::Model;
use portcullis_idp::directory::shown;
use portcullis_idp::issued::What;
use portcullis_idp::providers::{self, Kind};
use portcullis_idp::sources::{self, built_in};
use portcullis_idp::used_by::{self, Thing, Use};
use portcullis_idp::{
    Context, applications, blueprints, brands, certificates, consents, issued, mappings, outposts, refresh_tokens,
    roles, sessions, tokens,
};
use serde_json::{Value, json};

use super::Routes;
use super::answer::ApiError;
use super::caller::{Admin, Caller, Key};

type Ctx = State<Arc<Context>>;
type Answer = Result<Response, ApiError>;

/// The routes of the resources that do not answer this themselves. Whether the object is there for the caller to see
/// comes first.
pub(super) fn routes() -> Routes {
    let provider = |kind| get(move |ctx, admin, key| of_provider(ctx, admin, key, kind));
    let mapping = |kind| get(move |ctx, admin, key| of_mapping(ctx, admin, key, kind));
    Routes::new()
        .route("/core/users/{id}/used_by/", get(of_user))
        .route("/core/groups/{id}/used_by/", get(of_group))
        .route("/core/tokens/{id}/used_by/", get(of_token))
        .route("/core/applications/{slug}/used_by/", get(of_application))
        .route("/core/brands/{brand_uuid}/used_by/", get(of_brand))
        .route("/core/user_consent/{id}/used_by/", get(of_consent))
        .route("/core/authenticated_sessions/{uuid}/used_by/", get(of_session))
        .route("/oauth2/authorization_codes/{id}/used_by/", get(of_code))
        .route("/oauth2/access_tokens/{id}/used_by/", get(of_access_token))
        .route("/oauth2/refresh_tokens/{id}/used_by/", get(of_refresh_token))
        .route("/providers/all/{id}/used_by/", provider(Kind::Any))
        .route("/providers/oauth2/{id}/used_by/", provider(Kind::OAuth2))
        .route("/providers/proxy/{id}/used_by/", provider(Kind::Proxy))
        .route("/propertymappings/all/{pk}/used_by/", mapping(Model::MAPPING))
        .route("/propertymappings/provider/scope/{pk}/used_by/", mapping(Model::SCOPE_MAPPING))
        .route("/sources/all/{slug}/used_by/", get(of_any_source))
        .route("/sources/oauth/{slug}/used_by/", get(of_source))
        .route("/crypto/certificatekeypairs/{pk}/used_by/", get(of_certificate))
        .route("/outposts/instances/{uuid}/used_by/", get(of_outpost))
        .route("/rbac/roles/{id}/used_by/", get(of_role))
        .route("/managed/blueprints/{instance_uuid}/used_by/", get(of_blueprint))
}

async fn of_user(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Answer {
    let pk = key.parse("User").map(UserPk)?;
    shown::user(&ctx, &caller.actor, pk).await?;
    uses(&ctx, &caller, Thing::User(pk)).await
}

async fn of_group(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Answer {
    let pk = key.parse("Group")?;
    shown::group(&ctx, &caller.actor, pk).await?;
    uses(&ctx, &caller, Thing::Group(pk)).await
}

async fn of_token(State(ctx): Ctx, caller: Caller, key: Key) -> Answer {
    tokens::shown::get(&ctx, &caller.actor, &key.0).await?;
    Ok(answer(&[]))
}

async fn of_application(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Answer {
    let view = applications::get(&ctx, &key.0).await?;
    uses(&ctx, &caller, Thing::Application(view.application.uuid)).await
}

async fn of_brand(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Answer {
    brands::get(&ctx, &caller.actor, key.parse("Brand")?).await?;
    Ok(answer(&[]))
}

async fn of_consent(State(ctx): Ctx, caller: Caller, key: Key) -> Answer {
    consents::get(&ctx, &caller.actor, key.parse("UserConsent")?).await?;
    Ok(answer(&[]))
}

async fn of_code(State(ctx): Ctx, caller: Caller, key: Key) -> Answer {
    of_issued(&ctx, &caller, What::Code, &key).await
}

async fn of_access_token(State(ctx): Ctx, caller: Caller, key: Key) -> Answer {
    of_issued(&ctx, &caller, What::AccessToken, &key).await
}

async fn of_issued(ctx: &Context, caller: &Caller, what: What, key: &Key) -> Answer {
    issued::get(ctx, &caller.actor, what, key.parse(super::issued::kind(what))?).await?;
    Ok(answer(&[]))
}

async fn of_refresh_token(State(ctx): Ctx, caller: Caller, key: Key) -> Answer {
    refresh_tokens::get(&ctx, &caller.actor, key.parse("RefreshToken")?).await?;
    Ok(answer(&[]))
}

async fn of_session(State(ctx): Ctx, caller: Caller, key: Key) -> Answer {
    sessions::get(&ctx, &caller.actor, key.parse("AuthenticatedSession")?).await?;
    Ok(answer(&[]))
}

async fn of_provider(State(ctx): Ctx, Admin(caller): Admin, key: Key, kind: Kind) -> Answer {
    let pk = key.parse(kind.name()).map(ProviderPk)?;
    providers::get(&ctx, &caller.actor, pk, kind).await?;
    uses(&ctx, &caller, Thing::Provider(pk)).await
}

async fn of_mapping(State(ctx): Ctx, Admin(caller): Admin, key: Key, kind: Model) -> Answer {
    let pk = key.parse(kind.kind)?;
    mappings::get(&ctx, &caller.actor, pk, kind).await?;
    uses(&ctx, &caller, Thing::Mapping(pk)).await
}

async fn of_any_source(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Answer {
    match built_in::get(&ctx, &caller.actor, &key.0).await? {
        built_in::Any::OAuth(source) => uses(&ctx, &caller, Thing::Source(source.pk)).await,
        built_in::Any::BuiltIn(_) => Ok(answer(&[])),
    }
}

async fn of_source(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Answer {
    let source = sources::get(&ctx, &caller.actor, &key.0, Model::OAUTH_SOURCE).await?;
    uses(&ctx, &caller, Thing::Source(source.pk)).await
}

async fn of_certificate(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Answer {
    let pk = key.parse("CertificateKeyPair")?;
    certificates::get(&ctx, &caller.actor, pk).await?;
    uses(&ctx, &caller, Thing::Certificate(pk)).await
}

async fn of_outpost(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Answer {
    outposts::get(&ctx, &caller.actor, key.parse("Outpost")?).await?;
    Ok(answer(&[]))
}

async fn of_role(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Answer {
    let pk = key.parse("Role")?;
    roles::get(&ctx, &caller.actor, pk).await?;
    uses(&ctx, &caller, Thing::Role(pk)).await
}

async fn of_blueprint(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Answer {
    blueprints::get(&ctx, &caller.actor, key.parse("BlueprintInstance")?).await?;
    Ok(answer(&[]))
}

async fn uses(ctx: &Context, caller: &Caller, thing: Thing) -> Answer {
    Ok(answer(&used_by::of(ctx, &caller.actor, thing).await?))
}

/// The list as an answer. It has no pages.
pub(super) fn answer(uses: &[Use]) -> Response {
    let object = |found: &Use| {
        json!({
            "app": found.app,
            "model_name": found.model_name,
            "pk": found.pk,
            "name": found.name,
            "action": found.action.as_str(),
        })
    };
    Json(uses.iter().map(object).collect::<Vec<Value>>()).into_response()
}
