//! A new e-mail address is confirmed by a link that was mailed there (CO-327).

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_core::origin::Origin;
use portcullis_idp::Context;
use portcullis_idp::own_fields::address;

use super::browser::{own_actor, signed_in};
use super::respond::{self, PageError, page};
use super::view::Confirm;
use super::{flow, path};
use crate::same_origin::is_same_origin;

/// `GET /account/email/?token=…` asks whoever is signed in: programs that look at links in mails change nothing.
pub async fn show(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let token = token(&uri);
    let action = format!("{}{}", address::PAGE, utf8_percent_encode(&token, NON_ALPHANUMERIC));
    let asked = async {
        let Some((_, account)) = signed_in(&ctx, &headers, &origin).await? else {
            return Ok(Redirect::to(&flow::before(&action)).into_response());
        };
        let Some(email) = address::look(&ctx, &account, &token).await? else { return Ok(useless(&origin)) };
        let text = format!("{email} will be the e-mail address of your account {}.", account.username);
        let question = Confirm {
            title: "Change your e-mail address?",
            text: &text,
            action: &action,
            members: &[],
            button: "Change it",
            back: path::HOME,
            stay: "Leave it as it is",
        };
        Ok::<_, PageError>(page(StatusCode::OK, &question))
    };
    asked.await.unwrap_or_else(|error| error.into_page(&origin))
}

/// `POST /account/email/?token=…` is the yes.
pub async fn confirm(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    if !is_same_origin(&ctx, &headers, &origin) {
        return PageError::cross_site(&ctx, &headers, &origin).await.into_page(&origin);
    }
    let changed = async {
        let Some((session, account)) = signed_in(&ctx, &headers, &origin).await? else { return Ok(useless(&origin)) };
        let actor = own_actor(&session, &account, &origin);
        Ok::<_, PageError>(match address::confirm(&ctx, &actor, account.pk, &token(&uri)).await? {
            true => Redirect::to(path::HOME).into_response(),
            false => useless(&origin),
        })
    };
    changed.await.unwrap_or_else(|error| error.into_page(&origin))
}

fn token(uri: &Uri) -> String {
    let query = uri.query().unwrap_or_default().as_bytes();
    let found = url::form_urlencoded::parse(query).find(|(name, _)| name == "token");
    found.map(|(_, token)| token.into_owned()).unwrap_or_default()
}

fn useless(origin: &Origin) -> Response {
    let text = "It has been used already, its time is over, or it is for somebody else. Change the address once more to get another.";
    respond::error(origin, StatusCode::BAD_REQUEST, "This link is of no use", text)
}
