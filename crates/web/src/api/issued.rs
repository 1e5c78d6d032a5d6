//! `oauth2/authorization_codes/` and `oauth2/access_tokens/` (OA-645): what applications were given in somebody's name.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use portcullis_core::id::{ProviderPk, UserPk};
use portcullis_idp::Context;
use portcullis_idp::issued::{self, View, What};
use portcullis_idp::list::refresh_tokens::{Filter, Order};
use serde_json::{Value, json};

use super::answer::{ApiError, no_content};
use super::caller::{Caller, Key};
use super::params::Params;
use super::users::full_user_json;
use super::{Routes, providers};

type Ctx = State<Arc<Context>>;

const ORDERS: [(&str, Order); 4] =
    [("pk", Order::Pk), ("user", Order::User), ("provider", Order::Provider), ("expires", Order::Expires)];

/// The routes of the resources.
pub(super) fn routes() -> Routes {
    let mut routes = Routes::new();
    for (what, path) in [(What::Code, "authorization_codes"), (What::AccessToken, "access_tokens")] {
        let list = async move |State(ctx): Ctx, caller: Caller, params: Params| list(&ctx, &caller, what, params).await;
        let one = async move |State(ctx): Ctx, caller: Caller, key: Key| {
            let found = issued::get(&ctx, &caller.actor, what, key.parse(kind(what))?).await?;
            Ok::<_, ApiError>(Json(object(what, &found)))
        };
        let remove = async move |State(ctx): Ctx, caller: Caller, key: Key| {
            issued::delete(&ctx, &caller.actor, what, key.parse(kind(what))?).await?;
            Ok::<_, ApiError>(no_content())
        };
        routes = routes
            .route(&format!("/oauth2/{path}/"), get(list))
            .route(&format!("/oauth2/{path}/{{id}}/"), get(one).delete(remove));
    }
    routes
}

/// What the API calls one of them.
pub(super) const fn kind(what: What) -> &'static str {
    match what {
        What::Code => "AuthorizationCode",
        What::AccessToken => "AccessToken",
    }
}

async fn list(ctx: &Context, caller: &Caller, what: What, mut params: Params) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        account: params.integer("user").map(UserPk),
        provider: params.integer("provider").map(ProviderPk),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Expires, false)]),
    };
    params.finish()?;
    let found = issued::list(ctx, &caller.actor, what, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(|view| object(what, view)).collect())
}

fn object(what: What, view: &View) -> Value {
    let mut object = json!({
        "pk": view.issued.pk,
        "provider": providers::of_grant(&view.provider),
        "user": full_user_json(&view.user),
        // Others are not shown.
        "is_expired": false,
        "expires": view.issued.expires.to_string(),
        "scope": view.issued.scope.split_ascii_whitespace().collect::<Vec<_>>(),
    });
    if let (What::AccessToken, Some(members)) = (what, object.as_object_mut()) {
        members.insert("id_token".to_owned(), json!(view.claims));
        members.insert("revoked".to_owned(), json!(false));
    }
    object
}
