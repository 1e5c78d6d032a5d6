//! Pages for people: rendered here, without script (D9 of the design).

pub mod browser;
pub mod form;
pub mod home;
pub mod launch;
pub mod look;
pub mod respond;
pub mod setup;
pub mod sign_in;
pub mod sign_out;
pub mod view;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use portcullis_idp::Context;

/// Paths of the pages, as links in templates and redirects spell them (CO-301).
pub mod path {
    /// Home: who you are, and what is open to you.
    pub const HOME: &str = "/";
    /// Opens an application, whose slug follows.
    pub const LAUNCH: &str = "/application/launch/";
    /// Signs in.
    pub const SIGN_IN: &str = "/if/flow/default-authentication-flow/";
    /// Signs out.
    pub const SIGN_OUT: &str = "/if/flow/default-invalidation-flow/";
    /// Asks before an application learns who somebody is.
    pub const CONSENT: &str = "/if/flow/default-provider-authorization-explicit-consent/";
    /// Sets up the first administrator.
    pub const SETUP: &str = "/if/flow/initial-setup/";
}

/// The pages, and the files they need.
pub fn router() -> Router<Arc<Context>> {
    Router::new()
        .route(path::HOME, get(home::show))
        .route("/application/launch/{slug}/", get(launch::open))
        .route(path::SIGN_IN, get(sign_in::show).post(sign_in::submit))
        .route(path::SIGN_OUT, get(sign_out::show).post(sign_out::submit))
        .route(path::SETUP, get(setup::show).post(setup::submit))
        .route("/flows/-/default/authentication/", get(sign_in::forward))
        .route("/flows/-/default/invalidation/", get(sign_out::forward))
        .route("/static/{name}", get(crate::assets::serve))
        .route("/static/brand/{name}", get(look::stylesheet))
}
