//! The authorization endpoint: a browser comes from an application and goes back to it (OA section 7).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_core::origin::Origin;
use portcullis_core::target::LONGEST as LONGEST_LOCAL;
use portcullis_idp::Context;
use portcullis_idp::oauth::OAuthError;
use portcullis_idp::oauth::authorize::{Answer, Brought, Mode, Outcome, Refusal, check, decide};
use portcullis_idp::oauth::marker::{self, Marker};
use portcullis_idp::oauth::params::Params;

use super::consent;
use super::meters::{INVALID, OK, Outcome as Word, UNAVAILABLE, count_refused, counted_as};
use super::request::{LONGEST_TARGET, form, keep, kept_form};
use crate::asked;
use crate::pages::browser::{session_cookies, signed_in};
use crate::pages::respond::{self, PageError, Script};
use crate::pages::{path, view};

/// Path of the endpoint.
pub(super) const AUTHORIZE: &str = "/application/o/authorize/";
/// Its name in metrics.
const ENDPOINT: &str = "authorize";
/// Longest request in the address of a sign-in page, in bytes: listeners take heads of 48 KiB.
const LONGEST_ENCODED: usize = 36 * 1024;
/// Query of what a page of ours posts once more. Who forges it is answered as somebody without a cookie.
pub(super) const AGAIN: &str = "again";
/// Bytes that a marker takes in a target, at most.
const MARKER_ROOM: usize = 256;

/// `GET /application/o/authorize/`
pub(super) async fn by_query(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let query = uri.query().unwrap_or_default();
    answer(&ctx, &origin, &headers, Params::parse(query.as_bytes()), query, None).await
}

/// `POST /application/o/authorize/`: the parameters come from the body alone.
pub(super) async fn by_form(
    State(ctx): State<Arc<Context>>,
    Extension(origin): Extension<Arc<Origin>>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Response {
    let posted = match uri.query() {
        Some(AGAIN) => kept_form(&origin, &headers, body).await,
        _ => form(&origin, &headers, body).await,
    };
    match posted {
        Ok(params) => {
            let query = params.encoded();
            if !params.is_empty()
                && let Some(again) = once_more(&headers, &uri, &params, params.text("redirect_uri"))
            {
                return again;
            }
            answer(&ctx, &origin, &headers, Ok(params), &query, None).await
        }
        Err(response) => {
            count_refused(ENDPOINT, INVALID);
            response
        }
    }
}

/// Answers a request. `consent` is what the page that asks for consent sent, if the browser comes from there.
pub(super) async fn answer(
    ctx: &Arc<Context>,
    origin: &Origin,
    headers: &HeaderMap,
    params: Result<Params, OAuthError>,
    query: &str,
    consent: Option<&str>,
) -> Response {
    counted_as(ENDPOINT, answered(ctx, origin, headers, params, query, consent)).await
}

/// The same, with what came of it.
async fn answered(
    ctx: &Arc<Context>,
    origin: &Origin,
    headers: &HeaderMap,
    params: Result<Params, OAuthError>,
    query: &str,
    consent: Option<&str>,
) -> (Word, Response) {
    let Ok(params) = params else {
        return (INVALID.into(), bad_request(origin, "The request of the application cannot be read."));
    };
    if params.is_empty() {
        let text = "Applications send people here to sign in.";
        return (INVALID.into(), respond::error(origin, StatusCode::NOT_FOUND, "Not found", text));
    }
    let visitor = asked::visitor(origin, headers, "GET", AUTHORIZE, query);
    let request = match check(ctx, &visitor, &params).await {
        Ok(request) => request,
        Err(refusal) => return refused(origin, refusal),
    };
    let login = match signed_in(ctx, headers, origin).await {
        Ok(found) => found.map(|(session, _)| session),
        Err(error) => return failed(origin, error),
    };
    let visitor = match &login {
        Some(session) => visitor.in_session(session),
        None => visitor,
    };
    let brought = Brought { marker: Marker::open(ctx, &params), consent };
    match decide(ctx, &visitor, &request, login.as_ref(), &brought).await {
        Ok(Outcome::Answer(answer)) => told(&answer),
        // It would be lost once somebody has signed in for it.
        Ok(Outcome::SignIn { .. }) if !comes_back(query) => (INVALID.into(), too_long(origin)),
        Ok(Outcome::SignIn { again: false }) => ("sign_in".into(), sign_in(query)),
        Ok(Outcome::SignIn { again: true }) => {
            let again = marked(query, &Marker::seal(ctx, &params, login.as_ref()));
            ("sign_in".into(), sign_in(&again))
        }
        Ok(Outcome::Ask(question)) => ("consent".into(), consent::ask(&params, &question)),
        Ok(Outcome::Denied { application, messages, trace, back }) => {
            let page = respond::denied(origin, &application, &messages, &trace, Some(&back.url()));
            ("access_denied".into(), page)
        }
        Err(error) => failed(origin, error),
    }
}

fn refused(origin: &Origin, refusal: Refusal) -> (Word, Response) {
    match refusal {
        Refusal::Page { status: 403, text } => {
            ("access_denied".into(), respond::error(origin, StatusCode::FORBIDDEN, "Access denied", text))
        }
        Refusal::Page { text, .. } => (INVALID.into(), bad_request(origin, text)),
        Refusal::Answer(answer) => told(&answer),
        Refusal::Failed(error) => failed(origin, error),
    }
}

fn failed(origin: &Origin, error: impl Into<PageError>) -> (Word, Response) {
    (UNAVAILABLE.into(), error.into().into_page(origin))
}

/// An answer for the client, which may be an error.
fn told(answer: &Answer) -> (Word, Response) {
    let error = answer.members.iter().find(|(name, _)| *name == "error").map(|(_, error)| error.clone());
    (error.map_or(OK.into(), Word::from), deliver(answer))
}

fn bad_request(origin: &Origin, text: &str) -> Response {
    respond::error(origin, StatusCode::BAD_REQUEST, "This sign-in cannot go on", text)
}

fn too_long(origin: &Origin) -> Response {
    let text = "The request of the application is too long to be kept while you sign in. Open Portcullis, sign in there, and \
                start again from the application.";
    respond::error(origin, StatusCode::URI_TOO_LONG, "This sign-in cannot go on", text)
}

/// Sends the browser to the sign-in page, and from there back to this request (OA-158).
fn sign_in(query: &str) -> Response {
    let next = format!("{AUTHORIZE}?{query}");
    found(&format!("{}?next={}", path::SIGN_IN, utf8_percent_encode(&next, NON_ALPHANUMERIC)))
}

/// Whether a request is short enough to come back from a sign-in, with whatever marker (OA-009).
fn comes_back(query: &str) -> bool {
    let longest = query.len().max(marked(query, "").len() + MARKER_ROOM);
    // In the address of the sign-in page nothing but letters and digits stays as it is.
    let encoded: usize = query.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum();
    AUTHORIZE.len() + 1 + longest <= LONGEST_LOCAL && encoded <= LONGEST_ENCODED
}

/// The request with a marker, by which it knows the login that it asks for.
fn marked(query: &str, marker: &str) -> String {
    let others = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != marker::NAME);
    let mut kept = url::form_urlencoded::Serializer::new(String::new());
    kept.extend_pairs(others).append_pair(marker::NAME, marker).finish()
}

