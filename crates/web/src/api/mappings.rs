//! `propertymappings/provider/scope/` and `propertymappings/all/` (CO-564, CO-565).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use portcullis_core::id::UserPk;
use portcullis_core::permission::Model;
use portcullis_idp::Context;
use portcullis_idp::mappings::{self, Fields, Filter, Order, ScopeMapping, Trial};
use serde_json::{Map, Value, json};

use super::Routes;
use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::Key;
use super::needs::{MayAdd, MayChange, MayDelete, MayView, on};
use super::params::Params;
use crate::asked::Asked;

const SCOPE: Model = Model::SCOPE_MAPPING;
const ANY: Model = Model::MAPPING;
const ORDERS: [(&str, Order); 6] = [
    ("pk", Order::Pk),
    ("name", Order::Name),
    ("scope_name", Order::ScopeName),
    ("managed", Order::Managed),
    ("description", Order::Description),
    ("expression", Order::Expression),
];

/// The routes of both resources.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/propertymappings/provider/scope/", get(list).post(create))
        .route("/propertymappings/provider/scope/{pk}/", get(retrieve).put(replace).patch(change).delete(remove))
        .route("/propertymappings/provider/scope/{pk}/restore/", post(restore))
        .route("/propertymappings/all/", get(list_all))
        .route("/propertymappings/all/types/", get(types))
        .route("/propertymappings/all/{pk}/", get(retrieve_any).delete(remove_any))
        .route("/propertymappings/all/{pk}/test/", post(test))
}

async fn create(
    State(ctx): State<Arc<Context>>,
    MayAdd(caller, ..): MayAdd<on::ScopeMapping>,
    mut body: Body,
) -> Result<Response, ApiError> {
    let fields = read(&mut body, false)?;
    let pk = mappings::create(&ctx, &caller.actor, fields).await?;
    let maker = caller.actor.maker_of(SCOPE, &pk);
    Ok(created(scope(&mappings::get(&ctx, &maker, pk, SCOPE).await?)))
}

async fn replace(
    ctx: State<Arc<Context>>,
    may: MayChange<on::ScopeMapping>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, false).await
}

async fn change(
    ctx: State<Arc<Context>>,
    may: MayChange<on::ScopeMapping>,
    key: Key,
    body: Body,
) -> Result<Response, ApiError> {
    update(ctx, may, key, body, true).await
}

async fn update(
    State(ctx): State<Arc<Context>>,
    MayChange(caller, ..): MayChange<on::ScopeMapping>,
    key: Key,
    mut body: Body,
    partial: bool,
) -> Result<Response, ApiError> {
    let pk = key.parse(SCOPE.kind)?;
    // Whether it exists comes before what is wrong with the body.
    mappings::get(&ctx, &caller.actor, pk, SCOPE).await?;
    let fields = read(&mut body, partial)?;
    mappings::update(&ctx, &caller.actor, pk, fields).await?;
    Ok(Json(scope(&mappings::get(&ctx, &caller.actor, pk, SCOPE).await?)).into_response())
}

async fn remove(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<on::ScopeMapping>,
    key: Key,
) -> Result<Response, ApiError> {
    mappings::delete(&ctx, &caller.actor, key.parse(SCOPE.kind)?, SCOPE).await?;
    Ok(no_content())
}

async fn remove_any(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<on::AnyMapping>,
    key: Key,
) -> Result<Response, ApiError> {
    mappings::delete(&ctx, &caller.actor, key.parse(ANY.kind)?, ANY).await?;
    Ok(no_content())
}

/// Our own: what came with the installation, as it came (CO-283).
async fn restore(
    State(ctx): State<Arc<Context>>,
    MayChange(caller, ..): MayChange<on::ScopeMapping>,
    key: Key,
) -> Result<Response, ApiError> {
    let pk = key.parse(SCOPE.kind)?;
    mappings::restore(&ctx, &caller.actor, pk).await?;
    Ok(Json(scope(&mappings::get(&ctx, &caller.actor, pk, SCOPE).await?)).into_response())
}

