//! The page on which a user agrees before an application learns who they are (OA-166, OA-167), at the address of its
//! flow.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::Response;
use http::{HeaderMap, Uri};
use portcullis_core::origin::Origin;
use portcullis_idp::Context;
use portcullis_idp::oauth::consent::Question;
use portcullis_idp::oauth::params::Params;

use super::authorize::{AUTHORIZE, answer, found};
use super::request::{keep, kept, posted_by_us};
use crate::pages::respond::{PageError, Script, page_ending_anywhere};
use crate::pages::{path, view};
use crate::same_origin::is_same_origin;

/// Name of the field that makes a yes count; no request of an application has a parameter of this name.
const YES: &str = "consent";

/// `GET` of the page's address, as after a reload: the request is read anew.
pub(super) async fn show(uri: Uri) -> Response {
    found(&format!("{AUTHORIZE}?{}", uri.query().unwrap_or_default()))
}

/// `POST` of the page: a yes to the request that it carries, which may be too long for an address.
pub(super) async fn submit(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !is_same_origin(&ctx, &headers, &origin) {
        return PageError::cross_site(&ctx, &headers, &origin).await.into_page(&origin);
    }
    let sent = match posted_by_us(&origin, &headers, body).await {
        Ok(sent) => sent,
        Err(response) => return response,
    };
    let yes = url::form_urlencoded::parse(&sent).find(|(name, _)| name == YES);
    let yes = yes.map_or_else(String::new, |(_, token)| token.into_owned());
    let params = kept(&sent);
    let query = params.as_ref().map(Params::encoded).unwrap_or_default();
    answer(&ctx, &origin, &headers, params, &query, Some(&yes)).await
}

/// The page. A yes leads to the client, and from there wherever that sends people.
pub(super) fn ask(params: &Params, question: &Question) -> Response {
    let page = view::Consent {
        application: &question.application,
        username: &question.username,
        known: &question.known,
        additional: &question.additional,
        action: path::CONSENT,
        members: &keep(params),
        token: &question.token,
        again: question.again,
        back: &question.back.url(),
    };
    page_ending_anywhere(&page, &question.back.redirect_uri, Script::None)
}