/// Brings an answer to the client (OA-175).
fn deliver(answer: &Answer) -> Response {
    match answer.mode {
        Mode::Query | Mode::Fragment => found(&answer.url()),
        Mode::FormPost => {
            let target = view::Deliver { action: &answer.redirect_uri, members: &answer.members };
            let mut response = respond::page_with_script(StatusCode::OK, &target, &[&answer.redirect_uri]);
            response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            response
        }
    }
}

/// Has a browser without a session ask once more, by itself: to a form of another site it adds no cookie, and looks like
/// nobody's (OA-085, OA-540). What is too long for an address is posted from a page of ours, which may end anywhere:
/// the address where the request says it ends, `back`, is not checked yet. None for one with a session, and for one that comes
/// from that page, whatever the browser says of its origin.
pub(super) fn once_more(headers: &HeaderMap, uri: &Uri, params: &Params, back: &str) -> Option<Response> {
    if session_cookies(headers).next().is_some() {
        return None;
    }
    let target = format!("{}?{}", uri.path(), params.encoded());
    if target.len() > LONGEST_TARGET {
        if uri.query() == Some(AGAIN) {
            return None;
        }
        let page = view::Again { action: &format!("{}?{AGAIN}", uri.path()), members: &keep(params) };
        return Some(respond::page_ending_anywhere(&page, back, Script::Own));
    }
    let mut response = found(&target);
    *response.status_mut() = StatusCode::SEE_OTHER;
    Some(response)
}

/// Sends the browser elsewhere; nobody learns from where.
pub(super) fn found(target: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(target) else { return StatusCode::BAD_REQUEST.into_response() };
    let headers = [
        (LOCATION, location),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (StatusCode::FOUND, headers).into_response()
}
