//! `core/tokens/` (CO-549, CO-550).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use portcullis_core::duration;
use portcullis_core::id::UserPk;
use portcullis_idp::list::tokens::{Filter, Order};
use portcullis_idp::tokens::keys::LONGEST_OVERLAP;
use portcullis_idp::tokens::shown::{self, ShownToken};
use portcullis_idp::{Actor, Context, tokens};
use serde_json::{Value, json};

use super::Routes;
use super::answer::{ApiError, created, no_content};
use super::body::Body;
use super::caller::{Caller, Key};
use super::params::Params;
use super::users::{full_user_json, instant};

type Ctx = State<Arc<Context>>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/core/tokens/", get(list).post(create))
        .route("/core/tokens/{id}/", get(retrieve).put(replace).patch(change).delete(delete))
        .route("/core/tokens/{id}/view_key/", get(view_key))
        .route("/core/tokens/{id}/set_key/", post(set_key))
        .route("/core/tokens/{id}/rotate/", post(rotate))
        .route("/core/tokens/{id}/old_key/", axum::routing::delete(end_old_key))
}

const INTENTS: [&str; 4] = ["verification", "api", "recovery", "app_password"];
const ORDERS: [(&str, Order); 9] = [
    ("pk", Order::Pk),
    ("identifier", Order::Identifier),
    ("intent", Order::Intent),
    ("user", Order::User),
    ("description", Order::Description),
    ("expires", Order::Expires),
    ("expiring", Order::Expiring),
    ("managed", Order::Managed),
    ("last_used", Order::LastUsed),
];

async fn list(State(ctx): Ctx, caller: Caller, mut params: Params) -> Result<Response, ApiError> {
    let filter = Filter {
        identifier: params.text("identifier"),
        intent: params.choice("intent", &INTENTS),
        account: None,
        username: params.text("user__username"),
        description: params.text("description"),
        expires: params.instant("expires"),
        expiring: params.flag("expiring"),
        managed: params.text("managed"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Identifier, false)]),
    };
    params.finish()?;
    let paging = params.paging()?;
    let listed = shown::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(listed.count, listed.rows.iter().map(token_json).collect())
}

