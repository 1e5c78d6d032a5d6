//! The administration API under `/api/v3/` (CO sections 19 to 22).
//!
//! A module per resource, each with a `routes` function; [`caller`] finds out who asks, [`body`] and
//! [`params`] read what they ask for, [`answer`] says it in the words that generated clients expect.

pub mod answer;
mod applications;
pub mod body;
pub mod caller;
mod flows;
mod groups;
pub mod instance;
mod mappings;
mod outposts;
pub mod params;
mod policies;
mod providers;
mod tokens;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::{HeaderValue, Method, header};
use portcullis_core::origin::Origin;
use portcullis_idp::Context;

use answer::ApiError;

/// Where the API begins.
pub const BASE: &str = "/api/v3";

/// Routes of one or more resources, before they know the instance.
pub type Routes = Router<Arc<Context>>;

/// The whole API. Unknown paths below it are answered here too, as JSON (CO-520).
pub fn router(ctx: Arc<Context>) -> Router {
    let resources = Routes::new()
        .merge(applications::routes())
        .merge(flows::routes())
        .merge(groups::routes())
        .merge(instance::routes())
        .merge(mappings::routes())
        .merge(outposts::routes())
        .merge(policies::routes())
        .merge(providers::routes())
        .merge(tokens::routes())
        .merge(users::routes());
    let api = resources
        .fallback(async || ApiError::NoSuchPath)
        .method_not_allowed_fallback(async |method: Method| ApiError::Method(method))
        .layer(from_fn(headers))
        .with_state(ctx);
    Router::new().nest(BASE, api)
}

/// Adds the headers of every answer (CO-529).
async fn headers(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<Arc<Origin>>().map(|origin| origin.request_id.clone()).unwrap_or_default();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-authentik-id", id);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Cookie, Authorization"));
    response
}
