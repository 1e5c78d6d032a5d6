//! Signing out (CO-323): never by another site's doing without a question.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, Uri};
use portcullis_core::origin::Origin;
use portcullis_core::target::local_target;
use portcullis_idp::oauth::logout;
use portcullis_idp::{Context, sign_in};

use super::browser::{clear_session, own_actor, signed_in};
use super::respond::{PageError, page, page_framing};
use super::view::{Confirm, Link, Message, SigningOut};
use super::{flow, path};
use crate::same_origin::is_same_origin;

/// `GET /if/flow/default-invalidation-flow/` asks whether to sign out; a GET changes nothing.
pub async fn show(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    match signed_in(&ctx, &headers, &origin).await {
        Ok(Some((_, account))) => {
            let action =
                uri.query().map_or_else(|| path::SIGN_OUT.to_owned(), |query| format!("{}?{query}", path::SIGN_OUT));
            let question = Confirm {
                title: "Sign out?",
                text: &format!(
                    "You are signed in as {}. Signing out also ends your sessions at all applications.",
                    account.username
                ),
                action: &action,
                members: &[],
                button: "Sign out",
                back: path::HOME,
                stay: "Stay signed in",
            };
            page(StatusCode::OK, &question)
        }
        Ok(None) => signed_out(&origin, &headers),
        Err(error) => PageError::from(error).into_page(&origin),
    }
}

/// `POST /if/flow/default-invalidation-flow/` signs out, and leads to `next` if that is on this site (CO-309).
pub async fn submit(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    if !is_same_origin(&ctx, &headers, &origin) {
        return PageError::cross_site(&ctx, &headers, &origin).await.into_page(&origin);
    }
    let mut frames = Vec::new();
    let result = async {
        if let Some((session, account)) = signed_in(&ctx, &headers, &origin).await? {
            let actor = own_actor(&session, &account, &origin);
            frames = logout::frames(&ctx, &session.sid, None).await?;
            sign_in::out(&ctx, &session, &actor).await?;
        }
        Ok::<(), PageError>(())
    };
    match result.await {
        Ok(()) => match local_target(&flow::next_of(uri.query().unwrap_or_default())) {
            next if !frames.is_empty() => {
                let next = if next == path::HOME { path::SIGN_OUT } else { next };
                let mut response = tell(&frames, next);
                clear_session(&mut response, &origin, &headers);
                response
            }
            path::HOME => signed_out(&origin, &headers),
            next => {
                let mut response = Redirect::to(next).into_response();
                clear_session(&mut response, &origin, &headers);
                response
            }
        },
        Err(error) => error.into_page(&origin),
    }
}

/// How long clients have to hear of a sign-out from the browser (OA-550), in seconds.
const FRAME_SECONDS: u32 = 5;

/// Has the browser tell clients of its sign-out, and go on then, whether they heard it or not.
pub fn tell(frames: &[String], next: &str) -> Response {
    page_framing(&SigningOut { frames, next }, frames, FRAME_SECONDS, next)
}

/// `GET /flows/-/default/invalidation/` leads to the question and keeps the query (CO-301).
pub async fn forward(uri: Uri) -> Redirect {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Redirect::to(&format!("{}{query}", path::SIGN_OUT))
}

/// What is said to whoever has signed out of one application alone.
pub fn still_signed_in(site: &str) -> String {
    format!("You are still signed in to {site}, and can open your applications without a password.")
}

/// Says that nobody is signed in on this browser, and takes the cookie away.
pub fn signed_out(origin: &Origin, headers: &HeaderMap) -> Response {
    let message = Message {
        status: None,
        title: "You are signed out",
        text: "Your sessions at Portcullis and at all applications behind it have ended.",
        messages: &[],
        trace: &[],
        links: &[Link { href: path::SIGN_IN, text: "Sign in" }],
        request_id: "",
    };
    let mut response = page(StatusCode::OK, &message).into_response();
    clear_session(&mut response, origin, headers);
    response
}
