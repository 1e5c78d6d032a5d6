//! `rbac/roles/` (CO-577). What a role grants is set by blueprints alone (CO-701).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use portcullis_core::id::{RoleId, UserPk};
use portcullis_core::permission::Model;
use portcullis_idp::directory::shown;
use portcullis_idp::roles::{self, Fields, Filter, Order};
use portcullis_idp::{Context, Role};
use serde_json::{Value, json};

use super::Routes;
use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::Key;
use super::needs::{MayAdd, MayChange, MayDelete, MayView, on};
use super::params::Params;

type Ctx = State<Arc<Context>>;

const ORDERS: [(&str, Order); 3] = [("pk", Order::Pk), ("name", Order::Name), ("managed", Order::Managed)];

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/rbac/roles/", get(list).post(create))
        .route("/rbac/roles/{id}/", get(retrieve).put(replace).patch(change).delete(delete))
}

async fn list(
    State(ctx): Ctx,
    MayView(caller, ..): MayView<on::Role>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let filter = Filter {
        name: params.text("name"),
        managed: params.texts("managed"),
        is_managed: params.flag("managed__isnull").map(|is_null| !is_null),
        users: shown::sought(&caller.actor, params.integers("users").into_iter().map(UserPk)),
        groups: params.uuids("groups"),
        inherited: params.flag("inherited").unwrap_or(false),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Name, false)]),
    };
    params.finish()?;
    let paging = params.paging()?;
    let found = roles::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(object).collect())
}

async fn create(State(ctx): Ctx, MayAdd(caller, ..): MayAdd<on::Role>, mut body: Body) -> Result<Response, ApiError> {
    let pk = roles::create(&ctx, &caller.actor, read(&mut body, false)?).await?;
    let maker = caller.actor.maker_of(Model::ROLE, &pk);
    Ok(created(object(&roles::get(&ctx, &maker, pk).await?)))
}

async fn retrieve(State(ctx): Ctx, MayView(caller, ..): MayView<on::Role>, key: Key) -> Result<Json<Value>, ApiError> {
    Ok(Json(object(&roles::get(&ctx, &caller.actor, pk(&key)?).await?)))
}

async fn replace(ctx: Ctx, may: MayChange<on::Role>, key: Key, body: Body) -> Result<Json<Value>, ApiError> {
    update(ctx, may, &key, body, false).await
}

async fn change(ctx: Ctx, may: MayChange<on::Role>, key: Key, body: Body) -> Result<Json<Value>, ApiError> {
    update(ctx, may, &key, body, true).await
}

async fn update(
    State(ctx): Ctx,
    MayChange(caller, ..): MayChange<on::Role>,
    key: &Key,
    mut body: Body,
    partial: bool,
) -> Result<Json<Value>, ApiError> {
    let pk = pk(key)?;
    roles::get(&ctx, &caller.actor, pk).await?;
    roles::update(&ctx, &caller.actor, pk, read(&mut body, partial)?).await?;
    Ok(Json(object(&roles::get(&ctx, &caller.actor, pk).await?)))
}

async fn delete(State(ctx): Ctx, MayDelete(caller, ..): MayDelete<on::Role>, key: Key) -> Result<Response, ApiError> {
    roles::delete(&ctx, &caller.actor, pk(&key)?).await?;
    Ok(no_content())
}

fn pk(key: &Key) -> Result<RoleId, ApiError> {
    key.parse("Role")
}

pub(super) fn read(body: &mut Body, partial: bool) -> Result<Fields, ApiError> {
    body.require(&["name"], partial);
    let fields = Fields { name: body.filled_text("name") };
    body.finish()?;
    Ok(fields)
}

/// A role as the API shows it, also inside users and groups.
pub(super) fn object(role: &Role) -> Value {
    json!({"pk": role.pk, "name": role.name})
}
