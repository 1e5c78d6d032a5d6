//! `authenticators/all/` (CO-578): the second factors of whoever asks; `authenticators/admin/`: those of anybody.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get};
use portcullis_core::id::UserPk;
use portcullis_idp::Context;
use portcullis_idp::authenticators::{self, Shown};
use serde_json::{Value, json};

use super::Routes;
use super::answer::{ApiError, no_content};
use super::caller::{Admin, Caller, Key};
use super::params::Params;

type Ctx = State<Arc<Context>>;

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/authenticators/all/", get(list))
        .route("/authenticators/admin/all/", get(list_of))
        .route("/authenticators/admin/totp/{id}/", delete(remove_totp))
        .route("/authenticators/admin/static/{id}/", delete(remove_codes))
}

async fn list(State(ctx): Ctx, caller: Caller) -> Result<Json<Value>, ApiError> {
    let Some(user) = caller.actor.user else { return Ok(Json(json!([]))) };
    let devices = authenticators::list(&ctx, &caller.actor, user).await?;
    Ok(Json(devices.iter().map(object).collect()))
}

/// Who lost a second factor asks an administrator, who finds it here.
async fn list_of(State(ctx): Ctx, Admin(caller): Admin, mut params: Params) -> Result<Json<Value>, ApiError> {
    let user = params.integer("user").map(UserPk);
    params.finish()?;
    let user = user.ok_or_else(|| ApiError::field("user", "This field is required."))?;
    let devices = authenticators::list(&ctx, &caller.actor, user).await?;
    Ok(Json(devices.iter().map(object).collect()))
}

async fn remove_totp(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Result<Response, ApiError> {
    authenticators::remove_of_anybody(&ctx, &caller.actor, authenticators::TOTP, key.parse("TOTPDevice")?).await?;
    Ok(no_content())
}

async fn remove_codes(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Result<Response, ApiError> {
    let class = authenticators::RECOVERY_CODES;
    authenticators::remove_of_anybody(&ctx, &caller.actor, class, key.parse("StaticDevice")?).await?;
    Ok(no_content())
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
