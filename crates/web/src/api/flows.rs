//! `flows/instances/` (CO-571): to be read only.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use portcullis_core::permission::{Model, Verb};
use portcullis_idp::flow::stages::Stages;
use portcullis_idp::flows::{self, Filter, Flow, Order};
use portcullis_idp::{Context, Error};
use serde_json::{Value, json};

use super::answer::ApiError;
use super::caller::Key;
use super::needs::{MayView, on};
use super::params::Params;
use super::{BASE, Routes};

const ORDERS: [(&str, Order); 13] = [
    ("pk", Order::Pk),
    ("flow_uuid", Order::Pk),
    ("slug", Order::Slug),
    ("name", Order::Name),
    ("title", Order::Title),
    ("designation", Order::Designation),
    ("authentication", Order::Authentication),
    ("policybindingmodel_ptr_id", Order::Pk),
    ("background", Order::Background),
    ("background_url", Order::Background),
    ("layout", Order::Layout),
    ("denied_action", Order::DeniedAction),
    ("policy_engine_mode", Order::PolicyEngineMode),
];

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new().route("/flows/instances/", get(list)).route("/flows/instances/{slug}/", get(retrieve))
}

/// What flows may be for, whether or not there is one.
const DESIGNATIONS: [&str; 7] = [
    "authentication",
    "authorization",
    "enrollment",
    "invalidation",
    "recovery",
    "stage_configuration",
    "unenrollment",
];

async fn list(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Flow>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        pk: params.uuid("flow_uuid"),
        slug: params.text("slug"),
        designation: params.choice("designation", &DESIGNATIONS),
        name: params.text("name"),
        denied_action: params.choice("denied_action", &flows::DENIED_ACTIONS),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Slug, false)]),
    };
    params.finish()?;
    let found = flows::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    let stages = stages(&ctx).await?;
    paging.answer(found.count, found.rows.iter().map(|flow| object(flow, &stages)).collect())
}

async fn retrieve(
    State(ctx): State<Arc<Context>>,
    MayView(caller, ..): MayView<on::Flow>,
    Key(slug): Key,
) -> Result<Response, ApiError> {
    let found = flows::get(&ctx, &slug).await?;
    caller.actor.need_on(Verb::View, Model::FLOW, &found.pk)?;
    Ok(Json(object(&found, &stages(&ctx).await?)).into_response())
}

async fn stages(ctx: &Context) -> Result<Stages, Error> {
    Stages::load(&mut ctx.db.read().await?).await
}

pub(super) fn object(flow: &Flow, stages: &Stages) -> Value {
    json!({
        "pk": flow.pk,
        "policybindingmodel_ptr_id": flow.pk,
        "name": flow.name,
        "slug": flow.slug,
        "title": flow.title,
        "designation": flow.designation,
        "background": flow.background,
        "background_url": flow.background,
        "background_themed_urls": null,
        "stages": stages.of_flow(&flow.slug),
        "policies": [],
        "cache_count": 0,
        "policy_engine_mode": flow.policy_engine_mode,
        "compatibility_mode": false,
        "export_url": format!("{BASE}/flows/instances/{}/export/", flow.slug),
        "layout": flow.layout,
        "denied_action": flow.denied_action,
        "authentication": flow.authentication,
    })
}
