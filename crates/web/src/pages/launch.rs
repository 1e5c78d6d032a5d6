//! Opens an application for whoever is signed in (CO-139).

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use portcullis_core::origin::Origin;
use portcullis_idp::access::AccessContext;
use portcullis_idp::portal::{self, Launch};
use portcullis_idp::{Context, Error};

use super::browser::signed_in;
use super::respond::{self, PageError};
use super::{flow, path};
use crate::asked;

/// `GET /application/launch/{slug}/`
pub async fn open(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    Path(slug): Path<String>,
    headers: HeaderMap,
) -> Response {
    let (session, user) = match signed_in(&ctx, &headers, &origin).await {
        Ok(Some((session, account))) => (session, account.pk),
        Ok(None) => return found(&flow::before(&format!("{}{slug}/", path::LAUNCH))),
        Err(error) => return PageError::from(error).into_page(&origin),
    };
    let visitor = asked::visitor(&origin, &headers, "GET", &format!("{}{slug}/", path::LAUNCH), "");
    let visitor = visitor.in_session(&session);
    match portal::launch(&ctx, user, &slug, &AccessContext::of(&visitor)).await {
        Ok(Launch::To(href)) => found(&href),
        Ok(Launch::Denied { application, messages, trace }) => {
            respond::denied(&origin, &application, &messages, &trace, None)
        }
        Err(Error::NotFound(_)) => {
            let text = "There is no such application, or it has no address to open.";
            respond::error(&origin, StatusCode::NOT_FOUND, "Not found", text)
        }
        Err(error) => PageError::from(error).into_page(&origin),
    }
}

fn found(target: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(target) else { return StatusCode::NOT_FOUND.into_response() };
    (StatusCode::FOUND, [(LOCATION, location), (CACHE_CONTROL, HeaderValue::from_static("no-store"))]).into_response()
}
