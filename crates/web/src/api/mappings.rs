//! `propertymappings/provider/scope/` and `propertymappings/all/` (CO-564, CO-565).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use portcullis_core::id::UserPk;
use portcullis_idp::Context;
use portcullis_idp::mappings::{self, Fields, Filter, Order, ScopeMapping, Trial};
use serde_json::{Map, Value, json};

use super::Routes;
use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::{Admin, Key};
use super::params::Params;

const SCOPE: &str = "ScopeMapping";
const ANY: &str = "PropertyMapping";
const ORDERS: [(&str, Order); 4] =
    [("pk", Order::Pk), ("name", Order::Name), ("scope_name", Order::ScopeName), ("managed", Order::Managed)];

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

async fn create(State(ctx): State<Arc<Context>>, Admin(caller): Admin, mut body: Body) -> Result<Response, ApiError> {
    let fields = read(&mut body, false)?;
    let pk = mappings::create(&ctx, &caller.actor, fields).await?;
    Ok(created(scope(&mappings::get(&ctx, pk, SCOPE).await?)))
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
    let pk = key.parse(SCOPE)?;
    // Whether it exists comes before what is wrong with the body.
    mappings::get(&ctx, pk, SCOPE).await?;
    let fields = read(&mut body, partial)?;
    mappings::update(&ctx, &caller.actor, pk, fields).await?;
    Ok(Json(scope(&mappings::get(&ctx, pk, SCOPE).await?)).into_response())
}

async fn remove(State(ctx): State<Arc<Context>>, Admin(caller): Admin, key: Key) -> Result<Response, ApiError> {
    mappings::delete(&ctx, &caller.actor, key.parse(SCOPE)?, SCOPE).await?;
    Ok(no_content())
}

async fn remove_any(State(ctx): State<Arc<Context>>, Admin(caller): Admin, key: Key) -> Result<Response, ApiError> {
    mappings::delete(&ctx, &caller.actor, key.parse(ANY)?, ANY).await?;
    Ok(no_content())
}

/// Our own: what came with the installation, as it came (CO-283).
async fn restore(State(ctx): State<Arc<Context>>, Admin(caller): Admin, key: Key) -> Result<Response, ApiError> {
    let pk = key.parse(SCOPE)?;
    mappings::restore(&ctx, &caller.actor, pk).await?;
    Ok(Json(scope(&mappings::get(&ctx, pk, SCOPE).await?)).into_response())
}

async fn test(
    State(ctx): State<Arc<Context>>,
    Admin(caller): Admin,
    key: Key,
    mut params: Params,
    mut body: Body,
) -> Result<Response, ApiError> {
    let formatted = params.flag("format_result").unwrap_or(false);
    params.finish()?;
    let pk = key.parse(ANY)?;
    mappings::get(&ctx, pk, ANY).await?;
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
    let tried = mappings::test(&ctx, &caller.actor, pk, &trial).await?;
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

async fn list(State(ctx): State<Arc<Context>>, _: Admin, mut params: Params) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        scope_name: params.text("scope_name"),
        order: params.order(&ORDERS, &[(Order::ScopeName, false), (Order::Name, false)]),
        ..common(&mut params)?
    };
    let found = mappings::list(&ctx, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(scope).collect())
}

async fn list_all(State(ctx): State<Arc<Context>>, _: Admin, mut params: Params) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter { order: params.order(&ORDERS, &[(Order::Name, false)]), ..common(&mut params)? };
    let found = mappings::list(&ctx, &filter, paging.slice()).await?;
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

async fn retrieve(State(ctx): State<Arc<Context>>, _: Admin, key: Key) -> Result<Response, ApiError> {
    Ok(Json(scope(&mappings::get(&ctx, key.parse(SCOPE)?, SCOPE).await?)).into_response())
}

async fn retrieve_any(State(ctx): State<Arc<Context>>, _: Admin, key: Key) -> Result<Response, ApiError> {
    Ok(Json(base(&mappings::get(&ctx, key.parse(ANY)?, ANY).await?)).into_response())
}

async fn types(_: Admin) -> Json<Value> {
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
