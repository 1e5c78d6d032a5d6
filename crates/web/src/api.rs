//! The administration API under `/api/v3/` (CO sections 19 to 22).
//!
//! A module per resource, each with a `routes` function; [`caller`] finds out who asks, [`body`] and
//! [`params`] read what they ask for, [`answer`] says it in the words that generated clients expect.

pub mod answer;
mod applications;
mod authenticators;
mod bindings;
pub mod blueprints;
pub mod body;
mod brands;
pub mod caller;
mod certificates;
mod consents;
mod entitlements;
mod events;
mod executor;
mod flows;
mod groups;
pub mod instance;
mod issued;
mod mappings;
pub mod needs;
mod outposts;
pub mod params;
mod policies;
mod providers;
mod recovery;
mod refresh_tokens;
mod reputation;
mod roles;
mod schema;
mod sessions;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod tokens;
mod used_by;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::{HeaderValue, Method, header};
use portcullis_core::origin::Origin;
use portcullis_idp::Context;

use crate::noted;
use answer::ApiError;

/// Where the API begins.
pub const BASE: &str = "/api/v3";

/// Routes of one or more resources, before they know the instance.
pub type Routes = Router<Arc<Context>>;

/// The whole API. Unknown paths below it are answered here too, as JSON (CO-520).
pub fn router(ctx: Arc<Context>) -> Router {
    let resources = Routes::new()
        .merge(applications::routes())
        .merge(authenticators::routes())
        .merge(bindings::routes())
        .merge(blueprints::routes())
        .merge(brands::routes())
        .merge(certificates::routes())
        .merge(consents::routes())
        .merge(entitlements::routes())
        .merge(events::routes())
        .merge(executor::routes())
        .merge(flows::routes())
        .merge(groups::routes())
        .merge(instance::routes())
        .merge(issued::routes())
        .merge(mappings::routes())
        .merge(outposts::routes())
        .merge(policies::routes())
        .merge(providers::routes())
        .merge(recovery::routes())
        .merge(refresh_tokens::routes())
        .merge(reputation::routes())
        .merge(roles::routes())
        .merge(schema::routes())
        .merge(sessions::routes())
        .merge(settings::routes())
        .merge(sources::routes())
        .merge(tokens::routes())
        .merge(used_by::routes())
        .merge(users::routes());
    let api = resources
        .fallback(async || ApiError::NoSuchPath)
        .method_not_allowed_fallback(async |method: Method| ApiError::Method(method))
        .layer(from_fn_with_state(Arc::clone(&ctx), caller::not_too_many))
        .with_state(ctx);
    // A nested router does not see the path that is its prefix and a slash.
    let root = format!("{BASE}/");
    Router::new().nest(BASE, api).route(&root, any(async || ApiError::NoSuchPath)).layer(from_fn(headers))
}

/// Adds the headers of every answer (CO-529).
async fn headers(mut request: Request, next: Next) -> Response {
    noted::note(&mut request);
    let id = request.extensions().get::<Arc<Origin>>().map(|origin| origin.request_id.clone()).unwrap_or_default();
    let mut response = match crate::has_nul(request.uri()) {
        true => ApiError::NoSuchPath.into_response(),
        false => next.run(request).await,
    };
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-authentik-id", id);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Cookie, Authorization"));
    response
}
