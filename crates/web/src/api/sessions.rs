//! `core/authenticated_sessions/` (CO-554, CO-555).

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get};
use portcullis_core::id::UserPk;
use portcullis_core::user_agent;
use portcullis_idp::Context;
use portcullis_idp::list::sessions::{Filter, Order};
use portcullis_idp::sessions::{self, ShownSession};
use serde_json::{Value, json};

use super::Routes;
use super::answer::{ApiError, no_content};
use super::caller::{Caller, Key};
use super::params::Params;

type Ctx = State<Arc<Context>>;

const ORDERS: [(&str, Order); 10] = [
    ("uuid", Order::Uuid),
    ("user", Order::User),
    ("user__username", Order::Username),
    ("last_ip", Order::LastIp),
    ("session__last_ip", Order::LastIp),
    ("last_user_agent", Order::UserAgent),
    ("session__last_user_agent", Order::UserAgent),
    ("last_used", Order::LastUsed),
    ("session__last_used", Order::LastUsed),
    ("expires", Order::Expires),
];

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/core/authenticated_sessions/", get(list))
        .route("/core/authenticated_sessions/bulk_delete/", delete(bulk_delete))
        .route("/core/authenticated_sessions/{uuid}/", get(retrieve).delete(remove))
}

async fn list(State(ctx): Ctx, caller: Caller, mut params: Params) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let filter = Filter {
        account: None,
        username: params.text("user__username"),
        last_ip: params.text("session__last_ip"),
        user_agent: params.text("session__last_user_agent"),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Username, false)]),
    };
    params.finish()?;
    let found = sessions::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(|session| object(&ctx, session, &caller)).collect())
}

async fn retrieve(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Json<Value>, ApiError> {
    let found = sessions::get(&ctx, &caller.actor, key.parse("AuthenticatedSession")?).await?;
    Ok(Json(object(&ctx, &found, &caller)))
}

async fn remove(State(ctx): Ctx, caller: Caller, key: Key) -> Result<Response, ApiError> {
    sessions::delete(&ctx, &caller.actor, key.parse("AuthenticatedSession")?).await?;
    Ok(no_content())
}

async fn bulk_delete(State(ctx): Ctx, caller: Caller, mut params: Params) -> Result<Json<Value>, ApiError> {
    let users: Vec<_> = params.integers("user_pks").into_iter().map(UserPk).collect();
    if users.is_empty() {
        params.problem("user_pks", "This field is required.");
    }
    params.finish()?;
    let deleted = sessions::delete_of_users(&ctx, &caller.actor, &users).await?;
    Ok(Json(json!({"deleted": deleted})))
}

fn object(ctx: &Context, session: &ShownSession, caller: &Caller) -> Value {
    let address: Option<IpAddr> = session.last_ip.parse().ok();
    json!({
        "uuid": session.uuid,
        "current": caller.sid.as_ref() == Some(&session.sid),
        "user_agent": browser(&session.user_agent),
        "geo_ip": address.and_then(|address| ctx.places.place(address)).map(|place| place.shown()),
        "asn": address.and_then(|address| ctx.places.network(address)).map(|network| network.shown()),
        "user": session.account,
        "last_ip": session.last_ip,
        "last_user_agent": session.user_agent,
        "last_used": session.last_used.to_string(),
        "expires": session.idle_expires.min(session.expires).to_string(),
    })
}

fn browser(text: &str) -> Value {
    let read = user_agent::read(text);
    let [os_major, os_minor, os_patch] = &read.os.version;
    let [major, minor, patch] = &read.browser.version;
    json!({
        "device": {"brand": read.brand, "family": read.device, "model": read.device},
        "os": {
            "family": read.os.name, "major": os_major, "minor": os_minor, "patch": os_patch, "patch_minor": "",
        },
        "user_agent": {"family": read.browser.name, "major": major, "minor": minor, "patch": patch},
        "string": text,
    })
}
