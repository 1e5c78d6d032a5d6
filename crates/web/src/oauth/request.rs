//! Forms of the back channel, read strictly (OA-009).

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, PRAGMA};
use http::{HeaderMap, StatusCode};
use portcullis_core::origin::Origin;
use portcullis_idp::Visitor;
use portcullis_idp::oauth::OAuthError;
use portcullis_idp::oauth::params::Params;

use super::answer::refused;
use crate::body::{Unread, read};

/// Longest body, in bytes.
const LONGEST: usize = 64 * 1024;
/// Longest request target, in bytes.
pub(super) const LONGEST_TARGET: usize = 16 * 1024;

/// Refuses targets that are too long, whatever endpoint they are for (OA-009).
pub(super) async fn of_a_length(request: Request, next: Next) -> Response {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > LONGEST_TARGET { unread(StatusCode::URI_TOO_LONG) } else { next.run(request).await }
}

/// The answer to what was not read: nobody keeps it, either (OA-012).
pub(super) fn unread(status: StatusCode) -> Response {
    (status, [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")]).into_response()
}

/// Parameters of a form that was posted.
pub(super) async fn form(origin: &Origin, headers: &HeaderMap, body: Body) -> Result<Params, Response> {
    let body = posted(origin, headers, body).await?;
    Params::parse(&body).map_err(|_| refused(origin, &OAuthError::InvalidRequest))
}

/// A form that was posted, as it was sent.
pub(super) async fn posted(origin: &Origin, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Response> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(refused(origin, &OAuthError::InvalidRequest));
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > LONGEST) {
        return Err(unread(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let body = read(body, LONGEST).await.map_err(|why| match why {
        Unread::TooLong => unread(StatusCode::PAYLOAD_TOO_LARGE),
        Unread::TooSlow => unread(StatusCode::REQUEST_TIMEOUT),
    })?;
    Ok(body.into())
}

/// The `Authorization` header. Two of them are none that can be believed.
pub(super) fn authorization(headers: &HeaderMap) -> Result<Option<&[u8]>, OAuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(http::HeaderValue::as_bytes)),
        (_, Some(_)) => Err(OAuthError::InvalidRequest),
    }
}

/// Where a request comes from, where no policy is asked.
pub(super) fn visitor(origin: &Origin) -> Visitor {
    Visitor::sent_from(origin)
}
