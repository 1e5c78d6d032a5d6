//! HTTP faces of the control plane: OAuth, API, pages.

pub mod api;
mod asked;
pub mod assets;
mod body;
mod channel;
mod health;
mod noted;
pub mod oauth;
pub mod pages;
mod plain;
pub mod same_origin;
#[cfg(test)]
mod testing;
mod visit;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, Uri};
use portcullis_core::origin::Origin;
use portcullis_idp::Context;

/// Seconds after which whoever got a 503 may come back: whoever holds a lock on the database has let go by then.
const PAUSE_SECONDS: u32 = 5;

/// Names the request in every answer (OA-010).
const REQUEST_ID: HeaderName = HeaderName::from_static("x-authentik-id");

/// Everything that the control plane answers. Each request carries its [`Origin`] as an extension.
pub fn router(ctx: Arc<Context>) -> Router {
    let stateful =
        Router::new().merge(oauth::router()).merge(pages::router()).merge(health::router()).merge(channel::router());
    Router::new()
        .merge(stateful.with_state(Arc::clone(&ctx)))
        .merge(api::router(Arc::clone(&ctx)))
        .fallback(not_found)
        .layer(from_fn_with_state(Arc::clone(&ctx), pages::look::around))
        .layer(from_fn_with_state(plain::Door::new(ctx), plain::refuse))
        .layer(from_fn(named))
}

/// Whether the process lives and can serve, for a listener of its own.
pub fn health(ctx: Arc<Context>) -> Router {
    health::router().with_state(ctx)
}

async fn not_found(Extension(origin): Extension<Arc<Origin>>) -> Response {
    let text = "There is no page at this address. Check it, or go on from the home page.";
    pages::respond::error(&origin, StatusCode::NOT_FOUND, "Not found", text)
}

/// Whether a path holds the character that is in no name, since not every database can store it.
fn has_nul(uri: &Uri) -> bool {
    uri.path().contains("%00")
}

/// Adds the request's id to the answer.
async fn named(mut request: Request, next: Next) -> Response {
    noted::note(&mut request);
    let origin = request.extensions().get::<Arc<Origin>>();
    let id = origin.map(|origin| origin.request_id.clone()).unwrap_or_default();
    let asked = origin.and_then(|origin| origin.asked.clone());
    let mut response = match request.extensions().get::<Arc<Origin>>().cloned() {
        Some(origin) if has_nul(request.uri()) && !request.uri().path().starts_with(api::BASE) => {
            not_found(Extension(origin)).await
        }
        _ => next.run(request).await,
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().entry(REQUEST_ID).or_insert(id);
    }
    // For the access log (OA-669).
    if let Some(asked) = asked {
        response.extensions_mut().insert(asked.proof.via());
    }
    response
}
