//! The user information endpoint (OA-088, OA section 18).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use portcullis_core::auth_via::AuthVia;
use portcullis_core::origin::Origin;
use portcullis_idp::Context;
use portcullis_idp::oauth::userinfo::{Refusal, answer};
use portcullis_idp::oauth::{OAuthError, origins};

use super::answer::{json, refused};
use super::back_channel::{allow, sender};
use super::request::{authorization, form, visitor};

/// `GET /application/o/userinfo/`
pub(super) async fn by_header(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
) -> Response {
    tell(&ctx, &origin, &headers, None).await
}

/// `POST /application/o/userinfo/`: the token is in the header or in a form, never in both (OA-525).
pub(super) async fn by_form(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !headers.contains_key(CONTENT_TYPE) {
        return tell(&ctx, &origin, &headers, None).await;
    }
    match form(&origin, &headers, body).await {
        Ok(params) => tell(&ctx, &origin, &headers, params.get("access_token")).await,
        Err(_) => challenge(&ctx, StatusCode::BAD_REQUEST, Some("invalid_request")),
    }
}

async fn tell(ctx: &Context, origin: &Origin, headers: &HeaderMap, in_form: Option<&str>) -> Response {
    let bearer = match authorization(headers) {
        Ok(value) => value.and_then(bearer),
        Err(_) => return challenge(ctx, StatusCode::BAD_REQUEST, Some("invalid_request")),
    };
    let token = match (bearer, in_form) {
        (Some(_), Some(_)) => return challenge(ctx, StatusCode::BAD_REQUEST, Some("invalid_request")),
        (Some(token), None) | (None, Some(token)) => token,
        (None, None) => return challenge(ctx, StatusCode::UNAUTHORIZED, None),
    };
    match answer(ctx, &visitor(origin), token).await {
        Ok(told) => {
            origin.succeeded(AuthVia::AccessToken);
            let mut response = json(StatusCode::OK, &told.claims);
            if let Some((value, _)) = sender(headers).filter(|(_, text)| origins::of(&told.provider).contains(*text)) {
                allow(&mut response, value);
            }
            response
        }
        Err(Refusal::InvalidToken) => challenge(ctx, StatusCode::UNAUTHORIZED, Some("invalid_token")),
        Err(Refusal::InsufficientScope) => challenge(ctx, StatusCode::FORBIDDEN, Some("insufficient_scope")),
        Err(Refusal::Failed(error)) => refused(origin, &OAuthError::Unavailable(error)),
    }
}

/// What follows the scheme `Bearer`, whatever its case.
fn bearer(authorization: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}

/// No body, and how to do better (OA-528, RFC 6750 §3).
fn challenge(ctx: &Context, status: StatusCode, error: Option<&str>) -> Response {
    let host = ctx.base_url.split_once("://").map_or("", |(_, host)| host);
    let description = match error {
        Some("invalid_request") => "The request is malformed",
        Some("insufficient_scope") => "The token does not have the scope openid",
        _ => "The token is unknown, expired or revoked",
    };
    let mut said = format!("Bearer realm=\"{host}\"");
    if let Some(error) = error {
        said.push_str(&format!(", error=\"{error}\", error_description=\"{description}\""));
    }
    if error == Some("insufficient_scope") {
        said.push_str(", scope=\"openid\"");
    }
    let fixed = [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")];
    let mut response = (status, fixed).into_response();
    if let Ok(value) = HeaderValue::from_str(&said) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}
