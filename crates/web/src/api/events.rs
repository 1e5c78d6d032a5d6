//! `events/events/` (CO-573): what happened. Nothing here changes or removes an event (CO-415).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use portcullis_idp::Context;
use portcullis_idp::event::{self, ACTIONS, CUSTOM, Told};
use portcullis_idp::list::events::{Event, Filter, Order};
use serde_json::{Value, json};

use super::Routes;
use super::answer::{ApiError, created};
use super::body::Body;
use super::caller::Key;
use super::needs::{MayAdd, MayView, on};
use super::params::Params;

type Ctx = State<Arc<Context>>;

const ORDERS: [(&str, Order); 9] = [
    ("pk", Order::Pk),
    ("action", Order::Action),
    ("app", Order::App),
    ("user", Order::User),
    ("client_ip", Order::ClientIp),
    ("created", Order::Created),
    ("expires", Order::Expires),
    ("event_uuid", Order::Pk),
    ("brand", Order::Brand),
];

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/events/events/", get(list).post(create))
        .route("/events/events/actions/", get(actions))
        .route("/events/events/{event_uuid}/", get(retrieve))
}

async fn list(
    State(ctx): Ctx,
    MayView(caller, ..): MayView<on::Event>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let paging = params.paging()?;
    let plain = |key: String| key.replace('-', "").to_lowercase();
    let filter = Filter {
        action: params.text("action"),
        actions: params.texts("actions"),
        username: params.text("username"),
        client_ip: params.text("client_ip"),
        brand_name: params.text("brand_name"),
        model_app: params.text("context_model_app"),
        model_name: params.text("context_model_name"),
        model_pk: params.text("context_model_pk").map(plain),
        authorized_app: params.text("context_authorized_app").map(plain),
        search: params.search(),
        order: params.order(&ORDERS, &[(Order::Created, true)]),
    };
    params.finish()?;
    let found = event::list(&ctx, &caller.actor, &filter, paging.slice()).await?;
    paging.answer(found.count, found.rows.iter().map(|event| object(&ctx, event)).collect())
}

async fn retrieve(State(ctx): Ctx, MayView(caller, ..): MayView<on::Event>, key: Key) -> Result<Json<Value>, ApiError> {
    let found = event::get(&ctx, &caller.actor, key.parse("Event")?).await?;
    Ok(Json(object(&ctx, &found)))
}

async fn create(State(ctx): Ctx, MayAdd(caller, ..): MayAdd<on::Event>, mut body: Body) -> Result<Response, ApiError> {
    body.require(&["action", "app"], false);
    let told = Told {
        action: body.filled_text("action").unwrap_or_default(),
        app: body.filled_text("app").unwrap_or_default(),
        context: body.json("context"),
        client: body.json("client_ip").and_then(|address| address.as_str().map(str::to_owned)),
    };
    body.finish()?;
    let made = event::tell(&ctx, &caller.actor, told).await?;
    Ok(created(object(&ctx, &made)))
}

async fn actions(_: MayView<on::Event>) -> Json<Value> {
    let kind = |(action, name): &(&str, &str)| {
        json!({
            "name": name,
            "description": "",
            "component": action,
            "model_name": "",
            "requires_enterprise": false,
            "deprecated": false,
        })
    };
    Json(ACTIONS.iter().map(kind).collect())
}

/// Clients know a fixed set of actions: those of others are told in the context (CO-413).
fn object(ctx: &Context, event: &Event) -> Value {
    let (mut action, mut context) = (event.action.as_str(), event.context.clone());
    if action.starts_with(CUSTOM) && !ctx.options.verbatim_custom_actions {
        if let Some(context) = context.as_object_mut() {
            context.insert("custom_action".to_owned(), json!(action));
        }
        action = CUSTOM;
    }
    json!({
        "pk": event.pk,
        "user": event.account,
        "action": action,
        "app": event.app,
        "context": context,
        "client_ip": event.client_ip,
        "created": event.created.to_string(),
        "expires": event.expires.to_string(),
        "brand": event.brand,
    })
}
