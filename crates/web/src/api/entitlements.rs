//! `core/application_entitlements/` (CO-553).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_core::id::EntitlementId;
use portcullis_core::permission::Model;
use portcullis_idp::entitlements::{self, Fields, Filter, Order, View};
use portcullis_idp::{Actor, Context};
use serde_json::{Value, json};

use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::Key;
use super::needs::{MayAdd, MayChange, MayDelete, MayView, on};
use super::params::Params;
use super::{Routes, used_by};

const PATH: &str = "/core/application_entitlements/";
const KIND: &str = "ApplicationEntitlement";
const ORDERS: [(&str, Order); 4] =
    [("pk", Order::Pk), ("pbm_uuid", Order::Pk), ("name", Order::Name), ("app", Order::Application)];

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route(PATH, get(list).post(create))
        .route(&format!("{PATH}{{pk}}/"), get(retrieve).put(replace).patch(change).delete(remove))
        .route(&format!("{PATH}{{pk}}/used_by/"), get(used))
}

async fn list(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Entitlement>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        uuid: params.uuid("pbm_uuid"),
        name: params.text("name"),
        application: params.uuid("app"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
    };
    params.finish()?;
    let found = entitlements::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(object).collect())
}

async fn create(
    State(ctx): State<Arc<Context>>,
    MayAdd(caller, ..): MayAdd<on::Entitlement>,
    mut body: Body,
) -> Result<Response, ApiError> {
    let fields = read(&mut body, false)?;
    let uuid = entitlements::create(&ctx, &caller.actor, fields).await?;
    let maker = caller.actor.maker_of(Model::ENTITLEMENT, &uuid);
    Ok(created(one(&ctx, &maker, uuid).await?))
}

async fn retrieve(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Entitlement>,
    key: Key,
) -> Result<Response, ApiError> {
    Ok(Json(one(&ctx, &caller.actor, key.parse(KIND)?).await?).into_response())
}

async fn replace(
    ctx: State<Arc<Context>>,
    may: MayChange<on::Entitlement>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, false).await
}

async fn change(
    ctx: State<Arc<Context>>,
    may: MayChange<on::Entitlement>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, true).await
}

async fn update(
    State(ctx): State<Arc<Context>>,
    MayChange(caller, ..): MayChange<on::Entitlement>,
    key: Key,
    mut body: Body,
    partial: bool,
) -> Result<Response, ApiError> {
    let uuid = key.parse(KIND)?;
    one(&ctx, &caller.actor, uuid).await?;
    let fields = read(&mut body, partial)?;
    entitlements::update(&ctx, &caller.actor, uuid, fields).await?;
    Ok(Json(one(&ctx, &caller.actor, uuid).await?).into_response())
}

async fn remove(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<on::Entitlement>,
    key: Key,
) -> Result<Response, ApiError> {
    entitlements::delete(&ctx, &caller.actor, key.parse(KIND)?).await?;
    Ok(no_content())
}

async fn used(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Entitlement>,
    key: Key,
) -> Result<Response, ApiError> {
    Ok(used_by::answer(&entitlements::used_by(&ctx, &caller.actor, key.parse(KIND)?).await?))
}

pub(super) fn read(body: &mut Body, partial: bool) -> Result<Fields, ApiError> {
    body.require(&["name", "app"], partial);
    let fields = Fields { name: body.filled_text("name"), app: body.uuid("app"), attributes: body.json("attributes") };
    body.finish()?;
    Ok(fields)
}

async fn one(ctx: &Context, actor: &Actor, uuid: EntitlementId) -> Result<Value, ApiError> {
    Ok(object(&entitlements::get(ctx, actor, uuid).await?))
}

pub(super) fn object(view: &View) -> Value {
    let entitlement = &view.entitlement;
    json!({
        "pbm_uuid": entitlement.uuid,
        "name": entitlement.name,
        "app": entitlement.application,
        "attributes": view.attributes,
    })
}
