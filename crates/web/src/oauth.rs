//! The OAuth 2.0 endpoints (OA section 4), thin over `idp::oauth`.

mod answer;
mod authorize;
mod back_channel;
mod consent;
mod delegated;
mod device;
mod end_session;
mod metadata;
mod meters;
mod request;
#[cfg(test)]
mod tests;
mod userinfo;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{MethodRouter, get, post};
use portcullis_idp::Context;

use crate::pages::path;

/// The endpoints. Each answers with and without the slash at its end (OA-094).
pub fn router() -> Router<Arc<Context>> {
    let endpoints: [(&str, MethodRouter<Arc<Context>>); 11] = [
        ("/application/o/authorize", get(authorize::by_query).post(authorize::by_form)),
        ("/application/o/token", post(back_channel::token).options(back_channel::preflight)),
        ("/application/o/userinfo", get(userinfo::by_header).post(userinfo::by_form).options(back_channel::preflight)),
        ("/application/o/device", post(back_channel::device)),
        (path::DEVICE, get(device::show).post(device::submit)),
        ("/application/o/introspect", post(back_channel::introspect)),
        ("/application/o/revoke", post(back_channel::revoke)),
        ("/application/o/{slug}/end-session", get(end_session::ask).post(end_session::submit)),
        ("/application/o/{slug}/signed-out", get(end_session::ended)),
        ("/application/o/{slug}/jwks", get(metadata::jwks)),
        ("/application/o/{slug}/.well-known/openid-configuration", get(metadata::discovery)),
    ];
    let mut router = Router::new();
    for (path, endpoint) in endpoints {
        router = router.route(path, endpoint.clone()).route(&format!("{path}/"), endpoint);
    }
    router
        .route(path::CONSENT, get(consent::show).post(consent::submit))
        .route("/application/o/{slug}", get(metadata::application))
        .route("/application/o/{slug}/", get(metadata::application))
        .route("/.well-known/oauth-authorization-server/application/o/{slug}", get(metadata::discovery))
        .route("/.well-known/oauth-authorization-server/application/o/{slug}/", get(metadata::discovery))
        .layer(from_fn(request::of_a_length))
}
