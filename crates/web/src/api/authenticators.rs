//! `authenticators/all/` (CO-578) and `authenticators/webauthn/`: the second factors of whoever asks (CO-702);
//! `authenticators/admin/`: those of anybody.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get};
use http::Method;
use portcullis_core::attributes::Attributes;
use portcullis_core::id::UserPk;
use portcullis_idp::Context;
use portcullis_idp::authenticators::{self, Shown};
use portcullis_idp::directory::shown::ShownMember;
use portcullis_idp::directory::uid;
use serde_json::{Value, json};

use super::Routes;
use super::answer::{ApiError, no_content};
use super::body::Body;
use super::caller::{Admin, Caller, Key};
use super::groups::partial_user_json;
use super::params::Params;

const KIND: &str = "WebAuthnDevice";

type Ctx = State<Arc<Context>>;

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/authenticators/all/", get(list))
        .route("/authenticators/admin/all/", get(list_of))
        .route("/authenticators/admin/totp/{id}/", delete(remove_totp))
        .route("/authenticators/admin/static/{id}/", delete(remove_codes))
        .route("/authenticators/admin/webauthn/{id}/", delete(remove_key_of_anybody))
        .route("/authenticators/webauthn/", get(keys))
        .route("/authenticators/webauthn/{id}/", get(retrieve_key).put(update_key).patch(update_key).delete(remove_key))
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
    let devices = match user {
        Some(user) => authenticators::list(&ctx, &caller.actor, user).await?,
        None => authenticators::list_all(&ctx, &caller.actor).await?,
    };
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

async fn remove_key_of_anybody(State(ctx): Ctx, Admin(caller): Admin, key: Key) -> Result<Response, ApiError> {
    authenticators::remove_of_anybody(&ctx, &caller.actor, authenticators::WEBAUTHN, key.parse(KIND)?).await?;
    Ok(no_content())
}

/// The security keys and passkeys of whoever asks, oldest first.
async fn own_keys(ctx: &Context, caller: &Caller) -> Result<Vec<Shown>, ApiError> {
    let Some(user) = caller.actor.user else { return Ok(Vec::new()) };
    let mut devices = authenticators::list(ctx, &caller.actor, user).await?;
    devices.retain(|device| device.class == authenticators::WEBAUTHN);
    Ok(devices)
}

async fn own_key(ctx: &Context, caller: &Caller, key: &Key) -> Result<Shown, ApiError> {
    let pk: i32 = key.parse(KIND)?;
    own_keys(ctx, caller).await?.into_iter().find(|device| device.pk == pk).ok_or(ApiError::NotFound(KIND))
}

async fn keys(State(ctx): Ctx, caller: Caller, mut params: Params) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let (name, search) = (params.text("name"), params.search().to_lowercase());
    let order = params.order(&[("name", true), ("pk", false)], &[(false, false)]);
    params.finish()?;
    let mut devices = own_keys(&ctx, &caller).await?;
    devices.retain(|device| {
        name.as_ref().is_none_or(|name| *name == device.name)
            && search.split_whitespace().all(|term| device.name.to_lowercase().contains(term))
    });
    for (by_name, descending) in order.into_iter().rev() {
        devices.sort_by(|left, right| {
            let ordering = if by_name { left.name.cmp(&right.name) } else { left.pk.cmp(&right.pk) };
            if descending { ordering.reverse() } else { ordering }
        });
    }
    let slice = paging.slice();
    let count = i64::try_from(devices.len()).unwrap_or(i64::MAX);
    let [skipped, taken] = [slice.offset, slice.limit].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    let page = devices.iter().skip(skipped).take(taken).map(|device| key_object(&ctx, device, &caller)).collect();
    paging.answer(count, page)
}

async fn retrieve_key(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Json<Value>, ApiError> {
    let device = own_key(&ctx, &caller, &key).await?;
    Ok(Json(key_object(&ctx, &device, &caller)))
}

/// Its name is all that can be changed.
async fn update_key(
    State(ctx): Ctx,
    caller: Caller,
    key: Key,
    method: Method,
    mut body: Body,
) -> Result<Json<Value>, ApiError> {
    let mut device = own_key(&ctx, &caller, &key).await?;
    body.require(&["name"], method == Method::PATCH);
    let name = body.filled_text("name");
    body.finish()?;
    if let Some(name) = name {
        authenticators::rename(&ctx, &caller.actor, device.account, device.pk, &name).await?;
        device.name = name;
    }
    Ok(Json(key_object(&ctx, &device, &caller)))
}

async fn remove_key(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Response, ApiError> {
    let device = own_key(&ctx, &caller, &key).await?;
    authenticators::remove(&ctx, &caller.actor, device.account, device.pk).await?;
    Ok(no_content())
}

/// A security key of whoever asks.
fn key_object(ctx: &Context, device: &Shown, caller: &Caller) -> Value {
    let account = &caller.person.account;
    let user = ShownMember { account: account.clone(), uid: uid(ctx, account.pk), attributes: Attributes::new() };
    json!({
        "pk": device.pk,
        "name": device.name,
        "created_on": device.created.to_string(),
        // Models are not looked up anywhere.
        "device_type": null,
        "aaguid": device.aaguid.unwrap_or_default(),
        "user": partial_user_json(&user),
    })
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
        "external_id": device.aaguid,
    })
}
