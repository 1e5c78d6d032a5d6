//! `core/user_consent/` (CO-578): what users agreed to, to be looked at and taken back.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use portcullis_core::id::UserPk;
use portcullis_idp::Context;
use portcullis_idp::consents::{self, View};
use portcullis_idp::list::consents::{Filter, Order};
use serde_json::{Value, json};

use super::answer::{ApiError, no_content};
use super::caller::{Caller, Key};
use super::params::Params;
use super::users::full_user_json;
use super::{Routes, applications};

type Ctx = State<Arc<Context>>;

const ORDERS: [(&str, Order); 4] =
    [("pk", Order::Pk), ("user", Order::User), ("application", Order::Application), ("expires", Order::Expires)];
const KIND: &str = "UserConsent";

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/core/user_consent/", get(list))
        .route("/core/user_consent/{id}/", get(retrieve).delete(remove))
}

async fn list(State(ctx): Ctx, caller: Caller, mut params: Params) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        account: params.integer("user").map(UserPk),
        application: params.uuid("application"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Expires, false)]),
    };
    params.finish()?;
    let found = consents::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(|view| object(view, &caller)).collect())
}

async fn retrieve(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Json<Value>, ApiError> {
    let found = consents::get(&ctx, &caller.actor, key.parse(KIND)?).await?;
    Ok(Json(object(&found, &caller)))
}

async fn remove(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Response, ApiError> {
    consents::delete(&ctx, &caller.actor, key.parse(KIND)?).await?;
    Ok(no_content())
}

fn object(view: &View, caller: &Caller) -> Value {
    json!({
        "pk": view.consent.pk,
        "expires": view.consent.expires.to_string(),
        "expiring": true,
        "user": full_user_json(&view.user),
        "application": applications::object(&view.application, &caller.person),
        "permissions": view.consent.scope,
    })
}
