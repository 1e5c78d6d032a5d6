//! The user information endpoint (OA-088, OA section 18).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use portcullis_core::auth_via::AuthVia;
use portcullis_core::origin::Origin;
use portcullis_idp::Context;
use portcullis_idp::oauth::params::Params;
use portcullis_idp::oauth::userinfo::{Refusal, Told, answer, may_be_in_query};
use portcullis_idp::oauth::{OAuthError, origins};

use super::answer::{json, refused};
use super::back_channel::{allow, sender};
use super::meters::{INVALID, count_refused, counted};
use super::request::{authorization, form, visitor};

/// Its name in metrics.
const ENDPOINT: &str = "userinfo";

/// `GET /application/o/userinfo/`
pub(super) async fn by_header(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    tell(&ctx, &origin, &headers, &uri, None).await
}

/// `POST /application/o/userinfo/`: the token is in the header or in a form, never in both (OA-525);
/// in the query only for clients that may have it there (OA-884).
pub(super) async fn by_form(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Response {
    if !headers.contains_key(CONTENT_TYPE) {
        return tell(&ctx, &origin, &headers, &uri, None).await;
    }
    match form(&origin, &headers, body).await {
        Ok(params) => tell(&ctx, &origin, &headers, &uri, params.get("access_token")).await,
        Err(_) => unread(&ctx),
    }
}

/// What cannot be read, counted.
fn unread(ctx: &Context) -> Response {
    count_refused(ENDPOINT, INVALID);
    challenge(ctx, StatusCode::BAD_REQUEST, Some(INVALID))
}

/// A request without a token, counted.
fn without_token(ctx: &Context) -> Response {
    count_refused(ENDPOINT, "missing_token");
    challenge(ctx, StatusCode::UNAUTHORIZED, None)
}

async fn tell(ctx: &Context, origin: &Origin, headers: &HeaderMap, uri: &Uri, in_form: Option<&str>) -> Response {
    let Ok(in_query) = Params::parse(uri.query().unwrap_or_default().as_bytes()) else {
        return unread(ctx);
    };
    let in_query = in_query.get("access_token");
    let bearer = match authorization(headers) {
        Ok(value) => value.and_then(bearer),
        Err(_) => return unread(ctx),
    };
    let told = match (bearer, in_form, in_query) {
        (Some(token), None, None) | (None, Some(token), None) => tokens_user(ctx, origin, token).await,
        (None, None, Some(token)) => match may_be_in_query(ctx, token).await {
            Ok(true) => tokens_user(ctx, origin, token).await,
            // As if there was none: it is not looked for there (OA-884).
            Ok(false) => return without_token(ctx),
            Err(error) => Err(Refusal::Failed(error)),
        },
        (None, None, None) => return without_token(ctx),
        // RFC 6750 §2: one way at a time.
        _ => return unread(ctx),
    };
    match told {
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

/// Whom a token is about.
async fn tokens_user(ctx: &Context, origin: &Origin, token: &str) -> Result<Told, Refusal> {
    let visitor = visitor(origin);
    counted(ENDPOINT, "", &visitor, answer(ctx, &visitor, token)).await
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
