//! What uses an object: `…/used_by/` of every resource (CO-532).

use axum::Json;
use axum::response::{IntoResponse, Response};
use portcullis_idp::used_by::Use;
use serde_json::{Value, json};

/// The list as an answer. It has no pages.
pub(super) fn answer(uses: &[Use]) -> Response {
    let object = |found: &Use| {
        json!({
            "app": found.app,
            "model_name": found.model_name,
            "pk": found.pk,
            "name": found.name,
            "action": found.action.as_str(),
        })
    };
    Json(uses.iter().map(object).collect::<Vec<Value>>()).into_response()
}
