//! What clients find out by themselves: discovery document and keys (OA sections 5 and 6).

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, LOCATION, PRAGMA, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use portcullis_core::origin::Origin;
use portcullis_idp::oauth::{OAuthError, by_slug, discovery as documents, origins};
use portcullis_idp::{Context, Error};
use serde_json::{Value, json};

use super::answer::{json as answer, refused};
use super::back_channel::{allow, sender};
use super::meters::counted_document;

/// `GET /application/o/{slug}/` leads to the discovery document (OA-091).
pub(super) async fn application(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    Path(slug): Path<String>,
) -> Response {
    match by_slug(&ctx, &slug).await {
        Ok(Some((application, _))) => {
            let target = format!("/application/o/{}/.well-known/openid-configuration", application.slug);
            (StatusCode::FOUND, [(LOCATION, target)]).into_response()
        }
        Ok(None) => unknown(&origin),
        Err(error) => failed(&origin, error),
    }
}

/// `GET /application/o/{slug}/.well-known/openid-configuration` (OA-091, OA-092, OA-582).
pub(super) async fn discovery(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    Path(slug): Path<String>,
    headers: HeaderMap,
) -> Response {
    counted_document("discovery", described(&ctx, &origin, &slug, &headers)).await
}

async fn described(ctx: &Context, origin: &Origin, slug: &str, headers: &HeaderMap) -> Response {
    let (application, provider) = match by_slug(ctx, slug).await {
        Ok(Some(found)) => found,
        Ok(None) => return unknown(origin),
        Err(error) => return failed(origin, error),
    };
    match documents::document(ctx, &application, &provider).await {
        Ok(document) => {
            let mut response = public(&document);
            match sender(headers).filter(|(_, text)| origins::of(&provider).contains(*text)) {
                Some((value, _)) => allow(&mut response, value),
                // Whoever keeps it is not to show it to a page that gets another one.
                None => drop(response.headers_mut().insert(VARY, HeaderValue::from_static("Origin"))),
            }
            response
        }
        Err(error) => failed(origin, error),
    }
}

/// `GET /application/o/{slug}/jwks/` (OA-120).
pub(super) async fn jwks(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    Path(slug): Path<String>,
) -> Response {
    counted_document("jwks", keys(&ctx, &origin, &slug)).await
}

async fn keys(ctx: &Context, origin: &Origin, slug: &str) -> Response {
    let provider = match by_slug(ctx, slug).await {
        Ok(Some((_, provider))) => provider,
        Ok(None) => return unknown(origin),
        Err(error) => return failed(origin, error),
    };
    match documents::jwks(ctx, &provider).await {
        Ok(keys) => public(&keys),
        Err(error) => failed(origin, error),
    }
}

/// A document without secrets, for five minutes and for everybody.
fn public(document: &Value) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
        (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ];
    (headers, document.to_string()).into_response()
}

fn unknown(origin: &Origin) -> Response {
    let body = json!({
        "error": "not_found", "error_description": "There is no such application", "request_id": origin.request_id.as_str(),
    });
    let mut response = answer(StatusCode::NOT_FOUND, &body);
    response.headers_mut().remove(PRAGMA);
    response
}

fn failed(origin: &Origin, error: Error) -> Response {
    refused(origin, &OAuthError::Unavailable(error))
}
