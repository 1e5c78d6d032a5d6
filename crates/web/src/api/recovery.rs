//! `core/users/{id}/recovery/` (CO-544): a link for a user who forgot their password.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use portcullis_core::duration;
use portcullis_core::id::UserPk;
use portcullis_idp::{Context, recovery};
use serde_json::{Value, json};

use super::Routes;
use super::answer::ApiError;
use super::body::Body;
use super::caller::Key;
use super::needs::{Holds, to};

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new().route("/core/users/{id}/recovery/", post(link))
}

async fn link(
    State(ctx): State<Arc<Context>>,
    Holds(caller, ..): Holds<to::ResetPassword>,
    key: Key,
    mut body: Body,
) -> Result<Json<Value>, ApiError> {
    let user = UserPk(key.parse("User")?);
    let wanted = body.text("token_duration").filter(|text| !text.is_empty());
    body.finish()?;
    let seconds = match wanted {
        None => recovery::LINK_SECONDS,
        Some(text) => match duration::parse(&text) {
            Ok(microseconds) => microseconds / 1_000_000,
            Err(error) => return Err(ApiError::field("token_duration", error.to_string())),
        },
    };
    let link = recovery::link(&ctx, &caller.actor, user, seconds).await?;
    Ok(Json(json!({"link": link})))
}
