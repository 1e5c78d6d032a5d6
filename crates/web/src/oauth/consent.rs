//! The page on which a user agrees before an application learns who they are (OA-166, OA-167), at the address of its
//! flow.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use http::{StatusCode, Uri};
use portcullis_core::origin::Origin;
use portcullis_idp::Context;
use portcullis_idp::oauth::consent::Question;
use portcullis_idp::oauth::origins;
use portcullis_idp::oauth::params::Params;
use serde::Deserialize;

use super::authorize::{AUTHORIZE, answer, found};
use crate::pages::form::form;
use crate::pages::respond::{PageError, page_posting_to};
use crate::pages::{path, view};
use crate::same_origin::is_same_origin;

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct ConsentForm {
    #[serde(default)]
    token: String,
}

/// `GET` of the page's address, as after a reload: the request is read anew.
pub(super) async fn show(uri: Uri) -> Response {
    found(&format!("{AUTHORIZE}?{}", uri.query().unwrap_or_default()))
}

/// `POST` of the page: a yes to the request in the query.
pub(super) async fn submit(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    uri: Uri,
    request: Request,
) -> Response {
    let headers = request.headers().clone();
    if !is_same_origin(&headers, &origin) {
        return PageError::CrossSite.into_page(&origin);
    }
    let query = uri.query().unwrap_or_default();
    let sent: ConsentForm = match form(request).await {
        Ok(sent) => sent,
        Err(error) => return error.into_page(&origin),
    };
    answer(&ctx, &origin, &headers, Params::parse(query.as_bytes()), query, Some(&sent.token)).await
}

/// The page. Where a yes leads is named in its policy of forms.
pub(super) async fn ask(ctx: &Context, params: &Params, question: &Question) -> Response {
    // A page that names fewer places still works where the application is at the address it returns to.
    let mut places =
        origins::where_sign_in_ends(ctx, params.text("client_id")).await.unwrap_or_else(|_| BTreeSet::new());
    places.insert(question.back.redirect_uri.clone());
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let page = view::Consent {
        application: &question.application,
        username: &question.username,
        known: &question.known,
        additional: &question.additional,
        action: &format!("{}?{}", path::CONSENT, params.encoded()),
        token: &question.token,
        again: question.again,
        back: &question.back.url(),
    };
    page_posting_to(StatusCode::OK, &page, &places)
}
