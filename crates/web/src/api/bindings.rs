//! `policies/bindings/` (CO-561).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_core::id::{BindingId, PolicyId, UserPk};
use portcullis_core::permission::Model;
use portcullis_idp::bindings::{self, Fields, Filter, Order, View};
use portcullis_idp::{Actor, Context};
use serde_json::{Value, json};

use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::Key;
use super::groups::partial_user_json;
use super::needs::{MayAdd, MayChange, MayDelete, MayView, on};
use super::params::Params;
use super::users::partial_group_json;
use super::{Routes, policies, used_by};

const ORDERS: [(&str, Order); 10] = [
    ("pk", Order::Pk),
    ("order", Order::Order),
    ("target", Order::Target),
    ("policy", Order::Policy),
    ("enabled", Order::Enabled),
    ("timeout", Order::Timeout),
    ("group", Order::Group),
    ("user", Order::User),
    ("negate", Order::Negate),
    ("failure_result", Order::FailureResult),
];

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/policies/bindings/", get(list).post(create))
        .route("/policies/bindings/{pk}/", get(retrieve).put(replace).patch(change).delete(remove))
        .route("/policies/bindings/{pk}/used_by/", get(used_by))
}

async fn list(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Binding>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        policy: params.uuid("policy"),
        without_policy: params.flag("policy__isnull"),
        target: params.uuid("target"),
        targets: params.uuids("target_in"),
        enabled: params.flag("enabled"),
        position: params.integer("order"),
        timeout: params.integer("timeout"),
        order: params.order(&ORDERS, &[(Order::Order, false)]),
    };
    params.finish()?;
    let found = bindings::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(object).collect())
}

async fn create(
    State(ctx): State<Arc<Context>>,
    MayAdd(caller, ..): MayAdd<on::Binding>,
    mut body: Body,
) -> Result<Response, ApiError> {
    let fields = read(&mut body, false)?;
    let pk = bindings::create(&ctx, &caller.actor, fields).await?;
    let maker = caller.actor.maker_of(Model::BINDING, &pk);
    Ok(created(one(&ctx, &maker, pk).await?))
}

async fn retrieve(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Binding>,
    key: Key,
) -> Result<Response, ApiError> {
    Ok(Json(one(&ctx, &caller.actor, key.parse("PolicyBinding")?).await?).into_response())
}

async fn replace(
    ctx: State<Arc<Context>>,
    may: MayChange<on::Binding>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, false).await
}

async fn change(
    ctx: State<Arc<Context>>,
    may: MayChange<on::Binding>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, true).await
}

async fn update(
    State(ctx): State<Arc<Context>>,
    MayChange(caller, ..): MayChange<on::Binding>,
    key: Key,
    mut body: Body,
    partial: bool,
) -> Result<Response, ApiError> {
    let pk = key.parse("PolicyBinding")?;
    one(&ctx, &caller.actor, pk).await?;
    let fields = read(&mut body, partial)?;
    bindings::update(&ctx, &caller.actor, pk, fields).await?;
    Ok(Json(one(&ctx, &caller.actor, pk).await?).into_response())
}

async fn remove(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<on::Binding>,
    key: Key,
) -> Result<Response, ApiError> {
    bindings::delete(&ctx, &caller.actor, key.parse("PolicyBinding")?).await?;
    Ok(no_content())
}

async fn used_by(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Binding>,
    key: Key,
) -> Result<Response, ApiError> {
    Ok(used_by::answer(&bindings::used_by(&ctx, &caller.actor, key.parse("PolicyBinding")?).await?))
}

pub(super) fn read(body: &mut Body, partial: bool) -> Result<Fields, ApiError> {
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

async fn one(ctx: &Context, actor: &Actor, pk: BindingId) -> Result<Value, ApiError> {
    Ok(object(&bindings::get(ctx, actor, pk).await?))
}

pub(super) fn object(view: &View) -> Value {
    let binding = &view.binding;
    json!({
        "pk": binding.pk,
        "policy": binding.policy,
        "group": binding.team,
        "user": binding.account,
        "policy_obj": view.policy.as_ref().map(policies::base),
        "group_obj": view.group.as_ref().map(partial_group_json),
        "user_obj": view.user.as_ref().map(partial_user_json),
        "target": binding.target,
        "negate": binding.negate,
        "enabled": binding.enabled,
        "order": binding.position,
        "timeout": binding.timeout,
        "failure_result": binding.failure_result,
        "expires": null,
        "expiring": false,
    })
}
