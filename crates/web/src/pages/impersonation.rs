//! Acting as somebody else, and an end to it (CO-388).

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::HeaderMap;
use portcullis_core::origin::Origin;
use portcullis_idp::{Context, impersonation};

use super::browser::{own_actor, set_session, signed_in};
use super::path;
use super::respond::PageError;
use crate::same_origin::is_same_origin;

/// `POST /account/impersonation/` has the browser act as its own user again.
pub async fn end(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
) -> Response {
    if !is_same_origin(&ctx, &headers, &origin) {
        return PageError::cross_site(&ctx, &headers, &origin).await.into_page(&origin);
    }
    let ended = async {
        let mut response = Redirect::to(path::HOME).into_response();
        let Some((session, account)) = signed_in(&ctx, &headers, &origin).await? else { return Ok(response) };
        let actor = own_actor(&session, &account, &origin);
        if let Some(cookie) = impersonation::end(&ctx, &actor, &session.sid).await? {
            set_session(&mut response, &origin, &cookie);
        }
        Ok::<_, PageError>(response)
    };
    ended.await.unwrap_or_else(|error| error.into_page(&origin))
}
