//! The browser on the other side: its session cookie, and whether it really is our page that asks.

use axum::response::Response;
use http::header::{COOKIE, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use portcullis_core::auth_via::AuthVia;
use portcullis_core::cookie;
use portcullis_core::origin::{Origin, Scheme};
use portcullis_idp::{Account, Actor, Context, Error, LoginSession, Request, Rights, Visitor, event, sessions};
use serde_json::json;

/// Name of the cookie that a signed-in browser carries (CO-381).
pub const COOKIE_NAME: &str = "authentik_session";

/// Values of our session cookie that a request carries.
pub fn session_cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|header| cookie::values(header.as_bytes(), COOKIE_NAME))
        .filter(|value| cookie::is_token(value))
}

/// Who is signed in, as far as that counts for the request.
///
/// # Errors
/// When the store fails.
pub async fn signed_in(
    ctx: &Context,
    headers: &HeaderMap,
    origin: &Origin,
) -> Result<Option<(LoginSession, Account)>, Error> {
    let found = session_of(ctx, headers, origin).await?;
    if found.is_some() {
        origin.succeeded(AuthVia::Session);
    }
    Ok(found)
}

/// Whose session the browser has, whether or not that counts for the request.
///
/// # Errors
/// When the store fails.
pub async fn session_of(
    ctx: &Context,
    headers: &HeaderMap,
    origin: &Origin,
) -> Result<Option<(LoginSession, Account)>, Error> {
    sessions::of_browser(ctx, session_cookies(headers), &Visitor::sent_from(origin)).await
}

/// Records that another site had somebody's browser try something with their session (CO-412). Of strangers there is nothing
/// to tell.
///
/// # Errors
/// When the store fails.
pub async fn came_from_elsewhere(ctx: &Context, headers: &HeaderMap, origin: &Origin) -> Result<(), Error> {
    match session_of(ctx, headers, origin).await? {
        Some((session, account)) => record_elsewhere(ctx, &own_actor(&session, &account, origin)).await,
        None => Ok(()),
    }
}

/// Records it of whom is known already.
///
/// # Errors
/// When the store fails.
pub async fn record_elsewhere(ctx: &Context, actor: &Actor) -> Result<(), Error> {
    let message = json!({"message": "A request with a session's cookie came from another site."});
    event::record_alone(ctx, actor, "suspicious_request", message).await
}

/// Whoever is signed in, for what everybody may do about themselves: without the rights that they have.
pub fn own_actor(session: &LoginSession, account: &Account, origin: &Origin) -> Actor {
    Actor {
        user: Some(account.pk),
        username: account.username.clone(),
        is_superuser: false,
        rights: Rights::default(),
        client: Some(origin.client),
        request: Request::of(origin).in_session(session),
    }
}

/// Takes away the session cookie that a request carried (CO-323). One that did not come along may be alive:
/// browsers hold it back from requests that other sites make.
pub fn clear_session(response: &mut Response, origin: &Origin, request: &HeaderMap) {
    if session_cookies(request).next().is_none() {
        return;
    }
    set_cookie(response, &format!("{COOKIE_NAME}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax{}", secure(origin)));
}

/// Gives a browser another session cookie, until it is closed.
pub fn set_session(response: &mut Response, origin: &Origin, value: &str) {
    set_cookie(response, &format!("{COOKIE_NAME}={value}; Path=/; HttpOnly; SameSite=Lax{}", secure(origin)));
}

fn secure(origin: &Origin) -> &'static str {
    match origin.scheme {
        Scheme::Http => "",
        Scheme::Https => "; Secure",
    }
}

fn set_cookie(response: &mut Response, cookie: &str) {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// The browser, as it names itself.
pub fn user_agent(headers: &HeaderMap) -> &str {
    headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default()
}
