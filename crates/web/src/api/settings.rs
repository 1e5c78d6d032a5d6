//! `admin/settings/` (CO-500, CO-501, CO-574).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use portcullis_idp::Context;
use portcullis_idp::settings::{self, Fields};
use serde_json::Value;

use super::Routes;
use super::answer::ApiError;
use super::body::Body;
use super::needs::{Holds, to};

type Ctx = State<Arc<Context>>;

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new().route("/admin/settings/", get(show).put(replace).patch(change))
}

async fn show(State(ctx): Ctx, Holds(caller, ..): Holds<to::ViewSettings>) -> Result<Json<Value>, ApiError> {
    Ok(Json(Value::Object(settings::shown(&ctx, &caller.actor).await?)))
}

async fn replace(ctx: Ctx, may: Holds<to::EditSettings>, body: Body) -> Result<Json<Value>, ApiError> {
    update(ctx, may, body, false).await
}

async fn change(ctx: Ctx, may: Holds<to::EditSettings>, body: Body) -> Result<Json<Value>, ApiError> {
    update(ctx, may, body, true).await
}

async fn update(
    State(ctx): Ctx,
    Holds(caller, ..): Holds<to::EditSettings>,
    mut body: Body,
    partial: bool,
) -> Result<Json<Value>, ApiError> {
    body.require(&["flags"], partial);
    let fields = Fields {
        avatars: body.filled_text("avatars"),
        default_user_change_name: body.flag("default_user_change_name"),
        default_user_change_email: body.flag("default_user_change_email"),
        default_user_change_username: body.flag("default_user_change_username"),
        event_retention: body.filled_text("event_retention"),
        reputation_lower_limit: body.integer("reputation_lower_limit"),
        reputation_upper_limit: body.integer("reputation_upper_limit"),
        footer_links: body.json("footer_links"),
        gdpr_compliance: body.flag("gdpr_compliance"),
        impersonation: body.flag("impersonation"),
        impersonation_require_reason: body.flag("impersonation_require_reason"),
        default_token_duration: body.filled_text("default_token_duration"),
        default_token_length: body.integer("default_token_length"),
        pagination_default_page_size: body.integer("pagination_default_page_size"),
        pagination_max_page_size: body.integer("pagination_max_page_size"),
        flags: body.json("flags"),
        base_url: body.text("base_url").filter(|url| !url.is_empty()),
    };
    body.finish()?;
    settings::update(&ctx, &caller.actor, fields).await?;
    Ok(Json(Value::Object(settings::shown(&ctx, &caller.actor).await?)))
}
