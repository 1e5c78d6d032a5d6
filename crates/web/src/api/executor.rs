//! `flows/executor/{slug}/` (CO-302, CO-572): the flows for machines. Public; a face of [`portcullis_idp::flow`].

mod authorization;
mod shape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Uri};
use portcullis_core::origin::Origin;
use portcullis_idp::flow::{self, Fields, Turn};
use portcullis_idp::{Context, Error};
use serde_json::Value;

use super::Routes;
use super::answer::ApiError;
use super::caller::{Key, missing_csrf, repeats_csrf};
use crate::asked::Asked;
use crate::body::read;
use crate::pages::browser::{came_from_elsewhere, signed_in};
use crate::same_origin::is_same_origin;
use crate::visit::{remember, visit};

/// Longest answer, in bytes.
const LONGEST: usize = 64 * 1024;

/// The routes of the resource.
pub(super) fn routes() -> Routes {
    Routes::new().route("/flows/executor/{slug}/", get(show).post(submit))
}

async fn show(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    Key(slug): Key,
    headers: HeaderMap,
    uri: Uri,
    Asked(visitor): Asked,
) -> Result<Response, ApiError> {
    let query = inner(&uri);
    if authorization::is_for(&slug) {
        let answer = authorization::answer(&ctx, &origin, &headers, &slug, &query, None).await;
        return told(&ctx, &origin, &headers, answer);
    }
    let turn = flow::show(&ctx, &visit(&slug, &query, &headers, visitor)).await;
    finished(&ctx, &origin, &headers, turn)
}

async fn submit(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    Key(slug): Key,
    uri: Uri,
    Asked(visitor): Asked,
    request: Request,
) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let headers = head.headers;
    if !is_same_origin(&ctx, &headers, &origin) {
        came_from_elsewhere(&ctx, &headers, &origin).await?;
        return Err(ApiError::CrossOrigin);
    }
    let media_type = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let media_type = media_type.unwrap_or_default();
    if !media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(ApiError::MediaType(media_type));
    }
    let bytes = read(body, LONGEST).await?;
    let fields: Fields = match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return Err(ApiError::field("non_field_errors", "Invalid data. Expected a dictionary.")),
        Err(error) => return Err(ApiError::Unparsable(error.to_string())),
    };
    // What the cookie authenticates is a page's of ours, or nobody's (CO-387).
    let login = signed_in(&ctx, &headers, &origin).await?;
    if login.is_some() && !repeats_csrf(&headers) {
        return Err(ApiError::CrossOrigin);
    }
    let query = inner(&uri);
    // What is no name of a step names no step of ours (CO-302).
    let component = fields.get("component").filter(|component| !component.is_null());
    let component = component.map(|component| component.as_str().unwrap_or_default());
    if authorization::is_for(&slug) {
        let is_consent = component.is_none_or(|component| component == "ak-stage-consent");
        let token = fields.get("token").and_then(Value::as_str).filter(|_| is_consent).unwrap_or_default();
        let answer = authorization::answer(&ctx, &origin, &headers, &slug, &query, Some(token)).await;
        return told(&ctx, &origin, &headers, answer);
    }
    let turn = flow::answer(&ctx, &visit(&slug, &query, &headers, visitor), component, &fields).await;
    finished(&ctx, &origin, &headers, turn)
}

/// The query of the flow's own address, which travels inside ours.
fn inner(uri: &Uri) -> String {
    let mut pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.find(|(name, _)| name == "query").map(|(_, query)| query.into_owned()).unwrap_or_default()
}

fn finished(
    ctx: &Context,
    origin: &Origin,
    headers: &HeaderMap,
    turn: Result<Turn, Error>,
) -> Result<Response, ApiError> {
    let turn = match turn {
        Ok(turn) => turn,
        Err(error) => return told(ctx, origin, headers, Err(error)),
    };
    let mut response = told(ctx, origin, headers, Ok(shape::of(&turn)))?;
    remember(&mut response, origin, headers, &turn.cookies);
    Ok(response)
}

/// The challenge, with the cookie that scripts repeat. What broke is a challenge of its own (CO-303).
fn told(
    ctx: &Context,
    origin: &Origin,
    headers: &HeaderMap,
    answer: Result<Value, Error>,
) -> Result<Response, ApiError> {
    let challenge = match answer {
        Ok(challenge) => challenge,
        Err(
            error @ (Error::NotFound(_) | Error::Throttled { .. } | Error::Busy | Error::Answered | Error::Invalid(_)),
        ) => return Err(error.into()),
        Err(error) => {
            tracing::error!(error = %error, request.id = origin.request_id.as_str(), "a flow failed");
            shape::broken(&origin.request_id)
        }
    };
    let mut response = axum::Json(challenge).into_response();
    if let Some(cookie) = missing_csrf(ctx, headers, origin).and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}
