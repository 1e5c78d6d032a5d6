//! `oauth2/refresh_tokens/` (OA-645): what applications may go on with, to be looked at and revoked.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use portcullis_core::id::{ProviderPk, UserPk};
use portcullis_idp::Context;
use portcullis_idp::list::refresh_tokens::{Filter, Order};
use portcullis_idp::refresh_tokens::{self, View};
use serde_json::{Value, json};

use super::answer::{ApiError, no_content};
use super::caller::{Caller, Key};
use super::params::Params;
use super::users::full_user_json;
use super::{Routes, providers};

type Ctx = State<Arc<Context>>;

const ORDERS: [(&str, Order); 4] =
    [("pk", Order::Pk), ("user", Order::User), ("provider", Order::Provider), ("expires", Order::Expires)];
const KIND: &str = "RefreshToken";

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/oauth2/refresh_tokens/", get(list))
        .route("/oauth2/refresh_tokens/{id}/", get(retrieve).delete(remove))
}

async fn list(State(ctx): Ctx, caller: Caller, mut params: Params) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        account: params.integer("user").map(UserPk),
        provider: params.integer("provider").map(ProviderPk),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Expires, false)]),
    };
    params.finish()?;
    let found = refresh_tokens::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(object).collect())
}

async fn retrieve(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Json<Value>, ApiError> {
    let found = refresh_tokens::get(&ctx, &caller.actor, key.parse(KIND)?).await?;
    Ok(Json(object(&found)))
}

async fn remove(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Response, ApiError> {
    refresh_tokens::delete(&ctx, &caller.actor, key.parse(KIND)?).await?;
    Ok(no_content())
}

fn object(view: &View) -> Value {
    json!({
        "pk": view.token.pk,
        "provider": providers::of_grant(&view.provider),
        "user": full_user_json(&view.user),
        // Others are not shown.
        "is_expired": false,
        "expires": view.token.expires.to_string(),
        "scope": view.token.scope.split(' ').collect::<Vec<_>>(),
        "id_token": view.context,
        "revoked": false,
    })
}
