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

use super::answer::{json as answer, refused_client, refused_with_challenge};
use super::delegated;
use super::meters::{counted, grant};
use super::request::{authorization, form, visitor};
use crate::asked;

/// Who asks at the endpoint of this name, and what policies may know of it.
fn asking(origin: &Origin, headers: &HeaderMap, endpoint: &str) -> Visitor {
    asked::visitor(origin, headers, "POST", &format!("/application/o/{endpoint}/"), "")
}

/// `POST /application/o/token/` (OA-086).
pub(super) async fn token(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let params = match form(&origin, &headers, body).await {
        Ok(params) => params,
        Err(response) => return response,
    };
    let relay = delegated::relay(&ctx, &origin, &headers).await;
    let result = match authorization(&headers) {
        Ok(authorization) => {
            let asking = asking(&origin, &headers, "token");
            let answered = tokens::exchange(&ctx, &asking, authorization, &params, relay.as_ref());
            counted("token", grant(params.text("grant_type")), answered).await
        }
        Err(error) => Err(error),
    };
    let mut response = match result {
        Ok(issued) => answer(StatusCode::OK, &issued),
        Err(error) => refused_client(&ctx, &origin, &error),
    };
    share(&ctx, &mut response, &headers, &params).await;
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
async fn share(ctx: &Context, response: &mut Response, headers: &HeaderMap, params: &Params) {
    let Some((value, text)) = sender(headers) else { return };
    let credentials = authorization(headers).and_then(|authorization| Credentials::read(authorization, params));
    let Ok(credentials) = credentials else { return };
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
    let params = match form(&origin, &headers, body).await {
        Ok(params) => params,
        Err(response) => return response,
    };
    let result = match authorization(&headers) {
        Ok(authorization) => {
            let visitor = visitor(&origin);
            counted("device", "", devices::start(&ctx, &visitor, authorization, &params)).await
        }
        Err(error) => Err(error),
    };
    match result {
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
    let params = match form(&origin, &headers, body).await {
        Ok(params) => params,
        Err(response) => return response,
    };
    let relay = delegated::relay(&ctx, &origin, &headers).await;
    let result = match authorization(&headers) {
        Ok(authorization) => {
            let asking = asking(&origin, &headers, "introspect");
            let answered = introspection::answer(&ctx, &asking, authorization, &params, relay.as_ref());
            counted("introspect", "", answered).await
        }
        Err(error) => Err(error),
    };
    match result {
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
    let params = match form(&origin, &headers, body).await {
        Ok(params) => params,
        Err(response) => return response,
    };
    let result = match authorization(&headers) {
        Ok(authorization) => {
            let visitor = visitor(&origin);
            counted("revoke", "", revocation::answer(&ctx, &visitor, authorization, &params)).await
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => answer(StatusCode::OK, &json!({})),
        Err(error) => refused_with_challenge(&ctx, &origin, error),
    }
}
