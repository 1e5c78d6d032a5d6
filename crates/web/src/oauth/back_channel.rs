//! Endpoints that clients call themselves: token, introspection, revocation.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use portcullis_core::origin::Origin;
use portcullis_idp::oauth::client::Credentials;
use portcullis_idp::oauth::params::Params;
use portcullis_idp::oauth::{
    device as devices, introspect as introspection, origins, revoke as revocation, token as tokens,
};
use portcullis_idp::{Context, Visitor};
use serde_json::json;

use super::answer::{json as answer, refused, refused_client, refused_with_challenge};
use super::delegated;
use super::meters::{INVALID, count_refused, counted, grant};
use super::request::{authorization, form, visitor};
use crate::asked;

/// Who asks at the endpoint of this name, and what policies may know of it.
fn asking(origin: &Origin, headers: &HeaderMap, endpoint: &str) -> Visitor {
    asked::visitor(origin, headers, "POST", &format!("/application/o/{endpoint}/"), "")
}

/// What a client posted: its parameters, and its `Authorization` header, of which there is one at most.
async fn posted<'a>(
    endpoint: &'static str,
    origin: &Origin,
    headers: &'a HeaderMap,
    body: Body,
) -> Result<(Params, Option<&'a [u8]>), Response> {
    let unread = |response| {
        count_refused(endpoint, INVALID);
        response
    };
    let params = form(origin, headers, body).await.map_err(unread)?;
    Ok((params, authorization(headers).map_err(|error| unread(refused(origin, &error)))?))
}

/// `POST /application/o/token/` (OA-086).
pub(super) async fn token(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (params, authorization) = match posted("token", &origin, &headers, body).await {
        Ok(posted) => posted,
        Err(response) => return response,
    };
    let relay = delegated::relay(&ctx, &origin, &headers).await;
    let asking = asking(&origin, &headers, "token");
    let answered = tokens::exchange(&ctx, &asking, authorization, &params, relay.as_ref());
    let mut response = match counted("token", grant(params.text("grant_type")), &asking, answered).await {
        Ok(issued) => answer(StatusCode::OK, &issued),
        Err(error) => refused_client(&ctx, &origin, &error),
    };
    share(&ctx, &mut response, &headers, authorization, &params).await;
    response
}

/// `OPTIONS /application/o/token/` (OA-583).
pub(super) async fn preflight(State(ctx): State<Arc<Context>>, headers: HeaderMap) -> Response {
    let mut response = answer(StatusCode::OK, &json!({}));
    let fixed = response.headers_mut();
    fixed.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    fixed.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization, Content-Type, DPoP"));
    if let Some((value, text)) = sender(&headers)
        && origins::is_of_any(&ctx, text).await.unwrap_or(false)
    {
        allow(&mut response, value);
    }
    response
}

/// Lets the pages of a client read its answers (OA-581).
async fn share(
    ctx: &Context,
    response: &mut Response,
    headers: &HeaderMap,
    authorization: Option<&[u8]>,
    params: &Params,
) {
    let Some((value, text)) = sender(headers) else { return };
    let Ok(credentials) = Credentials::read(authorization, params) else { return };
    if origins::of_client(ctx, &credentials.client_id).await.is_ok_and(|origins| origins.contains(text)) {
        allow(response, value);
    }
}

/// The `Origin` of a request.
pub(super) fn sender(headers: &HeaderMap) -> Option<(&HeaderValue, &str)> {
    let value = headers.get(ORIGIN)?;
    Some((value, value.to_str().ok()?))
}

/// Lets an origin read an answer that was given to its user's credentials.
pub(super) fn allow(response: &mut Response, origin: &HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

/// `POST /application/o/device/` (OA-087).
pub(super) async fn device(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (params, authorization) = match posted("device", &origin, &headers, body).await {
        Ok(posted) => posted,
        Err(response) => return response,
    };
    let visitor = visitor(&origin);
    match counted("device", "", &visitor, devices::start(&ctx, &visitor, authorization, &params)).await {
        Ok(started) => answer(StatusCode::OK, &started),
        Err(error) => refused_client(&ctx, &origin, &error),
    }
}

/// `POST /application/o/introspect/` (OA-089).
pub(super) async fn introspect(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (params, authorization) = match posted("introspect", &origin, &headers, body).await {
        Ok(posted) => posted,
        Err(response) => return response,
    };
    let relay = delegated::relay(&ctx, &origin, &headers).await;
    let asking = asking(&origin, &headers, "introspect");
    let answered = introspection::answer(&ctx, &asking, authorization, &params, relay.as_ref());
    match counted("introspect", "", &asking, answered).await {
        Ok(said) => answer(StatusCode::OK, &said),
        Err(error) => refused_with_challenge(&ctx, &origin, error),
    }
}

/// `POST /application/o/revoke/` (OA-089).
pub(super) async fn revoke(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (params, authorization) = match posted("revoke", &origin, &headers, body).await {
        Ok(posted) => posted,
        Err(response) => return response,
    };
    let visitor = visitor(&origin);
    match counted("revoke", "", &visitor, revocation::answer(&ctx, &visitor, authorization, &params)).await {
        Ok(()) => answer(StatusCode::OK, &json!({})),
        Err(error) => refused_with_challenge(&ctx, &origin, error),
    }
}
