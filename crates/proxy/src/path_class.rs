//! What a request's target needs: an endpoint of ours, nothing, or an identity.

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN};
use http::{HeaderMap, Method, Uri};
use portcullis_core::origin::Origin;
use portcullis_core::outpost::Mode;
use portcullis_core::path::{Dialect, Reserved};

use crate::application::Application;
use crate::login::is_bare_target;
use crate::login::sign_out::{Leaving, leaving};

/// What a target needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathClass {
    /// An endpoint of ours.
    Portcullis(Endpoint),
    /// Open to everybody; an identity is passed on if there is one.
    Open,
    /// An identity.
    Protected,
    /// A method that is never forwarded (PX-287).
    Refused,
    /// In the forward modes: not for the data plane (PX-058).
    Elsewhere,
}

/// What the data plane answers by itself on an application's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Begins a login.
    Start,
    /// Ends a login.
    Callback,
    /// Ends sessions.
    SignOut,
    /// Says that the process lives.
    Ping,
    /// A compiled-in file.
    Static,
    /// Tells another proxy whether a request may pass.
    ForwardAuth(Dialect),
    /// Nothing is there.
    Nothing,
}

impl PathClass {
    /// Classifies a request (PX-060 … PX-065, PX-134, PX-233).
    pub fn of(
        application: &Application,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body_is_empty: bool,
        origin: &Origin,
    ) -> Self {
        let reserved = Reserved::of(uri.path(), application.rule.base());
        let endpoint = reserved.map(|reserved| match reserved {
            Reserved::Start => Endpoint::Start,
            Reserved::Callback => Endpoint::Callback,
            Reserved::SignOut => Endpoint::SignOut,
            Reserved::Ping => Endpoint::Ping,
            Reserved::Static => Endpoint::Static,
            Reserved::ForwardAuth(dialect) if application.provider.mode != Mode::Proxy => {
                Endpoint::ForwardAuth(dialect)
            }
            Reserved::ForwardAuth(_) | Reserved::Unknown => Endpoint::Nothing,
        });
        let takes_signatures = match endpoint {
            // A callback wins anyway; a ping needs no application; a question is signed by what it asks about (PX-064).
            Some(Endpoint::Callback | Endpoint::Ping | Endpoint::ForwardAuth(_)) => false,
            // All of this is where a browser wants to be afterwards (PX-140).
            Some(Endpoint::Start) => !uri.query().is_some_and(is_bare_target),
            Some(_) | None => true,
        };
        let signed = if takes_signatures { signature(application, method, uri, headers, origin) } else { None };
        if let Some(endpoint) = signed.or(endpoint) {
            return Self::Portcullis(endpoint);
        }
        if application.provider.mode != Mode::Proxy {
            return Self::Elsewhere;
        }
        if method == Method::TRACE || method == Method::CONNECT {
            return Self::Refused;
        }
        let preflight = body_is_empty && is_preflight(application, method, headers);
        if preflight || application.skip.opens(application.rule.origin(), uri.path(), uri.query()) {
            return Self::Open;
        }
        Self::Protected
    }
}

/// Whether a browser asks if it may ask, and is to be answered by the application (PX-134).
pub(crate) fn is_preflight(application: &Application, method: &Method, headers: &HeaderMap) -> bool {
    application.settings.allow_cors_preflight
        && method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The endpoint that a query asks for on another path, if it says all that it must (PX-064, PX-065).
pub(crate) fn signature(
    application: &Application,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    origin: &Origin,
) -> Option<Endpoint> {
    let query = uri.query().filter(|query| query.contains("X-authentik-"))?;
    let (mut callback, mut logout, mut state, mut result) = (false, false, false, false);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "X-authentik-auth-callback" => callback |= value.eq_ignore_ascii_case("true"),
            "X-authentik-logout" => logout |= value.eq_ignore_ascii_case("true"),
            "state" => state = true,
            "code" | "error" => result = true,
            _ => {}
        }
    }
    if callback && state && result && method == Method::GET {
        return Some(Endpoint::Callback);
    }
    let allowed = logout && leaving(application, method, headers, origin) == Leaving::Now;
    allowed.then_some(Endpoint::SignOut)
}

/// A header by a name that the `http` crate has no constant for.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(HeaderName::from_static(name)).map(|value| value.to_str().unwrap_or("?"))
}
