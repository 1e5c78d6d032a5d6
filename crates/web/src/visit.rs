//! A browser at a login flow: what it brings along, and what it is to remember.

use axum::response::Response;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use portcullis_core::cookie;
use portcullis_core::origin::{Origin, Scheme};
use portcullis_idp::Visitor;
use portcullis_idp::flow::{Cookies, SessionCookie, Visit};

use crate::pages::browser::{clear_session, session_cookies, user_agent};

/// Cookie of a browser that is at a flow.
const RUN: &str = "authentik_flow";
/// Cookie by which a second factor is remembered (CO-317).
const SECOND_FACTOR: &str = "authentik_mfa";
/// Cookie by which a browser is known to be a user's (CO-444).
const DEVICE: &str = "authentik_device";
/// Cookie that keeps what a passkey was asked for (CO-316).
const PASSKEY: &str = "authentik_passkey";

/// A browser at the flow `slug`; `query` is what came with the flow's address.
pub(crate) fn visit<'a>(slug: &'a str, query: &'a str, headers: &'a HeaderMap, visitor: Visitor) -> Visit<'a> {
    Visit {
        slug,
        query,
        visitor,
        user_agent: user_agent(headers),
        sessions: session_cookies(headers).collect(),
        runs: runs(headers),
        second_factor: cookies(headers, SECOND_FACTOR).next(),
        device: cookies(headers, DEVICE).next(),
        passkey: cookies(headers, PASSKEY).next(),
        form: None,
    }
}

/// Values of the flow cookie.
pub(crate) fn runs(headers: &HeaderMap) -> Vec<&str> {
    cookies(headers, RUN).filter(|value| cookie::is_token(value)).collect()
}

fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.get_all(COOKIE).iter().flat_map(move |header| cookie::values(header.as_bytes(), name))
}

/// Tells the browser what to remember. The session comes last.
pub(crate) fn remember(response: &mut Response, origin: &Origin, request: &HeaderMap, cookies: &Cookies) {
    if let Some(run) = &cookies.run {
        set(response, origin, RUN, run, None);
    }
    if let Some(asked) = &cookies.passkey {
        set(response, origin, PASSKEY, asked, None);
    }
    for (name, cookie) in [(SECOND_FACTOR, &cookies.second_factor), (DEVICE, &cookies.device)] {
        if let Some((value, seconds)) = cookie {
            set(response, origin, name, value, Some(*seconds));
        }
    }
    match &cookies.session {
        Some(SessionCookie::Set { value, max_age }) => {
            set(response, origin, crate::pages::browser::COOKIE_NAME, value, *max_age);
        }
        Some(SessionCookie::Clear) => clear_session(response, origin, request),
        None => {}
    }
}

fn set(response: &mut Response, origin: &Origin, name: &str, value: &str, max_age: Option<i64>) {
    let age = max_age.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    let secure = match origin.scheme {
        Scheme::Http => "",
        Scheme::Https => "; Secure",
    };
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-178: applications that share a host name or a domain with the control plane neither see these cookies nor set them.
    #[test]
    fn px_178_cookies_of_flows_are_hidden_from_applications() {
        for name in [RUN, SECOND_FACTOR, DEVICE, PASSKEY] {
            assert!(cookie::sets_ours(format!("{name}=x").as_bytes()), "{name}");
        }
    }
}
