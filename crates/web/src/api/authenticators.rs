//! `authenticators/all/` (CO-578): the second factors of whoever asks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use portcullis_idp::Context;
use portcullis_idp::authenticators::{self, Shown};
use serde_json::{Value, json};

use super::Routes;
use super::answer::ApiError;
use super::caller::Caller;

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new().route("/authenticators/all/", get(list))
}

async fn list(State(ctx): State<Arc<Context>>, caller: Caller) -> Result<Json<Value>, ApiError> {
    let Some(user) = caller.actor.user else { return Ok(Json(json!([]))) };
    let devices = authenticators::list(&ctx, &caller.actor, user).await?;
    Ok(Json(devices.iter().map(object).collect()))
}

fn object(device: &Shown) -> Value {
    json!({
        "verbose_name": device.verbose_name,
        "verbose_name_plural": format!("{}s", device.verbose_name),
        "meta_model_name": device.model,
        "pk": device.pk.to_string(),
        "name": device.name,
        "type": device.model,
        // One that has not been shown to work is not kept.
        "confirmed": true,
        "created": device.created.to_string(),
        "last_updated": device.last_used.unwrap_or(device.created).to_string(),
        "last_used": device.last_used.map(|at| at.to_string()),
        "extra_description": device.codes_left.map(|left| format!("{left} codes left")),
        "external_id": null,
    })
}
