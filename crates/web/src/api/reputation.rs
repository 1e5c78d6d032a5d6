//! `policies/reputation/scores/` (CO-563).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_idp::Context;
use portcullis_idp::reputation::{self, Filter, Order, Reputation};
use serde_json::{Value, json};

use super::answer::{ApiError, no_content};
use super::caller::Key;
use super::needs::{MayDelete, MayView, on};
use super::params::Params;
use super::{Routes, used_by};

const PATH: &str = "/policies/reputation/scores/";
const KIND: &str = "Reputation";
const ORDERS: [(&str, Order); 5] = [
    ("pk", Order::Pk),
    ("identifier", Order::Identifier),
    ("ip", Order::Ip),
    ("score", Order::Score),
    ("updated", Order::Updated),
];

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route(PATH, get(list))
        .route(&format!("{PATH}{{pk}}/"), get(retrieve).delete(remove))
        .route(&format!("{PATH}{{pk}}/used_by/"), get(used))
}

async fn list(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Reputation>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let identifiers = params.text("identifier_in").unwrap_or_default();
    let filter = Filter {
        identifier: params.text("identifier"),
        identifiers: identifiers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        ip: params.text("ip"),
        score: params.integer("score"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Pk, false)]),
    };
    params.finish()?;
    let found = reputation::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(object).collect())
}

async fn retrieve(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Reputation>,
    key: Key,
) -> Result<Response, ApiError> {
    Ok(Json(object(&reputation::get(&ctx, &caller.actor, key.parse(KIND)?).await?)).into_response())
}

async fn remove(
    State(ctx): State<Arc<Context>>,
    MayDelete(caller, ..): MayDelete<on::Reputation>,
    key: Key,
) -> Result<Response, ApiError> {
    reputation::delete(&ctx, &caller.actor, key.parse(KIND)?).await?;
    Ok(no_content())
}

/// Nothing uses a score.
async fn used(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Reputation>,
    key: Key,
) -> Result<Response, ApiError> {
    reputation::get(&ctx, &caller.actor, key.parse(KIND)?).await?;
    Ok(used_by::answer(&[]))
}

fn object(row: &Reputation) -> Value {
    json!({
        "pk": row.pk,
        "identifier": row.identifier,
        "ip": row.ip,
        "ip_geo_data": row.ip_geo_data,
        "ip_asn_data": row.ip_asn_data,
        "score": row.score,
        "updated": row.updated.to_string(),
    })
}