async fn test(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::AnyMapping>,
    key: Key,
    asked: Asked,
    mut params: Params,
    mut body: Body,
) -> Result<Response, ApiError> {
    let formatted = params.flag("format_result").unwrap_or(false);
    params.finish()?;
    let pk = key.parse(ANY.kind)?;
    mappings::get(&ctx, &caller.actor, pk, ANY).await?;
    let context = match body.json("context") {
        None => Map::new(),
        Some(Value::Object(context)) => context,
        Some(_) => {
            body.problem("context", "Value must be an object.");
            Map::new()
        }
    };
    let trial = Trial {
        user: body.integer_or_null("user").flatten().map(UserPk),
        group: body.uuid_or_null("group").flatten(),
        context,
        formatted,
    };
    body.finish()?;
    let tried = mappings::test(&ctx, &caller.actor, &asked.0, pk, &trial).await?;
    Ok(Json(json!({"result": tried.result, "successful": tried.successful})).into_response())
}

pub(super) fn read(body: &mut Body, partial: bool) -> Result<Fields, ApiError> {
    body.require(&["name", "scope_name", "expression"], partial);
    let fields = Fields {
        name: body.filled_text("name"),
        scope_name: body.filled_text("scope_name"),
        description: body.text("description"),
        expression: body.filled_text("expression"),
    };
    body.finish()?;
    Ok(fields)
}

async fn list(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::ScopeMapping>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        scope_name: params.text("scope_name"),
        order: params.order(&ORDERS, &[(Order::ScopeName, false), (Order::Name, false)]),
        ..common(&mut params)?
    };
    let found = mappings::list(&ctx, &caller.actor, SCOPE, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(scope).collect())
}

async fn list_all(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::AnyMapping>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter { order: params.order(&ORDERS, &[(Order::Name, false)]), ..common(&mut params)? };
    let found = mappings::list(&ctx, &caller.actor, ANY, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(base).collect())
}

fn common(params: &mut Params) -> Result<Filter, ApiError> {
    let filter = Filter {
        name: params.text("name"),
        managed: params.texts("managed"),
        unmanaged: params.flag("managed__isnull"),
        search: params.search(),
        ..Filter::default()
    };
    params.finish()?;
    Ok(filter)
}

async fn retrieve(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::ScopeMapping>,
    key: Key,
) -> Result<Response, ApiError> {
    Ok(Json(scope(&mappings::get(&ctx, &caller.actor, key.parse(SCOPE.kind)?, SCOPE).await?)).into_response())
}

async fn retrieve_any(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::AnyMapping>,
    key: Key,
) -> Result<Response, ApiError> {
    Ok(Json(base(&mappings::get(&ctx, &caller.actor, key.parse(ANY.kind)?, ANY).await?)).into_response())
}

async fn types(_: MayView<on::AnyMapping>) -> Json<Value> {
    Json(json!([{
        "name": "Scope Mapping",
        "description": "Map an OAuth scope to claims.",
        "component": "ak-property-mapping-provider-scope-form",
        "model_name": "scopemapping",
        "requires_enterprise": false,
        "deprecated": false,
    }]))
}

fn base(mapping: &ScopeMapping) -> Value {
    json!({
        "pk": mapping.pk,
        "managed": mapping.managed,
        "name": mapping.name,
        "expression": mapping.expression,
        "component": "ak-property-mapping-provider-scope-form",
        "verbose_name": "Scope Mapping",
        "verbose_name_plural": "Scope Mappings",
        "meta_model_name": "authentik_providers_oauth2.scopemapping",
    })
}

pub(super) fn scope(mapping: &ScopeMapping) -> Value {
    let mut object = base(mapping);
    if let Some(object) = object.as_object_mut() {
        object.insert("scope_name".to_owned(), json!(mapping.scope_name));
        object.insert("description".to_owned(), json!(mapping.description));
    }
    object
}