async fn retrieve(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Json<Value>, ApiError> {
    Ok(Json(token_json(&shown::get(&ctx, &caller.actor, &key.0).await?)))
}

async fn create(State(ctx): Ctx, caller: Caller, mut body: Body) -> Result<Response, ApiError> {
    let fields = fields(&mut body, false)?;
    let made = tokens::create(&ctx, &caller.actor, fields).await?;
    Ok(created(token_json(&shown::get(&ctx, &caller.actor, &made.identifier).await?)))
}

async fn replace(State(ctx): Ctx, caller: Caller, key: Key, body: Body) -> Result<Json<Value>, ApiError> {
    update(&ctx, &caller.actor, &key.0, body, false).await
}

async fn change(State(ctx): Ctx, caller: Caller, key: Key, body: Body) -> Result<Json<Value>, ApiError> {
    update(&ctx, &caller.actor, &key.0, body, true).await
}

async fn update(
    ctx: &Context,
    actor: &Actor,
    identifier: &str,
    mut body: Body,
    partial: bool,
) -> Result<Json<Value>, ApiError> {
    // Whether it exists comes before what is wrong with the body.
    shown::get(ctx, actor, identifier).await?;
    let changed = tokens::update(ctx, actor, identifier, fields(&mut body, partial)?).await?;
    Ok(Json(token_json(&shown::get(ctx, actor, &changed.identifier).await?)))
}

pub(super) fn fields(body: &mut Body, partial: bool) -> Result<tokens::Fields, ApiError> {
    body.require(&["identifier"], partial);
    let fields = tokens::Fields {
        identifier: body.filled_text("identifier"),
        intent: body.choice("intent", &INTENTS),
        user: body.integer("user").map(UserPk),
        description: body.text("description"),
        expires: body.instant_or_null("expires"),
        expiring: body.flag("expiring"),
        allowed_applications: body.uuids("allowed_applications"),
        allowed_networks: body.texts("allowed_networks"),
        allowed_scopes: body.texts("allowed_scopes"),
    };
    body.finish()?;
    Ok(fields)
}

async fn delete(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Response, ApiError> {
    tokens::delete(&ctx, &caller.actor, &key.0).await?;
    Ok(no_content())
}

async fn view_key(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Json<Value>, ApiError> {
    if ctx.options.hidden_keys {
        shown::get(&ctx, &caller.actor, &key.0).await?;
        return Err(ApiError::Gone("Keys cannot be seen again: rotate the token; the answer tells the new one, once."));
    }
    Ok(Json(json!({"key": tokens::keys::view(&ctx, &caller.actor, &key.0).await?})))
}

async fn set_key(State(ctx): Ctx, caller: Caller, key: Key, mut body: Body) -> Result<Response, ApiError> {
    shown::get(&ctx, &caller.actor, &key.0).await?;
    body.require(&["key"], false);
    let new = body.exact_text("key");
    body.finish()?;
    tokens::keys::set(&ctx, &caller.actor, &key.0, &new.unwrap_or_default()).await?;
    Ok(no_content())
}

async fn rotate(State(ctx): Ctx, caller: Caller, key: Key, mut body: Body) -> Result<Json<Value>, ApiError> {
    shown::get(&ctx, &caller.actor, &key.0).await?;
    let overlap = match body.text("overlap").map(|text| duration::parse(&text)) {
        None | Some(Ok(0)) => 0,
        Some(Ok(microseconds)) if microseconds < 1_000_000 => {
            body.problem("overlap", "Ensure this value is at least seconds=1.");
            0
        }
        Some(Ok(microseconds)) if microseconds / 1_000_000 <= LONGEST_OVERLAP => microseconds / 1_000_000,
        Some(Ok(_)) => {
            body.problem("overlap", "Ensure this value is at most hours=24.");
            0
        }
        Some(Err(error)) if error.0.is_empty() => {
            body.problem("overlap", "A duration is expected, in the format of 'hours=3;minutes=1'.");
            0
        }
        Some(Err(error)) => {
            body.problem("overlap", error.to_string());
            0
        }
    };
    body.finish()?;
    let rotated = tokens::keys::rotate(&ctx, &caller.actor, &key.0, overlap).await?;
    let mut told = json!({"key": rotated.key});
    if let (Some(ends), Some(told)) = (rotated.old_key_ends, told.as_object_mut()) {
        told.insert("old_key_ends".to_owned(), json!(ends.to_string()));
    }
    Ok(Json(told))
}

async fn end_old_key(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Response, ApiError> {
    shown::get(&ctx, &caller.actor, &key.0).await?;
    tokens::keys::end_old(&ctx, &caller.actor, &key.0).await?;
    Ok(no_content())
}

pub(super) fn token_json(shown: &ShownToken) -> Value {
    let token = &shown.token;
    let mut object = json!({
        "pk": token.uuid,
        "managed": token.managed,
        "identifier": token.identifier,
        "intent": token.intent,
        "user": token.account,
        "user_obj": full_user_json(&shown.owner),
        "description": token.description,
        "expires": instant(token.expires),
        "expiring": token.expiring,
    });
    let old_key_used = token.old_key.as_ref().and_then(|old| old.last_used);
    // Our own, where there is something to say: clients that know no such keys need not read them (OA-596, OA-609).
    for (key, is_there, value) in [
        ("allowed_applications", !token.allowed_applications.is_empty(), json!(token.allowed_applications)),
        ("allowed_networks", !token.allowed_networks.is_empty(), json!(token.allowed_networks)),
        ("allowed_scopes", !token.allowed_scopes.is_empty(), json!(token.allowed_scopes)),
        ("needs_rotation", token.needs_rotation, json!(true)),
        ("last_used_at", token.last_used.is_some(), json!(instant(token.last_used))),
        ("last_used_from", token.last_used_from.is_some(), json!(token.last_used_from)),
        ("old_key_ends", token.old_key.is_some(), json!(instant(token.old_key.as_ref().map(|old| old.ends)))),
        ("old_key_last_used", old_key_used.is_some(), json!(instant(old_key_used))),
    ] {
        if let (true, Some(object)) = (is_there, object.as_object_mut()) {
            object.insert(key.to_owned(), value);
        }
    }
    object
}

#[cfg(test)]
mod tests;
