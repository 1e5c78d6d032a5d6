//! Forms of the back channel, read strictly (OA-009).

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, PRAGMA};
use http::{HeaderMap, HeaderValue, StatusCode};
use portcullis_core::origin::Origin;
use portcullis_idp::Visitor;
use portcullis_idp::oauth::OAuthError;
use portcullis_idp::oauth::params::Params;

use super::answer::refused;
use crate::body::{Unread, read};

/// Longest body, in bytes.
const LONGEST: usize = 64 * 1024;
/// Longest body that a page of ours posts: what came to it is encoded twice, which makes three characters five.
const LONGEST_KEPT: usize = 2 * LONGEST;
/// Field in which a page of ours keeps a whole request, encoded. A field for each parameter would not do: browsers post a lone
/// line feed or carriage return as both.
const KEPT: &str = "portcullis_request";
/// Longest request target, in bytes.
pub(super) const LONGEST_TARGET: usize = 16 * 1024;

/// Refuses targets that are too long, whatever endpoint they are for (OA-009). Nobody keeps that an endpoint refuses a method
/// (OA-012).
pub(super) async fn of_a_length(request: Request, next: Next) -> Response {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > LONGEST_TARGET {
        return unread(StatusCode::URI_TOO_LONG);
    }
    let mut answer = next.run(request).await;
    if answer.status() == StatusCode::METHOD_NOT_ALLOWED {
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    }
    answer
}

/// The answer to what was not read: nobody keeps it, either (OA-012).
pub(super) fn unread(status: StatusCode) -> Response {
    (status, [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")]).into_response()
}

/// Parameters of a form that was posted.
pub(super) async fn form(origin: &Origin, headers: &HeaderMap, body: Body) -> Result<Params, Response> {
    let body = posted(origin, headers, body, LONGEST).await?;
    Params::parse(&body).map_err(|_| refused(origin, &OAuthError::InvalidRequest))
}

/// The hidden field of a page of ours that keeps a request.
pub(super) fn keep(params: &Params) -> [(String, String); 1] {
    [(KEPT.to_owned(), params.encoded())]
}

/// The request that a form of ours keeps. Only its own addresses ask for it, and nothing else of the form counts there, so that
/// no request of an application is read in two ways.
pub(super) fn kept(form: &[u8]) -> Result<Params, OAuthError> {
    let found = url::form_urlencoded::parse(form).find(|(name, _)| name == KEPT);
    found.map_or_else(|| Ok(Params::default()), |(_, query)| Params::parse(query.as_bytes()))
}

/// Parameters that a form of ours kept.
pub(super) async fn kept_form(origin: &Origin, headers: &HeaderMap, body: Body) -> Result<Params, Response> {
    let body = posted_by_us(origin, headers, body).await?;
    kept(&body).map_err(|_| refused(origin, &OAuthError::InvalidRequest))
}

/// A form of ours that was posted, as it was sent.
pub(super) async fn posted_by_us(origin: &Origin, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Response> {
    posted(origin, headers, body, LONGEST_KEPT).await
}

/// A form that was posted, as it was sent.
async fn posted(origin: &Origin, headers: &HeaderMap, body: Body, longest: usize) -> Result<Vec<u8>, Response> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(refused(origin, &OAuthError::InvalidRequest));
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > longest) {
        return Err(unread(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let body = read(body, longest).await.map_err(|why| match why {
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
