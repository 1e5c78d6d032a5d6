//! `authenticators/all/` (CO-578): the second factors of whoever asks. There are none yet.

use axum::Json;
use axum::routing::get;
use serde_json::{Value, json};

use super::Routes;
use super::caller::Caller;

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new().route("/authenticators/all/", get(list))
}

async fn list(_: Caller) -> Json<Value> {
    Json(json!([]))
}
