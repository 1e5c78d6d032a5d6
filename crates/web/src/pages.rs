//! Pages for people: rendered here, without script but that of passkeys (D9 of the design).

pub mod browser;
pub mod email;
pub mod flow;
pub mod form;
pub mod home;
pub mod impersonation;
pub mod launch;
pub mod look;
pub mod qr;
pub mod respond;
pub mod second_factors;
pub mod setup;
pub mod sign_out;
pub mod view;

use std::sync::Arc;

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};
use http::Uri;
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
    /// Lets a device in.
    pub const DEVICE: &str = "/device";
    /// For those who forgot their password.
    pub const RECOVERY: &str = "/if/flow/default-recovery-flow/";
    /// A user's second factors.
    pub const SECOND_FACTORS: &str = "/account/second-factors/";
    /// Home, after a new password.
    pub const PASSWORD_CHANGED: &str = "/?done=password";
    /// Confirms a new e-mail address.
    pub const EMAIL: &str = "/account/email/";
    /// Ends acting as somebody else.
    pub const IMPERSONATION: &str = "/account/impersonation/";
    /// Sets up the first administrator.
    pub const SETUP: &str = "/if/flow/initial-setup/";
}

/// The pages, and the files they need.
pub fn router() -> Router<Arc<Context>> {
    Router::new()
        .route(path::HOME, get(home::show))
        .route("/application/launch/{slug}/", get(launch::open))
        .route("/if/flow/{slug}/", get(flow::show).post(flow::submit))
        .route(path::SIGN_OUT, get(sign_out::show).post(sign_out::submit))
        .route(path::SECOND_FACTORS, get(second_factors::show).post(second_factors::submit))
        .route(path::IMPERSONATION, post(impersonation::end))
        .route(path::EMAIL, get(email::show).post(email::confirm))
        .route(path::SETUP, get(setup::show).post(setup::submit))
        .route("/flows/-/default/authentication/", get(forward))
        .route("/flows/-/default/invalidation/", get(sign_out::forward))
        .route("/flows/-/cancel/", get(flow::cancel))
        .route("/static/{name}", get(crate::assets::serve))
        .route("/static/brand/{name}", get(look::stylesheet))
}

/// `GET /flows/-/default/authentication/` leads to the form and keeps the query (CO-301).
async fn forward(uri: Uri) -> Redirect {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Redirect::to(&format!("{}{query}", path::SIGN_IN))
}
