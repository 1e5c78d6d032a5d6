//! `policies/bindings/` and `policies/all/` (CO-560, CO-561).
//!
//! There are no kinds of policies yet: bindings name groups and users, and the list of policies is empty.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use portcullis_core::attributes::SecretKeys;
use portcullis_core::id::{BindingId, PolicyId, UserPk};
use portcullis_idp::bindings::{self, Fields, Filter, Order, View};
use portcullis_idp::{Context, Error, directory};
use serde_json::{Value, json};

use super::Routes;
use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::{Admin, Key};
use super::params::Params;

const ORDERS: [(&str, Order); 6] = [
    ("pk", Order::Pk),
    ("order", Order::Order),
    ("target", Order::Target),
    ("policy", Order::Policy),
    ("enabled", Order::Enabled),
    ("timeout", Order::Timeout),
];

/// The routes of both resources.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/policies/bindings/", get(list).post(create))
        .route("/policies/bindings/{pk}/", get(retrieve).put(replace).patch(change).delete(remove))
        .route("/policies/all/", get(list_policies))
        .route("/policies/all/types/", get(async |_: Admin| Json(json!([]))))
        .route("/policies/all/cache_info/", get(async |_: Admin| Json(json!({"count": 0}))))
        .route("/policies/all/cache_clear/", post(async |_: Admin| no_content()))
        .route("/policies/all/{pk}/", get(no_policy).delete(no_policy))
        .route("/policies/all/{pk}/test/", post(no_policy))
}

async fn list(State(ctx): State<Arc<Context>>, _: Admin, mut params: Params) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        policy: params.uuid("policy"),
        without_policy: params.flag("policy__isnull"),
        targets: params.uuid("target").into_iter().chain(params.uuids("target_in")).collect(),
        enabled: params.flag("enabled"),
        position: params.integer("order"),
        timeout: params.integer("timeout"),
        order: params.order(&ORDERS, &[(Order::Order, false)]),
    };
    params.finish()?;
    let found = bindings::list(&ctx, &filter, paging.slice()).await?;
    let secret = secret_keys(&ctx).await?;
    let results = found.rows.iter().map(|view| object(&ctx, &secret, view)).collect::<Result<_, _>>()?;
    paging.answer(found.count, results)
}

async fn create(State(ctx): State<Arc<Context>>, Admin(caller): Admin, mut body: Body) -> Result<Response, ApiError> {
    let fields = read(&mut body, false)?;
    let pk = bindings::create(&ctx, &caller.actor, fields).await?;
    Ok(created(one(&ctx, pk).await?))
}

async fn retrieve(State(ctx): State<Arc<Context>>, _: Admin, key: Key) -> Result<Response, ApiError> {
    Ok(Json(one(&ctx, key.parse("PolicyBinding")?).await?).into_response())
}

async fn replace(ctx: State<Arc<Context>>, admin: Admin, key: Key, body: Body) -> Result<Response, ApiError> {
    update(ctx, admin, key, body, false).await
}

async fn change(ctx: State<Arc<Context>>, admin: Admin, key: Key, body: Body) -> Result<Response, ApiError> {
    update(ctx, admin, key, body, true).await
}

async fn update(
    State(ctx): State<Arc<Context>>,
    Admin(caller): Admin,
    key: Key,
    mut body: Body,
    partial: bool,
) -> Result<Response, ApiError> {
    let pk = key.parse("PolicyBinding")?;
    let fields = read(&mut body, partial)?;
    bindings::update(&ctx, &caller.actor, pk, fields).await?;
    Ok(Json(one(&ctx, pk).await?).into_response())
}

async fn remove(State(ctx): State<Arc<Context>>, Admin(caller): Admin, key: Key) -> Result<Response, ApiError> {
    bindings::delete(&ctx, &caller.actor, key.parse("PolicyBinding")?).await?;
    Ok(no_content())
}

async fn list_policies(_: Admin, params: Params) -> Result<Response, ApiError> {
    params.paging()?.answer(0, Vec::new())
}

async fn no_policy(_: Admin, _: Key) -> ApiError {
    ApiError::NotFound("Policy")
}

fn read(body: &mut Body, partial: bool) -> Result<Fields, ApiError> {
    body.require(&["target", "order"], partial);
    let fields = Fields {
        target: body.uuid("target"),
        policy: body.uuid_or_null::<PolicyId>("policy"),
        group: body.uuid_or_null("group"),
        user: body.integer_or_null("user").map(|pk| pk.map(UserPk)),
        order: body.integer("order"),
        negate: body.flag("negate"),
        enabled: body.flag("enabled"),
        failure_result: body.flag("failure_result"),
        timeout: body.integer("timeout"),
    };
    body.finish()?;
    Ok(fields)
}

async fn secret_keys(ctx: &Context) -> Result<SecretKeys, ApiError> {
    let mut conn = ctx.db.read().await.map_err(Error::from)?;
    Ok(directory::secret_keys(&mut conn).await?)
}

async fn one(ctx: &Context, pk: BindingId) -> Result<Value, ApiError> {
    object(ctx, &secret_keys(ctx).await?, &bindings::get(ctx, pk).await?)
}

fn object(ctx: &Context, secret: &SecretKeys, view: &View) -> Result<Value, ApiError> {
    let binding = &view.binding;
    let group = match &view.group {
        Some(team) => Some(json!({
            "pk": team.pk,
            "num_pk": number(team.pk.0),
            "name": team.name,
            "is_superuser": team.is_superuser,
            "attributes": secret.masked(&directory::team_attributes(ctx, team)?),
        })),
        None => None,
    };
    let user = match &view.user {
        Some(account) => Some(json!({
            "pk": account.pk,
            "username": account.username,
            "name": account.name,
            "is_active": account.is_active,
            "last_login": account.last_login.map(|at| at.to_string()),
            "email": account.email,
            "attributes": secret.masked(&directory::account_attributes(ctx, account)?),
            "uid": directory::uid(ctx, account.pk),
        })),
        None => None,
    };
    Ok(json!({
        "pk": binding.pk,
        "policy": binding.policy,
        "group": binding.team,
        "user": binding.account,
        "policy_obj": null,
        "group_obj": group,
        "user_obj": user,
        "target": binding.target,
        "negate": binding.negate,
        "enabled": binding.enabled,
        "order": binding.position,
        "timeout": binding.timeout,
        "failure_result": binding.failure_result,
        "expires": null,
        "expiring": false,
    }))
}

/// The first five decimal digits of a group's UUID read as a number (CO-060).
fn number(pk: uuid::Uuid) -> i32 {
    pk.as_u128().to_string().chars().take(5).collect::<String>().parse().unwrap_or_default()
}
