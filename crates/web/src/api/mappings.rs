//! `propertymappings/provider/scope/` and `propertymappings/all/` (CO-564, CO-565): to be read; the mappings
//! that come with the installation are the only ones.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_idp::Context;
use portcullis_idp::mappings::{self, Filter, Order, ScopeMapping};
use serde_json::{Value, json};

use super::Routes;
use super::answer::ApiError;
use super::caller::{Admin, Key};
use super::params::Params;

const ORDERS: [(&str, Order); 4] =
    [("pk", Order::Pk), ("name", Order::Name), ("scope_name", Order::ScopeName), ("managed", Order::Managed)];

/// The routes of both resources.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/propertymappings/provider/scope/", get(list))
        .route("/propertymappings/provider/scope/{pk}/", get(retrieve))
        .route("/propertymappings/all/", get(list_all))
        .route("/propertymappings/all/types/", get(types))
        .route("/propertymappings/all/{pk}/", get(retrieve_any))
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
    Ok(Json(scope(&mappings::get(&ctx, key.parse("ScopeMapping")?).await?)).into_response())
}

async fn retrieve_any(State(ctx): State<Arc<Context>>, _: Admin, key: Key) -> Result<Response, ApiError> {
    Ok(Json(base(&mappings::get(&ctx, key.parse("PropertyMapping")?).await?)).into_response())
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

fn scope(mapping: &ScopeMapping) -> Value {
    let mut object = base(mapping);
    if let Some(object) = object.as_object_mut() {
        object.insert("scope_name".to_owned(), json!(mapping.scope_name));
        object.insert("description".to_owned(), json!(mapping.description));
    }
    object
}
