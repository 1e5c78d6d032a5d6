//! Signing in (CO-310…CO-312, CO-319).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Extension, Query, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_core::origin::Origin;
use portcullis_idp::oauth::{marker, origins};
use portcullis_idp::sign_in::{Credentials, SignInError, with_password};
use portcullis_idp::{Context, portal};
use serde::Deserialize;

use super::browser::{local_target, session_cookies, set_session, signed_in, user_agent};
use super::form::form;
use super::respond::{PageError, page_posting_to};
use super::{path, view};
use crate::same_origin::is_same_origin;

/// Where to go afterwards.
#[derive(Deserialize)]
pub struct Next {
    #[serde(default)]
    next: String,
}

/// What the form sends.
#[derive(Deserialize)]
pub struct SignInForm {
    #[serde(default)]
    uid_field: String,
    #[serde(default)]
    password: String,
}

/// `GET /if/flow/default-authentication-flow/?next=…` asks for user name and password. Who is signed in
/// already goes on (CO-307).
pub async fn show(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    Query(Next { next }): Query<Next>,
    headers: HeaderMap,
) -> Response {
    let next = local_target(&next);
    match signed_in(&ctx, &headers, &origin).await {
        Ok(Some(_)) if !asks_again(next) => Redirect::to(next).into_response(),
        Ok(_) => ask(&ctx, StatusCode::OK, next, "", None).await,
        Err(error) => PageError::from(error).into_page(&origin),
    }
}

/// `POST /if/flow/default-authentication-flow/?next=…` signs in, or shows the form again.
pub async fn submit(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    Query(Next { next }): Query<Next>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    if !is_same_origin(&headers, &origin) {
        return PageError::CrossSite.into_page(&origin);
    }
    let sent: SignInForm = match form(request).await {
        Ok(sent) => sent,
        Err(error) => return error.into_page(&origin),
    };
    let (next, identifier) = (local_target(&next), sent.uid_field.trim());
    let credentials = Credentials {
        identifier,
        password: &sent.password,
        client: origin.client,
        user_agent: user_agent(&headers),
        previous: session_cookies(&headers).next(),
        request: &portcullis_idp::Request::of(&origin),
    };
    match with_password(&ctx, credentials).await {
        Ok(started) => {
            let mut response = Redirect::to(next).into_response();
            set_session(&mut response, &origin, &started.cookie);
            response
        }
        Err(SignInError::Wrong) => {
            let problem = "Wrong user name or password. Check both and try again.";
            ask(&ctx, StatusCode::OK, next, identifier, Some(problem)).await
        }
        Err(error) => PageError::from(error).into_page(&origin),
    }
}

/// `GET /flows/-/default/authentication/` leads to the form and keeps the query (CO-301).
pub async fn forward(uri: Uri) -> Redirect {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Redirect::to(&format!("{}{query}", path::SIGN_IN))
}

/// The form that leads to a target on this site.
pub fn before(next: &str) -> String {
    format!("{}?next={}", path::SIGN_IN, utf8_percent_encode(next, NON_ALPHANUMERIC))
}

/// Whether the target sent the browser here to prove who it is once more.
fn asks_again(next: &str) -> bool {
    next.starts_with("/application/o/authorize") && next.contains(marker::NAME)
}

async fn ask(ctx: &Context, status: StatusCode, next: &str, identifier: &str, problem: Option<&str>) -> Response {
    let action = match next {
        path::HOME => path::SIGN_IN.to_owned(),
        next => before(next),
    };
    let (mut application, mut places) = (None, BTreeSet::new());
    if let Some(client_id) = client_of(next) {
        // The name is a courtesy: a page without it still signs in.
        application = portal::name_of_client(ctx, &client_id).await.ok().flatten();
        places = origins::where_sign_in_ends(ctx, &client_id).await.unwrap_or_default();
    } else if let Some(slug) = next.strip_prefix(path::LAUNCH) {
        places.extend(portal::places_of(ctx, slug.trim_end_matches('/')).await.unwrap_or_default());
    }
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let form = view::SignIn { application: application.as_deref(), action: &action, identifier, problem };
    page_posting_to(status, &form, &places)
}

/// The OAuth client that sent the browser here.
fn client_of(next: &str) -> Option<String> {
    let query = next.strip_prefix("/application/o/authorize/?")?;
    url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "client_id").map(|(_, id)| id.into_owned())
}
