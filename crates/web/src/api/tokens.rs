//! `core/tokens/` (CO-549, CO-550).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use portcullis_core::id::UserPk;
use portcullis_idp::list::tokens::{Filter, Order};
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
}

const INTENTS: [&str; 4] = ["verification", "api", "recovery", "app_password"];
const ORDERS: [(&str, Order); 8] = [
    ("pk", Order::Pk),
    ("identifier", Order::Identifier),
    ("intent", Order::Intent),
    ("user", Order::User),
    ("description", Order::Description),
    ("expires", Order::Expires),
    ("expiring", Order::Expiring),
    ("managed", Order::Managed),
];

async fn list(State(ctx): Ctx, caller: Caller, mut params: Params) -> Result<Response, ApiError> {
    let filter = Filter {
        identifier: params.text("identifier"),
        intent: params.text("intent"),
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

fn fields(body: &mut Body, partial: bool) -> Result<tokens::Fields, ApiError> {
    body.require(&["identifier"], partial);
    let fields = tokens::Fields {
        identifier: body.filled_text("identifier"),
        intent: body.choice("intent", &INTENTS),
        user: body.integer("user").map(UserPk),
        description: body.text("description"),
        expires: body.instant_or_null("expires"),
        expiring: body.flag("expiring"),
    };
    body.finish()?;
    Ok(fields)
}

async fn delete(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Response, ApiError> {
    tokens::delete(&ctx, &caller.actor, &key.0).await?;
    Ok(no_content())
}

async fn view_key(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Json<Value>, ApiError> {
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

fn token_json(shown: &ShownToken) -> Value {
    let token = &shown.token;
    json!({
        "pk": token.uuid,
        "managed": token.managed,
        "identifier": token.identifier,
        "intent": token.intent,
        "user": token.account,
        "user_obj": full_user_json(&shown.owner),
        "description": token.description,
        "expires": instant(token.expires),
        "expiring": token.expiring,
    })
}
