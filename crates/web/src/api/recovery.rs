//! `core/users/{id}/recovery/` and `…/recovery_email/` (CO-544): a link for a user who forgot their password.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use portcullis_core::duration;
use portcullis_core::id::UserPk;
use portcullis_idp::{Context, recovery};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Routes;
use super::answer::{ApiError, no_content};
use super::body::Body;
use super::caller::Key;
use super::needs::{Holds, to};

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new().route("/core/users/{id}/recovery/", post(link)).route("/core/users/{id}/recovery_email/", post(mail))
}

async fn link(
    State(ctx): State<Arc<Context>>,
    Holds(caller, ..): Holds<to::ResetPassword>,
    key: Key,
    mut body: Body,
) -> Result<Json<Value>, ApiError> {
    let user = UserPk(key.parse("User")?);
    let wanted = body.text("token_duration");
    body.finish()?;
    let link = recovery::link(&ctx, &caller.actor, user, seconds(wanted)?).await?;
    Ok(Json(json!({"link": link})))
}

async fn mail(
    State(ctx): State<Arc<Context>>,
    Holds(caller, ..): Holds<to::ResetPassword>,
    key: Key,
    mut body: Body,
) -> Result<Response, ApiError> {
    let user = UserPk(key.parse("User")?);
    // How mail is sent is set once, for everything.
    body.require(&["email_stage"], false);
    let _: Option<Uuid> = body.uuid("email_stage");
    let wanted = body.text("token_duration");
    body.finish()?;
    recovery::mail(&ctx, &caller.actor, user, seconds(wanted)?).await?;
    Ok(no_content())
}

/// How long a link is good, in seconds.
fn seconds(wanted: Option<String>) -> Result<i64, ApiError> {
    match wanted.filter(|text| !text.is_empty()) {
        None => Ok(recovery::LINK_SECONDS),
        Some(text) => match duration::parse(&text) {
            Ok(microseconds) => Ok(microseconds / 1_000_000),
            Err(error) => Err(ApiError::field("token_duration", error.to_string())),
        },
    }
}
