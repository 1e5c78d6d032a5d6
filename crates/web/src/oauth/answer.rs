//! Answers of the back channel: JSON, never stored, errors in the form of RFC 6749 §5.2.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use portcullis_core::origin::Origin;
use portcullis_idp::Context;
use portcullis_idp::oauth::OAuthError;
use serde::Serialize;
use serde_json::json;

use crate::PAUSE_SECONDS;

/// A JSON answer that nobody stores (OA-012).
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let Ok(body) = serde_json::to_vec(body) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")];
    (status, headers, body).into_response()
}

/// The answer to a request that was refused (OA-011, OA-217 … OA-223). The only place that knows its status.
pub(super) fn refused(origin: &Origin, error: &OAuthError) -> Response {
    let (status, description) = match error {
        OAuthError::InvalidRequest => (StatusCode::BAD_REQUEST, "The request is malformed"),
        OAuthError::InvalidClient { by_header: false } => (StatusCode::BAD_REQUEST, "Client authentication failed"),
        OAuthError::InvalidClient { by_header: true } => (StatusCode::UNAUTHORIZED, "Client authentication failed"),
        OAuthError::InvalidGrant | OAuthError::Unissuable(_) => {
            (StatusCode::BAD_REQUEST, "The grant is invalid, expired or not permitted")
        }
        OAuthError::InvalidScope => {
            (StatusCode::BAD_REQUEST, "The scope exceeds the grant, or is not enough to refresh")
        }
        OAuthError::AuthorizationPending => (StatusCode::BAD_REQUEST, "Nobody has answered yet"),
        OAuthError::SlowDown => (StatusCode::BAD_REQUEST, "Ask less often"),
        OAuthError::ExpiredToken => (StatusCode::BAD_REQUEST, "The device code has expired"),
        OAuthError::AccessDenied => (StatusCode::BAD_REQUEST, "The user said no"),
        OAuthError::InvalidTarget => (StatusCode::BAD_REQUEST, "A token can be issued for the client itself alone"),
        OAuthError::UnauthorizedClient => (StatusCode::BAD_REQUEST, "The client may not use this grant"),
        OAuthError::UnsupportedGrantType => (StatusCode::BAD_REQUEST, "This grant type is not supported"),
        OAuthError::Throttled { .. } => (StatusCode::TOO_MANY_REQUESTS, "Too many failed attempts"),
        OAuthError::Unavailable(cause) => {
            tracing::error!(error = %cause, request.id = origin.request_id.as_str(), "OAuth endpoint failed");
            (StatusCode::SERVICE_UNAVAILABLE, "Try again in a moment")
        }
        OAuthError::NoKey(cause) => {
            tracing::error!(error = cause, request.id = origin.request_id.as_str(), "OAuth endpoint failed");
            (StatusCode::SERVICE_UNAVAILABLE, "Try again in a moment")
        }
    };
    let body = json!({
        "error": error.to_string(), "error_description": description, "request_id": origin.request_id.as_str(),
    });
    let mut response = json(status, &body);
    let pause = match error {
        OAuthError::Throttled { retry_after_seconds } => Some(*retry_after_seconds),
        OAuthError::Unavailable(_) | OAuthError::NoKey(_) => Some(PAUSE_SECONDS),
        _ => None,
    };
    if let Some(seconds) = pause {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The same for a client that had to prove itself: a 401 says how, and names the issuer's host (OA-218), which is
/// ours whatever the request says (OA-013).
pub(super) fn refused_client(ctx: &Context, origin: &Origin, error: &OAuthError) -> Response {
    let mut response = refused(origin, error);
    let host = ctx.base_url.split_once("://").map_or("", |(_, host)| host);
    if response.status() == StatusCode::UNAUTHORIZED
        && let Ok(challenge) = HeaderValue::from_str(&format!("Basic realm=\"{host}\""))
    {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The same for endpoints where a client that fails to prove itself always gets a 401 (OA-492, OA-512).
pub(super) fn refused_with_challenge(ctx: &Context, origin: &Origin, error: OAuthError) -> Response {
    match error {
        OAuthError::InvalidClient { .. } => refused_client(ctx, origin, &OAuthError::InvalidClient { by_header: true }),
        other => refused(origin, &other),
    }
}
